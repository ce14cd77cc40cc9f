//! What is counted for every request, once per thread: counters and latencies that no two threads write at once.
//!
//! Four threads that add to the same counters spend more than a microsecond per request on passing cache lines around;
//! apart, 20 ns. So each thread has a shard of its own (threads beyond [`SHARDS`] share), and a scrape adds them up. Called
//! by [`super::Metrics`]; which series a request belongs to is decided there.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus::Error;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Counter, Histogram, LabelPair, Metric, MetricFamily, MetricType};

use super::SiteSeries;
use super::names::{self, CODES, Family, LATENCY_BUCKETS, OTHER};
use crate::asset::Kind;
use crate::observe::record::Record;
use crate::outcome::Outcome;

/// Threads that count apart.
const SHARDS: usize = 16;

/// What is counted for one site, kind and outcome.
#[derive(Default)]
pub(super) struct Cell([OnceLock<Box<Shard>>; SHARDS]);

/// One thread's part of a cell, on cache lines of its own.
#[derive(Debug)]
#[repr(align(128))]
struct Shard {
    /// By place of the code in [`CODES`], and at the end all other codes.
    codes: [AtomicU64; CODES.len() + 1],
    bytes: AtomicU64,
    first_byte: Latency,
    duration: Latency,
}

/// A histogram over [`LATENCY_BUCKETS`].
#[derive(Debug)]
struct Latency {
    /// Not cumulative; the last is beyond every bound.
    buckets: [AtomicU64; LATENCY_BUCKETS.len() + 1],
    sum_ns: AtomicU64,
}

// === impl Cell ===

impl Cell {
    /// Counts one request.
    pub(super) fn record(&self, record: &Record<'_>) {
        let shard = self.0[shard_of_this_thread()].get_or_init(Box::default);
        shard.codes[code_slot(record.status)].fetch_add(1, Ordering::Relaxed);
        shard.bytes.fetch_add(record.bytes, Ordering::Relaxed);
        if let Some(first_byte) = record.first_byte {
            shard.first_byte.observe(first_byte);
        }
        shard.duration.observe(record.total);
    }

    /// The sum of `value` over all shards.
    fn sum(&self, value: impl Fn(&Shard) -> &AtomicU64) -> u64 {
        let shards = self.0.iter().filter_map(OnceLock::get);
        shards.fold(0, |sum, shard| sum.wrapping_add(value(shard).load(Ordering::Relaxed)))
    }

    fn histogram(&self, latency: impl Fn(&Shard) -> &Latency) -> Histogram {
        let mut count = 0;
        let buckets = LATENCY_BUCKETS.iter().enumerate().map(|(place, bound)| {
            count += self.sum(|shard| &latency(shard).buckets[place]);
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(count);
            bucket
        });
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets.collect());
        count += self.sum(|shard| &latency(shard).buckets[LATENCY_BUCKETS.len()]);
        histogram.set_sample_count(count);
        histogram
            .set_sample_sum(Duration::from_nanos(self.sum(|shard| &latency(shard).sum_ns)).as_secs_f64());
        histogram
    }
}

impl Default for Shard {
    fn default() -> Shard {
        Shard {
            codes: [const { AtomicU64::new(0) }; CODES.len() + 1],
            bytes: AtomicU64::new(0),
            first_byte: Latency::default(),
            duration: Latency::default(),
        }
    }
}

fn shard_of_this_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static SHARD: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
    }
    // A thread that ends has no shard of its own any more.
    SHARD.try_with(|shard| *shard).unwrap_or(0)
}

// === impl Latency ===

impl Default for Latency {
    fn default() -> Latency {
        Latency {
            buckets: [const { AtomicU64::new(0) }; LATENCY_BUCKETS.len() + 1],
            sum_ns: AtomicU64::new(0),
        }
    }
}

/// [`LATENCY_BUCKETS`] in nanoseconds.
const BOUNDS_NS: [u64; LATENCY_BUCKETS.len()] = {
    let mut bounds = [0; LATENCY_BUCKETS.len()];
    let mut place = 0;
    while place < bounds.len() {
        bounds[place] = (LATENCY_BUCKETS[place] * 1e9 + 0.5) as u64;
        place += 1;
    }
    bounds
};

