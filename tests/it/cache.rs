//! What is kept, for how long, under which key, and how it is brought up to date.

use tokio::task::JoinSet;

use crate::support::client::{Request, Response, get};
use crate::support::content::{assert_same_bytes, content};
use crate::support::edge::{Edge, Setup};
use crate::support::origin::{Answer, Origin};
use crate::support::wait::{Gate, within};

/// A complete playlist.
const ENDED: &str = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n1.m4s\n#EXT-X-ENDLIST\n";

/// `count` GETs at once, each on a connection of its own.
async fn burst(edge: &Edge, target: &str, count: usize) -> Vec<Response> {
    let mut clients = JoinSet::new();
    for _ in 0..count {
        let (address, target) = (edge.http(), target.to_owned());
        clients.spawn(async move { get(address, &target).await });
    }
    clients.join_all().await
}

/// The second request is a hit with the same bytes and headers, and the origin is not asked.
#[tokio::test]
async fn a_fresh_object_is_a_hit() {
    let origin = Origin::start().await;
    let body = content(1, 100_000);
    let answer = Answer::ok(body.clone())
        .cache_control("public, max-age=60")
        .header("content-type", "video/mp4")
        .header("x-of-origin", "kept")
        .etag("\"e\"");
    origin.on("/seg.m4s", answer);
    let edge = Setup::before(&origin).start().await;
    let miss = edge.get("/seg.m4s").await;
    assert_eq!((miss.status(), miss.outcome()), (200, "miss"));
    let hit = edge.get("/seg.m4s").await;
    assert_eq!((hit.status(), hit.outcome()), (200, "hit"));
    for response in [&miss, &hit] {
        assert_same_bytes(response.whole(), &body, "the body");
        for (name, value) in [("content-type", "video/mp4"), ("x-of-origin", "kept"), ("etag", "\"e\"")] {
            assert_eq!(response.get(name), Some(value));
        }
        assert_eq!(response.get("content-length"), Some("100000"));
    }
    assert_eq!(origin.requests("/seg.m4s"), 1);
}

/// An empty body, an unknown length and a length all come from the cache as they came from the origin.
#[tokio::test]
async fn every_form_of_body_is_kept() {
    let origin = Origin::start().await;
    let body = content(2, 600_000);
    origin.on("/empty.m4s", Answer::ok("").cache_control("max-age=60"));
    origin.on("/chunked.m4s", Answer::ok(body.clone()).chunked().cache_control("max-age=60"));
    origin.on("/length.m4s", Answer::ok(body.clone()).cache_control("max-age=60"));
    let edge = Setup::before(&origin).start().await;
    for (path, expected) in [("/empty.m4s", &b""[..]), ("/chunked.m4s", &body), ("/length.m4s", &body)] {
        for outcome in ["miss", "hit", "hit"] {
            let response = edge.get(path).await;
            assert_eq!(response.outcome(), outcome, "{path}");
            assert_same_bytes(response.whole(), expected, path);
        }
        assert_eq!(origin.requests(path), 1, "{path}");
    }
}

/// An answer that may not be shared goes to the viewer who asked: those who waited for it, and those who come later, go
/// to the origin themselves, all at once, and each gets its own.
#[tokio::test]
async fn an_answer_that_may_not_be_shared_is_each_viewers_own() {
    for (name, value) in
        [("cache-control", "no-store"), ("cache-control", "private, max-age=60"), ("set-cookie", "session=1")]
    {
        let origin = Origin::start().await;
        let (first, all) = (Gate::closed(), Gate::closed());
        let gates = (first.clone(), all.clone());
        origin.script("/own.m4s", move |_, nth| {
            let answer = Answer::ok(content(nth as u64, 50_000)).header(name, value);
            answer.hold(if nth == 0 { &gates.0 } else { &gates.1 })
        });
        let edge = Setup::before(&origin).start().await;
        let asking = {
            let address = edge.http();
            let mut clients = JoinSet::new();
            for _ in 0..10 {
                clients.spawn(async move { get(address, "/own.m4s").await });
            }
            clients
        };
        origin.await_requests("/own.m4s", 1).await;
        first.open();
        // The others stand before a closed gate: only if they are asked for side by side do all ten arrive.
        origin.await_requests("/own.m4s", 10).await;
        all.open();
        let mut bodies: Vec<_> = asking.join_all().await.iter().map(|r| r.whole().clone()).collect();
        bodies.sort();
        let mut expected: Vec<_> = (0..10).map(|nth| content(nth, 50_000)).collect();
        expected.sort();
        assert!(bodies == expected, "{name}: {value}: every viewer gets its own answer");
    }
}

