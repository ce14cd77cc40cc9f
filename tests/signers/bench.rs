//! Policies from the text of a configuration, and what is asserted of a token with them.

use std::fs;
use std::path::Path;

use forebay::admission::token::{Policy, Presented, Reason};
use http::{HeaderMap, HeaderValue};
use tempfile::TempDir;

/// The time of every request; tokens of a test are good from an hour before to an hour after.
pub(crate) const NOW: u64 = 1_900_000_000;

/// What tokens of a test end at.
pub(crate) const END: u64 = NOW + 3600;

/// What tokens of a test begin at, where they have a beginning.
pub(crate) const START: u64 = NOW - 3600;

/// The address of the client of [`get`].
pub(crate) const CLIENT: &str = "192.0.2.10";

/// Bytes of a policy's memory of tokens.
const VERDICT_BYTES: u64 = 1 << 20;

/// A policy from the lines of its table; `files` are the key files that it names, in its folder.
pub(crate) fn policy(table: &str, files: &[(&str, &str)]) -> Policy {
    let folder = TempDir::new().expect("a folder");
    for (name, text) in files {
        fs::write(folder.path().join(name), text).expect("a key file");
    }
    let text = format!(
        "[server]\nhttp = [\"127.0.0.1:0\"]\n[origin.main]\nservers = [\"http://127.0.0.1:1\"]\n\
         [[site]]\nhosts = [\"*\"]\norigin = \"main\"\ntoken = \"viewer\"\n[token.viewer]\n{table}\n"
    );
    let path: &Path = folder.path();
    let config = forebay::config::parse(&text, &path.join("forebay.toml"));
    let config = config.unwrap_or_else(|mistakes| panic!("{mistakes}\n{text}"));
    Policy::from_config(config.tokens.first().expect("one policy"), VERDICT_BYTES)
}

/// A request over TLS by [`CLIENT`], for a path in normal form.
pub(crate) fn get(path: &str) -> Presented<'_> {
    let client = CLIENT.parse().expect("an address");
    Presented { secure: true, host: "live.example.com", client, ..Presented::get(path, NOW) }
}

/// Why a request with this query is refused.
#[track_caller]
pub(crate) fn refused(policy: &Policy, query: &str, request: &Presented<'_>) -> Reason {
    let admitted = policy.admit(&Presented { query: Some(query), ..*request });
    admitted.expect_err("the token is for another request").reason
}

/// Asserts that a request with this query is admitted, and with any one bit of the query flipped is not.
#[track_caller]
pub(crate) fn only_as_it_is(policy: &Policy, query: &str, request: &Presented<'_>) {
    let admitted = |query: &str| policy.admit(&Presented { query: Some(query), ..*request });
    if let Err(denied) = admitted(query) {
        panic!("refused as {}: {query}", denied.reason.as_str());
    }
    // A query that is no UTF-8 never gets as far as this.
    let texts = flips(query).filter_map(|bytes| String::from_utf8(bytes).ok());
    let taken: Vec<String> = texts.filter(|altered| admitted(altered).is_ok()).collect();
    let first = taken.first();
    assert!(taken.is_empty(), "admitted as well as {query}: {first:?}, one of {}", taken.len());
}

/// The same, of a `Cookie` field.
#[track_caller]
pub(crate) fn only_as_it_is_in_cookies(policy: &Policy, cookies: &str, request: &Presented<'_>) {
    let admitted = |value: HeaderValue| {
        let headers = HeaderMap::from_iter([(http::header::COOKIE, value)]);
        policy.admit(&Presented { headers: &headers, ..*request })
    };
    if let Err(denied) = admitted(HeaderValue::from_str(cookies).expect("a field")) {
        panic!("refused as {}: {cookies}", denied.reason.as_str());
    }
    let values = flips(cookies).filter_map(|bytes| HeaderValue::from_bytes(&bytes).ok());
    let taken: Vec<HeaderValue> = values.filter(|altered| admitted(altered.clone()).is_ok()).collect();
    let first = taken.first();
    assert!(taken.is_empty(), "admitted as well as {cookies}: {first:?}, one of {}", taken.len());
}

/// A text with each of its bits flipped, one at a time.
fn flips(text: &str) -> impl Iterator<Item = Vec<u8>> {
    (0..text.len() * 8).map(|bit| {
        let mut bytes = text.as_bytes().to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes
    })
}
