//! The line that is logged of every purge: who asked for what, and what became of it.
//!
//! Lines go to the node's own log with the target `forebay::audit`, which is shown at every `log.level`: a purge that
//! nobody could trace would be worse than a long log. An order with several targets is several purges, and as many
//! lines. A refused order is one line, with the word of the reason and without what was asked for, which may hold a
//! token.

use std::net::{IpAddr, SocketAddr};

use crate::observe::log::AUDIT;
use crate::store::purges::{PurgeMode, PurgeTarget};

/// Who asks for a purge.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// On which way.
    pub way: Way<'a>,
    /// The other end of the connection.
    pub peer: Option<SocketAddr>,
}

/// The ways to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way<'a> {
    /// The operators' listener.
    Admin,
    /// Its hook; the name of the key that signed, where it is known.
    Hook(Option<&'a str>),
    /// The `PURGE` method; the client, after trusted proxies.
    Method(IpAddr),
}

impl Way<'_> {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Way::Admin => "admin",
            Way::Hook(_) => "hook",
            Way::Method(_) => "method",
        }
    }
}

/// Logs a purge that is in force; `noted` is its generation, or why a disk could not note it.
pub(super) fn purged(asker: &Asker<'_>, target: &PurgeTarget, mode: PurgeMode, noted: Result<u64, &str>) {
    let result = if noted.is_ok() { "purged" } else { "purged_not_noted" };
    line(asker, result, Some((target, mode, false)), noted.ok(), None, noted.err());
}

/// Logs a dry run.
pub(super) fn counted(asker: &Asker<'_>, target: &PurgeTarget, mode: PurgeMode) {
    line(asker, "dry_run", Some((target, mode, true)), None, None, None);
}

/// Logs an order that has been carried out before, by its `id`.
pub(super) fn repeated(asker: &Asker<'_>) {
    line(asker, "repeated", None, None, None, None);
}

/// Logs a purge that was refused, with the word of the reason.
pub fn refused(asker: &Asker<'_>, word: &str) {
    line(asker, "refused", None, None, Some(word), None);
}

/// Logs what became of passing a purge on to the place of this name.
pub(super) fn passed_on(
    to: &str,
    id: &str,
    (target, mode): (&PurgeTarget, PurgeMode),
    result: &str,
    failure: Option<&str>,
) {
    let (site, named) = target.named();
    tracing::info!(
        target: AUDIT,
        result,
        to,
        id,
        what = target.scope(),
        site,
        named,
        mode = mode.as_str(),
        failure,
        "purge passed on"
    );
}

fn line(
    asker: &Asker<'_>,
    result: &str,
    purge: Option<(&PurgeTarget, PurgeMode, bool)>,
    generation: Option<u64>,
    reason: Option<&str>,
    disk_error: Option<&str>,
) {
    let (key, client) = match asker.way {
        Way::Admin => (None, None),
        Way::Hook(key) => (key, None),
        Way::Method(client) => (None, Some(tracing::field::display(client))),
    };
    let (site, named) = purge.map_or((None, None), |(target, ..)| target.named());
    tracing::info!(
        target: AUDIT,
        result,
        by = asker.way.as_str(),
        key,
        client,
        peer = asker.peer.map(tracing::field::display),
        what = purge.map(|(target, ..)| target.scope()),
        site,
        named,
        mode = purge.map(|(_, mode, _)| mode.as_str()),
        dry_run = purge.map(|(_, _, dry_run)| dry_run),
        generation,
        reason,
        disk_error,
        "purge"
    );
}
