#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod bench;

use std::collections::HashSet;

use prometheus::Registry;

use self::bench::{Bench, body, read_all, settled, until, write};
use super::*;
use crate::store::disk::DiskReadError;
use crate::store::disk::device::faulty::{EIO, ENOSPC, EROFS};
use crate::store::disk::health::FAILURES_IN_A_ROW_MAX;
use crate::store::disk::queue::QUEUE_ENTRIES_MAX;
use crate::store::disk::volume::{BLOCK_BYTES, SIZE_BYTES_MIN};

/// A body of three blocks.
const LARGE: usize = 2 * BLOCK_BYTES + 1234;

async fn assert_exact(tier: &DiskTier, key: &str, seed: u64, len: usize) {
    let stored = tier.find(key).await.unwrap_or_else(|| panic!("{key} is not found"));
    assert_eq!((stored.body_len, &*stored.meta), (len as u64, &b"meta"[..]), "{key}");
    assert_eq!(read_all(stored).await.unwrap(), body(seed, len), "{key}");
}

fn shed(bench: &Bench, reason: Reason) -> u64 {
    let families = bench.registry.gather();
    let family = families.iter().find(|family| family.name() == "forebay_disk_writes_shed_total").unwrap();
    let of_reason = |m: &&prometheus::proto::Metric| m.get_label()[0].value() == reason.as_str();
    family.get_metric().iter().find(of_reason).unwrap().get_counter().get_value() as u64
}

#[tokio::test]
async fn an_object_is_found_at_once_and_byte_for_byte_from_the_disk_when_it_is_written() {
    let bench = Bench::new(1);
    let tier = bench.open();
    bench.disks[0].gate.close();
    for (seed, len) in [(1, 0), (2, 1), (3, BLOCK_BYTES), (4, LARGE)] {
        assert_eq!(tier.offer(write(&format!("k{seed}"), seed, len)), Offered::Queued);
        assert!(tier.contains(&format!("k{seed}")));
        assert_exact(&tier, &format!("k{seed}"), seed, len).await;
    }
    bench.disks[0].gate.open();
    settled(&tier).await;
    for (seed, len) in [(1, 0), (2, 1), (3, BLOCK_BYTES), (4, LARGE)] {
        assert_exact(&tier, &format!("k{seed}"), seed, len).await;
    }
    let stored = tier.find("k4").await.unwrap();
    assert_eq!(stored.first.len(), BLOCK_BYTES);
    assert_eq!(stored.checksums()[0], xxhash_rust::xxh3::xxh3_64(&stored.first));
    assert_eq!(stored.checksums().len(), 3);
    assert!(tier.find("unknown").await.is_none() && !tier.contains("unknown"));
}

#[tokio::test]
async fn what_the_page_cache_has_is_read_though_the_disk_hangs() {
    let bench = Bench::new(1);
    let tier = bench.open();
    tier.offer(write("a", 1, LARGE));
    settled(&tier).await;
    let gate = &bench.disks[0].gate;
    gate.close();
    gate.cached.store(true, Ordering::SeqCst);
    assert_exact(&tier, "a", 1, LARGE).await;
    bench.disks[0].faults.flip_bits(1);
    assert!(tier.find("a").await.is_none(), "damage there is found too");
    assert_eq!(tier.stat()[0].corrupt, 1);
    gate.open();
}

#[tokio::test]
async fn objects_outlive_a_restart_in_order_and_a_crash() {
    let mut bench = Bench::new(2);
    let tier = bench.open();
    for seed in 0..20 {
        tier.offer(write(&format!("k{seed}"), seed, 50_000));
    }
    tier.close().await.unwrap();
    assert_eq!(tier.offer(write("late", 1, 1)), Offered::Shed(Reason::Closing));
    let tier = bench.reopen(tier).await;
    for seed in 0..20 {
        assert_exact(&tier, &format!("k{seed}"), seed, 50_000).await;
    }
    tier.offer(write("k3", 100, 60_000));
    settled(&tier).await;
    let tier = bench.reopen(tier).await;
    assert_exact(&tier, "k3", 100, 60_000).await;
    assert_eq!(tier.stat().iter().map(|stat| stat.objects).sum::<u64>(), 20);
}

