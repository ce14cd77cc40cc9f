//! Origins that speak HTTP/2.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use h2::server::SendResponse;
use http::{Request, Response};
use parking_lot::Mutex;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use super::scripted::{Refusing, Scripted, answer};
use super::*;
use crate::config::model::Eject;
use crate::origin::Framing;

/// What the server does with a request.
#[derive(Clone)]
enum Act {
    /// Header fields, then a body, then trailers if asked for.
    Answer { length: Option<usize>, body: Bytes, trailers: bool },
    /// A header, a piece of a body, and then a reset.
    Break { length: Option<usize>, after: Bytes, reason: h2::Reason },
    /// A header, a piece of a body, and no more until told.
    Stall { piece: Bytes, go: Arc<Semaphore> },
    /// All of an answer but word of its end.
    Unended(Bytes),
    /// Interim answers before the real one.
    Interim,
    /// A reset in place of an answer.
    Reset(h2::Reason),
    /// The connection takes no more streams, this one neither.
    GoAway,
    /// The connection ends.
    Hang,
    /// No answer.
    Never,
}

fn ok(body: impl Into<Bytes>) -> Act {
    let body = body.into();
    Act::Answer { length: Some(body.len()), body, trailers: false }
}

#[derive(Default)]
struct State {
    connections: AtomicUsize,
    /// Numbers of connections and paths, in order.
    seen: Mutex<Vec<(usize, String)>>,
    resets: AtomicUsize,
    /// Streams that it allows on a connection.
    streams_max: AtomicU32,
}

type Script = dyn Fn(usize, &Request<h2::RecvStream>) -> Act + Send + Sync;

/// A server of HTTP/2; ends when dropped.
struct Http2 {
    address: SocketAddr,
    state: Arc<State>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Http2 {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Http2 {
    async fn start(script: impl Fn(usize, &Request<h2::RecvStream>) -> Act + Send + Sync + 'static) -> Http2 {
        Http2::run(None, script).await
    }

    async fn run(
        tls: Option<TlsAcceptor>,
        script: impl Fn(usize, &Request<h2::RecvStream>) -> Act + Send + Sync + 'static,
    ) -> Http2 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State { streams_max: AtomicU32::new(200), ..State::default() });
        let (shared, script): (_, Arc<Script>) = (Arc::clone(&state), Arc::new(script));
        let task = tokio::spawn(async move {
            let mut serving = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (state, script, tls) = (Arc::clone(&shared), Arc::clone(&script), tls.clone());
                let number = state.connections.fetch_add(1, Ordering::SeqCst);
                serving.spawn(async move {
                    match tls {
                        None => serve(stream, number, state, script).await,
                        Some(tls) => {
                            let Ok(stream) = tls.accept(stream).await else { return };
                            match stream.get_ref().1.alpn_protocol() {
                                Some(b"h2") => serve(stream, number, state, script).await,
                                _ => serve_http1(stream, number, &state).await,
                            }
                        }
                    }
                });
            }
        });
        Http2 { address, state, task }
    }

    fn server(&self, tls: bool) -> OriginServer {
        let host = if tls { "localhost" } else { "127.0.0.1" };
        OriginServer { tls, host: host.to_owned(), port: self.address.port() }
    }

    fn group(&self) -> (Arc<OriginGroup>, Registry) {
        set_up(&Origin { http2: true, ..origin(vec![self.server(false)]) })
    }

    fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    fn seen(&self) -> Vec<(usize, String)> {
        self.state.seen.lock().clone()
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    number: usize,
    state: Arc<State>,
    script: Arc<Script>,
) {
    let mut server = h2::server::Builder::new();
    server.max_concurrent_streams(state.streams_max.load(Ordering::SeqCst));
    server.max_send_buffer_size(64 << 20);
    let Ok(mut connection) = server.handshake::<_, Bytes>(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        state.seen.lock().push((number, request.uri().path().to_owned()));
        let act = script(number, &request);
        match act {
            Act::GoAway => {
                let mut respond = respond;
                respond.send_reset(h2::Reason::REFUSED_STREAM);
                connection.graceful_shutdown();
            }
            Act::Hang => return,
            act => drop(tokio::spawn(respond_with(act, respond, Arc::clone(&state)))),
        }
    }
}

