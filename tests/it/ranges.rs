//! Ranges, conditions and HEAD: answered from a whole object, from a cold one and from one still growing.

mod growing;
mod several;

use crate::support::client::{End, Http2, Request};
use crate::support::content::{assert_same_bytes, content};
use crate::support::edge::{Edge, Setup};
use crate::support::origin::{Answer, Origin};
use crate::support::wait::Gate;

const LENGTH: usize = 700_001;
const DATE: &str = "Tue, 01 Sep 2026 10:00:00 GMT";
const LATER: &str = "Wed, 02 Sep 2026 10:00:00 GMT";
const EARLIER: &str = "Mon, 31 Aug 2026 10:00:00 GMT";

fn segment() -> Answer {
    Answer::ok(content(1, LENGTH)).cache_control("max-age=60").etag("\"e1\"").last_modified(DATE)
}

/// An origin with `/seg.m4s` and a node before it that ends every fetch it began, however little of it was wanted.
async fn node() -> (Origin, Edge) {
    let origin = Origin::start().await;
    origin.on("/seg.m4s", segment());
    let edge = Setup::before(&origin).limits("abandon_below = 0").start().await;
    (origin, edge)
}

/// A `Range` value with what it selects of the object: first and one past the last byte.
const RANGES: [(&str, usize, usize); 8] = [
    ("bytes=0-0", 0, 1),
    ("bytes=0-999", 0, 1000),
    ("bytes=262143-262145", 262_143, 262_146),
    ("bytes=500000-", 500_000, LENGTH),
    ("bytes=-5", LENGTH - 5, LENGTH),
    ("bytes=-900000", 0, LENGTH),
    ("bytes=699999-800000", 699_999, LENGTH),
    ("bytes=0-", 0, LENGTH),
];

async fn assert_range(edge: &Edge, path: &str, (range, from, to): (&str, usize, usize)) -> String {
    let response = edge.ask(&Request::get(path).range(range)).await;
    assert_eq!(response.status(), 206, "{range}");
    assert_same_bytes(response.whole(), &content(1, LENGTH)[from..to], range);
    let expected = format!("bytes {from}-{}/{LENGTH}", to - 1);
    assert_eq!(response.get("content-range"), Some(expected.as_str()), "{range}");
    assert_eq!(response.get("content-length"), Some((to - from).to_string().as_str()), "{range}");
    response.outcome().to_owned()
}

/// Single, open and suffix ranges of a held object are 206 with the right bytes.
#[tokio::test]
async fn ranges_of_a_held_object_are_206() {
    let (origin, edge) = node().await;
    edge.get("/seg.m4s").await.whole();
    for range in RANGES {
        assert_eq!(assert_range(&edge, "/seg.m4s", range).await, "hit");
    }
    assert_eq!(origin.requests("/seg.m4s"), 1);
}

/// A range of a cold object is a 206, the origin is asked once for the whole, and the rest is then a hit.
#[tokio::test]
async fn a_range_of_a_cold_object_is_206() {
    for range in RANGES {
        let (origin, edge) = node().await;
        assert_eq!(assert_range(&edge, "/seg.m4s", range).await, "miss");
        // It may be large: the origin is asked for the slice that the range begins in. This origin takes no ranges.
        let asked = (range.0 != "bytes=0-").then_some("bytes=0-1048575");
        assert_eq!(origin.last("/seg.m4s").header("range"), asked);
        let whole = edge.get("/seg.m4s").await;
        assert_same_bytes(whole.whole(), &content(1, LENGTH), "the whole object");
        assert_eq!(origin.requests("/seg.m4s"), 1, "{range:?}");
    }
}

