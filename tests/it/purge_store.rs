//! Purges against what is under way, what stands on disks, restarts, and disks that forget: what a purge has named is
//! never served to a request that came after its answer.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};

use bytes::Bytes;
use forebay::clock::Clock;
use forebay::store::disk::device::faulty::EIO;
use forebay::store::disk::tier::ANSWER_TIMEOUT;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::client::{Http1, Request, Response, ask};
use crate::support::content::{assert_same_bytes, content};
use crate::support::edge::{Edge, Setup};
use crate::support::node::LocalNode;
use crate::support::origin::{Answer, Origin};
use crate::support::seed::seed;
use crate::support::wait::{Gate, within};

const PATH: &str = "/a/1.m4s";
const MIB: usize = 1024 * 1024;
const ON_DISK: [(&str, &str); 1] = [("tier", "disk")];

/// Bytes of a slot of a journal.
const SLOT_BYTES: usize = 64;

async fn try_purge(admin: SocketAddr, order: &Value) -> Response {
    ask(admin, &Request::new("POST", "/purge").body(order.to_string())).await
}

/// Purges, and gives the generation.
async fn purge(admin: SocketAddr, order: &Value) -> u64 {
    let response = try_purge(admin, order).await;
    let text = String::from_utf8_lossy(&response.body).into_owned();
    assert_eq!(response.status(), 200, "{order}: {text}");
    let told: Value = serde_json::from_str(&text).unwrap();
    told["generation"].as_u64().unwrap()
}

fn url(path: &str) -> String {
    format!("http://edge.test{path}")
}

/// An answer that is fresh for an hour, with a tag.
fn tagged(body: impl Into<Bytes>) -> Answer {
    Answer::ok(body).cache_control("max-age=3600, stale-if-error=3600").header("cache-tag", "t")
}

/// Every way to name [`PATH`], in both modes.
fn orders() -> Vec<Value> {
    let ways = [
        json!({ "url": url(PATH) }),
        json!({ "prefix": url("/a/") }),
        json!({ "tag": "t" }),
        json!({ "site": "*" }),
        json!({ "everything": true }),
    ];
    let in_mode = |way: &Value, mode: &str| {
        let mut order = way.clone();
        order["mode"] = mode.into();
        order
    };
    ways.iter().flat_map(|way| ["soft", "hard"].map(|mode| in_mode(way, mode))).collect()
}

// === What is under way ===

/// The first request is being answered when the purge comes: it gets what it asked for. Who comes later does not, though
/// the first fetch is still under way, and what that brings is not kept.
#[tokio::test]
async fn who_comes_after_a_purge_does_not_join_a_fetch_from_before() {
    for order in orders() {
        let origin = Origin::start().await;
        let gate = Gate::closed();
        let (old, new) = (content(1, 4000), content(2, 4000));
        origin.on_each(PATH, vec![tagged(old.clone()).gate_at(1000, &gate), tagged(new.clone())]);
        let edge = Setup::before(&origin).start().await;
        let mut first = edge.open(&Request::get(PATH)).await;
        first.head("GET").await;
        purge(edge.admin(), &order).await;
        for _ in 0..3 {
            assert_same_bytes(edge.get(PATH).await.whole(), &new, &format!("after {order}"));
        }
        gate.open();
        assert_same_bytes(&first.rest().await.0, &old, "the first");
        let again = edge.get(PATH).await;
        assert_same_bytes(again.whole(), &new, &format!("after {order}"));
        assert_eq!((again.outcome(), origin.requests(PATH)), ("hit", 2), "{order}");
    }
}

