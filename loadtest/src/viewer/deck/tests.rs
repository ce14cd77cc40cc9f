#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
use super::*;

const S: i64 = 1_000_000;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A deck that is waited for since now, at the beginning of the timeline.
fn deck(need: u64) -> (Deck, Instant, Vec<Met>) {
    let start = Instant::now();
    let mut deck = Deck::new(start, Why::Arrival, ms(need));
    deck.place(0);
    (deck, start, Vec::new())
}

fn held(from: i64, to: i64) -> Held {
    Held { start_us: from * S, end_us: to * S, bytes: 1_000 * (to - from) as u64, bitrate: 8_000 }
}

#[test]
fn a_stall_begins_when_the_buffer_is_dry_however_late_somebody_looks() {
    let (mut deck, start, mut news) = deck(2_000);
    deck.push(Side::Video, held(0, 4), start + ms(300), &mut news);
    assert_eq!(news, [Met::Started { after: ms(300), zapped: false }]);
    deck.advance(start + ms(9_000), &mut news);
    assert_eq!(deck.state(), State::Waiting { since: start + ms(4_300), why: Why::Stall });
    deck.push(Side::Video, held(4, 8), start + ms(9_500), &mut news);
    assert_eq!(*news.last().unwrap(), Met::StallEnded { after: ms(5_200) });
    assert_eq!(news.iter().filter(|met| **met == Met::StallBegan).count(), 1);
}

#[test]
fn media_that_comes_at_the_last_instant_is_in_time() {
    let (mut deck, start, mut news) = deck(1_000);
    deck.push(Side::Video, held(0, 4), start, &mut news);
    deck.advance(start + ms(4_000), &mut news);
    deck.push(Side::Video, held(4, 8), start + ms(4_000), &mut news);
    assert_eq!(deck.state(), State::Playing);
    assert!(!news.contains(&Met::StallBegan));
    assert_eq!(deck.position_us(), Some(4 * S));
}

#[test]
fn after_a_stall_it_takes_as_much_as_at_the_start() {
    let (mut deck, start, mut news) = deck(4_000);
    deck.push(Side::Video, held(0, 2), start, &mut news);
    assert_eq!(news, []);
    deck.push(Side::Video, held(2, 4), start + ms(1_000), &mut news);
    assert_eq!(deck.state(), State::Playing);
    deck.push(Side::Video, held(4, 6), start + ms(8_000), &mut news);
    assert!(matches!(deck.state(), State::Waiting { why: Why::Stall, .. }));
    deck.push(Side::Video, held(6, 8), start + ms(8_100), &mut news);
    assert_eq!(*news.last().unwrap(), Met::StallEnded { after: ms(3_100) });
}

#[test]
fn the_end_needs_no_start_buffer_and_is_no_stall() {
    let (mut deck, start, mut news) = deck(10_000);
    deck.push(Side::Video, held(0, 1), start, &mut news);
    deck.seal(Side::Video, start, &mut news);
    assert_eq!(deck.state(), State::Playing);
    assert_eq!(deck.next_change(), Some(start + ms(1_000)));
    deck.advance(start + ms(5_000), &mut news);
    assert_eq!(deck.state(), State::Ended { at: start + ms(1_000) });
    assert!(!news.contains(&Met::StallBegan));
}

#[test]
fn a_track_that_is_over_does_not_stop_the_other() {
    let (mut deck, start, mut news) = deck(1_000);
    deck.set_audio(true);
    deck.push(Side::Video, held(0, 10), start, &mut news);
    deck.seal(Side::Video, start, &mut news);
    assert_eq!(news, [], "sound is missing");
    deck.push(Side::Audio, held(0, 8), start, &mut news);
    deck.seal(Side::Audio, start, &mut news);
    deck.advance(start + ms(20_000), &mut news);
    assert_eq!(deck.state(), State::Ended { at: start + ms(10_000) });
    let played = news.iter().filter(|met| matches!(met, Met::Played { .. })).count();
    assert_eq!(played, 10);
}

