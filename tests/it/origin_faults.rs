//! What viewers see when an origin misbehaves: never a truncated body that looks whole, and the other server or a stale
//! copy where there is one.

use crate::support::certificate::TlsFront;
use crate::support::client::{End, Http1, Http2, Request, Response};
use crate::support::content::{assert_same_bytes, content};
use crate::support::edge::{Edge, Setup};
use crate::support::origin::{Answer, Origin};
use crate::support::wait::Gate;

const LENGTH: usize = 300_000;
const CUT: usize = 120_000;

/// The ways in which an origin may die in mid-body, by path.
fn cut_answers(gate: &Gate) -> Vec<(&'static str, Answer)> {
    let answer = || Answer::ok(content(1, LENGTH)).cache_control("max-age=60").gate_at(CUT, gate);
    vec![
        ("/closed.m4s", answer().close_after(CUT)),
        ("/reset.m4s", answer().reset_after(CUT)),
        ("/chunked-closed.m4s", answer().chunked().close_after(CUT)),
        ("/chunked-reset.m4s", answer().chunked().reset_after(CUT)),
        ("/short.m4s", answer().claiming_length(LENGTH as u64 + 1)),
    ]
}

fn assert_broken(response: &Response, who: &str) {
    assert!(
        matches!(response.end, End::Broken(_)),
        "{who} saw a clean end after {} bytes",
        response.body.len()
    );
    assert_same_bytes(&response.body, &content(1, LENGTH)[..response.body.len()], who);
}

/// After a broken fetch: the next request is a fetch, the one behind it the first hit, both whole.
async fn assert_fetched_anew(edge: &Edge, origin: &Origin, path: &str) {
    let body = content(1, LENGTH);
    let next = edge.get(path).await;
    assert_eq!(next.outcome(), "miss", "{path}");
    assert_same_bytes(next.whole(), &body, path);
    assert_eq!(origin.requests(path), 2, "{path}");
    let hit = edge.get(path).await;
    assert_eq!(hit.outcome(), "hit", "{path}");
    assert_same_bytes(hit.whole(), &body, path);
}

/// The origin dies in mid-body under three HTTP/1.1 viewers: none of them sees a clean end, and nothing of it is kept.
#[tokio::test]
async fn no_http1_viewer_sees_a_clean_end_when_the_origin_dies() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    for (path, cut) in cut_answers(&gate) {
        let whole = Answer::ok(content(1, LENGTH)).cache_control("max-age=60");
        origin.on_each(path, vec![cut, whole]);
    }
    let edge = Setup::before(&origin).start().await;
    let mut viewers = Vec::new();
    for (path, _) in cut_answers(&gate) {
        for _ in 0..3 {
            let mut viewer = edge.open(&Request::get(path)).await;
            let head = viewer.head("GET").await;
            viewers.push((path, viewer, head));
        }
    }
    gate.open();
    for (path, mut viewer, head) in viewers {
        let (body, end) = viewer.rest().await;
        assert_broken(&Response { head, body, end }, path);
    }
    for (path, _) in cut_answers(&gate) {
        assert_fetched_anew(&edge, &origin, path).await;
    }
}

/// As over HTTP/1.1: an HTTP/2 viewer sees its stream reset, not ended.
#[tokio::test]
async fn no_http2_viewer_sees_a_clean_end_when_the_origin_dies() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    for (path, cut) in cut_answers(&gate) {
        let whole = Answer::ok(content(1, LENGTH)).cache_control("max-age=60");
        origin.on_each(path, vec![cut, whole]);
    }
    let edge = Setup::before(&origin).server("h2c = true").start().await;
    let connection = Http2::connect(edge.http()).await;
    let mut viewers = Vec::new();
    for (path, _) in cut_answers(&gate) {
        for _ in 0..2 {
            viewers.push((path, connection.start(&Request::get(path)).await.expect("a header")));
        }
    }
    gate.open();
    for (path, mut viewer) in viewers {
        assert_broken(&viewer.read_to_end().await, path);
    }
    for (path, _) in cut_answers(&gate) {
        assert_fetched_anew(&edge, &origin, path).await;
    }
}

