//! `[server]`, `[store]`, `[limits]` and `[log]`: what they mean.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use tracing::level_filters::LevelFilter;

use super::super::diagnostic::Report;
use super::super::files::{self, Pem};
use super::super::model::{AccessLog, Disk, Limits, Log, ProxyProtocol, Server, Store, TlsListener};
use super::super::{raw, units};
use super::{DAY, HOUR, MILLISECOND, duration, no_duplicates, size};

/// The least that `store.memory` may be.
const MEMORY_BYTES_MIN: u64 = 16 << 20;

/// The least that a disk of `store.disk` may take.
const DISK_BYTES_MIN: u64 = 64 << 20;

/// The least that may be fetched ahead.
const PREFETCH_BYTES_MIN: u64 = 1 << 20;

/// The least that `limits.window` may be: one chunk of the store.
const WINDOW_BYTES_MIN: u64 = 256 << 10;

/// The least that `limits.slice_above` may be: one slice of the store.
const SLICE_ABOVE_BYTES_MIN: u64 = 1 << 20;

fn resolver(report: &mut Report, written: &str) -> Option<SocketAddr> {
    let address = written.parse::<SocketAddr>().ok().filter(|address| address.port() != 0);
    if address.is_none() {
        let reason = format!("\"{}\" is not the address of a DNS server", written.escape_debug());
        report.mistake("server.resolver", reason, "write ADDRESS:PORT, such as \"127.0.0.1:53\"");
    }
    address
}

pub(super) fn server(report: &mut Report, raw: &raw::Server) -> Server {
    let mut taken = Vec::new();
    let mut listener = |report: &mut Report, key: String, written: &str| {
        let address = address(report, &key, written);
        if address.port() != 0 {
            match taken.iter().find(|(other, _)| *other == address) {
                Some((_, first)) => {
                    let reason = format!("\"{written}\" is listened on at {first} already");
                    report.mistake(&key, reason, "give each listener an address of its own");
                }
                None => taken.push((address, key)),
            }
        }
        address
    };
    let plain = raw.http.iter().enumerate();
    let http: Vec<_> =
        plain.map(|(place, written)| listener(report, format!("server.http[{place}]"), written)).collect();
    let secure = raw.https.iter().enumerate();
    let https: Vec<_> = secure
        .map(|(place, entry)| {
            let key = format!("server.https[{place}]");
            let listen = listener(report, format!("{key}.listen"), &entry.listen);
            tls_listener(report, &key, listen, entry)
        })
        .collect();
    let admin = raw.admin.as_ref().map(|written| listener(report, "server.admin".to_owned(), written));
    if http.is_empty() && https.is_empty() {
        report.mistake("server.http", "there is no listener", "add http = [\"127.0.0.1:8080\"] to [server]");
    }
    if raw.h2c && http.is_empty() {
        report.mistake(
            "server.h2c",
            "has no effect without a plaintext listener",
            "remove it, or add server.http",
        );
    }
    if let Some(path) = &raw.health_path {
        super::steering::path(report, "server.health_path", path, "/.well-known/forebay/ready");
    }
    let ms = MILLISECOND;
    Server {
        http,
        https,
        admin,
        admin_token: admin_token(report, raw, admin),
        threads: raw.threads.and_then(|threads| NonZeroUsize::new(threads as usize)),
        pin_threads: raw.pin_threads,
        h2c: raw.h2c,
        zero_copy: raw.zero_copy,
        trusted_proxies: networks(report, "server.trusted_proxies", &raw.trusted_proxies),
        request_timeout: duration(report, "server.request_timeout", &raw.request_timeout, ms, HOUR),
        idle_timeout: duration(report, "server.idle_timeout", &raw.idle_timeout, ms, DAY),
        write_timeout: duration(report, "server.write_timeout", &raw.write_timeout, ms, HOUR),
        drain_delay: duration(report, "server.drain_delay", &raw.drain_delay, Duration::ZERO, HOUR),
        drain_timeout: duration(report, "server.drain_timeout", &raw.drain_timeout, Duration::ZERO, DAY),
        resolver: raw.resolver.as_ref().and_then(|written| resolver(report, written)),
        proxy_protocol: raw.proxy_protocol.as_ref().map(|raw| proxy_protocol(report, raw)),
        health_path: raw.health_path.clone(),
    }
}

