//! Parts and incomplete answers (RFC 9111 sections 3.3 and 3.4, RFC 9110 section 14).
//!
//! | section | requirement | test |
//! |---|---|---|
//! | 3.3 | a 206 is never used as the whole | `a_part_is_never_used_as_the_whole` |
//! | 3.3 | what broke off is never used as complete | `what_broke_off_is_not_used` |
//! | 3.3, 4 | a part is answered from the stored whole | `a_part_is_answered_from_the_stored_whole` |
//! | RFC 9110 14.2 | a range that cannot be read, or of unknown unit, is ignored | `a_range_that_means_nothing_is_ignored` |
//! | RFC 9110 15.5.17 | 416 with the length | `a_range_beyond_the_end_is_answered_416` |
//! | RFC 9110 13.1.5 | `If-Range`: strong comparison | `if_range_compares_strongly` |
//! | RFC 9110 14.2 | ranges bear on GET alone | `a_range_bears_on_get_alone` |

use super::{Answer, Bench, Request, Wrong};

const BODY: &str = "0123456789";

fn whole() -> Answer {
    Answer::ok(BODY).cache_control("max-age=3600").etag("\"a\"")
}

#[tokio::test]
async fn a_part_is_answered_from_the_stored_whole() {
    let bench = Bench::start().await;
    bench.origin.on("/page", whole());
    bench.get("/page").await;
    for (range, told, body) in [
        ("bytes=0-0", "bytes 0-0/10", "0"),
        ("bytes=2-5", "bytes 2-5/10", "2345"),
        ("bytes=5-", "bytes 5-9/10", "56789"),
        ("bytes=-3", "bytes 7-9/10", "789"),
        ("bytes=-100", "bytes 0-9/10", BODY),
        ("bytes=8-100", "bytes 8-9/10", "89"),
        ("BYTES=0-1", "bytes 0-1/10", "01"),
    ] {
        let part = bench.ask(&Request::get("/page").range(range)).await;
        assert_eq!(
            (part.status(), part.get("content-range"), &**part.whole()),
            (206, Some(told), body.as_bytes())
        );
        assert_eq!((part.get("etag"), part.head.count("age")), (Some("\"a\""), 1), "{range}");
    }
    assert_eq!(bench.origin.requests("/page"), 1);
}

#[tokio::test]
async fn a_range_that_means_nothing_is_ignored() {
    let bench = Bench::start().await;
    bench.origin.on("/page", whole());
    bench.get("/page").await;
    for range in ["lines=0-1", "bytes=5-2", "bytes=a-b", "bytes", "bytes=", "bytes=-", "0-1"] {
        let response = bench.ask(&Request::get("/page").range(range)).await;
        assert_eq!((response.status(), response.whole()), (200, &BODY.into()), "{range}");
    }
    assert_eq!(bench.origin.requests("/page"), 1);
}

#[tokio::test]
async fn a_range_beyond_the_end_is_answered_416() {
    let bench = Bench::start().await;
    bench.origin.on("/page", whole());
    bench.get("/page").await;
    for range in ["bytes=10-", "bytes=100-200", "bytes=-0"] {
        let response = bench.ask(&Request::get("/page").range(range)).await;
        assert_eq!((response.status(), response.get("content-range")), (416, Some("bytes */10")), "{range}");
    }
    assert_eq!(bench.get("/page").await.whole(), BODY);
}

#[tokio::test]
async fn a_range_bears_on_get_alone() {
    let bench = Bench::start().await;
    bench.origin.on("/page", whole());
    bench.get("/page").await;
    let head = bench.ask(&Request::head("/page").range("bytes=0-1")).await;
    assert_eq!((head.status(), head.get("content-length")), (200, Some("10")));
}

