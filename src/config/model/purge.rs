//! `[purge]` and `[revocation]`, checked: who may purge, who is told of it, and where revocations are noted.

use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, Method};
use ipnet::IpNet;

use super::Secret;

/// `[purge]`
#[derive(Clone, Debug, Default)]
pub struct Purge {
    /// Clients whose `PURGE` requests purge; empty: the method means nothing.
    pub method_from: Vec<IpNet>,
    /// `POST /purge/hook`; None: there is none.
    pub hook: Option<PurgeHook>,
    /// Where purges that are still to be passed on are noted; None: they live in memory.
    pub forward_state: Option<PathBuf>,
    /// Where purges are passed on to; their names differ.
    pub forward: Vec<Forward>,
}

/// `[[purge.forward]]`
#[derive(Clone, Debug)]
pub struct Forward {
    /// Its name.
    pub name: String,
    /// The URL, with words in braces.
    pub url: String,
    /// The method.
    pub method: Method,
    /// Fields, with words in braces in their values.
    pub headers: Vec<(HeaderName, String)>,
    /// Fields whose values are secret.
    pub secret_headers: Vec<(HeaderName, Secret)>,
    /// The body, with words in braces; None: the purge as JSON.
    pub body: Option<String>,
    /// What is passed on: words of [`Forward::SCOPES`].
    pub scopes: Vec<&'static str>,
    /// The key that signs.
    pub sign: Option<HookKey>,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// Attempts at most, at least one.
    pub attempts: u32,
    /// How long a purge is sent at most.
    pub give_up: Duration,
    /// Purges that wait at most, at least one.
    pub queue: usize,
}

impl Forward {
    /// What a purge may name.
    pub const SCOPES: [&'static str; 5] = ["url", "prefix", "tag", "site", "everything"];
    /// The words that may stand in braces.
    pub const WORDS: [&'static str; 6] = ["id", "scope", "mode", "site", "path", "tag"];
}

/// `hook` of `[purge]`.
#[derive(Clone, Debug)]
pub struct PurgeHook {
    /// Keys that may sign; their names differ.
    pub keys: Vec<HookKey>,
    /// How far the time of a signature may be from the node's own, before and after.
    pub window: Duration,
}

/// A key that may sign what the hook is sent.
#[derive(Clone, Debug)]
pub struct HookKey {
    /// Its name in signatures and in the log.
    pub id: String,
    /// Its bytes.
    pub secret: Secret,
}

/// `[revocation]`
#[derive(Clone, Debug, Default)]
pub struct Revocation {
    /// The file they are noted in; None: they live in memory.
    pub file: Option<PathBuf>,
}
