//! Real directories that are overwritten, taken away, or too small for what they are to hold: every request is answered,
//! and every byte is right.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::support::catalogue::{OBJECTS, check, origin, setup, view};
use crate::support::client::Http1;
use crate::support::content::content;
use crate::support::edge::{Edge, Setup};
use crate::support::metrics::Metrics;
use crate::support::origin::Origin;
use crate::support::seed::seed;
use crate::support::wait::within;

/// Damages a file.
type Damage = fn(&Path, &mut StdRng);

const ON_DISK: [(&str, &str); 1] = [("tier", "disk")];

fn on(origin: &Origin, directory: &Path, size: &str) -> Setup {
    setup(origin, &format!("{{ path = \"{}\", size = \"{size}\" }}", directory.display()))
}

fn objects(metrics: &Metrics) -> f64 {
    metrics.sum("forebay_cache_objects", &ON_DISK)
}

fn shed(metrics: &Metrics, reason: &str) -> f64 {
    metrics.sum("forebay_disk_writes_shed_total", &[("reason", reason)])
}

/// Asks for objects, one after the other and always others, until the metrics are as `enough` says. Every answer is
/// checked.
async fn ask_until(edge: &Edge, what: &str, enough: impl Fn(&Metrics) -> bool) -> Metrics {
    within(what, async {
        let mut connection = Http1::connect(edge.http()).await;
        for number in (0..OBJECTS).cycle() {
            check(&mut connection, number).await;
            let metrics = edge.metrics().await;
            if enough(&metrics) {
                return metrics;
            }
        }
        unreachable!("the catalogue has objects")
    })
    .await
}

/// The same with objects that nobody has asked for before, small enough for a small disk.
async fn ask_for_others_until(edge: &Edge, what: &str, enough: impl Fn(&Metrics) -> bool) -> Metrics {
    within(what, async {
        let mut connection = Http1::connect(edge.http()).await;
        let first = edge.metrics().await.sum("forebay_requests_total", &[]) as u64;
        for step in 0.. {
            check(&mut connection, OBJECTS + 1 + 5 * (first + step)).await;
            let metrics = edge.metrics().await;
            if enough(&metrics) {
                return metrics;
            }
        }
        unreachable!("there are objects enough")
    })
    .await
}

fn evicts(metrics: &Metrics) -> bool {
    metrics.sum("forebay_cache_evictions_total", &ON_DISK) > 0.0
}

async fn fill(edge: &Edge) {
    ask_until(edge, "most of the catalogue on disk", |metrics| objects(metrics) >= 30.0).await;
}

/// The files of a volume whose names begin with `prefix`.
fn files(directory: &Path, prefix: &str) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(prefix))
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "no {prefix} in {}", directory.display());
    paths
}

/// Overwrites a part of each MiB of a file, in place.
fn sprinkle(path: &Path, random: &mut StdRng) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    let noise = content(random.random(), 1000);
    for mib in 0..file.metadata().unwrap().len() / (1024 * 1024) {
        file.write_all_at(&noise, mib * 1024 * 1024 + random.random_range(0..1_000_000)).unwrap();
    }
}

/// Overwrites all of a file, in place.
fn overwrite(path: &Path, random: &mut StdRng) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    let noise = content(random.random(), 256 * 1024);
    let len = file.metadata().unwrap().len();
    for at in (0..len).step_by(noise.len()) {
        file.write_all_at(&noise[..noise.len().min((len - at) as usize)], at).unwrap();
    }
}

fn corrupt(metrics: &Metrics) -> f64 {
    metrics.sum("forebay_disk_corrupt_total", &[])
}

/// The files are overwritten under a running node, bit by bit and then whole, while viewers are served from them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn noise_over_the_files_of_a_running_node_reaches_no_viewer() {
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let disk = tempfile::tempdir().unwrap();
    let origin = origin().await;
    let edge = on(&origin, disk.path(), "256MiB").start().await;
    fill(&edge).await;
    let mut before = 0.0;
    for damage in [sprinkle, overwrite] {
        let viewers = tokio::spawn(view(edge.http(), seed, 4, 10));
        for path in files(disk.path(), "region-") {
            damage(&path, &mut random);
        }
        viewers.await.unwrap();
        // All of the catalogue: more than memory holds, so that the damage is met.
        ask_until(&edge, "damage found", |metrics| corrupt(metrics) > before).await;
        view(edge.http(), seed, 6, 10).await;
        before = corrupt(&edge.metrics().await);
        fill(&edge).await;
    }
    assert!(view(edge.http(), seed, 6, 10).await > 0, "nothing is kept any more");
}

