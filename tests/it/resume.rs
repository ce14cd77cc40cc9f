//! Transfers from an origin that break off are gone on with, and viewers notice nothing; what cannot be gone on with breaks
//! for them, too, and is never a hit.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use tokio::task::JoinSet;

use crate::support::client::{self, End, Http1, Http2, Request, Response};
use crate::support::content::{assert_same_bytes, content};
use crate::support::edge::{Edge, Setup};
use crate::support::origin::{Answer, Origin, Recorded};
use crate::support::seed::seed;
use crate::support::wait::{Gate, within};

const MIB: usize = 1024 * 1024;
const LENGTH: usize = 300_000;
const CUT: usize = 120_000;
const DATE: &str = "Tue, 01 Sep 2026 10:00:00 GMT";

/// What is left of a body that an origin which breaks each transfer sends at last.
const REMAINDER: usize = 1024;

/// A body that can be gone on with.
fn whole(body: &Bytes) -> Answer {
    Answer::ok(body.clone()).cache_control("max-age=600").etag("\"v1\"").ranges()
}

/// How many bytes of `len` a request asks for.
fn wanted(request: &Recorded, len: usize) -> usize {
    let Some(range) = request.header("range") else { return len };
    let (first, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
    let first: usize = first.parse().unwrap();
    len.min(last.parse::<usize>().map_or(len, |last| last + 1)).saturating_sub(first)
}

/// Has each transfer of this answer broken at a random byte, one way or another, until little is left. The first one is
/// broken, however small.
fn break_each(origin: &Origin, path: &str, answer: &Answer, len: usize, random: u64) {
    let (answer, random) = (answer.clone(), Mutex::new(StdRng::seed_from_u64(random)));
    origin.script(path, move |request, nth| {
        let left = wanted(request, len);
        if left == 0 || (nth > 0 && left <= REMAINDER) {
            return answer.clone();
        }
        let mut random = random.lock().unwrap();
        let cut = random.random_range(0..left);
        // A reset takes with it what is on the way: once alone, so that each transfer but one brings what it is to.
        match random.random_range(0..3) {
            0 if nth == 0 => answer.clone().reset_after(cut),
            1 if answer.is_chunked() => answer.clone().garbage_after(cut),
            _ => answer.clone().close_after(cut),
        }
    });
}

/// Reads an answer with its last half taken when all others have theirs.
async fn read_late(mut viewer: Http1, others: Gate) -> Response {
    let head = viewer.head("GET").await;
    let mut body = Vec::new();
    if let Some(first) = viewer.next().await {
        body.extend_from_slice(&first.expect("the first bytes"));
    }
    others.passed().await;
    let (rest, end) = viewer.rest().await;
    body.extend_from_slice(&rest);
    Response { head, body: body.into(), end }
}

async fn resumes(edge: &Edge, result: &str) -> f64 {
    let labels = [("origin", "main"), ("result", result)];
    edge.metrics().await.sum("forebay_origin_resumes_total", &labels)
}

/// Bodies of all sizes, told and in chunks, each transfer of which breaks, are read by viewers of both versions of HTTP
/// at once: plain readers, readers of parts, and one that stops half way.
async fn viewers_notice_nothing(edge: &Edge, origins: &[&Origin], seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let sizes = [1, 2, 17, REMAINDER, REMAINDER + 1, 65_536, 300_000, MIB, MIB + 1, 3 * MIB + 17];
    let sizes = sizes.into_iter().chain((0..14).map(|_| random.random_range(1..600_000))).collect::<Vec<_>>();
    let others = Gate::closed();
    let (mut viewers, mut late) = (JoinSet::new(), JoinSet::new());
    let http2 = Http2::connect(edge.http()).await;
    for (number, len) in sizes.iter().copied().enumerate() {
        let path = format!("/{number}.m4s");
        let body = content(number as u64, len);
        let mut answer = whole(&body);
        if number % 3 == 2 {
            answer = answer.chunked();
        }
        if number % 4 == 1 {
            answer = Answer::ok(body.clone()).cache_control("max-age=600").last_modified(DATE).ranges();
        }
        for origin in origins {
            break_each(origin, &path, &answer, len, random.random());
        }
        for who in 0..3 {
            let (address, path, body) = (edge.http(), path.clone(), body.clone());
            viewers.spawn(async move {
                let response = client::get(address, &path).await;
                assert_same_bytes(response.whole(), &body, &format!("reader {who} of {path}"));
            });
        }
        let (http2, address, slow) = (http2.clone(), edge.http(), path.clone());
        let first = random.random_range(0..len);
        let last = random.random_range(first..len);
        let expected = body.clone();
        viewers.spawn(async move {
            let response = http2.get(&path).await;
            assert_same_bytes(response.whole(), &expected, &format!("the HTTP/2 reader of {path}"));
            let part = http2.ask(&Request::get(&path).range(&format!("bytes={first}-{last}"))).await;
            assert_same_bytes(part.whole(), &expected[first..=last], &format!("the second part of {path}"));
        });
        let (expected, path) = (body.clone(), slow.clone());
        viewers.spawn(async move {
            let request = Request::get(&path).range(&format!("bytes={first}-{last}"));
            let part = client::ask(address, &request).await;
            assert_eq!(part.status(), 206, "{path}");
            assert_same_bytes(part.whole(), &expected[first..=last], &format!("a part of {path}"));
        });
        let others = others.clone();
        late.spawn(async move {
            let mut viewer = Http1::connect_with_tiny_buffer(address).await;
            viewer.send(&Request::get(&slow)).await;
            let response = read_late(viewer, others).await;
            assert_same_bytes(response.whole(), &body, &format!("the slow reader of {slow}"));
        });
    }
    viewers.join_all().await;
    others.open();
    late.join_all().await;
    for (number, len) in sizes.into_iter().enumerate() {
        let again = edge.get(&format!("/{number}.m4s")).await;
        assert_same_bytes(again.whole(), &content(number as u64, len), "what is kept");
    }
    assert!(resumes(edge, "resumed").await >= 24.0, "no transfer was gone on with");
    for result in ["refused", "given_up"] {
        assert_eq!(resumes(edge, result).await, 0.0, "{result}");
    }
}

/// An origin that breaks each transfer at a random byte, also those that go on with one: viewers get whole, exact bodies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_origin_that_breaks_each_transfer_is_not_noticed() {
    let seed = seed();
    let origin = Origin::start().await;
    let edge = Setup::before(&origin).limits("object_share = 10").server("h2c = true").start().await;
    viewers_notice_nothing(&edge, &[&origin], seed).await;
    let reason = [("origin", "main"), ("reason", "resume")];
    assert!(edge.metrics().await.sum("forebay_origin_requests_total", &reason) >= 24.0);
}

