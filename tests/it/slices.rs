//! Objects too large to be kept whole: kept in slices of 1 MiB, of which an origin is asked for those that are wanted.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use tokio::task::JoinSet;

use crate::support::client::{End, Http1, Http2, Request, Response};
use crate::support::content::{assert_same_bytes, content};
use crate::support::edge::{Edge, Setup};
use crate::support::origin::{Answer, Origin};
use crate::support::seed::seed;
use crate::support::wait::{Gate, eventually, within};

const MIB: usize = 1024 * 1024;
const PATH: &str = "/film.mp4";
const DATE: &str = "Tue, 01 Sep 2026 10:00:00 GMT";

fn film(body: &Bytes) -> Answer {
    Answer::ok(body.clone()).cache_control("max-age=600").etag("\"v1\"").ranges()
}

/// A node that slices what is longer than a slice, before an origin with a film of so many bytes.
async fn node(len: usize) -> (Origin, Edge, Bytes) {
    let body = content(1, len);
    let origin = Origin::start().await;
    origin.on(PATH, film(&body));
    let edge = slicing(&origin).start().await;
    (origin, edge, body)
}

fn slicing(origin: &Origin) -> Setup {
    Setup::before(origin).limits("slice_above = \"1MiB\"")
}

/// What the origin was asked for, in order: `Range`, or a dash.
fn asked(origin: &Origin) -> Vec<String> {
    let range =
        |request: &crate::support::origin::Recorded| request.header("range").unwrap_or("-").to_owned();
    origin.recorded().iter().map(range).collect()
}

fn slice(index: usize) -> String {
    format!("bytes={}-{}", index * MIB, (index + 1) * MIB - 1)
}

async fn part(edge: &Edge, start: usize, end: usize) -> Response {
    edge.ask(&range(start, end)).await
}

/// Asks until the outcome is this one: a viewer has its last byte a moment before the store has the object.
async fn until(edge: &Edge, request: &Request, outcome: &str) -> Response {
    within(&format!("an answer that is a {outcome}"), async {
        loop {
            let response = edge.ask(request).await;
            if response.outcome() == outcome {
                return response;
            }
        }
    })
    .await
}

fn range(start: usize, end: usize) -> Request {
    Request::get(PATH).range(&format!("bytes={start}-{}", end - 1))
}

fn assert_part(response: &Response, whole: &Bytes, start: usize, end: usize) {
    assert_eq!(response.status(), 206, "{start}..{end}");
    let expected = format!("bytes {start}-{}/{}", end - 1, whole.len());
    assert_eq!(response.get("content-range"), Some(expected.as_str()));
    assert_same_bytes(response.whole(), &whole[start..end], "a part");
}

/// A range of a large object that nobody has asked for yet costs the slices that it lies in, and not a byte more; the
/// same range is a hit then, and others cost their own slices.
#[tokio::test]
async fn a_range_of_a_large_object_fetches_its_slices_alone() {
    let (origin, edge, body) = node(64 * MIB + 5).await;
    let (start, end) = (40 * MIB + 100, 41 * MIB + 100);
    let cold = part(&edge, start, end).await;
    assert_part(&cold, &body, start, end);
    assert_eq!(cold.outcome(), "miss");
    assert_eq!(asked(&origin), [slice(40), slice(41)]);
    assert_eq!(origin.recorded()[0].header("if-range"), None);
    assert_eq!(origin.recorded()[1].header("if-range"), Some("\"v1\""));
    assert_part(&until(&edge, &range(start, end), "hit").await, &body, start, end);
    assert_eq!(origin.body_bytes(PATH), 2 * MIB as u64);

    // The head is held, the slice is not: a miss, and one more slice. The last one is short.
    let tail = edge.ask(&Request::get(PATH).range("bytes=-3")).await;
    assert_part(&tail, &body, body.len() - 3, body.len());
    assert_eq!(tail.outcome(), "miss");
    assert_eq!(asked(&origin)[2..], [format!("bytes={}-{}", 64 * MIB, 64 * MIB + 4)]);
    assert_eq!(origin.body_bytes(PATH), 2 * MIB as u64 + 5);
    assert!(edge.metrics().await.sum("forebay_origin_response_bytes_total", &[]) <= (2 * MIB + 5) as f64);
}

