//! A second request, and a second group.

use std::sync::atomic::{AtomicBool, Ordering};

use super::scripted::{Refusing, Scripted, Step, answer};
use super::*;
use crate::config::model::{Breaker, Hedge, HedgeAfter};

fn hedge(after: HedgeAfter) -> Option<Hedge> {
    Some(Hedge { after, after_min: Duration::ZERO, share_percent: 100 })
}

fn list(target: &str) -> FetchRequest<'_> {
    FetchRequest { kind: Kind::MediaPlaylist, ..get(target) }
}

fn hedges(registry: &Registry, result: &str) -> u64 {
    metric(registry, "forebay_origin_hedges_total", &[("result", result)])
}

#[tokio::test]
async fn a_second_request_wins_over_a_server_that_is_slow() {
    let slow = Scripted::always(vec![Step::Hold]).await;
    let fast = Scripted::always(answer(200, "playlist")).await;
    let config = Origin {
        hedge: hedge(HedgeAfter::Time(SHORT)),
        limits: limits(2, PATIENCE, 0),
        ..origin(vec![slow.server(), fast.server()])
    };
    let (group, registry) = set_up(&config);
    let mut response = group.fetch(&list("/v.m3u8")).await.unwrap();
    assert_eq!(&*response.server, fast.server().authority());
    assert_eq!(body(&mut response).await.unwrap(), "playlist");
    assert_eq!(hedges(&registry, "won"), 1);
    eventually("the slow one is let go", || slow.open() == 0).await;
    let turns = [group.upstream_peer(&Method::GET).await, group.upstream_peer(&Method::GET).await];
    assert!(turns.iter().all(Result::is_ok), "both turns are given back");
}

#[tokio::test]
async fn a_second_request_that_fails_leaves_the_first_one_its_time() {
    let go = Arc::new(tokio::sync::Notify::new());
    let held = Arc::clone(&go);
    let slow = Scripted::start(move |_, _| {
        let mut steps = vec![Step::Await(Arc::clone(&held))];
        steps.extend(answer(200, "late"));
        steps
    })
    .await;
    let bad = Scripted::start(move |_, _| {
        go.notify_one();
        answer(503, "busy")
    })
    .await;
    let config =
        Origin { hedge: hedge(HedgeAfter::Time(SHORT)), ..origin(vec![slow.server(), bad.server()]) };
    let (group, registry) = set_up(&config);
    let mut response = group.fetch(&list("/v.m3u8")).await.unwrap();
    assert_eq!(body(&mut response).await.unwrap(), "late");
    assert_eq!((hedges(&registry, "lost"), bad.seen().len()), (1, 1));
}

#[tokio::test]
async fn segments_held_reloads_and_fast_answers_are_asked_once() {
    let servers = [Scripted::always(answer(200, "a")).await, Scripted::always(answer(200, "b")).await];
    let config = Origin {
        hedge: hedge(HedgeAfter::Percentile(95)),
        ..origin(servers.iter().map(Scripted::server).collect())
    };
    let (group, registry) = set_up(&config);
    let held = FetchRequest { hold: Some(Duration::ZERO), ..list("/v.m3u8?_HLS_msn=1") };
    for request in [get("/1.m4s"), held, FetchRequest { method: Method::HEAD, ..list("/v.m3u8") }] {
        assert!(group.hedger.is_some() && !group.is_hedged(&request));
    }
    for _ in 0..40 {
        body(&mut group.fetch(&list("/v.m3u8")).await.unwrap()).await.unwrap();
    }
    let asked: usize = servers.iter().map(|server| server.seen().len()).sum();
    // One that was overtaken may not have got as far as the server.
    let most = 40 + hedges(&registry, "won") + hedges(&registry, "lost");
    assert!((40..=most).contains(&(asked as u64)), "{asked} of {most}");
    assert!(group.hedger.as_ref().unwrap().due().is_some(), "the times are known now");
}

