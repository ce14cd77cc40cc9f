//! What a playlist names is at the edge before the first viewer asks for it: once, within bounds, and for viewers alone.

use std::time::{Duration, UNIX_EPOCH};

use forebay::clock::Clock;
use forebay::demo::origin::DemoOrigin;

use crate::support::client::{Http1, Request, Response, get};
use crate::support::content::{assert_same_bytes, content};
use crate::support::edge::Setup;
use crate::support::node::LocalNode;
use crate::support::origin::{Answer, Origin};
use crate::support::signing::{KEY_HEX, sign};
use crate::support::wait::Gate;

/// Target duration of every playlist here, in seconds.
const TARGET: u64 = 2;

/// Bytes of a segment.
const SEGMENT: usize = 100_000;

/// A live media playlist of three segments, of which this is the first.
fn live(first: u64) -> Answer {
    let segments: String =
        (first..first + 3).map(|number| format!("#EXTINF:{TARGET},\n{number}.m4s\n")).collect();
    playlist(first, &segments)
}

fn playlist(first: u64, rest: &str) -> Answer {
    Answer::ok(format!("#EXTM3U\n#EXT-X-TARGETDURATION:{TARGET}\n#EXT-X-MEDIA-SEQUENCE:{first}\n{rest}"))
}

/// What a segment consists of.
fn body(path: &str) -> bytes::Bytes {
    content(path.bytes().map(u64::from).sum(), SEGMENT)
}

fn segment(path: &str) -> Answer {
    Answer::ok(body(path)).cache_control("max-age=600")
}

/// A node on a clock that the test moves, before a scripted origin.
struct Bench {
    origin: Origin,
    node: LocalNode,
    clock: Clock,
}

impl Bench {
    /// A node whose one site has this one rule, before an origin that has all segments.
    async fn with_rule(rule: &str) -> Bench {
        Bench::with(rule, |setup| setup).await
    }

    async fn with(rule: &str, more: impl FnOnce(Setup) -> Setup) -> Bench {
        let origin = Origin::start().await;
        origin.otherwise(|request, _| segment(request.path()));
        let clock = Clock::manual(UNIX_EPOCH + Duration::from_secs(1_900_000_000));
        let setup = more(Setup::before(&origin).more(&format!("[[site.rule]]\n{rule}\n")));
        Bench { node: LocalNode::start_at(&setup, clock.clone()), origin, clock }
    }

    /// A viewer asks for a playlist of `TARGET`, one target duration after the last one was asked for.
    async fn reload(&self, path: &str) -> Response {
        self.clock.advance(Duration::from_secs(TARGET));
        let response = self.node.get(path).await;
        assert_eq!(response.status(), 200);
        response
    }

    async fn await_fetches(&self, reason: &str, result: &str, least: f64) {
        self.node
            .await_metric("forebay_prefetch_total", &[("reason", reason), ("result", result)], least)
            .await;
    }

    async fn fetches(&self, reason: &str, result: &str) -> f64 {
        self.node.metrics().await.sum("forebay_prefetch_total", &[("reason", reason), ("result", result)])
    }

    /// Waits until so many complete objects are held.
    async fn await_objects(&self, count: f64) {
        self.node.await_metric("forebay_cache_objects", &[], count).await;
    }

    /// Paths that the origin was asked for, playlists left out, sorted.
    fn media_asked_for(&self) -> Vec<String> {
        let recorded = self.origin.recorded();
        let media = recorded.iter().filter(|request| !request.path().ends_with(".m3u8"));
        let mut paths: Vec<String> = media.map(|request| request.target.clone()).collect();
        paths.sort();
        paths
    }
}

