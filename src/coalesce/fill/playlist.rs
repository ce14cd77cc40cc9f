//! Playlists and manifests on their way into the store: read whole, judged, and remembered for what they say.

use std::time::Duration;

use bytes::BytesMut;
use http::StatusCode;

use super::guard::doubt_of;
use super::{Answer, Failure, Fill};
use crate::asset::Kind;
use crate::cache::StreamTold;
use crate::coalesce::Learned;
use crate::dash;
use crate::hls::{self, PlaylistFacts, uris};
use crate::key::Key;
use crate::key::reference::path_beside;
use crate::origin::{ErrorKind, OriginError, OriginResponse};
use crate::playlists::succession::Doubt;
use crate::playlists::{self, Playlists};

/// Renditions of a multivariant playlist that are looked at.
pub const RENDITIONS_MAX: usize = 256;

/// An answer among what is known of its stream.
#[derive(Clone, Copy, Debug)]
pub struct Around<'a> {
    /// What it is.
    pub kind: Kind,
    /// The name of its site.
    pub site: &'a str,
    /// Its path, in normal form.
    pub path: &'a str,
    /// Whether it is an error.
    pub is_error: bool,
    /// Its text, where it is a playlist that has been read.
    pub text: &'a [u8],
}

impl Around<'_> {
    /// What is known of its stream, as far as that decides for how long the answer is kept.
    pub fn stream(&self, playlists: &Playlists) -> Option<StreamTold> {
        let Around { kind, site, path, .. } = *self;
        let target = match kind {
            _ if self.is_error && kind.is_playlist() => {
                playlists.assets.target_of(site, path).or_else(|| playlists.assets.target_around(site, path))
            }
            Kind::Segment | Kind::Part | Kind::Init if self.is_error => {
                playlists.assets.target_around(site, path)
            }
            Kind::MultivariantPlaylist if !self.is_error => {
                let mut shortest: Option<Duration> = None;
                renditions(self.text, path, |rendition| {
                    let target = playlists.assets.target_of(site, rendition);
                    shortest = shortest.into_iter().chain(target).min();
                });
                shortest
            }
            _ => None,
        };
        // A part that is listed may be gone by now, as those of older segments are.
        let listed = self.is_error && kind != Kind::Part && playlists.assets.is_listed(site, path);
        target.map(|target_duration| StreamTold { target_duration, listed })
    }
}

impl Fill<'_> {
    /// Reads a playlist or manifest whole, for its facts. One that is none never replaces a good one; where there has been
    /// no good one, what the origin sent is passed on.
    pub(super) async fn read_playlist(&self, mut response: OriginResponse) -> Result<Answer, Failure> {
        let mut read = Vec::new();
        if !self.is_watched() || response.header.status != StatusCode::OK {
            return Ok(Answer { response, read, whole: false, playlist: None, manifest: None });
        }
        let mut len = 0;
        while let Some(data) = response.chunk().await.map_err(|error| self.broken_off(error))? {
            len += data.len() as u64;
            read.push(data);
            if len > self.coalescer.limits.playlist {
                tracing::warn!(key = %self.flight.key.text, "playlist longer than limits.playlist is passed on unread");
                return Ok(Answer { response, read, whole: false, playlist: None, manifest: None });
            }
        }
        let text = match &mut *read {
            [whole] => std::mem::take(whole),
            _ => {
                let mut text = BytesMut::new();
                read.iter().for_each(|data| text.extend_from_slice(data));
                text.freeze()
            }
        };
        let (playlist, manifest, error) = match self.job.kind {
            Kind::Manifest => (None, dash::facts(&text), None),
            _ => match hls::read::read(&text) {
                Ok(facts) => (Some(facts), None, None),
                Err(error) => (None, None, Some(error)),
            },
        };
        if playlist.is_none() && manifest.is_none() {
            if self.has_good() {
                return Err(self.doubted(doubt_of(&text, error)));
            }
            let reason = doubt_of(&text, error).as_str();
            tracing::warn!(key = %self.flight.key.text, reason, "the origin sent what is no playlist, and has sent none before");
        }
        Ok(Answer { response, read: vec![text], whole: true, playlist, manifest })
    }

    /// Remembers what a playlist says that is held under `key` now; `anew`: it goes back.
    pub(super) fn learn(&self, facts: PlaylistFacts, key: &Key, text: &[u8], anew: bool) {
        let playlists = &self.coalescer.playlists;
        let (site, path) = (key.site(), self.path());
        if facts.multivariant {
            return renditions(text, path, |rendition| {
                playlists.assets.note_rendition(site, path, rendition)
            });
        }
        playlists.assets.note_target(site, path, facts.is_live().then_some(facts.target_duration));
        let playlist = playlists.get_or_insert(&key.text);
        let before = playlist.latest().map(|latest| latest.facts);
        playlist.learn(facts, key, self.coalescer.clock.now(), anew);
        // What one client's credentials have brought says nothing of what others may have.
        let shared = self.job.authorization.is_none();
        if let Some(foresight) = self.coalescer.foresight.get().filter(|_| shared) {
            foresight.learned(&Learned { key, facts, before: before.filter(|_| !anew), text });
        }
    }

    /// How long the origin may hold this fetch, which asks for a playlist that has grown.
    pub(super) fn hold(&self) -> Option<Duration> {
        self.job.directives.reload?;
        let playlist = self.coalescer.playlists.get(&self.flight.key.text);
        Some(playlists::hold(playlist.and_then(|playlist| playlist.latest()).as_deref()))
    }

    fn broken_off(&self, error: OriginError) -> Failure {
        let truncated = matches!(error.kind(), ErrorKind::BrokenBody | ErrorKind::BetweenBytesTimeout);
        if truncated && self.has_good() {
            self.doubted(Doubt::Truncated);
        }
        Failure::from(error)
    }
}

/// The paths of the renditions that a multivariant playlist at `path` names, [`RENDITIONS_MAX`] at most.
fn renditions(text: &[u8], path: &str, mut see: impl FnMut(&str)) {
    let mut seen = 0;
    uris::find(std::str::from_utf8(text).unwrap_or_default(), |place| {
        seen += 1;
        if let Some(rendition) = path_beside(&place.says, path).filter(|_| seen <= RENDITIONS_MAX) {
            see(&rendition);
        }
    });
}
