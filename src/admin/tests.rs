#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::clock::Clock;
use crate::config::model::{HookKey, PurgeHook};
use crate::observe::record::tests::hit;

/// A served admin listener; ends when told.
struct Admin {
    address: SocketAddr,
    readiness: Arc<Readiness>,
    drains: Arc<AtomicUsize>,
    metrics: Arc<Metrics>,
    stop: oneshot::Sender<()>,
    served: JoinHandle<std::io::Result<()>>,
}

fn start(token: Option<&str>) -> Admin {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (metrics, readiness) = (Metrics::new(&["a.example"]).unwrap(), Arc::new(Readiness::new()));
    let drains = Arc::new(AtomicUsize::new(0));
    let (counted, gauge) = (Arc::clone(&drains), Arc::clone(&metrics));
    let state = AdminState {
        metrics: Arc::clone(&metrics),
        readiness: Arc::clone(&readiness),
        token: token.map(|token| Secret(token.into())),
        drain: Arc::new(move || {
            counted.fetch_add(1, Ordering::SeqCst);
        }),
        clear: Arc::new(|| Box::pin(async { Ok(()) })),
        purger: Arc::new(crate::purge::tests::purger("")),
        hook: Some(hook()),
        revoker: Arc::new(revoker()),
        fleet: None,
        explained: explained(),
        collectors: vec![Box::new(move || gauge.connections().set(7))],
    };
    let (stop, stopped) = oneshot::channel();
    let served = tokio::spawn(serve(listener, state, async {
        stopped.await.ok();
    }));
    Admin { address, readiness, drains, metrics, stop, served }
}

fn revoker() -> Revoker {
    let registry = prometheus::Registry::new();
    let ledger = crate::revoke::ledger::Ledger::open(None, 3, Clock::system(), &registry).unwrap();
    Revoker::new(Arc::new(ledger), None, vec!["viewer".to_owned()], Clock::system())
}

fn explained() -> Explained {
    let text = "[server]\nhttp = ['127.0.0.1:0']\n[origin.main]\nservers = ['http://127.0.0.1:1']\n\
                [[site]]\nhosts = ['a.example']\norigin = 'main'\n";
    let config = crate::config::parse(text, std::path::Path::new("forebay.toml")).unwrap();
    let families = crate::origin::OriginFamilies::new(&prometheus::Registry::new()).unwrap();
    let origins = crate::origin::Origins::new(&config.origins, &families).unwrap();
    let sites = Arc::new(crate::site::Sites::new(&config, &origins));
    Explained { sites, limits: crate::explain::Limits::of(&config), clock: Clock::system() }
}

/// A hook with one key.
fn hook() -> Hook {
    let key = HookKey { id: "cms".to_owned(), secret: Secret(b"0123456789abcdef".to_vec()) };
    let config = PurgeHook { keys: vec![key], window: std::time::Duration::from_secs(300) };
    Hook::new(&config, Clock::manual(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000)))
}

/// An answer: status, header in lower case, body.
type Answer = (u16, String, String);

impl Admin {
    async fn ask(&self, method: &str, path: &str, headers: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{headers}\r\n",
            self.address
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_ascii_lowercase(), body.to_owned())
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "").await
    }
}

fn json(body: &str) -> Value {
    serde_json::from_str(body).unwrap()
}

#[tokio::test]
async fn metrics_are_prometheus_text_and_collectors_run_first() {
    let admin = start(None);
    admin.metrics.record(&hit());
    let (status, head, body) = admin.get("/metrics").await;
    assert_eq!(status, 200);
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert!(head.contains("cache-control: no-store"), "{head}");
    assert!(body.contains("\nforebay_connections 7\n"), "{body}");
    assert!(body.contains("forebay_requests_total{code=\"200\",kind=\"segment\""), "{body}");
}

