#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
use super::*;
use crate::viewer::playlist::Playlist;

fn read(text: &str) -> Playlist {
    Playlist::parse(text).unwrap()
}

/// Segments of four seconds.
fn live(first: u64, count: u64, more: &str) -> Playlist {
    let segments: String = (first..first + count).map(|n| format!("#EXTINF:4,\n{n}.m4s\n")).collect();
    read(&format!("#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:{first}\n{segments}{more}"))
}

/// Segments 10 and 11 of two seconds in four parts, and so many parts of segment 12.
fn low(open: u64, hint: &str) -> Playlist {
    let part = |msn: u64, n: u64| {
        let independent = if n.is_multiple_of(2) { ",INDEPENDENT=YES" } else { "" };
        format!("#EXT-X-PART:DURATION=0.5,URI=\"{msn}.{n}.m4s\"{independent}\n")
    };
    let parts = |msn: u64, count: u64| (0..count).map(|n| part(msn, n)).collect::<String>();
    read(&format!(
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-PART-INF:PART-TARGET=0.5\n\
         #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.5\n#EXT-X-MEDIA-SEQUENCE:10\n\
         #EXTINF:2,\n10.m4s\n{}#EXTINF:2,\n11.m4s\n{}{hint}",
        parts(11, 4),
        parts(12, open),
    ))
}

const HINT: &str = "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"next.m4s\"\n";

fn at(msn: u64, part: usize) -> Cursor {
    Cursor { msn, part }
}

fn name(media: &Media, next: &Next<'_>) -> String {
    match next {
        Next::Segment(resource, _) => format!("segment {}", media.uri(resource)),
        Next::Part(resource, _) => format!("part {}", media.uri(resource)),
        Next::Hint(resource) => format!("hint {}", media.uri(resource)),
        other => format!("{other:?}"),
    }
}

#[test]
fn a_playlist_is_loaded_again_after_a_target_duration_or_half_of_one() {
    let (before, same, after) = (live(5, 4, ""), live(5, 4, ""), live(6, 4, ""));
    let (before, same, after) = (before.media().unwrap(), same.media().unwrap(), after.media().unwrap());
    assert_eq!(pace(before, Change::between(before, after)), Duration::from_secs(4));
    assert_eq!(pace(before, Change::between(before, same)), Duration::from_secs(2));
    assert_eq!(Change::between(after, before), Change::Backward);
}

#[test]
fn a_new_part_or_the_end_is_a_change_and_fewer_segments_are_a_step_back() {
    let between = |before: &Playlist, after: &Playlist| {
        Change::between(before.media().unwrap(), after.media().unwrap())
    };
    assert_eq!(between(&low(1, ""), &low(2, "")), Change::Changed);
    assert_eq!(between(&low(2, ""), &low(2, HINT)), Change::Same);
    assert_eq!(between(&low(2, ""), &low(1, "")), Change::Backward);
    assert_eq!(between(&live(5, 4, ""), &live(5, 4, "#EXT-X-ENDLIST\n")), Change::Changed);
    assert_eq!(between(&live(5, 4, ""), &live(5, 3, "")), Change::Backward);
    assert_eq!(between(&live(5, 4, ""), &live(4, 6, "")), Change::Backward);
}

#[test]
fn a_blocking_reload_asks_for_what_is_not_there_yet() {
    let directives = |playlist: &Playlist| blocking(playlist.media().unwrap());
    assert_eq!(directives(&low(3, "")), Some((at(12, 3), "_HLS_msn=12&_HLS_part=3".into())));
    let plain = live(5, 4, "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES\n");
    assert_eq!(directives(&plain), Some((at(9, 0), "_HLS_msn=9".into())), "without parts too");
    assert_eq!(directives(&live(5, 4, "")), None);
    let ended = live(5, 4, "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES\n#EXT-X-ENDLIST\n");
    assert_eq!(directives(&ended), None);
    let has = |playlist: &Playlist, cursor| super::has(playlist.media().unwrap(), cursor);
    assert!(has(&low(3, ""), at(12, 2)) && has(&low(0, ""), at(11, 7)) && !has(&low(3, ""), at(12, 3)));
}

#[test]
fn playing_begins_at_the_distance_that_the_server_or_the_specification_says() {
    let begin = |playlist: &Playlist| begin_us(playlist.media().unwrap());
    assert_eq!(begin(&live(5, 6, "")), 12_000_000, "three target durations before the end");
    let told = live(5, 6, "#EXT-X-SERVER-CONTROL:HOLD-BACK=16\n");
    assert_eq!(begin(&told), 8_000_000);
    assert_eq!(begin(&live(5, 2, "")), 0, "a short list is played from its beginning");
    assert_eq!(begin(&live(5, 6, "#EXT-X-ENDLIST\n")), 0, "and so is a title that is over");
    assert_eq!(begin(&low(3, "")), 5_500_000 - 1_500_000, "parts count where they are played");
}