/// The segment that a refreshed playlist is the first to name is here before anybody asks, fetched once and without
/// anything of a viewer's; what the playlist listed when it was first seen is left to viewers.
#[tokio::test]
async fn the_first_viewer_of_a_new_segment_has_a_hit() {
    let bench = Bench::with_rule("prefetch = [\"segments\"]").await;
    bench.origin.on_each("/live/a.m3u8", vec![live(1), live(2)]);
    bench.reload("/live/a.m3u8").await;
    assert_eq!(bench.media_asked_for(), Vec::<String>::new(), "first sight");
    bench.reload("/live/a.m3u8").await;
    bench.await_objects(2.0).await;
    assert_eq!(bench.media_asked_for(), ["/live/4.m4s"]);
    let first = bench.node.get("/live/4.m4s").await;
    assert_eq!(first.outcome(), "hit");
    assert_same_bytes(first.whole(), &body("/live/4.m4s"), "the segment");
    assert_eq!(bench.node.get("/live/4.m4s").await.outcome(), "hit");
    let metrics = bench.node.metrics().await;
    let of = |name: &str, labels: &[(&str, &str)]| metrics.sum(name, labels);
    assert_eq!(of("forebay_prefetch_total", &[("reason", "segment"), ("result", "started")]), 1.0);
    assert_eq!(of("forebay_prefetch_total", &[("result", "failed")]), 0.0);
    assert_eq!(of("forebay_prefetch_objects_total", &[("result", "used")]), 1.0);
    assert_eq!(of("forebay_prefetch_bytes_total", &[("result", "used")]), 100_000.0);
    assert_eq!(of("forebay_prefetch_objects_total", &[("result", "wasted")]), 0.0);
    assert_eq!(of("forebay_origin_requests_total", &[("reason", "prefetch")]), 1.0);
    assert_eq!(bench.media_asked_for(), ["/live/4.m4s"]);
    bench.node.stop().await;
}

/// Of a playlist that has many new segments, the newest two are fetched, with a new init segment.
#[tokio::test]
async fn after_a_gap_the_newest_segments_alone_are_fetched() {
    let bench = Bench::with_rule("prefetch = [\"segments\"]").await;
    let names: String = (7..27).map(|number| format!("#EXTINF:2,\n{number}.m4s\n")).collect();
    let later = playlist(7, &format!("#EXT-X-MAP:URI=\"init-2.mp4\"\n{names}"));
    bench.origin.on_each("/live/a.m3u8", vec![live(1), later]);
    bench.reload("/live/a.m3u8").await;
    bench.reload("/live/a.m3u8").await;
    bench.await_objects(4.0).await;
    assert_eq!(bench.media_asked_for(), ["/live/25.m4s", "/live/26.m4s", "/live/init-2.mp4"]);
    bench.node.stop().await;
}

/// Viewers who ask while a segment is being fetched ahead share that fetch, and one that viewers have begun is not begun
/// again.
#[tokio::test]
async fn viewers_and_the_fetch_ahead_are_one_origin_request() {
    let bench = Bench::with_rule("prefetch = [\"segments\"]").await;
    bench.origin.on_each("/live/a.m3u8", vec![live(1), live(2), live(3)]);
    let (fourth, fifth) = (Gate::closed(), Gate::closed());
    bench.origin.on("/live/4.m4s", segment("/live/4.m4s").hold(&fourth));
    bench.origin.on("/live/5.m4s", segment("/live/5.m4s").gate_at(10_000, &fifth));
    bench.reload("/live/a.m3u8").await;
    bench.reload("/live/a.m3u8").await;
    bench.origin.await_requests("/live/4.m4s", 1).await;
    let mut viewers = Vec::new();
    for _ in 0..5 {
        let mut viewer = Http1::connect(bench.node.http()).await;
        viewer.send(&Request::get("/live/4.m4s")).await;
        viewers.push(viewer);
    }
    fourth.open();
    for mut viewer in viewers {
        let response = viewer.response("GET").await;
        assert!(["coalesced", "hit"].contains(&response.outcome()), "{}", response.outcome());
        assert_same_bytes(response.whole(), &body("/live/4.m4s"), "a viewer's copy");
    }
    let mut early = Http1::connect(bench.node.http()).await;
    early.send(&Request::get("/live/5.m4s")).await;
    assert_eq!(early.head("GET").await.outcome(), "miss");
    bench.reload("/live/a.m3u8").await;
    fifth.open();
    let (whole, _) = early.rest().await;
    assert_same_bytes(&whole, &body("/live/5.m4s"), "the early viewer's copy");
    assert_eq!(bench.media_asked_for(), ["/live/4.m4s", "/live/5.m4s"]);
    assert_eq!(bench.fetches("segment", "started").await, 1.0);
    bench.node.stop().await;
}

/// A rendition that nobody has asked for within two target durations has nothing fetched ahead.
#[tokio::test]
async fn an_idle_rendition_is_left_alone() {
    let bench = Bench::with_rule("prefetch = [\"segments\", \"hints\"]").await;
    bench.origin.on_each("/live/a.m3u8", vec![live(1), live(2), live(3)]);
    bench.reload("/live/a.m3u8").await;
    bench.clock.advance(Duration::from_secs(60));
    bench.reload("/live/a.m3u8").await;
    bench.await_fetches("segment", "skipped_idle", 1.0).await;
    assert_eq!(bench.media_asked_for(), Vec::<String>::new());
    bench.reload("/live/a.m3u8").await;
    bench.origin.await_requests("/live/5.m4s", 1).await;
    bench.node.stop().await;
}