/// Ranges of an object whose first bytes are there are answered before the origin has sent the rest.
#[tokio::test]
async fn a_range_of_a_growing_object_is_answered_as_it_grows() {
    let origin = Origin::start().await;
    let rest = Gate::closed();
    origin.on("/seg.m4s", segment().gate_at(100_000, &rest));
    let edge = Setup::before(&origin).limits("abandon_below = 0").start().await;
    assert_eq!(assert_range(&edge, "/seg.m4s", ("bytes=0-999", 0, 1000)).await, "miss");
    let mut viewer = edge.open(&Request::get("/seg.m4s")).await;
    viewer.head("GET").await;
    assert_range(&edge, "/seg.m4s", ("bytes=50000-99999", 50_000, 100_000)).await;

    let mut across = edge.open(&Request::get("/seg.m4s").range("bytes=99000-200000")).await;
    assert_eq!(across.head("GET").await.status, 206);
    let start = across.at_least(1000).await.expect("what is there of the range");
    let mut behind = edge.open(&Request::get("/seg.m4s").range("bytes=-10")).await;
    rest.open();
    let (tail, end) = across.rest().await;
    assert_eq!(end, End::Clean);
    assert_same_bytes(&[start, tail.to_vec()].concat(), &content(1, LENGTH)[99_000..200_001], "across");
    let behind = behind.response("GET").await;
    assert_same_bytes(behind.whole(), &content(1, LENGTH)[LENGTH - 10..], "behind");
    let (body, end) = viewer.rest().await;
    assert_eq!(end, End::Clean);
    assert_same_bytes(&body, &content(1, LENGTH), "the whole object");
    assert_eq!(origin.requests("/seg.m4s"), 1);
}

/// A range beyond the end is 416 with the length, cold or held.
#[tokio::test]
async fn a_range_beyond_the_end_is_416() {
    let (_origin, edge) = node().await;
    for _ in 0..2 {
        for range in ["bytes=700001-", "bytes=800000-900000", "bytes=-0"] {
            let response = edge.ask(&Request::get("/seg.m4s").range(range)).await;
            assert_eq!(response.status(), 416, "{range}");
            assert_eq!(response.get("content-range"), Some("bytes */700001"), "{range}");
            assert_eq!(response.end, End::Clean);
        }
        edge.get("/seg.m4s").await.whole();
    }
}

/// A range that cannot be read is ignored (RFC 9110 section 14.2), and so is any range of a HEAD.
#[tokio::test]
async fn a_range_that_is_none_is_ignored() {
    let (_origin, edge) = node().await;
    edge.get("/seg.m4s").await.whole();
    for range in ["bytes=9-3", "bytes=a-b", "lines=0-5", "bytes", "bytes=", "bytes=0-1,x", "bytes =0-1"] {
        let response = edge.ask(&Request::get("/seg.m4s").range(range)).await;
        assert_eq!(response.status(), 200, "{range}");
        assert_same_bytes(response.whole(), &content(1, LENGTH), range);
    }
    for range in ["bytes=0-9", "bytes=0-9,100-109", "bytes=800000-"] {
        let head = edge.ask(&Request::head("/seg.m4s").range(range)).await;
        assert_eq!((head.status(), head.get("content-length")), (200, Some("700001")), "{range}");
    }
}

/// A part that the origin sends unasked is never kept, and never served as the whole.
#[tokio::test]
async fn a_part_is_never_stored_as_the_whole() {
    let origin = Origin::start().await;
    let part = Answer::status(206).body(content(1, 100)).cache_control("max-age=60").etag("\"e1\"");
    let part = part.header("content-range", &format!("bytes 0-99/{LENGTH}"));
    origin.on_each("/seg.m4s", vec![part, segment()]);
    let edge = Setup::before(&origin).limits("uncacheable_memory = \"0s\"").start().await;
    let unasked = edge.get("/seg.m4s").await;
    assert_ne!(unasked.status(), 200, "a part is not the whole");
    let whole = edge.get("/seg.m4s").await;
    assert_same_bytes(whole.whole(), &content(1, LENGTH), "the whole object");
    assert_eq!(origin.requests("/seg.m4s"), 2);
}