impl Latency {
    fn observe(&self, duration: Duration) {
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let place = BOUNDS_NS.iter().position(|bound| ns <= *bound).unwrap_or(BOUNDS_NS.len());
        self.buckets[place].fetch_add(1, Ordering::Relaxed);
        self.sum_ns.fetch_add(ns, Ordering::Relaxed);
    }
}

// === Status codes ===

/// Statuses below this have a slot; every code in [`CODES`] does.
const STATUS_LIMIT: usize = 600;

/// Place of each status in [`CODES`], or the place after the last.
const CODE_SLOTS: [u8; STATUS_LIMIT] = {
    let mut slots = [CODES.len() as u8; STATUS_LIMIT];
    let mut slot = 0;
    while slot < CODES.len() {
        slots[CODES[slot] as usize] = slot as u8;
        slot += 1;
    }
    slots
};

fn code_slot(status: u16) -> usize {
    CODE_SLOTS.get(usize::from(status)).map_or(CODES.len(), |&slot| usize::from(slot))
}

// === RequestsCollector ===

/// Adds the shards up at each scrape.
pub(super) struct RequestsCollector {
    sites: Arc<[SiteSeries]>,
    descriptions: [Desc; 4],
}

impl RequestsCollector {
    pub(super) fn new(sites: Arc<[SiteSeries]>) -> Result<RequestsCollector, Error> {
        let describe = |family: Family| {
            let labels = family.labels.iter().map(ToString::to_string).collect();
            Desc::new(family.name.to_owned(), family.help.to_owned(), labels, HashMap::new())
        };
        let descriptions = [
            describe(names::REQUESTS)?,
            describe(names::RESPONSE_BYTES)?,
            describe(names::FIRST_BYTE)?,
            describe(names::DURATION)?,
        ];
        Ok(RequestsCollector { sites, descriptions })
    }
}

impl Collector for RequestsCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let (mut requests, mut bytes, mut first_byte, mut duration) = (vec![], vec![], vec![], vec![]);
        for (site, kind, outcome, cell) in self.sites.iter().flat_map(SiteSeries::touched) {
            let labels = labels(site, kind, outcome);
            for slot in 0..=CODES.len() {
                let count = cell.sum(|shard| &shard.codes[slot]);
                if count > 0 {
                    requests.push(counter(with_code(&labels, slot), count));
                }
            }
            bytes.push(counter(labels.clone(), cell.sum(|shard| &shard.bytes)));
            let observed = cell.histogram(|shard| &shard.first_byte);
            if observed.get_sample_count() > 0 {
                first_byte.push(histogram(labels.clone(), observed));
            }
            duration.push(histogram(labels, cell.histogram(|shard| &shard.duration)));
        }
        vec![
            family(names::REQUESTS, MetricType::COUNTER, requests),
            family(names::RESPONSE_BYTES, MetricType::COUNTER, bytes),
            family(names::FIRST_BYTE, MetricType::HISTOGRAM, first_byte),
            family(names::DURATION, MetricType::HISTOGRAM, duration),
        ]
    }
}

fn labels(site: &str, kind: Kind, outcome: Outcome) -> Vec<LabelPair> {
    // In the order of their names, as the text format's encoder expects them.
    vec![label("kind", kind.as_str()), label("outcome", outcome.as_str()), label("site", site)]
}

fn with_code(labels: &[LabelPair], slot: usize) -> Vec<LabelPair> {
    let code = CODES.get(slot).map(u16::to_string);
    let mut all = vec![label("code", code.as_deref().unwrap_or(OTHER))];
    all.extend_from_slice(labels);
    all
}

fn label(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

fn counter(labels: Vec<LabelPair>, count: u64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(count as f64);
    let mut metric = Metric::from_label(labels);
    metric.set_counter(counter);
    metric
}

fn histogram(labels: Vec<LabelPair>, histogram: Histogram) -> Metric {
    let mut metric = Metric::from_label(labels);
    metric.set_histogram(histogram);
    metric
}

fn family(names: Family, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(names.name.to_owned());
    family.set_help(names.help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}
