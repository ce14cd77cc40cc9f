//! How what is stored changes with a 304 and with HEAD (RFC 9111 sections 3.2, 4.3.4 and 4.3.5).
//!
//! | section | requirement | test |
//! |---|---|---|
//! | 3.2, 4.3.4 | fields of a 304 take the place of stored ones | `fields_of_a_304_take_the_place_of_stored_ones` |
//! | 3.2 | but for the length, and those that say how the stored body is coded or cut | `fields_that_describe_the_body_stay` |
//! | 3.2 | fields that a 304 does not have stay | `fields_that_a_304_does_not_have_stay` |
//! | 3.1, 3.2 | fields of a connection are not taken from a 304 | `fields_of_a_connection_are_not_taken` |
//! | 4.3.4 | freshness begins anew | `freshness_begins_anew_with_a_304` |
//! | 4.3.4 | a 304 without a word of freshness gives what was named before, not what the age then made of it | `a_304_without_a_word_renews_what_was_named` |
//! | 4.3.4 | a directive of a 304 that forbids to store | `a_304_that_forbids_to_store_ends_it` |
//! | 4.3.4 | a 304 with another strong tag does not confirm | `a_304_of_another_version_confirms_nothing` |
//! | 4.3.5 | HEAD is answered from a stored GET, and spoils nothing | `head_is_answered_from_what_is_stored` |

use super::{Answer, Bench, Request, Wrong, age_of};
use crate::support::origin::Recorded;

/// A 304 with these fields and no others.
fn confirming(bench: &Bench, fields: &[(&str, &str)]) -> Answer {
    fields.iter().fold(Answer::status(304), |answer, (name, value)| answer.header(name, &bench.fill(value)))
}

/// Stores an answer with fields, and has it confirmed by a 304 with others. Returns the path.
async fn confirmed(bench: &Bench, stored: &[(&str, &str)], told: &[(&str, &str)]) -> String {
    let path = bench.path();
    let first = stored.iter().fold(Answer::ok("the body"), |answer, (n, v)| answer.header(n, &bench.fill(v)));
    bench.origin.on_each(&path, vec![first, confirming(bench, told)]);
    bench.get(&path).await;
    bench.advance(100);
    let response = bench.get(&path).await;
    assert_eq!((response.status(), response.whole()), (200, &"the body".into()));
    assert!(bench.origin.last(&path).header("if-none-match").is_some());
    path
}

#[tokio::test]
async fn fields_of_a_304_take_the_place_of_stored_ones() {
    let bench = Bench::start().await;
    let mut wrong = Wrong::default();
    for (name, old, new) in [
        ("x-of-the-test", "old", "new"),
        ("expires", "{now+1}", "{now+4000}"),
        ("last-modified", "{now-1000}", "{now-500}"),
        ("content-type", "text/a", "text/b"),
        ("content-language", "fr", "de"),
        ("content-location", "/old", "/new"),
        ("link", "</old>", "</new>"),
        ("x-added", "", "new"),
    ] {
        let stored = [("cache-control", "max-age=60"), ("etag", "\"a\""), (name, old)];
        let stored = if old.is_empty() { &stored[..2] } else { &stored[..] };
        let told = [("cache-control", "max-age=3600"), ("etag", "\"a\""), (name, new)];
        let sent = bench.fill(new);
        let path = confirmed(&bench, stored, &told).await;
        let hit = bench.get(&path).await;
        // Dates are filled in before the clock moves.
        wrong.note(hit.get(name) == Some(&*sent), || format!("{name}: {:?}, not {sent}", hit.get(name)));
        wrong.note(hit.head.count(name) == 1, || format!("{name} is there {} times", hit.head.count(name)));
        wrong.note(hit.get("cache-control") == Some("max-age=3600"), || {
            format!("{:?}", hit.get("cache-control"))
        });
    }
    wrong.none();
}

