//! The figures of a run, by name: one list that the text, the HTML and the comparison all tell.

use super::unit::Unit;
use crate::measure::summary::{Quantiles, Summary};

/// One figure.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fact {
    pub(crate) group: Group,
    pub(crate) name: &'static str,
    pub(crate) unit: Unit,
    /// None: it was not, or could not be, measured.
    pub(crate) value: Option<f64>,
    pub(crate) better: Better,
}

/// What a figure is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    Viewers,
    Requests,
    Origin,
    Server,
    Tester,
}

/// Which of two figures is the better one, of a server under the same audience.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Better {
    Lower,
    Higher,
    /// It only tells how things were.
    Neither,
}

impl Group {
    pub(crate) const ALL: [Self; 5] =
        [Self::Viewers, Self::Requests, Self::Origin, Self::Server, Self::Tester];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Viewers => "viewers",
            Self::Requests => "requests",
            Self::Origin => "origin",
            Self::Server => "server",
            Self::Tester => "tester",
        }
    }
}

impl Fact {
    /// The figure with its unit, or a dash.
    pub(crate) fn text(&self) -> String {
        self.value.map_or_else(|| "-".to_owned(), |value| self.unit.write(value))
    }
}

/// All figures of a run, group by group.
pub(crate) fn of(summary: &Summary) -> Vec<Fact> {
    [viewers(summary), requests(summary), origin(summary), server(summary), tester(summary)].concat()
}

/// The figure of that name.
pub(crate) fn find<'a>(facts: &'a [Fact], name: &str) -> Option<&'a Fact> {
    facts.iter().find(|fact| fact.name == name)
}

fn viewers(summary: &Summary) -> Vec<Fact> {
    use Better::{Higher, Lower, Neither};
    let viewers = &summary.viewers;
    let fact = |name, unit, value, better| Fact { group: Group::Viewers, name, unit, value, better };
    let of = |quantiles: &Quantiles, value: f64| (quantiles.count > 0).then_some(value);
    let (startup, zap, behind) = (&viewers.startup_ms, &viewers.zap_ms, &viewers.behind_live_ms);
    let given_up = (viewers.abandoned > 0).then_some(viewers.abandoned as f64);
    let has_watched = viewers.stalled_seconds + viewers.played_seconds > 0.0;
    vec![
        fact("viewers at most", Unit::Count, Some(viewers.most as f64), Neither),
        fact("viewers on average", Unit::Count, Some(viewers.mean.round()), Neither),
        fact("arrived", Unit::Count, Some(viewers.arrived as f64), Neither),
        fact("started", Unit::Count, Some(viewers.started as f64), Neither),
        fact("gave up", Unit::Count, Some(viewers.gave_up as f64), Lower),
        fact("start-up p50", Unit::Milliseconds, of(startup, startup.p50), Lower),
        fact("start-up p95", Unit::Milliseconds, of(startup, startup.p95), Lower),
        fact("start-up p99", Unit::Milliseconds, of(startup, startup.p99), Lower),
        fact("zap p95", Unit::Milliseconds, of(zap, zap.p95), Lower),
        fact("stalls", Unit::Count, Some(viewers.stalls as f64), Lower),
        fact("viewers who stalled", Unit::Count, Some(viewers.stalled as f64), Lower),
        fact("stall ratio", Unit::Share, has_watched.then_some(viewers.stall_ratio), Lower),
        fact("behind live p50", Unit::Milliseconds, of(behind, behind.p50), Lower),
        fact("behind live p95", Unit::Milliseconds, of(behind, behind.p95), Lower),
        fact("bitrate", Unit::BitsPerSecond, has_watched.then_some(viewers.bitrate), Higher),
        fact("switches", Unit::Count, Some(viewers.switches as f64), Neither),
        fact("segments given up", Unit::Count, given_up, Lower),
    ]
}

fn requests(summary: &Summary) -> Vec<Fact> {
    use Better::{Higher, Lower, Neither};
    let requests = &summary.requests;
    let fact = |name, unit, value, better| Fact { group: Group::Requests, name, unit, value, better };
    let some = requests.count > 0;
    let (ttfb, whole) = (&summary.ttfb_ms, &summary.whole_ms);
    let (has_ttfb, has_whole) = (ttfb.count > 0, whole.count > 0);
    vec![
        fact("requests", Unit::Count, Some(requests.count as f64), Neither),
        fact("requests/s", Unit::PerSecond, Some(requests.per_second), Neither),
        fact("throughput", Unit::BitsPerSecond, Some(requests.gbit_per_second * 1e9), Neither),
        fact("TTFB p50", Unit::Milliseconds, has_ttfb.then_some(ttfb.p50), Lower),
        fact("TTFB p95", Unit::Milliseconds, has_ttfb.then_some(ttfb.p95), Lower),
        fact("TTFB p99", Unit::Milliseconds, has_ttfb.then_some(ttfb.p99), Lower),
        fact("whole p50", Unit::Milliseconds, has_whole.then_some(whole.p50), Lower),
        fact("whole p99", Unit::Milliseconds, has_whole.then_some(whole.p99), Lower),
        fact("hit ratio", Unit::Share, says_hits(summary).then_some(requests.hit_ratio), Higher),
        fact("hit ratio, bytes", Unit::Share, says_hits(summary).then_some(requests.hit_ratio_bytes), Higher),
        fact("wasted bytes", Unit::Bytes, Some(requests.wasted_bytes as f64), Lower),
        fact("connections opened", Unit::Count, Some(requests.connections as f64), Neither),
        fact("errors", Unit::Count, Some(requests.errors as f64), Lower),
        fact("error ratio", Unit::Share, some.then_some(requests.error_ratio), Lower),
        fact("mismatches", Unit::Count, Some(requests.mismatches as f64), Lower),
        fact("bad playlists", Unit::Count, Some(requests.bad_playlists as f64), Lower),
    ]
}

