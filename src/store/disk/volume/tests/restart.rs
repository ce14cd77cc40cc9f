//! What a volume holds after a restart.

use std::os::unix::fs::FileExt;

use super::*;

/// Closed in order, or left as a kill leaves it.
fn leave(volume: Volume, in_order: bool) {
    if in_order {
        volume.seal_and_close().unwrap();
    }
    drop(volume);
}

#[test]
fn objects_survive_a_restart_in_order_or_not() {
    for in_order in [true, false] {
        let place = Place::small();
        let mut next = 0;
        // Several times, so that a region is continued, filled and sealed across restarts.
        for round in 0..6 {
            let (volume, recovered) = place.open_recovered();
            assert_eq!(recovered.objects, next, "round {round}");
            (0..next).for_each(|number| assert_holds(&volume, &format!("1 /{number}"), 0, 900));
            for _ in 0..40 {
                put(&volume, &format!("1 /{next}"), 0, 900).unwrap();
                next += 1;
            }
            assert_accounts(&volume);
            leave(volume, in_order);
        }
        // Regions were continued: no more of them than the records fill.
        let regions = std::fs::read_dir(place.dir.path()).unwrap().count() - 2;
        assert!(regions <= 5, "{regions} regions for {next} records");
    }
}

#[test]
fn writing_may_go_on_while_recovery_runs() {
    let place = Place::small();
    let volume = place.open();
    (0..100).for_each(|number| must_put(&volume, &format!("1 /{number}"), 0, 500));
    drop(volume);
    let volume = place.open();
    put(&volume, "1 /7", 1, 700).unwrap();
    assert!(!volume.remove("1 /8"), "it is not known yet");
    let recovered = volume.recover(&AtomicBool::new(false));
    assert_eq!((recovered.objects, recovered.superseded), (98, 2));
    assert_holds(&volume, "1 /7", 1, 700);
    assert!(volume.find("1 /8").is_none());
    volume.flush_tombstones().unwrap();
    drop(volume);
    let (volume, _) = place.open_recovered();
    assert_holds(&volume, "1 /7", 1, 700);
    assert!(volume.find("1 /8").is_none(), "a removed object came back");
    assert_accounts(&volume);
}

#[test]
fn a_removal_survives_a_restart_and_the_newer_object_too() {
    for in_order in [true, false] {
        let place = Place::small();
        let volume = place.open();
        put(&volume, "1 /gone", 0, 100).unwrap();
        put(&volume, "1 /again", 0, 100).unwrap();
        volume.remove("1 /gone");
        // There is nothing left to remove, but the first removal is not on disk yet.
        volume.remove("1 /gone");
        volume.remove("1 /again");
        put(&volume, "1 /again", 1, 100).unwrap();
        volume.flush_tombstones().unwrap();
        leave(volume, in_order);
        let (volume, recovered) = place.open_recovered();
        assert_eq!((recovered.objects, recovered.superseded), (1, 2));
        assert!(volume.find("1 /gone").is_none());
        assert_holds(&volume, "1 /again", 1, 100);
    }
}

#[test]
fn newer_meta_bytes_survive_a_restart() {
    for in_order in [true, false] {
        let place = Place::small();
        let volume = place.open();
        put(&volume, "1 /a", 0, 100).unwrap();
        volume.append_meta("1 /a", b"first").unwrap();
        volume.append_meta("1 /a", &meta("1 /a", 9)).unwrap();
        leave(volume, in_order);
        let (volume, _) = place.open_recovered();
        assert_eq!(get(&volume, "1 /a").unwrap().unwrap().0, meta("1 /a", 9));
    }
}

#[test]
fn a_cleared_volume_stays_empty_after_a_restart() {
    let place = Place::small();
    let volume = place.open();
    (0..200).for_each(|number| must_put(&volume, &format!("1 /{number}"), 0, 900));
    volume.clear().unwrap();
    assert_eq!(volume.stats().live.get(), (0, 0));
    put(&volume, "1 /after", 0, 10).unwrap();
    drop(volume);
    let (volume, recovered) = place.open_recovered();
    assert_eq!(recovered.objects, 1);
    assert_holds(&volume, "1 /after", 0, 10);
}

