//! The figures that servers are compared by: one list for the tables and the JSON. Nothing is decided here.

use crate::measure::summary::Summary;
use crate::trial::viewers_mean;

/// A figure of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figure {
    /// As the tables have it, with its unit.
    pub(crate) name: &'static str,
    /// As JSON has it, with its unit.
    pub(crate) key: &'static str,
    pub(crate) digits: usize,
    /// None: it was not, or could not be, measured.
    pub(crate) value: fn(&Summary) -> Option<f64>,
}

/// All of them, in the order of the tables.
pub(crate) const FIGURES: [Figure; 13] = [
    Figure { name: "start-up p95 ms", key: "startup_p95_ms", digits: 0, value: startup },
    Figure { name: "stalled %", key: "stalled_percent", digits: 2, value: stalled },
    Figure { name: "bitrate Mbit/s", key: "bitrate_mbit_per_second", digits: 2, value: bitrate },
    Figure {
        name: "segments given up",
        key: "abandoned",
        digits: 0,
        value: |summary| Some(summary.viewers.abandoned as f64),
    },
    Figure {
        name: "errors",
        key: "errors",
        digits: 0,
        value: |summary| Some(summary.requests.errors as f64),
    },
    Figure {
        name: "wrong bodies",
        key: "mismatches",
        digits: 0,
        value: |s| Some(s.requests.mismatches as f64),
    },
    Figure { name: "hits %", key: "hits_percent", digits: 2, value: hits },
    Figure { name: "origin asks/segment", key: "origin_requests_per_segment", digits: 2, value: per_segment },
    Figure {
        name: "segment TTFB p50 ms",
        key: "segment_ttfb_p50_ms",
        digits: 2,
        value: |s| ttfb(s).map(|q| q.0),
    },
    Figure {
        name: "segment TTFB p99 ms",
        key: "segment_ttfb_p99_ms",
        digits: 2,
        value: |s| ttfb(s).map(|q| q.1),
    },
    Figure {
        name: "CPU s/1,000 viewer-min",
        key: "cpu_seconds_per_1000_viewer_minutes",
        digits: 2,
        value: cpu,
    },
    Figure { name: "CPU s/GB", key: "cpu_seconds_per_gb", digits: 2, value: cpu_by_bytes },
    Figure { name: "memory peak MiB", key: "memory_peak_mib", digits: 0, value: memory },
];

/// A run in a line: every figure that it has.
pub(crate) fn line(summary: &Summary) -> String {
    let text = |figure: &Figure| {
        let digits = figure.digits;
        (figure.value)(summary).map(|value| format!("{} {}", figure.name, shown(value, digits)))
    };
    FIGURES.iter().filter_map(text).collect::<Vec<_>>().join(", ")
}

/// With so many digits behind the point; large values need fewer.
pub(crate) fn shown(value: f64, digits: usize) -> String {
    let digits = match value.abs() {
        100.0.. => 0,
        10.0.. => digits.min(1),
        _ => digits,
    };
    format!("{value:.digits$}")
}

fn startup(summary: &Summary) -> Option<f64> {
    let startup = &summary.viewers.startup_ms;
    (startup.count > 0).then_some(startup.p95)
}

fn stalled(summary: &Summary) -> Option<f64> {
    let watched = summary.viewers.played_seconds + summary.viewers.stalled_seconds;
    (watched > 0.0).then_some(summary.viewers.stall_ratio * 100.0)
}

/// The mean of what was played; a table has the median of the rounds.
fn bitrate(summary: &Summary) -> Option<f64> {
    (summary.viewers.played_seconds > 0.0).then_some(summary.viewers.bitrate / 1e6)
}

fn hits(summary: &Summary) -> Option<f64> {
    (summary.requests.count > 0).then_some(summary.requests.hit_ratio * 100.0)
}

/// Requests for each segment, or part where there are no segments, that the origin was asked for at all.
fn per_segment(summary: &Summary) -> Option<f64> {
    let kinds = &summary.origin.as_ref()?.per_object;
    let asked = kinds.get("segment").or_else(|| kinds.get("part")).filter(|asked| asked.objects > 0)?;
    Some(asked.requests as f64 / asked.objects as f64)
}

/// The median and the 99th percentile of segments and parts, however the cache answered.
fn ttfb(summary: &Summary) -> Option<(f64, f64)> {
    let ttfb = &summary.ttfb_ms;
    (ttfb.count > 0).then_some((ttfb.p50, ttfb.p99))
}

fn cpu(summary: &Summary) -> Option<f64> {
    let watched = viewers_mean(summary) * summary.seconds;
    let cpu = summary.server.as_ref()?.cpu_seconds;
    // 60,000 viewer-seconds are 1,000 viewer-minutes.
    (watched > 0.0).then(|| cpu / watched * 60_000.0)
}

fn cpu_by_bytes(summary: &Summary) -> Option<f64> {
    let cpu = summary.server.as_ref()?.cpu_seconds;
    (summary.requests.bytes > 0).then(|| cpu / (summary.requests.bytes as f64 / 1e9))
}

fn memory(summary: &Summary) -> Option<f64> {
    Some(summary.server.as_ref()?.resident_bytes as f64 / f64::from(1 << 20))
}
