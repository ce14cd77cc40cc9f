#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::sync::atomic::AtomicU64;

use super::*;
use crate::hls;
use crate::key::{Key, hash_of};
use crate::playlists::{MadeHere, Playlists};

const TEXT: &str = "s /a.m3u8";
const TARGET: Duration = Duration::from_secs(4);

/// A playlist of an origin that a test moves on, on the clock of the test.
struct Stage {
    clock: Clock,
    began: Instant,
    playlist: Arc<Playlist>,
    polls: Arc<Polls>,
    /// Segments that the origin has.
    has: Arc<AtomicU64>,
    /// When it was asked.
    asked: Arc<Mutex<Vec<Duration>>>,
}

impl Stage {
    fn new() -> Stage {
        let clock = Clock::manual(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        let playlist = Playlists::new(4, 4).get_or_insert(TEXT);
        let polls = Arc::new(Polls::new(clock.clone(), &Registry::new()).unwrap());
        let stage = Stage {
            clock,
            began: Instant::now(),
            playlist,
            polls,
            has: Arc::new(AtomicU64::new(3)),
            asked: Arc::default(),
        };
        learn(&stage.playlist, 3, &stage.clock);
        stage
    }

    fn wait(&self) -> Waiting {
        self.polls.ensure(&self.playlist, || self.ask())
    }

    fn ask(&self) -> Ask {
        let (began, asked, has) = (self.began, Arc::clone(&self.asked), Arc::clone(&self.has));
        let (playlist, clock) = (Arc::clone(&self.playlist), self.clock.clone());
        Box::new(move || {
            asked.lock().push(began.elapsed());
            learn(&playlist, has.load(Ordering::Acquire), &clock);
            Box::pin(async { Polled::Asked })
        })
    }

    /// Lets time pass, on both clocks.
    async fn pass(&self, millis: u64) {
        for _ in 0..millis / 10 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            self.clock.advance(Duration::from_millis(10));
        }
    }

    /// When the origin was asked, in milliseconds.
    fn asked(&self) -> Vec<u128> {
        self.asked.lock().iter().map(Duration::as_millis).collect()
    }
}

fn learn(playlist: &Playlist, segments: u64, clock: &Clock) {
    let count = usize::try_from(segments).unwrap();
    let text = format!("#EXTM3U\n#EXT-X-TARGETDURATION:4\n{}", "#EXTINF:3,\na\n".repeat(count));
    let facts = hls::read::read(text.as_bytes()).unwrap();
    let due_after = hls::announce::due_after(&text, &facts);
    playlist.make_here(MadeHere { reload: true, delta: false, due_after });
    playlist.learn(facts, &Key { hash: hash_of(TEXT), text: TEXT.into() }, clock.now(), false);
}

#[tokio::test(start_paused = true)]
async fn a_poll_is_due_with_the_next_segment_and_then_each_quarter_of_the_target_duration() {
    let stage = Stage::new();
    let waiting = stage.wait();
    stage.pass(2900).await;
    assert_eq!(stage.asked(), [], "before the segment is due");
    stage.pass(2500).await;
    let asked = stage.asked();
    assert_eq!(asked.len(), 3, "{asked:?}");
    assert!((2990..3100).contains(&asked[0]) && (3990..4100).contains(&asked[1]), "{asked:?}");
    stage.has.store(4, Ordering::Release);
    stage.pass(700).await;
    assert_eq!(stage.playlist.reached().get().next, 4);
    let seen = *stage.asked().last().unwrap();
    stage.pass(3000).await;
    let asked = stage.asked();
    assert_eq!(asked.len(), 5, "one for the next segment: {asked:?}");
    assert!((seen + 2990..seen + 3100).contains(asked.last().unwrap()), "{asked:?}");
    drop(waiting);
}

