//! A crowd of viewers that work off one list of requests, one connection each. Which requests these are, the
//! benchmarks decide; every answer is checked as `http1` does it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Result, bail};
use tokio::task::JoinSet;

use crate::content::Object;
use crate::http1::Client;

/// Failed requests after which a viewer gives up: each may have taken as long as an exchange may.
const FAILURES_MAX: usize = 3;

/// What is looked at in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// Every byte.
    Bytes,
    /// Its length alone.
    Length,
}

/// What a crowd got.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    /// Whole answers.
    pub(crate) answers: u64,
    /// Those of them that the cache said it held.
    pub(crate) hits: u64,
    /// Bytes of their bodies.
    pub(crate) bytes: u64,
    /// From the first request to the last answer, in seconds.
    pub(crate) seconds: f64,
    pub(crate) errors: Vec<String>,
}

// === impl Outcome ===

impl Outcome {
    /// Fails with the first error, and how many there are.
    pub(crate) fn complete(self) -> Result<Self> {
        match self.errors.first() {
            Some(first) => bail!("{} failed requests, the first: {first}", self.errors.len()),
            None => Ok(self),
        }
    }

    /// Bytes per second, in units of a million.
    pub(crate) fn megabytes_per_second(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.seconds
    }

    fn add(&mut self, other: Self) {
        self.answers += other.answers;
        self.hits += other.hits;
        self.bytes += other.bytes;
        self.errors.extend(other.errors);
    }
}

/// Sends `requests` requests, for what `object` names, on `clients` connections; each viewer takes the next when it
/// has its answer.
pub(crate) async fn ask(
    host: SocketAddr,
    clients: u32,
    requests: u64,
    check: Check,
    object: impl Fn(u64) -> Object + Send + Sync + 'static,
) -> Outcome {
    let (next, object) = (Arc::new(AtomicU64::new(0)), Arc::new(object));
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..clients {
        let (next, object) = (Arc::clone(&next), Arc::clone(&object));
        tasks.spawn(async move { viewer(host, &next, requests, check, &*object).await });
    }
    let mut sum = Outcome::default();
    tasks.join_all().await.into_iter().for_each(|outcome| sum.add(outcome));
    Outcome { seconds: start.elapsed().as_secs_f64(), ..sum }
}

async fn viewer(
    host: SocketAddr,
    next: &AtomicU64,
    requests: u64,
    check: Check,
    object: &(impl Fn(u64) -> Object + Sync),
) -> Outcome {
    let mut outcome = Outcome::default();
    let mut connection = None;
    loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        if index >= requests || outcome.errors.len() == FAILURES_MAX {
            return outcome;
        }
        let object = object(index);
        match exchange(host, connection.take(), &object, check).await {
            Ok((client, hit)) => {
                connection = Some(client);
                outcome.answers += 1;
                outcome.hits += u64::from(hit);
                outcome.bytes += object.size;
            }
            Err(error) => outcome.errors.push(format!("{error:#}")),
        }
    }
}

/// One request, on the last connection if it is still good; returns the connection, and whether it was a hit.
async fn exchange(
    host: SocketAddr,
    connection: Option<Client>,
    object: &Object,
    check: Check,
) -> Result<(Client, bool)> {
    let mut client = match connection {
        Some(client) => client,
        None => Client::connect(host).await?,
    };
    let timing = match check {
        Check::Bytes => client.get(object).await?,
        Check::Length => client.skim(object).await?,
    };
    Ok((client, timing.hit))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use std::time::Duration;

    use super::*;
    use crate::origin::Origin;

    #[tokio::test]
    async fn each_request_of_the_list_is_sent_once() {
        let origin = Origin::start().unwrap();
        let object = |index: u64| Object::new(&format!("crowd-{index}"), 1000 + index, Duration::ZERO);
        for check in [Check::Bytes, Check::Length] {
            let outcome = ask(origin.address(), 3, 20, check, object).await.complete().unwrap();
            assert_eq!((outcome.answers, outcome.hits), (20, 0));
            assert_eq!(outcome.bytes, 20 * 1000 + (0..20).sum::<u64>());
        }
        assert!((0..20).all(|index| origin.requests(&object(index)) == 2));
    }

    #[tokio::test]
    async fn a_viewer_whose_requests_fail_gives_up() {
        let origin = Origin::start().unwrap();
        let nothing = |_| Object { path: "/other".into(), size: 1, pace: Duration::ZERO };
        let outcome = ask(origin.address(), 2, 1000, Check::Bytes, nothing).await;
        assert_eq!(outcome.errors.len(), 2 * FAILURES_MAX);
        assert!(outcome.complete().unwrap_err().to_string().contains("6 failed requests"));
    }
}
