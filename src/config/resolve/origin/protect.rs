//! What keeps an origin group from harm, as configured: health checks, the limits, the pauses between attempts, the circuit
//! breaker, the ejection of servers, second requests, and where requests go when all of that has not helped.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use http::uri::PathAndQuery;

use super::super::super::diagnostic::Report;
use super::super::super::model::{Breaker, Eject, Health, Hedge, HedgeAfter, Origin, OriginLimits, Rate};
use super::super::super::{raw, units};
use super::super::{DAY, HOUR, MILLISECOND, duration, reference};

/// Statuses and ranges of them in `health.status`.
const STATUSES_MAX: usize = 32;

/// Bytes of `health.body`.
const BODY_MAX: usize = 1024;

const MINUTE: Duration = Duration::from_secs(60);

pub(super) fn health(report: &mut Report, key: &str, raw: &raw::Health) -> Health {
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
        statuses: statuses(report, &format!("{key}.status"), &raw.status),
        body: body(report, &format!("{key}.body"), raw.body.as_deref()),
        certificate: duration(
            report,
            &format!("{key}.certificate"),
            &raw.certificate,
            Duration::ZERO,
            365 * DAY,
        ),
    }
}

fn statuses(report: &mut Report, key: &str, written: &[String]) -> Vec<(u16, u16)> {
    const SHAPE: &str = "write a status from \"200\" to \"599\", or a range such as \"200-299\"";
    if written.is_empty() {
        report.mistake(key, "is empty: no answer would be healthy", SHAPE);
    }
    if written.len() > STATUSES_MAX {
        report.mistake(
            key,
            format!("has more than {STATUSES_MAX} members"),
            "write ranges such as \"200-299\"",
        );
    }
    let status = |text: &str| {
        let digits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|status| digits && (200..=599).contains(status))
    };
    let mut ranges = Vec::with_capacity(written.len());
    for (place, text) in written.iter().enumerate() {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (status(first), status(last)) {
            (Some(first), Some(last)) if first <= last => ranges.push((first, last)),
            _ => {
                let reason = format!("\"{}\" is neither a status nor a range of them", text.escape_debug());
                report.mistake(&format!("{key}[{place}]"), reason, SHAPE);
            }
        }
    }
    ranges
}

fn body(report: &mut Report, key: &str, written: Option<&str>) -> Option<String> {
    let text = written?;
    if text.is_empty() || text.len() > BODY_MAX {
        let reason = if text.is_empty() { "is empty: every body contains it" } else { "is too long" };
        report.mistake(key, reason, format!("write a text of 1 to {BODY_MAX} bytes, or remove it"));
    }
    Some(text.to_owned())
}

pub(super) fn limits(report: &mut Report, key: &str, raw: &raw::OriginLimits) -> OriginLimits {
    if raw.burst > 0 && raw.requests_per_second == 0 {
        let remedy = "add requests_per_second, or remove it";
        report.mistake(&format!("{key}.burst"), "has no effect without requests_per_second", remedy);
    }
    let per_second = raw.requests_per_second;
    let burst = if raw.burst > 0 { raw.burst } else { (per_second / 10).max(1) };
    OriginLimits {
        connections: raw.connections as usize,
        queue: duration(report, &format!("{key}.queue"), &raw.queue, Duration::ZERO, HOUR),
        queue_length: raw.queue_length as usize,
        rate: (per_second > 0).then_some(Rate { per_second, burst }),
    }
}

/// The first pause between attempts, and the longest.
pub(super) fn backoff(report: &mut Report, key: &str, raw: &raw::Retry) -> (Duration, Duration) {
    let first = duration(report, &format!("{key}.backoff"), &raw.backoff, Duration::ZERO, MINUTE);
    let max_key = format!("{key}.backoff_max");
    let longest = duration(report, &max_key, &raw.backoff_max, Duration::ZERO, MINUTE);
    at_least(report, (&max_key, longest), ("backoff", first));
    (first, longest)
}

/// A longest time that is shorter than the first one is a mistake.
fn at_least(report: &mut Report, (key, longest): (&str, Duration), (name, first): (&str, Duration)) {
    if longest < first {
        let reason = format!("is shorter than {name} ({})", units::show_duration(first));
        report.mistake(key, reason, format!("write {} or more", units::show_duration(first)));
    }
}