/// The same with two servers: what one has begun, the other goes on with.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_goes_on_from_another_server() {
    let seed = seed();
    let (one, other) = (Origin::start().await, Origin::start().await);
    // Both break everything: neither is to be left alone for it.
    let setup = Setup::with_servers(&[one.url(), other.url()]).origin("eject = { enabled = false }");
    let edge = setup.limits("object_share = 10").server("h2c = true").start().await;
    viewers_notice_nothing(&edge, &[&one, &other], seed).await;
    let resumed = |origin: &Origin| {
        origin.recorded().iter().filter(|request| request.header("if-range").is_some()).count()
    };
    assert!(resumed(&one) > 0 && resumed(&other) > 0);
}

/// The same with a server that is gone after it has begun.
#[tokio::test]
async fn a_transfer_of_a_server_that_dies_goes_on_from_the_other() {
    let (mut dying, other) = (Origin::start().await, Origin::start().await);
    let body = content(1, LENGTH);
    let gate = Gate::closed();
    dying.on("/a.m4s", whole(&body).gate_at(CUT, &gate));
    other.on("/a.m4s", whole(&body));
    let edge = Setup::with_servers(&[dying.url(), other.url()]).start().await;
    let mut viewer = edge.open(&Request::get("/a.m4s")).await;
    let head = viewer.head("GET").await;
    let first = viewer.at_least(1).await.expect("the first bytes");
    assert_eq!(other.requests("/a.m4s"), 0, "the first server has begun");
    dying.stop().await;
    let (rest, end) = viewer.rest().await;
    let response = Response { head, body: [first, rest.to_vec()].concat().into(), end };
    assert_same_bytes(response.whole(), &body, "the viewer");
    assert!(other.last("/a.m4s").header("range").is_some());
}

