//! Why a node does not start: each reason names the configuration key at fault.

use std::net::SocketAddr;

use crate::fleet::FleetError;
use crate::origin::OriginSetupError;
use crate::purge::forward::ForwardError;
use crate::revoke::ledger::LedgerError;
use crate::store::disk::DiskError;

/// Why a node cannot start. Nothing has been started then.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be bound.
    #[error("{key}: {address} cannot be bound: {source}; free the address, or choose another")]
    Bind {
        /// The configuration key, with the place in its list.
        key: String,
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// A certificate or its key cannot be used.
    #[error("server.https: {0}; name a PEM certificate chain and its key")]
    Tls(String),
    /// An origin group cannot be set up.
    #[error(transparent)]
    Origin(#[from] OriginSetupError),
    /// The access log cannot be opened.
    #[error("log.access: {0}; name a file that can be appended to, \"stdout\" or \"off\"")]
    AccessLog(crate::observe::access_log::AccessLogError),
    /// A disk cannot be used.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The revocations cannot be read.
    #[error("revocation.file: {0}")]
    Revocations(#[from] LedgerError),
    /// The node cannot take part in its fleet.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// Purges cannot be passed on.
    #[error("purge.forward_state: {0}")]
    Forward(#[from] ForwardError),
    /// A metric is registered twice.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// Threads cannot be started.
    #[error("threads: {0}")]
    Threads(std::io::Error),
}

impl StartError {
    /// The configuration key at fault, where it is one.
    pub fn key(&self) -> &str {
        match self {
            StartError::Bind { key, .. } => key,
            StartError::Tls(_) => "server.https",
            StartError::Origin(_) => "origin",
            StartError::AccessLog(_) => "log.access",
            StartError::Disk(_) => "store.disk",
            StartError::Revocations(_) => "revocation.file",
            StartError::Fleet(_) => "fleet.state",
            StartError::Forward(_) => "purge.forward_state",
            StartError::Metrics(_) | StartError::Threads(_) => "server",
        }
    }
}