/// Many wait for an answer that turns out to be named by a purge: all get the next one, which is fetched once.
#[tokio::test]
async fn those_who_wait_for_a_purged_answer_share_the_next_one() {
    for mode in ["soft", "hard"] {
        let origin = Origin::start().await;
        let gate = Gate::closed();
        let (old, new) = (content(1, 4000), content(2, 4000));
        origin.on_each(PATH, vec![tagged(old).hold(&gate), tagged(new.clone())]);
        let edge = Arc::new(Setup::before(&origin).start().await);
        let first = edge.open(&Request::get(PATH)).await;
        origin.await_requests(PATH, 1).await;
        purge(edge.admin(), &json!({ "tag": "t", "mode": mode })).await;
        let mut waiting = JoinSet::new();
        for _ in 0..20 {
            let edge = Arc::clone(&edge);
            waiting.spawn(async move { edge.get(PATH).await.whole().clone() });
        }
        // Most of them wait by then; it is right for those who come later, too.
        tokio::task::yield_now().await;
        gate.open();
        for got in waiting.join_all().await {
            assert_same_bytes(&got, &new, mode);
        }
        assert_eq!(origin.requests(PATH), 2, "{mode}");
        drop(first);
    }
}

/// A refresh that began before a purge makes nothing fresh, whether it brings a new body or a confirmation.
#[tokio::test]
async fn a_refresh_from_before_a_purge_makes_nothing_fresh() {
    for (order, confirmed) in orders().into_iter().flat_map(|order| [(order.clone(), false), (order, true)]) {
        let origin = Origin::start().await;
        let gate = Gate::closed();
        let short = Answer::ok("one").cache_control("max-age=1, stale-while-revalidate=3600").etag("\"1\"");
        let second = if confirmed {
            Answer::status(304).cache_control("max-age=3600").header("etag", "\"1\"")
        } else {
            tagged("two")
        };
        origin.on_each(PATH, vec![short.header("cache-tag", "t"), second.hold(&gate), tagged("three")]);
        let edge = Setup::before(&origin).start().await;
        edge.get(PATH).await;
        within("a stale hit", async { while edge.get(PATH).await.outcome() != "hit_stale" {} }).await;
        origin.await_requests(PATH, 2).await;
        purge(edge.admin(), &order).await;
        let mut later = edge.open(&Request::get(PATH)).await;
        gate.open();
        let what = format!("{order}, confirmed: {confirmed}");
        assert_eq!(later.response("GET").await.whole(), "three", "{what}");
        assert_eq!(edge.get(PATH).await.whole(), "three", "{what}");
    }
}

/// A refresh that nobody waits for brings the first of answers that vary, and is still under way when the purge comes. Who
/// comes then is the first to ask for that variant, and does not get it.
#[tokio::test]
async fn who_comes_after_a_purge_does_not_take_over_a_variant_from_before() {
    for order in orders() {
        let origin = Origin::start().await;
        let gate = Gate::closed();
        let (held, own) = (gate.clone(), AtomicU64::new(0));
        origin.script(PATH, move |request, _| match request.header("x-v") {
            Some(_) => tagged("other").header("vary", "x-v"),
            None => match own.fetch_add(1, Ordering::SeqCst) {
                0 => Answer::ok("one")
                    .cache_control("max-age=1, stale-while-revalidate=3600")
                    .header("cache-tag", "t"),
                1 => tagged(vec![b'o'; 4000]).header("vary", "x-v").gate_at(1000, &held),
                _ => tagged("new").header("vary", "x-v"),
            },
        });
        let edge = Setup::before(&origin).start().await;
        edge.get(PATH).await;
        within("a stale hit", async { while edge.get(PATH).await.outcome() != "hit_stale" {} }).await;
        let other = Request::get(PATH).header("x-v", "other");
        within("a marker", async { while edge.ask(&other).await.whole() != "other" {} }).await;
        purge(edge.admin(), &order).await;
        let mut later = edge.open(&Request::get(PATH)).await;
        later.head("GET").await;
        gate.open();
        assert_eq!(later.rest().await.0, "new", "{order}");
        assert_eq!(edge.get(PATH).await.whole(), "new", "{order}");
    }
}

/// After a soft purge, a confirmation makes the copy fresh again.
#[tokio::test]
async fn a_confirmation_after_a_soft_purge_makes_the_copy_fresh() {
    let origin = Origin::start().await;
    origin.on(PATH, tagged("one").etag("\"1\""));
    let edge = Setup::before(&origin).start().await;
    edge.get(PATH).await;
    purge(edge.admin(), &json!({ "tag": "t", "mode": "soft" })).await;
    assert_eq!(edge.get(PATH).await.outcome(), "hit_revalidated");
    assert_eq!(edge.get(PATH).await.outcome(), "hit");
}

