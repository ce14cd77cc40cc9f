//! Addresses of the demo's streams at the node, each with a token of its own.
//!
//! Decides which stream has which path and how long a token lasts. Called by the page for its player and by the
//! simulated viewers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Clock;

/// How long a token lasts; every page load and every new viewer gets a new one.
const TOKEN_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// A stream that the page offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// The live stream.
    #[default]
    Live,
    /// The Low-Latency stream.
    LowLatency,
    /// The loop once.
    Vod,
}

impl Stream {
    /// Its directory at the origin.
    pub const fn directory(self) -> &'static str {
        match self {
            Stream::Live => "/live",
            Stream::LowLatency => "/ll",
            Stream::Vod => "/vod",
        }
    }
}

/// Makes signed addresses.
pub struct Links {
    sign: Box<Sign>,
    clock: Clock,
}

/// From a viewer's name and a time of expiry (seconds since the epoch) to the leading path segment, such as
/// `/hdnts=exp=...`; empty where no token is needed.
pub type Sign = dyn Fn(&str, u64) -> String + Send + Sync;

impl Links {
    /// Links whose tokens this function makes.
    pub fn new(clock: Clock, sign: Box<Sign>) -> Links {
        Links { sign, clock }
    }

    /// The token of a viewer as leading path segment, to stand before any path.
    pub fn token(&self, viewer: &str) -> String {
        (self.sign)(viewer, self.clock.unix_seconds() + TOKEN_LIFE.as_secs())
    }

    /// The path of a stream's multivariant playlist for a viewer.
    pub fn playlist(&self, viewer: &str, stream: Stream) -> String {
        format!("{}{}/index.m3u8", self.token(viewer), stream.directory())
    }
}
