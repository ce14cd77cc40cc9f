//! What playlists say of segments and parts is told with these: how long they play, at which bitrate, what comes next.

use sfv::{Dictionary, ListEntry};

use super::{RULE, hops, number, told};
use crate::support::client::{Http1, Request};
use crate::support::edge::{Edge, Setup};
use crate::support::origin::{Answer, Origin};
use crate::support::signing::{KEY_HEX, valid};
use crate::support::wait::within;

const HEAD: &str = "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:7\n";

/// 1,000 kbit/s for 4 seconds.
const BYTES: usize = 500_000;

/// An origin with this playlist and segments of [`BYTES`], and a node before it with these rules.
async fn node(playlist: &str, rules: &str) -> (Origin, Edge) {
    let origin = Origin::start().await;
    origin.on("/live/index.m3u8", Answer::ok(playlist.to_owned()).cache_control("max-age=60"));
    for name in ["7", "8", "9", "7.0", "7.1", "whole"] {
        let segment = Answer::ok(vec![7_u8; BYTES]).cache_control("max-age=60").ranges();
        origin.on(&format!("/live/{name}.m4s"), segment);
    }
    let edge = Setup::before(&origin).more(rules).start().await;
    (origin, edge)
}

fn text<'a>(told: &'a Dictionary, key: &str) -> Option<&'a str> {
    match told.get(key)? {
        ListEntry::Item(item) => item.bare_item.as_string().map(|text| text.as_str()),
        ListEntry::InnerList(_) => None,
    }
}

/// `d`, `br`, `nor` and `nrr` of an answer.
async fn media(edge: &Edge, request: &Request) -> (Option<i64>, Option<i64>, Option<String>, Option<String>) {
    let response = edge.ask(request).await;
    assert!(matches!(response.status(), 200 | 206), "{}", response.status());
    let told = told(&response);
    let owned = |key| text(&told, key).map(str::to_owned);
    (number(&told, "d"), number(&told, "br"), owned("nor"), owned("nrr"))
}

/// A request for all of it by a range, the header of whose answer is made each time; that of a plain hit is once a second.
fn made_anew(path: &str) -> Request {
    Request::get(path).range("bytes=0-")
}

fn named(name: &str) -> Option<String> {
    Some(name.to_owned())
}

