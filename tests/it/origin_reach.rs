//! How an origin is spoken to, through the whole node: HTTP/2, the host and fields that it is sent, and the proof that requests
//! come from the node.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::support::client::{End, Http1, Http2, Request};
use crate::support::content::{assert_same_bytes, content};
use crate::support::edge::{Edge, Setup};
use crate::support::origin::{Answer, Origin};

const MIB: usize = 1024 * 1024;

/// An origin that speaks HTTP/2 without TLS. `/SEED/LEN` is a body, `/broken/...` one that is reset halfway, and what is posted
/// comes back.
struct Http2Origin {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Http2Origin {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Http2Origin {
    async fn start() -> Http2Origin {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        let serving = tokio::spawn(async move {
            let mut serving = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                serving.spawn(async move {
                    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        tokio::spawn(answer(request, respond));
                    }
                });
            }
        });
        Http2Origin { address, connections, serving }
    }

    fn setup(&self) -> Setup {
        Setup::with_servers(&[format!("http://{}", self.address)]).origin("http2 = true")
    }
}

async fn answer(request: http::Request<h2::RecvStream>, mut respond: h2::server::SendResponse<Bytes>) {
    let parts: Vec<&str> = request.uri().path().split('/').collect();
    let numbers: Vec<usize> = parts.iter().filter_map(|part| part.split('.').next()?.parse().ok()).collect();
    let breaks = parts.contains(&"broken");
    let mut body = match numbers[..] {
        [seed, len] => content(seed as u64, len),
        _ => Bytes::from(format!("{:?} {:?}", request.uri().authority(), request.method())),
    };
    let length = body.len();
    let mut posted = request.into_body();
    let mut all = Vec::new();
    while let Some(Ok(piece)) = posted.data().await {
        let _ = posted.flow_control().release_capacity(piece.len());
        all.extend_from_slice(&piece);
    }
    let header = http::Response::builder().header("cache-control", "max-age=60");
    let header = match all.is_empty() {
        true => header.header("content-length", length),
        false => {
            body = all.into();
            header
        }
    };
    let Ok(mut stream) = respond.send_response(header.body(()).expect("a header"), false) else { return };
    let until = if breaks { body.len() / 2 } else { body.len() };
    body.truncate(until);
    while !body.is_empty() {
        stream.reserve_capacity(body.len());
        let Some(Ok(room)) = std::future::poll_fn(|context| stream.poll_capacity(context)).await else {
            return;
        };
        let piece = body.split_to(room.min(body.len()));
        if stream.send_data(piece, body.is_empty() && !breaks).is_err() {
            return;
        }
    }
    if breaks {
        stream.send_reset(h2::Reason::INTERNAL_ERROR);
    }
}

/// Segments of 2 MiB come from an origin over one connection of HTTP/2, byte for byte, to viewers of either version, and are
/// kept; one that breaks off is broken for its viewers, and not kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn segments_come_over_one_connection_of_http2() {
    let origin = Http2Origin::start().await;
    let edge = Arc::new(origin.setup().server("h2c = true").start().await);
    let mut viewers = JoinSet::new();
    for seed in 0..12_u64 {
        let edge = Arc::clone(&edge);
        viewers.spawn(async move {
            let target = format!("/{seed}/{}.ts", 2 * MIB);
            let response = match seed % 2 {
                0 => edge.get(&target).await,
                _ => Http2::connect(edge.http()).await.get(&target).await,
            };
            assert_eq!(response.status(), 200);
            assert_same_bytes(response.whole(), &content(seed, 2 * MIB), &target);
            assert_eq!(response.outcome(), "miss");
        });
    }
    viewers.join_all().await;
    assert_eq!(origin.connections.load(Ordering::SeqCst), 1);
    for _ in 0..2 {
        let broken = edge.get(&format!("/broken/1/{}.ts", 2 * MIB)).await;
        match broken.status() {
            200 => assert!(matches!(broken.end, End::Broken(_)), "{:?}", broken.end),
            status => assert_eq!(status, 502),
        }
    }
    let again = edge.get(&format!("/3/{}.ts", 2 * MIB)).await;
    assert_eq!(again.outcome(), "hit");
    assert_eq!(origin.connections.load(Ordering::SeqCst), 1);
}

