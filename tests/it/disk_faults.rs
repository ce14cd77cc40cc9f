//! A disk that is full, read-only, slow or broken costs viewers nothing: every request is answered, and every byte is
//! right, as long as there is an origin. What is not written is counted.

use std::time::Duration;

use forebay::store::disk::device::faulty::{EIO, ENOSPC, EROFS};
use tokio::task::JoinSet;

use crate::support::catalogue::{FILM, OBJECTS, body, check, origin, path, setup, view};
use crate::support::client::{Http1, Request};
use crate::support::content::assert_same_bytes;
use crate::support::metrics::Metrics;
use crate::support::node::LocalNode;
use crate::support::origin::Origin;
use crate::support::seed::seed;
use crate::support::wait::within;

const ON_DISK: [(&str, &str); 1] = [("tier", "disk")];
const ONE: &str = "{ path = \"DIR/disk\", size = \"256MiB\" }";
const TWO: &str = "{ path = \"DIR/one\", size = \"256MiB\" }, { path = \"DIR/two\", size = \"256MiB\" }";

/// Longer than any wait of a test: what is answered has not waited for the disk.
const FOR_EVER: Duration = Duration::from_secs(3600);

/// Rounds of requests after which a disk that is only slow has done what it is waited for.
const ROUNDS_MAX: u64 = 100;

async fn node(disks: &str, seed: u64) -> (Origin, LocalNode) {
    let origin = origin().await;
    let node = LocalNode::start(&setup(&origin, disks), seed);
    (origin, node)
}

fn objects(metrics: &Metrics) -> f64 {
    metrics.sum("forebay_cache_objects", &ON_DISK)
}

fn shed(metrics: &Metrics, reason: &str) -> f64 {
    metrics.sum("forebay_disk_writes_shed_total", &[("reason", reason)])
}

fn is_out(metrics: &Metrics, disk: &str) -> bool {
    metrics.sum("forebay_disk_out", &[("disk", disk)]) > 0.0
}

/// Asks for objects, the catalogue again and again, until the metrics are as `enough` says. Every answer is checked.
async fn ask_until(node: &LocalNode, what: &str, enough: impl Fn(&Metrics) -> bool) -> Metrics {
    within(what, async {
        let mut connection = Http1::connect(node.http()).await;
        for number in (0..OBJECTS).cycle() {
            check(&mut connection, number).await;
            let metrics = node.metrics().await;
            if enough(&metrics) {
                return metrics;
            }
        }
        unreachable!("the catalogue has objects")
    })
    .await
}