#[tokio::test]
async fn a_removal_or_a_replacement_wins_over_writes_that_wait_or_are_being_made() {
    let mut bench = Bench::new(1);
    let tier = bench.open();
    bench.disks[0].gate.close();
    tier.offer(write("in hand", 1, 1000));
    bench.disks[0].gate.wait_until_met().await;
    for key in ["waits", "replaced", "refreshed"] {
        tier.offer(write(key, 2, 1000));
    }
    assert!(tier.remove("in hand") && tier.remove("waits"));
    assert!(!tier.remove("waits"));
    assert!(tier.find("in hand").await.is_none() && !tier.contains("waits"));
    tier.offer(write("replaced", 3, 1000));
    tier.refresh("refreshed", Bytes::from_static(b"newer"));
    assert_eq!(&*tier.find("refreshed").await.unwrap().meta, b"newer");
    bench.disks[0].gate.open();
    settled(&tier).await;
    for _ in 0..2 {
        assert!(tier.find("in hand").await.is_none() && tier.find("waits").await.is_none());
        assert_exact(&tier, "replaced", 3, 1000).await;
        assert_eq!(&*tier.find("refreshed").await.unwrap().meta, b"newer");
        tier.persist_removals().await.unwrap();
    }
    let tier = bench.reopen(tier).await;
    assert!(tier.find("in hand").await.is_none() && tier.find("waits").await.is_none());
    assert_exact(&tier, "replaced", 3, 1000).await;
}

#[tokio::test]
async fn a_durable_removal_a_refresh_and_a_clearing_hold_after_a_crash() {
    let mut bench = Bench::new(2);
    let tier = bench.open();
    for seed in 0..10 {
        tier.offer(write(&format!("k{seed}"), seed, 1000));
    }
    settled(&tier).await;
    assert!(tier.remove_durably("k1").await.unwrap());
    assert!(!tier.remove_durably("k1").await.unwrap());
    tier.refresh("k2", Bytes::from_static(b"newer"));
    assert_eq!(&*tier.find("k2").await.unwrap().meta, b"newer", "before it is written");
    settled(&tier).await;
    let tier = bench.reopen(tier).await;
    assert!(tier.find("k1").await.is_none());
    assert_eq!(&*tier.find("k2").await.unwrap().meta, b"newer");
    tier.clear().await.unwrap();
    assert!((0..10).all(|seed| !tier.contains(&format!("k{seed}"))));
    tier.offer(write("after", 5, 1000));
    settled(&tier).await;
    let tier = bench.reopen(tier).await;
    assert_exact(&tier, "after", 5, 1000).await;
    assert_eq!(tier.stat().iter().map(|stat| stat.objects).sum::<u64>(), 1);
}

#[tokio::test]
async fn memory_of_a_write_is_held_until_it_is_written_and_no_longer() {
    let bench = Bench::new(1);
    let tier = bench.open();
    let hold = Arc::new(());
    bench.disks[0].gate.close();
    tier.offer(Write { hold: Box::new(Arc::clone(&hold)), ..write("a", 1, 1000) });
    bench.disks[0].gate.wait_until_met().await;
    assert_eq!(Arc::strong_count(&hold), 2);
    bench.disks[0].gate.open();
    settled(&tier).await;
    until("the memory is given back", || Arc::strong_count(&hold) == 1).await;
}

