//! `[revocation]` and `[fleet]`: what they mean.

use std::time::Duration;

use redis::{ConnectionInfo, IntoConnectionInfo};

use super::super::diagnostic::{Report, join};
use super::super::files;
use super::super::model::{Fleet, Revocation};
use super::super::raw;
use super::{MILLISECOND, duration, label};

pub(super) fn revocation(report: &mut Report, raw: &raw::Revocation) -> Revocation {
    if raw.file.as_deref() == Some("") {
        report.mistake("revocation.file", "is empty", "name a file in a folder that exists");
    }
    Revocation { file: raw.file.as_ref().map(|file| files::path(report, file)) }
}

/// None: the node decides for itself.
pub(super) fn fleet(report: &mut Report, raw: &raw::Fleet) -> Option<Fleet> {
    label(report, "fleet.prefix", &raw.prefix);
    let timeout = duration(report, "fleet.timeout", &raw.timeout, MILLISECOND, Duration::from_secs(10));
    if raw.redis.is_none() && raw.password_file.is_some() {
        let reason = "has no effect without a Redis server";
        report.mistake("fleet.password_file", reason, "remove it, or add fleet.redis");
    }
    let redis = server(report, raw.redis.as_ref()?)?;
    let password = raw.password_file.as_ref();
    let password = password.map(|file| files::text_secret(report, "fleet.password_file", file));
    Some(Fleet { redis, password, prefix: raw.prefix.clone(), timeout })
}

/// What token policies say of a fleet that there is none of.
pub(super) fn policies(report: &mut Report, raw: &raw::File) {
    let closed = raw.token.iter().filter(|(_, policy)| policy.fleet_away == raw::FleetAway::Closed);
    for (name, _) in closed.filter(|_| raw.fleet.redis.is_none()) {
        let reason = "has no effect without a fleet";
        report.mistake(
            &format!("{}.fleet_away", join("token", name)),
            reason,
            "remove it, or add fleet.redis",
        );
    }
}

/// The server of a URL, without a password.
fn server(report: &mut Report, written: &str) -> Option<ConnectionInfo> {
    let key = "fleet.redis";
    let form = "write redis://HOST:PORT/DB or redis+unix:///SOCKET";
    if written.starts_with("rediss:") || written.starts_with("valkeys:") {
        let reason = "asks for TLS, which is not spoken to Redis";
        report.mistake(key, reason, "write redis:// on a network of your own, or that of a tunnel");
        return None;
    }
    // The URL may hold a password: it is not shown.
    let Ok(server) = written.into_connection_info() else {
        report.mistake(key, "is not the URL of a Redis server", form);
        return None;
    };
    if server.redis_settings().password().is_some() {
        report.mistake(
            key,
            "holds a password",
            "take it out, and name a file with it in fleet.password_file",
        );
        return None;
    }
    Some(server)
}
