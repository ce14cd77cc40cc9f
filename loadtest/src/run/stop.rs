//! Ending a run before its time: asked once, it ends with what there is; asked again, at once. Whoever conducts a run has one,
//! and hands clones of it to everything that waits.

use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Whether a run is to end early. Clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    /// How often it was asked for.
    asked: Arc<watch::Sender<u32>>,
}

// === impl Stop ===

impl Stop {
    /// One that nobody has asked for yet.
    pub(crate) fn new() -> Self {
        Self { asked: Arc::new(watch::Sender::new(0)) }
    }

    /// One that SIGINT and SIGTERM ask for, from now on to the end of the process.
    pub(crate) fn on_signals() -> Result<Self> {
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        let stop = Self::new();
        let asks = stop.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => asks.ask(),
                    _ = terminate.recv() => asks.ask(),
                }
            }
        });
        Ok(stop)
    }

    pub(crate) fn ask(&self) {
        self.asked.send_modify(|count| *count += 1);
    }

    pub(crate) fn is_asked(&self) -> bool {
        *self.asked.borrow() > 0
    }

    /// Returns when it was asked for.
    pub(crate) async fn asked(&self) {
        self.asked_times(1).await;
    }

    /// Returns when it was asked for a second time: whoever asks does not want to wait for a clean end.
    pub(crate) async fn insisted(&self) {
        self.asked_times(2).await;
    }

    async fn asked_times(&self, times: u32) {
        // The sender is this value's own, so that it cannot be gone.
        self.asked.subscribe().wait_for(|count| *count >= times).await.ok();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    #[tokio::test]
    async fn who_waits_is_told_and_who_comes_later_too() {
        let stop = Stop::new();
        let waits = tokio::spawn({
            let stop = stop.clone();
            async move { stop.asked().await }
        });
        assert!(!stop.is_asked());
        stop.ask();
        waits.await.unwrap();
        stop.clone().asked().await;
        assert!(stop.is_asked());
    }

    #[tokio::test]
    async fn asking_twice_is_insisting() {
        let stop = Stop::new();
        stop.ask();
        assert!(futures_ready(stop.insisted()).await.is_none());
        stop.ask();
        assert!(futures_ready(stop.insisted()).await.is_some());
    }

    /// What a future has at once, if anything.
    async fn futures_ready<T>(future: impl Future<Output = T>) -> Option<T> {
        tokio::select! { biased; value = future => Some(value), () = std::future::ready(()) => None }
    }
}
