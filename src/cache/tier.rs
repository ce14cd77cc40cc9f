//! What a node tells the node that has asked it of an answer's freshness, and what that one makes of it.
//!
//! It is worked out once, by the node next to the origin, and sent down as what is left of it: `CDN-Cache-Control` (RFC
//! 9213) beside `Age`, and in milliseconds in a field of the node's own, whose presence says that the answer is one between
//! nodes. A node that gets it has no opinion of its own: neither rules nor what a playlist says make the time any longer,
//! or shorter. Lives as long here as it would have there, and no longer.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue};
use pingora::http::ResponseHeader;

use super::age;
use super::directives::{CDN_CACHE_CONTROL, FOREBAY_TTL, targeted};
use super::tags::FOREBAY_TAGS;
use crate::store::{Lifetime, Object};

/// What `Age` and `max-age` in whole seconds may differ by from the time left in milliseconds.
const ROUNDING: Duration = Duration::from_secs(2);

/// What is left of an answer's freshness.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Whether it may not be kept: it is for the one who asked alone.
    pub no_store: bool,
    /// How long it is fresh.
    pub fresh: Duration,
    /// How long after that it may be served while it is fetched anew.
    pub stale_while_revalidate: Duration,
    /// How long after its freshness it may be served when what it comes from fails.
    pub stale_if_error: Duration,
    /// Whether its origin forbids to serve it stale.
    pub strict: bool,
    /// Whether it does not change while it is fresh.
    pub immutable: bool,
}

impl Left {
    /// Of what may not be kept.
    pub const UNSHARED: Left = Left {
        no_store: true,
        fresh: Duration::ZERO,
        stale_while_revalidate: Duration::ZERO,
        stale_if_error: Duration::ZERO,
        strict: true,
        immutable: false,
    };

    /// Of what has to be asked for again each time.
    pub const NOTHING: Left = Left { no_store: false, ..Left::UNSHARED };

    /// What is left of a lifetime at `now`: windows that have begun are so much shorter.
    pub fn of(lifetime: &Lifetime, now: SystemTime) -> Left {
        let until = |end: SystemTime| end.duration_since(now).unwrap_or_default();
        let purged = lifetime.purged.is_some();
        let fresh = if purged { Duration::ZERO } else { until(lifetime.fresh_until) };
        let window = |window: Duration| until(lifetime.end() + window).saturating_sub(fresh).min(window);
        Left {
            no_store: false,
            fresh,
            stale_while_revalidate: if purged {
                Duration::ZERO
            } else {
                window(lifetime.stale_while_revalidate)
            },
            stale_if_error: window(lifetime.stale_if_error),
            strict: lifetime.strict,
            immutable: lifetime.immutable,
        }
    }

    /// What a node has told of its answer; None: it comes from no node.
    pub fn told(headers: &HeaderMap) -> Option<Left> {
        let millis = headers.get(FOREBAY_TTL)?;
        let told = targeted(headers, &CDN_CACHE_CONTROL).filter(|told| !told.no_store);
        let left = millis.to_str().ok().and_then(|digits| digits.parse().ok()).map(Duration::from_millis);
        let (Some(told), Some(left)) = (told, left) else { return Some(Left::UNSHARED) };
        // A cache between the nodes may have kept it for a while, and says so by Age alone.
        let most = (told.max_age.unwrap_or_default() + ROUNDING).saturating_sub(age::told(headers));
        Some(Left {
            no_store: false,
            fresh: left.min(most),
            stale_while_revalidate: told.stale_while_revalidate.unwrap_or_default(),
            stale_if_error: told.stale_if_error.unwrap_or_default(),
            strict: told.must_revalidate,
            immutable: told.immutable,
        })
    }

