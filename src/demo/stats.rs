//! The figures of the demo page, out of the node's metrics.
//!
//! Decides which metrics are summed into which figure. The sums count from the start of the node; the page takes
//! differences. Called by the page's `/stats`.

use std::collections::BTreeMap;

use serde::Serialize;

/// Outcomes answered from the cache or from another request's fetch.
const SHARED_OUTCOMES: [&str; 4] = ["hit", "hit_stale", "hit_revalidated", "coalesced"];

/// Kinds whose first byte is not held back on purpose, as that of a blocking playlist reload is.
const MEDIA_KINDS: [&str; 3] = ["segment", "part", "init"];

/// Sums over all sites.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Stats {
    /// Viewers' requests by outcome.
    pub outcomes: BTreeMap<String, f64>,
    /// Viewers' requests for segments, parts and initialization sections by outcome.
    pub media_outcomes: BTreeMap<String, f64>,
    /// Viewers' requests that were neither refused nor failed.
    pub requests: f64,
    /// Those of them that needed no origin request of their own.
    pub shared: f64,
    /// Requests to the origin on behalf of viewers; health checks are not.
    pub origin_requests: f64,
    /// Distinct viewers at the moment.
    pub viewers: f64,
    /// Time to first byte of segments, parts and initialization sections: cumulative buckets, ascending.
    pub first_byte: Vec<Bucket>,
}

/// A cumulative bucket of a histogram.
#[derive(Debug, PartialEq, Serialize)]
pub struct Bucket {
    /// Its upper bound in seconds; None: no bound.
    pub le: Option<f64>,
    /// Observations up to the bound.
    pub count: f64,
}

impl Stats {
    /// Reads metrics in the Prometheus text format. Lines of other metrics and lines that cannot be read are left out.
    pub fn from_metrics(text: &str) -> Stats {
        let mut stats = Stats::default();
        let mut buckets: Vec<(f64, f64)> = Vec::new();
        for sample in text.lines().filter_map(Sample::parse) {
            match sample.name {
                "forebay_requests_total" => stats.add_requests(&sample),
                "forebay_origin_requests_total" if sample.label("reason") != "health_check" => {
                    stats.origin_requests += sample.value;
                }
                "forebay_viewers" => stats.viewers += sample.value,
                "forebay_time_to_first_byte_seconds_bucket"
                    if MEDIA_KINDS.contains(&sample.label("kind")) =>
                {
                    add_bucket(&mut buckets, &sample);
                }
                _ => {}
            }
        }
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        stats.first_byte = buckets
            .into_iter()
            .map(|(le, count)| Bucket { le: le.is_finite().then_some(le), count })
            .collect();
        stats
    }

    fn add_requests(&mut self, sample: &Sample<'_>) {
        let outcome = sample.label("outcome");
        *self.outcomes.entry(outcome.to_owned()).or_default() += sample.value;
        if MEDIA_KINDS.contains(&sample.label("kind")) {
            *self.media_outcomes.entry(outcome.to_owned()).or_default() += sample.value;
        }
        if SHARED_OUTCOMES.contains(&outcome) {
            self.shared += sample.value;
        }
        if outcome != "denied" && outcome != "error" {
            self.requests += sample.value;
        }
    }
}

fn add_bucket(buckets: &mut Vec<(f64, f64)>, sample: &Sample<'_>) {
    let le = match sample.label("le") {
        "+Inf" => f64::INFINITY,
        bound => match bound.parse() {
            Ok(bound) => bound,
            Err(_) => return,
        },
    };
    match buckets.iter_mut().find(|(bound, _)| *bound == le) {
        Some((_, count)) => *count += sample.value,
        None => buckets.push((le, sample.value)),
    }
}

/// One line of the Prometheus text format.
struct Sample<'a> {
    name: &'a str,
    labels: Vec<(&'a str, &'a str)>,
    value: f64,
}

impl<'a> Sample<'a> {
    fn parse(line: &'a str) -> Option<Sample<'a>> {
        if line.starts_with('#') {
            return None;
        }
        let (name, mut rest) = line.split_at(line.find(['{', ' '])?);
        let mut labels = Vec::new();
        if let Some(mut list) = rest.strip_prefix('{') {
            while !list.starts_with('}') {
                let (label, after) = list.split_once("=\"")?;
                let end = closing_quote(after)?;
                labels.push((label, &after[..end]));
                list = after[end + 1..].trim_start_matches([',', ' ']);
            }
            rest = &list[1..];
        }
        let value = rest.split_whitespace().next()?.parse().ok()?;
        Some(Sample { name, labels, value })
    }

    /// The value of a label as it stands in the text; empty if there is none.
    fn label(&self, name: &str) -> &'a str {
        self.labels.iter().find(|(label, _)| *label == name).map_or("", |(_, value)| value)
    }
}

/// Where a quoted label value ends; a backslash takes the meaning from the character after it.
fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let closes = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    const METRICS: &str = r#"# HELP forebay_requests_total Requests.
# TYPE forebay_requests_total counter
forebay_requests_total{site="*",kind="segment",outcome="hit",code="200"} 30
forebay_requests_total{site="*",kind="segment",outcome="hit",code="206"} 2
forebay_requests_total{site="*",kind="media_playlist",outcome="coalesced",code="200"} 5
forebay_requests_total{site="b,}\"\\",kind="segment",outcome="miss",code="200"} 3
forebay_requests_total{site="*",kind="other",outcome="denied",code="403"} 7
forebay_origin_requests_total{origin="demo",reason="miss"} 4
forebay_origin_requests_total{origin="demo",reason="health_check"} 100
forebay_viewers{site="*",stream="/live"} 12
forebay_viewers{site="*",stream="/ll"} 1
forebay_time_to_first_byte_seconds_bucket{site="*",kind="segment",outcome="hit",le="0.001"} 20
forebay_time_to_first_byte_seconds_bucket{site="*",kind="segment",outcome="hit",le="+Inf"} 32
forebay_time_to_first_byte_seconds_bucket{site="*",kind="segment",outcome="miss",le="0.001"} 1
forebay_time_to_first_byte_seconds_bucket{site="*",kind="segment",outcome="miss",le="+Inf"} 3
forebay_time_to_first_byte_seconds_bucket{site="*",kind="media_playlist",outcome="hit",le="0.001"} 9
forebay_build_info 1
"#;

    #[test]
    fn the_figures_are_the_sums_over_sites_kinds_and_codes() {
        let stats = Stats::from_metrics(METRICS);
        assert_eq!(stats.outcomes["hit"], 32.0);
        assert_eq!(
            stats.media_outcomes,
            BTreeMap::from([("hit".to_owned(), 32.0), ("miss".to_owned(), 3.0)])
        );
        assert_eq!((stats.requests, stats.shared), (40.0, 37.0));
        assert_eq!((stats.origin_requests, stats.viewers), (4.0, 13.0));
    }

    #[test]
    fn the_first_byte_is_that_of_media_with_buckets_ascending() {
        let stats = Stats::from_metrics(METRICS);
        assert_eq!(
            stats.first_byte,
            [Bucket { le: Some(0.001), count: 21.0 }, Bucket { le: None, count: 35.0 }]
        );
    }

    #[test]
    fn what_cannot_be_read_is_left_out() {
        for line in
            ["", "{", "x", "forebay_viewers{a=\"b} 1", "forebay_viewers{a=\"b\" 1", "forebay_viewers one"]
        {
            assert_eq!(Stats::from_metrics(line), Stats::default(), "{line}");
        }
    }
}
