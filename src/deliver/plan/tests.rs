#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::time::UNIX_EPOCH;

use bytes::Bytes;
use pingora::http::ResponseHeader;

use super::*;
use crate::asset::Kind;
use crate::config::model::Coding;
use crate::deliver::encode::Coded;
use crate::key::Key;
use crate::store::{Body, Lifetime};

const EARLIER: &str = "Tue, 14 Nov 2023 22:13:19 GMT";
const MODIFIED: &str = "Tue, 14 Nov 2023 22:13:20 GMT";
const A_SECOND_LATER: &str = "Tue, 14 Nov 2023 22:13:21 GMT";

const TERMS: Terms = Terms { ranges_max: 3, named: 0, boundary: Boundary::random };

/// Fields of a header.
type Fields<'a> = &'a [(&'static str, &'a str)];

fn object_with(status: u16, fields: Fields<'_>, body: &Arc<Body>) -> Object {
    let mut header = ResponseHeader::build_no_case(status, None).unwrap();
    for (name, value) in fields {
        header.append_header(*name, *value).unwrap();
    }
    let lifetime = Lifetime::ended(UNIX_EPOCH);
    let key = Key { hash: 1, text: "0 /".into() };
    Object::new(key, Kind::Segment, header, lifetime, Arc::clone(body).into())
}

/// `01234`, of `0123456789`.
fn growing() -> Arc<Body> {
    let body = Body::growing(None, None);
    body.append(Bytes::from_static(b"01234"));
    body
}

fn whole(len: usize) -> Arc<Body> {
    let body = Body::growing(None, None);
    body.append(Bytes::from(vec![7; len]));
    body.finish();
    body
}

fn object(status: u16, told: bool, complete: bool) -> Object {
    let mut fields = vec![("etag", "\"v1,a\""), ("last-modified", MODIFIED), ("date", A_SECOND_LATER)];
    if told {
        fields.push(("content-length", "10"));
    }
    object_with(status, &fields, &if complete { whole(10) } else { growing() })
}

fn tried(object: &Object, fields: Fields<'_>) -> Result<Plan, Untold> {
    tried_with(object, fields, 0)
}

fn tried_with(object: &Object, fields: Fields<'_>, named: u64) -> Result<Plan, Untold> {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, value.parse().unwrap());
    }
    plan(&Method::GET, &headers, object, &Selected::default(), &Terms { named, ..TERMS })
}

fn planned(object: &Object, fields: Fields<'_>) -> Plan {
    tried(object, fields).unwrap()
}

#[test]
fn a_client_that_has_it_is_told_so() {
    let object = object(200, true, true);
    for fields in [
        [("if-none-match", "\"v1,a\"")],
        [("if-none-match", "\"x\", W/\"v1,a\"")],
        [("if-none-match", "*")],
        [("if-modified-since", MODIFIED)],
        [("if-modified-since", A_SECOND_LATER)],
    ] {
        assert_eq!(planned(&object, &fields), Plan::NotModified, "{fields:?}");
    }
    for fields in [
        &[("if-none-match", "\"v2\""), ("if-modified-since", MODIFIED)] as Fields<'_>,
        &[("if-none-match", "")],
        &[("if-modified-since", EARLIER)],
        &[("if-modified-since", "yesterday")],
        &[("if-modified-since", MODIFIED), ("if-modified-since", MODIFIED)],
    ] {
        assert_eq!(planned(&object, fields), Plan::Whole, "{fields:?}");
    }
}

#[test]
fn without_a_modification_date_the_date_of_the_answer_counts() {
    let dated = object_with(200, &[("date", MODIFIED)], &whole(10));
    assert_eq!(planned(&dated, &[("if-modified-since", MODIFIED)]), Plan::NotModified);
    assert_eq!(planned(&dated, &[("if-modified-since", EARLIER)]), Plan::Whole);
    let undated = object_with(200, &[], &whole(10));
    assert_eq!(planned(&undated, &[("if-modified-since", MODIFIED)]), Plan::NotModified);
    let unreadable = object_with(200, &[("last-modified", "once")], &whole(10));
    assert_eq!(planned(&unreadable, &[("if-modified-since", MODIFIED)]), Plan::Whole);
}

