//! What a node says of itself and its request to a node of the next tier, as a field: read and written.
//!
//! `v1;k=KEY;t=SECONDS;r=ROLE;n=NODE;d=NODES;w=WATERMARK;h=MILLISECONDS;c.NAME=VALUE;s=SIGNATURE`, in this order. `k` and `s` are
//! left out where there is no key; `w`, `h` and claims where there is nothing to say. Names and values of claims have
//! everything but unreserved characters percent-encoded (RFC 3986 section 2.3). What this version does not know is refused:
//! a node that says more says it as another version.

use std::fmt::Write as _;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::signature::Refusal;
use crate::admission::token::Claims;
use crate::watermark::Watermark;

/// The version that is written, and the only one that is read.
const VERSION: &str = "v1";

/// Bytes of a whole field; a longer one is refused.
pub const FIELD_BYTES_MAX: usize = 8192;

/// Claims that a node tells another one; further ones stay behind.
pub const CLAIMS_MAX: usize = 16;

/// Bytes of them as they are written, names included; a claim that would make them more stays behind.
pub const CLAIM_BYTES_MAX: usize = 4096;

/// Bytes of a node's name and of a key's; longer ones are refused.
const NAME_BYTES_MAX: usize = 64;

/// Everything but unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What a node is to the one that it asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// A node of the tier before: it has let the viewer in.
    Edge,
    /// A node of the same tier.
    Peer,
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 2] = [Role::Edge, Role::Peer];

    /// The word in the field and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Edge => "edge",
            Role::Peer => "peer",
        }
    }
}

/// What is known of the node that a request comes from, and of what it has said: all of it verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// What it is to this node.
    pub role: Role,
    /// Its name.
    pub name: Box<str>,
    /// Nodes that the request has passed, this one included: they are at the end of its `CDN-Loop`.
    pub nodes: u32,
    /// How much of what the fleet was told it had applied when it asked.
    pub watermark: Option<Watermark>,
    /// How long it waits at most, where it asks for what is not there yet.
    pub hold: Option<Duration>,
    /// What the viewer's token says, as far as keys are made of it.
    pub claims: Claims,
}

/// A field that has been read; nothing of it is verified.
#[derive(Debug)]
pub(super) struct Read<'a> {
    /// The key's name and the signature, in hexadecimal, and the text that is signed.
    pub(super) signed: Option<(&'a str, &'a str, &'a str)>,
    /// When it was written, in seconds since the Unix epoch.
    pub(super) time: u64,
    pub(super) hop: Hop,
}

impl Hop {
    /// The text of a field, without its signature.
    pub(super) fn text(&self, key: Option<&str>, time: u64) -> String {
        let mut text = VERSION.to_owned();
        // Writing to a string cannot fail.
        if let Some(key) = key {
            let _ = write!(text, ";k={key}");
        }
        let _ = write!(text, ";t={time};r={};n={};d={}", self.role.as_str(), self.name, self.nodes);
        if let Some(watermark) = self.watermark {
            let _ = write!(text, ";w={watermark}");
        }
        if let Some(hold) = self.hold {
            let _ = write!(text, ";h={}", hold.as_millis());
        }
        let from = text.len();
        for claim in self.claims.iter().take(CLAIMS_MAX).map(claim) {
            if text.len() - from + claim.len() <= CLAIM_BYTES_MAX {
                text.push_str(&claim);
            }
        }
        text
    }

    /// Whether a field has room for all of these claims.
    pub fn has_room_for(claims: &Claims) -> bool {
        let (mut count, mut bytes) = (0, 0);
        for claim in claims.iter().take(CLAIMS_MAX + 1).map(claim) {
            count += 1;
            bytes += claim.len();
        }
        count <= CLAIMS_MAX && bytes <= CLAIM_BYTES_MAX
    }
}

impl<'a> Read<'a> {
    /// Reads a field.
    pub(super) fn of(field: &'a [u8]) -> Result<Read<'a>, Refusal> {
        let text = std::str::from_utf8(field).ok().filter(|text| text.len() <= FIELD_BYTES_MAX);
        let text = text.ok_or(Refusal::Malformed)?;
        let (said, signature) = match text.rsplit_once(";s=") {
            Some((said, signature)) => (said, Some(signature)),
            None => (text, None),
        };
        let mut parts = Parts(said.split(';').peekable());
        if parts.0.next() != Some(VERSION) {
            return Err(Refusal::Version);
        }
        let key = parts.take("k=").map(name).transpose()?;
        let time = parts.take("t=").and_then(number).ok_or(Refusal::Malformed)?;
        let role = parts.take("r=").and_then(|word| Role::ALL.into_iter().find(|role| role.as_str() == word));
        let role = role.ok_or(Refusal::Malformed)?;
        let node = parts.take("n=").ok_or(Refusal::Malformed).and_then(name)?;
        let nodes = parts.take("d=").and_then(number).and_then(|nodes| u32::try_from(nodes).ok());
        let nodes = nodes.ok_or(Refusal::Malformed)?;
        let watermark = parts.take("w=").map(str::parse).transpose().map_err(|_| Refusal::Malformed)?;
        let hold = parts.take("h=").map(|digits| number(digits).ok_or(Refusal::Malformed)).transpose()?;
        let mut claims = Vec::new();
        while let Some(claim) = parts.take("c.") {
            let (name, value) = claim.split_once('=').ok_or(Refusal::Malformed)?;
            let decoded = |text| percent_decode_str(text).decode_utf8().map_err(|_| Refusal::Malformed);
            claims.push((decoded(name)?.into_owned(), decoded(value)?.into_owned()));
            if claims.len() > CLAIMS_MAX {
                return Err(Refusal::Malformed);
            }
        }
        if parts.0.next().is_some() {
            return Err(Refusal::Malformed);
        }
        let signed = match (key, signature) {
            (Some(key), Some(signature)) => Some((key, signature, said)),
            (None, None) => None,
            _ => return Err(Refusal::Malformed),
        };
        let hold = hold.map(Duration::from_millis);
        let hop = Hop { role, name: node.into(), nodes, watermark, hold, claims: Claims::new(claims) };
        Ok(Read { signed, time, hop })
    }
}

/// The parts of a field, one after the other.
struct Parts<'a>(std::iter::Peekable<std::str::Split<'a, char>>);

