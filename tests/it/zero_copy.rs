//! Hot bodies are sent over plaintext HTTP/1.1 without a copy: whoever reads them, at whatever pace, gets the same bytes,
//! also when the memory that they are sent from is given back and used again meanwhile.

use std::sync::{Arc, LazyLock};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::task::JoinSet;

use crate::support::client::{self, Http1, Http2, Request};
use crate::support::content::{assert_same_bytes, content};
use crate::support::edge::{Edge, Setup};
use crate::support::metrics::Metrics;
use crate::support::origin::{Answer, Origin};

const MIB: usize = 1024 * 1024;

/// Sends over plaintext HTTP/1.1 after which a body moves.
const HOT: usize = 8;

/// Objects that the origin has.
const OBJECTS: u64 = 96;

/// The length of `/seg/NUMBER`: some are a chunk, some have a tail, some are small.
fn length_of(number: u64) -> usize {
    match number % 4 {
        0 => 512 * 1024,
        1 => 700_000,
        2 => 70_001,
        _ => 1_300_000,
    }
}

fn body_of(path: &str) -> Bytes {
    // Made once: viewers and origin compare and send them many times.
    static BODIES: LazyLock<Vec<Bytes>> =
        LazyLock::new(|| (0..OBJECTS).map(|number| content(number, length_of(number))).collect());
    let number: usize = path.strip_prefix("/seg/").and_then(|number| number.parse().ok()).unwrap();
    BODIES[number].clone()
}

async fn origin() -> Origin {
    let origin = Origin::start().await;
    origin.otherwise(|request, _| Answer::ok(body_of(request.path())).cache_control("max-age=600"));
    origin
}

fn moves(metrics: &Metrics) -> f64 {
    metrics.sum("forebay_cache_moves_total", &[])
}

fn arena_bytes(metrics: &Metrics) -> f64 {
    metrics.sum("forebay_cache_arena_bytes", &[])
}

/// Reads an object over one connection until as many bodies as `moved` have moved. A move that would have to wait is left
/// out, so that the count may begin again. Returns how many requests it took.
async fn heat(edge: &Edge, path: &str, moved: usize) -> usize {
    let mut connection = Http1::connect(edge.http()).await;
    for round in 1..=100 {
        for _ in 0..=HOT {
            let response = connection.ask(&Request::get(path)).await;
            assert_same_bytes(response.whole(), &body_of(path), path);
        }
        if moves(&edge.metrics().await) >= moved as f64 {
            return round * (HOT + 1);
        }
    }
    panic!("{path} did not move");
}

/// Two random numbers below their bounds.
fn pick(seed: u64, step: u64, below: (u64, usize)) -> (u64, usize) {
    let bytes = content(seed.wrapping_add(step.wrapping_mul(0x1_0001)), 16);
    let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    (number(0) % below.0, number(8) as usize % below.1)
}

#[tokio::test]
async fn a_body_moves_when_it_is_hot_and_not_before() {
    let origin = origin().await;
    let edge = Setup::before(&origin).start().await;
    let mut connection = Http1::connect(edge.http()).await;
    // The first answer is no hit. A hit may come before the store has the object; hits that are told so are counted.
    let mut hits = 0;
    while hits < HOT - 1 {
        hits += usize::from(connection.ask(&Request::get("/seg/1")).await.outcome() == "hit");
    }
    let metrics = edge.metrics().await;
    assert_eq!((moves(&metrics), arena_bytes(&metrics)), (0.0, 0.0));
    assert!(metrics.has("forebay_cache_arena_bytes"));
    connection.ask(&Request::get("/seg/1")).await;
    edge.await_metric("forebay_cache_moves_total", &[], 1.0).await;
    // Anew: figures of one scrape are not read at the same moment.
    let metrics = edge.metrics().await;
    assert!(arena_bytes(&metrics) >= length_of(1) as f64);
    assert!(metrics.sum("forebay_cache_bytes", &[]) >= arena_bytes(&metrics));
    for _ in 0..3 * HOT {
        assert_same_bytes(connection.ask(&Request::get("/seg/1")).await.whole(), &body_of("/seg/1"), "moved");
    }
    assert_eq!(moves(&edge.metrics().await), 1.0);
}

