//! The node as an HTTP server: hosts, methods, versions, limits of a request's form, and the headers that pass.

use crate::support::client::{self, End, Http1, Http2, Request};
use crate::support::content::{assert_same_bytes, content};
use crate::support::edge::{Edge, Setup};
use crate::support::origin::{Answer, Origin};
use crate::support::wait::Gate;

/// A host that no site names is 421, and the origin is not asked; names match without regard to case and port.
#[tokio::test]
async fn a_host_that_no_site_names_is_421() {
    let origin = Origin::start().await;
    origin.otherwise(|_, _| Answer::ok("here").cache_control("max-age=60"));
    let edge = Setup::before(&origin).hosts("[\"live.test\", \"*.cdn.test\"]").start().await;
    for host in ["other.test", "cdn.test", "live.test.other", "127.0.0.1"] {
        let response = edge.ask(&Request::get("/1.m4s").host(host)).await;
        assert_eq!(response.status(), 421, "{host}");
    }
    assert_eq!(origin.recorded().len(), 0);
    for host in ["live.test", "LIVE.test", "live.test:8080", "a.cdn.test", "a.b.cdn.test"] {
        let response = edge.ask(&Request::get("/1.m4s").host(host)).await;
        assert_eq!((response.status(), response.whole()), (200, &"here".into()), "{host}");
    }
}

/// The exact name wins over a pattern, and a pattern over `*`, in whatever order the file has them.
#[tokio::test]
async fn the_most_particular_site_answers() {
    let (any, below, exact) = (Origin::start().await, Origin::start().await, Origin::start().await);
    for (origin, name) in [(&any, "any"), (&below, "below"), (&exact, "exact")] {
        origin.otherwise(move |_, _| Answer::ok(name).cache_control("max-age=60"));
    }
    let more = format!(
        "[origin.below]\nservers = [\"{}\"]\n[origin.exact]\nservers = [\"{}\"]\n\
         [[site]]\nhosts = [\"*.test\"]\norigin = \"below\"\n[[site]]\nhosts = [\"a.test\"]\norigin = \"exact\"\n",
        below.url(),
        exact.url()
    );
    let edge = Setup::before(&any).more(&more).start().await;
    for (host, expected) in [("a.test", "exact"), ("b.test", "below"), ("c.other", "any")] {
        assert_eq!(edge.ask(&Request::get("/1.m4s").host(host)).await.whole(), expected);
    }
}

/// A method the site does not list is 405 with `Allow`, and does not reach the origin.
#[tokio::test]
async fn a_method_that_is_not_listed_is_405() {
    let origin = Origin::start().await;
    origin.otherwise(|_, _| Answer::ok("here"));
    let edge = Setup::before(&origin).start().await;
    for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE", "PURGE"] {
        let mut request = Request::new(method, "/1.m4s");
        if method == "POST" {
            request = request.body("posted");
        }
        let response = edge.ask(&request).await;
        assert_eq!(response.status(), 405, "{method}");
        let allow = response.get("allow").unwrap_or_default();
        assert!(allow.contains("GET") && allow.contains("HEAD"), "{method}: Allow: {allow}");
    }
    assert_eq!(origin.recorded().len(), 0);
}

/// A listed POST passes through with its body and is never kept; a good one drops what was kept of its target.
#[tokio::test]
async fn a_listed_post_passes_through_and_invalidates() {
    let origin = Origin::start().await;
    origin.script("/doc", |request, nth| match request.method.as_str() {
        "POST" => Answer::ok(format!("posted {}", String::from_utf8_lossy(&request.body))),
        _ => Answer::ok(format!("read {nth}")).cache_control("max-age=60"),
    });
    let edge =
        Setup::before(&origin).site("methods = [\"GET\", \"HEAD\", \"OPTIONS\", \"POST\"]").start().await;
    assert_eq!(edge.get("/doc").await.whole(), "read 0");
    assert_eq!(edge.get("/doc").await.whole(), "read 0");
    for body in ["one", "two"] {
        let response = edge.ask(&Request::new("POST", "/doc").body(body)).await;
        assert_eq!(response.whole(), &format!("posted {body}"));
        assert_eq!(response.outcome(), "bypass");
    }
    let large = content(1, 300_000);
    edge.ask(&Request::new("POST", "/doc").body(large.clone())).await;
    assert_same_bytes(&origin.last("/doc").body, &large, "the posted body");
    assert_eq!(edge.get("/doc").await.whole(), "read 4");
}

