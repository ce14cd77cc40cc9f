//! Answers that differ by fields of the request (RFC 9111 section 4.1).
//!
//! | section | requirement | test |
//! |---|---|---|
//! | 4.1 | an answer is used only for requests with the same values | `an_answer_serves_only_requests_with_the_same_values` |
//! | 4.1 | a missing field matches only a missing one | `a_missing_field_matches_a_missing_one_only` |
//! | 4.1 | all fields that `Vary` names count, whatever their order, case and lines | `every_named_field_counts` |
//! | 4.1 | fields that it does not name do not | `other_fields_do_not_count` |
//! | 4.1 | `*` never matches | `a_star_never_matches` |
//! | 4.1 | values that mean the same may match | `white_space_and_order_of_lines_as_the_text_says` |
//! | 4.1 | the variant that was stored last among those that match is used | `each_variant_is_kept_beside_the_others` |
//! | 4.1 | codings are normalised: what accepts the same is the same | `codings_that_mean_the_same_share_an_answer` |
//! | 4.3.1 | a stale variant is validated with its own tag | `a_variant_is_validated_by_its_own_tag` |

use super::{Answer, Bench, Request, Wrong};

/// Answers that tell the values of fields that they vary by.
fn varying(bench: &Bench, path: &str, vary: &'static str) {
    bench.origin.script(path, move |request, _| {
        let told = |name: &str| request.header(name).unwrap_or("none").to_owned();
        let names = vary.split(',').map(|name| name.trim().to_ascii_lowercase());
        let body: Vec<String> = names.map(|name| told(&name)).collect();
        Answer::ok(body.join("|")).cache_control("max-age=3600").header("vary", vary)
    });
}

async fn ask(bench: &Bench, path: &str, fields: &[(&str, &str)]) -> String {
    let request =
        fields.iter().fold(Request::get(path), |request, (name, value)| request.header(name, value));
    let response = bench.ask(&request).await;
    assert_eq!(response.status(), 200);
    String::from_utf8_lossy(response.whole()).into_owned()
}

#[tokio::test]
async fn an_answer_serves_only_requests_with_the_same_values() {
    let bench = Bench::start().await;
    for name in ["x-test", "accept-language", "user-agent", "cookie", "accept", "origin"] {
        let path = bench.path();
        let vary: &'static str = Box::leak(name.to_owned().into_boxed_str());
        varying(&bench, &path, vary);
        for _ in 0..2 {
            for value in ["one", "two", "one"] {
                assert_eq!(ask(&bench, &path, &[(name, value)]).await, value, "{name}");
            }
        }
        let before = bench.origin.requests(&path);
        for value in ["one", "two"] {
            assert_eq!(ask(&bench, &path, &[(name, value)]).await, value, "{name}");
        }
        assert_eq!(bench.origin.requests(&path), before, "{name}: both are stored");
    }
}

#[tokio::test]
async fn a_missing_field_matches_a_missing_one_only() {
    let bench = Bench::start().await;
    varying(&bench, "/page", "x-test");
    for _ in 0..2 {
        assert_eq!(ask(&bench, "/page", &[]).await, "none");
        assert_eq!(ask(&bench, "/page", &[("x-test", "one")]).await, "one");
        assert_eq!(ask(&bench, "/page", &[]).await, "none");
    }
    varying(&bench, "/other", "x-test");
    assert_eq!(ask(&bench, "/other", &[("x-test", "one")]).await, "one");
    assert_eq!(ask(&bench, "/other", &[]).await, "none", "the field is missing");
}

/// An empty value is no missing field.
#[tokio::test]
async fn an_empty_value_is_not_a_missing_field() {
    let bench = Bench::start().await;
    varying(&bench, "/page", "x-test");
    for _ in 0..2 {
        assert_eq!(ask(&bench, "/page", &[("x-test", "one")]).await, "one");
        assert_eq!(ask(&bench, "/page", &[("x-test", "")]).await, "");
    }
}

