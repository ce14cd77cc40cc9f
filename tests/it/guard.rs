//! The playlist guard: a bad playlist never takes a good one's place, what begins anew is served whole and new, and how
//! long playlists, manifests and their absence are kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use forebay::clock::Clock;
use tokio::task::JoinSet;

use crate::support::client::{Request, Response, ask, get};
use crate::support::content::assert_same_bytes;
use crate::support::edge::Setup;
use crate::support::node::LocalNode;
use crate::support::origin::{Answer, Origin};
use crate::support::wait::Gate;

/// A rendition's playlist. Its target duration is 4 s: fresh for 2, refreshed beside its viewers for 2 more, in place of
/// an error for 12 beyond its freshness; the origin is left alone for 1 after a failure.
const PATH: &str = "/live/v.m3u8";
const WINDOW: u64 = 14_000;
const RETRY: u64 = 1000;

/// A live playlist that lists `segments` from number `sequence` on.
fn list(sequence: u64, segments: u64) -> String {
    tagged(sequence, segments, "")
}

fn tagged(sequence: u64, segments: u64, tags: &str) -> String {
    let lines = (sequence..sequence + segments).map(|number| format!("#EXTINF:4,\nseg{number}.ts\n"));
    let lines: String = lines.collect();
    format!("#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:{sequence}\n{tags}{lines}")
}

struct Bench {
    origin: Origin,
    node: LocalNode,
    clock: Clock,
    /// Milliseconds since the beginning.
    now: AtomicU64,
}

impl Bench {
    async fn start() -> Bench {
        Bench::with(|setup| setup).await
    }