/// The last bytes of a cold object cost its first slice, which tells the length, and its last.
#[tokio::test]
async fn the_end_of_a_cold_object_costs_two_slices() {
    let (origin, edge, body) = node(8 * MIB).await;
    let tail = edge.ask(&Request::get(PATH).range("bytes=-100")).await;
    assert_part(&tail, &body, 8 * MIB - 100, 8 * MIB);
    assert_eq!(asked(&origin), [slice(0), slice(7)]);
}

/// A plain request streams the whole object, over each version of HTTP, and leaves its slices behind: the origin is
/// asked once for each.
#[tokio::test]
async fn a_whole_download_is_exact_over_each_protocol() {
    let body = content(1, 12 * MIB + 77);
    let origin = Origin::start().await;
    let cold = ["/http1.mp4", "/http2.mp4", "/http10.mp4"];
    origin.otherwise({
        let body = body.clone();
        move |_, _| film(&body)
    });
    let edge = slicing(&origin).server("h2c = true").start().await;
    for path in cold {
        for round in 0..2 {
            let response = match path {
                "/http2.mp4" => Http2::connect(edge.http()).await.get(path).await,
                "/http10.mp4" => edge.ask(&Request::get(path).http_1_0()).await,
                _ => edge.get(path).await,
            };
            assert_eq!(response.status(), 200, "{path}");
            let length = (12 * MIB + 77).to_string();
            assert_eq!(response.get("content-length"), Some(length.as_str()), "{path}");
            assert_eq!(response.get("content-range"), None, "{path}");
            assert_same_bytes(response.whole(), &body, path);
            assert_eq!(response.outcome(), if round == 0 { "miss" } else { "hit" }, "{path}");
        }
        // The first request is for the whole and ends with its first slice.
        assert_eq!(origin.requests(path), 13, "{path}");
    }
    let ranges = asked(&origin);
    assert_eq!(ranges[0], "-");
    assert_eq!(ranges[1..13].iter().collect::<BTreeSet<_>>().len(), 12);
}

/// 64 viewers seek about in one object: every byte is right, and the origin is asked once for each slice that any of them
/// touched, for nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn viewers_who_seek_share_slices() {
    let seed = seed();
    let body = content(1, 64 * MIB);
    let origin = Origin::start().await;
    origin.on(PATH, film(&body));
    let edge = Arc::new(slicing(&origin).memory("192MiB").start().await);
    let mut viewers = JoinSet::new();
    for viewer in 0..64 {
        let (edge, body) = (Arc::clone(&edge), body.clone());
        viewers.spawn(async move {
            let numbers = content(seed ^ viewer, 8 * 16);
            let mut numbers = numbers.chunks(8).map(|b| u64::from_le_bytes(b.try_into().unwrap()) as usize);
            let mut connection = Http1::connect(edge.http()).await;
            let mut touched = BTreeSet::new();
            for _ in 0..8 {
                let start = numbers.next().unwrap() % body.len();
                let end = (start + 1 + numbers.next().unwrap() % (2 * MIB)).min(body.len());
                let request = Request::get(PATH).range(&format!("bytes={start}-{}", end - 1));
                assert_part(&connection.ask(&request).await, &body, start, end);
                touched.extend(start / MIB..=(end - 1) / MIB);
            }
            touched
        });
    }
    let touched: BTreeSet<usize> = viewers.join_all().await.into_iter().flatten().collect();
    let ranges = asked(&origin);
    let wanted: BTreeSet<String> = touched.iter().copied().map(slice).collect();
    assert_eq!(ranges.iter().cloned().collect::<BTreeSet<_>>(), wanted, "seed {seed}");
    assert_eq!(ranges.len(), wanted.len(), "a slice was fetched twice, seed {seed}");
    assert_eq!(origin.body_bytes(PATH), (touched.len() * MIB) as u64, "seed {seed}");
}

