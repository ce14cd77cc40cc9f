//! What a run came to: the rows of its seconds, and its summary. Both are written as JSON by the published schema
//! (`loadtest/schema/run.json`).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The most that the tester's timers may be late, as a share of their time (99th percentile), in a run whose figures are the
/// server's alone.
pub(crate) const LATE_P99_MAX: f64 = 0.02;

/// What happened in one second of a run. Counts are of that second alone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Row {
    /// Seconds from the start of the run to the end of this one.
    pub(crate) second: u32,
    /// Viewers who were there at its end.
    pub(crate) viewers: u32,
    /// Of these, those whose picture stood still, and those who had none yet.
    pub(crate) stalled: u32,
    pub(crate) starting: u32,
    pub(crate) arrived: u32,
    pub(crate) left: u32,
    pub(crate) gave_up: u32,
    /// Stalls that began.
    pub(crate) stalls: u32,
    pub(crate) requests: u64,
    pub(crate) hits: u64,
    pub(crate) errors: u64,
    pub(crate) mismatches: u64,
    pub(crate) bytes: u64,
    pub(crate) hit_bytes: u64,
    /// Time to the first byte of segments and parts, in milliseconds.
    pub(crate) ttfb_ms: Quantiles,
    /// From the request to the last byte of segments and parts, in milliseconds.
    pub(crate) whole_ms: Quantiles,
    /// From arrival (or a zap) to the picture, of those that started in this second, in milliseconds.
    pub(crate) startup_ms: Quantiles,
    /// How far pictures were behind the live edge, in milliseconds.
    pub(crate) behind_live_ms: Quantiles,
    /// Mean bitrate played, in bits per second.
    pub(crate) bitrate: f64,
    /// Requests and bytes that the origin was asked for.
    pub(crate) origin_requests: u64,
    pub(crate) origin_bytes: u64,
    pub(crate) server: Option<Usage>,
    pub(crate) origin: Option<Usage>,
    pub(crate) tester: Option<Usage>,
    /// How well the tester itself kept time.
    pub(crate) pacing: Pacing,
}

/// Quantiles of a distribution; all zero when `count` is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Quantiles {
    pub(crate) count: u64,
    pub(crate) mean: f64,
    pub(crate) p50: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

/// What a process tree took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Usage {
    /// CPU, in seconds (user and system): of a row, per second of the time between its reading and the one before; of a summary,
    /// in all.
    pub(crate) cpu_seconds: f64,
    /// Resident memory in bytes: of a row at its end, of a summary the most.
    pub(crate) resident_bytes: u64,
}

/// What a run came to, from the end of its warm-up on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Summary {
    /// Seconds that it counts.
    pub(crate) seconds: f64,
    pub(crate) viewers: Viewers,
    pub(crate) requests: Requests,
    /// Time to the first byte of segments and parts, however the cache answered, in milliseconds.
    #[serde(default)]
    pub(crate) ttfb_ms: Quantiles,
    /// By kind of what was asked for, and what the cache said, where there were any.
    pub(crate) kinds: Vec<KindOf>,
    pub(crate) origin: Option<OriginSide>,
    pub(crate) server: Option<Usage>,
    /// Resident memory of the server before the first viewer, in bytes.
    pub(crate) server_idle_bytes: Option<u64>,
    pub(crate) tester: Usage,
    pub(crate) pacing: Pacing,
    pub(crate) targets: Vec<Verdict>,
    /// Time to the last byte of segments and parts, in milliseconds.
    pub(crate) whole_ms: Quantiles,
}

/// What viewers saw.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Viewers {
    pub(crate) arrived: u64,
    /// The most at a time, and the mean, at the ends of seconds.
    pub(crate) most: u64,
    pub(crate) mean: f64,
    pub(crate) started: u64,
    pub(crate) gave_up: u64,
    pub(crate) startup_ms: Quantiles,
    pub(crate) zap_ms: Quantiles,
    pub(crate) stalls: u64,
    /// Viewers who had at least one.
    pub(crate) stalled: u64,
    pub(crate) stalled_seconds: f64,
    pub(crate) played_seconds: f64,
    /// Time stalled by time stalled or played.
    pub(crate) stall_ratio: f64,
    pub(crate) behind_live_ms: Quantiles,
    /// Mean bitrate played, in bits per second.
    pub(crate) bitrate: f64,
    pub(crate) switches: u64,
    /// Segments that came too slowly and were given up for those of a lower rendition.
    #[serde(default)]
    pub(crate) abandoned: u64,
}

