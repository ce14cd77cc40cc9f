//! The admin listener: what operators, Prometheus and load balancers ask the node itself.
//!
//! Decides paths, answers and who may ask. It serves a private address with a small server of its own ([`server`]), apart
//! from viewers' traffic; it is started by `forebay serve`. Health answers are open, since load balancers carry no
//! credential; the hook for purges checks signatures of its own; everything else needs the bearer token where one is
//! configured.

mod access;
mod explain;
mod fleet;
mod purge;
pub mod readiness;
mod revoke;
pub mod server;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;

use crate::config::model::Secret;
use crate::fleet::Fleet;
use crate::observe::Metrics;
use crate::observe::metrics::CONTENT_TYPE;
use crate::purge::Purger;
use crate::purge::hook::Hook;
use crate::revoke::Revoker;

pub use explain::Explained;
pub use readiness::Readiness;
pub use server::serve;

/// Bytes of a request body; a longer one is answered 413.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// Empties the store.
pub type Clear = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync>;

/// What the admin listener shows and steers.
pub struct AdminState {
    /// Rendered at `GET /metrics`.
    pub metrics: Arc<Metrics>,
    /// Told at `GET /readyz`.
    pub readiness: Arc<Readiness>,
    /// Bearer token that requests must carry; None: no credential is asked for.
    pub token: Option<Secret>,
    /// Called at `POST /drain`, after readiness has turned; must return at once. It may be called more than once.
    pub drain: Arc<dyn Fn() + Send + Sync>,
    /// Called at `POST /cache/clear`; resolves when the store is empty, or says why it is not.
    pub clear: Clear,
    /// Does what `POST /purge` and the hook ask for.
    pub purger: Arc<Purger>,
    /// Checks what is sent to `POST /purge/hook`; None: nothing is taken there.
    pub hook: Option<Hook>,
    /// Does what `POST /tokens/revoke` and its companions ask for.
    pub revoker: Arc<Revoker>,
    /// Shown at `GET /api/fleet`; None: the node decides for itself.
    pub fleet: Option<Arc<Fleet>>,
    /// What is told at `GET /explain`.
    pub explained: Explained,
    /// Called before each rendering of the metrics, so that gauges are set.
    pub collectors: Vec<Box<dyn Fn() + Send + Sync>>,
}

/// Every path, with its method and what it answers; the index shows them.
pub const ENDPOINTS: &[(&str, &str, &str)] = &[
    ("GET", "/metrics", "metrics in the Prometheus text format"),
    ("GET", "/healthz", "200 while the process is alive"),
    ("GET", "/readyz", "200 while the node should get traffic, 503 otherwise"),
    ("GET", "/explain", "why a request is answered as it is: ?url=URL"),
    (
        "GET",
        "/api/fleet",
        "the nodes of the fleet, as JSON: how far each has applied purges, and its configuration",
    ),
    ("POST", "/cache/clear", "remove everything from memory and disks"),
    ("POST", "/purge", "expire or remove objects by URL, prefix, tag, site, or all"),
    ("POST", "/purge/hook", "the same, signed by a key of purge.hook"),
    ("GET", "/purge/forwards", "purges that are still to be passed on (purge.forward)"),
    ("POST", "/tokens/revoke", "refuse the tokens of a session, a subject or a key from now on"),
    ("POST", "/tokens/restore", "take such a revocation back"),
    ("GET", "/tokens/revocations", "the revocations in force, the latest first: ?limit=N"),
    ("POST", "/drain", "stop getting traffic, finish what is under way, end"),
];

/// The routes of the admin listener.
pub fn router(state: AdminState) -> Router {
    let guard = access::Guard::new(state.token.as_ref());
    let state = Arc::new(state);
    let guarded = Router::new()
        .route("/", get(index))
        .route("/metrics", get(metrics))
        .route("/explain", get(explain::get))
        .route("/api/fleet", get(fleet::get))
        .route("/cache/clear", post(clear))
        .route("/purge", post(purge::purge))
        .route("/purge/forwards", get(purge::forwards))
        .route("/tokens/revoke", post(revoke::revoke))
        .route("/tokens/restore", post(revoke::restore))
        .route("/tokens/revocations", get(revoke::list))
        .route("/drain", post(drain))
        .route_layer(from_fn_with_state(guard, access::check));
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/purge/hook", post(purge::hook))
        .merge(guarded)
        .fallback(|| async { error(StatusCode::NOT_FOUND, "no such path; GET / lists those there are") })
        .method_not_allowed_fallback(|| async {
            error(StatusCode::METHOD_NOT_ALLOWED, "this path takes another method; see the Allow header")
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn(bound))
        .with_state(state)
}

impl fmt::Debug for AdminState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminState").field("readiness", &self.readiness).finish_non_exhaustive()
    }
}

async fn metrics(State(state): State<Arc<AdminState>>) -> Response {
    // Estimating the viewers of a thousand streams takes milliseconds: not on a thread that serves.
    let rendered = tokio::task::spawn_blocking(move || {
        for collect in &state.collectors {
            collect();
        }
        state.metrics.render()
    });
    match rendered.await {
        Ok(Ok(text)) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Ok(Err(reason)) => failed(&reason),
        Err(reason) => failed(&reason),
    }
}

fn failed(reason: &dyn fmt::Display) -> Response {
    tracing::error!(%reason, "the metrics cannot be rendered");
    error(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be rendered; the log has the reason")
}

async fn readyz(State(state): State<Arc<AdminState>>) -> Response {
    let report = state.readiness.report();
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(report)).into_response()
}

async fn clear(State(state): State<Arc<AdminState>>) -> Response {
    tracing::info!("clearing the cache: asked to on the admin listener");
    match (state.clear)().await {
        Ok(()) => Json(json!({ "status": "cleared" })).into_response(),
        Err(reason) => {
            tracing::error!(%reason, "the cache could not be cleared");
            error(StatusCode::INTERNAL_SERVER_ERROR, &reason)
        }
    }
}

async fn drain(State(state): State<Arc<AdminState>>) -> Response {
    tracing::info!("draining: asked to on the admin listener");
    state.readiness.set_draining();
    (state.drain)();
    (StatusCode::ACCEPTED, Json(json!({ "status": "draining" }))).into_response()
}

async fn index() -> Response {
    let rows: String = ENDPOINTS
        .iter()
        .map(|(method, path, answer)| match *method {
            "GET" => format!("<tr><td>{method}<td><a href=\"{path}\">{path}</a><td>{answer}\n"),
            _ => format!("<tr><td>{method}<td>{path}<td>{answer}\n"),
        })
        .collect();
    let version = env!("CARGO_PKG_VERSION");
    let page = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>forebay</title>\n\
         <style>body {{ font-family: sans-serif }} td {{ padding: 0.2em 1em 0.2em 0 }}</style>\n\
         <h1>forebay {version}</h1>\n<table>\n{rows}</table>\n</html>\n"
    );
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
    ([(header::CONTENT_SECURITY_POLICY, policy)], Html(page)).into_response()
}

/// Refuses bodies beyond the limit, and keeps every answer out of caches.
async fn bound(request: Request, next: Next) -> Response {
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    let too_long =
        announced.and_then(|length| length.parse().ok()).is_some_and(|n: u64| n > BODY_BYTES_MAX as u64);
    let mut response = if too_long {
        error(StatusCode::PAYLOAD_TOO_LARGE, "the body is longer than 64 KiB")
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// An answer that says what is wrong, as JSON.
fn error(status: StatusCode, reason: &str) -> Response {
    (status, Json(json!({ "error": reason }))).into_response()
}

#[cfg(test)]
mod tests;
