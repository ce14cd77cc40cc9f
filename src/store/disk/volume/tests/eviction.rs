//! What is kept when there is no more room.

use super::*;

#[test]
fn reclaim_keeps_what_was_asked_for_and_drops_what_was_not_within_the_budget() {
    let place = Place::small();
    let volume = place.open();
    (0..5).for_each(|number| must_put(&volume, &format!("1 /hot/{number}"), 0, 2000));
    volume.append_meta("1 /hot/3", &meta("1 /hot/3", 8)).unwrap();
    for number in 0..3000 {
        put(&volume, &format!("1 /cold/{number}"), 0, 900).unwrap();
        if number % 100 == 0 {
            (0..5).for_each(|hot| assert!(volume.find(&format!("1 /hot/{hot}")).is_some(), "at {number}"));
            assert!(place.file_bytes() <= place.options.size);
            assert_accounts(&volume);
        }
    }
    for hot in [0, 1, 2, 4] {
        assert_holds(&volume, &format!("1 /hot/{hot}"), 0, 2000);
    }
    let newest_meta = |volume: &Volume| get(volume, "1 /hot/3").unwrap().unwrap();
    assert_eq!(newest_meta(&volume), (meta("1 /hot/3", 8), content("1 /hot/3", 0, 2000)));
    assert!(volume.find("1 /cold/0").is_none() && volume.find("1 /cold/2500").is_none());
    assert_holds(&volume, "1 /cold/2999", 0, 900);
    let stats = volume.stats();
    assert!(stats.reclaimed_regions.load(Ordering::Relaxed) > 30);
    assert!(stats.evictions(Eviction::Size).get().0 > 2000 && stats.reinserted.get().0 > 10);
    let amplification = stats.write_amplification();
    assert!(amplification > 1.0 && amplification < 1.5, "{amplification}");
    drop(volume);
    let (volume, _) = place.open_recovered();
    assert_eq!(newest_meta(&volume), (meta("1 /hot/3", 8), content("1 /hot/3", 0, 2000)));
    assert_holds(&volume, "1 /hot/0", 0, 2000);
    assert!(place.file_bytes() <= place.options.size);
}

#[test]
fn everything_hot_is_more_than_is_kept_and_the_best_per_byte_is() {
    let place = Place::small();
    let volume = place.open();
    // One region: small objects with two hits, large ones with one.
    for number in 0..4 {
        put(&volume, &format!("1 /large/{number}"), 0, 10_000).unwrap();
        put(&volume, &format!("1 /small/{number}"), 0, 1000).unwrap();
    }
    for number in 0..4 {
        volume.find(&format!("1 /large/{number}"));
        volume.find(&format!("1 /small/{number}"));
        volume.find(&format!("1 /small/{number}"));
    }
    let mut filler = 0;
    while volume.stats().reclaimed_regions.load(Ordering::Relaxed) == 0 {
        put(&volume, &format!("1 /filler/{filler}"), 0, 1000).unwrap();
        filler += 1;
    }
    (0..4).for_each(|number| assert_holds(&volume, &format!("1 /small/{number}"), 0, 1000));
    let large = (0..4).filter(|number| volume.contains(&format!("1 /large/{number}"))).count();
    assert!((1..4).contains(&large), "half a region holds some of them: {large}");
    assert!(volume.stats().reinserted.get().1 <= 32 * KIB);
}

#[test]
fn a_removal_holds_while_regions_are_reclaimed_and_after_restarts() {
    let place = Place::small();
    let (mut volume, mut next) = (place.open(), 0);
    for round in 0..12 {
        let key = format!("1 /purged/{round}");
        put(&volume, &key, 0, 500).unwrap();
        volume.find(&key);
        for _ in 0..100 {
            put(&volume, &format!("1 /filler/{next}"), 0, 900).unwrap();
            next += 1;
        }
        assert!(volume.remove(&key), "it had a hit and was kept");
        volume.flush_tombstones().unwrap();
        drop(volume);
        volume = place.open_recovered().0;
        for old in 0..=round {
            assert!(volume.find(&format!("1 /purged/{old}")).is_none(), "{old} came back in round {round}");
        }
    }
}

#[test]
fn a_quota_takes_the_oldest_objects_of_its_site_alone() {
    let place = Place::small();
    let volume = place.open();
    for number in 0..100 {
        put_for(&volume, &format!("1 /{number}"), 0, 900, 1).unwrap();
        put_for(&volume, &format!("2 /{number}"), 0, 900, 2).unwrap();
    }
    let (before, each) = (volume.bytes_of_site(1), volume.find("1 /0").unwrap().record_bytes());
    let given = volume.evict_oldest_of_site(1, 10 * each - 1);
    assert!(given >= 10 * each - 1 && given <= 10 * each + 100, "{given}");
    assert_eq!(volume.bytes_of_site(1), before - given);
    (0..10).for_each(|number| assert!(!volume.contains(&format!("1 /{number}")), "{number}"));
    (11..100).for_each(|number| assert!(volume.contains(&format!("1 /{number}")), "{number}"));
    assert_eq!(volume.evict_oldest_of_site(1, u64::MAX), before - given);
    assert!((0..100).all(|number| volume.contains(&format!("2 /{number}"))));
    assert_eq!(volume.evict_oldest_of_site(1, 1), 0);
    assert_accounts(&volume);
}
