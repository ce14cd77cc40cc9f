//! Which plots a run has, and which several runs have beside each other. [`super::plot`] draws them.

use super::plot::{Frame, Gather, Plot, Series};
use super::unit::Unit;
use crate::measure::summary::{Quantiles, Row, Usage};
use crate::run::Finished;

/// Colours of runs beside each other.
pub(crate) const TONES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// What a row says to one line; none: nothing.
type Read = fn(&Row) -> Option<f64>;

/// What is plotted.
struct Chart {
    id: &'static str,
    title: &'static str,
    unit: Unit,
    lines: &'static [(&'static str, &'static str, Gather, Read)],
    /// Which line stands for a run where several are compared.
    lead: usize,
    /// Whether the first line is an area when it is one run's.
    is_area: bool,
    reach: f64,
    may_be_log: bool,
    /// Whether it is left out when all values are zero.
    only_if_any: bool,
}

const CHART: Chart = Chart {
    id: "",
    title: "",
    unit: Unit::Count,
    lines: &[],
    lead: 0,
    is_area: false,
    reach: 0.0,
    may_be_log: false,
    only_if_any: false,
};

const CHARTS: [Chart; 14] = [
    Chart {
        id: "audience",
        title: "Audience",
        lines: &[
            ("viewers", "a", Gather::Mean, |row| Some(f64::from(row.viewers))),
            ("without a picture yet", "b", Gather::Most, |row| Some(f64::from(row.starting))),
        ],
        is_area: true,
        reach: 4.0,
        ..CHART
    },
    Chart {
        id: "stalls",
        title: "Stalls",
        lines: &[
            ("pictures that stand still", "bad", Gather::Most, |row| Some(f64::from(row.stalled))),
            ("stalls that begin", "b", Gather::Most, |row| Some(f64::from(row.stalls))),
        ],
        is_area: true,
        reach: 4.0,
        ..CHART
    },
    Chart {
        id: "start-up",
        title: "Start-up: from arrival to the picture",
        unit: Unit::Milliseconds,
        lines: &[
            ("p50", "p50", Gather::Most, |row| some(&row.startup_ms, row.startup_ms.p50)),
            ("p95", "p95", Gather::Most, |row| some(&row.startup_ms, row.startup_ms.p95)),
        ],
        lead: 1,
        may_be_log: true,
        ..CHART
    },
    Chart {
        id: "ttfb",
        title: "Time to the first byte of segments and parts",
        unit: Unit::Milliseconds,
        lines: &[
            ("p50", "p50", Gather::Most, |row| some(&row.ttfb_ms, row.ttfb_ms.p50)),
            ("p95", "p95", Gather::Most, |row| some(&row.ttfb_ms, row.ttfb_ms.p95)),
            ("p99", "p99", Gather::Most, |row| some(&row.ttfb_ms, row.ttfb_ms.p99)),
        ],
        lead: 2,
        may_be_log: true,
        ..CHART
    },
    Chart {
        id: "whole",
        title: "Time to the last byte of segments and parts",
        unit: Unit::Milliseconds,
        lines: &[
            ("p50", "p50", Gather::Most, |row| some(&row.whole_ms, row.whole_ms.p50)),
            ("p95", "p95", Gather::Most, |row| some(&row.whole_ms, row.whole_ms.p95)),
            ("p99", "p99", Gather::Most, |row| some(&row.whole_ms, row.whole_ms.p99)),
        ],
        lead: 2,
        may_be_log: true,
        ..CHART
    },
    Chart {
        id: "hit-ratio",
        title: "Answered without the origin",
        unit: Unit::Share,
        lines: &[
            ("of requests", "a", Gather::Mean, |row| ratio(row.hits, row.requests)),
            ("of bytes", "c", Gather::Mean, |row| ratio(row.hit_bytes, row.bytes)),
        ],
        reach: 1.0,
        only_if_any: true,
        ..CHART
    },
    Chart {
        id: "throughput",
        title: "Throughput",
        unit: Unit::BitsPerSecond,
        lines: &[
            ("to viewers", "a", Gather::Mean, |row| Some(row.bytes as f64 * 8.0)),
            ("from the origin", "b", Gather::Mean, |row| Some(row.origin_bytes as f64 * 8.0)),
        ],
        is_area: true,
        reach: 1_000.0,
        ..CHART
    },
    Chart {
        id: "requests",
        title: "Requests of viewers",
        unit: Unit::PerSecond,
        lines: &[("requests", "a", Gather::Mean, |row| Some(row.requests as f64))],
        is_area: true,
        reach: 4.0,
        ..CHART
    },
    Chart {
        id: "origin",
        title: "Requests to the origin",
        unit: Unit::PerSecond,
        lines: &[("requests", "b", Gather::Mean, |row| Some(row.origin_requests as f64))],
        is_area: true,
        reach: 4.0,
        only_if_any: true,
        ..CHART
    },
    Chart {
        id: "errors",
        title: "Errors and wrong bodies",
        unit: Unit::PerSecond,
        lines: &[
            ("errors", "bad", Gather::Most, |row| Some(row.errors as f64)),
            ("wrong bodies", "d", Gather::Most, |row| Some(row.mismatches as f64)),
        ],
        is_area: true,
        reach: 4.0,
        only_if_any: true,
        ..CHART
    },
    Chart {
        id: "cpu",
        title: "CPU",
        unit: Unit::Cpus,
        lines: &[
            ("server", "a", Gather::Mean, |row| cpu(row.server)),
            ("origin", "b", Gather::Mean, |row| cpu(row.origin)),
            ("tester", "c", Gather::Mean, |row| cpu(row.tester)),
        ],
        reach: 0.1,
        ..CHART
    },
    Chart {
        id: "memory",
        title: "Resident memory",
        unit: Unit::Bytes,
        lines: &[
            ("server", "a", Gather::Most, |row| memory(row.server)),
            ("origin", "b", Gather::Most, |row| memory(row.origin)),
            ("tester", "c", Gather::Most, |row| memory(row.tester)),
        ],
        reach: 1e6,
        ..CHART
    },
    Chart {
        id: "live",
        title: "Behind the live edge",
        unit: Unit::Milliseconds,
        lines: &[
            ("p50", "p50", Gather::Most, |row| some(&row.behind_live_ms, row.behind_live_ms.p50)),
            ("p95", "p95", Gather::Most, |row| some(&row.behind_live_ms, row.behind_live_ms.p95)),
        ],
        lead: 1,
        ..CHART
    },
    Chart {
        id: "bitrate",
        title: "Mean bitrate played",
        unit: Unit::BitsPerSecond,
        lines: &[("played", "a", Gather::Mean, |row| (row.bitrate > 0.0).then_some(row.bitrate))],
        ..CHART
    },
];