#[test]
fn a_gap_that_nothing_fills_is_gone_over_at_once() {
    let (mut deck, start, mut news) = deck(3_000);
    deck.push(Side::Video, held(0, 4), start, &mut news);
    deck.push(Side::Video, held(8, 12), start, &mut news);
    deck.advance(start + ms(6_000), &mut news);
    assert_eq!((deck.state(), deck.position_us()), (State::Playing, Some(10 * S)));
    assert!(!news.contains(&Met::StallBegan));
}

#[test]
fn less_than_the_start_buffer_before_a_gap_is_no_reason_to_wait_for_ever() {
    let (mut deck, start, mut news) = deck(6_000);
    deck.push(Side::Video, held(0, 4), start, &mut news);
    assert_eq!(news, []);
    deck.push(Side::Video, held(8, 12), start, &mut news);
    assert_eq!(deck.state(), State::Playing);
}

#[test]
fn a_seek_into_what_is_held_plays_on_and_one_elsewhere_drops_it() {
    let (mut deck, start, mut news) = deck(2_000);
    deck.push(Side::Video, held(0, 20), start, &mut news);
    assert!(deck.seek(10 * S, start + ms(1_000), &mut news));
    assert_eq!((deck.state(), deck.position_us()), (State::Playing, Some(10 * S)));
    assert_eq!(news[news.len() - 2..], [Met::Wasted(9_000), Met::Started { after: ms(0), zapped: true }]);
    news.clear();
    assert!(!deck.seek(5 * S, start + ms(2_000), &mut news), "what is behind is not kept");
    assert!(news.contains(&Met::Wasted(9_000)));
    deck.push(Side::Video, held(4, 8), start + ms(2_400), &mut news);
    assert_eq!(*news.last().unwrap(), Met::Started { after: ms(400), zapped: true });
    assert_eq!(deck.position_us(), Some(5 * S));
}

#[test]
fn a_seek_out_of_a_stall_ends_it() {
    let (mut deck, start, mut news) = deck(1_000);
    deck.push(Side::Video, held(0, 1), start, &mut news);
    deck.advance(start + ms(3_000), &mut news);
    deck.seek(60 * S, start + ms(4_000), &mut news);
    assert!(news.ends_with(&[Met::StallEnded { after: ms(3_000) }]));
    deck.stop(start + ms(5_000), &mut news);
    assert_eq!(news.iter().filter(|met| matches!(met, Met::StallEnded { .. })).count(), 1);
}

#[test]
fn what_was_played_and_what_was_wasted_is_all_that_came() {
    for stop in [0, 1, 1_234, 3_999, 4_000, 7_777, 12_000, 20_000] {
        let (mut deck, start, mut news) = deck(1_000);
        for piece in 0..3 {
            deck.push(
                Side::Video,
                Held { bitrate: 8_000 + piece as u64, ..held(piece * 4, piece * 4 + 4) },
                start,
                &mut news,
            );
        }
        deck.stop(start + ms(stop), &mut news);
        let (mut played, mut wasted) = (0, 0);
        for met in &news {
            match met {
                Met::Played { media, .. } => played += media.as_millis() as u64,
                Met::Wasted(bytes) => wasted += bytes,
                _ => {}
            }
        }
        assert_eq!(played, stop.min(12_000), "stopped at {stop}");
        assert!((12_000 - stop.min(12_000)).abs_diff(wasted) <= 1, "stopped at {stop}: {wasted}");
    }
}

#[test]
fn the_buffer_has_room_from_when_it_has_drained_to_its_limit() {
    let (mut deck, start, mut news) = deck(1_000);
    assert_eq!(deck.room_at(Side::Video, 8 * S), Some(start));
    deck.push(Side::Video, held(0, 10), start + ms(500), &mut news);
    assert_eq!(deck.room_at(Side::Video, 8 * S), Some(start + ms(2_500)));
    deck.advance(start + ms(3_000), &mut news);
    assert_eq!(deck.room_at(Side::Video, 8 * S), Some(start + ms(2_500)), "however late it is looked at");
    deck.stop(start + ms(3_000), &mut news);
    deck.place(0);
    let mut full = Deck::new(start, Why::Arrival, ms(60_000));
    full.place(0);
    full.push(Side::Video, held(0, 10), start, &mut news);
    assert_eq!(full.room_at(Side::Video, 8 * S), None, "it does not drain");
}