/// A body that ends with the connection is delivered whole; a reset under it is a broken transfer. Since a close says
/// nothing about wholeness, it is not kept.
#[tokio::test]
async fn a_body_delimited_by_close_is_delivered_and_not_kept() {
    let origin = Origin::start().await;
    let whole = Answer::ok(content(1, LENGTH)).until_close().cache_control("max-age=60");
    let gate = Gate::closed();
    let cut = whole.clone().gate_at(CUT, &gate).reset_after(CUT);
    origin.on_each("/a.m4s", vec![whole.clone(), cut, whole]);
    let edge = Setup::before(&origin).start().await;
    assert_same_bytes(edge.get("/a.m4s").await.whole(), &content(1, LENGTH), "the first viewer");
    let mut second = edge.open(&Request::get("/a.m4s")).await;
    let head = second.head("GET").await;
    gate.open();
    let (body, end) = second.rest().await;
    assert_broken(&Response { head, body, end }, "the second viewer");
    assert_same_bytes(edge.get("/a.m4s").await.whole(), &content(1, LENGTH), "the third viewer");
    assert_eq!(origin.requests("/a.m4s"), 3);
}

/// What is no HTTP answer, or ends before its header does, is a 502 that is not kept and names no address.
#[tokio::test]
async fn garbage_from_the_origin_is_a_502() {
    let origin = Origin::start().await;
    let good = Answer::ok("good").cache_control("max-age=60");
    for (path, raw) in [
        ("/noise", &b"\x00\x01\x02 not http at all\r\n\r\n"[..]),
        ("/half", &b"HTTP/1.1 200 OK\r\ncontent-le"[..]),
        ("/length", &b"HTTP/1.1 200 OK\r\ncontent-length: -4\r\n\r\nabcd"[..]),
    ] {
        origin.on_each(path, vec![Answer::raw(raw), Answer::raw(raw), good.clone()]);
        let edge = Setup::before(&origin).start().await;
        let mut response = edge.get(path).await;
        assert_eq!(response.status(), 502, "{path}");
        assert_eq!(response.outcome(), "error", "{path}");
        let text = format!("{:?}{}", response.head, String::from_utf8_lossy(&response.body));
        assert!(!text.contains("127.0.0.1"), "{path}: {text}");
        while response.status() != 200 {
            response = edge.get(path).await;
            assert!(origin.requests(path) <= 3, "{path}: not fetched anew");
        }
        assert_eq!(response.whole(), "good");
    }
}

/// One of two servers refuses connections: every request is answered by the other.
#[tokio::test]
async fn a_refusing_server_is_replaced_by_the_other() {
    let refusing = Origin::refusing().await;
    let origin = Origin::start().await;
    origin.otherwise(|request, _| Answer::ok(request.path().to_owned()).cache_control("max-age=60"));
    let edge = Setup::with_servers(&[refusing.url(), origin.url()]).start().await;
    for number in 0..10 {
        let path = format!("/{number}.m4s");
        let response = edge.get(&path).await;
        assert_eq!((response.status(), response.whole()), (200, &path.into()));
    }
}

/// A 503 of one server is asked again of the other; where both say 503, the viewer gets it.
#[tokio::test]
async fn a_503_is_retried_on_the_other_server() {
    let (busy, origin) = (Origin::start().await, Origin::start().await);
    busy.otherwise(|_, _| Answer::status(503));
    origin.otherwise(|_, _| Answer::ok("answered").cache_control("max-age=60"));
    let edge = Setup::with_servers(&[busy.url(), origin.url()]).start().await;
    for number in 0..6 {
        assert_eq!(edge.get(&format!("/{number}.m4s")).await.whole(), "answered");
    }
    origin.otherwise(|_, _| Answer::status(503));
    assert_eq!(edge.get("/both.m4s").await.status(), 503);
    assert_eq!(busy.requests("/both.m4s") + origin.requests("/both.m4s"), 2, "two attempts in all");
}