#[tokio::test]
async fn every_named_field_counts() {
    let bench = Bench::start().await;
    for vary in ["x-a, x-b", "x-b,x-a", "X-A,X-B", "x-a , x-b", ", x-a,,x-b,", "x-a, x-b, x-a"] {
        let path = bench.path();
        let sent = vary.to_owned();
        bench.origin.script(&path, move |request, _| {
            let told = |name| request.header(name).unwrap_or("none").to_owned();
            let body = format!("{}|{}", told("x-a"), told("x-b"));
            Answer::ok(body).cache_control("max-age=3600").header("vary", &sent)
        });
        for _ in 0..2 {
            for (a, b) in [("1", "1"), ("1", "2"), ("2", "1"), ("2", "2")] {
                assert_eq!(ask(&bench, &path, &[("x-a", a), ("x-b", b)]).await, format!("{a}|{b}"), "{vary}");
                assert_eq!(ask(&bench, &path, &[("x-b", b), ("x-a", a)]).await, format!("{a}|{b}"), "{vary}");
            }
        }
        assert_eq!(ask(&bench, &path, &[("x-a", "1")]).await, "1|none", "{vary}");
    }
}

#[tokio::test]
async fn fields_named_on_several_lines_count() {
    let bench = Bench::start().await;
    bench.origin.script("/page", |request, _| {
        let told = |name| request.header(name).unwrap_or("none").to_owned();
        let body = format!("{}|{}", told("x-a"), told("x-b"));
        Answer::ok(body).cache_control("max-age=3600").header("vary", "x-a").header("vary", "x-b")
    });
    for _ in 0..2 {
        for (a, b) in [("1", "1"), ("1", "2"), ("2", "1")] {
            assert_eq!(ask(&bench, "/page", &[("x-a", a), ("x-b", b)]).await, format!("{a}|{b}"));
        }
    }
}

#[tokio::test]
async fn other_fields_do_not_count() {
    let bench = Bench::start().await;
    varying(&bench, "/page", "x-test");
    ask(&bench, "/page", &[("x-test", "one"), ("x-other", "1")]).await;
    let before = bench.origin.requests("/page");
    for other in ["1", "2", "3"] {
        assert_eq!(ask(&bench, "/page", &[("x-test", "one"), ("x-other", other)]).await, "one");
    }
    assert_eq!(bench.origin.requests("/page"), before);
}

#[tokio::test]
async fn a_star_never_matches() {
    let bench = Bench::start().await;
    for vary in ["*", "*, x-test", "x-test, *", " * "] {
        let path = bench.path();
        let answer = Answer::ok("b").cache_control("max-age=3600").header("vary", vary);
        bench.origin.on(&path, answer);
        for _ in 0..3 {
            assert_eq!(ask(&bench, &path, &[("x-test", "one")]).await, "b");
        }
        assert!(bench.origin.requests(&path) >= 3, "{vary}: used for another request");
    }
}

#[tokio::test]
async fn white_space_and_order_of_lines_as_the_text_says() {
    let bench = Bench::start().await;
    let mut wrong = Wrong::default();
    // The order of members, and what the values are, may mean something: those are never taken for the same.
    for (one, other) in [("a, b", "b, a"), ("a", "A"), ("a", "a, a"), ("en;q=0.5", "en;q=0.6")] {
        let path = bench.path();
        varying(&bench, &path, "x-test");
        ask(&bench, &path, &[("x-test", one)]).await;
        let found = ask(&bench, &path, &[("x-test", other)]).await;
        wrong.note(found == other, || format!("{one} answers {other}"));
    }
    // White space around a value never is part of it.
    let path = bench.path();
    varying(&bench, &path, "x-test");
    ask(&bench, &path, &[("x-test", "a")]).await;
    let before = bench.origin.requests(&path);
    ask(&bench, &path, &[("x-test", "  a  ")]).await;
    wrong.note(bench.origin.requests(&path) == before, || "white space around a value counts".to_owned());
    wrong.none();
}

#[tokio::test]
async fn each_variant_is_kept_beside_the_others() {
    let bench = Bench::start().await;
    varying(&bench, "/page", "x-test");
    for value in ["1", "2", "3", "4", "5"] {
        ask(&bench, "/page", &[("x-test", value)]).await;
    }
    let before = bench.origin.requests("/page");
    for value in ["5", "3", "1", "2", "4"] {
        assert_eq!(ask(&bench, "/page", &[("x-test", value)]).await, value);
    }
    assert_eq!(bench.origin.requests("/page"), before);
}

