//! Purges passed on to another CDN: what a receiver is sent, in which order, how often, and across a restart.

use serde_json::{Value, json};

use crate::support::client::{Request, ask};
use crate::support::edge::{Edge, Setup};
use crate::support::origin::{Answer, Origin, Recorded};
use crate::support::signing::sign_body;
use crate::support::wait::{Gate, eventually};

const KEY: &str = "0123456789abcdef-cdn";

async fn purge(edge: &Edge, order: Value) -> Value {
    let response = ask(edge.admin(), &Request::new("POST", "/purge").body(order.to_string())).await;
    assert_eq!(response.status(), 200, "{response:?}");
    serde_json::from_slice(&response.body).expect("JSON")
}

async fn waiting(edge: &Edge) -> Value {
    let response = ask(edge.admin(), &Request::get("/purge/forwards")).await;
    assert_eq!(response.status(), 200);
    serde_json::from_slice(&response.body).expect("JSON")
}

async fn arrived(cdn: &Origin, count: usize) -> Vec<Recorded> {
    eventually(&format!("{count} requests"), || cdn.recorded().len() >= count).await;
    cdn.recorded()
}

async fn ended(edge: &Edge, result: &str, count: f64) {
    edge.await_metric("forebay_purge_forwards_total", &[("target", "cdn"), ("result", result)], count).await;
}

fn body(request: &Recorded) -> Value {
    serde_json::from_slice(&request.body).unwrap_or_else(|error| panic!("{error}: {request:?}"))
}

fn forward(cdn: &Origin, more: &str) -> String {
    format!("[[purge.forward]]\nname = 'cdn'\nurl = '{}/purge'\n{more}\n", cdn.url())
}

async fn edge(origin: &Origin, sections: &str) -> Edge {
    Setup::before(origin).file("key", KEY).more(sections).start().await
}

#[tokio::test]
async fn a_purge_is_sent_as_json_with_an_identifier_and_a_signature() {
    let (origin, cdn) = (Origin::start().await, Origin::start().await);
    cdn.otherwise(|_, _| Answer::ok(""));
    let sign = "sign = { id = 'k1', secret_file = 'DIR/key' }\nsecret_headers = { 'fastly-key' = 'DIR/key' }";
    let edge = edge(&origin, &forward(&cdn, sign)).await;
    let told = purge(&edge, json!({ "tag": ["a", "b"], "mode": "hard" })).await;
    assert_eq!(told["forwards"], json!({ "cdn": { "sent": 2, "full": 0 } }));
    let sent = arrived(&cdn, 2).await;
    for (request, tag) in sent.iter().zip(["a", "b"]) {
        let id = request.header("idempotency-key").expect("a key").to_owned();
        assert_eq!(body(request), json!({ "id": id, "tag": tag, "mode": "hard" }));
        assert_eq!((request.method.as_str(), request.path()), ("POST", "/purge"));
        assert_eq!(
            (request.header("content-type"), request.header("fastly-key")),
            (Some("application/json"), Some(KEY))
        );
        // As the node's own hook would check it.
        let signature = request.header("forebay-signature").expect("a signature");
        let time = signature
            .strip_prefix("t=")
            .and_then(|text| text.split(',').next()?.parse().ok())
            .expect("a time");
        let text = String::from_utf8_lossy(&request.body);
        assert_eq!(signature, sign_body(KEY, "k1", time, &text));
    }
    assert_ne!(sent[0].header("idempotency-key"), sent[1].header("idempotency-key"));
    ended(&edge, "taken", 2.0).await;
    // What is refused, or only counted, is not passed on.
    purge(&edge, json!({ "tag": "c", "dry_run": true })).await;
    purge(&edge, json!({ "url": "http://edge.test/a?x=1" })).await;
    let sent = arrived(&cdn, 3).await;
    assert_eq!(body(&sent[2])["url"], "/a?x=1");
    eventually("a line of it", || edge.everything_written().contains("purge passed on")).await;
    assert!(!edge.everything_written().contains(KEY));
}

