//! Answers that vary (RFC 9111 section 4.1): one fetch per variant, nothing of one viewer in another's answer, and no
//! field of a viewer at an origin that has not named it.

use crate::support::client::{Request, Response};
use crate::support::content::content;
use crate::support::edge::{Edge, Setup};
use crate::support::origin::{Answer, Origin, Recorded};
use crate::support::wait::{Gate, within};

const MIB: usize = 1024 * 1024;

/// Answers with the value of one field, and says that it varies by it.
fn echo(name: &'static str) -> impl Fn(&Recorded, usize) -> Answer {
    move |request, _| {
        let value = request.header(name).unwrap_or("none").to_owned();
        Answer::ok(value).header("vary", name).cache_control("max-age=600")
    }
}

fn with(path: &str, name: &str, value: &str) -> Request {
    Request::get(path).header(name, value)
}

async fn text(edge: &Edge, request: &Request) -> (String, Response) {
    let response = edge.ask(request).await;
    (String::from_utf8_lossy(response.whole()).into_owned(), response)
}

/// Each language has an answer of its own, fetched once; white space, case and lines make no difference; without the
/// field is a variant too, and an empty one another.
#[tokio::test]
async fn each_value_is_fetched_once_and_answers_its_own_viewers() {
    let origin = Origin::start().await;
    origin.script("/a.html", echo("accept-language"));
    let edge = Setup::before(&origin).start().await;

    let ask = |value: &'static str| with("/a.html", "accept-language", value);
    for _ in 0..2 {
        assert_eq!(text(&edge, &ask("de-DE, en;q=0.5")).await.0, "de-de, en;q=0.5");
        assert_eq!(text(&edge, &ask("fr")).await.0, "fr");
        assert_eq!(text(&edge, &Request::get("/a.html")).await.0, "none");
    }
    let lines =
        Request::get("/a.html").header("accept-language", "DE-de").header("accept-language", "en;q=0.5");
    for same in [ask("de-de ,  EN;q=0.5"), lines] {
        assert_eq!(edge.ask(&same).await.outcome(), "hit");
    }
    assert_eq!(edge.ask(&ask("")).await.outcome(), "miss");
    // The first fetch carried nothing of its viewer.
    assert_eq!(origin.recorded()[0].header("accept-language"), None);
    assert_eq!(origin.requests("/a.html"), 4);
}

/// A herd with mixed languages on a cold key: one fetch for each, and one to learn that it varies.
#[tokio::test]
async fn a_mixed_herd_is_one_fetch_per_variant() {
    const PATH: &str = "/herd.html";
    const LANGUAGES: [&str; 4] = ["de", "fr", "it", "es"];
    let origin = Origin::start().await;
    let gate = Gate::closed();
    let held = gate.clone();
    let answer = echo("accept-language");
    origin.script(PATH, move |request, nth| {
        let answer = answer(request, nth);
        if nth == 0 { answer.hold(&held) } else { answer }
    });
    let edge = Setup::before(&origin).start().await;
    let mut viewers = Vec::new();
    for viewer in 0..200 {
        let language = LANGUAGES[viewer % LANGUAGES.len()];
        viewers.push((language, edge.open(&with(PATH, "accept-language", language)).await));
    }
    origin.await_requests(PATH, 1).await;
    gate.open();
    for (language, mut viewer) in viewers {
        let response = within("an answer", viewer.response("GET")).await;
        assert_eq!(response.whole(), language);
    }
    let fetches = origin.requests(PATH);
    assert!(fetches <= LANGUAGES.len() + 1, "{fetches} fetches");
    assert!(fetches >= LANGUAGES.len());
}

