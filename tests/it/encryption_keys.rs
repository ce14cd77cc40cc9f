//! Encryption keys and licences: each request is the origin's to answer, needs a token where the site has a policy, and
//! counts towards a limit of its own.

use http::Method;

use crate::support::client::Request;
use crate::support::edge::Setup;
use crate::support::origin::{Answer, Origin};
use crate::support::signing::{KEY_HEX, now, sign, valid};

/// A key for each request, so that one that is shared is seen.
async fn origin() -> Origin {
    let origin = Origin::start().await;
    origin.otherwise(|request, number| {
        let who = request.header("authorization").unwrap_or("nobody");
        Answer::ok(format!("key {number} for {who}")).cache_control("public, max-age=3600").etag("\"k\"")
    });
    origin
}

#[tokio::test]
async fn a_key_is_never_shared_and_never_kept_whatever_its_origin_says() {
    let origin = origin().await;
    let rule = "[[site.rule]]\npath = \"/licence/*\"\nclassify = \"key\"\n";
    let edge =
        Setup::before(&origin).site("methods = [\"GET\", \"HEAD\", \"POST\"]").more(rule).start().await;
    for path in ["/live/1.key", "/licence/widevine", "/licence/seg-1.m4s"] {
        let mut bodies = Vec::new();
        for who in ["alice", "bob", "alice"] {
            let response = edge.ask(&Request::get(path).header("authorization", who)).await;
            assert_eq!((response.status(), response.outcome()), (200, "bypass"), "{path}");
            assert_eq!(response.get("cache-control"), Some("no-store"), "{path}");
            assert_eq!(response.get("expires"), None);
            let body = String::from_utf8(response.whole().to_vec()).unwrap();
            assert!(body.ends_with(who), "{path}: {body}");
            bodies.push(body);
        }
        bodies.dedup();
        assert_eq!(bodies.len(), 3, "{path}: each asks the origin");
        assert_eq!(origin.requests(path), 3, "{path}");
    }
    let licence =
        Request { method: Method::POST.to_string(), ..Request::get("/licence/widevine") }.body("challenge");
    assert_eq!(edge.ask(&licence).await.status(), 200);
    assert!(origin.last("/licence/widevine").text().ends_with("\n\nchallenge"));
    let metrics = edge.metrics().await;
    assert_eq!(metrics.sum("forebay_requests_total", &[("kind", "key"), ("outcome", "bypass")]), 10.0);
}

/// By session where the token says one, so that viewers behind one address have a bucket each.
#[tokio::test]
async fn who_asks_for_keys_too_often_is_told_when_to_come_back_and_others_are_not() {
    let origin = origin().await;
    let edge = Setup::before(&origin)
        .site("token = \"viewer\"\ncors = { origins = [\"*\"] }")
        .more("[token.viewer]\nformat = \"edgeauth\"\nkeys = [{ id = \"k1\", secret_file = \"DIR/k1.key\" }]")
        .file("k1.key", KEY_HEX)
        .limits("key_requests = 2")
        .start()
        .await;
    let path = "/live/1.key";
    let of = |session: &str| {
        let fields = format!("exp={}~acl=/live/*~id={session}", now() + 3600);
        format!("/hdnts={}{path}", sign(KEY_HEX, &fields))
    };
    let denied = edge.get(path).await;
    assert_eq!((denied.status(), origin.requests(path)), (403, 0), "no key without a token");
    for _ in 0..2 {
        assert_eq!(edge.get(&of("alice")).await.status(), 200);
    }
    let refused = edge.get(&of("alice")).await;
    assert_eq!((refused.status(), refused.outcome()), (429, "denied"));
    let wait: u64 = refused.get("retry-after").unwrap().parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
    assert_eq!(refused.get("access-control-allow-origin"), Some("*"), "a player can read it");
    assert_eq!(refused.get("cache-control"), Some("no-store"));
    assert_eq!(edge.get(&of("bob")).await.status(), 200, "of the same address");
    // Without a session, the address counts.
    let shared = format!("/hdnts={}{path}", valid("/live/*"));
    assert_eq!(edge.get(&shared).await.status(), 200);
    assert_eq!(edge.get(&shared).await.status(), 200);
    assert_eq!(edge.get(&format!("/hdnts={}{path}", valid("*"))).await.status(), 429);
    assert_eq!(origin.requests(path), 5);
    for _ in 0..5 {
        let media = edge.get(&format!("/hdnts={}/live/1.m4s", valid("/live/*"))).await;
        assert_eq!(media.status(), 200, "media does not count");
    }
}