#[test]
fn a_client_that_wants_another_version_gets_none() {
    let object = object(200, true, true);
    for (fields, expected) in [
        (&[("if-match", "\"v1,a\"")] as Fields<'_>, Plan::Whole),
        (&[("if-match", "\"x\", \"v1,a\"")], Plan::Whole),
        (&[("if-match", "\"x\""), ("if-match", "\"v1,a\"")], Plan::Whole),
        (&[("if-match", "*")], Plan::Whole),
        (&[("if-match", "W/\"v1,a\"")], Plan::Failed),
        (&[("if-match", "\"v2\"")], Plan::Failed),
        (&[("if-match", "")], Plan::Failed),
        (&[("if-unmodified-since", MODIFIED)], Plan::Whole),
        (&[("if-unmodified-since", EARLIER)], Plan::Failed),
        (&[("if-unmodified-since", "yesterday")], Plan::Whole),
        // The order of section 13.2.2.
        (&[("if-match", "\"v1,a\""), ("if-unmodified-since", EARLIER)], Plan::Whole),
        (&[("if-match", "\"v2\""), ("if-none-match", "\"v1,a\"")], Plan::Failed),
        (&[("if-match", "\"v1,a\""), ("if-none-match", "\"v1,a\"")], Plan::NotModified),
        (&[("if-match", "\"v2\""), ("range", "bytes=90-")], Plan::Failed),
        (&[("if-none-match", "\"v1,a\""), ("range", "bytes=90-")], Plan::NotModified),
    ] {
        assert_eq!(planned(&object, fields), expected, "{fields:?}");
    }
    let untagged = object_with(200, &[], &whole(10));
    assert_eq!(planned(&untagged, &[("if-match", "\"v1\"")]), Plan::Failed);
    assert_eq!(planned(&untagged, &[("if-match", "*")]), Plan::Whole);
    assert_eq!(planned(&untagged, &[("if-unmodified-since", EARLIER)]), Plan::Whole);
    let weak = object_with(200, &[("etag", "W/\"v1\"")], &whole(10));
    assert_eq!(planned(&weak, &[("if-match", "W/\"v1\"")]), Plan::Failed);
}

#[test]
fn an_encoded_representation_has_a_tag_of_its_own_and_no_parts() {
    let object = object(200, true, true);
    let content = object.body.clone();
    let coded = Selected { coded: Some(Coded { coding: Coding::Brotli, content }), ..Selected::default() };
    let planned = |name: &'static str, value: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        plan(&Method::GET, &headers, &object, &coded, &TERMS).unwrap()
    };
    assert_eq!(planned("if-none-match", "\"v1,a-br\""), Plan::NotModified);
    assert_eq!(planned("if-none-match", "\"v1,a\""), Plan::Whole);
    assert_eq!(planned("if-none-match", "\"v1,a-gzip\""), Plan::Whole);
    assert_eq!(planned("if-match", "\"v1,a-br\""), Plan::Whole);
    assert_eq!(planned("if-match", "\"v1,a\""), Plan::Failed);
    assert_eq!(planned("range", "bytes=0-1"), Plan::Whole);
}

#[test]
fn a_range_is_honoured_while_the_object_grows_if_its_length_is_told() {
    for complete in [false, true] {
        let object = object(200, true, complete);
        let plan = planned(&object, &[("range", "bytes=2-7")]);
        assert_eq!(plan, Plan::Part { start: 2, end: 8, len: Some(10) });
        assert_eq!(planned(&object, &[("range", "bytes=10-")]), Plan::Unsatisfiable(10));
        let onward = planned(&object, &[("range", "bytes=2-9007199254740991")]);
        assert_eq!(onward, Plan::Part { start: 2, end: 10, len: Some(10) });
    }
}

#[test]
fn a_range_of_untold_length_is_honoured_once_it_is_certain() {
    let growing = object(200, false, false);
    for (field, expected) in [
        ("bytes=0-4", Ok(Plan::Part { start: 0, end: 5, len: None })),
        ("bytes=0-5", Err(Untold(6))),
        ("bytes=7-8", Err(Untold(9))),
        ("bytes=0-", Ok(Plan::Whole)),
        ("bytes=2-", Err(Untold(u64::MAX))),
        ("bytes=-2", Err(Untold(u64::MAX))),
        ("bytes=0-0,2-2", Err(Untold(u64::MAX))),
        ("bytes=4-9007199254740991", Ok(Plan::Onward { start: 4 })),
        ("bytes=5-9007199254740991", Err(Untold(6))),
        ("bytes=9-5", Ok(Plan::Whole)),
    ] {
        assert_eq!(tried(&growing, &[("range", field)]), expected, "{field}");
    }
}

#[test]
fn bytes_that_a_playlist_has_named_are_sent_as_they_come() {
    let growing = object(200, false, false);
    for (field, expected) in [
        ("bytes=0-7", Ok(Plan::Part { start: 0, end: 8, len: None })),
        ("bytes=4-7", Ok(Plan::Part { start: 4, end: 8, len: None })),
        ("bytes=5-7", Err(Untold(6))),
        ("bytes=4-8", Err(Untold(9))),
        ("bytes=2-", Err(Untold(u64::MAX))),
    ] {
        assert_eq!(tried_with(&growing, &[("range", field)], 8), expected, "{field}");
    }
}

#[test]
fn a_body_that_is_not_kept_is_not_waited_for() {
    let body = Body::growing(Some(1 << 20), None);
    body.append(Bytes::from_static(b"01234"));
    let streamed = object_with(200, &[], &body);
    assert_eq!(planned(&streamed, &[("range", "bytes=0-5")]), Plan::Whole);
    assert_eq!(planned(&streamed, &[("range", "bytes=2-")]), Plan::Whole);
    assert_eq!(planned(&streamed, &[("range", "bytes=0-4")]), Plan::Part { start: 0, end: 5, len: None });
}