/// What several answers of one site and kind have varied by is asked for at once: one fetch, kept for that value alone.
#[tokio::test]
async fn the_fields_named_last_are_sent_with_the_first_fetch_of_another_key() {
    let origin = Origin::start().await;
    origin.otherwise(echo("accept-language"));
    let edge = Setup::before(&origin).start().await;
    edge.ask(&with("/1.html", "accept-language", "de")).await;
    assert_eq!(origin.requests("/1.html"), 2);
    for path in ["/a.html", "/b.html", "/c.html"] {
        edge.ask(&with(path, "accept-language", "de")).await;
    }
    assert_eq!(text(&edge, &with("/2.html", "accept-language", "de")).await.0, "de");
    assert_eq!(origin.requests("/2.html"), 1);
    assert_eq!(text(&edge, &with("/2.html", "accept-language", "fr")).await.0, "fr");
    assert_eq!(origin.requests("/2.html"), 2);
    // Segments have said nothing of the kind.
    edge.ask(&with("/3.m4s", "accept-language", "de")).await;
    assert_eq!(
        origin.recorded().iter().find(|r| r.path() == "/3.m4s").unwrap().header("accept-language"),
        None
    );
}

/// An answer that was chosen by a field it does not name is no answer to requests without it.
#[tokio::test]
async fn an_answer_that_was_sent_a_field_is_kept_for_that_value_even_if_it_names_none() {
    let origin = Origin::start().await;
    origin.otherwise(echo("cookie"));
    origin.script("/2.html", |request, _| {
        Answer::ok(request.header("cookie").unwrap_or("none").to_owned()).cache_control("max-age=600")
    });
    let edge = Setup::before(&origin).start().await;
    for path in ["/a.html", "/b.html", "/c.html", "/d.html"] {
        edge.ask(&with(path, "cookie", "user=a")).await;
    }
    assert_eq!(text(&edge, &with("/2.html", "cookie", "user=a")).await.0, "user=a");
    assert_eq!(text(&edge, &Request::get("/2.html")).await.0, "none");
    assert_eq!(text(&edge, &with("/2.html", "cookie", "user=b")).await.0, "user=b");
}

/// One page that varies does not make the next one be kept for each value.
#[tokio::test]
async fn one_answer_that_varies_is_no_reason_to_expect_it_of_the_next() {
    let origin = Origin::start().await;
    origin.script("/1.html", echo("accept-language"));
    origin.script("/2.html", |_, _| Answer::ok("same").cache_control("max-age=600"));
    let edge = Setup::before(&origin).start().await;
    edge.ask(&with("/1.html", "accept-language", "de")).await;
    for language in ["de", "fr", "it"] {
        assert_eq!(text(&edge, &with("/2.html", "accept-language", language)).await.0, "same");
    }
    assert_eq!(origin.requests("/2.html"), 1);
}

/// A rule passes fields on that are no part of the key; an answer that varies by one of them costs no second fetch.
#[tokio::test]
async fn a_field_that_a_rule_passes_on_is_sent_with_the_first_fetch() {
    let origin = Origin::start().await;
    origin.script("/plain.html", |request, _| {
        Answer::ok(request.header("traceparent").unwrap_or("none").to_owned()).cache_control("max-age=600")
    });
    origin.script("/varies.html", echo("x-device"));
    let rule = "[[site.rule]]\npath = \"*\"\nforward = [\"traceparent\", \"x-device\"]";
    let edge = Setup::before(&origin).more(rule).start().await;
    assert_eq!(text(&edge, &with("/plain.html", "traceparent", "00-1")).await.0, "00-1");
    assert_eq!(
        text(&edge, &with("/plain.html", "traceparent", "00-2")).await.0,
        "00-1",
        "no part of the key"
    );
    for device in ["tv", "phone", "tv", "phone"] {
        assert_eq!(text(&edge, &with("/varies.html", "x-device", device)).await.0, device);
    }
    assert_eq!((origin.requests("/plain.html"), origin.requests("/varies.html")), (1, 2));
}

