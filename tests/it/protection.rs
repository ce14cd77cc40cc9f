//! How an origin is kept from harm, however many viewers there are; and what viewers get meanwhile. The origin counts.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::support::client::{Request, get};
use crate::support::content::{assert_same_bytes, content};
use crate::support::edge::{Edge, Setup};
use crate::support::origin::{Answer, Origin};
use crate::support::wait::{Gate, eventually};

const KEPT: &str = "max-age=60";
const STALE: &str = "max-age=0, stale-if-error=600";

/// All of these at once; the statuses, in the order of the targets.
async fn herd(edge: &Edge, targets: impl Iterator<Item = String>) -> Vec<u16> {
    let mut viewers = Vec::new();
    for target in targets {
        viewers.push(edge.open(&Request::get(&target)).await);
    }
    let mut statuses = Vec::new();
    for mut viewer in viewers {
        statuses.push(viewer.head("GET").await.status);
        viewer.rest().await;
    }
    statuses
}

/// A herd of viewers of distinct segments: from its beginning on, the origin never sees more requests than the burst and
/// the rate allow, those that are sent again and those that pass through included, and every viewer is answered.
#[tokio::test]
async fn a_herd_reaches_the_origin_no_faster_than_the_rate() {
    let origin = Origin::start().await;
    let stamps = Arc::new(Mutex::new(Vec::new()));
    origin.otherwise({
        let stamps = Arc::clone(&stamps);
        move |request, nth| {
            stamps.lock().expect("a lock").push(Instant::now());
            // Some are tried again.
            let fails = nth == 0 && request.path().ends_with("7.m4s");
            if fails { Answer::status(503) } else { Answer::ok("media").cache_control(KEPT) }
        }
    });
    let edge = Setup::before(&origin)
        .origin(
            "limits = { requests_per_second = 25, burst = 5, queue = \"1m\" }\nretry = { budget = \"100%\" }",
        )
        .more("[[site.rule]]\npath = \"/pass/*\"\nbypass = true")
        .start()
        .await;
    let began = Instant::now();
    let targets = (0..40).map(|number| match number % 10 {
        0 => format!("/pass/{number}.m4s"),
        _ => format!("/{number}.m4s"),
    });
    let statuses = herd(&edge, targets).await;
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    let stamps = stamps.lock().expect("a lock").clone();
    assert!(stamps.len() >= 44, "{} requests", stamps.len());
    for (place, stamp) in stamps.iter().enumerate() {
        let since = (*stamp - began).as_secs_f64();
        assert!((place + 1) as f64 <= 5.0 + 25.0 * since + 1e-6, "request {} after {since} s", place + 1);
    }
    let metrics = edge.metrics().await;
    assert!(metrics.sum("forebay_origin_rate_limited_total", &[("origin", "main")]) > 0.0);
}

/// One turn, segments in line for it, then a playlist: when the turn is free, the playlist goes first.
#[tokio::test]
async fn playlists_overtake_segments_in_the_queue() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    origin.on("/held.m4s", Answer::ok("media").hold(&gate));
    origin.otherwise(|request, _| match request.path().ends_with(".m3u8") {
        true => Answer::ok("#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n1.m4s\n#EXT-X-ENDLIST\n"),
        false => Answer::ok("media").cache_control(KEPT),
    });
    let edge = Setup::before(&origin).origin("limits = { connections = 1, queue = \"1m\" }").start().await;
    let mut viewers = vec![edge.open(&Request::get("/held.m4s")).await];
    origin.await_requests("/held.m4s", 1).await;
    for (place, target) in ["/1.m4s", "/2.m4s", "/3.m4s", "/list.m3u8"].into_iter().enumerate() {
        viewers.push(edge.open(&Request::get(target)).await);
        edge.await_metric("forebay_origin_queued_requests", &[], (place + 1) as f64).await;
    }
    gate.open();
    for mut viewer in viewers {
        assert_eq!(viewer.head("GET").await.status, 200);
        viewer.rest().await;
    }
    let order: Vec<String> = origin.recorded().iter().map(|request| request.path().to_owned()).collect();
    assert_eq!(order, ["/held.m4s", "/list.m3u8", "/1.m4s", "/2.m4s", "/3.m4s"]);
}

/// An origin that answers everything with 503 is asked a fifth more often than viewers ask, and a few times, not twice or
/// three times as often.
#[tokio::test]
async fn the_retry_budget_bounds_what_a_failing_origin_is_asked() {
    let origin = Origin::start().await;
    origin.otherwise(|_, _| Answer::status(503));
    let edge = Setup::before(&origin)
        .origin("retry = { attempts = 3, budget = \"20%\" }\nbreaker = { enabled = false }")
        .start()
        .await;
    const REQUESTS: usize = 100;
    let began = Instant::now();
    let statuses = herd(&edge, (0..REQUESTS).map(|number| format!("/{number}.m4s"))).await;
    assert!(statuses.iter().all(|status| *status == 503), "{statuses:?}");
    let asked = origin.recorded().len();
    // A few are allowed in each ten seconds, of which the last part alone may have begun anew.
    let few = 5 * (1 + usize::try_from(began.elapsed().as_secs() / 9).expect("a short time"));
    assert!(asked > REQUESTS && asked <= REQUESTS + REQUESTS / 5 + few, "{asked} requests");
    let metrics = edge.metrics().await;
    assert!(metrics.sum("forebay_origin_retry_budget_exhausted_total", &[("origin", "main")]) > 0.0);
}

