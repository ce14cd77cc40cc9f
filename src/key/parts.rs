//! What of a request, beside its target, is in its key: header fields, cookies, claims and conditions of rules.
//!
//! Writes them as text that says one thing only, and makes the fields by which the origin is told the same. What is in
//! neither cannot change an answer that others get. The text is ` @` and parts joined by `&`:
//!
//! - `u.PLACE`: the rule that keys by user.
//! - `r.HASH`: a rule's condition on header fields that holds.
//! - `p.HASH`: the bounds that a claim gives to the variants of playlists.
//! - `h.NAME=VALUE`, `c.NAME=VALUE`, `cl.NAME=VALUE`: a header field, a cookie, a claim; without `=` it is not there.
//!
//! In a VALUE everything but unreserved characters is percent-encoded; several lines or cookies of one name are joined
//! by `,` in their order. Cookies and `Authorization` are secrets, and keys stand in logs: their VALUE is a digest that
//! means nothing outside this process.

use std::fmt::Write as _;
use std::sync::LazyLock;

use http::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest, Sha256};

use super::target::is_unreserved;
use crate::admission::token::Claims;
use crate::config::model::KeyParts;

/// What stands before the parts of a key.
pub(super) const PARTS_MARK: &str = " @";

/// What stands before those of a key by user.
pub(super) const USER_MARK: &str = " @u.";

/// What stands before the bounds that a claim gives.
pub(super) const BOUNDS_MARK: &str = "p.";

/// Lines of one header field, and cookies of one name, that a key takes at most.
pub const LINES_MAX: usize = 16;

/// Bytes of a digest in a key.
const DIGEST_BYTES: usize = 16;

/// Hashed with every secret, so that a digest can be looked up in no table. A process without random bytes has none.
static SALT: LazyLock<[u8; 32]> = LazyLock::new(|| {
    let mut salt = [0; 32];
    // Without randomness digests are still different for different values.
    let _ = getrandom::fill(&mut salt);
    salt
});

/// Where parts come from.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The request's header fields.
    pub headers: &'a HeaderMap,
    /// What its token says.
    pub claims: &'a Claims,
    /// Bytes of a value at most (`limits.key_value`).
    pub value_bytes_max: usize,
}

/// Why a request has no key: it may be answered, but by nothing that others get, and others by nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unkeyable;

/// Appends the parts of a key. `user_rule` is the place of the rule, where it keys by user.
///
/// # Errors
/// [`Unkeyable`]: a value is longer than may be, there are too many of one name, or the token lacks a claim.
pub fn append(
    text: &mut String,
    chosen: Option<&KeyParts>,
    user_rule: Option<usize>,
    conditions: impl Iterator<Item = u64>,
    source: &Source<'_>,
) -> Result<(), Unkeyable> {
    let mut writer = Writer { text, mark: PARTS_MARK };
    if let Some(place) = user_rule {
        writer.begin();
        // Writing to a string cannot fail.
        let _ = write!(writer.text, "u.{place}");
    }
    for hash in conditions {
        writer.begin();
        let _ = write!(writer.text, "r.{hash:016x}");
    }
    let Some(chosen) = chosen else { return Ok(()) };
    for name in &chosen.headers {
        let lines = source.headers.get_all(name).iter().map(HeaderValue::as_bytes);
        writer.part("h.", name.as_str(), lines, source.value_bytes_max, *name == AUTHORIZATION)?;
    }
    for name in &chosen.cookies {
        writer.part("c.", name, cookies(source.headers, name), source.value_bytes_max, true)?;
    }
    for claim in &chosen.claims {
        let value = source.claims.get(&claim.name).ok_or(Unkeyable)?;
        // What cannot be told to the origin cannot be answered for.
        HeaderValue::from_str(value).map_err(|_| Unkeyable)?;
        writer.part("cl.", &claim.name, std::iter::once(value.as_bytes()), source.value_bytes_max, false)?;
    }
    Ok(())
}

/// Appends what stands for the bounds that a claim gives to the variants of playlists, behind all other parts.
pub fn append_bounds(text: &mut String, hash: u64) {
    text.push_str(if text.contains(PARTS_MARK) { "&" } else { PARTS_MARK });
    // Writing to a string cannot fail.
    let _ = write!(text, "{BOUNDS_MARK}{hash:016x}");
}