/// The plots of one run.
pub(crate) fn of(run: &Finished) -> Vec<Plot> {
    let limit = run.summary.targets.iter().find(|target| target.target == "startup_p95_seconds");
    let plots = CHARTS.iter().map(|chart| {
        let series = chart.lines.iter().enumerate().map(|(index, (name, tone, gather, read))| Series {
            name: (*name).to_owned(),
            tone,
            is_area: chart.is_area && index == 0,
            gather: *gather,
            points: points(&run.rows, *read),
        });
        let mut plot = chart.plot(series.collect());
        plot.limit = limit.filter(|_| chart.id == "start-up").map(|target| target.at_most * 1e3);
        plot
    });
    plots.filter(Plot::has_values).collect()
}

/// The plots of several runs: one line for each.
pub(crate) fn beside(runs: &[Finished], names: &[String]) -> Vec<Plot> {
    let plots = CHARTS.iter().map(|chart| {
        let (line, _, gather, read) = &chart.lines[chart.lead];
        let series = runs.iter().zip(names).zip(TONES.iter().cycle()).map(|((run, name), tone)| Series {
            name: name.clone(),
            tone,
            is_area: false,
            gather: *gather,
            points: points(&run.rows, *read),
        });
        let mut plot = chart.plot(series.collect());
        if chart.lines.len() > 1 {
            plot.title = format!("{}, {line}", chart.title);
        }
        plot
    });
    plots.filter(Plot::has_values).collect()
}

/// What the plots of one run have in common.
pub(crate) fn frame(run: &Finished) -> Frame {
    let marks = run.marks.iter().enumerate().map(|(index, (at, text))| (*at, sign(index), text.clone()));
    Frame {
        seconds: run.rows.last().map_or(1.0, |row| f64::from(row.second)),
        warm_up: super::scenario::seconds(&run.scenario, "warm_up"),
        marks: marks.collect(),
    }
}

/// A, B, ... Z, and numbers from 27 on.
pub(crate) fn sign(index: usize) -> String {
    u8::try_from(index)
        .ok()
        .filter(|index| *index < 26)
        .map_or_else(|| (index + 1).to_string(), |index| char::from(b'A' + index).to_string())
}

impl Chart {
    fn plot(&self, mut series: Vec<Series>) -> Plot {
        let is_shown = !self.only_if_any
            || series
                .iter()
                .any(|series| series.points.iter().any(|(_, value)| value.is_some_and(|v| v > 0.0)));
        series.retain(|series| is_shown && series.points.iter().any(|(_, value)| value.is_some()));
        Plot {
            id: self.id.to_owned(),
            title: self.title.to_owned(),
            unit: self.unit,
            series,
            limit: None,
            reach: self.reach,
            may_be_log: self.may_be_log,
        }
    }
}

fn points(rows: &[Row], read: Read) -> Vec<(f64, Option<f64>)> {
    rows.iter().map(|row| (f64::from(row.second), read(row))).collect()
}

fn some(quantiles: &Quantiles, value: f64) -> Option<f64> {
    (quantiles.count > 0).then_some(value)
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn cpu(usage: Option<Usage>) -> Option<f64> {
    usage.map(|usage| usage.cpu_seconds)
}

fn memory(usage: Option<Usage>) -> Option<f64> {
    usage.map(|usage| usage.resident_bytes as f64)
}
