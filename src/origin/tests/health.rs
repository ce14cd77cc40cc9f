//! Health checks take a server out and bring it back.

use std::sync::atomic::{AtomicU16, Ordering};

use tokio::sync::watch;

use super::scripted::{Scripted, Seen, Step, answer};
use super::*;
use crate::config::model::Health;

const CHECK: &str = "/healthz?from=edge";

fn is_check(request: &Seen) -> bool {
    request.head.starts_with(&format!("GET {CHECK} HTTP/1.1\r\n"))
}

/// A server that answers checks with the status held in `health` (0: by closing) and everything else with `text`.
async fn server(health: &Arc<AtomicU16>, text: &'static str) -> Scripted {
    let health = Arc::clone(health);
    Scripted::start(move |_, request| match (is_check(request), health.load(Ordering::SeqCst)) {
        (true, 0) => vec![Step::Close],
        (true, status) => answer(status, ""),
        (false, _) => answer(200, text),
    })
    .await
}

fn checked(servers: Vec<OriginServer>) -> Origin {
    let health = Health {
        path: CHECK.to_owned(),
        interval: Duration::from_millis(5),
        timeout: PATIENCE,
        unhealthy_after: 2,
        healthy_after: 2,
        statuses: vec![(200, 299)],
        body: None,
        certificate: Duration::ZERO,
    };
    Origin { health: Some(health), ..origin(servers) }
}

fn start(config: &Origin) -> (Origins, Arc<OriginGroup>, Registry, watch::Sender<bool>) {
    let registry = Registry::new();
    let origins =
        Origins::new(std::slice::from_ref(config), &OriginFamilies::new(&registry).unwrap()).unwrap();
    let (stop, stopped) = watch::channel(false);
    origins.start_health_checks(&stopped);
    let group = Arc::clone(origins.group(0));
    (origins, group, registry, stop)
}

fn health(group: &OriginGroup) -> Vec<bool> {
    group.servers_health().into_iter().map(|(_, healthy)| healthy).collect()
}

fn asked(server: &Scripted) -> usize {
    server.seen().iter().filter(|request| !is_check(request)).count()
}

#[tokio::test]
async fn a_server_that_fails_its_checks_gets_no_requests_until_it_passes_them() {
    let status = [Arc::new(AtomicU16::new(200)), Arc::new(AtomicU16::new(200))];
    let servers = [server(&status[0], "a").await, server(&status[1], "b").await];
    let (_origins, group, registry, _stop) = start(&checked(servers.iter().map(Scripted::server).collect()));
    assert_eq!(health(&group), [true, true], "healthy until a check says otherwise");
    let gauge =
        || metric(&registry, "forebay_origin_healthy", &[("server", &servers[0].server().authority())]);
    assert_eq!(gauge(), 1);

    for failing in [500, 302, 0] {
        status[0].store(failing, Ordering::SeqCst);
        eventually("the failing server is out", || health(&group) == [false, true]).await;
        assert_eq!(gauge(), 0);
        let before = asked(&servers[0]);
        for _ in 0..4 {
            assert_eq!(body(&mut group.fetch(&get("/x")).await.unwrap()).await.unwrap(), "b");
        }
        assert_eq!(asked(&servers[0]), before);

        status[0].store(204, Ordering::SeqCst);
        eventually("the passing server is back", || health(&group) == [true, true]).await;
        assert_eq!(gauge(), 1);
        for _ in 0..4 {
            body(&mut group.fetch(&get("/x")).await.unwrap()).await.unwrap();
        }
        assert!(asked(&servers[0]) > before);
    }
    assert!(metric(&registry, "forebay_origin_requests_total", &[("reason", "health_check")]) > 0);
}

#[tokio::test]
async fn with_no_healthy_server_all_are_tried() {
    let status = Arc::new(AtomicU16::new(503));
    let servers = [server(&status, "a").await, server(&status, "b").await];
    let (_origins, group, _registry, _stop) = start(&checked(servers.iter().map(Scripted::server).collect()));
    eventually("both are out", || health(&group) == [false, false]).await;
    for _ in 0..4 {
        assert_eq!(group.fetch(&get("/x")).await.unwrap().header.status, 200);
    }
    assert!(servers.iter().all(|server| asked(server) == 2));
}