/// 64 viewers want one slice at once: one request, and each reads it as it arrives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn viewers_of_one_slice_share_its_fetch() {
    let body = content(1, 8 * MIB);
    let origin = Origin::start().await;
    let (answer, rest) = (Gate::closed(), Gate::closed());
    let held = film(&body).hold(&answer).gate_at(1000, &rest);
    let plain = film(&body);
    origin.script(PATH, move |request, _| {
        if request.header("range") == Some(&slice(5)) { held.clone() } else { plain.clone() }
    });
    let edge = slicing(&origin).start().await;
    part(&edge, 0, 10).await.whole();
    let mut viewers = Vec::new();
    for _ in 0..64 {
        let request = Request::get(PATH).range(&format!("bytes={}-{}", 5 * MIB, 5 * MIB + 1999));
        viewers.push(edge.open(&request).await);
    }
    origin.await_requests(PATH, 2).await;
    answer.open();
    let mut begun = Vec::new();
    for viewer in &mut viewers {
        assert_eq!(viewer.head("GET").await.status, 206);
        begun.push(viewer.at_least(1000).await.expect("what has arrived"));
    }
    rest.open();
    for (viewer, begun) in viewers.iter_mut().zip(begun) {
        let (tail, end) = viewer.rest().await;
        assert_eq!(end, End::Clean);
        assert_same_bytes(&[begun, tail.to_vec()].concat(), &body[5 * MIB..5 * MIB + 2000], "a viewer");
    }
    assert_eq!(asked(&origin), [slice(0), slice(5)]);
}

/// The object changes at its origin while a viewer reads it: the transfer breaks off with bytes of the first version alone,
/// and the next request gets the second version whole.
#[tokio::test]
async fn versions_never_mix() {
    for changed in ["\"v2\"", "\"same length\""] {
        let old = content(1, 6 * MIB);
        let new = content(2, if changed == "\"v2\"" { 5 * MIB + 3 } else { 6 * MIB });
        let origin = Origin::start().await;
        let (before, after) =
            (film(&old), Answer::ok(new.clone()).cache_control("max-age=600").etag(changed).ranges());
        origin.script(PATH, move |_, nth| if nth < 3 { before.clone() } else { after.clone() });
        let edge = slicing(&origin).start().await;
        let broken = edge.get(PATH).await;
        assert!(matches!(broken.end, End::Broken(_)), "a transfer of two versions ended cleanly");
        assert!(broken.body.len() <= 3 * MIB);
        assert_same_bytes(&broken.body, &old[..broken.body.len()], "the first version");
        let next = edge.get(PATH).await;
        assert_same_bytes(next.whole(), &new, "the second version");
        assert_eq!(next.get("etag"), Some(changed));
    }
}

/// An origin that gives parts of another version without asking (it knows no `If-Range`) is found out by their validator.
#[tokio::test]
async fn a_part_of_another_version_is_not_used() {
    let (old, new) = (content(1, 4 * MIB), content(2, 4 * MIB));
    let origin = Origin::start().await;
    let cut = |body: &Bytes, tag: &str, index: usize| {
        let bytes = body.slice(index * MIB..(index + 1) * MIB);
        let range = format!("bytes {}-{}/{}", index * MIB, (index + 1) * MIB - 1, 4 * MIB);
        Answer::status(206).body(bytes).header("content-range", &range).header("etag", tag)
    };
    let answers = [cut(&old, "\"v1\"", 1).cache_control("max-age=600"), cut(&new, "\"v2\"", 2)];
    origin.on_each(PATH, answers.to_vec());
    let edge = slicing(&origin).start().await;
    let broken = part(&edge, MIB, 3 * MIB).await;
    assert!(matches!(broken.end, End::Broken(_)));
    assert_same_bytes(&broken.body, &old[MIB..MIB + broken.body.len()], "the first version");
}

/// Without range support, or without anything that tells versions apart, a large object streams through a window as ever.
#[tokio::test]
async fn without_ranges_or_validator_a_large_object_streams() {
    let body = content(1, 24 * MIB);
    let origin = Origin::start().await;
    let fresh = || Answer::ok(body.clone()).cache_control("max-age=600");
    origin.on("/no-ranges.mp4", fresh().etag("\"v1\""));
    origin.on("/no-validator.mp4", fresh().ranges());
    origin.on("/weak.mp4", fresh().ranges().header("etag", "W/\"v1\""));
    origin.on("/coded.mp4", fresh().ranges().etag("\"v1\"").header("content-encoding", "x"));
    let edge = Setup::before(&origin).memory("16MiB").start().await;
    for path in ["/no-ranges.mp4", "/no-validator.mp4", "/weak.mp4", "/coded.mp4"] {
        for count in 1..=2 {
            let response = edge.get(path).await;
            assert_same_bytes(response.whole(), &body, path);
            assert_eq!(origin.requests(path), count, "{path}");
        }
        let range = edge.ask(&Request::get(path).range("bytes=2000000-2000099")).await;
        assert_eq!(range.status(), 206, "{path}");
        assert_same_bytes(range.whole(), &body[2_000_000..2_000_100], path);
    }
}

