//! An origin that fails in one way after the other under live viewers: none of them sees an error while there is something
//! to stand in, and the origin is asked no more than its caps allow, by its own count.
//!
//! The time of day is held by the test, and moves on when every viewer has been answered; nothing depends on how long
//! that takes.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, UNIX_EPOCH};

use forebay::clock::Clock;
use tokio::task::JoinSet;

use crate::support::client::{Http1, Request};
use crate::support::content::{assert_same_bytes, piece};
use crate::support::edge::Setup;
use crate::support::node::LocalNode;
use crate::support::origin::{Answer, Origin, Recorded};
use crate::support::wait::within;

/// What the origin may be asked: each line of the configuration with the bound that the test holds it to.
const CAPS: &str = "limits = { connections = 2, requests_per_second = 100, burst = 2, queue = \"1m\" }\n\
    retry = { attempts = 2 }";
const CONNECTIONS: usize = 2;
const ATTEMPTS: usize = 2;
const RATE: f64 = 100.0;
const BURST: f64 = 2.0;

const RENDITIONS: usize = 4;
const VIEWERS: usize = 32;
/// Seconds of a segment, and target duration.
const SEGMENT: u64 = 2;
/// Segments that a playlist lists.
const LISTED: u64 = 5;
const SEGMENT_BYTES: usize = 20_000;

/// How the origin is at the moment.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Well,
    /// It answers everything with 503.
    Busy,
    /// It takes requests and closes the connection.
    HangsUp,
    /// Nobody listens.
    Gone,
    /// Every body takes its time.
    Slow,
}

/// The newest segment there is so many seconds after the beginning.
fn newest(second: u64) -> u64 {
    second / SEGMENT + LISTED - 1
}

fn list(second: u64) -> String {
    let first = newest(second) + 1 - LISTED;
    let lines = (first..first + LISTED).map(|number| format!("#EXTINF:{SEGMENT},\n{number}.m4s\n"));
    let lines: String = lines.collect();
    format!("#EXTM3U\n#EXT-X-TARGETDURATION:{SEGMENT}\n#EXT-X-MEDIA-SEQUENCE:{first}\n{lines}")
}

fn segment(rendition: u64, number: u64) -> bytes::Bytes {
    piece(100 * number + rendition, SEGMENT_BYTES)
}

struct Live {
    origin: Origin,
    node: LocalNode,
    clock: Clock,
    /// When the origin has had its requests, and when the node began.
    stamps: Arc<Mutex<Vec<Instant>>>,
    began: Instant,
    /// Seconds since the beginning.
    second: Arc<AtomicU64>,
    phase: Arc<Mutex<Phase>>,
    viewers: Vec<Viewer>,
}

struct Viewer {
    connection: Http1,
    rendition: u64,
    /// The newest segment that it has played.
    played: u64,
}

impl Viewer {
    /// Loads its playlist and the newest segment of it; gives that one's number.
    async fn reload(&mut self, what: &str) -> u64 {
        let rendition = self.rendition;
        let playlist = self.connection.ask(&Request::get(&format!("/{rendition}/v.m3u8"))).await;
        assert_eq!(playlist.status(), 200, "{what}: the playlist, {:?}", playlist.head);
        let text = String::from_utf8_lossy(playlist.whole()).into_owned();
        let last = text.lines().last().and_then(|name| name.strip_suffix(".m4s"));
        let number: u64 = last.and_then(|number| number.parse().ok()).expect("a segment");
        assert!(number >= self.played, "{what}: from {} back to {number}", self.played);
        let answer = self.connection.ask(&Request::get(&format!("/{rendition}/{number}.m4s"))).await;
        assert_eq!(answer.status(), 200, "{what}: segment {number}, {:?}", answer.head);
        assert_same_bytes(answer.whole(), &segment(rendition, number), what);
        self.played = number;
        number
    }
}

fn answer(phase: Phase, second: u64, request: &Recorded) -> Answer {
    let well = || {
        let (rendition, name) = request.path()[1..].split_once('/').expect("two parts");
        match name.strip_suffix(".m4s") {
            None => Answer::ok(list(second)),
            Some(number) => Answer::ok(segment(rendition.parse().unwrap(), number.parse().unwrap()))
                .cache_control("max-age=3600"),
        }
    };
    match phase {
        Phase::Well | Phase::Gone => well(),
        Phase::Busy => Answer::status(503),
        Phase::HangsUp => Answer::raw(""),
        Phase::Slow => well().paced(4, Duration::from_millis(40)),
    }
}

