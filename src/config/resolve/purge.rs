//! `[purge]`: what it means.

mod forward;

use std::time::Duration;

use super::super::diagnostic::Report;
use super::super::files;
use super::super::model::{HookKey, Purge, PurgeHook};
use super::super::raw;
use super::server::network;
use super::{HOUR, duration, label, no_duplicates};

/// The least number of bytes of a hook's key.
const HOOK_KEY_BYTES_MIN: usize = 16;

pub(super) fn purge(report: &mut Report, raw: &raw::Purge, has_admin: bool) -> Purge {
    let from = raw.method_from.iter().enumerate();
    let method_from = from
        .filter_map(|(place, written)| network(report, &format!("purge.method_from[{place}]"), written))
        .collect();
    if raw.hook.is_some() && !has_admin {
        let reason = "has no effect without an admin listener";
        report.mistake("purge.hook", reason, "remove it, or add server.admin");
    }
    if raw.forward_state.is_some() && raw.forward.is_empty() {
        let reason = "has no effect: no purge is passed on";
        report.mistake("purge.forward_state", reason, "remove it, or add [[purge.forward]]");
    }
    let forward_state = raw.forward_state.as_ref().map(|file| {
        if file.is_empty() {
            report.mistake("purge.forward_state", "is empty", "name a file in a folder that exists");
        }
        files::path(report, file)
    });
    Purge {
        method_from,
        hook: raw.hook.as_ref().map(|raw| hook(report, raw)),
        forward_state,
        forward: forward::forwards(report, &raw.forward),
    }
}

fn hook(report: &mut Report, raw: &raw::PurgeHook) -> PurgeHook {
    let ids = raw.keys.iter().enumerate();
    no_duplicates(report, ids.map(|(place, raw)| (format!("purge.hook.keys[{place}].id"), raw.id.as_str())));
    let keys = raw.keys.iter().enumerate();
    let keys = keys.map(|(place, raw)| key(report, &format!("purge.hook.keys[{place}]"), raw)).collect();
    let window = duration(report, "purge.hook.window", &raw.window, Duration::from_secs(1), HOUR);
    PurgeHook { keys, window }
}

fn key(report: &mut Report, key: &str, raw: &raw::HookKey) -> HookKey {
    label(report, &format!("{key}.id"), &raw.id);
    let file = format!("{key}.secret_file");
    let secret = files::text_secret(report, &file, &raw.secret_file);
    // A file that could not be read, and so gave nothing, has been told of already.
    if (1..HOOK_KEY_BYTES_MIN).contains(&secret.0.len()) {
        let reason = format!("file \"{}\" holds fewer than {HOOK_KEY_BYTES_MIN} characters", raw.secret_file);
        report.mistake(&file, reason, "write a longer secret, for instance that of `forebay token keygen`");
    }
    HookKey { id: raw.id.clone(), secret }
}
