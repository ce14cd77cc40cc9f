//! Integration tests of the real binary, one module per family of promises. The guide is tests/README.md.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub, reason = "tests")]

// What the tests stand on.
#[path = "../support"]
mod support {
    pub mod catalogue;
    pub mod certificate;
    pub mod client;
    pub mod content;
    pub mod edge;
    pub mod entitled;
    pub mod metrics;
    pub mod mmdb;
    pub mod node;
    pub mod origin;
    pub mod redis;
    pub mod seed;
    pub mod signing;
    pub mod wait;
}

// The support's own promises.
mod scripted_origin;

// The way of a request.
mod bindings;
mod cache;
mod cache_tool;
mod carry;
mod cmsd;
mod coalesce;
mod crawl;
mod descriptors;
mod disk;
mod disk_damage;
mod disk_faults;
mod edge_made;
mod encoding;
mod encryption_keys;
mod flow;
mod guard;
mod hostile;
mod http;
mod jwks;
mod keys;
mod limits;
mod names;
mod normalise;
mod origin_faults;
mod parked;
mod prefetch;
mod purge;
mod purge_store;
mod ranges;
mod reload;
mod revocation;
mod rfc9111;
mod rules;
mod slices;
mod steering;
mod streams;
mod tokens;
mod vary;
mod vod;
mod zero_copy;

// The process and what it tells.
mod access_log;
mod config_errors;
mod explain;
mod fleet;
mod memory;
mod metrics;
mod shutdown;