/// What a socket still holds of a body that is gone does not change when its memory is used for others.
#[tokio::test]
async fn bytes_on_their_way_outlive_the_memory_they_were_sent_from() {
    let origin = origin().await;
    let edge = Setup::before(&origin).memory("32MiB").site("methods = [\"GET\", \"POST\"]").start().await;
    // Small enough for any socket to take it whole.
    let asked = heat(&edge, "/seg/2", 1).await;
    let mut slow = Vec::new();
    for _ in 0..4 {
        let mut viewer = Http1::connect_with_tiny_buffer(edge.http()).await;
        viewer.send(&Request::get("/seg/2")).await;
        slow.push(viewer);
    }
    // Each answer has been handed to its socket, where it waits for its viewer.
    edge.await_access_lines(asked + 4).await;
    // What a POST is for is not kept.
    edge.ask(&Request::new("POST", "/seg/2").body("gone")).await;
    assert_eq!(arena_bytes(&edge.metrics().await), 0.0);
    for number in 3..11 {
        heat(&edge, &format!("/seg/{number}"), number - 1).await;
    }
    for mut viewer in slow {
        let response = viewer.response("GET").await;
        assert_same_bytes(response.whole(), &body_of("/seg/2"), "a slow viewer");
    }
}

/// Ranges, tiny receive buffers, small memory that is used again and again: 32 viewers of hot bodies, a few of which read
/// at a crawl, compare every byte. The budget holds, and so does the accounting of both copies of what moves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_byte_is_right_while_memory_is_used_again() {
    let seed: u64 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos().into();
    eprintln!("seed {seed}");
    let origin = origin().await;
    let edge = Arc::new(Setup::before(&origin).memory("32MiB").start().await);
    let mut viewers = JoinSet::new();
    for viewer in 0..32_u64 {
        let edge = Arc::clone(&edge);
        viewers.spawn(async move {
            let (mut connection, steps) = match viewer % 8 {
                0 => (Http1::connect_with_tiny_buffer(edge.http()).await, 60..68),
                _ => (Http1::connect(edge.http()).await, 0..72),
            };
            for step in steps {
                // All viewers go along the objects, within a window that moves: each is hot for a while.
                let (place, start) = pick(seed ^ (viewer << 40), step, (12, 1_300_000));
                let path = format!("/seg/{}", (step + place) % OBJECTS);
                let whole = body_of(&path);
                let mut request = Request::get(&path);
                let start = if step % 3 == 0 { start % whole.len() } else { 0 };
                if start > 0 {
                    request = request.range(&format!("bytes={start}-"));
                }
                let response = connection.ask(&request).await;
                assert_same_bytes(
                    response.whole(),
                    &whole[start..],
                    &format!("{path} from {start}, seed {seed}"),
                );
                if step % 16 == 0 {
                    let held = edge.metrics().await.sum("forebay_cache_bytes", &[]);
                    assert!(held <= (32 * MIB) as f64, "{held} bytes held, seed {seed}");
                }
            }
        });
    }
    viewers.join_all().await;
    let metrics = edge.metrics().await;
    assert!(moves(&metrics) >= 8.0, "{} bodies moved, seed {seed}", moves(&metrics));
    assert!(metrics.sum("forebay_cache_evictions_total", &[("reason", "size")]) > 0.0, "seed {seed}");
    assert!(arena_bytes(&metrics) <= (33 * MIB) as f64);
}

