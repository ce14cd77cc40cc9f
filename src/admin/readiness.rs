//! Whether the node should get traffic: `GET /readyz`.
//!
//! Holds what the start-up and the shutdown tell it; decides nothing else. Ready is: started, and not draining.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use serde::Serialize;

/// Flags that start-up and shutdown set.
#[derive(Default)]
pub struct Readiness {
    started: AtomicBool,
    draining: AtomicBool,
    detail: Mutex<String>,
    watched: Mutex<Vec<(&'static str, Watch)>>,
}

/// Says what is wrong with something that the node serves without; None: nothing is.
pub type Watch = Box<dyn Fn() -> Option<String> + Send + Sync>;

/// What `GET /readyz` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether every check passes.
    pub ready: bool,
    /// Every check.
    pub checks: Vec<Check>,
    /// What does not work and the node serves without.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Check>,
}

/// One reason to be ready or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Its name.
    pub name: &'static str,
    /// Whether it passes.
    pub ok: bool,
    /// What it waits for; left out where it passes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl Readiness {
    /// Not started yet.
    pub fn new() -> Readiness {
        Readiness::default()
    }

    /// Tells what the start waits for.
    pub fn set_detail(&self, detail: impl Into<String>) {
        *self.detail.lock() = detail.into();
    }

    /// Adds something that is told where it does not work, and keeps no traffic away.
    pub fn watch(&self, name: &'static str, watch: Watch) {
        self.watched.lock().push((name, watch));
    }

    /// Every listener is bound and served.
    pub fn set_started(&self) {
        self.detail.lock().clear();
        self.started.store(true, Ordering::Release);
    }

    /// The node is about to end. There is no way back.
    pub fn set_draining(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Whether the node should get traffic.
    pub fn is_ready(&self) -> bool {
        self.started.load(Ordering::Acquire) && !self.draining.load(Ordering::Acquire)
    }

    /// Every check and what came of it.
    pub fn report(&self) -> Report {
        let started = self.started.load(Ordering::Acquire);
        let draining = self.draining.load(Ordering::Acquire);
        let waits_for = || {
            let detail = self.detail.lock().clone();
            if detail.is_empty() { "the node is starting".to_owned() } else { detail }
        };
        let checks = vec![
            Check { name: "started", ok: started, detail: (!started).then(waits_for) },
            Check {
                name: "not_draining",
                ok: !draining,
                detail: draining.then(|| "the node finishes what is under way and ends".to_owned()),
            },
        ];
        let watched = self.watched.lock();
        let warning = |(name, watch): &(&'static str, Watch)| {
            watch().map(|detail| Check { name, ok: false, detail: Some(detail) })
        };
        let warnings = watched.iter().filter_map(warning).collect();
        Report { ready: checks.iter().all(|check| check.ok), checks, warnings }
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readiness").field("report", &self.report()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_started_and_not_draining() {
        let readiness = Readiness::new();
        assert!(!readiness.is_ready());
        readiness.set_detail("the cache is opened");
        assert_eq!(readiness.report().checks[0].detail.as_deref(), Some("the cache is opened"));
        readiness.set_started();
        assert!(readiness.is_ready() && readiness.report().ready);
        assert_eq!(readiness.report().checks[0].detail, None);
        readiness.watch("fleet", Box::new(|| Some("away".to_owned())));
        readiness.watch("other", Box::new(|| None));
        let report = readiness.report();
        assert!(report.ready, "a warning keeps no traffic away");
        assert_eq!(report.warnings.iter().map(|warning| warning.name).collect::<Vec<_>>(), ["fleet"]);
        readiness.set_draining();
        assert!(!readiness.is_ready() && !readiness.report().ready);
        readiness.set_started();
        assert!(!readiness.is_ready(), "there is no way back from draining");
    }
}
