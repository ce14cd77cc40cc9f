//! forebay: an edge CDN cache node for HLS. This is the map; ARCHITECTURE.md is the guide.
//!
//! The modules stand in the order a request meets them. One direction: a station imports what stands above it here
//! (types, configuration, clock), never a later station; `proxy` alone knows the order.

// What everything speaks in.
pub mod asset;
pub mod clock;
pub mod config;
pub mod fields;
pub mod lines;
pub mod outcome;
pub mod reason;
pub mod wake;
pub mod watermark;

// The way of a request: may it go on, what is it, what is held of it, who fetches it, and what is sent.
pub mod admission;
pub mod key;
pub mod hls;
pub mod dash;
pub mod playlists;
pub mod carry;
pub mod normal;
pub mod store;
pub mod cache;
pub mod tier;
pub mod origin;
pub mod peers;
pub mod steering;
pub mod site;
pub mod coalesce;
pub mod prefetch;
pub mod deliver;

// What nodes share.
pub mod fleet;

// What it tells.
pub mod observe;

// What operators have removed, and whom they refuse.
pub mod purge;
pub mod revoke;

// What puts the stations in order, and runs them: viewers' listeners and the operator's.
pub mod proxy;
pub mod explain;
pub mod server;
pub mod admin;

// Around it.
pub mod demo;
pub mod cli;