/// No more requests are under way than `limits.prefetch_requests`; what there is no room for is left to viewers.
#[tokio::test]
async fn no_more_requests_are_under_way_than_may_be() {
    const RENDITIONS: usize = 6;
    let bench = Bench::with("prefetch = [\"segments\"]", |setup| setup.limits("prefetch_requests = 2")).await;
    let gate = Gate::closed();
    let held = gate.clone();
    bench.origin.otherwise(move |request, _| segment(request.path()).hold(&held));
    for rendition in 0..RENDITIONS {
        bench.origin.on_each(&format!("/{rendition}/a.m3u8"), vec![live(1), live(2)]);
        assert_eq!(bench.node.get(&format!("/{rendition}/a.m3u8")).await.status(), 200);
    }
    bench.clock.advance(Duration::from_secs(TARGET));
    for rendition in 0..RENDITIONS {
        assert_eq!(bench.node.get(&format!("/{rendition}/a.m3u8")).await.status(), 200);
    }
    bench.await_fetches("segment", "skipped_budget", 4.0).await;
    assert_eq!(bench.fetches("segment", "started").await, 2.0);
    bench.origin.await_requests("/0/4.m4s", 1).await;
    bench.origin.await_requests("/1/4.m4s", 1).await;
    // Two held segments, and one playlist at a time beside them.
    assert!(bench.origin.most_open() <= 3, "{}", bench.origin.most_open());
    gate.open();
    assert_eq!(bench.node.get("/5/4.m4s").await.whole().len(), SEGMENT);
    bench.node.stop().await;
}

/// A body that turns out to be larger than there is room for is given up, whether its length is told or not; a viewer
/// gets all of it.
#[tokio::test]
async fn no_more_bytes_are_under_way_than_may_be() {
    let large = content(5, 3 << 20);
    for chunked in [false, true] {
        let bench =
            Bench::with("prefetch = [\"segments\"]", |setup| setup.limits("prefetch_bytes = \"1MiB\"")).await;
        let (all, first) = (Answer::ok(large.clone()).cache_control("max-age=600"), Gate::closed());
        let all = if chunked { all.chunked() } else { all };
        bench.origin.on_each("/live/4.m4s", vec![all.clone().gate_at((3 << 20) - 1, &first), all]);
        bench.origin.on_each("/live/a.m3u8", vec![live(1), live(2)]);
        assert_eq!(bench.node.get("/live/3.m4s").await.status(), 200);
        bench.reload("/live/a.m3u8").await;
        bench.reload("/live/a.m3u8").await;
        bench.origin.await_departed("/live/4.m4s", 1).await;
        bench.await_fetches("segment", "failed", 1.0).await;
        assert_eq!(bench.fetches("segment", "skipped_budget").await, 1.0);
        let viewer = bench.node.get("/live/4.m4s").await;
        assert_eq!(viewer.outcome(), "miss");
        assert_same_bytes(viewer.whole(), &large, "a viewer's copy");
        bench.node.stop().await;
    }
}

/// An origin that has no turn to spare is not asked ahead.
#[tokio::test]
async fn viewers_turns_with_the_origin_are_left_to_them() {
    let bench =
        Bench::with("prefetch = [\"segments\"]", |setup| setup.origin("limits = { connections = 1 }")).await;
    bench.origin.on_each("/live/a.m3u8", vec![live(1), live(2)]);
    bench.reload("/live/a.m3u8").await;
    bench.reload("/live/a.m3u8").await;
    bench.await_fetches("segment", "skipped_origin", 1.0).await;
    assert_eq!(bench.media_asked_for(), Vec::<String>::new());
    bench.node.stop().await;
}

fn low_latency(first: u64, rest: &str) -> Answer {
    let control = "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.5\n\
        #EXT-X-PART-INF:PART-TARGET=0.5\n";
    playlist(first, &format!("{control}{rest}"))
}

