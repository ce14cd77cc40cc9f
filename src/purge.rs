//! Purges: what may be asked for, what it comes to, and what is answered and logged of it.
//!
//! The operators' listener, its hook and the `PURGE` method all end here: [`order`] reads what is asked, [`resolve`]
//! finds the site and the key as a viewer's request would, the store does it, and [`audit`] writes a line for each
//! purge, granted or refused; [`forward`] passes it on. Nodes of a fleet are told ([`crate::fleet`]), and [`repeat`] knows what was asked for
//! before. Who may ask is decided by whoever calls: the bearer token by `admin`, an address by
//! `proxy`, a signature by [`hook`].

// In the order a purge meets them.
pub mod hook;
pub mod order;
mod resolve;
mod repeat;
pub mod audit;
pub mod forward;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::{Value, json};

use crate::fleet::message::{Message, PurgeId};
use crate::fleet::{Fleet, Spread};
use crate::site::{Site, Sites};
use crate::store::Store;
use crate::store::disk::DiskError;
use crate::store::purges::{PurgeMode, PurgeTarget};
use audit::Asker;
use forward::Forwarder;
use order::Order;
use repeat::{Repeats, Was};

/// Purges, for everybody who may ask for one.
pub struct Purger {
    sites: Arc<Sites>,
    store: &'static Store,
    /// `limits.request_target`: no object has a longer target.
    target_bytes_max: usize,
    /// Who else is to purge; None: nobody.
    fleet: Option<Arc<Fleet>>,
    repeats: Repeats,
    /// Passes on what is purged.
    forwarder: OnceLock<Arc<Forwarder>>,
}

/// Why a purge is not done: nothing has been purged then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// A word of a closed list, for the log and for programs.
    pub word: &'static str,
    /// A sentence that names the field and the remedy.
    pub reason: String,
}

/// What is answered, as HTTP status and JSON.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// 200: in force. 202: in force on this node, and not on all for which it was waited. 400: nothing was purged. 409:
    /// nothing was purged, since its `id` was that of another order. 500: in force, but a disk could
    /// not note it, or nobody can promise that other nodes are told.
    pub status: u16,
    /// The document.
    pub body: Value,
}

/// A target, and what became of its purge.
struct Done {
    target: PurgeTarget,
    /// The generation that it began, or why no disk may remember it.
    noted: Result<u64, String>,
}

impl Purger {
    /// Purges the store's objects, by the sites' rules about keys, and has the fleet do so. `target_bytes_max` is
    /// `limits.request_target`.
    pub fn new(
        sites: Arc<Sites>,
        store: &'static Store,
        target_bytes_max: usize,
        fleet: Option<Arc<Fleet>>,
    ) -> Purger {
        Purger {
            sites,
            store,
            target_bytes_max,
            fleet,
            repeats: Repeats::default(),
            forwarder: OnceLock::new(),
        }
    }

    /// Has what is purged passed on from now on; the first one stays.
    pub fn forward_by(&self, forwarder: Arc<Forwarder>) {
        let _ = self.forwarder.set(forwarder);
    }

    /// What is still to be passed on. None: nothing is.
    pub fn forwards(&self) -> Option<Value> {
        Some(self.forwarder.get()?.waiting())
    }

    /// Does what a JSON document asks for (see [`order`]), and logs it. `key` is the request's `Idempotency-Key`.
    pub async fn run(&self, asker: &Asker<'_>, body: &[u8], key: Option<&[u8]>) -> Answer {
        let read = order::read(body).and_then(|mut order| {
            key.map_or(Ok(()), |key| order::take_key(&mut order, key))?;
            Ok((resolve::targets(&self.sites, self.target_bytes_max, &order)?, order))
        });
        match read {
            Ok((targets, order)) => self.carry_out(asker, targets, &order).await,
            Err(refusal) => refuse(asker, &refusal),
        }
    }