/// A confirmation that says nothing of freshness gives back the whole lifetime that a soft purge has ended.
#[tokio::test]
async fn a_bare_confirmation_after_a_soft_purge_renews_the_whole_lifetime() {
    let origin = Origin::start().await;
    let whole = Answer::ok("one").cache_control("max-age=3600").etag("\"1\"");
    origin.on_each(PATH, vec![whole, Answer::status(304).header("etag", "\"1\"")]);
    let clock = Clock::manual(UNIX_EPOCH + Duration::from_secs(1_900_000_000));
    let node = LocalNode::start_at(&Setup::before(&origin), clock.clone());
    node.get(PATH).await;
    clock.advance(Duration::from_secs(60));
    purge(node.admin(), &json!({ "everything": true, "mode": "soft" })).await;
    assert_eq!(node.get(PATH).await.outcome(), "hit_revalidated");
    clock.advance(Duration::from_secs(3599));
    assert_eq!(node.get(PATH).await.outcome(), "hit");
    clock.advance(Duration::from_secs(1));
    assert_eq!(node.get(PATH).await.outcome(), "hit_revalidated");
    node.stop().await;
}

/// Clearing is a hard purge of everything: what is in flight is not kept.
#[tokio::test]
async fn what_is_in_flight_when_the_cache_is_cleared_is_not_kept() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    origin.on_each(PATH, vec![tagged("one").gate_at(1, &gate), tagged("two")]);
    let edge = Setup::before(&origin).start().await;
    let mut first = edge.open(&Request::get(PATH)).await;
    first.head("GET").await;
    assert_eq!(ask(edge.admin(), &Request::new("POST", "/cache/clear")).await.status(), 200);
    gate.open();
    assert_eq!(&first.rest().await.0[..], b"one");
    assert_eq!(edge.get(PATH).await.whole(), "two");
}

// === Slices ===

/// A film in slices is purged hard, and comes again with the same validator and other bytes: none of the old ones is
/// served, from memory or from disk, now or after a restart.
#[tokio::test]
async fn a_head_never_meets_the_slices_of_a_purged_one() {
    for order in [json!({ "url": url("/film.mp4"), "mode": "hard" }), json!({ "tag": "t", "mode": "hard" })] {
        let disk = tempfile::tempdir().unwrap();
        let origin = Origin::start().await;
        let film = |seed| tagged(content(seed, 4 * MIB + 100)).etag("\"same\"").ranges();
        origin.on("/film.mp4", film(1));
        let setup = on_disk(Setup::before(&origin).limits("slice_above = \"1MiB\""), disk.path());
        let edge = setup.start().await;
        edge.get("/film.mp4").await;
        edge.await_metric("forebay_cache_objects", &ON_DISK, 6.0).await;
        origin.on("/film.mp4", film(2));
        purge(edge.admin(), &order).await;
        let new = content(2, 4 * MIB + 100);
        let part = edge.ask(&Request::get("/film.mp4").range("bytes=2097152-2097251")).await;
        assert_same_bytes(part.whole(), &new[2 * MIB..2 * MIB + 100], "a part");
        assert_same_bytes(edge.get("/film.mp4").await.whole(), &new, "the whole");
        edge.stop().await;
        let edge = setup.start().await;
        assert_same_bytes(edge.get("/film.mp4").await.whole(), &new, "after a restart");
    }
}

// === Disks, restarts, and journals ===

fn on_disk(setup: Setup, disk: &Path) -> Setup {
    setup.store(&format!(
        "disk = [{{ path = \"{}\", size = \"256MiB\" }}]\ndisk_admit_within = \"0s\"",
        disk.display()
    ))
}

