//! Plain live playlists that the node makes low-latency features for: reloads that it holds, delta updates that it makes.
//!
//! Time is the machine's, and decides nothing: origins move on when the test says so, and what is bounded in time is
//! compared with the time that has passed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinSet;

use crate::support::client::{Request, Response, ask};
use crate::support::edge::{Edge, Setup};
use crate::support::origin::{Answer, Origin};
use crate::support::signing::{KEY_HEX, now, sign};
use crate::support::wait::{Gate, within};

const PATH: &str = "/live/v/index.m3u8";

/// Segments that the playlist lists.
const LISTED: usize = 20;

/// The shortest time between two polls, in seconds.
const POLL_FLOOR: f64 = 0.25;

/// An origin with a live playlist that grows when a test says so: `next` is the number of its next segment. It does
/// nothing of what it is asked for by directives.
struct Live {
    origin: Origin,
    next: Arc<AtomicUsize>,
}

/// The text that the origin has, with lines for the whole playlist. Reloads are held for three target durations, and
/// polls are paced by parts, so that a slow machine has a minute where a test wants a quarter of a second.
fn text(next: usize, more: &str) -> String {
    let first = next - LISTED;
    let segments: String = (first..next).map(|n| format!("#EXTINF:20,\nseg{n}.ts\n")).collect();
    format!(
        "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:20\n{more}#EXT-X-MEDIA-SEQUENCE:{first}\n\
         #EXT-X-PART-INF:PART-TARGET=1\n{segments}"
    )
}

/// The line that announces both.
const BOTH: &str = "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=120.0\n";

/// What the node makes of [`text`].
fn announced(next: usize) -> String {
    text(next, BOTH)
}

/// The delta update of [`announced`]: the last seven segments, the first of which begins beyond the boundary.
fn update(next: usize) -> String {
    let full = announced(next).replace("VERSION:6", "VERSION:9");
    let (first, kept) = (next - LISTED, next - 7);
    let (head, tail) = full.split_at(full.find("#EXTINF").unwrap());
    let rest = &tail[tail.find(&format!("#EXTINF:20,\nseg{kept}.ts")).unwrap()..];
    format!("{head}#EXT-X-SKIP:SKIPPED-SEGMENTS={}\n{rest}", kept - first)
}

/// A client's playlist: an update, with the segments that it leaves out taken from what the client holds.
fn merged(held: &str, update: &str) -> String {
    let (before, after) = update.split_once("#EXT-X-SKIP:SKIPPED-SEGMENTS=").expect("an update");
    let (count, after) = after.split_once('\n').expect("a line");
    let first: usize =
        before.split("MEDIA-SEQUENCE:").nth(1).unwrap().lines().next().unwrap().parse().unwrap();
    let skipped: String = (first..first + count.parse::<usize>().unwrap())
        .map(|n| {
            let segment = format!("#EXTINF:20,\nseg{n}.ts\n");
            assert!(held.contains(&segment), "the client does not hold segment {n}");
            segment
        })
        .collect();
    format!("{before}{skipped}{after}").replace("VERSION:9", "VERSION:6")
}

impl Live {
    async fn start() -> Live {
        let (origin, next) = (Origin::start().await, Arc::new(AtomicUsize::new(100)));
        let has = Arc::clone(&next);
        origin.script(PATH, move |_, _| {
            let next = has.load(Ordering::Acquire);
            Answer::ok(text(next, ""))
                .etag(&format!("\"v{next}\""))
                .header("content-digest", "sha-256=:AA==:")
        });
        Live { origin, next }
    }

