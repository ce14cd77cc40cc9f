//! Arbitrary bytes on disk: never a panic, never bytes that were not appended for the key.

use proptest::prelude::*;

use super::*;
use crate::store::disk::device::Directory;
use crate::store::disk::verify;

#[derive(Clone, Debug)]
enum Damage {
    Flip { file: usize, at: u64, bit: u8 },
    Noise { file: usize, at: u64, bytes: Vec<u8> },
    Truncate { file: usize, len: u64 },
    Swap { one: usize, other: usize },
    Copy { file: usize, from: u64, to: u64, len: u64 },
}

fn damage() -> impl Strategy<Value = Damage> {
    let (file, at) = (0..9_usize, 0..64 * KIB);
    prop_oneof![
        (file.clone(), at.clone(), 0..8_u8).prop_map(|(file, at, bit)| Damage::Flip { file, at, bit }),
        (file.clone(), at.clone(), prop::collection::vec(any::<u8>(), 1..5000))
            .prop_map(|(file, at, bytes)| Damage::Noise { file, at, bytes }),
        (file.clone(), at.clone()).prop_map(|(file, len)| Damage::Truncate { file, len }),
        (file.clone(), file.clone()).prop_map(|(one, other)| Damage::Swap { one, other }),
        (file, at.clone(), at.clone(), at).prop_map(|(file, from, to, len)| Damage::Copy {
            file,
            from,
            to,
            len
        }),
    ]
}

/// Files of the volume, in order; the superblock is the last.
fn path(place: &Place, file: usize) -> std::path::PathBuf {
    let name = if file == 8 { "superblock".to_owned() } else { format!("region-{file:05}") };
    place.dir.path().join(name)
}

fn inflict(place: &Place, damage: &Damage) {
    let change = |file: usize, change: &dyn Fn(&mut Vec<u8>)| {
        if let Ok(mut bytes) = std::fs::read(path(place, file)) {
            change(&mut bytes);
            std::fs::write(path(place, file), bytes).unwrap();
        }
    };
    let within = |at: u64, bytes: &[u8]| at as usize % bytes.len().max(1);
    match damage {
        Damage::Flip { file, at, bit } => change(*file, &|bytes| {
            let at = within(*at, bytes);
            bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << bit);
        }),
        Damage::Noise { file, at, bytes: noise } => change(*file, &|bytes| {
            let at = within(*at, bytes);
            bytes.iter_mut().skip(at).zip(noise).for_each(|(byte, noise)| *byte = *noise);
        }),
        Damage::Truncate { file, len } => change(*file, &|bytes| bytes.truncate(*len as usize)),
        Damage::Swap { one, other } => {
            let (Ok(first), Ok(second)) =
                (std::fs::read(path(place, *one)), std::fs::read(path(place, *other)))
            else {
                return;
            };
            std::fs::write(path(place, *one), second).unwrap();
            std::fs::write(path(place, *other), first).unwrap();
        }
        Damage::Copy { file, from, to, len } => change(*file, &|bytes| {
            let (from, to) = (within(*from, bytes), within(*to, bytes));
            let piece: Vec<u8> = bytes.iter().skip(from).take(*len as usize).copied().collect();
            bytes.iter_mut().skip(to).zip(piece).for_each(|(byte, other)| *byte = other);
        }),
    }
}

/// Length of the body of a version of an object.
fn len_of(number: u64, version: u64) -> usize {
    ((number * 977 + version * 131) % 6000) as usize
}

/// A volume with several versions of 40 objects, some removed, some with newer meta bytes, reclaimed or not.
fn filled(rounds: u64, in_order: bool) -> Place {
    let place = Place::small();
    let volume = place.open();
    for version in 0..rounds {
        for number in 0..40 {
            let key = format!("1 /{number}");
            put(&volume, &key, version, len_of(number, version)).unwrap();
            if number % 5 == version % 5 {
                volume.append_meta(&key, &meta(&key, version)).unwrap();
            }
            if number % 7 == 3 {
                volume.find(&key);
            }
        }
        volume.remove(&format!("1 /{version}"));
    }
    if in_order {
        volume.seal_and_close().unwrap();
    }
    place
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_to_the_files_a_read_gives_what_was_appended_or_an_error(
        rounds in 1_u64..8,
        in_order: bool,
        damages in prop::collection::vec(damage(), 1..12),
    ) {
        let place = filled(rounds, in_order);
        damages.iter().for_each(|damage| inflict(&place, damage));
        // Whatever it says, it says it without a panic, and changes nothing.
        let device = Directory::read_only(place.dir.path()).unwrap();
        let _ = (verify::verify(&device, &AtomicBool::new(false)), verify::stat(&device));
        let (volume, _) = place.open_recovered();
        for number in 0..40 {
            let key = format!("1 /{number}");
            let Some(Ok((found_meta, body))) = get(&volume, &key) else { continue };
            let version = (0..rounds).find(|version| body == content(&key, *version, len_of(number, *version)));
            prop_assert!(version.is_some(), "{}: a body that was never appended", key);
            prop_assert!((0..rounds).any(|version| found_meta == meta(&key, version)), "{}: foreign meta", key);
        }
        // And it can be used.
        for number in 0..200 {
            put(&volume, &format!("1 /after/{number}"), 0, 3000).unwrap();
        }
        assert_holds(&volume, "1 /after/199", 0, 3000);
        assert_accounts(&volume);
        prop_assert!(place.file_bytes() <= place.options.size);
    }
}

#[test]
fn verification_counts_what_is_whole_and_names_the_place_of_what_is_not() {
    let place = Place::small();
    let volume = place.open();
    (0..50).for_each(|number| must_put(&volume, &format!("1 /{number}"), 0, 3000));
    volume.remove("1 /49");
    volume.append_meta("1 /48", b"newer").unwrap();
    volume.flush_tombstones().unwrap();
    let verify = || {
        let device = Directory::read_only(place.dir.path()).unwrap();
        verify::verify(&device, &AtomicBool::new(false)).unwrap()
    };
    // While the volume is open, as on a running node.
    let report = verify();
    assert_eq!((report.whole.0, report.bad.len(), report.stat.objects), (52, 0, 49));
    assert_eq!(report.stat.open_regions, 1);
    let device = Directory::read_only(place.dir.path()).unwrap();
    assert_eq!(verify::stat(&device).unwrap(), report.stat);
    let found = volume.find("1 /7").unwrap().found;
    drop(volume);
    let offset = found.record.offset();
    let damage = Damage::Flip { file: usize::from(found.region), at: offset + 1000, bit: 3 };
    inflict(&place, &damage);
    let report = verify();
    let bad = verify::Bad { region: found.region, offset, corruption: Corruption::Block };
    assert_eq!((report.whole.0, report.listed), (51, vec![bad]));
}

#[test]
fn a_directory_without_a_volume_is_said_to_have_none() {
    let dir = tempfile::tempdir().unwrap();
    let error = verify::stat(&Directory::read_only(dir.path()).unwrap()).unwrap_err();
    assert!(matches!(error, verify::VerifyError::NoVolume), "{error}");
}
