//! Ranges of a body that grows and whose length nobody has told: answered once they are certain.

use super::{LENGTH, RANGES, assert_range, segment};
use crate::support::client::{End, Request};
use crate::support::content::{assert_same_bytes, content};
use crate::support::edge::{Edge, Setup};
use crate::support::origin::{Answer, Origin};
use crate::support::wait::Gate;

/// Bytes that the origin sends before its gate.
const HERE: usize = 100_000;

/// A node before an origin that sends [`HERE`] bytes, and the rest when the gate opens.
async fn node(answer: Answer, limits: &str) -> (Origin, Edge, Gate) {
    let origin = Origin::start().await;
    let rest = Gate::closed();
    origin.on("/seg.m4s", answer.chunked().gate_at(HERE, &rest));
    let edge = Setup::before(&origin).limits(limits).start().await;
    (origin, edge, rest)
}

fn ranged(range: &str) -> Request {
    Request::get("/seg.m4s").range(range)
}

/// A bounded range is answered when its last byte is here, cold or not, before the length is known; afterwards any range
/// is.
#[tokio::test]
async fn a_bounded_range_is_answered_when_it_is_here() {
    let (origin, edge, rest) = node(segment(), "").await;
    for _ in 0..2 {
        let response = edge.ask(&ranged("bytes=1000-99999")).await;
        assert_eq!(response.status(), 206);
        assert_eq!(response.get("content-range"), Some("bytes 1000-99999/*"));
        assert_eq!(response.get("content-length"), Some("99000"));
        assert_same_bytes(response.whole(), &content(1, LENGTH)[1000..HERE], "what is here");
    }
    let mut waiting = edge.open(&ranged("bytes=99000-100999")).await;
    let mut beyond = edge.open(&ranged("bytes=700000-800000")).await;
    let mut nowhere = edge.open(&ranged("bytes=800000-800001")).await;
    rest.open();
    let waiting = waiting.response("GET").await;
    assert_eq!(waiting.status(), 206);
    assert_same_bytes(waiting.whole(), &content(1, LENGTH)[99_000..101_000], "what has been waited for");
    let beyond = beyond.response("GET").await;
    assert_eq!((beyond.status(), beyond.get("content-range")), (206, Some("bytes 700000-700000/700001")));
    assert_same_bytes(beyond.whole(), &content(1, LENGTH)[700_000..], "the end came first");
    let nowhere = nowhere.response("GET").await;
    assert_eq!((nowhere.status(), nowhere.get("content-range")), (416, Some("bytes */700001")));
    for range in RANGES {
        assert_range(&edge, "/seg.m4s", range).await;
    }
    assert_eq!(origin.requests("/seg.m4s"), 1);
}

/// A part that is a range of its segment is sent as it comes: a playlist has named it, so that it will be there.
#[tokio::test]
async fn a_part_that_a_playlist_names_is_sent_while_its_segment_grows() {
    let (origin, edge, rest) = node(segment(), "").await;
    let playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-PART-INF:PART-TARGET=1\n\
        #EXT-X-PART:DURATION=1,URI=\"seg.m4s\",BYTERANGE=\"90000@0\"\n\
        #EXT-X-PART:DURATION=1,URI=\"seg.m4s\",BYTERANGE=\"30000\"\n\
        #EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"seg.m4s\",BYTERANGE-START=120000\n";
    origin.on("/live.m3u8", Answer::ok(playlist));
    assert_eq!(edge.get("/live.m3u8").await.status(), 200);
    let mut part = edge.open(&ranged("bytes=90000-119999")).await;
    let head = part.head("GET").await;
    assert_eq!((head.status, head.get("content-range")), (206, Some("bytes 90000-119999/*")));
    let here = part.at_least(HERE - 90_000).await.expect("what is here, while the rest is held");
    let mut beyond = edge.open(&ranged("bytes=90000-120000")).await;
    rest.open();
    let (tail, end) = part.rest().await;
    assert_eq!(end, End::Clean);
    assert_same_bytes(&[here, tail.to_vec()].concat(), &content(1, LENGTH)[90_000..120_000], "the part");
    assert_eq!(beyond.response("GET").await.status(), 206, "what is not named is waited for");
    assert_eq!(origin.requests("/seg.m4s"), 1);
}