/// Brings most of the catalogue to disk.
async fn fill(node: &LocalNode) {
    ask_until(node, "most of the catalogue on disk", |metrics| objects(metrics) >= 30.0).await;
    node.get(FILM).await.whole();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_a_full_disk_refuses_are_counted_and_resume_with_space() {
    let seed = seed();
    let (_origin, node) = node(ONE, seed).await;
    node.faults(0).fail_writes(ENOSPC);
    view(node.http(), seed, 6, 8).await;
    let metrics = node.metrics().await;
    assert!(shed(&metrics, "disk_full") > 0.0);
    assert_eq!(objects(&metrics), 0.0);

    node.faults(0).fail_writes(0);
    ask_until(&node, "writes after there is space", |metrics| objects(metrics) >= 10.0).await;

    // Full again in mid-run: what is there goes on being served, from disk.
    let before = shed(&node.metrics().await, "disk_full");
    node.faults(0).fail_writes_after(5, ENOSPC);
    ask_until(&node, "writes refused", |metrics| shed(metrics, "disk_full") > before).await;
    let held = objects(&node.metrics().await);
    assert!(held > 0.0, "what stood on disk has gone");
    assert!(view(node.http(), seed, 6, 8).await > 0);

    node.faults(0).fail_writes(0);
    let resumed = |metrics: &Metrics| objects(metrics) > held;
    let metrics = ask_until(&node, "writes after there is space again", resumed).await;
    assert!(!is_out(&metrics, &node.path("disk")), "a full disk is not a broken one");
    view(node.http(), seed, 6, 8).await;
    node.stop().await;
}

#[tokio::test]
async fn a_node_starts_without_a_disk_that_is_full_read_only_or_broken() {
    for errno in [ENOSPC, EROFS, EIO] {
        let origin = origin().await;
        let node =
            LocalNode::start_with(&setup(&origin, ONE), 0, |faults| faults.fail_writes(errno)).unwrap();
        assert!(is_out(&node.metrics().await, &node.path("disk")), "errno {errno}");
        node.get(FILM).await.whole();
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_turns_read_only_is_read_on() {
    let seed = seed();
    let (origin, node) = node(ONE, seed).await;
    fill(&node).await;
    node.faults(0).fail_writes(EROFS);
    view(node.http(), seed, 6, 8).await;
    ask_until(&node, "writes refused", |metrics| shed(metrics, "read_only") > 0.0).await;

    // Most of what is asked for stands on disk: fewer origin requests than objects.
    let before = origin.recorded().len();
    let mut connection = Http1::connect(node.http()).await;
    for number in 0..OBJECTS {
        check(&mut connection, number).await;
    }
    let asked = origin.recorded().len() - before;
    assert!(asked < OBJECTS as usize / 2, "{asked} origin requests for {OBJECTS} objects");
    assert!(!is_out(&node.metrics().await, &node.path("disk")));
    drop(connection);
    node.stop().await;
}

/// Not one operation of the disk ends any more. What stands on it comes from the origin, what is in memory is served
/// meanwhile, and in the end the disk is taken out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_hangs_holds_up_nobody() {
    let seed = seed();
    let (_origin, node) = node(ONE, seed).await;
    fill(&node).await;
    let mut connection = Http1::connect(node.http()).await;
    let in_memory = OBJECTS + 1;
    check(&mut connection, in_memory).await;
    node.faults(0).delay(FOR_EVER);

    let mut cold = Vec::new();
    for number in 0..16 {
        let mut connection = Http1::connect(node.http()).await;
        connection.send(&Request::get(&path(number))).await;
        cold.push(connection);
    }
    // More connections than the node has threads.
    let mut clients = JoinSet::new();
    for _ in 0..8 {
        let http = node.http();
        clients.spawn(async move {
            let mut connection = Http1::connect(http).await;
            for _ in 0..20 {
                check(&mut connection, in_memory).await;
            }
        });
    }
    clients.join_all().await;
    for (number, mut connection) in (0..).zip(cold) {
        let response = connection.response("GET").await;
        assert_eq!(response.status(), 200);
        assert_same_bytes(response.whole(), &body(number), "an object");
    }
    view(node.http(), seed, 6, 6).await;
    let out = |metrics: &Metrics| is_out(metrics, &node.path("disk"));
    let metrics = ask_until(&node, "the disk taken out", out).await;
    assert!(metrics.sum("forebay_disk_reads_shed_total", &[("reason", "late")]) > 0.0);
    view(node.http(), seed, 6, 6).await;
    node.faults(0).delay(Duration::ZERO);
    node.stop().await;
}

/// A disk that is slow for a while is spared writes for a while.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_disk_is_spared_writes_until_it_is_quick_again() {
    let seed = seed();
    let (_origin, node) = node(ONE, seed).await;
    fill(&node).await;
    node.faults(0).delay(Duration::from_secs(5));
    ask_until(&node, "writes not made", |metrics| shed(metrics, "slow") > 0.0).await;
    node.faults(0).delay(Duration::ZERO);
    let written = |metrics: &Metrics| metrics.sum("forebay_disk_written_bytes_total", &[]);
    // What waited when the disk was slow is written first.
    node.await_metric("forebay_disk_written_bytes_total", &[], 1.0).await;
    let before = written(&node.metrics().await);
    let next = std::cell::Cell::new(OBJECTS);
    within("writes after the pause", async {
        let mut connection = Http1::connect(node.http()).await;
        while written(&node.metrics().await) < before + 8.0 * 1024.0 * 1024.0 {
            check(&mut connection, next.replace(next.get() + 1)).await;
        }
    })
    .await;
    assert!(!is_out(&node.metrics().await, &node.path("disk")));
    view(node.http(), seed, 6, 8).await;
    node.stop().await;
}

/// Every third read from disk comes with a flipped bit, out of the page cache and from the disk itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_flipped_bit_reaches_a_viewer() {
    let seed = seed();
    let (_origin, node) = node(ONE, seed).await;
    fill(&node).await;
    node.faults(0).flip_bits(3);
    let mut corrupt = 0.0;
    for uncached in [false, true] {
        node.faults(0).uncached(uncached);
        view(node.http(), seed, 8, 12).await;
        let now = node.metrics().await.sum("forebay_disk_corrupt_total", &[("disk", &node.path("disk"))]);
        assert!(now > corrupt, "{now} objects found damaged, uncached: {uncached}");
        corrupt = now;
        node.faults(0).flip_bits(0);
        fill(&node).await;
        node.faults(0).flip_bits(3);
    }
    node.faults(0).flip_bits(0);
    view(node.http(), seed, 8, 12).await;
    node.stop().await;
}

