//! What passes through all tiers uncached, what is keyed alike at each, and blocking reloads, which are held at every tier and once
//! at the origin.

use std::time::Duration;

use super::loops::relay;
use super::{POLICY, SECRET, behind, hop, last, named, outcome, protected, shield, standing_clock};
use crate::support::client::{Http1, Request};
use crate::support::content::{assert_same_bytes, content};
use crate::support::edge::Setup;
use crate::support::node::LocalNode;
use crate::support::origin::{Answer, Origin, Recorded};
use crate::support::signing::{KEY_HEX, now, sign, valid};
use crate::support::wait::{Gate, within};

/// Keys need a token at the edge, and count against its limit of single clients; the shield takes the edges' word for both.
#[tokio::test]
async fn keys_and_other_methods_pass_through_all_tiers() {
    let origin = Origin::start().await;
    origin.otherwise(|request, number| Answer::ok(format!("{} {number}", request.method)));
    let limited = |setup: Setup| {
        protected(setup).limits("key_requests = 2").site("methods = [\"GET\", \"HEAD\", \"POST\"]")
    };
    let shield = LocalNode::start(&limited(shield(&origin)), 0);
    let edge = LocalNode::start(&limited(named(behind(shield.http()), "edge")), 0);
    let path = "/live/1.key";
    let of = |session: &str| {
        let fields = format!("exp={}~acl=/live/*~id={session}", now() + 3600);
        format!("{path}?hdnts={}", sign(KEY_HEX, &fields))
    };
    assert_eq!((edge.get(path).await.status(), shield.get(path).await.status()), (403, 403));
    for session in ["a", "b", "c"] {
        for _ in 0..2 {
            let response = edge.get(&of(session)).await;
            assert_eq!((response.status(), response.get("cache-control")), (200, Some("no-store")));
        }
        assert_eq!(edge.get(&of(session)).await.status(), 429, "the edge counts");
    }
    assert_eq!(origin.requests(path), 6, "the shield does not");
    let posted = Request::new("POST", &of("d")).body("challenge");
    assert_eq!(edge.ask(&posted).await.status(), 200);
    let sent = origin.last(path);
    assert_eq!(
        (sent.method.as_str(), sent.body.as_slice(), sent.target.as_str()),
        ("POST", &b"challenge"[..], path)
    );
    assert_eq!(sent.header("forebay-hop"), None);
    let metrics = shield.metrics().await;
    assert_eq!(metrics.sum("forebay_hop_requests_total", &[("role", "edge")]), 7.0);
    edge.stop().await;
    shield.stop().await;
}

/// A key that is made of what a token says is the same one at the shield, which sees no token; by rule, what it says is in
/// it, and nothing else of it.
#[tokio::test]
async fn keys_by_claim_are_the_same_at_every_tier() {
    let origin = Origin::start().await;
    origin.otherwise(|request, _| {
        let who = request.header("forebay-claim-id").unwrap_or("nobody");
        Answer::ok(format!("for {who}")).cache_control("max-age=60")
    });
    let rule = "[[site.rule]]\npath = \"/live/*\"\nkey = { claims = [\"id\"] }";
    let by_claim = |setup: Setup| {
        let setup = setup.site("token = \"viewer\"").more(rule).more(POLICY);
        setup.file("k1.key", KEY_HEX)
    };
    let shield = LocalNode::start(&named(by_claim(Setup::before(&origin)), "shield"), 0);
    let edges = ["e1", "e2"].map(|name| LocalNode::start(&named(by_claim(behind(shield.http())), name), 0));
    for edge in &edges {
        for who in ["ann", "bob; s=\"1\""] {
            let token = sign(KEY_HEX, &format!("exp={}~acl=/live/*~id={who}~data=secret", now() + 3600));
            let cookie = format!("hdnts={}", token.replace("; ", "%3B%20").replace('"', "%22"));
            let response = edge.ask(&Request::get("/live/1.m4s").header("cookie", &cookie)).await;
            let body = String::from_utf8_lossy(response.whole()).into_owned();
            assert_eq!(response.status(), 200, "{body}");
            assert!(body.starts_with("for ann") || body.starts_with("for bob"), "{body}");
        }
    }
    assert_eq!(origin.requests("/live/1.m4s"), 2, "one for each, whichever edge they come to");
    for recorded in origin.recorded() {
        assert!(!recorded.text().contains("secret"), "{}", recorded.text());
    }
    for node in edges.into_iter().chain([shield]) {
        node.stop().await;
    }
}

