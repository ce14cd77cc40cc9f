//! The envelope: COSE_Mac0 and COSE_Sign1 (RFC 9052 sections 4.2 and 6.2) in a CWT tag or none (RFC 8392 section 6).
//!
//! What stands outside the signature has one spelling: no padding bits, no white space, lengths in their shortest form,
//! and of unprotected headers only `kid`. A header in both maps is refused (RFC 9052 section 3).

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::cbor::{self, Lengths, Map, Value};
use crate::config::formats::cat::Algorithm;
use crate::reason::Reason;

const TAG_CWT: u64 = 61;
const TAG_MAC0: u64 = 17;
const TAG_SIGN1: u64 = 18;

const ALGORITHM: i128 = 1;
const CONTENT_TYPE: i128 = 3;
const KID: i128 = 4;
/// RFC 9596.
const TYPE: i128 = 16;

/// Base64url, padded or not; the bits behind the last byte are zero.
const TEXT: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(false),
);

/// A token, taken apart but not authenticated.
#[derive(Debug)]
pub(super) struct Envelope {
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<Vec<u8>>,
    pub(super) payload: Vec<u8>,
    /// Tag or signature.
    pub(super) proof: Vec<u8>,
    protected: Vec<u8>,
}

impl Envelope {
    /// Takes a token's text apart.
    pub(super) fn parse(text: &str) -> Result<Envelope, Reason> {
        let bytes = TEXT.decode(text).map_err(|_| Reason::Malformed)?;
        let value = cbor::decode(&bytes, Lengths::Shortest).ok_or(Reason::Malformed)?;
        Envelope::of(value).ok_or(Reason::Malformed)
    }

    fn of(value: Value) -> Option<Envelope> {
        let tagged = match value {
            Value::Tag(TAG_CWT, inner) => *inner,
            other => other,
        };
        let Value::Tag(tag @ (TAG_MAC0 | TAG_SIGN1), array) = tagged else { return None };
        let Value::Array(parts) = *array else { return None };
        let Ok(
            [Value::Bytes(protected), Value::Map(unprotected), Value::Bytes(payload), Value::Bytes(proof)],
        ) = <[Value; 4]>::try_from(parts)
        else {
            return None;
        };
        let Value::Map(headers) = cbor::decode(&protected, Lengths::Any)? else { return None };
        let (algorithm, kid) = protected_headers(&headers)?;
        let is_mac = matches!(algorithm, Algorithm::Hs256 | Algorithm::Hs256Cut);
        if is_mac != (tag == TAG_MAC0) {
            return None;
        }
        let kid = match unprotected.as_slice() {
            [] => kid,
            [(Value::Int(KID), Value::Bytes(outside))] if kid.is_none() => Some(outside.clone()),
            _ => return None,
        };
        Some(Envelope { algorithm, kid, payload, proof, protected })
    }

    /// The bytes that tag or signature cover (RFC 9052 sections 4.4 and 6.3).
    pub(super) fn signed(&self) -> Vec<u8> {
        signed(self.algorithm, &self.protected, &self.payload)
    }
}

fn protected_headers(headers: &Map) -> Option<(Algorithm, Option<Vec<u8>>)> {
    let mut found = (None, None);
    for (key, value) in headers {
        match (key, value) {
            (Value::Int(ALGORITHM), Value::Int(number)) => {
                found.0 = Algorithm::ALL.into_iter().find(|algorithm| algorithm.number() == *number);
            }
            (Value::Int(KID), Value::Bytes(kid)) => found.1 = Some(kid.clone()),
            (Value::Int(CONTENT_TYPE | TYPE), Value::Int(_) | Value::Text(_)) => {}
            _ => return None,
        }
    }
    Some((found.0?, found.1))
}

fn signed(algorithm: Algorithm, protected: &[u8], payload: &[u8]) -> Vec<u8> {
    let context = match algorithm {
        Algorithm::Hs256 | Algorithm::Hs256Cut => "MAC0",
        Algorithm::Es256 | Algorithm::Ps256 => "Signature1",
    };
    cbor::encode(&Value::Array(vec![
        Value::text(context),
        Value::Bytes(protected.to_vec()),
        Value::Bytes(Vec::new()),
        Value::Bytes(payload.to_vec()),
    ]))
}

/// The text of a token with this payload; `prove` makes tag or signature. The `kid` is unprotected.
pub(super) fn seal(
    algorithm: Algorithm,
    kid: &[u8],
    payload: &[u8],
    prove: impl FnOnce(&[u8]) -> Option<Vec<u8>>,
) -> Option<String> {
    let headers = vec![(Value::Int(ALGORITHM), Value::Int(algorithm.number()))];
    let protected = cbor::encode(&Value::Map(headers));
    let proof = prove(&signed(algorithm, &protected, payload))?;
    let outside =
        if kid.is_empty() { Map::new() } else { vec![(Value::Int(KID), Value::Bytes(kid.to_vec()))] };
    let array = Value::Array(vec![
        Value::Bytes(protected),
        Value::Map(outside),
        Value::Bytes(payload.to_vec()),
        Value::Bytes(proof),
    ]);
    let tag = match algorithm {
        Algorithm::Hs256 | Algorithm::Hs256Cut => TAG_MAC0,
        Algorithm::Es256 | Algorithm::Ps256 => TAG_SIGN1,
    };
    Some(TEXT.encode(cbor::encode(&Value::Tag(TAG_CWT, Box::new(Value::Tag(tag, Box::new(array)))))))
}