/// Region after region is used again while reads are damaged: nothing that is copied is copied wrong.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_again_is_not_written_wrong() {
    let seed = seed();
    let (_origin, node) = node(ONE, seed).await;
    node.faults(0).flip_bits(5);
    // As many rounds as a disk needs that is spared writes now and then.
    for round in 0.. {
        let mut viewers = JoinSet::new();
        for viewer in 0..4 {
            let http = node.http();
            viewers.spawn(async move {
                let mut connection = Http1::connect(http).await;
                for step in 0..35 {
                    // One that many ask for, and one that nobody else does: two or three blocks each.
                    check(&mut connection, step % 8 * 5).await;
                    check(&mut connection, OBJECTS + 3 + 5 * ((round * 4 + viewer) * 35 + step)).await;
                }
            });
        }
        viewers.join_all().await;
        if node.metrics().await.sum("forebay_cache_evictions_total", &ON_DISK) > 0.0 {
            break;
        }
        assert!(round < ROUNDS_MAX, "no region has been used again");
    }
    view(node.http(), seed, 8, 12).await;
    node.faults(0).flip_bits(0);
    view(node.http(), seed, 8, 12).await;
    node.stop().await;
}

/// A disk on which reads, or writes, fail for good is taken out; the other one goes on, and takes its share.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_disk_is_taken_out_and_the_other_goes_on() {
    for reads in [true, false] {
        let seed = seed();
        let (origin, node) = node(TWO, seed).await;
        fill(&node).await;
        if reads {
            node.faults(0).uncached(true);
            node.faults(0).fail_reads(EIO);
        } else {
            node.faults(0).fail_writes(EIO);
        }
        let next = std::cell::Cell::new(OBJECTS);
        within("the disk taken out", async {
            let mut connection = Http1::connect(node.http()).await;
            while !is_out(&node.metrics().await, &node.path("one")) {
                view(node.http(), seed ^ next.get(), 4, 4).await;
                check(&mut connection, next.replace(next.get() + 1)).await;
            }
        })
        .await;
        let metrics = node.metrics().await;
        assert!(!is_out(&metrics, &node.path("two")), "the other disk is out, reads: {reads}");
        let operation = if reads { "read" } else { "write" };
        let one = node.path("one");
        assert!(metrics.sum("forebay_disk_errors_total", &[("disk", &one), ("operation", operation)]) >= 8.0);
        // All keys belong to the other disk now: the whole catalogue comes to stand there.
        within("a round through the catalogue that costs the origin little", async {
            let mut connection = Http1::connect(node.http()).await;
            loop {
                let before = origin.recorded().len();
                for number in 0..OBJECTS {
                    check(&mut connection, number).await;
                }
                if origin.recorded().len() - before < OBJECTS as usize / 4 {
                    break;
                }
            }
        })
        .await;
        view(node.http(), seed, 6, 8).await;
        node.stop().await;
    }
}

/// Short and failing writes at random moments, with a restart of none of it: what is found is what was written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_cut_short_leave_nothing_wrong() {
    let seed = seed();
    let (_origin, node) = node(ONE, seed).await;
    node.faults(0).cut_writes(70_000);
    for round in 0..6 {
        node.faults(0).fail_writes_after(20 + round * 13, ENOSPC);
        view(node.http(), seed ^ round, 6, 6).await;
        node.faults(0).fail_writes(0);
        let before = objects(&node.metrics().await);
        if before < 20.0 {
            ask_until(&node, "writes again", |metrics| objects(metrics) > before).await;
        }
    }
    assert!(shed(&node.metrics().await, "disk_full") > 0.0);
    view(node.http(), seed, 6, 8).await;
    node.stop().await;
}