/// A key known as uncacheable is not waited for: five requests stand at the origin at once although none is answered.
#[tokio::test]
async fn nobody_queues_behind_a_key_known_as_uncacheable() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    let held = Answer::ok("own").cache_control("no-store").hold(&gate);
    origin.on_each("/own.m4s", vec![Answer::ok("own").cache_control("no-store"), held]);
    let edge = Setup::before(&origin).start().await;
    let outcome = edge.get("/own.m4s").await.outcome().to_owned();
    assert!(["miss", "bypass"].contains(&outcome.as_str()), "{outcome}");
    let mut waiting = Vec::new();
    for _ in 0..5 {
        waiting.push(edge.open(&Request::get("/own.m4s")).await);
    }
    origin.await_requests("/own.m4s", 6).await;
    gate.open();
    for mut connection in waiting {
        assert_eq!(connection.response("GET").await.whole(), "own");
    }
}

/// An expired object that the origin confirms (304) is served from the cache, and is fresh for all others: a burst costs
/// one origin request.
#[tokio::test]
async fn a_confirmed_object_costs_a_burst_one_origin_request() {
    let origin = Origin::start().await;
    let body = content(3, 200_000);
    let of_age = |value| Answer::ok(content(3, 200_000)).etag("\"v1\"").cache_control(value);
    origin.on_each("/a.bin", vec![of_age("max-age=0"), of_age("max-age=60")]);
    let edge = Setup::before(&origin).start().await;
    assert_eq!(edge.get("/a.bin").await.outcome(), "miss");
    let responses = burst(&edge, "/a.bin", 20).await;
    for response in &responses {
        assert_same_bytes(response.whole(), &body, "a confirmed body");
        assert_eq!(response.get("etag"), Some("\"v1\""));
    }
    assert_eq!(origin.requests("/a.bin"), 2);
    let last = origin.last("/a.bin");
    assert_eq!(last.header("if-none-match"), Some("\"v1\""));
    let outcomes: Vec<&str> = responses.iter().map(Response::outcome).collect();
    assert!(outcomes.contains(&"hit_revalidated"), "{outcomes:?}");
    assert!(
        outcomes.iter().all(|word| ["hit_revalidated", "coalesced", "hit"].contains(word)),
        "{outcomes:?}"
    );
    assert_eq!(edge.get("/a.bin").await.outcome(), "hit");
}

/// An object with a modification date and no tag is confirmed by that date.
#[tokio::test]
async fn an_object_without_a_tag_is_confirmed_by_its_date() {
    let origin = Origin::start().await;
    let date = "Tue, 01 Sep 2026 10:00:00 GMT";
    origin.on("/a.bin", Answer::ok("dated").last_modified(date).cache_control("max-age=0"));
    let edge = Setup::before(&origin).start().await;
    assert_eq!(edge.get("/a.bin").await.outcome(), "miss");
    let second = edge.get("/a.bin").await;
    assert_eq!((second.outcome(), second.whole()), ("hit_revalidated", &"dated".into()));
    assert_eq!(origin.last("/a.bin").header("if-modified-since"), Some(date));
}

