//! Passive outlier ejection: a server of several that fails again and again is left alone for a while.
//!
//! Decides from what became of the requests to each server; what counts as a failure is the group's decision
//! ([`super::fetch`], [`super::response`]). A server that comes back is on probation: one failure ejects it again, for
//! twice as long. The last server is never ejected. Asked by the group when it chooses a server.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::IntGauge;
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::config::model::Eject;

/// How long another server is asked first, after one has broken off a body.
const SHUNNED: Duration = Duration::from_secs(2);

/// What the servers of a group share.
pub(super) struct Ejector {
    origin: Arc<str>,
    rule: Option<Eject>,
    servers: AtomicUsize,
    out: AtomicUsize,
}

/// What is known of one server.
pub(super) struct Record {
    ejector: Arc<Ejector>,
    server: Arc<str>,
    gauge: IntGauge,
    /// In a row.
    failures: AtomicU32,
    ejected: AtomicBool,
    times: Mutex<Times>,
}

#[derive(Default)]
struct Times {
    /// Ejections after which it has not stood for long.
    ejections: u32,
    back: Option<Instant>,
    broke: Option<Instant>,
}

impl Ejector {
    pub(super) fn new(origin: Arc<str>, rule: Option<Eject>, servers: usize) -> Arc<Self> {
        Arc::new(Self { origin, rule, servers: AtomicUsize::new(servers), out: AtomicUsize::new(0) })
    }

    /// How many may be out at once: their share, one at least, and never all.
    fn most(&self) -> usize {
        let percent = self.rule.as_ref().map_or(0, |rule| rule.share_percent as usize);
        let servers = self.servers.load(Ordering::Relaxed);
        (servers * percent / 100).max(1).min(servers.saturating_sub(1))
    }

    /// The group has so many servers now.
    pub(super) fn count(&self, servers: usize) {
        self.servers.store(servers, Ordering::Relaxed);
    }

    fn take_place(&self) -> bool {
        let most = self.most();
        let taken = |out: usize| (out < most).then_some(out + 1);
        self.out.fetch_update(Ordering::AcqRel, Ordering::Acquire, taken).is_ok()
    }
}

impl Record {
    pub(super) fn new(ejector: &Arc<Ejector>, server: Arc<str>, gauge: IntGauge) -> Arc<Self> {
        gauge.set(0);
        Arc::new(Self {
            ejector: Arc::clone(ejector),
            server,
            gauge,
            failures: AtomicU32::new(0),
            ejected: AtomicBool::new(false),
            times: Mutex::default(),
        })
    }

    pub(super) fn is_ejected(&self) -> bool {
        self.ejected.load(Ordering::Relaxed)
    }

    /// Whether it has broken off a body a moment ago.
    pub(super) fn is_shunned(&self) -> bool {
        self.times.lock().broke.is_some_and(|broke| broke.elapsed() < SHUNNED)
    }

    /// Whether the last thing known of it is no failure.
    pub(super) fn is_well(&self) -> bool {
        !self.is_ejected() && self.failures.load(Ordering::Relaxed) == 0
    }

    /// It has done what it was asked, to the last byte.
    pub(super) fn succeeded(&self) {
        self.failures.store(0, Ordering::Relaxed);
    }

    /// It has broken off a body.
    pub(super) fn broke(self: &Arc<Self>) {
        self.times.lock().broke = Some(Instant::now());
        self.failed();
    }

    /// It has failed.
    pub(super) fn failed(self: &Arc<Self>) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let Some(rule) = &self.ejector.rule else { return };
        // Without a runtime nobody would let it back in.
        let Ok(runtime) = Handle::try_current() else { return };
        if failures < rule.failures || self.is_ejected() || !self.ejector.take_place() {
            return;
        }
        if self.ejected.swap(true, Ordering::AcqRel) {
            self.ejector.out.fetch_sub(1, Ordering::AcqRel);
            return;
        }
        let now = Instant::now();
        let time = self.times.lock().next(rule, now);
        self.gauge.set(1);
        let (origin, server) = (&self.ejector.origin, &self.server);
        tracing::warn!(%origin, %server, failures, ?time, "an origin server is ejected: it fails again and again");
        runtime.spawn(readmit(Arc::downgrade(self), now + time, rule.failures));
    }

    fn come_back(&self, failures: u32) {
        self.failures.store(failures.saturating_sub(1), Ordering::Relaxed);
        if self.ejected.swap(false, Ordering::AcqRel) {
            self.ejector.out.fetch_sub(1, Ordering::AcqRel);
            self.gauge.set(0);
            let (origin, server) = (&self.ejector.origin, &self.server);
            tracing::info!(%origin, %server, "an ejected origin server is asked again");
        }
    }
}

