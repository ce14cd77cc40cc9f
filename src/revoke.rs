//! Revocations, as operators give them: which tokens are refused from now on although they are good, and for how long.
//!
//! `POST /tokens/revoke` and its companions on the operators' listener end here: [`order`] reads what is asked, the
//! [`ledger`] does it and notes it in the node's file ([`file`]), the fleet is told, and [`audit`] writes a line for each,
//! granted or refused. What a revocation means for a request is decided by [`crate::admission::revocation`].

// In the order a revocation meets them.
pub mod order;
pub mod ledger;
pub mod file;
pub mod audit;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use serde_json::{Value, json};

use crate::admission::revocation::{Identity, Record};
use crate::clock::Clock;
use crate::fleet::Fleet;
use ledger::Ledger;
use order::Refusal;

/// Revocations told in one answer where nothing is said.
pub const LISTED_DEFAULT: usize = 1_000;

/// Revocations told in one answer, at most.
pub const LISTED_MAX: usize = 10_000;

/// Revokes and restores, for whoever may ask for it.
pub struct Revoker {
    ledger: Arc<Ledger>,
    fleet: Option<Arc<Fleet>>,
    policies: Vec<String>,
    clock: Clock,
}

/// What is answered, as HTTP status and JSON.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// 200: in force. 400: cannot be read. 404: nothing to take back. 500: in force, but the file could not note it.
    /// 507: there is no place for a further one.
    pub status: u16,
    /// The document.
    pub body: Value,
}

impl Revoker {
    /// Revokes in this ledger, and tells the fleet. `policies` are the names of the token policies.
    pub fn new(
        ledger: Arc<Ledger>,
        fleet: Option<Arc<Fleet>>,
        policies: Vec<String>,
        clock: Clock,
    ) -> Revoker {
        Revoker { ledger, fleet, policies, clock }
    }

    /// Revokes what a JSON document names (see [`order`]), and logs it. When the answer is made, no request that begins
    /// afterwards on this node is admitted by what was revoked.
    pub async fn revoke(&self, peer: SocketAddr, body: &[u8]) -> Answer {
        let now = self.clock.unix_seconds();
        let order = match order::revocation(body, &self.policies, now) {
            Ok(order) => order,
            Err(refusal) => return refuse("revoke", peer, 400, &refusal),
        };
        match self.ledger.table().revoke(order.identity, order.until, self.millis()) {
            Ok(record) => self.done("revoke", "revoked", peer, record).await,
            Err(full) => refuse("revoke", peer, 507, &Refusal { word: "full", reason: full.to_string() }),
        }
    }

    /// Takes back the revocation that a JSON document names, and logs it.
    pub async fn restore(&self, peer: SocketAddr, body: &[u8]) -> Answer {
        let identity = match order::restoration(body, &self.policies) {
            Ok(identity) => identity,
            Err(refusal) => return refuse("restore", peer, 400, &refusal),
        };
        match self.ledger.table().restore(&identity, self.millis()) {
            Some(record) => self.done("restore", "restored", peer, record).await,
            None => {
                let reason = "no such revocation is in force: GET /tokens/revocations lists those that are; one \
                              that names a policy is another than one that does not";
                let refusal = Refusal { word: "unknown", reason: reason.to_owned() };
                refuse("restore", peer, 404, &refusal)
            }
        }
    }

    /// The revocations in force, the latest first, as many as asked for. Looks at every one.
    pub fn list(&self, limit: usize) -> Value {
        let now = self.clock.unix_seconds();
        let mut records = self.ledger.table().records(now);
        records.retain(|record| record.is_in_force(now));
        records.sort_unstable_by_key(|record| std::cmp::Reverse(record.at));
        let shown: Vec<Value> =
            records.iter().take(limit.min(LISTED_MAX)).map(|record| describe(record)).collect();
        json!({ "total": records.len(), "revocations": shown })
    }

    /// Has the file note what is in force, and tells the fleet.
    async fn done(&self, what: &str, result: &'static str, peer: SocketAddr, record: Arc<Record>) -> Answer {
        let (ledger, noted) = (Arc::clone(&self.ledger), Arc::clone(&record));
        // Syncing waits for a disk: not on a thread that serves.
        let noted = tokio::task::spawn_blocking(move || ledger.note(&[noted])).await;
        let told = match &self.fleet {
            Some(fleet) => Some(fleet.tell(&[Arc::clone(&record)]).await.is_ok()),
            None => None,
        };
        let failed = match noted {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("the node is ending".to_owned()),
        };
        audit::done(what, result, peer, &record, told, failed.as_deref());
        let mut body = describe(&record);
        body["status"] = result.into();
        if let Some(told) = told {
            body["fleet"] = if told { "told" } else { "away" }.into();
        }
        let Some(failed) = failed else {
            return Answer { status: 200, body };
        };
        body["error"] = format!(
            "{result} on this node now, but its file could not note it, and a restart may forget it: {failed}; mend \
             the disk and ask again"
        )
        .into();
        Answer { status: 500, body }
    }

    fn millis(&self) -> u64 {
        let since = self.clock.now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

/// Logs a refusal, and answers it.
fn refuse(what: &str, peer: SocketAddr, status: u16, refusal: &Refusal) -> Answer {
    audit::refused(what, Some(peer), refusal.word);
    Answer { status, body: json!({ "error": refusal.reason, "reason": refusal.word }) }
}

/// A record as it is answered.
fn describe(record: &Record) -> Value {
    let Identity { kind, value, policy } = &record.identity;
    let mut shown = json!({ kind.as_str(): value, "until": record.until });
    if let Some(policy) = policy {
        shown["policy"] = (**policy).into();
    }
    shown
}