#[tokio::test]
async fn what_is_untold_is_waited_for() {
    let body = growing();
    let object = object_with(200, &[], &body);
    let field = [("range", "bytes=3-6")];
    let untold = tried(&object, &field).unwrap_err();
    let waiting = untold.wait(&object);
    tokio::pin!(waiting);
    assert!(futures_poll(waiting.as_mut()).await.is_none(), "two bytes are missing");
    body.append(Bytes::from_static(b"56"));
    waiting.await.unwrap();
    assert_eq!(planned(&object, &field), Plan::Part { start: 3, end: 7, len: None });

    let beyond = tried(&object, &[("range", "bytes=7-9")]).unwrap_err();
    body.finish();
    beyond.wait(&object).await.unwrap();
    assert_eq!(planned(&object, &[("range", "bytes=7-9")]), Plan::Unsatisfiable(7));

    let broken = growing();
    let object = object_with(200, &[], &broken);
    broken.fail();
    let untold = tried(&object, &[("range", "bytes=7-9")]).unwrap_err();
    assert_eq!(untold.wait(&object).await, Err(BodyError::Broken));
}

/// What a future gives when it is polled once.
async fn futures_poll<F: Future>(mut future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(match future.as_mut().poll(context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

#[test]
fn several_ranges_are_sent_as_parts_if_that_is_less_than_the_whole() {
    let large = object_with(200, &[("content-type", "video/mp4")], &whole(10_000));
    let Plan::Parts(multipart) = planned(&large, &[("range", "bytes=9-19,0-3")]) else { panic!() };
    assert_eq!(multipart.parts(), [9..20, 0..4]);
    assert_eq!(
        planned(&large, &[("range", "bytes=0-3,4-9")]),
        Plan::Part { start: 0, end: 10, len: Some(10_000) }
    );
    assert_eq!(
        planned(&large, &[("range", "bytes=0-3,90000-")]),
        Plan::Part { start: 0, end: 4, len: Some(10_000) }
    );
    assert_eq!(planned(&large, &[("range", "bytes=20000-,90000-")]), Plan::Unsatisfiable(10_000));
    assert_eq!(planned(&large, &[("range", "bytes=0-1,3-4,6-7,9-9")]), Plan::Whole, "beyond the limit");
    let nearly_all = [("range", "bytes=0-5000,5002-9999")];
    assert_eq!(planned(&large, &nearly_all), Plan::Whole, "the parts' headers outweigh what is left out");
    let twice = [("range", "bytes=0-1"), ("range", "bytes=0-1")];
    assert_eq!(planned(&large, &twice), Plan::Whole, "no list");
    let small = object(200, true, true);
    assert_eq!(planned(&small, &[("range", "bytes=0-1,5-6")]), Plan::Whole);
}

#[test]
fn a_range_is_ignored_unless_the_method_is_get() {
    let mut headers = HeaderMap::new();
    headers.insert("range", "bytes=90-".parse().unwrap());
    let object = object(200, true, true);
    assert_eq!(plan(&Method::HEAD, &headers, &object, &Selected::default(), &TERMS), Ok(Plan::Whole));
}

#[test]
fn a_range_holds_only_for_the_same_object() {
    let object = object(200, true, true);
    let part = Plan::Part { start: 0, end: 1, len: Some(10) };
    for (condition, expected) in [
        ("\"v1,a\"", &part),
        (MODIFIED, &part),
        ("\"v2\"", &Plan::Whole),
        ("W/\"v1,a\"", &Plan::Whole),
        (A_SECOND_LATER, &Plan::Whole),
        (EARLIER, &Plan::Whole),
        ("v1", &Plan::Whole),
    ] {
        let fields = [("range", "bytes=0-0"), ("if-range", condition)];
        assert_eq!(planned(&object, &fields), *expected, "{condition}");
    }
    let twice = [("range", "bytes=0-0"), ("if-range", MODIFIED), ("if-range", MODIFIED)];
    assert_eq!(planned(&object, &twice), Plan::Whole);
}

#[test]
fn a_date_that_is_not_strong_never_joins_parts() {
    let fields = [("last-modified", MODIFIED), ("date", MODIFIED)];
    let young = object_with(200, &fields, &whole(10));
    let asked = [("range", "bytes=0-0"), ("if-range", MODIFIED)];
    assert_eq!(planned(&young, &asked), Plan::Whole);
    let weak = object_with(200, &[("etag", "W/\"v1\"")], &whole(10));
    assert_eq!(planned(&weak, &[("range", "bytes=0-0"), ("if-range", "W/\"v1\"")]), Plan::Whole);
}

#[test]
fn preconditions_bear_on_a_200_alone() {
    let object = object(404, true, true);
    for field in [("if-none-match", "*"), ("if-match", "\"x\""), ("range", "bytes=90-")] {
        assert_eq!(planned(&object, &[field]), Plan::Whole);
    }
}
