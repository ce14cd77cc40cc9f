//! How tests wait: for an event or a condition, always with a deadline that names what did not come. Nothing here
//! decides an outcome by elapsed time; the deadlines only turn a hang into a failure.

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;

/// The longest any one wait of a test may take before it counts as a hang: many times what a busy machine needs.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// Time between two looks at a condition that no event announces.
pub const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The result of `future`; panics with `what` when the deadline passes first.
#[track_caller]
pub fn within<F: Future>(what: &str, future: F) -> impl Future<Output = F::Output> {
    let caller = std::panic::Location::caller();
    let what = what.to_owned();
    let future = Box::pin(future);
    async move {
        match tokio::time::timeout(DEADLINE, future).await {
            Ok(result) => result,
            Err(_) => panic!("nothing within {DEADLINE:?} at {caller}: {what}"),
        }
    }
}

/// Waits until `condition` holds; panics with `what` when the deadline passes first.
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) -> impl Future<Output = ()> {
    within(what, async move {
        while !condition() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    })
}

/// A gate that a scripted origin stands before until the test opens it. Clones are the same gate; it stays open.
#[derive(Clone, Debug)]
pub struct Gate(watch::Sender<bool>);

impl Gate {
    /// A closed gate.
    pub fn closed() -> Gate {
        Gate(watch::Sender::new(false))
    }

    /// Lets everyone through, now and later.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    /// Returns when the gate is open.
    pub async fn passed(&self) {
        let mut state = self.0.subscribe();
        // An error would mean that every sender is gone, and `self` holds one.
        let _ = state.wait_for(|open| *open).await;
    }
}
