//! Common Access Tokens: the body is the payload, in CBOR, of a COSE_Mac0 that is put together here.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use forebay::admission::token::cat;
use forebay::config::formats::TokenFormat;
use forebay::config::formats::cat::{Cat, Dialect};
use ring::hmac;

use super::macs::{config, strange};
use super::request::{Asked, input};
use super::tokens::{Bench, SECRET, shown, target};
use super::{Clock, Fuzzed};

/// The protected headers: HS256.
const PROTECTED: [u8; 4] = [0x43, 0xA1, 0x01, 0x05];

/// A policy for each dialect.
pub fn cat(clock: Clock) -> Fuzzed {
    let dialects = [Dialect::Cta, Dialect::NodeCat, Dialect::RustCat, Dialect::Akamai];
    let benches = dialects.map(|dialect| {
        let options = Cat { dialect, audiences: vec!["edge".to_owned()], ..Cat::default() };
        let config = config(TokenFormat::Cat(options));
        Bench::new(&config, strange(), |token| shown(cat::inspect(token)), sign)
    });
    let everything = "ab 01 6469737375 03 81 6465646765 04 1a713fb582 05 01 06 01 07 4101 190135 81 00 \
         190137 82 d83482 1818 43c00002 d836 5000000000000000000000000000000001 \
         190138 a3 00 a1 00 6568747470 73 03 a3 01 662f6c697665 2f 02 632e7473 03 6161 \
         190139 82 63474554 6448454144";
    let few = [
        "a3 03 6465646765 04 1a713fb582 190138 a1 03 a1 01 662f6c6976652f",
        "a2 03 6465646765 04 1a713fb582",
    ];
    let renewed = "a3 03 6465646765 04 1a713fb582 190143 a4 00 01 01 183c 02 1864 03 63636174";
    let composite = "a3 03 6465646765 04 1a713fb582 1829 82 a1 190139 81 63474554 a1 190139 81 63505554";
    let answering = "a4 03 6465646765 04 1a713fb582 190139 81 63474554 190142 a1 190139 82 190133 a1 684c6f636174696f6e 612f";
    let bodies = few.into_iter().chain([renewed, composite, answering, everything]);
    let bytes = bodies.map(|text| hex::decode(text.replace(' ', "")).unwrap_or_default());
    // A seed that a policy refuses for what it says is one all the same.
    let signed =
        bytes.flat_map(|body| [0, 1, 2, 3].map(|policy| input(1, policy, 0, "/live/a.ts", "v=1", &body)));
    target(benches.into(), signed.collect(), clock)
}

fn sign(asked: &Asked) -> Option<String> {
    let mut signed = vec![0x84, 0x64, b'M', b'A', b'C', b'0'];
    signed.extend_from_slice(&PROTECTED);
    signed.push(0x40);
    signed.extend_from_slice(&bytes(&asked.body));
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), &signed);
    let mut token = vec![0xD8, 0x3D, 0xD1, 0x84];
    token.extend_from_slice(&PROTECTED);
    token.extend_from_slice(&[0xA1, 0x04, 0x41, b'0']);
    token.extend_from_slice(&bytes(&asked.body));
    token.extend_from_slice(&bytes(mac.as_ref()));
    Some(URL_SAFE_NO_PAD.encode(token))
}

/// A byte string in CBOR, its length in the shortest form.
fn bytes(content: &[u8]) -> Vec<u8> {
    let mut item = match u16::try_from(content.len()) {
        Ok(length @ 0..24) => vec![0x40 | length as u8],
        Ok(length @ 24..256) => vec![0x58, length as u8],
        Ok(length) => vec![0x59, (length >> 8) as u8, length as u8],
        Err(_) => Vec::new(),
    };
    item.extend_from_slice(content);
    item
}
