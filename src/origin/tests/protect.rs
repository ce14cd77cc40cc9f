//! Retry budget, circuit breaker, ejection, the time of a whole transfer.

use super::scripted::{Refusing, Scripted, Step, answer, send};
use super::*;
use crate::config::model::{Breaker, Eject, Rate};
use crate::origin::members::{Found, Members};
use crate::origin::own::Own;

fn breaker() -> Breaker {
    Breaker { failures_percent: 50, requests: 4, window: PATIENCE, open: LONG, probes: 2 }
}

fn eject(time: Duration) -> Eject {
    Eject { failures: 3, time, time_max: PATIENCE, share_percent: 50 }
}

#[tokio::test]
async fn the_budget_bounds_what_a_failing_origin_is_asked() {
    let server = Scripted::always(answer(503, "busy")).await;
    let mut config = origin(vec![server.server()]);
    config.retry = Retry { budget_percent: 20, ..retry(3, vec![503]) };
    let (group, registry) = set_up(&config);
    const REQUESTS: usize = 100;
    for _ in 0..REQUESTS {
        assert_eq!(group.fetch(&get("/x")).await.unwrap().header.status, 503);
    }
    let most = REQUESTS + REQUESTS / 5 + crate::origin::BUDGET_FLOOR as usize;
    let asked = server.seen().len();
    assert!(asked > REQUESTS && asked <= most, "{asked} of {most}");
    let retries = metric(&registry, "forebay_origin_retries_total", &[]) as usize;
    assert_eq!(retries, asked - REQUESTS);
    assert!(metric(&registry, "forebay_origin_retry_budget_exhausted_total", &[]) > 0);
}

#[tokio::test]
async fn an_open_circuit_sends_nothing_and_probes_close_it() {
    let server = Scripted::start(|number, _| match number {
        0..4 => vec![Step::Close],
        _ => answer(200, "segment"),
    })
    .await;
    let config =
        Origin { retry: retry(1, vec![503]), breaker: Some(breaker()), ..origin(vec![server.server()]) };
    let (group, registry) = set_up(&config);
    let state = || metric(&registry, "forebay_origin_breaker_state", &[]);
    for _ in 0..4 {
        assert_eq!(group.fetch(&get("/x")).await.err().unwrap().as_str(), "closed");
    }
    assert_eq!(state(), 2);
    assert!(group.is_open() && !group.is_available());
    let error = group.fetch(&get("/x")).await.err().unwrap();
    assert_eq!((error.as_str(), error.status()), ("circuit_open", 503));
    assert_eq!(group.upstream_peer(&Method::GET).await.err().unwrap().as_str(), "circuit_open");
    assert!(group.spare_turn().is_none());
    assert_eq!(server.seen().len(), 4, "nothing was sent");
    pass(LONG).await;
    assert!(!group.is_open(), "it may be probed");
    assert!(group.spare_turn().is_none(), "what nobody waits for is no probe");
    for _ in 0..2 {
        body(&mut group.fetch(&get("/x")).await.unwrap()).await.unwrap();
    }
    assert_eq!(state(), 0);
    assert!(group.is_available() && group.spare_turn().is_some());
}

#[tokio::test]
async fn statuses_such_as_404_and_held_reloads_open_no_circuit() {
    let server = Scripted::start(|_, seen| match seen.head.contains("_HLS_msn") {
        true => answer(503, "late"),
        false => answer(404, "none"),
    })
    .await;
    let config =
        Origin { retry: retry(1, vec![503]), breaker: Some(breaker()), ..origin(vec![server.server()]) };
    let (group, registry) = set_up(&config);
    for _ in 0..20 {
        assert_eq!(group.fetch(&get("/x")).await.unwrap().header.status, 404);
        let reload = FetchRequest { hold: Some(PATIENCE), ..get("/v.m3u8?_HLS_msn=1") };
        assert_eq!(group.fetch(&reload).await.unwrap().header.status, 503);
    }
    assert_eq!(metric(&registry, "forebay_origin_breaker_state", &[]), 0);
}

