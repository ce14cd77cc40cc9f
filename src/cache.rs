//! HTTP caching: whether an answer may be kept, and for how long. Pure and synchronous.

pub mod freshness;
mod policy;

pub use freshness::{Fetched, Refusal, Verdict, judge};
pub use policy::{Policy, Times};