#[tokio::test]
async fn writes_beyond_the_queue_are_shed_or_wait_for_room_and_nothing_blocks() {
    let bench = Bench::new(1);
    let tier = bench.open();
    bench.disks[0].gate.close();
    let mut queued = 0;
    let len = 1 << 20;
    while tier.offer(write(&format!("k{queued}"), queued, len)) == Offered::Queued {
        queued += 1;
        assert!(queued * len as u64 <= bench::MEMORY / 100 * QUEUE_SHARE_PERCENT);
        assert!((queued as usize) < QUEUE_ENTRIES_MAX);
    }
    assert!(queued > 1, "{queued}");
    assert_eq!(shed(&bench, Reason::QueueFull), 1);
    let waiting = tokio::spawn({
        let tier = Arc::clone(&tier);
        async move { tier.offer_within(write("waits", 99, len), Duration::from_secs(60)).await }
    });
    // It is first in turn.
    tokio::task::yield_now().await;
    let short = tier.offer_within(write("short", 98, len), Duration::from_millis(5)).await;
    assert_eq!(short, Offered::Shed(Reason::QueueFull));
    bench.disks[0].gate.open();
    assert_eq!(waiting.await.unwrap(), Offered::Queued);
    settled(&tier).await;
    assert_exact(&tier, "waits", 99, len).await;
    assert_exact(&tier, "k0", 0, len).await;
}

#[tokio::test]
async fn after_a_wait_in_vain_nobody_waits_for_a_while() {
    let bench = Bench::new(1);
    let tier = bench.open();
    bench.disks[0].gate.close();
    let mut queued = 0;
    while tier.offer(write(&format!("k{queued}"), queued, 1 << 20)) == Offered::Queued {
        queued += 1;
    }
    let wait = async |key: &str, within| tier.offer_within(write(key, 3, 1 << 20), within).await;
    assert_eq!(wait("vain", Duration::from_millis(5)).await, Offered::Shed(Reason::QueueFull));
    let next = tokio::time::timeout(Duration::from_secs(20), wait("next", Duration::from_secs(3600))).await;
    assert_eq!(next.unwrap(), Offered::Shed(Reason::QueueFull));
    bench.disks[0].gate.open();
}

#[tokio::test]
async fn a_full_disk_sheds_writes_serves_what_it_has_and_is_tried_again() {
    let bench = Bench::new(1);
    let tier = bench.open();
    tier.offer(write("before", 1, LARGE));
    settled(&tier).await;
    bench.disks[0].faults.fail_writes(ENOSPC);
    tier.offer(write("lost", 2, 1000));
    settled(&tier).await;
    assert!(tier.find("lost").await.is_none());
    assert_eq!(tier.offer(write("lost", 2, 1000)), Offered::Shed(Reason::DiskFull));
    assert_eq!(tier.stat()[0].state, "full");
    assert_exact(&tier, "before", 1, LARGE).await;
    bench.disks[0].faults.fail_writes(0);
    until("writes are tried again", || tier.offer(write("again", 3, 1000)) == Offered::Queued).await;
    settled(&tier).await;
    assert_exact(&tier, "again", 3, 1000).await;
    assert!(shed(&bench, Reason::DiskFull) >= 2);
}

#[tokio::test]
async fn a_read_only_disk_serves_what_it_has_and_says_that_purges_will_not_last() {
    let bench = Bench::new(1);
    let tier = bench.open();
    for key in ["kept", "purged", "replaced"] {
        tier.offer(write(key, 1, LARGE));
    }
    settled(&tier).await;
    bench.disks[0].faults.fail_writes(EROFS);
    tier.offer(write("replaced", 2, 1000));
    settled(&tier).await;
    assert_eq!(tier.offer(write("new", 2, 1000)), Offered::Shed(Reason::ReadOnly));
    assert_eq!(tier.stat()[0].state, "read_only");
    assert_exact(&tier, "kept", 1, LARGE).await;
    assert!(tier.find("replaced").await.is_none(), "the older version is not served instead");
    assert!(matches!(tier.remove_durably("purged").await, Err(DiskError::NotDurable { .. })));
    assert!(tier.find("purged").await.is_none());
}

