//! Figures of a volume on this machine's disk: run by hand, in release, with `--ignored --nocapture`.

use std::io::Write;
use std::time::Instant;

use super::*;

/// Bytes that each step moves.
const MOVED: u64 = 1024 * MIB;

#[test]
#[ignore = "a measurement"]
fn throughput_of_appends_and_reads() {
    let place = Place::new(24, 64 * MIB);
    for kib in [200, 1024, 4096, 8192] {
        let volume = place.open();
        let bytes = Bytes::from(content("body", 0, kib * 1024));
        let pieces: Vec<Bytes> = (0..bytes.len())
            .step_by(65_536)
            .map(|at| bytes.slice(at..bytes.len().min(at + 65_536)))
            .collect();
        let count = MOVED / (kib as u64 * KIB);
        let keys: Vec<String> = (0..count).map(|number| format!("1 /{kib}/{number}")).collect();
        let begin = Instant::now();
        for key in &keys {
            let append = Append { key, site: 1, meta: &[7; 400], body: &pieces };
            volume.append(&[append]).pop().unwrap().unwrap();
        }
        let written = begin.elapsed().as_secs_f64();
        let begin = Instant::now();
        let mut read_bytes = 0;
        for key in &keys {
            let Some(location) = volume.find(key) else { continue };
            let head = volume.read_head(&location, key, false).unwrap();
            read_bytes += head.first.len();
            for index in 1..location.blocks() {
                read_bytes += volume.read_block(&location, &head, index, false).unwrap().len();
            }
        }
        let read = begin.elapsed().as_secs_f64();
        let begin = Instant::now();
        let mut raw_bytes = 0;
        let mut buffer = vec![0; BLOCK_BYTES];
        for region in volume.regions.iter().filter_map(|state| state.file.get()) {
            let mut at = 0;
            while at < volume.region_bytes() {
                at += region.read_at(&mut buffer, at).unwrap() as u64;
            }
            raw_bytes += at;
        }
        let raw = begin.elapsed().as_secs_f64();
        writeln!(io::stdout(),
            "{kib:5} KiB: append {:6.0} MB/s, read {:6.0} MB/s, raw read of the files {:6.0} MB/s, amplification {:.3}",
            MOVED as f64 / 1e6 / written,
            read_bytes as f64 / 1e6 / read,
            raw_bytes as f64 / 1e6 / raw,
            volume.stats().write_amplification(),
        ).unwrap();
        volume.clear().unwrap();
    }
}

#[test]
#[ignore = "a measurement"]
fn look_ups_memory_and_recovery_of_a_million_objects() {
    let place = Place::new(20, 32 * MIB);
    let count: u64 = 1_000_000;
    let volume = place.open();
    let body = [Bytes::from(vec![7; 200])];
    let keys: Vec<String> = (0..count).map(|number| format!("1 /vod/title/{number}.m4s")).collect();
    for some in keys.chunks(1000) {
        let appends: Vec<Append<'_>> =
            some.iter().map(|key| Append { key, site: 1, meta: &[7; 60], body: &body }).collect();
        assert!(volume.append(&appends).iter().all(Result::is_ok));
    }
    let (held, _) = volume.stats().live.get();
    writeln!(io::stdout(), "{held} objects, {} bytes of memory each", volume.index_bytes() / held).unwrap();
    let mut state = 1_u64;
    let begin = Instant::now();
    let mut hits = 0_u64;
    for _ in 0..count {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        hits += u64::from(volume.find(&keys[(state >> 33) as usize % keys.len()]).is_some());
    }
    writeln!(io::stdout(), "find: {} ns, {hits} hits", begin.elapsed().as_nanos() / u128::from(count))
        .unwrap();
    drop(volume);
    let begin = Instant::now();
    let volume = place.open();
    let opened = begin.elapsed();
    let recovered = volume.recover(&AtomicBool::new(false));
    writeln!(
        io::stdout(),
        "opened in {opened:?}, {} objects recovered in {:?}",
        recovered.objects,
        begin.elapsed()
    )
    .unwrap();
}
