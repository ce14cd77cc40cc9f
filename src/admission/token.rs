//! Tokens: finds the token of a request, has its format authenticate it, and says whether its terms admit the request.
//!
//! Decides where a token may stand, how long it may be and which one counts; the meaning of its text is the format's
//! ([`format`]), and what it says is evaluated in one way for all ([`terms`]). Does not answer requests and does not read
//! the clock: the proxy passes the time in and turns [`Denied`] into an answer.
//!
//! The rules, in order:
//! 1. A token named twice in one request is refused as malformed, wherever the two stand: picking one would let the
//!    other hide. The same token in the URL and in a cookie or field is one, for players send these along; so are
//!    session tokens in several cookies, of which the first counts. Tokens of different names do not conflict: the first
//!    place of the policy wins, within a place the first name. A second leading path segment that is a token is always
//!    refused. Where the format renews tokens by cookie, a request may have one in a cookie beside the one it began
//!    with: the cookie is tried first.
//! 2. A session token ([`session`]) goes before the policy's own, which is looked at where the session is refused. One in
//!    a cookie gives way to a good token that it was not made for: who opens another link is the viewer of that link.
//! 3. Length and field count are bounded before any cryptography.
//! 4. A token is authenticated first, its terms are evaluated after. That it is genuine is kept ([`verdict`]), whether it
//!    admits is evaluated each time.
//! 5. The text is verified as received and, only where that fails, once more with percent-encoding undone, because
//!    players and proxies encode `~`, `=` and `/`. It is never decoded twice. An encoder that leaves `%` alone while it
//!    encodes other characters spoils a token that holds `%`, and that token is refused.

mod acl;
mod bind;
pub mod bunny;
pub mod cat;
pub mod cdni;
pub mod checks;
pub mod cloudflare;
pub mod cloudfront;
pub mod edgeauth;
pub mod examine;
pub mod extent;
pub mod fastly;
mod find;
pub mod format;
pub mod jwks;
pub mod jws;
pub mod jwt;
mod locate;
pub mod mac;
pub mod media_cdn;
mod parameters;
mod presented;
#[cfg(test)]
mod probe;
pub mod secure_link;
pub mod session;
pub mod terms;
pub mod url_sig;
pub mod verdict;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use percent_encoding::percent_decode_str;

use crate::config::model::{Carry, Entitlement, Statuses, TokenFormat, TokenPlace, TokenPolicy};
pub use crate::reason::Reason;
pub use examine::Examined;
use find::{Finder, Finds, Found, Names};
pub use format::{Format, Renewal};
pub use presented::Presented;
use session::{Carried, Sessions};
pub use terms::{Answer, Check, Claims, Terms};
pub use verdict::Verdict;
use verdict::{Reuse, Verdicts};

/// Bytes of a token as received; a longer one is refused as malformed before any cryptography.
pub const TOKEN_BYTES_MAX: usize = 4096;

/// Fields of a token; one with more is refused as malformed before any cryptography.
pub const TOKEN_FIELDS_MAX: usize = 16;

/// Keys that are tried on a token that may be of several and names none, of formats whose keys may be public ones; further
/// ones are not.
const KEYS_TRIED_MAX: usize = 8;

/// A request that its token admits. Its debug form leaves the token out.
#[derive(Clone)]
pub struct Admission {
    /// What was found out about the token.
    pub verdict: Arc<Verdict>,
    /// Where it stood.
    pub place: TokenPlace,
    /// Whether it is a session token.
    pub by_session: bool,
    /// The name it stood under, by its place in the lists of names.
    name: usize,
}

impl Admission {
    /// What the token says.
    pub fn terms(&self) -> &Terms {
        &self.verdict.terms
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission")
            .field("place", &self.place)
            .field("by_session", &self.by_session)
            .field("session", &self.verdict.terms.session)
            .field("expires", &self.verdict.terms.expires)
            .field("key_id", &self.verdict.key_id)
            .finish_non_exhaustive()
    }
}