/// The same while the node is stopped, after an orderly end and after none: what is served afterwards is exact, and the
/// disk is used again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn noise_over_the_files_of_a_stopped_node_reaches_no_viewer() {
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let disk = tempfile::tempdir().unwrap();
    let origin = origin().await;
    let setup = on(&origin, disk.path(), "256MiB");
    let damages: [(&str, Damage); 3] =
        [("region-", sprinkle), ("region-", overwrite), ("superblock", overwrite)];
    for (damaged, damage) in damages {
        for orderly in [true, false] {
            let edge = setup.start().await;
            fill(&edge).await;
            if orderly {
                edge.stop().await;
            } else {
                edge.kill().await;
            }
            for path in files(disk.path(), damaged) {
                damage(&path, &mut random);
            }
            let edge = setup.start().await;
            view(edge.http(), seed, 6, 10).await;
            let mut connection = Http1::connect(edge.http()).await;
            for number in 0..OBJECTS {
                check(&mut connection, number).await;
            }
            fill(&edge).await;
            drop(connection);
            if damaged == "superblock" {
                assert!(edge.stop().await.1.contains("is discarded"), "a new beginning is not told of");
            }
        }
    }
}

/// Damage that recovery cannot see, in the middle of bodies, is found by those who read, and counted.
#[tokio::test]
async fn damage_that_recovery_does_not_see_is_found_and_counted() {
    let mut random = StdRng::seed_from_u64(seed());
    let disk = tempfile::tempdir().unwrap();
    let origin = origin().await;
    let setup = on(&origin, disk.path(), "256MiB");
    let edge = setup.start().await;
    fill(&edge).await;
    edge.stop().await;
    for path in files(disk.path(), "region-") {
        sprinkle(&path, &mut random);
    }
    let edge = setup.start().await;
    ask_until(&edge, "damage found", |metrics| corrupt(metrics) >= 5.0).await;
}

/// The directory is renamed, or removed with all that is in it: what is open stays readable, nothing new can be made, and
/// then the disk is taken out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_goes_away_takes_nothing_with_it() {
    let seed = seed();
    for removed in [false, true] {
        let parent = tempfile::tempdir().unwrap();
        let disk = parent.path().join("disk");
        fs::create_dir(&disk).unwrap();
        let origin = origin().await;
        let edge = on(&origin, &disk, "256MiB").start().await;
        ask_until(&edge, "objects on disk", |metrics| objects(metrics) >= 5.0).await;
        if removed {
            fs::remove_dir_all(&disk).unwrap();
        } else {
            fs::rename(&disk, parent.path().join("elsewhere")).unwrap();
        }
        view(edge.http(), seed, 4, 6).await;
        ask_until(&edge, "the disk taken out", |metrics| metrics.sum("forebay_disk_out", &[]) > 0.0).await;
        let before = shed(&edge.metrics().await, "out");
        view(edge.http(), seed, 6, 10).await;
        let metrics = edge.metrics().await;
        assert!(shed(&metrics, "out") > before);
        assert_eq!(objects(&metrics), 0.0, "what is on a disk that is out is not held");
    }
}

/// A file system in memory; unmounted when dropped.
struct Mounted(tempfile::TempDir);