#[tokio::test]
async fn a_node_is_alive_before_it_is_ready_and_not_ready_while_draining() {
    let admin = start(None);
    assert_eq!(admin.get("/healthz").await.0, 200);
    let (status, _, body) = admin.get("/readyz").await;
    assert_eq!((status, &json(&body)["checks"][0]["name"]), (503, &json!("started")));
    assert_eq!(json(&body)["ready"], false);

    admin.readiness.set_started();
    let (status, _, body) = admin.get("/readyz").await;
    assert_eq!((status, &json(&body)["ready"]), (200, &json!(true)));

    let (status, _, body) = admin.ask("POST", "/drain", "").await;
    assert_eq!((status, json(&body)), (202, json!({ "status": "draining" })));
    assert_eq!(admin.drains.load(Ordering::SeqCst), 1);
    let (status, _, body) = admin.get("/readyz").await;
    assert_eq!((status, &json(&body)["checks"][1]["ok"]), (503, &json!(false)));
    assert_eq!(admin.get("/healthz").await.0, 200);
}

#[tokio::test]
async fn with_a_token_everything_but_health_needs_it() {
    let admin = start(Some("s3cret"));
    admin.readiness.set_started();
    for headers in [
        "",
        "Authorization: Bearer\r\n",
        "Authorization: Bearer \r\n",
        "Authorization: Bearer s3cre\r\n",
        "Authorization: Bearer s3crett\r\n",
        "Authorization: Basic s3cret\r\n",
        "Authorization: s3cret\r\n",
    ] {
        for (method, path) in [("GET", "/"), ("GET", "/metrics"), ("POST", "/purge"), ("POST", "/drain")] {
            let (status, head, body) = admin.ask(method, path, headers).await;
            assert_eq!(status, 401, "{method} {path} {headers}");
            assert!(head.contains("www-authenticate: bearer realm="), "{head}");
            assert!(json(&body)["error"].as_str().unwrap().contains("Authorization: Bearer"), "{body}");
        }
    }
    assert_eq!(admin.drains.load(Ordering::SeqCst), 0);
    assert_eq!((admin.get("/healthz").await.0, admin.get("/readyz").await.0), (200, 200));
    for scheme in ["Bearer", "bearer"] {
        let headers = format!("Authorization: {scheme} s3cret\r\n");
        assert_eq!(admin.ask("GET", "/metrics", &headers).await.0, 200);
    }
    assert_eq!(admin.ask("POST", "/drain", "Authorization: Bearer s3cret\r\n").await.0, 202);
}

#[tokio::test]
async fn a_page_of_another_origin_cannot_drain_the_node() {
    let admin = start(None);
    for origin in ["http://evil.example", "null", &format!("http://evil.example@{}", admin.address)] {
        let (status, _, _) = admin.ask("POST", "/drain", &format!("Origin: {origin}\r\n")).await;
        assert_eq!(status, 403, "{origin}");
    }
    assert_eq!(admin.drains.load(Ordering::SeqCst), 0);
    let own = format!("Origin: http://{}\r\n", admin.address);
    assert_eq!(admin.ask("POST", "/drain", &own).await.0, 202);
}

