//! What orders come to, by the sites of a configuration.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::origin::{OriginFamilies, Origins};
use crate::purge::audit::Way;
use crate::store::{Accounts, StoreMetrics};

const ADMIN: Asker<'static> = Asker { way: Way::Admin, peer: None };

/// A purger over an empty store; `sites` stand before a site for every host.
pub(crate) fn purger(sites: &str) -> Purger {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("key"), "00112233").unwrap();
    let text = format!(
        "[server]\nhttp = ['127.0.0.1:0']\n[origin.main]\nservers = ['http://127.0.0.1:1']\n\
         [token.viewer]\nformat = 'edgeauth'\nkeys = [{{ id = 'k', secret_file = 'key' }}]\n\
         {sites}\n[[site]]\nhosts = ['*']\norigin = 'main'\ntoken = 'viewer'\n"
    );
    let config = crate::config::parse(&text, &folder.path().join(Path::new("forebay.toml"))).unwrap();
    let registry = prometheus::Registry::new();
    let origins = Origins::new(&config.origins, &OriginFamilies::new(&registry).unwrap()).unwrap();
    let metrics = StoreMetrics::new(&registry).unwrap();
    let store = Store::new(16 << 20, 10, Accounts::default(), None, Duration::ZERO, metrics);
    Purger::new(Arc::new(Sites::new(&config, &origins)), Box::leak(Box::new(store)), 200, None)
}

fn two_sites() -> Purger {
    purger(
        "[[site]]\nhosts = ['live.example.com', '*.live.example.com']\norigin = 'main'\ntoken = 'viewer'\n\
         [[site.rule]]\npath = '/api/*'\nkey = { query = ['lang'] }\n",
    )
}

/// The targets that an order comes to, as they are answered.
async fn targets(purger: &Purger, order: Value) -> Value {
    let answer = purger.run(&ADMIN, order.to_string().as_bytes(), None).await;
    assert_eq!(answer.status, 200, "{order}: {}", answer.body);
    let mut targets = answer.body["targets"].clone();
    for target in targets.as_array_mut().unwrap() {
        target.as_object_mut().unwrap().remove("generation");
    }
    targets
}

#[tokio::test]
async fn a_url_comes_to_the_site_and_key_of_a_viewers_request() {
    let purger = two_sites();
    for (url, site, key) in [
        ("https://live.example.com/a/index.m3u8", "live.example.com", "/a/index.m3u8"),
        ("http://LIVE.example.com:8443/a?b=2&a=1&utm_source=x", "live.example.com", "/a?a=1&b=2"),
        ("https://x.live.example.com", "live.example.com", "/"),
        (
            "https://live.example.com/hdnts=exp=1~hmac=ab/a/s.m4s?hdnea=t&CMCD=x",
            "live.example.com",
            "/a/s.m4s",
        ),
        ("https://live.example.com/api/home?lang=de&other=1", "live.example.com", "/api/home?lang=de"),
        ("https://elsewhere.example/a", "*", "/a"),
    ] {
        let found = targets(&purger, json!({ "url": url })).await;
        assert_eq!(found, json!([{ "site": site, "url": key }]), "{url}");
    }
    let two = ["https://live.example.com/1", "https://other.example/2"];
    let found = targets(&purger, json!({ "url": two })).await;
    let expected = json!([{ "site": "live.example.com", "url": "/1" }, { "site": "*", "url": "/2" }]);
    assert_eq!(found, expected);
}

/// A request with the field and one without it are kept under different targets: a purge of their URL names both.
#[tokio::test]
async fn a_url_comes_to_every_target_that_rules_may_give_it() {
    let purger = purger(
        "[[site]]\nhosts = ['a.example']\norigin = 'main'\n\
         [[site.rule]]\npath = '/x/*'\nrequest_headers = { x-device = 'tv' }\nkey = { query = ['q'] }\n\
         [[site.rule]]\npath = '/y/*'\nrequest_headers = { x-device = 'tv' }\nttl = '9s'\n",
    );
    let found = targets(&purger, json!({ "url": "http://a.example/x/1?p=1&q=2" })).await;
    let both =
        json!([{ "site": "a.example", "url": "/x/1?p=1&q=2" }, { "site": "a.example", "url": "/x/1?q=2" }]);
    assert_eq!(found, both);
    let found = targets(&purger, json!({ "url": "http://a.example/y/1?p=1" })).await;
    assert_eq!(found, json!([{ "site": "a.example", "url": "/y/1?p=1" }]));
}

