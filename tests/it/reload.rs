//! Blocking playlist reload (RFC 8216bis section 6.2.5.2): held once at the origin for all who wait, woken together,
//! bounded in number, reach and time.

mod forms;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;
use tokio::net::TcpListener;

use forebay::clock::Clock;
use forebay::demo::media::{PART_DURATION, PARTS_PER_SEGMENT};
use forebay::demo::origin::DemoOrigin;

use crate::support::client::{Http1, Http2, Request, Response, ask};
use crate::support::content::assert_same_bytes;
use crate::support::edge::Setup;
use crate::support::node::LocalNode;
use crate::support::origin::{Answer, Origin, Recorded};
use crate::support::wait::{Gate, within};

pub(super) const PATH: &str = "/live/v.m3u8";

/// A live playlist with three whole segments before this one, and so many parts of it.
pub(super) fn playlist(next: u64, parts: u64, more: &str) -> String {
    let segments: String = (next - 3..next).map(|msn| format!("#EXTINF:2,\n{msn}.m4s\n")).collect();
    let parts: String =
        (0..parts).map(|part| format!("#EXT-X-PART:DURATION=0.5,URI=\"{next}.{part}.m4s\"\n")).collect();
    format!(
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=12,PART-HOLD-BACK=1.5\n\
         #EXT-X-PART-INF:PART-TARGET=0.5\n#EXT-X-MEDIA-SEQUENCE:{}\n{segments}{parts}{more}",
        next - 3
    )
}

/// The value of a parameter of a request.
fn parameter(request: &Recorded, name: &str) -> Option<u64> {
    let query = request.target.split_once('?')?.1;
    query.split('&').find_map(|parameter| parameter.strip_prefix(name)?.parse().ok())
}

/// What a request waits for.
pub(super) fn waits_for(request: &Recorded) -> Option<(u64, u64)> {
    Some((parameter(request, "_HLS_msn=")?, parameter(request, "_HLS_part=").unwrap_or_default()))
}

/// Gates by what is waited for; one that nobody has made is open.
#[derive(Clone, Default)]
struct Gates(Arc<Mutex<HashMap<(u64, u64), Gate>>>);

impl Gates {
    fn close(&self, msn: u64, part: u64) -> Gate {
        let gate = Gate::closed();
        self.0.lock().expect("gates").insert((msn, part), gate.clone());
        gate
    }

    fn before(&self, answer: Answer, wanted: (u64, u64)) -> Answer {
        match self.0.lock().expect("gates").get(&wanted) {
            Some(gate) => answer.hold(gate),
            None => answer,
        }
    }
}

/// An origin that honours blocking reload: the playlist has two parts of segment 10, or what is asked for, once its
/// gate is open.
async fn low_latency_origin() -> (Origin, Gates) {
    let (origin, gates) = (Origin::start().await, Gates::default());
    let held = gates.clone();
    origin.script(PATH, move |request, nth| match waits_for(request) {
        Some((msn, part)) => {
            let text = playlist(msn, part + 1, &format!("## {nth} {}\n", request.target));
            held.before(Answer::ok(text), (msn, part))
        }
        None => Answer::ok(playlist(10, 2, "## plain\n")),
    });
    (origin, gates)
}

pub(super) fn standing_clock() -> Clock {
    Clock::manual(SystemTime::now())
}

pub(super) fn reload(msn: u64, part: u64) -> String {
    format!("{PATH}?_HLS_msn={msn}&_HLS_part={part}")
}

async fn open(node: &LocalNode, target: &str) -> Http1 {
    let mut connection = Http1::connect(node.http()).await;
    connection.send(&Request::get(target)).await;
    connection
}

pub(super) fn text(response: &Response) -> String {
    String::from_utf8_lossy(response.whole()).into_owned()
}

