//! Admission: whose rules apply to a request, its normal form, and whether it may go on.

use std::sync::Arc;

use http::header::{CONNECTION, COOKIE, HOST, TRANSFER_ENCODING};
use http::{Method, Version};
use pingora::proxy::Session;

use super::{Edge, RequestCtx, entry, path_of, purge};
use crate::admission::{client, cors, request};
use crate::asset;
use crate::deliver::refuse::Refused;
use crate::observe::Denial;
use crate::outcome::Outcome;
use crate::site::host_of;

/// What admission decided.
pub(super) enum Admitted {
    /// The request goes on.
    On,
    /// The request is a preflight, answered by the site's rules.
    Preflight,
    /// The request purges what it is for.
    Purge,
}

impl Edge {
    /// Whose rules apply, and whether the request may go on by them.
    pub(super) fn admit(
        &self,
        session: &mut Session,
        ctx: &mut RequestCtx,
    ) -> std::result::Result<Admitted, Refused> {
        let header = session.req_header();
        ctx.client = self.client_address(session);
        ctx.kind = asset::classify(header.uri.path());
        let form =
            request::check_form(&header.method, &header.uri, &header.headers, self.limits.request_target);
        form.map_err(|refusal| denied(ctx, refusal))?;
        if header.version == Version::HTTP_11 && !header.headers.contains_key(HOST) {
            // RFC 9112 section 3.2.
            return Err(denied(ctx, request::Refusal::TargetForm));
        }
        if is_framed_twice(session) {
            return Err(denied(ctx, request::Refusal::Body));
        }
        if session.is_http2() && matches!(header.method, Method::GET | Method::HEAD) && has_h2_body(session) {
            return Err(denied(ctx, request::Refusal::Body));
        }
        let authority = entry::authority(header).map_err(|refusal| denied(ctx, refusal))?;
        let site = self.sites.find(host_of(authority)).ok_or_else(|| denied(ctx, request::Refusal::Host))?;
        ctx.site = Some(Arc::clone(site));
        // From here on the request is in normal form.
        let (token_bytes, sent) =
            entry::normalise(session.req_header_mut(), site, self.limits.request_target)
                .map_err(|refusal| denied(ctx, refusal))?;
        ctx.token_bytes = token_bytes;
        let header = session.req_header();
        if site.cors.is_some() && cors::is_preflight(&header.method, &header.headers) {
            return Ok(Admitted::Preflight);
        }
        if purge::is_purge(&header.method) && !self.purge_from.is_empty() {
            return self.admit_purge(session, ctx);
        }
        request::check_method(&header.method, &site.methods).map_err(|refusal| denied(ctx, refusal))?;
        let Some(policy) = &site.token else {
            return Ok(Admitted::On);
        };
        let cookies = header.headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        let now = self.clock.unix_seconds();
        let (path, query) = match &sent {
            Some(sent) => (sent.path.as_str(), sent.query.as_deref()),
            None => (header.uri.path(), header.uri.query()),
        };
        let normal = path_of(header, ctx);
        match policy.admit_normal(path, normal, query, cookies, ctx.client, now) {
            Ok(admitted) => {
                if site.is_keyed_by_claims {
                    ctx.claims = admitted.claims();
                }
                ctx.session = admitted.session.map(std::borrow::Cow::into_owned);
                Ok(Admitted::On)
            }
            Err(refusal) => Err(denied(ctx, request::Refusal::Token(refusal.reason))),
        }
    }

    pub(super) fn client_address(&self, session: &Session) -> std::net::IpAddr {
        let peer = session.client_addr().and_then(|address| address.as_inet()).map(std::net::SocketAddr::ip);
        let peer = peer.unwrap_or(std::net::IpAddr::from([0, 0, 0, 0]));
        let forwarded = session.req_header().headers.get_all("x-forwarded-for").iter();
        client::client_address(peer, forwarded, &self.server.trusted_proxies)
    }
}

/// Whether a request came with both `Content-Length` and `Transfer-Encoding` (RFC 9112 section 6.3). The engine has
/// taken the length away and marked the connection to close, which nothing else in such a request would explain.
pub(super) fn is_framed_twice(session: &Session) -> bool {
    let headers = &session.req_header().headers;
    let asks_to_close =
        headers.get(CONNECTION).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"));
    headers.contains_key(TRANSFER_ENCODING) && session.get_keepalive().is_none() && !asks_to_close
}

/// Whether a request over HTTP/2 goes on after its header.
pub(super) fn has_h2_body(session: &Session) -> bool {
    session.as_http2().is_some_and(|h2| !h2.is_body_empty())
}

/// A refusal of admission, noted for the record.
pub(super) fn denied(ctx: &mut RequestCtx, refusal: request::Refusal) -> Refused {
    ctx.denial = Some(match refusal {
        request::Refusal::Token(reason) => Denial::Token(reason.as_str()),
        other => Denial::Other(other.as_str()),
    });
    let allow = match (refusal, &ctx.site) {
        (request::Refusal::Method, Some(site)) => Some(site.allow.clone()),
        _ => None,
    };
    Refused {
        status: refusal.status().as_u16(),
        reason: refusal.as_str(),
        allow,
        outcome: Outcome::Denied,
        forward: None,
        detail: None,
    }
}
