//! `[origin.NAME]`: what it means.

use std::time::Duration;

use http::Uri;
use http::uri::{Authority, PathAndQuery};

use super::super::diagnostic::{Report, join};
use super::super::files::{self, Pem};
use super::super::model::{Health, Origin, OriginLimits, OriginServer, OriginTimeouts, Retry};
use super::super::raw;
use super::{HOUR, MILLISECOND, duration, label, no_duplicates};

pub(super) fn origin(report: &mut Report, name: &str, raw: &raw::Origin) -> Origin {
    let key = join("origin", name);
    label(report, &key, name);
    let place = |place: usize| format!("{key}.servers[{place}]");
    let servers: Vec<_> = raw
        .servers
        .iter()
        .enumerate()
        .map(|(number, written)| server(report, &place(number), written))
        .collect();
    no_duplicates(
        report,
        raw.servers.iter().enumerate().map(|(number, written)| (place(number), written.as_str())),
    );
    let host = raw.host.as_ref().map(|written| host(report, &format!("{key}.host"), written));
    let tls_ca = raw.tls.as_ref().map(|tls| {
        if !servers.iter().any(|server| server.tls) {
            let reason = "has no effect: no server of the group is https";
            report.mistake(&format!("{key}.tls"), reason, "remove it, or write https:// in servers");
        }
        files::pem(report, &format!("{key}.tls.ca"), &tls.ca, Pem::Certificates)
    });
    let queue = duration(report, &format!("{key}.limits.queue"), &raw.limits.queue, Duration::ZERO, HOUR);
    Origin {
        name: name.to_owned(),
        servers,
        host,
        health: raw.health.as_ref().map(|raw| health(report, &format!("{key}.health"), raw)),
        timeouts: timeouts(report, &format!("{key}.timeouts"), &raw.timeouts),
        limits: OriginLimits {
            connections: raw.limits.connections as usize,
            queue,
            queue_length: raw.limits.queue_length as usize,
        },
        retry: retry(report, &format!("{key}.retry.on"), raw.retry.attempts, &raw.retry.on),
        tls_ca,
    }
}

fn server(report: &mut Report, key: &str, written: &str) -> OriginServer {
    server_of(written).unwrap_or_else(|(reason, remedy)| {
        report.mistake(key, reason, remedy);
        // A stand-in that fits both schemes, so that nothing follows from the mistake.
        OriginServer { tls: true, host: String::new(), port: 0 }
    })
}

fn server_of(written: &str) -> Result<OriginServer, (String, &'static str)> {
    const SHAPE: &str = "write http://HOST[:PORT] or https://HOST[:PORT]";
    // The text itself is not shown where it may hold a password.
    let tls = match written.split_once("://") {
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("http") => false,
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("https") => true,
        Some((scheme, _)) => {
            return Err((format!("scheme \"{}\" is not known here", scheme.escape_debug()), SHAPE));
        }
        None => return Err(("the address of a server begins with http:// or https://".to_owned(), SHAPE)),
    };
    let after = written.split_once("://").map_or("", |(_, rest)| rest);
    let authority = after.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err((
            "user name and password are not sent to origins".to_owned(),
            "remove what stands before the @",
        ));
    }
    if !matches!(&after[authority.len()..], "" | "/") {
        let remedy = "remove what follows the host; requests keep the viewer's path and query";
        return Err((format!("\"{}\" has a path or a query", written.escape_debug()), remedy));
    }
    let broken = || (format!("\"{}\" is not the address of a server", written.escape_debug()), SHAPE);
    let uri: Uri = written.parse().map_err(|_| broken())?;
    let host = uri.host().unwrap_or_default();
    let has_port = authority.len() > host.len();
    let port = match (uri.port_u16(), has_port) {
        (Some(0), _) | (None, true) => {
            let reason = format!("\"{}\" has no usable port", written.escape_debug());
            return Err((reason, "write a port from 1 to 65535, or none"));
        }
        (Some(port), _) => port,
        (None, false) => {
            if tls {
                443
            } else {
                80
            }
        }
    };
    let host = host_of(host).ok_or_else(broken)?;
    Ok(OriginServer { tls, host, port })
}

/// A host name in lower case, or an address without brackets.
fn host_of(written: &str) -> Option<String> {
    if let Some(address) = written.strip_prefix('[') {
        let address = address.strip_suffix(']')?.parse::<std::net::Ipv6Addr>().ok()?;
        return Some(address.to_string());
    }
    let usable = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let name = !written.is_empty() && written.len() <= 253 && written.bytes().all(usable);
    name.then(|| written.to_ascii_lowercase())
}

pub(super) fn host(report: &mut Report, key: &str, written: &str) -> String {
    let usable = written.parse::<Authority>().is_ok_and(|authority| {
        host_of(authority.host()).is_some()
            && !written.contains('@')
            && (authority.port_u16().is_some() || authority.host().len() == written.len())
    });
    if !usable {
        let reason = format!("\"{}\" is not a host", written.escape_debug());
        report.mistake(key, reason, "write HOST or HOST:PORT, without scheme and path");
    }
    written.to_owned()
}

fn health(report: &mut Report, key: &str, raw: &raw::Health) -> Health {
    let interval_min = Duration::from_millis(10);
    let usable =
        raw.path.starts_with('/') && raw.path.parse::<PathAndQuery>().is_ok() && !raw.path.contains('#');
    if !usable {
        let reason = format!("\"{}\" is not a path", raw.path.escape_debug());
        report.mistake(
            &format!("{key}.path"),
            reason,
            "write a path that begins with \"/\", such as \"/healthz\"",
        );
    }
    Health {
        path: raw.path.clone(),
        interval: duration(report, &format!("{key}.interval"), &raw.interval, interval_min, HOUR),
        timeout: duration(report, &format!("{key}.timeout"), &raw.timeout, MILLISECOND, HOUR),
        unhealthy_after: raw.unhealthy_after,
        healthy_after: raw.healthy_after,
    }
}

fn timeouts(report: &mut Report, key: &str, raw: &raw::OriginTimeouts) -> OriginTimeouts {
    let mut one =
        |name: &str, written| duration(report, &format!("{key}.{name}"), written, MILLISECOND, HOUR);
    OriginTimeouts {
        connect: one("connect", &raw.connect),
        first_byte: one("first_byte", &raw.first_byte),
        between_bytes: one("between_bytes", &raw.between_bytes),
    }
}

fn retry(report: &mut Report, key: &str, attempts: u32, on: &[String]) -> Retry {
    let mut retry = Retry { attempts, on_connect: false, on_status: Vec::new() };
    for (place, word) in on.iter().enumerate() {
        match (word.as_str(), word.parse::<u16>()) {
            ("connect", _) => retry.on_connect = true,
            (text, Ok(status @ 400..=599)) if text.len() == 3 => retry.on_status.push(status),
            _ => {
                let reason = format!("\"{}\" is nothing that can be tried again", word.escape_debug());
                report.mistake(
                    &format!("{key}[{place}]"),
                    reason,
                    "write \"connect\" or a status from \"400\" to \"599\"",
                );
            }
        }
    }
    no_duplicates(
        report,
        on.iter().enumerate().map(|(place, word)| (format!("{key}[{place}]"), word.as_str())),
    );
    retry
}