/// A share of at least `min` percent.
pub(super) fn percent(report: &mut Report, key: &str, written: &raw::Share, min: u32) -> u32 {
    match units::percent(&written.0) {
        Ok(percent) if percent >= min => percent,
        Ok(_) => {
            let remedy = format!("write a share from {min}% to 100%");
            report.mistake(key, format!("\"{}\" is out of range", written.0), remedy);
            100
        }
        Err(error) => {
            report.mistake(key, error.reason, error.remedy);
            100
        }
    }
}

pub(super) fn breaker(report: &mut Report, key: &str, raw: &raw::Breaker) -> Option<Breaker> {
    let window_min = Duration::from_millis(100);
    let open_min = Duration::from_millis(10);
    let breaker = Breaker {
        failures_percent: percent(report, &format!("{key}.failures"), &raw.failures, 1),
        requests: raw.requests,
        window: duration(report, &format!("{key}.window"), &raw.window, window_min, 10 * MINUTE),
        open: duration(report, &format!("{key}.open"), &raw.open, open_min, 10 * MINUTE),
        probes: raw.probes,
    };
    raw.enabled.then_some(breaker)
}

pub(super) fn eject(report: &mut Report, key: &str, raw: &raw::Eject) -> Option<Eject> {
    let time_min = Duration::from_millis(10);
    let max_key = format!("{key}.time_max");
    let eject = Eject {
        failures: raw.failures,
        time: duration(report, &format!("{key}.time"), &raw.time, time_min, HOUR),
        time_max: duration(report, &max_key, &raw.time_max, time_min, DAY),
        share_percent: percent(report, &format!("{key}.share"), &raw.share, 0),
    };
    at_least(report, (&max_key, eject.time_max), ("time", eject.time));
    raw.enabled.then_some(eject)
}

pub(super) fn hedge(report: &mut Report, key: &str, raw: &raw::Hedge) -> Hedge {
    Hedge {
        after: hedge_after(report, &format!("{key}.after"), &raw.after),
        after_min: duration(report, &format!("{key}.after_min"), &raw.after_min, Duration::ZERO, MINUTE),
        share_percent: percent(report, &format!("{key}.share"), &raw.share, 1),
    }
}

fn hedge_after(report: &mut Report, key: &str, written: &str) -> HedgeAfter {
    let percentile = written.strip_prefix('p').and_then(|number| number.parse().ok());
    match (percentile, units::duration(written)) {
        (Some(percentile @ 50..=99), _) => HedgeAfter::Percentile(percentile),
        (None, Ok(time)) if (MILLISECOND..=MINUTE).contains(&time) => HedgeAfter::Time(time),
        _ => {
            let reason = format!("\"{}\" is no time after which to ask again", written.escape_debug());
            report.mistake(key, reason, "write \"p50\" to \"p99\", or a duration from 1ms to 1m");
            HedgeAfter::Time(MILLISECOND)
        }
    }
}

/// Sets the groups that others fall back to; a way that leads back to where it began is a mistake, told once.
pub(in crate::config::resolve) fn fallbacks(
    report: &mut Report,
    groups: &BTreeMap<String, raw::Origin>,
    origins: &mut [Origin],
) {
    let next = |name: &str| groups.get(name).and_then(|raw| raw.fallback.as_deref());
    let mut told = BTreeSet::new();
    for ((name, raw), origin) in groups.iter().zip(origins) {
        let Some(fallback) = &raw.fallback else { continue };
        let key = format!("origin.{name}.fallback");
        origin.fallback = reference(report, &key, "origin", fallback, groups);
        let way: Vec<&str> = std::iter::successors(next(name), |at| next(at).filter(|_| *at != name))
            .take(groups.len())
            .collect();
        if way.last() == Some(&name.as_str()) && told.insert(name.as_str()) {
            told.extend(way.iter().copied());
            let shown = [&[name.as_str()], way.as_slice()].concat().join(" -> ");
            report.mistake(&key, format!("leads back to where it began: {shown}"), "remove one of them");
        } else if way.last() == Some(&name.as_str()) {
            origin.fallback = None;
        }
    }
}