/// What was asked for and came. Exchanges that viewers gave up (for a lower rendition, a seek, another title, or in leaving) are in
/// the counts, connections and bytes as far as they had come, and are no errors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Requests {
    pub(crate) count: u64,
    pub(crate) per_second: f64,
    pub(crate) bytes: u64,
    pub(crate) gbit_per_second: f64,
    pub(crate) wasted_bytes: u64,
    /// Share of the requests, and of the bytes, that the cache answered without the origin.
    pub(crate) hit_ratio: f64,
    pub(crate) hit_ratio_bytes: f64,
    /// Failed exchanges, and answers of 4xx and 5xx; by kind (`connect`, `short`, ..., `status-503`).
    pub(crate) errors: u64,
    pub(crate) error_ratio: f64,
    pub(crate) errors_by: BTreeMap<String, u64>,
    /// Whole bodies with a wrong byte.
    pub(crate) mismatches: u64,
    pub(crate) bad_playlists: u64,
    pub(crate) connections: u64,
    /// Some of the errors and wrong bodies: the word, the path, and who met it.
    pub(crate) examples: Vec<String>,
}

/// Requests of one kind that were answered in one way. Times are from when a request was due. What was given up has a time to its
/// first byte if that had come, and none to its last; with no answer by then, its cache word is `unknown`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct KindOf {
    pub(crate) kind: String,
    pub(crate) cache: String,
    pub(crate) requests: u64,
    pub(crate) bytes: u64,
    pub(crate) ttfb_ms: Quantiles,
    pub(crate) whole_ms: Quantiles,
}

/// What the origin saw.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct OriginSide {
    pub(crate) requests: u64,
    pub(crate) bytes: u64,
    pub(crate) connections: u64,
    /// Requests for each object that was asked for at all: 1 is perfect. By kind; of the whole run, with its warm-up.
    pub(crate) per_object: BTreeMap<String, PerObject>,
    /// How many requests met each fault of the scenario, in its order.
    #[serde(default)]
    pub(crate) faults: Vec<u64>,
    pub(crate) usage: Usage,
}

/// How often the origin was asked for objects of one kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct PerObject {
    pub(crate) objects: u64,
    pub(crate) requests: u64,
    pub(crate) mean: f64,
    pub(crate) most: u64,
    pub(crate) most_for: String,
}

/// How well the tester itself kept time: requests that a timer was to send, sent so much later, as a share of the timer's time.
/// A timer of less than half a second counts as one of half a second: a player acts about so often, and timers go by milliseconds.
/// Beyond 0.02 at the 99th percentile the tester was late itself, and what viewers met is not the server's alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Pacing {
    pub(crate) timers: u64,
    pub(crate) mean: f64,
    pub(crate) p99: f64,
}

/// A target and what was measured. Where there was nothing to measure it is neither met nor missed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Verdict {
    /// `stall_ratio`, `startup_p95_seconds`, `error_ratio`, `mismatches`.
    pub(crate) target: String,
    pub(crate) measured: f64,
    pub(crate) at_most: f64,
    pub(crate) met: bool,
    /// There was nothing to measure it by, and `measured` means nothing.
    #[serde(default)]
    pub(crate) unmeasured: bool,
}

// === impl Pacing ===

impl Pacing {
    /// Whether the tester was late itself: the one rule of a run, a report, a comparison and a search. The percentile counts, not
    /// the mean: what viewers met is told in percentiles too, and a few late timers are enough to make those.
    pub(crate) fn is_late(&self) -> bool {
        self.p99 > LATE_P99_MAX
    }
}

// === impl Verdict ===

impl Verdict {
    /// Measured, and more than it is to be.
    pub(crate) fn is_missed(&self) -> bool {
        !self.met && !self.unmeasured
    }
}
