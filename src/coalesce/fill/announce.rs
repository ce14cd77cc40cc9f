//! What the node does for playlists in their origin's place is announced in the text that is kept, and remembered.

use super::{Answer, Fill};
use crate::cache::Policy;
use crate::config::model::{By, LowLatency};
use crate::hls::{self, PlaylistFacts};
use crate::playlists::MadeHere;
use crate::store::Content;

impl Fill<'_> {
    /// Remembers what the rules have the node do for a playlist that has been read and is about to be changed and kept.
    pub(super) fn note_made_here(&self, answer: &Answer) {
        let facts = answer.playlist.filter(|facts| !facts.multivariant);
        let Some((facts, rule)) = facts.zip(self.low_latency()) else { return };
        let ([text], true) = (answer.read.as_slice(), answer.whole) else { return };
        self.make_here(&String::from_utf8_lossy(text), &facts, &rule);
    }

    /// The origin has confirmed a playlist of which nothing is known: it was kept before the node was started, or
    /// forgotten. An announcement in it counts as the node's, until the playlist comes anew.
    pub(super) fn learn_confirmed(&self, body: &Content, playlist: Option<PlaylistFacts>) {
        let Some((facts, rule)) = playlist.filter(|facts| !facts.multivariant).zip(self.low_latency()) else {
            return;
        };
        let known = self.coalescer.playlists.get(&self.flight.key.text);
        if known.is_some_and(|known| known.latest().is_some()) {
            return;
        }
        let Some(text) = body.as_whole().and_then(|body| body.chunks()).map(|chunks| chunks.concat()) else {
            return;
        };
        let facts = PlaylistFacts {
            can_block_reload: facts.can_block_reload && rule.reload != By::Edge,
            can_skip: facts.can_skip && rule.delta != By::Edge,
            ..facts
        };
        let text = String::from_utf8_lossy(&text);
        self.make_here(&text, &facts, &rule);
        self.learn(facts, &self.flight.key, text.as_bytes(), false);
    }

    fn make_here(&self, text: &str, facts: &PlaylistFacts, rule: &LowLatency) {
        let (reload, delta) = hls::announce::made_here(facts, rule);
        let due_after = hls::announce::due_after(text, facts);
        let playlist = self.coalescer.playlists.get_or_insert(&self.flight.key.text);
        playlist.make_here(MadeHere { reload, delta, due_after });
    }

    /// What the rules have the node do for the playlist; None: nothing. The rule is the one that decides about requests,
    /// for they are what it is done for.
    pub(super) fn low_latency(&self) -> Option<LowLatency> {
        let (_, rule) =
            Policy::new(&self.job.rules, &self.job.held, self.path(), self.job.kind).for_request()?;
        Some(rule.low_latency).filter(|rule| rule.reload == By::Edge || rule.delta == By::Edge)
    }
}