/// A connection that the origin closed while it was idle costs the viewer nothing.
#[tokio::test]
async fn a_kept_connection_that_went_stale_is_replaced() {
    let mut origin = Origin::start().await;
    origin.otherwise(|_, _| Answer::ok("answered").cache_control("max-age=60"));
    let edge = Setup::before(&origin).start().await;
    assert_eq!(edge.get("/1.m4s").await.status(), 200);
    origin.stop().await;
    origin.restart();
    assert_eq!(edge.get("/2.m4s").await.status(), 200);
}

/// Nothing listens, and nothing is kept: 502. The origin takes too long for its header: 504.
#[tokio::test]
async fn an_unreachable_origin_is_502_and_a_silent_one_504() {
    let refusing = Origin::refusing().await;
    let edge = Setup::before(&refusing).start().await;
    let response = edge.get("/x.m4s").await;
    assert_eq!((response.status(), response.outcome()), (502, "error"));

    let silent = Origin::start().await;
    silent.on("/x.m4s", Answer::ok("late").hold(&Gate::closed()));
    let edge = Setup::before(&silent).origin("timeouts = { first_byte = \"200ms\" }").start().await;
    let response = edge.get("/x.m4s").await;
    assert_eq!((response.status(), response.outcome()), (504, "error"));
}

/// An origin that stops in mid-body breaks the transfer after `between_bytes`.
#[tokio::test]
async fn an_origin_that_stops_in_mid_body_breaks_the_transfer() {
    let origin = Origin::start().await;
    let whole = Answer::ok(content(1, LENGTH)).cache_control("max-age=60");
    origin.on_each("/stuck.m4s", vec![whole.clone().gate_at(CUT, &Gate::closed()), whole]);
    let edge = Setup::before(&origin).origin("timeouts = { between_bytes = \"3s\" }").start().await;
    assert_broken(&edge.get("/stuck.m4s").await, "the viewer");
    assert_fetched_anew(&edge, &origin, "/stuck.m4s").await;
}

/// A server whose health check fails gets no requests, and gets them again once it is well.
#[tokio::test]
async fn a_failing_health_check_takes_a_server_out() {
    let (sick, well) = (Origin::start().await, Origin::start().await);
    for (origin, name) in [(&sick, "sick"), (&well, "well")] {
        origin.on("/healthz", Answer::ok("fine"));
        origin.otherwise(move |_, _| Answer::ok(name).cache_control("no-store"));
    }
    let health = "health = { path = \"/healthz\", interval = \"20ms\", timeout = \"1m\", unhealthy_after = 2, healthy_after = 2 }";
    let edge = Setup::with_servers(&[sick.url(), well.url()]).origin(health).start().await;

    sick.on("/healthz", Answer::status(500));
    let seen = sick.requests("/healthz");
    sick.await_requests("/healthz", seen + 4).await;
    for number in 0..10 {
        let response = edge.get(&format!("/out/{number}")).await;
        assert_eq!(response.whole(), "well");
    }
    sick.on("/healthz", Answer::ok("fine"));
    let seen = sick.requests("/healthz");
    sick.await_requests("/healthz", seen + 4).await;
    let mut names = Vec::new();
    for number in 0..20 {
        names.push(edge.get(&format!("/in/{number}")).await.whole().clone());
    }
    assert!(names.iter().any(|name| name == "sick"), "the server never came back");
}