/// The part that a playlist hints at is asked for once, while the origin still holds it; its viewers get it as it comes,
/// and a playlist that lists it does not have it fetched again.
#[tokio::test]
async fn a_hinted_part_is_fetched_once_and_served_as_it_grows() {
    let bench = Bench::with_rule("prefetch = [\"segments\", \"hints\"]").await;
    let one = low_latency(
        1,
        "#EXTINF:2,\n1.m4s\n#EXT-X-PART:DURATION=0.5,URI=\"2.0.m4s\"\n\
         #EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"2.1.m4s\"\n",
    );
    let two = low_latency(
        1,
        "#EXTINF:2,\n1.m4s\n#EXT-X-PART:DURATION=0.5,URI=\"2.0.m4s\"\n\
         #EXT-X-PART:DURATION=0.5,URI=\"2.1.m4s\"\n#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"2.2.m4s\"\n",
    );
    let three = low_latency(
        1,
        "#EXTINF:2,\n1.m4s\n#EXT-X-PART:DURATION=0.5,URI=\"2.0.m4s\"\n\
         #EXT-X-PART:DURATION=0.5,URI=\"2.1.m4s\"\n#EXT-X-PART:DURATION=0.5,URI=\"2.2.m4s\"\n\
         #EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"2.3.m4s\"\n",
    );
    bench.origin.on_each("/ll/a.m3u8", vec![one, two, three]);
    let (made, last) = (Gate::closed(), Gate::closed());
    bench.origin.on("/ll/2.2.m4s", segment("/ll/2.2.m4s").chunked().hold(&made).gate_at(50_000, &last));
    bench.reload("/ll/a.m3u8").await;
    bench.reload("/ll/a.m3u8").await;
    bench.origin.await_requests("/ll/2.2.m4s", 1).await;
    let mut viewer = Http1::connect(bench.node.http()).await;
    viewer.send(&Request::get("/ll/2.2.m4s")).await;
    made.open();
    assert_eq!(viewer.head("GET").await.outcome(), "coalesced");
    let start = viewer.at_least(50_000).await.expect("the first half while the second is not made");
    bench.reload("/ll/a.m3u8").await;
    last.open();
    let (rest, _) = viewer.rest().await;
    assert_same_bytes(&[start, rest.to_vec()].concat(), &body("/ll/2.2.m4s"), "the part");
    bench.origin.await_requests("/ll/2.3.m4s", 1).await;
    assert_eq!(bench.media_asked_for(), ["/ll/2.1.m4s", "/ll/2.2.m4s", "/ll/2.3.m4s"]);
    assert_eq!(bench.fetches("part", "started").await, 1.0);
    assert_eq!(bench.fetches("hint", "started").await, 2.0);
    bench.node.stop().await;
}

/// A hint at bytes of a segment that still grows has the whole segment fetched as it grows; an origin that sends what
/// there is, as if that were all, is not believed.
#[tokio::test]
async fn a_hint_at_bytes_of_a_growing_segment_fetches_all_of_it() {
    for chunked in [true, false] {
        let bench = Bench::with_rule("prefetch = [\"hints\"]").await;
        let text = |next: u64| {
            low_latency(
                1,
                &format!(
                    "#EXTINF:2,\n1.m4s\n#EXT-X-PART:DURATION=0.5,URI=\"2.m4s\",BYTERANGE=\"1000@0\"\n{}\
                     #EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"2.m4s\",BYTERANGE-START={next}\n",
                    if next > 1000 {
                        "#EXT-X-PART:DURATION=0.5,URI=\"2.m4s\",BYTERANGE=\"1000\"\n"
                    } else {
                        ""
                    },
                ),
            )
        };
        bench.origin.on_each("/ll/a.m3u8", vec![text(1000), text(2000)]);
        let grown = Gate::closed();
        let whole = segment("/ll/2.m4s");
        let first = match chunked {
            true => whole.clone().chunked().gate_at(2000, &grown),
            false => Answer::ok(body("/ll/2.m4s").slice(..2000)).cache_control("max-age=600"),
        };
        bench.origin.on_each("/ll/2.m4s", vec![first, whole]);
        bench.reload("/ll/a.m3u8").await;
        bench.reload("/ll/a.m3u8").await;
        bench.origin.await_requests("/ll/2.m4s", 1).await;
        assert_eq!(bench.origin.last("/ll/2.m4s").header("range"), None);
        if !chunked {
            bench.await_fetches("hint", "failed", 1.0).await;
        }
        grown.open();
        let viewer = get(bench.node.http(), "/ll/2.m4s").await;
        assert_same_bytes(viewer.whole(), &body("/ll/2.m4s"), "the segment");
        assert_eq!(bench.origin.requests("/ll/2.m4s"), if chunked { 1 } else { 2 });
        bench.node.stop().await;
    }
}

