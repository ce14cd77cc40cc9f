//! Why a request is answered as it is: whose rules apply, which of them, under which key it is kept and for how long.
//!
//! Asks the very functions that serve requests, in the order in which `proxy` does, and decides nothing itself. Called
//! by the command line and by the operators' listener; no request of a viewer comes here.

pub mod question;
mod rule;
mod text;

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use http::header::{AUTHORIZATION, CACHE_CONTROL, HeaderName};
use http::{Method, StatusCode};
use pingora::http::{RequestHeader, ResponseHeader};
use serde::Serialize;

use crate::admission::geo::Geo;
use crate::admission::token::Claims;
use crate::admission::{cors, request, token};
use crate::asset::Kind;
use crate::cache::freshness::ttl_from;
use crate::cache::source::TtlCap;
use crate::cache::{
    Fetched, Refusal, RequestDirectives, Said, Times, Verdict, is_blocking, judge, tell_expires,
};
use crate::coalesce::fill::playlist::Around;
use crate::config::Config;
use crate::dash;
use crate::hls;
use crate::hls::{Directives, Reload};
use crate::key::variant::{Settled, normal_fields};
use crate::key::{Key, query_of};
use crate::proxy::edge_made::Directed;
use crate::proxy::{entry, passes_through};
use crate::site::{Asked, Site, Sites};
pub use question::Question;
pub use rule::RuleTold;

/// What of the configuration's limits decides about requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `limits.request_target`, in bytes.
    pub target_bytes_max: usize,
    /// `limits.playlist`, in bytes.
    pub playlist_bytes_max: u64,
}

impl Limits {
    /// Those of a configuration.
    pub fn of(config: &Config) -> Limits {
        Limits { target_bytes_max: config.limits.request_target, playlist_bytes_max: config.limits.playlist }
    }
}

/// What becomes of a request; all that is known of why.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Explanation {
    /// `store`: kept. `pass`: fetched, but not kept. `bypass`: passed through to the origin. `denied`: refused.
    /// `preflight`: answered from the site's CORS rules. `steering`: answered with the site's steering manifest.
    /// `unknown`: it depends on a playlist that was not given.
    pub cache: &'static str,
    /// Why it is denied, passes through or is not kept: a word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// The status of a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The site's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// What its token comes to, where the site asks for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenTold>,
    /// The kind of asset, as its path says and, of a playlist that was given, the text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'static str>,
    /// The rule that decides key and bypass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_rule: Option<RuleTold>,
    /// The text of the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What the origin is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<OriginTold>,
    /// The node of the tier that the key belongs to, while all are there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// What becomes of the origin's answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<AnswerTold>,
}

/// What a token comes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TokenTold {
    /// Whether it admits the request.
    pub valid: bool,
    /// The key that signed it, or why it does not: a word.
    pub word: String,
    /// The same for people.
    pub explanation: String,
}

/// What an origin is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OriginTold {
    /// The group.
    pub name: String,
    /// Its servers.
    pub servers: Vec<String>,
    /// The method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names of the request's fields that are sent along with a fetch: those that the key is made of, those by which the
    /// answer varies, once it has said so, and `authorization`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,
    /// The server that the key belongs to, where the group goes by owners, while all are there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// `open` while nothing is sent to the group because most requests have failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub circuit: Option<&'static str>,
}

/// What becomes of an answer of the origin.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AnswerTold {
    /// Its status.
    pub status: u16,
    /// The rule that decides its times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleTold>,
    /// Whether it is kept.
    pub stored: bool,
    /// Seconds of freshness left when it comes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<f64>,
    /// What names the freshness: a word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_from: Option<&'static str>,
    /// What shortens it: a word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_cap: Option<&'static str>,
    /// The same two for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_explanation: Option<String>,
    /// Seconds that a stale copy may be served for while it is fetched anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_while_revalidate_seconds: Option<f64>,
    /// Seconds that a stale copy may be served for when the origin fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_if_error_seconds: Option<f64>,
    /// Fields of the request, beside those of the key, that it varies by (RFC 9111 section 4.1): it is kept as one of
    /// several answers under the key, for requests that say the same in them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub varies_by: Vec<String>,
    /// `Cache-Control` as viewers get it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub viewer_cache_control: Option<String>,
}

/// A request that was admitted, in normal form.
struct Entered<'a> {
    site: &'a Site,
    header: RequestHeader,
    /// Without the token.
    path: String,
    claims: Claims,
}