impl<'a> Parts<'a> {
    /// Takes the next one, if it begins so.
    fn take(&mut self, begin: &str) -> Option<&'a str> {
        let taken = self.0.peek()?.strip_prefix(begin)?;
        self.0.next();
        Some(taken)
    }
}

/// A claim as it is written.
fn claim((name, value): (&str, &str)) -> String {
    format!(";c.{}={}", utf8_percent_encode(name, RESERVED), utf8_percent_encode(value, RESERVED))
}

fn name(text: &str) -> Result<&str, Refusal> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    let is_name = (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(fits);
    if is_name { Ok(text) } else { Err(Refusal::Malformed) }
}

fn number(digits: &str) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| is_number)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use proptest::prelude::*;

    fn hop() -> Hop {
        Hop {
            role: Role::Edge,
            name: "edge-1".into(),
            nodes: 2,
            watermark: Some("17-3".parse().unwrap()),
            hold: Some(Duration::from_millis(12_000)),
            claims: Claims::new([("id", "a;s=b &\u{e9}".to_owned()), ("x.y", String::new())]),
        }
    }

    #[test]
    fn a_field_is_read_as_it_was_written() {
        let text = hop().text(Some("n1"), 1_900_000_000);
        assert_eq!(
            text,
            "v1;k=n1;t=1900000000;r=edge;n=edge-1;d=2;w=17-3;h=12000;c.id=a%3Bs%3Db%20%26%C3%A9;c.x.y="
        );
        let field = format!("{text};s=ab");
        let read = Read::of(field.as_bytes()).unwrap();
        assert_eq!(read.signed, Some(("n1", "ab", text.as_str())));
        assert_eq!((read.time, read.hop), (1_900_000_000, hop()));
        let bare = Hop { watermark: None, hold: None, claims: Claims::NONE, role: Role::Peer, ..hop() };
        let text = bare.text(None, 5);
        assert_eq!(text, "v1;t=5;r=peer;n=edge-1;d=2");
        let read = Read::of(text.as_bytes()).unwrap();
        assert_eq!((read.signed, read.hop), (None, bare));
    }

    #[test]
    fn what_is_not_of_the_form_is_refused() {
        let good = "v1;k=n1;t=5;r=edge;n=e;d=1;s=ab";
        assert!(Read::of(good.as_bytes()).is_ok());
        for (from, to) in [
            ("t=5", "t=+5"),
            ("t=5", "t="),
            ("t=5;", ""),
            ("r=edge", "r=viewer"),
            ("n=e", "n="),
            (";d=1", ""),
            ("d=1", "d=-1"),
            ("n=e", "n=a b"),
            ("d=1", "d=1;x=1"),
            ("d=1", "d=1;h=1.5"),
            ("d=1", "d=1;w=1"),
            ("d=1", "d=1;c.a"),
            ("d=1", "d=1;c.a=%ff"),
            ("k=n1;", ""),
            (";s=ab", ""),
        ] {
            let field = good.replace(from, to);
            assert_eq!(Read::of(field.as_bytes()).err(), Some(Refusal::Malformed), "{field}");
        }
        for version in ["", "v2;k=n1;t=5;r=edge;n=e;s=ab", "k=n1"] {
            assert_eq!(Read::of(version.as_bytes()).err(), Some(Refusal::Version), "{version}");
        }
        assert_eq!(Read::of(&[b'v'; FIELD_BYTES_MAX + 1]).err(), Some(Refusal::Malformed));
    }

    #[test]
    fn claims_beyond_the_bounds_stay_behind() {
        let long = "x".repeat(CLAIM_BYTES_MAX);
        let mut claims = vec![("long".to_owned(), long)];
        claims.extend((0..CLAIMS_MAX + 3).map(|n| (format!("c{n}"), n.to_string())));
        let text = Hop { claims: Claims::new(claims), ..hop() }.text(None, 1);
        let read = Read::of(text.as_bytes()).unwrap();
        assert_eq!(read.hop.claims.iter().count(), CLAIMS_MAX - 1);
        assert_eq!((read.hop.claims.get("long"), read.hop.claims.get("c0")), (None, Some("0")));
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange_for_a_field(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Read::of(&bytes);
            let _ = Read::of(&[&b"v1;k=a;t=1;r=edge;n=b;d=1;"[..], &bytes].concat());
        }

        #[test]
        fn any_claim_comes_through(name in "\\PC{0,20}", value in "\\PC{0,40}") {
            let sent = Hop { claims: Claims::new([(name, value)]), ..hop() };
            let text = sent.text(None, 1);
            prop_assert_eq!(Read::of(text.as_bytes()).unwrap().hop, sent);
        }
    }
}