    fn grow(&self) -> usize {
        self.next.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// No request for the playlist had a directive in it.
    fn assert_undirected(&self) {
        let targets: Vec<String> =
            self.origin.recorded().iter().map(|request| request.target.clone()).collect();
        assert!(targets.iter().all(|target| !target.contains("_HLS_")), "{targets:?}");
    }
}

fn setup(live: &Live, low_latency: &str) -> Setup {
    let rule = format!("[[site.rule]]\nlow_latency = {{ {low_latency} }}");
    Setup::before(&live.origin).hosts("[\"edge.test\", \"*\"]").more(&rule)
}

async fn node(live: &Live) -> Edge {
    setup(live, "reload = \"edge\", delta = \"edge\"").start().await
}

#[track_caller]
fn assert_text(response: &Response, expected: &str) {
    assert_eq!(response.status(), 200, "{:?}", response.head);
    assert_eq!(String::from_utf8_lossy(response.whole()), expected);
    assert_eq!(response.get("content-length"), Some(expected.len().to_string().as_str()));
}

/// Under the rule, what the node does is announced in the playlist that it keeps, and no other line changes; digests of the
/// origin's bytes go. Without the rule no byte changes.
#[tokio::test]
async fn what_the_node_does_is_announced_where_the_rule_says_so() {
    let live = Live::start().await;
    let edge = node(&live).await;
    for outcome in ["miss", "hit"] {
        let response = edge.get(PATH).await;
        assert_eq!(response.outcome(), outcome);
        assert_text(&response, &announced(100));
        assert_eq!(response.get("content-digest"), None);
    }
    let edge = setup(&live, "reload = \"edge\"").start().await;
    let line = "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES\n";
    assert_text(&edge.get(PATH).await, &text(100, line));
    let edge = Setup::before(&live.origin).start().await;
    let response = edge.get(PATH).await;
    assert_text(&response, &text(100, ""));
    assert!(response.get("content-digest").is_some());
}

/// Two hundred viewers wait for the next segment: the origin is asked by one poll at a time, never with a directive, and
/// seldom; the poll that sees the segment wakes them all. Polls of a playlist that has not changed are conditional.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn viewers_who_wait_share_one_poll_at_a_time_and_are_woken_by_the_one_that_sees_more() {
    const VIEWERS: usize = 200;
    let live = Live::start().await;
    let edge = node(&live).await;
    assert_text(&edge.get(PATH).await, &announced(100));
    let began = Instant::now();
    let mut viewers = JoinSet::new();
    for viewer in 0..VIEWERS {
        let address = edge.http();
        let target = match viewer % 4 {
            0 => format!("{PATH}?_HLS_msn=100"),
            1 => format!("{PATH}?_HLS_msn=100&_HLS_part=0"),
            2 => format!("{PATH}?_HLS_skip=YES&_HLS_msn=100"),
            _ => format!("{PATH}?_HLS_msn=100&_HLS_new=1"),
        };
        viewers.spawn(async move { (viewer, ask(address, &Request::get(&target)).await) });
    }
    live.origin.await_requests(PATH, 4).await;
    assert!(viewers.try_join_next().is_none(), "a viewer was not held");
    assert_eq!(live.origin.last(PATH).header("if-none-match"), Some("\"v100\""));
    assert_eq!(live.grow(), 101);
    while let Some(answered) = viewers.join_next().await {
        let (viewer, response) = answered.expect("a viewer");
        assert_text(&response, &if viewer % 4 == 2 { update(101) } else { announced(101) });
    }
    let polls = live.origin.requests(PATH) - 1;
    let most = began.elapsed().as_secs_f64() / POLL_FLOOR + 1.0;
    assert!(f64::from(u32::try_from(polls).unwrap()) <= most, "{polls} polls in {:?}", began.elapsed());
    assert_eq!(live.origin.most_open(), 1, "two polls at once");
    live.assert_undirected();
    let metrics = edge.metrics().await;
    let count = |result| metrics.sum("forebay_playlist_polls_total", &[("result", result)]);
    assert!((count("grown") - 1.0).abs() < 0.1, "grown: {}", count("grown"));
    assert!(count("unchanged") >= 2.0);
}

/// A reload for what the playlist has already is answered at once, from what is held.
#[tokio::test]
async fn a_reload_for_what_is_there_is_answered_at_once() {
    let live = Live::start().await;
    let edge = node(&live).await;
    for target in ["?_HLS_msn=99", "?_HLS_msn=7", "?_HLS_msn=99&_HLS_part=5"] {
        assert_text(&edge.get(&format!("{PATH}{target}")).await, &announced(100));
    }
    assert_eq!(live.origin.requests(PATH), 1);
    live.assert_undirected();
}

