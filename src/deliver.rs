//! Answers viewers: from an object, growing or complete, whole or in part; and refusals.
//!
//! One path delivers hits, joined fetches and ranges. In which coding, and what of it, is decided by pure functions
//! ([`encoding`], [`plan`]); [`encode`] makes encoded copies, [`carry`] puts viewers' tokens into playlists,
//! [`delta`] makes delta updates of them, and [`send`] alone touches the connection.

pub mod carry;
pub mod cmsd;
pub mod delta;
pub mod encode;
pub mod encoding;
pub mod fields;
pub mod multipart;
pub mod plan;
pub mod range;
pub mod refuse;
pub mod send;
