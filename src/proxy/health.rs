//! The health check on viewers' listeners: whether the node should get traffic, in one word.
//!
//! Decides nothing: readiness does. Answered before any site is looked for, so that it needs none; it is counted apart from
//! viewers' requests, and told in no access line. Details stay on the operator's listener.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode};
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;
use prometheus::IntCounter;

use super::Edge;
use crate::deliver::{fields, send};
use crate::observe::Metrics;

/// What answers health checks.
pub struct Health {
    path: String,
    ready: Arc<dyn Fn() -> bool + Send + Sync>,
    answered: [IntCounter; 3],
}

impl Health {
    /// Answers at `path`.
    pub fn new(path: &str, ready: Arc<dyn Fn() -> bool + Send + Sync>, metrics: &Metrics) -> Health {
        let answered = ["200", "503", "405"].map(|code| metrics.health_checks(code));
        Health { path: path.to_owned(), ready, answered }
    }

    /// Whether a request with this path is a health check.
    pub(super) fn is_at(&self, path: &str) -> bool {
        self.path == path
    }

    /// The answer to a request with this method.
    fn answer(&self, method: &Method) -> (ResponseHeader, Bytes) {
        let [ready, not_ready, not_allowed] = &self.answered;
        let (status, word, counter) = match *method {
            Method::GET | Method::HEAD if (self.ready)() => (StatusCode::OK, "ready\n", ready),
            Method::GET | Method::HEAD => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n", not_ready),
            _ => (StatusCode::METHOD_NOT_ALLOWED, "", not_allowed),
        };
        counter.inc();
        let (mut parts, ()) = http::Response::new(()).into_parts();
        parts.status = status;
        let mut header = ResponseHeader::from(parts);
        if status == StatusCode::METHOD_NOT_ALLOWED {
            fields::set(&mut header, ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        fields::set(&mut header, CACHE_CONTROL, HeaderValue::from_static("no-store"));
        fields::set(&mut header, CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        fields::set(&mut header, CONTENT_LENGTH, HeaderValue::from(word.len()));
        (header, Bytes::from_static(word.as_bytes()))
    }
}

impl Edge {
    /// What answers a request, if it is a health check.
    pub(super) fn health_check(&self, session: &Session) -> Option<&Health> {
        self.health.as_ref().filter(|health| health.is_at(session.req_header().uri.path()))
    }

    /// Answers a health check.
    pub(super) async fn answer_health_check(&self, session: &mut Session, health: &Health) -> Result<bool> {
        let (header, body) = health.answer(&session.req_header().method);
        send::text(session.as_mut(), header, body).await?;
        Ok(true)
    }
}
