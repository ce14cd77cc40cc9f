//! What a request says of caching (RFC 9111 sections 5.2.1 and 5.4). A shared cache may ignore it, and this one does but
//! for `only-if-cached`, unless a rule has it obey.
//!
//! | section | requirement | test |
//! |---|---|---|
//! | 5.2.1.7 | `only-if-cached`: stored, or 504 | `only_if_cached_never_reaches_the_origin` |
//! | 5.2.1, 5.4 | by default nothing else is obeyed | `viewers_do_not_steer_the_cache` |
//! | 5.2.1.1 | `max-age` | `obeyed_directives_bound_what_is_used` |
//! | 5.2.1.2 | `max-stale` | `max_stale_admits_what_is_stale` |
//! | 5.2.1.3 | `min-fresh` | `obeyed_directives_bound_what_is_used` |
//! | 5.2.1.4, 5.4 | `no-cache` and `Pragma` | `obeyed_directives_bound_what_is_used` |
//! | 5.2.1 | the same of parts and objects in slices | `obeyed_directives_bound_slices` |
//! | 5.2.1 | the same of each variant by itself | `obeyed_directives_bound_each_variant` |
//! | 5.2.1 | the same of an encoded copy | `obeyed_directives_bound_an_encoded_copy` |
//! | 5.2.1.5 | `no-store` | `no_store_of_an_obeyed_request_is_kept_to` |

use super::{Answer, Bench, Request, Reused, Use, Validated, Wrong};

const OBEY: &str = "[[site.rule]]\npath = \"/*\"\nobey_client = true";

async fn obedient() -> Bench {
    Bench::with(|setup| setup.more(OBEY)).await
}

/// Stores an answer, lets time pass, and asks with a field.
async fn use_with(bench: &Bench, control: &str, after: u64, (name, value): (&str, &str)) -> Use {
    let path = bench.path();
    bench.origin.on(&path, Answer::ok("b").cache_control(control).etag("\"a\""));
    bench.get(&path).await;
    bench.advance(after);
    bench.ask(&Request::get(&path).header(name, value)).await;
    bench.last_use(&path, 2)
}

#[tokio::test]
async fn only_if_cached_never_reaches_the_origin() {
    let bench = Bench::start().await;
    bench.origin.otherwise(|_, _| Answer::ok("b").cache_control("max-age=60"));
    for value in ["only-if-cached", "ONLY-IF-CACHED", "max-age=100, only-if-cached", "foo, only-if-cached"] {
        let path = bench.path();
        let cached = Request::get(&path).header("cache-control", value);
        assert_eq!(bench.ask(&cached).await.status(), 504, "{value}");
        assert_eq!(bench.origin.requests(&path), 0, "{value}");
        bench.get(&path).await;
        let hit = bench.ask(&cached).await;
        assert_eq!((hit.status(), hit.whole()), (200, &"b".into()), "{value}");
        bench.advance(100);
        assert_eq!(bench.ask(&cached).await.status(), 504, "{value}: stale");
        assert_eq!(bench.origin.requests(&path), 1, "{value}");
    }
}

/// Also of an object that is kept in slices, of which one is there and another is not.
#[tokio::test]
async fn only_if_cached_never_fetches_a_slice() {
    const MIB: usize = 1024 * 1024;
    let bench = Bench::with(|setup| setup.limits("slice_above = \"2MiB\"")).await;
    let body = crate::support::content::content(1, 6 * MIB);
    bench.origin.on("/film.mp4", Answer::ok(body).cache_control("max-age=3600").etag("\"a\"").ranges());
    let part =
        |mib: usize| Request::get("/film.mp4").range(&format!("bytes={}-{}", mib * MIB, mib * MIB + 9));
    assert_eq!(bench.ask(&part(0)).await.status(), 206);
    let cached = |mib: usize| part(mib).header("cache-control", "only-if-cached");
    // Ten bytes of the slice have been sent; stored it is when all of it has come.
    crate::support::wait::within("the first slice", async {
        while bench.ask(&cached(0)).await.status() != 206 {
            tokio::time::sleep(crate::support::wait::LOOK_EVERY).await;
        }
    })
    .await;
    let before = bench.origin.requests("/film.mp4");
    assert_eq!(bench.ask(&cached(4)).await.status(), 504);
    for (ranges, status) in [("bytes=0-9, 200-209", 206), ("bytes=0-9, 4194304-4194313", 504)] {
        let several = Request::get("/film.mp4").range(ranges).header("cache-control", "only-if-cached");
        assert_eq!(bench.ask(&several).await.status(), status, "{ranges}");
    }
    // The header is stored, and no more is asked for by HEAD, or by one who has the body.
    let head = bench.ask(&Request::head("/film.mp4").header("cache-control", "only-if-cached")).await;
    assert_eq!((head.status(), head.get("content-length")), (200, Some("6291456")));
    let known = Request::get("/film.mp4").header("if-none-match", "\"a\"");
    assert_eq!(bench.ask(&known.header("cache-control", "only-if-cached")).await.status(), 304);
    assert_eq!(bench.origin.requests("/film.mp4"), before);
}

