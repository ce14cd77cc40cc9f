#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::io::Read;
use std::time::UNIX_EPOCH;

use super::*;
use crate::asset::Kind;
use crate::key::Key;
use crate::store::{Accounts, Lifetime, StoreMetrics};

const MIB: u64 = 1024 * 1024;

fn decoded(copy: &[u8], coding: Coding) -> Vec<u8> {
    let mut bytes = Vec::new();
    match coding {
        Coding::Gzip => flate2::read::GzDecoder::new(copy).read_to_end(&mut bytes),
        Coding::Brotli => brotli::Decompressor::new(copy, 4096).read_to_end(&mut bytes),
        Coding::Zstd => zstd::stream::read::Decoder::new(copy).unwrap().read_to_end(&mut bytes),
    }
    .unwrap();
    bytes
}

fn text(lines: usize) -> Vec<u8> {
    (0..lines).flat_map(|line| format!("#EXTINF:4.000,\nsegment-{line}.m4s\n").into_bytes()).collect()
}

/// Bytes that no compressor makes fewer.
fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}

#[test]
fn each_coding_gives_back_what_it_took() {
    for (coding, chunk) in Coding::ALL.into_iter().flat_map(|coding| [(coding, 7), (coding, 100_000)]) {
        let text = text(2000);
        let chunks: Vec<Bytes> = text.chunks(chunk).map(Bytes::copy_from_slice).collect();
        let copy = encode(&chunks, coding, text.len()).unwrap();
        assert!(copy.len() < text.len() / 2, "{coding:?}");
        assert_eq!(decoded(&copy, coding), text, "{coding:?}");
    }
}

#[test]
fn a_copy_that_grows_past_its_bound_is_none() {
    for coding in Coding::ALL {
        for len in [10, 300, 100_000] {
            let noise = Bytes::from(noise(len));
            assert!(
                encode(std::slice::from_ref(&noise), coding, len * 95 / 100).is_err(),
                "{coding:?} of {len}"
            );
        }
        let text = Bytes::from(text(2000));
        let copy = encode(std::slice::from_ref(&text), coding, text.len()).unwrap();
        // The last byte is missing: what is written at the very end counts.
        assert!(encode(std::slice::from_ref(&text), coding, copy.len() - 1).is_err(), "{coding:?}");
        assert_eq!(encode(&[text], coding, copy.len()).unwrap(), copy, "{coding:?}");
    }
}

fn store(memory: u64) -> &'static Store {
    let metrics = StoreMetrics::new(&Registry::new()).unwrap();
    Box::leak(Box::new(Store::new(memory, 50, Accounts::default(), None, Duration::ZERO, metrics)))
}

fn object(text: Vec<u8>) -> Arc<Object> {
    let mut header = pingora::http::ResponseHeader::build_no_case(200, None).unwrap();
    header.insert_header("etag", "\"v1\"").unwrap();
    let lifetime = Lifetime::ended(UNIX_EPOCH);
    let body = Body::growing(None, None);
    body.append(text.into());
    body.finish();
    let key = Key { hash: 1, text: "0 /a.m3u8".into() };
    Arc::new(Object::new(key, Kind::MediaPlaylist, header, lifetime, body.into()))
}

fn accepting(codings: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("accept-encoding", codings.parse().unwrap());
    headers
}

/// The copy, however long it takes on a busy machine.
async fn copied(encoder: &Encoder, object: &Arc<Object>, coding: Coding) -> Option<Vec<u8>> {
    let headers = accepting(coding.as_str());
    encoder.select(&Method::GET, &headers, object, &Coding::ALL).await;
    object.encoded.place(coding).wait().await;
    let selected = encoder.select(&Method::GET, &headers, object, &Coding::ALL).await;
    assert!(selected.varies);
    let chunks = selected.coded?.content.as_whole().unwrap().chunks().unwrap();
    Some(chunks.concat())
}

#[tokio::test]
async fn a_copy_is_made_once_and_goes_with_its_object() {
    let store = store(16 * MIB);
    let encoder = Encoder::new(store, MIB, &Registry::new()).unwrap();
    let text = text(2000);
    let object = object(text.clone());
    let herd = futures_join((0..100).map(|_| copied(&encoder, &object, Coding::Gzip))).await;
    for copy in herd {
        assert_eq!(decoded(&copy.unwrap(), Coding::Gzip), text);
    }
    let encodings = |coding| encoder.metrics.encodings.with_label_values(&[coding]).get();
    assert_eq!((encodings("gzip"), encodings("br")), (1, 0));
    let held = store.budget().used();
    assert!(held > 0 && held < text.len() as u64, "{held} bytes of a text of {}", text.len());

    // A confirmation makes another object of the same body.
    let confirmed = Arc::new(Object {
        encoded: object.encoded.again(),
        ..Object::new(
            object.key.clone(),
            object.kind,
            object.header.clone(),
            object.lifetime,
            object.body.clone(),
        )
    });
    drop(object);
    assert!(copied(&encoder, &confirmed, Coding::Gzip).await.is_some());
    assert_eq!((encodings("gzip"), store.budget().used()), (1, held));
    drop(confirmed);
    assert_eq!(store.budget().used(), 0);
}

