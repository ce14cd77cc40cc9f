//! Rules: which of them decides, by what of a request, and what they change.

use crate::support::client::{Request, Response};
use crate::support::content::content;
use crate::support::edge::{Edge, Setup};
use crate::support::origin::{Answer, Origin};

/// An origin whose answers last for an hour and say which one they are.
async fn counting() -> Origin {
    let origin = Origin::start().await;
    origin.otherwise(|request, nth| {
        Answer::ok(format!("{nth} {}", request.text()))
            .cache_control("max-age=3600")
            .header("server", "secret/1.0")
    });
    origin
}

async fn ask(edge: &Edge, target: &str, device: &str) -> Response {
    edge.ask(&Request::get(target).header("x-device", device)).await
}

/// A condition on a field decides for those who have it, and its match keeps their answers apart: nobody else gets them.
#[tokio::test]
async fn a_field_that_decides_is_part_of_the_key() {
    let origin = counting().await;
    let rules = r#"
        [[site.rule]]
        path = "/a/*"
        request_headers = { "x-device" = "tv*", "x-beta" = "?" }
        browser_ttl = "7s"

        [[site.rule]]
        path = "/a/*"
        request_headers = { "x-device" = "tv*" }
        browser_ttl = "5s"

        [[site.rule]]
        path = "/a/*"
        browser_ttl = "3s"
    "#;
    let edge = Setup::before(&origin).more(rules).start().await;
    let age = |response: &Response| response.get("cache-control").map(str::to_owned).unwrap_or_default();
    for outcome in ["miss", "hit"] {
        let tv = ask(&edge, "/a/1.m4s", "tv-4k").await;
        assert_eq!(tv.outcome(), outcome);
        assert!(age(&tv).contains("max-age=5"), "{}", age(&tv));
        let phone = ask(&edge, "/a/1.m4s", "phone").await;
        assert_eq!(phone.outcome(), outcome);
        assert!(age(&phone).contains("max-age=3"), "{}", age(&phone));
        let beta = Request::get("/a/1.m4s").header("x-device", "tv").header("x-beta", "1");
        let beta = edge.ask(&beta).await;
        assert_eq!(beta.outcome(), outcome);
        assert!(age(&beta).contains("max-age=7"), "{}", age(&beta));
    }
    // Nothing but the match counts, and a field that is not there matches nothing.
    assert_eq!(ask(&edge, "/a/1.m4s", "tv-hd").await.outcome(), "hit");
    assert_eq!(edge.get("/a/1.m4s").await.outcome(), "hit");
    // A rule for other paths parts nothing here.
    assert_eq!(ask(&edge, "/b/1.m4s", "tv").await.outcome(), "miss");
    assert_eq!(ask(&edge, "/b/1.m4s", "phone").await.outcome(), "hit");
    assert!(origin.recorded().iter().all(|request| request.header("x-device").is_none()));
}

/// A rule for a status is chosen by the request that the answer was fetched for, and keeps to those like it.
#[tokio::test]
async fn a_field_that_decides_about_a_status_is_part_of_the_key_too() {
    let origin = Origin::start().await;
    origin.otherwise(|_, _| Answer::status(404));
    let rules = r#"
        [[site.rule]]
        status = 404
        request_headers = { "x-device" = "tv" }
        ttl = "60s"

        [[site.rule]]
        ttl = "0s"
    "#;
    let edge = Setup::before(&origin).more(rules).start().await;
    assert_eq!(ask(&edge, "/1.bin", "tv").await.outcome(), "miss");
    assert_eq!(ask(&edge, "/1.bin", "tv").await.outcome(), "hit");
    for _ in 0..2 {
        assert_ne!(edge.get("/1.bin").await.outcome(), "hit");
    }
}

/// GET stands for HEAD; other methods have rules of their own.
#[tokio::test]
async fn a_rule_for_methods_is_for_them_alone() {
    let origin = counting().await;
    let rules = r#"
        [[site.rule]]
        methods = ["GET"]
        headers = { set = { "x-by" = "get" } }

        [[site.rule]]
        methods = ["POST"]
        headers = { set = { "x-by" = "post" }, remove = ["server"] }
    "#;
    let site = "methods = [\"GET\", \"HEAD\", \"POST\", \"PUT\"]";
    let edge = Setup::before(&origin).site(site).more(rules).start().await;
    for (method, by) in [("GET", Some("get")), ("HEAD", Some("get")), ("POST", Some("post")), ("PUT", None)] {
        let response = edge.ask(&Request::new(method, "/1.m4s")).await;
        assert_eq!(response.get("x-by"), by, "{method}");
        assert_eq!(response.get("server").is_some(), method != "POST", "{method}");
    }
}

