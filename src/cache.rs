//! HTTP caching: whether an answer may be kept, for how long, what a request may be answered with, and how what is
//! stored is brought up to date. Pure and synchronous.
//!
//! `docs/rfc9111.md` goes through the documents section by section.

// What the origin says.
mod age;
mod date;
pub mod directives;
pub mod tags;
// What is made of it.
pub mod changed;
pub mod freshness;
mod header;
mod policy;
pub mod source;
mod storing;
pub mod tier;
// What becomes of it later.
pub mod request;
pub mod validation;

pub use changed::Changed;
pub use freshness::{Fetched, Kept, Said, StreamTold, Verdict, is_blocking, judge};
pub use header::{CONTENT_DIGESTS, REPRESENTATION_DIGESTS, hide_from_viewers, tell_expires};
pub use policy::{Held, Policy, Times};
pub use request::{RequestDirectives, Standing, standing};
pub use storing::Refusal;