#[test]
fn a_torn_last_record_is_left_out_and_its_place_is_used_again() {
    let place = Place::small();
    let volume = place.open();
    (0..3).for_each(|number| must_put(&volume, &format!("1 /{number}"), 0, 5000));
    let last = volume.find("1 /2").unwrap();
    drop(volume);
    let file = std::fs::File::options().write(true).open(place.dir.path().join("region-00000")).unwrap();
    file.write_all_at(&[0; 2000], last.found.record.offset() + 3000).unwrap();
    let (volume, recovered) = place.open_recovered();
    assert_eq!((recovered.objects, recovered.torn), (2, 1));
    assert!(volume.find("1 /2").is_none());
    put(&volume, "1 /3", 0, 4000).unwrap();
    assert_eq!(volume.find("1 /3").unwrap().found.record.offset(), last.found.record.offset());
    drop(volume);
    let (volume, recovered) = place.open_recovered();
    assert_eq!(recovered.objects, 3);
    [(0, 5000), (1, 5000), (3, 4000)]
        .iter()
        .for_each(|(number, len)| assert_holds(&volume, &format!("1 /{number}"), 0, *len));
}

#[test]
fn another_format_version_or_region_size_or_file_is_discarded_with_a_reason() {
    let spoil = |what: &dyn Fn(&Place), options: Option<VolumeOptions>| {
        let mut place = Place::small();
        let volume = place.open();
        put(&volume, "1 /a", 0, 100).unwrap();
        volume.seal_and_close().unwrap();
        drop(volume);
        what(&place);
        place.options = options.unwrap_or(place.options);
        let (volume, recovered) = place.open_recovered();
        assert_eq!(recovered.objects, 0);
        put(&volume, "1 /b", 0, 100).unwrap();
        assert_holds(&volume, "1 /b", 0, 100);
        volume.discarded().unwrap().to_owned()
    };
    let superblock = |place: &Place| place.dir.path().join("superblock");
    let version = |place: &Place| {
        let mut bytes = std::fs::read(superblock(place)).unwrap();
        bytes[16] = 77;
        bytes[4096 + 16] = 77;
        std::fs::write(superblock(place), bytes).unwrap();
    };
    assert!(spoil(&version, None).contains("version 77"));
    let foreign = |place: &Place| std::fs::write(superblock(place), b"somebody else's").unwrap();
    assert!(spoil(&foreign, None).contains("none of forebay's"));
    let gone = |place: &Place| std::fs::remove_file(superblock(place)).unwrap();
    assert!(spoil(&gone, None).contains("no superblock"));
    let other = VolumeOptions { size: 4 * MIB, region: Some(128 * KIB) };
    assert!(spoil(&|_| (), Some(other)).contains("131072"));
}

#[test]
fn half_a_superblock_is_no_loss() {
    let place = Place::small();
    let volume = place.open();
    put(&volume, "1 /a", 0, 100).unwrap();
    drop(volume);
    let path = place.dir.path().join("superblock");
    let whole = std::fs::read(&path).unwrap();
    for slot in [0, 4096] {
        let mut bytes = whole.clone();
        bytes[slot + 100..slot + 200].fill(1);
        std::fs::write(&path, &bytes).unwrap();
        let (volume, recovered) = place.open_recovered();
        assert_eq!((recovered.objects, volume.discarded()), (1, None));
    }
}

#[test]
fn a_smaller_size_drops_regions_and_keeps_removals() {
    let mut place = Place::new(20, 64 * KIB);
    let volume = place.open();
    put(&volume, "1 /gone", 0, 100).unwrap();
    (0..900).for_each(|number| must_put(&volume, &format!("1 /{number}"), 0, 900));
    volume.remove("1 /gone");
    volume.flush_tombstones().unwrap();
    drop(volume);
    place.options.size = 10 * 64 * KIB + SUPERBLOCK_BYTES;
    let (volume, recovered) = place.open_recovered();
    assert!(recovered.objects > 400 && recovered.objects < 600, "{recovered:?}");
    assert!(volume.find("1 /gone").is_none());
    assert!(place.file_bytes() <= place.options.size);
    assert_holds(&volume, "1 /100", 0, 900);
    drop(volume);
    place.options.size *= 2;
    let (volume, grown) = place.open_recovered();
    assert!(volume.capacity_bytes() > 19 * 64 * KIB && volume.find("1 /gone").is_none());
    assert!(grown.objects >= recovered.objects, "{grown:?}");
}

#[test]
fn files_that_are_not_the_volumes_are_left_alone() {
    let place = Place::small();
    for name in ["region-1", "region-99999", "notes.txt"] {
        std::fs::write(place.dir.path().join(name), b"mine").unwrap();
    }
    drop(place.open());
    for name in ["region-1", "region-99999", "notes.txt"] {
        assert_eq!(std::fs::read(place.dir.path().join(name)).unwrap(), b"mine");
    }
}