#[test]
fn a_place_is_found_in_its_segment_or_in_the_last_independent_part_before_it() {
    let list = live(5, 4, "");
    let find = |us| locate(list.media().unwrap(), us);
    assert_eq!(find(-1), (at(5, 0), 0));
    assert_eq!(find(0), (at(5, 0), 0));
    assert_eq!(find(3_800_000), (at(5, 0), 0));
    assert_eq!(
        find(3_950_000),
        (at(6, 0), 4_000_000),
        "rounding does not fetch a segment for its last frame"
    );
    assert_eq!(find(99_000_000), (at(9, 0), 16_000_000));
    let list = low(3, "");
    let find = |us| locate(list.media().unwrap(), us);
    assert_eq!(find(500_000), (at(10, 0), 0), "parts of old segments are not listed");
    assert_eq!(find(2_700_000), (at(11, 0), 2_000_000));
    assert_eq!(find(3_000_000), (at(11, 2), 3_000_000));
    assert_eq!(find(3_999_000), (at(12, 0), 4_000_000));
    assert_eq!(find(5_400_000), (at(12, 2), 5_000_000));
}

#[test]
fn what_comes_next_is_a_segment_where_it_is_whole_and_a_part_where_it_is_not() {
    let list = low(2, HINT);
    let media = list.media().unwrap();
    let next = |cursor, by_parts| name(media, &super::next(media, cursor, by_parts));
    assert_eq!(next(at(10, 0), true), "segment 10.m4s");
    assert_eq!(next(at(11, 0), false), "segment 11.m4s");
    assert_eq!(next(at(11, 0), true), "part 11.0.m4s");
    assert_eq!(next(at(11, 3), false), "part 11.3.m4s");
    assert_eq!(next(at(11, 4), false), "part 12.0.m4s", "the segment is over");
    assert_eq!(settle(media, at(11, 4)), at(12, 0));
    assert_eq!(settle(media, at(12, 2)), at(12, 2));
    assert_eq!(next(at(12, 1), false), "part 12.1.m4s");
    assert_eq!(next(at(12, 2), false), "hint next.m4s");
    assert_eq!(next(at(12, 3), false), "Wait");
    assert_eq!(next(at(13, 0), false), "Wait");
    assert_eq!(next(at(9, 0), false), "Gone");
    assert_eq!(next(at(10, 2), false), "segment 10.m4s", "its parts are no longer listed");
}

#[test]
fn a_hint_without_an_end_is_left_to_the_playlist_to_cut() {
    let list = low(2, "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"12.m4s\",BYTERANGE-START=1000\n");
    assert_eq!(next(list.media().unwrap(), at(12, 2), false), Next::Wait);
    let list =
        low(2, "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"12.m4s\",BYTERANGE-START=1000,BYTERANGE-LENGTH=500\n");
    assert!(matches!(next(list.media().unwrap(), at(12, 2), false), Next::Hint(_)));
}

#[test]
fn a_title_that_is_over_ends_and_gaps_are_gone_over() {
    let ended = live(5, 2, "#EXT-X-ENDLIST\n");
    assert_eq!(next(ended.media().unwrap(), at(7, 0), false), Next::End);
    let gap = live(5, 2, "#EXT-X-GAP\n#EXTINF:3,\n7.m4s\n");
    assert_eq!(next(gap.media().unwrap(), at(7, 0), false), Next::Gap(at(8, 0), 3_000_000));
    assert_eq!(next(live(5, 2, "").media().unwrap(), at(7, 0), false), Next::Wait);
}

#[test]
fn an_old_playlist_lacks_the_parts_of_its_age() {
    let lacks =
        |playlist: &Playlist, seconds| tune_in(playlist.media().unwrap(), Duration::from_secs(seconds));
    assert_eq!(lacks(&low(1, HINT), 0), None);
    // After 12.0 there are 12.1 and 12.2 a second later, and 13.0 two seconds later.
    assert_eq!(lacks(&low(1, HINT), 1), Some(at(12, 2)));
    assert_eq!(lacks(&low(1, HINT), 2), Some(at(13, 0)));
    // No more than one target duration and a half is believed.
    assert_eq!(lacks(&low(0, HINT), 86_400), Some(at(13, 1)));
    assert_eq!(lacks(&live(5, 4, ""), 3), None, "what is not played at low latency begins further back");
}
