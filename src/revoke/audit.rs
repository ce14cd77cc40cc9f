//! The line that is logged of every revocation: who asked for what, and what became of it.
//!
//! Lines go to the node's own log with the target `forebay::audit`, which is shown at every `log.level`. A refused one is
//! a line with the word of the reason, and without what was asked for.

use std::net::SocketAddr;

use crate::admission::revocation::Record;
use crate::observe::log::AUDIT;

/// Logs what is in force; `told` is whether the fleet was told, `failed` why the file could not note it.
pub(super) fn done(
    what: &str,
    result: &str,
    peer: SocketAddr,
    record: &Record,
    told: Option<bool>,
    failed: Option<&str>,
) {
    tracing::info!(
        target: AUDIT,
        result,
        by = "admin",
        %peer,
        what = record.identity.kind.as_str(),
        named = &*record.identity.value,
        policy = record.identity.policy.as_deref(),
        until = record.until,
        fleet_told = told,
        file_error = failed,
        "token {what}"
    );
}

/// Logs what was refused, with the word of the reason.
pub fn refused(what: &str, peer: Option<SocketAddr>, word: &str) {
    tracing::info!(
        target: AUDIT,
        result = "refused",
        by = "admin",
        peer = peer.map(tracing::field::display),
        reason = word,
        "token {what}"
    );
}