/// An origin whose content carries a version, and tags: `t` and the second folder.
async fn versioned() -> (Origin, Arc<AtomicU64>) {
    let version = Arc::new(AtomicU64::new(1));
    let origin = Origin::start().await;
    let served = Arc::clone(&version);
    origin.otherwise(move |request, _| {
        let folder = request.path().split('/').nth(1).unwrap_or_default().to_owned();
        Answer::ok(format!("{} of {}", served.load(Ordering::SeqCst), request.path()))
            .cache_control("max-age=36000, stale-if-error=36000")
            .header("cache-tag", &format!("t, {folder}"))
    });
    (origin, version)
}

async fn version_of(edge: &Edge, path: &str) -> u64 {
    let response = edge.get(path).await;
    let text = String::from_utf8_lossy(response.whole()).into_owned();
    text.split(' ').next().unwrap().parse().unwrap()
}

const FOLDERS: [&str; 4] = ["url", "prefix", "tag", "kept"];

/// A node with objects of every folder on its disk, at version 1.
async fn filled(setup: &Setup) -> Edge {
    let edge = setup.start().await;
    for folder in FOLDERS {
        for number in 0..5 {
            edge.get(&format!("/{folder}/{number}.m4s")).await;
        }
    }
    edge.await_metric("forebay_cache_objects", &ON_DISK, 20.0).await;
    edge
}

/// Purges all folders but the last; gives the last generation.
async fn purge_folders(edge: &Edge, mode: &str) -> u64 {
    for number in 0..5 {
        purge(edge.admin(), &json!({ "url": url(&format!("/url/{number}.m4s")), "mode": mode })).await;
    }
    purge(edge.admin(), &json!({ "prefix": url("/prefix/"), "mode": mode })).await;
    purge(edge.admin(), &json!({ "tag": "tag", "mode": mode })).await
}

async fn assert_purged(edge: &Edge, what: &str) {
    for folder in FOLDERS {
        for number in 0..5 {
            let path = format!("/{folder}/{number}.m4s");
            let version = if folder == "kept" { 1 } else { 2 };
            assert_eq!(version_of(edge, &path).await, version, "{path} {what}");
        }
    }
}

/// A purge that was answered holds after a kill and after an orderly restart; generations go on growing.
#[tokio::test]
async fn purges_outlive_a_kill_and_a_restart() {
    for (mode, killed) in [("hard", true), ("soft", true), ("hard", false), ("soft", false)] {
        let disk = tempfile::tempdir().unwrap();
        let (origin, version) = versioned().await;
        let setup = on_disk(Setup::before(&origin), disk.path());
        let edge = filled(&setup).await;
        let generation = purge_folders(&edge, mode).await;
        version.store(2, Ordering::SeqCst);
        if killed {
            edge.kill().await;
        } else {
            edge.stop().await;
        }
        let edge = setup.start().await;
        assert_purged(&edge, &format!("{mode}, killed: {killed}")).await;
        // Once more: what is fresh again stays so, also over a restart.
        edge.stop().await;
        let edge = setup.start().await;
        assert_purged(&edge, "after another restart").await;
        assert!(purge(edge.admin(), &json!({ "tag": "none" })).await > generation);
    }
}

/// A disk has been out of use for some starts, in which another one noted purges: it serves nothing of what they name.
#[tokio::test]
async fn a_disk_that_comes_back_is_held_to_the_purges_that_another_one_noted() {
    for mode in ["soft", "hard"] {
        let disks = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let (origin, version) = versioned().await;
        let on = |disks: &[&Path]| {
            let disk = |path: &&Path| format!("{{ path = \"{}\", size = \"256MiB\" }}", path.display());
            let disks: Vec<String> = disks.iter().map(disk).collect();
            let store = format!("disk = [{}]\ndisk_admit_within = \"0s\"", disks.join(", "));
            Setup::before(&origin).store(&store)
        };
        let [first, second] = [disks[0].path(), disks[1].path()];
        // Each start of the first disk is one that the second knows nothing of.
        for _ in 0..3 {
            on(&[first]).start().await.stop().await;
        }
        let edge = filled(&on(&[first])).await;
        edge.stop().await;
        let edge = on(&[second]).start().await;
        purge_folders(&edge, mode).await;
        edge.stop().await;
        version.store(2, Ordering::SeqCst);
        let edge = on(&[first, second]).start().await;
        edge.await_recovered().await;
        for folder in &FOLDERS[..3] {
            for number in 0..5 {
                let path = format!("/{folder}/{number}.m4s");
                assert_eq!(version_of(&edge, &path).await, 2, "{path}, {mode}");
            }
        }
    }
}

