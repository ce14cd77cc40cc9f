//! A field that proves to an origin that a request comes from this node.
//!
//! Its value is `t=TIME, v1=ID:MAC`, with a further `v1` for each further key. TIME is in seconds since the Unix epoch, and MAC
//! the lower-case hexadecimal HMAC-SHA256, under the key named ID, of five lines joined by a line feed: ID, TIME, the
//! method, the value of `Host` (or `:authority`), and the target (path and query) as it is sent.

use std::time::{SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use http::header::HOST;
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue};
use pingora::http::RequestHeader;
use sha2::Sha256;

use crate::config::model;

/// What proves.
pub(super) struct Proof {
    header: HeaderName,
    keys: Vec<(String, Hmac<Sha256>)>,
}

impl Proof {
    pub(super) fn new(config: &model::Proof) -> Proof {
        // HMAC takes keys of any length.
        let key = |key: &model::ProofKey| {
            Some((key.id.clone(), Hmac::<Sha256>::new_from_slice(&key.secret.0).ok()?))
        };
        Proof { header: config.header.clone(), keys: config.keys.iter().filter_map(key).collect() }
    }

    /// Puts the field into a request, in place of any that is there.
    pub(super) fn sign(&self, request: &mut RequestHeader, now: SystemTime) -> Result<(), String> {
        let time = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let host = request.headers.get(HOST).map(HeaderValue::as_bytes).unwrap_or_default();
        let target = request.uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let mut value = format!("t={time}");
        for (id, key) in &self.keys {
            let mut mac = key.clone();
            mac.update(format!("{id}\n{time}\n{}\n", request.method).as_bytes());
            mac.update(host);
            mac.update(b"\n");
            mac.update(target.as_bytes());
            value.push_str(&format!(", v1={id}:{}", hex::encode(mac.finalize().into_bytes())));
        }
        request.insert_header(self.header.clone(), value).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::model::{ProofKey, Secret};

    /// The vector of docs/origins.md.
    #[test]
    #[allow(clippy::unwrap_used, reason = "a test")]
    fn the_documented_vector() {
        let key = |id: &str, secret: &str| ProofKey { id: id.to_owned(), secret: Secret(secret.into()) };
        let proof = Proof::new(&model::Proof {
            header: HeaderName::from_static("x-forebay-proof"),
            keys: vec![
                key("p1", "0123456789abcdef0123456789abcdef"),
                key("p2", "fedcba9876543210fedcba9876543210"),
            ],
        });
        let mut request = RequestHeader::build("GET", b"/vod/seg-1.ts?a=b", None).unwrap();
        request.insert_header(HOST, "origin.example.com").unwrap();
        request.insert_header("x-forebay-proof", "forged").unwrap();
        proof.sign(&mut request, UNIX_EPOCH + Duration::from_secs(1_700_000_000)).unwrap();
        let values: Vec<_> = request.headers.get_all("x-forebay-proof").iter().collect();
        assert_eq!(values.len(), 1);
        assert_eq!(values[0], VECTOR);
    }

    const VECTOR: &str = "t=1700000000, \
                          v1=p1:4fedb4601a6a017daea9cda8f348923e8f9ed5101c5389b188d34a4b187be26f, \
                          v1=p2:2284ea0b40e767d5652e71a3898870ec09382ed430dba467bdb8562fcb998a87";
}