#[tokio::test]
async fn second_requests_count_against_the_budgets_and_need_a_turn() {
    for (share, budget, turns) in [(1, 100, 16), (100, 0, 16), (100, 100, 1)] {
        let slow = Scripted::start(|_, _| {
            let mut steps = vec![Step::Pause(Duration::from_millis(20))];
            steps.extend(answer(200, "slow"));
            steps
        })
        .await;
        let mut config = origin(vec![slow.server()]);
        let rule =
            Hedge { share_percent: share, ..hedge(HedgeAfter::Time(Duration::from_millis(1))).unwrap() };
        config.hedge = Some(rule);
        config.retry.budget_percent = budget;
        config.limits.connections = turns;
        let (group, registry) = set_up(&config);
        for _ in 0..20 {
            body(&mut group.fetch(&list("/v.m3u8")).await.unwrap()).await.unwrap();
        }
        let sent = hedges(&registry, "won") + hedges(&registry, "lost") + hedges(&registry, "failed");
        let most = if turns == 1 { 0 } else { u64::from(crate::origin::BUDGET_FLOOR) };
        assert!(sent <= most, "{sent} with {share} {budget} {turns}");
        assert!(hedges(&registry, "skipped") > 0, "with {share} {budget} {turns}");
    }
}

/// Two groups, the first with the second as its fallback.
fn with_fallback(main: Origin, backup: Origin) -> (Origins, Arc<OriginGroup>, Registry) {
    let registry = Registry::new();
    let families = OriginFamilies::new(&registry).unwrap();
    let main = Origin { fallback: Some(1), ..main };
    let origins = Origins::new(&[main, Origin { name: "backup".to_owned(), ..backup }], &families).unwrap();
    let group = Arc::clone(origins.group(0));
    (origins, group, registry)
}

fn fallbacks(registry: &Registry, reason: &str) -> u64 {
    metric(registry, "forebay_origin_fallbacks_total", &[("origin", "main"), ("reason", reason)])
}

#[tokio::test]
async fn a_group_that_fails_is_stood_in_for() {
    let backup = Scripted::always(answer(200, "backup")).await;
    let bad = Scripted::always(answer(503, "busy")).await;
    for main in [Refusing::start().server(), bad.server()] {
        let (_origins, group, registry) = with_fallback(origin(vec![main]), origin(vec![backup.server()]));
        assert_eq!(body(&mut group.fetch(&get("/x")).await.unwrap()).await.unwrap(), "backup");
        assert_eq!(fallbacks(&registry, "failed"), 1);
        let request = FetchRequest { method: Method::DELETE, ..get("/x") };
        let before = backup.seen().len();
        let _ = group.fetch(&request).await;
        assert_eq!(backup.seen().len(), before, "a method that changes things goes nowhere else");
    }
    assert_eq!(bad.seen().len(), 3, "its attempts come first");
}

#[tokio::test]
async fn what_the_fallback_does_not_have_leaves_the_first_word() {
    let bad = Scripted::always(answer(503, "busy")).await;
    for other in [answer(404, "none"), answer(500, "broken"), vec![Step::Close]] {
        let backup = Scripted::always(other).await;
        let (_origins, group, _registry) =
            with_fallback(origin(vec![bad.server()]), origin(vec![backup.server()]));
        let mut response = group.fetch(&get("/x")).await.unwrap();
        assert_eq!(
            (response.header.status.as_u16(), body(&mut response).await.unwrap()),
            (503, "busy".into())
        );
    }
}

#[tokio::test]
async fn a_404_and_a_full_queue_go_nowhere_else() {
    let backup = Scripted::always(answer(200, "backup")).await;
    let server = Scripted::always(answer(404, "none")).await;
    let main = Origin { limits: limits(1, SHORT, 0), ..origin(vec![server.server()]) };
    let (_origins, group, _registry) = with_fallback(main, origin(vec![backup.server()]));
    assert_eq!(group.fetch(&get("/x")).await.unwrap().header.status, 404);
    let turn = group.upstream_peer(&Method::GET).await.unwrap();
    assert_eq!(group.fetch(&get("/x")).await.err().unwrap().as_str(), "queue_full");
    drop(turn);
    assert!(backup.seen().is_empty());
}