/// Rules that ask something of a request's fields hold at the shield for whom they hold at the edge.
#[tokio::test]
async fn conditions_of_rules_are_the_same_at_every_tier() {
    let origin = Origin::start().await;
    origin.otherwise(|_, _| Answer::ok("media").cache_control("max-age=5"));
    let rule = "[[site.rule]]\npath = \"/live/*\"\nrequest_headers = { x-device = \"tv*\" }\nttl = \"50s\"";
    let clock = standing_clock();
    let shield = LocalNode::start_at(&shield(&origin).more(rule), clock.clone());
    let edge = LocalNode::start_at(&named(behind(shield.http()).more(rule), "edge"), clock.clone());
    for _ in 0..2 {
        for (device, ttl) in [("tv-1", "50"), ("phone", "5"), ("tv-2", "50")] {
            let response = edge.ask(&Request::get("/live/1.m4s").header("x-device", device)).await;
            assert_eq!(last(&response, "ttl"), ttl, "{device}");
        }
    }
    assert_eq!(origin.requests("/live/1.m4s"), 2);
    assert!(origin.recorded().iter().all(|request| request.header("x-device").is_none()));
    edge.stop().await;
    shield.stop().await;
}

/// A film in slices is one at every tier: a cold range costs the slices that it lies in, also at the origin.
#[tokio::test]
async fn large_objects_come_in_slices_through_every_tier() {
    let (origin, film) = (Origin::start().await, content(9, 5_000_000));
    origin.on("/film.mp4", Answer::ok(film.clone()).cache_control("max-age=60").etag("\"1\"").ranges());
    let sliced = |setup: Setup| setup.limits("slice_above = \"1MiB\"");
    let shield = LocalNode::start(&sliced(shield(&origin)), 0);
    let edge = LocalNode::start(&sliced(named(behind(shield.http()), "edge")), 0);
    let part = edge.ask(&Request::get("/film.mp4").range("bytes=3000000-3000099")).await;
    assert_eq!(part.status(), 206);
    assert_same_bytes(part.whole(), &film[3_000_000..3_000_100], "a part");
    assert!(origin.body_bytes("/film.mp4") < 3 << 20, "{} bytes", origin.body_bytes("/film.mp4"));
    assert_same_bytes(edge.get("/film.mp4").await.whole(), &film, "the whole");
    assert_same_bytes(edge.get("/film.mp4").await.whole(), &film, "the whole once more");
    assert!(last(&edge.get("/film.mp4").await, "ttl").parse::<u64>().is_ok_and(|ttl| ttl <= 60));
    edge.stop().await;
    shield.stop().await;
}

const PLAYLIST: &str = "/live/v.m3u8";

fn playlist(next: u64, parts: u64) -> String {
    let segments: String = (next - 3..next).map(|msn| format!("#EXTINF:2,\n{msn}.m4s\n")).collect();
    let parts: String =
        (0..parts).map(|part| format!("#EXT-X-PART:DURATION=0.5,URI=\"{next}.{part}.m4s\"\n")).collect();
    format!(
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.5\n\
         #EXT-X-PART-INF:PART-TARGET=0.5\n#EXT-X-MEDIA-SEQUENCE:{}\n{segments}{parts}",
        next - 3
    )
}

fn is_reload(request: &Recorded) -> bool {
    request.target.contains("_HLS_msn")
}