    /// Purges the object that a request for this path and query would get, and logs it. The token may still be in both.
    pub async fn url(
        &self,
        asker: &Asker<'_>,
        site: &Site,
        path: &str,
        query: Option<&str>,
        mode: PurgeMode,
    ) -> Answer {
        match resolve::url_targets(site, path, query) {
            Ok(targets) => self.purge(asker, targets, mode, PurgeId::random(), None).await,
            Err(refusal) => refuse(asker, &refusal),
        }
    }

    async fn carry_out(&self, asker: &Asker<'_>, targets: Vec<PurgeTarget>, order: &Order) -> Answer {
        if order.dry_run {
            return self.count(asker, targets, order.mode).await;
        }
        let Some(key) = &order.id else {
            return self.purge(asker, targets, order.mode, PurgeId::random(), order.wait).await;
        };
        // Who comes with the same key waits until it is known what became of the first.
        let mut repeat = self.repeats.of(key).await;
        match repeat.was(&targets, order.mode, self.fleet.as_deref()).await {
            Was::New(id) => {
                let answer = self.purge(asker, targets, order.mode, id, None).await;
                repeat.becomes(id, &answer, self.fleet.as_deref()).await;
                // Who comes with the same key, here or elsewhere, waits for the other nodes himself.
                drop(repeat);
                match order.wait {
                    Some(_) => self.with_fleet(answer, id, order.wait).await,
                    None => answer,
                }
            }
            Was::Done(id, mut body) => {
                audit::repeated(asker);
                body["repeated"] = true.into();
                self.with_fleet(Answer { status: 200, body }, id, order.wait).await
            }
            Was::Other => {
                audit::refused(asker, "id");
                let reason = "id: was that of another order; give each order its own, and the same one only to repeat it";
                Answer { status: 409, body: json!({ "error": reason, "reason": "id" }) }
            }
        }
    }

    /// Every target is purged at once, also beside one that a disk cannot note; the disks note them together. The fleet is
    /// told, whatever disks do.
    async fn purge(
        &self,
        asker: &Asker<'_>,
        targets: Vec<PurgeTarget>,
        mode: PurgeMode,
        id: PurgeId,
        wait: Option<Duration>,
    ) -> Answer {
        // Another node was asked for the same, and has told this one: what was fetched since stays.
        let is_done = self.fleet.as_ref().is_some_and(|fleet| !fleet.begin_purge(id));
        let generation = self.store.generation();
        let purge = |target| match is_done {
            true => tokio::spawn(std::future::ready(Ok(generation))),
            false => tokio::spawn(self.store.purge(target, mode)),
        };
        let noting: Vec<_> = targets.iter().map(purge).collect();
        // A task of its own: the fleet is told, also when who asked has left.
        let telling = self.fleet.as_ref().map(|fleet| {
            let message = Message { id, node: fleet.name().to_owned(), mode, targets: targets.clone() };
            tokio::spawn(Arc::clone(fleet).tell_purge(message))
        });
        let mut done = Vec::with_capacity(targets.len());
        for (target, noted) in targets.into_iter().zip(noting) {
            let noted = noted.await.unwrap_or(Err(DiskError::Closed)).map_err(|error| error.to_string());
            audit::purged(asker, &target, mode, noted.as_ref().map_err(String::as_str).copied());
            done.push(Done { target, noted });
        }
        let mut answer = answer(&done, mode, self.store.generation());
        // After it is in force here: who fetches anew because another CDN has forgotten gets what is new.
        if let Some(forwarder) = self.forwarder.get() {
            let targets: Vec<_> = done.into_iter().map(|done| done.target).collect();
            answer.body["forwards"] = forwarder.pass_on(id, &targets, mode).await;
        }
        if let Some(telling) = telling {
            // It fails only while the node ends.
            let _ = telling.await;
        }
        self.with_fleet(answer, id, wait).await
    }

