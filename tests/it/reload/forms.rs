//! A playlist in full and its delta updates: which of them the origin is asked for, and whom an answer serves.

use std::ops::Range;
use std::time::Duration;

use serde_json::json;

use forebay::clock::Clock;

use super::{PATH, open, parked, standing_clock, text};
use crate::support::client::{Http1, Request, Response, ask};
use crate::support::edge::Setup;
use crate::support::node::LocalNode;
use crate::support::origin::{Answer, Origin};
use crate::support::wait::{Gate, within};

/// A playlist of these segments and so many parts of the next, of which an update may leave out what is before the last twelve seconds.
fn long(segments: Range<u64>, parts: u64, more: &str) -> String {
    let Range { start, end } = segments;
    let segments: String = segments.map(|msn| format!("#EXTINF:2,\n{msn}.m4s\n")).collect();
    let parts: String =
        (0..parts).map(|part| format!("#EXT-X-PART:DURATION=0.5,URI=\"{end}.{part}.m4s\"\n")).collect();
    format!(
        "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:2\n\
         #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=12,PART-HOLD-BACK=1.5\n\
         #EXT-X-PART-INF:PART-TARGET=0.5\n#EXT-X-MEDIA-SEQUENCE:{start}\n{more}{segments}{parts}"
    )
}

/// What an origin makes of it for those who have the older segments.
const UPDATE: &str = "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:2\n\
    #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=12,PART-HOLD-BACK=1.5\n\
    #EXT-X-PART-INF:PART-TARGET=0.5\n#EXT-X-MEDIA-SEQUENCE:10\n#EXT-X-SKIP:SKIPPED-SEGMENTS=19\n\
    #EXTINF:2,\n29.m4s\n## the origin's\n";

/// The origin of such a playlist, a gate before its whole answers and one before its updates, both for those who wait; and a node before it.
async fn node() -> (Origin, [Gate; 2], LocalNode, Clock) {
    let (origin, gates, clock) = (Origin::start().await, [Gate::closed(), Gate::closed()], standing_clock());
    let [whole, update] = gates.clone();
    origin.script(PATH, move |request, _| {
        let part = super::waits_for(request).map(|(_, part)| part);
        let is_update = request.target.contains("_HLS_skip");
        let parts: String = (0..=part.unwrap_or(1))
            .map(|part| format!("#EXT-X-PART:DURATION=0.5,URI=\"30.{part}.m4s\"\n"))
            .collect();
        match part {
            Some(_) if is_update => Answer::ok(format!("{UPDATE}{parts}")).hold(&update),
            Some(part) => Answer::ok(long(10..30, part + 1, "")).header("cache-tag", "whole").hold(&whole),
            None => Answer::ok(long(10..30, 2, "")),
        }
    });
    let node = LocalNode::start_at(&Setup::before(&origin), clock.clone());
    node.get(PATH).await.whole();
    (origin, gates, node, clock)
}

fn in_full(part: u64) -> String {
    format!("{PATH}?_HLS_msn=30&_HLS_part={part}")
}

fn as_update(part: u64) -> String {
    format!("{}&_HLS_skip=YES", in_full(part))
}

async fn viewers(node: &LocalNode, target: &str, count: usize) -> Vec<Http1> {
    let mut viewers = Vec::new();
    for _ in 0..count {
        viewers.push(open(node, target).await);
    }
    viewers
}

async fn answers(viewers: Vec<Http1>) -> Vec<Response> {
    let mut answers = Vec::new();
    for mut viewer in viewers {
        let answer = within("an answer", viewer.response("GET")).await;
        assert_eq!(answer.status(), 200);
        answers.push(answer);
    }
    answers
}

/// An update that the node has made: of twenty segments it leaves fourteen out, and has all parts.
#[track_caller]
fn assert_made_here(answer: &Response, parts: usize) {
    let text = text(answer);
    assert!(text.contains("#EXT-X-SKIP:SKIPPED-SEGMENTS=1") && !text.contains("the origin's"), "{text}");
    assert!(text.contains("29.m4s") && !text.contains("\n10.m4s"), "{text}");
    assert_eq!(text.matches("#EXT-X-PART:").count(), parts, "{text}");
}