/// A node behind a node: what breaks off at the shield goes on at the edge.
#[tokio::test]
async fn an_edge_goes_on_where_its_shield_broke_off() {
    let origin = Origin::start().await;
    let body = content(1, LENGTH);
    origin.on_each("/a.m4s", vec![whole(&body).close_after(CUT), whole(&body)]);
    let shield = Setup::before(&origin).origin("retry = { resume = 0 }").start().await;
    let edge = Setup::with_servers(&[format!("http://{}", shield.http())]).start().await;
    assert_same_bytes(edge.get("/a.m4s").await.whole(), &body, "the viewer");
    assert_eq!((resumes(&edge, "resumed").await, resumes(&shield, "given_up").await), (1.0, 1.0));
    assert_hit(&edge, "/a.m4s", &body, "what is kept").await;
}

/// Large objects in slices: a slice that breaks off is asked for within its own range, and nothing is fetched twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slices_that_break_off_go_on_within_their_ranges() {
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let origin = Origin::start().await;
    let body = content(1, 6 * MIB + 4321);
    break_each(&origin, "/film.mp4", &whole(&body), body.len(), random.random());
    let edge = Setup::before(&origin).limits("slice_above = \"1MiB\"\nobject_share = 10").start().await;
    let mut viewers = JoinSet::new();
    for _ in 0..12 {
        let first = random.random_range(0..body.len());
        let last = random.random_range(first..body.len());
        let (address, body) = (edge.http(), body.clone());
        viewers.spawn(async move {
            let request = Request::get("/film.mp4").range(&format!("bytes={first}-{last}"));
            let part = client::ask(address, &request).await;
            assert_same_bytes(part.whole(), &body[first..=last], &format!("{first}-{last}"));
            assert_same_bytes(client::get(address, "/film.mp4").await.whole(), &body, "the whole");
        });
    }
    viewers.join_all().await;
    assert!(resumes(&edge, "resumed").await >= 6.0);
    for request in origin.recorded().iter().skip(1) {
        let range = request.header("range").expect("a part is asked for");
        let (first, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
        let first: usize = first.parse().unwrap();
        let last = if last.is_empty() { body.len() - 1 } else { last.parse().unwrap() };
        assert_eq!(first / MIB, last / MIB, "{range} is not within a slice");
    }
    let sent = origin.body_bytes("/film.mp4");
    assert!(sent < 2 * body.len() as u64, "{sent} bytes sent of {}", body.len());
}

/// What is not kept streams through a window and is gone on with as well: what is one viewer's own, and what outgrows
/// what is kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_streams_through_a_window_goes_on() {
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let origin = Origin::start().await;
    let body = content(1, 5 * MIB);
    let own = Answer::ok(body.clone()).cache_control("no-store").etag("\"v1\"").ranges();
    break_each(&origin, "/own.m4s", &own, body.len(), random.random());
    break_each(&origin, "/large.m4s", &whole(&body).chunked(), body.len(), random.random());
    let edge = Setup::before(&origin).limits("object_share = 1").server("h2c = true").start().await;
    let mut viewers = JoinSet::new();
    for path in ["/own.m4s", "/large.m4s", "/own.m4s"] {
        let (address, body) = (edge.http(), body.clone());
        viewers.spawn(async move {
            assert_same_bytes(client::get(address, path).await.whole(), &body, path);
            let http2 = Http2::connect(address).await;
            assert_same_bytes(http2.get(path).await.whole(), &body, path);
        });
    }
    viewers.join_all().await;
    assert!(resumes(&edge, "resumed").await >= 3.0);
    assert_eq!(resumes(&edge, "given_up").await, 0.0);
}

/// A body whose framing says nothing of its length, and of which only word of the end is missing, is whole and kept.
#[tokio::test]
async fn a_body_that_lacks_its_last_chunk_alone_is_whole() {
    let origin = Origin::start().await;
    let body = content(1, LENGTH);
    let cut = whole(&body).chunked().close_after(LENGTH);
    origin.on_each("/a.m4s", vec![cut, whole(&body)]);
    let edge = Setup::before(&origin).start().await;
    assert_same_bytes(edge.get("/a.m4s").await.whole(), &body, "the viewer");
    assert_hit(&edge, "/a.m4s", &body, "what is kept").await;
    let last = format!("bytes={}-", LENGTH - 1);
    assert_eq!(origin.last("/a.m4s").header("range"), Some(last.as_str()));
}