    async fn with(more: impl FnOnce(Setup) -> Setup) -> Bench {
        let origin = Origin::start().await;
        let clock = Clock::manual(UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        let node = LocalNode::start_at(&more(Setup::before(&origin)), clock.clone());
        Bench { origin, node, clock, now: AtomicU64::new(0) }
    }

    /// Moves the clock to so many milliseconds after the beginning.
    fn at(&self, millis: u64) {
        let before = self.now.swap(millis, Ordering::Relaxed);
        self.clock.advance(Duration::from_millis(millis.checked_sub(before).expect("time goes on")));
    }

    async fn get(&self, path: &str) -> Response {
        self.node.get(path).await
    }

    /// What a path is answered with is this text.
    async fn serves(&self, path: &str, text: &str, what: &str) -> Response {
        let response = self.get(path).await;
        assert_eq!(response.status(), 200, "{what}");
        assert_same_bytes(response.whole(), text.as_bytes(), what);
        response
    }

    /// Plays the path with this text, then has the origin answer with what is bad: the good text is served for exactly
    /// its window, then this status; the origin is asked once a second at most; and what is good again is served at once.
    async fn keeps_playing_through(&self, bad: Answer, status: u16, what: &str) {
        let good = list(100, 5);
        self.origin.on(PATH, Answer::ok(good.clone()));
        self.serves(PATH, &good, what).await;
        self.origin.on(PATH, bad);
        for millis in (4000..WINDOW).step_by(500).chain([WINDOW - 1]) {
            self.at(millis);
            for _ in 0..3 {
                let response = self.serves(PATH, &good, &format!("{what} after {millis} ms")).await;
                assert_eq!(response.outcome(), "hit_stale", "{what} after {millis} ms");
            }
        }
        self.at(WINDOW);
        for _ in 0..3 {
            assert_eq!(self.get(PATH).await.status(), status, "{what} after its window");
        }
        self.at(WINDOW + RETRY);
        assert_eq!(self.get(PATH).await.status(), status, "{what}, asked once more");
        let asked = self.origin.requests(PATH) as u64;
        assert!((3..=3 + (WINDOW - 4000) / RETRY).contains(&asked), "{what}: {asked} requests");
        let better = list(103, 5);
        self.origin.on(PATH, Answer::ok(better.clone()));
        self.at(WINDOW + 2 * RETRY);
        self.serves(PATH, &better, &format!("{what} is over")).await;
    }

    async fn guarded(&self, reason: &str) -> f64 {
        self.node.metrics().await.sum("forebay_playlist_guarded_total", &[("reason", reason)])
    }

    async fn restarts(&self) -> f64 {
        self.node.metrics().await.sum("forebay_stream_restarts_total", &[])
    }

    /// Answers everything that has no script with the round and the path.
    fn segments_of(&self, round: &'static str) {
        self.origin.otherwise(move |request, _| Answer::ok(format!("{round} {}", request.path())));
    }

    async fn serves_segment(&self, path: &str, round: &str) -> Response {
        self.serves(path, &format!("{round} {path}"), path).await
    }
}

/// A text so long that it is read beside the threads that serve viewers is judged as any other.
#[tokio::test]
async fn a_long_playlist_is_guarded_as_a_short_one_is() {
    const SEGMENTS: u64 = 20_000;
    let bench = Bench::start().await;
    let (good, better) = (list(100, SEGMENTS), list(103, SEGMENTS));
    bench.origin.on(PATH, Answer::ok(good.clone()));
    bench.serves(PATH, &good, "the first").await;
    bench.origin.on(PATH, Answer::ok(good.replace("#EXTM3U", "#EXTM4U")));
    bench.at(4000);
    assert_eq!(bench.serves(PATH, &good, "what is kept").await.outcome(), "hit_stale");
    let guarded = bench.node.metrics().await.sum("forebay_playlist_guarded_total", &[]);
    assert!((guarded - 1.0).abs() < 0.1, "{guarded}");
    bench.origin.on(PATH, Answer::ok(better.clone()));
    bench.at(4000 + 2 * RETRY);
    bench.serves(PATH, &better, "what follows").await;
}

/// What is no playlist, of whatever form, is bridged by the good one for its window, then told by 502.
#[tokio::test]
async fn what_is_no_playlist_never_takes_a_good_ones_place() {
    let page = "<!doctype html><html><body>Welcome to nginx!</body></html>";
    let cases = [
        ("an empty body", Answer::ok(""), "empty"),
        (
            "an error page with status 200",
            Answer::ok(page).header("content-type", "text/html"),
            "not_a_playlist",
        ),
        ("garbage", Answer::ok(&b"\x00\xff\xfe\x80garbage"[..]), "unreadable"),
        ("garbage behind a first line", Answer::ok(&b"#EXTM3U\n\xff\xfe\n"[..]), "unreadable"),
        ("a playlist without segments", Answer::ok(list(105, 0)), "no_segments"),
    ];
    for (what, bad, reason) in cases {
        let bench = Bench::start().await;
        bench.keeps_playing_through(bad, 502, what).await;
        assert!(bench.guarded(reason).await >= 2.0, "{what}");
        assert_eq!(bench.restarts().await, 0.0, "{what}");
    }
}

/// A playlist of which the end is missing is none, however it is missing.
#[tokio::test]
async fn a_truncated_playlist_never_takes_a_good_ones_place() {
    let better = list(101, 5);
    let longer = better.len() as u64 + 1;
    let cases = [
        ("a closed connection", Answer::ok(better.clone()).close_after(60)),
        ("a reset connection", Answer::ok(better.clone()).reset_after(60)),
        ("chunks without an end", Answer::ok(better.clone()).chunked().close_after(60)),
        ("a length that is not reached", Answer::ok(better.clone()).claiming_length(longer)),
    ];
    for (what, bad) in cases {
        let bench = Bench::with(|setup| setup.origin("retry = { resume = 0 }")).await;
        bench.keeps_playing_through(bad, 502, what).await;
        assert!(bench.guarded("truncated").await >= 2.0, "{what}");
    }
}

/// A body that ends with its connection may be whole or not: it is passed on only when nothing better may be served.
#[tokio::test]
async fn a_playlist_of_untold_length_takes_no_good_ones_place() {
    let bench = Bench::start().await;
    let (good, better) = (list(100, 5), list(101, 5));
    bench.origin.on(PATH, Answer::ok(good.clone()));
    bench.serves(PATH, &good, "the good one").await;
    bench.origin.on(PATH, Answer::ok(better.clone()).until_close());
    bench.at(WINDOW - 1);
    bench.serves(PATH, &good, "within the window").await;
    bench.at(WINDOW + RETRY);
    bench.serves(PATH, &better, "after it").await;
    assert_eq!(bench.guarded("unframed").await, 1.0);
}

/// A sequence that lies behind and stands still is told by 502 for as long as it does.
#[tokio::test]
async fn yesterdays_sequence_never_takes_todays_place() {
    let bench = Bench::start().await;
    bench.keeps_playing_through(Answer::ok(list(20, 5)), 502, "yesterday's sequence").await;
    assert!(bench.guarded("backward").await >= 2.0);
    assert_eq!(bench.restarts().await, 0.0);
}

/// An origin that fails is bridged for the same window; then its own word is told, or 504 where it says nothing.
#[tokio::test]
async fn an_origin_that_fails_is_bridged_for_the_same_window() {
    let bench = Bench::with(|setup| setup.origin("retry = { attempts = 1 }")).await;
    bench.keeps_playing_through(Answer::status(503), 503, "an origin that says 503").await;
    let bench = Bench::with(|setup| setup.origin("timeouts = { first_byte = \"1s\" }")).await;
    let silent = Answer::ok(list(101, 5)).hold(&Gate::closed());
    bench.keeps_playing_through(silent, 504, "an origin that says nothing").await;
}

/// A crowd that asks for a playlist whose origin fails is one request in a second, not one for each viewer.
#[tokio::test]
async fn a_crowd_behind_a_failing_origin_costs_it_one_request_a_second() {
    let bench = Bench::start().await;
    bench.origin.on(PATH, Answer::ok(list(100, 5)));
    bench.serves(PATH, &list(100, 5), "the good one").await;
    bench.origin.on(PATH, Answer::ok("oops"));
    for (round, millis) in [5000, 5999, 6000, 7000, 8000].into_iter().enumerate() {
        bench.at(millis);
        let mut crowd = JoinSet::new();
        for _ in 0..40 {
            let address = bench.node.http();
            crowd.spawn(async move { get(address, PATH).await });
        }
        for response in crowd.join_all().await {
            assert_eq!(response.whole(), &list(100, 5));
        }
        let asked = bench.origin.requests(PATH);
        assert!(asked <= 2 + round, "{asked} requests by {millis} ms");
    }
    assert_eq!(bench.origin.requests(PATH), 5);
}

/// What one client's credentials bring upon it, an error or a page, keeps the origin from nobody else.
#[tokio::test]
async fn the_failure_of_one_clients_credentials_is_no_others() {
    for bad in [Answer::status(500), Answer::ok("<html>who are you?</html>")] {
        let bench = Bench::with(|setup| setup.origin("retry = { attempts = 1 }")).await;
        let newest = Arc::new(AtomicU64::new(100));
        let list_now = Arc::clone(&newest);
        bench.origin.script(PATH, move |request, _| match request.header("authorization") {
            Some("Basic bad") => bad.clone(),
            _ => Answer::ok(list(list_now.load(Ordering::Relaxed), 5)).cache_control("public, max-age=2"),
        });
        let ask_as = |credentials: &'static str| {
            let address = bench.node.http();
            async move { ask(address, &Request::get(PATH).header("authorization", credentials)).await }
        };
        assert_eq!(ask_as("Basic good").await.whole(), &list(100, 5));
        newest.store(101, Ordering::Relaxed);
        bench.at(5000);
        assert_eq!(ask_as("Basic bad").await.outcome(), "hit_stale");
        assert_eq!(ask_as("Basic good").await.whole(), &list(101, 5));
    }
}