#[tokio::test(start_paused = true)]
async fn all_who_wait_share_the_polls_and_the_last_who_leaves_ends_them() {
    let stage = Stage::new();
    let waiting: Vec<Waiting> = (0..1000).map(|_| stage.wait()).collect();
    stage.pass(3500).await;
    assert_eq!((stage.asked().len(), stage.polls.count()), (1, 1));
    drop(waiting);
    stage.pass(60_000).await;
    assert_eq!((stage.asked().len(), stage.polls.count()), (1, 0));
    let _waiting = stage.wait();
    stage.pass(500).await;
    assert_eq!(stage.asked().len(), 2, "long overdue: at once");
}

#[tokio::test(start_paused = true)]
async fn viewers_who_come_and_go_do_not_make_polls_more_frequent() {
    let stage = Stage::new();
    stage.pass(10_000).await;
    for _ in 0..400 {
        drop(stage.wait());
        let waiting = stage.wait();
        stage.pass(30).await;
        drop(waiting);
    }
    let asked = stage.asked();
    assert!(asked.len() >= 6, "{asked:?}");
    let quarter = (TARGET / POLLS_PER_TARGET).as_millis() - 20;
    assert!(asked.windows(2).all(|pair| pair[1] - pair[0] >= quarter), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn what_others_have_fetched_puts_a_poll_off() {
    let stage = Stage::new();
    let _waiting = stage.wait();
    stage.pass(2500).await;
    // Viewers who are not held have the playlist fetched: first as it was, then grown.
    learn(&stage.playlist, 3, &stage.clock);
    stage.pass(800).await;
    assert_eq!(stage.asked(), [], "asked by others a moment ago");
    learn(&stage.playlist, 4, &stage.clock);
    stage.pass(2900).await;
    assert_eq!(stage.asked(), [], "the next segment is not due");
    stage.pass(300).await;
    assert_eq!(stage.asked().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_told_when_polls_are_of_no_use() {
    for ended in [true, false] {
        let stage = Stage::new();
        let playlist = Arc::clone(&stage.playlist);
        let clock = stage.clock.clone();
        let waiting = stage.polls.ensure(&stage.playlist, || {
            Box::new(move || {
                if ended {
                    let facts = playlist.latest().unwrap().facts;
                    let key = Key { hash: hash_of(TEXT), text: TEXT.into() };
                    playlist.learn(hls::PlaylistFacts { ended: true, ..facts }, &key, clock.now(), false);
                }
                Box::pin(async move { if ended { Polled::Asked } else { Polled::Over } })
            })
        });
        stage.pass(3500).await;
        tokio::time::timeout(Duration::from_secs(1), waiting.over()).await.unwrap();
        assert_eq!(stage.polls.count(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_poll_that_panics_leaves_nobody_waiting() {
    let stage = Stage::new();
    let waiting = stage.polls.ensure(&stage.playlist, || Box::new(|| panic!("on purpose")));
    stage.pass(3500).await;
    tokio::time::timeout(Duration::from_secs(1), waiting.over()).await.unwrap();
    assert_eq!(stage.polls.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn no_playlist_makes_polls_more_frequent_than_the_floor() {
    let stage = Stage::new();
    let made = MadeHere { reload: true, delta: false, due_after: Duration::from_millis(1) };
    let (playlist, asked, began) = (Arc::clone(&stage.playlist), Arc::clone(&stage.asked), stage.began);
    let _waiting = stage.polls.ensure(&stage.playlist, || {
        Box::new(move || {
            asked.lock().push(began.elapsed());
            let mut latest = (*playlist.latest().unwrap()).clone();
            latest.facts.part_target = Some(Duration::from_millis(1));
            latest.facts.reach.next += 1;
            playlist.make_here(made);
            playlist.learn(latest.facts, &latest.key, latest.grown + Duration::from_millis(1), false);
            Box::pin(async { Polled::Asked })
        })
    });
    stage.pass(20_000).await;
    let asked = stage.asked();
    assert!(asked.len() > 10, "{asked:?}");
    assert!(asked.windows(2).all(|pair| pair[1] - pair[0] >= POLL_FLOOR.as_millis() - 10), "{asked:?}");
}