async fn parked(node: &LocalNode, count: usize) {
    within(&format!("{count} parked requests"), async {
        while node.metrics().await.sum("forebay_parked_requests", &[]) != count as f64 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Crowds that wait at two edges are one request that the shield holds for each of them, and one at the origin; parts that
/// grow come through both while they grow.
#[tokio::test]
async fn a_blocking_reload_is_held_at_every_tier_and_once_at_the_origin() {
    let (origin, gate, growth) = (Origin::start().await, Gate::closed(), Gate::closed());
    let held = gate.clone();
    origin.script(PLAYLIST, move |request, _| match is_reload(request) {
        true => Answer::ok(playlist(10, 3)).hold(&held),
        false => Answer::ok(playlist(10, 2)),
    });
    let part = content(3, 60_000);
    let growing = Answer::ok(part.clone()).chunked().cache_control("max-age=60").gate_at(20_000, &growth);
    origin.on("/live/10.2.m4s", growing);
    let clock = standing_clock();
    // One client of the shield is a node with a crowd before it: limits of single clients are not for it.
    let shield = LocalNode::start_at(&shield(&origin).limits("parked_per_client = 1"), clock.clone());
    let edges =
        ["e1", "e2"].map(|name| LocalNode::start_at(&named(behind(shield.http()), name), clock.clone()));
    let mut viewers = Vec::new();
    for edge in &edges {
        edge.get(PLAYLIST).await;
        for _ in 0..5 {
            let mut viewer = Http1::connect(edge.http()).await;
            viewer.send(&Request::get(&format!("{PLAYLIST}?_HLS_msn=10&_HLS_part=2"))).await;
            viewers.push(viewer);
        }
        parked(edge, 5).await;
    }
    parked(&shield, 2).await;
    origin.await_requests(PLAYLIST, 2).await;
    gate.open();
    for mut viewer in viewers {
        let response = within("an answer", viewer.response("GET")).await;
        assert_eq!(response.status(), 200);
        assert_same_bytes(response.whole(), playlist(10, 3).as_bytes(), "a viewer");
    }
    assert_eq!(origin.requests(PLAYLIST), 2, "the plain one, and one that is held");
    let mut first = Http1::connect(edges[0].http()).await;
    first.send(&Request::get("/live/10.2.m4s")).await;
    within("a header", first.head("GET")).await;
    let begun = within("what there is of it", first.at_least(20_000)).await.expect("a growing part");
    growth.open();
    let (rest, _) = first.rest().await;
    assert_same_bytes(&[&begun[..], &rest[..]].concat(), &part, "a part");
    for node in edges.into_iter().chain([shield]) {
        node.stop().await;
    }
}

/// A node that holds a request of another one answers before that one gives up: the viewer gets what the shield has to say,
/// and not a timeout of its own.
#[tokio::test]
async fn the_shield_gives_up_a_hold_before_the_edge_does() {
    let origin = Origin::start().await;
    let never = Gate::closed();
    let held = never.clone();
    origin.script(PLAYLIST, move |request, _| match is_reload(request) {
        true => Answer::ok(playlist(10, 3)).hold(&held),
        false => Answer::ok(playlist(10, 2)),
    });
    let shield = LocalNode::start(&shield(&origin), 0);
    let once = behind(shield.http()).origin("retry = { attempts = 1 }");
    let edge = LocalNode::start(&named(once, "edge"), 0);
    edge.get(PLAYLIST).await;
    let reload = format!("{PLAYLIST}?_HLS_msn=10&_HLS_part=2");
    let response = within("an answer", edge.get(&reload)).await;
    let late = |node: &LocalNode| {
        let admin = node.admin();
        async move { crate::support::edge::metrics(admin).await.sum("forebay_late_holds_total", &[]) }
    };
    assert_eq!((late(&shield).await, late(&edge).await), (1.0, 0.0), "{:?}", response.head);
    never.open();
    edge.stop().await;
    shield.stop().await;
}

/// A viewer's token is put into its own copy of a playlist by the edge; what nodes pass to each other has nobody's.
#[tokio::test]
async fn what_is_a_viewers_own_is_made_at_the_edge_alone() {
    let origin = Origin::start().await;
    let text = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nv.m3u8\n";
    origin.on("/live/m.m3u8", Answer::ok(text).cache_control("max-age=60"));
    let carrying = |setup: Setup| {
        let policy = POLICY.replace("[token.viewer]\n", "[token.viewer]\ncarry = \"query\"\n");
        let setup = setup.site("token = \"viewer\"\nencodings = [\"gzip\"]").more(&policy);
        setup.file("k1.key", KEY_HEX)
    };
    let shield = LocalNode::start(&named(carrying(Setup::before(&origin)), "shield"), 0);
    let edge = LocalNode::start(&named(carrying(behind(shield.http())), "edge"), 0);
    for _ in 0..2 {
        let token = valid("/live/*");
        let response = edge.get(&format!("/live/m.m3u8?hdnts={token}")).await;
        let body = String::from_utf8_lossy(response.whole()).into_owned();
        assert_eq!(body.matches("hdnts=").count(), 1, "{body}");
    }
    let field = hop(SECRET, "n1", now(), "", ("GET", "edge.test", "/live/m.m3u8"));
    let between =
        Request::get("/live/m.m3u8").header("forebay-hop", &field).header("accept-encoding", "gzip");
    let response = shield.ask(&between).await;
    assert_same_bytes(response.whole(), text.as_bytes(), "between nodes");
    assert_eq!((response.get("vary"), response.get("content-encoding")), (None, None));
    edge.stop().await;
    shield.stop().await;
}

/// A shield that cannot be reached is an origin that cannot be reached.
#[tokio::test]
async fn an_edge_outlives_its_shield() {
    let origin = Origin::start().await;
    origin.on("/a.bin", Answer::ok("one").cache_control("max-age=10, stale-if-error=50"));
    let clock = standing_clock();
    let (address, to) = relay().await;
    let shield = LocalNode::start_at(&shield(&origin), clock.clone());
    to.send_replace(Some(shield.http()));
    let edge = LocalNode::start_at(&named(behind(address), "edge"), clock.clone());
    edge.get("/a.bin").await;
    to.send_replace(None);
    shield.stop().await;
    clock.advance(Duration::from_secs(20));
    let response = edge.get("/a.bin").await;
    assert_eq!((response.status(), outcome(&response)), (200, "hit_stale".to_owned()));
    assert!(matches!(edge.get("/b.bin").await.status(), 502 | 504));
    edge.stop().await;
}