#[tokio::test]
async fn words_in_braces_make_the_request_that_another_cdn_takes() {
    let (origin, cdn) = (Origin::start().await, Origin::start().await);
    cdn.otherwise(|_, _| Answer::ok(""));
    let sections = format!(
        "[[purge.forward]]\nname = 'tags'\nurl = '{url}/service/s1/purge/{{tag}}'\n\
         headers = {{ 'surrogate-key' = '{{tag}}' }}\nbody = ''\n\
         [[purge.forward]]\nname = 'urls'\nurl = '{url}/purge?url=https://{{site}}{{path}}'\nmethod = 'PURGE'\nbody = ''\n\
         targets = ['url']\n",
        url = cdn.url()
    );
    let varnish = Origin::start().await;
    varnish.otherwise(|_, _| Answer::ok(""));
    let sections = format!(
        "{sections}[[purge.forward]]\nname = 'varnish'\nurl = '{}{{path}}'\nmethod = 'PURGE'\nbody = ''\n\
         targets = ['url']\nheaders = {{ host = '{{site}}' }}\n",
        varnish.url()
    );
    let hosts = Setup::before(&origin).hosts("['edge.test']");
    let edge = hosts.more(&sections).start().await;
    let told = purge(&edge, json!({ "tag": "news/1" })).await;
    assert_eq!(told["forwards"], json!({ "tags": { "sent": 1, "full": 0 } }));
    let sent = arrived(&cdn, 1).await;
    assert_eq!(
        (sent[0].target.as_str(), sent[0].header("surrogate-key")),
        ("/service/s1/purge/news%2F1", Some("news/1"))
    );
    assert!(sent[0].body.is_empty());
    purge(&edge, json!({ "url": "http://edge.test/a%20b?x=1" })).await;
    let sent = arrived(&cdn, 2).await;
    let expected = "/purge?url=https://edge.test%2Fa%2520b%3Fx%3D1";
    assert_eq!((sent[1].method.as_str(), sent[1].target.as_str()), ("PURGE", expected));
    let sent = arrived(&varnish, 1).await;
    assert_eq!((sent[0].method.as_str(), sent[0].target.as_str()), ("PURGE", "/a%20b?x=1"));
    assert_eq!(sent[0].header("host"), Some("edge.test"));
}

/// A receiver that fails, does not answer in time, and then takes it sees one identifier; what was asked for later comes later.
#[tokio::test]
async fn a_purge_is_sent_until_it_is_taken_and_the_next_one_after_it() {
    let (origin, cdn) = (Origin::start().await, Origin::start().await);
    let (silent, proxy) = (Gate::closed(), Answer::status(500));
    let answers = vec![proxy, Answer::ok("").hold(&silent), Answer::status(429), Answer::ok("")];
    cdn.on_each("/purge", answers);
    let edge = edge(&origin, &forward(&cdn, "timeout = '3s'")).await;
    purge(&edge, json!({ "tag": "first" })).await;
    purge(&edge, json!({ "everything": true })).await;
    arrived(&cdn, 1).await;
    edge.await_metric("forebay_purge_forwards_total", &[("result", "failed")], 1.0).await;
    let told = waiting(&edge).await;
    assert_eq!(told["forwards"][0]["waiting"], 2, "{told}");
    assert_eq!(told["forwards"][0]["first"]["tag"], "first");
    let sent = arrived(&cdn, 5).await;
    let tags: Vec<_> = sent.iter().map(|request| body(request)["tag"].clone()).collect();
    assert_eq!(tags, [json!("first"), json!("first"), json!("first"), json!("first"), Value::Null]);
    assert!(
        sent[..4]
            .iter()
            .all(|request| request.header("idempotency-key") == sent[0].header("idempotency-key"))
    );
    assert_ne!(sent[4].header("idempotency-key"), sent[0].header("idempotency-key"));
    ended(&edge, "taken", 2.0).await;
    ended(&edge, "failed", 3.0).await;
    let pending = edge.metrics().await.sum("forebay_purge_forwards_pending", &[("target", "cdn")]);
    assert_eq!(pending, 0.0);
    silent.open();
}