#[tokio::test]
async fn viewers_do_not_steer_the_cache() {
    let bench = Bench::start().await;
    let mut wrong = Wrong::default();
    for field in [
        ("cache-control", "no-cache"),
        ("cache-control", "no-store"),
        ("cache-control", "max-age=0"),
        ("cache-control", "max-age=1"),
        ("cache-control", "min-fresh=100000"),
        ("cache-control", "foo"),
        ("cache-control", "max-age=foo"),
        ("pragma", "no-cache"),
    ] {
        let found = use_with(&bench, "max-age=3600", 10, field).await;
        wrong.note(found == Reused, || format!("{field:?}: {found:?}"));
    }
    let found = use_with(&bench, "max-age=60", 100, ("cache-control", "max-stale")).await;
    wrong.note(found == Validated, || format!("max-stale: {found:?}"));
    wrong.none();
}

#[tokio::test]
async fn obeyed_directives_bound_what_is_used() {
    let bench = obedient().await;
    let mut wrong = Wrong::default();
    for (after, field, expected) in [
        (10, ("cache-control", "max-age=0"), Validated),
        (10, ("cache-control", "max-age=9"), Validated),
        (10, ("cache-control", "MAX-AGE=9"), Validated),
        (10, ("cache-control", "max-age=100"), Reused),
        (10, ("cache-control", "min-fresh=100"), Reused),
        (10, ("cache-control", "min-fresh=3591"), Validated),
        (10, ("cache-control", "min-fresh=100000"), Validated),
        (10, ("cache-control", "no-cache"), Validated),
        (10, ("cache-control", "No-Cache"), Validated),
        (10, ("cache-control", "foo, no-cache"), Validated),
        (10, ("pragma", "no-cache"), Validated),
        (10, ("cache-control", "foo"), Reused),
        (10, ("pragma", "foo"), Reused),
    ] {
        let found = use_with(&bench, "max-age=3600", after, field).await;
        wrong.note(found == expected, || format!("{field:?} after {after} s: {found:?}, not {expected:?}"));
    }
    // `Cache-Control` comes before `Pragma` (section 5.4).
    bench.origin.on("/both", Answer::ok("b").cache_control("max-age=3600"));
    bench.get("/both").await;
    let both = Request::get("/both").header("pragma", "no-cache").header("cache-control", "max-age=1000");
    bench.ask(&both).await;
    wrong.note(bench.origin.requests("/both") == 1, || "Pragma beside Cache-Control".to_owned());
    wrong.none();
}

#[tokio::test]
async fn max_stale_admits_what_is_stale() {
    let bench = obedient().await;
    let mut wrong = Wrong::default();
    for (control, field, expected) in [
        ("max-age=60", "max-stale", Reused),
        ("max-age=60", "max-stale=1000", Reused),
        ("max-age=60", "max-stale=39", Validated),
        ("max-age=60", "max-age=1000", Validated),
        ("max-age=60, must-revalidate", "max-stale", Validated),
        ("max-age=60, proxy-revalidate", "max-stale", Validated),
        ("s-maxage=60", "max-stale", Validated),
        ("no-cache", "max-stale", Validated),
    ] {
        let found = use_with(&bench, control, 100, ("cache-control", field)).await;
        wrong.note(found == expected, || format!("{field} of {control}: {found:?}, not {expected:?}"));
    }
    wrong.none();
}

#[tokio::test]
async fn no_store_of_an_obeyed_request_is_kept_to() {
    let bench = obedient().await;
    bench.origin.on("/page", Answer::ok("b").cache_control("max-age=3600"));
    bench.ask(&Request::get("/page").header("cache-control", "no-store")).await;
    bench.get("/page").await;
    assert_eq!(bench.origin.requests("/page"), 2, "the answer to a request with no-store is stored");
    bench.get("/page").await;
    assert_eq!(bench.origin.requests("/page"), 2);
}