#[tokio::test]
async fn a_variant_is_validated_by_its_own_tag() {
    let bench = Bench::start().await;
    bench.origin.script("/page", |request, _| {
        let value = request.header("x-test").unwrap_or("none").to_owned();
        let answer = Answer::ok(value.clone()).cache_control("max-age=60").header("vary", "x-test");
        answer.etag(&format!("\"{value}\""))
    });
    for value in ["one", "two"] {
        ask(&bench, "/page", &[("x-test", value)]).await;
    }
    bench.advance(100);
    for value in ["one", "two"] {
        assert_eq!(ask(&bench, "/page", &[("x-test", value)]).await, value);
        let last = bench.origin.last("/page");
        assert_eq!(last.header("x-test"), Some(value));
        assert!(
            last.header("if-none-match").is_some_and(|tags| tags.contains(&format!("\"{value}\""))),
            "{value}"
        );
    }
}

/// Codings that a viewer can read tell variants apart; one who can read none gets none.
#[tokio::test]
async fn a_coding_reaches_only_those_who_accept_it() {
    let bench = Bench::start().await;
    bench.origin.script("/page", |request, _| {
        let answer = Answer::ok("b").cache_control("max-age=3600").header("vary", "accept-encoding");
        match request.header("accept-encoding").is_some_and(|codings| codings.contains("gzip")) {
            true => answer.header("content-encoding", "gzip"),
            false => answer,
        }
    });
    for _ in 0..2 {
        for accepted in [None, Some("identity"), Some("gzip;q=0"), Some("gzip"), Some("gzip, deflate, br")] {
            let request = Request::get("/page");
            let response = match accepted {
                Some(codings) => bench.ask(&request.header("accept-encoding", codings)).await,
                None => bench.ask(&request).await,
            };
            let coding = response.get("content-encoding");
            let accepts =
                accepted.is_some_and(|codings| codings.starts_with("gzip") && !codings.contains("q=0"));
            assert!(coding.is_none() || accepts, "{accepted:?} gets {coding:?}");
        }
    }
}

#[tokio::test]
async fn viewers_are_told_what_an_answer_varies_by() {
    let bench = Bench::start().await;
    varying(&bench, "/page", "x-test");
    for _ in 0..2 {
        let response = bench.ask(&Request::get("/page").header("x-test", "one")).await;
        let told = response.head.headers.iter().filter(|(name, _)| name == "vary");
        assert!(told.flat_map(|(_, value)| value.split(',')).any(|name| name.trim() == "x-test"));
    }
}

#[tokio::test]
async fn codings_that_mean_the_same_share_an_answer() {
    let bench = Bench::start().await;
    bench.origin.on("/page", Answer::ok("b").cache_control("max-age=3600").header("vary", "Accept-Encoding"));
    for codings in ["gzip", "gzip, deflate", "deflate,gzip", "gzip;q=0.8", "GZIP", "gzip, identity;q=0.5"] {
        let request = Request::get("/page").header("accept-encoding", codings);
        assert_eq!(bench.ask(&request).await.whole(), "b", "{codings}");
    }
    // The first fetch tells that answers vary by it, the second one is for these codings.
    assert_eq!(bench.origin.requests("/page"), 2);
}

/// A field that the key names reaches the origin with the first fetch; no other one does until the origin has named it.
#[tokio::test]
async fn fields_of_the_key_reach_the_origin_and_others_do_not() {
    let rule = "[[site.rule]]\npath = \"/keyed\"\nkey = { headers = [\"x-test\"] }";
    let bench = Bench::with(|setup| setup.more(rule)).await;
    for path in ["/keyed", "/plain"] {
        bench.origin.on(path, Answer::ok("b").cache_control("max-age=3600"));
        ask(
            &bench,
            path,
            &[("x-test", "one"), ("x-other", "1"), ("cookie", "a=b"), ("accept-language", "fr")],
        )
        .await;
        let asked = bench.origin.last(path);
        assert_eq!(asked.header("x-test"), (path == "/keyed").then_some("one"), "{path}");
        for name in ["x-other", "cookie", "accept-language"] {
            assert_eq!(asked.header(name), None, "{path}: {name}");
        }
    }
    ask(&bench, "/keyed", &[("x-test", "two")]).await;
    ask(&bench, "/plain", &[("x-test", "two")]).await;
    assert_eq!((bench.origin.requests("/keyed"), bench.origin.requests("/plain")), (2, 1));
}
