//! Which answers carry their viewer's token on, and how: in the text, or by a cookie.
//!
//! Playlists and manifests of status 200 do, that come from an object; what passes through (a rule's `bypass`, other methods) is
//! sent as the origin sent it. A token that stands in the path of the request stays there, whatever the policy says: the
//! URIs that are relative have it already, and by another way they would have two. One in a path parameter (`;NAME=TOKEN`)
//! is carried by `path`, or where the node makes a session token; else it is left to what is relative.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

use super::{Edge, RequestCtx, host, path_of};
use crate::admission::token::Policy;
use crate::admission::token::session::Carried;
use crate::carry::reference::is_same_host;
use crate::carry::{Form, Syntax, Terms};
use crate::config::model::{Carry, TokenPlace};
use crate::deliver::carry::{self, Bearer, Cookie, Rewritten};
use crate::site::Site;
use crate::store::{BodyError, Object};

/// How an answer carries its viewer's token on.
pub(super) struct Carriage<'a> {
    policy: &'a Policy,
    carried: Carried<'a>,
    way: Way,
}

enum Way {
    /// In the text. With the token as it is inserted, and whether relative URIs have it already.
    Text { form: Form, token: String, inherits: bool },
    /// By a cookie.
    Cookie,
}

impl Edge {
    /// How the answer from an object carries the viewer's token on; None: not at all.
    pub(super) fn carriage<'a>(
        &self,
        session: &Session,
        ctx: &RequestCtx,
        site: &'a Site,
        object: &Object,
    ) -> Option<Carriage<'a>> {
        let policy = site.token.as_deref().filter(|policy| policy.carry != Carry::None)?;
        let admission = ctx.token.as_ref()?;
        carry::syntax_of(object.kind).filter(|_| object.status() == StatusCode::OK)?;
        let carried = policy.carried(admission, &self.presented(session, ctx));
        let text = |form, name: &str, text: &str, inherits| {
            Some(Way::Text { form, token: carry::token_text(form, name, text), inherits })
        };
        let (name, token) = (carried.name, &carried.text);
        let way = match (policy.carry, admission.place) {
            (_, TokenPlace::Path) if carried.is_admitted => {
                let sent = session.req_header().uri.path().get(..ctx.token_bytes).unwrap_or_default();
                if name.is_empty() {
                    // Several parameters are one segment, whose marks stay.
                    text(Form::Path, "", sent, true)
                } else {
                    let (name, token) = sent.trim_start_matches('/').split_once('=')?;
                    text(Form::Path, name, token, true)
                }
            }
            (Carry::Query | Carry::Cookie, TokenPlace::PathParameter) if carried.is_admitted => None,
            (Carry::Path, _) | (Carry::Cookie, TokenPlace::Path) => text(Form::Path, name, token, false),
            (Carry::Query, _) => text(Form::Query, name, token, false),
            (Carry::Cookie, TokenPlace::Cookie) if carried.is_admitted => None,
            (Carry::Cookie, _) => Some(Way::Cookie),
            (Carry::None, _) => None,
        }?;
        Some(Carriage { policy, carried, way })
    }

    /// The object's text with the token in it; None: the object as it is. Where the text is not kept, an object that has
    /// all of it takes the object's place.
    pub(super) async fn rewritten(
        &self,
        session: &Session,
        ctx: &RequestCtx,
        site: &Site,
        object: &mut Arc<Object>,
        carriage: &Carriage<'_>,
    ) -> Result<Option<Rewritten>, BodyError> {
        let Way::Text { form, token, inherits } = &carriage.way else { return Ok(None) };
        if !object.body.is_kept()
            && let Some(read) = Box::pin(self.carrier.read(object)).await?
        {
            *object = read;
        }
        let policy = carriage.policy;
        let header = session.req_header();
        let listed = |known: &String, host: &str| is_same_host(known, host);
        let terms = Terms {
            form: *form,
            syntax: Syntax::Hls,
            path: path_of(header, ctx),
            is_own: &|host| site.hosts.iter().chain(&policy.carry_hosts).any(|known| listed(known, host)),
            is_token: &|parameter| policy.is_token_name(parameter),
            has_token: &|path| !policy.strip_path(path).0.is_empty(),
        };
        let bearer = Bearer { terms, token, inherits: *inherits, host: host(header) };
        self.carrier.select(object, &bearer).await
    }
}

impl Carriage<'_> {
    /// How long the token is valid; None: without end.
    pub(super) fn left(&self) -> Option<Duration> {
        self.carried.life.map(Duration::from_secs)
    }

    /// Sets the cookie, where the token is carried by one.
    pub(super) fn set_cookie(&self, header: &mut ResponseHeader, session: &Session, ctx: &RequestCtx) {
        if !matches!(self.way, Way::Cookie) || header.status.as_u16() >= 400 {
            return;
        }
        let cookie = Cookie {
            name: self.carried.name,
            token: &self.carried.text,
            path: path_of(session.req_header(), ctx),
            opens: &self.carried.opens,
            left: self.left(),
            over_tls: session.digest().is_some_and(|digest| digest.ssl_digest.is_some()),
        };
        cookie.set(header);
    }
}
