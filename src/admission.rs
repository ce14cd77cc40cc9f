//! Admission: may this request go on? Form, client address, cross-origin sharing and token, each in a file of its own.
//!
//! Everything here is synchronous: time, peer and configuration come in as arguments, and no refusal is turned into a
//! response here. What was revoked, used once or is being streamed is held in tables; the rest holds nothing. `proxy`
//! calls the parts in order and answers for all of them in one place.

// In the order a request meets them.
pub mod client;
pub mod cors;
pub mod geo;
pub mod ja4;
pub mod rate;
pub mod request;
pub mod token;
pub mod revocation;
pub mod replay;
pub mod streams;