/// A `Last-Modified` that is past change tells versions apart as well.
#[tokio::test]
async fn a_date_of_modification_will_do() {
    let body = content(1, 4 * MIB);
    let origin = Origin::start().await;
    origin.on(PATH, Answer::ok(body.clone()).cache_control("max-age=600").last_modified(DATE).ranges());
    let edge = slicing(&origin).start().await;
    assert_same_bytes(edge.get(PATH).await.whole(), &body, "the whole");
    assert_same_bytes(edge.get(PATH).await.whole(), &body, "the whole, held");
    assert_eq!(asked(&origin).len(), 4);
    assert_eq!(origin.last(PATH).header("if-range"), Some(DATE));
}

/// An object whose all fits into its first slice is an ordinary object, however it was first asked for.
#[tokio::test]
async fn a_small_object_becomes_whole_by_its_first_range() {
    let (origin, edge, body) = node(300_000).await;
    let cold = part(&edge, 1000, 2000).await;
    assert_part(&cold, &body, 1000, 2000);
    let whole = until(&edge, &Request::get(PATH), "hit").await;
    assert_eq!(whole.status(), 200);
    assert_eq!(whole.get("content-length"), Some("300000"));
    assert_eq!(whole.get("content-range"), None);
    assert_same_bytes(whole.whole(), &body, "the whole");
    assert_eq!(asked(&origin), [slice(0)]);
}

/// A range beyond the end is 416, cold or held; the origin's own 416 is asked about once, by way of the first slice. Who
/// joined that fetch for other bytes, or for all of them, is served by it, too.
#[tokio::test]
async fn a_range_beyond_the_end_is_416() {
    let body = content(1, 4 * MIB);
    let origin = Origin::start().await;
    let gate = Gate::closed();
    let (answer, held) = (film(&body), film(&body).hold(&gate));
    origin.script(PATH, move |_, nth| if nth == 0 { held.clone() } else { answer.clone() });
    let edge = slicing(&origin).start().await;
    let beyond = Request::get(PATH).range(&format!("bytes={}-", 9 * MIB));
    let mut cold = edge.open(&beyond).await;
    origin.await_requests(PATH, 1).await;
    let mut inside = edge.open(&range(10, 20)).await;
    let mut whole = edge.open(&Request::get(PATH)).await;
    gate.open();
    for response in [cold.response("GET").await, edge.ask(&beyond).await] {
        assert_eq!((response.status(), response.get("content-range")), (416, Some("bytes */4194304")));
        assert_eq!(response.end, End::Clean);
    }
    assert_part(&inside.response("GET").await, &body, 10, 20);
    assert_same_bytes(whole.response("GET").await.whole(), &body, "the whole");
    assert_eq!(asked(&origin), [slice(9), slice(0), slice(1), slice(2), slice(3)]);
}

/// Of an empty object, every range is beyond the end.
#[tokio::test]
async fn a_range_of_an_empty_object_is_416() {
    let (origin, edge, _) = node(0).await;
    for _ in 0..2 {
        let response = part(&edge, 0, 10).await;
        assert_eq!((response.status(), response.get("content-range")), (416, Some("bytes */0")));
    }
    assert_eq!(asked(&origin), [slice(0), "-".to_owned()]);
}

