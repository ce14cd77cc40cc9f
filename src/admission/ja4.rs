//! JA4, the fingerprint of a TLS client by its ClientHello (<https://github.com/FoxIO-LLC/ja4>, `technical_details/JA4.md`).
//!
//! Decides what the fingerprint of a hello is, from the bytes that a client sends first. Leaves it to `server` to get at
//! those bytes, and to token policies what a fingerprint may do. What is not a ClientHello as RFC 8446 section 4.1.2 has
//! it has no fingerprint, and nothing here says that it is wrong: that is the TLS library's word.
//!
//! A fingerprint tells families of software apart, not persons: all players of one build share it, and whoever wants to
//! can send the hello of another.

use std::fmt;

use sha2::{Digest, Sha256};

/// Bytes that are read of a client before its hello is given up: that of a browser with a post-quantum key share has
/// about 2 KiB.
pub const HELLO_BYTES_MAX: usize = 16 << 10;

/// Bytes of a fingerprint: ten that can be read, and two times twelve of a hash.
const JA4_BYTES: usize = 36;

/// Bytes of a TLS record's header (RFC 8446 section 5.1).
const RECORD_HEADER_BYTES: usize = 5;

/// Bytes of a handshake message's header (RFC 8446 section 4).
const MESSAGE_HEADER_BYTES: usize = 4;

/// The extensions that part a speaks of, and part c therefore leaves out.
const SERVER_NAME: u16 = 0x0000;
const ALPN: u16 = 0x0010;

const SIGNATURE_ALGORITHMS: u16 = 0x000d;
const SUPPORTED_VERSIONS: u16 = 0x002b;

/// A fingerprint, such as `t13d1516h2_8daaf6152771_e5627efa2ab1`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ja4([u8; JA4_BYTES]);

impl Ja4 {
    /// Its text.
    pub fn as_str(&self) -> &str {
        // It is made of ASCII alone.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for Ja4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Ja4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is known of a hello so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It is not whole yet.
    More,
    /// It is whole, and this is its fingerprint.
    Whole(Ja4),
    /// It is none, it is broken, or it is beyond [`HELLO_BYTES_MAX`].
    Unknown,
}

/// A ClientHello while it arrives, over as many records and packets as it may take.
#[derive(Debug, Default)]
pub struct Hello {
    /// Where the next record begins in what the client sent.
    next: usize,
    /// The handshake message, taken out of the records before that place.
    message: Vec<u8>,
}

impl Hello {
    /// What is known by now. `sent` is all that the client has sent, from its first byte on; each call sees more of it.
    pub fn read(&mut self, sent: &[u8]) -> Progress {
        loop {
            match self.record(sent) {
                Ok(false) => return Progress::More,
                Ok(true) => {}
                Err(NotAHello) => return Progress::Unknown,
            }
            match self.message() {
                Ok(None) => {}
                Ok(Some(hello)) => return fingerprint(hello).map_or(Progress::Unknown, Progress::Whole),
                Err(NotAHello) => return Progress::Unknown,
            }
        }
    }

    /// Takes the next record; false: it is not whole. What cannot be one is told by its first bytes, so that nobody waits
    /// for the rest.
    fn record(&mut self, sent: &[u8]) -> Result<bool, NotAHello> {
        let rest = sent.get(self.next..).unwrap_or_default();
        let is_handshake = |kind: &u8| *kind == 22;
        let is_tls = |major: &u8| *major == 3;
        if !rest.first().is_none_or(is_handshake) || !rest.get(1).is_none_or(is_tls) {
            return Err(NotAHello);
        }
        let Some([_, _, _, high, low]) = rest.first_chunk::<RECORD_HEADER_BYTES>() else {
            return Ok(false);
        };
        let bytes = usize::from(u16::from_be_bytes([*high, *low]));
        let end = RECORD_HEADER_BYTES + bytes;
        if bytes == 0 || self.next + end > HELLO_BYTES_MAX {
            return Err(NotAHello);
        }
        let Some(fragment) = rest.get(RECORD_HEADER_BYTES..end) else {
            return Ok(false);
        };
        self.message.extend_from_slice(fragment);
        self.next += end;
        Ok(true)
    }

    /// The body of the hello once it is whole.
    fn message(&self) -> Result<Option<&[u8]>, NotAHello> {
        const CLIENT_HELLO: u8 = 1;
        if self.message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
            return Err(NotAHello);
        }
        let Some([_, length @ ..]) = self.message.first_chunk::<MESSAGE_HEADER_BYTES>() else {
            return Ok(None);
        };
        let end = MESSAGE_HEADER_BYTES + length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        if end > HELLO_BYTES_MAX {
            return Err(NotAHello);
        }
        Ok(self.message.get(MESSAGE_HEADER_BYTES..end))
    }
}

/// The bytes are no ClientHello within the bounds.
struct NotAHello;

// === The fingerprint of a hello ===

/// What counts of a ClientHello.
#[derive(Default)]
struct Counted {
    version: u16,
    has_server_name: bool,
    alpn: Option<[u8; 2]>,
    ciphers: Vec<u16>,
    extensions: Vec<u16>,
    signature_algorithms: Vec<u16>,
}