/// No field reaches the origin that it has not named, and none that it names goes to another viewer.
#[tokio::test]
async fn only_what_an_origin_names_reaches_it() {
    let origin = Origin::start().await;
    origin.script("/a.html", echo("x-device"));
    let edge = Setup::before(&origin).start().await;
    for _ in 0..2 {
        let request = with("/a.html", "x-device", "tv")
            .header("cookie", "secret=1")
            .header("accept-language", "de")
            .header("x-original-url", "/admin");
        assert_eq!(text(&edge, &request).await.0, "tv");
    }
    for request in origin.recorded() {
        for name in ["cookie", "accept-language", "x-original-url"] {
            assert_eq!(request.header(name), None);
        }
    }
    assert_eq!(origin.recorded()[0].header("x-device"), None);
    assert_eq!(origin.recorded()[1].header("x-device"), Some("tv"));
}

/// `Vary: *` and a list of more names than is kept are answered and not kept; nothing is asked for twice.
#[tokio::test]
async fn what_varies_by_anything_is_not_kept() {
    let origin = Origin::start().await;
    origin.on("/star.html", Answer::ok("a").header("vary", "accept, *").cache_control("max-age=600"));
    let many: Vec<String> = (0..17).map(|number| format!("x-{number}")).collect();
    origin.on("/many.html", Answer::ok("a").header("vary", &many.join(",")).cache_control("max-age=600"));
    let edge = Setup::before(&origin).start().await;
    for path in ["/star.html", "/many.html"] {
        for fetches in 1..=2 {
            assert_eq!(edge.get(path).await.outcome(), "bypass");
            assert_eq!(origin.requests(path), fetches);
        }
    }
}

/// Codings are told apart by what they come to, and never where the node encodes itself.
#[tokio::test]
async fn codings_make_few_variants() {
    let origin = Origin::start().await;
    origin.script("/a.js", echo("accept-encoding"));
    origin.script("/a.json", echo("accept-encoding"));
    let edge = Setup::before(&origin).start().await;
    for field in ["gzip, deflate, br", "br;q=1.0, gzip;q=0.8, *;q=0", "BR,GZIP,identity"] {
        assert_eq!(text(&edge, &with("/a.js", "accept-encoding", field)).await.0, "br, gzip");
    }
    assert_eq!(text(&edge, &with("/a.js", "accept-encoding", "br;q=0")).await.0, "identity");
    assert_eq!(origin.requests("/a.js"), 2);
    edge.ask(&with("/a.json", "accept-encoding", "gzip")).await;
    assert_eq!(edge.ask(&with("/a.json", "accept-encoding", "br")).await.outcome(), "hit");
    assert_eq!(origin.last("/a.json").header("accept-encoding"), Some("identity"));
}

/// Where the site shares across origins by rules of its own, the origin's word on it is nothing to choose by.
#[tokio::test]
async fn a_site_with_cors_does_not_vary_by_origin() {
    let origin = Origin::start().await;
    origin.script("/a.html", echo("origin"));
    let edge = Setup::before(&origin).site("cors = { origins = [\"https://a.example\"] }").start().await;
    edge.ask(&with("/a.html", "origin", "https://a.example")).await;
    assert_eq!(edge.ask(&with("/a.html", "origin", "https://b.example")).await.outcome(), "hit");
    let other = Setup::before(&origin).start().await;
    assert_eq!(text(&other, &with("/a.html", "origin", "https://c.example")).await.0, "https://c.example");
    assert_eq!(text(&other, &with("/a.html", "origin", "https://d.example")).await.0, "https://d.example");
}

/// Beyond `limits.variants` answers are right, and take the place of those that were kept first.
#[tokio::test]
async fn a_variant_too_many_takes_the_place_of_the_first() {
    let origin = Origin::start().await;
    origin.script("/a.html", echo("x-n"));
    let edge = Setup::before(&origin).limits("variants = 2").start().await;
    let ask = |value: &'static str| with("/a.html", "x-n", value);
    for value in ["1", "2", "3", "3"] {
        assert_eq!(text(&edge, &ask(value)).await.0, value);
    }
    for value in ["2", "3"] {
        assert_eq!(edge.ask(&ask(value)).await.outcome(), "hit");
    }
    assert_eq!(text(&edge, &ask("1")).await.0, "1");
    assert_eq!(edge.ask(&ask("1")).await.outcome(), "hit");
    assert_eq!(edge.ask(&ask("3")).await.outcome(), "hit");
    assert_eq!(edge.ask(&ask("2")).await.outcome(), "miss");
}

