//! The health check on viewers' listeners says whether the node should get traffic, and leaves no trace among viewers.

use crate::support::client::{self, Http1, Http2, Request};
use crate::support::edge::Setup;
use crate::support::origin::{Answer, Origin};
use crate::support::wait::within;

const PATH: &str = "/.well-known/forebay/ready";
const SERVER: &str = "health_path = \"/.well-known/forebay/ready\"";

/// On every listener, in every version of HTTP, with any host or none.
#[tokio::test]
async fn a_ready_node_says_so_whatever_the_site() {
    let origin = Origin::start().await;
    let server = format!("{SERVER}\nh2c = true");
    let edge = Setup::before(&origin).hosts("[\"edge.test\"]").server(&server).tls().start().await;
    for host in ["edge.test", "10.0.0.9", "elsewhere.test:8080"] {
        let response = edge.ask(&Request::get(PATH).host(host)).await;
        assert_eq!((response.status(), &response.whole()[..]), (200, &b"ready\n"[..]), "{host}");
        assert_eq!(response.get("cache-control"), Some("no-store"));
    }
    assert_eq!(edge.get(&format!("{PATH}?probe=1")).await.status(), 200);
    let head = edge.ask(&Request::head(PATH)).await;
    assert_eq!((head.status(), head.get("content-length"), head.whole().len()), (200, Some("6"), 0));
    let post = edge.ask(&Request::new("POST", PATH).body("x")).await;
    assert_eq!((post.status(), post.get("allow")), (405, Some("GET, HEAD")));
    assert_eq!(Http2::connect(edge.http()).await.get(PATH).await.status(), 200);
    let (https, roots) = edge.https();
    let mut over_tls = Http1::over_tls(client::tls(https, roots, &["http/1.1"]).await.unwrap());
    assert_eq!(over_tls.ask(&Request::get(PATH)).await.status(), 200);
    let mut without_host = Http1::connect(edge.http()).await;
    without_host.send_bytes(format!("GET {PATH} HTTP/1.0\r\n\r\n").as_bytes()).await;
    assert_eq!(without_host.response("GET").await.status(), 200);

    let metrics = edge.metrics().await;
    assert_eq!(metrics.sum("forebay_health_checks_total", &[("code", "200")]), 8.0);
    assert_eq!(metrics.sum("forebay_health_checks_total", &[("code", "405")]), 1.0);
    assert_eq!(metrics.sum("forebay_requests_total", &[]), 0.0);
    assert_eq!(origin.recorded().len(), 0);
    // The line of the first viewer is the first.
    origin.on("/a.ts", Answer::ok("media"));
    assert_eq!(edge.get("/a.ts").await.status(), 200);
    let lines = edge.await_access_lines(1).await;
    assert_eq!((lines.len(), lines[0]["path"].as_str()), (1, Some("/a.ts")));
}

/// While it drains a node goes on serving, and says that it wants no more.
#[tokio::test]
async fn a_draining_node_is_not_ready() {
    let origin = Origin::start().await;
    let server = format!("{SERVER}\ndrain_delay = \"60s\"\ndrain_timeout = \"0s\"");
    let edge = Setup::before(&origin).server(&server).start().await;
    origin.on("/a.ts", Answer::ok("media"));
    let mut probe = Http1::connect(edge.http()).await;
    assert_eq!(probe.ask(&Request::get(PATH)).await.status(), 200);
    edge.terminate();
    let response = within("a node that is not ready", async {
        loop {
            let response = probe.ask(&Request::get(PATH)).await;
            if response.status() != 200 {
                return response;
            }
        }
    })
    .await;
    assert_eq!((response.status(), &response.whole()[..]), (503, &b"not ready\n"[..]));
    assert_eq!(edge.get("/a.ts").await.status(), 200);
}

/// Nothing is taken from the site where nobody has asked for it.
#[tokio::test]
async fn without_the_key_the_path_is_the_origins() {
    let origin = Origin::start().await;
    origin.on(PATH, Answer::ok("the origin's"));
    let edge = Setup::before(&origin).start().await;
    assert_eq!(&edge.get(PATH).await.whole()[..], b"the origin's");
}
