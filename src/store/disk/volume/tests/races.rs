//! Readers, removers and recovery while the writer reclaims.

use super::*;

/// A number that follows from another one.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Reads random objects, some of them a while after their look-up, until the writer is done. Returns how many were
/// read, and how many had gone.
fn read_on(volume: &Volume, seed: u64, done: &AtomicBool) -> (u64, u64) {
    let (mut state, mut old) = (seed, Vec::new());
    let (mut right, mut gone) = (0, 0);
    while !done.load(Ordering::Relaxed) {
        let key = format!("1 /{}", next(&mut state) % 400);
        if let Some(location) = volume.find(&key) {
            old.push((key, location));
        }
        if old.len() < 200 {
            continue;
        }
        let place = usize::try_from(next(&mut state)).unwrap() % old.len();
        let (key, location) = old.swap_remove(place);
        match read(volume, &location, &key) {
            Ok((meta, body)) => {
                let text = String::from_utf8(meta).unwrap();
                let (of, version) = text.rsplit_once(' ').unwrap();
                let version = version.parse().unwrap();
                assert_eq!(of, key, "seed {seed}");
                assert!(body == content(&key, version, body.len()), "seed {seed}: {key} {version}");
                right += 1;
            }
            Err(error) => {
                assert!(matches!(error, ReadError::Reclaimed), "seed {seed}: {error}");
                gone += 1;
            }
        }
    }
    (right, gone)
}

#[test]
fn a_reader_racing_with_reclaim_gets_right_bytes_or_is_told_that_they_have_gone() {
    let place = Place::small();
    let volume = place.open();
    (0..400).for_each(|number| must_put(&volume, &format!("1 /{number}"), 0, 900));
    let done = AtomicBool::new(false);
    let (right, gone) = std::thread::scope(|scope| {
        let readers: Vec<_> = (1..=3)
            .map(|seed| {
                scope.spawn({
                    let (volume, done) = (&volume, &done);
                    move || read_on(volume, seed, done)
                })
            })
            .collect();
        let mut state = 99;
        for version in 1..30_000 {
            let key = format!("1 /{}", next(&mut state) % 400);
            let len = usize::try_from(next(&mut state) % 5000).unwrap();
            put(&volume, &key, version, len).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        readers.into_iter().map(|reader| reader.join().unwrap()).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1))
    });
    assert!(right > 0 && gone > 0, "both happened: {right} right, {gone} gone");
    assert_eq!(volume.stats().evictions(Eviction::Corrupt).get().0, 0);
    assert_accounts(&volume);
}

#[test]
fn a_removal_is_final_whatever_the_writer_and_recovery_are_doing() {
    let place = Place::small();
    let volume = place.open();
    (0..300).for_each(|number| must_put(&volume, &format!("1 /{number}"), 0, 900));
    drop(volume);
    let volume = place.open();
    std::thread::scope(|scope| {
        scope.spawn(|| volume.recover(&AtomicBool::new(false)));
        scope.spawn(|| {
            for number in 0..2000 {
                put(&volume, &format!("2 /{number}"), 0, 900).unwrap();
                volume.find(&format!("2 /{number}"));
            }
        });
        for number in 0..300 {
            // Recovery may not have come to it yet.
            let _ = volume.remove(&format!("1 /{number}"));
        }
    });
    assert!((0..300).all(|number| !volume.contains(&format!("1 /{number}"))));
    assert_accounts(&volume);
    volume.flush_tombstones().unwrap();
    drop(volume);
    let (volume, _) = place.open_recovered();
    assert!((0..300).all(|number| !volume.contains(&format!("1 /{number}"))));
}
