//! Tokens: who gets in, with which word the others are refused, and that a token goes no further than the node.

use crate::support::client::Request;
use crate::support::edge::{Edge, Setup};
use crate::support::entitled::assert_denied;
use crate::support::origin::{Answer, Origin};
use crate::support::signing::{KEY_HEX, OTHER_KEY_HEX, now, sign, sign_url, valid};

/// The MAC of an unknown key.
const FOREIGN_KEY_HEX: &str = "ffeeddccbbaa99887766554433221100";

/// A node whose site asks for tokens of two keys, before an origin that answers everything.
async fn protected() -> (Origin, Edge) {
    protected_by("").await
}

/// As [`protected`], with further lines in `[server]`.
async fn protected_by(server: &str) -> (Origin, Edge) {
    let origin = Origin::start().await;
    origin.otherwise(|_, _| Answer::ok("media").cache_control("max-age=60"));
    let policy = r#"
        [token.viewer]
        format = "edgeauth"
        keys = [{ id = "new", secret_file = "DIR/new.key" }, { id = "old", secret_file = "DIR/old.key" }]
    "#;
    let setup = Setup::before(&origin)
        .server(server)
        .site("token = \"viewer\"\ncors = { origins = [\"*\"] }")
        .more(policy)
        .file("new.key", &format!("{KEY_HEX}\n"))
        .file("old.key", &format!("  {OTHER_KEY_HEX}\n"));
    (origin, setup.start().await)
}

/// Every reason has its own word in the metric, every denial is a 403 that nobody may keep and any page may read, and the
/// origin hears nothing of it.
#[tokio::test]
async fn each_refusal_has_its_own_reason() {
    let (origin, edge) = protected().await;
    let hour = now() + 3600;
    let other_end = |token: &str| {
        let flipped = if token.ends_with('0') { "1" } else { "0" };
        format!("{}{flipped}", &token[..token.len() - 1])
    };
    let cases = [
        ("missing", None),
        ("malformed", Some("rubbish".to_owned())),
        ("malformed", Some(format!("exp={hour}~acl=/live/*"))),
        ("malformed", Some(sign(KEY_HEX, "acl=/live/*"))),
        ("malformed", Some(format!("exp={hour}~acl=/live/*~hmac=zz"))),
        ("bad_mac", Some(other_end(&valid("/live/*")))),
        ("bad_mac", Some(sign(FOREIGN_KEY_HEX, &format!("exp={hour}~acl=/live/*")))),
        ("bad_mac", Some(sign(KEY_HEX, &format!("exp={hour}~acl=/vod/*")).replace("/vod/", "/live/"))),
        ("expired", Some(sign(KEY_HEX, &format!("exp={}~acl=/live/*", now() - 10)))),
        ("not_yet", Some(sign(KEY_HEX, &format!("st={}~exp={hour}~acl=/live/*", now() + 1800)))),
        ("path", Some(valid("/vod/*"))),
        ("ip", Some(sign(KEY_HEX, &format!("ip=192.0.2.1~exp={hour}~acl=/live/*")))),
    ];
    let mut expected = std::collections::BTreeMap::<&str, f64>::new();
    for (reason, token) in &cases {
        let target = token.as_ref().map_or("/live/1.m4s".to_owned(), |t| format!("/live/1.m4s?hdnts={t}"));
        assert_denied(&edge.get(&target).await, &format!("{reason}: {target}"));
        *expected.entry(reason).or_default() += 1.0;
        let metrics =
            edge.await_metric("forebay_token_denied_total", &[("reason", reason)], expected[reason]).await;
        for (word, count) in &expected {
            let counted = metrics.sum("forebay_token_denied_total", &[("reason", word), ("site", "*")]);
            assert_eq!(counted, *count, "{word} behind {target}");
        }
    }
    assert_eq!(origin.recorded().len(), 0, "a refused request reached the origin");
}

