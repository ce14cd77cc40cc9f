//! Whether a playlist may take the place of the one before it. Pure.
//!
//! Origins behind a load balancer answer a segment early or late, and an encoder that starts anew counts from the
//! beginning: both go back, and only the second is to be followed. What goes back is doubted; it is followed once it says
//! itself that it is a new stream, has been seen to grow, or the one before may not be served any more.

use std::time::{Duration, SystemTime};

use crate::hls::{PlaylistFacts, Reach};

/// Segments that an answer may go back and be taken for one of a server that is behind.
pub const JITTER_SEGMENTS: u64 = 3;

/// How often a playlist that has gone back must grow, within a target duration at least, until it is followed while the
/// one before may still be served.
pub const GROWN_TIMES: u32 = 2;

/// How long a media playlist is kept from becoming a multivariant one, and the reverse, at most.
pub const OTHER_SORT_WINDOW: Duration = Duration::from_secs(60);

/// How often the log is told of one playlist, at most.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Why an answer does not take the place of a good playlist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// It has no body.
    Empty,
    /// It does not begin as a playlist, or is no manifest.
    NotAPlaylist,
    /// It has a line that cannot be read.
    Unreadable,
    /// Its body broke off.
    Truncated,
    /// Its body ended with the connection: nobody knows whether it was whole.
    Unframed,
    /// It lists no segments, and the one before did.
    NoSegments,
    /// It goes back.
    Backward,
    /// It is of a server that is behind, by [`JITTER_SEGMENTS`] at most.
    Older,
    /// It is multivariant, and the one before was a media playlist; or the reverse.
    OtherSort,
}

impl Doubt {
    /// The word in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Doubt::Empty => "empty",
            Doubt::NotAPlaylist => "not_a_playlist",
            Doubt::Unreadable => "unreadable",
            Doubt::Truncated => "truncated",
            Doubt::Unframed => "unframed",
            Doubt::NoSegments => "no_segments",
            Doubt::Backward => "backward",
            Doubt::Older => "older",
            Doubt::OtherSort => "other_sort",
        }
    }
}

/// What there was before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Before {
    /// A media playlist that said this.
    Media(PlaylistFacts),
    /// A multivariant playlist.
    Multivariant,
}

/// What has become of the answer that held it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Good {
    /// It may be served in place of a bad one.
    Usable,
    /// It is held, and too old to be served.
    Over,
    /// It is not held any more, or a purge has named it.
    Gone,
}

/// What becomes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weighed {
    /// It follows.
    Follows,
    /// It follows, although it goes less far.
    FollowsBack,
    /// It follows and says nothing: it has no segments.
    FollowsEmpty,
    /// A new stream begins with it.
    Restarts,
    /// It does not follow.
    Doubted(Doubt),
}

/// What has come of late that did not follow, of one playlist.
#[derive(Debug, Default)]
pub struct Doubts {
    suspect: Option<Suspect>,
    /// Whether an answer without segments was taken: what goes back behind it is a new stream.
    emptied: bool,
    /// What the log was told last, and when.
    told: Option<Doubt>,
    told_at: Option<SystemTime>,
}

/// An answer that has gone back, and those after it.
#[derive(Clone, Copy, Debug)]
struct Suspect {
    since: SystemTime,
    reach: Reach,
    grown: u32,
}

/// How an answer stands to the one before.
enum Step {
    On,
    Older,
    Back,
}

impl Doubts {
    /// Judges an answer that can be read.
    pub fn weigh(
        &mut self,
        before: Option<Before>,
        came: &PlaylistFacts,
        good: Good,
        now: SystemTime,
    ) -> Weighed {
        let before = match before {
            None => return self.settle(Weighed::Follows),
            Some(Before::Multivariant) if came.multivariant => return self.settle(Weighed::Follows),
            Some(Before::Media(before)) if !came.multivariant => before,
            Some(_) => return self.weigh_other_sort(good, now),
        };
        if came.is_empty() && !before.is_empty() {
            let doubted = match good {
                _ if self.emptied => false,
                Good::Usable => true,
                Good::Over => self.suspect.is_some() && !came.ended,
                Good::Gone => false,
            };
            if doubted {
                self.suspect(came, now);
                return Weighed::Doubted(Doubt::NoSegments);
            }
            self.settle(Weighed::FollowsEmpty);
            self.emptied = true;
            return Weighed::FollowsEmpty;
        }
        match step(&before, came, good) {
            Step::On => self.settle(Weighed::Follows),
            _ if self.emptied => self.settle(Weighed::Restarts),
            Step::Older if has_new_discontinuity(&before, came) => self.settle(Weighed::Restarts),
            Step::Older if good == Good::Usable => Weighed::Doubted(Doubt::Older),
            Step::Older => self.settle(Weighed::FollowsBack),
            Step::Back if says_restart(&before, came) => self.settle(Weighed::Restarts),
            Step::Back => {
                let first = self.suspect.is_none();
                let suspect = self.suspect(came, now);
                let lasted = now.duration_since(suspect.since).unwrap_or_default() >= before.target_duration;
                let follows = match good {
                    Good::Usable => suspect.grown >= GROWN_TIMES && lasted,
                    // What was there before it was first seen is not guarded any more; what stands still is no stream.
                    Good::Over => first || suspect.grown > 0 || came.ended,
                    Good::Gone => true,
                };
                if follows { self.settle(Weighed::Restarts) } else { Weighed::Doubted(Doubt::Backward) }
            }
        }
    }