/// A 206 that cannot be relied on is not used: the object is asked for whole.
#[tokio::test]
async fn a_partial_answer_that_is_wrong_is_not_used() {
    let body = content(1, 3 * MIB);
    let origin = Origin::start().await;
    let bad = [
        ("/shifted.mp4", "bytes 1-1048576/3145728", Some("\"v1\"")),
        ("/short.mp4", "bytes 0-1048574/3145728", Some("\"v1\"")),
        ("/unknown.mp4", "bytes 0-1048575/*", Some("\"v1\"")),
        ("/garbled.mp4", "bytes 0/3145728", Some("\"v1\"")),
        ("/no-validator.mp4", "bytes 0-1048575/3145728", None),
    ];
    for (path, range, tag) in bad {
        let whole = film(&body);
        let mut partial = Answer::status(206)
            .body(body.slice(..MIB))
            .header("content-range", range)
            .cache_control("max-age=600");
        if let Some(tag) = tag {
            partial = partial.header("etag", tag);
        }
        origin.script(path, move |request, _| match request.header("range") {
            Some(_) => partial.clone(),
            None => whole.clone(),
        });
    }
    let edge = Setup::before(&origin).start().await;
    for (path, ..) in bad {
        let response = edge.ask(&Request::get(path).range("bytes=100-199")).await;
        assert_eq!(response.status(), 206, "{path}");
        assert_same_bytes(response.whole(), &body[100..200], path);
        assert_same_bytes(edge.get(path).await.whole(), &body, path);
        assert_eq!(origin.requests(path), 2, "{path}");
    }
}

/// What may not be stored is not kept in slices either.
#[tokio::test]
async fn what_may_not_be_stored_is_passed_on() {
    let body = content(1, 3 * MIB);
    let origin = Origin::start().await;
    origin.on(PATH, Answer::ok(body.clone()).cache_control("no-store").etag("\"v1\"").ranges());
    let edge = slicing(&origin).start().await;
    for _ in 0..2 {
        let response = part(&edge, 2 * MIB, 2 * MIB + 100).await;
        assert_part(&response, &body, 2 * MIB, 2 * MIB + 100);
        assert_eq!(response.outcome(), "bypass");
    }
}

/// HEAD, conditions and `If-Range` are answered from the head of an object, without a byte from the origin.
#[tokio::test]
async fn conditions_are_answered_from_the_head() {
    let (origin, edge, body) = node(6 * MIB).await;
    part(&edge, 0, 10).await.whole();
    let head = edge.ask(&Request::head(PATH)).await;
    assert_eq!((head.status(), head.get("content-length"), head.outcome()), (200, Some("6291456"), "hit"));
    assert_eq!((head.get("accept-ranges"), head.whole().len()), (Some("bytes"), 0));
    let same = edge.ask(&Request::get(PATH).header("if-none-match", "\"v1\"")).await;
    assert_eq!((same.status(), same.whole().len(), same.outcome()), (304, 0, "hit"));
    assert_eq!(asked(&origin), [slice(0)]);
    let range = Request::get(PATH).range("bytes=5-9");
    assert_part(&edge.ask(&range.clone().header("if-range", "\"v1\"")).await, &body, 5, 10);
    assert_eq!(asked(&origin), [slice(0)]);
    let other = edge.ask(&range.header("if-range", "\"v0\"")).await;
    assert_eq!(other.status(), 200);
    assert_same_bytes(other.whole(), &body, "the whole");
}

/// A stale head is confirmed by a 304 and costs no byte of a body; its slices serve on.
#[tokio::test]
async fn a_stale_head_is_confirmed_without_a_body() {
    let body = content(1, 6 * MIB);
    let origin = Origin::start().await;
    origin.on(PATH, Answer::ok(body.clone()).cache_control("max-age=0").etag("\"v1\"").ranges());
    let edge = slicing(&origin).start().await;
    assert_part(&part(&edge, 3 * MIB, 4 * MIB).await, &body, 3 * MIB, 4 * MIB);
    for _ in 0..3 {
        let again = until(&edge, &range(3 * MIB, 4 * MIB), "hit_revalidated").await;
        assert_part(&again, &body, 3 * MIB, 4 * MIB);
    }
    assert_eq!(origin.last(PATH).header("if-none-match"), Some("\"v1\""));
    assert_eq!(origin.last(PATH).header("range"), Some(slice(3).as_str()));
    assert_eq!(origin.body_bytes(PATH), MIB as u64);
}