/// A poll is a fetch like any other: viewers who are not held, and come while the origin has not answered it, have no fetch
/// of their own.
#[tokio::test]
async fn viewers_who_are_not_held_share_the_poll() {
    let live = Live::start().await;
    let gate = Gate::closed();
    let held = gate.clone();
    live.origin.script(PATH, move |_, nth| match nth {
        // Stale when the playlist is due to grow, and of no use then.
        0 => Answer::ok(text(100, "")).cache_control("max-age=1, stale-while-revalidate=0"),
        _ => Answer::ok(text(101, "")).cache_control("max-age=20").hold(&held),
    });
    let edge = node(&live).await;
    edge.get(PATH).await.whole();
    let mut viewers = JoinSet::new();
    let mut ask_for = |target: String| {
        let address = edge.http();
        viewers.spawn(async move { ask(address, &Request::get(&target)).await });
    };
    ask_for(format!("{PATH}?_HLS_msn=100"));
    live.origin.await_requests(PATH, 2).await;
    (0..20).for_each(|_| ask_for(PATH.to_owned()));
    gate.open();
    for response in viewers.join_all().await {
        assert_text(&response, &announced(101));
    }
    assert_eq!(live.origin.requests(PATH), 2);
    live.assert_undirected();
}

/// Where answers vary, one variant is polled, and viewers of each get their own with the segment that they wait for.
#[tokio::test]
async fn viewers_of_every_variant_get_what_they_wait_for() {
    let live = Live::start().await;
    let has = Arc::clone(&live.next);
    let german = "#EXT-X-START:TIME-OFFSET=1\n";
    // Answers with the segment that they wait for, in English and in German.
    let grown = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let counts = Arc::clone(&grown);
    live.origin.script(PATH, move |request, _| {
        let is_german = request.header("accept-language") == Some("de");
        let next = has.load(Ordering::Acquire);
        if next > 100 {
            counts[usize::from(is_german)].fetch_add(1, Ordering::AcqRel);
        }
        Answer::ok(text(next, if is_german { german } else { "" })).header("vary", "accept-language")
    });
    let edge = node(&live).await;
    let of = |language: &str, query: &str| {
        Request::get(&format!("{PATH}{query}")).header("accept-language", language)
    };
    assert_text(&edge.ask(&of("en", "")).await, &announced(100));
    assert_text(&edge.ask(&of("de", "")).await, &text(100, &format!("{BOTH}{german}")));
    let before = live.origin.requests(PATH);
    let mut viewers = JoinSet::new();
    for viewer in 0..20 {
        let (address, language) = (edge.http(), if viewer % 2 == 0 { "en" } else { "de" });
        let request = of(language, "?_HLS_msn=100");
        viewers.spawn(async move { (language, ask(address, &request).await) });
    }
    live.origin.await_requests(PATH, before + 3).await;
    edge.await_metric("forebay_parked_requests", &[], 20.0).await;
    assert!(viewers.try_join_next().is_none(), "a viewer was not held");
    live.grow();
    while let Some(answered) = viewers.join_next().await {
        let (language, response) = answered.expect("a viewer");
        let lines = if language == "de" { format!("{BOTH}{german}") } else { BOTH.to_owned() };
        assert_text(&response, &text(101, &lines));
    }
    let [english, german] = [&grown[0], &grown[1]].map(|count| count.load(Ordering::Acquire));
    assert_eq!(english.min(german), 1, "the variant that is not polled is fetched once: {english}, {german}");
    live.assert_undirected();
}