/// What was purged softly covers for a failing origin after a restart, too; what was purged hard does not.
#[tokio::test]
async fn after_a_restart_a_soft_purge_still_keeps_for_errors_and_a_hard_one_not() {
    let disk = tempfile::tempdir().unwrap();
    let (origin, _version) = versioned().await;
    let setup = on_disk(Setup::before(&origin).origin("retry = { attempts = 1 }"), disk.path());
    let edge = filled(&setup).await;
    purge(edge.admin(), &json!({ "tag": "tag", "mode": "soft" })).await;
    purge(edge.admin(), &json!({ "tag": "url", "mode": "hard" })).await;
    edge.kill().await;
    origin.otherwise(|_, _| Answer::status(500));
    let edge = setup.start().await;
    assert_eq!(edge.get("/tag/0.m4s").await.outcome(), "hit_stale");
    assert_eq!(edge.get("/url/0.m4s").await.status(), 500);
    assert_eq!(edge.get("/kept/0.m4s").await.outcome(), "hit");
}

/// The file of the journal in a disk's directory.
fn journal(disk: &Path) -> PathBuf {
    let entries = std::fs::read_dir(disk).unwrap().map(|entry| entry.unwrap().path());
    let mut journals =
        entries.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("purges-"));
    journals.next().expect("a journal")
}

/// A journal that is missing, or damaged before its end: nobody can tell what was purged, and nothing of the disk is
/// served. A note that was cut off was never answered.
#[tokio::test]
async fn what_a_disk_without_a_whole_journal_holds_is_dropped() {
    for damage in ["missing", "flipped", "torn"] {
        let disk = tempfile::tempdir().unwrap();
        let (origin, version) = versioned().await;
        let setup = on_disk(Setup::before(&origin), disk.path());
        let edge = filled(&setup).await;
        purge_folders(&edge, "hard").await;
        edge.stop().await;
        let path = journal(disk.path());
        let mut bytes = std::fs::read(&path).unwrap();
        match damage {
            "missing" => std::fs::remove_file(&path).unwrap(),
            "flipped" => {
                bytes[2 * SLOT_BYTES + 9] ^= 1;
                std::fs::write(&path, bytes).unwrap();
            }
            _ => {
                let empty = |slot: &[u8]| slot.iter().all(|byte| *byte == 0);
                let tail = bytes.chunks(SLOT_BYTES).position(empty).unwrap();
                bytes[tail * SLOT_BYTES..][..20].fill(7);
                std::fs::write(&path, bytes).unwrap();
            }
        }
        version.store(2, Ordering::SeqCst);
        let edge = setup.start().await;
        let dropped = edge.metrics().await.sum("forebay_disk_corrupt_total", &[("reason", "journal")]);
        if damage == "torn" {
            assert_purged(&edge, damage).await;
            assert_eq!(dropped, 0.0);
        } else {
            for folder in FOLDERS {
                assert_eq!(version_of(&edge, &format!("/{folder}/0.m4s")).await, 2, "{folder}: {damage}");
            }
            assert_eq!(dropped, 1.0, "{damage}");
        }
    }
}