/// A precondition for another version is 412, for a whole as for a range, and nobody may keep that answer; then come
/// those for no change (RFC 9110 section 13.2.2).
#[tokio::test]
async fn a_precondition_that_fails_is_412() {
    let (origin, edge) = node().await;
    for _ in 0..2 {
        for (headers, status) in [
            (vec![("if-match", "\"e1\"")], 200),
            (vec![("if-match", "*")], 200),
            (vec![("if-match", "W/\"e1\"")], 412),
            (vec![("if-match", "\"x\"")], 412),
            (vec![("if-match", "\"x\""), ("range", "bytes=0-9")], 412),
            (vec![("if-match", "\"e1\""), ("range", "bytes=0-9")], 206),
            (vec![("if-match", "\"e1\""), ("if-none-match", "\"e1\"")], 304),
            (vec![("if-unmodified-since", EARLIER)], 412),
            (vec![("if-unmodified-since", DATE)], 200),
            (vec![("if-unmodified-since", "yesterday")], 200),
            (vec![("if-match", "\"e1\""), ("if-unmodified-since", EARLIER)], 200),
        ] {
            let request = headers
                .iter()
                .fold(Request::get("/seg.m4s"), |request, (name, value)| request.header(name, value));
            let response = edge.ask(&request).await;
            assert_eq!(response.status(), status, "{headers:?}");
            if status == 412 {
                assert!(response.whole().is_empty());
                assert_eq!(response.get("cache-control"), Some("no-store"));
                assert_eq!((response.get("etag"), response.get("content-type")), (None, None));
            }
        }
    }
    assert_eq!(origin.requests("/seg.m4s"), 1);
}

/// A 304 has the fields that guide a cache, and none of those that describe a body (RFC 9110 section 15.4.5).
#[tokio::test]
async fn a_304_has_the_fields_that_guide_a_cache() {
    let origin = Origin::start().await;
    let answer = segment()
        .header("content-type", "video/mp4")
        .header("content-language", "en")
        .header("content-location", "/other.m4s")
        .header("expires", LATER)
        .header("vary", "Origin");
    origin.on("/seg.m4s", answer);
    let edge = Setup::before(&origin).start().await;
    for _ in 0..2 {
        let response = edge.ask(&Request::get("/seg.m4s").header("if-none-match", "\"e1\"")).await;
        assert_eq!((response.status(), response.whole().len()), (304, 0));
        for (name, value) in [
            ("cache-control", "max-age=60"),
            ("content-location", "/other.m4s"),
            ("etag", "\"e1\""),
            ("expires", LATER),
            ("vary", "Origin"),
        ] {
            assert_eq!(response.get(name), Some(value), "{name}");
        }
        assert!(response.get("date").is_some());
        for name in ["content-type", "content-length", "content-language", "last-modified", "content-range"] {
            assert_eq!(response.get(name), None, "{name}");
        }
    }
}

/// HEAD of a cold or held object has GET's header and no body; a later GET is whole.
#[tokio::test]
async fn head_has_the_header_of_get_and_no_body() {
    let (origin, edge) = node().await;
    for _ in 0..2 {
        let response = edge.ask(&Request::head("/seg.m4s")).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.get("content-length"), Some("700001"));
        assert_eq!(response.get("etag"), Some("\"e1\""));
        assert!(response.whole().is_empty());
        assert_same_bytes(edge.get("/seg.m4s").await.whole(), &content(1, LENGTH), "GET behind HEAD");
    }
    assert!(origin.requests("/seg.m4s") <= 2);
    let held = edge.ask(&Request::head("/seg.m4s")).await;
    assert_eq!(held.outcome(), "hit");
}

/// The conditions of RFC 9110 section 13 are answered from the held object: 304 without a body, or 200.
#[tokio::test]
async fn conditions_are_answered_from_the_held_object() {
    let (origin, edge) = node().await;
    edge.get("/seg.m4s").await.whole();
    for (headers, status) in [
        (vec![("if-none-match", "\"e1\"")], 304),
        (vec![("if-none-match", "W/\"e1\"")], 304),
        (vec![("if-none-match", "\"x\", \"e1\"")], 304),
        (vec![("if-none-match", "*")], 304),
        (vec![("if-none-match", "\"x\"")], 200),
        (vec![("if-modified-since", DATE)], 304),
        (vec![("if-modified-since", LATER)], 304),
        (vec![("if-modified-since", EARLIER)], 200),
        (vec![("if-modified-since", "yesterday")], 200),
        (vec![("if-none-match", "\"x\""), ("if-modified-since", LATER)], 200),
        (vec![("if-none-match", "\"e1\""), ("range", "bytes=0-9")], 304),
    ] {
        let mut request = Request::get("/seg.m4s");
        for (name, value) in &headers {
            request = request.header(name, value);
        }
        let response = edge.ask(&request).await;
        assert_eq!(response.status(), status, "{headers:?}");
        assert_eq!(response.get("etag"), Some("\"e1\""), "{headers:?}");
        assert_eq!(response.whole().len(), if status == 304 { 0 } else { LENGTH }, "{headers:?}");
    }
    assert_eq!(origin.requests("/seg.m4s"), 1);
}