#[tokio::test]
async fn if_range_compares_strongly() {
    let bench = Bench::start().await;
    let mut wrong = Wrong::default();
    for (stored, condition, status) in [
        ("\"a\"", "\"a\"", 206),
        ("\"a\"", "\"b\"", 200),
        ("W/\"a\"", "W/\"a\"", 200),
        ("W/\"a\"", "\"a\"", 200),
        ("\"a\"", "W/\"a\"", 200),
    ] {
        let path = bench.path();
        bench.origin.on(&path, Answer::ok(BODY).cache_control("max-age=3600").etag(stored));
        bench.get(&path).await;
        let request = Request::get(&path).range("bytes=0-1").header("if-range", condition);
        let found = bench.ask(&request).await.status();
        wrong.note(found == status, || format!("{condition} of {stored}: {found}"));
    }
    bench
        .origin
        .on("/dated", bench.answer(&[("cache-control", "max-age=3600"), ("last-modified", "{now-86400}")]));
    bench.get("/dated").await;
    for (offset, status) in [(-86400, 206), (-86401, 200), (-100, 200)] {
        let request = Request::get("/dated").range("bytes=0-1").header("if-range", &bench.date(offset));
        let found = bench.ask(&request).await.status();
        wrong.note(found == status, || format!("a date, {offset}: {found}"));
    }
    wrong.none();
}

/// Conditions come before ranges (RFC 9110 section 13.2.2).
#[tokio::test]
async fn conditions_come_before_ranges() {
    let bench = Bench::start().await;
    bench.origin.on("/page", whole());
    bench.get("/page").await;
    let with = |tag: &str| Request::get("/page").range("bytes=0-1").header("if-none-match", tag);
    assert_eq!(bench.ask(&with("\"a\"")).await.status(), 304);
    assert_eq!(bench.ask(&with("\"b\"")).await.status(), 206);
}

/// Asked for first in part: the whole is whole afterwards, and parts are the right ones.
#[tokio::test]
async fn a_part_is_never_used_as_the_whole() {
    let bench = Bench::start().await;
    for ranges in [true, false] {
        for (range, body) in [("bytes=2-5", "2345"), ("bytes=-3", "789"), ("bytes=5-", "56789")] {
            let path = bench.path();
            bench.origin.on(&path, if ranges { whole().ranges() } else { whole() });
            let part = bench.ask(&Request::get(&path).range(range)).await;
            assert_eq!((part.status(), &**part.whole()), (206, body.as_bytes()), "{range}");
            for _ in 0..2 {
                assert_eq!(bench.get(&path).await.whole(), BODY, "{range}");
            }
            assert_eq!(&**bench.ask(&Request::get(&path).range("bytes=0-1")).await.whole(), b"01");
        }
    }
}

/// A 206 that nobody asked for is not stored as anything.
#[tokio::test]
async fn a_part_that_was_not_asked_for_is_not_stored() {
    let bench = Bench::start().await;
    let part =
        Answer::status(206).body("01").cache_control("max-age=3600").header("content-range", "bytes 0-1/10");
    bench.origin.on_each("/page", vec![part, whole()]);
    bench.get("/page").await;
    for _ in 0..2 {
        let response = bench.get("/page").await;
        assert_eq!((response.status(), response.whole()), (200, &BODY.into()));
    }
}

#[tokio::test]
async fn what_broke_off_is_not_used() {
    let bench = Bench::start().await;
    for broken in [
        whole().close_after(4),
        whole().reset_after(4),
        whole().claiming_length(20),
        whole().chunked().close_after(4),
    ] {
        let path = bench.path();
        bench.origin.on_each(&path, vec![broken, whole()]);
        bench.get(&path).await;
        for _ in 0..2 {
            assert_eq!(bench.get(&path).await.whole(), BODY);
        }
    }
}

/// A stale whole is validated as a whole before a part of it is sent.
#[tokio::test]
async fn a_part_of_a_stale_whole_is_validated_first() {
    let bench = Bench::start().await;
    let of = |tag: &str, body: &str| Answer::ok(body.to_owned()).cache_control("max-age=60").etag(tag);
    bench.origin.on_each("/same", vec![of("\"a\"", BODY)]);
    bench.origin.on_each("/changed", vec![of("\"a\"", BODY), of("\"b\"", "abcdefghij")]);
    for path in ["/same", "/changed"] {
        bench.get(path).await;
    }
    bench.advance(100);
    let part = |path: &str| Request::get(path).range("bytes=2-5");
    assert_eq!(bench.ask(&part("/same")).await.whole(), "2345");
    assert_eq!(bench.origin.last("/same").header("if-none-match"), Some("\"a\""));
    assert_eq!(bench.ask(&part("/changed")).await.whole(), "cdef");
    assert_eq!(bench.get("/changed").await.whole(), "abcdefghij");
}
