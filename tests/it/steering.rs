//! Content steering: players are told which networks to fetch from, by configuration, health and load of the node.

use serde_json::{Value, json};

use crate::support::client::{Http1, Request, Response};
use crate::support::edge::{Edge, Setup};
use crate::support::origin::{Answer, Origin};
use crate::support::signing::{KEY_HEX, valid};
use crate::support::wait::within;

const PATH: &str = "/steering.json";
const CORS: &str = "cors = { origins = [\"https://player.example\"] }";
const PATHWAYS: &str = "pathways = [{ id = \"edge\", node = true }, { id = \"b\", host = \"b.example\" }]\n";

/// A node whose first site is steered so.
fn setup(origin: &Origin, steering: &str, site: &str) -> Setup {
    let steering = format!("[steering.cdns]\n{PATHWAYS}{steering}");
    Setup::before(origin).site(&format!("steering = \"cdns\"\n{site}")).more(&steering)
}

fn manifest(response: &Response) -> Value {
    assert_eq!(response.status(), 200, "{:?}", response.head);
    serde_json::from_slice(response.whole()).expect("JSON")
}

fn priority(response: &Response) -> Vec<String> {
    let manifest = manifest(response);
    let ids = manifest["PATHWAY-PRIORITY"].as_array().expect("a list");
    ids.iter().map(|id| id.as_str().expect("an ID").to_owned()).collect()
}

