//! CMSD (CTA-5006): answers of rules that ask for it tell players of the object and of the way it came.

mod media;

use std::time::Duration;

use sfv::{BareItem, Dictionary, Item, List, ListEntry, Parser};

use crate::support::client::{Http2, Request, Response};
use crate::support::edge::{Edge, Setup};
use crate::support::origin::{Answer, Origin};
use crate::support::signing::{KEY_HEX, valid};
use crate::support::wait::Gate;

const LIVE: &str = "#EXTM3U\n#EXT-X-TARGETDURATION:600\n#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES\n\
    #EXT-X-MEDIA-SEQUENCE:7\n#EXTINF:4,\n7.m4s\n";
const RULE: &str = "[[site.rule]]\npath = \"/live/*\"\ncmsd = true\n";

async fn node() -> (Origin, Edge) {
    let origin = Origin::start().await;
    let segment = Answer::ok(vec![7_u8; 100_000]).etag("\"v1\"").cache_control("max-age=60").ranges();
    origin.on("/live/7.m4v", segment.header("content-type", "video/mp4"));
    origin.on("/vod/7.m4v", Answer::ok("v").cache_control("max-age=60"));
    origin.on("/live/index.m3u8", Answer::ok(LIVE));
    let ended = format!("{LIVE}#EXT-X-ENDLIST\n");
    origin.on("/live/ended.m3u8", Answer::ok(ended).cache_control("max-age=60"));
    let edge = Setup::before(&origin)
        .server("h2c = true")
        .site("cors = { origins = [\"*\"] }")
        .more("[fleet]\nname = \"a.1\"\n")
        .more(RULE)
        .start()
        .await;
    (origin, edge)
}

/// What the answer says of the object.
#[track_caller]
fn told(response: &Response) -> Dictionary {
    let text = response.get("cmsd-static").expect("CMSD-Static");
    Parser::new(text).parse().expect("a Dictionary")
}

fn word<'a>(told: &'a Dictionary, key: &str) -> Option<&'a str> {
    match told.get(key)? {
        ListEntry::Item(item) => item.bare_item.as_token().map(|token| token.as_str()),
        ListEntry::InnerList(_) => None,
    }
}

fn number(told: &Dictionary, key: &str) -> Option<i64> {
    match told.get(key)? {
        ListEntry::Item(item) => item.bare_item.as_integer().map(i64::from),
        ListEntry::InnerList(_) => None,
    }
}

/// What the hops say, by name, in their order.
#[track_caller]
fn hops(response: &Response) -> Vec<(String, Item)> {
    let text = response.get("cmsd-dynamic").expect("CMSD-Dynamic");
    let list: List = Parser::new(text).parse().expect("a List");
    let item = |entry| match entry {
        ListEntry::Item(item) => item,
        ListEntry::InnerList(_) => panic!("an inner list"),
    };
    let name = |item: &Item| item.bare_item.as_string().expect("a string").as_str().to_owned();
    list.into_iter().map(item).map(|item| (name(&item), item)).collect()
}

/// The one hop is this node, with figures of the connection, and this says whether it had the object.
#[track_caller]
fn assert_own(response: &Response, hit: bool) {
    assert_eq!(response.head.count("cmsd-dynamic"), 1);
    let hops = hops(response);
    let (name, own) = hops.last().expect("a hop");
    assert_eq!(name, "forebay-a.1");
    let figure = |key: &str| own.params.get(key).and_then(BareItem::as_integer).map(i64::from);
    assert_eq!(own.params.get("com.forebay-hit"), Some(&BareItem::Boolean(hit)));
    assert_eq!(figure("rd").is_some(), !hit);
    if cfg!(target_os = "linux") {
        assert!(figure("etp").is_some_and(|etp| etp > 0), "{own:?}");
        assert!(figure("rtt").is_some_and(|rtt| rtt > 0), "{own:?}");
    }
}

/// Misses and hits, whole and in part, by GET and HEAD, and a 304: each tells of the same object, and whether it was held.
#[tokio::test]
async fn each_answer_tells_of_the_object_and_of_its_way() {
    let (_origin, edge) = node().await;
    let path = "/live/7.m4v";
    for (request, status, hit) in [
        (Request::get(path), 200, false),
        (Request::get(path), 200, true),
        (Request::get(path), 200, true),
        (Request::head(path), 200, true),
        (Request::get(path).range("bytes=5-9"), 206, true),
        (Request::get(path).header("if-none-match", "\"v1\""), 304, true),
    ] {
        let response = edge.ask(&request).await;
        assert_eq!(response.status(), status);
        assert_own(&response, hit);
        let told = told(&response);
        assert_eq!((word(&told, "ot"), number(&told, "v")), (Some("v"), Some(1)));
        assert_eq!(number(&told, "ht"), None);
        let exposed = response.get("access-control-expose-headers").expect("exposed fields");
        assert!(exposed.contains("CMSD-Static") && exposed.contains("CMSD-Dynamic"), "{exposed}");
    }
    let refused = edge.ask(&Request::get(path).range("bytes=200000-")).await;
    assert_eq!((refused.status(), refused.get("cmsd-dynamic")), (416, None));
}