/// Who has waited for three target durations gets 503, or, where the rule says so, the playlist as it is; and when the last
/// viewer has gone the origin is not asked any more.
#[tokio::test]
async fn a_hold_and_its_polls_end() {
    let live = Live::start().await;
    let short = |_: &_, _| Answer::ok("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\na.ts\n");
    let told =
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES\n#EXTINF:1,\na.ts\n";
    live.origin.script(PATH, short);
    let edge = setup(&live, "reload = \"edge\"").start().await;
    let mut polls = 0;
    // One hold has many polls, but on a machine that stands still for as long as the hold.
    while polls < 2 {
        let began = Instant::now();
        let response = edge.get(&format!("{PATH}?_HLS_msn=1")).await;
        assert_eq!(response.status(), 503, "{:?}", response.head);
        assert!(began.elapsed() >= Duration::from_secs(3), "{:?}", began.elapsed());
        polls = live.origin.requests(PATH);
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(live.origin.requests(PATH) <= polls + 1, "the origin is polled for nobody");
    live.assert_undirected();
    let edge = setup(&live, "reload = \"edge\", late = \"stale\"").start().await;
    assert_text(&edge.get(&format!("{PATH}?_HLS_msn=1")).await, told);
}

/// A stream that ends while viewers wait has nothing to wait for; one that has ended is answered whatever is asked.
#[tokio::test]
async fn a_stream_that_ends_releases_those_who_wait() {
    let live = Live::start().await;
    let edge = node(&live).await;
    edge.get(PATH).await.whole();
    let address = edge.http();
    let waiting =
        tokio::spawn(async move { ask(address, &Request::get(&format!("{PATH}?_HLS_msn=101"))).await });
    live.origin.await_requests(PATH, 2).await;
    let ended = text(100, "") + "#EXT-X-ENDLIST\n";
    let last = ended.clone();
    live.origin.script(PATH, move |_, _| Answer::ok(last.clone()));
    assert_text(&within("the end", waiting).await.unwrap(), &ended);
    for target in ["?_HLS_msn=101", "?_HLS_msn=101&_HLS_skip=YES", "?_HLS_skip=YES"] {
        assert_text(&edge.get(&format!("{PATH}{target}")).await, &ended);
    }
    live.assert_undirected();
}

/// A delta update is made of the playlist that is held: merged with what the client has it is the full one. It is another
/// representation, with a tag of its own, in each coding too, and costs the origin nothing.
#[tokio::test]
async fn a_delta_update_is_made_of_what_is_held() {
    let live = Live::start().await;
    let edge = node(&live).await;
    let skip = format!("{PATH}?_HLS_skip=YES");
    let response = edge.get(&skip).await;
    assert_eq!(response.outcome(), "miss");
    assert_text(&response, &update(100));
    let full = edge.get(PATH).await;
    assert_text(&full, &announced(100));
    assert_eq!(merged(&announced(100), &update(100)), announced(100));
    assert_text(&edge.get(&format!("{PATH}?_HLS_skip=v2")).await, &update(100));
    let (tag, other) = (response.get("etag").expect("a tag"), full.get("etag").expect("a tag"));
    assert_ne!(tag, other);
    let with = |tag: &str| Request::get(&skip).header("if-none-match", tag);
    assert_eq!(edge.ask(&with(tag)).await.status(), 304);
    assert_text(&edge.ask(&with(other)).await, &update(100));
    let head = edge.ask(&Request::head(&skip)).await;
    assert_eq!(head.get("content-length"), response.get("content-length"));
    let coded = within("an encoded update", async {
        loop {
            let response = edge.ask(&Request::get(&skip).header("accept-encoding", "gzip")).await;
            if response.get("content-encoding").is_some() {
                return response;
            }
        }
    })
    .await;
    let mut plain = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&**coded.whole()), &mut plain).unwrap();
    assert_eq!(plain, update(100));
    assert_eq!(live.origin.requests(PATH), 1);
    live.assert_undirected();

    let order = json!({ "url": format!("http://edge.test{PATH}") }).to_string();
    let purge = Request::new("POST", "/purge").header("content-type", "application/json").body(order);
    live.grow();
    assert_eq!(ask(edge.admin(), &purge).await.status(), 200);
    assert_text(&edge.get(&skip).await, &update(101));
    assert_eq!(merged(&announced(100), &update(101)).len(), announced(101).len());
}

