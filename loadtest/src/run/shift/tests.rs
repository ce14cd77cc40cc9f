//! A thread's viewers in computed time: when they begin, what is told when, and how it ends.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::cell::RefCell;
use std::rc::Rc;

use tokio::task::LocalSet;
use tokio::time::sleep;

use super::*;
use crate::measure::{Chronicle, Met, Sides};
use crate::run::fake;

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Seconds that were told of: when in milliseconds, which, and how many had arrived in it.
type Told = Rc<RefCell<Vec<(u128, u32, u32)>>>;

/// A shift of these viewers over so long, and what it told.
async fn shift<V: Future<Output = ()> + 'static>(
    tickets: Vec<Ticket>,
    duration: Duration,
    stop: Stop,
    watch: impl Fn(Recorder, Ticket, Instant) -> V,
) -> (Ended, Vec<(u128, u32, u32)>) {
    let epoch = Instant::now();
    let (recorder, told) = (Recorder::new(), Told::default());
    let mut chronicle = Chronicle::new(Duration::ZERO, epoch);
    let tell = async |second, book| {
        let row = chronicle.second(second, book, Sides::default());
        told.borrow_mut().push((epoch.elapsed().as_millis(), second, row.arrived));
        true
    };
    let shift = Shift { tickets, epoch, duration, stop };
    let ended = LocalSet::new()
        .run_until(shift.run(&recorder, |ticket| watch(recorder.clone(), ticket, epoch), tell))
        .await;
    (ended, told.take())
}

#[tokio::test(start_paused = true)]
async fn every_viewer_begins_when_its_ticket_says_however_long_others_take() {
    let begun = Rc::new(RefCell::new(Vec::new()));
    let tickets = fake::tickets(500, ms(100), ms(4_000));
    let expected: Vec<_> = tickets.iter().map(|ticket| (ticket.viewer, ticket.arrives.as_millis())).collect();
    let (ended, told) = shift(tickets, ms(5_000), Stop::new(), |recorder, ticket, epoch| {
        let begun = Rc::clone(&begun);
        async move {
            begun.borrow_mut().push((ticket.viewer, epoch.elapsed().as_millis()));
            fake::watch(recorder, ticket, epoch, ms(5_000)).await;
        }
    })
    .await;
    assert_eq!(begun.take(), expected);
    assert_eq!(ended, Ended::default());
    // 8 ms apart from 100 ms on.
    assert_eq!(told, [(1000, 1, 113), (2000, 2, 125), (3000, 3, 125), (4000, 4, 125), (5000, 5, 12)]);
}

#[tokio::test(start_paused = true)]
async fn a_second_that_is_not_whole_is_one_all_the_same() {
    let (_, told) =
        shift(fake::tickets(3, ms(0), ms(2_400)), ms(2_500), Stop::new(), |recorder, ticket, epoch| {
            fake::watch(recorder, ticket, epoch, ms(2_500))
        })
        .await;
    assert_eq!(told, [(1000, 1, 2), (2000, 2, 1), (2500, 3, 0)]);
    assert_eq!([seconds(ms(2_500)), seconds(ms(3_000)), seconds(ms(1))], [3, 3, 1]);
}

#[tokio::test(start_paused = true)]
async fn who_leaves_late_is_waited_for_and_who_never_leaves_is_ended() {
    let closed = Rc::new(());
    let (ended, told) =
        shift(fake::tickets(4, ms(0), ms(400)), ms(2_000), Stop::new(), |recorder, ticket, epoch| {
            let closed = Rc::clone(&closed);
            async move {
                let late = if ticket.viewer == 3 { Duration::from_secs(3_600) } else { ms(2_700) };
                fake::watch(recorder, ticket, epoch, late).await;
                drop(closed);
            }
        })
        .await;
    assert_eq!(ended, Ended { broken: 0, cut_off: 1 });
    assert_eq!(told.last().unwrap(), &(4_000, 2, 0));
    assert_eq!(Rc::strong_count(&closed), 1, "an ended viewer still holds its connections");
    assert!(ended.spoiled()[0].contains("1 viewers had not left"), "{:?}", ended.spoiled());
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_all_at_once_and_tells_what_there_is() {
    let stop = Stop::new();
    tokio::spawn({
        let stop = stop.clone();
        async move {
            sleep(ms(3_150)).await;
            stop.ask();
        }
    });
    let tickets = fake::tickets(100, ms(3_100), ms(10_000));
    let (ended, told) = shift(tickets, ms(60_000), stop, |recorder, ticket, epoch| {
        fake::watch(recorder, ticket, epoch, ms(60_000))
    })
    .await;
    assert_eq!(told, [(1000, 1, 0), (2000, 2, 0), (3000, 3, 0), (3150, 4, 1)]);
    assert_eq!(ended, Ended::default());
}

#[tokio::test(start_paused = true)]
async fn a_viewer_that_breaks_is_counted_and_harms_nobody() {
    let (ended, told) = shift(
        fake::tickets(10, ms(0), ms(500)),
        ms(1_000),
        Stop::new(),
        |recorder, ticket, epoch| async move {
            assert!(ticket.viewer != 4, "a defect that this test makes");
            fake::watch(recorder, ticket, epoch, ms(1_000)).await;
        },
    )
    .await;
    assert_eq!(ended, Ended { broken: 1, cut_off: 0 });
    assert_eq!(told, [(1000, 1, 9)]);
}

#[tokio::test(start_paused = true)]
async fn a_shift_to_which_nobody_listens_ends() {
    let epoch = Instant::now();
    let recorder = Recorder::new();
    let shift = Shift { tickets: Vec::new(), epoch, duration: ms(60_000), stop: Stop::new() };
    let watch = |ticket: Ticket| {
        recorder.met(ticket.viewer, Met::Arrived);
        async {}
    };
    shift.run(&recorder, watch, async |_, _| false).await;
    assert_eq!(epoch.elapsed(), ms(1_000));
}