/// A stale head whose object has changed is replaced by the new version, for the cost of one slice; also when the new
/// version is too short for the range that was asked.
#[tokio::test]
async fn a_stale_head_gives_way_to_a_new_version() {
    let (old, new) = (content(1, 6 * MIB), content(2, 4 * MIB));
    let origin = Origin::start().await;
    let answer = |body: &Bytes, tag| Answer::ok(body.clone()).cache_control("max-age=0").etag(tag).ranges();
    let (before, after) = (answer(&old, "\"v1\""), answer(&new, "\"v2\""));
    origin.script(PATH, move |_, nth| if nth == 0 { before.clone() } else { after.clone() });
    let edge = slicing(&origin).start().await;
    assert_part(&part(&edge, 10, 20).await, &old, 10, 20);
    within("the new version", async {
        loop {
            let response = part(&edge, 10, 20).await;
            if response.get("etag") == Some("\"v2\"") {
                return assert_part(&response, &new, 10, 20);
            }
            assert_part(&response, &old, 10, 20);
        }
    })
    .await;
    eventually("the rest of its first slice", || origin.body_bytes(PATH) == 2 * MIB as u64).await;

    let shrinking = "/shrinking.mp4";
    let (before, after) = (answer(&old, "\"v1\""), answer(&new, "\"v2\""));
    origin.script(shrinking, move |_, nth| if nth == 0 { before.clone() } else { after.clone() });
    let last = Request::get(shrinking).range("bytes=5242880-5242889");
    assert_same_bytes(edge.ask(&last).await.whole(), &old[5 * MIB..5 * MIB + 10], "the old end");
    within("the end of the old version", async {
        loop {
            let response = edge.ask(&last).await;
            if response.status() == 416 {
                return assert_eq!(response.get("content-range"), Some("bytes */4194304"));
            }
            assert_same_bytes(response.whole(), &old[5 * MIB..5 * MIB + 10], "the old end");
        }
    })
    .await;
}

/// What invalidates an object takes its slices with it: they are fetched again, though their version is the same.
#[tokio::test]
async fn slices_go_with_their_object() {
    let body = content(1, 4 * MIB);
    let origin = Origin::start().await;
    let answer = film(&body);
    origin.script(PATH, move |request, _| match request.method.as_str() {
        "DELETE" => Answer::status(204),
        _ => answer.clone(),
    });
    let edge = slicing(&origin).site("methods = [\"GET\", \"HEAD\", \"DELETE\"]").start().await;
    for _ in 0..2 {
        part(&edge, 0, 2 * MIB).await.whole();
        assert_part(&until(&edge, &range(MIB, 2 * MIB), "hit").await, &body, MIB, 2 * MIB);
        assert_eq!(edge.ask(&Request::new("DELETE", PATH)).await.status(), 204);
    }
    let fetched: Vec<String> = asked(&origin).into_iter().filter(|range| range != "-").collect();
    assert_eq!(fetched, [slice(0), slice(1), slice(0), slice(1)]);
}

/// An origin that gave one slice and gives no other, of the same version, breaks one transfer; from then on the object
/// streams as one from an origin without ranges.
#[tokio::test]
async fn an_origin_that_gives_no_more_slices_is_asked_for_the_whole() {
    let body = content(1, 4 * MIB);
    let origin = Origin::start().await;
    let (first, later) = (film(&body), Answer::ok(body.clone()).cache_control("max-age=600").etag("\"v1\""));
    origin.script(PATH, move |_, nth| if nth == 0 { first.clone() } else { later.clone() });
    let edge = slicing(&origin).start().await;
    let broken = part(&edge, 0, 3 * MIB).await;
    assert!(matches!(broken.end, End::Broken(_)));
    assert_part(&part(&edge, 0, 3 * MIB).await, &body, 0, 3 * MIB);
    assert_eq!(origin.last(PATH).header("range"), None);
}