/// The fingerprint of a ClientHello (RFC 8446 section 4.1.2) without the handshake header. None: it is broken.
fn fingerprint(hello: &[u8]) -> Option<Ja4> {
    let counted = counted(&mut Bytes(hello))?;
    let mut text = Vec::with_capacity(JA4_BYTES);
    text.push(b't');
    text.extend(version(counted.version));
    text.push(if counted.has_server_name { b'd' } else { b'i' });
    text.extend(two_digits(counted.ciphers.len()));
    text.extend(two_digits(counted.extensions.len()));
    text.extend(counted.alpn.unwrap_or(*b"00"));
    text.push(b'_');
    text.extend(hash(&sorted(counted.ciphers), &[]));
    text.push(b'_');
    let mut extensions = counted.extensions;
    extensions.retain(|kind| !matches!(*kind, SERVER_NAME | ALPN));
    text.extend(hash(&sorted(extensions), &counted.signature_algorithms));
    text.try_into().ok().map(Ja4)
}

fn counted(hello: &mut Bytes<'_>) -> Option<Counted> {
    let mut counted = Counted { version: hello.number()?, ..Counted::default() };
    hello.take(32)?; // random
    hello.short_vector()?; // legacy_session_id
    counted.ciphers = numbers(hello.long_vector()?)?;
    hello.short_vector()?; // legacy_compression_methods
    if hello.0.is_empty() {
        // Before TLS 1.2 there need not be extensions (RFC 5246 section 7.4.1.2).
        return Some(counted);
    }
    let mut extensions = Bytes(hello.long_vector()?);
    while !extensions.0.is_empty() {
        let (kind, value) = (extensions.number()?, extensions.long_vector()?);
        if is_grease(kind) {
            continue;
        }
        counted.extensions.push(kind);
        match kind {
            SERVER_NAME => counted.has_server_name = true,
            ALPN => counted.alpn = first_and_last(Bytes(value).long_vector()?),
            SIGNATURE_ALGORITHMS => counted.signature_algorithms = numbers(Bytes(value).long_vector()?)?,
            SUPPORTED_VERSIONS => {
                let versions = numbers(Bytes(value).short_vector()?)?;
                counted.version = versions.into_iter().max().unwrap_or_default();
            }
            _ => {}
        }
    }
    hello.0.is_empty().then_some(counted)
}

/// Two characters of the first protocol of a `ProtocolNameList` (RFC 7301 section 3.1): its first and its last, or those
/// of its hexadecimal form where one of them is neither letter nor digit. None: there is no protocol.
fn first_and_last(protocols: &[u8]) -> Option<[u8; 2]> {
    let protocol = Bytes(protocols).short_vector()?;
    let (first, last) = (*protocol.first()?, *protocol.last()?);
    if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() {
        return Some([first, last]);
    }
    Some([hex_digit(first >> 4), hex_digit(last & 0x0f)])
}

fn hex_digit(value: u8) -> u8 {
    match value {
        0..=9 => b'0' + value,
        _ => b'a' + value - 10,
    }
}

const fn version(version: u16) -> [u8; 2] {
    match version {
        0x0304 => *b"13",
        0x0303 => *b"12",
        0x0302 => *b"11",
        0x0301 => *b"10",
        0x0300 => *b"s3",
        0x0002 => *b"s2",
        _ => *b"00",
    }
}

fn two_digits(count: usize) -> [u8; 2] {
    let count = count.min(99) as u8;
    [b'0' + count / 10, b'0' + count % 10]
}

/// The first twelve hexadecimal digits of the SHA-256 of both lists; zeroes where the first one is empty.
fn hash(list: &[u16], then: &[u16]) -> [u8; 12] {
    let mut digits = [b'0'; 12];
    if list.is_empty() {
        return digits;
    }
    let mut text = listed(list);
    if !then.is_empty() {
        text.push('_');
        text.push_str(&listed(then));
    }
    let digest = Sha256::digest(text);
    for (pair, byte) in digits.chunks_exact_mut(2).zip(digest) {
        pair.copy_from_slice(&[hex_digit(byte >> 4), hex_digit(byte & 0x0f)]);
    }
    digits
}

fn listed(list: &[u16]) -> String {
    let words: Vec<String> = list.iter().map(|number| format!("{number:04x}")).collect();
    words.join(",")
}

fn sorted(mut list: Vec<u16>) -> Vec<u16> {
    list.sort_unstable();
    list
}

/// The numbers of a list without GREASE; None: half a number is left over.
fn numbers(list: &[u8]) -> Option<Vec<u16>> {
    let pairs = list.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    let numbers = pairs.filter_map(|pair| pair.first_chunk::<2>()).map(|pair| u16::from_be_bytes(*pair));
    Some(numbers.filter(|number| !is_grease(*number)).collect())
}

/// Whether a number stands there to be ignored (RFC 8701 section 2).
const fn is_grease(number: u16) -> bool {
    number & 0x0f0f == 0x0a0a && number >> 8 == number & 0xff
}

/// Bytes that are read from the front.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u16> {
        self.take(2)?.first_chunk::<2>().map(|pair| u16::from_be_bytes(*pair))
    }

    /// A vector with one byte of length.
    fn short_vector(&mut self) -> Option<&'a [u8]> {
        let bytes = *self.take(1)?.first()?;
        self.take(usize::from(bytes))
    }

    /// A vector with two bytes of length.
    fn long_vector(&mut self) -> Option<&'a [u8]> {
        let bytes = self.number()?;
        self.take(usize::from(bytes))
    }
}

#[cfg(test)]
mod tests;