#[tokio::test]
async fn bodies_that_break_open_the_circuit() {
    let cut = vec![send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"), Step::Close];
    let server = Scripted::always(cut).await;
    let config = Origin { breaker: Some(breaker()), ..origin(vec![server.server()]) };
    let (group, _registry) = set_up(&config);
    for _ in 0..4 {
        body(&mut group.fetch(&get("/x")).await.unwrap()).await.unwrap_err();
    }
    assert!(group.is_open());
}

#[tokio::test]
async fn a_server_that_fails_in_a_row_is_ejected_and_comes_back() {
    let good = Scripted::always(answer(200, "segment")).await;
    for bad in [
        vec![Step::Close],
        answer(503, "busy"),
        vec![send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"), Step::Close],
    ] {
        let bad =
            Scripted::start(move |number, _| if number < 3 { bad.clone() } else { answer(200, "well") })
                .await;
        let config = Origin { eject: Some(eject(PATIENCE)), ..origin(vec![bad.server(), good.server()]) };
        let (group, registry) = set_up(&config);
        let label = bad.server().authority();
        let ejected = || metric(&registry, "forebay_origin_ejected", &[("server", &label)]);
        while ejected() == 0 {
            if let Ok(mut response) = group.fetch(&get("/x")).await {
                let _ = body(&mut response).await;
            }
        }
        assert_eq!(bad.seen().len(), 3);
        assert_eq!(
            group.servers_health().into_iter().map(|(_, usable)| usable).collect::<Vec<_>>(),
            [false, true]
        );
        let mut response = group.fetch(&get("/x")).await.unwrap();
        assert_eq!(&*response.server, good.server().authority());
        body(&mut response).await.unwrap();
        pass(PATIENCE).await;
        eventually("it is back", || ejected() == 0).await;
        // One that broke bodies is asked last for a moment more.
        tokio::time::timeout(PATIENCE, async {
            while bad.seen().len() == 3 {
                body(&mut group.fetch(&get("/x")).await.unwrap()).await.unwrap();
            }
        })
        .await
        .expect("it is asked again");
    }
}

#[tokio::test]
async fn servers_that_refuse_are_ejected_but_the_last_one() {
    let refusing = [Refusing::start(), Refusing::start()];
    let config = Origin {
        eject: Some(Eject { share_percent: 100, ..eject(PATIENCE) }),
        ..origin(refusing.iter().map(Refusing::server).collect())
    };
    let (group, registry) = set_up(&config);
    for _ in 0..10 {
        assert_eq!(group.fetch(&get("/x")).await.err().unwrap().as_str(), "connect");
    }
    assert_eq!(metric(&registry, "forebay_origin_ejected", &[]), 1);
}

#[tokio::test]
async fn a_server_that_broke_a_body_is_not_the_first_one_asked_again() {
    let cut = vec![send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"), Step::Close];
    let bad = Scripted::always(cut).await;
    let good = Scripted::always(answer(200, "segment")).await;
    let (group, _registry) = set_up(&origin(vec![bad.server(), good.server()]));
    body(&mut group.fetch(&get("/x")).await.unwrap()).await.unwrap_err();
    for _ in 0..3 {
        assert_eq!(body(&mut group.fetch(&get("/x")).await.unwrap()).await.unwrap(), "segment");
    }
}

#[tokio::test]
async fn what_passes_through_counts_for_the_server_and_the_circuit() {
    let servers = [Refusing::start(), Refusing::start()];
    let config = Origin {
        eject: Some(eject(PATIENCE)),
        breaker: Some(Breaker { requests: 8, ..breaker() }),
        ..origin(servers.iter().map(Refusing::server).collect())
    };
    let (group, registry) = set_up(&config);
    for place in 0..8 {
        let mut peer = group.upstream_peer(&Method::GET).await.unwrap();
        match place % 3 {
            0 => peer.connect_failed(),
            1 => peer.answered(503),
            _ => peer.broke(),
        }
    }
    assert_eq!(metric(&registry, "forebay_origin_ejected", &[]), 1);
    assert!(group.is_open());
    let (group, _registry) = set_up(&origin(vec![servers[0].server()]));
    let peer = group.upstream_peer(&Method::GET).await.unwrap();
    let most = (0..100).filter(|_| peer.may_retry()).count();
    assert!(most <= 1 + crate::origin::BUDGET_FLOOR as usize, "{most}");
}

#[tokio::test]
async fn a_transfer_that_takes_too_long_as_a_whole_breaks_off() {
    let server = Scripted::start(|_, seen| match seen.head.contains("drip") {
        true => {
            let mut steps = vec![send("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")];
            steps.extend((0..1000).flat_map(|_| [send("x"), Step::Pause(Duration::from_millis(5))]));
            steps
        }
        false => vec![Step::Hold],
    })
    .await;
    let mut config = origin(vec![server.server()]);
    config.timeouts =
        OriginTimeouts { first_byte: 2 * LONG, between_bytes: 2 * LONG, total: LONG, ..config.timeouts };
    let (group, registry) = set_up(&config);
    let mut drips = group.fetch(&get("/drip")).await.unwrap();
    let (broken, ()) = tokio::join!(body(&mut drips), pass(LONG));
    let error = broken.unwrap_err();
    assert_eq!((error.as_str(), error.status()), ("total_timeout", 504));
    assert_eq!(metric(&registry, "forebay_origin_errors_total", &[("error", "total_timeout")]), 1);
    let request = get("/silent");
    let (silent, ()) = tokio::join!(group.fetch(&request), async {
        eventually("it is asked", || server.seen().len() == 2).await;
        pass(LONG).await;
    });
    assert_eq!(silent.err().unwrap().as_str(), "first_byte_timeout");
    let mut peer = group.upstream_peer(&Method::GET).await.unwrap();
    assert!(peer.count_body(1).is_ok());
    pass(LONG).await;
    assert!(peer.count_body(1).is_err(), "the time is over");
}

#[tokio::test]
async fn what_the_origin_holds_on_purpose_is_added_to_the_whole_time() {
    let go = Arc::new(tokio::sync::Notify::new());
    let held = Arc::clone(&go);
    let server = Scripted::start(move |_, _| {
        let mut steps = vec![Step::Await(Arc::clone(&held))];
        steps.extend(answer(200, "playlist"));
        steps
    })
    .await;
    let mut config = origin(vec![server.server()]);
    config.timeouts.total = SHORT;
    let (group, _registry) = set_up(&config);
    let release = tokio::spawn(async move {
        tokio::time::sleep(4 * SHORT).await;
        go.notify_one();
    });
    let request = FetchRequest { hold: Some(PATIENCE), ..get("/v.m3u8?_HLS_msn=7") };
    assert_eq!(body(&mut group.fetch(&request).await.unwrap()).await.unwrap(), "playlist");
    release.await.unwrap();
}

/// A transfer may take too long for its reader's sake: that is laid at no server's door.
#[tokio::test]
async fn a_transfer_that_takes_too_long_as_a_whole_ejects_nobody_and_opens_no_circuit() {
    let steps = vec![send("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nx"), Step::Hold];
    let servers = [Scripted::always(steps.clone()).await, Scripted::always(steps).await];
    let mut config = origin(servers.iter().map(Scripted::server).collect());
    let times = OriginTimeouts { first_byte: LONG, between_bytes: LONG, total: PATIENCE, ..config.timeouts };
    config.timeouts = times;
    // For longer than all transfers together.
    config.eject = Some(Eject { failures: 1, time: LONG, time_max: LONG, share_percent: 50 });
    config.breaker = Some(Breaker { window: LONG, ..breaker() });
    let (group, registry) = set_up(&config);
    for _ in 0..4 {
        let mut stalls = group.fetch(&get("/x")).await.unwrap();
        let (broken, ()) = tokio::join!(body(&mut stalls), pass(PATIENCE));
        assert_eq!(broken.unwrap_err().as_str(), "total_timeout");
    }
    assert_eq!(metric(&registry, "forebay_origin_ejected", &[]), 0);
    assert!(!group.is_open());
}

/// An answer that has begun well is no success before it has ended well, and an interim one is none at all.
#[tokio::test]
async fn a_server_that_breaks_off_what_passes_through_is_ejected() {
    let servers = [Refusing::start(), Refusing::start()];
    let config =
        Origin { eject: Some(eject(PATIENCE)), ..origin(servers.iter().map(Refusing::server).collect()) };
    let (group, registry) = set_up(&config);
    for _ in 0..2 {
        let mut peer = group.upstream_peer(&Method::GET).await.unwrap();
        peer.answered(200);
        peer.broke();
    }
    for _ in 0..4 {
        let mut peer = group.upstream_peer(&Method::GET).await.unwrap();
        peer.answered(200);
        peer.ended();
    }
    assert_eq!(metric(&registry, "forebay_origin_ejected", &[]), 0, "not in a row");
    for _ in 0..6 {
        let mut peer = group.upstream_peer(&Method::GET).await.unwrap();
        peer.answered(200);
        peer.broke();
    }
    assert_eq!(metric(&registry, "forebay_origin_ejected", &[]), 1);

    let config = Origin { breaker: Some(breaker()), ..origin(vec![servers[0].server()]) };
    let (group, _registry) = set_up(&config);
    for _ in 0..4 {
        let mut peer = group.upstream_peer(&Method::GET).await.unwrap();
        peer.answered(103);
        peer.answered(503);
    }
    assert!(group.is_open(), "what follows an interim answer counts");
}

/// A pooled connection that the server has closed meanwhile is no fault, also where the rate keeps the request from being
/// repeated at once.
#[tokio::test]
async fn a_closed_connection_and_a_used_up_rate_are_no_failure() {
    let server = Scripted::start(|place, _| match place {
        0 => answer(200, "segment"),
        _ => vec![Step::Close],
    })
    .await;
    let mut config = origin(vec![server.server()]);
    config.limits = OriginLimits { rate: Some(Rate { per_second: 1, burst: 2 }), ..limits(16, SHORT, 16) };
    config.breaker = Some(Breaker { requests: 2, ..breaker() });
    let _clock = StandingClock::new();
    let (group, registry) = set_up(&config);
    assert_eq!(body(&mut group.fetch(&get("/x")).await.unwrap()).await.unwrap(), "segment");
    let request = get("/x");
    let (answer, ()) = tokio::join!(group.fetch(&request), async {
        let waits = || metric(&registry, "forebay_origin_queued_requests", &[]) == 1;
        eventually("it waits for the rate", waits).await;
        tokio::time::advance(2 * SHORT).await;
    });
    let error = answer.err().unwrap();
    assert_eq!(server.seen().len(), 2, "it was sent on the connection that was kept");
    assert_eq!(error.as_str(), "rate_limited");
    assert!(!group.is_open());
    assert_eq!(metric(&registry, "forebay_origin_errors_total", &[("error", "rate_limited")]), 1);
}

/// What still comes from a server that has moved says nothing of the one that has its name now.
#[tokio::test]
async fn a_server_that_has_moved_leaves_its_successor_no_gauge() {
    let registry = Registry::new();
    let families = OriginFamilies::new(&registry).unwrap();
    let config = Origin { eject: Some(Eject { failures: 1, ..eject(PATIENCE) }), ..origin(Vec::new()) };
    let members = Members::new(&config, Own::default(), &families).unwrap();
    let found = |name: &str, port: u16| Found {
        authority: name.to_owned(),
        place: OriginServer { tls: false, host: name.to_owned(), port: 80 },
        addresses: vec![([127, 0, 0, 1], port).into()],
        weight: 1,
    };
    members.replace(vec![found("a", 1), found("b", 2)]);
    let old = Arc::clone(&members.now().servers[0]);
    members.replace(vec![found("a", 3), found("b", 2)]);
    old.record.failed();
    old.set_healthy(false);
    drop(old);
    assert_eq!(metric(&registry, "forebay_origin_ejected", &[]), 0);
    assert_eq!(metric(&registry, "forebay_origin_healthy", &[]), 2);
}