fn proxy_protocol(report: &mut Report, raw: &raw::ProxyProtocol) -> ProxyProtocol {
    ProxyProtocol { from: networks(report, "server.proxy_protocol.from", &raw.from), required: raw.required }
}

/// Those of a list that are right.
fn networks(report: &mut Report, key: &str, written: &[String]) -> Vec<IpNet> {
    let each = written.iter().enumerate();
    each.filter_map(|(place, written)| network(report, &format!("{key}[{place}]"), written)).collect()
}

fn tls_listener(report: &mut Report, key: &str, listen: SocketAddr, raw: &raw::Https) -> TlsListener {
    TlsListener {
        listen,
        cert: files::pem(report, &format!("{key}.cert"), &raw.cert, Pem::Certificates),
        key: files::pem(report, &format!("{key}.key"), &raw.key, Pem::PrivateKey),
        client_ca: raw
            .client_ca
            .as_ref()
            .map(|written| files::pem(report, &format!("{key}.client_ca"), written, Pem::Certificates)),
    }
}

fn admin_token(
    report: &mut Report,
    raw: &raw::Server,
    admin: Option<SocketAddr>,
) -> Option<super::super::model::Secret> {
    let key = "server.admin_token_file";
    match (&raw.admin_token_file, admin) {
        (Some(_), None) => {
            report.mistake(key, "has no effect without an admin listener", "remove it, or add server.admin");
            None
        }
        (Some(written), Some(_)) => Some(files::text_secret(report, key, written)),
        (None, Some(address)) if !address.ip().to_canonical().is_loopback() => {
            let reason =
                format!("{address} is not a loopback address, and admin requests need no credential");
            let remedy = "add admin_token_file, or listen on 127.0.0.1 or [::1]";
            report.mistake("server.admin", reason, remedy);
            None
        }
        (None, _) => None,
    }
}

fn address(report: &mut Report, key: &str, written: &str) -> SocketAddr {
    written.parse().unwrap_or_else(|_| {
        let (any, port) =
            (IpAddr::from([0, 0, 0, 0]), written.rsplit(':').next().and_then(|p| p.parse::<u16>().ok()));
        let remedy = match port {
            Some(port) => format!("write ADDRESS:PORT, such as \"127.0.0.1:{port}\" or \"[::]:{port}\""),
            None => "write ADDRESS:PORT, such as \"127.0.0.1:8080\" or \"[::]:80\"".to_owned(),
        };
        let reason = format!("\"{}\" is not an IP address with a port", written.escape_debug());
        report.mistake(key, reason, remedy);
        SocketAddr::new(any, 0)
    })
}

pub(super) fn network(report: &mut Report, key: &str, written: &str) -> Option<IpNet> {
    if let Ok(address) = written.parse::<IpAddr>() {
        return Some(IpNet::from(address));
    }
    match written.parse::<IpNet>() {
        Ok(network) if network.trunc() == network => Some(network),
        Ok(network) => {
            let reason = format!("\"{written}\" is an address inside a network");
            let whole = network.trunc();
            report.mistake(
                key,
                reason,
                format!("write \"{whole}\" for the network or \"{}\"", network.addr()),
            );
            None
        }
        Err(_) => {
            let reason = format!("\"{}\" is not an address or a network", written.escape_debug());
            report.mistake(key, reason, "write it as \"10.0.0.0/8\", \"2001:db8::/32\" or \"192.0.2.1\"");
            None
        }
    }
}

pub(super) fn store(report: &mut Report, raw: &raw::Store) -> Store {
    let days = 30 * DAY;
    let disks =
        raw.disk.iter().enumerate().map(|(place, raw)| disk(report, &format!("store.disk[{place}]"), raw));
    let disks: Vec<_> = disks.collect();
    no_duplicates(
        report,
        raw.disk
            .iter()
            .enumerate()
            .map(|(place, disk)| (format!("store.disk[{place}].path"), disk.path.as_str())),
    );
    let within = &raw.disk_admit_within;
    Store {
        memory: size(report, "store.memory", &raw.memory, MEMORY_BYTES_MIN, u64::MAX),
        disks,
        disk_admit_within: duration(report, "store.disk_admit_within", within, Duration::ZERO, days),
        disk_ttl_min: duration(report, "store.disk_ttl_min", &raw.disk_ttl_min, Duration::ZERO, days),
    }
}