/// A valid token opens the path from each place and under each name.
#[tokio::test]
async fn a_token_is_found_in_path_query_and_cookie() {
    let (origin, edge) = protected().await;
    let token = valid("/live/*");
    for name in ["hdnts", "hdnea", "__hdnea__", "__token__"] {
        let path = edge.get(&format!("/{name}={token}/live/1.m4s")).await;
        let query = edge.get(&format!("/live/1.m4s?{name}={token}")).await;
        let cookie = format!("first=1; {name}={token}; last=2");
        let cookie = edge.ask(&Request::get("/live/1.m4s").header("cookie", &cookie)).await;
        for (place, response) in [("path", path), ("query", query), ("cookie", cookie)] {
            assert_eq!(response.status(), 200, "{name} as {place}");
            assert_eq!(response.whole(), "media", "{name} as {place}");
        }
    }
    assert_eq!(origin.requests("/live/1.m4s"), 1, "one object, whatever the token");
}

/// Percent-encoded as browsers and players send it, the token is the same.
#[tokio::test]
async fn an_encoded_token_is_the_same_token() {
    let (_origin, edge) = protected().await;
    let encoded =
        valid("/live/*").replace('*', "%2A").replace('/', "%2F").replace('~', "%7E").replace('=', "%3D");
    assert_eq!(edge.get(&format!("/live/1.m4s?hdnts={encoded}")).await.status(), 200);
}

/// Keys of a rotation are both good.
#[tokio::test]
async fn every_configured_key_is_good() {
    let (_origin, edge) = protected().await;
    for key in [KEY_HEX, OTHER_KEY_HEX] {
        let token = sign(key, &format!("exp={}~acl=/live/*", now() + 3600));
        assert_eq!(edge.get(&format!("/live/1.m4s?hdnts={token}")).await.status(), 200);
    }
}

/// A URL token opens the one path it was made for.
#[tokio::test]
async fn a_url_token_opens_its_path_only() {
    let (_origin, edge) = protected().await;
    let token = sign_url(KEY_HEX, &format!("exp={}", now() + 3600), "/live/1.m4s");
    assert_eq!(edge.get(&format!("/live/1.m4s?hdnts={token}")).await.status(), 200);
    assert_denied(&edge.get(&format!("/live/2.m4s?hdnts={token}")).await, "another path");
}

/// A token for another path is refused also where the object is held, and where the path is written in a roundabout way.
#[tokio::test]
async fn a_token_does_not_open_another_path() {
    let (origin, edge) = protected().await;
    let (live, vod) = (valid("/live/*"), valid("/vod/*"));
    assert_eq!(edge.get(&format!("/vod/1.m4s?hdnts={vod}")).await.status(), 200);
    for path in ["/vod/1.m4s", "/live/../vod/1.m4s", "/live/%2e%2e/vod/1.m4s", "/live/%2E./vod/1.m4s"] {
        let response = edge.get(&format!("{path}?hdnts={live}")).await;
        assert_ne!(response.status(), 200, "{path}");
    }
    assert!(origin.recorded().iter().all(|request| !request.target.contains("..")));
    assert_denied(&edge.get("/vod/1.m4s").await, "held, without a token");
}

/// A request that names its token twice is refused: neither place hides the other.
#[tokio::test]
async fn a_token_named_twice_is_refused() {
    let (_origin, edge) = protected().await;
    let (good, foreign) = (valid("/live/*"), sign(FOREIGN_KEY_HEX, &format!("exp={}~acl=/*", now() + 3600)));
    for target in [
        format!("/live/1.m4s?hdnts={good}&hdnts={foreign}"),
        format!("/live/1.m4s?hdnts={foreign}&hdnts={good}"),
        format!("/hdnts={good}/live/1.m4s?hdnts={good}"),
        format!("/hdnts={good}/hdnts={good}/live/1.m4s"),
    ] {
        assert_denied(&edge.get(&target).await, &target);
    }
    edge.await_metric("forebay_token_denied_total", &[("reason", "malformed")], 4.0).await;
}

/// A held object is one object for all tokens, and a token bound to an address opens it from there.
#[tokio::test]
async fn a_token_bound_to_an_address_opens_from_there() {
    let (_origin, edge) = protected().await;
    let token = sign(KEY_HEX, &format!("ip=127.0.0.1~exp={}~acl=/live/*", now() + 3600));
    assert_eq!(edge.get(&format!("/live/1.m4s?hdnts={token}")).await.status(), 200);
    assert_eq!(edge.get(&format!("/hdnts={}/live/1.m4s", valid("/*"))).await.outcome(), "hit");
}