/// A body on GET or HEAD is refused: it would be a second request to whoever reads it otherwise.
#[tokio::test]
async fn a_body_on_get_is_refused() {
    let origin = Origin::start().await;
    origin.otherwise(|_, _| Answer::ok("here"));
    let edge = Setup::before(&origin).server("h2c = true").start().await;
    let smuggled = "GET /hidden HTTP/1.1\r\nhost: edge.test\r\n\r\n";
    for method in ["GET", "HEAD"] {
        let response = edge.ask(&Request::new(method, "/1.m4s").body(smuggled)).await;
        assert_eq!(response.status(), 400, "{method} with a length");
        let mut connection = Http1::connect(edge.http()).await;
        let chunked = format!(
            "{method} /1.m4s HTTP/1.1\r\nhost: e\r\ntransfer-encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n"
        );
        connection.send_bytes(chunked.as_bytes()).await;
        assert_eq!(connection.head(method).await.status, 400, "{method} with chunks");
    }
    let http2 = Http2::connect(edge.http()).await;
    assert_eq!(http2.ask(&Request::get("/1.m4s").body("abcd")).await.status(), 400);
    assert_eq!(origin.recorded().len(), 0);
    let empty = edge.ask(&Request::get("/1.m4s").header("content-length", "0")).await;
    assert_eq!(empty.status(), 200, "a length of nothing is no body");
}

/// A request that is none, or that can be read in two ways, is refused and ends its connection.
#[tokio::test]
async fn an_ambiguous_request_is_refused() {
    let origin = Origin::start().await;
    origin.otherwise(|_, _| Answer::ok("here"));
    let edge = Setup::before(&origin).site("methods = [\"GET\", \"POST\"]").start().await;
    let mut answered = Vec::new();
    for text in [
        "nonsense\r\n\r\n",
        "GET /1.m4s HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        "GET /1.m4s HTTP/1.1\r\n\r\n",
        "POST /1 HTTP/1.1\r\nhost: e\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        "POST /1 HTTP/1.1\r\nhost: e\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /1 HTTP/1.1\r\nhost: e\r\ncontent-length: -4\r\n\r\nabcd",
        "GET /1.m4s HTTP/1.1\r\nhost : e\r\n\r\n",
    ] {
        let mut connection = Http1::connect(edge.http()).await;
        connection.send_bytes(text.as_bytes()).await;
        let head = connection.try_head("GET").await;
        if head.is_some_and(|head| head.status != 400) {
            answered.push(text);
        }
    }
    assert!(answered.is_empty(), "answered: {answered:#?}");
    assert_eq!(origin.recorded().len(), 0);
    assert_eq!(edge.get("/1.m4s").await.status(), 200);
}

/// A target longer than `limits.request_target` is 414; one just as long is answered.
#[tokio::test]
async fn a_target_that_is_too_long_is_414() {
    let origin = Origin::start().await;
    origin.otherwise(|_, _| Answer::ok("here"));
    let edge = Setup::before(&origin).limits("request_target = \"256B\"").start().await;
    let target = |length: usize| format!("/{}", "a".repeat(length - 1));
    assert_eq!(edge.get(&target(256)).await.status(), 200);
    assert_eq!(edge.get(&target(257)).await.status(), 414);
    assert_eq!(edge.get(&format!("/q?{}", "b".repeat(300))).await.status(), 414);
    assert_eq!(origin.recorded().len(), 1);
}

/// A header block beyond all bounds is refused, not buffered without end.
#[tokio::test]
async fn a_header_block_without_end_is_refused() {
    let origin = Origin::start().await;
    origin.otherwise(|_, _| Answer::ok("here"));
    let edge = Setup::before(&origin).start().await;
    let mut request = Request::get("/1.m4s");
    for number in 0..2000 {
        request = request.header(&format!("x-{number}"), &"v".repeat(1000));
    }
    let mut connection = Http1::connect(edge.http()).await;
    connection.send(&request).await;
    match connection.try_head("GET").await {
        None => {}
        Some(head) => assert!((400..500).contains(&head.status), "{}", head.status),
    }
    assert_eq!(edge.get("/1.m4s").await.status(), 200);
}

