//! Counters and histograms of what the node does, in a Prometheus registry of its own.
//!
//! [`Metrics::record`] is called once per request. A series is found by place (site, kind, outcome, code) in arrays that
//! fill on first use: no label is looked up, nothing is locked, no two threads write the same cache line ([`requests`]),
//! and a series nobody touched does not appear. What the families are called and mean stands in [`names`]. Origin and store
//! register theirs through [`Metrics::registry`].

pub mod names;
mod requests;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Encoder, Error, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, TextEncoder,
};

use self::names::{Family, LATENCY_BUCKETS, NO_SITE, OTHER};
use self::requests::{Cell, RequestsCollector};
use super::record::{Denial, Record};
use crate::asset::Kind;
use crate::outcome::Outcome;

/// Content type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Distinct denial reasons kept per site; further ones are counted as `other`.
const REASONS_MAX: usize = 32;

/// All metrics of a node.
pub struct Metrics {
    registry: Registry,
    families: Families,
    /// One per site, and at the end one for requests without a site.
    sites: Arc<[SiteSeries]>,
    connections: IntGauge,
    connections_refused: IntCounter,
    access_log_dropped: IntCounter,
    config_last_reload_successful: IntGauge,
}

/// The labelled families of what is rare; touched only when a series appears.
struct Families {
    coalesced: IntCounterVec,
    coalesce_wait: HistogramVec,
    coalesce_timeouts: IntCounterVec,
    parked: IntGaugeVec,
    parking_refused: IntCounterVec,
    late_holds: IntCounterVec,
    token_denied: IntCounterVec,
    jwks_refreshes: IntCounterVec,
    proxy_protocol_refused: IntCounterVec,
    health_checks: IntCounterVec,
}

const CELLS: usize = Kind::ALL.len() * Outcome::ALL.len();