/// While all wait for updates, the origin makes them.
#[tokio::test]
async fn updates_are_the_origins_while_nobody_waits_for_more() {
    let (origin, [_, update], node, _) = node().await;
    update.open();
    for part in 2..4 {
        for answer in answers(viewers(&node, &as_update(part), 3).await).await {
            assert!(text(&answer).contains("the origin's"), "{}", text(&answer));
        }
    }
    assert_eq!(origin.requests(PATH), 3);
    node.stop().await;
}

/// A whole playlist wakes those who wait for an update of it, with one that is made of it; their own fetch answers nobody any more.
#[tokio::test]
async fn a_playlist_in_full_answers_those_who_wait_for_an_update() {
    let (origin, [whole, update], node, _) = node().await;
    let waiting = viewers(&node, &as_update(2), 5).await;
    parked(&node, 5).await;
    origin.await_requests(PATH, 2).await;
    whole.open();
    assert!(text(&node.get(&in_full(2)).await).contains("\n10.m4s"));
    for answer in answers(waiting).await {
        assert_eq!(answer.outcome(), "coalesced");
        assert_made_here(&answer, 3);
    }
    let late = node.get(&as_update(2)).await;
    assert_eq!(late.outcome(), "hit");
    assert_made_here(&late, 3);
    assert_eq!(origin.requests(PATH), 3);
    update.open();
    node.stop().await;
}

/// Where somebody waits for all of it, the origin is asked once for each part, in full, whoever comes first; and for updates again
/// when nobody has for two target durations.
#[tokio::test]
async fn whoever_waits_for_an_update_shares_the_fetch_of_who_waits_for_all() {
    let (origin, [whole, update], node, clock) = node().await;
    whole.open();
    node.get(&in_full(2)).await;
    for (part, first) in [(3, as_update(3)), (4, in_full(4))] {
        let asked = origin.requests(PATH);
        let mut waiting = viewers(&node, &first, 1).await;
        origin.await_requests(PATH, asked + 1).await;
        waiting.extend(viewers(&node, &as_update(part), 3).await);
        waiting.extend(viewers(&node, &in_full(part), 3).await);
        let answers = answers(waiting).await;
        for answer in answers.iter().filter(|answer| text(answer).contains("EXT-X-SKIP")) {
            assert_made_here(answer, part as usize + 1);
        }
        let updates = answers.iter().filter(|answer| text(answer).contains("EXT-X-SKIP")).count();
        assert_eq!(updates, if first.contains("skip") { 4 } else { 3 });
        assert_eq!(origin.requests(PATH), asked + 1, "part {part}");
    }
    assert!(origin.recorded().iter().all(|request| !request.target.contains("_HLS_skip")));
    clock.advance(Duration::from_secs(6));
    update.open();
    let asked = origin.requests(PATH);
    assert!(text(&node.get(&as_update(5)).await).contains("the origin's"));
    assert_eq!(origin.requests(PATH), asked + 1);
    node.stop().await;
}

/// Whoever waits for a playlist of which nothing is known yet is woken by any answer that goes far enough.
#[tokio::test]
async fn a_plain_answer_wakes_those_who_wait_for_what_is_not_known_yet() {
    let (origin, gates) = super::low_latency_origin().await;
    let held = gates.close(10, 1);
    let node = LocalNode::start_at(&Setup::before(&origin), standing_clock());
    let waiting = viewers(&node, &super::reload(10, 1), 3).await;
    parked(&node, 3).await;
    origin.await_requests(PATH, 1).await;
    assert_eq!(node.get(PATH).await.outcome(), "miss");
    for answer in answers(waiting).await {
        assert_eq!(answer.outcome(), "coalesced");
        assert!(text(&answer).contains("## plain"), "{}", text(&answer));
    }
    assert_eq!(origin.requests(PATH), 2);
    held.open();
    node.stop().await;
}