impl Mounted {
    /// Mounts one of so many MiB; None, and a line that says why, where that is not allowed.
    fn tmpfs(mib: u32) -> Option<Mounted> {
        let directory = tempfile::tempdir().unwrap();
        let size = format!("size={mib}m");
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(directory.path()).output();
        let refusal = match mount {
            Ok(output) if output.status.success() => return Some(Mounted(directory)),
            Ok(output) => String::from_utf8_lossy(&output.stderr).trim().replace('\n', " "),
            Err(error) => error.to_string(),
        };
        eprintln!("skipped: no file system of a limited size can be mounted here: {refusal}");
        None
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Detached at once, even if a node that is being ended still has it open.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

/// Fills a file system with a file.
fn take_all_room(path: &Path) {
    let file = fs::File::create(path).unwrap();
    let mut at = 0;
    while file.write_all_at(&[1; 64 * 1024], at).is_ok() {
        at += 64 * 1024;
    }
}

/// A cache that fits its file system fills it, evicts, and comes back after a kill; no write is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_that_fits_a_small_file_system_stays_within_it() {
    let seed = seed();
    let Some(mounted) = Mounted::tmpfs(80) else { return };
    let origin = origin().await;
    let setup = on(&origin, mounted.path(), "64MiB");
    let edge = setup.start().await;
    view(edge.http(), seed, 6, 10).await;
    let metrics = ask_for_others_until(&edge, "evictions from disk", evicts).await;
    assert_eq!(shed(&metrics, "disk_full"), 0.0);
    edge.kill().await;
    let edge = setup.start().await;
    edge.await_metric("forebay_cache_objects", &ON_DISK, 5.0).await;
    assert!(view(edge.http(), seed, 6, 10).await > 0);
}

/// A cache whose size is more than its file system holds makes do with what there is: it goes on taking what is new,
/// within that room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_larger_than_its_file_system_makes_do_with_the_room_there_is() {
    let seed = seed();
    let Some(mounted) = Mounted::tmpfs(80) else { return };
    let origin = origin().await;
    let setup = on(&origin, mounted.path(), "256MiB");
    let edge = setup.start().await;
    let first = ask_for_others_until(&edge, "evictions from disk", evicts).await;
    let written = |metrics: &Metrics| metrics.sum("forebay_disk_written_bytes_total", &[]);
    let more = |metrics: &Metrics| written(metrics) > written(&first) + 40.0 * 1024.0 * 1024.0;
    let metrics = ask_for_others_until(&edge, "writes in the room there is", more).await;
    assert!(objects(&metrics) > 0.0);
    view(edge.http(), seed, 6, 10).await;
    assert!(edge.everything_written().contains("no room for all of a disk's size"));
    edge.kill().await;
    let edge = setup.start().await;
    edge.await_metric("forebay_cache_objects", &ON_DISK, 1.0).await;
    view(edge.http(), seed, 6, 10).await;
    assert_eq!(edge.metrics().await.sum("forebay_disk_out", &[]), 0.0);
}

/// Others fill the file system of a cache that has not grown to its size: it makes do with the room that it has, and goes
/// on taking what is new.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_whose_room_is_taken_makes_do_with_what_it_has() {
    let seed = seed();
    let Some(mounted) = Mounted::tmpfs(80) else { return };
    let origin = origin().await;
    let setup = on(&origin, mounted.path(), "64MiB");
    let edge = setup.start().await;
    ask_for_others_until(&edge, "objects on disk", |metrics| objects(metrics) >= 30.0).await;
    take_all_room(&mounted.path().join("foreign"));
    let metrics = ask_for_others_until(&edge, "evictions from disk", evicts).await;
    let written = |metrics: &Metrics| metrics.sum("forebay_disk_written_bytes_total", &[]);
    let more = |now: &Metrics| written(now) > written(&metrics) + 20.0 * 1024.0 * 1024.0;
    let metrics = ask_for_others_until(&edge, "writes in the room there is", more).await;
    assert!(objects(&metrics) > 0.0);
    assert_eq!(metrics.sum("forebay_disk_out", &[]), 0.0);
    view(edge.http(), seed, 6, 10).await;
    assert!(edge.everything_written().contains("no room for all of a disk's size"));
}

/// A file system that is filled by others, and given back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_system_filled_by_others_is_used_again_once_it_has_room() {
    let seed = seed();
    let Some(mounted) = Mounted::tmpfs(120) else { return };
    let origin = origin().await;
    let edge = on(&origin, mounted.path(), "96MiB").start().await;
    let foreign = mounted.path().join("foreign");
    take_all_room(&foreign);
    view(edge.http(), seed, 6, 10).await;
    let metrics = edge.metrics().await;
    assert!(shed(&metrics, "disk_full") > 0.0);
    assert_eq!(objects(&metrics), 0.0);
    fs::remove_file(&foreign).unwrap();
    ask_until(&edge, "writes after there is room", |metrics| objects(metrics) >= 5.0).await;

    edge.stop().await;
    let edge = on(&origin, mounted.path(), "96MiB").start().await;
    edge.await_metric("forebay_cache_objects", &ON_DISK, 5.0).await;
    assert!(view(edge.http(), seed, 6, 10).await > 0);
}