/// Waits until so many requests are parked, and no more.
async fn parked(node: &LocalNode, count: usize) {
    let gauge = async || node.metrics().await.sum("forebay_parked_requests", &[]);
    within(&format!("{count} parked requests"), async {
        while gauge().await != count as f64 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// The reason in a refusal's body.
fn reason(response: &Response) -> String {
    text(response).trim_end().to_owned()
}

/// Viewers who wait for the same are one origin request, however they spell it; what is waited for tells them apart. All who wait
/// for one are answered with the same bytes.
#[tokio::test]
async fn each_part_that_is_waited_for_is_one_origin_request() {
    let (origin, gates) = low_latency_origin().await;
    let held = [gates.close(10, 2), gates.close(10, 3)];
    let node = LocalNode::start_at(&Setup::before(&origin), standing_clock());
    assert_eq!(node.get(PATH).await.outcome(), "miss");
    let spellings = [
        format!("{PATH}?_HLS_msn=10&_HLS_part=2"),
        format!("{PATH}?_HLS_part=02&_HLS_msn=0010"),
        format!("{PATH}?%5FHLS_msn=%310&_HLS_part=2&CMCD=sid"),
    ];
    let other = reload(10, 3);
    let mut viewers = Vec::new();
    for place in 0..32 {
        let target = spellings.get(place % 4).unwrap_or(&other);
        viewers.push((place % 4, open(&node, target).await));
    }
    parked(&node, 32).await;
    origin.await_requests(PATH, 3).await;
    held[0].open();
    let mut answers: [Option<Response>; 2] = [None, None];
    // First those who wait for less: an answer that comes after one which goes further would be the older one.
    viewers.sort_by_key(|(place, _)| *place);
    for (place, mut connection) in viewers {
        if place == 3 {
            held[1].open();
        }
        let response = within("an answer", connection.response("GET")).await;
        assert_eq!(response.status(), 200);
        let of = place.saturating_sub(2);
        assert_eq!(text(&response).matches("#EXT-X-PART:").count(), 3 + of, "for {place}");
        let first = answers[of].get_or_insert(response.clone());
        assert_same_bytes(response.whole(), first.whole(), "what all of them wait for");
    }
    parked(&node, 0).await;
    assert_eq!(origin.requests(PATH), 3, "the plain one, and two distinct ones");
    node.stop().await;
}

/// One origin answer wakes all who wait for as much or less, whatever they have asked with; nobody asks again.
#[tokio::test]
async fn an_answer_that_goes_further_wakes_all_who_wait_for_less() {
    let (origin, gates) = low_latency_origin().await;
    let (slow, last) = (gates.close(10, 2), gates.close(10, 4));
    let node = LocalNode::start_at(&Setup::before(&origin), standing_clock());
    node.get(PATH).await;
    let mut viewers = Vec::new();
    for place in 0..20 {
        viewers.push(open(&node, &reload(10, 2 + place % 2 * 2)).await);
    }
    parked(&node, 20).await;
    origin.await_requests(PATH, 3).await;
    last.open();
    let mut outcomes = HashMap::new();
    let mut first = None;
    for mut connection in viewers {
        let response = within("an answer", connection.response("GET")).await;
        *outcomes.entry(response.outcome().to_owned()).or_insert(0) += 1;
        let first = first.get_or_insert(response.clone());
        assert_same_bytes(response.whole(), first.whole(), "the playlist with part 4");
    }
    assert_eq!(outcomes, HashMap::from([("miss".to_owned(), 1), ("coalesced".to_owned(), 19)]));
    assert_eq!(first.map(|first| text(&first).matches("#EXT-X-PART:").count()), Some(5));
    assert_eq!(origin.requests(PATH), 3);
    slow.open();
    node.stop().await;
}

/// A reload for what is held already is a hit, at once, from the copy that goes furthest.
#[tokio::test]
async fn what_is_held_already_is_not_waited_for() {
    let (origin, _) = low_latency_origin().await;
    let node = LocalNode::start_at(&Setup::before(&origin), standing_clock());
    node.get(PATH).await;
    assert_eq!(node.get(&reload(10, 3)).await.outcome(), "miss");
    let asked = origin.requests(PATH);
    for target in [reload(10, 3), reload(10, 0), reload(9, 99), format!("{PATH}?_HLS_msn=9")] {
        let response = node.get(&target).await;
        assert_eq!((response.status(), response.outcome()), (200, "hit"), "{target}");
        assert_eq!(text(&response).matches("#EXT-X-PART:").count(), 4, "{target}");
    }
    assert_eq!(origin.requests(PATH), asked);
    // A delta update is made of it.
    assert_eq!(node.get(&format!("{PATH}?_HLS_msn=10&_HLS_part=3&_HLS_skip=YES")).await.outcome(), "hit");
    assert_eq!(node.get(&format!("{PATH}?_HLS_msn=10&_HLS_part=1&_HLS_skip=YES")).await.outcome(), "hit");
    assert_eq!(node.get(&reload(10, 3)).await.whole(), node.get(&reload(10, 1)).await.whole());
    assert!(!text(&node.get(&reload(10, 3)).await).contains("_HLS_skip"));
    // What is not known here may change the answer.
    assert_eq!(node.get(&format!("{PATH}?_HLS_msn=10&_HLS_part=3&_HLS_new=1")).await.outcome(), "miss");
    assert_eq!(origin.requests(PATH), asked + 1);
    node.stop().await;
}

/// Whoever begins to watch asks without directives, and gets the newest playlist that is held, whoever it was fetched for;
/// it may be kept for no longer than a plain one.
#[tokio::test]
async fn a_plain_request_gets_the_newest_playlist_that_is_held() {
    let (origin, _) = low_latency_origin().await;
    let clock = standing_clock();
    let node = LocalNode::start_at(&Setup::before(&origin), clock.clone());
    let parts = |response: &Response| text(response).matches("#EXT-X-PART:").count();
    let first = node.get(PATH).await;
    assert_eq!(parts(&first), 2);
    // An update is not the playlist in full.
    node.get(&format!("{}&_HLS_skip=YES", reload(10, 2))).await;
    assert_eq!(parts(&node.get(PATH).await), 2);
    let newest = node.get(&reload(10, 3)).await;
    let asked = origin.requests(PATH);
    clock.advance(Duration::from_millis(500));
    for target in [PATH, PATH] {
        let plain = node.get(target).await;
        assert_eq!((plain.outcome(), parts(&plain)), ("hit", 4));
        assert_same_bytes(plain.whole(), newest.whole(), "the newest");
        assert_eq!(plain.get("cache-control"), first.get("cache-control"));
        assert_ne!(plain.get("cache-control"), newest.get("cache-control"));
    }
    assert_eq!(origin.requests(PATH), asked);
    // The plain one has been used for as long as it may be: it is asked for again, as if there were no newer one.
    clock.advance(Duration::from_millis(600));
    assert_eq!((node.get(PATH).await.outcome(), parts(&node.get(PATH).await)), ("hit_stale", 4));
    origin.await_requests(PATH, asked + 1).await;
    assert_eq!(origin.last(PATH).target, PATH);
    node.stop().await;
}

/// What the playlist cannot have for long is refused, and the origin not asked; after some time without requests it may
/// have come.
#[tokio::test]
async fn a_reload_beyond_the_bound_is_refused() {
    let (origin, _) = low_latency_origin().await;
    let clock = standing_clock();
    let node = LocalNode::start_at(&Setup::before(&origin), clock.clone());
    node.get(PATH).await;
    let far = [format!("{PATH}?_HLS_msn=12"), reload(10, 8), reload(11, 6), reload(u64::MAX, u64::MAX)];
    for target in &far {
        let response = node.get(target).await;
        assert_eq!((response.status(), reason(&response).as_str()), (400, "hls_beyond"), "{target}");
        assert_eq!(response.get("cache-control"), Some("no-store"));
    }
    assert_eq!(origin.requests(PATH), 1);
    for near in [reload(10, 7), format!("{PATH}?_HLS_msn=11")] {
        assert_eq!(node.get(&near).await.outcome(), "miss", "{near}");
    }
    clock.advance(Duration::from_secs(60));
    assert_eq!(node.get(&format!("{PATH}?_HLS_msn=500")).await.status(), 200);
    assert_eq!(node.get(&format!("{PATH}?_HLS_msn=900")).await.status(), 400);
    assert_eq!(origin.requests(PATH), 4);
    node.stop().await;
}

/// Directives that cannot be understood are refused with the reason.
#[tokio::test]
async fn directives_that_cannot_be_understood_are_refused() {
    let (origin, _) = low_latency_origin().await;
    let node = LocalNode::start_at(&Setup::before(&origin), standing_clock());
    for (query, word) in [
        ("_HLS_msn=x", "hls_number"),
        ("_HLS_msn=", "hls_number"),
        ("_HLS_msn=1&_HLS_msn=2", "hls_number"),
        ("_HLS_msn=99999999999999999999", "hls_number"),
        ("_HLS_part=1", "hls_part_alone"),
        ("_HLS_msn=1&_HLS_skip=maybe", "hls_skip"),
    ] {
        let response = node.get(&format!("{PATH}?{query}")).await;
        assert_eq!((response.status(), reason(&response).as_str()), (400, word), "{query}");
        assert_eq!(response.outcome(), "denied");
    }
    let mut connection = open(&node, &format!("{PATH}?_HLS_part=1")).await;
    assert_eq!(connection.response("GET").await.status(), 400);
    assert_eq!(connection.ask(&Request::get("/other")).await.status(), 404, "the connection goes on");
    assert_eq!(origin.requests(PATH), 0);
    node.stop().await;
}

/// A playlist that has ended is sent whatever is asked of it, also to who waits when it ends.
#[tokio::test]
async fn an_ended_playlist_is_sent_whatever_is_asked_of_it() {
    let (origin, gates) = (Origin::start().await, Gates::default());
    let (held, end) = (gates.clone(), gates.close(10, 3));
    let _never = gates.close(11, 0);
    origin.script(PATH, move |request, _| match waits_for(request) {
        Some(wanted) => held.before(Answer::ok(playlist(10, 4, "#EXT-X-ENDLIST\n")), wanted),
        None => Answer::ok(playlist(10, 2, "")),
    });
    let node = LocalNode::start_at(&Setup::before(&origin), standing_clock());
    node.get(PATH).await;
    let mut waiting = vec![open(&node, &reload(10, 3)).await, open(&node, &reload(11, 0)).await];
    parked(&node, 2).await;
    origin.await_requests(PATH, 3).await;
    end.open();
    for connection in &mut waiting {
        let response = within("the end", connection.response("GET")).await;
        assert!(text(&response).ends_with("#EXT-X-ENDLIST\n"));
    }
    for query in ["_HLS_msn=10", "_HLS_msn=5000&_HLS_part=7", "_HLS_msn=x", "_HLS_skip=YES", "_HLS_part=1"] {
        let response = node.get(&format!("{PATH}?{query}")).await;
        assert_eq!((response.status(), response.outcome()), (200, "hit"), "{query}");
        assert!(text(&response).ends_with("#EXT-X-ENDLIST\n"));
    }
    assert_eq!(origin.requests(PATH), 3);
    node.stop().await;
}

/// After three target durations a hold ends: with 503, or as the rule says with the last good playlist. Neither the
/// time that others' fetches are waited for nor that of the origin's first byte ends it before.
#[tokio::test]
async fn a_hold_ends_at_its_deadline() {
    let (origin, gates) = low_latency_origin().await;
    let _never = gates.close(10, 2);
    let quick = Setup::before(&origin)
        .limits("coalesce_wait = \"1s\"")
        .origin("timeouts = { first_byte = \"2s\", between_bytes = \"2s\" }");
    let error = LocalNode::start_at(&quick, standing_clock());
    let stale = quick.clone().site("rule = [{ path = \"/live/*\", low_latency = { late = \"stale\" } }]");
    let stale = LocalNode::start_at(&stale, standing_clock());
    let plain = error.get(PATH).await;
    stale.get(PATH).await;
    let mut waiting = Vec::new();
    for node in [&error, &error, &stale, &stale] {
        waiting.push(open(node, &reload(10, 2)).await);
    }
    for (place, mut connection) in waiting.into_iter().enumerate() {
        let response = within("the deadline", connection.response("GET")).await;
        if place < 2 {
            assert_eq!((response.status(), reason(&response).as_str()), (503, "hold_deadline"));
            assert_eq!(response.get("retry-after"), Some("1"));
        } else {
            assert_eq!((response.status(), response.outcome()), (200, "hit_stale"));
            assert_same_bytes(response.whole(), plain.whole(), "the last good playlist");
        }
    }
    for node in [error, stale] {
        parked(&node, 0).await;
        assert_eq!(node.metrics().await.sum("forebay_late_holds_total", &[]), 2.0);
        node.stop().await;
    }
    // Each node had the plain one and one that is held, which the deadline of its viewers did not end.
    assert_eq!(origin.requests(PATH), 4);
}

/// So many requests are held of one client, and so many of all; a further one is told to come again, and everybody else
/// is served.
#[tokio::test]
async fn parked_requests_are_bounded_by_client_and_in_all() {
    let (origin, gates) = low_latency_origin().await;
    let gate = gates.close(10, 2);
    let setup = Setup::before(&origin)
        .limits("parked = 3\nparked_per_client = 2")
        .server("trusted_proxies = [\"127.0.0.1/32\"]");
    let node = LocalNode::start_at(&setup, standing_clock());
    node.get(PATH).await;
    let from = |client: &str| Request::get(&reload(10, 2)).header("x-forwarded-for", client);
    let mut waiting = Vec::new();
    for client in ["2001:db8:0:1::1", "2001:db8:0:1::2"] {
        let mut connection = Http1::connect(node.http()).await;
        connection.send(&from(client)).await;
        waiting.push(connection);
    }
    parked(&node, 2).await;
    let refused = ask(node.http(), &from("2001:db8:0:1:ffff::3")).await;
    assert_eq!((refused.status(), reason(&refused).as_str()), (503, "parked_per_client"));
    assert_eq!(refused.get("retry-after"), Some("1"));
    let mut third = Http1::connect(node.http()).await;
    third.send(&from("192.0.2.1")).await;
    waiting.push(third);
    parked(&node, 3).await;
    let refused = ask(node.http(), &from("192.0.2.2")).await;
    assert_eq!((refused.status(), reason(&refused).as_str()), (503, "parked"));
    assert_eq!(node.get(PATH).await.outcome(), "hit", "what need not wait is no parked request");
    let metrics = node.metrics().await;
    for word in ["parked", "parked_per_client"] {
        assert_eq!(metrics.sum("forebay_parking_refused_total", &[("reason", word)]), 1.0, "{word}");
    }
    gate.open();
    for mut connection in waiting {
        assert_eq!(within("an answer", connection.response("GET")).await.status(), 200);
    }
    parked(&node, 0).await;
    assert_eq!(origin.requests(PATH), 2);
    node.stop().await;
}

/// An origin that announces blocking reload and answers at once: viewers get what it has, and who asks again within that
/// playlist's time gets the same without asking the origin; afterwards it is asked again.
#[tokio::test]
async fn an_origin_that_answers_early_is_not_asked_in_a_loop() {
    let origin = Origin::start().await;
    origin.script(PATH, |_, nth| Answer::ok(playlist(10, 2, &format!("## {nth}\n"))));
    let clock = standing_clock();
    let node = LocalNode::start_at(&Setup::before(&origin), clock.clone());
    node.get(PATH).await;
    let early = node.get(&reload(10, 2)).await;
    assert_eq!((early.status(), early.outcome()), (200, "miss"));
    for _ in 0..20 {
        let again = node.get(&reload(10, 2)).await;
        assert_eq!(again.outcome(), "hit");
        assert_same_bytes(again.whole(), early.whole(), "the early answer");
    }
    assert_eq!(origin.requests(PATH), 2);
    // Half a target duration, as any live playlist; a stale one has not grown, and is no answer to this.
    clock.advance(Duration::from_millis(1001));
    assert_eq!(node.get(&reload(10, 2)).await.outcome(), "miss");
    assert_eq!(origin.requests(PATH), 3);
    node.stop().await;
}

/// A viewer that closes its connection is neither counted nor held any more; the fetch goes on, and the next viewer
/// finds its answer.
#[tokio::test]
async fn a_viewer_that_leaves_is_not_held_over_http1() {
    let (origin, gates) = low_latency_origin().await;
    let gate = gates.close(10, 2);
    let node = LocalNode::start_at(&Setup::before(&origin), standing_clock());
    node.get(PATH).await;
    let waiting = [open(&node, &reload(10, 2)).await, open(&node, &reload(10, 2)).await];
    parked(&node, 2).await;
    origin.await_requests(PATH, 2).await;
    let [first, second] = waiting;
    drop(first);
    parked(&node, 1).await;
    drop(second);
    parked(&node, 0).await;
    gate.open();
    within("the answer in the cache", async {
        while node.get(&format!("{PATH}?_HLS_msn=10&_HLS_part=2")).await.outcome() != "hit" {}
    })
    .await;
    assert_eq!(origin.requests(PATH), 2);
    node.stop().await;
}

/// The same of a viewer that resets its stream, while another stream of the connection is held on.
#[tokio::test]
async fn a_viewer_that_leaves_is_not_held_over_http2() {
    let (origin, gates) = low_latency_origin().await;
    let gate = gates.close(10, 2);
    let node = LocalNode::start_at(&Setup::before(&origin).server("h2c = true"), standing_clock());
    let connection = Http2::connect(node.http()).await;
    connection.get(PATH).await;
    let wait = || {
        let connection = connection.clone();
        tokio::spawn(async move { connection.get(&reload(10, 2)).await })
    };
    let (leaving, staying) = (wait(), wait());
    parked(&node, 2).await;
    leaving.abort();
    parked(&node, 1).await;
    gate.open();
    let response = within("the answer", staying).await.expect("no panic");
    assert_eq!(response.status(), 200);
    parked(&node, 0).await;
    assert_eq!(origin.requests(PATH), 2);
    node.stop().await;
}

/// A request that a client sends while another one of its connection is held is answered after that.
#[tokio::test]
async fn a_request_behind_a_held_one_is_answered_after_it() {
    let (origin, gates) = low_latency_origin().await;
    let gate = gates.close(10, 2);
    let node = LocalNode::start_at(&Setup::before(&origin), standing_clock());
    let first = node.get(PATH).await;
    let mut connection = open(&node, &reload(10, 2)).await;
    parked(&node, 1).await;
    connection.send(&Request::get(PATH)).await;
    connection.send(&Request::get(&reload(10, 1))).await;
    gate.open();
    let held = within("the held answer", connection.response("GET")).await;
    assert!(text(&held).contains("_HLS_part=2"), "{}", text(&held));
    let plain = within("the next answer", connection.response("GET")).await;
    // The same playlist by then, and kept as a plain one is.
    assert_eq!(plain.get("cache-control"), first.get("cache-control"));
    assert_ne!(plain.get("cache-control"), held.get("cache-control"));
    assert_eq!(within("the last answer", connection.response("GET")).await.status(), 200);
    node.stop().await;
}

/// A purge that comes while viewers are held: what was fetched before it answers nobody who only waits, and nobody who
/// comes afterwards.
#[tokio::test]
async fn a_held_viewer_gets_nothing_older_than_a_purge() {
    let (origin, gates) = low_latency_origin().await;
    let gate = gates.close(10, 2);
    let node = LocalNode::start_at(&Setup::before(&origin), standing_clock());
    node.get(PATH).await;
    let mut first = open(&node, &reload(10, 2)).await;
    origin.await_requests(PATH, 2).await;
    let mut second = open(&node, &reload(10, 2)).await;
    parked(&node, 2).await;
    let order = json!({ "prefix": "http://edge.test/live/", "mode": "hard" }).to_string();
    assert_eq!(ask(node.admin(), &Request::new("POST", "/purge").body(order)).await.status(), 200);
    gate.open();
    let first = within("the first answer", first.response("GET")).await;
    assert!(text(&first).contains("## 1 "), "it started this fetch: {}", text(&first));
    let second = within("the second answer", second.response("GET")).await;
    assert!(text(&second).contains("## 2 "), "a fetch of after the purge: {}", text(&second));
    let third = node.get(&reload(10, 1)).await;
    assert_same_bytes(third.whole(), second.whole(), "what is held of after the purge");
    assert_eq!(origin.requests(PATH), 3);
    node.stop().await;
}

/// A fetch that fails wakes all who wait: with the last good playlist, as long as that may be sent when the origin fails,
/// else with the failure.
#[tokio::test]
async fn a_fetch_that_fails_wakes_all_who_wait() {
    for status in [Some(503), None] {
        let (origin, gates) = (Origin::start().await, Gates::default());
        let (held, gate) = (gates.clone(), gates.close(10, 2));
        origin.script(PATH, move |request, _| match waits_for(request) {
            Some(wanted) => {
                let failing = status.map_or(Answer::raw(&b"nonsense"[..]), Answer::status);
                held.before(failing, wanted)
            }
            None => Answer::ok(playlist(10, 2, "")),
        });
        let rule = "rule = [{ path = \"*\", stale_if_error = \"0s\", stale_while_revalidate = \"0s\" }]";
        let bridging =
            LocalNode::start_at(&Setup::before(&origin).origin("retry = { attempts = 1 }"), standing_clock());
        let clock = standing_clock();
        let strict = Setup::before(&origin).origin("retry = { attempts = 1 }").site(rule);
        let strict = LocalNode::start_at(&strict, clock.clone());
        let plain = bridging.get(PATH).await;
        strict.get(PATH).await;
        clock.advance(Duration::from_millis(1001));
        let mut waiting = Vec::new();
        for node in [&bridging, &bridging, &strict, &strict] {
            waiting.push(open(node, &reload(10, 2)).await);
        }
        parked(&bridging, 2).await;
        parked(&strict, 2).await;
        gate.open();
        for (place, mut connection) in waiting.into_iter().enumerate() {
            let response = within("an answer", connection.response("GET")).await;
            if place < 2 {
                assert_eq!((response.status(), response.outcome()), (200, "hit_stale"), "{status:?}");
                assert_same_bytes(response.whole(), plain.whole(), "the last good playlist");
            } else {
                assert_eq!(response.status(), status.unwrap_or(502), "{status:?}");
            }
        }
        bridging.stop().await;
        strict.stop().await;
    }
}

/// A playlist that is served while it is fetched anew is fetched once, whatever of it viewers ask for.
#[tokio::test]
async fn a_stale_playlist_is_fetched_anew_once_whatever_is_asked_for_of_it() {
    let (origin, gate) = (Origin::start().await, Gate::closed());
    let held = gate.clone();
    origin.script(PATH, move |_, nth| {
        let answer = Answer::ok(playlist(10, 2, ""));
        if nth == 0 { answer } else { answer.hold(&held) }
    });
    let clock = standing_clock();
    let node = LocalNode::start_at(&Setup::before(&origin), clock.clone());
    let plain = node.get(PATH).await;
    clock.advance(Duration::from_millis(1100));
    for msn in 0..10 {
        let response = node.get(&reload(msn, 0)).await;
        assert_eq!(response.outcome(), "hit_stale", "{msn}");
        assert_same_bytes(response.whole(), plain.whole(), "what is held");
    }
    origin.await_requests(PATH, 2).await;
    assert_eq!(node.get(&reload(7, 3)).await.outcome(), "hit_stale");
    assert_eq!(origin.requests(PATH), 2);
    assert_eq!(origin.last(PATH).target, PATH);
    gate.open();
    node.stop().await;
}

/// A stream that begins anew ends all holds, whoever has asked for it.
#[tokio::test]
async fn a_stream_that_begins_anew_releases_those_who_wait() {
    let origin = Origin::start().await;
    let never = Gate::closed();
    origin.script(PATH, move |request, nth| match waits_for(request) {
        Some(_) => Answer::ok("").hold(&never),
        None if nth == 0 => Answer::ok(playlist(100, 2, "")),
        None => Answer::ok(playlist(10, 2, "#EXT-X-DISCONTINUITY\n")),
    });
    let clock = standing_clock();
    let node = LocalNode::start_at(&Setup::before(&origin), clock.clone());
    node.get(PATH).await;
    let mut waiting = open(&node, &reload(100, 2)).await;
    parked(&node, 1).await;
    clock.advance(Duration::from_secs(10));
    let anew = node.get(PATH).await;
    assert!(text(&anew).ends_with("#EXT-X-DISCONTINUITY\n"), "{}", text(&anew));
    // Sooner than its deadline.
    let response = within("the new stream", waiting.response("GET")).await;
    assert_same_bytes(response.whole(), anew.whole(), "the new stream");
    node.stop().await;
}

/// Reloads that an origin holds take half of its connections and of the queue for them at most: a segment always gets one,
/// or a place to wait for it.
#[tokio::test]
async fn held_reloads_leave_half_of_the_origins_connections_and_queue() {
    let (origin, never, segments) = (Origin::start().await, Gate::closed(), Gate::closed());
    let held = segments.clone();
    origin.otherwise(move |request, _| {
        let gate = if waits_for(request).is_some() { &never } else { &held };
        Answer::ok("here").cache_control("max-age=60").hold(gate)
    });
    let limits = "limits = { connections = 4, queue = \"60s\", queue_length = 2 }";
    let node = LocalNode::start_at(&Setup::before(&origin).origin(limits), standing_clock());
    let mut waiting = Vec::new();
    for number in 0..3 {
        waiting.push(open(&node, &format!("/{number}.m3u8?_HLS_msn=1")).await);
    }
    node.await_metric("forebay_origin_queued_requests", &[], 1.0).await;
    let refused = within("a refusal", node.get("/3.m3u8?_HLS_msn=1")).await;
    assert_eq!((refused.status(), reason(&refused).as_str()), (503, "queue_full"));
    let mut served = Vec::new();
    for number in 0..2 {
        let path = format!("/{number}.m4s");
        served.push(open(&node, &path).await);
        origin.await_requests(&path, 1).await;
    }
    served.push(open(&node, "/2.m4s").await);
    node.await_metric("forebay_origin_queued_requests", &[], 2.0).await;
    segments.open();
    for mut connection in served {
        assert_eq!(within("a segment", connection.response("GET")).await.status(), 200);
    }
    assert_eq!(origin.recorded().len(), 5);
    node.stop().await;
}

/// Directives are for playlists: the origin of anything else is not waited for any longer.
#[tokio::test]
async fn what_is_no_playlist_is_not_held() {
    let (origin, never) = (Origin::start().await, Gate::closed());
    origin.on("/live/9.m4s", Answer::ok("").hold(&never));
    let quick = "timeouts = { first_byte = \"200ms\", between_bytes = \"200ms\" }\nretry = { attempts = 1 }";
    let node = LocalNode::start_at(&Setup::before(&origin).origin(quick), standing_clock());
    let began = Instant::now();
    assert_eq!(node.get("/live/9.m4s?_HLS_msn=9").await.status(), 504);
    assert!(began.elapsed() < Duration::from_secs(15), "a hold would take 18 s: {:?}", began.elapsed());
    node.stop().await;
}

/// The same of a real source: each part that somebody waits for is asked for once, and comes when it exists.
#[tokio::test]
async fn viewers_of_the_demo_stream_share_each_part_they_wait_for() {
    const TARGET: &str = "/ll/360p/index.m3u8";
    let clock = standing_clock();
    let demo = DemoOrigin::new(clock.clone()).expect("the demo's media");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let serving = tokio::spawn({
        let demo = demo.clone();
        async move { demo.serve(listener, std::future::pending()).await }
    });
    let node = LocalNode::start_at(&Setup::with_servers(&[format!("http://{address}")]), clock.clone());
    let plain = node.get(TARGET).await;
    assert_eq!(plain.status(), 200, "{}", text(&plain));
    let (mut segment, mut part) = demo.edge().last_part();
    for round in 1..=8_u64 {
        // A part beyond the last one of a segment is the first one of the next.
        let target = format!("{TARGET}?_HLS_msn={segment}&_HLS_part={}", part + 1);
        (segment, part) =
            if part + 1 < PARTS_PER_SEGMENT as u64 { (segment, part + 1) } else { (segment + 1, 0) };
        let mut viewers = Vec::new();
        for _ in 0..5 {
            viewers.push(open(&node, &target).await);
        }
        parked(&node, 5).await;
        clock.advance(PART_DURATION);
        let mut first = None;
        for mut connection in viewers {
            let response = within("a part", connection.response("GET")).await;
            assert_eq!(response.status(), 200);
            let named = format!("seg-{segment}.part{part}.m4s");
            assert!(text(&response).contains(&named), "{named} in {}", text(&response));
            let first = first.get_or_insert(response.clone());
            assert_same_bytes(response.whole(), first.whole(), "the same playlist");
        }
        assert_eq!(demo.requests(TARGET), 1 + round);
    }
    node.stop().await;
    serving.abort();
}

/// What the origin has put in a playlist's place is not passed over for an older playlist.
#[tokio::test]
async fn a_plain_request_gets_what_stands_in_the_playlists_place() {
    let (origin, _) = low_latency_origin().await;
    let clock = standing_clock();
    let node = LocalNode::start_at(&Setup::before(&origin), clock.clone());
    node.get(PATH).await;
    node.get(&reload(10, 3)).await;
    for instead in [Answer::status(404), Answer::status(302).header("location", "/other.m3u8")] {
        origin.on(PATH, instead.cache_control("max-age=60"));
        clock.advance(Duration::from_secs(8));
        let first = node.get(PATH).await;
        let again = node.get(PATH).await;
        assert_eq!((again.status(), again.outcome()), (first.status(), "hit"), "{:?}", first.head);
        clock.advance(Duration::from_secs(60));
    }
    node.stop().await;
}
