//! Plain requests for a live playlist that are answered from what has come to a blocking reload: whatever else they ask, they
//! are answered as from any object, and purges and variants hold for them.

use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use serde_json::json;

use crate::reload::{PATH, playlist, reload, standing_clock, text, waits_for};
use crate::support::client::{Request, Response, ask};
use crate::support::content::assert_same_bytes;
use crate::support::edge::Setup;
use crate::support::node::LocalNode;
use crate::support::origin::{Answer, Origin};

/// Bytes of header fields that an origin may send with each answer, and does in one of these tests.
const LONG_FIELD_BYTES: usize = 6000;

/// An origin whose answers have a tag each, and say how often it was asked. It has the part that was last waited for, and those
/// before it.
async fn tagged_origin() -> Origin {
    let (origin, has) = (Origin::start().await, Mutex::new((10, 2)));
    origin.script(PATH, move |request, nth| {
        let mut has = has.lock().expect("what it has");
        *has = waits_for(request).map_or(*has, |(msn, part)| (msn, part + 1));
        let (next, parts) = *has;
        let answer = Answer::ok(playlist(next, parts, &format!("## {nth} {}\n", request.target)));
        answer.etag(&format!("\"{nth}\"")).header("cache-tag", "channel")
    });
    origin
}

/// A node that holds a plain answer and a newer one to a reload; gives both as viewers get them.
async fn held(setup: &Setup) -> (LocalNode, Response, Response) {
    let node = LocalNode::start_at(setup, standing_clock());
    let first = node.get(PATH).await;
    let newest = node.get(&reload(10, 3)).await;
    assert_ne!(first.get("etag").expect("a tag"), newest.get("etag").expect("a tag"));
    assert_ne!(first.whole(), newest.whole());
    (node, first, newest)
}

/// HEAD tells what GET would send: the newest.
#[tokio::test]
async fn head_tells_of_the_newest_playlist() {
    let origin = tagged_origin().await;
    let (node, _, newest) = held(&Setup::before(&origin)).await;
    for _ in 0..2 {
        let head = node.ask(&Request::head(PATH)).await;
        assert_eq!((head.status(), head.outcome(), head.whole().len()), (200, "hit", 0));
        assert_eq!(head.get("etag"), newest.get("etag"));
        assert_eq!(head.get("content-length"), Some(newest.whole().len().to_string().as_str()));
    }
    assert_eq!(origin.requests(PATH), 2);
    node.stop().await;
}

/// A viewer that has the newest is told so; one that has the one before is sent the newest.
#[tokio::test]
async fn a_condition_is_held_against_the_newest_playlist() {
    let origin = tagged_origin().await;
    let (node, first, newest) = held(&Setup::before(&origin)).await;
    let if_none_match = |tag: Option<&str>| Request::get(PATH).header("if-none-match", tag.expect("a tag"));
    let same = node.ask(&if_none_match(newest.get("etag"))).await;
    assert_eq!((same.status(), same.outcome(), same.whole().len()), (304, "hit", 0));
    assert_eq!(same.get("etag"), newest.get("etag"));
    assert_eq!(same.get("cache-control"), first.get("cache-control"));
    let other = node.ask(&if_none_match(first.get("etag"))).await;
    assert_eq!((other.status(), other.outcome()), (200, "hit"));
    assert_same_bytes(other.whole(), newest.whole(), "the newest");
    assert_eq!(origin.requests(PATH), 2);
    node.stop().await;
}

/// A range is one of the newest playlist; with the tag of the one before it is all of the newest.
#[tokio::test]
async fn a_range_is_one_of_the_newest_playlist() {
    let origin = tagged_origin().await;
    let (node, first, newest) = held(&Setup::before(&origin)).await;
    let whole = newest.whole();
    let from = whole.len() - 40;
    let end = Request::get(PATH).range(&format!("bytes={from}-"));
    let if_range = |tag: Option<&str>| end.clone().header("if-range", tag.expect("a tag"));
    for request in [&end, &if_range(newest.get("etag"))] {
        let part = node.ask(request).await;
        assert_eq!((part.status(), part.outcome()), (206, "hit"), "{:?}", part.head);
        let range = format!("bytes {from}-{}/{}", whole.len() - 1, whole.len());
        assert_eq!(part.get("content-range"), Some(range.as_str()));
        assert_same_bytes(part.whole(), &whole[from..], "the end of the newest");
    }
    let other = node.ask(&if_range(first.get("etag"))).await;
    assert_eq!(other.status(), 200);
    assert_same_bytes(other.whole(), whole, "the newest");
    assert_eq!(origin.requests(PATH), 2);
    node.stop().await;
}