/// A request for a segment that announces what its player will ask for next.
fn announcing(path: &str, next: &str) -> Request {
    let cmcd = format!("br=3200,nor=\"{next}\",ot=v");
    let encoded = percent_encoding::utf8_percent_encode(&cmcd, percent_encoding::NON_ALPHANUMERIC);
    Request::get(&format!("{path}?CMCD={encoded}"))
}

async fn ask(bench: &Bench, request: &Request) -> Response {
    crate::support::client::ask(bench.node.http(), request).await
}

/// What a player announces is fetched, by the query as by the field, in either version of CMCD.
#[tokio::test]
async fn what_a_player_announces_is_fetched() {
    let bench = Bench::with_rule("prefetch = [\"cmcd\"]").await;
    assert_eq!(ask(&bench, &announcing("/vod/720/1.m4s", "2.m4s")).await.status(), 200);
    bench.await_objects(2.0).await;
    assert_eq!(bench.node.get("/vod/720/2.m4s").await.outcome(), "hit");
    let by_field = Request::get("/vod/720/2.m4s").header("CMCD-Request", "nor=\"3.m4s\",su");
    assert_eq!(ask(&bench, &by_field).await.status(), 200);
    bench.await_objects(3.0).await;
    let several = Request::get("/vod/720/3.m4s").header("CMCD-Request", "nor=(\"4.m4s\" \".%2F5.m4s\")");
    assert_eq!(ask(&bench, &several).await.status(), 200);
    bench.await_objects(5.0).await;
    let expected = ["1", "2", "3", "4", "5"].map(|number| format!("/vod/720/{number}.m4s"));
    assert_eq!(bench.media_asked_for(), expected);
    assert_eq!(bench.fetches("cmcd", "started").await, 4.0);
    bench.node.stop().await;
}

/// The range that a player announces decides which slice is fetched.
#[tokio::test]
async fn an_announced_range_fetches_its_slice() {
    const MIB: usize = 1 << 20;
    let bench = Bench::with_rule("prefetch = [\"cmcd\"]").await;
    let film = content(9, 3 * MIB);
    bench
        .origin
        .on("/vod/film.mp4", Answer::ok(film.clone()).cache_control("max-age=600").etag("\"1\"").ranges());
    let field = format!("nor=\"film.mp4\",nrr=\"{}-{}\"", MIB + 5, MIB + 500);
    assert_eq!(ask(&bench, &Request::get("/vod/1.m4s").header("CMCD-Request", &field)).await.status(), 200);
    bench.await_objects(3.0).await;
    assert_eq!(bench.origin.last("/vod/film.mp4").header("range"), Some("bytes=1048576-2097151"));
    let part =
        ask(&bench, &Request::get("/vod/film.mp4").range(&format!("bytes={}-{}", MIB + 5, MIB + 500))).await;
    assert_eq!((part.status(), part.outcome()), (206, "hit"));
    assert_same_bytes(part.whole(), &film[MIB + 5..=MIB + 500], "the announced part");
    assert_eq!(bench.origin.requests("/vod/film.mp4"), 1);
    bench.node.stop().await;
}

/// A player's word has nothing fetched but media of the same site, near to what it plays or named by a playlist.
#[tokio::test]
async fn a_player_cannot_have_anything_else_fetched() {
    let bench = Bench::with_rule("prefetch = [\"cmcd\"]").await;
    let refused = [
        "http%3A%2F%2Fother.example%2Fvod%2F2.m4s",
        "%2F%2Fother.example%2Fvod%2F2.m4s",
        "..%2F..%2Fetc%2Fpasswd",
        "..%2F..%2Fetc%2F2.m4s",
        "a.m3u8",
        "1.key",
        "page",
        "%0d%0aHost: other.example",
        "",
    ];
    for next in refused {
        assert_eq!(ask(&bench, &announcing("/vod/720/1.m4s", next)).await.status(), 200);
    }
    assert_eq!(bench.fetches("cmcd", "refused").await, 9.0);
    assert_eq!(bench.fetches("cmcd", "started").await, 0.0);
    let asked: Vec<String> = bench.origin.recorded().into_iter().map(|request| request.target).collect();
    assert_eq!(asked, ["/vod/720/1.m4s"]);
    bench.node.stop().await;
}

