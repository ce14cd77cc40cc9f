//! A title at work: which of its files is there at a time of the run, and when what is waited for will be (RFC 8216bis, 6.2). The
//! arithmetic is [`super::timeline`]'s, the texts [`super::playlist`]'s, the form of answers [`super::reply`]'s. Called by
//! [`super::Stage`], which knows the faults.

use std::time::Duration;

use http::header::CACHE_CONTROL;
use jiff::Timestamp;

use super::faults::Shown;
use super::path::{self, Named};
use super::playlist;
use super::reload::Directives;
use super::reply::{Media, Span};
use super::timeline::{LEAD_SEGMENTS, Program, Track};
use super::{Answer, Asked};
use crate::fetch::Kind;

/// How long an edge may keep what does not change while the stream is on, in seconds: a live title's multivariant playlist, and a
/// title's playlists.
const LIVE_MULTIVARIANT_SECONDS: u64 = 60;
const VOD_SECONDS: u64 = 3600;

/// One copy of a stream. Copies of a live stream do not all publish at once: each is a bit ahead of the one before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Title {
    pub(super) program: usize,
    pub(super) ahead_ns: u64,
    pub(super) seed: u64,
}

/// A title as it is at work: its program, and its time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Channel<'a> {
    pub(super) program: &'a Program,
    pub(super) title: Title,
    pub(super) epoch: Timestamp,
}

// === impl Channel ===

