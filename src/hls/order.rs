//! Which segment of a media playlist comes after which, and which part after which.
//!
//! A player that has one of them asks for the next (RFC 8216bis section 6.3.4), so that is what it can be told ahead. What follows
//! from numbers alone is not guessed: only what the playlist lists, or hints at, comes next. Of what is missing (`EXT-X-GAP`)
//! nothing is told, nor that it comes next.

use super::names::{Named, names_around};
use super::variables::Around;
use crate::asset::Kind;

/// Calls `found` with each segment and part of a playlist, and with what comes after it; None: that is not known yet.
/// Those of segments before number `from` are left out.
pub fn order<'t>(
    text: &'t str,
    around: &Around<'_>,
    from: u64,
    mut found: impl FnMut(&Named<'t>, Option<&Named<'t>>),
) {
    let (mut segment, mut part) = (None, None);
    let mut tell = |before: Option<Named<'t>>, next: Option<&Named<'t>>| {
        let Some(before) = before.filter(|before| !before.gap && before.msn >= Some(from)) else { return };
        found(&before, next.filter(|next| !next.gap && follows(&before, next)));
    };
    names_around(text, around, |named| {
        let latest = match named.kind {
            Kind::Segment if !named.hint => &mut segment,
            Kind::Part => &mut part,
            _ => return,
        };
        tell(latest.take(), Some(&named));
        // What is only hinted at is told of once it is there.
        *latest = Some(named).filter(|named| !named.hint);
    });
    tell(segment, None);
    tell(part, None);
}

/// Whether nothing lies between two segments, or two parts.
fn follows(before: &Named<'_>, next: &Named<'_>) -> bool {
    let after = |number: Option<u64>| number.and_then(|number| number.checked_add(1));
    let next_segment = after(before.msn) == next.msn;
    match next.part {
        None | Some(0) => next_segment,
        part => before.msn == next.msn && after(before.part) == part,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each in short: what it is, how long it plays, what comes next.
    fn ordered(text: &str, from: u64) -> Vec<String> {
        let mut told = Vec::new();
        order(text, &Around::default(), from, |named, next| {
            let range = |named: &Named<'_>| match named.range {
                Some(range) => {
                    format!("{}@{}", range.len.map_or("..".into(), |len| len.to_string()), range.start)
                }
                None => String::new(),
            };
            let name = |named: &Named<'_>| format!("{}{}", named.uri, range(named));
            let ms = named.duration().map_or(0, |duration| duration.as_millis());
            told.push(format!("{} {ms} {}", name(named), next.map_or("-".into(), name)));
        });
        told
    }

    const LIVE: &str = "#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:5\n#EXTINF:4.004, a title\n5\n\
        #EXT-X-PART:DURATION=2,URI=\"6.0\"\n#EXT-X-PART:DURATION=2.002,URI=\"6.1\"\n#EXTINF:4,\n6\n\
        #EXT-X-PART:DURATION=2,URI=\"7.0\"\n#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"7.1\"\n";

    #[test]
    fn segments_follow_segments_and_parts_parts() {
        let all = ["6.0 2000 6.1", "5 4004 6", "6.1 2002 7.0", "7.0 2000 7.1", "6 4000 -"];
        assert_eq!(ordered(LIVE, 0), all);
        assert_eq!(ordered(LIVE, 6), [all[0], all[2], all[3], all[4]]);
        assert_eq!(ordered(LIVE, 7), ["7.0 2000 7.1"]);
    }

    #[test]
    fn what_is_missing_is_not_told_of_and_comes_after_nothing() {
        let text = "#EXTM3U\n#EXTINF:4,\na\n#EXT-X-GAP\n#EXTINF:4,\nb\n#EXTINF:4,\nc\n\
            #EXT-X-PART:DURATION=1,URI=\"d.0\"\n#EXT-X-PART:DURATION=1,URI=\"d.1\",GAP=YES\n\
            #EXT-X-PART:DURATION=1,URI=\"d.2\"\n";
        assert_eq!(ordered(text, 0), ["a 4000 -", "d.0 1000 -", "c 4000 -", "d.2 1000 -"]);
    }

    #[test]
    fn a_segment_without_its_parts_is_not_passed_over_by_those_around_it() {
        let part = |uri: &str| format!("#EXT-X-PART:DURATION=1,URI=\"{uri}\"\n");
        let text = format!("#EXTM3U\n{}#EXTINF:1,\na\n#EXTINF:1,\nb\n{}", part("a.0"), part("c.0"));
        assert_eq!(ordered(&text, 0), ["a 1000 b", "a.0 1000 -", "b 1000 -", "c.0 1000 -"]);
    }

    #[test]
    fn ranges_and_durations_are_told_as_far_as_they_are_known() {
        let text = "#EXTM3U\n#EXTINF:0,\n#EXT-X-BYTERANGE:10@5\na\n#EXTINF:nan,\n#EXT-X-BYTERANGE:7\na\n\
            #EXT-X-PART:URI=\"b\",BYTERANGE=\"3@0\"\n#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"b\",BYTERANGE-START=3\n";
        assert_eq!(ordered(text, 0), ["a10@5 0 a7@15", "b3@0 0 b..@3", "a7@15 0 -"]);
    }
}