/// The viewer's condition does not reach the origin of a cold object: the object is fetched whole, the condition answered.
#[tokio::test]
async fn a_condition_on_a_cold_object_is_answered_at_the_edge() {
    let (origin, edge) = node().await;
    let response = edge.ask(&Request::get("/seg.m4s").header("if-none-match", "\"e1\"")).await;
    assert_eq!((response.status(), response.whole().len()), (304, 0));
    assert_eq!(origin.last("/seg.m4s").header("if-none-match"), None);
    let whole = edge.get("/seg.m4s").await;
    assert_same_bytes(whole.whole(), &content(1, LENGTH), "the whole object");
    assert_eq!(origin.requests("/seg.m4s"), 1);
}

/// `If-Range`: a matching validator gives the range, any other the whole object (RFC 9110 section 13.1.5).
#[tokio::test]
async fn if_range_gives_the_range_only_of_the_same_object() {
    let (_origin, edge) = node().await;
    edge.get("/seg.m4s").await.whole();
    for (validator, status) in
        [("\"e1\"", 206), ("\"other\"", 200), ("W/\"e1\"", 200), (DATE, 206), (EARLIER, 200), (LATER, 200)]
    {
        let request = Request::get("/seg.m4s").range("bytes=10-19").header("if-range", validator);
        let response = edge.ask(&request).await;
        assert_eq!(response.status(), status, "{validator}");
        let expected = if status == 206 { content(1, LENGTH).slice(10..20) } else { content(1, LENGTH) };
        assert_same_bytes(response.whole(), &expected, validator);
    }
}

/// A date that is as old as the answer may name two versions: it never joins parts (RFC 9110 section 8.8.2.2).
#[tokio::test]
async fn a_date_that_is_not_strong_gives_no_range() {
    let origin = Origin::start().await;
    origin.on("/seg.m4s", segment().header("date", DATE));
    let edge = Setup::before(&origin).start().await;
    edge.get("/seg.m4s").await.whole();
    for (validator, status) in [(DATE, 200), ("\"e1\"", 206)] {
        let request = Request::get("/seg.m4s").range("bytes=10-19").header("if-range", validator);
        assert_eq!(edge.ask(&request).await.status(), status, "{validator}");
    }
}

/// The same over HTTP/2: ranges, conditions and HEAD.
#[tokio::test]
async fn ranges_and_conditions_hold_over_http2() {
    let origin = Origin::start().await;
    origin.on("/seg.m4s", segment());
    let edge = Setup::before(&origin).server("h2c = true").start().await;
    let connection = Http2::connect(edge.http()).await;
    for _ in 0..2 {
        let range = connection.ask(&Request::get("/seg.m4s").range("bytes=300000-300009")).await;
        assert_eq!(range.status(), 206);
        assert_same_bytes(range.whole(), &content(1, LENGTH)[300_000..300_010], "a range");
        let same = connection.ask(&Request::get("/seg.m4s").header("if-none-match", "\"e1\"")).await;
        assert_eq!((same.status(), same.whole().len()), (304, 0));
        let head = connection.ask(&Request::head("/seg.m4s")).await;
        assert_eq!((head.status(), head.whole().len()), (200, 0));
        assert_same_bytes(connection.get("/seg.m4s").await.whole(), &content(1, LENGTH), "the whole");
    }
}