    /// Tells a node of it, of an answer of this age.
    fn tell(&self, header: &mut ResponseHeader, age_seconds: u64) {
        let mut told = String::new();
        if self.no_store {
            told.push_str("no-store");
        } else {
            let (swr, sie) = (self.stale_while_revalidate.as_secs(), self.stale_if_error.as_secs());
            let max_age = age_seconds.saturating_add(self.fresh.as_secs());
            // Writing to a string cannot fail.
            let _ = write!(told, "max-age={max_age}, stale-while-revalidate={swr}, stale-if-error={sie}");
            told.push_str(if self.strict { ", must-revalidate" } else { "" });
            told.push_str(if self.immutable { ", immutable" } else { "" });
        }
        let millis = u64::try_from(self.fresh.as_millis()).unwrap_or(u64::MAX);
        if let Ok(told) = HeaderValue::from_str(&told) {
            set(header, CDN_CACHE_CONTROL, told);
        }
        set(header, FOREBAY_TTL, HeaderValue::from(millis));
    }
}

/// Tells a node that has asked of the object that answers it: what is left of it, and its tags. `behind`: this node does not
/// know of all purges that the other one knows of.
pub fn tell(header: &mut ResponseHeader, object: &Object, now: SystemTime, behind: bool) {
    // What is said of a range that there is not is not said of the object.
    let refused = matches!(header.status.as_u16(), 412 | 416);
    let left = match object.shared && !refused {
        false => Left::UNSHARED,
        true if behind => Left::NOTHING,
        true => Left::of(&object.lifetime, now),
    };
    left.tell(header, object.lifetime.age_seconds(now));
    let tags = &object.provenance.tags;
    if !tags.is_empty() || header.status.as_u16() == 304 {
        let mut text = String::with_capacity(tags.len() * 17);
        for tag in tags.iter() {
            let _ = write!(text, "{}{tag:016x}", if text.is_empty() { "" } else { " " });
        }
        if let Ok(text) = HeaderValue::from_str(&text) {
            set(header, FOREBAY_TAGS, text);
        }
    }
}

/// Tells a node that an answer is for nobody else.
pub fn tell_unshared(header: &mut ResponseHeader) {
    Left::UNSHARED.tell(header, 0);
}

/// Takes out what only a node of the next tier may say.
pub fn distrust(header: &mut ResponseHeader) {
    for name in [FOREBAY_TTL, FOREBAY_TAGS] {
        header.remove_header(&name);
    }
}

