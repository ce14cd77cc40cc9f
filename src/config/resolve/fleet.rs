//! `[revocation]` and `[fleet]`: what they mean.

use std::time::Duration;

use redis::{ConnectionInfo, IntoConnectionInfo};

use super::super::diagnostic::{Report, join};
use super::super::files;
use super::super::model::{
    Balance, Bus, Fleet, NodeKey, Origin, OriginHeaders, OriginLimits, OriginTimeouts, OriginTls, PEERS,
    Peers, Retry, Revocation, Share,
};
use super::super::raw;
use super::origin::{host, servers};
use super::{DAY, HOUR, MILLISECOND, duration, label, no_duplicates, size};

pub(super) fn revocation(report: &mut Report, raw: &raw::Revocation) -> Revocation {
    if raw.file.as_deref() == Some("") {
        report.mistake("revocation.file", "is empty", "name a file in a folder that exists");
    }
    Revocation { file: raw.file.as_ref().map(|file| files::path(report, file)) }
}

/// Bytes of a key of nodes, at the least.
const NODE_KEY_BYTES_MIN: usize = 32;

pub(super) fn fleet(report: &mut Report, raw: &raw::Fleet) -> Fleet {
    label(report, "fleet.prefix", &raw.prefix);
    let timeout = duration(report, "fleet.timeout", &raw.timeout, MILLISECOND, Duration::from_secs(10));
    if raw.bus.is_none() && raw.password_file.is_some() {
        let reason = "has no effect without a Redis server";
        report.mistake("fleet.password_file", reason, "remove it, or add fleet.bus");
    }
    if raw.bus.is_none() && raw.state.is_some() {
        let reason = "has no effect without a Redis server";
        report.mistake("fleet.state", reason, "remove it, or add fleet.bus");
    }
    if raw.state.as_deref() == Some("") {
        report.mistake("fleet.state", "is empty", "name a file in a folder that exists");
    }
    let (minute, most) = (Duration::from_secs(60), 90 * DAY);
    let retention = duration(report, "fleet.retention", &raw.retention, minute, most);
    let outbox = size(report, "fleet.outbox", &raw.outbox, 64 << 10, 1 << 30);
    let is_name = |name: &str| {
        (1..=64).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
    };
    if let Some(name) = raw.name.as_ref().filter(|name| !is_name(name)) {
        let reason = format!("\"{}\" is not a usable name", name.escape_debug());
        report.mistake("fleet.name", reason, "use 1 to 64 ASCII letters, digits, \".\", \"-\" and \"_\"");
    }
    let keys = raw.keys.iter().enumerate().map(|(place, raw)| node_key(report, place, raw)).collect();
    let ids = raw.keys.iter().enumerate();
    no_duplicates(report, ids.map(|(place, raw)| (format!("fleet.keys[{place}].id"), raw.id.as_str())));
    let peers = peers(report, raw);
    let bus = bus(report, raw, Terms { timeout, retention, outbox });
    let share = share(report, &raw.share);
    Fleet { name: raw.name.clone(), keys, bus, peers, share }
}

/// How long a peer may take to accept a connection: it is near, and without it the origin is asked.
const PEER_CONNECT: Duration = Duration::from_secs(1);

/// How long a peer that says that it is there may take to answer: as long as its own origin may, with room for a queue.
const PEER_FIRST_BYTE: Duration = Duration::from_secs(15);

/// How long a peer's body may stand still.
const PEER_BETWEEN_BYTES: Duration = Duration::from_secs(10);

/// Requests to peers at once; what is more goes to the origin.
const PEER_CONNECTIONS: usize = 2048;