/// `X-Forwarded-For` decides the viewer's address when it comes from a trusted peer, and only then.
#[tokio::test]
async fn forwarded_addresses_are_believed_from_trusted_peers_only() {
    let token = sign(KEY_HEX, &format!("ip=192.0.2.1~exp={}~acl=/live/*", now() + 3600));
    let request = |forwarded: &str| {
        Request::get(&format!("/live/1.m4s?hdnts={token}")).header("x-forwarded-for", forwarded)
    };
    let (_origin, edge) = protected().await;
    assert_denied(&edge.ask(&request("192.0.2.1")).await, "an untrusted peer");

    let (_origin, edge) = protected_by("trusted_proxies = [\"127.0.0.0/8\"]").await;
    assert_eq!(edge.ask(&request("192.0.2.1")).await.status(), 200);
    assert_eq!(edge.ask(&request("203.0.113.7, 192.0.2.1")).await.status(), 200, "the nearest untrusted one");
    assert_denied(&edge.ask(&request("192.0.2.1, 203.0.113.7")).await, "a forged first entry");
    assert_denied(&edge.ask(&request("not an address")).await, "rubbish");
}

/// Nothing of a token is in any line the node writes, in what it asks the origin, in its answers or in its metrics.
#[tokio::test]
async fn a_token_goes_no_further_than_the_node() {
    let (origin, edge) = protected().await;
    let token = valid("/live/*");
    let refused = sign(FOREIGN_KEY_HEX, &format!("exp={}~acl=/live/*", now() + 3600));
    let mac = token.rsplit('=').next().expect("a MAC").to_owned();
    let refused_mac = refused.rsplit('=').next().expect("a MAC").to_owned();
    let mut answers = String::new();
    for (number, token) in [&token, &refused].into_iter().enumerate() {
        for request in [
            Request::get(&format!("/hdnts={token}/live/path{number}.m4s?x=1")),
            Request::get(&format!("/live/query{number}.m4s?a=1&hdnts={token}&b=2")),
            Request::get(&format!("/live/cookie{number}.m4s"))
                .header("cookie", &format!("hdnts={token}; c=d")),
            Request::head(&format!("/live/head{number}.m4s?hdnts={token}")),
            Request::get(&format!("/live/referred{number}.m4s?hdnts={token}"))
                .header("referer", &format!("http://edge.test/hdnts={token}/live/index.m3u8")),
        ] {
            let response = edge.ask(&request).await;
            assert_eq!(response.status(), if number == 0 { 200 } else { 403 }, "{request:?}");
            answers.push_str(&format!("{:?}{}", response.head, String::from_utf8_lossy(&response.body)));
        }
    }
    // Where none is looked for, there is none; it is a secret all the same.
    for path in [
        format!("/live/hdnts={token}/1.m4s"),
        format!("//hdnts={token}/live/1.m4s"),
        format!("/live%2Fhdnts={token}/1.m4s"),
        format!("/live/1.m4s;hdnts={token}"),
        format!("/%zz/hdnts={token}/live/1.m4s"),
    ] {
        let response = edge.get(&path).await;
        assert!([400, 403].contains(&response.status()), "{path}: {}", response.status());
        answers.push_str(&format!("{:?}{}", response.head, String::from_utf8_lossy(&response.body)));
    }
    edge.await_access_lines(15).await;
    answers.push_str(&format!("{:?}", edge.metrics().await));
    let asked: String = origin.recorded().iter().map(|request| request.text()).collect();
    assert_eq!(origin.requests("/live/query0.m4s"), 1);
    let query = origin.last("/live/query0.m4s").target;
    assert!(query.contains("a=1") && query.contains("b=2"), "{query}");
    let (status, written) = edge.stop().await;
    assert!(status.success());
    for (place, text) in [("answers", &answers), ("origin requests", &asked), ("outputs", &written)] {
        for secret in [mac.as_str(), refused_mac.as_str(), KEY_HEX, OTHER_KEY_HEX] {
            assert!(!text.contains(secret), "{secret} in {place}:\n{text}");
        }
    }
    assert!(!asked.contains("hdnts"), "{asked}");
}

