//! What may be asked for of revocations: a JSON document, read into an identity and an end.
//!
//! Names each mistake with its field and the remedy. Does not know what is in force.

use serde::Deserialize;
use serde_json::Value;

use crate::admission::revocation::{Identity, Kind, LIFE_SECONDS_DEFAULT, LIFE_SECONDS_MAX, VALUE_BYTES_MAX};
use crate::config::units;

/// Why nothing is revoked or restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// A word of a closed list, for the log and for programs.
    pub word: &'static str,
    /// A sentence that names the field and the remedy.
    pub reason: String,
}

/// What is to be revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Whose tokens.
    pub identity: Identity,
    /// Until when, in seconds since the Unix epoch.
    pub until: u64,
}

/// The document as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    session: Option<String>,
    subject: Option<String>,
    key: Option<String>,
    policy: Option<String>,
    until: Option<Value>,
    #[serde(rename = "for")]
    life: Option<String>,
}

/// Reads a revocation; `policies` are the names of those there are, `now` is in seconds since the Unix epoch.
///
/// # Errors
/// When it is no such document, or names nothing, two things, an unknown policy, or an end that is past or more than 90
/// days away.
pub fn revocation(body: &[u8], policies: &[String], now: u64) -> Result<Revocation, Refusal> {
    let written = read(body)?;
    let until = end(&written, now)?;
    Ok(Revocation { identity: identity(written, policies)?, until })
}

/// Reads whose revocation is to be taken back.
///
/// # Errors
/// As [`revocation`], and where the document gives an end.
pub fn restoration(body: &[u8], policies: &[String]) -> Result<Identity, Refusal> {
    let written = read(body)?;
    if written.until.is_some() || written.life.is_some() {
        return Err(mistake(
            "for, until: have no meaning here: what is restored is admitted at once; remove them",
        ));
    }
    identity(written, policies)
}

fn read(body: &[u8]) -> Result<Written, Refusal> {
    serde_json::from_slice(body).map_err(|error| {
        mistake(format!(
            "the body cannot be read: {error}; send JSON with one of \"session\", \"subject\" and \"key\", such as \
             {{\"session\": \"ID\", \"for\": \"2h\"}}"
        ))
    })
}

fn identity(written: Written, policies: &[String]) -> Result<Identity, Refusal> {
    let values = [written.session, written.subject, written.key];
    let mut named = Kind::ALL.into_iter().zip(values).filter_map(|(kind, value)| Some((kind, value?)));
    let (kind, value) = named
        .next()
        .ok_or_else(|| mistake("nothing is named: give one of \"session\", \"subject\" and \"key\""))?;
    if let Some((other, _)) = named.next() {
        let (kind, other) = (kind.as_str(), other.as_str());
        return Err(mistake(format!("{kind}, {other}: only one may be named; send a request for each")));
    }
    let word = kind.as_str();
    if value.is_empty() || value.len() > VALUE_BYTES_MAX {
        return Err(mistake(format!("{word}: has {} bytes; write 1 to {VALUE_BYTES_MAX}", value.len())));
    }
    if let Some(policy) = written.policy.as_ref().filter(|policy| !policies.contains(policy)) {
        let known = if policies.is_empty() { "there is none".to_owned() } else { policies.join(", ") };
        let policy = policy.escape_debug();
        return Err(mistake(format!(
            "policy: there is no token policy \"{policy}\"; those there are: {known}"
        )));
    }
    Ok(Identity { kind, value: value.into(), policy: written.policy.map(Into::into) })
}

fn end(written: &Written, now: u64) -> Result<u64, Refusal> {
    let latest = now.saturating_add(LIFE_SECONDS_MAX);
    match (&written.until, &written.life) {
        (Some(_), Some(_)) => Err(mistake("for, until: only one may be given")),
        (None, None) => Ok(now.saturating_add(LIFE_SECONDS_DEFAULT)),
        (Some(until), None) => match until.as_u64() {
            Some(until) if (now + 1..=latest).contains(&until) => Ok(until),
            _ => Err(mistake(format!(
                "until: {until} is no end; write seconds since the Unix epoch from {} to {latest}",
                now + 1
            ))),
        },
        (None, Some(life)) => {
            let read = units::duration(life).map_err(|error| mistake(format!("for: {error}")))?;
            let seconds = read.as_secs();
            if (1..=LIFE_SECONDS_MAX).contains(&seconds) {
                return Ok(now.saturating_add(seconds));
            }
            Err(mistake(format!("for: \"{life}\" is out of range; write a duration from 1s to 90d")))
        }
    }
}

fn mistake(reason: impl Into<String>) -> Refusal {
    Refusal { word: "order", reason: reason.into() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;

    const NOW: u64 = 1_700_000_000;

    fn read(body: &str) -> Result<Revocation, String> {
        revocation(body.as_bytes(), &["viewer".to_owned()], NOW).map_err(|refusal| refusal.reason)
    }

    #[test]
    fn an_order_names_one_identity_and_an_end() {
        for (body, kind, value, policy, until) in [
            (r#"{"session":"s"}"#, Kind::Session, "s", None, NOW + 86_400),
            (r#"{"subject":"u","for":"2h"}"#, Kind::Subject, "u", None, NOW + 7_200),
            (
                r#"{"key":"k1","policy":"viewer","for":"90d"}"#,
                Kind::Key,
                "k1",
                Some("viewer"),
                NOW + 90 * 86_400,
            ),
            (r#"{"session":"s","until":1700000001}"#, Kind::Session, "s", None, NOW + 1),
        ] {
            let order = read(body).unwrap();
            let expected = Identity { kind, value: value.into(), policy: policy.map(Into::into) };
            assert_eq!((order.identity, order.until), (expected, until), "{body}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_the_field_and_the_remedy() {
        let long = format!(r#"{{"session":"{}"}}"#, "s".repeat(VALUE_BYTES_MAX + 1));
        for (body, told) in [
            ("", "the body cannot be read"),
            ("[]", "the body cannot be read"),
            ("{}", "nothing is named: give one of"),
            (r#"{"sesion":"s"}"#, "unknown field `sesion`"),
            (r#"{"session":1}"#, "the body cannot be read"),
            (r#"{"session":"s","key":"k"}"#, "session, key: only one may be named"),
            (r#"{"session":""}"#, "session: has 0 bytes"),
            (&long, "session: has 1025 bytes"),
            (
                r#"{"session":"s","policy":"nobody"}"#,
                "policy: there is no token policy \"nobody\"; those there are: viewer",
            ),
            (r#"{"session":"s","for":"1h","until":1}"#, "for, until: only one"),
            (r#"{"session":"s","until":1700000000}"#, "until: 1700000000 is no end"),
            (r#"{"session":"s","until":1707776001}"#, "until: 1707776001 is no end"),
            (r#"{"session":"s","until":"tomorrow"}"#, "until: \"tomorrow\" is no end"),
            (r#"{"session":"s","until":-1}"#, "until: -1 is no end"),
            (r#"{"session":"s","for":"91d"}"#, "for: \"91d\" is out of range"),
            (r#"{"session":"s","for":"10ms"}"#, "for: \"10ms\" is out of range"),
            (r#"{"session":"s","for":"2 hours"}"#, "for: "),
        ] {
            let reason = read(body).unwrap_err();
            assert!(reason.contains(told), "{body}: {reason}");
        }
        let restored = |body: &str| restoration(body.as_bytes(), &[]);
        assert!(restored(r#"{"session":"s"}"#).is_ok());
        assert!(restored(r#"{"session":"s","for":"1h"}"#).unwrap_err().reason.contains("no meaning here"));
    }
}