impl Channel<'_> {
    /// The stream's time at a time of the run.
    fn stream_ns(&self, run: Duration) -> u64 {
        let lead = LEAD_SEGMENTS * self.program.segment_ns + self.title.ahead_ns;
        u64::try_from(run.as_nanos()).unwrap_or(u64::MAX).saturating_add(lead)
    }

    /// The time of the run at a time of the stream; what was before the run was at its beginning.
    fn run(&self, stream_ns: u64) -> Duration {
        Duration::from_nanos(stream_ns.saturating_sub(self.stream_ns(Duration::ZERO)))
    }

    /// The answer to a request for something of this title; live playlists are of the time that is shown.
    pub(super) fn answer(&self, named: Named, asked: Asked<'_>, now: Duration, shown: Shown) -> Answer {
        let program = self.program;
        let keeps = |seconds: u64| format!("public, max-age={seconds}");
        match named {
            Named::Multivariant => {
                let seconds = if program.is_live() { LIVE_MULTIVARIANT_SECONDS } else { VOD_SECONDS };
                let text = playlist::multivariant(program);
                Answer::playlist(now, text, &keeps(seconds), asked.headers, Kind::Multivariant)
            }
            Named::Playlist(track) if program.is_live() => self.live(track, asked, now, shown),
            Named::Playlist(track) => {
                let text = playlist::vod(program, track, program.sizes(track, self.title.seed));
                Answer::playlist(now, text, &keeps(VOD_SECONDS), asked.headers, Kind::Playlist)
            }
            // One that comes later is not told before its first segment begins.
            Named::Key(number) if !self.has_key(number, now) => self.not_there(false, now),
            Named::Key(_) => {
                let content_type = "application/octet-stream";
                let media = Media { path: asked.path, kind: Kind::Key, bytes: path::KEY_BYTES, content_type };
                media.answer(now, media.span(asked.headers), asked.headers, Vec::new())
            }
            Named::Init(track) => {
                let bytes = program.sizes(track, self.title.seed).init_bytes();
                let media = media(asked.path, Kind::Init, bytes, track);
                media.answer(now, media.span(asked.headers), asked.headers, Vec::new())
            }
            Named::Segment(track, msn) => self.segment(track, msn, asked, now),
            Named::Part(track, msn, part) => self.part(track, (msn, part), asked, now),
        }
    }

    /// Whether a segment has this key, and of a live title has begun.
    fn has_key(&self, number: u64, now: Duration) -> bool {
        let program = self.program;
        let last = match program.is_live() {
            true => program.edge(self.stream_ns(now)).segments,
            false => program.segments_in_all().saturating_sub(1),
        };
        program.key_of(last).is_some_and(|last| number <= last)
    }

    /// A live playlist: the one there is, or the one that is waited for, as soon as it is there.
    fn live(&self, track: Track, asked: Asked<'_>, now: Duration, shown: Shown) -> Answer {
        let program = self.program;
        let (now_ns, stream) = (self.stream_ns(now), |at| self.stream_ns(at));
        let query = asked.query.filter(|_| program.is_low_latency()).unwrap_or("");
        let edge = program.edge(shown.of(now_ns, program.segment_ns, stream));
        let read = Directives::parse(query).and_then(|found| Ok((found, found.waits_for_ns(program, edge)?)));
        let (directives, waits_for) = match read {
            Ok(read) => read,
            Err(why) => return Answer::refused(now, 400, why),
        };
        let at_ns = waits_for.map_or(now_ns, |ns| shown.from(ns, program.segment_ns, stream).max(now_ns));
        let hold_max_ns = 3 * program.target_ns();
        if at_ns > now_ns.saturating_add(hold_max_ns) {
            let at = now.saturating_add(Duration::from_nanos(hold_max_ns));
            return Answer::refused(at, 503, "it did not come within three target durations\n");
        }
        let (kind, seconds) = match waits_for {
            Some(_) => (Kind::Reload, 6 * program.target_seconds()),
            None => (Kind::Playlist, (program.target_seconds() / 2).max(1)),
        };
        let edge = program.edge(shown.of(at_ns, program.segment_ns, stream));
        let live = playlist::Live {
            program,
            track,
            sizes: program.sizes(track, self.title.seed),
            edge,
            began_ns: self.epoch.as_nanosecond() - i128::from(self.stream_ns(Duration::ZERO)),
            skips: directives.skip,
        };
        let (at, keeps) = (self.run(at_ns), format!("public, max-age={seconds}"));
        let mut answer = Answer::playlist(at, live.text(), &keeps, asked.headers, kind);
        answer.version = Some((edge.segments, edge.parts));
        answer
    }

    /// A segment that is there, or grows.
    fn segment(&self, track: Track, msn: u64, asked: Asked<'_>, now: Duration) -> Answer {
        let program = self.program;
        let sizes = program.sizes(track, self.title.seed);
        let media = media(asked.path, Kind::Segment, sizes.segment_bytes(msn), track);
        let span = media.span(asked.headers);
        let is_part = program.parts_are_ranges && span != Span::Whole;
        let media = Media { kind: if is_part { Kind::Part } else { Kind::Segment }, ..media };
        let now_ns = self.stream_ns(now);
        let is_there = if program.is_live() {
            now_ns >= program.segment_published_ns(msn)
        } else {
            msn < program.segments_in_all()
        };
        if is_there && !(program.is_live() && now_ns >= program.removed_ns(msn)) {
            return media.answer(now, span, asked.headers, Vec::new());
        }
        let edge = program.edge(now_ns);
        if is_there || !program.parts_are_ranges || msn != edge.segments {
            return self.not_there(is_there, now);
        }
        let (first, last) = match span {
            Span::Range { first, last, .. } => (first, last),
            Span::Whole => (0, media.bytes - 1),
            Span::Unsatisfiable => return media.answer(now, span, asked.headers, Vec::new()),
        };
        let parts = (0..program.parts)
            .filter(|part| sizes.part_offset(msn, part + 1) > first && sizes.part_offset(msn, *part) <= last);
        let steps: Vec<(u64, Duration)> = parts
            .map(|part| {
                let end = sizes.part_offset(msn, part + 1).min(last + 1);
                (end - first, self.run(program.part_published_ns(msn, part)))
            })
            .collect();
        // The part that the playlist hints at may be waited for; no later one.
        if first >= sizes.part_offset(msn, edge.parts + 1) {
            return media.answer(now, Span::Unsatisfiable, asked.headers, Vec::new());
        }
        let at = steps.first().map_or(now, |(_, at)| now.max(*at));
        media.answer(at, span, asked.headers, steps)
    }

    /// A part that is there, or that the playlist hints at: that one is waited for (RFC 8216bis, 6.2.6).
    fn part(&self, track: Track, (msn, part): (u64, u64), asked: Asked<'_>, now: Duration) -> Answer {
        let program = self.program;
        let now_ns = self.stream_ns(now);
        let published = program.part_published_ns(msn, part);
        let hinted = program.edge(now_ns).part_count(program);
        if now_ns >= program.removed_ns(msn) {
            return self.not_there(true, now);
        }
        if now_ns < published && msn.saturating_mul(program.parts).saturating_add(part) != hinted {
            return self.not_there(false, now);
        }
        let bytes = program.sizes(track, self.title.seed).part_bytes(msn, part);
        let media = media(asked.path, Kind::Part, bytes, track);
        media.answer(now.max(self.run(published)), media.span(asked.headers), asked.headers, Vec::new())
    }

    /// What was there may be said to be gone for a target duration; what comes may be there at once.
    fn not_there(&self, was: bool, now: Duration) -> Answer {
        let mut answer = Answer::refused(now, 404, "it is not there, or not yet\n");
        if was {
            answer.set(CACHE_CONTROL, &format!("public, max-age={}", self.program.target_seconds()));
        }
        answer
    }
}

fn media(path: &str, kind: Kind, bytes: u64, track: Track) -> Media<'_> {
    let content_type = if track == Track::Audio { "audio/mp4" } else { "video/mp4" };
    Media { path, kind, bytes, content_type }
}