/// No origin server, `stale-if-error` allowed: viewers get the stale copy; without the allowance a 504 (RFC 9111
/// section 5.2.2.2).
#[tokio::test]
async fn a_stale_copy_bridges_an_origin_that_is_down() {
    let mut origin = Origin::start().await;
    let body = content(3, 10_000);
    origin.on("/kept.bin", Answer::ok(body.clone()).cache_control("max-age=0, stale-if-error=60"));
    origin.on("/strict.bin", Answer::ok("strict").cache_control("max-age=0, must-revalidate"));
    let edge = Setup::before(&origin).start().await;
    edge.get("/kept.bin").await.whole();
    edge.get("/strict.bin").await.whole();
    origin.stop().await;
    for _ in 0..3 {
        let stale = edge.get("/kept.bin").await;
        assert_eq!((stale.status(), stale.outcome()), (200, "hit_stale"));
        assert_same_bytes(stale.whole(), &body, "the stale copy");
    }
    let strict = edge.get("/strict.bin").await;
    assert_eq!((strict.status(), strict.outcome()), (504, "error"));
    origin.restart();
    assert_eq!(edge.get("/kept.bin").await.status(), 200);
    assert_eq!(origin.requests("/kept.bin"), 2);
}

/// The origin answers 5xx, `stale-if-error` allowed: viewers get the stale copy.
#[tokio::test]
async fn a_stale_copy_bridges_an_origin_that_says_5xx() {
    let origin = Origin::start().await;
    let good = Answer::ok("good").etag("\"1\"").cache_control("max-age=0, stale-if-error=60");
    let bad = Answer::status(500).body("bad");
    origin.on_each("/kept.bin", vec![good.clone(), bad.clone(), bad, good]);
    let edge = Setup::before(&origin).start().await;
    assert_eq!(edge.get("/kept.bin").await.outcome(), "miss");
    for _ in 0..2 {
        let stale = edge.get("/kept.bin").await;
        assert_eq!((stale.status(), stale.outcome()), (200, "hit_stale"));
        assert_eq!(stale.whole(), "good");
    }
    assert_eq!(edge.get("/kept.bin").await.outcome(), "hit_revalidated");
}

/// An origin that dies before its header while viewers wait: every one of them gets an error, none hangs.
#[tokio::test]
async fn a_fetch_that_fails_before_its_header_fails_every_waiter() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    origin.on("/x.m4s", Answer::raw(&b""[..]).hold(&gate));
    let edge = Setup::before(&origin).origin("retry = { attempts = 1, on = [] }").start().await;
    let mut waiting = Vec::new();
    for _ in 0..5 {
        let mut connection = Http1::connect(edge.http()).await;
        connection.send(&Request::get("/x.m4s")).await;
        waiting.push(connection);
    }
    origin.await_requests("/x.m4s", 1).await;
    gate.open();
    for mut connection in waiting {
        assert_eq!(connection.response("GET").await.status(), 502);
    }
}

/// An origin over TLS is asked when its authority is configured; without that, or under another name, it is a 502.
#[tokio::test]
async fn an_origin_over_tls_is_trusted_by_its_authority_only() {
    let origin = Origin::start().await;
    origin.otherwise(|_, _| Answer::ok("over TLS").cache_control("max-age=60"));
    let front = TlsFront::before(origin.address(), "localhost").await;
    let server = format!("https://localhost:{}", front.port());
    let trusting = |server: &str| {
        let setup = Setup::with_servers(&[server.to_owned()]).file("ca.pem", front.authority_pem());
        setup.origin("tls = { ca = \"DIR/ca.pem\" }\ntimeouts = { connect = \"5s\" }")
    };
    let edge = trusting(&server).start().await;
    assert_eq!(edge.get("/1.m4s").await.whole(), "over TLS");
    assert_eq!(edge.get("/1.m4s").await.outcome(), "hit");

    let edge = Setup::with_servers(&[server]).start().await;
    assert_eq!(edge.get("/1.m4s").await.status(), 502, "an unknown authority");
    let edge = trusting(&format!("https://127.0.0.1:{}", front.port())).start().await;
    assert_eq!(edge.get("/1.m4s").await.status(), 502, "another name");
}
