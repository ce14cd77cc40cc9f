//! The memory budget holds under load, for the cache and for what is in flight, and no body suffers from it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::task::JoinSet;

use crate::support::client::{End, Http1, Request};
use crate::support::content::{assert_same_bytes, content};
use crate::support::edge::{Edge, Setup};
use crate::support::origin::{Answer, Origin};
use crate::support::wait::Gate;

const MIB: u64 = 1024 * 1024;
const OBJECT: usize = 512 * 1024;
/// What the process may take beyond its budget: threads, connections, their buffers, and what the allocator keeps of them.
const OVERHEAD: u64 = 72 * MIB;

/// The number of `/seg/NUMBER.m4s`.
fn seed_of(path: &str) -> u64 {
    let number = path.strip_prefix("/seg/").and_then(|rest| rest.strip_suffix(".m4s"));
    number.and_then(|number| number.parse().ok()).unwrap_or_default()
}

/// 64 clients ask for `objects` distinct objects, each once; every body must be exact. Returns the most resident memory
/// seen.
async fn load(edge: &Arc<Edge>, objects: usize) -> u64 {
    let next = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for _ in 0..64 {
        let (edge, next) = (Arc::clone(edge), Arc::clone(&next));
        clients.spawn(async move {
            let mut connection = Http1::connect(edge.http()).await;
            let mut most = 0;
            loop {
                let number = next.fetch_add(1, Ordering::AcqRel);
                if number >= objects {
                    return most;
                }
                let path = format!("/seg/{number}.m4s");
                let response = connection.ask(&Request::get(&path)).await;
                assert_eq!(response.status(), 200, "{path}");
                assert_same_bytes(response.whole(), &content(number as u64, OBJECT), &path);
                most = most.max(edge.resident_bytes());
            }
        });
    }
    clients.join_all().await.into_iter().max().unwrap_or_default()
}

async fn node(memory: &str) -> (Origin, Arc<Edge>) {
    let origin = Origin::start().await;
    origin.otherwise(|request, _| {
        Answer::ok(content(seed_of(request.path()), OBJECT)).cache_control("max-age=600")
    });
    let edge = Arc::new(Setup::before(&origin).memory(memory).start().await);
    (origin, edge)
}

/// 64 clients read ten times the budget in distinct objects: the process stays within budget and overhead, every body is
/// exact, and the cache says that it evicted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resident_memory_stays_within_the_budget() {
    let (_origin, edge) = node("64MiB").await;
    let most = load(&edge, 1280).await;
    assert!(most < 64 * MIB + OVERHEAD, "{} MiB resident", most / MIB);
    let metrics = edge.metrics().await;
    let held = metrics.sum("forebay_cache_bytes", &[("tier", "memory")]);
    assert!(held > 0.0 && held <= (64 * MIB) as f64, "{held} bytes held");
    assert!(metrics.sum("forebay_cache_evictions_total", &[]) > 0.0);
}

/// The same with a budget that is smaller than what 64 clients have in flight: still exact, still bounded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_flight_counts_against_the_budget() {
    let (_origin, edge) = node("16MiB").await;
    let most = load(&edge, 512).await;
    assert!(most < 16 * MIB + OVERHEAD, "{} MiB resident", most / MIB);
}

/// An object larger than its share of the budget reaches every viewer whole, is not kept, and does not push out the rest.
#[tokio::test]
async fn an_object_beyond_its_share_streams_and_is_not_kept() {
    let origin = Origin::start().await;
    let large = content(1, 24 * 1024 * 1024);
    origin.on("/large.bin", Answer::ok(large.clone()).cache_control("max-age=600"));
    origin.on("/large-chunked.bin", Answer::ok(large.clone()).chunked().cache_control("max-age=600"));
    origin.on("/small.m4s", Answer::ok("small").cache_control("max-age=600"));
    let edge = Setup::before(&origin).memory("16MiB").start().await;
    edge.get("/small.m4s").await.whole();
    for path in ["/large.bin", "/large-chunked.bin"] {
        for count in 1..=2 {
            let response = edge.get(path).await;
            assert_same_bytes(response.whole(), &large, path);
            assert_eq!(origin.requests(path), count, "{path} was kept");
        }
    }
    assert!(edge.resident_bytes() < 16 * MIB + OVERHEAD);
    assert_eq!(edge.get("/small.m4s").await.outcome(), "hit");
}

/// A viewer that falls out of the window of a streaming object gets the right bytes or a broken transfer, never a hole or
/// a clean early end; the foremost viewer gets all of it.
#[tokio::test]
async fn a_viewer_that_falls_behind_never_gets_a_hole() {
    let origin = Origin::start().await;
    let large = content(1, 24 * 1024 * 1024);
    let gate = Gate::closed();
    let answer = Answer::ok(large.clone()).cache_control("max-age=600").gate_at(1024, &gate);
    origin.on_each("/large.bin", vec![answer, Answer::ok(large.clone()).cache_control("max-age=600")]);
    let edge = Setup::before(&origin).memory("16MiB").limits("window = \"256KiB\"").start().await;

    let mut behind = Http1::connect_with_tiny_buffer(edge.http()).await;
    behind.send(&Request::get("/large.bin")).await;
    behind.head("GET").await;
    let mut keeping_up = edge.open(&Request::get("/large.bin")).await;
    keeping_up.head("GET").await;
    gate.open();
    // Which of the two is foremost at the end is not for the test to say.
    let mut whole = 0;
    for mut viewer in [keeping_up, behind] {
        let (body, end) = viewer.rest().await;
        match end {
            End::Clean => {
                assert_same_bytes(&body, &large, "a viewer that got all of it");
                whole += 1;
            }
            End::Broken(_) => assert_same_bytes(&body, &large[..body.len()], "a viewer that fell behind"),
        }
    }
    assert!(whole >= 1, "both viewers were broken off");
}
