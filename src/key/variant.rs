//! Answers that vary: by which fields of a request one of them is chosen, and the key that each has (RFC 9111
//! section 4.1).
//!
//! The place of a key whose answers vary holds a marker, which names those fields; each answer stands under a key of its
//! own, made from the key, the marker's epoch and a digest of the fields' normal values. Only normal values are sent to
//! an origin, so that what it sees is what the key holds. Pure.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt::Write as _;

use http::header::{ACCEPT_ENCODING, ACCEPT_LANGUAGE, COOKIE, ORIGIN, VARY};
use http::{HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest, Sha256};

use super::{Key, hash_of};
use crate::asset::Kind;
use crate::fields::may_vary;

/// Names that answers under one key may vary by, at most; an answer that names more is not kept.
pub const VARY_NAMES_MAX: usize = 16;

/// What stands between the text of a key and what tells its variants apart.
const VARIANT_MARK: &str = " ~";

/// Fields that are lists: white space around their commas and empty members say nothing (RFC 9110 section 5.6.1).
const LISTS: [&str; 6] =
    ["accept", "accept-charset", "accept-language", "accept-ch", "prefer", "access-control-request-headers"];

/// Codings told apart in `Accept-Encoding`, in the order in which an origin is told of them.
const CODINGS: [&str; 3] = ["br", "gzip", "zstd"];

/// Whether the node encodes answers of this kind itself: their origin is asked for them as they are.
pub const fn is_encoded_here(kind: Kind) -> bool {
    kind.is_playlist() || matches!(kind, Kind::Manifest | Kind::Api)
}

/// What is settled before an answer's `Vary` is read: names that are no choice for answers of one key.
#[derive(Clone, Copy, Debug)]
pub struct Settled<'a> {
    /// What the answer is.
    pub kind: Kind,
    /// Whether the site answers for cross-origin sharing itself.
    pub cors: bool,
    /// Fields that the key names: sent to the origin, and equal for all requests of the key.
    pub keyed: &'a [HeaderName],
}

impl Settled<'_> {
    /// Whether answers under one key may differ by this field.
    pub fn leaves_open(&self, name: &HeaderName) -> bool {
        let by_sharing =
            self.cors && (*name == ORIGIN || name.as_str().starts_with("access-control-request-"));
        let by_coding = *name == ACCEPT_ENCODING && is_encoded_here(self.kind);
        !(by_sharing || by_coding || self.keyed.contains(name) || !may_vary(name.as_str()))
    }

    /// The fields that an answer names in `Vary` and that may differ between requests of one key, sorted, each once.
    /// None: it varies by what no request tells (`*`), or by more than [`VARY_NAMES_MAX`].
    pub fn open_names(&self, answer: &HeaderMap) -> Option<Vec<HeaderName>> {
        let mut open = Vec::new();
        let lines = answer.get_all(VARY).iter();
        for word in lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')) {
            let word = word.trim_ascii();
            if word.is_empty() {
                continue;
            }
            // `*` is a name by its form.
            let name = HeaderName::from_bytes(word).ok().filter(|name| name.as_str() != "*")?;
            if self.leaves_open(&name) {
                open.push(name);
            }
        }
        open.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        open.dedup();
        (open.len() <= VARY_NAMES_MAX).then_some(open)
    }
}

/// The normal value of a field of a request: lines joined, white space that says nothing left out, codings and language
/// tags in one form. None: it is absent, or says what its absence says.
pub fn normal_value<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<Cow<'a, [u8]>> {
    let mut lines = headers.get_all(name).iter().map(|line| line.as_bytes().trim_ascii());
    let first = lines.next()?;
    if *name == ACCEPT_ENCODING {
        return codings(std::iter::once(first).chain(lines));
    }
    let mut value = Cow::Borrowed(first);
    let between: &[u8] = if *name == COOKIE { b"; " } else { b", " };
    for line in lines {
        value.to_mut().extend_from_slice(between);
        value.to_mut().extend_from_slice(line);
    }
    if LISTS.contains(&name.as_str()) {
        value = Cow::Owned(members(&value).collect::<Vec<_>>().join(&b", "[..]));
    }
    if *name == ACCEPT_LANGUAGE {
        // Language tags and `q` have no case (RFC 9110 sections 8.5.1 and 12.4.2).
        value.to_mut().make_ascii_lowercase();
    }
    Some(value)
}