    /// Notes what has become of an answer; None: it was taken. True: the log is to be told, for it is news.
    pub fn is_news(&mut self, doubt: Option<Doubt>, now: SystemTime) -> bool {
        let lately = |at: SystemTime| now.duration_since(at).is_ok_and(|span| span < TELL_EVERY);
        // What is told too soon is told later, if it is still so; an end is told in any case.
        if self.told == doubt || (doubt.is_some() && self.told_at.is_some_and(lately)) {
            return false;
        }
        (self.told, self.told_at) = (doubt, Some(now));
        true
    }

    /// The origin has confirmed the one before.
    pub fn confirm(&mut self) {
        self.suspect = None;
    }

    fn weigh_other_sort(&mut self, good: Good, now: SystemTime) -> Weighed {
        let first = self.suspect.is_none();
        let since =
            self.suspect.get_or_insert(Suspect { since: now, reach: Reach::default(), grown: 0 }).since;
        let lasted = now.duration_since(since).unwrap_or_default();
        if good == Good::Usable && (first || lasted < OTHER_SORT_WINDOW) {
            return Weighed::Doubted(Doubt::OtherSort);
        }
        self.settle(Weighed::FollowsBack)
    }

    fn suspect(&mut self, came: &PlaylistFacts, now: SystemTime) -> Suspect {
        let new = Suspect { since: now, reach: came.reach, grown: 0 };
        let suspect = match self.suspect {
            Some(earlier) if earlier.reach <= came.reach => {
                let grown = earlier.grown + u32::from(earlier.reach < came.reach);
                Suspect { reach: came.reach, grown, ..earlier }
            }
            _ => new,
        };
        self.suspect = Some(suspect);
        suspect
    }

    fn settle(&mut self, weighed: Weighed) -> Weighed {
        self.suspect = None;
        self.emptied = false;
        weighed
    }
}

fn step(before: &PlaylistFacts, came: &PlaylistFacts, good: Good) -> Step {
    if before.ended && came.ended {
        return Step::On;
    }
    let back = before.media_sequence.saturating_sub(came.media_sequence);
    if came.reach >= before.reach {
        // It begins earlier and lists all that was known: a longer window, unless nobody has looked for a while.
        let is_longer = good == Good::Usable || came.ended;
        return if back <= JITTER_SEGMENTS || is_longer { Step::On } else { Step::Back };
    }
    let short = before.reach.next.saturating_sub(came.reach.next);
    if back <= JITTER_SEGMENTS && short <= JITTER_SEGMENTS { Step::Older } else { Step::Back }
}

/// Whether a playlist that goes back says itself that it is a new stream.
fn says_restart(before: &PlaylistFacts, came: &PlaylistFacts) -> bool {
    let revived = before.ended && !came.ended;
    revived || came.has_other_map(before) || has_new_discontinuity(before, came)
}

/// Whether there are more discontinuities than before. One that does not count those that have left its window
/// (`EXT-X-DISCONTINUITY-SEQUENCE`) seems to have more when it is of a server that is behind: of such ones only the lines
/// count that cannot have left the window of before.
fn has_new_discontinuity(before: &PlaylistFacts, came: &PlaylistFacts) -> bool {
    let counts = before.discontinuities_in_all().zip(came.discontinuities_in_all());
    let counted = before.counts_discontinuities && came.counts_discontinuities;
    let left_none = came.media_sequence >= before.media_sequence;
    let is_apart = came.reach.next <= before.media_sequence;
    (counted || left_none || is_apart) && counts.is_some_and(|(before, came)| came > before)
}

#[cfg(test)]
mod tests;