#[tokio::test]
async fn an_open_circuit_sends_everything_to_the_fallback_and_a_closed_one_nothing() {
    let backup = Scripted::always(answer(200, "backup")).await;
    let well = Arc::new(AtomicBool::new(false));
    let server = Scripted::start({
        let well = Arc::clone(&well);
        move |_, _| if well.load(Ordering::SeqCst) { answer(200, "main") } else { vec![Step::Close] }
    })
    .await;
    let breaker = Breaker { failures_percent: 50, requests: 2, window: PATIENCE, open: LONG, probes: 1 };
    let main = Origin { breaker: Some(breaker), retry: retry(1, vec![]), ..origin(vec![server.server()]) };
    let (_origins, group, registry) = with_fallback(main, origin(vec![backup.server()]));
    let fetched = || async { body(&mut group.fetch(&get("/x")).await.unwrap()).await.unwrap() };
    for _ in 0..2 {
        assert_eq!(fetched().await, "backup");
    }
    assert!(group.is_open() && group.is_available());
    assert_eq!(fetched().await, "backup");
    assert_eq!(server.seen().len(), 2);
    assert_eq!((fallbacks(&registry, "failed"), fallbacks(&registry, "circuit_open")), (2, 1));
    let peer = group.upstream_peer(&Method::GET).await.unwrap();
    assert_eq!(&*peer.server, backup.server().authority());
    assert!(group.upstream_peer(&Method::POST).await.is_err());
    well.store(true, Ordering::SeqCst);
    pass(LONG).await;
    assert!(!group.is_open(), "it may be probed");
    assert_eq!(fetched().await, "main");
    assert_eq!(metric(&registry, "forebay_origin_breaker_state", &[("origin", "main")]), 0);
}

#[tokio::test]
async fn without_a_usable_server_the_fallback_comes_first_and_the_servers_last() {
    let server = Scripted::always(answer(200, "main")).await;
    let answering = Arc::new(AtomicBool::new(true));
    let backup = Scripted::start({
        let answering = Arc::clone(&answering);
        move |_, _| if answering.load(Ordering::SeqCst) { answer(200, "backup") } else { vec![Step::Close] }
    })
    .await;
    let (_origins, group, registry) =
        with_fallback(origin(vec![server.server()]), origin(vec![backup.server()]));
    group.members.now().servers[0].set_healthy(false);
    assert_eq!(body(&mut group.fetch(&get("/x")).await.unwrap()).await.unwrap(), "backup");
    assert!(server.seen().is_empty());
    assert_eq!(fallbacks(&registry, "unhealthy"), 1);
    answering.store(false, Ordering::SeqCst);
    assert_eq!(body(&mut group.fetch(&get("/x")).await.unwrap()).await.unwrap(), "main");
}

/// While a circuit is probed, what passes through and is no probe goes to the fallback, as what is fetched does.
#[tokio::test]
async fn what_passes_through_beside_the_probes_goes_to_the_fallback() {
    let servers = [Refusing::start(), Refusing::start()];
    let breaker = Breaker { failures_percent: 50, requests: 1, window: PATIENCE, open: LONG, probes: 1 };
    let main = Origin { breaker: Some(breaker), ..origin(vec![servers[0].server()]) };
    let (_origins, group, registry) = with_fallback(main, origin(vec![servers[1].server()]));
    group.upstream_peer(&Method::GET).await.unwrap().answered(503);
    assert!(group.is_open());
    pass(LONG).await;
    assert!(!group.is_open(), "it may be probed");
    let probe = group.upstream_peer(&Method::GET).await.unwrap();
    assert_eq!(&*probe.server, servers[0].server().authority());
    let other = group.upstream_peer(&Method::GET).await.unwrap();
    assert_eq!(&*other.server, servers[1].server().authority());
    assert_eq!(fallbacks(&registry, "circuit_open"), 1);
    let error = group.upstream_peer(&Method::POST).await.err().unwrap();
    assert_eq!(error.as_str(), "circuit_open", "it may not be said twice");
}
