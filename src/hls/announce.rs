//! Tells players what the node does for a playlist in its origin's place: `CAN-BLOCK-RELOAD` and `CAN-SKIP-UNTIL` of
//! `EXT-X-SERVER-CONTROL` (RFC 8216bis section 4.4.3.8).
//!
//! Decides what is announced, and where it goes in the text. One line is changed or added; all others stay byte for
//! byte. Neither attribute asks for a version of its own (section 8): a delta update does, and has it.

use std::time::Duration;

use super::PlaylistFacts;
use super::text::{attribute, bare, line_end, lines, tag};
use crate::config::model::{By, LowLatency};

/// Target durations from the end of a playlist that a delta update has in full: the fewest that may be (section
/// 4.4.3.8).
pub const SKIP_BOUNDARY_TARGETS: u32 = 6;

/// What the node does in an origin's place for a playlist that says this of itself: hold reloads, make delta updates.
/// An origin that announces either does it itself.
pub fn made_here(facts: &PlaylistFacts, rule: &LowLatency) -> (bool, bool) {
    let media = !facts.multivariant;
    (
        media && rule.reload == By::Edge && !facts.can_block_reload,
        media && rule.delta == By::Edge && !facts.can_skip,
    )
}

/// The text of a live playlist with what the node does for it announced; None: nothing is to be announced in it, and it
/// stays as it is.
pub fn announce(text: &str, facts: &PlaylistFacts, rule: &LowLatency) -> Option<String> {
    let (reload, delta) = made_here(facts, rule);
    let of = |name| move |line: &&str| tag(line).is_some_and(|(found, _)| found == name);
    if !facts.is_live() || !(reload || delta) || lines(text).any(|line| of("EXT-X-SKIP")(&line)) {
        return None;
    }
    let boundary = format!("{}.0", facts.target_duration.as_secs() * u64::from(SKIP_BOUNDARY_TARGETS));
    let mut attributes = Vec::new();
    attributes.extend(reload.then_some(("CAN-BLOCK-RELOAD", "YES")));
    attributes.extend(delta.then_some(("CAN-SKIP-UNTIL", boundary.as_str())));
    let place = |name| lines(text).position(|line| of(name)(&line));
    let told = place("EXT-X-SERVER-CONTROL");
    let after = place("EXT-X-TARGETDURATION").unwrap_or(0);
    let mut announced = String::with_capacity(text.len() + 96);
    for (at, line) in lines(text).enumerate() {
        if told == Some(at) {
            announced.push_str(&changed(line, &attributes));
            continue;
        }
        announced.push_str(line);
        if told.is_none() && at == after {
            if !line.ends_with('\n') {
                announced.push_str(line_end(text));
            }
            announced.push_str(&changed("#EXT-X-SERVER-CONTROL:", &attributes));
            announced.push_str(line_end(text));
        }
    }
    Some(announced)
}

/// A tag's line with these attributes: those that it has get another value, the others come first, before whatever the
/// list ends with.
fn changed(line: &str, attributes: &[(&str, &str)]) -> String {
    let (head, list) = line.split_once(':').unwrap_or((line.trim_ascii_end(), ""));
    let (mut list, mut added) = (list.to_owned(), Vec::new());
    for (name, value) in attributes {
        match attribute(&list, name) {
            Some(at) => list.replace_range(at, value),
            None => added.push(format!("{name}={value}")),
        }
    }
    let blank = list.trim_ascii().is_empty();
    // White space would be part of the last value.
    let list = if blank { list.trim_start_matches([' ', '\t']) } else { &list };
    let separator = if blank || added.is_empty() { "" } else { "," };
    format!("{head}:{}{separator}{list}", added.join(","))
}

/// How long after it has grown a live playlist is due to grow again: by a part, where it has parts, else by a segment
/// like its last one.
pub fn due_after(text: &str, facts: &PlaylistFacts) -> Duration {
    let last = lines(text).filter_map(|line| bare(line).strip_prefix("#EXTINF:")).last().and_then(seconds);
    let segment = last.filter(|last| !last.is_zero() && *last <= facts.target_duration * 2);
    facts.part_target.or(segment).unwrap_or(facts.target_duration)
}