/// An expired object that has changed is replaced: everyone gets the new one, none a mixture, from one origin request.
#[tokio::test]
async fn a_changed_object_replaces_the_old_one() {
    let origin = Origin::start().await;
    let (old, new) = (content(4, 150_000), content(5, 170_000));
    let first = Answer::ok(old.clone()).etag("\"old\"").cache_control("max-age=0");
    let second = Answer::ok(new.clone()).etag("\"new\"").cache_control("max-age=60");
    origin.on_each("/a.bin", vec![first, second]);
    let edge = Setup::before(&origin).start().await;
    assert_same_bytes(edge.get("/a.bin").await.whole(), &old, "the old object");
    for response in burst(&edge, "/a.bin", 20).await {
        assert_same_bytes(response.whole(), &new, "the new object");
        assert_eq!(response.get("etag"), Some("\"new\""));
    }
    assert_eq!(origin.requests("/a.bin"), 2);
}

/// `stale-while-revalidate`: the stale copy is answered while the origin is still being asked.
#[tokio::test]
async fn a_stale_copy_is_answered_while_it_is_fetched_anew() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    let old = Answer::ok("old").etag("\"old\"").cache_control("max-age=0, stale-while-revalidate=60");
    let new = Answer::ok("new").etag("\"new\"").cache_control("max-age=60").hold(&gate);
    origin.on_each("/a.bin", vec![old, new]);
    let edge = Setup::before(&origin).start().await;
    edge.get("/a.bin").await.whole();
    for _ in 0..5 {
        let stale = edge.get("/a.bin").await;
        assert_eq!((stale.outcome(), stale.whole()), ("hit_stale", &"old".into()));
    }
    origin.await_requests("/a.bin", 2).await;
    gate.open();
    edge.await_metric("forebay_origin_response_bytes_total", &[], 6.0).await;
    within("the new object", async {
        loop {
            let response = edge.get("/a.bin").await;
            if response.whole() == "new" {
                break;
            }
            assert_eq!(response.outcome(), "hit_stale");
        }
    })
    .await;
    assert_eq!(origin.requests("/a.bin"), 2);
}

/// A burst for a segment that does not exist is one origin request, and everyone gets the 404.
#[tokio::test]
async fn a_burst_of_404_is_one_origin_request() {
    let origin = Origin::start().await;
    origin.on("/none.m4s", Answer::status(404).body("not here"));
    // By itself it is kept for a second, which a burst may take longer than on a slow machine.
    let edge = Setup::before(&origin).more("[[site.rule]]\nstatus = 404\nttl = \"60s\"").start().await;
    for response in burst(&edge, "/none.m4s", 20).await {
        assert_eq!((response.status(), response.whole()), (404, &"not here".into()));
    }
    assert_eq!(origin.requests("/none.m4s"), 1);
}

/// A rule's `ttl` wins over what the origin says, and `browser_ttl` over what the viewer is told.
#[tokio::test]
async fn a_rule_decides_freshness_over_the_origin() {
    let origin = Origin::start().await;
    origin.on("/long/a.bin", Answer::ok("a").cache_control("no-cache"));
    origin.on("/zero/a.bin", Answer::ok("a").etag("\"1\"").cache_control("max-age=600"));
    origin.on("/plain/a.bin", Answer::ok("a").cache_control("max-age=600"));
    origin.on("/never/a.bin", Answer::ok("a").cache_control("max-age=600"));
    let rules = r#"
        [[site.rule]]
        path = "/long/*"
        ttl = "1h"
        browser_ttl = "5s"
        [[site.rule]]
        path = "/zero/*"
        ttl = "0s"
        [[site.rule]]
        path = "/never/*"
        bypass = true
    "#;
    let edge = Setup::before(&origin).more(rules).start().await;
    for (path, second, requests) in [
        ("/long/a.bin", "hit", 1),
        ("/zero/a.bin", "hit_revalidated", 2),
        ("/plain/a.bin", "hit", 1),
        ("/never/a.bin", "bypass", 2),
    ] {
        edge.get(path).await.whole();
        let response = edge.get(path).await;
        assert_eq!((response.outcome(), response.whole()), (second, &"a".into()), "{path}");
        assert_eq!(origin.requests(path), requests, "{path}");
        if path.starts_with("/long") {
            let told = response.get("cache-control").unwrap_or_default();
            assert!(told.contains("max-age=5"), "{told}");
        }
    }
}