#[tokio::test]
async fn fields_that_describe_the_body_stay() {
    let bench = Bench::start().await;
    let mut wrong = Wrong::default();
    for (name, old, new) in [("content-encoding", "x-foo", "x-bar"), ("content-range", "", "bytes 0-1/2")] {
        let stored = [("cache-control", "max-age=60"), ("etag", "\"a\""), (name, old)];
        let stored = if old.is_empty() { &stored[..2] } else { &stored[..] };
        let told = [("cache-control", "max-age=3600"), ("etag", "\"a\""), (name, new)];
        let path = confirmed(&bench, stored, &told).await;
        let hit = bench.get(&path).await;
        let expected = (!old.is_empty()).then_some(old);
        wrong.note(hit.get(name) == expected, || format!("{name}: {:?}", hit.get(name)));
    }
    // The length is that of the stored body, whatever a 304 says.
    let stored = [("cache-control", "max-age=60"), ("etag", "\"a\"")];
    let told = [("cache-control", "max-age=3600"), ("etag", "\"a\""), ("content-length", "3")];
    let path = confirmed(&bench, &stored, &told).await;
    let hit = bench.get(&path).await;
    wrong.note(hit.get("content-length") == Some("8"), || {
        format!("content-length: {:?}", hit.get("content-length"))
    });
    wrong.note(hit.whole() == "the body", || "the body".to_owned());
    wrong.none();
}

#[tokio::test]
async fn fields_that_a_304_does_not_have_stay() {
    let bench = Bench::start().await;
    let stored =
        [("cache-control", "max-age=60"), ("etag", "\"a\""), ("x-kept", "1"), ("content-type", "text/a")];
    let path = confirmed(&bench, &stored, &[("etag", "\"a\"")]).await;
    let hit = bench.get(&path).await;
    for (name, value) in [("x-kept", "1"), ("content-type", "text/a"), ("cache-control", "max-age=60")] {
        assert_eq!(hit.get(name), Some(value), "{name}");
    }
    assert_eq!(bench.origin.requests(&path), 2, "fresh by what was stored");
}

#[tokio::test]
async fn fields_of_a_connection_are_not_taken() {
    let bench = Bench::start().await;
    let stored = [("cache-control", "max-age=60"), ("etag", "\"a\""), ("x-hop", "old")];
    let told = [
        ("cache-control", "max-age=3600"),
        ("etag", "\"a\""),
        ("connection", "x-hop"),
        ("x-hop", "new"),
        ("keep-alive", "timeout=77"),
        ("proxy-authenticate", "Basic"),
    ];
    let path = confirmed(&bench, &stored, &told).await;
    let hit = bench.get(&path).await;
    assert_ne!(hit.get("x-hop"), Some("new"));
    assert_ne!(hit.get("keep-alive"), Some("timeout=77"));
    assert_eq!(hit.get("proxy-authenticate"), None);
}

#[tokio::test]
async fn freshness_begins_anew_with_a_304() {
    let bench = Bench::start().await;
    let stored = [("cache-control", "max-age=60"), ("etag", "\"a\""), ("date", "{now}")];
    // Its date is that of the moment at which it will come.
    let told = [("cache-control", "max-age=60"), ("etag", "\"a\""), ("date", "{now+100}")];
    let path = confirmed(&bench, &stored, &told).await;
    assert_eq!(age_of(&bench.get(&path).await), 0);
    bench.advance(59);
    assert_eq!(age_of(&bench.get(&path).await), 59);
    assert_eq!(bench.origin.requests(&path), 2);
    bench.advance(1);
    bench.get(&path).await;
    assert_eq!(bench.origin.requests(&path), 3);
}

/// `Age` of a 304 counts, and that of the first answer does not stay.
#[tokio::test]
async fn the_age_of_a_304_counts() {
    let bench = Bench::start().await;
    let stored = [("cache-control", "max-age=60"), ("etag", "\"a\""), ("age", "50")];
    let path = confirmed(&bench, &stored, &[("cache-control", "max-age=60"), ("etag", "\"a\"")]).await;
    assert_eq!(age_of(&bench.get(&path).await), 0);
    let told = [("cache-control", "max-age=60"), ("etag", "\"a\""), ("age", "40")];
    let path = confirmed(&bench, &stored[..2], &told).await;
    assert_eq!(age_of(&bench.get(&path).await), 40);
}

