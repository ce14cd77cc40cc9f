//! Tokens: finds the one token of a request, has its format verify it, and says what it grants or why it is refused.
//!
//! Decides where a token may stand, how long it may be and which one counts; the meaning of its text is the format's
//! ([`edgeauth`]). Does not answer requests and does not read the clock: the proxy passes the time in and turns
//! [`Denied`] into a 403.
//!
//! The rules, in order:
//! 1. A token named twice in one request is refused as malformed, wherever the two stand: picking one would let the
//!    other hide. Tokens of different names do not conflict: the first place of the policy wins, within a place the
//!    first name. A second leading path segment that is a token is always refused.
//! 2. Length and field count are bounded before any cryptography.
//! 3. A token is authenticated first, its claims are evaluated after.
//! 4. The text is verified as received and, only where that fails, once more with percent-encoding undone, because
//!    players and proxies encode `~`, `=` and `/`. It is never decoded twice. An encoder that leaves `%` alone while it
//!    encodes other characters spoils a token that holds `%`, and that token is refused.

mod acl;
pub mod edgeauth;
mod locate;

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use percent_encoding::percent_decode_str;

use crate::config::model::{TokenFormat, TokenPlace, TokenPolicy};

/// Bytes of a token as received; a longer one is refused as malformed before any cryptography.
pub const TOKEN_BYTES_MAX: usize = 4096;

/// Claims that a token grants at most.
pub const CLAIMS_MAX: usize = 4;

/// Fields of a token; one with more is refused as malformed before any cryptography.
pub const TOKEN_FIELDS_MAX: usize = 16;

/// Why a request was refused. The word is the same in the access log, metric labels and documentation.
///
/// EdgeAuth tokens carry no key identifier, so a token signed with an unknown key and one altered on its way cannot
/// be told apart: both are [`Reason::BadMac`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Reason {
    /// No token in any place where one may stand.
    Missing,
    /// Not a token of the policy's format, beyond a bound, or named twice.
    Malformed,
    /// Signed with none of the policy's keys, or altered.
    BadMac,
    /// Its end has passed.
    Expired,
    /// Its start has not come.
    NotYet,
    /// Genuine, but for other paths.
    Path,
    /// Genuine, but for another client address.
    Ip,
}

impl Reason {
    /// Every reason, in the order of the discriminants, so that `ALL[reason as usize] == reason`.
    pub const ALL: [Reason; 7] = [
        Reason::Missing,
        Reason::Malformed,
        Reason::BadMac,
        Reason::Expired,
        Reason::NotYet,
        Reason::Path,
        Reason::Ip,
    ];

    /// The word for this reason.
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::Missing => "missing",
            Reason::Malformed => "malformed",
            Reason::BadMac => "bad_mac",
            Reason::Expired => "expired",
            Reason::NotYet => "not_yet",
            Reason::Path => "path",
            Reason::Ip => "ip",
        }
    }

    /// The reason as a sentence for people.
    pub const fn explanation(self) -> &'static str {
        match self {
            Reason::Missing => "no token where one may stand",
            Reason::Malformed => "not a token of this format, too long, or more than one",
            Reason::BadMac => "signed with another key or salt, for another URL, or altered",
            Reason::Expired => "its end (exp) has passed",
            Reason::NotYet => "its start (st) has not come",
            Reason::Path => "its acl does not cover the path",
            Reason::Ip => "it is bound to another client address (ip)",
        }
    }
}

/// What of a request a token is verified against.
#[derive(Clone, Copy, Debug)]
pub struct Presented<'r> {
    /// The path as received, still percent-encoded, with the token's leading segment taken off: what an issuer signs.
    pub path: &'r str,
    /// The same in normal form ([`crate::key::target`]): what the node goes by, and so what a scope must cover.
    pub normal: &'r str,
    /// The query as received, token parameters included.
    pub query: Option<&'r str>,
    /// Names of token parameters, which are no part of the query that a token can sign.
    pub names: &'r [String],
    /// The client's address.
    pub client: IpAddr,
    /// Seconds since the Unix epoch.
    pub now_unix: u64,
}

impl<'r> Presented<'r> {
    /// The query's parameters, as received, without those that are tokens.
    pub fn parameters(&self) -> impl Iterator<Item = &'r str> + use<'r> {
        let names = self.names;
        let parameters = self.query.into_iter().flat_map(|query| query.split('&'));
        parameters.filter(move |parameter| locate::parameter(parameter, names).is_none())
    }
}

