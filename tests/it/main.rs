//! Integration tests of the real binary, one module per family of promises. The guide is tests/README.md.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub, reason = "tests")]

// What the tests stand on.
#[path = "../support"]
mod support {
    pub mod catalogue;
    pub mod certificate;
    pub mod client;
    pub mod content;
    pub mod dns;
    pub mod edge;
    pub mod entitled;
    pub mod metrics;
    pub mod mmdb;
    pub mod node;
    pub mod origin;
    pub mod redis;
    pub mod s3;
    pub mod seed;
    pub mod signing;
    pub mod wait;
}

// The support's own promises.
mod scripted_origin;

// The way of a request.
mod bindings;
mod brownout;
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
mod newest;
mod normalise;
mod members;
mod object_storage;
mod origin_faults;
mod origin_reach;
mod owners;
mod parked;
mod prefetch;
mod protection;
mod proxy_protocol;
mod purge;
mod purge_forward;
mod purge_store;
mod ranges;
mod reload;
mod resume;
mod revocation;
mod rfc9111;
mod rules;
mod share;
mod slices;
mod steering;
mod streams;
mod tiers;
mod tokens;
mod vary;
mod vod;
mod zero_copy;

// The process and what it tells.
mod access_log;
mod compose_nodes;
mod config_errors;
mod explain;
mod fleet;
mod fleet_purge;
mod health;
mod memory;
mod metrics;
mod shield;
mod shutdown;