/// Segments, init segments and ended playlists without `Cache-Control` are kept; keys never are.
#[tokio::test]
async fn freshness_without_a_word_of_the_origin_goes_by_kind() {
    let origin = Origin::start().await;
    origin.otherwise(|_, _| Answer::ok("body"));
    origin.on("/vod/ended.m3u8", Answer::ok(ENDED));
    let edge = Setup::before(&origin).start().await;
    for (path, requests) in
        [("/vod/1.m4s", 1), ("/vod/init.mp4", 1), ("/vod/ended.m3u8", 1), ("/vod/1.key", 2)]
    {
        for _ in 0..2 {
            assert_eq!(edge.get(path).await.status(), 200);
        }
        assert_eq!(origin.requests(path), requests, "{path}");
    }
}

/// A live playlist is fresh for a part of its target duration whatever the origin claims.
#[tokio::test]
async fn a_live_playlist_is_never_kept_for_long() {
    let origin = Origin::start().await;
    let live = |sequence: usize| {
        format!(
            "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:{sequence}\n#EXTINF:1,\n{sequence}.m4s\n"
        )
    };
    origin.script("/live.m3u8", move |_, nth| Answer::ok(live(nth)).cache_control("max-age=86400"));
    let edge = Setup::before(&origin).start().await;
    edge.get("/live.m3u8").await.whole();
    // One target duration is a second: the deadline of the wait, not its length, is what the promise bounds.
    within("a newer playlist", async {
        while edge.get("/live.m3u8").await.whole().starts_with(live(0).as_bytes()) {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await;
}

/// Tracking, CMCD and token parameters do not tell two requests apart; order does not either.
#[tokio::test]
async fn tracking_parameters_and_order_are_not_in_the_key() {
    let origin = Origin::start().await;
    origin.on("/a.m4s", Answer::ok("one").cache_control("max-age=60"));
    let edge = Setup::before(&origin).start().await;
    assert_eq!(edge.get("/a.m4s?a=1&b=2").await.outcome(), "miss");
    for target in [
        "/a.m4s?b=2&a=1",
        "/a.m4s?a=1&b=2&utm_source=x",
        "/a.m4s?utm_campaign=y&a=1&b=2",
        "/a.m4s?a=1&fbclid=z&b=2",
        "/a.m4s?a=1&b=2&gclid=z",
        "/a.m4s?CMCD=bl%3D1000%2Csid%3D%22s%22&a=1&b=2",
    ] {
        assert_eq!(edge.get(target).await.outcome(), "hit", "{target}");
    }
    assert_eq!(origin.requests("/a.m4s"), 1);
}

/// `_HLS_*` directives, other parameters and the case of the path do tell two requests apart.
#[tokio::test]
async fn directives_and_other_parameters_are_in_the_key() {
    // Of a media playlist, one that ends or goes far enough is an answer to several of these.
    const MULTIVARIANT: &str = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nv.m3u8\n";
    let origin = Origin::start().await;
    origin.otherwise(|_, _| Answer::ok(MULTIVARIANT).cache_control("max-age=60"));
    let edge = Setup::before(&origin).start().await;
    for target in [
        "/a.m3u8",
        "/a.m3u8?_HLS_msn=1",
        "/a.m3u8?_HLS_msn=2",
        "/a.m3u8?_HLS_msn=2&_HLS_part=0",
        "/a.m3u8?lang=en",
        "/a.m3u8?lang=de",
        "/A.m3u8",
    ] {
        let response = edge.get(target).await;
        assert_eq!(response.outcome(), "miss", "{target}");
    }
    assert_eq!(edge.get("/a.m3u8?lang=en").await.outcome(), "hit");
}

/// Hosts of one site share its objects, since the origin is asked the same for all of them; two sites never do.
#[tokio::test]
async fn objects_belong_to_a_site() {
    let origin = Origin::start().await;
    origin.otherwise(|_, nth| Answer::ok(format!("answer {nth}")).cache_control("max-age=60"));
    let other = "[[site]]\nhosts = [\"b.test\"]\norigin = \"main\"";
    let edge = Setup::before(&origin).hosts("[\"a.test\", \"c.test\"]").more(other).start().await;
    for (host, expected, outcome) in
        [("a.test", "answer 0", "miss"), ("c.test", "answer 0", "hit"), ("b.test", "answer 1", "miss")]
    {
        let response = edge.ask(&Request::get("/1.m4s").host(host)).await;
        assert_eq!((response.whole(), response.outcome()), (&expected.into(), outcome), "{host}");
    }
}

/// A rule's `key.query` replaces the default choice of parameters.
#[tokio::test]
async fn a_rule_chooses_the_parameters_of_the_key() {
    let origin = Origin::start().await;
    origin.on("/api/home", Answer::ok("home").cache_control("max-age=60"));
    let rule = "[[site.rule]]\npath = \"/api/*\"\nkey = { query = [\"lang\"] }";
    let edge = Setup::before(&origin).more(rule).start().await;
    assert_eq!(edge.get("/api/home?lang=en&session=1").await.outcome(), "miss");
    assert_eq!(edge.get("/api/home?session=2&lang=en").await.outcome(), "hit");
    assert_eq!(edge.get("/api/home?lang=de&session=1").await.outcome(), "miss");
}

/// The origin is asked with the viewer's parameters (but for tracking ones it is free to drop), in a query it can read.
#[tokio::test]
async fn the_origin_gets_the_parameters_of_the_key() {
    let origin = Origin::start().await;
    origin.on("/a.m3u8", Answer::ok(ENDED).cache_control("max-age=60"));
    let edge = Setup::before(&origin).start().await;
    edge.get("/a.m3u8?_HLS_msn=7&_HLS_part=3&x=a%20b").await.whole();
    let target = origin.last("/a.m3u8").target;
    for parameter in ["_HLS_msn=7", "_HLS_part=3", "x=a%20b"] {
        assert!(target.contains(parameter), "{target}");
    }
}

/// Answers that vary with a request header are never mixed up: a viewer gets its own, or that of a request without the
/// header, never another viewer's.
#[tokio::test]
async fn answers_that_vary_are_never_mixed() {
    let origin = Origin::start().await;
    origin.script("/v.m4s", |request, _| {
        let language = request.header("accept-language").unwrap_or("none").to_owned();
        Answer::ok(language).header("vary", "Accept-Language").cache_control("max-age=60")
    });
    let edge = Setup::before(&origin).start().await;
    for language in ["en", "de", "en", "de"] {
        let response = edge.ask(&Request::get("/v.m4s").header("accept-language", language)).await;
        assert!(
            [language, "none"].iter().any(|own| response.whole() == own),
            "{:?} for {language}",
            response.body
        );
    }
}

/// An answer made for a viewer's credentials or cookies is not given to another viewer.
#[tokio::test]
async fn an_answer_to_credentials_is_not_shared() {
    let origin = Origin::start().await;
    for (path, field) in [("/who.m4s", "authorization"), ("/cookie.m4s", "cookie")] {
        origin.script(path, move |request, _| {
            Answer::ok(request.header(field).unwrap_or("nobody").to_owned()).cache_control("max-age=60")
        });
    }
    let edge = Setup::before(&origin).start().await;
    for (path, field) in [("/who.m4s", "authorization"), ("/cookie.m4s", "cookie")] {
        for who in ["Bearer alice=1", "Bearer bob=2"] {
            let response = edge.ask(&Request::get(path).header(field, who)).await;
            assert!(
                [who, "nobody"].iter().any(|own| response.whole() == own),
                "{:?} for {who}",
                response.body
            );
        }
        assert_eq!(edge.get(path).await.whole(), "nobody");
    }
}

/// A 304 that names another version than the one held does not confirm it: the object is fetched anew, unconditionally.
#[tokio::test]
async fn a_confirmation_of_another_version_is_not_taken() {
    let origin = Origin::start().await;
    let old = Answer::ok("old").etag("\"old\"").cache_control("max-age=0");
    let confused = Answer::status(304).header("etag", "\"new\"").cache_control("max-age=60");
    let new = Answer::ok("new").etag("\"new\"").cache_control("max-age=60");
    origin.on_each("/a.bin", vec![old, confused, new]);
    let edge = Setup::before(&origin).start().await;
    assert_eq!(edge.get("/a.bin").await.whole(), "old");
    for _ in 0..2 {
        let response = edge.get("/a.bin").await;
        assert_eq!((response.whole(), response.get("etag")), (&"new".into(), Some("\"new\"")));
    }
    assert_eq!(origin.requests("/a.bin"), 3);
    assert_eq!(origin.last("/a.bin").header("if-none-match"), None);
}

/// `Forebay-Cache-Control` and `CDN-Cache-Control` decide in place of `Cache-Control`; what is meant for the node alone
/// does not reach viewers, kept or not.
#[tokio::test]
async fn a_targeted_field_decides_and_its_own_is_hidden() {
    let origin = Origin::start().await;
    let answer = |own: &str| {
        Answer::ok("a")
            .cache_control("no-store")
            .header("cdn-cache-control", "max-age=60")
            .header("forebay-cache-control", own)
            .header("surrogate-key", "a b")
            .header("cache-tag", "a,b")
            .header("surrogate-control", "max-age=60")
    };
    origin.on("/own.bin", answer("no-store"));
    origin.on("/cdn.bin", answer("not a dictionary"));
    origin.on("/by/rule.bin", answer("max-age=60"));
    let bypass = "[[site.rule]]\npath = \"/by/*\"\nbypass = true\n";
    let edge = Setup::before(&origin).more(bypass).start().await;
    for (path, requests) in [("/own.bin", 2), ("/cdn.bin", 1), ("/by/rule.bin", 2)] {
        for _ in 0..2 {
            let response = edge.get(path).await;
            assert_eq!(response.whole(), "a", "{path}");
            assert_eq!(response.get("cache-control"), Some("no-store"), "{path}");
            assert_eq!(response.get("cdn-cache-control"), Some("max-age=60"), "{path}");
            for name in ["forebay-cache-control", "surrogate-key", "cache-tag", "surrogate-control"] {
                assert_eq!(response.get(name), None, "{path} {name}");
            }
        }
        assert_eq!(origin.requests(path), requests, "{path}");
    }
}

/// A 304 without a word of freshness renews what the origin said before, not what viewers were told in its place.
#[tokio::test]
async fn a_bare_confirmation_renews_the_origins_own_freshness() {
    let origin = Origin::start().await;
    let first = Answer::ok("a").etag("\"1\"").cache_control("max-age=0");
    origin.on_each("/a.bin", vec![first, Answer::status(304).header("etag", "\"1\"")]);
    let rule = "[[site.rule]]\npath = \"/a.bin\"\nbrowser_ttl = \"1h\"\n";
    let edge = Setup::before(&origin).more(rule).start().await;
    assert_eq!(edge.get("/a.bin").await.outcome(), "miss");
    for nth in 2..4 {
        let response = edge.get("/a.bin").await;
        assert_eq!((response.outcome(), response.whole()), ("hit_revalidated", &"a".into()));
        assert_eq!(response.get("cache-control"), Some("max-age=3600"));
        assert_eq!(origin.requests("/a.bin"), nth);
    }
}