#[tokio::test]
async fn a_server_that_does_not_answer_a_check_is_out() {
    let silent = Scripted::always(vec![Step::Hold]).await;
    let mut config = checked(vec![silent.server()]);
    config.health.as_mut().unwrap().timeout = SHORT;
    let (_origins, group, _registry, _stop) = start(&config);
    eventually("it is out", || health(&group) == [false]).await;
}

#[tokio::test]
async fn checks_do_not_wait_for_a_turn_and_take_none() {
    let status = Arc::new(AtomicU16::new(200));
    let server = server(&status, "a").await;
    let mut config = checked(vec![server.server()]);
    config.limits = limits(1, SHORT, 0);
    let (_origins, group, _registry, _stop) = start(&config);
    let _turn = group.upstream_peer(&Method::GET).await.unwrap();
    status.store(500, Ordering::SeqCst);
    eventually("it is out", || health(&group) == [false]).await;
}

#[tokio::test]
async fn checks_make_connections_of_their_own() {
    let status = Arc::new(AtomicU16::new(200));
    let server = server(&status, "a").await;
    let (_origins, group, _registry, _stop) = start(&checked(vec![server.server()]));
    body(&mut group.fetch(&get("/x")).await.unwrap()).await.unwrap();
    let before = server.seen().len();
    eventually("checks are made", || server.seen().len() >= before + 3).await;
    let seen = server.seen();
    let fetched = seen.iter().find(|request| !is_check(request)).unwrap().connection;
    assert!(seen.iter().filter(|request| is_check(request)).all(|check| check.connection != fetched));
}

#[tokio::test]
async fn checks_end_on_shutdown_and_with_their_origins() {
    let silent = Scripted::always(vec![Step::Hold]).await;
    let config = checked(vec![silent.server(), silent.server()]);

    // In the middle of a check that would never end by itself.
    let (origins, group, _registry, stop) = start(&config);
    eventually("checks are under way", || silent.open() == 2).await;
    stop.send(true).unwrap();
    eventually("no check is left", || silent.open() == 0).await;
    eventually("no task is left", || stop.receiver_count() == 0).await;
    drop((origins, group));

    let registry = Registry::new();
    let origins = Origins::new(&[checked(vec![])], &OriginFamilies::new(&registry).unwrap());
    assert!(origins.is_err(), "a group needs a server");

    let status = Arc::new(AtomicU16::new(200));
    let answering = server(&status, "a").await;
    let (origins, group, _registry, stop) = start(&checked(vec![answering.server()]));
    eventually("checks are made", || !answering.seen().is_empty()).await;
    drop((origins, group));
    eventually("no task is left", || stop.receiver_count() == 0).await;
}

#[tokio::test]
async fn statuses_and_the_text_of_the_body_decide() {
    let large = format!("{}state=well", "x".repeat(40_000));
    for (status, text, statuses, wanted, passes) in [
        (200, "state=well", vec![(200, 299)], Some("state=well"), true),
        (200, large.as_str(), vec![(200, 299)], Some("state=well"), true),
        (200, "state=ill", vec![(200, 299)], Some("state=well"), false),
        (200, "", vec![(200, 299)], Some("x"), false),
        (404, "none", vec![(200, 200), (400, 404)], None, true),
        (204, "", vec![(200, 200)], None, false),
    ] {
        let server = Scripted::always(answer(status, text)).await;
        let mut config = checked(vec![server.server()]);
        let health = config.health.as_mut().unwrap();
        (health.statuses, health.body) = (statuses, wanted.map(str::to_owned));
        let (_origins, group, _registry, _stop) = start(&config);
        if passes {
            // From unhealthy, so that it is a check that says so.
            group.members.now().servers[0].set_healthy(false);
        }
        eventually("the checks say so", || super::health::health(&group) == [passes]).await;
        let before = server.seen().len();
        eventually("and go on saying so", || server.seen().len() >= before + 4).await;
        assert_eq!(super::health::health(&group), [passes], "{status} {wanted:?}");
    }
}

#[tokio::test]
async fn a_body_without_end_is_not_read_for_ever() {
    let endless = std::iter::repeat_n(super::scripted::send("x".repeat(16_384)), 64);
    let mut steps = vec![super::scripted::send("HTTP/1.1 200 OK\r\n\r\n")];
    steps.extend(endless);
    steps.push(Step::Hold);
    let server = Scripted::always(steps).await;
    let mut config = checked(vec![server.server()]);
    config.health.as_mut().unwrap().body = Some("y".to_owned());
    let (_origins, group, _registry, _stop) = start(&config);
    eventually("it is out", || health(&group) == [false]).await;
}