/// What a genuine token grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant<'t> {
    /// The session it was made for, as written in the token.
    pub session: Option<&'t str>,
    /// Seconds since the Unix epoch at which it ends.
    pub expires: u64,
    /// Place of the key that verified it, in the order of the policy's keys.
    pub key: usize,
    /// What else it says, by name, as written in the token.
    pub claims: [Option<(&'static str, &'t str)>; CLAIMS_MAX],
}

/// What an admitted token says, by name: what a rule's `key.claims` may name. The names are those of the token's format
/// (EdgeAuth: `id`, `data`, `ip`, `acl`), the values as written in the text that was signed.
///
/// Of a verified token only; without one, it is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims(Vec<(&'static str, String)>);

impl Claims {
    /// Claims of these names and values.
    pub fn new(claims: impl IntoIterator<Item = (&'static str, String)>) -> Claims {
        Claims(claims.into_iter().collect())
    }

    /// The value of a claim; None: the token has no such claim.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }
}

/// The wire format of a token.
pub trait Format: fmt::Debug + Send + Sync {
    /// Verifies `token` against `request`: authenticates it first, evaluates its claims after.
    ///
    /// # Errors
    /// The reason why it does not grant this request; [`Reason::Malformed`] and [`Reason::BadMac`] only from the
    /// steps up to and including authentication, since these two make the caller try the decoded text.
    fn verify<'t>(&self, token: &'t str, request: &Presented<'_>) -> Result<Grant<'t>, Reason>;

    /// Where a token that starts a path's leading segment ends: its length in bytes in `text`, which runs to the end
    /// of the path. The default is the segment's end; a format whose tokens hold `/` knows better.
    fn length_in_path(&self, text: &str) -> usize {
        text.find('/').unwrap_or(text.len())
    }
}

/// A request that its token admits. Its debug form leaves the token out.
#[derive(Clone, PartialEq, Eq)]
pub struct Admitted<'a> {
    /// The path with the token's leading segment taken off: what is keyed, asked of the origin, and logged.
    pub path: &'a str,
    /// The leading segment taken off, `/NAME=TOKEN` as received; empty where there was none.
    pub prefix: &'a str,
    /// Where the token stood.
    pub place: TokenPlace,
    /// The session the token was made for (`id` in EdgeAuth), as written in the token.
    pub session: Option<Cow<'a, str>>,
    /// Seconds since the Unix epoch at which the token ends, leeway not included.
    pub expires: u64,
    /// Name of the key that verified it.
    pub key_id: &'a str,
    name: &'a str,
    token: Cow<'a, str>,
    claims: [Option<(&'static str, Cow<'a, str>)>; CLAIMS_MAX],
}

impl<'a> Admitted<'a> {
    /// What the token says, for keys to be made of.
    pub fn claims(&self) -> Claims {
        Claims::new(self.claims.iter().flatten().map(|(name, value)| (*name, value.to_string())))
    }

    /// The token as leading path segment, `/NAME=TOKEN`: what has to stand before an absolute path so that the token
    /// is carried on. Borrowed where the request already had it so.
    pub fn carried(&self) -> Cow<'a, str> {
        match self.place {
            TokenPlace::Path => Cow::Borrowed(self.prefix),
            TokenPlace::Query | TokenPlace::Cookie => Cow::Owned(path_segment(self.name, &self.token)),
        }
    }
}

impl fmt::Debug for Admitted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admitted")
            .field("path", &self.path)
            .field("place", &self.place)
            .field("session", &self.session)
            .field("expires", &self.expires)
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

/// A request that is refused for its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denied<'a> {
    /// Why.
    pub reason: Reason,
    /// The path without its token segments: what may be logged.
    pub path: &'a str,
}

/// A token policy, ready to verify: names, places, and a format with its key states made once.
#[derive(Debug)]
pub struct Policy {
    names: Vec<String>,
    places: Vec<TokenPlace>,
    key_ids: Vec<String>,
    format: Box<dyn Format>,
}