/// What passes through goes over HTTP/2, too, with and without a body, to viewers of either version.
#[tokio::test]
async fn what_passes_through_goes_over_http2() {
    let origin = Http2Origin::start().await;
    let setup = origin.setup().server("h2c = true").site("methods = [\"GET\", \"HEAD\", \"POST\"]");
    let edge = setup.more("[[site.rule]]\npath = \"/pass/*\"\nbypass = true").start().await;
    let body = content(1, 700_000);
    for round in 0..3 {
        let got = edge.get("/pass/1/700000").await;
        assert_eq!((got.status(), got.outcome()), (200, "bypass"), "round {round}");
        assert_same_bytes(got.whole(), &body, "passed through");
        let over = Http2::connect(edge.http()).await.get("/pass/1/700000").await;
        assert_same_bytes(over.whole(), &body, "over HTTP/2");
        let posted = edge.ask(&Request::new("POST", "/pass/form").body("a form")).await;
        assert_eq!((posted.status(), posted.whole().as_ref()), (200, &b"a form"[..]));
        let head = edge.ask(&Request::head("/pass/1/700000")).await;
        assert_eq!((head.status(), head.get("content-length")), (200, Some("700000")));
    }
    let mut broken = Http1::connect(edge.http()).await;
    broken.send(&Request::get("/pass/broken/1/700000")).await;
    let (_, end) = match broken.try_head("GET").await {
        Some(head) if head.status == 200 => broken.rest().await,
        _ => return,
    };
    assert!(matches!(end, End::Broken(_)));
}

/// A group's changes to the header hold for what is fetched and for what passes through; the node's own fields stay.
#[tokio::test]
async fn fields_are_set_and_removed_on_every_way_to_an_origin() {
    let origin = Origin::start().await;
    origin.otherwise(|_, _| Answer::ok("x"));
    let headers = "headers = { set = { X-CDN = \"forebay\", x-key = { file = \"DIR/key\" } }, \
                   remove = [\"User-Agent\", \"x-forwarded-for\"] }";
    let rules = "[[site.rule]]\npath = \"/pass/*\"\nbypass = true";
    let setup = Setup::before(&origin).origin(headers).file("key", "s3cr3t of the origin\n").more(rules);
    let edge = setup.start().await;
    for path in ["/a.ts", "/pass/a.ts"] {
        let request = Request::get(path).header("x-cdn", "a viewer's").header("user-agent", "player");
        assert_eq!(edge.ask(&request).await.status(), 200);
        let asked = origin.last(path);
        assert_eq!(asked.header("x-cdn"), Some("forebay"), "{path}");
        assert_eq!(asked.header("x-key"), Some("s3cr3t of the origin"));
        assert_eq!((asked.header("user-agent"), asked.header("x-forwarded-for")), (None, None));
        assert_eq!(asked.header("via"), Some("1.1 forebay"));
    }
    let (_, written) = edge.stop().await;
    assert!(!written.contains("s3cr3t"));
}

/// An origin that answers by host is told the viewer's, in one spelling and without port, whichever way a request takes.
#[tokio::test]
async fn the_viewers_host_is_forwarded_in_one_spelling() {
    let origin = Origin::start().await;
    origin.otherwise(|_, _| Answer::ok("x").cache_control("max-age=60"));
    let rules = "[[site.rule]]\npath = \"/pass/*\"\nbypass = true";
    let setup =
        Setup::before(&origin).origin("forward_host = true").hosts("[\"vod.example.com\"]").more(rules);
    let edge = setup.start().await;
    for path in ["/a.ts", "/pass/a.ts"] {
        let request = Request::get(path).host("VOD.example.com.:8443");
        assert_eq!(edge.ask(&request).await.status(), 200, "{path}");
        assert_eq!(origin.last(path).header("host"), Some("vod.example.com"), "{path}");
    }
}