#[tokio::test]
async fn an_unknown_path_is_404_and_a_wrong_method_405_in_json() {
    let admin = start(None);
    let (status, _, body) = admin.get("/metric").await;
    assert_eq!(status, 404);
    assert!(json(&body)["error"].as_str().unwrap().contains("GET /"), "{body}");
    let (status, head, body) = admin.get("/drain").await;
    assert_eq!(status, 405);
    assert!(head.contains("allow: post"), "{head}");
    assert!(json(&body)["error"].is_string(), "{body}");
    assert_eq!(admin.ask("DELETE", "/healthz", "").await.0, 405);
    assert_eq!(admin.drains.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn the_index_lists_exactly_the_paths_that_answer() {
    let admin = start(None);
    let (status, head, body) = admin.get("/").await;
    assert_eq!(status, 200);
    assert!(head.contains("content-type: text/html"), "{head}");
    for (method, path, answer) in ENDPOINTS {
        assert!(body.contains(path) && body.contains(answer), "{body}");
        assert!(![404, 405].contains(&admin.ask(method, path, "").await.0), "{method} {path}");
    }
}

#[tokio::test]
async fn a_body_or_a_header_beyond_its_limit_is_refused() {
    let admin = start(None);
    let headers = format!("Content-Length: {}\r\n", BODY_BYTES_MAX + 1);
    assert_eq!(admin.ask("POST", "/drain", &headers).await.0, 413);
    assert_eq!(admin.drains.load(Ordering::SeqCst), 0);
    let headers = format!("X-Long: {}\r\n", "x".repeat(server::HEADER_BYTES_MAX));
    assert_eq!(admin.ask("GET", "/healthz", &headers).await.0, 431);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_no_header_is_cut_off() {
    let admin = start(None);
    let begin = tokio::time::Instant::now();
    let mut stream = TcpStream::connect(admin.address).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\n").await.unwrap();
    let mut answer = Vec::new();
    // Time is not real here: it jumps to the next timer when nothing else is left to do.
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    assert!(begin.elapsed() < 2 * server::HEADER_TIMEOUT, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn after_shutdown_idle_connections_are_closed_and_no_new_ones_taken() {
    let admin = start(None);
    let mut idle = TcpStream::connect(admin.address).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut answer = [0; 15];
    idle.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    admin.stop.send(()).unwrap();
    admin.served.await.unwrap().unwrap();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    assert!(TcpStream::connect(admin.address).await.is_err());
}

#[tokio::test]
async fn the_hook_asks_for_a_signature_and_not_for_the_token() {
    let admin = start(Some("s3cret"));
    for headers in ["", "Authorization: Bearer s3cret\r\n"] {
        let (status, head, body) = admin.ask("POST", "/purge/hook", headers).await;
        assert_eq!((status, &json(&body)["reason"]), (401, &json!("missing")), "{body}");
        assert!(head.contains("www-authenticate: forebay-signature"), "{head}");
    }
    // HMAC-SHA256 of `1700000000.` under the key: the body is empty, and so names nothing.
    let signature = "3e0153239c488f9cbe8103099169ba4aa1fb4c71fee92bb6f1fc768e7ebdcfe0";
    let headers = format!("Forebay-Signature: t=1700000000, id=cms, v1={signature}\r\nContent-Length: 0\r\n");
    let (status, _, body) = admin.ask("POST", "/purge/hook", &headers).await;
    assert_eq!((status, &json(&body)["reason"]), (400, &json!("body")), "{body}");
    let (status, _, body) = admin.ask("POST", "/purge/hook", &headers).await;
    assert_eq!((status, &json(&body)["reason"]), (409, &json!("replayed")), "{body}");
}

#[tokio::test]
async fn a_purge_body_of_untold_length_is_bounded_too() {
    let admin = start(None);
    let mut stream = TcpStream::connect(admin.address).await.unwrap();
    let head = "POST /purge HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = format!("{:x}\r\n{}\r\n0\r\n\r\n", BODY_BYTES_MAX + 1, " ".repeat(BODY_BYTES_MAX + 1));
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(chunk.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn a_request_is_explained_by_the_running_configuration() {
    let admin = start(None);
    let path =
        "/explain?url=https%3A%2F%2Fa.example%2Fa.m4s%3Fx%3D1&response_header=Cache-Control:+max-age%3D60";
    let (status, _, body) = admin.get(path).await;
    assert_eq!(status, 200, "{body}");
    let told = json(&body);
    assert_eq!((&told["cache"], &told["key"]), (&json!("store"), &json!("a.example /a.m4s?x=1")), "{told}");
    assert_eq!(
        (&told["answer"]["ttl_seconds"], &told["answer"]["ttl_from"]),
        (&json!(60.0), &json!("max-age"))
    );
    for (query, part) in [
        ("", "url: must be given once"),
        ("?url=%2Fa", "url: \"/a\" is no absolute URL"),
        ("?url=http://a/&colour=red", "colour: is not a parameter"),
        ("?url=http://a/&header=x", "header: \"x\" is no header field"),
        ("?url=http://a/&status=99", "status: 99 is not the status"),
    ] {
        let (status, _, body) = admin.get(&format!("/explain{query}")).await;
        assert_eq!(status, 400, "{query}");
        assert!(json(&body)["error"].as_str().unwrap().contains(part), "{query}: {body}");
    }
}