impl Live {
    async fn start() -> Live {
        let origin = Origin::start().await;
        let clock = Clock::manual(UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        let (second, phase) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(Phase::Well)));
        let (now, how) = (Arc::clone(&second), Arc::clone(&phase));
        let stamps = Arc::new(Mutex::new(Vec::new()));
        origin.otherwise({
            let stamps = Arc::clone(&stamps);
            move |request, _| {
                stamps.lock().unwrap().push(Instant::now());
                answer(*how.lock().unwrap(), now.load(Ordering::SeqCst), request)
            }
        });
        // Longer than all that goes wrong together.
        let rule = "rule = [{ path = \"*.m3u8\", stale_if_error = \"90s\" }]";
        let setup = Setup::before(&origin).origin(CAPS).site(rule);
        let began = Instant::now();
        let node = LocalNode::start_at(&setup, clock.clone());
        let mut viewers = Vec::new();
        for number in 0..VIEWERS {
            let connection = Http1::connect(node.http()).await;
            viewers.push(Viewer { connection, rendition: (number % RENDITIONS) as u64, played: 0 });
        }
        Live { origin, node, clock, stamps, began, second, phase, viewers }
    }

    /// All viewers reload at once; gives the oldest of the newest segments that they have got.
    async fn reload(&mut self, what: &str) -> u64 {
        let mut reloads = JoinSet::new();
        for mut viewer in self.viewers.drain(..) {
            let what = what.to_owned();
            reloads.spawn(async move { (viewer.reload(&what).await, viewer) });
        }
        let (numbers, viewers): (Vec<_>, Vec<_>) = reloads.join_all().await.into_iter().unzip();
        self.viewers = viewers;
        numbers.into_iter().min().expect("viewers")
    }

    fn now(&self) -> u64 {
        self.second.load(Ordering::SeqCst)
    }

    /// Lets so many seconds pass in this phase, with a reload in each; gives the requests that the origin has counted.
    async fn pass(&mut self, phase: Phase, seconds: u64) -> usize {
        let before = self.origin.recorded().len();
        *self.phase.lock().unwrap() = phase;
        for _ in 0..seconds {
            self.second.fetch_add(1, Ordering::SeqCst);
            self.clock.advance(Duration::from_secs(1));
            let what = format!("{phase:?}, second {}", self.now());
            self.reload(&what).await;
        }
        self.origin.recorded().len() - before
    }

    /// Up to each request that the origin has had, there were no more than burst and rate allow.
    fn assert_rate(&self) {
        for (before, stamp) in self.stamps.lock().unwrap().iter().enumerate() {
            let since = (*stamp - self.began).as_secs_f64();
            assert!((before + 1) as f64 <= BURST + RATE * since + 1e-6, "request {before} after {since} s");
        }
    }

    /// Waits until every viewer has the newest segment there is.
    async fn catch_up(&mut self) {
        within("the newest segment at every viewer", async {
            while self.reload("catching up").await < newest(self.now()) {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

/// Half a minute of 503, half a minute in which it hangs up and is gone, then a slow one: 32 live viewers of four
/// renditions, who reload each second, get their playlists and segments throughout. By the origin's own count no more
/// requests were under way at once, and none came faster, than may be, a failing playlist cost one fetch a second however many viewers there
/// are, and each segment was fetched once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_viewers_do_not_notice_a_brownout() {
    let mut live = Live::start().await;
    live.pass(Phase::Well, 10).await;
    // What no viewer has asked for before the origin fails, nobody can have.
    live.catch_up().await;

    let most = |seconds: usize| seconds * RENDITIONS * ATTEMPTS;
    let busy = live.pass(Phase::Busy, 30).await;
    assert!((1..=most(30)).contains(&busy), "{busy} requests in 30 s of 503");
    let hung_up = live.pass(Phase::HangsUp, 15).await;
    // A connection that was kept from before is replaced without counting as an attempt.
    assert!(
        (1..=most(15) + CONNECTIONS).contains(&hung_up),
        "{hung_up} requests in 15 s of closed connections"
    );
    live.origin.stop().await;
    live.pass(Phase::Gone, 15).await;
    let refused =
        live.node.metrics().await.sum("forebay_origin_errors_total", &[("error", "connect")]) as usize;
    assert!((1..=most(15)).contains(&refused), "{refused} connections tried in 15 s without an origin");
    live.origin.restart();
    let slow = live.pass(Phase::Slow, 20).await;
    let segments = 20_usize.div_ceil(SEGMENT as usize) + 1;
    assert!(
        (1..=most(20) + segments * RENDITIONS).contains(&slow),
        "{slow} requests in 20 s of a slow origin"
    );
    live.catch_up().await;
    live.pass(Phase::Well, 4).await;
    live.catch_up().await;

    assert_eq!(live.origin.most_open(), CONNECTIONS, "requests under way at once");
    live.assert_rate();
    let limited = live.node.metrics().await.sum("forebay_origin_rate_limited_total", &[]);
    assert!(limited > 0.0, "the rate was never used up");
    let recorded = live.origin.recorded();
    let fetched: Vec<&str> =
        recorded.iter().map(Recorded::path).filter(|path| path.ends_with(".m4s")).collect();
    for path in &fetched {
        assert_eq!(live.origin.requests(path), 1, "{path}");
    }
    let asked = live.node.metrics().await.sum("forebay_requests_total", &[]) as usize;
    assert!(asked > 5 * recorded.len(), "{asked} requests of viewers cost the origin {}", recorded.len());
    live.node.stop().await;
}

/// What stands in has its limit: beyond it viewers are told, and the origin is still asked no more than its caps allow.
#[tokio::test]
async fn beyond_the_stale_limit_viewers_are_told() {
    let mut live = Live::start().await;
    live.pass(Phase::Well, 2).await;
    live.catch_up().await;
    *live.phase.lock().unwrap() = Phase::Busy;
    // Fresh for half a target duration, and 90 s more.
    live.clock.advance(Duration::from_secs(92));
    let before = live.origin.recorded().len();
    let mut told = JoinSet::new();
    let failed = Arc::new(AtomicUsize::new(0));
    for mut viewer in live.viewers.drain(..) {
        let failed = Arc::clone(&failed);
        told.spawn(async move {
            let request = Request::get(&format!("/{}/v.m3u8", viewer.rendition));
            let status = viewer.connection.ask(&request).await.status();
            assert_eq!(status, 503);
            failed.fetch_add(1, Ordering::SeqCst);
        });
    }
    told.join_all().await;
    assert_eq!(failed.load(Ordering::SeqCst), VIEWERS);
    let asked = live.origin.recorded().len() - before;
    assert!((RENDITIONS..=RENDITIONS * ATTEMPTS).contains(&asked), "{asked} requests");
    live.assert_rate();
    live.node.stop().await;
}