/// A playlist that is shorter than the boundary goes in full.
#[tokio::test]
async fn a_short_playlist_goes_in_full() {
    let live = Live::start().await;
    let short = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\na.ts\n";
    live.origin.script(PATH, move |_, _| Answer::ok(short));
    let edge = node(&live).await;
    let line = BOTH.replace("120.0", "12.0");
    let told = short.replace("DURATION:2\n", &format!("DURATION:2\n{line}"));
    assert_text(&edge.get(&format!("{PATH}?_HLS_skip=YES")).await, &told);
    live.assert_undirected();
}

/// Every viewer gets the own token in every URI of a delta update.
#[tokio::test]
async fn a_delta_update_carries_its_viewers_token() {
    let live = Live::start().await;
    let policy = "[token.viewer]\nformat = \"edgeauth\"\ncarry = \"query\"\n\
                  keys = [{ id = \"k\", secret_file = \"DIR/k.key\" }]";
    let edge = setup(&live, "reload = \"edge\", delta = \"edge\"")
        .site("token = \"viewer\"")
        .more(policy)
        .file("k.key", KEY_HEX)
        .start()
        .await;
    let mut tags = Vec::new();
    for viewer in ["one", "two"] {
        let token = sign(KEY_HEX, &format!("exp={}~acl=/*~id={viewer}", now() + 3600));
        for (directive, text) in [("&_HLS_skip=YES", update(100)), ("", announced(100))] {
            let response = edge.get(&format!("{PATH}?hdnts={token}{directive}")).await;
            assert_text(&response, &text.replace(".ts\n", &format!(".ts?hdnts={token}\n")));
            tags.push(response.get("etag").expect("a tag").to_owned());
        }
    }
    tags.sort();
    tags.dedup();
    assert_eq!(tags.len(), 4, "each text has its own tag: {tags:?}");
    assert_eq!(live.origin.requests(PATH), 1);
    live.assert_undirected();
}

/// What a node does for a playlist is known again after a restart, as soon as the origin has confirmed what the disk kept.
#[tokio::test]
async fn a_playlist_that_was_kept_before_a_restart_is_known_when_it_is_confirmed() {
    let live = Live::start().await;
    let has = Arc::clone(&live.next);
    live.origin.script(PATH, move |_, _| {
        let next = has.load(Ordering::Acquire);
        let answer = Answer::ok(text(next, "")).etag(&format!("\"v{next}\""));
        answer.cache_control("max-age=1, stale-while-revalidate=0")
    });
    let disk = tempfile::tempdir().expect("a temporary directory");
    let store = format!(
        "disk = [{{ path = \"{}\", size = \"256MiB\" }}]\ndisk_admit_within = \"0s\"\ndisk_ttl_min = \"0s\"",
        disk.path().display()
    );
    let setup = setup(&live, "reload = \"edge\", delta = \"edge\"").store(&store);
    let edge = setup.start().await;
    assert_text(&edge.get(PATH).await, &announced(100));
    edge.await_metric("forebay_cache_objects", &[("tier", "disk")], 1.0).await;
    edge.stop().await;
    let edge = setup.start().await;
    edge.await_recovered().await;
    within("a confirmation", async {
        while live.origin.requests(PATH) < 2 {
            assert_text(&edge.get(PATH).await, &announced(100));
        }
    })
    .await;
    assert_eq!(live.origin.last(PATH).header("if-none-match"), Some("\"v100\""));
    let address = edge.http();
    let target = format!("{PATH}?_HLS_msn=100&_HLS_skip=YES");
    let waiting = tokio::spawn(async move { ask(address, &Request::get(&target)).await });
    live.origin.await_requests(PATH, 4).await;
    live.grow();
    assert_text(&within("the next segment", waiting).await.unwrap(), &update(101));
    live.assert_undirected();
}