/// A transfer that stalls is gone on with after `between_bytes`.
#[tokio::test]
async fn a_transfer_that_stalls_goes_on() {
    let origin = Origin::start().await;
    let body = content(1, LENGTH);
    origin.on_each("/a.m4s", vec![whole(&body).gate_at(CUT, &Gate::closed()), whole(&body)]);
    let edge = Setup::before(&origin).origin("timeouts = { between_bytes = \"2s\" }").start().await;
    assert_same_bytes(edge.get("/a.m4s").await.whole(), &body, "the viewer");
    let asked = &origin.recorded()[1];
    assert!(wanted(asked, LENGTH) >= LENGTH - CUT, "{asked:?}");
    assert_eq!(asked.header("if-range"), Some("\"v1\""));
}

/// An origin that knows no ranges, or sends a part that is shorter than was asked for, is read on as far as it goes.
#[tokio::test]
async fn a_server_without_ranges_is_read_again_and_one_of_short_parts_read_on() {
    let origin = Origin::start().await;
    let body = content(1, LENGTH);
    let plain = Answer::ok(body.clone()).cache_control("max-age=600").etag("\"v1\"");
    origin.on_each(
        "/plain.m4s",
        vec![plain.clone().close_after(CUT), plain.clone().close_after(2 * CUT), plain.chunked()],
    );
    let short = body.clone();
    origin.script("/short.m4s", move |request, nth| {
        if nth == 0 {
            return whole(&short).close_after(CUT);
        }
        let first = LENGTH - wanted(request, LENGTH);
        let last = (first + 50_000).min(LENGTH) - 1;
        Answer::status(206)
            .body(short.slice(first..=last))
            .header("etag", "\"v1\"")
            .header("content-range", &format!("bytes {first}-{last}/{LENGTH}"))
    });
    let edge = Setup::before(&origin).start().await;
    for (path, requests) in [("/plain.m4s", 3), ("/short.m4s", 5)] {
        assert_same_bytes(edge.get(path).await.whole(), &body, path);
        assert_hit(&edge, path, &body, path).await;
        assert_eq!(origin.requests(path), requests, "{path}");
    }
}

/// Going on takes the turn of what broke off: a cap of one connection is enough, also where the last part is left
/// unread to its end.
#[tokio::test]
async fn a_transfer_goes_on_in_its_own_turn() {
    let origin = Origin::start().await;
    let body = content(1, LENGTH);
    let never = Gate::closed();
    let sent = body.clone();
    origin.script("/a.m4s", move |request, nth| {
        if nth == 0 {
            return whole(&sent).close_after(CUT);
        }
        let first = LENGTH - wanted(request, LENGTH);
        let last = (first + 50_000).min(LENGTH) - 1;
        // In chunks, of which the last one does not come.
        Answer::status(206)
            .body(sent.slice(first..=last))
            .header("etag", "\"v1\"")
            .header("content-range", &format!("bytes {first}-{last}/{LENGTH}"))
            .chunked()
            .gate_at(last + 1 - first, &never)
    });
    let edge = Setup::before(&origin).origin("limits = { connections = 1 }").start().await;
    assert_same_bytes(edge.get("/a.m4s").await.whole(), &body, "the viewer");
    assert_eq!((resumes(&edge, "resumed").await, resumes(&edge, "failed").await), (4.0, 0.0));
    assert_hit(&edge, "/a.m4s", &body, "what is kept").await;
}