/// TLS and HTTP/2 read a moved body like any other, and do not make one move.
#[tokio::test]
async fn tls_and_http2_read_the_same_bytes_and_move_nothing() {
    let origin = origin().await;
    let edge = Setup::before(&origin).server("h2c = true").tls().start().await;
    let (address, roots) = edge.https();
    let mut secure = Http1::over_tls(client::tls(address, roots, &["http/1.1"]).await.unwrap());
    let secure_http2 = Http2::over_tls(client::tls(address, roots, &["h2"]).await.unwrap()).await;
    let http2 = Http2::connect(edge.http()).await;
    let expected = body_of("/seg/3");
    for round in 0..2 {
        for _ in 0..3 * HOT {
            assert_same_bytes(secure.ask(&Request::get("/seg/3")).await.whole(), &expected, "TLS");
            assert_same_bytes(secure_http2.get("/seg/3").await.whole(), &expected, "HTTP/2 over TLS");
            assert_same_bytes(http2.get("/seg/3").await.whole(), &expected, "HTTP/2");
        }
        assert_eq!(moves(&edge.metrics().await), f64::from(round));
        heat(&edge, "/seg/3", 1).await;
    }
}

/// A viewer who reads at a crawl, and one who stops and leaves, hold up nobody else; a part of a moved body is that part.
#[tokio::test]
async fn partial_sends_and_parts_are_exact() {
    let origin = origin().await;
    let edge = Setup::before(&origin).start().await;
    heat(&edge, "/seg/3", 1).await;
    let whole = body_of("/seg/3");
    let mut crawling = Http1::connect_with_tiny_buffer(edge.http()).await;
    let mut leaving = Http1::connect_with_tiny_buffer(edge.http()).await;
    for viewer in [&mut crawling, &mut leaving] {
        // More than sockets hold: the node has to wait for room in the middle of a chunk.
        for _ in 0..4 {
            viewer.send(&Request::get("/seg/3")).await;
        }
        assert_eq!(viewer.head("GET").await.status, 200);
    }
    drop(leaving);
    let chunk = 512 * 1024;
    for (start, end) in
        [(0, 1), (chunk - 20_000, chunk), (chunk - 1, chunk + 1), (1, 2 * chunk + 70_000), (9, 17)]
    {
        let part = edge.ask(&Request::get("/seg/3").range(&format!("bytes={start}-{}", end - 1))).await;
        assert_eq!(part.status(), 206);
        assert_same_bytes(part.whole(), &whole[start..end], &format!("{start}..{end}"));
    }
    assert_same_bytes(&crawling.rest().await.0, &whole, "a crawling viewer");
    for _ in 1..4 {
        assert_same_bytes(crawling.response("GET").await.whole(), &whole, "a crawling viewer");
    }
}

/// An object in slices is sent the same way, slice by slice.
#[tokio::test]
async fn hot_slices_move_too() {
    let film = content(5, 3 * MIB + 5);
    let origin = Origin::start().await;
    origin.on("/film.mp4", Answer::ok(film.clone()).cache_control("max-age=600").etag("\"v1\"").ranges());
    let edge = Setup::before(&origin).limits("slice_above = \"1MiB\"").start().await;
    let mut connection = Http1::connect(edge.http()).await;
    for _ in 0..4 * HOT {
        assert_same_bytes(connection.ask(&Request::get("/film.mp4")).await.whole(), &film, "a film");
    }
    // The last slice has five bytes.
    edge.await_metric("forebay_cache_moves_total", &[], 3.0).await;
    assert_same_bytes(connection.ask(&Request::get("/film.mp4")).await.whole(), &film, "a moved film");
}

#[tokio::test]
async fn without_zero_copy_nothing_moves() {
    let origin = origin().await;
    let edge = Setup::before(&origin).server("zero_copy = false").start().await;
    let mut connection = Http1::connect(edge.http()).await;
    for _ in 0..4 * HOT {
        assert_same_bytes(
            connection.ask(&Request::get("/seg/3")).await.whole(),
            &body_of("/seg/3"),
            "copied",
        );
    }
    let metrics = edge.metrics().await;
    assert_eq!((moves(&metrics), arena_bytes(&metrics)), (0.0, 0.0));
}
