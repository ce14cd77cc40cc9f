//! Devices that fail, are slow, or write only a part.

use super::*;
use crate::store::disk::device::faulty::{EIO, ENOSPC, EROFS};

#[test]
fn a_failed_write_is_an_error_and_changes_nothing() {
    for errno in [ENOSPC, EROFS, EIO] {
        let place = Place::small();
        let (volume, faults) = place.open_faulty(1);
        put(&volume, "1 /a", 0, 1000).unwrap();
        faults.fail_writes(errno);
        let error = put(&volume, "1 /a", 1, 1000).unwrap_err();
        assert!(matches!(&error, AppendError::Io(error) if error.raw_os_error() == Some(errno)), "{error}");
        assert!(volume.append_meta("1 /a", b"new").is_err());
        assert_holds(&volume, "1 /a", 0, 1000);
        volume.remove("1 /a");
        assert!(volume.flush_tombstones().is_err());
        assert!(!volume.contains("1 /a"));
        faults.fail_writes(0);
        put(&volume, "1 /b", 0, 1000).unwrap();
        drop(volume);
        let (volume, _) = place.open_recovered();
        assert!(volume.find("1 /a").is_none(), "the removal was written with the next append");
        assert_holds(&volume, "1 /b", 0, 1000);
    }
}

#[test]
fn writing_goes_on_after_errors_at_any_step_and_what_is_held_is_right() {
    for step in 0..60 {
        let place = Place::small();
        let (volume, faults) = place.open_faulty(step);
        (0..step * 9).for_each(|number| must_put(&volume, &format!("1 /{number}"), 0, 900));
        faults.fail_writes_after(step % 7, EIO);
        faults.cut_writes(300);
        let failed = (0..300).filter(|number| put(&volume, &format!("1 /{number}"), 1, 700).is_err()).count();
        assert!(failed > 0);
        faults.fail_writes(0);
        (300..700).for_each(|number| must_put(&volume, &format!("1 /{number}"), 1, 800));
        assert_accounts(&volume);
        check_all(&volume);
        drop(volume);
        let (volume, recovered) = place.open_recovered();
        assert!(recovered.objects > 200, "{recovered:?}");
        assert_accounts(&volume);
        check_all(&volume);
    }
}

/// Every object is one of the versions above.
fn check_all(volume: &Volume) {
    for number in 0..700 {
        let key = format!("1 /{number}");
        let Some(found) = get(volume, &key) else { continue };
        let versions = [(0, 900), (1, 700), (1, 800)];
        let found = found.unwrap();
        assert!(
            versions
                .iter()
                .any(|(version, len)| found == (meta(&key, *version), content(&key, *version, *len))),
            "{key}"
        );
    }
}

#[test]
fn a_failed_read_is_an_error_and_the_object_stays() {
    let place = Place::small();
    let (volume, faults) = place.open_faulty(1);
    put(&volume, "1 /a", 0, 1000).unwrap();
    faults.fail_reads(EIO);
    assert!(matches!(get(&volume, "1 /a"), Some(Err(ReadError::Io(_)))));
    faults.fail_reads(0);
    assert_holds(&volume, "1 /a", 0, 1000);
}

#[test]
fn a_flipped_bit_is_found_counted_and_its_object_dropped() {
    let place = Place::small();
    let (volume, faults) = place.open_faulty(3);
    (0..50).for_each(|number| must_put(&volume, &format!("1 /{number}"), 0, 1000));
    faults.flip_bits(2);
    let mut damaged = 0;
    for number in 0..50 {
        let key = format!("1 /{number}");
        match get(&volume, &key).unwrap() {
            Ok(found) => assert!(found == (meta(&key, 0), content(&key, 0, 1000))),
            Err(error) => {
                assert!(matches!(error, ReadError::Corrupt(_)), "{error}");
                assert!(!volume.contains(&key));
                damaged += 1;
            }
        }
    }
    assert!(damaged > 5, "{damaged}");
    let counted =
        Corruption::ALL.iter().map(|kind| volume.stats().corruptions(*kind).load(Ordering::Relaxed));
    assert_eq!(counted.sum::<u64>(), damaged);
    assert_eq!(volume.stats().evictions(Eviction::Corrupt).get().0, damaged);
    assert_accounts(&volume);
}

#[test]
fn too_many_removals_that_cannot_be_written_clear_the_volume() {
    let place = Place::small();
    let (volume, faults) = place.open_faulty(1);
    put(&volume, "1 /kept", 0, 100).unwrap();
    faults.fail_writes(EIO);
    put(&volume, "1 /x", 0, 100).unwrap_err();
    (0..=REMOVALS_MAX).for_each(|number| assert!(!volume.remove(&format!("1 /{number}"))));
    assert!(!volume.contains("1 /kept"), "what may have been removed is not served");
    assert!(volume.removals.lock().unwritten.len() <= REMOVALS_MAX);
    faults.fail_writes(0);
    volume.flush_tombstones().unwrap();
    drop(volume);
    let (volume, recovered) = place.open_recovered();
    assert_eq!((recovered.objects, volume.contains("1 /kept")), (0, false));
}
