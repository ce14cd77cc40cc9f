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

/// What became of a body that broke off; the word is a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Resumption {
    /// An attempt was answered with the rest of it.
    Resumed,
    /// An attempt had no answer, or an error that may pass.
    Failed,
    /// An attempt was answered with something that is not the rest of it. No other one follows.
    Refused,
    /// It broke off for those who read it, too: nothing tells versions apart, or there is no rest to be had.
    GivenUp,
}

impl Resumption {
    /// Every result, in the order of the discriminants.
    pub const ALL: [Resumption; 4] =
        [Resumption::Resumed, Resumption::Failed, Resumption::Refused, Resumption::GivenUp];

    /// The word for this result.
    pub const fn as_str(self) -> &'static str {
        match self {
            Resumption::Resumed => "resumed",
            Resumption::Failed => "failed",
            Resumption::Refused => "refused",
            Resumption::GivenUp => "given_up",
        }
    }
}

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
    rate_limited: IntCounterVec,
    budget_exhausted: IntCounterVec,
    breaker: IntGaugeVec,
    ejected: IntGaugeVec,
    hedges: IntCounterVec,
    fallbacks: IntCounterVec,
    certificate: IntGaugeVec,
    servers: IntGaugeVec,
    resumes: IntCounterVec,
}

/// What became of a second request; the word is a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Hedged {
    /// Its answer was the first good one.
    Won,
    /// The first request's was.
    Lost,
    /// Neither was good.
    Failed,
    /// It was due, and not sent: no budget, no turn.
    Skipped,
}

impl Hedged {
    const ALL: [&'static str; 4] = ["won", "lost", "failed", "skipped"];
}

/// Why another group was asked; the word is a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum FellBack {
    /// The group's circuit is open.
    CircuitOpen,
    /// None of its servers is usable.
    Unhealthy,
    /// The last attempt failed.
    Failed,
}