#[tokio::test]
async fn a_dying_disk_is_taken_out_and_the_others_go_on() {
    let bench = Bench::new(2);
    let tier = bench.open();
    let keys: Vec<String> = (0..60).map(|key| format!("k{key}")).collect();
    for key in &keys {
        tier.offer(write(key, 7, 3000));
    }
    settled(&tier).await;
    let objects = tier.stat()[1].objects;
    assert!((10..50).contains(&objects), "{objects} of 60 keys on one of two equal disks");
    bench.disks[0].faults.fail_reads(EIO);
    for key in &keys {
        if let Some(stored) = tier.find(key).await {
            assert_eq!(read_all(stored).await.unwrap(), body(7, 3000));
        }
    }
    assert_eq!(tier.stat()[0].state, "out");
    assert!(tier.stat()[0].read_errors >= u64::from(FAILURES_IN_A_ROW_MAX));
    let held: HashSet<&String> = keys.iter().filter(|key| tier.contains(key)).collect();
    assert_eq!(held.len() as u64, objects, "the other disk's keys stay where they are");
    let lost = keys.iter().find(|key| !tier.contains(key) && tier.drives[0].volume.contains(key)).unwrap();
    assert!(matches!(tier.remove_durably(lost).await, Err(DiskError::NotDurable { .. })));
    for key in &keys {
        assert_eq!(tier.offer(write(key, 8, 3000)), Offered::Queued);
    }
    settled(&tier).await;
    for key in &keys {
        assert_exact(&tier, key, 8, 3000).await;
    }
    tier.update_gauges();
    let text = prometheus::TextEncoder::new().encode_to_string(&bench.registry.gather()).unwrap();
    let out = |disk: usize, value: u8| {
        format!("forebay_disk_out{{disk=\"{}\"}} {value}\n", bench.disks[disk].path().display())
    };
    assert!(text.contains(&out(0, 1)) && text.contains(&out(1, 0)), "{text}");
}

#[tokio::test]
async fn a_disk_that_fails_in_mid_body_breaks_off_and_never_gives_other_bytes() {
    let bench = Bench::new(1);
    let tier = bench.open();
    tier.offer(write("a", 1, LARGE));
    settled(&tier).await;
    let mut stored = tier.find("a").await.unwrap();
    bench.disks[0].faults.fail_reads(EIO);
    assert_eq!(stored.first, body(1, LARGE)[..BLOCK_BYTES]);
    assert!(matches!(stored.next().await, Err(DiskReadError::Io(_))));
    assert!(!tier.contains("a"), "one bad place is not met again and again");
}

#[tokio::test]
async fn a_noisy_disk_gives_exact_bytes_or_none() {
    let bench = Bench::new(1);
    let tier = bench.open();
    for seed in 0..24 {
        tier.offer_within(write(&format!("k{seed}"), seed, LARGE), Duration::from_secs(60)).await;
    }
    settled(&tier).await;
    bench.disks[0].faults.flip_bits(3);
    let mut exact = 0;
    for seed in 0..24 {
        let Some(stored) = tier.find(&format!("k{seed}")).await else { continue };
        match read_all(stored).await {
            Ok(read) => {
                assert_eq!(read, body(seed, LARGE), "k{seed}");
                exact += 1;
            }
            Err(error) => assert!(matches!(error, DiskReadError::Corrupt), "{error}"),
        }
    }
    let stat = &tier.stat()[0];
    assert_eq!(exact + stat.corrupt, 24, "what was not exact was counted and dropped");
    assert_eq!(stat.objects, exact);
    assert!(stat.corrupt > 0 && stat.state == "ready", "damage is no fault of the device");
}

