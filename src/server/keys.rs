//! Keys that come from outside while the node runs: starts what fetches them, and has what depends on them follow.

use std::sync::Arc;

use tokio::runtime::Handle;

use crate::admission::token::Policy;
use crate::admission::token::format::{KeyEvents, Refreshed};
use crate::observe::Metrics;
use crate::site::Sites;

/// Starts the fetching of every policy's keys.
pub(super) fn start(runtime: &Handle, sites: &Sites, metrics: &Arc<Metrics>) {
    for policy in sites.token_policies() {
        if let Some(source) = policy.key_source() {
            let told = Told { policy: Arc::clone(policy), metrics: Arc::clone(metrics) };
            runtime.spawn(source.run(Arc::new(told)));
        }
    }
}

/// What follows from other keys.
struct Told {
    policy: Arc<Policy>,
    metrics: Arc<Metrics>,
}

impl KeyEvents for Told {
    fn changed(&self) {
        self.policy.forget();
        tracing::info!(policy = self.policy.name, "other keys verify tokens from now on");
    }

    fn refreshed(&self, refreshed: Refreshed) {
        self.metrics.jwks_refresh(&self.policy.name, refreshed.as_str());
    }
}
