//! What of an object goes to disk, or to other nodes, beside its body, and back: its header, kind and lifetime, as the `meta`
//! of a record.
//!
//! The record's own format, checksums included, is the disk tier's, or that of `fleet::share`; this module only turns an object into bytes and
//! bytes into the parts of an object. Bytes that do not fit are no object, never a wrong one.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use pingora::http::ResponseHeader;
use serde::{Deserialize, Serialize};

use super::variants::Variants;
use super::{Lifetime, Object, Provenance, Version};
use crate::asset::Kind;

/// The form of [`Meta`]; another one is not read.
const FORM: u8 = 6;

/// What is kept of an object beside its key and body.
#[derive(Debug)]
pub struct Meta {
    /// What it is.
    pub kind: Kind,
    /// Status and fields.
    pub header: ResponseHeader,
    /// How long it may be used.
    pub lifetime: Lifetime,
    /// What purges know it by.
    pub provenance: Provenance,
    /// The generation of the soft purge that ended its lifetime; 0: none has.
    pub purged_at: u64,
    /// Of an object that is kept in slices.
    pub version: Option<Version>,
    /// Of a marker.
    pub variants: Option<Variants>,
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
    span: u64,
    from_coming: bool,
    stale_while_revalidate: u64,
    stale_if_error: u64,
    generation: u64,
    purged_at: u64,
    tags: Vec<u64>,
    strict: bool,
    immutable: bool,
    purged: Option<u64>,
    /// Length, validator and epoch of an object that is kept in slices.
    #[serde(borrow)]
    version: Option<(u64, &'a [u8], u64)>,
    /// Epoch and field names of a marker.
    #[serde(borrow)]
    variants: Option<(u64, Vec<&'a str>)>,
}

/// The bytes that stand for an object's header, kind and lifetime; None: it has no such form.
pub fn encode(object: &Object) -> Option<Bytes> {
    let fields = &object.header.headers;
    let version = object.body.as_sliced().map(|sliced| sliced.version());
    let written = Written {
        form: FORM,
        kind: object.kind.as_str(),
        status: object.status().as_u16(),
        fields: fields.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect(),
        created: since_epoch(object.lifetime.created),
        fresh_until: since_epoch(object.lifetime.fresh_until),
        span: millis(object.lifetime.span),
        from_coming: object.lifetime.from_coming,
        stale_while_revalidate: millis(object.lifetime.stale_while_revalidate),
        stale_if_error: millis(object.lifetime.stale_if_error),
        generation: object.provenance.generation,
        purged_at: object.purged_at,
        tags: object.provenance.tags.to_vec(),
        strict: object.lifetime.strict,
        immutable: object.lifetime.immutable,
        purged: object.lifetime.purged.map(since_epoch),
        version: version.map(|version| (version.len, version.validator.as_bytes(), version.epoch)),
        variants: object
            .variants
            .as_ref()
            .map(|variants| (variants.epoch, variants.names.iter().map(HeaderName::as_str).collect())),
    };
    postcard::to_allocvec(&written).ok().map(Bytes::from)
}

/// What such bytes stand for; None: nothing that can be used.
pub fn decode(bytes: &[u8]) -> Option<Meta> {
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
        Some((0, ..)) => return None,
        Some((len, validator, epoch)) => {
            Some(Version { len, validator: HeaderValue::from_bytes(validator).ok()?, epoch })
        }
        None => None,
    };
    let variants = match written.variants {
        Some((epoch, names)) => Some(Variants::new(epoch, field_names(&names)?)),
        None => None,
    };
    Some(Meta {
        version,
        variants,
        purged_at: written.purged_at,
        provenance: Provenance { generation: written.generation, tags: written.tags.into(), ahead: None },
        kind: Kind::from_word(written.kind)?,
        header: ResponseHeader::from(parts),
        lifetime: Lifetime {
            created: at(written.created)?,
            fresh_until: at(written.fresh_until)?,
            span: Duration::from_millis(written.span),
            from_coming: written.from_coming,
            stale_while_revalidate: Duration::from_millis(written.stale_while_revalidate),
            stale_if_error: Duration::from_millis(written.stale_if_error),
            strict: written.strict,
            immutable: written.immutable,
            purged: match written.purged {
                Some(millis) => Some(at(millis)?),
                None => None,
            },
        },
    })
}

/// Names of fields as a marker has them: some, sorted.
fn field_names(words: &[&str]) -> Option<Box<[HeaderName]>> {
    let names: Option<Box<[HeaderName]>> =
        words.iter().map(|word| HeaderName::from_bytes(word.as_bytes()).ok()).collect();
    names.filter(|names| !names.is_empty() && names.is_sorted_by(|a, b| a.as_str() < b.as_str()))
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
    use std::sync::Arc;

    fn object() -> Object {
        let mut header = ResponseHeader::build_no_case(200, None).unwrap();
        header.insert_header("etag", "\"v1\"").unwrap();
        header.append_header("link", "</a>; rel=next").unwrap();
        header.append_header("link", HeaderValue::from_bytes(b"</\xe9>").unwrap()).unwrap();
        let time = |seconds| UNIX_EPOCH + Duration::from_millis(seconds);
        let lifetime = Lifetime {
            created: time(1_700_000_000_123),
            fresh_until: time(1_700_000_060_456),
            span: Duration::from_millis(60_333),
            from_coming: true,
            stale_while_revalidate: Duration::from_millis(1500),
            stale_if_error: Duration::from_secs(86_400),
            strict: true,
            immutable: true,
            purged: Some(time(1_700_000_030_789)),
        };
        let key = Key { hash: 1, text: "* /a".into() };
        let provenance = Provenance { generation: 7, tags: [1, u64::MAX].into(), ahead: None };
        let body = Body::growing(None, None).into();
        Object { provenance, purged_at: 9, ..Object::new(key, Kind::Segment, header, lifetime, body) }
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
        assert_eq!((meta.provenance.generation, meta.purged_at), (7, 9));
        assert_eq!(meta.provenance.tags, object.provenance.tags);
    }

    #[test]
    fn a_marker_comes_back_with_its_epoch_and_names() {
        let names = ["accept-language", "cookie"].map(HeaderName::from_static);
        let marker =
            Object { variants: Some(Arc::new(Variants::new(u64::MAX, names.clone().into()))), ..object() };
        let back = decode(&encode(&marker).unwrap()).unwrap().variants.unwrap();
        assert_eq!((back.epoch, &*back.names), (u64::MAX, &names[..]));
        assert!(decode(&encode(&object()).unwrap()).unwrap().variants.is_none());
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
