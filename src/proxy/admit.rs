//! Admission: whose rules apply to a request, its normal form, and whether it may go on.

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, HOST, RETRY_AFTER, TRANSFER_ENCODING, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Method, StatusCode, Version};
use pingora::proxy::Session;

use super::{Edge, RequestCtx, entry, path_of, purge};
use crate::admission::ja4::Ja4;
use crate::admission::rate::Asker;
use crate::admission::token::{Answer, Policy, Presented, Reason, Renewal};
use crate::admission::{client, cors, request};
use crate::asset;
use crate::deliver::refuse::Refused;
use crate::observe::Denial;
use crate::outcome::Outcome;
use crate::tier::HOP;

/// How long a request waits for keys by URL, when its token names one that is not known.
const NEW_KEYS_WAIT: Duration = Duration::from_secs(2);

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
        let site = self.sites.find(request::host_of(authority));
        let site = site.ok_or_else(|| denied(ctx, request::Refusal::Host))?;
        ctx.site = Some(Arc::clone(site));
        self.refuse_loop(session, ctx)?;
        if self.note_hop(session, ctx, authority) {
            // It goes no further.
            session.req_header_mut().remove_header(&HOP);
        }
        // From here on the request is in normal form.
        (ctx.token_bytes, ctx.sent) =
            entry::normalise(session.req_header_mut(), site, self.limits.request_target, ctx.hop.is_none())
                .map_err(|refusal| denied(ctx, refusal))?;
        let header = session.req_header();
        if ctx.cors(site).is_some() && cors::is_preflight(&header.method, &header.headers) {
            return Ok(Admitted::Preflight);
        }
        if purge::is_purge(&header.method) && !self.purge_from.is_empty() {
            return self.admit_purge(session, ctx);
        }
        request::check_method(&header.method, &site.methods).map_err(|refusal| denied(ctx, refusal))?;
        match site.token.as_ref().filter(|_| ctx.hop.is_none()) {
            Some(policy) => self.admit_token(session, ctx, policy),
            None => Ok(Admitted::On),
        }
    }

    /// Whether the token of a request in normal form admits it.
    fn admit_token(
        &self,
        session: &mut Session,
        ctx: &mut RequestCtx,
        policy: &Policy,
    ) -> std::result::Result<Admitted, Refused> {
        match policy.admit(&self.presented(session, ctx)) {
            Ok(admitted) => {
                let header = session.req_header_mut();
                for name in policy.token_fields() {
                    header.remove_header(name);
                }
                ctx.token = Some(admitted);
                Ok(Admitted::On)
            }
            Err(refusal) => Err(denied_by_token(ctx, refusal.reason, refusal.answer.as_deref())),
        }
    }

    /// Renews the token of a request that is entitled to what it asks for, where its format has it renewed.
    ///
    /// # Errors
    /// The answer in place of the one asked for.
    pub(super) fn renew(&self, session: &Session, ctx: &mut RequestCtx) -> std::result::Result<(), Refused> {
        let policy = ctx.site.as_ref().and_then(|site| site.token.as_ref());
        let (Some(policy), Some(token)) = (policy, &ctx.token) else { return Ok(()) };
        if !token.terms().renews {
            return Ok(());
        }
        match policy.renew(token, &self.presented(session, ctx)) {
            Some(Renewal::Fields(fields)) => ctx.fields.extend(fields),
            Some(Renewal::Instead(answer)) => return Err(in_place(&answer)),
            None => {}
        }
        Ok(())
    }

    /// Admits a request once more whose token names a key that the policy does not have, after asking for the keys; the
    /// refusal stays where there is nobody to ask.
    pub(super) async fn admit_with_new_keys(
        &self,
        session: &mut Session,
        ctx: &mut RequestCtx,
        refused: Refused,
    ) -> std::result::Result<Admitted, Refused> {
        let site = ctx.site.clone();
        let policy = site.as_ref().and_then(|site| site.token.as_ref());
        let Some((policy, source)) = policy.and_then(|policy| Some((policy, policy.key_source()?))) else {
            return Err(refused);
        };
        match tokio::time::timeout(NEW_KEYS_WAIT, source.refresh()).await {
            Ok(true) => {
                ctx.denial = None;
                self.admit_token(session, ctx, policy)
            }
            _ => Err(refused),
        }
    }

    /// What of a request its token is verified against.
    pub(super) fn presented<'a>(&'a self, session: &'a Session, ctx: &'a RequestCtx) -> Presented<'a> {
        let header = session.req_header();
        let (path, query) = match &ctx.sent {
            Some(sent) => (sent.path.as_str(), sent.query.as_deref()),
            None => (header.uri.path(), header.uri.query()),
        };
        Presented {
            method: header.method.as_str(),
            secure: session.digest().is_some_and(|digest| digest.ssl_digest.is_some()),
            host: super::authority(header),
            path,
            normal: path_of(header, ctx),
            query,
            headers: &header.headers,
            client: ctx.client,
            geo: self.sites.geo(),
            ja4: super::ja4(session).map(Ja4::as_str),
            alpn: if session.is_http2() { "h2" } else { "http/1.1" },
            ..Presented::get("/", self.clock.unix_seconds())
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

/// An answer that a token asks for in place of the one asked for.
fn in_place(answer: &Answer) -> Refused {
    Refused {
        status: answer.status,
        reason: "renewed",
        fields: answer.fields.clone(),
        allow: None,
        outcome: Outcome::Denied,
        forward: None,
        detail: None,
    }
}

/// Whether keys that have not come yet could admit what was refused.
pub(super) fn lacks_keys(ctx: &RequestCtx) -> bool {
    let lacking = [Reason::UnknownKey, Reason::Unavailable].map(Reason::as_str);
    matches!(ctx.denial, Some(Denial::Token(word)) if lacking.contains(&word))
}

/// What an answer of this status must have beside it: of 401 a challenge (RFC 9110 section 15.5.2).
fn challenge(status: u16) -> Vec<(HeaderName, HeaderValue)> {
    if status == StatusCode::UNAUTHORIZED.as_u16() {
        return vec![(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))];
    }
    Vec::new()
}

