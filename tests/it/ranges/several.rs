//! Several ranges in one request: `multipart/byteranges`, read back by a parser that shares nothing with the node.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{LENGTH, node, segment};
use crate::support::client::{Http2, Request, Response};
use crate::support::content::{assert_same_bytes, content};
use crate::support::edge::{Edge, Setup};
use crate::support::origin::{Answer, Origin};
use crate::support::seed::seed;
use crate::support::wait::Gate;

const MIB: usize = 1024 * 1024;

/// One part of a multipart body, as it was read.
#[derive(Debug)]
pub(super) struct Part {
    content_type: Option<String>,
    first: usize,
    last: usize,
    len: usize,
    bytes: Vec<u8>,
}

/// Reads a multipart answer by RFC 2046 section 5.1.1: delimiters stand at the beginning of lines, and the line end
/// before one belongs to it. Panics where anything is not exactly so.
pub(super) fn parse(response: &Response) -> Vec<Part> {
    let body = response.whole();
    assert_eq!(response.get("content-length"), Some(body.len().to_string().as_str()), "an exact length");
    assert_eq!(response.get("content-range"), None);
    let content_type = response.get("content-type").expect("a Content-Type");
    let boundary =
        content_type.strip_prefix("multipart/byteranges; boundary=").expect("multipart/byteranges");
    assert!((16..=70).contains(&boundary.len()), "{boundary}");
    let opening = format!("--{boundary}\r\n");
    let delimiter = format!("\r\n--{boundary}");
    let mut rest = body.strip_prefix(opening.as_bytes()).expect("the first delimiter");
    let mut parts = Vec::new();
    loop {
        let head_end = find(rest, b"\r\n\r\n").expect("an empty line");
        let head = std::str::from_utf8(&rest[..head_end]).expect("a header of text");
        rest = &rest[head_end + 4..];
        let end = find(rest, delimiter.as_bytes()).expect("a delimiter behind the part");
        parts.push(part(head, rest[..end].to_vec()));
        rest = &rest[end + delimiter.len()..];
        if rest == b"--\r\n" {
            return parts;
        }
        rest = rest.strip_prefix(b"\r\n").expect("a line end behind the delimiter");
    }
}