/// A disk that cannot note a purge: it holds all the same, and the answer says that it may be forgotten. The next one is
/// noted together with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_that_a_disk_cannot_note_holds_and_says_so() {
    let (origin, version) = versioned().await;
    let disks = "disk = [{ path = \"DIR/disk\", size = \"256MiB\" }]\ndisk_admit_within = \"0s\"";
    let setup = Setup::before(&origin).file("none", "").store(disks);
    let node = LocalNode::start(&setup, seed());
    node.get("/a/1.m4s").await;
    version.store(2, Ordering::SeqCst);
    node.faults(0).fail_writes(EIO);
    let refused = try_purge(node.admin(), &json!({ "tag": "a", "mode": "hard" })).await;
    let text = String::from_utf8_lossy(&refused.body).into_owned();
    assert!(refused.status() == 500 && text.contains("until the node starts again"), "{text}");
    assert_eq!(&node.get("/a/1.m4s").await.whole()[..1], b"2");
    node.faults(0).fail_writes(0);
    purge(node.admin(), &json!({ "tag": "none" })).await;
    let journal = std::fs::read(journal(Path::new(&node.path("disk")))).unwrap();
    let whole = journal.chunks(SLOT_BYTES).filter(|slot| slot[SLOT_BYTES - 8..] != [0; 8]).count();
    assert_eq!(whole, 5, "head, start, floor and both purges");
    node.stop().await;
}

/// Many targets in one order are noted together: a slow disk costs one write or two, not one for each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_targets_of_one_order_are_noted_together() {
    let origin = Origin::start().await;
    let setup =
        Setup::before(&origin).file("none", "").store("disk = [{ path = \"DIR/disk\", size = \"256MiB\" }]");
    let node = LocalNode::start(&setup, seed());
    let each = Duration::from_millis(100);
    node.faults(0).delay(each);
    let urls: Vec<String> = (0..256).map(|number| url(&format!("/{number}"))).collect();
    let began = Instant::now();
    purge(node.admin(), &json!({ "url": urls })).await;
    assert!(began.elapsed() < each * 256, "{:?}", began.elapsed());
    node.faults(0).delay(Duration::ZERO);
    let journal = std::fs::read(journal(Path::new(&node.path("disk")))).unwrap();
    let whole = journal.chunks(SLOT_BYTES).filter(|slot| slot[SLOT_BYTES - 8..] != [0; 8]).count();
    assert_eq!(whole, 3 + 256, "head, start, floor and all purges");
    node.stop().await;
}

/// A disk hangs: what an unsafe method invalidates is, and its answer does not wait for the disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invalidation_does_not_wait_for_a_disk_that_hangs() {
    let origin = Origin::start().await;
    origin.script("/page", |request, count| match &*request.method {
        "GET" => Answer::ok(format!("{count}")).cache_control("max-age=3600"),
        _ => Answer::status(204).header("location", "/other"),
    });
    let setup = Setup::before(&origin)
        .site("methods = [\"GET\", \"HEAD\", \"DELETE\"]")
        .more("[[site.rule]]\nkey = { headers = [\"x-a\"] }")
        .file("none", "")
        .store("disk = [{ path = \"DIR/disk\", size = \"256MiB\" }]");
    let node = LocalNode::start(&setup, seed());
    let before = node.get("/page").await;
    node.faults(0).delay(Duration::from_secs(3600));
    let began = Instant::now();
    let deleted = ask(node.http(), &Request::new("DELETE", "/page").header("x-a", "1")).await;
    assert_eq!(deleted.status(), 204);
    assert!(began.elapsed() < ANSWER_TIMEOUT, "{:?}", began.elapsed());
    assert_ne!(node.get("/page").await.whole(), before.whole());
    node.faults(0).delay(Duration::ZERO);
    node.stop().await;
}

// === All at once ===

const READERS: u64 = 100;
const READS: u64 = 30;
const PATHS: u64 = 12;

/// What a request may not be served any more: the version at the last purge of its path that was answered before it.
struct Floors([AtomicU64; PATHS as usize]);

impl Floors {
    fn raise(&self, paths: impl Iterator<Item = u64>, version: u64) {
        paths.for_each(|path| {
            self.0[path as usize].fetch_max(version, Ordering::SeqCst);
        });
    }
}