impl Edge {
    /// Counts a request for a key or a licence: by the session that its token says, else by the client's address.
    ///
    /// # Errors
    /// The answer to one of too many.
    pub(super) fn count_key(&self, ctx: &mut RequestCtx) -> std::result::Result<(), Refused> {
        let policy =
            ctx.site.as_ref().and_then(|site| site.token.as_ref()).map(|policy| policy.name.as_str());
        let session = ctx.token.as_ref().and_then(|token| token.terms().session.as_deref());
        let asker = match (policy, session.filter(|session| !session.is_empty())) {
            (Some(policy), Some(session)) => Asker::Session { policy, session },
            _ => Asker::Address(ctx.client),
        };
        self.key_rate.take(asker, self.clock.now()).map_err(|wait| {
            let mut refused = denied(ctx, request::Refusal::KeyRate);
            // To the next whole second.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            refused.fields.push((RETRY_AFTER, HeaderValue::from(seconds)));
            refused
        })
    }
}

/// A refusal of a token, noted for the record: as the token asks for, else as its policy does.
pub(super) fn denied_by_token(ctx: &mut RequestCtx, reason: Reason, answer: Option<&Answer>) -> Refused {
    let refused = denied(ctx, request::Refusal::Token(reason));
    let Some(answer) = answer else { return refused };
    let mut fields = challenge(answer.status);
    fields.retain(|(name, _)| answer.fields.iter().all(|(own, _)| own != name));
    fields.extend(answer.fields.iter().cloned());
    Refused { status: answer.status, fields, ..refused }
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
    let status = match (refusal, ctx.site.as_ref().and_then(|site| site.token.as_ref())) {
        (request::Refusal::Token(reason), Some(policy)) => policy.status(reason),
        _ => refusal.status().as_u16(),
    };
    Refused {
        status,
        reason: refusal.as_str(),
        fields: challenge(status),
        allow,
        outcome: Outcome::Denied,
        forward: None,
        detail: None,
    }
}
