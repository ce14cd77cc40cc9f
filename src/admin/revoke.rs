//! `/tokens/revoke`, `/tokens/restore` and `/tokens/revocations`: who asks, and the answer. What is done is
//! [`crate::revoke`]'s business.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Extension, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::server::Peer;
use super::{AdminState, error};
use crate::revoke::{Answer, LISTED_DEFAULT, LISTED_MAX, audit};

/// What the list may be asked with.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listed {
    limit: Option<usize>,
}

pub(super) async fn revoke(
    State(state): State<Arc<AdminState>>,
    Extension(Peer(peer)): Extension<Peer>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    match body {
        Ok(body) => respond(state.revoker.revoke(peer, &body).await),
        Err(rejected) => {
            audit::refused("revoke", Some(peer), "body");
            error(rejected.status(), &rejected.body_text())
        }
    }
}

pub(super) async fn restore(
    State(state): State<Arc<AdminState>>,
    Extension(Peer(peer)): Extension<Peer>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    match body {
        Ok(body) => respond(state.revoker.restore(peer, &body).await),
        Err(rejected) => {
            audit::refused("restore", Some(peer), "body");
            error(rejected.status(), &rejected.body_text())
        }
    }
}

pub(super) async fn list(
    State(state): State<Arc<AdminState>>,
    query: Result<Query<Listed>, QueryRejection>,
) -> Response {
    let limit = match query {
        Ok(Query(Listed { limit })) => limit.unwrap_or(LISTED_DEFAULT),
        Err(rejected) => return error(StatusCode::BAD_REQUEST, &rejected.body_text()),
    };
    if !(1..=LISTED_MAX).contains(&limit) {
        return error(StatusCode::BAD_REQUEST, &format!("limit: write a number from 1 to {LISTED_MAX}"));
    }
    // Looking at a million records takes a while: not on a thread that serves.
    match tokio::task::spawn_blocking(move || state.revoker.list(limit)).await {
        Ok(list) => Json(list).into_response(),
        Err(_) => error(StatusCode::INTERNAL_SERVER_ERROR, "the node is ending"),
    }
}

fn respond(answer: Answer) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Json(answer.body)).into_response()
}