/// The fields by which the origin is told what the key was made of.
pub fn forwarded(chosen: &KeyParts, source: &Source<'_>) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for name in &chosen.headers {
        for value in source.headers.get_all(name) {
            fields.append(name.clone(), value.clone());
        }
    }
    let mut cookie = Vec::new();
    for name in &chosen.cookies {
        for value in cookies(source.headers, name) {
            cookie.extend_from_slice(if cookie.is_empty() { b"" } else { b"; " });
            cookie.extend_from_slice(name.as_bytes());
            cookie.push(b'=');
            cookie.extend_from_slice(value);
        }
    }
    set(&mut fields, COOKIE, &cookie);
    for claim in &chosen.claims {
        set(&mut fields, claim.field.clone(), source.claims.get(&claim.name).unwrap_or_default().as_bytes());
    }
    fields
}

fn set(fields: &mut HeaderMap, name: HeaderName, value: &[u8]) {
    let value = HeaderValue::from_bytes(value).ok().filter(|value| !value.is_empty());
    if let Some(value) = value {
        fields.insert(name, value);
    }
}

/// The values of the cookies of this name (RFC 6265 section 5.4), white space around names and values left out.
fn cookies<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    let fields = headers.get_all(COOKIE).into_iter().map(HeaderValue::as_bytes);
    let pairs = fields.flat_map(|field| field.split(|byte| *byte == b';'));
    pairs.filter_map(move |pair| {
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        let (found, value) = (pair.get(..equals)?, pair.get(equals + 1..)?);
        (found.trim_ascii() == name.as_bytes()).then_some(value.trim_ascii())
    })
}

/// Writes parts, each after a mark that joins it to what stands before.
struct Writer<'t> {
    text: &'t mut String,
    mark: &'static str,
}

impl Writer<'_> {
    fn begin(&mut self) {
        self.text.push_str(self.mark);
        self.mark = "&";
    }

    fn part<'v>(
        &mut self,
        kind: &str,
        name: &str,
        values: impl Iterator<Item = &'v [u8]>,
        bytes_max: usize,
        secret: bool,
    ) -> Result<(), Unkeyable> {
        self.begin();
        self.text.push_str(kind);
        encode(self.text, name.as_bytes());
        let from = self.text.len();
        let mut bytes = 0;
        for (place, value) in values.enumerate() {
            bytes += value.len();
            if bytes > bytes_max || place >= LINES_MAX {
                return Err(Unkeyable);
            }
            self.text.push(if place == 0 { '=' } else { ',' });
            encode(self.text, value);
        }
        if secret && from < self.text.len() {
            let digest =
                Sha256::new().chain_update(*SALT).chain_update(self.text.get(from..).unwrap_or_default());
            let digest = digest.finalize();
            self.text.truncate(from);
            self.text.push('=');
            for byte in digest.iter().take(DIGEST_BYTES) {
                let _ = write!(self.text, "{byte:02x}");
            }
        }
        Ok(())
    }
}

