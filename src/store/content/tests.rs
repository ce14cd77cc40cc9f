//! What a content in slices promises its readers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::HashMap;
use std::sync::Weak;
use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderValue;
use parking_lot::Mutex;
use proptest::prelude::*;

use super::*;

fn bytes(len: u64) -> Bytes {
    (0..len).map(|place| (place * 31 % 251) as u8 ^ (place >> 20) as u8).collect()
}

/// A source that makes slices when they are fetched, and remembers who still holds them.
#[derive(Debug, Default)]
struct Made {
    whole: Bytes,
    /// Bytes that are missing at the end of each slice.
    short_by: u64,
    kept: Mutex<HashMap<u64, Arc<Body>>>,
    seen: Mutex<Vec<Weak<Body>>>,
    fetched: Mutex<Vec<u64>>,
    ahead: Mutex<Vec<u64>>,
    most_held: AtomicU64,
}

impl Made {
    fn of(len: u64) -> Arc<Made> {
        Arc::new(Made { whole: bytes(len), ..Made::default() })
    }

    fn make(&self, index: u64) -> Arc<Body> {
        let range = slice_range(index, self.whole.len() as u64);
        let body = Body::growing(None, None);
        body.append(self.whole.slice(range.start as usize..(range.end - self.short_by) as usize));
        body.finish();
        self.seen.lock().push(Arc::downgrade(&body));
        let held = self.seen.lock().iter().filter(|body| body.strong_count() > 0).count();
        self.most_held.fetch_max(held as u64, Ordering::AcqRel);
        body
    }
}

#[async_trait]
impl SliceSource for Made {
    fn held(&self, index: u64) -> Option<Arc<Body>> {
        self.kept.lock().get(&index).cloned()
    }

    fn is_stored(&self, index: u64) -> bool {
        self.held(index).is_some()
    }

    fn is_coming(&self, _index: u64) -> bool {
        false
    }

    async fn fetch(&self, index: u64) -> Result<Arc<Body>, BodyError> {
        self.fetched.lock().push(index);
        Ok(self.held(index).unwrap_or_else(|| self.make(index)))
    }

    fn fetch_ahead(&self, index: u64) {
        self.ahead.lock().push(index);
    }

    fn direct(&self) -> Option<Arc<dyn SliceSource>> {
        None
    }

    fn held_only(&self) -> Arc<dyn SliceSource> {
        Arc::new(Made { whole: self.whole.clone(), ..Made::default() })
    }
}

fn content(made: &Arc<Made>) -> Content {
    let version =
        Version { len: made.whole.len() as u64, validator: HeaderValue::from_static("\"v\""), epoch: 1 };
    let source: Arc<dyn SliceSource> = Arc::<Made>::clone(made);
    Content::Sliced(Sliced::new(version, source, None))
}

async fn read(reader: &mut ContentReader) -> Result<Vec<u8>, BodyError> {
    let mut read = Vec::new();
    while let Some(data) = reader.next().await? {
        assert!(!data.is_empty());
        read.extend_from_slice(&data);
    }
    Ok(read)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// A reader gets the bytes it asked for, touches their slices alone, and each once, in their order.
    #[test]
    fn a_reader_touches_the_slices_it_asked_for(
        len in SLICE_BYTES + 1..4 * SLICE_BYTES,
        start in 0..4 * SLICE_BYTES,
        span in 1..4 * SLICE_BYTES,
    ) {
        let (start, made) = (start % len, Made::of(len));
        let end = (start + span).min(len);
        let mut reader = content(&made).reader();
        reader.seek(start, Some(end));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let got = runtime.block_on(read(&mut reader)).unwrap();
        prop_assert_eq!(got, &made.whole[start as usize..end as usize]);
        let wanted: Vec<u64> = (slice_of(start)..=slice_of(end - 1)).collect();
        prop_assert_eq!(&*made.fetched.lock(), &wanted);
        let ahead = made.ahead.lock().clone();
        prop_assert_eq!(&ahead[..], &wanted[1..]);
    }
}

#[tokio::test]
async fn a_reader_holds_one_slice_at_a_time() {
    let made = Made::of(5 * SLICE_BYTES + 7);
    let mut reader = content(&made).reader();
    assert_eq!(read(&mut reader).await.unwrap(), made.whole);
    assert_eq!(made.most_held.load(Ordering::Acquire), 1);
}

#[tokio::test]
async fn what_is_here_is_read_without_waiting_up_to_the_end_of_its_slice() {
    let made = Made::of(2 * SLICE_BYTES);
    let content = content(&made);
    for index in [0, 1] {
        let body = made.make(index);
        made.kept.lock().insert(index, body);
    }
    let mut reader = content.reader();
    let mut here = 0;
    while let Some(data) = reader.try_next().unwrap() {
        here += data.unwrap().len() as u64;
    }
    assert_eq!(here, SLICE_BYTES);
    assert_eq!(
        reader.next().await.unwrap().unwrap(),
        made.whole.slice(here as usize..(here + here / 2) as usize)
    );
    reader.seek(2 * SLICE_BYTES - 1, None);
    assert_eq!(reader.try_next().unwrap().unwrap().unwrap().len(), 1);
    assert_eq!(reader.try_next().unwrap(), Some(None));
}

#[tokio::test]
async fn a_slice_that_ends_early_breaks_the_content_off() {
    let made = Arc::new(Made { whole: bytes(2 * SLICE_BYTES), short_by: 1, ..Made::default() });
    let mut reader = content(&made).reader();
    assert_eq!(read(&mut reader).await, Err(BodyError::Broken));
}

#[tokio::test]
async fn a_growing_slice_is_read_as_it_arrives() {
    let made = Made::of(2 * SLICE_BYTES);
    let growing = Body::growing(None, None);
    growing.append(made.whole.slice(..10));
    made.kept.lock().insert(0, Arc::clone(&growing));
    let mut reader = content(&made).reader();
    assert_eq!(reader.next().await.unwrap().unwrap(), made.whole.slice(..10));
    assert_eq!(reader.try_next().unwrap(), None);
    growing.append(made.whole.slice(10..20));
    assert_eq!(reader.next().await.unwrap().unwrap(), made.whole.slice(10..20));
    growing.fail();
    assert_eq!(reader.next().await, Err(BodyError::Broken));
}

#[test]
fn slices_cover_an_object_without_gap_or_overlap() {
    for len in [1, SLICE_BYTES - 1, SLICE_BYTES, SLICE_BYTES + 1, 3 * SLICE_BYTES + 5] {
        let mut next = 0;
        for index in 0..=slice_of(len - 1) {
            let range = slice_range(index, len);
            assert_eq!(range.start, next);
            assert!(range.clone().all(|byte| slice_of(byte) == index));
            next = range.end;
        }
        assert_eq!(next, len);
        assert!(slice_range(slice_of(len - 1) + 1, len).is_empty());
    }
    assert!(
        slice_range(u64::MAX, 10).is_empty() && slice_range(u64::MAX / SLICE_BYTES, u64::MAX).end == u64::MAX
    );
}