async fn readmit(record: Weak<Record>, at: Instant, failures: u32) {
    tokio::time::sleep_until(at).await;
    if let Some(record) = record.upgrade() {
        record.come_back(failures);
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if self.is_ejected() {
            self.ejector.out.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl Times {
    /// How long it is ejected now: twice as long as before, unless it has stood for the longest time since.
    fn next(&mut self, rule: &Eject, now: Instant) -> Duration {
        if self.back.is_some_and(|back| now.saturating_duration_since(back) >= rule.time_max) {
            self.ejections = 0;
        }
        let doubled = 1_u32.checked_shl(self.ejections).unwrap_or(u32::MAX);
        let time = rule.time.saturating_mul(doubled).min(rule.time_max);
        self.ejections = self.ejections.saturating_add(1);
        self.back = Some(now + time);
        time
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;

    const TIME: Duration = Duration::from_secs(10);

    fn records(servers: usize, share_percent: u32) -> Vec<Arc<Record>> {
        let rule = Eject { failures: 3, time: TIME, time_max: 6 * TIME, share_percent };
        let ejector = Ejector::new("main".into(), Some(rule), servers);
        let record = |_| Record::new(&ejector, "server".into(), IntGauge::new("out", "out").unwrap());
        (0..servers).map(record).collect()
    }

    fn fail(record: &Arc<Record>, times: u32) {
        (0..times).for_each(|_| record.failed());
    }

    async fn pass(time: Duration) {
        // Slept, not advanced, so that the task that lets it back has run.
        tokio::time::sleep(time + Duration::from_millis(1)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_eject_and_a_success_between_them_does_not() {
        let records = records(2, 50);
        for _ in 0..10 {
            fail(&records[0], 2);
            records[0].succeeded();
        }
        assert!(!records[0].is_ejected());
        fail(&records[0], 3);
        assert!(records[0].is_ejected());
        assert_eq!(records[0].gauge.get(), 1);
        pass(TIME).await;
        assert!(!records[0].is_ejected());
        assert_eq!(records[0].gauge.get(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn each_time_is_twice_as_long_until_it_has_stood() {
        let records = records(2, 50);
        fail(&records[0], 3);
        for time in [TIME, 2 * TIME, 4 * TIME, 6 * TIME, 6 * TIME] {
            assert!(records[0].is_ejected(), "{time:?}");
            pass(time - Duration::from_secs(1)).await;
            assert!(records[0].is_ejected(), "{time:?}");
            pass(Duration::from_secs(1)).await;
            assert!(!records[0].is_ejected(), "{time:?}");
            // On probation: one is enough.
            fail(&records[0], 1);
        }
        pass(6 * TIME).await;
        records[0].succeeded();
        pass(6 * TIME).await;
        fail(&records[0], 3);
        pass(TIME).await;
        assert!(!records[0].is_ejected(), "it begins anew");
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_their_share_and_never_all() {
        for (servers, share, most) in
            [(1, 100, 0), (2, 0, 1), (2, 100, 1), (4, 50, 2), (5, 50, 2), (4, 100, 3)]
        {
            let records = records(servers, share);
            records.iter().for_each(|record| fail(record, 5));
            let out = records.iter().filter(|record| record.is_ejected()).count();
            assert_eq!(out, most, "{share} % of {servers}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_rule_nothing_is_ejected_and_a_broken_body_is_remembered_for_a_moment() {
        let ejector = Ejector::new("main".into(), None, 2);
        let record = Record::new(&ejector, "server".into(), IntGauge::new("out", "out").unwrap());
        (0..100).for_each(|_| record.broke());
        assert!(!record.is_ejected() && record.is_shunned());
        pass(SHUNNED).await;
        assert!(!record.is_shunned());
    }
}