/// A rendition does not become a multivariant playlist, nor the reverse, while the good one may be served.
#[tokio::test]
async fn a_playlist_stays_of_its_sort_while_the_good_one_may_be_served() {
    let multivariant = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nv.m3u8\n";
    let bench = Bench::start().await;
    bench.origin.on(PATH, Answer::ok(list(100, 5)));
    bench.serves(PATH, &list(100, 5), "a rendition").await;
    bench.origin.on(PATH, Answer::ok(multivariant));
    bench.at(WINDOW - 1);
    bench.serves(PATH, &list(100, 5), "within the window").await;
    bench.at(WINDOW + RETRY);
    bench.serves(PATH, multivariant, "after it").await;
    assert_eq!(bench.guarded("other_sort").await, 1.0);
    // Back again: what is multivariant may be served for a day, and is guarded for a minute.
    bench.origin.on(PATH, Answer::ok(list(200, 5)));
    bench.at(30_000);
    bench.serves(PATH, multivariant, "within the minute").await;
    bench.at(89_999);
    bench.serves(PATH, multivariant, "still within it").await;
    bench.at(91_000);
    bench.serves(PATH, &list(200, 5), "after it").await;
}

/// An encoder that says that it begins anew is followed at once, in every rendition, and none of its new segments is
/// answered with an old one of the same name. It is one restart, and throws nothing away that is new.
#[tokio::test]
async fn a_restart_is_followed_at_once_and_no_old_segment_is_served_under_it() {
    const RENDITIONS: [&str; 2] = ["/live/hi", "/live/lo"];
    let bench = Bench::start().await;
    let multivariant =
        "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=2\nhi/v.m3u8\n#EXT-X-STREAM-INF:BANDWIDTH=1\nlo/v.m3u8\n";
    bench.origin.on("/live/index.m3u8", Answer::ok(multivariant));
    bench.segments_of("old");
    bench.serves("/live/index.m3u8", multivariant, "the multivariant playlist").await;
    for rendition in RENDITIONS {
        let path = format!("{rendition}/v.m3u8");
        bench.origin.on(&path, Answer::ok(list(100, 5)));
        bench.serves(&path, &list(100, 5), "before").await;
        for number in [0, 1, 2, 104] {
            bench.serves_segment(&format!("{rendition}/seg{number}.ts"), "old").await;
        }
    }
    bench.serves_segment("/other/seg0.ts", "old").await;
    bench.segments_of("new");
    let restarted = tagged(0, 2, "#EXT-X-DISCONTINUITY\n");
    for (place, rendition) in RENDITIONS.into_iter().enumerate() {
        let path = format!("{rendition}/v.m3u8");
        bench.origin.on(&path, Answer::ok(restarted.clone()));
        bench.at(5000 + 1000 * place as u64);
        bench.serves(&path, &restarted, "after the restart").await;
        for number in [0, 1, 2, 104] {
            bench.serves_segment(&format!("{rendition}/seg{number}.ts"), "new").await;
        }
        // The playlist itself is kept.
        assert_eq!(bench.serves(&path, &restarted, "again").await.outcome(), "hit");
    }
    assert_eq!(bench.serves_segment("/live/hi/seg0.ts", "new").await.outcome(), "hit");
    assert_eq!(bench.serves_segment("/other/seg0.ts", "old").await.outcome(), "hit");
    assert_eq!(bench.restarts().await, 1.0);
}

