//! What is on disk outlives the process, however it ends, and no byte that is served from there is ever wrong.

use std::collections::HashMap;
use std::path::Path;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;

use crate::support::client::{Http1, Request, Response};
use crate::support::content::{assert_same_bytes, content, piece};
use crate::support::edge::{Edge, Setup};
use crate::support::origin::{Answer, Origin};
use crate::support::seed::seed;
use crate::support::wait::{LOOK_EVERY, within};

const ON_DISK: [(&str, &str); 1] = [("tier", "disk")];

/// The number of `/seg/NUMBER.m4s`.
fn number_of(path: &str) -> u64 {
    let number = path.strip_prefix("/seg/").and_then(|rest| rest.strip_suffix(".m4s"));
    number.and_then(|number| number.parse().ok()).unwrap_or_default()
}

/// Lengths from nothing to several blocks.
fn length_of(number: u64) -> usize {
    [1000, 100_000, 1024 * 1024, 1_200_000, 0][(number % 5) as usize] + number as usize
}

fn body_of(number: u64) -> bytes::Bytes {
    piece(number, length_of(number))
}

async fn origin() -> Origin {
    let origin = Origin::start().await;
    origin.otherwise(|request, _| {
        Answer::ok(body_of(number_of(request.path()))).cache_control("max-age=3600").etag("\"v1\"")
    });
    origin
}

fn setup(origin: &Origin, disk: &Path) -> Setup {
    let path = disk.display();
    Setup::before(origin).store(&format!("disk = [{{ path = \"{path}\", size = \"256MiB\" }}]"))
}

/// As [`setup`], with every object written at once.
fn eager(origin: &Origin, disk: &Path) -> Setup {
    setup(origin, disk).store("disk_admit_within = \"0s\"")
}

async fn get(edge: &Edge, number: u64) -> Response {
    let response = edge.get(&format!("/seg/{number}.m4s")).await;
    assert_eq!(response.status(), 200, "object {number}");
    assert_same_bytes(response.whole(), &body_of(number), &format!("object {number}"));
    response
}

/// Waits until so many objects are on disk.
async fn await_objects(edge: &Edge, count: usize) {
    edge.await_metric("forebay_cache_objects", &ON_DISK, count as f64).await;
}

/// Asks for these objects until so many are on disk. What a slow disk was spared is offered again when it is asked for.
async fn keep(edge: &Edge, numbers: std::ops::Range<u64>, count: usize) {
    within("objects on disk", async {
        while edge.metrics().await.sum("forebay_cache_objects", &ON_DISK) < count as f64 {
            for number in numbers.clone() {
                get(edge, number).await;
            }
        }
    })
    .await;
}

/// Numbers of objects to write until a disk is as it should be: enough for one that is spared most writes.
fn numbers_from(first: u64) -> std::ops::Range<u64> {
    first..first + 10_000
}