/// A redirect of the origin is passed on, not followed, and not kept without a rule.
#[tokio::test]
async fn a_redirect_is_passed_on_and_not_kept() {
    let origin = Origin::start().await;
    for status in [301, 302, 303, 307, 308] {
        let path = format!("/{status}.m4s");
        origin.on(&path, Answer::status(status).header("location", "https://elsewhere.example/x?y=1"));
    }
    let edge = Setup::before(&origin).start().await;
    for status in [301, 302, 303, 307, 308] {
        let path = format!("/{status}.m4s");
        for _ in 0..2 {
            let response = edge.get(&path).await;
            assert_eq!(response.status(), status);
            assert_eq!(response.get("location"), Some("https://elsewhere.example/x?y=1"));
        }
        assert_eq!(origin.requests(&path), 2, "{status}");
    }
}

/// Every answer says what became of it: Cache-Status, Via and Server-Timing, with Age on what came from the cache.
#[tokio::test]
async fn answers_say_what_became_of_them() {
    let origin = Origin::start().await;
    origin.on("/1.m4s", Answer::ok("here").cache_control("max-age=60").header("age", "7"));
    let edge = Setup::before(&origin).start().await;
    let miss = edge.get("/1.m4s").await;
    let hit = edge.get("/1.m4s").await;
    for response in [&miss, &hit] {
        assert!(response.get("via").is_some_and(|via| via.contains("forebay")), "{:?}", response.head);
        assert!(response.get("server-timing").is_some(), "{:?}", response.head);
        let status = response.get("cache-status").unwrap_or_default();
        assert!(status.starts_with("forebay"), "{status}");
        assert!(response.head.count("age") <= 1);
        let text = format!("{:?}", response.head);
        assert!(!text.contains(&origin.address().port().to_string()), "an internal address: {text}");
    }
    let status = miss.get("cache-status").unwrap_or_default();
    assert!(status.contains("fwd=uri-miss") && status.contains("stored"), "{status}");
    let status = hit.get("cache-status").unwrap_or_default();
    assert!(status.contains("; hit") && status.contains("ttl="), "{status}");
    let age: u64 = hit.get("age").and_then(|age| age.parse().ok()).expect("an Age");
    assert!((7..60).contains(&age), "the origin's own Age counts: {age}");
}

/// Headers that belong to one connection or one viewer stay with it, in both directions.
#[tokio::test]
async fn headers_of_one_connection_are_not_passed_on() {
    let origin = Origin::start().await;
    let answer = Answer::ok("here")
        .cache_control("max-age=60")
        .header("keep-alive", "timeout=3")
        .header("connection", "x-hop")
        .header("x-hop", "1")
        .header("proxy-authenticate", "Basic")
        .header("x-end-to-end", "2");
    origin.on("/1.m4s", answer);
    let edge = Setup::before(&origin).start().await;
    let request = Request::get("/1.m4s")
        .header("connection", "x-mine")
        .header("x-mine", "1")
        .header("te", "trailers")
        .header("proxy-authorization", "Basic eA==");
    for _ in 0..2 {
        let response = edge.ask(&request).await;
        assert_eq!(response.whole(), "here");
        for name in ["keep-alive", "x-hop", "proxy-authenticate"] {
            assert_eq!(response.get(name), None, "{name}");
        }
        assert_eq!(response.get("x-end-to-end"), Some("2"));
    }
    let asked = origin.last("/1.m4s");
    for name in ["x-mine", "proxy-authorization", "te"] {
        assert_eq!(asked.header(name), None, "{name} reached the origin");
    }
    assert!(asked.header("via").is_some_and(|via| via.contains("forebay")), "{}", asked.text());
}

/// The origin is asked under its own name, or the configured one.
#[tokio::test]
async fn the_origin_is_asked_under_its_own_host() {
    let origin = Origin::start().await;
    origin.otherwise(|_, _| Answer::ok("here").cache_control("max-age=60"));
    let edge = Setup::before(&origin).start().await;
    edge.get("/1.m4s").await.whole();
    assert_eq!(origin.last("/1.m4s").header("host"), Some(origin.address().to_string().as_str()));
    let edge = Setup::before(&origin).origin("host = \"media.internal\"").start().await;
    edge.get("/2.m4s").await.whole();
    assert_eq!(origin.last("/2.m4s").header("host"), Some("media.internal"));
}