/// An origin that announces the features has them: it is asked with the directives for what it does not have yet, once for all
/// viewers, who are held as those of other origins are; in full where some want that, and of that the others get an update. Its text is
/// not touched.
#[tokio::test]
async fn an_origin_that_announces_them_is_asked_with_the_directives() {
    let live = Live::start().await;
    let own = "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=120\n";
    let gate = Gate::closed();
    let held = gate.clone();
    live.origin.script(PATH, move |request, _| {
        let grown = request.target.contains("_HLS_msn=100");
        let answer = Answer::ok(text(if grown { 101 } else { 100 }, own));
        if grown { answer.hold(&held) } else { answer }
    });
    let edge =
        setup(&live, "reload = \"edge\", delta = \"edge\"").limits("coalesce_wait = \"100ms\"").start().await;
    assert_text(&edge.get(PATH).await, &text(100, own));
    assert_text(&edge.get(&format!("{PATH}?_HLS_msn=99")).await, &text(100, own));
    assert_eq!(live.origin.requests(PATH), 1, "what is held is not asked for again");
    let far = edge.get(&format!("{PATH}?_HLS_msn=1000")).await;
    assert_eq!((far.status(), String::from_utf8_lossy(far.whole()).trim_end()), (400, "hls_beyond"));
    for query in ["_HLS_skip=YES", "_HLS_msn=99&_HLS_skip=YES"] {
        assert_text(&edge.get(&format!("{PATH}?{query}")).await, &text(100, own));
    }
    assert_eq!(live.origin.last(PATH).target, format!("{PATH}?_HLS_skip=YES"));
    let mut viewers = JoinSet::new();
    for viewer in 0..20 {
        let address = edge.http();
        let target = format!("{PATH}?_HLS_msn=100{}", if viewer % 2 == 0 { "" } else { "&_HLS_skip=YES" });
        viewers.spawn(async move { ask(address, &Request::get(&target)).await });
    }
    edge.await_metric("forebay_parked_requests", &[], 20.0).await;
    live.origin.await_requests(PATH, 3).await;
    gate.open();
    let is_update = |response: &Response| String::from_utf8_lossy(response.whole()).contains("EXT-X-SKIP");
    let (updates, whole): (Vec<_>, Vec<_>) = viewers.join_all().await.into_iter().partition(is_update);
    assert_eq!((updates.len(), whole.len()), (10, 10));
    whole.iter().for_each(|response| assert_text(response, &text(101, own)));
    updates.iter().for_each(|response| assert_text(response, &update(101).replace(BOTH, own)));
    assert_eq!(live.origin.requests(PATH), 3);
    assert_eq!(live.origin.last(PATH).target, format!("{PATH}?_HLS_msn=100"));
}

/// An origin that holds reloads and makes no updates is asked for the one and not for the other.
#[tokio::test]
async fn updates_are_made_of_what_an_origin_has_held() {
    let live = Live::start().await;
    let own = "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES\n";
    let both = "#EXT-X-SERVER-CONTROL:CAN-SKIP-UNTIL=120.0,CAN-BLOCK-RELOAD=YES\n";
    live.origin.script(PATH, move |request, _| {
        Answer::ok(text(if request.target.contains("_HLS_msn=100") { 101 } else { 100 }, own))
    });
    let edge = node(&live).await;
    let response = edge.get(&format!("{PATH}?_HLS_msn=100&_HLS_skip=YES")).await;
    assert_text(&response, &update(101).replace(BOTH, both));
    assert_eq!(live.origin.last(PATH).target, format!("{PATH}?_HLS_msn=100"));
    assert_text(&edge.get(&format!("{PATH}?_HLS_msn=100")).await, &text(101, both));
    assert_eq!(live.origin.requests(PATH), 2, "one to know it, one with the directive");
}

/// Nobody is held for a playlist that is not shared, nor with credentials that polls would have to use again.
#[tokio::test]
async fn nobody_is_held_where_polls_would_not_be_for_everybody() {
    let live = Live::start().await;
    let edge = node(&live).await;
    edge.get(PATH).await.whole();
    let authorized = Request::get(&format!("{PATH}?_HLS_msn=100")).header("authorization", "Basic eDp5");
    assert_text(&edge.ask(&authorized).await, &announced(100));
    live.origin.script(PATH, move |_, _| Answer::ok(text(100, "")).cache_control("no-store"));
    let edge = node(&live).await;
    assert_text(&edge.get(&format!("{PATH}?_HLS_msn=100&_HLS_skip=YES")).await, &text(100, ""));
    live.assert_undirected();
}

