//! The demo page: its own small HTTP server with the page, the player, the figures and the audience's switch.
//!
//! Decides what the page is told; what it shows is `page.html`. The page listener stands beside the node, not behind
//! it: everything the player fetches comes from the node, across origins. Started by `forebay demo`.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use super::audience::Audience;
use super::client::Client;
use super::links::{Links, Stream};
use super::stats::Stats;

include!(concat!(env!("OUT_DIR"), "/hls_js.rs"));

/// hls.js, as it was when this binary was built; None: it was not there.
pub const PLAYER: Option<&[u8]> = HLS_JS;

const PAGE: &str = include_str!("page.html");

/// What the page stands on.
pub struct Page {
    /// The player's source text.
    pub player: &'static [u8],
    /// Where the node listens for viewers.
    pub node: SocketAddr,
    /// Where the node tells its metrics.
    pub admin: SocketAddr,
    /// Makes the player's addresses.
    pub links: Arc<Links>,
}

struct Shared {
    player: &'static [u8],
    node: SocketAddr,
    admin: Client,
    links: Arc<Links>,
    audience: Audience,
}

/// The signed addresses of the streams.
#[derive(Debug, Serialize, Deserialize)]
pub struct Streams {
    /// The live stream.
    pub live: String,
    /// The Low-Latency stream.
    pub low_latency: String,
    /// The loop once.
    pub vod: String,
}

impl Page {
    /// Serves on a listener until `shutdown` is ready.
    ///
    /// # Errors
    /// What the listener reports.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        axum::serve(listener, self.router()).with_graceful_shutdown(shutdown).await
    }

    /// The page as an axum service.
    pub fn router(self) -> Router {
        let audience = Audience::new(self.node, Arc::clone(&self.links));
        let admin = Client::new(self.admin);
        let shared = Shared { player: self.player, node: self.node, admin, links: self.links, audience };
        Router::new()
            .route("/", get(page))
            .route("/hls.js", get(player))
            .route("/streams", get(streams))
            .route("/stats", get(stats))
            .route("/audience", post(audience_set))
            .with_state(Arc::new(shared))
    }
}

/// The addresses of the streams at a node, for a page reached under this host name.
pub fn streams_at(links: &Links, host: &str, node: SocketAddr) -> Streams {
    let at = |stream| format!("http://{host}:{}{}", node.port(), links.playlist("page", stream));
    Streams { live: at(Stream::Live), low_latency: at(Stream::LowLatency), vod: at(Stream::Vod) }
}

async fn page() -> Response {
    const HEADERS: [(header::HeaderName, &str); 2] =
        [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")];
    (HEADERS, PAGE).into_response()
}

async fn player(State(shared): State<Arc<Shared>>) -> Response {
    const HEADERS: [(header::HeaderName, &str); 2] =
        [(header::CONTENT_TYPE, "text/javascript; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")];
    (HEADERS, shared.player).into_response()
}

/// The streams, under the host name by which the browser reached the page.
async fn streams(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let own = shared.node.ip();
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).map(without_port);
    let host = match host {
        Some(host) if is_host(host) => host.to_owned(),
        _ if own.is_ipv6() => format!("[{own}]"),
        _ => own.to_string(),
    };
    ([(header::CACHE_CONTROL, "no-store")], Json(streams_at(&shared.links, &host, shared.node)))
        .into_response()
}

/// The node's figures; 502 with the reason when it does not tell them.
async fn stats(State(shared): State<Arc<Shared>>) -> Response {
    match shared.admin.get("/metrics").await {
        Ok(answer) if answer.status == 200 => {
            let stats = Stats::from_metrics(&String::from_utf8_lossy(&answer.body));
            ([(header::CACHE_CONTROL, "no-store")], Json(stats)).into_response()
        }
        Ok(answer) => (StatusCode::BAD_GATEWAY, format!("the node's /metrics answered {}\n", answer.status))
            .into_response(),
        Err(error) => (StatusCode::BAD_GATEWAY, format!("{error}\n")).into_response(),
    }
}

#[derive(Deserialize)]
struct Wish {
    stream: Stream,
    viewers: usize,
}

#[derive(Serialize)]
struct Granted {
    viewers: usize,
}

async fn audience_set(State(shared): State<Arc<Shared>>, Query(wish): Query<Wish>) -> Json<Granted> {
    Json(Granted { viewers: shared.audience.set(wish.stream, wish.viewers) })
}

/// A `Host` header's value without its port.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Whether a name can stand in a URL as it is: a DNS name, an IPv4 address, or an IPv6 address in brackets.
fn is_host(name: &str) -> bool {
    let inner = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    match inner {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;
    use crate::clock::Clock;

    async fn started(admin: SocketAddr) -> Client {
        let links =
            Arc::new(Links::new(Clock::system(), Box::new(|viewer, _| format!("/hdnts=id={viewer}"))));
        let page = Page { player: b"player", node: "127.0.0.1:7001".parse().unwrap(), admin, links };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { page.serve(listener, std::future::pending()).await });
        Client::new(address)
    }

    /// An address where nobody listens: its listener is closed again.
    async fn nobody() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
    }

    #[tokio::test]
    async fn the_page_and_its_player_are_served() {
        let page = started(nobody().await).await;
        let html = page.get("/").await.unwrap();
        assert_eq!(html.status, 200);
        assert!(html.body.starts_with(b"<!doctype html>"));
        assert_eq!(&page.get("/hls.js").await.unwrap().body[..], b"player");
    }

    #[tokio::test]
    async fn the_streams_are_at_the_host_by_which_the_page_was_reached() {
        let page = started(nobody().await).await;
        let streams: Streams = serde_json::from_slice(&page.get("/streams").await.unwrap().body).unwrap();
        assert_eq!(streams.live, "http://127.0.0.1:7001/hdnts=id=page/live/index.m3u8");
        assert_eq!(streams.low_latency, "http://127.0.0.1:7001/hdnts=id=page/ll/index.m3u8");
        assert_eq!(streams.vod, "http://127.0.0.1:7001/hdnts=id=page/vod/index.m3u8");
    }

    #[tokio::test]
    async fn a_node_that_is_gone_is_named_in_a_502() {
        let admin = nobody().await;
        let answer = started(admin).await.get("/stats").await.unwrap();
        assert_eq!(answer.status, 502);
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        assert!(text.contains(&admin.to_string()), "{text}");
    }

    #[test]
    fn only_host_names_and_addresses_go_into_a_url() {
        for (header, host) in
            [("a.example:80", "a.example"), ("[::1]:8080", "[::1]"), ("127.0.0.1", "127.0.0.1")]
        {
            assert_eq!(without_port(header), host);
            assert!(is_host(host), "{host}");
        }
        for name in ["", "a/b", "a@b", "[::x]", "a\"b"] {
            assert!(!is_host(name), "{name}");
        }
    }
}