/// The Python of docs/origins.md, and then this.
fn python(more: &str) -> String {
    let guide = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/origins.md")).unwrap();
    let block = guide.split("```python\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let ran = Command::new("python3").arg("-c").arg(format!("{block}\n{more}")).output().expect("python3");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap().trim().to_owned()
}

const KEY: &str = "0123456789abcdef0123456789abcdef";
const NEXT_KEY: &str = "fedcba9876543210fedcba9876543210";

/// Each request proves where it comes from, by every key, to the verifier that the guide gives to origins; nothing that
/// a viewer sends gets through, and nothing else is proved.
#[tokio::test]
async fn every_request_has_a_proof_that_the_documented_verifier_takes() {
    let origin = Origin::start().await;
    origin.otherwise(|_, _| Answer::ok("x"));
    let proof = "host = \"origin.example.com\"\nproof = { header = \"X-Proof\", keys = [\
                 { id = \"p1\", secret_file = \"DIR/p1\" }, { id = \"p2\", secret_file = \"DIR/p2\" }] }";
    let rules = "[[site.rule]]\npath = \"/pass/*\"\nbypass = true";
    let setup = Setup::before(&origin).origin(proof).file("p1", KEY).file("p2", NEXT_KEY).more(rules);
    let edge: Edge = setup.start().await;
    for (method, path) in [("GET", "/a%20b.ts"), ("GET", "/pass/a.ts"), ("HEAD", "/pass/a.ts")] {
        let target = format!("{path}?x=1&y=%2F");
        let forged = Request::new(method, &target).header("x-proof", "t=1, v1=p1:00").header("X-Proof", "b");
        assert_eq!(edge.ask(&forged).await.status(), 200);
        let asked = origin.last(path);
        let fields: Vec<_> = asked.headers.iter().filter(|(name, _)| name == "x-proof").collect();
        assert_eq!(fields.len(), 1, "{path}");
        let field = &fields[0].1;
        let (method, target) = (&asked.method, &asked.target);
        let verdicts = python(&format!(
            "field, now = {field:?}, time.time()\n\
             ask = lambda keys, method={method:?}, target={target:?}, now=now: \
                 is_proved(field, keys, method, 'origin.example.com', target, now)\n\
             print(ask({{'p1': '{KEY}'}}), ask({{'p2': '{NEXT_KEY}'}}), ask({{'p1': '{NEXT_KEY}'}}), ask({{}}), \
                 ask({{'p1': '{KEY}'}}, method='POST'), ask({{'p1': '{KEY}'}}, target='/other'), \
                 ask({{'p1': '{KEY}'}}, now=now + 301))"
        ));
        assert_eq!(verdicts, "True True False False False False False", "{field}");
    }
}

/// The vector of the guide is what its verifier takes, and what its line of shell makes.
#[test]
fn the_documented_vector_of_a_proof_holds() {
    let guide = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/origins.md")).unwrap();
    let block = guide.split("```sh\nprintf").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let (command, told) = block.split_once("\n# ").unwrap();
    let ran = Command::new("sh").arg("-c").arg(format!("printf{command}")).output().expect("sh");
    assert_eq!(String::from_utf8(ran.stdout).unwrap().trim(), told.trim());
    let mac = told.split(' ').next().unwrap();
    let verdict = python(&format!(
        "print(is_proved('t=1700000000, v1=p1:{mac}', {{'p1': '{KEY}'}}, 'GET', 'origin.example.com', \
         '/vod/seg-1.ts?a=b', 1700000300))"
    ));
    assert_eq!(verdict, "True");
}