/// Waits until nothing waits to be written: there is room before the writer then.
async fn await_idle_writer(edge: &Edge) {
    within("an idle writer", async {
        // At least one pause: a disk that is spared writes has an idle writer at once.
        tokio::time::sleep(LOOK_EVERY).await;
        while edge.metrics().await.sum("forebay_disk_queue_bytes", &[]) > 0.0 {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    })
    .await;
}

/// What is stale on disk, and good enough for others while it is fetched anew, is not for one who wants it confirmed and
/// does not want the origin to be asked: where requests are obeyed, that is 504.
#[tokio::test]
async fn a_stale_object_on_disk_is_not_used_where_it_has_to_be_confirmed() {
    let disk = tempfile::tempdir().unwrap();
    let origin = Origin::start().await;
    let old = Answer::ok(body_of(1)).cache_control("max-age=0, stale-while-revalidate=86400").etag("\"v1\"");
    origin.on("/seg/1.m4s", old);
    let obey = "[[site.rule]]\npath = \"/*\"\nobey_client = true";
    let setup = eager(&origin, disk.path()).store("disk_ttl_min = \"0s\"").more(obey);
    let edge = setup.start().await;
    keep(&edge, 1..2, 1).await;
    edge.stop().await;
    let edge = setup.start().await;
    edge.await_recovered().await;
    let cached =
        |also: &str| Request::get("/seg/1.m4s").header("cache-control", &format!("only-if-cached{also}"));
    let asked = origin.requests("/seg/1.m4s");
    assert_eq!(edge.ask(&cached(", no-cache")).await.status(), 504);
    assert_same_bytes(edge.ask(&cached("")).await.whole(), &body_of(1), "for one who takes it as it is");
    assert_eq!(origin.requests("/seg/1.m4s"), asked);
}

#[tokio::test]
async fn objects_on_disk_outlive_sigterm_and_sigkill() {
    let disk = tempfile::tempdir().unwrap();
    let mut origin = origin().await;
    let setup = eager(&origin, disk.path());
    let edge = setup.start().await;
    for number in 0..20 {
        assert_eq!(get(&edge, number).await.outcome(), "miss");
        // One after the other: what finds no room before the writer is not written.
        keep(&edge, number..number + 1, number as usize + 1).await;
    }
    edge.stop().await;
    origin.stop().await;
    for ending in ["SIGTERM", "SIGKILL"] {
        let edge = setup.start().await;
        edge.await_recovered().await;
        for number in 0..20 {
            let response = get(&edge, number).await;
            assert_eq!(response.outcome(), "hit", "object {number} before {ending}");
            assert_eq!(response.get("etag"), Some("\"v1\""));
        }
        match ending {
            "SIGTERM" => drop(edge.stop().await),
            _ => edge.kill().await,
        }
    }
    let edge = setup.start().await;
    edge.await_recovered().await;
    get(&edge, 7).await;
}

/// The node is killed while it writes, again and again; whatever it serves from disk afterwards is exact.
#[tokio::test(flavor = "multi_thread")]
async fn no_kill_during_writes_leaves_a_wrong_byte() {
    const KILLS: usize = 20;
    const CATALOGUE: u64 = 120;
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let disk = tempfile::tempdir().unwrap();
    let origin = origin().await;
    let setup = eager(&origin, disk.path());
    let mut hits = 0;
    for _ in 0..KILLS {
        let edge = std::sync::Arc::new(setup.start().await);
        let mut clients = JoinSet::new();
        let answers = random.random_range(5..40);
        for _ in 0..4 {
            let (edge, seed) = (std::sync::Arc::clone(&edge), random.random::<u64>());
            clients.spawn(async move {
                let mut random = StdRng::seed_from_u64(seed);
                let mut connection = Http1::connect(edge.http()).await;
                let mut hits = 0;
                for _ in 0..answers {
                    let number = random.random_range(0..CATALOGUE);
                    let path = format!("/seg/{number}.m4s");
                    let response = connection.ask(&Request::get(&path)).await;
                    assert_eq!(response.status(), 200, "{path}");
                    assert_same_bytes(response.whole(), &body_of(number), &path);
                    hits += usize::from(response.outcome() == "hit");
                }
                hits
            });
        }
        // The last answers' objects are still being written.
        hits += clients.join_all().await.into_iter().sum::<usize>();
        edge.kill().await;
    }
    let edge = setup.start().await;
    for number in 0..CATALOGUE {
        hits += usize::from(get(&edge, number).await.outcome() == "hit");
    }
    let asked = origin.recorded().len();
    assert!(hits > CATALOGUE as usize / 2, "{hits} hits, {asked} origin requests: nothing came from disk");
}

/// An origin with large objects, two of which fill a region of a disk of 64 MiB.
async fn origin_of_large_objects() -> Origin {
    let origin = Origin::start().await;
    origin.otherwise(|request, _| Answer::ok(large(number_of(request.path()))).cache_control("max-age=3600"));
    origin
}

const LARGE_BYTES: usize = 1_400_000;

fn large(number: u64) -> bytes::Bytes {
    content(number, LARGE_BYTES)
}

async fn get_large(edge: &Edge, number: u64) -> Response {
    let response = edge.get(&format!("/seg/{number}.m4s")).await;
    assert_same_bytes(response.whole(), &large(number), &format!("object {number}"));
    response
}

fn small_disk(origin: &Origin, disk: &Path) -> Setup {
    let path = disk.display();
    Setup::before(origin).store(&format!("disk = [{{ path = \"{path}\", size = \"64MiB\" }}]"))
}

async fn written_bytes(edge: &Edge) -> f64 {
    edge.metrics().await.sum("forebay_disk_written_bytes_total", &[])
}

#[tokio::test]
async fn an_object_enters_a_full_disk_when_it_is_wanted_again() {
    // Of 15 regions one is empty and one is written to.
    const FULL: f64 = 13.0 * 2.0 + 1.0;
    let disk = tempfile::tempdir().unwrap();
    let origin = origin_of_large_objects().await;
    let setup = small_disk(&origin, disk.path());
    let edge = setup.start().await;
    let held = async || edge.metrics().await.sum("forebay_cache_objects", &ON_DISK);
    let mut numbers = numbers_from(1000);
    while held().await < FULL {
        get_large(&edge, numbers.next().expect("a disk that becomes full")).await;
        await_idle_writer(&edge).await;
    }
    for number in 200..215 {
        get_large(&edge, number).await;
    }
    await_idle_writer(&edge).await;
    for number in [204, 209] {
        let before = written_bytes(&edge).await;
        within("an object on disk", async {
            while written_bytes(&edge).await < before + LARGE_BYTES as f64 {
                get_large(&edge, number).await;
            }
        })
        .await;
    }
    edge.stop().await;
    let edge = setup.start().await;
    edge.await_recovered().await;
    for number in [204, 209] {
        assert_eq!(get_large(&edge, number).await.outcome(), "hit", "object {number}");
    }
    assert_eq!(get_large(&edge, 206).await.outcome(), "miss", "asked for once");
}

/// Hits an object until the disk has been told that it is hot, and has written what it was given of it.
async fn tell_disk_of(edge: &Edge, number: u64) {
    let shed = async || edge.metrics().await.sum("forebay_disk_writes_shed_total", &[]);
    let age = async || get_large(edge, number).await.get("age").map(str::to_owned);
    within("a disk that takes what it is told", async {
        loop {
            let before = shed().await;
            // Memory tells the disk once a second: when the age that it sends changes.
            let since = age().await;
            while age().await == since {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            await_idle_writer(edge).await;
            // A disk that is busy or slow is spared the write; the next second offers it again.
            if shed().await == before {
                return;
            }
        }
    })
    .await;
}

/// What memory answers is never looked up on disk; it stays there all the same.
#[tokio::test]
async fn an_object_that_is_hot_in_memory_outlives_a_restart() {
    let disk = tempfile::tempdir().unwrap();
    let origin = origin_of_large_objects().await;
    let setup = small_disk(&origin, disk.path()).memory("32MiB").store("disk_admit_within = \"0s\"");
    let edge = setup.start().await;
    // More than the disk takes three times, and the hot one in between.
    let evictions = async || edge.metrics().await.sum("forebay_cache_evictions_total", &ON_DISK);
    let mut numbers = numbers_from(1);
    while evictions().await < 60.0 {
        get_large(&edge, 0).await;
        get_large(&edge, numbers.next().expect("a disk that evicts")).await;
        // What waits for a slow disk takes memory, and what is hot would have to go.
        await_idle_writer(&edge).await;
    }
    assert_eq!(origin.requests("/seg/0.m4s"), 1);
    tell_disk_of(&edge, 0).await;
    edge.stop().await;
    let edge = setup.start().await;
    edge.await_recovered().await;
    assert_eq!(get_large(&edge, 0).await.outcome(), "hit");
    assert_eq!(origin.requests("/seg/0.m4s"), 1);
}

#[tokio::test]
async fn what_is_short_lived_or_ruled_out_stays_in_memory() {
    let disk = tempfile::tempdir().unwrap();
    let origin = origin().await;
    origin.on("/short.m4s", Answer::ok("short").cache_control("max-age=30"));
    origin.on("/live/1.m4s", Answer::ok("live").cache_control("max-age=3600"));
    let edge =
        eager(&origin, disk.path()).more("[[site.rule]]\npath = \"/live/*\"\ndisk = \"never\"").start().await;
    for path in ["/short.m4s", "/live/1.m4s", "/short.m4s", "/live/1.m4s"] {
        assert_eq!(edge.get(path).await.status(), 200);
    }
    keep(&edge, 1..2, 1).await;
    edge.stop().await;
    let edge = eager(&origin, disk.path()).start().await;
    edge.await_recovered().await;
    assert_eq!(edge.metrics().await.sum("forebay_cache_objects", &ON_DISK), 1.0);
}

#[tokio::test]
async fn a_herd_on_an_object_on_disk_is_served_without_the_origin() {
    let disk = tempfile::tempdir().unwrap();
    let origin = origin().await;
    let setup = eager(&origin, disk.path());
    let edge = setup.start().await;
    keep(&edge, 3..4, 1).await;
    edge.stop().await;
    let edge = std::sync::Arc::new(setup.start().await);
    edge.await_recovered().await;
    let mut clients = JoinSet::new();
    for _ in 0..200 {
        let edge = std::sync::Arc::clone(&edge);
        clients.spawn(async move { get(&edge, 3).await.outcome().to_owned() });
    }
    let mut outcomes: HashMap<String, usize> = HashMap::new();
    for outcome in clients.join_all().await {
        *outcomes.entry(outcome).or_default() += 1;
    }
    // Who comes while the object is being read joins those who wait for it.
    assert!(outcomes.keys().all(|outcome| ["hit", "coalesced"].contains(&outcome.as_str())), "{outcomes:?}");
    assert_eq!(outcomes.values().sum::<usize>(), 200);
    assert_eq!(origin.requests("/seg/3.m4s"), 1);
}

/// A confirmation by the origin gives the object on disk new times, and leaves its body where it is.
#[tokio::test]
async fn a_confirmed_object_is_fresh_again_after_a_restart() {
    let disk = tempfile::tempdir().unwrap();
    let origin = Origin::start().await;
    let stale = Answer::ok(body_of(3)).etag("\"v1\"").cache_control("max-age=60").header("age", "61");
    let fresh = Answer::ok(body_of(3)).etag("\"v1\"").cache_control("max-age=3600");
    origin.on_each("/seg/3.m4s", vec![stale, fresh]);
    let setup = eager(&origin, disk.path()).store("disk_ttl_min = \"0s\"");
    let edge = setup.start().await;
    get(&edge, 3).await;
    await_objects(&edge, 1).await;
    edge.stop().await;
    let edge = setup.start().await;
    edge.await_recovered().await;
    assert_eq!(get(&edge, 3).await.outcome(), "hit_revalidated", "stale on disk");
    assert_eq!(get(&edge, 3).await.outcome(), "hit");
    edge.stop().await;
    let edge = setup.start().await;
    edge.await_recovered().await;
    assert_eq!(get(&edge, 3).await.outcome(), "hit", "from disk, with the new times");
    assert_eq!(origin.requests("/seg/3.m4s"), 2);
}

#[tokio::test]
async fn what_is_stale_on_disk_bridges_an_origin_that_is_down() {
    let disk = tempfile::tempdir().unwrap();
    let mut origin = Origin::start().await;
    let stale = Answer::ok(body_of(2)).cache_control("max-age=60, stale-if-error=3600").header("age", "61");
    origin.on("/seg/2.m4s", stale);
    let setup = eager(&origin, disk.path()).store("disk_ttl_min = \"0s\"");
    let edge = setup.start().await;
    get(&edge, 2).await;
    await_objects(&edge, 1).await;
    edge.stop().await;
    origin.stop().await;
    let edge = setup.start().await;
    edge.await_recovered().await;
    assert_eq!(get(&edge, 2).await.outcome(), "hit_stale");
}

/// An unsafe method removes what it changes from both tiers, and it stays removed after a kill.
#[tokio::test]
async fn what_was_invalidated_does_not_come_back() {
    let disk = tempfile::tempdir().unwrap();
    let origin = origin().await;
    let setup = eager(&origin, disk.path()).site("methods = [\"GET\", \"HEAD\", \"DELETE\"]");
    let edge = setup.start().await;
    keep(&edge, 0..5, 5).await;
    assert_eq!(edge.ask(&Request::new("DELETE", "/seg/3.m4s")).await.status(), 200);
    // Objects are written in order: once this one is there, so is what was told before.
    keep(&edge, 6..7, 5).await;
    edge.kill().await;
    let edge = setup.start().await;
    edge.await_recovered().await;
    assert_eq!(get(&edge, 3).await.outcome(), "miss");
    assert_eq!(get(&edge, 4).await.outcome(), "hit");
}

#[tokio::test]
async fn a_site_takes_no_more_memory_than_its_quota() {
    let disk = tempfile::tempdir().unwrap();
    let origin = Origin::start().await;
    origin.otherwise(|request, _| {
        Answer::ok(content(number_of(request.path()), 200_000)).cache_control("max-age=3600")
    });
    let edge = Setup::before(&origin).site("quota = { memory = \"2MiB\" }").start().await;
    drop(disk);
    for number in 0..40 {
        edge.get(&format!("/seg/{number}.m4s")).await;
    }
    let metrics = edge.metrics().await;
    assert!(metrics.sum("forebay_cache_bytes", &[("tier", "memory")]) <= 2.0 * 1024.0 * 1024.0);
    assert!(metrics.sum("forebay_cache_evictions_total", &[("tier", "memory"), ("reason", "quota")]) >= 30.0);
    assert_eq!(edge.get("/seg/39.m4s").await.outcome(), "hit", "the newest is kept");
}