/// What an origin may answer with that is not the rest of what broke off.
fn no_rests(body: &Bytes) -> Vec<(&'static str, Answer)> {
    let changed = content(2, LENGTH);
    let part = |range: &str| {
        let rest = body.slice(CUT..);
        Answer::status(206).body(rest).header("etag", "\"v1\"").header("content-range", range)
    };
    let last = LENGTH - 1;
    let named = |tag| {
        let range = format!("bytes {CUT}-{last}/{LENGTH}");
        Answer::status(206).body(changed.slice(CUT..)).header("etag", tag).header("content-range", &range)
    };
    vec![
        ("another version", Answer::ok(changed.clone()).etag("\"v2\"").ranges()),
        ("another version without a word of ranges", Answer::ok(changed.clone()).etag("\"v2\"")),
        ("a version that does not say which", Answer::ok(changed.clone())),
        ("a weak tag", Answer::ok(changed.clone()).etag("W/\"v1\"")),
        ("a part of another version", named("\"v2\"")),
        ("a part with a weak tag", named("W/\"v1\"")),
        ("a part that begins late", part(&format!("bytes {}-{last}/{LENGTH}", CUT + 1))),
        ("a part that begins early", part(&format!("bytes {}-{last}/{LENGTH}", CUT - 1))),
        ("a part of another length", part(&format!("bytes {CUT}-{LENGTH}/{}", LENGTH + 1))),
        ("a part of untold length", part(&format!("bytes {CUT}-{last}/*"))),
        ("a part that says nothing of where", Answer::status(206).body(body.slice(CUT..)).etag("\"v1\"")),
        ("416", Answer::status(416).header("content-range", &format!("bytes */{CUT}"))),
        ("404", Answer::status(404)),
    ]
}

fn assert_broken(response: &Response, body: &Bytes, who: &str) {
    assert!(matches!(response.end, End::Broken(_)), "{who}: a clean end after {}", response.body.len());
    assert_eq!(response.body.len(), CUT, "{who}");
    assert_same_bytes(&response.body, &body[..CUT], who);
}

/// The body is held. A viewer has its last byte a moment before the store has the object, and may join until then.
async fn assert_hit(edge: &Edge, path: &str, body: &Bytes, who: &str) {
    within(who, async {
        loop {
            let response = edge.get(path).await;
            let (_, member) =
                response.head.headers.iter().rfind(|(name, _)| name == "cache-status").expect("a member");
            let outcome = member.rsplit_once("detail=").expect("an outcome").1;
            assert!(["hit", "coalesced"].contains(&outcome), "{who}: {outcome}");
            assert_same_bytes(response.whole(), body, who);
            if outcome == "hit" {
                return;
            }
        }
    })
    .await;
}

/// The next request is a fetch, the one behind it the first hit, both whole.
async fn assert_fetched_anew(edge: &Edge, path: &str, body: &Bytes, who: &str) {
    let next = edge.get(path).await;
    assert_eq!(next.outcome(), "miss", "{who}");
    assert_same_bytes(next.whole(), body, who);
    assert_hit(edge, path, body, who).await;
}

/// What is not the rest of the same version breaks the transfer for all its readers, after bytes of the first version
/// alone, and is not asked for again; nothing of it is kept.
#[tokio::test]
async fn what_is_not_the_rest_is_never_joined() {
    let body = content(1, LENGTH);
    let origin = Origin::start().await;
    let edge = Setup::before(&origin).server("h2c = true").start().await;
    let http2 = Http2::connect(edge.http()).await;
    for (number, (what, answer)) in no_rests(&body).into_iter().enumerate() {
        for chunked in [false, true] {
            let path = format!("/{number}-{chunked}.m4s");
            let gate = Gate::closed();
            let mut first = whole(&body).gate_at(CUT, &gate).close_after(CUT);
            if chunked {
                first = first.chunked();
            }
            let last = Answer::ok(content(2, LENGTH)).cache_control("max-age=600").etag("\"v2\"");
            origin.on_each(&path, vec![first, answer.clone(), last]);
            let mut one = edge.open(&Request::get(&path)).await;
            let head = one.head("GET").await;
            let mut other = http2.start(&Request::get(&path)).await.expect("a header");
            gate.open();
            let (read, end) = one.rest().await;
            let who = format!("{what}, in chunks: {chunked}");
            assert_broken(&Response { head, body: read, end }, &body, &who);
            assert_broken(&other.read_to_end().await, &body, &who);
            assert_eq!(origin.requests(&path), 2, "{who}");
            assert_fetched_anew(&edge, &path, &content(2, LENGTH), &who).await;
        }
    }
    assert_eq!(resumes(&edge, "resumed").await, 0.0);
}