    /// The answer, with what has become of the purge on other nodes.
    async fn with_fleet(&self, mut answer: Answer, id: PurgeId, wait: Option<Duration>) -> Answer {
        let Some(fleet) = &self.fleet else { return answer };
        let spread = fleet.follow_purge(id, wait).await;
        if answer.status == 200 && wait.is_some() && !spread.is_everywhere() {
            answer.status = 202;
        }
        if let (None, Some(trouble)) = (&spread.at, &spread.trouble) {
            answer.status = 500;
            let reason = format!(
                "fleet.state cannot be written ({trouble}): the purge is in force on this node, and a kill before Redis is \
                 back would have the others never told; mend the file's folder and purge again"
            );
            answer.body["error"] = reason.into();
        }
        answer.body["id"] = id.to_string().into();
        answer.body["fleet"] = describe_spread(&spread);
        answer
    }

    /// Counting looks at every object in memory: not on a thread that serves.
    async fn count(&self, asker: &Asker<'_>, targets: Vec<PurgeTarget>, mode: PurgeMode) -> Answer {
        let store = self.store;
        let counted = tokio::task::spawn_blocking(move || {
            let count = |target: PurgeTarget| (store.count_named(&target), target);
            targets.into_iter().map(count).collect::<Vec<_>>()
        });
        let Ok(counted) = counted.await else {
            let reason = "the objects could not be counted: the node is ending".to_owned();
            return Answer { status: 500, body: json!({ "error": reason }) };
        };
        for (_, target) in &counted {
            audit::counted(asker, target, mode);
        }
        let shown = counted.iter().map(|(objects, target)| {
            let mut shown = describe(target);
            shown["objects_in_memory"] = (*objects).into();
            shown
        });
        let body = json!({
            "status": "dry_run",
            "mode": mode.as_str(),
            "generation": self.store.generation(),
            "targets": shown.collect::<Vec<_>>(),
        });
        Answer { status: 200, body }
    }
}

/// Logs a refusal, and answers it.
pub fn refuse(asker: &Asker<'_>, refusal: &Refusal) -> Answer {
    audit::refused(asker, refusal.word);
    Answer { status: 400, body: json!({ "error": refusal.reason, "reason": refusal.word }) }
}

fn answer(done: &[Done], mode: PurgeMode, generation: u64) -> Answer {
    let shown = done.iter().map(|done| {
        let mut shown = describe(&done.target);
        match &done.noted {
            Ok(generation) => shown["generation"] = (*generation).into(),
            Err(error) => shown["disk_error"] = error.as_str().into(),
        }
        shown
    });
    let shown: Vec<Value> = shown.collect();
    let forgettable = done.iter().filter(|done| done.noted.is_err()).count();
    let mut body = json!({
        "status": "purged",
        "mode": mode.as_str(),
        "generation": generation,
        "targets": shown,
    });
    if forgettable == 0 {
        return Answer { status: 200, body };
    }
    body["error"] = format!(
        "all {} targets are purged on this node now, but a disk could not note {forgettable} of them, which a restart \
         may forget: mend the disk (the targets say what failed) and purge those with `disk_error` again",
        done.len()
    )
    .into();
    Answer { status: 500, body }
}

/// What has become of a purge on other nodes.
fn describe_spread(spread: &Spread) -> Value {
    let mut shown = json!({ "told": spread.at.is_some() });
    if let Some(at) = &spread.at {
        shown["at"] = at.to_string().into();
    } else {
        let away = spread.away.as_deref().unwrap_or("Redis did not take it in time");
        shown["reason"] = format!("{away}; the other nodes are told when Redis is back").into();
    }
    if let Some((applied, missing)) = &spread.standings {
        shown["applied"] = json!(applied);
        shown["missing"] = json!(missing);
    }
    shown
}

/// A target as it is answered: its site, where it has one, and what of it is named.
fn describe(target: &PurgeTarget) -> Value {
    match target {
        PurgeTarget::Url { site, target } => json!({ "site": site, "url": target }),
        PurgeTarget::Prefix { site, path } => json!({ "site": site, "prefix": path }),
        PurgeTarget::Tag { site: Some(site), tag } => json!({ "site": site, "tag": tag }),
        PurgeTarget::Tag { site: None, tag } => json!({ "tag": tag }),
        PurgeTarget::Site(site) => json!({ "site": site }),
        PurgeTarget::Everything => json!({ "everything": true }),
    }
}

#[cfg(test)]
pub(crate) mod tests;