impl Policy {
    /// Prepares a policy; key states are computed here and never again.
    pub fn from_config(config: &TokenPolicy) -> Policy {
        let format = match config.format {
            TokenFormat::EdgeAuth => edgeauth::EdgeAuth::new(
                config.keys.iter().map(|key| key.secret.0.as_slice()),
                config.salt.as_ref().map(|salt| salt.0.as_slice()),
                config.leeway,
            ),
        };
        Policy {
            names: config.names.clone(),
            places: config.places.clone(),
            key_ids: config.keys.iter().map(|key| key.id.clone()).collect(),
            format: Box::new(format),
        }
    }

    /// Finds the token of a request and verifies it.
    ///
    /// `path` and `query` are as received, `cookies` the values of the `Cookie` headers, `client` the address that
    /// [`super::client::client_address`] found, `now_unix` seconds since the Unix epoch. Allocates only where a token
    /// or path is percent-encoded.
    ///
    /// # Errors
    /// [`Denied`], with the reason and the path that may be logged.
    pub fn admit<'a>(
        &'a self,
        path: &'a str,
        query: Option<&'a str>,
        cookies: impl Iterator<Item = &'a str>,
        client: IpAddr,
        now_unix: u64,
    ) -> Result<Admitted<'a>, Denied<'a>> {
        let normal = self.split_path(path).rest;
        self.admit_normal(path, normal, query, cookies, client, now_unix)
    }

    /// As [`Policy::admit`], for a path whose normal form, without token, is `normal`: that is what a scope must cover,
    /// while a token for one URL may be signed over either. Another token may not begin it.
    ///
    /// # Errors
    /// [`Denied`], with the reason and the path that may be logged.
    pub fn admit_normal<'a>(
        &'a self,
        path: &'a str,
        normal: &str,
        query: Option<&'a str>,
        cookies: impl Iterator<Item = &'a str>,
        client: IpAddr,
        now_unix: u64,
    ) -> Result<Admitted<'a>, Denied<'a>> {
        let segments = self.split_path(path);
        let rest = segments.rest;
        if self.split_path(normal).count > 0 && segments.count < 2 {
            return Err(Denied { reason: Reason::Malformed, path: "/" });
        }
        let denied = |reason| Denied { reason, path: rest };
        let found = self.find(&segments, query, cookies).map_err(denied)?;
        let request = Presented { path: rest, normal, query, names: &self.names, client, now_unix };
        let (grant, token) = self.verify(found.token, &request).map_err(denied)?;
        Ok(Admitted {
            path: rest,
            prefix: segments.prefix,
            place: found.place,
            session: grant.session,
            expires: grant.expires,
            key_id: self.key_ids.get(grant.key).map_or("", String::as_str),
            name: self.names.get(found.name).map_or("", String::as_str),
            token,
            claims: grant.claims,
        })
    }

    /// The text of the token that counts, as received and unverified: for tools that show what it says.
    ///
    /// # Errors
    /// [`Reason::Missing`], or [`Reason::Malformed`] where there are two.
    pub fn token_text<'a>(
        &self,
        path: &'a str,
        query: Option<&'a str>,
        cookies: impl Iterator<Item = &'a str>,
    ) -> Result<&'a str, Reason> {
        self.find(&self.split_path(path), query, cookies).map(|found| found.token)
    }

    /// Whether a query parameter or cookie of this name is a token, and so no part of key, origin request or log.
    /// Percent-encoded spellings count too; `name` may be a whole parameter, its value included.
    pub fn is_token_name(&self, name: &str) -> bool {
        locate::parameter(name, &self.names).is_some()
    }

    /// Takes leading token segments off a path without verifying them: `(prefix, rest)`, with an empty prefix where
    /// there is none. For requests that pass without a token (CORS preflight) but must not show one either.
    pub fn strip_path<'a>(&self, path: &'a str) -> (&'a str, &'a str) {
        let segments = self.split_path(path);
        (segments.prefix, segments.rest)
    }

    /// The query without its token parameters; borrowed where it has none.
    pub fn strip_query<'q>(&self, query: &'q str) -> Cow<'q, str> {
        locate::without(query, '&', "&", |parameter| self.is_token_name(parameter))
    }

    /// A `Cookie` header's value without its token cookies; borrowed where it has none.
    pub fn strip_cookie<'c>(&self, cookie: &'c str) -> Cow<'c, str> {
        locate::without(cookie, ';', "; ", |pair| locate::cookie(pair, &self.names).is_some())
    }

    fn split_path<'a>(&self, path: &'a str) -> locate::Segments<'a> {
        locate::split_path(path, &self.names, |text| self.format.length_in_path(text))
    }

    fn find<'a>(
        &self,
        segments: &locate::Segments<'a>,
        query: Option<&'a str>,
        cookies: impl Iterator<Item = &'a str>,
    ) -> Result<Found<'a>, Reason> {
        if segments.count > 1 {
            return Err(Reason::Malformed);
        }
        let mut finds = Finds::default();
        for (rank, &place) in self.places.iter().enumerate() {
            let mut note = |(name, token)| finds.note(Found { rank, place, name, token });
            match place {
                TokenPlace::Path => segments.token.into_iter().for_each(&mut note),
                TokenPlace::Query => {
                    let parameters = query.into_iter().flat_map(|query| query.split('&'));
                    parameters.filter_map(|text| locate::parameter(text, &self.names)).for_each(&mut note);
                }
                TokenPlace::Cookie => {}
            }
        }
        if let Some(rank) = self.places.iter().position(|place| *place == TokenPlace::Cookie) {
            let pairs = cookies.flat_map(|cookie| cookie.split(';'));
            let tokens = pairs.filter_map(|pair| locate::cookie(pair, &self.names));
            tokens
                .for_each(|(name, token)| finds.note(Found { rank, place: TokenPlace::Cookie, name, token }));
        }
        finds.only()
    }

    /// Verifies the text as received, then, where that is no genuine token, with percent-encoding undone.
    fn verify<'a>(
        &self,
        token: &'a str,
        request: &Presented<'_>,
    ) -> Result<(Verified<'a>, Cow<'a, str>), Reason> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Reason::Malformed);
        }
        let first = match self.format.verify(token, request) {
            Ok(grant) => return Ok((Verified::borrowed(grant), Cow::Borrowed(token))),
            Err(reason @ (Reason::Malformed | Reason::BadMac)) => reason,
            Err(reason) => return Err(reason),
        };
        let Ok(Cow::Owned(decoded)) = percent_decode_str(token).decode_utf8() else {
            return Err(first);
        };
        match self.format.verify(&decoded, request) {
            Ok(grant) => {
                let verified = Verified::owned(grant);
                Ok((verified, Cow::Owned(decoded)))
            }
            // A text that was well formed in either reading was a token with a wrong signature.
            Err(Reason::Malformed) => Err(first),
            Err(reason) => Err(reason),
        }
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