/// Without a validator that tells versions apart for certain, or where it is switched off, nothing is asked for again.
#[tokio::test]
async fn what_no_strong_validator_vouches_for_is_not_asked_for_again() {
    let body = content(1, LENGTH);
    let plain = || Answer::ok(body.clone()).cache_control("max-age=600").ranges();
    let origin = Origin::start().await;
    let edge = Setup::before(&origin).start().await;
    let now = httpdate::fmt_http_date(std::time::SystemTime::now());
    for (path, answer) in [
        ("/none.m4s", plain()),
        ("/weak.m4s", plain().etag("W/\"v1\"")),
        ("/fresh.m4s", plain().last_modified(&now).header("date", &now)),
        ("/coded.m4s", plain().etag("\"v1\"").header("content-encoding", "x")),
    ] {
        origin.on_each(path, vec![answer.clone().close_after(CUT), answer]);
        assert_broken(&edge.get(path).await, &body, path);
        assert_eq!(origin.requests(path), 1, "{path}");
        assert_fetched_anew(&edge, path, &body, path).await;
    }
    assert_eq!(resumes(&edge, "given_up").await, 4.0);
    let off = Setup::before(&origin).origin("retry = { resume = 0 }").start().await;
    origin.on_each("/off.m4s", vec![whole(&body).close_after(CUT), whole(&body)]);
    assert_broken(&off.get("/off.m4s").await, &body, "switched off");
    assert_eq!(origin.requests("/off.m4s"), 1);
}

/// Attempts that bring nothing are as many as `retry.resume` says, whatever they fail by; then the transfer breaks.
#[tokio::test]
async fn attempts_that_bring_nothing_come_to_an_end() {
    let body = content(1, LENGTH);
    let origin = Origin::start().await;
    let edge = Setup::before(&origin).origin("retry = { attempts = 1, resume = 4 }").start().await;
    let nothing = [
        ("/broken.m4s", whole(&body).close_after(0)),
        ("/busy.m4s", Answer::status(503)),
        ("/gone.m4s", Answer::raw("")),
    ];
    for (path, answer) in nothing {
        let mut answers = vec![whole(&body).close_after(CUT)];
        answers.extend(vec![answer; 4]);
        answers.push(whole(&body));
        origin.on_each(path, answers);
        assert_broken(&edge.get(path).await, &body, path);
        assert_eq!(origin.requests(path), 5, "{path}");
        assert_fetched_anew(&edge, path, &body, path).await;
    }
}

/// `timeouts.total` ends a transfer that drips for ever, and nothing is asked for again.
#[tokio::test]
async fn a_transfer_that_takes_too_long_as_a_whole_is_not_gone_on_with() {
    let body = content(1, LENGTH);
    let origin = Origin::start().await;
    let edge = Setup::before(&origin).origin("timeouts = { total = \"3s\" }").start().await;
    origin.on("/a.m4s", whole(&body).paced(1000, Duration::from_secs(60)));
    let response = edge.get("/a.m4s").await;
    assert!(matches!(response.end, End::Broken(_)), "a clean end after {}", response.body.len());
    assert_eq!(origin.requests("/a.m4s"), 1);
    let text = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n".to_owned() + &"#EXTINF:2,\n1.m4s\n".repeat(10_000);
    let list = whole(&Bytes::from(text));
    origin.on("/a.m3u8", list.paced(1000, Duration::from_secs(60)));
    assert_eq!(edge.get("/a.m3u8").await.status(), 504);
    assert_eq!(origin.requests("/a.m3u8"), 1);
}

/// A playlist or manifest that is too long to be read, and has been gone on with before that was known, is passed on whole.
#[tokio::test]
async fn a_long_playlist_that_is_gone_on_with_keeps_its_length() {
    let list = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n".to_owned() + &"#EXTINF:2,\n1.m4s\n".repeat(20_000);
    let manifest = "<MPD>".to_owned() + &"<Period></Period>".repeat(20_000) + "</MPD>";
    let origin = Origin::start().await;
    let edge = Setup::before(&origin).limits("playlist = \"200KiB\"").start().await;
    for (path, text) in [("/long.m3u8", list), ("/long.mpd", manifest)] {
        let text = Bytes::from(text);
        origin.on_each(path, vec![whole(&text).close_after(CUT), whole(&text)]);
        let response = edge.get(path).await;
        assert_eq!(response.get("content-length"), Some(text.len().to_string().as_str()), "{path}");
        assert_same_bytes(response.whole(), &text, path);
        assert_eq!(origin.requests(path), 2, "{path}");
    }
}

