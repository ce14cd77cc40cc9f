//! The last hand at the header of a request: what the group changes in it, and what is signed.
//!
//! Decides in which order; what a signature is made of is decided by each kind. Called at the very end of the building of
//! a request, whichever way it takes ([`super::exchange`], [`super::UpstreamPeer::complete`]): nothing is changed after.

use std::sync::Arc;
use std::time::SystemTime;

use http::{HeaderValue, header};
use pingora::http::RequestHeader;

use super::proof::Proof;
use super::s3::Bucket;
use super::server::Reach;

/// A kind of signature. Each may read all of the header that the kinds before it have made.
pub(super) enum Signing {
    /// For an object store; makes the path of the bucket, too.
    S3(Arc<Bucket>),
    /// The field that proves where the request comes from.
    Proof(Proof),
}

impl Signing {
    fn apply(&self, request: &mut RequestHeader, now: SystemTime) -> Result<(), String> {
        match self {
            Signing::S3(bucket) => bucket.sign(request, now),
            Signing::Proof(proof) => proof.sign(request, now),
        }
    }
}

/// The host of a viewer as the servers are told it: in lower case, without port and trailing dot.
pub(super) fn viewers_host(host: &str) -> Option<HeaderValue> {
    let host = host.strip_suffix('.').unwrap_or(host);
    HeaderValue::from_str(&host.to_ascii_lowercase()).ok().filter(|host| !host.is_empty())
}

/// Makes the header of a request ready to be sent at `now`. `host` is the one that the viewer asks for.
///
/// # Errors
/// Why the request cannot be sent.
pub(super) fn complete(
    request: &mut RequestHeader,
    reach: &Reach,
    host: Option<&str>,
    now: SystemTime,
) -> Result<(), String> {
    let told = |error: pingora::BError| error.to_string();
    if let Some(host) = host.filter(|_| reach.forward_host).and_then(viewers_host) {
        request.insert_header(header::HOST, host).map_err(told)?;
    }
    for name in &reach.headers.remove {
        request.remove_header(name);
    }
    for (name, value) in &reach.headers.set {
        request.insert_header(name.clone(), value.clone()).map_err(told)?;
    }
    reach.signing.iter().try_for_each(|signing| signing.apply(request, now))
}