async fn respond_with(act: Act, mut respond: SendResponse<Bytes>, state: Arc<State>) {
    let header = |length: Option<usize>| {
        let header = Response::builder().header("x-test", "yes");
        match length {
            Some(length) => header.header("content-length", length),
            None => header,
        }
        .body(())
        .unwrap()
    };
    let noted = |sent: Result<(), h2::Error>| {
        if sent.is_err() {
            state.resets.fetch_add(1, Ordering::SeqCst);
        }
    };
    match act {
        Act::Answer { length, body, trailers } => {
            let mut stream = respond.send_response(header(length), body.is_empty() && !trailers).unwrap();
            if !body.is_empty() {
                noted(send(&mut stream, body, !trailers).await);
            }
            if trailers {
                let _ = stream
                    .send_trailers(HeaderMap::from_iter([("x-sum".parse().unwrap(), "1".parse().unwrap())]));
            }
        }
        Act::Break { length, after, reason } => {
            let mut stream = respond.send_response(header(length), false).unwrap();
            noted(send(&mut stream, after, false).await);
            stream.send_reset(reason);
        }
        Act::Stall { piece, go } => {
            let mut stream = respond.send_response(header(None), false).unwrap();
            noted(send(&mut stream, piece, false).await);
            tokio::select! {
                Ok(permit) = go.acquire() => {
                    permit.forget();
                    noted(send(&mut stream, Bytes::from_static(b"end"), true).await)
                }
                _ = std::future::poll_fn(|context| stream.poll_reset(context)) => {
                    state.resets.fetch_add(1, Ordering::SeqCst);
                }
            }
        }
        Act::Unended(body) => {
            let mut stream = respond.send_response(header(Some(body.len())), false).unwrap();
            noted(send(&mut stream, body, false).await);
            let _ = std::future::poll_fn(|context| stream.poll_reset(context)).await;
        }
        Act::Interim => {
            for _ in 0..3 {
                let hints = Response::builder().status(103).header("link", "</a>").body(()).unwrap();
                respond.send_informational(hints).unwrap();
            }
            let mut stream = respond.send_response(header(None), false).unwrap();
            noted(send(&mut stream, Bytes::from_static(b"real"), true).await);
        }
        Act::Reset(reason) => respond.send_reset(reason),
        Act::Never => std::future::pending().await,
        Act::GoAway | Act::Hang => {}
    }
}

/// Sends a piece as fast as the windows allow.
async fn send(stream: &mut h2::SendStream<Bytes>, mut data: Bytes, end: bool) -> Result<(), h2::Error> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let Some(room) = std::future::poll_fn(|context| stream.poll_capacity(context)).await else { break };
        let piece = data.split_to(room?.min(data.len()));
        stream.send_data(piece, end && data.is_empty())?;
    }
    Ok(())
}

async fn serve_http1<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, number: usize, state: &State) {
    let mut head = Vec::new();
    while let Ok(byte) = stream.read_u8().await {
        head.push(byte);
        if head.ends_with(b"\r\n\r\n") {
            state.seen.lock().push((number, "HTTP/1.1".to_owned()));
            head.clear();
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nh1").await;
            let _ = stream.flush().await;
        }
    }
}

/// A TLS acceptor with a certificate of its own for `localhost`, the file that vouches for it, and these protocols.
fn tls(protocols: &[&str]) -> (TlsAcceptor, tempfile::NamedTempFile) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let pem = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(pem.path(), cert.pem()).unwrap();
    (TlsAcceptor::from(Arc::new(config)), pem)
}

fn over_tls(place: OriginServer, pem: &tempfile::NamedTempFile) -> (Arc<OriginGroup>, Registry) {
    let tls = OriginTls { ca: Some(pem.path().to_owned()), ..OriginTls::default() };
    set_up(&Origin { http2: true, tls, ..origin(vec![place]) })
}

/// Bytes that differ from place to place.
fn pattern(seed: usize, len: usize) -> Bytes {
    (0..len).map(|place| (place / 7 + place * 13 + seed) as u8).collect::<Vec<u8>>().into()
}

async fn fetched(group: &OriginGroup, path: &str) -> Result<Bytes, OriginError> {
    body(&mut group.fetch(&get(path)).await?).await
}