/// Asks until the first pathway is this one.
async fn await_first(edge: &Edge, pathway: &str) {
    within(&format!("{pathway} to be first"), async {
        while priority(&edge.get(PATH).await)[0] != pathway {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// The manifest is the node's own answer: right, for nobody's cache, shared as the site says, and nothing of it reaches the
/// origin.
#[tokio::test]
async fn the_manifest_is_served_by_the_node_alone() {
    let origin = Origin::start().await;
    let edge = setup(&origin, "ttl = \"30s\"", CORS).start().await;
    let asked = format!("{PATH}?_HLS_pathway=edge&_HLS_throughput=5140000");
    let response = edge.ask(&Request::get(&asked).header("origin", "https://player.example")).await;
    let clones = json!([{ "BASE-ID": "edge", "ID": "b", "URI-REPLACEMENT": { "HOST": "b.example" } }]);
    let expected =
        json!({ "VERSION": 1, "TTL": 30, "PATHWAY-PRIORITY": ["edge", "b"], "PATHWAY-CLONES": clones });
    assert_eq!(manifest(&response), expected);
    assert_eq!(response.get("content-type"), Some("application/json"));
    assert_eq!(response.get("cache-control"), Some("no-store"));
    assert_eq!(response.get("access-control-allow-origin"), Some("https://player.example"));
    assert_eq!(response.get("vary"), Some("Origin"));

    let head = edge.ask(&Request::head(PATH)).await;
    assert_eq!(head.status(), 200);
    assert_eq!(head.get("content-length"), Some(response.whole().len().to_string().as_str()));
    assert!(head.whole().is_empty());
    let options = edge.ask(&Request::new("OPTIONS", PATH)).await;
    assert_eq!((options.status(), options.get("allow")), (405, Some("GET, HEAD")));
    assert_eq!(edge.ask(&Request::new("POST", PATH)).await.status(), 405);
    // Anything malformed is passed over.
    for query in
        ["_HLS_pathway=nobody&_HLS_throughput=x", "_DASH_pathway=%22edge%22&_DASH_throughput=7", "&&=&_HLS_"]
    {
        assert_eq!(priority(&edge.get(&format!("{PATH}?{query}")).await), ["edge", "b"], "{query}");
    }
    assert_eq!(origin.recorded().len(), 0, "the origin was asked");

    let metrics = edge.metrics().await;
    let of = |pathway| [("site", "*"), ("pathway", pathway)];
    assert_eq!(metrics.sum("forebay_steering_total", &of("edge")), 4.0);
    assert_eq!(metrics.sum("forebay_steering_total", &of("b")), 0.0);
    let throughput = "forebay_steering_throughput_bits_per_second";
    assert_eq!(metrics.sum(&format!("{throughput}_count"), &of("edge")), 2.0);
    assert_eq!(metrics.sum(&format!("{throughput}_sum"), &of("edge")), 5_140_007.0);
    let line = &edge.await_access_lines(1).await[0];
    assert_eq!((line["kind"].as_str(), line["outcome"].as_str()), (Some("api"), Some("bypass")), "{line}");
}

/// A site without steering has nothing there but what its origin has.
#[tokio::test]
async fn another_site_is_not_steered() {
    let origin = Origin::start().await;
    origin.on(PATH, Answer::ok("the origin's").cache_control("max-age=60"));
    let other = "[[site]]\nhosts = [\"other.test\"]\norigin = \"main\"\n";
    let edge = setup(&origin, "", "").more(other).start().await;
    let response = edge.ask(&Request::get(PATH).host("other.test")).await;
    assert_eq!(response.whole().as_ref(), b"the origin's");
    assert_eq!(priority(&edge.get(PATH).await), ["edge", "b"]);
    assert_eq!(origin.requests(PATH), 1);
}

/// On a site with tokens the manifest needs one, in any of the places.
#[tokio::test]
async fn the_manifest_needs_the_sites_token() {
    let origin = Origin::start().await;
    let policy =
        "[token.viewer]\nformat = \"edgeauth\"\nkeys = [{ id = \"k\", secret_file = \"DIR/k.key\" }]\n";
    let edge = setup(&origin, "", &format!("token = \"viewer\"\n{CORS}"))
        .more(policy)
        .file("k.key", KEY_HEX)
        .start()
        .await;
    let denied = edge.ask(&Request::get(PATH).header("origin", "https://player.example")).await;
    assert_eq!(denied.status(), 403);
    assert_eq!(denied.get("access-control-allow-origin"), Some("https://player.example"));
    let token = valid("/*");
    assert_eq!(priority(&edge.get(&format!("{PATH}?hdnts={token}")).await), ["edge", "b"]);
    assert_eq!(priority(&edge.get(&format!("/hdnts={token}{PATH}")).await), ["edge", "b"]);
    let elsewhere = valid("/live/*");
    assert_eq!(edge.get(&format!("{PATH}?hdnts={elsewhere}")).await.status(), 403);
}

/// An origin without a healthy server puts the node's pathway last, and a healthy one gives it its place back.
#[tokio::test]
async fn an_unhealthy_origin_demotes_the_node_until_it_is_well() {
    let mut origin = Origin::start().await;
    origin.on("/healthz", Answer::ok("ok"));
    let health = "health = { path = \"/healthz\", interval = \"20ms\", timeout = \"1m\", unhealthy_after = 2, healthy_after = 2 }";
    let edge = setup(&origin, "", "").origin(health).start().await;
    await_first(&edge, "edge").await;
    origin.stop().await;
    await_first(&edge, "b").await;
    assert_eq!(priority(&edge.get(PATH).await), ["b", "edge"], "the own pathway stays in the list");
    origin.restart();
    await_first(&edge, "edge").await;
}

/// Overload puts the node's pathway last; it has its place back only when the load has fallen below the share that ends it.
#[tokio::test]
async fn overload_demotes_the_node_with_hysteresis() {
    let origin = Origin::start().await;
    let edge = setup(&origin, "overload = { connections = 10, until = 50 }", "").start().await;
    await_first(&edge, "edge").await;
    let open = async |count: usize| {
        let mut open = Vec::new();
        for _ in 0..count {
            let mut connection = Http1::connect(edge.http()).await;
            connection.ask(&Request::get(PATH)).await;
            open.push(connection);
        }
        open
    };
    let overloaded = [("steering", "cdns")];
    let mut held = open(12).await;
    edge.await_metric("forebay_steering_overloaded", &overloaded, 1.0).await;
    assert_eq!(priority(&held[0].ask(&Request::get(PATH)).await), ["b", "edge"]);
    // Below the bound, not below the share: two looks at the load later it is still overloaded.
    held.truncate(7);
    within("connections to end", async {
        while edge.metrics().await.sum("forebay_connections", &[]) > 8.0 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    tokio::time::sleep(std::time::Duration::from_millis(2200)).await;
    assert_eq!(priority(&held[0].ask(&Request::get(PATH)).await), ["b", "edge"]);
    held.truncate(1);
    within("relief", async {
        while priority(&held[0].ask(&Request::get(PATH)).await)[0] != "edge" {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(edge.metrics().await.sum("forebay_steering_overloaded", &overloaded), 0.0);
}

/// So does what the node sends, passed through or from what it holds; when it sends nothing any more, it is over.
#[tokio::test]
async fn what_the_node_sends_demotes_it_until_it_sends_less() {
    tokio::join!(demoted_by("/held.m4s"), demoted_by("/passed.bin"));
}

async fn demoted_by(path: &str) {
    let origin = Origin::start().await;
    origin.on(path, Answer::ok(vec![7; 1_000_000]).cache_control("max-age=600"));
    let bypass = "[[site.rule]]\npath = \"/passed.bin\"\nbypass = true\n";
    let overload = "overload = { egress = \"1Mbit/s\", until = 90 }";
    let edge = setup(&origin, overload, "").more(bypass).start().await;
    let egress = "forebay_steering_egress_bits_per_second";
    assert_eq!(priority(&edge.get(PATH).await)[0], "edge");
    // 32 Mbit: on the average of 10 seconds more than three times the bound.
    for _ in 0..4 {
        assert_eq!(edge.get(path).await.whole().len(), 1_000_000);
    }
    let metrics = edge.await_metric(egress, &[], 1_000_001.0).await;
    assert!(metrics.sum(egress, &[]) <= 3_200_000.0, "{path}: {}", metrics.sum(egress, &[]));
    await_first(&edge, "b").await;
    await_first(&edge, "edge").await;
    assert!(edge.metrics().await.sum(egress, &[]) < 900_000.0, "{path}");
}

/// While a node that is told to stop still accepts, players are sent away: its pathway is last, and the next manifest is the
/// successor's, with their query but without what they say of themselves. After the delay it ends.
#[tokio::test]
async fn a_node_that_drains_sends_players_away() {
    let origin = Origin::start().await;
    let edge = setup(&origin, "successor = \"https://b.example/steer\"", "")
        .server("drain_delay = \"10m\"")
        .start()
        .await;
    assert_eq!(manifest(&edge.get(PATH).await).get("RELOAD-URI"), None);
    edge.terminate();
    await_first(&edge, "b").await;
    let response = edge.get(&format!("{PATH}?a=1&_HLS_pathway=edge")).await;
    assert_eq!(priority(&response), ["b", "edge"]);
    assert_eq!(manifest(&response)["RELOAD-URI"], "https://b.example/steer?a=1");
    assert!(!edge.has_ended(), "the delay has not passed");
    let edge = setup(&origin, "", "").server("drain_delay = \"100ms\"").start().await;
    let (status, _) = edge.stop().await;
    assert_eq!(status.code(), Some(0));
}

/// Players of one node, told apart by their user agent, are spread as the weights say, each with the same answer each time.
#[tokio::test]
async fn weights_spread_players_and_each_keeps_its_place() {
    let origin = Origin::start().await;
    let weights = "[steering.cdns]\npathways = [{ id = \"edge\", node = true, weight = 75 }, { id = \"b\", weight = 25 }]\n";
    let edge = Setup::before(&origin).site("steering = \"cdns\"").more(weights).start().await;
    let mut connection = Http1::connect(edge.http()).await;
    let mut by_edge = 0;
    for player in 0..400 {
        let request = Request::get(PATH).header("user-agent", &format!("player {player}"));
        let order = priority(&connection.ask(&request).await);
        by_edge += u32::from(order[0] == "edge");
        if player % 20 == 0 {
            assert_eq!(priority(&connection.ask(&request).await), order, "player {player}");
        }
    }
    // The players are the same in every run: no chance is in it.
    assert!((260..=340).contains(&by_edge), "{by_edge} of 400");
}

const MULTIVARIANT: &str = "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-STREAM-INF:BANDWIDTH=1000\nv/index.m3u8\n";
const MANIFEST: &str = "<?xml version=\"1.0\"?>\n<MPD type=\"static\"><Period><AdaptationSet>\
    <SegmentTemplate media=\"$Number$.m4s\"/></AdaptationSet></Period></MPD>\n";
const MEDIA: &str = "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n1.ts\n#EXT-X-ENDLIST\n";

/// An origin with texts of every sort, and a node that steers those below `/live/`, with a token by query.
async fn steered(steering: &str) -> (Origin, Edge) {
    let origin = Origin::start().await;
    let answer = |text: &str| Answer::ok(text.to_owned()).etag("\"v1\"").cache_control("max-age=60");
    origin.on("/live/master.m3u8", answer(MULTIVARIANT));
    origin.on("/vod/master.m3u8", answer(MULTIVARIANT));
    origin.on("/live/index.m3u8", answer(MEDIA));
    origin.on("/live/manifest.mpd", answer(MANIFEST));
    origin.on("/live/broken.mpd", answer("<MPD>"));
    let own = format!("{MULTIVARIANT}#EXT-X-CONTENT-STEERING:SERVER-URI=\"https://o.example/s\"\n");
    origin.on("/live/own.m3u8", answer(&own));
    let policy = "[token.viewer]\nformat = \"edgeauth\"\ncarry = \"query\"\nkeys = [{ id = \"k\", secret_file = \"DIR/k.key\" }]\n";
    let rules = "[[site.rule]]\npath = \"/live/*\"\nsteering = true\n";
    let edge = setup(&origin, steering, "token = \"viewer\"");
    let edge = edge.more(rules).more(policy).file("k.key", KEY_HEX).start().await;
    (origin, edge)
}

/// Playlists and manifests of the rule tell of steering, with the viewer's own token in the address; others do not. What the
/// address leads to is the manifest.
#[tokio::test]
async fn playlists_of_the_rule_carry_the_tag_with_a_token_inside() {
    let (origin, edge) = steered("").await;
    for viewer in ["one", "two", "one"] {
        let token = crate::support::signing::sign(
            KEY_HEX,
            &format!("exp={}~acl=/*~id={viewer}", crate::support::signing::now() + 3600),
        );
        let get = async |path: &str| {
            let response = edge.get(&format!("{path}?hdnts={token}")).await;
            assert_eq!(response.status(), 200, "{path}: {:?}", response.head);
            assert_eq!(
                response.get("content-length"),
                Some(response.whole().len().to_string().as_str()),
                "{path}"
            );
            String::from_utf8(response.whole().to_vec()).expect("text")
        };
        let address = format!("{PATH}?hdnts={token}");
        assert_eq!(
            get("/live/master.m3u8").await,
            format!(
                "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-CONTENT-STEERING:SERVER-URI=\"{address}\",PATHWAY-ID=\"edge\"\n\
                 #EXT-X-STREAM-INF:BANDWIDTH=1000,PATHWAY-ID=\"edge\"\nv/index.m3u8?hdnts={token}\n"
            )
        );
        let manifest = get("/live/manifest.mpd").await;
        let steering = "<ContentSteering defaultServiceLocation=\"edge\" queryBeforeStart=\"true\">";
        assert!(manifest.contains(&format!("{steering}{address}</ContentSteering>")), "{manifest}");
        assert!(manifest.contains("<BaseURL serviceLocation=\"edge\">./"), "{manifest}");
        assert!(manifest.contains(&format!("$Number$.m4s?hdnts={token}")), "{manifest}");
        assert!(!get("/vod/master.m3u8").await.contains("STEERING"));
        assert!(!get("/live/index.m3u8").await.contains("STEERING"));
        let own = get("/live/own.m3u8").await;
        assert!(own.contains("https://o.example/s") && !own.contains("PATHWAY-ID"), "{own}");
        assert_eq!(get("/live/broken.mpd").await, "<MPD>");
        assert_eq!(priority(&edge.get(&address).await), ["edge", "b"]);
    }
    assert_eq!(origin.requests("/live/master.m3u8"), 1, "one fetch for all viewers");
}

/// With `replace` the node's tag takes the place of the origin's.
#[tokio::test]
async fn an_origins_tag_is_replaced_where_that_is_asked_for() {
    let (_origin, edge) = steered("replace = true").await;
    let token = valid("/*");
    let response = edge.get(&format!("/live/own.m3u8?hdnts={token}")).await;
    let text = String::from_utf8(response.whole().to_vec()).expect("text");
    assert!(!text.contains("o.example"), "{text}");
    assert_eq!(text.matches("#EXT-X-CONTENT-STEERING:").count(), 1, "{text}");
    assert!(text.contains(&format!("SERVER-URI=\"{PATH}?hdnts={token}\",PATHWAY-ID=\"edge\"")), "{text}");
}
