#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::*;
use crate::admission::token::jws;

/// A server of a key set: what it answers is changed by the test, and it answers only while it is let.
struct Server {
    answer: Mutex<(u16, String)>,
    asked: AtomicUsize,
    gate: Semaphore,
    url: String,
}

impl Server {
    async fn start(answer: &str) -> Arc<Server> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Arc::new(Server {
            answer: Mutex::new((200, answer.to_owned())),
            asked: AtomicUsize::new(0),
            gate: Semaphore::new(1_000_000),
            url: format!("http://{}/jwks", listener.local_addr().unwrap()),
        });
        let serving = Arc::clone(&server);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    match stream.read_u8().await {
                        Ok(byte) => head.push(byte),
                        Err(_) => break,
                    }
                }
                serving.asked.fetch_add(1, Ordering::AcqRel);
                serving.gate.acquire().await.unwrap().forget();
                let (status, body) = serving.answer.lock().unwrap().clone();
                let head = format!(
                    "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    body.len()
                );
                // A client that has gone on is not the server's concern.
                let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
            }
        });
        server
    }

    fn answers(&self, status: u16, body: &str) {
        *self.answer.lock().unwrap() = (status, body.to_owned());
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Acquire)
    }
}

#[derive(Default)]
struct Events {
    changes: AtomicUsize,
    results: Mutex<Vec<Refreshed>>,
}