const SEGMENT: usize = 2 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_of_requests_shares_one_connection() {
    let server = Http2::start(|_, request| ok(pattern(request.uri().path().len(), SEGMENT))).await;
    let config = Origin { http2: true, ..origin(vec![server.server(false)]) };
    let (group, _registry) =
        set_up(&Origin { limits: OriginLimits { connections: 40, ..config.limits }, ..config });
    let crowd: Vec<_> = (1..=40)
        .map(|number| {
            let group = Arc::clone(&group);
            tokio::spawn(async move { fetched(&group, &format!("/{}", "x".repeat(number))).await.unwrap() })
        })
        .collect();
    for (number, fetch) in crowd.into_iter().enumerate() {
        assert!(fetch.await.unwrap() == pattern(number + 2, SEGMENT), "{number}");
    }
    assert_eq!((server.connections(), server.seen().len()), (1, 40));
    // It is still there when it has stood idle.
    assert_eq!(fetched(&group, "/x").await.unwrap().len(), SEGMENT);
    assert_eq!(server.connections(), 1);
}

/// So many requests, held until all are under way.
async fn crowd(server: &Http2, count: usize) {
    let config = Origin { http2: true, ..origin(vec![server.server(false)]) };
    let (group, _registry) =
        set_up(&Origin { limits: OriginLimits { connections: count, ..config.limits }, ..config });
    let fetches: Vec<_> = (0..count)
        .map(|_| {
            let group = Arc::clone(&group);
            tokio::spawn(async move { fetched(&group, "/x").await.unwrap() })
        })
        .collect();
    for fetch in fetches {
        assert_eq!(fetch.await.unwrap(), "end");
    }
}

#[tokio::test]
async fn more_requests_than_a_connection_takes_have_another() {
    let go = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&go);
    let server = Http2::start(move |_, _| Act::Stall { piece: Bytes::new(), go: Arc::clone(&held) }).await;
    let released = async {
        eventually("all are under way", || server.seen().len() == 150).await;
        assert_eq!(server.connections(), 2);
        go.add_permits(150);
    };
    tokio::join!(crowd(&server, 150), released);
}

#[tokio::test]
async fn a_server_that_allows_few_streams_gets_all_requests_all_the_same() {
    let server = Http2::start(|_, _| ok("end")).await;
    server.state.streams_max.store(2, Ordering::SeqCst);
    crowd(&server, 30).await;
    assert_eq!(server.seen().len(), 30);
}