/// A request that is refused for its token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// Why.
    pub reason: Reason,
    /// What the token itself wants to be answered then.
    pub answer: Option<Arc<Answer>>,
}

impl From<Reason> for Denied {
    fn from(reason: Reason) -> Denied {
        Denied { reason, answer: None }
    }
}

/// A token policy, ready to verify: names, places, and a format with its key states made once.
#[derive(Debug)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// How the token reaches the segments of a playlist.
    pub carry: Carry,
    /// Other hosts whose URIs in playlists carry the token; lower case.
    pub carry_hosts: Vec<String>,
    /// The claim that is the subject of a token that says none.
    subject: Option<String>,
    /// What is asked of tokens that are good.
    pub entitlement: Entitlement,
    /// Conditions of the policy's own, which every request fulfils.
    pub checks: Vec<Box<dyn Check>>,
    names: Names,
    places: Vec<TokenPlace>,
    form: format::Form,
    format: Box<dyn Format>,
    leeway: u64,
    statuses: Statuses,
    verdicts: Verdicts,
    /// How often verdicts have been forgotten.
    forgotten: AtomicU64,
    session: Option<Sessions>,
}

impl Policy {
    /// Prepares a policy; key states are computed here and never again. Verdicts take so many bytes, those on session
    /// tokens as many again.
    pub fn from_config(config: &TokenPolicy, verdict_bytes: u64) -> Policy {
        let format = verifier(config);
        let session = config.session.as_ref().map(|session| Sessions::new(session, verdict_bytes));
        let form = format.form();
        Policy {
            name: config.name.clone(),
            carry: config.carry,
            carry_hosts: config.carry_hosts.clone(),
            subject: config.subject.clone(),
            entitlement: config.entitlement,
            checks: bind::checks(&config.bind),
            names: Names::new(&form, &config.names, session.as_ref().map(|session| session.name.as_str())),
            places: config.places.clone(),
            form,
            format,
            leeway: config.leeway.as_secs(),
            statuses: config.status.clone(),
            verdicts: Verdicts::new(verdict_bytes),
            forgotten: AtomicU64::new(0),
            session,
        }
    }

