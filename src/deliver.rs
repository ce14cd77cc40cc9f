//! Answers viewers: from an object, growing or complete, whole or in part; and refusals.
//!
//! One path delivers hits, joined fetches and ranges. What to send is decided by pure functions ([`plan`]); [`send`]
//! alone touches the connection.

pub mod fields;
pub mod plan;
pub mod range;
pub mod refuse;
pub mod send;
