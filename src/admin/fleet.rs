//! `GET /api/fleet`: the nodes of the fleet, as this one sees them. What they say is [`crate::fleet`]'s business.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::AdminState;

pub(super) async fn get(State(state): State<Arc<AdminState>>) -> Json<Value> {
    // A node of no fleet says so.
    Json(state.fleet.as_ref().map_or_else(|| json!({ "bus": "off" }), |fleet| fleet.overview()))
}
