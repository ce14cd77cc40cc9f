//! Walks along the timeline as a player does that knows nothing of how playlists are made, and holds each to the one before it.

use std::collections::HashMap;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::super::sample::{ask, get, ms, scenario, text, wall_epoch};
use super::*;
use crate::scenario::Scenario;

/// Seconds, and URI with its range.
type Part = (f64, String);

/// A media playlist as a player reads it.
#[derive(Debug, Default)]
struct Read {
    target: f64,
    part_target: f64,
    sequence: u64,
    /// Seconds, URI, date, and parts.
    segments: Vec<(f64, String, String, Vec<Part>)>,
    /// Of the segment that is not whole.
    open: Vec<Part>,
    hint: Option<String>,
    reports: Vec<(String, u64, u64)>,
    map: String,
    ended: bool,
    skipped: u64,
}

/// `NAME="VALUE"` or `NAME=VALUE` of an attribute list.
fn attribute(line: &str, name: &str) -> Option<String> {
    let (mut quoted, mut parts, mut last) = (false, Vec::new(), 0);
    for (at, c) in line.char_indices() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => {
                parts.push(&line[last..at]);
                last = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&line[last..]);
    let value = parts.iter().find_map(|part| part.strip_prefix(name)?.strip_prefix('='))?;
    Some(value.trim_matches('"').to_owned())
}

fn ranged(list: &str) -> String {
    let uri = attribute(list, "URI").unwrap();
    match (attribute(list, "BYTERANGE"), attribute(list, "BYTERANGE-START")) {
        (Some(range), _) => {
            let (bytes, offset) = range.split_once('@').unwrap();
            format!("{uri}#{offset}+{bytes}")
        }
        (_, Some(start)) => format!("{uri}#{start}+{}", attribute(list, "BYTERANGE-LENGTH").unwrap()),
        _ => uri,
    }
}

fn read(text: &str) -> Read {
    let (mut read, mut length, mut date) = (Read::default(), None, String::new());
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("#EXTM3U"));
    for line in lines {
        let (tag, value) = line.split_once(':').unwrap_or((line, ""));
        match tag {
            "#EXT-X-TARGETDURATION" => read.target = value.parse().unwrap(),
            "#EXT-X-PART-INF" => read.part_target = attribute(value, "PART-TARGET").unwrap().parse().unwrap(),
            "#EXT-X-MEDIA-SEQUENCE" => read.sequence = value.parse().unwrap(),
            "#EXT-X-SKIP" => read.skipped = attribute(value, "SKIPPED-SEGMENTS").unwrap().parse().unwrap(),
            "#EXT-X-MAP" => read.map = attribute(value, "URI").unwrap(),
            "#EXT-X-PROGRAM-DATE-TIME" => value.clone_into(&mut date),
            "#EXT-X-PART" => {
                read.open.push((attribute(value, "DURATION").unwrap().parse().unwrap(), ranged(value)));
            }
            "#EXTINF" => length = Some(value.trim_end_matches(',').parse::<f64>().unwrap()),
            "#EXT-X-PRELOAD-HINT" => read.hint = Some(ranged(value)),
            "#EXT-X-RENDITION-REPORT" => {
                let number = |name| attribute(value, name).unwrap().parse().unwrap();
                read.reports.push((
                    attribute(value, "URI").unwrap(),
                    number("LAST-MSN"),
                    number("LAST-PART"),
                ));
            }
            "#EXT-X-ENDLIST" => read.ended = true,
            _ if line.starts_with('#') => {}
            _ => {
                let parts = std::mem::take(&mut read.open);
                read.segments.push((length.take().unwrap(), line.to_owned(), date.clone(), parts));
            }
        }
    }
    read
}

impl Read {
    /// Every URI that is named as there, with its range.
    fn uris(&self) -> impl Iterator<Item = &str> {
        let whole = self.segments.iter().map(|(_, uri, ..)| uri.as_str());
        let parts = self.segments.iter().flat_map(|(.., parts)| parts).chain(&self.open);
        whole.chain(parts.map(|(_, uri)| uri.as_str())).chain([self.map.as_str()])
    }

    /// What comes after the last part, as directives.
    fn next(&self) -> (u64, u64) {
        (self.sequence + self.segments.len() as u64, self.open.len() as u64)
    }

