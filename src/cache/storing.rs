//! Whether an answer may be stored (RFC 9111 section 3), whatever its freshness.

use http::header::{EXPIRES, HeaderName, SET_COOKIE, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::directives::{Deciding, Directives};
use super::freshness::{Fetched, has_own_default};
use super::tier::Left;
use crate::asset::Kind;

/// Statuses that an answer is kept with although its origin says nothing of it: those of RFC 9110 section 15.1 but
/// redirects, which are kept by an origin's word or a rule, and 206.
const KEPT_UNTOLD: [u16; 8] = [200, 203, 204, 404, 405, 410, 414, 501];

/// Statuses that an answer of a kind with a default of its own is kept with for a moment although its origin says
/// nothing: a failing origin is shielded from the crowd of a stream.
const SHIELDED: [u16; 4] = [500, 502, 503, 504];

/// Statuses that are kept only if a rule names them: challenges to one user (401, 407), answers to what one request
/// said beside its target (412, 416, 417) or to one connection (408, 421), and those that RFC 6585 forbids to store
/// (428, 429, 431, 511).
const KEPT_BY_RULE: [u16; 11] = [401, 407, 408, 412, 416, 417, 421, 428, 429, 431, 511];

/// Statuses whose requirements on caches this node conforms to (`must-understand`, RFC 9111 section 5.2.2.3).
const UNDERSTOOD: [u16; 21] =
    [200, 203, 204, 300, 301, 302, 303, 307, 308, 400, 403, 404, 405, 410, 414, 451, 500, 501, 502, 503, 504];

/// Why an answer is not kept. The word stands in `Cache-Status` and in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// `no-store` (RFC 9111 section 5.2.2.5).
    NoStore,
    /// `private` (section 5.2.2.7).
    Private,
    /// It sets a cookie.
    SetCookie,
    /// It varies by what no request tells (`*`, section 4.1), or by a field that cannot be read.
    Vary,
    /// Its status is not kept, or not unless the origin says so.
    Status,
    /// Keys and licences are never shared.
    Kind,
    /// A part of an object that was not asked for in part.
    Partial,
    /// The request had `Authorization`, and nothing allows to share the answer (section 3.5).
    Authorization,
    /// The request had `no-store` (section 5.2.1.5).
    RequestNoStore,
    /// It has more tags than are kept of an object, or too long ones.
    Tags,
}

impl Refusal {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Refusal::NoStore => "no_store",
            Refusal::Private => "private",
            Refusal::SetCookie => "set_cookie",
            Refusal::Vary => "vary",
            Refusal::Status => "status",
            Refusal::Kind => "kind",
            Refusal::Partial => "partial",
            Refusal::Authorization => "authorization",
            Refusal::RequestNoStore => "request_no_store",
            Refusal::Tags => "tags",
        }
    }
}

/// Why the answer is not kept; None: it may be, as far as its header decides. Tags and `Vary` are not looked at.
///
/// A rule that sets a time wins over the origin's `no-store` and `private`, and one that names the status over the
/// lists above; nothing wins over the rest. A node of the next tier, which has decided it, wins over both.
pub(super) fn refusal(fetched: &Fetched<'_>, deciding: &Deciding) -> Option<Refusal> {
    let headers = &fetched.header.headers;
    let directives = &deciding.directives;
    let by_node = Left::told(headers);
    let by_rule = fetched.times.ttl.is_some() && by_node.is_none();
    if by_node.is_some_and(|left| left.no_store) {
        Some(Refusal::NoStore)
    } else if fetched.kind == Kind::Key {
        Some(Refusal::Kind)
    } else if fetched.header.status == StatusCode::PARTIAL_CONTENT {
        Some(Refusal::Partial)
    } else if fetched.no_store {
        Some(Refusal::RequestNoStore)
    } else if by_node.is_none() && !status_is_kept(fetched, deciding) {
        Some(Refusal::Status)
    } else if headers.contains_key(SET_COOKIE) && !dropped_fields(deciding).any(|name| name == SET_COOKIE) {
        Some(Refusal::SetCookie)
    } else if fetched.authorized && !shares_authorized(fetched, deciding) {
        Some(Refusal::Authorization)
    } else if !by_rule && directives.no_store && !(directives.must_understand && is_understood(fetched)) {
        Some(Refusal::NoStore)
    } else if !by_rule && directives.private.is_whole() {
        Some(Refusal::Private)
    } else {
        None
    }
}

/// Fields that are left out of what is stored (sections 5.2.2.4 and 5.2.2.7).
pub(super) fn dropped_fields(deciding: &Deciding) -> impl Iterator<Item = &HeaderName> {
    let directives = &deciding.directives;
    directives.private.fields().iter().chain(directives.no_cache.fields())
}

/// The request fields that an answer varies by, lower case, sorted, each once. None: it matches no other request
/// (section 4.1), for it says `*` or what is no field name.
pub(super) fn varying_fields(headers: &HeaderMap) -> Option<Box<[HeaderName]>> {
    let lines = headers.get_all(VARY).iter().map(HeaderValue::as_bytes);
    let members = lines.flat_map(|line| line.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    let names = members.filter(|name| !name.is_empty() && *name != b"*").map(HeaderName::from_bytes);
    let any = headers.get_all(VARY).iter().any(|line| line.as_bytes().contains(&b'*'));
    let mut names = names.collect::<Result<Vec<HeaderName>, _>>().ok().filter(|_| !any)?;
    names.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
    names.dedup();
    Some(names.into())
}

/// Whether the origin itself allows to store an answer of any status (section 3, last item).
pub(super) fn is_explicit(fetched: &Fetched<'_>, deciding: &Deciding) -> bool {
    let directives = &deciding.directives;
    directives.public
        || directives.max_age.is_some()
        || directives.s_maxage.is_some()
        || (!deciding.targeted && fetched.header.headers.contains_key(EXPIRES))
}

fn status_is_kept(fetched: &Fetched<'_>, deciding: &Deciding) -> bool {
    let status = fetched.header.status.as_u16();
    let directives = &deciding.directives;
    if !(200..600).contains(&status) || status == 304 {
        return false;
    }
    if fetched.times.names_status {
        return true;
    }
    !KEPT_BY_RULE.contains(&status)
        && (is_understood(fetched) || !directives.must_understand)
        && (KEPT_UNTOLD.contains(&status)
            || (SHIELDED.contains(&status) && has_own_default(fetched.kind))
            || is_explicit(fetched, deciding))
}

/// Whether the node conforms to what the answer's status demands of caches (section 5.2.2.3).
fn is_understood(fetched: &Fetched<'_>) -> bool {
    UNDERSTOOD.contains(&fetched.header.status.as_u16())
}

/// Whether an answer to a request with `Authorization` may answer others (section 3.5), or only those with the same one.
fn shares_authorized(fetched: &Fetched<'_>, deciding: &Deciding) -> bool {
    // A node says how long, and its origin to whom.
    let of_origin =
        Left::told(&fetched.header.headers).map(|_| Directives::of_cache_control(&fetched.header.headers));
    let directives = of_origin.as_ref().unwrap_or(&deciding.directives);
    directives.public
        || directives.s_maxage.is_some()
        || directives.must_revalidate
        || (fetched.keyed_by_it && fetched.times.ttl.is_some())
}