/// Renditions and channels whose files share a directory lose their own segments alone.
#[tokio::test]
async fn a_restart_takes_no_other_channels_segments() {
    let bench = Bench::start().await;
    let channel = |name: &str, sequence: u64, tags: &str| tagged(sequence, 3, tags).replace("seg", name);
    bench.segments_of("old");
    for name in ["news", "sport"] {
        let path = format!("/{name}.m3u8");
        bench.origin.on(&path, Answer::ok(channel(name, 100, "")));
        bench.serves(&path, &channel(name, 100, ""), name).await;
        bench.serves_segment(&format!("/{name}0.ts"), "old").await;
    }
    bench.segments_of("new");
    bench.at(5000);
    let restarted = channel("news", 0, "#EXT-X-DISCONTINUITY\n");
    bench.origin.on("/news.m3u8", Answer::ok(restarted.clone()));
    bench.serves("/news.m3u8", &restarted, "the restart").await;
    bench.serves_segment("/news0.ts", "new").await;
    assert_eq!(bench.serves_segment("/sport0.ts", "old").await.outcome(), "hit");
}

/// A restart of a stream with advertisements between its segments, and names that begin with numbers, takes nothing with it
/// but what is called so.
#[tokio::test]
async fn a_restart_purges_no_directory_and_no_site_whole() {
    let bench = Bench::start().await;
    let with_ads = |sequence: u64, tags: &str| {
        tagged(sequence, 3, tags).replace("seg", "") + "#EXT-X-DISCONTINUITY\n#EXTINF:4,\n/ads/7/spot1.ts\n"
    };
    bench.segments_of("old");
    bench.origin.on(PATH, Answer::ok(with_ads(100, "")));
    bench.serves(PATH, &with_ads(100, ""), "before").await;
    let others = ["/live/init.mp4", "/live/w/1.ts", "/sport/0.ts", "/ads/8/spot1.ts"];
    for path in ["/live/0.ts", "/live/104.ts", "/ads/7/spot1.ts"].iter().chain(&others) {
        bench.serves_segment(path, "old").await;
    }
    bench.segments_of("new");
    let restarted = with_ads(0, "#EXT-X-DISCONTINUITY\n");
    bench.origin.on(PATH, Answer::ok(restarted.clone()));
    bench.at(5000);
    bench.serves(PATH, &restarted, "the restart").await;
    for path in ["/live/0.ts", "/live/104.ts", "/ads/7/spot1.ts"] {
        bench.serves_segment(path, "new").await;
    }
    for path in others {
        assert_eq!(bench.serves_segment(path, "old").await.outcome(), "hit", "{path}");
    }
}