impl KeyEvents for Events {
    fn changed(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    fn refreshed(&self, refreshed: Refreshed) {
        self.results.lock().unwrap().push(refreshed);
    }
}

fn set(ids: &[&str]) -> String {
    let key = |id: &&str| json!({ "kty": "OKP", "crv": "Ed25519", "kid": id, "x": jws::encode([7; 32]) });
    json!({ "keys": ids.iter().map(key).collect::<Vec<_>>() }).to_string()
}

fn config(url: &str) -> Fetch {
    let hour = Duration::from_secs(3600);
    Fetch { url: url.to_owned(), refresh: hour, retry: Duration::ZERO, timeout: hour, stale: hour }
}

fn start(config: Fetch) -> (Arc<Source>, Arc<Events>) {
    let (source, events) = (Arc::new(Source::new(config)), Arc::new(Events::default()));
    tokio::spawn(Arc::clone(&source).run(Arc::clone(&events) as Arc<dyn KeyEvents>));
    (source, events)
}

fn ids(source: &Source) -> Option<Vec<String>> {
    source.keys().map(|keys| keys.iter().map(|key| key.id.to_string()).collect())
}

/// Waits until something holds; a test that waits in vain is ended from outside.
async fn until(holds: impl Fn() -> bool) {
    while !holds() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn keys_are_fetched_at_the_start_and_follow_the_set() {
    let server = Server::start(&set(&["a"])).await;
    let (source, events) = start(config(&server.url));
    until(|| source.keys().is_some()).await;
    assert_eq!(ids(&source).unwrap(), ["a"]);
    until(|| events.results.lock().unwrap().len() == 1).await;
    server.answers(200, &set(&["b"]));
    assert!(source.refresh().await);
    assert_eq!(ids(&source).unwrap(), ["b"]);
    assert!(!source.refresh().await, "the same keys");
    server.answers(200, r#"{"keys":[]}"#);
    assert!(source.refresh().await);
    assert_eq!(ids(&source).unwrap().len(), 0, "an issuer may take all its keys away");
    assert_eq!(events.changes.load(Ordering::Acquire), 3);
    let results = events.results.lock().unwrap().clone();
    assert_eq!(results, [Refreshed::Changed, Refreshed::Changed, Refreshed::Unchanged, Refreshed::Changed]);
}

#[tokio::test]
async fn what_is_no_key_set_leaves_the_keys_as_they_were() {
    let server = Server::start(&set(&["a"])).await;
    let (source, events) = start(config(&server.url));
    until(|| events.results.lock().unwrap().len() == 1).await;
    let long = format!("{}{}", set(&["b"]), " ".repeat(usize::try_from(JWKS_BYTES_MAX).unwrap()));
    for (status, body) in [
        (500, set(&["b"])),
        (404, set(&["b"])),
        (302, set(&["b"])),
        (200, "rubbish".to_owned()),
        (200, "{}".to_owned()),
        (200, r#"{"keys":[{"kty":"XX"}]}"#.to_owned()),
        (200, long),
    ] {
        server.answers(status, &body);
        let before = events.results.lock().unwrap().len();
        assert!(!source.refresh().await, "{status}");
        assert_eq!(ids(&source).unwrap(), ["a"], "{status}");
        // Without a pause between attempts, further ones may have followed.
        assert!(
            events
                .results
                .lock()
                .unwrap()
                .split_off(before)
                .iter()
                .all(|result| *result == Refreshed::Failed)
        );
    }
    assert_eq!(events.changes.load(Ordering::Acquire), 1);
}

#[tokio::test]
async fn keys_that_are_too_old_count_no_more() {
    let server = Server::start(&set(&["a"])).await;
    let retry = Duration::from_millis(5);
    let (source, events) = start(Fetch { stale: Duration::ZERO, retry, ..config(&server.url) });
    until(|| events.results.lock().unwrap().len() == 1).await;
    server.answers(500, "");
    tokio::time::sleep(retry).await;
    assert!(!source.refresh().await);
    until(|| source.keys().is_none()).await;
    assert_eq!(events.changes.load(Ordering::Acquire), 2);
    server.answers(200, &set(&["a"]));
    until(|| source.keys().is_some()).await;
    until(|| events.changes.load(Ordering::Acquire) == 3).await;
}

#[tokio::test]
async fn one_fetch_serves_all_who_wait() {
    let server = Server::start(&set(&["a"])).await;
    let (source, events) = start(Fetch { retry: Duration::from_millis(1), ..config(&server.url) });
    until(|| events.results.lock().unwrap().len() == 1).await;
    tokio::time::sleep(Duration::from_millis(2)).await;
    server.gate.forget_permits(2_000_000);
    server.answers(200, &set(&["b"]));
    let waiting: Vec<_> = (0..50)
        .map(|_| {
            let source = Arc::clone(&source);
            tokio::spawn(async move { source.refresh().await })
        })
        .collect();
    until(|| server.asked() == 2 && source.progress.receiver_count() == 50).await;
    server.gate.add_permits(1);
    for waiter in waiting {
        assert!(waiter.await.unwrap());
    }
    assert_eq!(server.asked(), 2);
}

#[tokio::test]
async fn nobody_is_asked_again_within_a_short_while() {
    let server = Server::start(&set(&["a"])).await;
    let (source, events) = start(Fetch { retry: Duration::from_secs(3600), ..config(&server.url) });
    until(|| events.results.lock().unwrap().len() == 1).await;
    for _ in 0..20 {
        assert!(!source.refresh().await);
    }
    assert_eq!(server.asked(), 1);
}

#[tokio::test]
async fn what_is_asked_for_counts_from_the_end_that_the_asker_sees() {
    let (hour, second) = (Duration::from_secs(3600), Duration::from_secs(1));
    let source = Source::new(Fetch { retry: second, ..config("http://127.0.0.1:1/") });
    source.asked.notify_one();
    source.due(Instant::now().checked_sub(second).unwrap(), hour).await;
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up() {
    let server = Server::start(&set(&["a"])).await;
    server.gate.forget_permits(2_000_000);
    let retry = Duration::from_secs(3600);
    let (source, events) = start(Fetch { timeout: Duration::from_millis(50), retry, ..config(&server.url) });
    until(|| !events.results.lock().unwrap().is_empty()).await;
    assert_eq!(*events.results.lock().unwrap(), [Refreshed::Failed]);
    assert!(source.keys().is_none());
}

#[tokio::test]
async fn a_source_that_does_not_run_is_not_waited_for() {
    assert!(!Source::new(config("http://127.0.0.1:1/")).refresh().await);
}

#[tokio::test]
async fn a_fetched_key_does_not_take_the_name_of_a_key_of_the_configuration() {
    use crate::admission::token::Reason;
    use crate::admission::token::jws::Jws;
    use crate::admission::token::jws::keys::Keys;
    use crate::config::formats::jwks::Jwks;
    use crate::config::formats::jwt::Alg;
    use ring::signature::{Ed25519KeyPair, KeyPair};

    let pair = Ed25519KeyPair::from_seed_unchecked(&[3; 32]).unwrap();
    let key = |id| {
        let x = jws::encode(pair.public_key().as_ref());
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": id, "x": x })
    };
    let listed = ["k1", "own", "set"].map(key);
    let set = json!({ "keys": listed }).to_string();
    let server = Server::start(&set).await;
    let fixed = crate::admission::token::probe::shared(&[&[7; 32][..]]);
    let issuers = [("a".to_owned(), vec!["k1".to_owned()]), ("b".to_owned(), Vec::new())].into();
    let algorithms = [Alg::HS256, Alg::EdDSA];
    let keys = Keys::new(&fixed, Some(&Jwks::Url(config(&server.url))), &algorithms, &issuers, Some("own"));
    let source = Arc::clone(keys.source.as_ref().unwrap());
    tokio::spawn(Arc::clone(&source).run(Arc::new(Events::default())));
    until(|| source.keys().is_some()).await;
    let verified = |kid: Option<&str>, issuer| {
        let mut header = json!({ "alg": "EdDSA" });
        header.as_object_mut().unwrap().extend(kid.map(|kid| ("kid".to_owned(), json!(kid))));
        let signed = format!("{}.{}", jws::encode(header.to_string()), jws::encode("{}"));
        let token = format!("{signed}.{}", jws::encode(pair.sign(signed.as_bytes())));
        keys.verify(&Jws::parse(&token).unwrap(), Some(issuer))
    };
    assert_eq!(verified(Some("set"), "b").as_deref(), Ok("set"));
    assert_eq!(verified(None, "b").as_deref(), Ok("set"));
    assert_eq!(verified(Some("set"), "a"), Err(Reason::Issuer));
    assert_eq!(verified(Some("k1"), "a"), Err(Reason::BadMac), "the name of another issuer's key");
    assert_eq!(verified(Some("own"), "a"), Err(Reason::UnknownKey), "the name of the node's key");
    assert_eq!(verified(None, "a"), Err(Reason::BadMac));
}
