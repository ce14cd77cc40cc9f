//! forebay: an edge CDN cache node for HLS. This is the map; ARCHITECTURE.md is the guide.
//!
//! The modules stand in the order a request meets them. One direction: a station imports what stands below it (types,
//! configuration, clock), never a later station; `proxy` alone knows the order.

// What everything speaks in.
pub mod asset;
pub mod clock;
pub mod config;
pub mod outcome;

// The way of a request.
pub mod admission;
pub mod origin;

// What it tells, and to whom.
pub mod admin;
pub mod observe;

// Around it.
pub mod cli;
pub mod demo;