/// A stream that begins anew is given whole to those who wait for an update: theirs was of another one.
#[tokio::test]
async fn a_stream_that_begins_anew_is_no_update() {
    let (origin, [_, update], node, _) = node().await;
    let waiting = viewers(&node, &as_update(2), 2).await;
    parked(&node, 2).await;
    let anew = long(0..10, 1, "#EXT-X-DISCONTINUITY\n");
    origin.on(PATH, Answer::ok(anew));
    node.get(&in_full(3)).await;
    for answer in answers(waiting).await {
        assert!(
            text(&answer).contains("\n0.m4s") && !text(&answer).contains("EXT-X-SKIP"),
            "{}",
            text(&answer)
        );
    }
    update.open();
    node.stop().await;
}

/// Nor does an update of the origin's that is the first to come of a new stream answer those who wait for one of the stream before.
#[tokio::test]
async fn an_update_of_a_new_stream_is_for_nobody_who_waits_in_the_one_before() {
    let (origin, held) = (Origin::start().await, Gate::closed());
    let map = |name: &str| format!("#EXT-X-MAP:URI=\"{name}.mp4\"\n");
    let (before, whole) = (long(10..30, 2, &map("a")), long(0..10, 1, &map("b")));
    let anew =
        UPDATE.replace("SEQUENCE:10", "SEQUENCE:0").replace("SKIPPED-SEGMENTS=19", "SKIPPED-SEGMENTS=9");
    let anew = anew.replace("#EXTINF:2,\n29.m4s", &format!("{}#EXTINF:2,\n9.m4s", map("b")));
    let gate = held.clone();
    origin.script(PATH, move |request, _| match super::waits_for(request) {
        None => Answer::ok(before.clone()),
        Some((_, 2)) => Answer::ok(anew.clone()).hold(&gate),
        Some(_) if request.target.contains("_HLS_skip") => Answer::ok(anew.clone()),
        Some(_) => Answer::ok(whole.clone()),
    });
    let node = LocalNode::start_at(&Setup::before(&origin), standing_clock());
    node.get(PATH).await.whole();
    let mut waiting = viewers(&node, &as_update(2), 1).await.remove(0);
    parked(&node, 1).await;
    assert!(text(&node.get(&as_update(3)).await).contains("\n9.m4s\n## the origin's"));
    let early = tokio::time::timeout(Duration::from_millis(200), waiting.response("GET")).await;
    assert!(early.is_err(), "{}", text(&early.expect("an answer")));
    assert_eq!(node.get(&super::reload(10, 0)).await.status(), 200);
    let answer = within("the new stream", waiting.response("GET")).await;
    assert!(text(&answer).contains("\n0.m4s") && !text(&answer).contains("EXT-X-SKIP"), "{}", text(&answer));
    held.open();
    node.stop().await;
}

/// An update that is held answers whoever it goes far enough for, where the playlist in full went further and is held no more.
#[tokio::test]
async fn an_update_that_is_held_answers_where_the_playlist_in_full_is_gone() {
    let (origin, [whole, update], node, _) = node().await;
    whole.open();
    update.open();
    assert!(text(&node.get(&as_update(2)).await).contains("the origin's"));
    node.get(&in_full(3)).await;
    let asked = origin.requests(PATH);
    assert_made_here(&node.get(&as_update(1)).await, 4);
    let purge = Request::new("POST", "/purge").body(json!({ "tag": "whole", "mode": "hard" }).to_string());
    assert_eq!(ask(node.admin(), &purge).await.status(), 200);
    let answer = node.get(&as_update(1)).await;
    assert_eq!((answer.outcome(), origin.requests(PATH)), ("hit", asked));
    assert!(text(&answer).contains("the origin's"), "{}", text(&answer));
    node.stop().await;
}