/// An encoder that begins anew without a word is followed once its playlist has grown twice.
#[tokio::test]
async fn a_restart_without_a_word_is_followed_once_it_has_grown_twice() {
    let bench = Bench::start().await;
    bench.segments_of("old");
    bench.origin.on(PATH, Answer::ok(list(100, 5)));
    bench.serves(PATH, &list(100, 5), "before").await;
    bench.serves_segment("/live/seg0.ts", "old").await;
    bench.segments_of("new");
    for (millis, segments) in [(5000, 1), (7000, 2)] {
        bench.at(millis);
        bench.origin.on(PATH, Answer::ok(list(0, segments)));
        bench.serves(PATH, &list(100, 5), "not believed yet").await;
        bench.serves_segment("/live/seg0.ts", "old").await;
    }
    bench.at(9500);
    bench.origin.on(PATH, Answer::ok(list(0, 3)));
    bench.serves(PATH, &list(0, 3), "believed").await;
    bench.serves_segment("/live/seg0.ts", "new").await;
    assert_eq!(bench.restarts().await, 1.0);
}

/// A stream that comes back after a quiet night begins where it begins: nobody is kept waiting for it.
#[tokio::test]
async fn a_stream_that_comes_back_after_a_quiet_night_is_followed_at_once() {
    let bench = Bench::start().await;
    bench.segments_of("old");
    bench.origin.on(PATH, Answer::ok(list(20_000, 5)));
    bench.serves(PATH, &list(20_000, 5), "the evening").await;
    bench.serves_segment("/live/seg0.ts", "old").await;
    bench.at(8 * 3_600_000);
    bench.segments_of("new");
    bench.origin.on(PATH, Answer::ok(list(0, 1)));
    bench.serves(PATH, &list(0, 1), "the morning").await;
    bench.serves_segment("/live/seg0.ts", "new").await;
}

/// An operator who purges the playlist has the origin's word taken, whatever it is.
#[tokio::test]
async fn a_purged_playlist_is_guarded_no_more() {
    let bench = Bench::start().await;
    bench.origin.on(PATH, Answer::ok(list(100, 5)));
    bench.serves(PATH, &list(100, 5), "the good one").await;
    bench.origin.on(PATH, Answer::ok(list(20, 5)));
    bench.at(5000);
    bench.serves(PATH, &list(100, 5), "guarded").await;
    let order = format!("{{\"url\": \"http://any{PATH}\", \"mode\": \"hard\"}}");
    let purge = Request::new("POST", "/purge").body(order);
    let purged = ask(bench.node.admin(), &purge).await;
    assert_eq!(purged.status(), 200, "{:?}", purged.body);
    bench.at(7000);
    bench.serves(PATH, &list(20, 5), "after the purge").await;
}

/// Servers that are a segment apart are no restart: viewers never go back, and nothing is purged.
#[tokio::test]
async fn servers_that_are_a_segment_apart_are_no_restart() {
    const ROUNDS: u64 = 20;
    let bench = Bench::start().await;
    bench.segments_of("old");
    let newest = Arc::new(AtomicU64::new(500));
    let edge = Arc::clone(&newest);
    // Every other answer is of the server that is behind.
    bench.origin.script(PATH, move |_, nth| {
        Answer::ok(list(edge.load(Ordering::Relaxed) - u64::from(nth % 2 == 1), 5))
    });
    let mut last = String::new();
    for round in 0..ROUNDS {
        // So old that its viewers wait for the next one: one fetch for each round, however long it takes.
        bench.at(round * 4500);
        newest.store(500 + round / 2, Ordering::Relaxed);
        for _ in 0..2 {
            let response = bench.get(PATH).await;
            let text = String::from_utf8(response.whole().to_vec()).unwrap();
            assert!(text >= last, "{last} came before {text}");
            last = text;
        }
        assert_eq!(bench.origin.requests(PATH) as u64, round + 1);
        bench.serves_segment("/live/seg501.ts", "old").await;
    }
    assert_eq!(bench.origin.requests("/live/seg501.ts"), 1);
    assert_eq!(bench.guarded("older").await, (ROUNDS / 2) as f64);
    assert_eq!((bench.guarded("backward").await, bench.restarts().await), (0.0, 0.0));
}

