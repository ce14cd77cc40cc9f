//! Changes the text of playlists and manifests before it is kept: what a rule's `playlist` asks for, once for all viewers.
//!
//! The text passes a row of changes, each a pure function of the text before it ([`Fill::changes`]); a further sort of change
//! is one line there. What has passed the row has a tag of its own ([`Changed`]), also where nothing was found to change:
//! whether it was looked at, and for what, is what a restart with other rules must know.

use std::borrow::Cow;
use std::fmt::Debug;

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_ENCODING, CONTENT_LOCATION, LOCATION};
use pingora::http::ResponseHeader;
use prometheus::{IntCounter, Registry};
use xxhash_rust::xxh3::Xxh3Default;

use super::{Answer, Failure, Fill};
use crate::asset::Kind;
use crate::cache::{Changed, Policy};
use crate::carry::Syntax;
use crate::config::model::{VariantBounds, VariantChoice};
use crate::dash;
use crate::hls::{self, announce, variants};
use crate::key;
use crate::normal::{hosts, parameters};

/// What changes have come to.
#[derive(Debug)]
pub(in crate::coalesce) struct ChangeMetrics {
    /// Multivariant playlists of which no variant was within the bounds.
    pub(in crate::coalesce) none_within: IntCounter,
}

/// A text cannot be read, so it cannot be changed.
#[derive(Debug)]
struct Unchangeable;

/// One change of a text; None: there is nothing to change.
type Change<'a> = Box<dyn Fn(&str) -> Result<Option<String>, Unchangeable> + Send + Sync + 'a>;

/// Changes in the order in which they are made.
#[derive(Default)]
pub(in crate::coalesce) struct Changes<'a> {
    row: Vec<Change<'a>>,
    /// Those that are made only in a text that is kept.
    of_kept: Vec<Change<'a>>,
    by: Xxh3Default,
    /// Whether a text that they cannot be made in may not be sent at all.
    must: bool,
}

impl<'a> Changes<'a> {
    /// Adds a change. `by` is all that it depends on beside the text.
    fn add(
        &mut self,
        by: &impl Debug,
        change: impl Fn(&str) -> Result<Option<String>, Unchangeable> + Send + Sync + 'a,
    ) {
        self.by.update(format!("{} {by:?}\n", self.row.len()).as_bytes());
        self.row.push(Box::new(change));
    }

    /// What tells a text that they were made in from others; None: there are none.
    pub(in crate::coalesce) fn id(&self) -> Option<Changed> {
        (!self.row.is_empty() || !self.of_kept.is_empty()).then(|| Changed(self.by.digest()))
    }

    /// The same of one that is made only in a text that is kept, after all others.
    fn add_to_kept(
        &mut self,
        by: &impl Debug,
        change: impl Fn(&str) -> Result<Option<String>, Unchangeable> + Send + Sync + 'a,
    ) {
        self.by.update(format!("kept {} {by:?}\n", self.of_kept.len()).as_bytes());
        self.of_kept.push(Box::new(change));
    }

    /// The text with all of them made; None: as it is.
    fn make(&self, text: &str, kept: bool) -> Result<Option<String>, Unchangeable> {
        let mut made: Option<String> = None;
        for change in self.row.iter().chain(self.of_kept.iter().filter(|_| kept)) {
            if let Some(changed) = change(made.as_deref().unwrap_or(text))? {
                made = Some(changed);
            }
        }
        Ok(made)
    }
}