/// A hundred readers, and purges of every kind, over memory and disk: no request that was sent after a purge was answered
/// gets what its origin had before the purge.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_after_a_purge_gets_what_was_there_before_it() {
    let seed = seed();
    let disk = tempfile::tempdir().unwrap();
    let (origin, version) = versioned().await;
    let edge = Arc::new(on_disk(Setup::before(&origin).access("off"), disk.path()).start().await);
    let floors = Arc::new(Floors(std::array::from_fn(|_| AtomicU64::new(1))));
    let done = Arc::new(AtomicBool::new(false));
    let path = |number: u64| format!("/f{}/{number}.m4s", number % 3);
    let purger = {
        let (edge, floors, done) = (Arc::clone(&edge), Arc::clone(&floors), Arc::clone(&done));
        tokio::spawn(async move {
            let mut random = StdRng::seed_from_u64(seed);
            while !done.load(Ordering::SeqCst) {
                let (number, folder) = (random.random_range(0..PATHS), random.random_range(0..3));
                let (order, all): (_, Vec<u64>) = match random.random_range(0..5) {
                    0 => (json!({ "url": url(&path(number)) }), vec![number]),
                    1 => (json!({ "prefix": url(&format!("/f{folder}/")) }), of_folder(folder)),
                    2 => (json!({ "tag": format!("f{folder}") }), of_folder(folder)),
                    3 => (json!({ "tag": "t", "site": "*" }), (0..PATHS).collect()),
                    _ => (json!({ "everything": true }), (0..PATHS).collect()),
                };
                let mut order = order;
                order["mode"] = if random.random() { "soft" } else { "hard" }.into();
                let now = version.fetch_add(1, Ordering::SeqCst) + 1;
                purge(edge.admin(), &order).await;
                floors.raise(all.into_iter(), now);
            }
        })
    };
    let mut readers = JoinSet::new();
    for reader in 0..READERS {
        let (edge, floors) = (Arc::clone(&edge), Arc::clone(&floors));
        readers.spawn(async move {
            let mut random = StdRng::seed_from_u64(seed.wrapping_add(reader + 1));
            let mut connection = Http1::connect(edge.http()).await;
            for _ in 0..READS {
                let number = random.random_range(0..PATHS);
                let floor = floors.0[number as usize].load(Ordering::SeqCst);
                let response = connection.ask(&Request::get(&path(number))).await;
                let text = String::from_utf8_lossy(response.whole()).into_owned();
                let got: u64 = text.split(' ').next().unwrap().parse().unwrap();
                assert!(got >= floor, "{} is of {got}, purged at {floor}, seed {seed}", path(number));
            }
        });
    }
    readers.join_all().await;
    done.store(true, Ordering::SeqCst);
    purger.await.unwrap();
    assert!(version_of(&edge, &path(0)).await > 1, "nothing was purged, seed {seed}");
}

fn of_folder(folder: u64) -> Vec<u64> {
    (0..PATHS).filter(|number| number % 3 == folder).collect()
}

/// Purges and what is remembered of them are told.
#[tokio::test]
async fn purges_are_counted() {
    let origin = Origin::start().await;
    origin.on(PATH, tagged("one"));
    let edge = Setup::before(&origin).start().await;
    edge.get(PATH).await;
    let metrics = edge.metrics().await;
    for scope in ["url", "prefix", "tag", "site", "everything"] {
        for mode in ["soft", "hard"] {
            let labels = [("scope", scope), ("mode", mode)];
            assert_eq!(metrics.sum("forebay_purges_total", &labels), 0.0);
        }
    }
    purge(edge.admin(), &json!({ "tag": "t", "mode": "hard" })).await;
    purge(edge.admin(), &json!({ "prefix": url("/b/"), "mode": "soft" })).await;
    edge.get(PATH).await;
    let metrics = edge.metrics().await;
    assert_eq!(metrics.sum("forebay_purges_total", &[("scope", "tag"), ("mode", "hard")]), 1.0);
    assert_eq!(metrics.sum("forebay_purges_total", &[]), 2.0);
    assert_eq!(metrics.sum("forebay_purge_entries", &[]), 2.0);
    let evicted = [("tier", "memory"), ("reason", "purge")];
    assert_eq!(metrics.sum("forebay_cache_evictions_total", &evicted), 1.0);
}
