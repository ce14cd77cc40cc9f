//! `[origin.NAME]`: what it means. How the group is kept from harm is in [`protect`], how its servers are spoken to in [`reach`].

mod reach;

mod protect;

use http::Uri;
use http::uri::Authority;

use super::super::diagnostic::{Report, join};
use super::super::model::{Balance, Discovered, Origin, OriginServer, OriginTimeouts, Records, Retry};
use super::super::raw;
use super::{DAY, HOUR, MILLISECOND, duration, label, no_duplicates};

pub(super) use protect::fallbacks;
pub(super) use reach::site;

pub(super) fn origin(report: &mut Report, name: &str, raw: &raw::Origin) -> Origin {
    let key = join("origin", name);
    label(report, &key, name);
    let Servers { servers, discovered } = servers(report, &format!("{key}.servers"), &raw.servers);
    let host = raw.host.as_ref().map(|written| host(report, &format!("{key}.host"), written));
    if raw.forward_host && raw.host.is_some() {
        let reason = "has no effect: forward_host sends the viewer's";
        report.mistake(&format!("{key}.host"), reason, "remove one of the two");
    }
    if raw.s3.is_some() && (raw.forward_host || raw.tier) {
        let (name, what) =
            if raw.tier { ("tier", "a node") } else { ("forward_host", "told a viewer's host") };
        let reason = format!("is set, and the object store of s3 is not {what}");
        report.mistake(&format!("{key}.{name}"), reason, "remove one of the two");
    }
    let has_s3 = raw.s3.is_some();
    let tls = reach::tls(report, &format!("{key}.tls"), raw.tls.as_ref(), &servers);
    let s3 = raw.s3.as_ref().map(|raw| reach::s3(report, &format!("{key}.s3"), raw, &servers));
    let headers = reach::headers(report, &format!("{key}.headers"), &raw.headers, has_s3);
    let proof = raw.proof.as_ref().map(|raw| reach::proof(report, &format!("{key}.proof"), raw, has_s3));
    if let Some(proof) = &proof
        && (headers.remove.contains(&proof.header)
            || headers.set.iter().any(|(name, _)| *name == proof.header))
    {
        let reason = format!("{} is changed by headers, too", proof.header);
        report.mistake(&format!("{key}.proof.header"), reason, "take it out of headers");
    }
    Origin {
        name: name.to_owned(),
        servers,
        discovered,
        host,
        health: raw.health.as_ref().map(|raw| protect::health(report, &format!("{key}.health"), raw)),
        timeouts: timeouts(report, &format!("{key}.timeouts"), &raw.timeouts),
        limits: protect::limits(report, &format!("{key}.limits"), &raw.limits),
        retry: retry(report, &format!("{key}.retry"), &raw.retry),
        tls,
        tier: raw.tier,
        breaker: protect::breaker(report, &format!("{key}.breaker"), &raw.breaker),
        eject: protect::eject(report, &format!("{key}.eject"), &raw.eject),
        hedge: raw.hedge.as_ref().map(|raw| protect::hedge(report, &format!("{key}.hedge"), raw)),
        fallback: None,
        balance: match raw.balance {
            raw::Balance::Turns => Balance::Turns,
            raw::Balance::Owner => Balance::Owner,
        },
        http2: raw.http2,
        forward_host: raw.forward_host,
        headers,
        s3,
        proof,
    }
}

/// What a list of servers says.
pub(super) struct Servers {
    pub(super) servers: Vec<OriginServer>,
    pub(super) discovered: Vec<Discovered>,
}

/// Reads a list of servers, and of names that stand for servers.
pub(super) fn servers(report: &mut Report, key: &str, written: &[String]) -> Servers {
    let place = |place: usize| format!("{key}[{place}]");
    let mut read = Servers { servers: Vec::new(), discovered: Vec::new() };
    for (number, written) in written.iter().enumerate() {
        match found_by(written) {
            Some((tls, looks_up, plain)) => {
                read.discovered.extend(discovered(report, &place(number), tls, looks_up, &plain));
            }
            None => read.servers.push(server(report, &place(number), written)),
        }
    }
    let written = written.iter().enumerate();
    no_duplicates(report, written.map(|(number, written)| (place(number), written.as_str())));
    read
}

