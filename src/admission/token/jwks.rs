//! Keys by URL: a JSON Web Key Set (RFC 7517 section 5), fetched by one task and read by all requests.
//!
//! Fetches at the start, again and again, and when a token names a key that is not in the set: one fetch at a time for
//! all who wait, and none within the policy's `retry` of the last. What cannot be fetched or is no set leaves the keys as
//! they were, for as long as the policy says (`stale`). The set has to come whole in time and in bounds, from the URL
//! itself: redirects are not followed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::format::{KeyEvents, KeySource, Refreshed};
use super::jws::keys::{Key, Use, from_set};
use crate::config::formats::jwks::{Fetch, JWKS_BYTES_MAX};

/// Keys by URL.
pub struct Source {
    config: Fetch,
    keys: ArcSwapOption<Vec<Key>>,
    asked: Notify,
    progress: watch::Sender<Progress>,
    is_running: AtomicBool,
}

/// What the fetches have come to.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// When the last one ended.
    ended: Option<Instant>,
    /// How often the keys have changed.
    changes: u64,
}

/// Why a set is not taken.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("{0}")]
    Http(#[from] ureq::Error),
    #[error("status {0}")]
    Status(u16),
    #[error("what came is no JSON Web Key Set, or none of its keys is of use")]
    NoSet,
    #[error("the fetch broke off")]
    Broken,
}

impl Source {
    /// A source that has not been asked yet.
    pub fn new(config: Fetch) -> Source {
        Source {
            config,
            keys: ArcSwapOption::empty(),
            asked: Notify::new(),
            progress: watch::Sender::new(Progress::default()),
            is_running: AtomicBool::new(false),
        }
    }

    /// The keys; None: they have not come, or are too old.
    pub fn keys(&self) -> Option<Arc<Vec<Key>>> {
        self.keys.load_full()
    }

    async fn fetch(&self) -> Result<Value, FetchError> {
        let (url, timeout) = (self.config.url.clone(), self.config.timeout);
        tokio::task::spawn_blocking(move || get(&url, timeout)).await.unwrap_or(Err(FetchError::Broken))
    }

    /// Waits until the next fetch is due, or asked for and allowed. `ended` is when the last one ended, as those who ask
    /// see it: whom they think allowed is not passed over.
    async fn due(&self, ended: Instant, wait: Duration) {
        let due = tokio::time::sleep(wait);
        tokio::pin!(due);
        loop {
            tokio::select! {
                () = &mut due => return,
                () = self.asked.notified() => {
                    if ended.elapsed() >= self.config.retry {
                        return;
                    }
                }
            }
        }
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("url", &self.config.url).finish_non_exhaustive()
    }
}

#[async_trait::async_trait]
impl KeySource for Source {
    async fn run(self: Arc<Self>, events: Arc<dyn KeyEvents>) {
        self.is_running.store(true, Ordering::Release);
        let mut held: Option<(Value, Instant)> = None;
        loop {
            let fetched = self.fetch().await;
            let has_failed = fetched.is_err();
            let refreshed = match fetched {
                Ok(set) if held.as_ref().is_some_and(|(known, _)| *known == set) => {
                    held = Some((set, Instant::now()));
                    Refreshed::Unchanged
                }
                Ok(set) => {
                    let keys = from_set(&set, false).unwrap_or_default();
                    let verifying = keys.into_iter().filter_map(|key| match key {
                        Use::Sign(key) => Some(key),
                        Use::Encrypt(_) => None,
                    });
                    self.keys.store(Some(Arc::new(verifying.collect())));
                    held = Some((set, Instant::now()));
                    Refreshed::Changed
                }
                Err(error) => {
                    tracing::warn!(url = self.config.url, %error, "keys could not be fetched");
                    let is_old = |(_, since): &(Value, Instant)| since.elapsed() >= self.config.stale;
                    if held.as_ref().is_some_and(is_old) {
                        held = None;
                        self.keys.store(None);
                        events.changed();
                    }
                    Refreshed::Failed
                }
            };
            if refreshed == Refreshed::Changed {
                events.changed();
            }
            events.refreshed(refreshed);
            let ended = Instant::now();
            self.progress.send_modify(|progress| {
                progress.ended = Some(ended);
                progress.changes += u64::from(refreshed == Refreshed::Changed);
            });
            self.due(ended, if has_failed { self.config.retry } else { self.config.refresh }).await;
        }
    }

    async fn refresh(&self) -> bool {
        let mut progress = self.progress.subscribe();
        let before = *progress.borrow_and_update();
        let is_early = before.ended.is_some_and(|ended| ended.elapsed() < self.config.retry);
        if is_early || !self.is_running.load(Ordering::Acquire) {
            return false;
        }
        self.asked.notify_one();
        progress.changed().await.is_ok() && progress.borrow().changes != before.changes
    }
}

fn get(url: &str, timeout: Duration) -> Result<Value, FetchError> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(timeout))
        .max_redirects(0)
        .http_status_as_error(false)
        .user_agent(concat!("forebay/", env!("CARGO_PKG_VERSION")))
        .build()
        .into();
    let mut answer = agent.get(url).header("accept", "application/json").call()?;
    let status = answer.status().as_u16();
    if status != 200 {
        return Err(FetchError::Status(status));
    }
    let body = answer.body_mut().with_config().limit(JWKS_BYTES_MAX).read_to_vec()?;
    let set = serde_json::from_slice(&body).map_err(|_| FetchError::NoSet)?;
    if from_set(&set, false).is_some() { Ok(set) } else { Err(FetchError::NoSet) }
}

#[cfg(test)]
mod tests;