/// What a blocking reload has brought stands in for the plain playlist of a server that is behind.
#[tokio::test]
async fn the_newest_is_served_whatever_it_was_asked_for_with() {
    let bench = Bench::start().await;
    bench.origin.script(PATH, |request, _| {
        Answer::ok(list(if request.target.contains("_HLS_msn") { 101 } else { 100 }, 5))
    });
    bench.serves(&format!("{PATH}?_HLS_msn=105"), &list(101, 5), "the reload").await;
    let plain = bench.serves(PATH, &list(101, 5), "the plain one").await;
    assert_eq!(plain.outcome(), "hit_stale");
    bench.at(WINDOW);
    bench.serves(PATH, &list(100, 5), "after its window").await;
}

/// A playlist that is one viewer's own is compared with nothing: it goes to that viewer as it is, and purges nothing.
#[tokio::test]
async fn a_playlist_of_ones_own_is_not_guarded() {
    let bench = Bench::start().await;
    bench.segments_of("old");
    bench.origin.on(PATH, Answer::ok(list(100, 5)));
    bench.serves(PATH, &list(100, 5), "for all").await;
    bench.serves_segment("/live/seg0.ts", "old").await;
    let own = tagged(0, 2, "#EXT-X-DISCONTINUITY\n");
    bench.origin.on(PATH, Answer::ok(own.clone()).cache_control("private"));
    bench.at(5000);
    bench.serves(PATH, &own, "for one").await;
    assert_eq!(bench.serves_segment("/live/seg0.ts", "old").await.outcome(), "hit");
    assert_eq!((bench.guarded("backward").await, bench.restarts().await), (0.0, 0.0));
}

/// A playlist that is kept for one user begins anew for that user: nothing that others have is purged.
#[tokio::test]
async fn a_restart_of_one_users_playlist_purges_nothing() {
    let rule = "[[site.rule]]\npath = \"*.m3u8\"\nkey = { cookies = [\"sid\"] }";
    let bench = Bench::with(|setup| setup.more(rule)).await;
    bench.segments_of("old");
    bench.serves_segment("/live/seg0.ts", "old").await;
    for (millis, text) in [(0, list(100, 5)), (5000, tagged(0, 2, "#EXT-X-DISCONTINUITY\n"))] {
        bench.at(millis);
        bench.origin.on(PATH, Answer::ok(text.clone()));
        let response = ask(bench.node.http(), &Request::get(PATH).header("cookie", "sid=1")).await;
        assert_eq!(response.whole(), &text);
    }
    assert_eq!(bench.serves_segment("/live/seg0.ts", "old").await.outcome(), "hit");
    assert_eq!(bench.restarts().await, 0.0);
}

/// A confirmation of the good playlist ends the suspicion that another server's, which goes back, is a new stream.
#[tokio::test]
async fn a_server_far_behind_one_that_confirms_is_no_restart() {
    let bench = Bench::start().await;
    bench.origin.script(PATH, |request, nth| {
        // The first and every other answer is of the one that is good.
        match request.header("if-none-match") {
            _ if nth % 2 == 1 => Answer::ok(list(10 + nth as u64, 5)).header("etag", "\"b\""),
            Some("\"a\"") => Answer::status(304).header("etag", "\"a\""),
            _ => Answer::ok(list(100, 5)).header("etag", "\"a\""),
        }
    });
    for round in 0..12 {
        bench.at(round * 5000);
        bench.serves(PATH, &list(100, 5), &format!("round {round}")).await;
    }
    assert!(bench.guarded("backward").await >= 3.0);
    assert_eq!(bench.restarts().await, 0.0);
}

/// Variants of one playlist that do not count alike are each guarded by themselves.
#[tokio::test]
async fn variants_that_count_differently_are_guarded_apart() {
    let bench = Bench::start().await;
    let behind = Arc::new(AtomicU64::new(0));
    let back = Arc::clone(&behind);
    bench.origin.script(PATH, move |request, _| {
        let first = if request.header("accept-language") == Some("de") { 500 } else { 10 };
        Answer::ok(list(first - back.load(Ordering::Relaxed), 5)).header("vary", "accept-language")
    });
    let ask_for = |language: &'static str| {
        let address = bench.node.http();
        async move { ask(address, &Request::get(PATH).header("accept-language", language)).await }
    };
    for (millis, text) in [(0, 0), (5000, 0), (10_000, 9)] {
        bench.at(millis);
        behind.store(text, Ordering::Relaxed);
        assert_eq!(ask_for("de").await.whole(), &list(500, 5), "{millis} ms");
        assert_eq!(ask_for("en").await.whole(), &list(10, 5), "{millis} ms");
    }
    assert_eq!(bench.restarts().await, 0.0);
    assert_eq!(bench.guarded("backward").await, 2.0);
}

