//! Playlists and manifests on their way into the store: read whole, judged, and remembered for what they say.

use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::StatusCode;

use super::guard::doubt_of;
use super::resume::Place;
use super::{Answer, Failure, Fill};
use crate::asset::Kind;
use crate::cache::StreamTold;
use crate::coalesce::Learned;
use crate::dash::{self, ManifestFacts};
use crate::hls::read::PlaylistError;
use crate::hls::{self, PlaylistFacts, uris};
use crate::key::Key;
use crate::key::reference::path_beside;
use crate::origin::{ErrorKind, FetchReason, FetchRequest, OriginError, OriginResponse, Resumption};
use crate::playlists::succession::Doubt;
use crate::playlists::{self, Playlists};

/// Renditions of a multivariant playlist that are looked at.
pub const RENDITIONS_MAX: usize = 256;

/// Bytes of a text from which on it is judged on a thread for what takes long, beside those that serve viewers: 4.5 MB take 35 ms, and
/// that much 1 ms. What it names is learned on the fetch's own thread all the same.
const READ_BESIDE: usize = 128 * 1024;

/// What a text turned out to be: a playlist, a manifest, or neither, and then why it is no playlist.
type Facts = (Option<PlaylistFacts>, Option<ManifestFacts>, Option<PlaylistError>);

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

/// Reads a text.
async fn facts(kind: Kind, text: &Bytes) -> Facts {
    let beside = text.clone();
    let read = move || match kind {
        Kind::Manifest => (None, dash::facts(&beside), None),
        _ => match hls::read::read(&beside) {
            Ok(facts) => (Some(facts), None, None),
            Err(error) => (None, None, Some(error)),
        },
    };
    if text.len() < READ_BESIDE {
        return read();
    }
    // It fails only while the node ends, and nobody is told of the answer then.
    tokio::task::spawn_blocking(read).await.unwrap_or((None, None, None))
}

impl Fill<'_> {
    /// Reads a playlist or manifest whole, for its facts. One that is none never replaces a good one; where there has been
    /// no good one, what the origin sent is passed on.
    ///
    /// One that breaks off is gone on with as other bodies are. Where that cannot be, it is read again from its start,
    /// whatever version that is by now: nobody has seen it yet, and a live playlist is another one soon. `asked` is when
    /// the answer was asked for that is given.
    pub(super) async fn read_playlist(
        &self,
        mut response: OriginResponse,
        asked: &mut SystemTime,
    ) -> Result<Answer, Failure> {
        let mut place = self.place_of(&response);
        let mut read = Vec::new();
        let mut reads = self.is_watched() && response.header.status == StatusCode::OK;
        let mut attempts = 0;
        while reads {
            match self.read_text(&mut response, &mut place, &mut read).await {
                Ok(true) => break,
                Ok(false) => {
                    tracing::warn!(key = %self.flight.key.text, "playlist longer than limits.playlist is passed on unread");
                    reads = false;
                }
                Err(broken) => {
                    attempts = attempts.max(place.attempts_in_vain());
                    // Boxed: rare, and its state is large.
                    let next = Box::pin(self.ask_again(broken, &mut attempts)).await?;
                    response.gone_on_with();
                    (response, *asked) = next;
                    place = self.place_of(&response);
                    read.clear();
                }
            }
        }
        if !reads {
            return Ok(Answer { response, place, read, whole: false, playlist: None, manifest: None });
        }
        let text = match &mut *read {
            [whole] => std::mem::take(whole),
            _ => {
                let mut text = BytesMut::new();
                read.iter().for_each(|data| text.extend_from_slice(data));
                text.freeze()
            }
        };
        let (playlist, manifest, error) = facts(self.job.kind, &text).await;
        if playlist.is_none() && manifest.is_none() {
            if self.has_good() {
                return Err(self.doubted(doubt_of(&text, error)));
            }
            let reason = doubt_of(&text, error).as_str();
            tracing::warn!(key = %self.flight.key.text, reason, "the origin sent what is no playlist, and has sent none before");
        }
        Ok(Answer { response, place, read: vec![text], whole: true, playlist, manifest })
    }

    /// Reads the text of a playlist. False: it is longer than is read, and so far has been.
    async fn read_text(
        &self,
        response: &mut OriginResponse,
        place: &mut Place,
        read: &mut Vec<Bytes>,
    ) -> Result<bool, OriginError> {
        let mut len = 0;
        while let Some(data) = self.next(response, place).await? {
            len += data.len() as u64;
            read.push(data);
            if len > self.coalescer.limits.playlist {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Asks for a playlist again that broke off; says when, too.
    ///
    /// # Errors
    /// That it broke off, where the attempts or `timeouts.total` are used up, or the answer is no playlist's.
    async fn ask_again(
        &self,
        broken: OriginError,
        attempts: &mut u32,
    ) -> Result<(OriginResponse, SystemTime), Failure> {
        let origin = &self.job.origin;
        let in_time = !matches!(broken, OriginError::TotalTimeout { .. });
        while in_time && *attempts < origin.resumes_in_a_row() {
            *attempts += 1;
            tracing::debug!(key = %self.flight.key.text, attempt = *attempts, error = %broken, "a playlist broke off; asking for it again");
            tokio::time::sleep(self.job.origin.pause(*attempts)).await;
            let asked = self.coalescer.clock.now();
            let request = self.request(self.headers(), FetchReason::Resume);
            let answered = self.send(&FetchRequest { hold: self.hold(), ..request }).await;
            match answered {
                Ok(mut response) if response.header.status == StatusCode::OK => {
                    origin.count_resumption(Resumption::Resumed);
                    self.change_header(&mut response.header);
                    return Ok((response, asked));
                }
                Err(withdrawn) if withdrawn.is_withdrawn() => return Err(withdrawn),
                Ok(_) | Err(_) => origin.count_resumption(Resumption::Failed),
            }
        }
        Err(self.broken_off(broken))
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
            let before = before.filter(|_| !anew);
            foresight.learned(&Learned { key, facts, before, text, host: self.job.host.as_ref() });
        }
    }

    /// How long the origin may hold this fetch, which asks for a playlist that has grown.
    pub(super) fn hold(&self) -> Option<Duration> {
        self.job.directives.reload?;
        let playlist = self.coalescer.playlists.get(&self.flight.key.text);
        Some(playlists::hold(playlist.and_then(|playlist| playlist.latest()).as_deref()))
    }

    fn broken_off(&self, error: OriginError) -> Failure {
        self.job.origin.count_resumption(Resumption::GivenUp);
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