/// Sessions of two sites with token policies of their own are two, whatever they are called: none uses the other's up.
#[tokio::test]
async fn a_session_of_another_policy_is_another_client() {
    let origin = origin().await;
    let more = "[token.one]\nformat = \"edgeauth\"\nkeys = [{ id = \"k1\", secret_file = \"DIR/k1.key\" }]\n\
        [token.other]\nformat = \"edgeauth\"\nkeys = [{ id = \"k1\", secret_file = \"DIR/k1.key\" }]\n\
        [[site]]\nhosts = [\"other.test\"]\norigin = \"main\"\ntoken = \"other\"\n";
    let edge = Setup::before(&origin)
        .site("token = \"one\"")
        .more(more)
        .file("k1.key", KEY_HEX)
        .limits("key_requests = 1")
        .start()
        .await;
    let target = format!("/hdnts={}/live/1.key", sign(KEY_HEX, &format!("exp={}~acl=/*~id=1", now() + 3600)));
    for host in ["edge.test", "other.test"] {
        assert_eq!(edge.ask(&Request::get(&target).host(host)).await.status(), 200, "{host}");
        assert_eq!(edge.ask(&Request::get(&target).host(host)).await.status(), 429, "{host}");
    }
}

/// A cache between the node and the viewer that goes by fields of its own keeps no key either.
#[tokio::test]
async fn no_field_of_the_origin_has_another_cache_keep_a_key() {
    let origin = Origin::start().await;
    origin.otherwise(|_, _| {
        Answer::ok("key")
            .cache_control("public, max-age=3600")
            .header("cdn-cache-control", "max-age=3600")
            .header("vendor-cache-control", "max-age=3600")
            .header("surrogate-control", "max-age=3600")
            .header("x-accel-expires", "3600")
            .header("pragma", "x")
    });
    let edge = Setup::before(&origin).start().await;
    let response = edge.get("/live/1.key").await;
    assert_eq!((response.status(), response.get("cache-control")), (200, Some("no-store")));
    for name in ["cdn-cache-control", "vendor-cache-control", "surrogate-control", "x-accel-expires"] {
        assert_eq!(response.get(name), None, "{name}");
    }
}

/// What a playlist names as key is one for all, also where the playlist itself is one viewer's.
#[tokio::test]
async fn what_a_playlist_of_one_viewer_names_as_key_is_never_shared() {
    for control in ["private", "no-store", "max-age=60"] {
        let origin = origin().await;
        let text = "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-KEY:METHOD=AES-128,URI=\"/drm/k1\"\n#EXTINF:4,\n1.ts\n#EXT-X-ENDLIST\n";
        origin.on("/live/v.m3u8", Answer::ok(text).cache_control(control));
        let edge = Setup::before(&origin).start().await;
        assert_eq!(edge.get("/live/v.m3u8").await.status(), 200);
        for who in ["alice", "bob"] {
            let response = edge.ask(&Request::get("/drm/k1").header("x-who", who)).await;
            assert_eq!(
                (response.outcome(), response.get("cache-control")),
                ("bypass", Some("no-store")),
                "{control}"
            );
        }
        assert_eq!(origin.requests("/drm/k1"), 2, "{control}");
        assert_eq!(edge.get("/live/1.ts").await.outcome(), "miss");
        assert_eq!(edge.get("/live/1.ts").await.outcome(), "hit", "{control}");
    }
}
