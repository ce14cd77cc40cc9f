//! `catif`: what a token wants to be answered when one of its claims fails.
//!
//! A field's text may end in a token that the node signs then, for a page that makes a new one out of it. It is signed
//! with a key of `catif_keys` only: what is signed is up to whoever made the token, who need not hold that key.

use std::sync::Arc;

use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};

use super::cbor::{Map, Value};
use super::names::{claim, is_known};
use super::{Rules, seal};
use crate::admission::token::terms::Reply;
use crate::admission::token::{Answer, Presented};
use crate::reason::Reason;

/// Fields of an answer.
const FIELDS_MAX: usize = 16;

/// Fields that frame a message, which are the node's own.
const OWN: [HeaderName; 6] = [CONNECTION, CONTENT_LENGTH, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];

/// Answers by reason.
type Replies = Vec<(Reason, Arc<dyn Reply>)>;

/// One entry of `catif`.
#[derive(Debug)]
struct Catif {
    rules: Arc<Rules>,
    status: u16,
    fields: Vec<(HeaderName, Text)>,
    /// The key that signs, by its place.
    key: usize,
}

#[derive(Debug)]
enum Text {
    Fixed(HeaderValue),
    /// Ends in a token with these claims.
    Signed(String, Map),
}

impl Reply for Catif {
    fn answer(&self, request: &Presented<'_>) -> Option<Arc<Answer>> {
        let fields = self.fields.iter().map(|(name, text)| {
            let value = match text {
                Text::Fixed(value) => value.clone(),
                Text::Signed(prefix, claims) => {
                    let claims = filled(claims, &self.rules, request.now_unix);
                    let key = self.rules.keys.get(self.key)?;
                    let token = seal(key.algorithm(), key, &claims)?;
                    HeaderValue::from_str(&format!("{prefix}{token}")).ok()?
                }
            };
            Some((name.clone(), value))
        });
        Some(Arc::new(Answer { status: self.status, fields: fields.collect::<Option<_>>()? }))
    }
}

/// Claims in which what was left open is filled in.
fn filled(claims: &Map, rules: &Rules, now: u64) -> Map {
    let fill = |(key, value): &(Value, Value)| {
        let value = match (key, value) {
            (Value::Int(claim::ISS), Value::Null) => {
                rules.options.issuer.as_ref().map_or(Value::Null, |issuer| Value::text(issuer.as_str()))
            }
            (Value::Int(claim::IAT), Value::Null) => Value::Int(now.into()),
            _ => value.clone(),
        };
        (key.clone(), value)
    };
    claims.iter().map(fill).collect()
}

/// Reads `catif`: answers by reason. `others` are the reasons that composite claims refuse with. `signer` is the key that
/// verified the token.
pub(super) fn read(
    value: &Value,
    rules: &Arc<Rules>,
    signer: usize,
    others: &[Reason],
) -> Result<Replies, Reason> {
    let mut exact = Replies::new();
    let mut composite = Vec::new();
    for (key, value) in value.as_map().ok_or(Reason::Malformed)? {
        let label = key.as_int().filter(|label| is_known(*label)).ok_or(Reason::UnsupportedClaim)?;
        let reply: Arc<dyn Reply> = Arc::new(entry(value, rules, signer)?);
        match label {
            claim::OR | claim::NOR | claim::AND => {
                composite.extend(others.iter().map(|reason| (*reason, Arc::clone(&reply))));
            }
            _ => exact.extend(reasons(label).iter().map(|reason| (*reason, Arc::clone(&reply)))),
        }
    }
    // A claim's own answer goes first: the first of a reason counts.
    exact.append(&mut composite);
    Ok(exact)
}

/// The reasons that a claim refuses with.
fn reasons(label: i128) -> &'static [Reason] {
    match label {
        claim::ISS => &[Reason::Issuer],
        claim::AUD => &[Reason::Audience],
        claim::EXP => &[Reason::Expired],
        claim::NBF => &[Reason::NotYet],
        claim::CATREPLAY => &[Reason::Replayed],
        claim::CATPOR => &[Reason::Revoked],
        claim::CATNIP => &[Reason::Ip, Reason::Asn],
        claim::CATU => &[Reason::Path, Reason::Host],
        claim::CATM => &[Reason::Method],
        claim::CATALPN => &[Reason::Alpn],
        claim::CATH => &[Reason::Header],
        claim::CATGEOISO3166 => &[Reason::Geo],
        claim::CATTPRINT => &[Reason::TlsFingerprint],
        _ => &[],
    }
}

/// `[status, {name: text or [text, claims]}, kid]`
fn entry(value: &Value, rules: &Arc<Rules>, signer: usize) -> Result<Catif, Reason> {
    let items = value.as_array().filter(|items| items.len() <= 3).ok_or(Reason::Malformed)?;
    let status = items.first().and_then(Value::as_int).and_then(|status| u16::try_from(status).ok());
    let status = status.filter(|status| (300..500).contains(status)).ok_or(Reason::Malformed)?;
    let none = Map::new();
    let map = match items.get(1) {
        Some(value) => value.as_map().ok_or(Reason::Malformed)?,
        None => &none,
    };
    if map.len() > FIELDS_MAX {
        return Err(Reason::Malformed);
    }
    let key = match items.get(2) {
        Some(Value::Bytes(kid)) => {
            rules.keys.iter().position(|key| key.kid == *kid).ok_or(Reason::UnsupportedClaim)?
        }
        Some(Value::Text(kid)) => {
            rules.keys.iter().position(|key| key.kid == kid.as_bytes()).ok_or(Reason::UnsupportedClaim)?
        }
        Some(_) => return Err(Reason::Malformed),
        None => signer,
    };
    let fields = map.iter().map(|(name, value)| field(name, value, rules, key));
    Ok(Catif { rules: Arc::clone(rules), status, fields: fields.collect::<Result<_, _>>()?, key })
}

fn field(name: &Value, value: &Value, rules: &Rules, key: usize) -> Result<(HeaderName, Text), Reason> {
    let name = name.as_text().ok_or(Reason::Malformed)?;
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Reason::Malformed)?;
    if OWN.contains(&name) {
        return Err(Reason::UnsupportedClaim);
    }
    let text = match value {
        Value::Text(text) => Text::Fixed(HeaderValue::from_str(text).map_err(|_| Reason::Malformed)?),
        Value::Array(items) => {
            let [Value::Text(prefix), Value::Map(claims)] = items.as_slice() else {
                return Err(Reason::Malformed);
            };
            HeaderValue::from_str(prefix).map_err(|_| Reason::Malformed)?;
            let may_sign = rules
                .keys
                .get(key)
                .is_some_and(|key| key.signs() && rules.options.catif_keys.iter().any(|id| **id == *key.id));
            let open = |label: i128| claims.contains(&(Value::Int(label), Value::Null));
            let fills = |(key, value): &(Value, Value)| {
                *value != Value::Null || matches!(key, Value::Int(claim::ISS | claim::IAT))
            };
            let has_issuer = rules.options.issuer.is_some() || !open(claim::ISS);
            if !may_sign || !has_issuer || !claims.iter().all(fills) {
                return Err(Reason::UnsupportedClaim);
            }
            Text::Signed(prefix.clone(), claims.clone())
        }
        _ => return Err(Reason::Malformed),
    };
    Ok((name, text))
}
