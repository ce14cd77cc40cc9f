//! Who goes first, and how many in a second.

use tokio::time::Instant;

use super::scripted::{Scripted, Step, answer};
use super::*;
use crate::config::model::Rate;

/// A group whose only turn is taken, and what gives it back.
async fn taken(limits: OriginLimits) -> (Scripted, Arc<OriginGroup>, Registry, super::super::UpstreamPeer) {
    let server = Scripted::always(answer(200, "segment")).await;
    let (group, registry) = set_up(&Origin { limits, ..origin(vec![server.server()]) });
    let turn = group.upstream_peer(&Method::GET).await.unwrap();
    (server, group, registry, turn)
}

fn ask(
    group: &Arc<OriginGroup>,
    target: &'static str,
    kind: Kind,
) -> tokio::task::JoinHandle<Option<&'static str>> {
    let group = Arc::clone(group);
    tokio::spawn(async move {
        match group.fetch(&FetchRequest { kind, ..get(target) }).await {
            Ok(mut response) => {
                body(&mut response).await.unwrap();
                None
            }
            Err(error) => Some(error.as_str()),
        }
    })
}

fn targets(server: &Scripted) -> Vec<String> {
    server.seen().iter().map(|seen| seen.head.split(' ').nth(1).unwrap_or_default().to_owned()).collect()
}

async fn waiting(registry: &Registry, count: u64) {
    eventually("they wait", || metric(registry, "forebay_origin_queued_requests", &[]) == count).await;
}

#[tokio::test]
async fn playlists_and_manifests_overtake_segments_that_wait() {
    let (server, group, registry, turn) = taken(limits(1, PATIENCE, 16)).await;
    let mut tasks = Vec::new();
    let order = [
        ("/1.m4s", Kind::Segment),
        ("/init.mp4", Kind::Init),
        ("/a.m3u8", Kind::MediaPlaylist),
        ("/1.part", Kind::Part),
        ("/b.mpd", Kind::Manifest),
        ("/c.m3u8", Kind::MultivariantPlaylist),
    ];
    for (place, (target, kind)) in order.into_iter().enumerate() {
        tasks.push(ask(&group, target, kind));
        waiting(&registry, place as u64 + 1).await;
    }
    assert!(group.spare_turn().is_none());
    drop(turn);
    for task in tasks {
        assert_eq!(task.await.unwrap(), None);
    }
    assert_eq!(targets(&server), ["/a.m3u8", "/b.mpd", "/c.m3u8", "/1.m4s", "/init.mp4", "/1.part"]);
}

#[tokio::test]
async fn a_segment_that_is_overtaken_waits_until_its_deadline_and_no_longer() {
    let (server, group, registry, turn) = taken(limits(1, SHORT, 16)).await;
    let segment = ask(&group, "/1.m4s", Kind::Segment);
    assert_eq!(segment.await.unwrap(), Some("queue_timeout"));
    waiting(&registry, 0).await;
    drop(turn);
    assert_eq!(ask(&group, "/2.m4s", Kind::Segment).await.unwrap(), None);
    assert_eq!(targets(&server), ["/2.m4s"]);
}

#[tokio::test]
async fn waiters_that_go_away_lose_no_turn() {
    let (_server, group, registry, turn) = taken(limits(1, PATIENCE, 2000)).await;
    let mut tasks: Vec<_> = (0..200).map(|_| ask(&group, "/1.m4s", Kind::Segment)).collect();
    waiting(&registry, 200).await;
    for task in tasks.iter().step_by(2) {
        task.abort();
    }
    drop(turn);
    for (place, task) in tasks.drain(..).enumerate() {
        if place % 2 == 1 {
            assert_eq!(task.await.unwrap(), None);
        }
    }
    waiting(&registry, 0).await;
    let turn = group.upstream_peer(&Method::GET).await.unwrap();
    let refused = ask(&group, "/x", Kind::Segment);
    waiting(&registry, 1).await;
    refused.abort();
    drop(turn);
}

#[tokio::test]
async fn held_requests_that_go_away_leave_their_half_to_others() {
    let server = Scripted::always(vec![Step::Hold]).await;
    let (group, registry) =
        set_up(&Origin { limits: limits(2, PATIENCE, 16), ..origin(vec![server.server()]) });
    let reload = |target: &'static str| {
        let group = Arc::clone(&group);
        tokio::spawn(async move {
            let request = FetchRequest { hold: Some(PATIENCE), kind: Kind::MediaPlaylist, ..get(target) };
            group.fetch(&request).await.map(|_| ())
        })
    };
    let first = reload("/1");
    eventually("one is held", || server.seen().len() == 1).await;
    let second = reload("/2");
    waiting(&registry, 1).await;
    let third = reload("/3");
    waiting(&registry, 2).await;
    second.abort();
    waiting(&registry, 1).await;
    first.abort();
    eventually("the third one goes", || targets(&server) == ["/1", "/3"]).await;
    third.abort();
}