/// An origin that sends a byte at a time is asked a hundred times, and no more.
#[tokio::test]
async fn attempts_that_bring_little_come_to_an_end_too() {
    let body = content(1, LENGTH);
    let origin = Origin::start().await;
    origin.on("/a.m4s", whole(&body).close_after(1));
    let edge = Setup::before(&origin).start().await;
    let response = edge.get("/a.m4s").await;
    assert!(matches!(response.end, End::Broken(_)));
    assert_same_bytes(&response.body, &body[..101], "what came");
    assert_eq!(origin.requests("/a.m4s"), 101);
}

/// A purge while a transfer waits for its rest holds: who reads already gets the old version whole, the next request a
/// new one.
#[tokio::test]
async fn a_purge_while_a_transfer_goes_on_holds() {
    let (old, new) = (content(1, LENGTH), content(2, LENGTH));
    let origin = Origin::start().await;
    let gate = Gate::closed();
    let renewed = Answer::ok(new.clone()).cache_control("max-age=600").etag("\"v2\"").ranges();
    origin.on_each("/a.m4s", vec![whole(&old).close_after(CUT), whole(&old).hold(&gate), renewed]);
    let edge = Setup::before(&origin).start().await;
    let mut viewer = edge.open(&Request::get("/a.m4s")).await;
    let head = viewer.head("GET").await;
    origin.await_requests("/a.m4s", 2).await;
    let order = json!({ "url": format!("http://{}/a.m4s", edge.http()) });
    let purged = client::ask(edge.admin(), &Request::new("POST", "/purge").body(order.to_string())).await;
    assert_eq!(purged.status(), 200, "{}", String::from_utf8_lossy(&purged.body));
    let after = edge.get("/a.m4s").await;
    assert_same_bytes(after.whole(), &new, "after the purge");
    gate.open();
    let (body, end) = viewer.rest().await;
    assert_same_bytes(Response { head, body, end }.whole(), &old, "who read already");
    assert_hit(&edge, "/a.m4s", &new, "what is kept").await;
}

/// A slice whose version changes while it is fetched breaks its readers, and the head goes with it: the next request gets
/// the new version.
#[tokio::test]
async fn a_slice_of_a_version_that_is_gone_takes_its_head_with_it() {
    let (old, new) = (content(1, 3 * MIB), content(2, 3 * MIB));
    for broken in [0, 1] {
        let origin = Origin::start().await;
        let renewed = Answer::ok(new.clone()).cache_control("max-age=600").etag("\"v2\"").ranges();
        let mut answers = vec![whole(&old); broken];
        answers.extend([whole(&old).close_after(MIB / 2), renewed]);
        origin.on_each("/film.mp4", answers);
        let edge = Setup::before(&origin).limits("slice_above = \"1MiB\"").start().await;
        let request = Request::get("/film.mp4").range(&format!("bytes=0-{}", 2 * MIB - 1));
        let response = edge.ask(&request).await;
        assert!(matches!(response.end, End::Broken(_)), "slice {broken}");
        assert_same_bytes(&response.body, &old[..response.body.len()], "bytes of the old version alone");
        let next = within("the new version", async {
            loop {
                let next = edge.ask(&request).await;
                if next.get("etag") == Some("\"v2\"") {
                    return next;
                }
            }
        });
        assert_same_bytes(next.await.whole(), &new[..2 * MIB], "the new version");
    }
}