#[tokio::test]
async fn prefixes_tags_and_sites_come_to_what_they_name() {
    let purger = two_sites();
    let live = "live.example.com";
    for (order, expected) in [
        (json!({ "prefix": "https://live.example.com/ch1/" }), json!({ "site": live, "prefix": "/ch1/" })),
        (
            json!({ "prefix": "/ch1", "site": "*.live.example.com" }),
            json!({ "site": live, "prefix": "/ch1" }),
        ),
        (json!({ "tag": "news" }), json!({ "tag": "news" })),
        (json!({ "tag": "news", "site": live }), json!({ "site": live, "tag": "news" })),
        (json!({ "site": "b.live.example.com" }), json!({ "site": live })),
        (json!({ "site": "*" }), json!({ "site": "*" })),
        (json!({ "everything": true }), json!({ "everything": true })),
    ] {
        assert_eq!(targets(&purger, order.clone()).await, json!([expected]), "{order}");
    }
}

#[tokio::test]
async fn what_no_viewer_can_ask_for_is_refused_with_the_field_and_the_remedy() {
    let purger = two_sites();
    let long = format!("https://a/{}", "x".repeat(200));
    for (order, word, part) in [
        (json!({ "url": "/a/b" }), "url", "url: has no scheme and host"),
        (json!({ "url": "live.example.com/a" }), "url", "url: is no URL"),
        (json!({ "url": "live.example.com" }), "url", "url: is not a URL that viewers can ask for"),
        (json!({ "url": "ftp://live.example.com/a" }), "url", "is not a URL that viewers can ask for"),
        (json!({ "url": "https://u@live.example.com/a" }), "url", "is not a URL that viewers can ask for"),
        (json!({ "url": ["https://a/", "https://a/ b"] }), "url", "url[1]: is no URL"),
        (json!({ "url": long }), "url", "limits.request_target"),
        (json!({ "prefix": "/a" }), "url", "prefix: has no scheme and host"),
        (json!({ "prefix": "https://a/b?c" }), "url", "prefix: has a query"),
        (json!({ "prefix": "https://a/b", "site": "*" }), "url", "prefix: beside site"),
        (json!({ "prefix": "/a", "site": "typo.example" }), "site", "typo.example"),
        (json!({ "tag": "a", "site": "typo.example" }), "site", "\"live.example.com\""),
        (json!({ "site": "typo.example" }), "site", "typo.example"),
    ] {
        let answer = purger.run(&ADMIN, order.to_string().as_bytes(), None).await;
        assert_eq!((answer.status, &answer.body["reason"]), (400, &json!(word)), "{order}: {}", answer.body);
        assert!(answer.body["error"].as_str().unwrap().contains(part), "{order}: {}", answer.body);
    }
}

#[tokio::test]
async fn a_dry_run_tells_how_many_objects_are_named_and_begins_no_generation() {
    let purger = two_sites();
    let before = purger.store.generation();
    let answer = purger.run(&ADMIN, br#"{"everything": true, "dry_run": true, "mode": "hard"}"#, None).await;
    let expected = json!({
        "status": "dry_run", "mode": "hard", "generation": before,
        "targets": [{ "everything": true, "objects_in_memory": 0 }],
    });
    assert_eq!((answer.status, answer.body), (200, expected));
    assert_eq!(purger.store.generation(), before);
}

#[test]
fn a_purge_that_a_disk_could_not_note_is_told_as_in_force_and_forgettable() {
    let target = |path: &str| PurgeTarget::Prefix { site: "a".to_owned(), path: path.to_owned() };
    let noted = Done { target: target("/1"), noted: Ok(7) };
    let lost = Done { target: target("/2"), noted: Err("/disk: no space".to_owned()) };
    let told = answer(&[noted, lost], PurgeMode::Hard, 8);
    assert_eq!((told.status, &told.body["generation"]), (500, &json!(8)));
    let expected = json!([
        { "site": "a", "prefix": "/1", "generation": 7 },
        { "site": "a", "prefix": "/2", "disk_error": "/disk: no space" },
    ]);
    assert_eq!(told.body["targets"], expected);
    assert!(told.body["error"].as_str().unwrap().contains("could not note 1"), "{}", told.body);
}
