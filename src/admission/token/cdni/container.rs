//! URI containers (RFC 9246 section 2.1.15): which URIs a token opens, by hash or by regular expression.
//!
//! The URI that is compared is the request's: scheme, host in lower case, port unless it is the scheme's own, path in
//! normal form, query with encodings in normal form (RFC 3986 sections 6.2.2 and 6.2.3), the token taken out.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use sha2::{Digest, Sha256};

use super::posix;
use crate::admission::token::jws;
use crate::admission::token::jwt::Pattern;
use crate::admission::token::locate::hex_byte;
use crate::admission::token::terms::Check;
use crate::admission::token::{Presented, acl};
use crate::reason::Reason;

/// What a URI is compared with.
#[derive(Debug)]
pub(super) enum Container {
    /// SHA-256 of the URI (RFC 6920 section 5).
    Hash([u8; 32]),
    /// A POSIX extended regular expression of the whole URI.
    Regex(Pattern),
}

impl Container {
    /// Reads a claim. None: it has another form, or another hash.
    pub(super) fn new(claim: &str) -> Option<Container> {
        if let Some(hash) = claim.strip_prefix("hash:") {
            let digest = jws::decode(hash.strip_prefix("sha-256;")?)?;
            return digest.try_into().ok().map(Container::Hash);
        }
        let pattern = posix::translated(claim.strip_prefix("regex:")?)?;
        Pattern::new(&pattern).map(Container::Regex)
    }
}

impl Check for Container {
    fn check(&self, request: &Presented<'_>) -> Result<(), Reason> {
        let climbs = acl::climbs(&Cow::from(percent_decode_str(request.normal)));
        let uri = uri(request);
        let opens = match self {
            Container::Hash(digest) => Sha256::digest(&uri).as_slice() == digest.as_slice(),
            Container::Regex(pattern) => pattern.matches(&uri),
        };
        if opens && !climbs { Ok(()) } else { Err(Reason::Path) }
    }
}

/// `cdniuc` of one URI, which has to be in normal form.
pub fn hash_of(uri: &str) -> String {
    format!("hash:sha-256;{}", jws::encode(Sha256::digest(uri)))
}

/// The URI of a request, without its token, in normal form.
pub(super) fn uri(request: &Presented<'_>) -> String {
    let (scheme, port) = if request.secure { ("https", ":443") } else { ("http", ":80") };
    let host =
        request.host.strip_suffix(port).or_else(|| request.host.strip_suffix(':')).unwrap_or(request.host);
    let bytes = "https://".len() + host.len() + request.normal.len() + request.query.map_or(0, str::len) + 1;
    let mut uri = String::with_capacity(bytes);
    uri.push_str(scheme);
    uri.push_str("://");
    uri.extend(host.chars().map(|letter| letter.to_ascii_lowercase()));
    uri.push_str(request.normal);
    for (place, parameter) in request.parameters().enumerate() {
        uri.push(if place == 0 { '?' } else { '&' });
        respell(&mut uri, parameter);
    }
    uri
}

/// Appends a part of a query: encoded unreserved characters as themselves, other encodings in upper case, and encoded
/// what may not stand there as it is (RFC 3986 section 6.2.2).
fn respell(uri: &mut String, text: &str) {
    let mut rest = text.as_bytes();
    while let [byte, tail @ ..] = rest {
        let encoded = match rest {
            [b'%', high, low, after @ ..] => hex_byte(*high, *low).map(|byte| (byte, after)),
            _ => None,
        };
        match encoded {
            Some((byte, after)) => {
                push(uri, byte, is_unreserved(byte));
                rest = after;
            }
            None => {
                push(uri, *byte, byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(byte));
                rest = tail;
            }
        }
    }
}

fn push(uri: &mut String, byte: u8, stays: bool) {
    if stays {
        uri.push(char::from(byte));
    } else {
        uri.push_str(percent_encoding::percent_encode_byte(byte));
    }
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}
