//! What a body promises its readers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;
use crate::store::budget::Budget;
use proptest::prelude::*;

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|place| (place * 31 % 251) as u8).collect()
}

async fn read_all(mut reader: Reader) -> Result<Vec<u8>, BodyError> {
    let mut read = Vec::new();
    while let Some(data) = reader.next().await? {
        assert!(!data.is_empty() && data.len() <= CHUNK_BYTES);
        read.extend_from_slice(&data);
    }
    Ok(read)
}

proptest! {
    /// Whatever pieces a body comes in, whenever a reader comes and whatever it asks for, it reads just those bytes.
    #[test]
    fn a_reader_gets_the_bytes_it_asked_for(
        cuts in prop::collection::vec(1usize..300_000, 1..8),
        start in 0usize..1_000_000,
        span in 0usize..1_000_000,
        begin_after in 0usize..8,
    ) {
        let whole = content(cuts.iter().sum());
        let start = start % (whole.len() + 1);
        let end = (start + span).min(whole.len());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let read = runtime.block_on(async {
            let body = Body::growing(None, None);
            let mut rest = Bytes::from(whole.clone());
            let mut task = None;
            for (place, cut) in cuts.iter().enumerate() {
                if place == begin_after.min(cuts.len() - 1) {
                    let mut reader = Reader::new(Arc::clone(&body));
                    reader.seek(start as u64, Some(end as u64));
                    task = Some(tokio::spawn(read_all(reader)));
                }
                body.append(rest.split_to(*cut));
                tokio::task::yield_now().await;
            }
            body.finish();
            let mut late = Reader::new(Arc::clone(&body));
            late.seek(start as u64, Some(end as u64));
            assert_eq!(read_all(late).await.unwrap(), &whole[start..end]);
            task.unwrap().await.unwrap().unwrap()
        });
        prop_assert_eq!(read, &whole[start..end]);
    }
}

#[tokio::test]
async fn a_broken_body_is_never_a_clean_end() {
    let body = Body::growing(None, None);
    let early = Reader::new(Arc::clone(&body));
    body.append(Bytes::from(content(1000)));
    body.fail();
    assert_eq!(read_all(early).await, Err(BodyError::Broken));
    assert_eq!(read_all(Reader::new(Arc::clone(&body))).await, Err(BodyError::Broken));
    assert!(!body.is_complete());
}

#[tokio::test]
async fn a_body_holds_its_budget_until_its_last_reader_has_gone() {
    let budget = Budget::new(1 << 20);
    let body = Body::growing(None, budget.try_take(1000));
    body.append(Bytes::from(content(1000)));
    body.finish();
    let reader = Reader::new(Arc::clone(&body));
    drop(body);
    assert_eq!(budget.used(), 1000);
    assert_eq!(read_all(reader).await.unwrap().len(), 1000);
    assert_eq!(budget.used(), 0);
}

#[tokio::test]
async fn the_writer_of_a_window_waits_for_its_foremost_reader() {
    let body = Body::growing(Some(CHUNK_BYTES as u64), None);
    let mut reader = Reader::new(Arc::clone(&body));
    body.room().await;
    body.append(Bytes::from(content(CHUNK_BYTES)));
    let writer = tokio::spawn({
        let body = Arc::clone(&body);
        async move { body.room().await }
    });
    tokio::task::yield_now().await;
    assert!(!writer.is_finished());
    assert_eq!(reader.next().await.unwrap().unwrap().len(), CHUNK_BYTES);
    writer.await.unwrap();
}

#[tokio::test]
async fn a_reader_that_seeks_past_the_window_draws_the_writer_on() {
    let body = Body::growing(Some(CHUNK_BYTES as u64), None);
    let mut reader = Reader::new(Arc::clone(&body));
    reader.seek(5 * CHUNK_BYTES as u64 + 7, None);
    for _ in 0..6 {
        body.room().await;
        body.append(Bytes::from(content(CHUNK_BYTES)));
    }
    body.finish();
    assert_eq!(read_all(reader).await.unwrap(), &content(CHUNK_BYTES)[7..]);
}

#[tokio::test]
async fn a_reader_far_behind_the_window_is_told_so() {
    let body = Body::growing(Some(CHUNK_BYTES as u64), None);
    let slow = Reader::new(Arc::clone(&body));
    let mut fast = Reader::new(Arc::clone(&body));
    for _ in 0..4 {
        body.room().await;
        body.append(Bytes::from(content(CHUNK_BYTES)));
        fast.next().await.unwrap().unwrap();
    }
    body.finish();
    assert_eq!(fast.next().await.unwrap(), None);
    assert_eq!(read_all(slow).await, Err(BodyError::FellBehind));
}