fn set(header: &mut ResponseHeader, name: HeaderName, value: HeaderValue) {
    // A static name and a well-formed value are always taken.
    let _ = header.insert_header(name, value);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::asset::Kind;
    use crate::cache::{Fetched, Said, Times, Verdict, judge};
    use crate::key::Key;
    use crate::store::Body;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn at(millis: u64) -> SystemTime {
        UNIX_EPOCH + seconds(1_900_000_000) + Duration::from_millis(millis)
    }

    fn lifetime(fresh: Duration) -> Lifetime {
        Lifetime {
            stale_while_revalidate: seconds(4),
            stale_if_error: seconds(20),
            strict: false,
            ..Lifetime::lasting(at(0), fresh)
        }
    }

    fn object(lifetime: Lifetime) -> Object {
        let (mut parts, ()) = http::Response::new(()).into_parts();
        parts.headers.insert("cdn-cache-control", HeaderValue::from_static("max-age=1"));
        let key = Key { hash: 0, text: "s /a.bin".into() };
        Object::new(key, Kind::Other, parts.into(), lifetime, Body::growing(None, None).into())
    }

    /// What a node makes of an answer that another one has sent at this time, and tells the next one.
    fn passed(object: &Object, now: SystemTime, behind: bool) -> Option<Object> {
        let mut header = object.header.clone();
        header.insert_header("age", object.lifetime.age_seconds(now).to_string()).unwrap();
        tell(&mut header, object, now, behind);
        let times = Times { ttl: Some(seconds(3600)), ..Times::default() };
        let fetched = Fetched {
            header: &header,
            kind: Kind::Other,
            said: Said::default(),
            blocking: false,
            stream: None,
            times: &times,
            asked: now,
            now,
            authorized: false,
            keyed_by_it: false,
            no_store: false,
        };
        let Verdict::Keep(kept) = judge(&fetched) else { return None };
        assert!(!kept.header.headers.contains_key("cdn-cache-control"), "viewers are told the origin's word");
        assert!(!kept.header.headers.contains_key(FOREBAY_TTL));
        let mut passed = self::object(kept.lifetime);
        passed.provenance.tags = kept.tags.unwrap_or_default();
        Some(passed)
    }

    #[test]
    fn however_many_nodes_it_passes_an_answer_ends_when_it_would_have() {
        let first = object(lifetime(seconds(10)));
        let second = passed(&first, at(2_400), false).unwrap();
        let third = passed(&second, at(5_700), false).unwrap();
        for held in [&second, &third] {
            assert_eq!(held.lifetime.fresh_until, first.lifetime.fresh_until);
            assert_eq!(held.lifetime.age_seconds(at(9_999)), 9);
            let ends = at(10_000) + held.lifetime.stale_if_error;
            assert_eq!(ends, at(30_000), "windows are as long as they were");
        }
    }

    #[test]
    fn what_is_stale_is_passed_on_stale_and_its_windows_as_they_are() {
        let first = object(lifetime(seconds(10)));
        let second = passed(&first, at(13_000), false).unwrap();
        assert!(!second.lifetime.is_fresh(at(13_000)));
        assert!(
            second.lifetime.bridges_revalidation(at(13_999))
                && !second.lifetime.bridges_revalidation(at(14_000))
        );
        assert!(second.lifetime.bridges_error(at(29_999)) && !second.lifetime.bridges_error(at(30_000)));
        let purged = object(lifetime(seconds(10)).purged(at(3_000)));
        let after = passed(&purged, at(5_000), false).unwrap().lifetime;
        assert!(!after.is_fresh(at(5_000)) && !after.bridges_revalidation(at(5_000)));
        assert!(after.bridges_error(at(22_999)) && !after.bridges_error(at(23_000)));
    }

    #[test]
    fn of_a_node_that_is_behind_nothing_is_used_twice_and_of_what_is_one_clients_nothing_is_kept() {
        let behind = passed(&object(lifetime(seconds(10))), at(0), true).unwrap().lifetime;
        assert!(!behind.is_fresh(at(0)) && !behind.bridges_error(at(0)) && behind.is_strict());
        let own = Object { shared: false, ..object(lifetime(seconds(10))) };
        assert!(passed(&own, at(0), false).is_none());
    }

    #[test]
    fn tags_come_through() {
        let mut first = object(lifetime(seconds(10)));
        first.provenance.tags = vec![1, 0xFFFF_FFFF_0000_0001].into();
        let second = passed(&first, at(0), false).unwrap();
        assert_eq!(second.provenance.tags, first.provenance.tags);
        assert_eq!(passed(&second, at(0), false).unwrap().provenance.tags, first.provenance.tags);
    }

    #[test]
    fn what_lay_in_a_cache_between_nodes_is_so_much_older() {
        let mut header = object(lifetime(seconds(10))).header;
        tell(&mut header, &object(lifetime(seconds(10))), at(0), false);
        let mut headers = header.headers.clone();
        assert_eq!(Left::told(&headers).unwrap().fresh, seconds(10));
        headers.insert("age", HeaderValue::from_static("8"));
        assert_eq!(Left::told(&headers).unwrap().fresh, seconds(4));
        headers.insert("age", HeaderValue::from_static("800"));
        assert_eq!(Left::told(&headers).unwrap().fresh, Duration::ZERO);
        for (ttl, cdn) in [("x", "max-age=9"), ("9000", "no-store"), ("9000", "\"")] {
            headers.insert(FOREBAY_TTL, HeaderValue::from_static(ttl));
            headers.insert(CDN_CACHE_CONTROL, HeaderValue::from_static(cdn));
            assert_eq!(Left::told(&headers), Some(Left::UNSHARED), "{ttl} {cdn}");
        }
        assert_eq!(Left::told(&HeaderMap::new()), None);
    }
}