/// What repeats a URL beside the request's own: the page that it comes from, which a request that passes through takes
/// along, and what a player says it will ask for next, which the log shows.
#[tokio::test]
async fn a_token_in_a_url_that_a_request_repeats_goes_no_further() {
    let origin = Origin::start().await;
    origin.otherwise(|_, _| Answer::ok("media"));
    let edge = Setup::before(&origin)
        .site("token = \"viewer\"\nrule = [{ path = \"/live/*\", bypass = true }]")
        .more(
            "[token.viewer]\nformat = \"edgeauth\"\nkeys = [{ id = \"new\", secret_file = \"DIR/new.key\" }]",
        )
        .file("new.key", KEY_HEX)
        .start()
        .await;
    let token = valid("/live/*");
    let mac = token.rsplit('=').next().expect("a MAC").to_owned();
    let pages = [
        (format!("https://a.test/hdnts={token}/live/p.html?x=1"), Some("https://a.test/live/p.html?x=1")),
        (format!("https://a.test/live/p.html?hdnts={token}"), Some("https://a.test/live/p.html")),
        ("https://other.test/p?y=2".to_owned(), Some("https://other.test/p?y=2")),
        (format!("hdnts={token}"), None),
    ];
    for (page, expected) in &pages {
        let next = format!("sid=\"s1\",nor=\"2.m4s%3Fhdnts%3D{token}\"");
        let request = Request::get(&format!("/live/1.m4s?hdnts={token}"))
            .header("referer", page)
            .header("cmcd-request", &next);
        assert_eq!(edge.ask(&request).await.status(), 200);
        let asked = origin.last("/live/1.m4s").text();
        let referer = asked.lines().find(|line| line.to_ascii_lowercase().starts_with("referer:"));
        assert_eq!(referer.map(|line| line[8..].trim()), *expected, "{page}");
    }
    edge.await_access_lines(pages.len()).await;
    let (_, written) = edge.stop().await;
    assert!(written.contains("\"sid\":\"s1\""), "{written}");
    assert!(!written.contains(&mac), "{written}");
}

/// A CORS preflight is answered without a token, and not by the origin.
#[tokio::test]
async fn a_preflight_needs_no_token() {
    let (origin, edge) = protected().await;
    let preflight = Request::new("OPTIONS", "/live/1.m4s")
        .header("origin", "https://player.example")
        .header("access-control-request-method", "GET")
        .header("access-control-request-headers", "range");
    let response = edge.ask(&preflight).await;
    assert!([200, 204].contains(&response.status()), "{}", response.status());
    assert_eq!(response.get("access-control-allow-origin"), Some("*"));
    assert!(response.get("access-control-allow-methods").is_some_and(|methods| methods.contains("GET")));
    let allowed = response.get("access-control-allow-headers").unwrap_or_default().to_ascii_lowercase();
    assert!(allowed == "*" || allowed.contains("range"), "{allowed}");
    assert_eq!(origin.recorded().len(), 0);
}

/// A good answer and a denial both let a page of the allowed origins read them, and no other page.
#[tokio::test]
async fn answers_carry_cors_for_the_allowed_origins_only() {
    let origin = Origin::start().await;
    origin.otherwise(|_, _| Answer::ok("media").cache_control("max-age=60"));
    let edge = Setup::before(&origin).site("cors = { origins = [\"https://a.example\"] }").start().await;
    for _ in 0..2 {
        let allowed = edge.ask(&Request::get("/1.m4s").header("origin", "https://a.example")).await;
        assert_eq!(allowed.get("access-control-allow-origin"), Some("https://a.example"));
        assert!(allowed.get("vary").is_some_and(|vary| vary.to_ascii_lowercase().contains("origin")));
        let other = edge.ask(&Request::get("/1.m4s").header("origin", "https://b.example")).await;
        assert_ne!(other.get("access-control-allow-origin"), Some("https://b.example"));
        assert_ne!(other.get("access-control-allow-origin"), Some("*"));
    }
}