#[tokio::test]
async fn what_is_refused_or_failed_too_often_is_told_and_does_not_stop_the_next() {
    let (origin, cdn) = (Origin::start().await, Origin::start().await);
    cdn.script("/purge", |request, _| {
        let text = String::from_utf8_lossy(&request.body).into_owned();
        let status = [("refused", 403), ("moved", 301), ("fails", 503)];
        Answer::status(status.iter().find(|(tag, _)| text.contains(tag)).map_or(200, |(_, status)| *status))
    });
    let edge = edge(&origin, &forward(&cdn, "attempts = 2")).await;
    for tag in ["refused", "moved", "fails", "good"] {
        purge(&edge, json!({ "tag": tag })).await;
    }
    ended(&edge, "taken", 1.0).await;
    ended(&edge, "refused", 2.0).await;
    ended(&edge, "given_up", 1.0).await;
    assert_eq!(cdn.recorded().len(), 5);
    let written = edge.everything_written();
    for word in ["\"given_up\"", "\"refused\"", "status 403", "status 503"] {
        assert!(written.contains(word), "{word} in {written}");
    }
}

#[tokio::test]
async fn beyond_the_queue_a_purge_is_not_passed_on_and_the_answer_says_so() {
    let (origin, cdn) = (Origin::start().await, Origin::start().await);
    let gate = Gate::closed();
    cdn.on("/purge", Answer::ok("").hold(&gate));
    let edge = edge(&origin, &forward(&cdn, "queue = 2\ntimeout = '60s'")).await;
    let told = purge(&edge, json!({ "tag": ["a", "b", "c"] })).await;
    assert_eq!(told["forwards"], json!({ "cdn": { "sent": 2, "full": 1 } }));
    ended(&edge, "full", 1.0).await;
    gate.open();
    ended(&edge, "taken", 2.0).await;
}

/// The node is killed while the receiver fails; the one that is started with its file goes on.
#[tokio::test]
async fn what_waits_outlives_a_kill_with_its_identifier_and_in_its_order() {
    let (origin, cdn) = (Origin::start().await, Origin::start().await);
    let folder = tempfile::tempdir().expect("a temporary directory");
    cdn.on("/purge", Answer::status(500));
    let state = format!("[purge]\nforward_state = '{}'\n", folder.path().join("purges").display());
    let sections = format!("{state}{}", forward(&cdn, ""));
    let first = edge(&origin, &sections).await;
    purge(&first, json!({ "tag": ["a", "b"] })).await;
    purge(&first, json!({ "prefix": "/p/", "site": "*", "mode": "hard" })).await;
    arrived(&cdn, 1).await;
    first.kill().await;
    let before = cdn.recorded();
    cdn.on("/purge", Answer::ok(""));
    let second = edge(&origin, &sections).await;
    ended(&second, "taken", 3.0).await;
    let sent = &cdn.recorded()[before.len()..];
    assert_eq!(sent[0].header("idempotency-key"), before[0].header("idempotency-key"));
    let named: Vec<_> =
        sent.iter().map(|request| (body(request)["tag"].clone(), body(request)["prefix"].clone())).collect();
    let none = Value::Null;
    assert_eq!(named, [(json!("a"), none.clone()), (json!("b"), none.clone()), (none, json!("/p/"))]);
    second.stop().await;
    // What was taken is not sent again.
    let third = edge(&origin, &sections).await;
    assert_eq!(waiting(&third).await["forwards"][0]["waiting"], 0);
}

#[tokio::test]
async fn without_a_place_nothing_is_told_of_it() {
    let origin = Origin::start().await;
    let edge = Setup::before(&origin).start().await;
    assert_eq!(purge(&edge, json!({ "tag": "a" })).await.get("forwards"), None);
    let waiting = ask(edge.admin(), &Request::get("/purge/forwards")).await;
    assert_eq!((waiting.status(), &waiting.whole()[..]), (200, &b"{\"forwards\":[]}"[..]));
}
