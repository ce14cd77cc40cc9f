//! Whether a run was good enough: the scenario's targets beside what was measured, and no wrong byte.
//!
//! Nobody may pass by not being measured: who never got a picture counts as one who waited too long, and a run in which nothing
//! was played or asked for meets nothing; what there was nothing to measure by is told as such. Called by [`super::Chronicle`].

use super::book::Book;
use super::spread::Spread;
use super::summary::Verdict;
use crate::scenario::Targets;

/// The verdicts. `waiting` are the times that viewers without a picture had waited when the run ended.
pub(super) fn of(targets: &Targets, total: &Book, waiting: &Spread) -> Vec<Verdict> {
    let (stalled, played) = (total.stalled_time.as_secs_f64(), total.played_time.as_secs_f64());
    let has_played = stalled + played > 0.0;
    let stall_ratio = if has_played { stalled / (stalled + played) } else { 0.0 };

    let startup_micros = u64::try_from(targets.startup_p95.as_micros()).unwrap_or(u64::MAX);
    let mut starts = total.starts.clone();
    starts.merge(&total.in_vain);
    // Who came just before the end has not waited too long; who has, will not be in time any more.
    starts.merge_from(&total.left_waiting, startup_micros);
    starts.merge_from(waiting, startup_micros);
    let startup = starts.at(0.95) / 1e6;

    let requests = total.requests();
    let has_asked = requests > 0;
    let error_ratio = if has_asked { total.errors_count() as f64 / requests as f64 } else { 0.0 };

    vec![
        verdict("stall_ratio", stall_ratio, targets.stall_ratio, has_played),
        // All may have started before counting began: then nobody knows.
        verdict("startup_p95_seconds", startup, targets.startup_p95.as_secs_f64(), starts.count() > 0),
        verdict("error_ratio", error_ratio, targets.error_ratio, has_asked),
        verdict("mismatches", total.mismatches as f64, 0.0, has_asked),
    ]
}

fn verdict(target: &str, measured: f64, at_most: f64, is_measured: bool) -> Verdict {
    Verdict {
        target: target.to_owned(),
        measured,
        at_most,
        met: is_measured && measured <= at_most,
        unmeasured: !is_measured,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use std::time::Duration;

    use super::*;
    use crate::fetch::Kind;
    use crate::measure::Met;

    fn met(total: &Book, waiting: &Spread) -> Vec<bool> {
        of(&Targets::default(), total, waiting).iter().map(|verdict| verdict.met).collect()
    }

    fn good() -> Book {
        let mut book = Book::default();
        book.count(Met::Played { media: Duration::from_secs(1_000), bitrate: 1 });
        (0..100).for_each(|_| book.starts.record_time(Duration::from_millis(500)));
        book.exchange(0, Kind::Segment, "/a", &crate::measure::tests::exchange(200));
        book
    }

    #[test]
    fn a_run_without_faults_meets_all_targets() {
        assert_eq!(met(&good(), &Spread::default()), [true; 4]);
    }

    #[test]
    fn a_run_in_which_nothing_happened_meets_none() {
        assert_eq!(met(&Book::default(), &Spread::default()), [false; 4]);
        let verdicts = of(&Targets::default(), &Book::default(), &Spread::default());
        assert!(verdicts.iter().all(|verdict| verdict.unmeasured && !verdict.is_missed()), "{verdicts:?}");
    }

    #[test]
    fn a_start_up_that_nobody_had_while_it_counted_is_not_measured_and_not_met() {
        let seated = Book { starts: Spread::default(), ..good() };
        let verdicts = of(&Targets::default(), &seated, &Spread::default());
        let unmeasured: Vec<bool> = verdicts.iter().map(|verdict| verdict.unmeasured).collect();
        assert_eq!(unmeasured, [false, true, false, false]);
        assert_eq!(met(&seated, &Spread::default()), [true, false, true, true]);
    }

    #[test]
    fn each_target_is_missed_by_what_it_is_about() {
        let mut stalled = good();
        stalled.stalled_time = Duration::from_secs(2);
        assert_eq!(met(&stalled, &Spread::default()), [false, true, true, true]);
        let mut slow = good();
        (0..10).for_each(|_| slow.starts.record_time(Duration::from_secs(3)));
        assert_eq!(met(&slow, &Spread::default()), [true, false, true, true]);
        let mut failing = good();
        failing.exchange(0, Kind::Segment, "/a", &crate::measure::tests::exchange(503));
        assert_eq!(met(&failing, &Spread::default()), [true, true, false, true]);
        let mut wrong = good();
        wrong.mismatches = 1;
        assert_eq!(met(&wrong, &Spread::default()), [true, true, true, false]);
    }

    #[test]
    fn who_gave_up_or_left_or_still_waits_after_too_long_has_waited_too_long() {
        let mut in_vain = good();
        (0..10).for_each(|_| in_vain.in_vain.record_time(Duration::from_secs(30)));
        assert_eq!(met(&in_vain, &Spread::default()), [true, false, true, true]);
        let (mut long, mut short) = (Spread::default(), Spread::default());
        (0..10).for_each(|_| long.record_time(Duration::from_secs(9)));
        (0..10).for_each(|_| short.record_time(Duration::from_millis(900)));
        assert_eq!(met(&good(), &long), [true, false, true, true]);
        assert_eq!(met(&good(), &short), [true; 4]);
        let left = |waits: &Spread| Book { left_waiting: waits.clone(), ..good() };
        assert_eq!(met(&left(&long), &Spread::default()), [true, false, true, true]);
        assert_eq!(met(&left(&short), &Spread::default()), [true; 4]);
    }
}