/// Changes of the header show in every answer of the origin, stored or not, whole, in part or unchanged.
#[tokio::test]
async fn a_header_is_changed_on_its_way_to_viewers() {
    let origin = Origin::start().await;
    let answer =
        Answer::ok(content(1, 1000)).cache_control("max-age=60").etag("\"e\"").header("server", "secret");
    origin.on("/1.m4s", answer.header("x-robots-tag", "all"));
    let rules = r#"
        [[site.rule]]
        path = "*.m4s"
        headers = { set = { "x-robots-tag" = "noindex", "X-New" = "1" }, remove = ["Server"] }
    "#;
    let edge = Setup::before(&origin).more(rules).start().await;
    let requests = [
        ("miss", Request::get("/1.m4s")),
        ("hit", Request::get("/1.m4s")),
        ("hit", Request::get("/1.m4s")),
        ("hit", Request::head("/1.m4s")),
        ("hit", Request::get("/1.m4s").range("bytes=0-9")),
        ("hit", Request::get("/1.m4s").header("if-none-match", "\"e\"")),
    ];
    for (outcome, request) in &requests {
        let response = edge.ask(request).await;
        assert_eq!(response.outcome(), *outcome);
        assert_eq!((response.get("x-robots-tag"), response.head.count("x-robots-tag")), (Some("noindex"), 1));
        assert_eq!((response.get("x-new"), response.get("server")), (Some("1"), None));
    }
    assert_eq!(edge.get("/2.ts").await.get("x-new"), None);
}

/// What is kept on disk is told with the changes of the configuration that is in force.
#[tokio::test]
async fn changes_take_effect_on_what_is_stored_already() {
    let origin = counting().await;
    let disks = tempfile::tempdir().expect("a directory");
    let node = |rule: &str| {
        let store = format!("disk = [{{ path = {:?}, size = \"256MiB\" }}]", disks.path());
        Setup::before(&origin).store(&store).more(&format!("[[site.rule]]\ndisk = \"always\"\n{rule}"))
    };
    let edge = node("headers = { set = { \"x-by\" = \"one\" } }").start().await;
    assert_eq!(edge.get("/1.m4s").await.get("x-by"), Some("one"));
    edge.await_metric("forebay_cache_objects", &[("tier", "disk")], 1.0).await;
    edge.stop().await;
    let edge = node("headers = { set = { \"x-by\" = \"two\" }, remove = [\"server\"] }").start().await;
    let recalled = edge.get("/1.m4s").await;
    assert_eq!(
        (recalled.outcome(), recalled.get("x-by"), recalled.get("server")),
        ("hit", Some("two"), None)
    );
    assert_eq!(origin.requests("/1.m4s"), 1);
}

/// An origin may vary by what the key is made of, and each gets its own.
#[tokio::test]
async fn an_answer_may_vary_by_the_fields_of_the_key() {
    let origin = Origin::start().await;
    origin.otherwise(|request, _| {
        let language = request.header("accept-language").unwrap_or("none").to_owned();
        Answer::ok(language).cache_control("max-age=60").header("vary", "Accept-Language")
    });
    let rule = "[[site.rule]]\nkey = { headers = [\"Accept-Language\"] }";
    let edge = Setup::before(&origin).more(rule).start().await;
    for outcome in ["miss", "hit"] {
        for language in ["de", "fr"] {
            let response = edge.ask(&Request::get("/1.m4s").header("accept-language", language)).await;
            assert_eq!((response.outcome(), response.whole()), (outcome, &language.to_owned().into()));
        }
        assert_eq!(edge.get("/1.m4s").await.whole(), "none");
    }
    assert_eq!(origin.recorded().len(), 3);
}

