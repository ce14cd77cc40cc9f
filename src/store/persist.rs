//! What of an object goes to disk beside its body, and back: its header, kind and lifetime, as the `meta` of a record.
//!
//! The record's own format, checksums included, is the disk tier's; this module only turns an object into bytes and
//! bytes into the parts of an object. Bytes that do not fit are no object, never a wrong one.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use pingora::http::ResponseHeader;
use serde::{Deserialize, Serialize};

use super::{Lifetime, Object, Version};
use crate::asset::Kind;

/// The form of [`Meta`]; another one is not read.
const FORM: u8 = 1;

/// What is kept of an object beside its key and body.
#[derive(Clone, Debug)]
pub(super) struct Meta {
    pub(super) kind: Kind,
    pub(super) header: ResponseHeader,
    pub(super) lifetime: Lifetime,
    /// Of an object that is kept in slices.
    pub(super) version: Option<Version>,
}

/// [`Meta`] as it is written. Times are milliseconds, since 1970 or as a span.
#[derive(Serialize, Deserialize)]
struct Written<'a> {
    form: u8,
    kind: &'a str,
    status: u16,
    #[serde(borrow)]
    fields: Vec<(&'a str, &'a [u8])>,
    created: u64,
    fresh_until: u64,
    stale_while_revalidate: u64,
    stale_if_error: u64,
    /// Length and validator of an object that is kept in slices.
    #[serde(borrow)]
    version: Option<(u64, &'a [u8])>,
}

/// The bytes that stand for an object's header, kind and lifetime; None: it has no such form.
pub(super) fn encode(object: &Object) -> Option<Bytes> {
    let fields = &object.header.headers;
    let version = object.body.as_sliced().map(|sliced| sliced.version());
    let written = Written {
        form: FORM,
        kind: object.kind.as_str(),
        status: object.status().as_u16(),
        fields: fields.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect(),
        created: since_epoch(object.lifetime.created),
        fresh_until: since_epoch(object.lifetime.fresh_until),
        stale_while_revalidate: millis(object.lifetime.stale_while_revalidate),
        stale_if_error: millis(object.lifetime.stale_if_error),
        version: version.map(|version| (version.len, version.validator.as_bytes())),
    };
    postcard::to_allocvec(&written).ok().map(Bytes::from)
}

/// What such bytes stand for; None: nothing that can be used.
pub(super) fn decode(bytes: &[u8]) -> Option<Meta> {
    let written: Written<'_> = postcard::from_bytes(bytes).ok()?;
    if written.form != FORM {
        return None;
    }
    let (mut parts, ()) = http::Response::new(()).into_parts();
    parts.status = StatusCode::from_u16(written.status).ok()?;
    for (name, value) in written.fields {
        parts
            .headers
            .append(HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_bytes(value).ok()?);
    }
    let version = match written.version {
        Some((0, _)) => return None,
        Some((len, validator)) => Some(Version { len, validator: HeaderValue::from_bytes(validator).ok()? }),
        None => None,
    };
    Some(Meta {
        version,
        kind: Kind::from_word(written.kind)?,
        header: ResponseHeader::from(parts),
        lifetime: Lifetime {
            created: at(written.created)?,
            fresh_until: at(written.fresh_until)?,
            stale_while_revalidate: Duration::from_millis(written.stale_while_revalidate),
            stale_if_error: Duration::from_millis(written.stale_if_error),
        },
    })
}

/// The latest time and the longest span that are read back: far beyond any lifetime, and far from overflow.
const MILLIS_MAX: u64 = 1 << 50;

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(MILLIS_MAX).min(MILLIS_MAX)
}

fn since_epoch(time: SystemTime) -> u64 {
    millis(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn at(millis: u64) -> Option<SystemTime> {
    (millis <= MILLIS_MAX).then(|| UNIX_EPOCH + Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;
    use crate::key::Key;
    use crate::store::Body;
    use proptest::prelude::*;

    fn object() -> Object {
        let mut header = ResponseHeader::build_no_case(200, None).unwrap();
        header.insert_header("etag", "\"v1\"").unwrap();
        header.append_header("link", "</a>; rel=next").unwrap();
        header.append_header("link", HeaderValue::from_bytes(b"</\xe9>").unwrap()).unwrap();
        let time = |seconds| UNIX_EPOCH + Duration::from_millis(seconds);
        Object {
            key: Key { hash: 1, text: "* /a".into() },
            kind: Kind::Segment,
            header,
            lifetime: Lifetime {
                created: time(1_700_000_000_123),
                fresh_until: time(1_700_000_060_456),
                stale_while_revalidate: Duration::from_millis(1500),
                stale_if_error: Duration::from_secs(86_400),
            },
            body: Body::growing(None, None).into(),
            shared: true,
            disk: Default::default(),
            hit_header: Default::default(),
        }
    }

    #[test]
    fn header_kind_and_lifetime_come_back_as_they_went() {
        let object = object();
        let meta = decode(&encode(&object).unwrap()).unwrap();
        assert_eq!(meta.header.headers, object.header.headers);
        assert_eq!(
            (meta.kind, meta.header.status, meta.lifetime),
            (object.kind, object.status(), object.lifetime)
        );
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_no_object_or_one_that_can_be_used(
            noise in prop::collection::vec(any::<u8>(), 0..200),
            place in any::<prop::sample::Index>(),
            flip in 1_u8..,
        ) {
            let _ = decode(&noise);
            let mut bytes = encode(&object()).unwrap().to_vec();
            let place = place.index(bytes.len());
            bytes[place] ^= flip;
            if let Some(meta) = decode(&bytes) {
                // What is computed with a lifetime must not overflow.
                let _ = meta.lifetime.bridges_error(SystemTime::now());
                let _ = meta.lifetime.bridges_revalidation(SystemTime::now());
            }
        }
    }
}