fn encode(text: &mut String, value: &[u8]) {
    for byte in value {
        if is_unreserved(*byte) {
            text.push(char::from(*byte));
        } else {
            text.push_str(percent_encoding::percent_encode_byte(*byte));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use proptest::prelude::*;

    use super::*;
    use crate::config::model::Claim;

    fn chosen(headers: &[&'static str], cookies: &[&str], claims: &[&str]) -> KeyParts {
        KeyParts {
            query: None,
            headers: headers.iter().map(|name| HeaderName::from_static(name)).collect(),
            cookies: cookies.iter().map(|name| (*name).to_owned()).collect(),
            claims: claims
                .iter()
                .map(|name| Claim {
                    name: (*name).to_owned(),
                    field: format!("forebay-claim-{name}").parse().unwrap(),
                })
                .collect(),
        }
    }

    fn fields(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    fn parts(chosen: &KeyParts, headers: &HeaderMap, claims: &Claims) -> Result<String, Unkeyable> {
        let mut text = String::new();
        let source = Source { headers, claims, value_bytes_max: 32 };
        append(&mut text, Some(chosen), None, std::iter::empty(), &source).map(|()| text)
    }

    #[test]
    fn values_say_one_thing_only() {
        let chosen = chosen(&["accept-language", "x-a"], &[], &["id"]);
        let claims = Claims::new([("id", "42 &c".to_owned())]);
        for (lines, expected) in [
            (vec![("accept-language", "de")], " @h.accept-language=de&h.x-a&cl.id=42%20%26c"),
            (vec![("x-a", "")], " @h.accept-language&h.x-a=&cl.id=42%20%26c"),
            (vec![("x-a", "1"), ("x-a", "2,3")], " @h.accept-language&h.x-a=1,2%2C3&cl.id=42%20%26c"),
            (
                vec![("accept-language", "de&h.x-a=1 #0 ~"), ("x-a", "%20")],
                " @h.accept-language=de%26h.x-a%3D1%20%230%20~&h.x-a=%2520&cl.id=42%20%26c",
            ),
        ] {
            assert_eq!(parts(&chosen, &fields(&lines), &claims).unwrap(), expected);
        }
    }

    #[test]
    fn a_missing_claim_and_a_value_that_is_too_long_give_no_key() {
        let long = "a".repeat(33);
        let by_field = chosen(&["x-a"], &["c"], &[]);
        assert!(parts(&by_field, &fields(&[("x-a", &long[1..])]), &Claims::default()).is_ok());
        for lines in [vec![("x-a", &*long)], vec![("cookie", &*format!("c={long}"))], vec![("x-a", "1"); 17]]
        {
            assert_eq!(parts(&by_field, &fields(&lines), &Claims::default()), Err(Unkeyable));
        }
        let by_claim = chosen(&[], &[], &["id"]);
        assert_eq!(parts(&by_claim, &HeaderMap::new(), &Claims::default()), Err(Unkeyable));
        let control = Claims::new([("id", "a\r\nb".to_owned())]);
        assert_eq!(parts(&by_claim, &HeaderMap::new(), &control), Err(Unkeyable));
    }

    #[test]
    fn secrets_are_told_apart_and_never_shown() {
        let by_user = chosen(&["authorization"], &["sid"], &[]);
        let text =
            |lines: &[(&'static str, &str)]| parts(&by_user, &fields(lines), &Claims::default()).unwrap();
        let ann = text(&[("authorization", "Bearer ann"), ("cookie", "a=1; sid=secret")]);
        assert!(!ann.contains("ann") && !ann.contains("secret"), "{ann}");
        assert_eq!(ann, text(&[("cookie", "sid = secret ;b"), ("authorization", "Bearer ann")]));
        for other in [
            text(&[("authorization", "Bearer bob"), ("cookie", "a=1; sid=secret")]),
            text(&[("authorization", "Bearer ann"), ("cookie", "a=1; sid=other")]),
            text(&[("authorization", "Bearer ann")]),
            text(&[("authorization", ""), ("cookie", "sid=")]),
            text(&[]),
        ] {
            assert_ne!(ann, other);
        }
        assert_eq!(text(&[]), " @h.authorization&c.sid");
    }

    #[test]
    fn the_origin_is_told_what_the_key_was_made_of_and_nothing_else() {
        let chosen = chosen(&["x-a"], &["tier", "sid"], &["id"]);
        let headers = fields(&[
            ("x-a", "1"),
            ("x-a", "2"),
            ("x-b", "3"),
            ("cookie", "other=1; tier=gold"),
            ("cookie", "sid=9"),
            ("forebay-claim-id", "made up"),
        ]);
        let claims = Claims::new([("id", "42".to_owned())]);
        let told = forwarded(&chosen, &Source { headers: &headers, claims: &claims, value_bytes_max: 32 });
        let told: Vec<(&str, &str)> =
            told.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(
            told,
            [("x-a", "1"), ("x-a", "2"), ("cookie", "tier=gold; sid=9"), ("forebay-claim-id", "42")]
        );
    }

    proptest! {
        #[test]
        fn two_requests_have_one_text_only_if_their_fields_are_the_same(
            a in prop::collection::vec("[a&=,% #~.h]{0,4}", 0..3),
            b in prop::collection::vec("[a&=,% #~.h]{0,4}", 0..3),
            c in prop::collection::vec("[a&=,% #~.h]{0,4}", 0..3),
            d in prop::collection::vec("[a&=,% #~.h]{0,4}", 0..3),
        ) {
            let chosen = chosen(&["x-a", "x-b"], &[], &[]);
            let text = |first: &[String], second: &[String]| {
                let lines: Vec<(&'static str, &str)> = first
                    .iter()
                    .map(|value| ("x-a", value.as_str()))
                    .chain(second.iter().map(|value| ("x-b", value.as_str())))
                    .collect();
                parts(&chosen, &fields(&lines), &Claims::default()).unwrap()
            };
            let (one, other) = (text(&a, &b), text(&c, &d));
            prop_assert_eq!(one == other, (&a, &b) == (&c, &d));
            prop_assert!(!one.trim_start_matches(" @").contains(' '));
        }
    }
}