/// By the very large last position a client asks for all that comes, and gets it as it comes (RFC 8673 section 2.2).
#[tokio::test]
async fn the_very_large_last_position_streams_what_comes() {
    let (_origin, edge, rest) = node(segment(), "").await;
    let mut viewer = edge.open(&ranged("bytes=50000-9007199254740991")).await;
    let head = viewer.head("GET").await;
    assert_eq!(head.status, 206);
    assert_eq!(head.get("content-range"), Some("bytes 50000-9007199254740991/*"));
    assert_eq!(head.get("content-length"), None);
    let start = viewer.at_least(HERE - 50_000).await.expect("what is here, while the rest is held");
    // The next byte has not come: nobody can say yet that there is one.
    let mut next = edge.open(&ranged("bytes=100000-9007199254740991")).await;
    let mut beyond = edge.open(&ranged("bytes=900000-9007199254740991")).await;
    let mut old = edge.open(&ranged("bytes=60000-9007199254740991").http_1_0()).await;
    rest.open();
    let (tail, end) = viewer.rest().await;
    assert_eq!(end, End::Clean);
    assert_same_bytes(&[start, tail.to_vec()].concat(), &content(1, LENGTH)[50_000..], "all that came");
    let next = next.response("GET").await;
    assert_eq!(next.status(), 206);
    assert_same_bytes(next.whole(), &content(1, LENGTH)[HERE..], "from the next byte on");
    let beyond = beyond.response("GET").await;
    assert_eq!((beyond.status(), beyond.get("content-range")), (416, Some("bytes */700001")));
    let old = old.response("GET").await;
    assert_eq!(old.status(), 206);
    assert_same_bytes(old.whole(), &content(1, LENGTH)[60_000..], "HTTP/1.0");
    // Of a length that is known it is an ordinary range.
    let held = edge.ask(&ranged("bytes=50000-9007199254740991")).await;
    assert_eq!(held.get("content-range"), Some("bytes 50000-700000/700001"));
    assert_same_bytes(held.whole(), &content(1, LENGTH)[50_000..], "held");
}

/// What depends on the length waits for it; the whole by `bytes=0-` does not wait.
#[tokio::test]
async fn open_ranges_and_suffixes_are_exact() {
    let (_origin, edge, rest) = node(segment(), "").await;
    let mut whole = edge.open(&ranged("bytes=0-")).await;
    assert_eq!(whole.head("GET").await.status, 200);
    let start = whole.at_least(HERE).await.expect("what is here");
    let mut waiting = Vec::new();
    for range in ["bytes=50000-", "bytes=-10", "bytes=5-9,-10"] {
        waiting.push((range, edge.open(&ranged(range)).await));
    }
    rest.open();
    for (range, connection) in &mut waiting {
        let response = connection.response("GET").await;
        assert_eq!(response.status(), 206, "{range}");
        match *range {
            "bytes=50000-" => assert_same_bytes(response.whole(), &content(1, LENGTH)[50_000..], range),
            "bytes=-10" => assert_same_bytes(response.whole(), &content(1, LENGTH)[LENGTH - 10..], range),
            _ => assert_eq!(super::several::parse(&response).len(), 2),
        }
    }
    let (tail, end) = whole.rest().await;
    assert_eq!(end, End::Clean);
    assert_same_bytes(&[start, tail.to_vec()].concat(), &content(1, LENGTH), "the whole");
}

/// A body that breaks off before a range was certain is an error, not an empty part.
#[tokio::test]
async fn a_range_that_will_never_come_is_an_error() {
    let (_origin, edge, rest) = node(segment().close_after(200_000), "").await;
    let mut waiting = edge.open(&ranged("bytes=300000-300009")).await;
    rest.open();
    let response = waiting.response("GET").await;
    assert_eq!(response.status(), 502);
    assert_eq!(response.get("cache-control"), Some("no-store"));
}

/// What grows larger than is kept is not waited for: the range is ignored, and the whole streams.
#[tokio::test]
async fn a_range_of_what_is_not_kept_is_ignored() {
    // A twentieth of 16 MiB is kept at most.
    let origin = Origin::start().await;
    let long = content(2, 3_000_000);
    origin.on("/seg.m4s", Answer::ok(long.clone()).cache_control("max-age=60").chunked());
    let limits = "object_share = 5\nwindow = \"1MiB\"";
    let edge = Setup::before(&origin).memory("16MiB").limits(limits).start().await;
    let response = edge.ask(&ranged("bytes=2900000-")).await;
    assert_eq!(response.status(), 200);
    assert_same_bytes(response.whole(), &long, "the whole");
}