/// Over HTTP/2 the figures are those of the connection.
#[tokio::test]
async fn streams_tell_of_their_connection() {
    let (_origin, edge) = node().await;
    let connection = Http2::connect(edge.http()).await;
    for hit in [false, true] {
        let response = connection.ask(&Request::get("/live/7.m4v")).await;
        assert_own(&response, hit);
    }
}

/// Playlists are told to be live or ended.
#[tokio::test]
async fn playlists_tell_their_stream_type() {
    let (_origin, edge) = node().await;
    for (path, stream_type) in [("/live/index.m3u8", "l"), ("/live/ended.m3u8", "v")] {
        edge.get(path).await;
        let told = told(&edge.get(path).await);
        let words = ["ot", "sf", "st"].map(|key| word(&told, key));
        assert_eq!(words, [Some("m"), Some("h"), Some(stream_type)], "{path}");
    }
}

/// A reload that was held says for how long; one that was answered at once from what is held does not.
#[tokio::test]
async fn a_held_reload_tells_for_how_long() {
    let (origin, edge) = node().await;
    let gate = Gate::closed();
    let next = format!("{LIVE}#EXTINF:4,\n8.m4s\n");
    origin.on("/live/held.m3u8", Answer::ok(next).hold(&gate));
    let target = "/live/held.m3u8?_HLS_msn=8";
    let least = Duration::from_millis(120);
    let (response, ()) = tokio::join!(edge.get(target), async {
        origin.await_requests("/live/held.m3u8", 1).await;
        tokio::time::sleep(least).await;
        gate.open();
    });
    let held = number(&told(&response), "ht").expect("ht");
    assert!(held >= 119, "{held}");
    assert_own(&response, false);
    let again = edge.get(target).await;
    if again.outcome() == "hit" {
        assert_eq!(number(&told(&again), "ht"), None);
        assert_own(&again, true);
    }
}

/// What the origin says of the object stands; what hops say of the way is passed on with an answer that came it, not with one
/// that was held.
#[tokio::test]
async fn the_nodes_word_is_added_to_the_origins() {
    let (origin, edge) = node().await;
    let answer = Answer::ok("v").cache_control("max-age=60").header("cmsd-static", "ot=av, br=2000,n=\"o\"");
    origin.on("/live/own.m4s", answer.header("cmsd-dynamic", "\"o\";etp=5;rtt=9"));
    for hit in [false, true] {
        let response = edge.get("/live/own.m4s").await;
        assert_own(&response, hit);
        let names: Vec<_> = hops(&response).into_iter().map(|(name, _)| name).collect();
        let expected: &[&str] = if hit { &["forebay-a.1"] } else { &["o", "forebay-a.1"] };
        assert_eq!(names, expected);
        assert_eq!(response.get("cmsd-static"), Some("ot=av, br=2000,n=\"o\",v=1"));
    }
}

/// Without the rule nothing is added, and the origin's own fields pass.
#[tokio::test]
async fn without_the_rule_nothing_is_added() {
    let (origin, edge) = node().await;
    let answer = Answer::ok("v").cache_control("max-age=60").header("cmsd-static", "br=2000");
    origin.on("/vod/own.m4s", answer.header("cmsd-dynamic", "\"o\";etp=5"));
    for _ in 0..2 {
        let plain = edge.get("/vod/7.m4v").await;
        assert_eq!((plain.get("cmsd-static"), plain.get("cmsd-dynamic")), (None, None));
        let own = edge.get("/vod/own.m4s").await;
        assert_eq!((own.get("cmsd-static"), own.get("cmsd-dynamic")), (Some("br=2000"), Some("\"o\";etp=5")));
    }
}

/// On sites with tokens, where playlists are put together for each viewer.
#[tokio::test]
async fn playlists_with_a_token_inside_tell_it_too() {
    let origin = Origin::start().await;
    origin.on("/live/index.m3u8", Answer::ok(LIVE));
    let policy = "[token.viewer]\nformat = \"edgeauth\"\ncarry = \"query\"\nkeys = [{ id = \"k\", secret_file = \"DIR/k.key\" }]\n";
    let edge = Setup::before(&origin)
        .site("token = \"viewer\"")
        .more("[fleet]\nname = \"a.1\"\n")
        .more(RULE)
        .more(policy)
        .file("k.key", KEY_HEX)
        .start()
        .await;
    let token = valid("/*");
    for hit in [false, true] {
        let response = edge.get(&format!("/live/index.m3u8?hdnts={token}")).await;
        assert!(String::from_utf8_lossy(response.whole()).contains(&format!("7.m4s?hdnts={token}")));
        assert_own(&response, hit);
        assert_eq!(word(&told(&response), "sf"), Some("h"));
    }
    let denied = edge.get("/live/index.m3u8").await;
    assert_eq!((denied.status(), denied.get("cmsd-dynamic"), denied.get("cmsd-static")), (403, None, None));
}