/// Whatever a purge of the plain playlist goes by: no request is sent an earlier text after it, also not the one that had come to
/// a reload, which is asked for again as well.
#[tokio::test]
async fn a_purged_playlist_does_not_come_back_as_the_newest() {
    let origin = tagged_origin().await;
    let (node, ..) = held(&Setup::before(&origin)).await;
    let url = |path: &str| format!("http://edge.test{path}");
    let mut part = 3;
    for order in [
        json!({ "url": url(PATH) }),
        json!({ "prefix": url("/live/") }),
        json!({ "tag": "channel" }),
        json!({ "site": "*" }),
        json!({ "everything": true }),
    ] {
        for mode in ["soft", "hard"] {
            // A later part each time: one that is held already would be no newer one.
            part += 1;
            let newest = node.get(&reload(10, part)).await;
            assert_same_bytes(node.get(PATH).await.whole(), newest.whole(), "the newest before");
            let asked = origin.requests(PATH);
            let mut order = order.clone();
            order["mode"] = mode.into();
            let purged = ask(node.admin(), &Request::new("POST", "/purge").body(order.to_string())).await;
            assert_eq!(purged.status(), 200, "{order}: {}", text(&purged));
            for _ in 0..3 {
                let plain = text(&node.get(PATH).await);
                let expected = format!("## {asked} {PATH}\n");
                assert!(plain.ends_with(&expected), "{order}: {expected} at the end of {plain}");
            }
            assert_eq!(origin.requests(PATH), asked + 1);
            let again = text(&node.get(&reload(10, part)).await);
            let ends = |nth: usize, target: &str| again.ends_with(&format!("## {nth} {target}\n"));
            assert!(ends(asked, PATH) || ends(asked + 1, &reload(10, part)), "{order}: {again}");
            // What comes to reloads from now on is the newest again.
            part += 1;
            let newest = node.get(&reload(10, part)).await;
            assert_eq!(newest.status(), 200, "{order}, part {part}: {}", text(&newest));
            assert_same_bytes(node.get(PATH).await.whole(), newest.whole(), "the newest after");
        }
    }
    node.stop().await;
}

/// Where either answer varies, each viewer is sent the text for those who ask like it, newest or not.
#[tokio::test]
async fn who_asks_otherwise_is_sent_no_answer_to_a_reload_that_varies() {
    for (plain_varies, reload_varies) in [(true, true), (true, false), (false, true)] {
        let origin = Origin::start().await;
        origin.script(PATH, move |request, _| {
            let (varies, (next, parts)) = match waits_for(request) {
                Some((msn, part)) => (reload_varies, (msn, part + 1)),
                None => (plain_varies, (10, 2)),
            };
            let language = request.header("accept-language").filter(|_| varies).unwrap_or("all");
            let answer = Answer::ok(playlist(next, parts, &format!("## for {language}\n")));
            if varies { answer.header("vary", "accept-language") } else { answer }
        });
        let node = LocalNode::start_at(&Setup::before(&origin), standing_clock());
        let get = async |target: &str, language| {
            text(&node.ask(&Request::get(target).header("accept-language", language)).await)
        };
        let case = format!("plain {plain_varies}, reload {reload_varies}");
        for language in ["de", "en"] {
            get(PATH, language).await;
        }
        get(&reload(10, 3), "de").await;
        for language in ["de", "en", "fr"] {
            let expected = if plain_varies { language } else { "all" };
            let plain = get(PATH, language).await;
            assert!(plain.ends_with(&format!("## for {expected}\n")), "{case}, {language}: {plain}");
        }
        node.stop().await;
    }
}

/// An answer to a reload that stands in for the plain one has a header of its own, which takes room in the store: once for each
/// playlist, however many viewers ask and however often it is made anew, until the answer goes.
#[tokio::test]
async fn what_stands_in_for_plain_answers_takes_room_once_for_each_playlist() {
    let origin = Origin::start().await;
    origin.otherwise(|request, _| {
        let (next, parts) = waits_for(request).map_or((10, 2), |(msn, part)| (msn, part + 1));
        Answer::ok(playlist(next, parts, "")).header("x-long", &"x".repeat(LONG_FIELD_BYTES))
    });
    let clock = forebay::clock::Clock::manual(SystemTime::now());
    let node = LocalNode::start_at(&Setup::before(&origin), clock.clone());
    let used = async || node.metrics().await.sum("forebay_cache_bytes", &[("tier", "memory")]);
    let playlists: Vec<String> = (0..8).map(|place| format!("/live/{place}.m3u8")).collect();
    for path in &playlists {
        node.get(path).await;
        node.get(&format!("{path}?_HLS_msn=10&_HLS_part=3")).await;
    }
    let before = used().await;
    for _ in 0..3 {
        for path in &playlists {
            assert_eq!(text(&node.get(path).await).matches("#EXT-X-PART:").count(), 4);
        }
        let each = (used().await - before) / playlists.len() as f64;
        let bound = 2.0 * LONG_FIELD_BYTES as f64..4.0 * LONG_FIELD_BYTES as f64;
        assert!(bound.contains(&each), "{each} bytes for each playlist");
        clock.advance(Duration::from_millis(100));
    }
    let all = json!({ "everything": true, "mode": "hard" }).to_string();
    assert_eq!(ask(node.admin(), &Request::new("POST", "/purge").body(all)).await.status(), 200);
    for path in &playlists {
        node.get(path).await;
        node.get(&format!("{path}?_HLS_msn=10&_HLS_part=3")).await;
    }
    assert_eq!(used().await, before);
    node.stop().await;
}