/// What is asked for in part is confirmed as a whole, and no byte of it is fetched again.
#[tokio::test]
async fn obeyed_directives_bound_slices() {
    const MIB: usize = 1024 * 1024;
    let bench = Bench::with(|setup| setup.limits("slice_above = \"2MiB\"").more(OBEY)).await;
    let body = crate::support::content::content(1, 4 * MIB);
    let film = Answer::ok(body.clone()).cache_control("max-age=3600").etag("\"a\"").ranges();
    bench.origin.on("/film.mp4", film);
    let whole = || Request::get("/film.mp4");
    assert_eq!(bench.ask(&whole()).await.whole(), &body);
    let mut wrong = Wrong::default();
    for (after, control, asked) in [
        (0, "max-age=100", false),
        (10, "max-age=9", true),
        (10, "max-age=9", true),
        (0, "no-cache", true),
        (10, "min-fresh=3590", false),
        (0, "min-fresh=3591", true),
        (3600, "max-stale=10", false),
        (11, "max-stale=10", true),
    ] {
        bench.advance(after);
        let before = bench.origin.requests("/film.mp4");
        let bytes = bench.origin.body_bytes("/film.mp4");
        let part = whole().range("bytes=2097150-2097159").header("cache-control", control);
        let response = bench.ask(&part).await;
        let same = response.status() == 206 && *response.whole() == body.slice(2_097_150..2_097_160);
        wrong.note(same, || format!("{control}: {}", response.status()));
        let requests = bench.origin.requests("/film.mp4") - before;
        wrong.note(requests == usize::from(asked), || format!("{control}: {requests} requests"));
        wrong.note(bench.origin.body_bytes("/film.mp4") == bytes, || format!("{control}: bytes"));
        let condition = bench.origin.last("/film.mp4").header("if-none-match").map(str::to_owned);
        wrong.note(!asked || condition.as_deref() == Some("\"a\""), || format!("{control}: {condition:?}"));
    }
    wrong.none();
}

#[tokio::test]
async fn obeyed_directives_bound_each_variant() {
    let bench = obedient().await;
    bench.origin.script("/page", |request, _| {
        let value = request.header("x-test").unwrap_or("none").to_owned();
        let answer = Answer::ok(value.clone()).cache_control("max-age=3600").header("vary", "x-test");
        answer.etag(&format!("\"{value}\""))
    });
    let of = |value: &str| Request::get("/page").header("x-test", value);
    for value in ["one", "two"] {
        assert_eq!(bench.ask(&of(value)).await.whole(), value);
    }
    let cached = |value: &str| of(value).header("cache-control", "only-if-cached");
    assert_eq!(bench.ask(&cached("one")).await.whole(), "one");
    assert_eq!(bench.ask(&cached("three")).await.status(), 504);
    bench.advance(100);
    let mut asked = bench.origin.requests("/page");
    for (nth, control) in ["no-cache", "max-age=0", "min-fresh=4000"].into_iter().enumerate() {
        let response = bench.ask(&of("two").header("cache-control", control)).await;
        assert_eq!((response.whole(), response.outcome()), (&"two".into(), "hit_revalidated"), "{control}");
        assert_eq!(bench.origin.last("/page").header("if-none-match"), Some("\"two\""), "{control}");
        asked += 1;
        assert_eq!(bench.origin.requests("/page"), asked, "{control}");
        // The other one is as old as it was.
        let other = bench.ask(&of("one")).await;
        assert_eq!((other.outcome(), super::age_of(&other)), ("hit", 100 + nth as u64), "{control}");
        bench.advance(1);
    }
    bench.advance(3550);
    let stale = bench.ask(&of("one").header("cache-control", "max-stale=100")).await;
    assert_eq!((stale.whole(), stale.outcome()), (&"one".into(), "hit_stale"));
    assert_eq!(bench.ask(&cached("one")).await.status(), 504, "stale");
    assert_eq!(bench.origin.requests("/page"), asked);
}

#[tokio::test]
async fn obeyed_directives_bound_an_encoded_copy() {
    let bench = obedient().await;
    let body = format!("[{}0]", "12345, ".repeat(1000));
    let text = Answer::ok(body).header("content-type", "application/json").cache_control("max-age=3600");
    bench.origin.on("/text", text.etag("\"a\""));
    let coded = || Request::get("/text").header("accept-encoding", "gzip");
    bench.ask(&coded()).await;
    let hit = crate::support::wait::within("an encoded copy", async {
        loop {
            let hit = bench.ask(&coded()).await;
            if hit.get("content-encoding") == Some("gzip") {
                break hit;
            }
        }
    })
    .await;
    bench.advance(100);
    let asked = bench.origin.requests("/text");
    let again = bench.ask(&coded().header("cache-control", "no-cache")).await;
    assert_eq!((again.outcome(), bench.origin.requests("/text")), ("hit_revalidated", asked + 1));
    assert_eq!(bench.origin.last("/text").header("if-none-match"), Some("\"a\""), "the origin's own tag");
    assert_eq!((again.get("content-encoding"), again.get("etag")), (Some("gzip"), hit.get("etag")));
    assert_eq!(again.whole(), hit.whole());
}