/// The age at which the first answer came is no freshness.
#[tokio::test]
async fn a_304_without_a_word_renews_what_was_named() {
    let bench = Bench::start().await;
    let mut wrong = Wrong::default();
    for (path, field, span) in [
        ("/page", ("age", "1000"), 60),
        ("/late", ("date", "{now-1000}"), 60),
        // No word of the origin at all: a day, by its kind.
        ("/seg.m4s", ("date", "{now-864000}"), 86_400),
    ] {
        let control = [("cache-control", "max-age=60"), ("etag", "\"a\""), field];
        let stored = if span == 60 { &control[..] } else { &control[1..] };
        let bare = Answer::status(304).header("etag", "\"a\"");
        bench.origin.on_each(path, vec![bench.fields(Answer::ok("b"), stored), bare]);
        bench.get(path).await;
        bench.advance(span + 1);
        for (after, requests) in [(0, 2), (span - 1, 2), (1, 3)] {
            bench.advance(after);
            bench.get(path).await;
            let asked = bench.origin.requests(path);
            wrong.note(asked == requests, || format!("{path}: {asked} requests, not {requests}"));
        }
    }
    wrong.none();
}

#[tokio::test]
async fn a_304_that_forbids_to_store_ends_it() {
    let bench = Bench::start().await;
    for control in ["no-store", "private", "no-cache", "max-age=0"] {
        let stored = [("cache-control", "max-age=60"), ("etag", "\"a\"")];
        let path = confirmed(&bench, &stored, &[("cache-control", control), ("etag", "\"a\"")]).await;
        bench.get(&path).await;
        assert_eq!(bench.origin.requests(&path), 3, "{control}");
    }
}

/// The one who asks gets what the origin has, not what another version of it confirmed.
#[tokio::test]
async fn a_304_of_another_version_confirms_nothing() {
    let bench = Bench::start().await;
    let stored = Answer::ok("old").cache_control("max-age=60").header("etag", "\"a\"");
    let other = Answer::status(304).cache_control("max-age=3600").header("etag", "\"b\"");
    let new = Answer::ok("new").cache_control("max-age=3600").header("etag", "\"b\"");
    bench.origin.script("/page", move |request: &Recorded, nth| match nth {
        0 => stored.clone(),
        _ if request.header("if-none-match").is_some() => other.clone(),
        _ => new.clone(),
    });
    bench.get("/page").await;
    bench.advance(100);
    assert_ne!(bench.get("/page").await.whole(), "old");
    assert_ne!(bench.get("/page").await.whole(), "old");
}

#[tokio::test]
async fn head_is_answered_from_what_is_stored() {
    let bench = Bench::start().await;
    bench.origin.on("/page", Answer::ok("the body").cache_control("max-age=3600").etag("\"a\""));
    bench.get("/page").await;
    let head = bench.ask(&Request::head("/page")).await;
    assert_eq!(
        (head.status(), head.get("content-length"), head.get("etag")),
        (200, Some("8"), Some("\"a\""))
    );
    assert!(head.body.is_empty());
    assert_eq!(bench.origin.requests("/page"), 1);
}

/// HEAD first: GET has its body afterwards.
#[tokio::test]
async fn head_is_never_stored_as_the_answer_to_get() {
    let bench = Bench::start().await;
    bench.origin.on("/page", Answer::ok("the body").cache_control("max-age=3600").etag("\"a\""));
    assert_eq!(bench.ask(&Request::head("/page")).await.status(), 200);
    for _ in 0..2 {
        assert_eq!(bench.get("/page").await.whole(), "the body");
    }
}

/// HEAD of what is stale learns what the origin has now, and GET after it gets that.
#[tokio::test]
async fn head_of_what_is_stale_brings_it_up_to_date() {
    let bench = Bench::start().await;
    let of = |tag: &str, body: &str| Answer::ok(body.to_owned()).cache_control("max-age=60").etag(tag);
    bench.origin.on_each("/changed", vec![of("\"a\"", "old"), of("\"b\"", "changed")]);
    bench.origin.on_each(
        "/same",
        vec![of("\"a\"", "same").header("x-of", "1"), of("\"a\"", "same").header("x-of", "2")],
    );
    for path in ["/changed", "/same"] {
        bench.get(path).await;
    }
    bench.advance(100);
    let head = bench.ask(&Request::head("/changed")).await;
    assert_eq!((head.get("etag"), head.get("content-length")), (Some("\"b\""), Some("7")));
    assert_eq!(bench.get("/changed").await.whole(), "changed");
    assert_eq!(bench.ask(&Request::head("/same")).await.get("x-of"), Some("2"));
    let same = bench.get("/same").await;
    assert_eq!((same.whole(), same.get("x-of")), (&"same".into(), Some("2")));
    assert_eq!(bench.origin.requests("/same"), 2);
}