/// What is counted for one site.
struct SiteSeries {
    name: Box<str>,
    /// By kind and outcome.
    cells: [OnceLock<Box<Cell>>; CELLS],
    coalesced: OnceLock<(IntCounter, Histogram)>,
    coalesce_timeouts: OnceLock<IntCounter>,
    parked: OnceLock<IntGauge>,
    /// By reason, in the order they were first seen.
    token_denied: [OnceLock<(&'static str, IntCounter)>; REASONS_MAX],
}

// === impl Metrics ===

impl Metrics {
    /// Registers every family. `sites` are the names behind the places that records carry.
    ///
    /// # Errors
    ///
    /// Fails only where a family of the same name is registered already, which a new registry rules out.
    pub fn new(sites: &[&str]) -> Result<Arc<Metrics>, Error> {
        let registry = Registry::new();
        let families = Families::register(&registry)?;
        let sites: Arc<[SiteSeries]> = sites.iter().copied().chain([NO_SITE]).map(SiteSeries::new).collect();
        registry.register(Box::new(RequestsCollector::new(Arc::clone(&sites))?))?;
        let build_info = register(&registry, gauges(names::BUILD_INFO)?)?;
        build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        registry.register(Box::new(ProcessCollector::for_self()))?;
        let config_last_reload_successful =
            register(&registry, gauge(names::CONFIG_LAST_RELOAD_SUCCESSFUL)?)?;
        config_last_reload_successful.set(1);
        Ok(Arc::new(Metrics {
            families,
            sites,
            connections: register(&registry, gauge(names::CONNECTIONS)?)?,
            connections_refused: register(&registry, counter(names::CONNECTIONS_REFUSED)?)?,
            access_log_dropped: register(&registry, counter(names::ACCESS_LOG_DROPPED)?)?,
            config_last_reload_successful,
            registry,
        }))
    }

    /// Counts one finished request.
    pub fn record(&self, record: &Record<'_>) {
        let site = self.site(record.site);
        site.cell(record.kind, record.outcome).record(record);
        if record.outcome == Outcome::Coalesced || record.coalesce_wait.is_some() {
            site.coalesced(&self.families, record.coalesce_wait.unwrap_or_default());
        }
        if let Some(Denial::Token(reason)) = record.denial {
            site.token_denied(&self.families, reason).inc();
        }
    }

    /// Counts a request that gave up waiting for another request's fetch.
    pub fn coalesce_timeout(&self, site: Option<usize>) {
        let site = self.site(site);
        let new = || self.families.coalesce_timeouts.with_label_values(&[&*site.name]);
        site.coalesce_timeouts.get_or_init(new).inc();
    }

    /// `forebay_parked_requests` of a site: raised when a request is parked, lowered when it is not any more.
    pub fn parked(&self, site: Option<usize>) -> &IntGauge {
        let site = self.site(site);
        site.parked.get_or_init(|| self.families.parked.with_label_values(&[&*site.name]))
    }

    /// Counts a request that was not parked, by the limit that it met.
    pub fn parking_refused(&self, site: Option<usize>, reason: &'static str) {
        self.families.parking_refused.with_label_values(&[&*self.site(site).name, reason]).inc();
    }

    /// Counts a request that was held until its deadline.
    pub fn late_hold(&self, site: Option<usize>) {
        self.families.late_holds.with_label_values(&[&*self.site(site).name]).inc();
    }

    /// Counts a fetch of a token policy's keys.
    pub fn jwks_refresh(&self, policy: &str, result: &str) {
        self.families.jwks_refreshes.with_label_values(&[policy, result]).inc();
    }

    /// `forebay_connections`: raised at accept, lowered at close.
    pub fn connections(&self) -> &IntGauge {
        &self.connections
    }

    /// The series of `forebay_proxy_protocol_refused_total` of a reason.
    pub fn proxy_protocol_refused(&self, reason: &'static str) -> IntCounter {
        self.families.proxy_protocol_refused.with_label_values(&[reason])
    }

    /// The series of `forebay_health_checks_total` of a status code.
    pub fn health_checks(&self, code: &'static str) -> IntCounter {
        self.families.health_checks.with_label_values(&[code])
    }

    /// `forebay_connections_refused_total`.
    pub fn connections_refused(&self) -> &IntCounter {
        &self.connections_refused
    }

    /// `forebay_access_log_dropped_total`.
    pub fn access_log_dropped(&self) -> &IntCounter {
        &self.access_log_dropped
    }

    /// Sets `forebay_config_last_reload_successful`. It starts at 1: a node only starts with a good configuration.
    pub fn config_reloaded(&self, successful: bool) {
        self.config_last_reload_successful.set(i64::from(successful));
    }

    /// The registry, for families that other modules own.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Every family in the Prometheus text format 0.0.4.
    ///
    /// # Errors
    ///
    /// Fails where a collector hands out a family without a name or a metric.
    pub fn render(&self) -> Result<Vec<u8>, Error> {
        let mut text = Vec::with_capacity(64 * 1024);
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }

    fn site(&self, place: Option<usize>) -> &SiteSeries {
        let last = self.sites.len() - 1; // never empty: the site "none" is always there
        let place = place.unwrap_or(last);
        debug_assert!(place <= last, "site {place} of {last}");
        &self.sites[place.min(last)]
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("sites", &self.sites.len()).finish_non_exhaustive()
    }
}

// === impl Families ===

impl Families {
    fn register(registry: &Registry) -> Result<Families, Error> {
        Ok(Families {
            coalesced: register(registry, counters(names::COALESCED)?)?,
            coalesce_wait: register(registry, histograms(names::COALESCE_WAIT)?)?,
            coalesce_timeouts: register(registry, counters(names::COALESCE_TIMEOUTS)?)?,
            parked: register(registry, gauges(names::PARKED)?)?,
            parking_refused: register(registry, counters(names::PARKING_REFUSED)?)?,
            late_holds: register(registry, counters(names::LATE_HOLDS)?)?,
            token_denied: register(registry, counters(names::TOKEN_DENIED)?)?,
            jwks_refreshes: register(registry, counters(names::JWKS_REFRESHES)?)?,
            proxy_protocol_refused: register(registry, counters(names::PROXY_PROTOCOL_REFUSED)?)?,
            health_checks: register(registry, counters(names::HEALTH_CHECKS)?)?,
        })
    }
}

fn opts(family: Family) -> Opts {
    Opts::new(family.name, family.help)
}

fn counter(family: Family) -> Result<IntCounter, Error> {
    IntCounter::with_opts(opts(family))
}

fn gauge(family: Family) -> Result<IntGauge, Error> {
    IntGauge::with_opts(opts(family))
}

fn counters(family: Family) -> Result<IntCounterVec, Error> {
    IntCounterVec::new(opts(family), family.labels)
}

/// A labelled gauge family, not registered yet.
pub(crate) fn gauges(family: Family) -> Result<IntGaugeVec, Error> {
    IntGaugeVec::new(opts(family), family.labels)
}

fn histograms(family: Family) -> Result<HistogramVec, Error> {
    HistogramVec::new(HistogramOpts::from(opts(family)).buckets(LATENCY_BUCKETS.to_vec()), family.labels)
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> Result<C, Error> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

// === impl SiteSeries ===

impl SiteSeries {
    fn new(name: &str) -> SiteSeries {
        SiteSeries {
            name: name.into(),
            cells: [const { OnceLock::new() }; CELLS],
            coalesced: OnceLock::new(),
            coalesce_timeouts: OnceLock::new(),
            parked: OnceLock::new(),
            token_denied: [const { OnceLock::new() }; REASONS_MAX],
        }
    }

    fn cell(&self, kind: Kind, outcome: Outcome) -> &Cell {
        self.cells[kind as usize * Outcome::ALL.len() + outcome as usize].get_or_init(Box::default)
    }

    /// The cells that something was counted in, with what their labels say.
    fn touched(&self) -> impl Iterator<Item = (&str, Kind, Outcome, &Cell)> {
        let places = Kind::ALL.into_iter().flat_map(|kind| Outcome::ALL.map(|outcome| (kind, outcome)));
        let cells = places.zip(&self.cells);
        cells.filter_map(|((kind, outcome), cell)| Some((&*self.name, kind, outcome, &**cell.get()?)))
    }

    fn coalesced(&self, families: &Families, wait: Duration) {
        let (counter, histogram) = self.coalesced.get_or_init(|| {
            let labels = [&*self.name];
            (families.coalesced.with_label_values(&labels), families.coalesce_wait.with_label_values(&labels))
        });
        counter.inc();
        histogram.observe(wait.as_secs_f64());
    }

    /// The counter of a reason: the first free place is taken by the first reason that needs it, and stays with it.
    fn token_denied(&self, families: &Families, reason: &'static str) -> IntCounter {
        let new = |reason: &str| families.token_denied.with_label_values(&[&*self.name, reason]);
        for place in &self.token_denied {
            let (held, counter) = place.get_or_init(|| (reason, new(reason)));
            if *held == reason {
                return counter.clone();
            }
        }
        new(OTHER)
    }
}

#[cfg(test)]
mod tests;
