//! The metrics of the origin station: what was asked, how long it took, what failed.
//!
//! [`OriginFamilies`] is registered once per process and outlives configurations; [`OriginMetrics`] holds one group's
//! handles, resolved once, so that a request never looks a label up.

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use super::FetchReason;
use super::error::ErrorKind;

/// Bounds of `forebay_origin_first_byte_seconds`, in seconds: from a cache in the same rack to a blocking playlist.
const FIRST_BYTE_BUCKETS_SECONDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// The metric families of the origin station, all labelled with the name of the origin group.
#[derive(Clone)]
pub struct OriginFamilies {
    requests: IntCounterVec,
    response_bytes: IntCounterVec,
    first_byte: HistogramVec,
    errors: IntCounterVec,
    retries: IntCounterVec,
    queued: IntGaugeVec,
    healthy: IntGaugeVec,
}

impl OriginFamilies {
    /// Makes the families and registers them.
    ///
    /// # Errors
    ///
    /// When a family of the same name is registered already: call this once per registry.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let families = Self {
            requests: IntCounterVec::new(
                Opts::new(
                    "forebay_origin_requests_total",
                    "Requests sent to origin servers, retries included.",
                ),
                &["origin", "reason"],
            )?,
            response_bytes: IntCounterVec::new(
                Opts::new("forebay_origin_response_bytes_total", "Body bytes received from origin servers."),
                &["origin"],
            )?,
            first_byte: HistogramVec::new(
                HistogramOpts::new(
                    "forebay_origin_first_byte_seconds",
                    "Time from a request sent to an origin server to its answer's header.",
                )
                .buckets(FIRST_BYTE_BUCKETS_SECONDS.to_vec()),
                &["origin"],
            )?,
            errors: IntCounterVec::new(
                Opts::new("forebay_origin_errors_total", "Failures towards an origin, by cause."),
                &["origin", "error"],
            )?,
            retries: IntCounterVec::new(
                Opts::new("forebay_origin_retries_total", "Attempts after the first one."),
                &["origin"],
            )?,
            queued: IntGaugeVec::new(
                Opts::new("forebay_origin_queued_requests", "Requests that wait for a free connection."),
                &["origin"],
            )?,
            healthy: IntGaugeVec::new(
                Opts::new("forebay_origin_healthy", "1 when the server counts as healthy, else 0."),
                &["origin", "server"],
            )?,
        };
        registry.register(Box::new(families.requests.clone()))?;
        registry.register(Box::new(families.response_bytes.clone()))?;
        registry.register(Box::new(families.first_byte.clone()))?;
        registry.register(Box::new(families.errors.clone()))?;
        registry.register(Box::new(families.retries.clone()))?;
        registry.register(Box::new(families.queued.clone()))?;
        registry.register(Box::new(families.healthy.clone()))?;
        Ok(families)
    }

    /// The handles of the group called `name`.
    pub(super) fn group(&self, name: &str) -> OriginMetrics {
        OriginMetrics {
            requests: FetchReason::ALL
                .map(|reason| self.requests.with_label_values(&[name, reason.as_str()])),
            response_bytes: self.response_bytes.with_label_values(&[name]),
            first_byte: self.first_byte.with_label_values(&[name]),
            errors: ErrorKind::ALL.map(|kind| self.errors.with_label_values(&[name, kind.as_str()])),
            retries: self.retries.with_label_values(&[name]),
            queued: self.queued.with_label_values(&[name]),
        }
    }

    /// The health gauge of one server.
    pub(super) fn healthy(&self, name: &str, server: &str) -> IntGauge {
        self.healthy.with_label_values(&[name, server])
    }

    /// Forgets the servers of an earlier configuration.
    pub(super) fn forget_servers(&self) {
        self.healthy.reset();
    }
}

/// One origin group's handles.
pub(super) struct OriginMetrics {
    requests: [IntCounter; FetchReason::ALL.len()],
    response_bytes: IntCounter,
    first_byte: Histogram,
    errors: [IntCounter; ErrorKind::ALL.len()],
    retries: IntCounter,
    queued: IntGauge,
}

impl OriginMetrics {
    /// A request is being sent.
    pub(super) fn request(&self, reason: FetchReason) {
        self.requests[reason as usize].inc();
    }

    /// Body bytes have arrived.
    pub(super) fn body(&self, bytes: usize) {
        self.response_bytes.inc_by(bytes as u64);
    }

    /// An answer's header has arrived `seconds` after its request was sent.
    pub(super) fn first_byte(&self, seconds: f64) {
        self.first_byte.observe(seconds);
    }

    /// Something failed.
    pub(super) fn error(&self, kind: ErrorKind) {
        self.errors[kind as usize].inc();
    }

    /// Another attempt is made.
    pub(super) fn retry(&self) {
        self.retries.inc();
    }

    /// Requests waiting for a free connection.
    pub(super) fn queued(&self) -> &IntGauge {
        &self.queued
    }
}
