//! `POST /purge` and `POST /purge/hook`: who asks, and the answer. What is done is [`crate::purge`]'s business, and is done
//! whole in a task of its own: a connection that breaks ends nothing but the answer.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::server::Peer;
use super::{AdminState, error};
use crate::purge::Answer;
use crate::purge::audit::{self, Asker, Way};
use crate::purge::hook::{HookRefusal, SIGNATURE};

/// Seconds after which a sender that met a full memory of signatures may ask again.
const RETRY_AFTER_SECONDS: u64 = 60;

pub(super) async fn purge(
    State(state): State<Arc<AdminState>>,
    Extension(Peer(peer)): Extension<Peer>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let asker = Asker { way: Way::Admin, peer: Some(peer) };
    match body {
        Ok(body) => answered(async move { state.purger.run(&asker, &body, key_of(&headers)).await }).await,
        Err(rejected) => unread(&asker, &rejected),
    }
}

pub(super) async fn hook(
    State(state): State<Arc<AdminState>>,
    Extension(Peer(peer)): Extension<Peer>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    fn asker(key: Option<&str>, peer: SocketAddr) -> Asker<'_> {
        Asker { way: Way::Hook(key), peer: Some(peer) }
    }
    let Some(hook) = &state.hook else {
        audit::refused(&asker(None, peer), "off");
        return error(StatusCode::NOT_FOUND, "there is no hook: add purge.hook to the configuration");
    };
    let body = match body {
        Ok(body) => body,
        Err(rejected) => return unread(&asker(None, peer), &rejected),
    };
    let signatures = headers.get_all(SIGNATURE).iter().map(HeaderValue::as_bytes);
    match hook.take(signatures, &body) {
        Ok(key) => {
            let key = key.to_owned();
            answered(async move {
                let asker = asker(Some(&key), peer);
                state.purger.run(&asker, &body, key_of(&headers)).await
            })
            .await
        }
        Err((refusal, key)) => {
            audit::refused(&asker(key, peer), refusal.as_str());
            refuse(refusal)
        }
    }
}

/// The field by which a sender that sends again is recognised.
fn key_of(headers: &HeaderMap) -> Option<&[u8]> {
    headers.get("idempotency-key").map(HeaderValue::as_bytes)
}

/// What is still to be passed on.
pub(super) async fn forwards(State(state): State<Arc<AdminState>>) -> Json<Value> {
    // A node that passes nothing on has nothing waiting.
    Json(state.purger.forwards().unwrap_or_else(|| json!({ "forwards": [] })))
}

/// A body beyond the limit, or one that broke off.
fn unread(asker: &Asker<'_>, rejected: &BytesRejection) -> Response {
    audit::refused(asker, "body");
    error(rejected.status(), &rejected.body_text())
}

fn refuse(refusal: HookRefusal) -> Response {
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::UNAUTHORIZED);
    let body = json!({ "error": refusal.explanation(), "reason": refusal.as_str() });
    let mut response = (status, Json(body)).into_response();
    let headers = response.headers_mut();
    if status == StatusCode::UNAUTHORIZED {
        // RFC 9110 section 15.5.2 asks for a challenge.
        let challenge = HeaderValue::from_static("Forebay-Signature realm=\"forebay purge\"");
        headers.insert(header::WWW_AUTHENTICATE, challenge);
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
    }
    response
}

/// Waits for what goes on without the one who waits.
async fn answered(done: impl Future<Output = Answer> + Send + 'static) -> Response {
    match tokio::spawn(done).await {
        Ok(answer) => respond(answer),
        Err(_) => error(StatusCode::INTERNAL_SERVER_ERROR, "the node is ending: ask another one"),
    }
}

fn respond(answer: Answer) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Json(answer.body)).into_response()
}