/// While the circuit is open the origin is not asked: what is stale is served where its window allows, else 503 with
/// `Retry-After`.
#[tokio::test]
async fn an_open_circuit_serves_what_is_stale_and_else_503() {
    let origin = Origin::start().await;
    let body = content(1, 50_000);
    for path in ["/kept.m4s", "/large.m4s"] {
        origin.on_each(path, vec![Answer::ok(body.clone()).cache_control(STALE), Answer::status(500)]);
    }
    origin.otherwise(|_, _| Answer::status(503));
    let rule = "breaker = { failures = \"50%\", requests = 6, window = \"10m\", open = \"10m\" }";
    let edge = Setup::before(&origin).origin(&format!("retry = {{ attempts = 1 }}\n{rule}")).start().await;
    assert_same_bytes(edge.get("/kept.m4s").await.whole(), &body, "fresh");
    for number in 0..6 {
        assert_eq!(edge.get(&format!("/{number}.m4s")).await.status(), 503);
    }
    edge.await_metric("forebay_origin_breaker_state", &[("origin", "main")], 2.0).await;
    let asked = origin.recorded().len();
    for _ in 0..3 {
        let stale = edge.get("/kept.m4s").await;
        assert_eq!((stale.status(), stale.outcome()), (200, "hit_stale"));
        assert_same_bytes(stale.whole(), &body, "stale");
    }
    let refused = edge.get("/other.m4s").await;
    assert_eq!((refused.status(), refused.get("retry-after")), (503, Some("1")));
    assert_eq!(refused.body, "circuit_open\n");
    let list = edge.get("/other.m3u8").await;
    assert_eq!((list.status(), list.get("retry-after")), (503, Some("1")));
    assert_eq!(origin.recorded().len(), asked, "the origin was not asked");
    let told = get(edge.admin(), "/readyz").await;
    assert_eq!(told.status(), 200, "it keeps no traffic away");
    assert!(String::from_utf8_lossy(&told.body).contains("nothing is sent to: main"), "{:?}", told.body);
    let told = get(edge.admin(), "/explain?url=http://edge.test/other.m4s").await;
    assert!(String::from_utf8_lossy(&told.body).contains("\"circuit\":\"open\""), "{:?}", told.body);
}

/// After its time the circuit lets a probe through, whose success closes it.
#[tokio::test]
async fn a_probe_closes_the_circuit_of_an_origin_that_is_well_again() {
    let origin = Origin::start().await;
    origin.otherwise(|_, _| Answer::status(503));
    let rule = "breaker = { requests = 4, window = \"10m\", open = \"300ms\", probes = 1 }";
    let edge = Setup::before(&origin).origin(&format!("retry = {{ attempts = 1 }}\n{rule}")).start().await;
    for number in 0..4 {
        assert_eq!(edge.get(&format!("/{number}.m4s")).await.status(), 503);
    }
    edge.await_metric("forebay_origin_breaker_state", &[], 2.0).await;
    origin.otherwise(|_, _| Answer::ok("media").cache_control(KEPT));
    let mut number = 0;
    let answered = crate::support::wait::within("the probe", async {
        loop {
            number += 1;
            let response = edge.get(&format!("/probe-{number}.m4s")).await;
            if response.status() == 200 {
                return response;
            }
            assert_eq!(response.body, "circuit_open\n");
        }
    });
    assert_same_bytes(answered.await.whole(), b"media", "the probe");
    assert_eq!(edge.metrics().await.sum("forebay_origin_breaker_state", &[]), 0.0);
    assert_eq!(edge.get("/after.m4s").await.status(), 200);
}

/// Asks for what `next` names until the server of `labels` is taken out.
async fn ask_until_ejected(edge: &Edge, labels: &[(&str, &str)], mut next: impl FnMut() -> String) {
    crate::support::wait::within("the server to be taken out", async {
        while edge.metrics().await.sum("forebay_origin_ejected", labels) == 0.0 {
            edge.get(&next()).await;
        }
    })
    .await;
}