    /// Finds the token of a request and verifies it. The path of `request` is the path as it was sent, token included;
    /// its normal form has none. Allocates only for a token that is not known yet, or is several parameters.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn admit(&self, request: &Presented<'_>) -> Result<Admission, Denied> {
        let finder = self.finder();
        let path = finder.path(request.path);
        if path.segments.count < 2 && finder.is_left_in(request.normal, &path) {
            return Err(Reason::Malformed.into());
        }
        let Finds { own, renewed, session } = finder.find(&path, request)?;
        let presented = Presented { path: &path.rest, names: &self.names.query, ..*request };
        let mut refused = None;
        if let (Some(found), Some(sessions)) = (session, &self.session) {
            let presented = Presented { place: found.place, ..presented };
            let verdict = self.verdict(&found, sessions, &sessions.verdicts, &presented);
            match verdict.map_err(Denied::from).and_then(|verdict| self.allow(verdict, &presented)) {
                Ok(verdict) => {
                    if found.place == TokenPlace::Cookie
                        && let Some(other) =
                            own.as_ref().and_then(|own| self.another(own, &verdict, &presented))
                    {
                        return Ok(other);
                    }
                    return Ok(Admission { verdict, place: found.place, by_session: true, name: found.name });
                }
                Err(denied) => refused = Some(denied),
            }
        }
        for found in renewed.into_iter().chain(own) {
            let presented = Presented { place: found.place, ..presented };
            let verdict = self.verdict(&found, &*self.format, &self.verdicts, &presented);
            match verdict.map_err(Denied::from).and_then(|verdict| self.allow(verdict, &presented)) {
                Ok(verdict) => {
                    return Ok(Admission {
                        verdict,
                        place: found.place,
                        by_session: false,
                        name: found.name,
                    });
                }
                Err(denied) => refused = Some(denied),
            }
        }
        Err(refused.unwrap_or(Reason::Missing.into()))
    }

    /// What the policy's own token admits, where it is good and a cookie's session was made for another one.
    fn another(&self, own: &Found<'_>, session: &Verdict, request: &Presented<'_>) -> Option<Admission> {
        let request = Presented { place: own.place, ..*request };
        let verdict = self.verdict(own, &*self.format, &self.verdicts, &request).ok()?;
        let verdict = self.allow(verdict, &request).ok()?;
        if verdict.terms.once || self.entitlement.once {
            // It may have been used up for the session.
            return None;
        }
        let is_same = match &verdict.terms.session {
            Some(named) => session.terms.session.as_deref() == Some(named),
            None => session.terms.session.as_deref() == Some(&*session::session_of(&verdict, &request)),
        };
        (!is_same).then(|| Admission { verdict, place: own.place, by_session: false, name: own.name })
    }

    /// Evaluates the terms of a genuine token, and those of the policy.
    fn allow(&self, verdict: Arc<Verdict>, request: &Presented<'_>) -> Result<Arc<Verdict>, Denied> {
        let allowed = verdict.terms.allow(request, self.leeway);
        let allowed = allowed.and_then(|()| self.checks.iter().try_for_each(|check| check.check(request)));
        match allowed {
            Ok(()) => Ok(verdict),
            Err(reason) => Err(Denied { reason, answer: verdict.terms.answer(reason, request) }),
        }
    }

    /// The verdict on a token: known, or found out now.
    fn verdict(
        &self,
        found: &Found<'_>,
        format: &dyn Format,
        verdicts: &Verdicts,
        request: &Presented<'_>,
    ) -> Result<Arc<Verdict>, Reason> {
        let received = &*found.token;
        if received.len() > TOKEN_BYTES_MAX {
            return Err(Reason::Malformed);
        }
        if let Some(verdict) = verdicts.get(received, request) {
            return Ok(verdict);
        }
        let forgotten = self.forgotten.load(Ordering::Acquire);
        let (text, mut genuine) = self.authenticate(received, format, request)?;
        if let Some(name) = self.subject.as_ref().filter(|_| genuine.terms.subject.is_none()) {
            genuine.terms.subject = genuine.terms.claims.get(name).map(str::to_owned);
        }
        let verdict = Verdict::new(received, &text, genuine.key_id, genuine.terms);
        let verdict = Arc::new(match genuine.reuse {
            Reuse::ForToken | Reuse::Never => verdict,
            Reuse::ForUrl => verdict.bound_to(request),
        });
        if genuine.reuse != Reuse::Never {
            verdicts.keep(&verdict, request);
            if self.forgotten.load(Ordering::Acquire) != forgotten {
                // The keys have changed meanwhile: this may have been found out with the old ones.
                verdicts.clear();
            }
        }
        Ok(verdict)
    }

    /// Authenticates the text as received, then, where that is no genuine token, with percent-encoding undone.
    fn authenticate<'t>(
        &self,
        received: &'t str,
        format: &dyn Format,
        request: &Presented<'_>,
    ) -> Result<(Cow<'t, str>, format::Genuine), Reason> {
        let first = match format.authenticate(received, request) {
            Ok(genuine) => return Ok((Cow::Borrowed(received), genuine)),
            Err(reason @ (Reason::Malformed | Reason::BadMac)) => reason,
            Err(reason) => return Err(reason),
        };
        let decoded = match percent_decode_str(received).decode_utf8() {
            Ok(Cow::Owned(decoded)) if format.form() == format::Form::Value => decoded,
            _ => return Err(first),
        };
        match format.authenticate(&decoded, request) {
            Ok(genuine) => Ok((Cow::Owned(decoded), genuine)),
            // A text that was well formed in either reading was a token with a wrong signature.
            Err(Reason::Malformed) => Err(first),
            Err(reason) => Err(reason),
        }
    }

    /// The token that the further requests of a stream carry: the session token, made now where the request came with
    /// another, or the admitted token itself. `request` is the one that was admitted.
    pub fn carried(&self, admission: &Admission, request: &Presented<'_>) -> Carried<'_> {
        let minted = self.session.as_ref().filter(|_| !admission.by_session).and_then(|sessions| {
            let (text, opens) = sessions.mint(&admission.verdict, request)?;
            let life = Some(sessions.life());
            Some(Carried { name: &sessions.name, text: text.into(), opens, life, is_admitted: false })
        });
        minted.unwrap_or_else(|| {
            let found = Found { place: admission.place, name: admission.name, token: Cow::Borrowed("") };
            let several = !admission.by_session && self.form != format::Form::Value;
            Carried {
                name: if several { "" } else { self.names.name(&found) },
                text: admission.verdict.text.as_ref().into(),
                opens: Vec::new(),
                life: admission.terms().expires.map(|end| end.saturating_sub(request.now_unix)),
                is_admitted: true,
            }
        })
    }

    /// Seconds since the Unix epoch from which an admitted token is admitted no more; None: it does not end.
    pub fn end(&self, admission: &Admission) -> Option<u64> {
        Some(admission.terms().expires?.saturating_add(self.leeway))
    }

    /// The session of an admitted token: what it says, else the session that a token of this node would be made for.
    /// None: there is neither.
    pub fn session_of<'a>(&self, admission: &'a Admission, request: &Presented<'_>) -> Option<Cow<'a, str>> {
        let said = admission.terms().session.as_deref().map(Cow::Borrowed);
        said.or_else(|| {
            self.session.as_ref().map(|_| Cow::Owned(session::session_of(&admission.verdict, request)))
        })
    }

    /// The token anew, where its format has it renewed with an answer.
    pub fn renew(&self, admission: &Admission, request: &Presented<'_>) -> Option<Renewal> {
        let terms = admission.terms();
        if !terms.renews || admission.by_session || request.now_unix < terms.renews_from {
            return None;
        }
        let path = self.finder().path(request.path);
        let (names, place) = (self.names.query.as_slice(), admission.place);
        self.format.renew(&admission.verdict, &Presented { path: &path.rest, names, place, ..*request })
    }

    /// Where the format gets keys from while the node runs.
    pub fn key_source(&self) -> Option<Arc<dyn format::KeySource>> {
        self.format.source()
    }

    /// Forgets what was found out about tokens: after the keys have changed.
    pub fn forget(&self) {
        self.forgotten.fetch_add(1, Ordering::AcqRel);
        self.verdicts.clear();
    }

    /// The status of a refusal.
    pub fn status(&self, reason: Reason) -> u16 {
        self.statuses.of(reason)
    }

    /// The text of the token that counts, as received and unverified: for tools that show what it says.
    ///
    /// # Errors
    /// [`Reason::Missing`], or [`Reason::Malformed`] where there are two.
    pub fn token_text<'a>(&self, request: &Presented<'a>) -> Result<Cow<'a, str>, Reason> {
        let finder = self.finder();
        let finds = finder.find(&finder.path(request.path), request)?;
        finds.session.or(finds.renewed).or(finds.own).map(|found| found.token).ok_or(Reason::Missing)
    }

    /// Whether a query parameter of this name is a token, and so no part of key, origin request or log. Percent-encoded
    /// spellings count too; `name` may be a whole parameter, its value included.
    pub fn is_token_name(&self, name: &str) -> bool {
        locate::parameter(name, &self.names.query).is_some()
    }

    /// Names of header fields that are tokens, and go no further than admission.
    pub fn token_fields(&self) -> &[String] {
        if self.places.contains(&TokenPlace::Header) { &self.names.query } else { &[] }
    }

    /// Takes the tokens out of a path without verifying them: the leading segments that are tokens, empty where there are
    /// none, and the path without any. For requests that pass without a token (CORS preflight) but must not show one
    /// either.
    pub fn strip_path<'a>(&self, path: &'a str) -> (&'a str, Cow<'a, str>) {
        let path = self.finder().path(path);
        (path.segments.prefix, path.rest)
    }

    /// As much of a path as may be told of a request that was refused: without tokens, up to the first that stands where
    /// none is looked for.
    pub fn told_path<'a>(&self, path: &'a str) -> Cow<'a, str> {
        let rest = self.strip_path(path).1;
        let found = [&self.names.query, &self.names.path].map(|names| locate::named_anywhere(&rest, names));
        match found.into_iter().flatten().min() {
            Some(at) => Cow::Owned(rest.get(..at).unwrap_or_default().to_owned()),
            None => rest,
        }
    }

    /// The query without its token parameters; borrowed where it has none.
    pub fn strip_query<'q>(&self, query: &'q str) -> Cow<'q, str> {
        locate::without(query, '&', "&", |parameter| self.is_token_name(parameter))
    }

    /// A `Cookie` header's value without its token cookies; borrowed where it has none.
    pub fn strip_cookie<'c>(&self, cookie: &'c str) -> Cow<'c, str> {
        locate::without(cookie, ';', "; ", |pair| locate::cookie(pair, &self.names.cookies).is_some())
    }

    fn finder(&self) -> Finder<'_> {
        Finder {
            names: &self.names,
            places: &self.places,
            form: &self.form,
            format: &*self.format,
            session: self.session.as_ref().map(|session| session as &dyn Format),
        }
    }
}