/// Explains what `sites` make of a request.
pub fn explain(sites: &Sites, limits: &Limits, question: &Question) -> Explanation {
    let mut told = Explanation::default();
    match admit(sites, limits.target_bytes_max, question, &mut told) {
        Ok(Some(entered)) if entered.site.steers(&entered.path).is_some() => steer(&entered, &mut told),
        Ok(Some(entered)) => {
            look_up(&entered, limits, question, &mut told);
            told.owner = told
                .key
                .as_deref()
                .and_then(|text| sites.owner(text))
                .map(|(name, own)| if own { format!("{name} (this node)") } else { name.to_string() });
        }
        Ok(None) => told.cache = "preflight",
        Err(refusal) => {
            told.cache = "denied";
            told.reason = Some(refusal.as_str());
            told.status.get_or_insert(refusal.status().as_u16());
        }
    }
    told
}

/// Whose rules apply, and whether the request may go on by them; None: a preflight.
fn admit<'a>(
    sites: &'a Sites,
    target_bytes_max: usize,
    question: &Question,
    told: &mut Explanation,
) -> Result<Option<Entered<'a>>, request::Refusal> {
    request::check_form(&question.method, &question.url, &question.headers, target_bytes_max)?;
    let mut header = question.header().ok_or(request::Refusal::TargetForm)?;
    let host = entry::authority(&header)?.to_owned();
    let site = sites.find(request::host_of(&host)).ok_or(request::Refusal::Host)?;
    told.site = Some(site.name.clone());
    let (token_bytes, sent) = entry::normalise(&mut header, site, target_bytes_max, true)?;
    let path = header.uri.path().get(token_bytes..).unwrap_or("/").to_owned();
    told.kind = Some(site.kind(&path).as_str());
    if site.cors.is_some() && cors::is_preflight(&header.method, &header.headers) {
        return Ok(None);
    }
    request::check_method(&header.method, &site.methods)?;
    let claims = match &site.token {
        Some(policy) => {
            let whole = sent.as_ref().map_or(header.uri.path(), |sent| &sent.path);
            let query = sent.as_ref().map_or(header.uri.query(), |sent| sent.query.as_deref());
            let normal =
                token::Presented { normal: &path, query, host: &host, ..token::Presented::get(whole, 0) };
            let claims = verify(policy, &normal, sites.geo(), question, told)?;
            for name in policy.token_fields() {
                header.remove_header(name);
            }
            claims
        }
        None => Claims::default(),
    };
    Ok(Some(Entered { site, header, path, claims }))
}

/// What the token says. Of the request, path, query and host are there already.
fn verify(
    policy: &token::Policy,
    presented: &token::Presented<'_>,
    geo: Option<&Geo>,
    question: &Question,
    told: &mut Explanation,
) -> Result<Claims, request::Refusal> {
    let at = question.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let presented = token::Presented {
        method: question.method.as_str(),
        secure: question.url.scheme_str() == Some("https"),
        headers: &question.headers,
        client: question.client,
        geo,
        now_unix: at,
        ..*presented
    };
    match policy.admit(&presented) {
        Ok(admitted) => {
            let word = admitted.verdict.key_id.to_string();
            let explanation = format!("signed with the key {word}");
            told.token = Some(TokenTold { valid: true, word, explanation });
            Ok(admitted.terms().claims.clone())
        }
        Err(denied) => {
            let (word, explanation) = (denied.reason.as_str(), denied.reason.explanation());
            let (word, explanation) = (word.to_owned(), explanation.to_owned());
            told.token = Some(TokenTold { valid: false, word, explanation });
            told.status = Some(denied.answer.map_or(policy.status(denied.reason), |answer| answer.status));
            Err(request::Refusal::Token(denied.reason))
        }
    }
}

/// The steering manifest, which takes fewer methods than its site.
fn steer(entered: &Entered<'_>, told: &mut Explanation) {
    told.kind = Some(Kind::Api.as_str());
    match request::check_method(&entered.header.method, &[Method::GET, Method::HEAD]) {
        Ok(()) => told.cache = "steering",
        Err(refusal) => {
            told.cache = "denied";
            told.reason = Some(refusal.as_str());
            told.status = Some(refusal.status().as_u16());
        }
    }
}

