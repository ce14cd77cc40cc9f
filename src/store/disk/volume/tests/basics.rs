//! What is written is read, and what cannot be written is refused.

use super::*;

#[test]
fn what_is_appended_is_read_back_whatever_its_length_and_pieces() {
    let place = Place::new(8, 16 * MIB);
    let volume = place.open();
    let lens = [0, 1, 7, 4096, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES + 12_345];
    for (number, len) in lens.into_iter().enumerate() {
        let key = format!("1 /pieces/{number}");
        let bytes = Bytes::from(content(&key, 0, len));
        let body: Vec<Bytes> =
            (0..len).step_by(70_001).map(|at| bytes.slice(at..len.min(at + 70_001))).collect();
        let append = Append { key: &key, site: 1, meta: &meta(&key, 0), body: &body };
        volume.append(&[append]).pop().unwrap().unwrap();
        assert_holds(&volume, &key, 0, len);
        let location = volume.find(&key).unwrap();
        assert_eq!((location.body_len(), location.site()), (len as u64, 1));
        let head = volume.read_head(&location, &key, false).unwrap();
        let plain: Vec<u64> = bytes.chunks(BLOCK_BYTES).map(xxhash_rust::xxh3::xxh3_64).collect();
        assert_eq!(*head.checksums, plain[..]);
    }
    assert_accounts(&volume);
}

#[test]
fn many_objects_of_one_append_are_all_there_the_later_of_one_key() {
    let place = Place::small();
    let volume = place.open();
    let keys: Vec<String> = (0..50).map(|number| format!("1 /many/{}", number % 49)).collect();
    let bodies: Vec<[Bytes; 1]> =
        keys.iter().zip(0..).map(|(key, version)| [content(key, version, 500).into()]).collect();
    let metas: Vec<Vec<u8>> = keys.iter().zip(0..).map(|(key, version)| meta(key, version)).collect();
    let appends: Vec<Append<'_>> = keys
        .iter()
        .zip(&bodies)
        .zip(&metas)
        .map(|((key, body), meta)| Append { key, site: 1, meta, body })
        .collect();
    assert!(volume.append(&appends).iter().all(Result::is_ok));
    assert_holds(&volume, "1 /many/0", 49, 500);
    (1..49).for_each(|number| assert_holds(&volume, &format!("1 /many/{number}"), number, 500));
    assert_accounts(&volume);
}

#[test]
fn what_cannot_be_stored_is_refused_with_its_reason() {
    let place = Place::small();
    let volume = place.open();
    let refused = put(&volume, "1 /large", 0, 24 * 1024).unwrap_err();
    assert!(refused.to_string().contains("three eighths of a region"), "{refused}");
    assert!(matches!(put(&volume, "", 0, 1), Err(AppendError::Key(0))));
    let long = "k".repeat(KEY_BYTES_MAX + 1);
    assert!(matches!(put(&volume, &long, 0, 1), Err(AppendError::Key(_))));
    let meta = vec![0; META_BYTES_MAX + 1];
    let append = Append { key: "1 /a", site: 1, meta: &meta, body: &[] };
    assert!(matches!(volume.append(&[append])[0], Err(AppendError::Meta(_))));
    volume.seal_and_close().unwrap();
    assert!(matches!(put(&volume, "1 /a", 0, 1), Err(AppendError::Closed)));
}

#[test]
fn a_second_process_is_told_that_the_directory_is_in_use() {
    let place = Place::small();
    let volume = place.open();
    let error = Volume::open(place.device(), place.options).unwrap_err();
    assert!(matches!(error, VolumeError::Locked(_)), "{error}");
    drop(volume);
    place.open();
}

#[test]
fn impossible_options_are_refused_with_what_is_possible() {
    let place = Place::small();
    let open = |size, region| Volume::open(place.device(), VolumeOptions { size, region }).unwrap_err();
    assert!(matches!(open(SIZE_BYTES_MIN - 1, None), VolumeError::TooSmall { least: SIZE_BYTES_MIN, .. }));
    assert!(matches!(open(1 << 40, Some(64 * KIB)), VolumeError::TooManyRegions { .. }));
    assert!(matches!(open(1 << 40, Some(100_000)), VolumeError::Region(100_000)));
    for size in [SIZE_BYTES_MIN, 64 * MIB, 100 * MIB, 128 * MIB, 256 * MIB, 1024 * MIB] {
        Volume::open(place.device(), VolumeOptions { size, region: None }).unwrap();
    }
}

#[test]
fn a_read_of_the_page_cache_alone_gives_the_bytes_or_says_that_it_would_wait() {
    let place = Place::new(8, 16 * MIB);
    let volume = place.open();
    put(&volume, "1 /a", 0, 2 * BLOCK_BYTES).unwrap();
    let location = volume.find("1 /a").unwrap();
    match volume.read_head(&location, "1 /a", true) {
        Ok(head) => assert_eq!(head.first, content("1 /a", 0, 2 * BLOCK_BYTES)[..BLOCK_BYTES]),
        Err(error) => assert!(matches!(error, ReadError::WouldBlock), "{error}"),
    }
    assert!(volume.contains("1 /a"));
}

#[test]
fn a_removed_object_is_gone_at_once() {
    let place = Place::small();
    let volume = place.open();
    put(&volume, "1 /a", 0, 100).unwrap();
    assert!(volume.remove("1 /a"));
    assert!(!volume.remove("1 /a"));
    assert!(volume.find("1 /a").is_none() && !volume.contains("1 /a"));
    put(&volume, "1 /a", 1, 100).unwrap();
    assert_holds(&volume, "1 /a", 1, 100);
    assert_eq!(volume.stats().evictions(Eviction::Removed).get().0, 1);
    assert_accounts(&volume);
}

#[test]
fn newer_meta_bytes_replace_the_old_ones_and_the_body_stays() {
    let place = Place::small();
    let volume = place.open();
    assert!(!volume.append_meta("1 /a", b"new").unwrap());
    put(&volume, "1 /a", 0, 3000).unwrap();
    assert!(volume.append_meta("1 /a", b"newer and longer than before").unwrap());
    let (meta, body) = get(&volume, "1 /a").unwrap().unwrap();
    assert_eq!(meta, b"newer and longer than before");
    assert_eq!(body, content("1 /a", 0, 3000));
    put(&volume, "1 /a", 1, 10).unwrap();
    assert_holds(&volume, "1 /a", 1, 10);
}