/// The format of a policy, with its keys.
fn verifier(config: &TokenPolicy) -> Box<dyn Format> {
    let keys = config.keys.as_slice();
    match &config.format {
        TokenFormat::EdgeAuth(options) => {
            let salt = config.salt.as_ref().map(|salt| salt.0.as_slice());
            Box::new(edgeauth::EdgeAuth::new(options, keys, salt))
        }
        TokenFormat::Jwt(options) => Box::new(jwt::Jwt::new(options, keys)),
        TokenFormat::Cdni(options) => Box::new(cdni::Cdni::new(options, keys)),
        TokenFormat::Cat(options) => Box::new(cat::Cat::new(options, keys)),
        TokenFormat::CloudFront(options) => Box::new(cloudfront::CloudFront::new(options, keys)),
        TokenFormat::SecureLink(options) => Box::new(secure_link::SecureLink::new(options, keys)),
        TokenFormat::UrlSig(options) => Box::new(url_sig::UrlSig::new(options, keys)),
        TokenFormat::Bunny(options) => Box::new(bunny::Bunny::new(options, keys)),
        TokenFormat::Cloudflare(options) => Box::new(cloudflare::Cloudflare::new(options, keys)),
        TokenFormat::Fastly(options) => Box::new(fastly::Fastly::new(options, keys)),
        TokenFormat::MediaCdn(options) => Box::new(media_cdn::MediaCdn::new(options, keys)),
    }
}

/// `/NAME=TOKEN`, percent-encoded only where a path cannot hold the token as it is.
///
/// `/` stays: the reader finds the token's end by its last field. `%` stays in a token that needs no encoding, since
/// the text is verified as received first.
pub fn path_segment(name: &str, token: &str) -> String {
    if token.bytes().all(|byte| byte == b'%' || locate::may_stand_in_path(byte)) {
        return format!("/{name}={token}");
    }
    let mut segment = format!("/{name}=");
    for byte in token.bytes() {
        if locate::may_stand_in_path(byte) {
            segment.push(char::from(byte));
        } else {
            segment.push_str(percent_encoding::percent_encode_byte(byte));
        }
    }
    segment
}

#[cfg(test)]
mod tests;