/// The key, and what becomes of the answer.
fn look_up(entered: &Entered<'_>, limits: &Limits, question: &Question, told: &mut Explanation) {
    let Entered { site, header, path, claims } = entered;
    let held = site.held(&header.method, &header.headers);
    let kind = site.kind(path);
    let asked =
        Asked { path, query: header.uri.query(), kind, headers: &header.headers, claims, held: &held };
    let directed = Directed::of(site, &asked);
    let facts = question.playlist.as_ref().and_then(|text| hls::read::read(text).ok());
    let query = match &directed {
        Some(directed) => directed.query(asked.query, facts.map(|facts| directed.made_here(&facts))),
        None => asked.query.map(Cow::Borrowed),
    };
    let asked = Asked { query: query.as_deref(), ..asked };
    let chosen = site.policy(&asked).for_request().map(|(_, rule)| rule);
    told.request_rule = chosen.map(|rule| RuleTold::new(site, rule));
    let key = site.with_key(&asked, |hash, text| Key { hash, text: text.into() });
    let (false, Ok(key)) = (passes_through(&header.method, site, &asked), key) else {
        let is_read = matches!(header.method, Method::GET | Method::HEAD);
        let by_rule = chosen.is_some_and(|rule| rule.bypass);
        told.cache = "bypass";
        told.reason = Some(match (is_read, by_rule) {
            (false, _) => "method",
            (true, _) if kind == Kind::Key => "kind",
            (true, true) => "rule",
            (true, false) => "unkeyable",
        });
        told.origin = Some(OriginTold::passed(entered));
        return;
    };
    // An ended playlist is sent whatever is asked of it.
    let is_directed = kind.is_playlist() && !facts.is_some_and(|facts| facts.ended);
    if let (true, Err(error)) = (is_directed, Directives::of(asked.query)) {
        told.cache = "denied";
        told.reason = Some(error.as_str());
        told.status = Some(StatusCode::BAD_REQUEST.as_u16());
        return;
    }
    let forwarded = site.forwarded(&asked);
    let mut sent: Vec<HeaderName> = forwarded.keys().cloned().collect();
    if site.origin.is_tier() {
        let conditions = site.conditions(&asked).unwrap_or_default();
        sent.extend(conditions.keys().filter(|name| !forwarded.contains_key(*name)).cloned());
    }
    if header.headers.contains_key(AUTHORIZATION) && !sent.contains(&AUTHORIZATION) {
        sent.push(AUTHORIZATION);
    }
    told.origin = Some(OriginTold {
        fields: sent.iter().map(ToString::to_string).collect(),
        owner: site.origin.owner_name(key.placement()).map(|(server, _)| server.to_string()),
        ..OriginTold::new(site, &Method::GET, key.target().to_owned())
    });
    let obeyed = chosen.is_some_and(|rule| rule.obey_client);
    let fetch = Fetch {
        asked: &asked,
        authorized: header.headers.contains_key(AUTHORIZATION),
        reload: Directives::of(query_of(key.target())).ok().and_then(|directives| directives.reload),
        keyed_by_it: site.keyed_fields(&asked).contains(&AUTHORIZATION),
        no_store: RequestDirectives::of(&header.headers, obeyed).no_store,
    };
    told.key = Some(key.text.into());
    answer(site, &fetch, (limits, question), told);
}

/// A fetch, as far as it decides about its answer.
struct Fetch<'a> {
    asked: &'a Asked<'a>,
    authorized: bool,
    reload: Option<Reload>,
    keyed_by_it: bool,
    no_store: bool,
}

impl OriginTold {
    fn new(site: &Site, method: &Method, target: String) -> OriginTold {
        let servers =
            site.origin.servers_health().into_iter().map(|(server, _)| server.to_string()).collect();
        let name = site.origin.name().to_string();
        let circuit = site.origin.is_open().then_some("open");
        let (fields, owner) = (Vec::new(), None);
        OriginTold { name, servers, method: method.to_string(), target, fields, owner, circuit }
    }

    /// Of a request that passes through.
    fn passed(Entered { site, header, path, .. }: &Entered<'_>) -> OriginTold {
        let policy = site.token.as_ref();
        let query = header
            .uri
            .query()
            .map(|query| policy.map_or(Cow::Borrowed(query), |policy| policy.strip_query(query)));
        let query = query.filter(|query| !query.is_empty());
        let target = query.map_or_else(|| path.clone(), |query| format!("{path}?{query}"));
        OriginTold::new(site, &header.method, target)
    }
}

