//! Purges: what may be asked for, what it comes to, and what is answered and logged of it.
//!
//! The operators' listener, its hook and the `PURGE` method all end here: [`order`] reads what is asked, [`resolve`]
//! finds the site and the key as a viewer's request would, the store does it, and [`audit`] writes a line for each
//! purge, granted or refused. Who may ask is decided by whoever calls: the bearer token by `admin`, an address by
//! `proxy`, a signature by [`hook`].

// In the order a purge meets them.
pub mod hook;
pub mod order;
mod resolve;
pub mod audit;

use std::sync::Arc;

use serde_json::{Value, json};

use crate::site::{Site, Sites};
use crate::store::Store;
use crate::store::disk::DiskError;
use crate::store::purges::{PurgeMode, PurgeTarget};
use audit::Asker;
use order::Order;

/// Purges, for everybody who may ask for one.
pub struct Purger {
    sites: Arc<Sites>,
    store: &'static Store,
    /// `limits.request_target`: no object has a longer target.
    target_bytes_max: usize,
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
    /// 200: in force. 400: nothing was purged. 500: in force, but a disk could not note it.
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
    /// Purges the store's objects, by the sites' rules about keys. `target_bytes_max` is `limits.request_target`.
    pub fn new(sites: Arc<Sites>, store: &'static Store, target_bytes_max: usize) -> Purger {
        Purger { sites, store, target_bytes_max }
    }

    /// Does what a JSON document asks for (see [`order`]), and logs it.
    pub async fn run(&self, asker: &Asker<'_>, body: &[u8]) -> Answer {
        let read = order::read(body)
            .and_then(|order| Ok((resolve::targets(&self.sites, self.target_bytes_max, &order)?, order)));
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
            Ok(targets) => self.purge(asker, targets, mode).await,
            Err(refusal) => refuse(asker, &refusal),
        }
    }

    async fn carry_out(&self, asker: &Asker<'_>, targets: Vec<PurgeTarget>, order: &Order) -> Answer {
        if order.dry_run {
            self.count(asker, targets, order.mode).await
        } else {
            self.purge(asker, targets, order.mode).await
        }
    }

    /// Every target is purged at once, also beside one that a disk cannot note; the disks note them together.
    async fn purge(&self, asker: &Asker<'_>, targets: Vec<PurgeTarget>, mode: PurgeMode) -> Answer {
        let noting: Vec<_> =
            targets.iter().map(|target| tokio::spawn(self.store.purge(target, mode))).collect();
        let mut done = Vec::with_capacity(targets.len());
        for (target, noted) in targets.into_iter().zip(noting) {
            let noted = noted.await.unwrap_or(Err(DiskError::Closed)).map_err(|error| error.to_string());
            audit::purged(asker, &target, mode, noted.as_ref().map_err(String::as_str).copied());
            done.push(Done { target, noted });
        }
        answer(&done, mode, self.store.generation())
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
            "mode": audit::mode_word(mode),
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
        "mode": audit::mode_word(mode),
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