/// The duration that an `EXTINF` says.
pub(super) fn seconds(written: &str) -> Option<Duration> {
    let number = written.split(',').next()?.trim_ascii();
    Duration::try_from_secs_f64(number.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;
    use crate::config::model::Late;
    use crate::hls::read;

    const BOTH: LowLatency = LowLatency { reload: By::Edge, delta: By::Edge, late: Late::Error };
    const RELOAD: LowLatency = LowLatency { delta: By::Origin, ..BOTH };

    fn announced(text: &str, rule: &LowLatency) -> Option<String> {
        let told = announce(text, &read::read(text.as_bytes()).unwrap(), rule)?;
        let facts = read::read(told.as_bytes()).unwrap();
        assert_eq!(announce(&told, &facts, rule), None, "it is announced once");
        Some(told)
    }

    #[test]
    fn the_announcement_is_one_line_of_its_own() {
        let text =
            "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:1\n#EXTINF:4,\na.ts\n";
        let line = "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=24.0\n";
        let expected = text.replace("DURATION:4\n", &format!("DURATION:4\n{line}"));
        assert_eq!(announced(text, &BOTH).unwrap(), expected);
        let crlf = text.replace('\n', "\r\n");
        assert_eq!(announced(&crlf, &BOTH).unwrap(), expected.replace('\n', "\r\n"));
        assert_eq!(announced(text, &RELOAD).unwrap(), expected.replace(",CAN-SKIP-UNTIL=24.0", ""));
        let without = "\u{feff}#EXTM3U\n#EXTINF:4,\na.ts";
        let told = announced(without, &RELOAD).unwrap();
        assert_eq!(told, "\u{feff}#EXTM3U\n#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES\n#EXTINF:4,\na.ts");
        assert_eq!(
            announced("#EXTM3U", &RELOAD).unwrap(),
            "#EXTM3U\n#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES\n"
        );
    }

    #[test]
    fn a_tag_that_is_there_keeps_its_other_attributes() {
        for (had, has) in [
            ("HOLD-BACK=12.0", "CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=24.0,HOLD-BACK=12.0"),
            (
                "CAN-BLOCK-RELOAD=NO,HOLD-BACK=12.5 ",
                "CAN-SKIP-UNTIL=24.0,CAN-BLOCK-RELOAD=YES,HOLD-BACK=12.5 ",
            ),
            ("X=\"CAN-SKIP-UNTIL=9,\"", "CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=24.0,X=\"CAN-SKIP-UNTIL=9,\""),
            ("CAN-BLOCK-RELOAD=YES", "CAN-SKIP-UNTIL=24.0,CAN-BLOCK-RELOAD=YES"),
            ("CAN-SKIP-UNTIL=30.0", "CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=30.0"),
            (" ", "CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=24.0"),
        ] {
            let text = format!(
                "#EXTM3U\n#EXT-X-SERVER-CONTROL:{had}\r\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\na.ts\n"
            );
            assert_eq!(announced(&text, &BOTH).unwrap(), text.replace(had, has), "{had}");
        }
    }

    #[test]
    fn what_does_not_grow_or_announces_itself_stays_as_it_is() {
        let live = "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\na.ts\n";
        let own = "#EXTM3U\n#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=24\n#EXTINF:4,\na.ts\n";
        assert_eq!(announced(live, &LowLatency::default()), None);
        assert_eq!(announced(own, &BOTH), None);
        assert_eq!(announced(&format!("{live}#EXT-X-ENDLIST\n"), &BOTH), None);
        assert_eq!(announced(&format!("{live}#EXT-X-PLAYLIST-TYPE:VOD\n"), &BOTH), None);
        assert_eq!(announced("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nv.m3u8\n", &BOTH), None);
        assert_eq!(announced("#EXTM3U\n#EXT-X-SKIP:SKIPPED-SEGMENTS=3\n#EXTINF:4,\na.ts\n", &BOTH), None);
    }

    #[test]
    fn a_playlist_is_due_to_grow_after_its_last_segment_or_a_part() {
        let due = |text: &str| due_after(text, &read::read(text.as_bytes()).unwrap());
        let live = "#EXTM3U\n#EXT-X-TARGETDURATION:6\n";
        assert_eq!(due(&format!("{live}#EXTINF:6,\na\n#EXTINF: 4.004 ,x\nb\n")), Duration::from_millis(4004));
        for unusable in ["", "#EXTINF:x,\na\n", "#EXTINF:-4,\na\n", "#EXTINF:0,\na\n", "#EXTINF:1e99,\na\n"] {
            assert_eq!(due(&format!("{live}{unusable}")), Duration::from_secs(6), "{unusable}");
        }
        let parts = format!("{live}#EXT-X-PART-INF:PART-TARGET=0.5\n#EXTINF:4,\na\n");
        assert_eq!(due(&parts), Duration::from_millis(500));
    }
}
