//! What a token's claims mean: its terms. A claim that the node does not know, or cannot hold a request to, refuses the
//! token; private ones that the policy names are passed over.

use std::borrow::Cow;
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::cbor::{self, Lengths, Map, Value, get};
use super::conditions::{Never, Set, seconds, text};
use super::matching::{EXPRESSIONS_MAX, expressions};
use super::names::{Holds, claim, is_known, shown, to_json};
use super::renewal::Catr;
use super::{Rules, reply};
use crate::admission::token::terms::{Check, Claims, Terms};
use crate::admission::token::{Presented, acl};
use crate::config::formats::cat::Dialect;
use crate::reason::Reason;

/// The claims of a payload.
pub(super) fn of(payload: &[u8]) -> Result<Map, Reason> {
    match cbor::decode(payload, Lengths::Any) {
        Some(Value::Map(claims)) => Ok(claims),
        _ => Err(Reason::Malformed),
    }
}

/// What they mean. `signer` is the place of the key that verified them.
pub(super) fn terms(rules: &Arc<Rules>, claims: &Map, signer: usize) -> Result<Terms, Reason> {
    if claims.iter().map(|(_, value)| expressions(value)).sum::<usize>() > EXPRESSIONS_MAX {
        return Err(Reason::UnsupportedClaim);
    }
    let mut terms = Terms { claims: named(claims), ..Terms::default() };
    let (mut set, mut composite, mut renewal) = (Set::default(), Set::default(), None);
    for (key, value) in claims {
        let label = match key.as_int() {
            Some(label) if rules.ignores(label) => continue,
            Some(label) => label,
            None => return Err(Reason::UnsupportedClaim),
        };
        match label {
            claim::SUB => terms.subject = Some(text(value)?),
            claim::EXP => terms.expires = Some(seconds(value)?),
            claim::NBF => terms.not_before = Some(seconds(value)?),
            // Says when it was made, and is no condition (RFC 8392 section 3.1.6).
            claim::IAT => drop(seconds(value)?),
            claim::CTI => {
                let id = match value {
                    Value::Bytes(bytes) => shown(bytes),
                    other => text(other)?,
                };
                terms.session = Some(id.clone());
                terms.id = Some(id);
            }
            claim::CRIT => {
                let listed = value.as_array().ok_or(Reason::Malformed)?;
                let understood = |label: i128| is_known(label) || rules.ignores(label);
                if !listed.iter().all(|item| item.as_int().is_some_and(understood)) {
                    return Err(Reason::UnsupportedClaim);
                }
            }
            claim::CATREPLAY => terms.once = is_for_once(value)?,
            claim::CATV if value.as_int() == Some(1) => {}
            claim::CATV => return Err(Reason::UnsupportedClaim),
            claim::CATPOR => {
                let share = rejected(value, rules.options.dialect)?;
                if share > 0.0 {
                    set.checks.push(Box::new(Rejected { share, seed: rules.seed }));
                }
            }
            // What answers may refer to; it asks nothing of a request.
            claim::CATIFDATA => {}
            // Once the reasons of all other claims are known.
            claim::CATIF => {}
            claim::CATR => renewal = Some(Catr::read(value, rules.options.dialect)?),
            claim::OR | claim::NOR | claim::AND => composite.read(label, value, rules)?,
            label => set.read(label, value, rules)?,
        }
    }
    // Before all else, since within `nor` a path that is not told of would be let in.
    set.checks.insert(0, Box::new(Straight));
    let lacks = |label: i128| get(claims, label).is_none();
    if lacks(claim::ISS) && !rules.options.issuers.is_empty() {
        set.checks.push(Box::new(Never(Reason::Issuer)));
    }
    if lacks(claim::AUD) && !rules.options.audiences.is_empty() {
        set.checks.push(Box::new(Never(Reason::Audience)));
    }
    if terms.once && terms.id.is_none() {
        return Err(Reason::Malformed);
    }
    if let Some(value) = get(claims, claim::CATIF) {
        terms.answers = reply::read(value, rules, signer, &composite.reasons)?;
    }
    let signs = rules.keys.get(signer).is_some_and(super::keys::Key::signs);
    if let (Some(renewal), Some(expires), true) = (renewal, terms.expires, signs) {
        terms.renews = true;
        terms.renews_from = renewal.from(expires);
    }
    terms.checks = set.checks;
    terms.checks.append(&mut composite.checks);
    Ok(terms)
}

/// Those that are one text or number, by name: what a rule's `key.claims` may name.
fn named(claims: &Map) -> Claims {
    let scalar = |(key, value): &(Value, Value)| {
        let number = key.as_int()?;
        let json = to_json(&Value::Map(vec![(key.clone(), value.clone())]), Holds::Claims);
        let (name, json) = json.as_object()?.iter().next()?;
        let text = match json {
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Number(number) => number.to_string(),
            _ => return None,
        };
        Some((if is_known(number) { name.clone() } else { number.to_string() }, text))
    };
    Claims::new(claims.iter().filter_map(scalar))
}

/// 0: it may be used again; 1: it may not. 2 leaves the means of detecting reuse to the verifier (unverified); here it is
/// the same as 1.
fn is_for_once(value: &Value) -> Result<bool, Reason> {
    match value.as_int() {
        Some(0) => Ok(false),
        Some(1 | 2) => Ok(true),
        _ => Err(Reason::UnsupportedClaim),
    }
}

/// The share of requests that are refused, from 0 to 1. Only the dialects that define one have any but 0.
fn rejected(value: &Value, dialect: Dialect) -> Result<f64, Reason> {
    let number = |value: &Value| match value {
        Value::Int(number) => Some(*number as f64),
        Value::Float(number) => Some(*number),
        Value::Text(text) => text.parse::<f64>().ok(),
        _ => None,
    };
    let share = match (dialect, value) {
        (Dialect::NodeCat, Value::Array(items)) => items.first().and_then(number),
        (Dialect::RustCat, Value::Int(percent)) => Some(*percent as f64 / 100.0),
        (Dialect::Cta | Dialect::Akamai, value) if number(value) == Some(0.0) => Some(0.0),
        _ => return Err(Reason::UnsupportedClaim),
    };
    share.filter(|share| (0.0..=1.0).contains(share)).ok_or(Reason::Malformed)
}

/// The path has no `..`, in any spelling that an origin may take for one: it could lead out of what `catu` says.
#[derive(Debug)]
struct Straight;

impl Check for Straight {
    fn check(&self, request: &Presented<'_>) -> Result<(), Reason> {
        let path: Cow<'_, [u8]> = percent_decode_str(request.normal).into();
        if acl::climbs(&path) { Err(Reason::Path) } else { Ok(()) }
    }
}

/// `catpor`: a share of requests is refused, the same one for each second, client and path.
#[derive(Debug)]
struct Rejected {
    share: f64,
    seed: u64,
}

impl Check for Rejected {
    fn check(&self, request: &Presented<'_>) -> Result<(), Reason> {
        let seed = self.seed ^ request.now_unix;
        let client = xxh3_64_with_seed(request.client.to_string().as_bytes(), seed);
        let drawn = xxh3_64_with_seed(request.normal.as_bytes(), client);
        // 53 bits fill the fraction of a number of double precision.
        let drawn = (drawn >> 11) as f64 / (1_u64 << 53) as f64;
        if drawn < self.share { Err(Reason::Revoked) } else { Ok(()) }
    }
}