    /// The rules for one playlist by itself.
    fn check(&self, text: &str) {
        let total: f64 = self.segments.iter().map(|(length, ..)| length).sum();
        assert!(total >= 3.0 * self.target - 1e-6, "shorter than three target durations: {text}");
        for (length, _, _, parts) in &self.segments {
            assert!(length.round() <= self.target, "{text}");
            if !parts.is_empty() {
                let sum: f64 = parts.iter().map(|(length, _)| length).sum();
                assert!((sum - length).abs() < 1e-4, "parts are not their segment: {text}");
                self.check_parts(parts, true);
            }
        }
        self.check_parts(&self.open, false);
        assert!(!self.map.is_empty() && !self.ended, "{text}");
    }

    fn check_parts(&self, parts: &[Part], whole: bool) {
        for (index, (length, uri)) in parts.iter().enumerate() {
            assert!(*length <= self.part_target + 1e-9, "{uri}");
            let is_last = whole && index + 1 == parts.len();
            assert!(is_last || *length >= 0.85 * self.part_target, "{uri}");
        }
    }

    /// What a playlist may not do to the one before it (6.2.1): segments do not change, and none is lost from between.
    fn check_after(&self, before: &Self) {
        assert!(self.sequence >= before.sequence && self.next() >= before.next());
        assert_eq!((self.target, &self.map), (before.target, &before.map));
        for (index, (length, uri, date, _)) in self.segments.iter().enumerate() {
            let msn = self.sequence + index as u64;
            let old = msn
                .checked_sub(before.sequence)
                .and_then(|index| before.segments.get(usize::try_from(index).unwrap()));
            if let Some(old) = old {
                assert_eq!((length, uri, date), (&old.0, &old.1, &old.2), "{msn}");
            }
            if msn == before.next().0 && !self.segments[index].3.is_empty() {
                assert_eq!(self.segments[index].3[..before.open.len()], before.open[..], "{msn}");
            }
        }
    }
}

/// Asks for a URI of a playlist, with its range; the answer, and its content.
fn fetch(stage: &Stage, folder: &str, uri: &str, now: Duration) -> (Answer, u64) {
    let (uri, range) = uri.split_once('#').map_or((uri, None), |(uri, range)| (uri, Some(range)));
    let path = format!("{folder}{uri}");
    match range {
        None => {
            let bytes = content::expected(&path).unwrap().bytes;
            (ask(stage, &path, now, &[]), bytes)
        }
        Some(range) => {
            let (offset, bytes) = range.split_once('+').unwrap();
            let (offset, bytes): (u64, u64) = (offset.parse().unwrap(), bytes.parse().unwrap());
            let value = format!("bytes={offset}-{}", offset + bytes - 1);
            (ask(stage, &path, now, &[("range", &value)]), bytes)
        }
    }
}

/// Everything that a playlist names is there, as it is named, at that moment.
fn check_named(stage: &Stage, folder: &str, playlist: &Read, now: Duration) {
    for uri in playlist.uris() {
        let (answer, bytes) = fetch(stage, folder, uri, now);
        assert!(matches!(answer.status, Some(200 | 206)), "{uri} at {now:?}: {answer:?}");
        assert_eq!((answer.at, answer.length), (now, bytes), "{uri}");
        assert!(answer.grows.iter().all(|(_, at)| *at <= now), "{uri} at {now:?}: {answer:?}");
    }
}

/// What is hinted at is waited for, until exactly the time at which the playlist names it.
fn check_hint(stage: &Stage, folder: &str, name: &str, playlist: &Read, now: Duration) -> Duration {
    let hint = playlist.hint.as_ref().unwrap();
    let (answer, bytes) = fetch(stage, folder, hint, now);
    assert!(matches!(answer.status, Some(200 | 206)) && answer.at > now, "{hint} at {now:?}: {answer:?}");
    assert_eq!(answer.length, bytes, "{hint}");
    let (msn, part) = playlist.next();
    let reload = ask(stage, &format!("{folder}{name}?_HLS_msn={msn}&_HLS_part={part}"), now, &[]);
    assert_eq!((reload.status, reload.at), (Some(200), answer.at), "{msn}.{part} at {now:?}");
    let held = text(&reload);
    assert!(read(&held).uris().any(|uri| uri == hint), "{hint}: {held}");
    // Not a nanosecond earlier, and then the same as for somebody who did not wait.
    let before = get(stage, &format!("{folder}{name}"), answer.at - Duration::from_nanos(1));
    assert!(!read(&before).uris().any(|uri| uri == hint), "{hint}: {before}");
    assert_eq!(get(stage, &format!("{folder}{name}"), answer.at), held);
    answer.at
}