/// What becomes of an answer, as the fill that fetches it finds.
fn answer(site: &Site, fetch: &Fetch<'_>, (limits, question): (&Limits, &Question), told: &mut Explanation) {
    let kind = fetch.asked.kind;
    let readable = kind.is_playlist() && question.status == http::StatusCode::OK;
    let facts = match &question.playlist {
        Some(text) if readable && text.len() as u64 > limits.playlist_bytes_max => {
            return unread(question, "playlist_length", told);
        }
        Some(text) if readable => match hls::read::read(text) {
            Ok(facts) => Some(facts),
            Err(_) => return unread(question, "broken_playlist", told),
        },
        None if readable => {
            told.cache = "unknown";
            told.reason = Some("playlist");
            return;
        }
        _ => None,
    };
    let is_manifest = kind == Kind::Manifest && question.status == http::StatusCode::OK;
    let is_read = |text: &&[u8]| text.len() as u64 <= limits.playlist_bytes_max;
    let text = question.playlist.as_deref().filter(is_read).unwrap_or_default();
    let said = Said { playlist: facts, manifest: is_manifest.then(|| dash::facts(text)).flatten() };
    let kind = if facts.is_some_and(|facts| facts.multivariant) { Kind::MultivariantPlaylist } else { kind };
    told.kind = Some(kind.as_str());
    let rule = site.policy(fetch.asked).for_answer(question.status.as_u16(), kind);
    let (mut parts, ()) = http::Response::new(()).into_parts();
    parts.status = question.status;
    parts.headers = question.response_headers.clone();
    let header = ResponseHeader::from(parts);
    let times = Times::of(rule);
    let status = question.status;
    let around = Around {
        kind,
        site: &site.name,
        path: fetch.asked.path,
        is_error: status.is_client_error() || status.is_server_error(),
        text,
    };
    let fetched = Fetched {
        header: &header,
        kind,
        said,
        blocking: fetch.reload.is_some_and(|reload| is_blocking(reload, facts)),
        stream: around.stream(site.playlists()),
        times: &times,
        asked: question.at,
        now: question.at,
        authorized: fetch.authorized,
        keyed_by_it: fetch.keyed_by_it,
        no_store: fetch.no_store,
    };
    let keyed = site.keyed_fields(fetch.asked);
    let settled = Settled { kind: fetch.asked.kind, cors: site.cors.is_some(), keyed: &keyed };
    let open = settled.open_names(&header.headers);
    let mut answer = AnswerTold::unkept(question, rule.map(|rule| RuleTold::new(site, rule)));
    let verdict = match judge(&fetched) {
        Verdict::Keep(kept) if open.is_none() => Verdict::Pass(Box::new(kept.header), Refusal::Vary),
        verdict => verdict,
    };
    let open = open.unwrap_or_default();
    if let Some(origin) = &mut told.origin {
        // The origin is asked with them as soon as it has named them.
        let sent = normal_fields(fetch.asked.headers, &open);
        let sent = sent.keys().map(ToString::to_string).filter(|name| !origin.fields.contains(name));
        origin.fields = origin.fields.iter().cloned().chain(sent).collect();
    }
    match verdict {
        Verdict::Keep(mut kept) => {
            tell_expires(&mut kept.header, question.at);
            told.cache = "store";
            let lifetime = kept.lifetime;
            let ttl = lifetime.fresh_until.duration_since(question.at).unwrap_or_default();
            answer.stored = true;
            answer.keep(&kept.header, ttl, (lifetime.stale_while_revalidate, lifetime.stale_if_error));
            answer.varies_by = open.iter().map(ToString::to_string).collect();
            answer.tell_source(&fetched);
        }
        Verdict::Pass(mut header, refusal) => {
            tell_expires(&mut header, question.at);
            told.cache = "pass";
            told.reason = Some(refusal.as_str());
            answer.viewer_cache_control = cache_control(&header);
        }
    }
    told.answer = Some(answer);
}

/// A playlist that is not read is passed on and never kept.
fn unread(question: &Question, reason: &'static str, told: &mut Explanation) {
    told.cache = "pass";
    told.reason = Some(reason);
    told.answer = Some(AnswerTold::unkept(question, None));
}

impl AnswerTold {
    fn unkept(question: &Question, rule: Option<RuleTold>) -> AnswerTold {
        AnswerTold {
            status: question.status.as_u16(),
            rule,
            stored: false,
            ttl_seconds: None,
            ttl_from: None,
            ttl_cap: None,
            ttl_explanation: None,
            stale_while_revalidate_seconds: None,
            stale_if_error_seconds: None,
            varies_by: Vec::new(),
            viewer_cache_control: None,
        }
    }

    fn keep(&mut self, header: &ResponseHeader, ttl: Duration, (swr, sie): (Duration, Duration)) {
        self.ttl_seconds = Some(ttl.as_secs_f64());
        self.stale_while_revalidate_seconds = Some(swr.as_secs_f64());
        self.stale_if_error_seconds = Some(sie.as_secs_f64());
        self.viewer_cache_control = cache_control(header);
    }

    fn tell_source(&mut self, fetched: &Fetched<'_>) {
        let from = ttl_from(fetched);
        self.ttl_from = Some(from.source.as_str());
        self.ttl_cap = from.cap.map(TtlCap::as_str);
        let field = if from.targeted { ", in a targeted field" } else { "" };
        let cut = from.cap.map(|cap| format!(", {}", cap.explanation())).unwrap_or_default();
        self.ttl_explanation = Some(format!("{}{field}{cut}", from.source.explanation()));
    }
}

/// The lines of `Cache-Control`, as one list.
fn cache_control(header: &ResponseHeader) -> Option<String> {
    let lines = header.headers.get_all(CACHE_CONTROL).iter();
    let lines: Vec<_> = lines.map(|line| String::from_utf8_lossy(line.as_bytes())).collect();
    (!lines.is_empty()).then(|| lines.join(", "))
}

#[cfg(test)]
mod tests;