/// The normal values of these fields of a request, as they are sent to the origin.
pub fn normal_fields(headers: &HeaderMap, names: &[HeaderName]) -> HeaderMap {
    let value = |name: &HeaderName| HeaderValue::from_bytes(&normal_value(headers, name)?).ok();
    names.iter().filter_map(|name| Some((name.clone(), value(name)?))).collect()
}

/// A digest of what these fields of a request say: equal for two requests only if every field has the same normal value
/// in both, or is absent from both. It tells nobody the values, and nobody can make two that are equal.
pub fn variance(epoch: u64, names: &[HeaderName], headers: &HeaderMap) -> u128 {
    let mut digest = Sha256::new();
    digest.update(epoch.to_le_bytes());
    let mut put = |bytes: &[u8]| {
        digest.update((bytes.len() as u64).to_le_bytes());
        digest.update(bytes);
    };
    for name in names {
        if let Some(value) = normal_value(headers, name) {
            put(name.as_str().as_bytes());
            put(&value);
        }
    }
    let digest: [u8; 32] = digest.finalize().into();
    let mut half = [0; 16];
    half.copy_from_slice(&digest[..16]);
    u128::from_le_bytes(half)
}

/// Calls `with` with the key of a variant of the key of this text: its hash and its text.
pub fn with_variant_key<T>(text: &str, epoch: u64, variance: u128, with: impl FnOnce(u128, &str) -> T) -> T {
    thread_local! {
        static BUFFER: RefCell<String> = const { RefCell::new(String::new()) };
    }
    BUFFER.with_borrow_mut(|buffer| {
        buffer.clear();
        // Writing to a string cannot fail.
        let _ = write!(buffer, "{text}{VARIANT_MARK}{epoch:016x}-{variance:032x}");
        with(hash_of(buffer), buffer)
    })
}

/// The key of a variant of the key of this text: `TEXT ~EPOCH-VARIANCE`. No request has such a key, for a space is never
/// part of its target.
pub fn variant_key(text: &str, epoch: u64, variance: u128) -> Key {
    with_variant_key(text, epoch, variance, |hash, text| Key { hash, text: text.into() })
}

/// The text of the key that a variant, or a slice of one, belongs to; None: this is no variant's key.
pub fn primary_text(text: &str) -> Option<&str> {
    text.split_once(VARIANT_MARK).map(|(primary, _)| primary)
}

/// Members of a list; a comma inside quotes belongs to its member.
fn members(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    let at_comma = move |byte: &u8| {
        let literal = std::mem::take(&mut escaped);
        match byte {
            b'\\' if quoted && !literal => escaped = true,
            b'"' if !literal => quoted = !quoted,
            _ => {}
        }
        *byte == b',' && !quoted
    };
    list.split(at_comma).map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

/// Which of [`CODINGS`] a request takes, in that order; None: none of them, as if it said nothing, for the origin is
/// asked for `identity` then.
fn codings<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Option<Cow<'static, [u8]>> {
    let mut taken = [None; CODINGS.len()];
    let mut any = false;
    for member in lines.flat_map(members) {
        let mut parts = member.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let coding = parts.next().unwrap_or_default().to_ascii_lowercase();
        let wanted = !parts.any(is_zero_weight);
        let coding = if coding == b"x-gzip" { &b"gzip"[..] } else { &coding };
        if coding == b"*" {
            any = wanted;
        } else if let Some(place) = CODINGS.iter().position(|known| known.as_bytes() == coding) {
            taken[place] = Some(wanted);
        }
    }
    let taken: Vec<&str> = CODINGS
        .into_iter()
        .zip(taken)
        .filter(|(_, taken)| taken.unwrap_or(any))
        .map(|(name, _)| name)
        .collect();
    (!taken.is_empty()).then(|| Cow::Owned(taken.join(", ").into_bytes()))
}

/// Whether a parameter is a weight of nought (RFC 9110 section 12.4.2).
fn is_zero_weight(parameter: &[u8]) -> bool {
    let Some((b'q' | b'Q', rest)) = parameter.split_first() else { return false };
    let Some(weight) = rest.trim_ascii_start().strip_prefix(b"=") else { return false };
    let weight = weight.trim_ascii();
    weight.starts_with(b"0") && weight.iter().all(|byte| matches!(byte, b'0' | b'.'))
}

#[cfg(test)]
mod tests;