/// An answer that names a further field: all variants are told apart by both from then on.
#[tokio::test]
async fn a_further_name_makes_a_new_marker() {
    let origin = Origin::start().await;
    origin.script("/a.html", |request, _| {
        let of = |name| request.header(name).unwrap_or("none").to_owned();
        let vary = if of("x-a") == "2" { "x-a, x-b" } else { "x-a" };
        Answer::ok(format!("{} {}", of("x-a"), of("x-b"))).header("vary", vary).cache_control("max-age=600")
    });
    let edge = Setup::before(&origin).start().await;
    let ask = |a: &'static str, b: &'static str| with("/a.html", "x-a", a).header("x-b", b);
    assert_eq!(text(&edge, &ask("1", "x")).await.0, "1 none");
    assert_eq!(text(&edge, &ask("2", "x")).await.0, "2 x");
    assert_eq!(text(&edge, &ask("2", "y")).await.0, "2 y");
    assert_eq!(edge.ask(&ask("2", "x")).await.outcome(), "hit");
    assert_eq!(text(&edge, &ask("1", "x")).await.0, "1 x");
    assert_eq!(edge.ask(&ask("2", "y")).await.outcome(), "hit");
}

/// An origin that names something else each time is still answered from.
#[tokio::test]
async fn an_origin_that_never_varies_by_the_same_is_answered_from() {
    let origin = Origin::start().await;
    origin.script("/a.html", |_, nth| {
        Answer::ok("a").header("vary", &format!("x-{nth}")).cache_control("max-age=600")
    });
    let edge = Setup::before(&origin).start().await;
    for _ in 0..4 {
        assert_eq!(text(&edge, &Request::get("/a.html")).await.0, "a");
    }
    assert!(origin.requests("/a.html") <= 20, "{}", origin.requests("/a.html"));
}

/// An answer that is not kept is asked for with the fields it names, so that each viewer gets their own.
#[tokio::test]
async fn what_is_not_kept_varies_too() {
    let origin = Origin::start().await;
    origin.script("/me.html", |request, _| {
        let user = request.header("cookie").unwrap_or("nobody").to_owned();
        Answer::ok(user).header("vary", "cookie").cache_control("private")
    });
    let edge = Setup::before(&origin).start().await;
    for user in ["user=a", "user=b", "user=a"] {
        let (body, response) = text(&edge, &with("/me.html", "cookie", user)).await;
        assert_eq!((body.as_str(), response.outcome()), (user, "bypass"));
    }
    assert_eq!(text(&edge, &Request::get("/me.html")).await.0, "nobody");
    assert_eq!(origin.requests("/me.html"), 5);
}

/// A stale variant is confirmed by its own validator, asked for with its own fields.
#[tokio::test]
async fn a_variant_is_confirmed_as_itself() {
    let origin = Origin::start().await;
    origin.script("/a.html", |request, _| {
        let language = request.header("accept-language").unwrap_or("none").to_owned();
        Answer::ok(language.clone())
            .header("vary", "accept-language")
            .etag(&format!("\"{language}\""))
            .cache_control("max-age=0")
    });
    let edge = Setup::before(&origin).start().await;
    for language in ["de", "fr"] {
        let ask = with("/a.html", "accept-language", language);
        assert_eq!(text(&edge, &ask).await.0, language);
        let (body, again) = text(&edge, &ask).await;
        assert_eq!((body.as_str(), again.outcome()), (language, "hit_revalidated"));
        let last = origin.last("/a.html");
        assert_eq!(last.header("if-none-match"), Some(format!("\"{language}\"").as_str()));
        assert_eq!(last.header("accept-language"), Some(language));
    }
}

