//! Which answers carry their viewer's token on, and how: in the text, or by a cookie.
//!
//! Playlists and manifests of status 200 do, that come from an object; what passes through (a rule's `bypass`, other methods) is
//! sent as the origin sent it. A token that stands in the path of the request stays there, whatever the policy says: the
//! URIs that are relative have it already, and by another way they would have two. One in a path parameter (`;NAME=TOKEN`)
//! is carried by `path`, or where the node makes a session token; else it is left to what is relative.
//!
//! With the token, or without any, go the viewer's own values of the parameters that rules drop from what is kept.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::Session;

use super::{Edge, RequestCtx, host, path_of};
use crate::admission::token::session::Carried;
use crate::carry::{Form, Syntax, Terms};
use crate::config::model::{Carry, TokenPlace};
use crate::deliver::carry::{self, Bearer, Cookie, Rewritten};
use crate::key::is_named;
use crate::key::reference::is_same_host;
use crate::site::Site;
use crate::store::{BodyError, Object};

/// What of its viewer's an answer carries on, and how.
pub(super) struct Carriage<'a> {
    /// The token. None: the site has no policy, or none that carries.
    bearing: Option<Bearing<'a>>,
    /// What goes into the text.
    text: Option<Text>,
}

/// A token that is carried.
struct Bearing<'a> {
    carried: Carried<'a>,
    /// Whether it goes by a cookie.
    by_cookie: bool,
}

/// What is inserted into a text, and whether relative URIs have the token already.
struct Text {
    form: Form,
    token: String,
    query: String,
    inherits: bool,
}

impl Edge {
    /// What of the viewer's the answer from an object carries on; None: nothing.
    pub(super) fn carriage<'a>(
        &self,
        session: &Session,
        ctx: &RequestCtx,
        site: &'a Site,
        object: &Object,
    ) -> Option<Carriage<'a>> {
        carry::syntax_of(object.kind).filter(|_| object.status() == StatusCode::OK)?;
        let given = given(session.req_header(), ctx, site);
        let (bearing, text) = self.bearing(session, ctx, site).unzip();
        let text = text.flatten();
        if bearing.is_none() && given.is_empty() {
            return None;
        }
        let text = match text {
            None if given.is_empty() => None,
            None => Some(Text { form: Form::Query, token: given, query: String::new(), inherits: false }),
            Some(text) if given.is_empty() => Some(text),
            Some(text) if text.form == Form::Query => {
                Some(Text { token: format!("{}&{given}", text.token), ..text })
            }
            Some(text) => Some(Text { form: Form::PathAndQuery, query: given, ..text }),
        };
        Some(Carriage { bearing, text })
    }

    /// How the viewer's token is carried on; None: not at all.
    fn bearing<'a>(
        &self,
        session: &Session,
        ctx: &RequestCtx,
        site: &'a Site,
    ) -> Option<(Bearing<'a>, Option<Text>)> {
        let policy = site.token.as_deref().filter(|policy| policy.carry != Carry::None)?;
        let admission = ctx.token.as_ref()?;
        let carried = policy.carried(admission, &self.presented(session, ctx));
        let text = |form, name: &str, text: &str, inherits| {
            let token = carry::token_text(form, name, text);
            Some(Some(Text { form, token, query: String::new(), inherits }))
        };
        let (name, token) = (carried.name, &carried.text);
        let text = match (policy.carry, admission.place) {
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
            (Carry::Cookie, _) => Some(None),
            (Carry::None, _) => None,
        }?;
        Some((Bearing { carried, by_cookie: text.is_none() }, text))
    }

    /// The object's text with what is the viewer's in it; None: the object as it is. Where the text is not kept, an object
    /// that has all of it takes the object's place.
    pub(super) async fn rewritten(
        &self,
        session: &Session,
        ctx: &RequestCtx,
        site: &Site,
        object: &mut Arc<Object>,
        carriage: &Carriage<'_>,
    ) -> Result<Option<Rewritten>, BodyError> {
        let Some(Text { form, token, query, inherits }) = &carriage.text else { return Ok(None) };
        if !object.body.is_kept()
            && let Some(read) = Box::pin(self.carrier.read(object)).await?
        {
            *object = read;
        }
        let policy = site.token.as_deref();
        let hosts = policy.map_or(&[][..], |policy| &policy.carry_hosts);
        let header = session.req_header();
        let listed = |known: &String, host: &str| is_same_host(known, host);
        let terms = Terms {
            form: *form,
            syntax: Syntax::Hls,
            path: path_of(header, ctx),
            is_own: &|host| site.hosts.iter().chain(hosts).any(|known| listed(known, host)),
            is_token: &|parameter| policy.is_some_and(|policy| policy.is_token_name(parameter)),
            has_token: &|path| policy.is_some_and(|policy| !policy.strip_path(path).0.is_empty()),
        };
        let bearer = Bearer { terms, token, query, inherits: *inherits, host: host(header) };
        self.carrier.select(object, &bearer).await
    }
}

/// The parameters that rules drop from what is kept, as this viewer's own request has them. Of several of one name the first
/// counts; one that is the site's token is carried as such.
fn given(header: &RequestHeader, ctx: &RequestCtx, site: &Site) -> String {
    let mut given = String::new();
    let Some(query) = header.uri.query() else { return given };
    let mut told: Vec<&str> = Vec::new();
    for name in site.dropped(path_of(header, ctx)) {
        let mut pairs =
            query.split('&').filter_map(|parameter| Some((parameter, parameter.split_once('=')?)));
        let Some((parameter, (_, value))) = pairs.find(|(parameter, _)| is_named(parameter, name)) else {
            continue;
        };
        let is_token = site.token.as_ref().is_some_and(|policy| policy.is_token_name(parameter));
        if !is_token && !told.contains(&name) {
            told.push(name);
            carry::push_given(&mut given, name, value);
        }
    }
    given
}

impl Carriage<'_> {
    /// How long the token is valid; None: without end.
    pub(super) fn left(&self) -> Option<Duration> {
        self.bearing.as_ref()?.carried.life.map(Duration::from_secs)
    }

    /// Sets the cookie, where the token is carried by one.
    pub(super) fn set_cookie(&self, header: &mut ResponseHeader, session: &Session, ctx: &RequestCtx) {
        let bearing = self.bearing.as_ref().filter(|bearing| bearing.by_cookie);
        let Some(Bearing { carried, .. }) = bearing.filter(|_| header.status.as_u16() < 400) else { return };
        let cookie = Cookie {
            name: carried.name,
            token: &carried.text,
            path: path_of(session.req_header(), ctx),
            opens: &carried.opens,
            left: self.left(),
            over_tls: session.digest().is_some_and(|digest| digest.ssl_digest.is_some()),
        };
        cookie.set(header);
    }
}