/// None: this node asks its origins for everything.
fn peers(report: &mut Report, raw: &raw::Fleet) -> Option<Peers> {
    let window = duration(report, "fleet.hot.window", &raw.hot.window, Duration::from_secs(1), HOUR);
    let Some(written) = &raw.peers else {
        if raw.own.is_some() {
            let reason = "has no effect without peers";
            report.mistake("fleet.self", reason, "remove it, or add fleet.peers");
        }
        return None;
    };
    if raw.keys.is_empty() {
        let reason =
            "needs fleet.keys: nodes tell requests of one another from those of viewers by a signature";
        report.mistake(PEERS, reason, "add the same fleet.keys on every node");
    }
    let own = raw.own.as_ref().map(|written| host(report, "fleet.self", written));
    let written: Vec<String> = written.places().into_iter().map(|(_, peer)| peer.clone()).collect();
    let read = servers(report, PEERS, &written);
    let group = Origin {
        name: PEERS.to_owned(),
        servers: read.servers,
        discovered: read.discovered,
        host: None,
        health: None,
        timeouts: OriginTimeouts {
            connect: PEER_CONNECT,
            first_byte: PEER_FIRST_BYTE,
            between_bytes: PEER_BETWEEN_BYTES,
            total: HOUR,
        },
        limits: OriginLimits {
            connections: PEER_CONNECTIONS,
            queue: Duration::ZERO,
            queue_length: 0,
            rate: None,
        },
        // Who comes after one that fails is decided where peers are asked.
        retry: Retry {
            attempts: 1,
            on_connect: false,
            on_status: Vec::new(),
            budget_percent: 0,
            backoff: Duration::ZERO,
            backoff_max: Duration::ZERO,
            resume: 0,
        },
        // Peers are left alone by a rule of their own, and the origin itself stands in for them.
        breaker: None,
        eject: None,
        hedge: None,
        fallback: None,
        tls: OriginTls::default(),
        http2: false,
        forward_host: false,
        headers: OriginHeaders::default(),
        s3: None,
        proof: None,
        tier: true,
        balance: Balance::Owner,
    };
    Some(Peers { group, own, hot_requests: raw.hot.requests, window, spread: raw.spread as usize })
}

/// Bounds of `fleet.share.object_max`.
const SHARED_BYTES: (u64, u64) = (1024, 4 * 1024 * 1024);

fn share(report: &mut Report, raw: &raw::Sharing) -> Share {
    let (least, most) = SHARED_BYTES;
    let second = Duration::from_secs(1);
    Share {
        object_max: size(report, "fleet.share.object_max", &raw.object_max, least, most),
        timeout: duration(report, "fleet.share.timeout", &raw.timeout, MILLISECOND, second),
        wait: duration(report, "fleet.share.wait", &raw.wait, Duration::ZERO, 30 * second),
    }
}

/// What rules say of a fleet that there is none of.
pub(super) fn rules(report: &mut Report, raw: &raw::File) {
    for (place, site) in raw.site.iter().enumerate() {
        for (number, _) in
            site.rule.iter().enumerate().filter(|(_, rule)| rule.shared && raw.fleet.bus.is_none())
        {
            let key = format!("site[{place}].rule[{number}].shared");
            report.mistake(&key, "has no effect without a fleet", "remove it, or add fleet.bus");
        }
    }
}

fn node_key(report: &mut Report, place: usize, raw: &raw::NodeKey) -> NodeKey {
    let key = format!("fleet.keys[{place}]");
    label(report, &format!("{key}.id"), &raw.id);
    let file = format!("{key}.secret_file");
    let secret = files::text_secret(report, &file, &raw.secret_file);
    if (1..NODE_KEY_BYTES_MIN).contains(&secret.0.len()) {
        let reason = format!("file \"{}\" holds fewer than {NODE_KEY_BYTES_MIN} characters", raw.secret_file);
        report.mistake(&file, reason, "make one with: openssl rand -hex 32");
    }
    NodeKey { id: raw.id.clone(), secret }
}

/// What has been read of the section already.
#[derive(Clone, Copy)]
struct Terms {
    timeout: Duration,
    retention: Duration,
    outbox: u64,
}

/// None: the node decides for itself.
fn bus(report: &mut Report, raw: &raw::Fleet, terms: Terms) -> Option<Bus> {
    let redis = server(report, raw.bus.as_ref()?)?;
    let password = raw.password_file.as_ref();
    let password = password.map(|file| files::text_secret(report, "fleet.password_file", file));
    let Terms { timeout, retention, outbox } = terms;
    let state = raw.state.as_ref().map(|file| files::path(report, file));
    Some(Bus { redis, password, prefix: raw.prefix.clone(), timeout, state, retention, outbox })
}

/// What token policies say of a fleet that there is none of.
pub(super) fn policies(report: &mut Report, raw: &raw::File) {
    let closed = raw.token.iter().filter(|(_, policy)| policy.fleet_away == raw::FleetAway::Closed);
    for (name, _) in closed.filter(|_| raw.fleet.bus.is_none()) {
        let reason = "has no effect without a fleet";
        report.mistake(&format!("{}.fleet_away", join("token", name)), reason, "remove it, or add fleet.bus");
    }
}

/// The server of a URL, without a password.
fn server(report: &mut Report, written: &str) -> Option<ConnectionInfo> {
    let key = "fleet.bus";
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
