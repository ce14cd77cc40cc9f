//! Keys by URL: a real node follows the key set of an issuer, and a key that was taken away opens nothing any more.

use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use crate::support::edge::{Edge, Setup};
use crate::support::origin::{Answer, Origin};
use crate::support::signing::now;
use crate::support::wait::within;

/// A key of an issuer.
struct Key {
    id: &'static str,
    pair: rcgen::KeyPair,
}

impl Key {
    fn new(id: &'static str) -> Key {
        Key { id, pair: rcgen::KeyPair::generate().expect("a key") }
    }

    /// Its public half, as a set holds it.
    fn jwk(&self) -> Value {
        let key = EncodingKey::from_ec_der(&self.pair.serialize_der());
        let jwk = jsonwebtoken::jwk::Jwk::from_encoding_key(&key, Algorithm::ES256).expect("a public half");
        let mut jwk = serde_json::to_value(jwk).expect("JSON");
        jwk["kid"] = json!(self.id);
        jwk
    }

    /// A target with a token of it.
    fn target(&self, path: &str) -> String {
        let header = Header { kid: Some(self.id.to_owned()), ..Header::new(Algorithm::ES256) };
        let claims = json!({ "exp": now() + 600, "path": "/live" });
        let key = EncodingKey::from_ec_der(&self.pair.serialize_der());
        format!("{path}?token={}", encode(&header, &claims, &key).expect("a token"))
    }
}

/// Asks with a key's token until it opens something.
async fn until_admitted(edge: &Edge, key: &Key) {
    let admitted = async {
        while edge.get(&key.target("/live/1.ts")).await.status() != 200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within("a token of the key is admitted", admitted).await;
}

fn set(keys: &[&Key]) -> Answer {
    let keys: Vec<Value> = keys.iter().map(|key| key.jwk()).collect();
    Answer::ok(json!({ "keys": keys }).to_string())
}

async fn node(issuer: &Origin, origin: &Origin) -> Edge {
    let policy = format!(
        r#"
        [token.viewer]
        format = "jwt"
        [token.viewer.jwt]
        algorithms = ["ES256"]
        claims = {{ path = "prefix" }}
        jwks = {{ url = "{}/jwks", retry = "1s" }}
    "#,
        issuer.url()
    );
    Setup::before(origin).site("token = \"viewer\"").more(&policy).start().await
}

async fn media() -> Origin {
    let origin = Origin::start().await;
    origin.otherwise(|_, _| Answer::ok("media").cache_control("max-age=60"));
    origin
}

/// The old key is kept while both count, a new one is asked for when its first token comes, and the old one is gone
/// with the set that lacks it.
#[tokio::test]
async fn a_node_follows_the_keys_of_an_issuer() {
    let (issuer, origin) = (Origin::start().await, media().await);
    let (old, new) = (Key::new("old"), Key::new("new"));
    issuer.on("/jwks", set(&[&old]));
    let edge = node(&issuer, &origin).await;
    edge.await_metric("forebay_jwks_refreshes_total", &[("policy", "viewer"), ("result", "changed")], 1.0)
        .await;
    assert_eq!(edge.get(&old.target("/live/1.ts")).await.status(), 200);
    assert_eq!(edge.get(&new.target("/live/1.ts")).await.status(), 403);
    issuer.on("/jwks", set(&[&new]));
    until_admitted(&edge, &new).await;
    assert_eq!(edge.get(&old.target("/live/1.ts")).await.status(), 403, "a key that was taken away");
    edge.await_metric("forebay_token_denied_total", &[("reason", "unknown_key")], 2.0).await;
}

/// Before the first set has come nothing can be verified; a request that comes then waits for it.
#[tokio::test]
async fn a_node_without_keys_refuses_until_they_come() {
    let (issuer, origin) = (Origin::start().await, media().await);
    let key = Key::new("k");
    issuer.on("/jwks", Answer::status(503));
    let edge = node(&issuer, &origin).await;
    edge.await_metric("forebay_jwks_refreshes_total", &[("policy", "viewer"), ("result", "failed")], 1.0)
        .await;
    assert_eq!(edge.get(&key.target("/live/1.ts")).await.status(), 403);
    edge.await_metric("forebay_token_denied_total", &[("reason", "unavailable")], 1.0).await;
    issuer.on("/jwks", set(&[&key]));
    until_admitted(&edge, &key).await;
    issuer.on("/jwks", Answer::status(503));
    assert_eq!(edge.get(&key.target("/live/2.ts")).await.status(), 200, "kept while the issuer fails");
}
