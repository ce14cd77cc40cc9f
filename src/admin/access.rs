//! Who may use the admin listener: the bearer token, and no page of another origin.
//!
//! Applied by the router to every path but the health answers.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::error;
use super::server::Peer;
use crate::config::model::Secret;
use crate::purge::audit::{self, Asker, Way};
use crate::revoke;

/// The digest of the token asked for; None: there is none.
#[derive(Clone)]
pub(super) struct Guard(Option<[u8; 32]>);

impl Guard {
    pub(super) fn new(token: Option<&Secret>) -> Guard {
        Guard(token.map(|token| digest(&token.0)))
    }

    /// Digests are compared, in constant time: neither the token nor its length shows in the time taken.
    fn admits(&self, headers: &HeaderMap) -> bool {
        let Some(expected) = &self.0 else {
            return true;
        };
        bearer(headers).is_some_and(|token| digest(token).ct_eq(expected).into())
    }
}

/// Lets a request through, or answers 401 (RFC 6750 section 3) or 403.
pub(super) async fn check(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    if !guard.admits(request.headers()) {
        note_refused(&request, "credential");
        let reason = "a valid token is needed: Authorization: Bearer TOKEN (server.admin_token_file)";
        let mut response = error(StatusCode::UNAUTHORIZED, reason);
        let challenge = HeaderValue::from_static("Bearer realm=\"forebay admin\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        return response;
    }
    if request.method() == Method::POST && is_foreign(request.headers()) {
        note_refused(&request, "foreign_origin");
        return error(StatusCode::FORBIDDEN, "requests that pages of another origin send are refused");
    }
    next.run(request).await
}

/// A purge or revocation that was not let through is told like one that was.
fn note_refused(request: &Request, word: &str) {
    let peer = || request.extensions().get::<Peer>().map(|Peer(peer)| *peer);
    match request.uri().path() {
        "/purge" => audit::refused(&Asker { way: Way::Admin, peer: peer() }, word),
        "/tokens/revoke" => revoke::audit::refused("revoke", peer(), word),
        "/tokens/restore" => revoke::audit::refused("restore", peer(), word),
        _ => {}
    }
}

fn digest(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// The token of `Authorization: Bearer` (RFC 6750 section 2.1; the scheme is case-insensitive, RFC 9110 section 11.1).
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

/// Whether a browser sent this from a page that is not the node's own: its `Origin` names another authority than `Host`.
fn is_foreign(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return false;
    };
    let host = headers.get(header::HOST).map(HeaderValue::as_bytes);
    let origin = origin.to_str().unwrap_or_default();
    let authority = origin.split_once("://").map(|(_, authority)| authority.as_bytes());
    authority.is_none() || authority != host
}