/// A [`Grant`] that no longer borrows from a decoded text.
struct Verified<'a> {
    session: Option<Cow<'a, str>>,
    expires: u64,
    key: usize,
    claims: [Option<(&'static str, Cow<'a, str>)>; CLAIMS_MAX],
}

impl<'a> Verified<'a> {
    fn borrowed(grant: Grant<'a>) -> Self {
        let session = grant.session.map(Cow::Borrowed);
        let claims = grant.claims.map(|claim| claim.map(|(name, value)| (name, Cow::Borrowed(value))));
        Verified { session, expires: grant.expires, key: grant.key, claims }
    }

    fn owned(grant: Grant<'_>) -> Self {
        let own = |text: &str| Cow::Owned(text.to_owned());
        let claims = grant.claims.map(|claim| claim.map(|(name, value)| (name, own(value))));
        Verified { session: grant.session.map(own), expires: grant.expires, key: grant.key, claims }
    }
}

/// A token where it was found.
#[derive(Clone, Copy)]
struct Found<'a> {
    rank: usize,
    place: TokenPlace,
    name: usize,
    token: &'a str,
}

/// The tokens found so far: the one that counts, and whether a name came twice.
#[derive(Default)]
struct Finds<'a> {
    best: Option<Found<'a>>,
    names_seen: u64,
    twice: bool,
}

impl<'a> Finds<'a> {
    fn note(&mut self, found: Found<'a>) {
        // Names from the 64th on share one bit: two of them in one request are refused, never overlooked.
        let bit = 1_u64 << found.name.min(63);
        self.twice |= self.names_seen & bit != 0;
        self.names_seen |= bit;
        if self.best.is_none_or(|best| (found.rank, found.name) < (best.rank, best.name)) {
            self.best = Some(found);
        }
    }

    fn only(self) -> Result<Found<'a>, Reason> {
        match self.best {
            None => Err(Reason::Missing),
            Some(_) if self.twice => Err(Reason::Malformed),
            Some(found) => Ok(found),
        }
    }
}

#[cfg(test)]
mod tests;