impl FellBack {
    const ALL: [&'static str; 3] = ["circuit_open", "unhealthy", "failed"];
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
            rate_limited: IntCounterVec::new(
                Opts::new(
                    "forebay_origin_rate_limited_total",
                    "Requests that came when limits.requests_per_second was used up: they waited, or were refused.",
                ),
                &["origin"],
            )?,
            budget_exhausted: IntCounterVec::new(
                Opts::new(
                    "forebay_origin_retry_budget_exhausted_total",
                    "Attempts and second requests that were not made because retry.budget was used up.",
                ),
                &["origin"],
            )?,
            breaker: IntGaugeVec::new(
                Opts::new(
                    "forebay_origin_breaker_state",
                    "The circuit of an origin group: 0 closed, 1 half-open, 2 open.",
                ),
                &["origin"],
            )?,
            ejected: IntGaugeVec::new(
                Opts::new(
                    "forebay_origin_ejected",
                    "1 while the server is left alone for its failures, else 0.",
                ),
                &["origin", "server"],
            )?,
            hedges: IntCounterVec::new(
                Opts::new(
                    "forebay_origin_hedges_total",
                    "Second requests for playlists and manifests that were late.",
                ),
                &["origin", "result"],
            )?,
            fallbacks: IntCounterVec::new(
                Opts::new(
                    "forebay_origin_fallbacks_total",
                    "Requests that went to the fallback of an origin group, by why.",
                ),
                &["origin", "reason"],
            )?,
            certificate: IntGaugeVec::new(
                Opts::new(
                    "forebay_origin_certificate_expiry_seconds",
                    "When the certificate of the server ends, as Unix time; with health checks of https servers.",
                ),
                &["origin", "server"],
            )?,
            servers: IntGaugeVec::new(
                Opts::new(
                    "forebay_origin_servers",
                    "Servers of the group, those that its names stand for now included.",
                ),
                &["origin"],
            )?,
            resumes: IntCounterVec::new(
                Opts::new(
                    "forebay_origin_resumes_total",
                    "Attempts to have the rest of a body sent that broke off, and bodies that broke off for good.",
                ),
                &["origin", "result"],
            )?,
        };
        registry.register(Box::new(families.requests.clone()))?;
        registry.register(Box::new(families.response_bytes.clone()))?;
        registry.register(Box::new(families.first_byte.clone()))?;
        registry.register(Box::new(families.errors.clone()))?;
        registry.register(Box::new(families.retries.clone()))?;
        registry.register(Box::new(families.queued.clone()))?;
        registry.register(Box::new(families.healthy.clone()))?;
        registry.register(Box::new(families.rate_limited.clone()))?;
        registry.register(Box::new(families.budget_exhausted.clone()))?;
        registry.register(Box::new(families.breaker.clone()))?;
        registry.register(Box::new(families.ejected.clone()))?;
        registry.register(Box::new(families.hedges.clone()))?;
        registry.register(Box::new(families.fallbacks.clone()))?;
        registry.register(Box::new(families.certificate.clone()))?;
        registry.register(Box::new(families.servers.clone()))?;
        registry.register(Box::new(families.resumes.clone()))?;
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
            rate_limited: self.rate_limited.with_label_values(&[name]),
            budget_exhausted: self.budget_exhausted.with_label_values(&[name]),
            hedges: Hedged::ALL.map(|result| self.hedges.with_label_values(&[name, result])),
            fallbacks: FellBack::ALL.map(|reason| self.fallbacks.with_label_values(&[name, reason])),
            resumes: Resumption::ALL.map(|result| self.resumes.with_label_values(&[name, result.as_str()])),
        }
    }

    /// The health gauge of one server.
    pub(super) fn healthy(&self, name: &str, server: &str) -> IntGauge {
        self.healthy.with_label_values(&[name, server])
    }

    /// The gauge of a group's circuit.
    pub(super) fn breaker(&self, name: &str) -> IntGauge {
        self.breaker.with_label_values(&[name])
    }

    /// Whether one server is ejected.
    pub(super) fn ejected(&self, name: &str, server: &str) -> IntGauge {
        self.ejected.with_label_values(&[name, server])
    }

    /// When one server's certificate ends.
    pub(super) fn certificate(&self, name: &str, server: &str) -> IntGauge {
        self.certificate.with_label_values(&[name, server])
    }

    /// A group has so many servers.
    pub(super) fn servers(&self, name: &str, count: usize) {
        self.servers.with_label_values(&[name]).set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Forgets a server that has left its group.
    pub(super) fn forget_server(&self, name: &str, server: &str) {
        // It fails where there is none.
        let _ = self.healthy.remove_label_values(&[name, server]);
        let _ = self.ejected.remove_label_values(&[name, server]);
        let _ = self.certificate.remove_label_values(&[name, server]);
    }

    /// Forgets the servers of an earlier configuration.
    pub(super) fn forget_servers(&self) {
        self.healthy.reset();
        self.ejected.reset();
        self.certificate.reset();
        self.servers.reset();
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
    rate_limited: IntCounter,
    budget_exhausted: IntCounter,
    hedges: [IntCounter; Hedged::ALL.len()],
    fallbacks: [IntCounter; FellBack::ALL.len()],
    resumes: [IntCounter; Resumption::ALL.len()],
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

    /// Requests waiting for their turn, and those that came too early for the rate.
    pub(super) fn of_gate(&self) -> (IntGauge, IntCounter) {
        (self.queued.clone(), self.rate_limited.clone())
    }

    /// The budget kept another attempt from being made.
    pub(super) fn budget_exhausted(&self) {
        self.budget_exhausted.inc();
    }

    /// What became of a second request.
    pub(super) fn hedge(&self, result: Hedged) {
        self.hedges[result as usize].inc();
    }

    /// The fallback is asked.
    pub(super) fn fallback(&self, reason: FellBack) {
        self.fallbacks[reason as usize].inc();
    }

    /// A body broke off.
    pub(super) fn resumption(&self, result: Resumption) {
        self.resumes[result as usize].inc();
    }
}