/// A change of the resource invalidates every variant of it.
#[tokio::test]
async fn an_unsafe_method_invalidates_all_variants() {
    let origin = Origin::start().await;
    let answer = echo("accept-language");
    origin.script("/a.html", move |request, nth| match request.method.as_str() {
        "GET" => answer(request, nth),
        _ => Answer::status(204),
    });
    let edge = Setup::before(&origin).site("methods = [\"GET\", \"POST\"]").start().await;
    for language in ["de", "fr"] {
        edge.ask(&with("/a.html", "accept-language", language)).await;
        assert_eq!(edge.ask(&with("/a.html", "accept-language", language)).await.outcome(), "hit");
    }
    assert_eq!(edge.ask(&Request::new("POST", "/a.html").body("x")).await.status(), 204);
    for language in ["de", "fr"] {
        assert_eq!(edge.ask(&with("/a.html", "accept-language", language)).await.outcome(), "miss");
    }
}

/// A large variant is kept in slices, which are asked for with the fields that it was chosen by.
#[tokio::test]
async fn a_large_variant_is_kept_in_slices_of_its_own() {
    let origin = Origin::start().await;
    let (german, other) = (content(1, 4 * MIB), content(2, 4 * MIB));
    let bodies = (german.clone(), other.clone());
    origin.script("/a.bin", move |request, _| {
        let is_german = request.header("accept-language") == Some("de");
        let (body, tag) = if is_german { (&bodies.0, "\"de\"") } else { (&bodies.1, "\"none\"") };
        Answer::ok(body.clone())
            .header("vary", "accept-language")
            .etag(tag)
            .ranges()
            .cache_control("max-age=600")
    });
    let edge = Setup::before(&origin).limits("slice_above = \"1MiB\"").start().await;
    let ask = with("/a.bin", "accept-language", "de");
    for request in [ask.clone().range("bytes=3000000-3000099"), ask.clone().range("bytes=10-19")] {
        let response = edge.ask(&request).await;
        let start =
            if request.headers.iter().any(|(_, value)| value.contains("3000000")) { 3_000_000 } else { 10 };
        assert_eq!(response.whole(), &german[start..start + response.body.len()]);
    }
    assert_eq!(edge.ask(&ask).await.whole(), &german);
    assert_eq!(edge.get("/a.bin").await.whole(), &other);
}

/// Variants outlive a restart with their marker.
#[tokio::test]
async fn variants_come_back_from_disk() {
    let origin = Origin::start().await;
    origin.script("/a.html", echo("accept-language"));
    let folder = tempfile::tempdir().unwrap();
    let setup = Setup::before(&origin).store(&format!(
        "disk = [{{ path = {:?}, size = \"64MiB\" }}]\ndisk_ttl_min = \"0s\"",
        folder.path()
    ));
    let edge = setup.start().await;
    for _ in 0..2 {
        for language in ["de", "fr"] {
            assert_eq!(text(&edge, &with("/a.html", "accept-language", language)).await.0, language);
        }
    }
    let fetches = origin.requests("/a.html");
    edge.stop().await;
    let edge = setup.start().await;
    for language in ["fr", "de"] {
        let (body, response) = text(&edge, &with("/a.html", "accept-language", language)).await;
        assert_eq!((body.as_str(), response.outcome()), (language, "hit"));
    }
    assert_eq!(origin.requests("/a.html"), fetches);
}

/// Nobody waits for another variant: viewers of one are answered while another is being fetched.
#[tokio::test]
async fn waiting_for_one_variant_does_not_hold_up_another() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    let held = gate.clone();
    let answer = echo("accept-language");
    origin.script("/a.html", move |request, nth| match request.header("accept-language") {
        Some("slow") => answer(request, nth).hold(&held),
        _ => answer(request, nth),
    });
    let edge = Setup::before(&origin).start().await;
    edge.get("/a.html").await;
    let mut slow = edge.open(&with("/a.html", "accept-language", "slow")).await;
    origin.await_requests("/a.html", 2).await;
    assert_eq!(text(&edge, &with("/a.html", "accept-language", "de")).await.0, "de");
    gate.open();
    assert_eq!(within("the slow one", slow.response("GET")).await.whole(), "slow");
    assert_eq!(edge.get("/a.html").await.outcome(), "hit");
}