/// One connection carries many requests, hits, misses, refusals and conditions mixed.
#[tokio::test]
async fn a_connection_is_kept_for_further_requests() {
    let origin = Origin::start().await;
    let body = content(1, 100_000);
    let tagged = Answer::ok(body.clone()).cache_control("max-age=60").etag("\"e\"");
    origin.on("/1.m4s", tagged.clone());
    origin.on("/2.m4s", tagged.chunked());
    origin.on("/own.m4s", Answer::ok("own").cache_control("no-store"));
    let edge = Setup::before(&origin).start().await;
    let mut connection = Http1::connect(edge.http()).await;
    for _ in 0..3 {
        for path in ["/1.m4s", "/2.m4s"] {
            assert_same_bytes(connection.ask(&Request::get(path)).await.whole(), &body, path);
            let same = connection.ask(&Request::get(path).header("if-none-match", "\"e\"")).await;
            assert_eq!(same.status(), 304);
            let part = connection.ask(&Request::get(path).range("bytes=5-9")).await;
            assert_same_bytes(part.whole(), &body[5..10], path);
            assert_eq!(connection.ask(&Request::head(path)).await.end, End::Clean);
        }
        assert_eq!(connection.ask(&Request::get("/own.m4s")).await.whole(), "own");
        assert_eq!(connection.ask(&Request::get("/none.bin")).await.status(), 404);
    }
}

/// Requests sent ahead of their answers are answered in order, or not at all: none gets the answer of another.
#[tokio::test]
async fn pipelined_requests_are_never_mixed_up() {
    let origin = Origin::start().await;
    origin.otherwise(|request, _| Answer::ok(request.path().to_owned()).cache_control("max-age=60"));
    let edge = Setup::before(&origin).start().await;
    let mut connection = Http1::connect(edge.http()).await;
    let mut text = String::new();
    for number in 0..5 {
        text.push_str(&format!("GET /{number}.m4s HTTP/1.1\r\nhost: edge.test\r\n\r\n"));
    }
    connection.send_bytes(text.as_bytes()).await;
    assert_eq!(connection.response("GET").await.whole(), "/0.m4s");
    for number in 1..5 {
        let Some(head) = connection.try_head("GET").await else { break };
        assert_eq!(head.status, 200);
        let (body, end) = connection.rest().await;
        assert_eq!((body, end), (format!("/{number}.m4s").into(), End::Clean));
    }
}

/// An HTTP/1.0 client gets a whole body without chunks, and its connection ends.
#[tokio::test]
async fn http_1_0_is_served() {
    let origin = Origin::start().await;
    let body = content(1, 100_000);
    origin.on("/length.m4s", Answer::ok(body.clone()).cache_control("max-age=60"));
    origin.on("/chunked.m4s", Answer::ok(body.clone()).chunked().cache_control("max-age=60"));
    let edge = Setup::before(&origin).start().await;
    for path in ["/length.m4s", "/length.m4s", "/chunked.m4s", "/chunked.m4s"] {
        let mut connection = Http1::connect(edge.http()).await;
        connection.send(&Request::get(path).http_1_0()).await;
        let response = connection.response("GET").await;
        assert_eq!(response.get("transfer-encoding"), None, "{path}");
        assert_same_bytes(response.whole(), &body, path);
        assert!(connection.is_closed().await, "{path}");
    }
}

/// A broken fetch is broken for an HTTP/1.0 client as well: where there is no length, by a reset.
#[tokio::test]
async fn a_broken_fetch_breaks_http_1_0_too() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    let answer = Answer::ok(content(1, 100_000)).cache_control("max-age=60").gate_at(50_000, &gate);
    origin.on("/length.m4s", answer.clone().close_after(50_000));
    origin.on("/chunked.m4s", answer.chunked().close_after(50_000));
    let edge = Setup::before(&origin).start().await;
    for path in ["/length.m4s", "/chunked.m4s"] {
        let mut connection = Http1::connect(edge.http()).await;
        connection.send(&Request::get(path).http_1_0()).await;
        gate.open();
        // Where the length is not told, the answer is held until it is known: a broken body is then a 502.
        let status = connection.head("GET").await.status;
        let (body, end) = connection.rest().await;
        let broken = status == 200 && matches!(end, End::Broken(_));
        assert!(broken || status == 502, "{path}: {status}, a clean end after {} bytes", body.len());
    }
}

