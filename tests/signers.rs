//! Tokens made by signers that others wrote verify, and with any one bit flipped none does.
//!
//! The signers are packages of npm and PyPI, each behind a small script that takes orders; the keys are new, made by
//! OpenSSL. The policies come from the text of a configuration. README.md of the tests lists the packages, and formats
//! whose issuers have none.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "signers/scripts.rs"]
mod scripts;
#[path = "signers/bench.rs"]
mod bench;

#[path = "signers/cat.rs"]
mod cat;
#[path = "signers/cdni.rs"]
mod cdni;
#[path = "signers/cloudfront.rs"]
mod cloudfront;
#[path = "signers/edgeauth.rs"]
mod edgeauth;
#[path = "signers/jwt.rs"]
mod jwt;