/// Where a site asks for tokens, nothing is fetched for a player that its token does not admit, a request that is refused
/// announces nothing, and no token reaches the origin.
#[tokio::test]
async fn nothing_is_fetched_beyond_the_scope_of_a_token() {
    let origin = Origin::start().await;
    origin.otherwise(|request, _| segment(request.path()));
    origin.on_each(
        "/live/720/a.m3u8",
        vec![live(1).cache_control("max-age=0"), live(2).cache_control("max-age=0")],
    );
    let edge = Setup::before(&origin)
        .site("token = \"viewer\"")
        .more(
            "[[site.rule]]\nprefetch = [\"segments\", \"cmcd\"]\n[token.viewer]\nformat = \"edgeauth\"\n\
             keys = [{ id = \"k\", secret_file = \"DIR/k\" }]\n",
        )
        .file("k", KEY_HEX)
        .start()
        .await;
    let end = crate::support::signing::now() + 3600;
    let token = sign(KEY_HEX, &format!("exp={end}~acl=/live/720/a.m3u8!/live/720/1*"));
    let with = |path: &str, next: &str| announcing(path, next).header("Cookie", &format!("hdnts={token}"));
    for next in ["2.m4s", "12.m4s", "%2Flive%2F720%2F3.m4s"] {
        assert_eq!(edge.ask(&with("/live/720/11.m4s", next)).await.status(), 200);
    }
    assert_eq!(edge.ask(&announcing("/live/720/11.m4s", "13.m4s")).await.status(), 403);
    assert_eq!(edge.ask(&with("/live/720/2.m4s", "14.m4s")).await.status(), 403);
    let by_query = announcing("/live/720/11.m4s", "15.m4s");
    let by_query = Request::get(&format!("{}&hdnts={token}", by_query.target));
    assert_eq!(edge.ask(&by_query).await.status(), 200);
    for _ in 0..2 {
        let playlist = Request::get("/live/720/a.m3u8").header("Cookie", &format!("hdnts={token}"));
        assert_eq!(edge.ask(&playlist).await.status(), 200);
    }
    for path in ["/live/720/12.m4s", "/live/720/15.m4s", "/live/720/4.m4s"] {
        origin.await_requests(path, 1).await;
    }
    let recorded = origin.recorded();
    let mut asked: Vec<&str> = recorded.iter().map(|request| request.target.as_str()).collect();
    asked.sort_unstable();
    let media = ["11", "12", "15", "4"].map(|number| format!("/live/720/{number}.m4s"));
    assert_eq!(asked[..4], media);
    assert_eq!(asked[4..], ["/live/720/a.m3u8", "/live/720/a.m3u8"]);
    for request in &recorded {
        let text = request.text().to_ascii_lowercase();
        assert!(!text.contains("hmac") && !text.contains("cmcd") && !text.contains("cookie"), "{text}");
    }
}

/// What fails ahead is as if it had never been asked for: its error is not kept, and a viewer who comes afterwards, or has
/// joined meanwhile, gets what a fetch of his own brings.
#[tokio::test]
async fn a_fetch_ahead_that_fails_harms_nobody() {
    let bench = Bench::with("prefetch = [\"segments\"]", |setup| setup.limits("waiters = 1")).await;
    let renditions = ["missing", "broken", "joined"];
    for rendition in renditions {
        bench.origin.on_each(&format!("/{rendition}/a.m3u8"), vec![live(1), live(2)]);
        assert_eq!(bench.node.get(&format!("/{rendition}/a.m3u8")).await.status(), 200);
    }
    let joined = Gate::closed();
    let good = |rendition: &str| segment(&format!("/{rendition}/4.m4s"));
    bench.origin.on_each("/missing/4.m4s", vec![Answer::status(404), good("missing")]);
    bench.origin.on_each("/broken/4.m4s", vec![good("broken").reset_after(10), good("broken")]);
    bench.origin.on_each("/joined/4.m4s", vec![Answer::status(503).hold(&joined), good("joined")]);
    bench.clock.advance(Duration::from_secs(TARGET));
    for rendition in renditions {
        assert_eq!(bench.node.get(&format!("/{rendition}/a.m3u8")).await.status(), 200);
        bench.origin.await_requests(&format!("/{rendition}/4.m4s"), 1).await;
    }
    // One may wait for a fetch: when the second is turned away, the first has joined.
    let mut viewers = [Http1::connect(bench.node.http()).await, Http1::connect(bench.node.http()).await];
    for viewer in &mut viewers {
        viewer.send(&Request::get("/joined/4.m4s")).await;
    }
    let [one, other] = &mut viewers;
    let (turned_away, viewer) = tokio::select! {
        head = one.head("GET") => (head.status, other),
        head = other.head("GET") => (head.status, one),
    };
    assert_eq!(turned_away, 503);
    joined.open();
    let response = viewer.response("GET").await;
    assert_eq!((response.status(), response.outcome()), (200, "coalesced"));
    assert_same_bytes(response.whole(), &body("/joined/4.m4s"), "the joined viewer");
    assert_eq!(bench.origin.requests("/joined/4.m4s"), 2);
    for rendition in ["missing", "broken"] {
        let path = format!("/{rendition}/4.m4s");
        let response = bench.node.get(&path).await;
        assert_eq!((response.status(), response.outcome()), (200, "miss"), "{path}");
        assert_same_bytes(response.whole(), &body(&path), "a later viewer");
        assert_eq!(bench.origin.requests(&path), 2);
    }
    bench.node.stop().await;
}