/// Of a playlist that varies, no empty marker stands in for what cannot be had, and none is compared with another variant.
#[tokio::test]
async fn variants_that_are_asked_for_with_directives_are_not_taken_for_each_other() {
    let bench = Bench::with(|setup| setup.origin("retry = { attempts = 1 }")).await;
    let fails = Arc::new(AtomicU64::new(0));
    let failing = Arc::clone(&fails);
    bench.origin.script(PATH, move |request, _| {
        let first = if request.header("accept-language") == Some("de") { 500 } else { 10 };
        match failing.load(Ordering::Relaxed) {
            0 => Answer::ok(list(first, 5)).header("vary", "accept-language"),
            _ => Answer::status(503),
        }
    });
    let ask_for = |language: &'static str, query: &'static str| {
        let (address, path) = (bench.node.http(), format!("{PATH}{query}"));
        async move { ask(address, &Request::get(&path).header("accept-language", language)).await }
    };
    assert_eq!(ask_for("de", "").await.whole(), &list(500, 5));
    assert_eq!(ask_for("en", "?_HLS_msn=14").await.whole(), &list(10, 5));
    assert_eq!(ask_for("de", "?_HLS_msn=504").await.whole(), &list(500, 5));
    fails.store(1, Ordering::Relaxed);
    bench.at(1000);
    let failed = ask_for("de", "?_HLS_msn=505").await;
    assert_eq!(failed.status(), 503, "{:?}", failed.body);
    assert_eq!((bench.restarts().await, bench.guarded("backward").await), (0.0, 0.0));
}

/// `guard = false` takes whatever can be read, purges nothing, and still keeps away what cannot.
#[tokio::test]
async fn without_a_guard_what_goes_back_is_taken_and_garbage_is_not() {
    let bench = Bench::with(|setup| setup.more("[[site.rule]]\npath = \"/live/*\"\nguard = false")).await;
    bench.segments_of("old");
    bench.origin.on(PATH, Answer::ok(list(100, 5)));
    bench.serves(PATH, &list(100, 5), "the first").await;
    bench.serves_segment("/live/seg0.ts", "old").await;
    bench.segments_of("new");
    bench.origin.on(PATH, Answer::ok(list(0, 5)));
    bench.at(5000);
    bench.serves(PATH, &list(0, 5), "the one that goes back").await;
    bench.serves_segment("/live/seg0.ts", "old").await;
    bench.origin.on(PATH, Answer::ok("oops"));
    bench.at(10_000);
    bench.serves(PATH, &list(0, 5), "garbage").await;
    assert_eq!((bench.guarded("not_a_playlist").await, bench.restarts().await), (1.0, 0.0));
}

/// A live manifest is fresh for half its update period and bridged for three; one that is static lasts. Garbage replaces
/// neither.
#[tokio::test]
async fn a_manifest_is_fresh_as_it_says() {
    const MPD: &str = "/live/v.mpd";
    let dynamic = |n: u32| {
        format!(
            "<MPD type=\"dynamic\" minimumUpdatePeriod=\"PT4S\" publishTime=\"2026-01-01T00:00:0{n}Z\"><Period/></MPD>"
        )
    };
    let bench = Bench::start().await;
    bench.origin.on(MPD, Answer::ok(dynamic(1)).cache_control("max-age=3600"));
    bench.origin.on("/own.mpd", Answer::ok(dynamic(1)));
    let first = bench.serves(MPD, &dynamic(1), "live").await;
    assert_eq!(first.get("cache-control"), Some("max-age=4"));
    bench.serves("/own.mpd", &dynamic(1), "live").await;
    bench.origin.on("/static.mpd", Answer::ok("<MPD type=\"static\"/>"));
    bench.serves("/static.mpd", "<MPD type=\"static\"/>", "static").await;
    bench.origin.on("/own.mpd", Answer::ok("<html>oops</html>"));
    bench.at(1999);
    assert_eq!(bench.get("/own.mpd").await.outcome(), "hit");
    bench.at(3999);
    assert_eq!(bench.get(MPD).await.outcome(), "hit");
    bench.origin.on(MPD, Answer::ok(dynamic(2)));
    bench.at(6001);
    bench.serves(MPD, &dynamic(2), "beyond its period").await;
    bench.at(WINDOW - 1);
    bench.serves("/own.mpd", &dynamic(1), "guarded").await;
    bench.at(WINDOW + RETRY);
    assert_eq!(bench.get("/own.mpd").await.status(), 502);
    bench.at(3_599_000);
    assert_eq!(bench.get("/static.mpd").await.outcome(), "hit");
}