/// A playlist that breaks off is gone on with, or read again from its start, before anybody sees it.
#[tokio::test]
async fn a_playlist_that_breaks_off_is_read_again() {
    let list = |sequence: usize| {
        let segments = (sequence..sequence + 40).map(|number| format!("#EXTINF:4,\nseg{number}.ts\n"));
        let segments: String = segments.collect();
        format!("#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:{sequence}\n{segments}")
    };
    let origin = Origin::start().await;
    let edge = Setup::before(&origin).start().await;
    let tagged = Answer::ok(list(100)).etag("\"v1\"").ranges();
    let renewed = Answer::ok(list(101)).etag("\"v2\"").ranges();
    let cases = [
        (
            "/rest/v.m3u8",
            vec![tagged.clone().close_after(60), tagged.clone().close_after(90), tagged.clone()],
            100,
        ),
        ("/renewed/v.m3u8", vec![tagged.clone().close_after(60), renewed.clone(), renewed], 101),
        (
            "/plain/v.m3u8",
            vec![
                Answer::ok(list(100)).close_after(60),
                Answer::ok(list(101)).chunked().close_after(60),
                Answer::ok(list(102)),
            ],
            102,
        ),
    ];
    for (path, answers, sequence) in cases {
        let requests = answers.len();
        origin.on_each(path, answers);
        let response = edge.get(path).await;
        assert_eq!(response.status(), 200, "{path}");
        assert_same_bytes(response.whole(), list(sequence).as_bytes(), path);
        assert_eq!(origin.requests(path), requests, "{path}");
    }
    // An end to it.
    origin.on("/never/v.m3u8", Answer::ok(list(100)).close_after(60));
    assert_eq!(edge.get("/never/v.m3u8").await.status(), 502);
    assert_eq!(origin.requests("/never/v.m3u8"), 4);
}

/// A damaged block on disk is mended by the origin under its readers, also where the origin breaks that transfer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_mends_a_disk_goes_on() {
    let mut random = StdRng::seed_from_u64(seed());
    let disk = tempfile::tempdir().unwrap();
    let body = content(1, 3 * MIB);
    let origin = Origin::start().await;
    origin.on("/a.m4s", whole(&body));
    let store = format!(
        "disk = [{{ path = \"{}\", size = \"256MiB\" }}]\ndisk_admit_within = \"0s\"",
        disk.path().display()
    );
    let setup = Setup::before(&origin).limits("object_share = 15\nslice_above = \"64MiB\"").store(&store);
    let edge = setup.start().await;
    edge.get("/a.m4s").await.whole();
    edge.await_metric("forebay_cache_objects", &[("tier", "disk")], 1.0).await;
    edge.stop().await;
    overwrite(disk.path(), &body[2 * MIB + 1000..2 * MIB + 1100]);

    break_each(&origin, "/a.m4s", &whole(&body), body.len(), random.random());
    let before = origin.requests("/a.m4s");
    let edge = setup.start().await;
    edge.await_recovered().await;
    assert_same_bytes(edge.get("/a.m4s").await.whole(), &body, "from disk and origin");
    let corrupt = edge.metrics().await.sum("forebay_disk_corrupt_total", &[]);
    assert!(corrupt >= 1.0, "the damage was not met");
    assert!(resumes(&edge, "resumed").await >= 1.0);
    assert_eq!(origin.recorded()[before].header("range"), None, "what mends is read from its start");
}

/// Writes noise over a piece of a body, wherever it stands in the files of a volume.
fn overwrite(volume: &Path, piece: &[u8]) {
    let mut found = false;
    for entry in fs::read_dir(volume).unwrap() {
        let path = entry.unwrap().path();
        if !path.file_name().unwrap().to_string_lossy().starts_with("region-") {
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        if let Some(place) = memchr::memmem::find(&bytes, piece) {
            let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
            file.write_all_at(&content(9, piece.len()), place as u64).unwrap();
            found = true;
        }
    }
    assert!(found, "the body is not on disk");
}

/// A transfer that was gone on with is given up like any other when it has lost its last reader.
#[tokio::test]
async fn nobody_is_gone_on_for() {
    let origin = Origin::start().await;
    let body = content(1, MIB);
    let (early, late) = (Gate::closed(), Gate::closed());
    let gated = whole(&body).gate_at(100_000, &early).gate_at(200_000, &late);
    origin.on_each("/big.bin", vec![whole(&body).close_after(1000), gated, whole(&body)]);
    let edge = Setup::before(&origin).limits("abandon_below = 50").start().await;
    let mut viewer = edge.open(&Request::get("/big.bin")).await;
    viewer.head("GET").await;
    viewer.at_least(2000).await.expect("bytes of the second transfer");
    drop(viewer);
    early.open();
    origin.await_departed("/big.bin", 1).await;
    assert_same_bytes(edge.get("/big.bin").await.whole(), &body, "the next viewer");
    assert_eq!((origin.requests("/big.bin"), origin.last("/big.bin").header("range")), (3, None));
}
