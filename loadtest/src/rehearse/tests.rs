#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use http::HeaderName;
use url::Url;

use super::*;
use crate::scenario::{Fault, Scenario, Wrong};
use crate::stage::sample::{ms, scenario, stage, wall_epoch};

/// A viewer with a line of 8 Mbit/s: a megabyte per second.
fn viewer(faults: Vec<Fault>) -> Rehearsed {
    viewer_of(&scenario(faults))
}

fn viewer_of(scenario: &Scenario) -> Rehearsed {
    Rehearsed::new(Rc::new(Source::new(Stage::new(scenario, wall_epoch()))), Instant::now(), 8_000_000)
}

fn always(what: Wrong) -> Vec<Fault> {
    vec![Fault {
        at: Duration::ZERO,
        over: Duration::from_secs(3600),
        paths: "**/*.m4s".into(),
        share: 1.0,
        what,
    }]
}

/// The URL of the film's segment of this number; its length is about 800 KB.
fn segment(number: usize) -> (Url, u64) {
    let text = crate::stage::sample::get(&stage(vec![]), "/media/vod/film/v1.m3u8", Duration::ZERO);
    let uri = text.lines().filter(|line| !line.starts_with('#')).nth(number).unwrap();
    let url = Url::parse(&format!("http://rehearsal/media/vod/film/{uri}")).unwrap();
    let bytes = content::expected(url.path()).unwrap().bytes;
    (url, bytes)
}

fn ask(url: &Url, body: Body) -> Get<'_> {
    Get { url, range: None, fields: &[], due: Instant::now(), body, progress: None }
}

/// One segment is asked for under this fault; when it was asked for, what came, and how many bytes it has.
async fn under(what: Wrong) -> (Instant, Exchange, u64) {
    let viewer = viewer(always(what));
    let (url, bytes) = segment(0);
    (Instant::now(), viewer.get(ask(&url, Body::Media)).await, bytes)
}

const TEXT: Body = Body::Text { bytes_max: 1 << 20 };

/// A megabyte per second, to the nanosecond (rounded up).
fn taken(bytes: u64) -> Duration {
    Duration::from_micros(bytes)
}

fn near(a: Instant, b: Instant) -> bool {
    a.max(b) - a.min(b) < Duration::from_micros(2)
}

#[tokio::test(start_paused = true)]
async fn a_segment_takes_the_time_of_its_bytes_after_two_milliseconds() {
    let viewer = viewer(vec![]);
    let (url, bytes) = segment(0);
    let began = Instant::now();
    let exchange = viewer.get(ask(&url, Body::Media)).await;
    assert_eq!((exchange.sent, exchange.first_byte), (began, Some(began + ms(2))));
    assert!(near(exchange.end, began + ms(2) + taken(bytes)), "{exchange:?}");
    assert_eq!((exchange.bytes, exchange.outcome, exchange.connected), (bytes, Outcome::Whole, true));
    assert!(exchange.headers.is_empty() && exchange.text.is_empty());
    assert!(Instant::now() - exchange.end < ms(2));
    // The connection is used again, until the viewer leaves.
    assert!(!viewer.get(ask(&url, Body::Media)).await.connected);
    viewer.leave();
    assert!(viewer.get(ask(&url, Body::Media)).await.connected);
}

#[tokio::test(start_paused = true)]
async fn what_comes_at_once_shares_the_line_and_what_is_left_gets_all_of_it() {
    let viewer = viewer(vec![]);
    let ((a, a_bytes), (b, b_bytes)) = (segment(0), segment(1));
    let began = Instant::now();
    let (first, second) = tokio::join!(viewer.get(ask(&a, Body::Media)), viewer.get(ask(&b, Body::Media)));
    let (less, more) = (a_bytes.min(b_bytes), a_bytes.max(b_bytes));
    let (early, late) = (first.end.min(second.end), first.end.max(second.end));
    assert!(near(early, began + ms(2) + taken(2 * less)), "{early:?}");
    assert!(near(late, began + ms(2) + taken(less + more)), "{late:?}");
    assert!(first.connected && second.connected);
}