/// Runs futures of one task together.
async fn futures_join<F: Future>(all: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut all: Vec<_> = all.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        for (future, output) in all.iter_mut().filter(|(_, output)| output.is_none()) {
            if let std::task::Poll::Ready(ready) = future.as_mut().poll(context) {
                *output = Some(ready);
            }
        }
        let done = all.iter().all(|(_, output)| output.is_some());
        if done { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    all.into_iter().map(|(_, output)| output.unwrap()).collect()
}

#[tokio::test]
async fn what_gains_nothing_or_finds_no_memory_goes_as_it_is() {
    let store = store(16 * MIB);
    let encoder = Encoder::new(store, MIB, &Registry::new()).unwrap();
    assert_eq!(copied(&encoder, &object(noise(5000)), Coding::Zstd).await, None);
    assert_eq!(store.budget().used(), 0);
    let all = store.budget().try_take(16 * MIB).unwrap();
    assert_eq!(copied(&encoder, &object(text(200)), Coding::Zstd).await, None);
    drop(all);
    assert!(copied(&encoder, &object(text(200)), Coding::Zstd).await.is_some());
}

#[tokio::test]
async fn the_representation_depends_on_request_size_and_site() {
    let encoder = Encoder::new(store(16 * MIB), 10_000, &Registry::new()).unwrap();
    let gzip = accepting("gzip");
    let right = object(text(100));
    assert!(copied(&encoder, &right, Coding::Gzip).await.is_some());
    let identity = |selected: Selected| selected.coded.is_none();
    let head = encoder.select(&Method::HEAD, &gzip, &right, &Coding::ALL).await;
    assert_eq!(head.coding(), Some(Coding::Gzip));
    let off = encoder.select(&Method::GET, &gzip, &right, &[]).await;
    assert!(!off.varies && identity(off));
    let mut ranged = gzip.clone();
    ranged.insert(RANGE, "bytes=0-1".parse().unwrap());
    let ranged = encoder.select(&Method::GET, &ranged, &right, &Coding::ALL).await;
    assert!(ranged.varies && identity(ranged));
    let mut untouched = gzip.clone();
    untouched.insert("cache-control", "no-transform".parse().unwrap());
    assert!(identity(encoder.select(&Method::GET, &untouched, &right, &Coding::ALL).await));
    for text in [text(20)[..255].to_vec(), text(1000)] {
        let selected = encoder.select(&Method::GET, &gzip, &object(text), &Coding::ALL).await;
        assert!(selected.varies && identity(selected));
    }
}

#[tokio::test]
async fn more_than_may_wait_are_sent_as_they_are_and_tried_again() {
    let encoder = Encoder::new(store(16 * MIB), MIB, &Registry::new()).unwrap();
    let (object, gzip) = (object(text(100)), accepting("gzip"));
    let places = u32::try_from(ENCODINGS_MAX).unwrap();
    let all = Arc::clone(&encoder.places).try_acquire_many_owned(places).unwrap();
    let selected = encoder.select(&Method::GET, &gzip, &object, &Coding::ALL).await;
    assert!(selected.varies && selected.coded.is_none());
    assert!(!object.encoded.place(Coding::Gzip).is_begun());
    drop(all);
    assert!(copied(&encoder, &object, Coding::Gzip).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_takes_long_is_not_waited_for_and_used_when_it_is_there() {
    let encoder = Encoder::new(store(16 * MIB), MIB, &Registry::new()).unwrap();
    let (object, gzip) = (object(text(100)), accepting("gzip"));
    let turns = u32::try_from(ENCODINGS_AT_ONCE).unwrap();
    let busy = Arc::clone(&encoder.turns).try_acquire_many_owned(turns).unwrap();
    let begun = tokio::time::Instant::now();
    let selected = encoder.select(&Method::GET, &gzip, &object, &Coding::ALL).await;
    assert!(selected.varies && selected.coded.is_none());
    assert!((ENCODE_WAIT..2 * ENCODE_WAIT).contains(&begun.elapsed()));
    drop(busy);
    assert!(copied(&encoder, &object, Coding::Gzip).await.is_some());
}
