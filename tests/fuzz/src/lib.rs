//! Fuzz targets: one for the parser of each format of tokens, and one for each other thing that is read from outside.
//!
//! A target says what it does with an input, and which inputs to begin with. What must never happen panics: a token that
//! was not signed is admitted, verification takes too long, two ways of reading say different things. `make fuzz` runs
//! the targets under libFuzzer; `tests/fuzz.rs` runs their seeds, and simple mutations of them, as an ordinary test.

use std::time::Duration;

pub mod hello;
pub mod json;
pub mod links;
pub mod macs;
pub mod proxy;
pub mod request;
pub mod cat;
pub mod session;
pub mod texts;
pub mod tokens;

/// The CPU time of the thread that asks.
pub type Clock = fn() -> Duration;

/// Something to be fuzzed.
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// Sets it up.
    pub make: fn(Clock) -> Fuzzed,
}

type Run = dyn Fn(&[u8]);

/// A target that has been set up.
pub struct Fuzzed {
    /// Takes an input; panics where something happens that must not.
    pub run: Box<Run>,
    /// Inputs to begin with.
    pub seeds: Vec<Vec<u8>>,
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target { name: "edgeauth", make: macs::edgeauth },
    Target { name: "fastly", make: macs::fastly },
    Target { name: "cloudflare", make: macs::cloudflare },
    Target { name: "media_cdn", make: macs::media_cdn },
    Target { name: "cloudfront", make: links::cloudfront },
    Target { name: "secure_link", make: links::secure_link },
    Target { name: "url_sig", make: links::url_sig },
    Target { name: "bunny", make: links::bunny },
    Target { name: "jwt", make: json::jwt },
    Target { name: "cdni", make: json::cdni },
    Target { name: "cat", make: cat::cat },
    Target { name: "session", make: session::session },
    Target { name: "playlist", make: texts::playlist },
    Target { name: "manifest", make: texts::manifest },
    Target { name: "hello", make: hello::hello },
    Target { name: "proxy_protocol", make: proxy::proxy_protocol },
];