/// An origin that has failed is not asked ahead for a while.
#[tokio::test]
async fn an_origin_that_has_failed_is_left_alone_for_a_while() {
    let bench = Bench::with_rule("prefetch = [\"segments\"]").await;
    for rendition in ["one", "two"] {
        bench.origin.on_each(&format!("/{rendition}/a.m3u8"), vec![live(1), live(2), live(3)]);
        assert_eq!(bench.node.get(&format!("/{rendition}/a.m3u8")).await.status(), 200);
    }
    bench.origin.on("/one/4.m4s", Answer::status(503));
    bench.reload("/one/a.m3u8").await;
    bench.await_fetches("segment", "failed", 1.0).await;
    assert_eq!(bench.node.get("/two/a.m3u8").await.status(), 200);
    bench.await_fetches("segment", "skipped_origin", 1.0).await;
    assert_eq!(bench.media_asked_for(), ["/one/4.m4s"]);
    bench.reload("/two/a.m3u8").await;
    bench.origin.await_requests("/two/5.m4s", 1).await;
    bench.node.stop().await;
}

/// A node that drains fetches nothing ahead.
#[tokio::test]
async fn a_draining_node_fetches_nothing_ahead() {
    let bench = Bench::with_rule("prefetch = [\"segments\"]").await;
    let gate = Gate::closed();
    bench.origin.on_each("/live/a.m3u8", vec![live(1), live(2).hold(&gate)]);
    bench.reload("/live/a.m3u8").await;
    bench.clock.advance(Duration::from_secs(TARGET));
    let mut viewer = Http1::connect(bench.node.http()).await;
    viewer.send(&Request::get("/live/a.m3u8")).await;
    bench.origin.await_requests("/live/a.m3u8", 2).await;
    let drained = crate::support::client::ask(bench.node.admin(), &Request::new("POST", "/drain")).await;
    assert_eq!(drained.status(), 202);
    gate.open();
    let refreshed = viewer.response("GET").await;
    assert!(String::from_utf8_lossy(refreshed.whole()).contains("4.m4s"));
    assert_eq!(bench.fetches("segment", "started").await, 0.0);
    assert_eq!(bench.media_asked_for(), Vec::<String>::new());
    bench.node.stop().await;
}

/// An object that nobody has asked for counts as wasted when it goes, and what was asked for does not.
#[tokio::test]
async fn what_goes_unasked_is_wasted() {
    let bench = Bench::with_rule("prefetch = [\"segments\"]").await;
    bench.origin.on_each("/live/a.m3u8", vec![live(1), live(2), live(3)]);
    for objects in [1.0, 2.0, 3.0] {
        bench.reload("/live/a.m3u8").await;
        bench.await_objects(objects).await;
    }
    assert_eq!(bench.node.get("/live/4.m4s").await.outcome(), "hit");
    let cleared =
        crate::support::client::ask(bench.node.admin(), &Request::new("POST", "/cache/clear")).await;
    assert!(cleared.status() < 300, "{}", cleared.status());
    let objects = "forebay_prefetch_objects_total";
    let metrics = bench.node.await_metric(objects, &[("result", "wasted")], 1.0).await;
    assert_eq!(metrics.sum(objects, &[("result", "wasted")]), 1.0);
    assert_eq!(metrics.sum(objects, &[("result", "used")]), 1.0);
    for result in ["used", "wasted"] {
        assert_eq!(metrics.sum("forebay_prefetch_bytes_total", &[("result", result)]), 100_000.0, "{result}");
    }
    bench.node.stop().await;
}