fn walk(scenario: &Scenario, title: &str, seed: u64) {
    let stage = Stage::new(scenario, wall_epoch());
    let folder = format!("/media/live/{title}/");
    let mut random = Pcg64Mcg::seed_from_u64(seed);
    let (mut now, mut before) = (Duration::ZERO, HashMap::new());
    for _ in 0..150 {
        let name = ["v0.m3u8", "v1.m3u8", "audio.m3u8"][random.random_range(0..3)];
        let text = get(&stage, &format!("{folder}{name}"), now);
        let playlist = read(&text);
        playlist.check(&text);
        check_named(&stage, &folder, &playlist, now);
        let next = playlist.next();
        if playlist.hint.is_some() {
            let at = check_hint(&stage, &folder, name, &playlist, now);
            let count = next.0 * 1000 + next.1;
            for (other, msn, part) in &playlist.reports {
                let other = read(&get(&stage, &format!("{folder}{other}"), now));
                assert_eq!(other.next(), next, "seed {seed}");
                assert!(msn * 1000 + part < count && (*msn == next.0 || next.1 == 0), "seed {seed}: {text}");
            }
            // As a player that reloads, or one that comes by.
            now = if random.random_bool(0.7) { at } else { now + ms(random.random_range(1..3_000)) };
        } else {
            now += ms(random.random_range(1..5_000));
        }
        if let Some(before) = before.insert(name, playlist) {
            read(&text).check_after(&before);
        }
    }
}

#[test]
fn each_live_playlist_follows_from_the_one_before_and_all_it_names_is_there() {
    for (seed, segment) in [(1, 4_000), (2, 2_002), (3, 1_001), (4, 9_600)] {
        let mut scenario = scenario(vec![]);
        scenario.streams[0].segment = ms(segment);
        walk(&scenario, "sport", seed);
    }
}

#[test]
fn each_low_latency_playlist_follows_and_what_it_hints_at_comes_exactly_then() {
    for (seed, segment, part, window) in [
        (1, 2_000, 500, 6),
        (2, 4_000, 333, 4),
        (3, 6_006, 1_001, 12),
        (4, 1_000, 200, 3),
        (5, 3_840, 1_000, 30),
    ] {
        for parts_are_ranges in [false, true] {
            let mut scenario = scenario(vec![]);
            let stream = &mut scenario.streams[1];
            (stream.segment, stream.part, stream.window) = (ms(segment), ms(part), window);
            stream.parts_are_ranges = parts_are_ranges;
            walk(&scenario, "news", seed);
        }
    }
}

/// A player that takes a delta update has the same as one that takes the whole.
#[test]
fn delta_updates_add_up_to_the_full_playlist() {
    let mut scenario = scenario(vec![]);
    scenario.streams[1].window = 15;
    let stage = Stage::new(&scenario, wall_epoch());
    let mut random = Pcg64Mcg::seed_from_u64(9);
    let mut now = Duration::ZERO;
    let mut held = read(&get(&stage, "/media/live/news/v1.m3u8", now));
    for _ in 0..100 {
        // Not longer than half of what may be left out (6.2.5.1).
        now += ms(random.random_range(1..6_000));
        let full = read(&get(&stage, "/media/live/news/v1.m3u8", now));
        let delta = read(&get(&stage, "/media/live/news/v1.m3u8?_HLS_skip=YES", now));
        let first = usize::try_from(delta.sequence - held.sequence).unwrap();
        let skipped = usize::try_from(delta.skipped).unwrap();
        let kept = held.segments[first..first + skipped].iter().cloned();
        let merged: Vec<_> =
            kept.chain(delta.segments).map(|(length, uri, date, _)| (length, uri, date)).collect();
        let whole: Vec<_> =
            full.segments.iter().map(|(length, uri, date, _)| (*length, uri.clone(), date.clone())).collect();
        assert_eq!(merged, whole, "{now:?}");
        assert_eq!(delta.open, full.open);
        held = full;
    }
}
