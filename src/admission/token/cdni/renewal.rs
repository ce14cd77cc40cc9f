//! Signed token renewal (RFC 9246 section 3): the next token of a stream, as a cookie of the answer.
//!
//! All claims are carried over, but for the end, which is `cdniets` from now, the time of issue, the issuer where the
//! policy names one, and `jti`, which is new because the old one has been used. The query (`cdnistt` 2) carries tokens of
//! redirections to other domains, of which the node makes none: such tokens are not renewed.

use std::sync::Arc;

use http::HeaderValue;
use http::header::SET_COOKIE;

use crate::admission::token::format::Renewal;
use crate::admission::token::jws::json::{Json, Object};
use crate::admission::token::jws::keys::{Key, Use};
use crate::admission::token::jws::{Signer, encode};
use crate::admission::token::{Presented, TOKEN_BYTES_MAX};
use crate::config::formats::jwt::Alg;
use crate::config::model::TokenKey;

/// Random bytes of a new `jti`.
const ID_BYTES: usize = 12;

/// The name of the cookie where the policy has none.
const COOKIE: &str = "URISigningPackage";

/// What a token says of its renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    /// `cdniets`: seconds that the next token is good for.
    pub(super) life: u64,
    /// `cdnistt` is 1.
    pub(super) by_cookie: bool,
    /// `cdnistd`: segments of the path that the next token is for.
    pub(super) depth: usize,
}

impl Terms {
    /// Reads the three claims. The outer None: they are not as section 2.1 has them; the inner: there are none.
    pub(super) fn of(claims: &Object) -> Option<Option<Terms>> {
        let (life, transport) = (claims.get("cdniets"), claims.get("cdnistt"));
        let depth = match claims.get("cdnistd") {
            Some(depth) => usize::try_from(depth.as_whole()?).ok()?,
            None => 0,
        };
        let (life, transport) = match (life, transport) {
            (None, None) => return Some(None),
            (Some(life), Some(transport)) => (life.as_seconds(false)?, transport.as_whole()?),
            // One without the other (section 3.2.1; verification code 406).
            _ => return None,
        };
        (transport <= 2).then_some(Some(Terms { life, by_cookie: transport == 1, depth }))
    }
}

/// Makes the next token.
#[derive(Debug)]
pub(super) struct Renewer {
    signer: Signer,
    key_id: Arc<str>,
    issuer: Option<String>,
}

impl Renewer {
    /// None: the key does not sign.
    pub(super) fn new(key: &TokenKey, issuer: Option<&str>) -> Option<Renewer> {
        // A JSON Web Key is known by its own `kid`.
        let Some(Use::Sign(Key { id: key_id, .. })) = Key::of(key) else { return None };
        let signer = Signer::of(key, Some(&key_id)).ok()?;
        Some(Renewer { signer, key_id, issuer: issuer.map(str::to_owned) })
    }

    /// What verification calls the key.
    pub(super) fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The algorithm of the tokens it makes.
    pub(super) fn alg(&self) -> Alg {
        self.signer.alg()
    }

    /// The next token for a request that one with these claims has opened. None: there is none, because the path has
    /// fewer segments than it has to.
    pub(super) fn renew(&self, claims: &Object, request: &Presented<'_>) -> Option<Renewal> {
        let terms = Terms::of(claims)??;
        let path = cookie_path(request.normal, terms.depth)?;
        let mut next = claims.clone();
        next.set("exp", Json::Number(request.now_unix.saturating_add(terms.life).into()));
        if claims.get("iat").is_some() {
            next.set("iat", Json::Number(request.now_unix.into()));
        }
        if let Some(issuer) = &self.issuer {
            next.set("iss", Json::Text(issuer.clone()));
        }
        if claims.get("jti").is_some() {
            let mut id = [0; ID_BYTES];
            getrandom::fill(&mut id).ok()?;
            next.set("jti", Json::Text(encode(id)));
        }
        let token = self.signer.sign(&next).ok().filter(|token| token.len() <= TOKEN_BYTES_MAX)?;
        let name = request.names.first().map_or(COOKIE, String::as_str);
        let secure = if request.secure { "; Secure; SameSite=None" } else { "" };
        let cookie = format!("{name}={token}; Path={path}; Max-Age={}; HttpOnly{secure}", terms.life);
        Some(Renewal::Fields(vec![(SET_COOKIE, HeaderValue::from_str(&cookie).ok()?)]))
    }
}

/// The first segments of a path, as a cookie names them. None: it has fewer, or cannot stand in a cookie.
fn cookie_path(path: &str, depth: usize) -> Option<&str> {
    if depth == 0 {
        return Some("/");
    }
    let segments = path.strip_prefix('/')?;
    let end = match segments.match_indices('/').nth(depth - 1) {
        Some((slash, _)) => slash + 1,
        None if segments.split('/').count() == depth => path.len(),
        None => return None,
    };
    path.get(..end).filter(|path| !path.contains(';'))
}