/// Where keys are made of more than the target, or answers vary by a request, nothing is fetched ahead: nobody knows what
/// the next request will have.
#[tokio::test]
async fn what_depends_on_the_request_is_left_to_it() {
    for rule in [
        "kind = [\"media_playlist\"]\nprefetch = [\"segments\"]\n[[site.rule]]\nkey = { headers = [\"x-a\"] }",
        "kind = [\"media_playlist\"]\nprefetch = [\"segments\"]\n[[site.rule]]\nbypass = true",
        "path = \"*.m4s\"\nrequest_headers = { x-a = \"*\" }\nttl = \"5s\"\n[[site.rule]]\nprefetch = [\"segments\"]",
    ] {
        let bench = Bench::with_rule(rule).await;
        bench.origin.on_each("/live/a.m3u8", vec![live(1), live(2)]);
        bench.reload("/live/a.m3u8").await;
        bench.reload("/live/a.m3u8").await;
        assert_eq!(bench.media_asked_for(), Vec::<String>::new(), "{rule}");
        assert_eq!(bench.fetches("segment", "started").await, 0.0, "{rule}");
        bench.node.stop().await;
    }
    let bench = Bench::with_rule("prefetch = [\"segments\"]").await;
    bench.origin.on_each("/live/a.m3u8", vec![live(1), live(2)]);
    bench.origin.on("/live/4.m4s", segment("/live/4.m4s").header("vary", "x-a"));
    bench.reload("/live/a.m3u8").await;
    bench.reload("/live/a.m3u8").await;
    bench.await_fetches("segment", "failed", 1.0).await;
    assert_eq!(bench.node.get("/live/4.m4s").await.outcome(), "miss");
    bench.node.stop().await;
}

/// A Low-Latency stream with real media: from the first reload on, every part is here or on its way when its first viewer
/// asks for it, and its origin was asked for it once.
#[tokio::test]
async fn each_part_of_a_low_latency_stream_is_on_its_way_before_it_is_asked_for() {
    const PARTS: usize = 12;
    // The demo's `Date` is the real one.
    let clock = Clock::manual(std::time::SystemTime::now());
    let demo = DemoOrigin::new(clock.clone()).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn({
        let demo = demo.clone();
        async move { demo.serve(listener, async { drop(stopped.await) }).await }
    });
    let rule = "[[site.rule]]\nprefetch = [\"segments\", \"hints\"]\n";
    let node = LocalNode::start_at(&Setup::with_servers(&[url]).more(rule), clock.clone());
    let multivariant = node.get("/ll/index.m3u8").await;
    let multivariant = String::from_utf8_lossy(multivariant.whole()).into_owned();
    let rendition = multivariant.lines().find(|line| line.ends_with(".m3u8")).expect("a variant");
    let playlist = format!("/ll/{rendition}");
    let folder = playlist.rsplit_once('/').expect("a folder").0;
    let mut reach = forebay::hls::read::read(node.get(&playlist).await.whole()).unwrap().reach;
    for _ in 0..PARTS {
        let target = format!("{playlist}?_HLS_msn={}&_HLS_part={}", reach.next, reach.parts);
        let mut player = Http1::connect(node.http()).await;
        player.send(&Request::get(&target)).await;
        clock.advance(Duration::from_millis(500));
        let reloaded = player.response("GET").await;
        assert_eq!(reloaded.status(), 200);
        let path = format!("{folder}/seg-{}.part{}.m4s", reach.next, reach.parts);
        let part = node.get(&path).await;
        assert_eq!(part.status(), 200, "{path}");
        assert!(["hit", "coalesced"].contains(&part.outcome()), "{path}: {}", part.outcome());
        assert_eq!(demo.requests(&path), 1, "{path}");
        reach = forebay::hls::read::read(reloaded.whole()).unwrap().reach;
    }
    let metrics = node.metrics().await;
    let used = metrics.sum("forebay_prefetch_objects_total", &[("result", "used")]);
    assert!(used >= PARTS as f64, "{used} of {PARTS} parts");
    assert_eq!(metrics.sum("forebay_requests_total", &[("kind", "part"), ("outcome", "miss")]), 0.0);
    // The part that is hinted at is held by the origin until the clock goes on.
    clock.advance(Duration::from_secs(1));
    node.stop().await;
    drop(stop);
    serving.await.unwrap().unwrap();
}
