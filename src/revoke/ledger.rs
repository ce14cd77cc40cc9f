//! What is revoked, and where that is noted: the table that requests are decided by, and the file that outlives a restart.
//!
//! A record is in force before it is noted. Called by [`super::Revoker`], and by the fleet for what other nodes were told.

use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus::{IntCounter, IntGaugeVec, Opts, Registry};

use super::file::{FileError, RevocationFile};
use crate::admission::revocation::{Kind, Record, Revocations};
use crate::clock::Clock;
use crate::fleet::Keeper;

/// The revocations of a node.
#[derive(Debug)]
pub struct Ledger {
    table: Revocations,
    file: Option<Mutex<RevocationFile>>,
    clock: Clock,
    gauge: IntGaugeVec,
    lost: IntCounter,
}

/// Why there is no ledger.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// A metric is registered twice.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
}

impl Ledger {
    /// A ledger of at most `limit` records (`limits.revocations`), with what its file holds.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn open(
        file: Option<&Path>,
        limit: usize,
        clock: Clock,
        registry: &Registry,
    ) -> Result<Ledger, LedgerError> {
        let seed = getrandom::u64().map_err(LedgerError::Random)?;
        let table = Revocations::new(limit, seed);
        let file = match file {
            Some(path) => Some(Mutex::new(RevocationFile::open(path, &table, clock.unix_seconds())?)),
            None => None,
        };
        let gauge = IntGaugeVec::new(
            Opts::new("forebay_token_revocations", "Revocations in force, by what they name."),
            &["what"],
        )?;
        let lost = IntCounter::new(
            "forebay_token_revocations_lost_total",
            "Revocations of other nodes that this one has no place for.",
        )?;
        registry.register(Box::new(gauge.clone()))?;
        registry.register(Box::new(lost.clone()))?;
        Ok(Ledger { table, file, clock, gauge, lost })
    }

    /// What requests are decided by.
    pub fn table(&self) -> &Revocations {
        &self.table
    }

    /// Notes records in the file, where there is one. Returns when they are on the disk; waits for it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn note(&self, records: &[Arc<Record>]) -> Result<(), FileError> {
        match &self.file {
            Some(file) if !records.is_empty() => {
                file.lock().note(records, || self.table.records(self.clock.unix_seconds()))
            }
            _ => Ok(()),
        }
    }

    /// Forgets what has ended. Called now and then.
    pub fn sweep(&self) {
        self.table.sweep(self.clock.unix_seconds());
    }

    /// Sets the gauges. Looks at every record.
    pub fn update_gauges(&self) {
        let now = self.clock.unix_seconds();
        let mut counts = [0_i64; Kind::ALL.len()];
        for record in self.table.records(now).iter().filter(|record| record.is_in_force(now)) {
            counts[record.identity.kind as usize] += 1;
        }
        for (kind, count) in Kind::ALL.into_iter().zip(counts) {
            self.gauge.with_label_values(&[kind.as_str()]).set(count);
        }
    }
}

impl Keeper for Ledger {
    fn records(&self) -> Vec<Arc<Record>> {
        self.table.records(self.clock.unix_seconds())
    }

    fn merge(&self, records: Vec<Record>) {
        let merged = self.table.merge(records, self.clock.unix_seconds());
        if merged.refused > 0 {
            self.lost.inc_by(merged.refused as u64);
            tracing::error!(
                revocations = merged.refused,
                limit = self.table.limit(),
                "limits.revocations: there is no place for revocations of other nodes: raise it to what they have"
            );
        }
        if let Err(error) = self.note(&merged.changed) {
            tracing::error!(%error, "revocations of other nodes are in force, but a restart may forget them");
        }
    }
}
