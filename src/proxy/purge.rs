//! `PURGE` on viewers' listeners: who may, and the answer. What it purges is [`crate::purge`]'s business.
//!
//! The method has no registered meaning; caches take it to mean what [`crate::purge`] does with the request's URL. It is
//! off unless `purge.method_from` names clients. Soft, unless the field `Forebay-Purge` says `hard`.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};
use pingora::Result;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::Session;

use super::admit::{Admitted, denied};
use super::{Edge, RequestCtx};
use crate::admission::request;
use crate::deliver::fields;
use crate::deliver::refuse::Refused;
use crate::deliver::send;
use crate::outcome::Outcome;
use crate::purge::audit::{self, Asker, Way};
use crate::purge::{Answer, order};
use crate::site::Site;
use crate::store::purges::PurgeMode;

/// The field that tells the mode.
const MODE: &str = "forebay-purge";

/// Whether this is the method.
pub(super) fn is_purge(method: &Method) -> bool {
    method.as_str() == "PURGE"
}

impl Edge {
    /// Whether this client may purge.
    pub(super) fn admit_purge(
        &self,
        session: &Session,
        ctx: &mut RequestCtx,
    ) -> std::result::Result<Admitted, Refused> {
        let client = ctx.client.to_canonical();
        if self.purge_from.iter().any(|network| network.contains(&client)) {
            return Ok(Admitted::Purge);
        }
        let refusal = request::Refusal::PurgeAddress;
        audit::refused(&asker(session, ctx), refusal.as_str());
        Err(denied(ctx, refusal))
    }

    /// Purges what the request is for, and answers with the same JSON as the operators' listener.
    pub(super) async fn purge(
        &self,
        session: &mut Session,
        ctx: &mut RequestCtx,
        site: &Site,
    ) -> Result<bool> {
        let asker = asker(session, ctx);
        let header = session.req_header();
        let answer = match mode(header) {
            Ok(mode) => {
                let (path, query) = (header.uri.path(), header.uri.query());
                self.purger.url(&asker, site, path, query, mode).await
            }
            Err(refusal) => crate::purge::refuse(&asker, &refusal),
        };
        ctx.outcome = if answer.status == 400 { Outcome::Denied } else { Outcome::Bypass };
        ctx.first_byte = Some(std::time::Instant::now());
        let (header, body) = response(&answer);
        send::text(session.as_mut(), header, body).await?;
        Ok(true)
    }
}

fn asker(session: &Session, ctx: &RequestCtx) -> Asker<'static> {
    let peer = session.client_addr().and_then(|address| address.as_inet()).copied();
    Asker { way: Way::Method(ctx.client), peer }
}

fn mode(header: &RequestHeader) -> std::result::Result<PurgeMode, crate::purge::Refusal> {
    if !header.headers.contains_key(MODE) {
        return Ok(PurgeMode::Soft);
    }
    // Fields of one name are one list (RFC 9110 section 5.3), and a list is no mode.
    let told: Vec<_> = header.headers.get_all(MODE).iter().filter_map(|told| told.to_str().ok()).collect();
    order::mode_of(told.join(", ").trim())
}

fn response(answer: &Answer) -> (ResponseHeader, Bytes) {
    let (mut parts, ()) = http::Response::new(()).into_parts();
    parts.status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut header = ResponseHeader::from(parts);
    let body = Bytes::from(format!("{}\n", answer.body));
    fields::set(&mut header, CACHE_CONTROL, HeaderValue::from_static("no-store"));
    fields::set(&mut header, CONTENT_TYPE, HeaderValue::from_static("application/json"));
    fields::set(&mut header, CONTENT_LENGTH, HeaderValue::from(body.len()));
    (header, body)
}