/// A slice that the origin fails to give breaks the transfer off; it is asked for again by the next request, and the rest of
/// the object stays.
#[tokio::test]
async fn a_slice_that_fails_breaks_the_transfer_alone() {
    for failure in [Answer::status(404), Answer::status(500), film(&content(1, 3 * MIB)).close_after(MIB / 2)]
    {
        let body = content(1, 3 * MIB);
        let origin = Origin::start().await;
        let good = film(&body);
        let failing = Arc::new(AtomicBool::new(true));
        let fails = Arc::clone(&failing);
        origin.script(PATH, move |_, nth| {
            if nth > 0 && fails.load(Ordering::SeqCst) { failure.clone() } else { good.clone() }
        });
        let edge = slicing(&origin).origin("retry = { attempts = 1, resume = 0 }").start().await;
        let broken = part(&edge, 0, 2 * MIB).await;
        assert!(matches!(broken.end, End::Broken(_)));
        assert_same_bytes(&broken.body, &body[..broken.body.len()], "what came");
        assert!(broken.body.len() >= MIB && broken.body.len() < 2 * MIB);
        failing.store(false, Ordering::SeqCst);
        assert_part(&until(&edge, &range(0, 2 * MIB), "hit").await, &body, 0, 2 * MIB);
        // Asked for ahead, once more where that had failed before the reader came to it, and by the next request.
        let asked = asked(&origin);
        assert_eq!(asked[0], slice(0));
        assert!(
            asked[1..].iter().all(|range| *range == slice(1)) && (3..=4).contains(&asked.len()),
            "{asked:?}"
        );
    }
}

/// A viewer waits for a slice no longer than `limits.coalesce_wait`.
#[tokio::test]
async fn the_wait_for_a_slice_is_bounded() {
    let body = content(1, 3 * MIB);
    let origin = Origin::start().await;
    let (good, never) = (film(&body), film(&body).hold(&Gate::closed()));
    origin.script(PATH, move |_, nth| if nth == 0 { good.clone() } else { never.clone() });
    let edge = slicing(&origin).limits("coalesce_wait = \"3s\"").start().await;
    let broken = part(&edge, 0, 2 * MIB).await;
    assert!(matches!(broken.end, End::Broken(_)));
    assert_same_bytes(&broken.body, &body[..MIB], "the first slice");
}

/// Viewers download an object four times the budget at once: the process stays within budget and overhead, and every byte
/// is right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_budget_holds_for_slices() {
    const BUDGET: u64 = 16 << 20;
    const OVERHEAD: u64 = 80 << 20;
    let body = content(1, 64 * MIB);
    let origin = Origin::start().await;
    origin.on(PATH, film(&body));
    let edge = Arc::new(Setup::before(&origin).memory("16MiB").start().await);
    let mut viewers = JoinSet::new();
    for viewer in 0..8 {
        let (edge, body) = (Arc::clone(&edge), body.clone());
        viewers.spawn(async move {
            let start = viewer * 7 * MIB;
            let response = edge.ask(&Request::get(PATH).range(&format!("bytes={start}-"))).await;
            assert_same_bytes(response.whole(), &body[start..], "a viewer");
            edge.resident_bytes()
        });
    }
    let most = viewers.join_all().await.into_iter().max().unwrap();
    assert!(most < BUDGET + OVERHEAD, "{} MiB resident", most >> 20);
    let metrics = edge.metrics().await;
    let held = metrics.sum("forebay_cache_bytes", &[("tier", "memory")]);
    assert!(held > 0.0 && held <= BUDGET as f64, "{held} bytes held");
}

/// Viewers who have stopped reading hold the one slice that they read: beside twelve of them, in a budget of 16 MiB, others
/// are still served; and they get the rest when they read on.
#[tokio::test]
async fn a_slow_reader_holds_its_slice_and_no_other() {
    let body = content(1, 64 * MIB);
    let origin = Origin::start().await;
    origin.on(PATH, film(&body));
    origin.otherwise(|_, nth| Answer::ok(content(nth as u64, MIB)).cache_control("max-age=600"));
    let edge = Setup::before(&origin).memory("16MiB").start().await;
    let mut slow = Vec::new();
    for viewer in 0..12 {
        let start = viewer * 5 * MIB;
        let mut connection = Http1::connect_with_tiny_buffer(edge.http()).await;
        connection.send(&Request::get(PATH).range(&format!("bytes={start}-"))).await;
        assert_eq!(connection.head("GET").await.status, 206);
        let begun = connection.at_least(1).await.expect("a first byte");
        slow.push((connection, start, begun));
    }
    for number in 0..40 {
        let path = format!("/seg/{number}.m4s");
        assert_same_bytes(edge.get(&path).await.whole(), &content(0, MIB), &path);
    }
    let (mut connection, start, begun) = slow.swap_remove(11);
    drop(slow);
    let (rest, end) = connection.rest().await;
    assert_eq!(end, End::Clean);
    assert_same_bytes(&[begun, rest.to_vec()].concat(), &body[start..], "a slow viewer");
}