/// Whether the server says at all what its cache did.
fn says_hits(summary: &Summary) -> bool {
    summary.kinds.iter().any(|kind| kind.cache != "unknown" && kind.requests > 0)
}

fn origin(summary: &Summary) -> Vec<Fact> {
    use Better::{Higher, Lower, Neither};
    let fact = |name, unit, value, better| Fact { group: Group::Origin, name, unit, value, better };
    let origin = summary.origin.as_ref();
    let rate = |value: u64| value as f64 / summary.seconds.max(1.0);
    let media = ["segment", "part"].into_iter().filter_map(|kind| origin?.per_object.get(kind));
    let (objects, asked) = media.fold((0, 0), |sum, kind| (sum.0 + kind.objects, sum.1 + kind.requests));
    let most = origin.and_then(|origin| origin.per_object.values().map(|kind| kind.most).max());
    let kept = |ours: u64, theirs: u64| (theirs > 0).then(|| 1.0 - ours as f64 / theirs as f64);
    vec![
        fact("origin requests", Unit::Count, origin.map(|o| o.requests as f64), Lower),
        fact("origin requests/s", Unit::PerSecond, origin.map(|o| rate(o.requests)), Lower),
        fact("origin throughput", Unit::BitsPerSecond, origin.map(|o| rate(o.bytes) * 8.0), Lower),
        fact(
            "requests kept from it",
            Unit::Share,
            origin.and_then(|o| kept(o.requests, summary.requests.count)),
            Higher,
        ),
        fact(
            "bytes kept from it",
            Unit::Share,
            origin.and_then(|o| kept(o.bytes, summary.requests.bytes)),
            Higher,
        ),
        fact(
            "per segment or part",
            Unit::Number,
            (objects > 0).then(|| asked as f64 / objects as f64),
            Lower,
        ),
        fact("most for one object", Unit::Count, most.map(|most| most as f64), Lower),
        fact("origin connections", Unit::Count, origin.map(|o| o.connections as f64), Neither),
        fact(
            "origin CPU",
            Unit::Cpus,
            origin.map(|o| o.usage.cpu_seconds / summary.seconds.max(1.0)),
            Neither,
        ),
    ]
}

fn server(summary: &Summary) -> Vec<Fact> {
    use Better::Lower;
    let fact = |name, unit, value, better| Fact { group: Group::Server, name, unit, value, better };
    let server = summary.server.as_ref();
    let cpus = server.map(|server| server.cpu_seconds / summary.seconds.max(1.0));
    let thousands = summary.viewers.mean / 1_000.0;
    let grown = server.zip(summary.server_idle_bytes);
    let grown = grown.map(|(server, idle)| server.resident_bytes.saturating_sub(idle) as f64);
    let per = |value: Option<f64>, by: f64| value.filter(|_| by > 0.0).map(|value| value / by);
    vec![
        fact("server CPU", Unit::Cpus, cpus, Lower),
        fact("CPU per 1,000 viewers", Unit::Cpus, per(cpus, thousands), Lower),
        fact(
            "CPU per request",
            Unit::Microseconds,
            per(server.map(|server| server.cpu_seconds * 1e6), summary.requests.count as f64),
            Lower,
        ),
        fact("server memory at most", Unit::Bytes, server.map(|s| s.resident_bytes as f64), Lower),
        fact("server memory, idle", Unit::Bytes, summary.server_idle_bytes.map(|bytes| bytes as f64), Lower),
        fact("memory/viewer, with cache", Unit::Bytes, per(grown, summary.viewers.most as f64), Lower),
    ]
}

fn tester(summary: &Summary) -> Vec<Fact> {
    use Better::Neither;
    let fact = |name, unit, value| Fact { group: Group::Tester, name, unit, value, better: Neither };
    let pacing = &summary.pacing;
    let (tester, viewers) = (&summary.tester, summary.viewers.most);
    // Nothing was sampled: a rehearsal, whose time is computed.
    let sampled = tester.resident_bytes > 0;
    let timed = |value: f64| (sampled && pacing.timers > 0).then_some(value);
    vec![
        fact("tester CPU", Unit::Cpus, sampled.then_some(tester.cpu_seconds / summary.seconds.max(1.0))),
        fact("tester memory at most", Unit::Bytes, sampled.then_some(tester.resident_bytes as f64)),
        fact(
            "tester memory per viewer",
            Unit::Bytes,
            (sampled && viewers > 0).then(|| tester.resident_bytes as f64 / viewers as f64),
        ),
        fact("late on average", Unit::Share, timed(pacing.mean)),
        fact("late p99", Unit::Share, timed(pacing.p99)),
    ]
}