fn part(head: &str, bytes: Vec<u8>) -> Part {
    let field = |name: &str| {
        let mut lines = head.split("\r\n").filter_map(|line| line.split_once(": "));
        lines.find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
    };
    let range = field("content-range").expect("a Content-Range");
    let (span, len) = range.strip_prefix("bytes ").and_then(|range| range.split_once('/')).expect("bytes");
    let (first, last) = span.split_once('-').expect("a range");
    let number = |text: &str| text.parse().expect("a number");
    Part {
        content_type: field("content-type"),
        first: number(first),
        last: number(last),
        len: number(len),
        bytes,
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// One range, as it is asked for.
#[derive(Clone, Copy, Debug)]
enum Asked {
    Bounded(usize, usize),
    From(usize),
    Suffix(usize),
}

impl Asked {
    fn random(random: &mut StdRng, len: usize) -> Asked {
        let place = |random: &mut StdRng| random.random_range(0..len + len / 8);
        match random.random_range(0..10) {
            0 => Asked::Suffix(random.random_range(0..len / 4)),
            1 => Asked::From(place(random)),
            2 => Asked::Bounded(place(random), usize::MAX),
            _ => {
                let first = place(random);
                Asked::Bounded(first, first + random.random_range(0..len / 6))
            }
        }
    }

    fn text(self) -> String {
        match self {
            Asked::Bounded(first, last) => format!("{first}-{last}"),
            Asked::From(first) => format!("{first}-"),
            Asked::Suffix(bytes) => format!("-{bytes}"),
        }
    }

    fn mark(self, selected: &mut [bool]) {
        let len = selected.len();
        let (first, end) = match self {
            Asked::Bounded(first, last) => (first, last.saturating_add(1)),
            Asked::From(first) => (first, len),
            Asked::Suffix(bytes) => (len.saturating_sub(bytes), len),
        };
        for byte in &mut selected[first.min(len)..end.min(len)] {
            *byte = true;
        }
    }
}

/// Checks an answer against the model: which bytes of the object were asked for, one by one.
fn assert_selected(response: &Response, asked: &[Asked], object: &[u8]) {
    let mut selected = vec![false; object.len()];
    asked.iter().for_each(|asked| asked.mark(&mut selected));
    let wanted = selected.iter().filter(|byte| **byte).count();
    let mut sent = vec![false; object.len()];
    match response.status() {
        416 => assert_eq!(wanted, 0, "{asked:?}"),
        // Allowed where parts would be no less than the whole.
        200 => {
            assert_same_bytes(response.whole(), object, "the whole");
            assert!(wanted > 0 && asked.len() > 1 && wanted + 200 * asked.len() > object.len(), "{asked:?}");
            return;
        }
        206 if response.get("content-range").is_some() => {
            let range = response.get("content-range").unwrap().to_owned();
            let part = part(&format!("content-range: {range}"), response.whole().to_vec());
            mark_part(&mut sent, &part, object);
        }
        206 => {
            let parts = parse(response);
            assert!(parts.len() > 1 && parts.len() <= asked.len());
            assert!(response.whole().len() < object.len(), "no more than the whole");
            for part in &parts {
                assert_eq!(part.content_type.as_deref(), Some("video/mp4"));
                mark_part(&mut sent, part, object);
            }
        }
        other => panic!("{other} for {asked:?}"),
    }
    assert!(sent == selected, "exactly the bytes of {asked:?}");
}

fn mark_part(sent: &mut [bool], part: &Part, object: &[u8]) {
    assert_eq!(part.len, object.len());
    assert_same_bytes(&part.bytes, &object[part.first..=part.last], "a part");
    for byte in &mut sent[part.first..=part.last] {
        assert!(!*byte, "no byte twice");
        *byte = true;
    }
}

fn request(path: &str, asked: &[Asked]) -> Request {
    let texts: Vec<String> = asked.iter().map(|asked| asked.text()).collect();
    Request::get(path).range(&format!("bytes={}", texts.join(",")))
}

/// Random ranges, one to ten of them, of a held object, of one in slices and of a small one: exactly the bytes asked for.
#[tokio::test]
async fn random_ranges_give_exactly_their_bytes() {
    let mut random = StdRng::seed_from_u64(seed());
    let origin = Origin::start().await;
    let objects = [
        ("/held.m4s", content(1, LENGTH)),
        ("/film.mp4", content(2, 3 * MIB + 77)),
        ("/small.m4s", content(3, 900)),
    ];
    for (path, body) in &objects {
        let answer = Answer::ok(body.clone()).cache_control("max-age=600").etag("\"v1\"");
        let answer = answer.header("content-type", "video/mp4");
        origin.on(path, if *path == "/film.mp4" { answer.ranges() } else { answer });
    }
    let edge = Setup::before(&origin).limits("slice_above = \"1MiB\"").start().await;
    for _ in 0..40 {
        for (path, body) in &objects {
            let count = random.random_range(1..=10);
            let asked: Vec<Asked> = (0..count).map(|_| Asked::random(&mut random, body.len())).collect();
            assert_selected(&edge.ask(&request(path, &asked)).await, &asked, body);
        }
    }
}

/// Parts come in the order in which they were asked for; those that touch are one, those beyond the end are left out.
#[tokio::test]
async fn parts_keep_their_order() {
    let (_origin, edge) = node().await;
    for _ in 0..2 {
        for (range, expected) in [
            ("bytes=600000-600009,0-9", vec![(600_000, 600_009), (0, 9)]),
            ("bytes=-5,10-19,0-4,20-29", vec![(LENGTH - 5, LENGTH - 1), (10, 29), (0, 4)]),
            ("bytes=0-4,900000-,100-104", vec![(0, 4), (100, 104)]),
        ] {
            let response = edge.ask(&Request::get("/seg.m4s").range(range)).await;
            assert_eq!(response.status(), 206, "{range}");
            let parts: Vec<_> = parse(&response).iter().map(|part| (part.first, part.last)).collect();
            assert_eq!(parts, expected, "{range}");
        }
        let one = edge.ask(&Request::get("/seg.m4s").range("bytes=5-9,900000-,0-4")).await;
        assert_eq!(
            one.get("content-range"),
            Some("bytes 0-9/700001"),
            "one part that is left is a plain 206"
        );
        let none = edge.ask(&Request::get("/seg.m4s").range("bytes=900000-,-0")).await;
        assert_eq!((none.status(), none.get("content-range")), (416, Some("bytes */700001")));
    }
}

/// Two answers have two boundaries: nobody can put one into a body.
#[tokio::test]
async fn each_answer_has_a_boundary_of_its_own() {
    let (_origin, edge) = node().await;
    let ask = || async { edge.ask(&Request::get("/seg.m4s").range("bytes=0-0,9-9")).await };
    let (one, other) = (ask().await, ask().await);
    assert_eq!((parse(&one).len(), parse(&other).len()), (2, 2));
    assert_ne!(one.get("content-type"), other.get("content-type"));
}

/// More ranges than `limits.ranges` are ignored.
#[tokio::test]
async fn more_ranges_than_the_limit_give_the_whole() {
    let origin = Origin::start().await;
    origin.on("/seg.m4s", segment());
    let ranges = |count: usize| {
        let list: Vec<String> = (0..count).map(|n| format!("{}-{}", 10 * n, 10 * n)).collect();
        Request::get("/seg.m4s").range(&format!("bytes={}", list.join(",")))
    };
    for (limits, most) in [("", 16), ("ranges = 3", 3)] {
        let edge = Setup::before(&origin).limits(limits).start().await;
        assert_eq!(parse(&edge.ask(&ranges(most)).await).len(), most);
        let beyond = edge.ask(&ranges(most + 1)).await;
        assert_eq!(beyond.status(), 200);
        assert_same_bytes(beyond.whole(), &content(1, LENGTH), "the whole");
    }
}

/// Several ranges of an object in slices cost the slices that they lie in, cold or not, over each version of HTTP.
#[tokio::test]
async fn several_ranges_of_slices_fetch_those_alone() {
    let origin = Origin::start().await;
    let film = content(1, 40 * MIB + 5);
    let answer = Answer::ok(film.clone()).cache_control("max-age=600").etag("\"v1\"").ranges();
    origin.on("/film.mp4", answer.header("content-type", "video/mp4"));
    let edge = Setup::before(&origin).server("h2c = true").limits("slice_above = \"1MiB\"").start().await;
    let asked =
        [Asked::Bounded(30 * MIB, 30 * MIB + 99), Asked::Bounded(10 * MIB, 10 * MIB + 99), Asked::Suffix(3)];
    let request = request("/film.mp4", &asked);
    assert_selected(&edge.ask(&request).await, &asked, &film);
    let mut slices: Vec<String> =
        origin.recorded().iter().filter_map(|request| request.header("range").map(str::to_owned)).collect();
    // The fetch begins with the lowest one.
    assert_eq!(slices[0], format!("bytes={}-{}", 10 * MIB, 11 * MIB - 1));
    slices.sort();
    let expected = [(10 * MIB, 11 * MIB - 1), (30 * MIB, 31 * MIB - 1), (40 * MIB, 40 * MIB + 4)];
    assert_eq!(slices, expected.map(|(first, last)| format!("bytes={first}-{last}")));
    let connection = Http2::connect(edge.http()).await;
    assert_selected(&connection.ask(&request).await, &asked, &film);
    assert_eq!(origin.requests("/film.mp4"), 3);
}

/// Parts of an object that grows are sent as they come, when its length is told.
#[tokio::test]
async fn parts_of_a_growing_object_come_as_it_grows() {
    let origin = Origin::start().await;
    let rest = Gate::closed();
    origin.on("/seg.m4s", segment().gate_at(100_000, &rest));
    let edge: Edge = Setup::before(&origin).start().await;
    let mut viewer = edge.open(&Request::get("/seg.m4s").range("bytes=50000-50009,600000-600009")).await;
    assert_eq!(viewer.head("GET").await.status, 206);
    // The delimiter, the header of the first part, and the part.
    let start = viewer.at_least(100).await.expect("the first part, while the second is held");
    assert!(find(&start, &content(1, LENGTH)[50_000..50_010]).is_some());
    rest.open();
    let (tail, _) = viewer.rest().await;
    assert!(find(&tail, &content(1, LENGTH)[600_000..600_010]).is_some());
}