/// Slices of a large object are fetched with the fields of its key, and are kept apart as the object is.
#[tokio::test]
async fn slices_are_fetched_with_the_fields_of_the_key() {
    let origin = Origin::start().await;
    origin.otherwise(|request, _| {
        let seed = if request.header("x-a") == Some("1") { 1 } else { 2 };
        Answer::ok(content(seed, 5_000_000)).cache_control("max-age=60").etag(&format!("\"{seed}\"")).ranges()
    });
    let rule = "[[site.rule]]\nkey = { headers = [\"x-a\"] }";
    let edge = Setup::before(&origin).limits("slice_above = \"1MiB\"").more(rule).start().await;
    for value in ["1", "2", "1"] {
        let request = Request::get("/1.bin").header("x-a", value).range("bytes=3000000-3000099");
        let part = edge.ask(&request).await;
        let whole = content(value.parse().expect("a number"), 5_000_000);
        assert_eq!((part.status(), &part.whole()[..]), (206, &whole[3_000_000..3_000_100]), "{value}");
        let request = Request::get("/1.bin").header("x-a", value);
        assert!(edge.ask(&request).await.whole() == &whole, "{value}");
    }
    assert!(origin.recorded().iter().all(|request| request.header("x-a").is_some()));
}

/// A conditional request to the origin carries the fields of the key too.
#[tokio::test]
async fn a_stale_object_is_confirmed_with_the_fields_of_the_key() {
    let origin = Origin::start().await;
    origin.otherwise(|_, _| Answer::ok("x").cache_control("max-age=60").etag("\"e\""));
    let rule = "[[site.rule]]\nkey = { headers = [\"x-a\"] }\nttl = \"0s\"";
    let edge = Setup::before(&origin).more(rule).start().await;
    for _ in 0..2 {
        edge.ask(&Request::get("/1.m4s").header("x-a", "1")).await;
    }
    let recorded = origin.recorded();
    assert_eq!(recorded.len(), 2);
    assert_eq!((recorded[1].header("if-none-match"), recorded[1].header("x-a")), (Some("\"e\""), Some("1")));
}

/// However many users come, what everybody asks for stays, and so does the quota.
#[tokio::test]
async fn users_cannot_push_out_what_everybody_asks_for() {
    let origin = Origin::start().await;
    origin.otherwise(|_, _| Answer::ok(content(1, 200_000)).cache_control("max-age=600"));
    let rules = r#"
        [[site.rule]]
        path = "/mine/*"
        key = { cookies = ["sid"] }
        quota = "2MiB"
    "#;
    let edge = Setup::before(&origin).memory("16MiB").more(rules).start().await;
    for number in 0..30 {
        edge.get(&format!("/all/{number}.m4s")).await;
    }
    for user in 0..150 {
        let request = Request::get("/mine/1.m4s").header("cookie", &format!("sid={user}"));
        assert_eq!(edge.ask(&request).await.outcome(), "miss");
    }
    for number in 0..30 {
        assert_eq!(edge.get(&format!("/all/{number}.m4s")).await.outcome(), "hit", "{number}");
    }
    let request = Request::get("/mine/1.m4s").header("cookie", "sid=149");
    assert_eq!(edge.ask(&request).await.outcome(), "hit", "the newest of the users stays");
    let request = Request::get("/mine/1.m4s").header("cookie", "sid=0");
    assert_eq!(edge.ask(&request).await.outcome(), "miss", "the oldest has gone");
    let metrics = edge.metrics().await;
    assert!(metrics.sum("forebay_cache_evictions_total", &[("reason", "quota")]) >= 130.0);
}

/// What is one user's is never written to disk.
#[tokio::test]
async fn what_is_one_users_stays_in_memory() {
    let origin = counting().await;
    let disks = tempfile::tempdir().expect("a directory");
    let store = format!("disk = [{{ path = {:?}, size = \"256MiB\" }}]", disks.path());
    let rules = "[[site.rule]]\npath = \"/mine/*\"\nkey = { cookies = [\"sid\"] }";
    let node = Setup::before(&origin).store(&store).more(rules);
    let edge = node.start().await;
    let mine = Request::get("/mine/1.m4s").header("cookie", "sid=1");
    for outcome in ["miss", "hit", "hit"] {
        assert_eq!(edge.ask(&mine).await.outcome(), outcome);
    }
    edge.get("/all/1.m4s").await;
    edge.await_metric("forebay_cache_objects", &[("tier", "disk")], 1.0).await;
    edge.stop().await;
    let edge = node.start().await;
    assert_eq!(edge.get("/all/1.m4s").await.outcome(), "hit");
    assert_eq!(edge.ask(&mine).await.outcome(), "miss");
}