/// A server that breaks its bodies, or answers with errors, is taken out after a few failures in a row, and comes back when
/// it is well.
#[tokio::test]
async fn a_server_that_fails_is_taken_out_and_let_back() {
    for broken in [false, true] {
        let (bad, good) = (Origin::start().await, Origin::start().await);
        let media = || Answer::ok(content(1, 20_000)).cache_control(KEPT);
        bad.otherwise(move |_, _| if broken { media().close_after(5_000) } else { Answer::status(503) });
        good.otherwise(move |_, _| media());
        let edge = Setup::with_servers(&[bad.url(), good.url()])
            .origin("eject = { failures = 3, time = \"1s\" }")
            .start()
            .await;
        let label = bad.url().replace("http://", "");
        let labels = [("server", label.as_str())];
        let mut number = 0;
        // One that has broken off a body is left alone for two seconds: how many requests that takes is the machine's.
        ask_until_ejected(&edge, &labels, || {
            number += 1;
            format!("/{number}.m4s")
        })
        .await;
        bad.otherwise(move |_, _| media());
        let asked = bad.recorded().len();
        crate::support::wait::within("it is asked again", async {
            while bad.recorded().len() == asked {
                number += 1;
                let response = edge.get(&format!("/{number}.m4s")).await;
                assert_same_bytes(response.whole(), &content(1, 20_000), "meanwhile");
            }
        })
        .await;
        assert_eq!(edge.metrics().await.sum("forebay_origin_ejected", &labels), 0.0);
    }
}

/// What passes through takes out a server that fails in a row, and none whose answers are whole now and then.
#[tokio::test]
async fn what_passes_through_takes_a_server_out_that_fails_in_a_row() {
    let (bad, good) = (Origin::start().await, Origin::start().await);
    let media = || Answer::ok(content(1, 20_000));
    let asked = Arc::new(AtomicUsize::new(0));
    // Two failures, then an answer as it should be.
    bad.otherwise(move |_, _| match asked.fetch_add(1, Ordering::SeqCst) % 3 {
        2 => media(),
        _ => Answer::status(503),
    });
    good.otherwise(move |_, _| media());
    let edge = Setup::with_servers(&[bad.url(), good.url()])
        .origin("eject = { failures = 3, time = \"1m\" }")
        .more("[[site.rule]]\npath = \"/pass/*\"\nbypass = true")
        .start()
        .await;
    let label = bad.url().replace("http://", "");
    let labels = [("server", label.as_str())];
    for number in 0..24 {
        edge.get(&format!("/pass/{number}.m4s")).await;
    }
    assert!(bad.recorded().len() >= 6, "{} requests", bad.recorded().len());
    assert_eq!(edge.metrics().await.sum("forebay_origin_ejected", &labels), 0.0, "not three in a row");
    bad.otherwise(|_, _| Answer::status(503));
    let mut number = 0;
    ask_until_ejected(&edge, &labels, || {
        number += 1;
        format!("/pass/{number}.m4s")
    })
    .await;
}

/// A playlist whose server is silent is had from the other one.
#[tokio::test]
async fn a_second_request_wins_over_a_silent_server() {
    let (silent, well) = (Origin::start().await, Origin::start().await);
    let list = "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n1.m4s\n#EXT-X-ENDLIST\n";
    let gate = Gate::closed();
    let held = gate.clone();
    silent.otherwise(move |_, _| Answer::ok(list).hold(&held));
    well.otherwise(move |_, _| Answer::ok(list));
    let edge = Setup::with_servers(&[silent.url(), well.url()])
        .origin("hedge = { after = \"50ms\", share = \"100%\" }\ntimeouts = { first_byte = \"10m\" }")
        .start()
        .await;
    for number in 0..4 {
        assert_same_bytes(
            edge.get(&format!("/{number}.m3u8")).await.whole(),
            list.as_bytes(),
            "the playlist",
        );
    }
    let metrics = edge.metrics().await;
    assert!(metrics.sum("forebay_origin_hedges_total", &[("result", "won")]) >= 1.0);
    eventually("the silent server is let go", || !silent.recorded().is_empty()).await;
    gate.open();
}

/// The main group is dead: its fallback answers, which is counted and said once; a group without one fails.
#[tokio::test]
async fn the_fallback_answers_for_a_dead_group() {
    let (dead, backup) = (Origin::refusing().await, Origin::start().await);
    backup.otherwise(|_, _| Answer::ok("media").cache_control(KEPT));
    backup.on("/none.m4s", Answer::status(404));
    let section = format!("[origin.backup]\nservers = [\"{}\"]", backup.url());
    let edge = Setup::with_servers(&[dead.url()])
        .origin("fallback = \"backup\"\nbreaker = { requests = 5, failures = \"90%\", window = \"10m\", open = \"10m\" }")
        .more(&section)
        .start()
        .await;
    for number in 0..10 {
        let response = edge.get(&format!("/{number}.m4s")).await;
        assert_same_bytes(response.whole(), b"media", "from the fallback");
    }
    let none = edge.get("/none.m4s").await;
    assert_eq!(none.status(), 503, "what the fallback does not have says nothing for the group");
    let metrics = edge.metrics().await;
    let count = |reason: &str| {
        metrics.sum("forebay_origin_fallbacks_total", &[("origin", "main"), ("reason", reason)])
    };
    assert_eq!((count("failed"), count("circuit_open")), (5.0, 6.0));
    let said = edge.everything_written().matches("requests go to the fallback of an origin").count();
    assert_eq!(said, 1);
}
