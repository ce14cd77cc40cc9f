//! Orders that come again: what an order's `id` (or `Idempotency-Key`) has stood for, here and on other nodes.
//!
//! A sender that got no answer sends again; the purge is done once, and answered again. An order that could not be noted by
//! all disks is not remembered, so that it is done again. Other nodes are asked through the fleet; without it, and while that
//! is away, each node knows what it was asked itself.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::OwnedMutexGuard;
use xxhash_rust::xxh3::xxh3_128;

use super::Answer;
use crate::fleet::message::{Message, PurgeId};
use crate::fleet::{ASKED_LIFE, Fleet};
use crate::store::purges::{PurgeMode, PurgeTarget};

/// Keys that are remembered; beyond it the oldest are forgotten.
pub(super) const KEYS_MAX: usize = 4096;

/// The keys.
#[derive(Debug, Default)]
pub(super) struct Repeats(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    orders: HashMap<u128, (Instant, Slot)>,
    /// The oldest first.
    order: VecDeque<u128>,
}

type Slot = Arc<tokio::sync::Mutex<Option<StandsFor>>>;

/// What a key stands for.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct StandsFor {
    /// Of targets and mode.
    order: String,
    id: PurgeId,
    /// The document that was answered; None: it is being done.
    body: Option<Value>,
}

/// One key, held until it is let go.
pub(super) struct Repeat {
    key: String,
    order: String,
    slot: OwnedMutexGuard<Option<StandsFor>>,
}

/// What a key has stood for so far.
#[derive(Debug)]
pub(super) enum Was {
    /// Nothing that is done; the purge is to be known by this.
    New(PurgeId),
    /// This order, and what was answered.
    Done(PurgeId, Value),
    /// Another order.
    Other,
}

impl Repeats {
    /// What is known of a key; who asks for the same one waits until this is let go.
    pub(super) async fn of(&self, key: &str) -> Repeat {
        let digest = xxh3_128(key.as_bytes());
        let slot = {
            let mut known = self.0.lock();
            let is_old = |at: &Instant| at.elapsed() > ASKED_LIFE;
            if known.orders.get(&digest).is_some_and(|(at, _)| is_old(at)) {
                known.orders.remove(&digest);
                known.order.retain(|known| *known != digest);
            }
            if known.order.len() >= KEYS_MAX
                && !known.orders.contains_key(&digest)
                && let Some(oldest) = known.order.pop_front()
            {
                known.orders.remove(&oldest);
            }
            let Known { orders, order } = &mut *known;
            let (_, slot) = orders.entry(digest).or_insert_with(|| {
                order.push_back(digest);
                (Instant::now(), Slot::default())
            });
            Arc::clone(slot)
        };
        Repeat { key: format!("{digest:032x}"), order: String::new(), slot: slot.lock_owned().await }
    }
}

impl Repeat {
    /// What the key has stood for.
    pub(super) async fn was(
        &mut self,
        targets: &[PurgeTarget],
        mode: PurgeMode,
        fleet: Option<&Fleet>,
    ) -> Was {
        self.order = digest(targets, mode);
        if let Some(known) = self.slot.clone() {
            return known.was(&self.order);
        }
        let id = PurgeId::random();
        let stands_for = StandsFor { order: self.order.clone(), id, body: None };
        let Some(fleet) = fleet else { return Was::New(id) };
        let known = fleet.asked(&self.key, &text(&stands_for)).await;
        match known.ok().flatten().and_then(|known| serde_json::from_str::<StandsFor>(&known).ok()) {
            Some(known) => known.was(&self.order),
            None => Was::New(id),
        }
    }

    /// Notes what has become of it.
    pub(super) async fn becomes(&mut self, id: PurgeId, answer: &Answer, fleet: Option<&Fleet>) {
        if !matches!(answer.status, 200 | 202) {
            return;
        }
        let mut body = answer.body.clone();
        if let Some(fields) = body.as_object_mut() {
            // It is looked at anew.
            fields.remove("fleet");
        }
        let stands_for = StandsFor { order: std::mem::take(&mut self.order), id, body: Some(body) };
        if let Some(fleet) = fleet {
            fleet.answered(&self.key, &text(&stands_for)).await;
        }
        *self.slot = Some(stands_for);
    }
}

impl StandsFor {
    /// While another node does it, it is done here too, as the same purge.
    fn was(self, order: &str) -> Was {
        match self.body {
            _ if self.order != order => Was::Other,
            Some(body) => Was::Done(self.id, body),
            None => Was::New(self.id),
        }
    }
}

/// The same for the same targets and mode.
fn digest(targets: &[PurgeTarget], mode: PurgeMode) -> String {
    let message = Message { id: PurgeId::default(), node: String::new(), mode, targets: targets.to_vec() };
    format!("{:032x}", xxh3_128(message.to_text().as_bytes()))
}

fn text(stands_for: &StandsFor) -> String {
    // Text and a document always make JSON.
    serde_json::to_string(stands_for).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use serde_json::json;

    use super::*;

    const ALL: &[PurgeTarget] = &[PurgeTarget::Everything];

    async fn ask(repeats: &Repeats, key: &str, status: u16) -> Was {
        let mut repeat = repeats.of(key).await;
        let was = repeat.was(ALL, PurgeMode::Soft, None).await;
        if let Was::New(id) = was {
            let body = json!({ "status": "purged", "fleet": 1 });
            repeat.becomes(id, &Answer { status, body }, None).await;
        }
        was
    }

    #[tokio::test]
    async fn an_order_is_known_by_its_key_once_it_is_done() {
        let repeats = Repeats::default();
        assert!(matches!(ask(&repeats, "a", 500).await, Was::New(_)));
        let Was::New(id) = ask(&repeats, "a", 200).await else { panic!("it was not done") };
        let Was::Done(again, body) = ask(&repeats, "a", 200).await else { panic!("it is done") };
        assert_eq!((again, body), (id, json!({ "status": "purged" })));
        assert!(matches!(ask(&repeats, "b", 200).await, Was::New(_)));
        let mut repeat = repeats.of("a").await;
        assert!(matches!(repeat.was(ALL, PurgeMode::Hard, None).await, Was::Other));
    }

    #[tokio::test]
    async fn keys_are_bounded() {
        let repeats = Repeats::default();
        for key in 0..=KEYS_MAX {
            ask(&repeats, &key.to_string(), 200).await;
        }
        let lens = |known: &Known| (known.orders.len(), known.order.len());
        assert_eq!(lens(&repeats.0.lock()), (KEYS_MAX, KEYS_MAX));
        assert!(matches!(ask(&repeats, "0", 200).await, Was::New(_)));
    }
}