/// Whether the folder is there and usable is seen when the node starts: this may be another machine.
fn disk(report: &mut Report, key: &str, raw: &raw::Disk) -> Disk {
    if raw.path.is_empty() {
        report.mistake(&format!("{key}.path"), "is empty", "name a folder that is the node's alone");
    }
    Disk {
        path: files::path(report, &raw.path),
        size: size(report, &format!("{key}.size"), &raw.size, DISK_BYTES_MIN, u64::MAX),
    }
}

/// `memory` is the size of the store, in bytes.
pub(super) fn limits(report: &mut Report, raw: &raw::Limits, memory: u64) -> Limits {
    let wait = (Duration::from_millis(100), Duration::from_secs(30));
    let request_target = size(report, "limits.request_target", &raw.request_target, 64, 32 << 10);
    Limits {
        connections: raw.connections as usize,
        request_target: usize::try_from(request_target).unwrap_or(usize::MAX),
        playlist: size(report, "limits.playlist", &raw.playlist, 1 << 10, 64 << 20),
        object_share: raw.object_share,
        slice_above: size(report, "limits.slice_above", &raw.slice_above, SLICE_ABOVE_BYTES_MIN, u64::MAX),
        window: of_store(report, ("limits.window", &raw.window, WINDOW_BYTES_MIN), memory, ("a quarter", 4)),
        coalesce_wait: duration(report, "limits.coalesce_wait", &raw.coalesce_wait, wait.0, wait.1),
        waiters: raw.waiters as usize,
        ranges: raw.ranges as usize,
        abandon_below: raw.abandon_below,
        uncacheable_memory: duration(
            report,
            "limits.uncacheable_memory",
            &raw.uncacheable_memory,
            Duration::ZERO,
            DAY,
        ),
        token_verdicts: size(report, "limits.token_verdicts", &raw.token_verdicts, 64 << 10, 4 << 30),
        key_value: usize::try_from(size(report, "limits.key_value", &raw.key_value, 16, 4 << 10))
            .unwrap_or(usize::MAX),
        variants: raw.variants as usize,
        revocations: raw.revocations as usize,
        replays: raw.replays as usize,
        stream_subjects: raw.stream_subjects as usize,
        playlists: raw.playlists as usize,
        named_assets: raw.named_assets as usize,
        parked: raw.parked as usize,
        parked_per_client: raw.parked_per_client as usize,
        prefetch_requests: raw.prefetch_requests as usize,
        prefetch_bytes: of_store(
            report,
            ("limits.prefetch_bytes", &raw.prefetch_bytes, PREFETCH_BYTES_MIN),
            memory,
            ("half", 2),
        ),
        key_requests: raw.key_requests,
        key_clients: raw.key_clients as usize,
    }
}

/// A size of which the store has room for a share: half, or a quarter. One that is not written gives way.
fn of_store(
    report: &mut Report,
    (key, written, least): (&str, &raw::Size, u64),
    memory: u64,
    (share, divisor): (&str, u64),
) -> u64 {
    let bytes = size(report, key, written, least, u64::MAX);
    let most = memory / divisor;
    if bytes > most && report.has(key) {
        let reason = format!("\"{}\" is more than {share} of store.memory", written.0);
        let remedy = format!("write at most \"{}\", or raise store.memory", units::show_size(most));
        report.mistake(key, reason, remedy);
    }
    bytes.min(most)
}

pub(super) fn log(report: &mut Report, raw: &raw::Log) -> Log {
    let access = match raw.access.as_str() {
        "off" => AccessLog::Off,
        "stdout" => AccessLog::Stdout,
        "" => {
            report.mistake("log.access", "is empty", "write \"stdout\", \"off\" or the path of a file");
            AccessLog::Off
        }
        path => AccessLog::File(PathBuf::from(path)),
    };
    let level = match raw.level {
        raw::Level::Off => LevelFilter::OFF,
        raw::Level::Error => LevelFilter::ERROR,
        raw::Level::Warn => LevelFilter::WARN,
        raw::Level::Info => LevelFilter::INFO,
        raw::Level::Debug => LevelFilter::DEBUG,
        raw::Level::Trace => LevelFilter::TRACE,
    };
    Log { access, queue: raw.queue as usize, tls_fingerprint: raw.tls_fingerprint, level }
}