/// Nothing before a playlist has said it; then misses and hits tell it; what comes next is told once it is listed.
#[tokio::test]
async fn a_segment_tells_how_long_it_plays_and_which_one_is_next() {
    let playlist = format!("{HEAD}#EXTINF:4,\n7.m4s\n#EXTINF:4.004,\n8.m4s\n");
    let (origin, edge) = node(&playlist, RULE).await;
    let (first, second) = (Request::get("/live/7.m4s"), Request::get("/live/8.m4s"));
    assert_eq!(media(&edge, &first).await, (None, None, None, None));
    edge.get("/live/index.m3u8").await;
    assert_eq!(media(&edge, &second).await, (Some(4004), Some(999), None, None));
    assert_eq!(media(&edge, &second).await, (Some(4004), Some(999), None, None));
    // The header of a hit is made once a second.
    within("the first segment to tell of the second", async {
        while media(&edge, &first).await != (Some(4000), Some(1000), named("8.m4s"), None) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(media(&edge, &Request::head("/live/7.m4s")).await.2, named("8.m4s"));
    let some = Request::get("/live/7.m4s").range("bytes=0-9");
    assert_eq!(media(&edge, &some).await, (None, None, None, None), "no playlist names these bytes");

    let grown = format!("{playlist}#EXTINF:4,\n../vod/a b.m4s\n#EXTINF:4,\n../vod/10.m4s?v=1\n");
    origin.on("/live/index.m3u8", Answer::ok(grown).cache_control("max-age=60"));
    edge.get("/live/index.m3u8?_HLS_msn=9").await;
    within("the second to tell of the third", async {
        while media(&edge, &second).await.2.as_deref() != Some("..%2Fvod%2Fa%2520b.m4s") {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// Parts are followed by parts, hinted ones too, and sub-ranges by sub-ranges, of the same file and of another.
#[tokio::test]
async fn parts_and_sub_ranges_tell_of_those_that_follow() {
    let ranges =
        "#EXTINF:4,\n#EXT-X-BYTERANGE:1000@0\nwhole.m4s\n#EXTINF:2,\n#EXT-X-BYTERANGE:500\nwhole.m4s\n";
    let playlist = format!(
        "{HEAD}{ranges}#EXT-X-PART:DURATION=2,URI=\"7.0.m4s\"\n#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"7.1.m4s\"\n"
    );
    let (_origin, edge) = node(&playlist, RULE).await;
    edge.get("/live/index.m3u8").await;
    let part = Request::get("/live/7.0.m4s");
    assert_eq!(media(&edge, &part).await, (Some(2000), Some(2000), named("7.1.m4s"), None));
    let range = |range: &str| Request::get("/live/whole.m4s").range(range);
    for _ in 0..2 {
        let expected = (Some(4000), Some(2), None, named("1000-1499"));
        assert_eq!(media(&edge, &range("bytes=0-999")).await, expected);
        assert_eq!(media(&edge, &range("bytes=1000-1499")).await, (Some(2000), Some(2), None, None));
    }
    assert_eq!(media(&edge, &Request::get("/live/whole.m4s")).await, (None, None, None, None));
}

/// No token and no session of a viewer, of the node's or of the origin's, is in what is named.
#[tokio::test]
async fn what_is_named_next_holds_no_token_and_no_session() {
    let origin = Origin::start().await;
    let playlist = format!("{HEAD}#EXTINF:4,\n7.m4s?sid=origins\n#EXTINF:4,\nb/8.m4s?sid=origins\n");
    origin.on("/live/index.m3u8", Answer::ok(playlist.to_owned()).cache_control("max-age=60"));
    origin.on("/live/7.m4s", Answer::ok(vec![7; BYTES]).cache_control("max-age=60"));
    let policy = "[token.viewer]\nformat = \"edgeauth\"\ncarry = \"path\"\nkeys = [{ id = \"k\", secret_file = \"DIR/k.key\" }]\n";
    let rule = format!("{RULE}playlist = {{ drop_parameters = [\"sid\"] }}\n");
    let setup = Setup::before(&origin).site("token = \"viewer\"").file("k.key", KEY_HEX);
    let edge = setup.more(&rule).more(policy).start().await;
    let token = valid("/*");
    let carried = edge.get(&format!("/hdnts={token}/live/index.m3u8?sid=viewers")).await;
    assert!(String::from_utf8_lossy(carried.whole()).contains("8.m4s?sid=viewers"));
    for _ in 0..2 {
        let request = Request::get(&format!("/hdnts={token}/live/7.m4s?sid=viewers"));
        let response = edge.ask(&request).await;
        let said = response.get("cmsd-static").expect("CMSD-Static");
        assert_eq!(text(&told(&response), "nor"), Some("b%2F8.m4s"));
        assert!(!said.contains("sid") && !said.contains(&token), "{said}");
    }
}

/// What has a query that counts is not named: it may be one session's. Neither is what a playlist says that is kept for some alone, nor
/// what comes next by one of two playlists.
#[tokio::test]
async fn what_is_not_everybodys_is_not_told() {
    let queried = format!("{HEAD}#EXTINF:4,\n7.m4s\n#EXTINF:4,\n8.m4s?session=1\n");
    let (_origin, edge) = node(&queried, RULE).await;
    edge.get("/live/index.m3u8").await;
    assert_eq!(media(&edge, &Request::get("/live/7.m4s")).await, (Some(4000), Some(1000), None, None));
    assert_eq!(media(&edge, &Request::get("/live/8.m4s?session=1")).await, (None, None, None, None));

    let plain = format!("{HEAD}#EXTINF:4,\n7.m4s\n#EXTINF:4,\n8.m4s\n");
    let (_origin, edge) = node(&plain, &format!("{RULE}key = {{ headers = [\"x-user\"] }}\n")).await;
    edge.ask(&Request::get("/live/index.m3u8").header("x-user", "one")).await;
    assert_eq!(media(&edge, &Request::get("/live/7.m4s")).await, (None, None, None, None));

    let (origin, edge) = node(&plain, RULE).await;
    let other = plain.replace("8.m4s", "9.m4s");
    origin.on("/live/other.m3u8", Answer::ok(other).cache_control("max-age=60"));
    edge.get("/live/index.m3u8").await;
    assert_eq!(media(&edge, &Request::get("/live/8.m4s")).await, (Some(4000), Some(1000), None, None));
    edge.get("/live/other.m3u8").await;
    assert_eq!(media(&edge, &Request::get("/live/7.m4s")).await, (Some(4000), Some(1000), None, None));
}

/// What comes after a segment that is listed twice, at once or as the playlist grows, is not told; how long it plays is.
#[tokio::test]
async fn what_comes_after_a_slate_is_not_told() {
    let first = format!("{HEAD}#EXTINF:4,\n7.m4s\n#EXTINF:4,\n8.m4s\n");
    let (origin, edge) = node(&first, RULE).await;
    edge.get("/live/index.m3u8").await;
    let told = async |name: &str| {
        let (duration, _, next, _) = media(&edge, &made_anew(&format!("/live/{name}.m4s"))).await;
        (duration, next)
    };
    assert_eq!(told("7").await, (Some(4000), named("8.m4s")));
    let again = format!("{first}#EXTINF:4,\n7.m4s\n");
    let more = format!("{again}#EXTINF:4,\n9.m4s\n#EXTINF:4,\nwhole.m4s\n");
    for (text, msn) in [(&again, 9), (&more, 11)] {
        origin.on("/live/index.m3u8", Answer::ok(text.clone()).cache_control("max-age=60"));
        edge.get(&format!("/live/index.m3u8?_HLS_msn={msn}")).await;
        assert_eq!(told("7").await, (Some(4000), None), "{msn}");
        assert_eq!(told("8").await, (Some(4000), named("7.m4s")), "{msn}");
    }
    assert_eq!(told("9").await, (Some(4000), named("whole.m4s")));
}

/// What the first answer says of a playlist that varies by the request is not told; one that varies by its coding alone is everybody's.
#[tokio::test]
async fn the_first_of_several_variants_is_not_told_to_everybody() {
    let playlist = format!("{HEAD}#EXTINF:4,\n7.m4s\n#EXTINF:4,\none/8.m4s\n");
    for (vary, told) in [("x-user", false), ("*", false), ("accept-encoding", true)] {
        let (origin, edge) = node("", RULE).await;
        let answer = Answer::ok(playlist.clone()).cache_control("max-age=60").header("vary", vary);
        origin.on("/live/index.m3u8", answer);
        edge.ask(&Request::get("/live/index.m3u8").header("x-user", "one")).await;
        let (duration, _, next, _) = media(&edge, &Request::get("/live/7.m4s")).await;
        assert_eq!((duration.is_some(), next), (told, told.then(|| "one%2F8.m4s".to_owned())), "{vary}");
    }
}

/// Each session has a playlist of its own at a path of its own, and all share a segment: no viewer is told of another one's path, in
/// whatever order the playlists come and grow.
#[tokio::test]
async fn one_sessions_path_is_not_told_to_another() {
    let (origin, edge) = node("", RULE).await;
    let listed = |session: &str, grown: bool| {
        let own = format!("#EXTINF:4,\n{session}/8.m4s\n");
        let text = format!("{HEAD}#EXTINF:4,\n7.m4s\n{}", if grown { &own } else { "" });
        origin.on(&format!("/live/{session}.m3u8"), Answer::ok(text).cache_control("max-age=60"));
    };
    for (session, grown) in [("one", true), ("two", false), ("two", true), ("one", true)] {
        listed(session, grown);
        let reload = if grown { "?_HLS_msn=8" } else { "" };
        edge.get(&format!("/live/{session}.m3u8{reload}")).await;
        if session == "two" {
            let told = media(&edge, &made_anew("/live/7.m4s")).await;
            assert_eq!((told.0, told.2), (Some(4000), None), "{session} {grown}");
        }
    }
    let told = media(&edge, &made_anew("/live/7.m4s")).await;
    assert_eq!((told.0, told.2), (Some(4000), None));
}

/// What a node says of a segment is for its players: one that asks it for others tells of each range what it knows itself, and neither
/// has what it is sent from what the other was.
#[tokio::test]
async fn a_node_behind_another_one_tells_its_own_of_what_it_sends() {
    let playlist = format!("{HEAD}#EXTINF:4,\n7.m4s\n#EXTINF:4,\n8.m4s\n");
    let nodes = |name: &str| {
        format!("[fleet]\nname = \"{name}\"\nkeys = [{{ id = \"n1\", secret_file = \"DIR/nodes\" }}]\n{RULE}")
    };
    let secret = "a-secret-of-nodes-0123456789abcdef";
    let origin = Origin::start().await;
    origin.on("/live/index.m3u8", Answer::ok(playlist).cache_control("max-age=60"));
    origin.on("/live/7.m4s", Answer::ok(vec![7; BYTES]).cache_control("max-age=60").ranges());
    let shield = Setup::before(&origin).more(&nodes("shield")).file("nodes", secret).start().await;
    let server = format!("http://{}", shield.http());
    let behind = Setup::with_servers(&[server]).origin("tier = true").file("nodes", secret);
    let told = (Some(4000), Some(1000), named("8.m4s"), None);
    let (whole, some) = (Request::get("/live/7.m4s"), Request::get("/live/7.m4s").range("bytes=0-9"));
    shield.get("/live/index.m3u8").await;
    for name in ["a", "b"] {
        // The first is sent a miss, the other one a hit.
        let edge = behind.clone().more(&nodes(name)).start().await;
        assert_eq!(media(&edge, &whole).await, (None, None, None, None), "{name}: it knows no playlist yet");
        edge.get("/live/index.m3u8").await;
        assert_eq!(media(&edge, &Request::head("/live/7.m4s")).await, told, "{name}");
        assert_eq!(media(&edge, &some).await, (None, None, None, None), "{name}");
        assert_eq!(media(&shield, &whole).await, told, "{name}");
    }
    assert_eq!(origin.requests("/live/7.m4s"), 1);
}

/// A node that has more to do than its steering allows says so, and no longer when it is over.
#[tokio::test]
async fn a_node_that_is_overloaded_says_so() {
    let origin = Origin::start().await;
    origin.on("/live/7.m4s", Answer::ok("v").cache_control("max-age=60"));
    let steering = "[steering.cdns]\npathways = [{ id = \"edge\", node = true }, { id = \"b\", host = \"b.example\" }]\n\
        overload = { connections = 4, until = 80 }\n";
    let edge = Setup::before(&origin).site("steering = \"cdns\"").more(steering).more(RULE).start().await;
    let is_under_duress = async || {
        let response = edge.get("/live/7.m4s").await;
        let hops = hops(&response);
        hops.last().expect("a hop").1.params.contains_key("du")
    };
    assert!(!is_under_duress().await);
    let mut held = Vec::new();
    for _ in 0..6 {
        let mut connection = Http1::connect(edge.http()).await;
        connection.ask(&Request::get("/live/7.m4s")).await;
        held.push(connection);
    }
    for (expected, what) in [(true, "duress"), (false, "its end")] {
        within(what, async {
            while is_under_duress().await != expected {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        })
        .await;
        held.clear();
    }
}
