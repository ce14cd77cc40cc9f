//! What the admin listener tells moves as documented, for a sequence of requests whose outcomes are known.

use crate::support::client::{Request, ask, get};
use crate::support::content::content;
use crate::support::edge::Setup;
use crate::support::origin::{Answer, Origin};

/// A known sequence moves each counter by what it should, under the documented labels.
#[tokio::test]
async fn counters_move_with_what_happened() {
    let origin = Origin::start().await;
    origin.on("/a.m4s", Answer::ok(content(1, 1000)).cache_control("max-age=60"));
    origin.on("/r.bin", Answer::ok(content(2, 500)).cache_control("max-age=0").etag("\"1\""));
    origin.on("/own.bin", Answer::ok(content(3, 100)).cache_control("no-store"));
    origin.on("/none.m4s", Answer::status(404));
    let edge = Setup::before(&origin).start().await;
    for path in ["/a.m4s", "/a.m4s", "/a.m4s", "/r.bin", "/r.bin", "/own.bin", "/own.bin", "/none.m4s"] {
        edge.get(path).await;
    }
    edge.ask(&Request::get("/a.m4s").range("bytes=0-9")).await;
    edge.ask(&Request::new("DELETE", "/a.m4s")).await;

    let metrics = edge.await_metric("forebay_requests_total", &[], 10.0).await;
    let requests = |labels: &[(&str, &str)]| metrics.sum("forebay_requests_total", labels);
    assert_eq!(requests(&[]), 10.0);
    assert_eq!(requests(&[("site", "*")]), 10.0);
    let segment = ("kind", "segment");
    assert_eq!(requests(&[segment, ("outcome", "hit"), ("code", "200")]), 2.0);
    assert_eq!(requests(&[segment, ("outcome", "hit"), ("code", "206")]), 1.0);
    assert_eq!(requests(&[segment, ("outcome", "miss"), ("code", "200")]), 1.0);
    assert_eq!(requests(&[segment, ("outcome", "miss"), ("code", "404")]), 1.0);
    assert_eq!(requests(&[("outcome", "denied"), ("code", "405")]), 1.0);
    assert_eq!(requests(&[("kind", "other"), ("outcome", "hit_revalidated"), ("code", "200")]), 1.0);
    let own = requests(&[("kind", "other"), ("outcome", "bypass")])
        + requests(&[("kind", "other"), ("outcome", "miss")]);
    assert_eq!(own, 3.0, "two uncacheable answers and the first of the revalidated object");

    let bytes = |outcome| metrics.sum("forebay_response_bytes_total", &[segment, ("outcome", outcome)]);
    assert_eq!((bytes("hit"), bytes("miss")), (2010.0, 1000.0));
    assert_eq!(metrics.sum("forebay_origin_requests_total", &[("origin", "main")]), 6.0);
    assert_eq!(metrics.sum("forebay_origin_response_bytes_total", &[("origin", "main")]), 1700.0);
    assert_eq!(metrics.sum("forebay_time_to_first_byte_seconds_count", &[]), 10.0);
    assert_eq!(metrics.sum("forebay_request_duration_seconds_count", &[]), 10.0);
    assert!(metrics.sum("forebay_cache_objects", &[("tier", "memory")]) >= 2.0);
    assert!(metrics.sum("forebay_cache_bytes", &[("tier", "memory")]) >= 1500.0);
}

/// The families that dashboards start from are there from the beginning.
#[tokio::test]
async fn the_documented_families_are_there_from_the_start() {
    let origin = Origin::start().await;
    let edge = Setup::before(&origin).start().await;
    let metrics = edge.metrics().await;
    for name in ["forebay_build_info", "forebay_config_last_reload_successful"] {
        assert_eq!(metrics.sum(name, &[]), 1.0, "{name}");
    }
    for name in [
        "forebay_cache_bytes",
        "forebay_cache_objects",
        "forebay_cache_evictions_total",
        "forebay_connections",
        "forebay_access_log_dropped_total",
        "forebay_origin_requests_total",
    ] {
        assert!(metrics.has(name), "{name}");
    }
}

/// Joined fetches and open connections are counted.
#[tokio::test]
async fn joined_fetches_are_counted() {
    let origin = Origin::start().await;
    let gate = crate::support::wait::Gate::closed();
    origin.on("/a.m4s", Answer::ok(content(1, 1000)).cache_control("max-age=60").gate_at(500, &gate));
    let edge = Setup::before(&origin).start().await;
    let mut viewers = Vec::new();
    for _ in 0..4 {
        let mut viewer = edge.open(&Request::get("/a.m4s")).await;
        viewer.head("GET").await;
        viewers.push(viewer);
    }
    assert!(edge.metrics().await.sum("forebay_connections", &[]) >= 4.0);
    gate.open();
    for viewer in &mut viewers {
        viewer.rest().await;
    }
    let metrics = edge.await_metric("forebay_requests_total", &[], 4.0).await;
    assert_eq!(metrics.sum("forebay_coalesced_requests_total", &[]), 3.0);
    assert_eq!(metrics.sum("forebay_requests_total", &[("outcome", "coalesced")]), 3.0);
}

/// Viewers of a stream are counted by the directory of its multivariant playlist.
#[tokio::test]
async fn viewers_are_counted_by_stream() {
    let origin = Origin::start().await;
    let master = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n720p/index.m3u8\n";
    origin.on("/live/ch1/master.m3u8", Answer::ok(master).cache_control("max-age=60"));
    origin.on("/live/ch1/720p/1.m4s", Answer::ok(content(1, 100)).cache_control("max-age=60"));
    let edge = Setup::before(&origin).start().await;
    for agent in ["one", "two", "three"] {
        for path in ["/live/ch1/master.m3u8", "/live/ch1/720p/1.m4s"] {
            edge.ask(&Request::get(path).header("user-agent", agent)).await.whole();
        }
    }
    let metrics = edge.await_metric("forebay_viewers", &[("stream", "/live/ch1")], 3.0).await;
    assert_eq!(metrics.sum("forebay_viewers", &[("stream", "/live/ch1")]), 3.0);
}

/// `/healthz` and `/readyz` answer 200 on a serving node; unknown paths do not.
#[tokio::test]
async fn health_and_readiness_are_told() {
    let origin = Origin::start().await;
    let edge = Setup::before(&origin).start().await;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(get(edge.admin(), path).await.status(), 200, "{path}");
    }
    assert_eq!(get(edge.admin(), "/nothing-here").await.status(), 404);
    assert_eq!(ask(edge.admin(), &Request::new("POST", "/metrics").body("")).await.status(), 405);
    // The viewers' listener serves none of it.
    origin.otherwise(|request, _| Answer::ok(format!("origin's {}", request.path())));
    assert_eq!(edge.get("/metrics").await.whole(), "origin's /metrics");
}

/// With `admin_token_file`, what an operator reads needs the token; a wrong one is refused.
#[tokio::test]
async fn the_admin_listener_asks_for_its_token() {
    let origin = Origin::start().await;
    let edge = Setup::before(&origin)
        .server("admin_token_file = \"DIR/admin.token\"")
        .file("admin.token", "correct-horse\n")
        .start()
        .await;
    let with = |value: &str| Request::get("/metrics").header("authorization", value);
    assert_eq!(get(edge.admin(), "/metrics").await.status(), 401);
    assert_eq!(ask(edge.admin(), &with("Bearer wrong")).await.status(), 401);
    assert_eq!(ask(edge.admin(), &with("Bearer correct-horse")).await.status(), 200);
    let (_, written) = edge.stop().await;
    assert!(!written.contains("correct-horse"));
}