/// What a name that stands for servers is looked up for.
#[derive(Clone, Copy)]
enum LooksUp {
    Addresses,
    Services,
}

/// Takes a scheme of names apart; the third is the rest with the scheme of the servers that are found. None: it is a server.
fn found_by(written: &str) -> Option<(bool, LooksUp, String)> {
    let (scheme, rest) = written.split_once("://")?;
    let (tls, looks_up) = match scheme.to_ascii_lowercase().as_str() {
        "dns" | "dns+http" => (false, LooksUp::Addresses),
        "dns+https" => (true, LooksUp::Addresses),
        "srv" | "srv+http" => (false, LooksUp::Services),
        "srv+https" => (true, LooksUp::Services),
        _ => return None,
    };
    Some((tls, looks_up, format!("{}://{rest}", if tls { "https" } else { "http" })))
}

/// None: it is wrong, and the report says why.
fn discovered(
    report: &mut Report,
    key: &str,
    tls: bool,
    looks_up: LooksUp,
    plain: &str,
) -> Option<Discovered> {
    let found = server_of(plain).map_err(|(reason, _)| reason);
    let is_name = |host: &str| host.parse::<std::net::IpAddr>().is_err() && !host.contains(':');
    let has_port = || plain.rsplit('/').next().unwrap_or_default().contains(':');
    let records = match (found, looks_up) {
        (Ok(server), _) if !is_name(&server.host) => Err(format!("\"{}\" is an address", server.host)),
        (Ok(_), LooksUp::Services) if has_port() => Err("has a port, which SRV records tell".to_owned()),
        (Ok(server), LooksUp::Services) => Ok(Records::Services { name: server.host }),
        (Ok(server), LooksUp::Addresses) => Ok(Records::Addresses { host: server.host, port: server.port }),
        (Err(reason), _) => Err(reason),
    };
    let remedy = "write dns://HOST[:PORT] or srv://NAME with a name that DNS knows, or http://HOST[:PORT]";
    records
        .map_err(|reason| report.mistake(key, reason, remedy))
        .ok()
        .map(|records| Discovered { tls, records })
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

fn timeouts(report: &mut Report, key: &str, raw: &raw::OriginTimeouts) -> OriginTimeouts {
    let mut one =
        |name: &str, written, max| duration(report, &format!("{key}.{name}"), written, MILLISECOND, max);
    OriginTimeouts {
        connect: one("connect", &raw.connect, HOUR),
        first_byte: one("first_byte", &raw.first_byte, HOUR),
        between_bytes: one("between_bytes", &raw.between_bytes, HOUR),
        total: one("total", &raw.total, DAY),
    }
}

fn retry(report: &mut Report, key: &str, raw: &raw::Retry) -> Retry {
    let (backoff, backoff_max) = protect::backoff(report, key, raw);
    let mut retry = Retry {
        attempts: raw.attempts,
        on_connect: false,
        on_status: Vec::new(),
        budget_percent: protect::percent(report, &format!("{key}.budget"), &raw.budget, 0),
        backoff,
        backoff_max,
        resume: raw.resume,
    };
    let place = |place: usize| format!("{key}.on[{place}]");
    for (number, word) in raw.on.iter().enumerate() {
        match (word.as_str(), word.parse::<u16>()) {
            ("connect", _) => retry.on_connect = true,
            (text, Ok(status @ 400..=599)) if text.len() == 3 => retry.on_status.push(status),
            _ => {
                let reason = format!("\"{}\" is nothing that can be tried again", word.escape_debug());
                let remedy = "write \"connect\" or a status from \"400\" to \"599\"";
                report.mistake(&place(number), reason, remedy);
            }
        }
    }
    no_duplicates(report, raw.on.iter().enumerate().map(|(number, word)| (place(number), word.as_str())));
    retry
}