/// Time stands still here but for what waits for it, so that a time-out is not waited for.
#[tokio::test]
async fn a_disk_that_hangs_costs_hits_only_and_is_taken_out() {
    let bench = Bench::new(1);
    let tier = bench.open();
    for seed in 0..40 {
        tier.offer(write(&format!("k{seed}"), seed, 1000));
    }
    settled(&tier).await;
    bench.disks[0].gate.close();
    tokio::time::pause();
    let abandoned: Vec<_> = (0..4)
        .map(|seed| {
            let tier = Arc::clone(&tier);
            tokio::spawn(async move { tier.find(&format!("k{seed}")).await.is_none() })
        })
        .collect();
    tokio::task::yield_now().await;
    abandoned.iter().for_each(tokio::task::JoinHandle::abort);
    let mut asked = 0;
    while tier.stat()[0].state != "out" {
        assert!(asked < 40, "the disk is still in use after {asked} reads without an answer");
        assert!(tier.find(&format!("k{asked}")).await.is_none());
        asked += 1;
    }
    assert_eq!(tier.offer(write("a", 1, 1)), Offered::Shed(Reason::Out));
    assert!(!tier.contains("k39"));
    assert!(tier.find("k39").await.is_none());
    tokio::time::resume();
    bench.disks[0].gate.open();
}

#[tokio::test]
async fn a_write_that_does_not_end_spares_the_disk_further_ones_while_it_lasts() {
    let bench = Bench::new(1);
    let tier = bench.open();
    tier.offer(write("before", 1, LARGE));
    settled(&tier).await;
    bench.disks[0].gate.close();
    tier.offer(write("hangs", 1, 1000));
    bench.disks[0].gate.wait_until_met().await;
    until("the disk counts as slow", || tier.stat()[0].state == "slow").await;
    assert_eq!(tier.offer(write("a", 2, 1000)), Offered::Shed(Reason::Slow));
    assert_exact(&tier, "hangs", 1, 1000).await;
    bench.disks[0].gate.open();
    settled(&tier).await;
    assert_exact(&tier, "before", 1, LARGE).await;
    until("writes are tried again", || tier.offer(write("again", 3, 1000)) == Offered::Queued).await;
}

#[tokio::test]
async fn closing_a_disk_that_hangs_ends_in_time() {
    let bench = Bench::new(1);
    let tier = bench.open();
    bench.disks[0].gate.close();
    tier.offer(write("a", 1, 1000));
    bench.disks[0].gate.wait_until_met().await;
    tokio::time::pause();
    assert!(matches!(tier.close().await, Err(DiskError::Late { .. })));
    tokio::time::resume();
    bench.disks[0].gate.open();
}

#[tokio::test]
async fn a_site_is_held_to_its_quota_and_others_are_not() {
    let mut bench = Bench::new(1);
    bench.quotas = Quotas::new([(1, 100_000)]);
    let tier = bench.open();
    for seed in 0..50 {
        tier.offer(Write { site: 1, ..write(&format!("one{seed}"), seed, 9000) });
        tier.offer(Write { site: 2, ..write(&format!("two{seed}"), seed, 9000) });
        settled(&tier).await;
        let of_one = tier.stat()[0].sites.iter().find(|stat| stat.site == 1).unwrap().bytes;
        assert!(of_one <= 100_000, "{of_one}");
    }
    assert_exact(&tier, "one49", 49, 9000).await;
    assert!(!tier.contains("one0"), "the oldest went first");
    assert!((0..50).all(|seed| tier.contains(&format!("two{seed}"))));
    tier.offer(Write { site: 1, ..write("too large", 1, 100_000) });
    settled(&tier).await;
    assert_eq!(shed(&bench, Reason::Quota), 1);
}