#[tokio::test(start_paused = true)]
async fn who_comes_later_takes_half_from_then_on_and_who_gives_up_gives_it_back() {
    let viewer = viewer(vec![]);
    let ((a, a_bytes), (b, _)) = (segment(0), segment(1));
    let began = Instant::now();
    let late = async {
        tokio::time::sleep(ms(200)).await;
        // Between 202 and 402 ms it is on the line; then its viewer changes the stream.
        tokio::time::timeout(ms(202), viewer.get(ask(&b, Body::Media))).await.unwrap_err();
    };
    let (first, ()) = tokio::join!(viewer.get(ask(&a, Body::Media)), late);
    assert!(near(first.end, began + ms(2) + taken(a_bytes) + ms(100)), "{:?}", first.end - began);
    // Half of the line for 200 ms.
    let [dropped] = viewer.take_dropped()[..] else { panic!("one was given up") };
    assert!((98_000..=102_000).contains(&dropped.bytes), "{dropped:?}");
    assert_eq!((dropped.first_byte, dropped.connected), (Some(began + ms(202)), true));
    assert_eq!(viewer.source.ledger().bytes, first.bytes + dropped.bytes, "the origin sent no more");
    assert_eq!(viewer.take_dropped(), []);
}

#[tokio::test(start_paused = true)]
async fn who_looks_sees_when_it_was_sent_when_it_began_and_how_far_it_is() {
    let viewer = viewer(vec![]);
    let (url, length) = segment(0);
    let (began, progress) = (Instant::now(), Cell::new(Progress::default()));
    let get = Get { progress: Some(&progress), ..ask(&url, Body::Media) };
    let looked = async {
        tokio::time::sleep(ms(1)).await;
        assert_eq!(progress.get(), Progress::default(), "nothing has come");
    };
    let (whole, ()) = tokio::join!(viewer.get(get), looked);
    let Progress { sent, first_byte, bytes, length: told } = progress.get();
    assert_eq!((sent, first_byte, told), (Some(began), Some(began + ms(2)), Some(length)));
    assert_eq!((bytes, whole.bytes), (length, length));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_held_comes_when_the_part_does() {
    let viewer = viewer(vec![]);
    let url = Url::parse("http://rehearsal/media/live/news/v0.m3u8?_HLS_msn=10000&_HLS_part=1").unwrap();
    let began = Instant::now();
    let exchange = viewer.get(ask(&url, TEXT)).await;
    assert_eq!(exchange.first_byte, Some(began + ms(1_001)));
    let text = String::from_utf8(exchange.text.to_vec()).unwrap();
    assert!(text.contains("v0/10000.1.") && text.contains("#EXT-X-PRELOAD-HINT"), "{text}");
    assert_eq!(exchange.headers["content-type"], "application/vnd.apple.mpegurl");
    assert!(near(exchange.end, began + ms(1_001) + taken(text.len() as u64)));
    // The hinted part, below a token.
    let hint = text.lines().find(|line| line.starts_with("#EXT-X-PRELOAD-HINT")).unwrap();
    let uri = hint.split_once("URI=\"").unwrap().1.trim_end_matches('"');
    let url = Url::parse(&format!("http://rehearsal/exp=1~hmac=2/media/live/news/{uri}")).unwrap();
    let part = viewer.get(ask(&url, Body::Media)).await;
    assert_eq!((part.first_byte, part.outcome), (Some(began + ms(1_501)), Outcome::Whole));
    assert_eq!(part.bytes, content::expected(url.path()).unwrap().bytes);
}

#[tokio::test(start_paused = true)]
async fn a_growing_segment_comes_part_by_part() {
    let mut scenario = scenario(vec![]);
    scenario.streams[1].parts_are_ranges = true;
    let viewer = viewer_of(&scenario);
    let url = Url::parse("http://rehearsal/media/live/news/v0.m3u8").unwrap();
    let began = Instant::now();
    let text = String::from_utf8(viewer.get(ask(&url, TEXT)).await.text.to_vec()).unwrap();
    let hint = text.lines().find(|line| line.starts_with("#EXT-X-PRELOAD-HINT")).unwrap();
    let uri = hint.split_once("URI=\"").unwrap().1.split('"').next().unwrap();
    let url = Url::parse(&format!("http://rehearsal/media/live/news/{uri}")).unwrap();
    let bytes = content::expected(url.path()).unwrap().bytes;
    let exchange = viewer.get(ask(&url, Body::Media)).await;
    assert_eq!(
        (exchange.first_byte, exchange.outcome, exchange.bytes),
        (Some(began + ms(501)), Outcome::Whole, bytes)
    );
    let last = bytes - bytes * 3 / 4;
    assert!(near(exchange.end, began + ms(2_001) + taken(last)), "{:?}", exchange.end - began);
    // And a range that is there.
    let range = viewer.get(Get { range: Some((10, Some(19))), ..ask(&url, Body::Media) }).await;
    assert_eq!((range.status.unwrap().as_u16(), range.bytes, range.outcome), (206, 10, Outcome::Whole));
}

#[tokio::test(start_paused = true)]
async fn each_fault_is_met_as_it_would_be_over_sockets() {
    let (began, exchange, bytes) = under(Wrong::Delay(ms(700))).await;
    assert_eq!((exchange.first_byte, exchange.outcome), (Some(began + ms(702)), Outcome::Whole));
    assert_eq!(exchange.bytes, bytes);

    let (_, exchange, _) = under(Wrong::Status(503)).await;
    assert_eq!((exchange.status.unwrap().as_u16(), exchange.outcome), (503, Outcome::Whole));
    assert_eq!(exchange.headers["content-type"], "text/plain");

    // 100 KB/s, on a line of ten times that.
    let (began, exchange, bytes) = under(Wrong::Throttle(800_000)).await;
    assert!(near(exchange.end, began + ms(2) + 10 * taken(bytes)) && exchange.outcome == Outcome::Whole);

    let (began, exchange, bytes) = under(Wrong::Break(0.25)).await;
    assert_eq!((exchange.status.unwrap().as_u16(), exchange.bytes), (200, bytes / 4));
    assert_eq!(exchange.outcome, Outcome::Failed(Failure::Short));
    assert!(near(exchange.end, began + ms(2) + taken(bytes / 4)));

    for more in [5, -5] {
        let (_, exchange, _) = under(Wrong::Length(more)).await;
        assert_eq!((exchange.outcome, exchange.bytes), (Outcome::Failed(Failure::Length), 0), "{more}");
    }

    let (began, exchange, bytes) = under(Wrong::Corrupt(0.5)).await;
    assert_eq!((exchange.outcome, exchange.bytes), (Outcome::Mismatch, bytes));
    assert!(near(exchange.end, began + ms(2) + taken(bytes)));

    let (began, exchange, _) = under(Wrong::Outage).await;
    assert_eq!((exchange.status, exchange.first_byte, exchange.end), (None, None, began + ms(2)));
    assert_eq!(exchange.outcome, Outcome::Failed(Failure::Short));

    let (began, exchange, _) = under(Wrong::Delay(Duration::from_secs(40))).await;
    assert_eq!((exchange.outcome, exchange.end), (Outcome::Failed(Failure::Timeout), began + QUIET_MAX));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_broke_is_not_used_again() {
    let viewer = viewer(vec![Fault { over: Duration::from_secs(1), ..always(Wrong::Break(0.1)).remove(0) }]);
    let (url, _) = segment(0);
    assert!(viewer.get(ask(&url, Body::Media)).await.connected);
    assert!(viewer.get(ask(&url, Body::Media)).await.connected);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(viewer.get(ask(&url, Body::Media)).await.connected);
    assert!(!viewer.get(ask(&url, Body::Media)).await.connected);
}

#[tokio::test(start_paused = true)]
async fn texts_have_their_limit_their_faults_and_their_bytes() {
    let url = Url::parse("http://rehearsal/media/vod/film/v1.m3u8").unwrap();
    let whole = viewer(vec![]).get(ask(&url, TEXT)).await.text;
    let with = async |what| {
        let viewer = viewer(vec![Fault { paths: "**".into(), ..always(what).remove(0) }]);
        viewer.get(ask(&url, TEXT)).await
    };
    let corrupt = with(Wrong::Corrupt(0.0)).await;
    assert_eq!(
        (corrupt.outcome, corrupt.text[0], &corrupt.text[1..]),
        (Outcome::Whole, b'#' ^ 1, &whole[1..])
    );
    let broken = with(Wrong::Break(0.5)).await;
    assert_eq!((broken.outcome, broken.text.len()), (Outcome::Failed(Failure::Short), whole.len() / 2));
    let longer = with(Wrong::Length(1)).await;
    assert_eq!((longer.outcome, &longer.text), (Outcome::Failed(Failure::Short), &whole));
    let shorter = with(Wrong::Length(-4)).await;
    assert_eq!((shorter.outcome, &shorter.text[..]), (Outcome::Whole, &whole[..whole.len() - 4]));
    let limit = Body::Text { bytes_max: whole.len() - 1 };
    let too_long = viewer(vec![]).get(ask(&url, limit)).await;
    assert_eq!(too_long.outcome, Outcome::Failed(Failure::TooLong));
}

#[tokio::test(start_paused = true)]
async fn stale_and_backward_playlists_are_seen_in_a_rehearsal() {
    for (what, sequence) in [(Wrong::Stale, "9994"), (Wrong::Backward(4), "9991")] {
        let viewer = viewer(vec![Fault { paths: "**/*.m3u8".into(), ..always(what).remove(0) }]);
        tokio::time::sleep(Duration::from_secs(5)).await;
        let url = Url::parse("http://rehearsal/media/live/sport/v0.m3u8").unwrap();
        let text = String::from_utf8(viewer.get(ask(&url, TEXT)).await.text.to_vec()).unwrap();
        assert!(text.contains(&format!("#EXT-X-MEDIA-SEQUENCE:{sequence}\n")), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn fields_of_the_viewer_reach_the_origin() {
    let viewer = viewer(vec![]);
    let (url, _) = segment(0);
    let tag = viewer.get(Get { range: Some((5, None)), ..ask(&url, TEXT) }).await.headers["etag"].clone();
    let fields = [(HeaderName::from_static("if-none-match"), tag)];
    let known = viewer.get(Get { fields: &fields, ..ask(&url, Body::Media) }).await;
    assert_eq!((known.status.unwrap().as_u16(), known.bytes, known.outcome), (304, 0, Outcome::Whole));
}

/// The same scenario, asked in the same way, is the same to the nanosecond.
#[tokio::test(start_paused = true)]
async fn a_rehearsal_repeats_exactly() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let viewer = viewer(vec![Fault { share: 0.4, ..always(Wrong::Break(0.3)).remove(0) }]);
        let began = Instant::now();
        let mut seen = Vec::new();
        for round in 0..20 {
            let ((a, _), (b, _)) = (segment(round % 4), segment((round + 1) % 4));
            let (a, b) = tokio::join!(viewer.get(ask(&a, Body::Media)), viewer.get(ask(&b, Body::Media)));
            seen.extend([a, b].map(|exchange| (exchange.end - began, exchange.bytes, exchange.outcome)));
        }
        runs.push(seen);
    }
    assert_eq!(runs[0], runs[1]);
    assert!(runs[0].iter().any(|(.., outcome)| *outcome != Outcome::Whole));
    assert!(runs[0].iter().any(|(.., outcome)| *outcome == Outcome::Whole));
}