/// HTTP/2 with prior knowledge: many streams of one connection, each its own body.
#[tokio::test]
async fn http2_with_prior_knowledge_is_served() {
    let origin = Origin::start().await;
    origin.otherwise(|request, _| {
        let seed = request.path().len() as u64;
        Answer::ok(content(seed, 200_000)).cache_control("max-age=60")
    });
    let edge = Setup::before(&origin).server("h2c = true").start().await;
    let connection = Http2::connect(edge.http()).await;
    let mut streams = tokio::task::JoinSet::new();
    for number in 0..20_usize {
        let connection = connection.clone();
        streams.spawn(async move {
            let path = format!("/{}.m4s", "x".repeat(number % 5));
            let response = connection.get(&path).await;
            assert_eq!(response.status(), 200);
            assert_same_bytes(response.whole(), &content(path.len() as u64, 200_000), &path);
        });
    }
    streams.join_all().await;
    assert_eq!(origin.recorded().len(), 5);
    assert_eq!(edge.get("/x.m4s").await.status(), 200, "HTTP/1.1 on the same listener");
}

/// TLS: HTTP/2 where the client offers it, HTTP/1.1 otherwise, one cache behind both.
#[tokio::test]
async fn tls_serves_http2_and_http1_by_alpn() {
    let origin = Origin::start().await;
    let body = content(1, 300_000);
    origin.on("/1.m4s", Answer::ok(body.clone()).cache_control("max-age=60"));
    let edge = Setup::before(&origin).tls().start().await;
    let (address, roots) = edge.https();

    let stream = client::tls(address, roots, &["h2", "http/1.1"]).await.expect("a session");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let response = Http2::over_tls(stream).await.get("/1.m4s").await;
    assert_eq!(response.outcome(), "miss");
    assert_same_bytes(response.whole(), &body, "HTTP/2");

    for offered in [&["http/1.1"][..], &[]] {
        let stream = client::tls(address, roots, offered).await.expect("a session");
        assert_ne!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let response = Http1::over_tls(stream).ask(&Request::get("/1.m4s")).await;
        assert_eq!(response.outcome(), "hit");
        assert_same_bytes(response.whole(), &body, "HTTP/1.1");
    }
    assert_eq!(edge.get("/1.m4s").await.outcome(), "hit", "plaintext");
    assert_eq!(origin.requests("/1.m4s"), 1);
}

/// A client that does not trust the certificate, or speaks no TLS, harms nobody else.
#[tokio::test]
async fn a_failed_handshake_harms_nobody() {
    let origin = Origin::start().await;
    origin.otherwise(|_, _| Answer::ok("here"));
    let edge = Setup::before(&origin).tls().start().await;
    let (address, roots) = edge.https();
    let nobody = std::sync::Arc::new(rustls::RootCertStore::empty());
    assert!(client::tls(address, &nobody, &[]).await.is_err());
    let mut plain = Http1::connect(address).await;
    plain.send(&Request::get("/1.m4s")).await;
    assert!(plain.try_head("GET").await.is_none_or(|head| head.status == 400));
    let stream = client::tls(address, roots, &[]).await.expect("a session");
    assert_eq!(Http1::over_tls(stream).ask(&Request::get("/1.m4s")).await.status(), 200);
}

/// Every address of `server.http` is served, IPv6 where the machine has it, and named with its real port.
#[tokio::test]
async fn every_listener_is_served() {
    let origin = Origin::start().await;
    origin.otherwise(|_, _| Answer::ok("here").cache_control("max-age=60"));
    let mut addresses = vec!["127.0.0.1:0", "127.0.0.1:0"];
    if std::net::TcpListener::bind("[::1]:0").is_ok() {
        addresses.push("[::1]:0");
    }
    let text = format!(
        "[server]\nhttp = {addresses:?}\nadmin = \"127.0.0.1:0\"\n\
         [origin.main]\nservers = [\"{}\"]\n[[site]]\nhosts = [\"*\"]\norigin = \"main\"\n",
        origin.url()
    );
    let edge = Edge::run(&text, tempfile::tempdir().expect("a temporary directory")).await;
    let http: Vec<_> = edge.listeners().into_iter().filter(|(name, _)| name == "http").collect();
    assert_eq!(http.len(), addresses.len());
    for (_, address) in http {
        assert_ne!(address.port(), 0);
        assert_eq!(client::get(address, "/1.m4s").await.whole(), "here", "{address}");
    }
    assert_eq!(origin.requests("/1.m4s"), 1);
}