#[tokio::test]
async fn interim_answers_are_skipped() {
    let server = Http2::start(|_, _| Act::Interim).await;
    let (group, _registry) = server.group();
    let mut response = group.fetch(&get("/x")).await.unwrap();
    assert_eq!(response.header.status, 200);
    assert_eq!(body(&mut response).await.unwrap(), "real");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_are_not_read_hold_no_others() {
    let server = Http2::start(|_, request| {
        ok(pattern(1, if request.uri().path() == "/slow" { 4 * SEGMENT } else { SEGMENT }))
    })
    .await;
    let (group, _registry) = server.group();
    let mut slow = Vec::new();
    for _ in 0..8 {
        slow.push(group.fetch(&get("/slow")).await.unwrap());
    }
    for _ in 0..20 {
        assert!(fetched(&group, "/fast").await.unwrap() == pattern(1, SEGMENT));
    }
    for mut response in slow {
        assert!(body(&mut response).await.unwrap() == pattern(1, 4 * SEGMENT));
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_body_ends_where_its_stream_does_and_nowhere_else() {
    let piece = Bytes::from_static(b"piece");
    let acts = [
        ("/length", Act::Answer { length: Some(5), body: piece.clone(), trailers: false }, true),
        ("/none", Act::Answer { length: None, body: piece.clone(), trailers: false }, true),
        ("/trailers", Act::Answer { length: Some(5), body: piece.clone(), trailers: true }, true),
        ("/only-trailers", Act::Answer { length: None, body: piece.clone(), trailers: true }, true),
        ("/short", Act::Answer { length: Some(6), body: piece.clone(), trailers: false }, false),
        ("/short-trailers", Act::Answer { length: Some(6), body: piece.clone(), trailers: true }, false),
        ("/long", Act::Answer { length: Some(4), body: piece.clone(), trailers: false }, false),
        (
            "/reset",
            Act::Break { length: Some(6), after: piece.clone(), reason: h2::Reason::INTERNAL_ERROR },
            false,
        ),
        ("/reset-none", Act::Break { length: None, after: piece.clone(), reason: h2::Reason::CANCEL }, false),
        ("/no-error", Act::Break { length: None, after: piece.clone(), reason: h2::Reason::NO_ERROR }, false),
    ];
    let script = acts.clone();
    let server = Http2::start(move |_, request| {
        let found = script.iter().find(|(path, _, _)| *path == request.uri().path());
        found.map_or(Act::Never, |(_, act, _)| act.clone())
    })
    .await;
    let (group, _registry) = server.group();
    for round in 0..20 {
        for (path, act, whole) in &acts {
            let mut response = match group.fetch(&get(path)).await {
                Ok(response) => response,
                // A fault may overtake the header.
                Err(error) => {
                    assert!(!whole, "{path}, round {round}: {error}");
                    continue;
                }
            };
            assert_eq!(response.header.headers["x-test"], "yes");
            assert_eq!(response.header.version, http::Version::HTTP_11);
            if let Act::Answer { length: None, .. } = act {
                assert_eq!(response.framing(), Framing::Chunked, "its end is told");
            }
            match body(&mut response).await {
                Ok(read) => assert!(*whole && read == piece, "{path}, round {round}: {read:?}"),
                Err(error) => {
                    assert_eq!((*whole, error.as_str()), (false, "broken_body"), "{path}, round {round}");
                    assert!(response.chunk().await.is_err(), "it stays broken");
                }
            }
        }
    }
    assert_eq!(server.connections(), 1, "a broken stream breaks no connection");
}

#[tokio::test]
async fn what_a_server_has_not_looked_at_is_asked_again_at_once() {
    for act in [Act::Reset(h2::Reason::REFUSED_STREAM), Act::GoAway, Act::Hang] {
        let server = Http2::start(move |number, request| match (number, request.uri().path()) {
            (0, "/first") => ok("first"),
            (0, _) => act.clone(),
            _ => ok("second"),
        })
        .await;
        let config = Origin { http2: true, ..origin(vec![server.server(false)]) };
        let retry = Retry { attempts: 1, on_connect: false, on_status: vec![], ..retry(1, vec![]) };
        let (group, registry) = set_up(&Origin { retry, ..config });
        assert_eq!(fetched(&group, "/first").await.unwrap(), "first");
        assert_eq!(fetched(&group, "/again").await.unwrap(), "second");
        assert!(fetched(&group, "/more").await.is_ok());
        assert_eq!(
            metric(&registry, "forebay_origin_retries_total", &[]),
            0,
            "that is no attempt of its own"
        );
    }
}

#[tokio::test]
async fn a_reset_before_an_answer_is_a_failure_to_be_tried_again_by_rule() {
    let server = Http2::start(|_, request| match request.uri().path() {
        "/never" => Act::Reset(h2::Reason::INTERNAL_ERROR),
        _ => ok("yes"),
    })
    .await;
    let (group, registry) = server.group();
    let error = fetched(&group, "/never").await.unwrap_err();
    assert_eq!((error.as_str(), error.status()), ("closed", 502));
    assert_eq!(metric(&registry, "forebay_origin_retries_total", &[]), 1);
    assert_eq!(fetched(&group, "/yes").await.unwrap(), "yes");
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_server_that_chooses_http1_gets_it_and_its_connection_is_kept() {
    for protocols in [&["http/1.1"][..], &[]] {
        let (acceptor, pem) = tls(protocols);
        let server = Scripted::start_tls(acceptor, |_, _| answer(200, "segment")).await;
        let place = OriginServer { tls: true, host: "localhost".to_owned(), port: server.address.port() };
        let (group, _registry) = over_tls(place, &pem);
        for _ in 0..3 {
            assert_eq!(fetched(&group, "/x").await.unwrap(), "segment");
        }
        assert!(server.seen().iter().all(|seen| seen.connection == 0 && seen.head.contains("HTTP/1.1\r\n")));
    }
}

#[tokio::test]
async fn over_tls_http2_is_agreed_upon_and_http1_spoken_where_it_is_required() {
    let (acceptor, pem) = tls(&["h2", "http/1.1"]);
    let server = Http2::run(Some(acceptor), |_, request| match request.uri().path() {
        "/old" => Act::Reset(h2::Reason::HTTP_1_1_REQUIRED),
        _ => {
            assert_eq!(request.uri().scheme_str(), Some("https"));
            ok("h2")
        }
    })
    .await;
    let (group, _registry) = over_tls(server.server(true), &pem);
    assert_eq!(fetched(&group, "/new").await.unwrap(), "h2");
    assert_eq!(fetched(&group, "/old").await.unwrap(), "h1");
    assert_eq!(fetched(&group, "/old").await.unwrap(), "h1");
}

#[tokio::test]
async fn a_connection_whose_stream_stalls_takes_no_more_streams_but_its_others_go_on() {
    let go = Arc::new(Semaphore::new(0));
    let stalls = Arc::clone(&go);
    let server = Http2::start(move |_, request| match request.uri().path() {
        "/stalls" => Act::Stall { piece: Bytes::from_static(b"begun"), go: Arc::new(Semaphore::new(0)) },
        "/goes-on" => Act::Stall { piece: Bytes::from_static(b"begun"), go: Arc::clone(&stalls) },
        "/silent" => Act::Never,
        _ => ok("yes"),
    })
    .await;
    let config = Origin { http2: true, ..origin(vec![server.server(false)]) };
    // Before the connections are asked whether they are there.
    let (runs_out, total) = (Duration::from_secs(9), PATIENCE);
    let short = OriginTimeouts { connect: PATIENCE, first_byte: runs_out, between_bytes: runs_out, total };
    let (group, _registry) = set_up(&Origin { timeouts: short, ..config });
    let mut other = group.fetch(&get("/goes-on")).await.unwrap();
    assert_eq!(other.chunk().await.unwrap().unwrap(), "begun");
    let mut stalled = group.fetch(&get("/stalls")).await.unwrap();
    assert_eq!(stalled.chunk().await.unwrap().unwrap(), "begun");
    let (late, ()) = tokio::join!(stalled.chunk(), pass(runs_out));
    assert_eq!(late.unwrap_err().as_str(), "between_bytes_timeout");
    assert_eq!(fetched(&group, "/x").await.unwrap(), "yes");
    assert_eq!(server.connections(), 2);
    go.add_permits(1);
    assert_eq!(body(&mut other).await.unwrap(), "end");
    let (late, ()) = tokio::join!(fetched(&group, "/silent"), async {
        eventually("it is asked", || server.seen().iter().any(|(_, path)| path == "/silent")).await;
        pass(runs_out).await;
    });
    assert_eq!(late.unwrap_err().as_str(), "first_byte_timeout");
    assert_eq!(fetched(&group, "/x").await.unwrap(), "yes");
    assert_eq!(server.connections(), 3);
}

#[tokio::test]
async fn a_fetch_that_is_dropped_ends_its_stream_and_not_the_connection() {
    let server = Http2::start(|_, request| match request.uri().path() {
        "/held" => Act::Stall { piece: Bytes::from_static(b"begun"), go: Arc::new(Semaphore::new(0)) },
        _ => ok("yes"),
    })
    .await;
    let (group, _registry) = server.group();
    for number in 1..=5 {
        let mut held = group.fetch(&get("/held")).await.unwrap();
        assert_eq!(held.chunk().await.unwrap().unwrap(), "begun");
        drop(held);
        eventually("the server notices", || server.state.resets.load(Ordering::SeqCst) == number).await;
        assert_eq!(fetched(&group, "/x").await.unwrap(), "yes");
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_server_of_http1_before_which_http2_is_demanded_is_malformed() {
    let server = Scripted::always(answer(200, "segment")).await;
    let (group, _registry) = set_up(&Origin { http2: true, ..origin(vec![server.server()]) });
    let error = fetched(&group, "/x").await.unwrap_err();
    assert_eq!((error.as_str(), error.status()), ("malformed", 502), "{error}");
}

/// Some servers say in a frame of its own that a stream has ended, which nobody waits for who has all that was announced.
#[tokio::test]
async fn all_that_was_announced_is_a_success_before_its_stream_ends() {
    let server = Http2::start(|_, _| Act::Unended(Bytes::from_static(b"segment"))).await;
    let eject = Eject { failures: 3, time: PATIENCE, time_max: PATIENCE, share_percent: 50 };
    let other = Refusing::start();
    let config =
        Origin { http2: true, eject: Some(eject), ..origin(vec![server.server(false), other.server()]) };
    let (group, _registry) = set_up(&config);
    let record = Arc::clone(&group.members.now().servers[0].record);
    (0..2).for_each(|_| record.failed());
    let mut response = group.fetch(&get("/x")).await.unwrap();
    assert_eq!(response.chunk().await.unwrap().unwrap(), "segment");
    drop(response);
    (0..2).for_each(|_| record.failed());
    assert!(!record.is_ejected());
    record.failed();
    assert!(record.is_ejected());
}