/// What the origin sends in a playlist's place ends all holds, and is the answer to whoever comes next: nobody waits for it
/// to grow. An error of the origin's own ends none.
#[tokio::test]
async fn what_comes_in_a_playlists_place_releases_those_who_wait() {
    for status in [404, 302] {
        let live = Live::start().await;
        let edge = node(&live).await;
        edge.get(PATH).await.whole();
        let mut viewers = JoinSet::new();
        for _ in 0..20 {
            let address = edge.http();
            viewers.spawn(async move { ask(address, &Request::get(&format!("{PATH}?_HLS_msn=100"))).await });
        }
        edge.await_metric("forebay_parked_requests", &[], 20.0).await;
        live.origin.script(PATH, |_, _| Answer::status(500));
        let asked = live.origin.requests(PATH);
        live.origin.await_requests(PATH, asked + 2).await;
        assert!(viewers.try_join_next().is_none(), "an error may be over in a moment");
        live.origin.script(PATH, move |_, _| {
            Answer::status(status).header("location", "/elsewhere").cache_control("max-age=1")
        });
        for response in within("the end of all holds", viewers.join_all()).await {
            assert_eq!(response.status(), status);
        }
        let asked = live.origin.requests(PATH);
        let next = within("an answer", edge.get(&format!("{PATH}?_HLS_msn=101&_HLS_skip=YES"))).await;
        assert_eq!(next.status(), status);
        assert!(live.origin.requests(PATH) <= asked + 2);
        live.assert_undirected();
    }
}

/// A stream that begins anew ends all holds: when it will have got to what was waited for, nobody knows.
#[tokio::test]
async fn a_stream_that_begins_anew_releases_those_who_wait() {
    let live = Live::start().await;
    let edge = node(&live).await;
    edge.get(PATH).await.whole();
    let address = edge.http();
    let waiting =
        tokio::spawn(async move { ask(address, &Request::get(&format!("{PATH}?_HLS_msn=100"))).await });
    live.origin.await_requests(PATH, 2).await;
    let anew = "#EXT-X-DISCONTINUITY-SEQUENCE:7\n";
    live.origin.script(PATH, move |_, _| Answer::ok(text(30, anew)));
    let response = within("the new stream", waiting).await.expect("a viewer");
    assert_text(&response, &text(30, &format!("{BOTH}{anew}")));
    live.assert_undirected();
}

/// A stream that begins anew is given whole to those who wait for an update, whoever has held them: what it would leave out is none of
/// theirs.
#[tokio::test]
async fn a_stream_that_begins_anew_is_no_update() {
    let target = format!("{PATH}?_HLS_msn=100&_HLS_skip=YES");
    let anew = "#EXT-X-DISCONTINUITY-SEQUENCE:7\n";
    let live = Live::start().await;
    let edge = node(&live).await;
    edge.get(PATH).await.whole();
    let mut waiting = edge.open(&Request::get(&target)).await;
    live.origin.await_requests(PATH, 2).await;
    live.origin.script(PATH, move |_, _| Answer::ok(text(30, anew)));
    let response = within("the new stream", waiting.response("GET")).await;
    assert_text(&response, &text(30, &format!("{BOTH}{anew}")));

    let live = Live::start().await;
    let own = "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES\n";
    let both = "#EXT-X-SERVER-CONTROL:CAN-SKIP-UNTIL=120.0,CAN-BLOCK-RELOAD=YES\n";
    live.origin.script(PATH, move |request, _| {
        let is_new = request.target.contains("_HLS_msn=100");
        Answer::ok(if is_new { text(30, &format!("{own}{anew}")) } else { text(100, own) })
    });
    let edge = setup(&live, "delta = \"edge\"").start().await;
    edge.get(PATH).await.whole();
    assert_text(&edge.get(&target).await, &text(30, &format!("{both}{anew}")));
}