/// The absence of a segment that is not published yet is no news a moment later; elsewhere it is for a second.
#[tokio::test]
async fn a_segment_that_is_not_there_yet_is_asked_for_again_at_once() {
    let bench = Bench::start().await;
    bench.origin.on(PATH, Answer::ok(list(100, 5)));
    bench.serves(PATH, &list(100, 5), "the playlist").await;
    for path in ["/live/seg105.ts", "/elsewhere/seg105.ts"] {
        bench.origin.on(path, Answer::status(404));
        assert_eq!(bench.get(path).await.status(), 404);
        bench.origin.on(path, Answer::ok("published"));
    }
    bench.serves("/live/seg105.ts", "published", "at the live edge").await;
    assert_eq!(bench.get("/elsewhere/seg105.ts").await.status(), 404);
    bench.at(1000);
    bench.serves("/elsewhere/seg105.ts", "published", "a second later").await;
    // A live playlist that is gone is gone for a target duration.
    bench.origin.on(PATH, Answer::status(404));
    bench.at(5000);
    assert_eq!(bench.get(PATH).await.status(), 404);
    bench.origin.on(PATH, Answer::ok(list(101, 5)));
    bench.at(8999);
    assert_eq!(bench.get(PATH).await.status(), 404);
    bench.at(9000);
    bench.serves(PATH, &list(101, 5), "a target duration later").await;
}

/// A multivariant playlist is fresh for half the shortest target duration of its renditions, once that is known.
#[tokio::test]
async fn a_multivariant_playlist_is_fresh_as_its_renditions_are() {
    let multivariant =
        "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n../r/a.m3u8?x=1\n#EXT-X-STREAM-INF:BANDWIDTH=2\nb.m3u8\n";
    let bench = Bench::start().await;
    for path in ["/m/one.m3u8", "/m/two.m3u8"] {
        bench.origin.on(path, Answer::ok(multivariant));
    }
    bench.serves("/m/one.m3u8", multivariant, "nothing is known").await;
    bench.origin.on("/r/a.m3u8", Answer::ok(list(100, 5)));
    bench.origin.on("/m/b.m3u8", Answer::ok(list(100, 5).replace("DURATION:4", "DURATION:9")));
    bench.serves("/r/a.m3u8?x=1", &list(100, 5), "a rendition").await;
    assert_eq!(bench.get("/m/b.m3u8").await.status(), 200);
    bench.serves("/m/two.m3u8", multivariant, "known").await;
    bench.at(1999);
    assert_eq!(bench.get("/m/two.m3u8").await.outcome(), "hit");
    bench.at(2000);
    assert_ne!(bench.get("/m/two.m3u8").await.outcome(), "hit");
    bench.at(4999);
    assert_eq!(bench.get("/m/one.m3u8").await.outcome(), "hit");
}

/// A live playlist that does not grow is told of, with its target duration, while viewers ask for it.
#[tokio::test]
async fn a_playlist_that_stands_still_is_told_of() {
    let bench = Bench::start().await;
    bench.origin.on(PATH, Answer::ok(list(100, 5)));
    for millis in [0, 5000, 10_000, 15_000] {
        bench.at(millis);
        bench.get(PATH).await;
    }
    bench.get(PATH).await;
    let of = [("site", "*"), ("stream", "/live")];
    let metrics = bench.node.metrics().await;
    assert_eq!(metrics.sum("forebay_playlist_staleness_seconds", &of), 15.0);
    assert_eq!(metrics.sum("forebay_playlist_target_duration_seconds", &of), 4.0);
    bench.origin.on(PATH, Answer::ok(list(101, 5)));
    bench.at(20_000);
    bench.get(PATH).await;
    bench.get(PATH).await;
    assert_eq!(bench.node.metrics().await.sum("forebay_playlist_staleness_seconds", &of), 0.0);
    bench.at(90_000);
    assert!(!bench.node.metrics().await.has("forebay_playlist_staleness_seconds"));
}