#[tokio::test]
async fn what_the_disk_cannot_take_is_refused_with_its_reason() {
    let bench = Bench::new(1);
    let tier = bench.open();
    let most = usize::try_from(tier.object_bytes_max().unwrap()).unwrap();
    let long = "k".repeat(KEY_BYTES_MAX + 1);
    let meta = Bytes::from(vec![0; META_BYTES_MAX + 1]);
    for refused in [write("a", 1, most), write(&long, 1, 1), Write { meta, ..write("a", 1, 1) }] {
        assert_eq!(tier.offer(refused), Offered::Shed(Reason::TooLarge));
    }
    assert_eq!(tier.offer(write("a", 1, most - 1000)), Offered::Queued);
}

#[tokio::test]
async fn a_directory_that_cannot_be_used_is_an_error_that_names_it_and_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let open = |path: PathBuf, size: u64| {
        let metrics = DiskMetrics::new(&Registry::new()).unwrap();
        let disk = [Disk { path, size }];
        DiskTier::open(&disk, &Quotas::default(), bench::MEMORY, directory, metrics)
    };
    let file = folder.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let error = open(file.clone(), SIZE_BYTES_MIN).unwrap_err().to_string();
    assert!(error.contains(file.to_str().unwrap()) && error.contains("name a directory"), "{error}");
    let disk = folder.path().join("disk");
    let error = open(disk.clone(), SIZE_BYTES_MIN).unwrap_err().to_string();
    assert!(error.contains(disk.to_str().unwrap()) && error.contains("create the directory"), "{error}");
    std::fs::create_dir(&disk).unwrap();
    let error = open(disk.clone(), SIZE_BYTES_MIN - 1).unwrap_err().to_string();
    assert!(error.contains(disk.to_str().unwrap()) && error.contains("at least"), "{error}");
    let tier = open(disk.clone(), SIZE_BYTES_MIN).unwrap();
    let error = open(disk.clone(), SIZE_BYTES_MIN).unwrap_err().to_string();
    assert!(error.contains(disk.to_str().unwrap()) && error.contains("in use"), "{error}");
    drop(tier);
    until("the directory is given back", || open(disk.clone(), SIZE_BYTES_MIN).is_ok()).await;
}

#[test]
fn each_disk_has_its_share_of_the_keys_and_when_one_is_taken_out_only_its_share_moves() {
    let disks = [(11_u64, 100_u64), (22, 100), (33, 200)];
    let place = |key: &str, out: Option<usize>| {
        let scores = disks.iter().enumerate().filter(|(at, _)| Some(*at) != out);
        let scores = scores.map(|(at, (seed, size))| (at, score(key, *seed, *size)));
        scores.max_by(|one, other| one.1.total_cmp(&other.1)).unwrap().0
    };
    let mut counts = [0; 3];
    for key in 0..10_000 {
        let key = format!("0 /live/{key}.ts");
        let before = place(&key, None);
        counts[before] += 1;
        if before != 1 {
            assert_eq!(place(&key, Some(1)), before, "{key}");
        }
    }
    for (count, expected) in counts.into_iter().zip([2500, 2500, 5000_i32]) {
        assert!((count - expected).abs() < 250, "{counts:?}");
    }
}

#[tokio::test]
async fn an_object_that_moved_to_another_disk_is_replaced_and_removed_wherever_it_is() {
    let mut bench = Bench::new(2);
    let both = bench.disks.split_off(1);
    let tier = bench.open();
    for seed in 0..20 {
        tier.offer(write(&format!("k{seed}"), 1, 1000));
    }
    tier.close().await.unwrap();
    drop(tier);
    bench.disks.extend(both);
    let tier = bench.open_when_free().await;
    let moved: Vec<String> =
        (0..20).map(|seed| format!("k{seed}")).filter(|key| !tier.contains(key)).collect();
    assert!(moved.len() > 2, "{moved:?}");
    assert!(tier.remove(&moved[0]), "it still stands on the disk that it has left");
    tier.offer(write(&moved[1], 2, 1000));
    settled(&tier).await;
    assert_eq!(tier.stat()[0].objects, 18);
    assert_eq!(tier.stat()[1].objects, 1);
}
