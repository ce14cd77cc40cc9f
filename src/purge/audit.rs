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

/// The word for a mode.
pub const fn mode_word(mode: PurgeMode) -> &'static str {
    match mode {
        PurgeMode::Soft => "soft",
        PurgeMode::Hard => "hard",
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

/// Logs a purge that was refused, with the word of the reason.
pub fn refused(asker: &Asker<'_>, word: &str) {
    line(asker, "refused", None, None, Some(word), None);
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
    let (what, site, named) = purge.map_or((None, None, None), |(target, ..)| shown(target));
    tracing::info!(
        target: AUDIT,
        result,
        by = asker.way.as_str(),
        key,
        client,
        peer = asker.peer.map(tracing::field::display),
        what,
        site,
        named,
        mode = purge.map(|(_, mode, _)| mode_word(mode)),
        dry_run = purge.map(|(_, _, dry_run)| dry_run),
        generation,
        reason,
        disk_error,
        "purge"
    );
}

/// What is purged: the field that names it, the site, and the text.
fn shown(target: &PurgeTarget) -> (Option<&'static str>, Option<&str>, Option<&str>) {
    match target {
        PurgeTarget::Url { site, target } => (Some("url"), Some(site), Some(target)),
        PurgeTarget::Prefix { site, path } => (Some("prefix"), Some(site), Some(path)),
        PurgeTarget::Tag { site, tag } => (Some("tag"), site.as_deref(), Some(tag)),
        PurgeTarget::Site(site) => (Some("site"), Some(site), None),
        PurgeTarget::Everything => (Some("everything"), None, None),
    }
}