/// Who does not want the origin to be asked is not held for it either.
#[tokio::test]
async fn who_wants_what_is_held_alone_does_not_wait() {
    let live = Live::start().await;
    let edge = setup(&live, "reload = \"edge\"").more("obey_client = true").start().await;
    edge.get(PATH).await.whole();
    let only =
        |query: &str| Request::get(&format!("{PATH}?{query}")).header("cache-control", "only-if-cached");
    let response = within("a refusal", edge.ask(&only("_HLS_msn=100"))).await;
    assert_eq!(
        (response.status(), String::from_utf8_lossy(response.whole()).trim_end()),
        (504, "only_if_cached")
    );
    let line = "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES\n";
    assert_text(&edge.ask(&only("_HLS_msn=99")).await, &text(100, line));
    assert_eq!(live.origin.requests(PATH), 1);
}

/// An origin that does not answer any more does not make a hold longer: at its end the playlist goes as it is.
#[tokio::test]
async fn a_silent_origin_does_not_make_a_hold_longer() {
    let live = Live::start().await;
    let never = Gate::closed();
    live.origin.script(PATH, move |_, nth| {
        let answer = Answer::ok("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\na.ts\n")
            .cache_control("max-age=1, stale-while-revalidate=0");
        if nth == 0 { answer } else { answer.hold(&never) }
    });
    let setup = setup(&live, "reload = \"edge\", late = \"stale\"").limits("coalesce_wait = \"30s\"");
    let edge = setup.origin("timeouts = { first_byte = \"1m\" }").start().await;
    let plain = edge.get(PATH).await;
    let began = Instant::now();
    let late = edge.get(&format!("{PATH}?_HLS_msn=1")).await;
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_eq!(late.outcome(), "hit_stale");
    assert_text(&late, &String::from_utf8_lossy(plain.whole()));
    let line = edge.await_access_lines(2).await.pop().expect("a line");
    assert!(line.to_string().contains("hold_deadline"), "{line}");
}

/// A playlist that is not shared any more is not polled for each viewer: it is asked for by each, once.
#[tokio::test]
async fn a_playlist_that_is_not_shared_any_more_is_not_polled() {
    let live = Live::start().await;
    let edge = node(&live).await;
    edge.get(PATH).await.whole();
    live.origin.script(PATH, |_, _| Answer::ok(text(100, "")).cache_control("no-store"));
    let target = format!("{PATH}?_HLS_msn=100");
    assert_text(&within("the end of the hold", edge.get(&target)).await, &text(100, ""));
    let asked = live.origin.requests(PATH);
    for _ in 0..5 {
        assert_text(&edge.get(&target).await, &text(100, ""));
    }
    assert_eq!(live.origin.requests(PATH), asked + 5);
    live.origin.script(PATH, |_, _| Answer::ok(text(100, "")));
    edge.get(PATH).await.whole();
    let mut waiting = edge.open(&Request::get(&target)).await;
    edge.await_metric("forebay_parked_requests", &[], 1.0).await;
    live.origin.script(PATH, |_, _| Answer::ok(text(101, "")));
    assert_text(&within("the next segment", waiting.response("GET")).await, &announced(101));
    live.assert_undirected();
}

/// A node that stops cuts those who are still held when `drain_timeout` is over, whoever holds them.
#[tokio::test]
async fn a_node_that_stops_does_not_wait_for_those_it_holds() {
    for low_latency in ["reload = \"edge\"", "reload = \"origin\""] {
        let live = Live::start().await;
        let never = Gate::closed();
        live.origin.script(PATH, move |request, _| {
            let answer = Answer::ok(text(100, ""));
            if request.target.contains("_HLS_") { answer.hold(&never) } else { answer }
        });
        let edge = setup(&live, low_latency).server("drain_timeout = \"300ms\"").start().await;
        edge.get(PATH).await.whole();
        let mut viewers = Vec::new();
        for _ in 0..20 {
            viewers.push(edge.open(&Request::get(&format!("{PATH}?_HLS_msn=100"))).await);
        }
        edge.await_metric("forebay_parked_requests", &[], 20.0).await;
        let began = Instant::now();
        edge.terminate();
        assert_eq!(edge.ended().await.code(), Some(0));
        assert!(began.elapsed() < Duration::from_secs(50), "holds end after 60 s: {:?}", began.elapsed());
    }
}