impl Fill<'_> {
    /// What is changed in a text of this kind, in this order.
    pub(in crate::coalesce) fn changes(&self, kind: Kind) -> Changes<'_> {
        let mut changes = Changes::default();
        let Some(syntax) = syntax_of(kind) else { return changes };
        let path = self.path();
        let dropped = key::dropped(&self.job.rules, path);
        let dropped: Vec<String> = dropped.map(str::to_owned).collect();
        let rule = Policy::new(&self.job.rules, &self.job.held, path, kind).for_request();
        let playlist = rule.map(|(_, rule)| &rule.playlist);
        changes.must = !dropped.is_empty() || playlist.is_some_and(|playlist| !playlist.is_empty());
        if !dropped.is_empty() {
            let by = ("drop", dropped.clone());
            changes.add(&by, move |text| parameters::drop(text, syntax, &dropped).map_err(|_| Unchangeable));
        }
        if let Some(rule) = self.low_latency().filter(|_| kind == Kind::MediaPlaylist) {
            // Who is held shares what is kept.
            changes.add_to_kept(&("announce", rule), move |text| {
                let facts = hls::read::read(text.as_bytes()).map_err(|_| Unchangeable)?;
                Ok(announce::announce(text, &facts, &rule))
            });
        }
        let Some(playlist) = playlist else { return changes };
        if !playlist.hosts.is_empty() {
            changes.add(&("hosts", &playlist.hosts), move |text| {
                hosts::change(text, syntax, &playlist.hosts).map_err(|_| Unchangeable)
            });
        }
        if let Some(choice) = playlist.variants.as_ref().filter(|_| kind == Kind::MultivariantPlaylist) {
            let bounds = self.bounds(choice);
            changes.add(&("variants", bounds, choice.order), move |text| {
                let chosen = variants::choose(text, bounds, choice.order);
                if chosen.none_within {
                    self.coalescer.changed.none_within.inc();
                    let key = &self.flight.key.text;
                    tracing::warn!(%key, "no variant is within the rule's bounds: all of them stay");
                }
                Ok(chosen.text)
            });
        }
        let steering = rule.and_then(|(_, rule)| rule.steering.as_ref());
        if let Some(tag) = steering.filter(|_| kind != Kind::MediaPlaylist) {
            changes.add(&("steering", tag), move |text| match syntax {
                Syntax::Hls => Ok(hls::steering::insert(text, tag)),
                Syntax::Dash => dash::steering::insert(text, tag).map_err(|_| Unchangeable),
            });
        }
        changes
    }

    /// Changes the text of an answer, of which a manifest is read whole for it. `kept` says that the answer will be. Gives what its header is to be told
    /// ([`tell`]); None: it is as its origin sent it.
    pub(super) async fn change(
        &self,
        answer: &mut Answer,
        kind: Kind,
        kept: bool,
    ) -> Result<Option<Changed>, Failure> {
        let status = answer.response.header.status;
        if !status.is_success() || status == StatusCode::NO_CONTENT {
            return Ok(None);
        }
        let changes = self.changes(kind);
        let Some(id) = changes.id() else { return Ok(None) };
        if status != StatusCode::OK {
            // It is not read, and players would go by it.
            return if changes.must { Err(self.unchangeable()) } else { Ok(None) };
        }
        if kind == Kind::Manifest {
            self.read_on(answer).await?;
        }
        let read = answer.whole && (kind == Kind::Manifest || answer.playlist.is_some());
        let encoded = answer.response.header.headers.contains_key(CONTENT_ENCODING);
        let text = answer.read.first().filter(|_| read && !encoded);
        let made = text.and_then(|text| std::str::from_utf8(text).ok()).map(|text| changes.make(text, kept));
        match made {
            Some(Ok(None)) => Ok(Some(id)),
            Some(Ok(Some(text))) => {
                answer.read = vec![Bytes::from(text)];
                Ok(Some(id))
            }
            Some(Err(Unchangeable)) | None if changes.must => Err(self.unchangeable()),
            Some(Err(Unchangeable)) | None => Ok(None),
        }
    }

    /// Takes out of the URIs in the header of an answer what is dropped from those of texts: it is the fetch's, and nobody's.
    pub(super) fn change_header(&self, header: &mut ResponseHeader) {
        let mut dropped = key::dropped(&self.job.rules, self.path()).peekable();
        if dropped.peek().is_none() {
            return;
        }
        let dropped: Vec<String> = dropped.map(str::to_owned).collect();
        for name in [LOCATION, CONTENT_LOCATION] {
            let said = header.headers.get(&name).and_then(|uri| uri.to_str().ok());
            if let Some(Cow::Owned(without)) = said.map(|uri| parameters::without(uri, &dropped)) {
                // Part of a value that came in a header.
                let _ = header.insert_header(name, without);
            }
        }
    }

    fn unchangeable(&self) -> Failure {
        tracing::warn!(key = %self.flight.key.text, "a text that a rule changes cannot be read, and is not sent");
        Failure::BAD_PLAYLIST
    }

    /// Reads the rest of an answer, up to `limits.playlist`.
    async fn read_on(&self, answer: &mut Answer) -> Result<(), Failure> {
        let mut text: Vec<u8> = answer.read.concat();
        while !answer.whole {
            match answer.response.chunk().await? {
                Some(data) => text.extend_from_slice(&data),
                None => answer.whole = true,
            }
            if text.len() as u64 > self.coalescer.limits.playlist {
                break;
            }
        }
        answer.read = vec![Bytes::from(text)];
        Ok(())
    }

    /// The bounds that hold for those whose key this is.
    fn bounds<'c>(&self, choice: &'c VariantChoice) -> &'c VariantBounds {
        let of_key = self.flight.key.bounds();
        let listed = choice.by_claim.as_ref().zip(of_key);
        listed.and_then(|(by_claim, hash)| by_claim.bounds(hash)).unwrap_or(&choice.bounds)
    }
}

/// Makes a header that of the changed text.
pub(super) fn tell(changed: Option<Changed>, header: &mut ResponseHeader, answer: &Answer) {
    if let Some(changed) = changed {
        changed.tell(header, answer.read.iter().map(|data| data.len() as u64).sum());
    }
}

/// What a text of this kind is written in; None: it is none that is changed.
fn syntax_of(kind: Kind) -> Option<Syntax> {
    match kind {
        Kind::MultivariantPlaylist | Kind::MediaPlaylist => Some(Syntax::Hls),
        Kind::Manifest => Some(Syntax::Dash),
        _ => None,
    }
}

impl ChangeMetrics {
    pub(in crate::coalesce) fn register(registry: &Registry) -> Result<ChangeMetrics, prometheus::Error> {
        let none_within = IntCounter::new(
            "forebay_playlist_variants_unfiltered_total",
            "Multivariant playlists that kept all their variants because none was within a rule's bounds.",
        )?;
        registry.register(Box::new(none_within.clone()))?;
        Ok(ChangeMetrics { none_within })
    }
}