/// Each request of a herd of distinct targets is stamped by the server; in any window there are no more than the burst and
/// the rate allow.
#[tokio::test]
async fn a_herd_is_sent_no_faster_than_the_rate() {
    let stamps = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let server = Scripted::start({
        let stamps = Arc::clone(&stamps);
        move |number, _| {
            stamps.lock().push(Instant::now());
            // Every fifth one is tried again: that counts too.
            answer(if number % 5 == 0 { 503 } else { 200 }, "segment")
        }
    })
    .await;
    let rate = Rate { per_second: 200, burst: 10 };
    let config = Origin {
        limits: OriginLimits { rate: Some(rate), ..limits(64, PATIENCE, 1000) },
        retry: retry(3, vec![503]),
        ..origin(vec![server.server()])
    };
    let (group, registry) = set_up(&config);
    let began = Instant::now();
    let tasks: Vec<_> = (0..120).map(|_| ask(&group, "/x", Kind::Segment)).collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), None);
    }
    let stamps = stamps.lock().clone();
    assert!(stamps.len() >= 120 && stamps.len() == server.seen().len());
    // From the start on: what a busy machine delays comes later, never earlier.
    for (place, stamp) in stamps.iter().enumerate() {
        let most = 10.0 + 200.0 * (*stamp - began).as_secs_f64();
        assert!((place + 1) as f64 <= most + 1e-6, "request {place} after {:?}", *stamp - began);
    }
    assert!(metric(&registry, "forebay_origin_rate_limited_total", &[]) > 0);
    assert_eq!(metric(&registry, "forebay_origin_queued_requests", &[]), 0);
}

#[tokio::test]
async fn who_finds_the_rate_used_up_waits_no_longer_than_the_queue_allows() {
    let server = Scripted::always(answer(200, "segment")).await;
    let rate = Some(Rate { per_second: 1, burst: 2 });
    let _clock = StandingClock::new();
    for (queue, queue_length) in [(SHORT, 4), (PATIENCE, 0)] {
        let limits = OriginLimits { rate, ..limits(16, queue, queue_length) };
        let (group, registry) = set_up(&Origin { limits, ..origin(vec![server.server()]) });
        // What passes through counts, and its turn that is given back brings no token.
        drop(group.upstream_peer(&Method::GET).await.unwrap());
        assert_eq!(ask(&group, "/1", Kind::Segment).await.unwrap(), None);
        let before = server.seen().len();
        let request = get("/2");
        let (answer, ()) = tokio::join!(group.fetch(&request), async {
            if queue_length > 0 {
                waiting(&registry, 1).await;
                tokio::time::advance(2 * queue).await;
            }
        });
        let error = answer.err().unwrap();
        assert_eq!((error.as_str(), error.status()), ("rate_limited", 503));
        assert!(group.spare_turn().is_none(), "nothing is fetched ahead with what is not there");
        assert_eq!(server.seen().len(), before);
        assert_eq!(metric(&registry, "forebay_origin_errors_total", &[("error", "rate_limited")]), 1);
        assert_eq!(metric(&registry, "forebay_origin_rate_limited_total", &[]), 1);
    }
}

#[tokio::test]
async fn playlists_overtake_segments_that_wait_for_the_rate() {
    let server = Scripted::always(answer(200, "segment")).await;
    let rate = Some(Rate { per_second: 5, burst: 1 });
    let limits = OriginLimits { rate, ..limits(16, PATIENCE, 100) };
    let _clock = StandingClock::new();
    let (group, registry) = set_up(&Origin { limits, ..origin(vec![server.server()]) });
    let tasks: Vec<_> = (0..6).map(|_| ask(&group, "/1.m4s", Kind::Segment)).collect();
    waiting(&registry, 5).await;
    let list = ask(&group, "/a.m3u8", Kind::MediaPlaylist);
    waiting(&registry, 6).await;
    for sent in 2..=7 {
        // Time for one request, and for none more.
        tokio::time::advance(Duration::from_millis(202)).await;
        eventually("the next request", || server.seen().len() == sent).await;
    }
    assert_eq!(targets(&server)[..2], ["/1.m4s", "/a.m3u8"]);
    for task in tasks.into_iter().chain([list]) {
        assert_eq!(task.await.unwrap(), None);
    }
}
