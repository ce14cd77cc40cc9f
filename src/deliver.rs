//! Answers viewers: from an object, growing or complete, whole or in part; and refusals.
//!
//! One path delivers hits, joined fetches and ranges. In which coding, and what of it, is decided by pure functions
//! ([`encoding`], [`plan`]); [`encode`] makes encoded copies, [`carry`] puts viewers' tokens into playlists, and [`send`]
//! alone touches the connection.

pub mod carry;
pub mod encode;
pub mod encoding;
pub mod fields;
pub mod multipart;
pub mod plan;
pub mod range;
pub mod refuse;
pub mod send;
