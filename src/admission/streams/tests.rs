#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;

const NOW: u64 = 1_700_000_000_000;
const WINDOW: u64 = 30_000;

fn stream(subject: &str, session: &str, limit: u32) -> Stream {
    Stream {
        subject: Name::of(&[subject.as_bytes()]),
        session: Name::of(&[session.as_bytes()]),
        limit,
        window: Duration::from_millis(WINDOW),
    }
}

#[test]
fn a_subject_has_so_many_streams_at_once_and_known_ones_go_on() {
    let streams = Streams::new(10);
    assert_eq!(streams.admit(&stream("u", "a", 2), NOW), Decision::Admitted);
    assert_eq!(streams.admit(&stream("u", "b", 2), NOW), Decision::Admitted);
    assert_eq!(streams.admit(&stream("u", "c", 2), NOW), Decision::TooMany);
    assert_eq!(streams.admit(&stream("u", "a", 2), NOW), Decision::Admitted);
    assert_eq!(streams.admit(&stream("v", "c", 2), NOW), Decision::Admitted, "another subject's");
    assert_eq!(streams.admit(&stream("u", "a", 1), NOW), Decision::Admitted, "a lower limit ends nothing");
    assert_eq!(streams.admit(&stream("w", "a", 0), NOW), Decision::TooMany, "none at all");
}

#[test]
fn a_session_that_was_not_seen_for_the_window_leaves_its_place() {
    let streams = Streams::new(10);
    streams.admit(&stream("u", "a", 1), NOW);
    assert_eq!(streams.admit(&stream("u", "b", 1), NOW + WINDOW - 1), Decision::TooMany);
    assert_eq!(streams.look(&stream("u", "a", 1), NOW + WINDOW - 1), Seen::Before);
    assert_eq!(streams.admit(&stream("u", "a", 1), NOW + WINDOW - 1), Decision::Admitted);
    assert_eq!(streams.admit(&stream("u", "b", 1), NOW + WINDOW), Decision::TooMany, "it was seen since");
    let later = NOW + 2 * WINDOW - 1;
    assert_eq!(streams.look(&stream("u", "a", 1), later), Seen::Never { others: 0 });
    assert_eq!(streams.admit(&stream("u", "b", 1), later), Decision::Admitted);
    assert_eq!(streams.admit(&stream("u", "a", 1), later), Decision::TooMany);
}

#[test]
fn a_look_tells_what_is_known_and_notes_nothing() {
    let streams = Streams::new(10);
    let one = stream("u", "a", 2);
    assert_eq!(streams.look(&one, NOW), Seen::Never { others: 0 });
    streams.admit(&one, NOW);
    assert_eq!(streams.look(&one, NOW + WINDOW / 3 - 1), Seen::Lately);
    assert_eq!(streams.look(&one, NOW + WINDOW / 3), Seen::Before);
    assert_eq!(streams.look(&stream("u", "b", 2), NOW), Seen::Never { others: 1 });
    assert_eq!(streams.look(&one, NOW + WINDOW), Seen::Never { others: 0 });
    assert_eq!(streams.look(&one, NOW - 1), Seen::Lately, "the clock went back");
}

#[test]
fn what_others_decided_is_noted_and_forgotten() {
    let streams = Streams::new(10);
    for session in ["a", "b", "c"] {
        streams.note(&stream("u", session, 1), NOW);
    }
    assert_eq!(streams.look(&stream("u", "d", 1), NOW), Seen::Never { others: 3 });
    streams.forget(&stream("u", "b", 1));
    assert_eq!(streams.look(&stream("u", "b", 1), NOW), Seen::Never { others: 2 });
}

#[test]
fn beyond_the_limit_of_subjects_nobody_is_turned_away() {
    let streams = Streams::new(2);
    streams.admit(&stream("u", "a", 1), NOW);
    streams.admit(&stream("v", "a", 1), NOW);
    assert_eq!(streams.admit(&stream("w", "a", 1), NOW), Decision::Uncounted);
    assert_eq!(streams.admit(&stream("w", "b", 1), NOW), Decision::Uncounted);
    assert_eq!(streams.admit(&stream("u", "b", 1), NOW), Decision::TooMany, "who has a place is counted");
    assert_eq!(streams.len(), 2);
    streams.sweep(NOW + WINDOW);
    assert!(streams.is_empty());
    assert_eq!(streams.admit(&stream("w", "a", 1), NOW + WINDOW), Decision::Admitted);
}

#[test]
fn parts_of_a_name_do_not_run_together() {
    assert_ne!(Name::of(&[b"ab", b"c"]), Name::of(&[b"a", b"bc"]));
    assert_ne!(Name::of(&[b"a"]), Name::of(&[b"a", b""]));
    assert_eq!(Name::of(&[b"a"]).to_hex().len(), 32);
}

#[test]
fn of_many_new_sessions_at_once_the_limit_gets_in() {
    let streams = Streams::new(1000);
    for round in 0..100 {
        let admitted = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for session in 0..8 {
                let (streams, admitted) = (&streams, &admitted);
                scope.spawn(move || {
                    let stream = stream(&round.to_string(), &session.to_string(), 3);
                    if streams.admit(&stream, NOW) == Decision::Admitted {
                        admitted.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(admitted.into_inner(), 3);
    }
}
