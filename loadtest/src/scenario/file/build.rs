//! From what is written to the model: defaults are filled in, ranges and what belongs together are checked.
//!
//! Nothing is checked again after it: a [`Scenario`] that is there can be run. One that comes as JSON has [`super::check`].

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use anyhow::{Result, bail};
use toml::Spanned;

use super::raw;
use super::rules::{self, Number, Rule, Without};
use super::units::{Rate, Share, Time};
use super::{Page, most_like};
use crate::scenario::{
    Abr, Arrivals, Audience, Carry, Cmcd, CmcdCarry, Deed, Event, Fault, Group, Protocol, Scenario, Spread,
    Stream, StreamKind, Targets, Token, Wrong,
};
use crate::stage::faults::glob;

/// The warm-up when none is written: this part of the duration, at most so long.
const WARM_UP_PART: u32 = 6;
const WARM_UP_MAX: Duration = Duration::from_secs(10);

/// A part when none is written: this part of a segment, at most so long.
const PART_PART: u32 = 4;
const PART_MAX: Duration = Duration::from_secs(1);

/// The shortest life of a token that goes by cookie: that of the server's own.
const COOKIE_LIFE_MIN: Duration = Duration::from_secs(60);

/// The whole of it.
pub(super) fn scenario(page: &Page<'_>, raw: &raw::Scenario) -> Result<Scenario> {
    let duration = page.needed(&rules::DURATION, raw.duration.as_ref())?.0;
    let streams = streams(page, &raw.stream)?;
    let names: Vec<&str> = streams.iter().map(|stream| stream.name.as_str()).collect();
    let groups = groups(page, &raw.group, &names)?;
    Ok(Scenario {
        name: page.name.to_owned(),
        about: page.text(&rules::ABOUT, raw.about.as_ref(), rules::ABOUT_BYTES_MAX)?,
        seed: page.needed(&rules::SEED, raw.seed.as_ref())?.0,
        duration,
        warm_up: warm_up(page, raw, duration)?,
        audience: audience(page, raw.audience.as_ref(), duration)?,
        events: events(page, &raw.event, duration)?,
        faults: faults(page, &raw.fault, duration)?,
        token: raw.token.as_ref().map(|token| self::token(page, token.get_ref(), duration)).transpose()?,
        targets: targets(page, &raw.targets)?,
        streams,
        groups,
    })
}

fn warm_up(page: &Page<'_>, raw: &raw::Scenario, duration: Duration) -> Result<Duration> {
    let Some(written) = &raw.warm_up else { return Ok((duration / WARM_UP_PART).min(WARM_UP_MAX)) };
    let warm_up = page.needed(&rules::WARM_UP, Some(written))?.0;
    if warm_up >= duration {
        let what = format!("does not end before the run; write less than {}", Time(duration));
        return Err(page.fail(written.span(), &rules::WARM_UP, &what));
    }
    Ok(warm_up)
}

/// At most [`rules::TABLES_MAX`] of them.
fn bounded<T>(page: &Page<'_>, tables: &[Spanned<T>], kind: &str) -> Result<()> {
    match tables.get(rules::TABLES_MAX) {
        None => Ok(()),
        Some(one) => Err(page.tell(
            Some(one.span()),
            &format!("more than {} tables [[{kind}]]; write fewer", rules::TABLES_MAX),
        )),
    }
}

/// A name that can stand in a path and in a report.
fn name(page: &Page<'_>, rule: &Rule, raw: Option<&Spanned<String>>) -> Result<String> {
    let name = page.text(rule, raw, rules::NAME_BYTES_MAX)?;
    let good = !name.is_empty()
        && name.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
        && !name.starts_with('-');
    match raw {
        Some(raw) if !good => {
            Err(page.fail(raw.span(), rule, "is no name; write lower case letters, digits and \"-\""))
        }
        _ => Ok(name),
    }
}

// === Streams ===

fn streams(page: &Page<'_>, raw: &[Spanned<raw::Stream>]) -> Result<Vec<Stream>> {
    bounded(page, raw, "stream")?;
    if raw.is_empty() {
        bail!("{}: there is nothing to watch; write a table [[stream]] with name and kind", page.name);
    }
    let mut streams = Vec::with_capacity(raw.len());
    let (mut taken, mut titles) = (BTreeSet::new(), 0_u32);
    for raw in raw {
        let stream = stream(page, raw.get_ref())?;
        titles = titles.saturating_add(stream.count);
        if titles > rules::TITLES_MAX {
            let what = format!("more than {} titles in all; write a smaller count", rules::TITLES_MAX);
            return Err(page.fail(raw.span(), &rules::STREAM_COUNT, &what));
        }
        for name in stream.titles() {
            if !taken.insert((stream.kind == StreamKind::Vod, name)) {
                let what = "is taken by another stream, or by a copy of one; write another name";
                return Err(page.fail(raw.get_ref().name.span(), &rules::STREAM_NAME, what));
            }
        }
        streams.push(stream);
    }
    Ok(streams)
}

fn stream(page: &Page<'_>, raw: &raw::Stream) -> Result<Stream> {
    let segment = page.needed(&rules::STREAM_SEGMENT, raw.segment.as_ref())?.0;
    let kind = raw.kind;
    belongs(page, &rules::STREAM_PART, raw.part.as_ref(), kind == StreamKind::LowLatency)?;
    belongs(page, &rules::STREAM_PARTS, raw.parts.as_ref(), kind == StreamKind::LowLatency)?;
    belongs(page, &rules::STREAM_WINDOW, raw.window.as_ref(), kind != StreamKind::Vod)?;
    belongs(page, &rules::STREAM_LENGTH, raw.length.as_ref(), kind == StreamKind::Vod)?;
    let part = match &raw.part {
        None => (segment / PART_PART).min(PART_MAX),
        Some(written) => {
            let part = page.needed(&rules::STREAM_PART, Some(written))?.0;
            if part > segment {
                let what = format!("is longer than a segment; write at most {}", Time(segment));
                return Err(page.fail(written.span(), &rules::STREAM_PART, &what));
            }
            part
        }
    };
    Ok(Stream {
        name: name(page, &rules::STREAM_NAME, Some(&raw.name))?,
        kind,
        count: page.needed(&rules::STREAM_COUNT, raw.count.as_ref())?.0 as u32,
        segment,
        part,
        window: page.needed(&rules::STREAM_WINDOW, raw.window.as_ref())?.0 as u32,
        length: page.needed(&rules::STREAM_LENGTH, raw.length.as_ref())?.0,
        bitrates: bitrates(page, raw.bitrates.as_ref())?,
        audio: page.value(&rules::STREAM_AUDIO, raw.audio.as_ref())?.map(|rate| rate.0),
        key_every: page.value(&rules::STREAM_KEY_EVERY, raw.key_every.as_ref())?.map(|every| every.0 as u32),
        parts_are_ranges: raw.parts.as_ref().is_some_and(|parts| *parts.get_ref() == raw::Parts::Ranges),
    })
}

/// That a key is not there where it has no meaning.
fn belongs<T>(page: &Page<'_>, rule: &Rule, raw: Option<&Spanned<T>>, means: bool) -> Result<()> {
    match raw {
        Some(raw) if !means => {
            Err(page.fail(raw.span(), rule, "has no meaning for a stream of this kind; take it out"))
        }
        _ => Ok(()),
    }
}

fn bitrates(page: &Page<'_>, raw: Option<&Spanned<Vec<Rate>>>) -> Result<Vec<u64>> {
    let rule = &rules::STREAM_BITRATES;
    let Some(raw) = raw else { return default_bitrates() };
    let rates = raw.get_ref();
    if rates.is_empty() || rates.len() > rules::BITRATES_MAX {
        let what = format!("has {} bit rates; write 1 to {}", rates.len(), rules::BITRATES_MAX);
        return Err(page.fail(raw.span(), rule, &what));
    }
    for rate in rates {
        rule.check(*rate).map_err(|what| page.fail(raw.span(), rule, &what))?;
    }
    if !rates.is_sorted_by(|a, b| a.0 < b.0) {
        return Err(page.fail(raw.span(), rule, "is not ascending; write the lowest first, each once"));
    }
    Ok(rates.iter().map(|rate| rate.0).collect())
}

/// The bit rates that the rule names, which are written as in a file.
fn default_bitrates() -> Result<Vec<u64>> {
    let Without::Is(text) = rules::STREAM_BITRATES.without else { return Ok(Vec::new()) };
    let list: std::collections::BTreeMap<String, Vec<Rate>> = toml::from_str(&format!("bitrates = {text}"))?;
    Ok(list.into_values().flatten().map(|rate| rate.0).collect())
}

// === Audience ===

fn audience(page: &Page<'_>, raw: Option<&Spanned<raw::Audience>>, duration: Duration) -> Result<Audience> {
    let nobody = "nobody comes; write a table [[audience.arrivals]] with viewers";
    let Some(written) = raw else { bail!("{}: {nobody}", page.name) };
    let raw = written.get_ref();
    bounded(page, &raw.arrivals, "audience.arrivals")?;
    if raw.arrivals.is_empty() {
        return Err(page.tell(Some(written.span()), nobody));
    }
    let (mut arrivals, mut viewers) = (Vec::with_capacity(raw.arrivals.len()), 0_u64);
    for raw in &raw.arrivals {
        let (span, raw) = (raw.span(), raw.get_ref());
        let at = page.needed(&rules::ARRIVALS_AT, raw.at.as_ref())?.0;
        let over = page.needed(&rules::ARRIVALS_OVER, raw.over.as_ref())?.0;
        if at + over > duration {
            let what = format!("ends after the run; `at` and `over` are to end within {}", Time(duration));
            return Err(page.fail(span, &rules::ARRIVALS_OVER, &what));
        }
        let count = page.needed(&rules::ARRIVALS_VIEWERS, Some(&raw.viewers))?.0;
        viewers += count;
        if viewers > u64::from(rules::VIEWERS_MAX) {
            let what = format!("more than {} viewers in all; write fewer", rules::VIEWERS_MAX);
            return Err(page.fail(raw.viewers.span(), &rules::ARRIVALS_VIEWERS, &what));
        }
        arrivals.push(Arrivals {
            at,
            over,
            viewers: count as u32,
            spread: raw.spread.unwrap_or(Spread::Even),
        });
    }
    Ok(Audience {
        arrivals,
        stay: page.value(&rules::AUDIENCE_STAY, raw.stay.as_ref())?.map(|stay| stay.0),
        zipf: page.needed(&rules::AUDIENCE_ZIPF, raw.zipf.as_ref())?,
    })
}

// === Groups ===

/// Shares are made to sum to 1; without any table there is one group, of all defaults.
fn groups(page: &Page<'_>, raw: &[Spanned<raw::Group>], streams: &[&str]) -> Result<Vec<Group>> {
    bounded(page, raw, "group")?;
    let mut groups = raw.iter().map(|raw| group(page, raw.get_ref(), streams)).collect::<Result<Vec<_>>>()?;
    if groups.is_empty() {
        let nothing: raw::Group = toml::from_str("")?;
        groups.push(group(page, &nothing, streams)?);
    }
    let mut taken = BTreeSet::new();
    for (group, raw) in groups.iter().zip(raw) {
        if !taken.insert(group.name.clone()) {
            let span = raw.get_ref().name.as_ref().map_or(raw.span(), Spanned::span);
            let what = format!("there are two groups \"{}\"; give each a name of its own", group.name);
            return Err(page.fail(span, &rules::GROUP_NAME, &what));
        }
    }
    let whole: f64 = groups.iter().map(|group| group.share).sum();
    groups.iter_mut().for_each(|group| group.share /= whole);
    Ok(groups)
}

fn group(page: &Page<'_>, raw: &raw::Group, streams: &[&str]) -> Result<Group> {
    let buffer = page.needed(&rules::GROUP_BUFFER, raw.buffer.as_ref())?.0;
    let start_buffer = page.needed(&rules::GROUP_START_BUFFER, raw.start_buffer.as_ref())?.0;
    if start_buffer > buffer
        && let Some(span) = raw.start_buffer.as_ref().or(raw.buffer.as_ref()).map(Spanned::span)
    {
        let what =
            format!("{} is more than `buffer` can hold; write at most {}", Time(start_buffer), Time(buffer));
        return Err(page.fail(span, &rules::GROUP_START_BUFFER, &what));
    }
    for watched in &raw.watches {
        if !streams.contains(&watched.get_ref().as_str()) {
            let proposal = most_like(watched.get_ref(), streams.iter().copied())
                .map_or("write the name of a [[stream]]".to_owned(), |name| {
                    format!("did you mean \"{name}\"?")
                });
            return Err(page.fail(
                watched.span(),
                &rules::GROUP_WATCHES,
                &format!("no such stream; {proposal}"),
            ));
        }
    }
    let mean = |rule: &Rule, raw: Option<&Spanned<Time>>| {
        page.value(rule, raw).map(|time: Option<Time>| time.map(|time| time.0))
    };
    Ok(Group {
        name: name(page, &rules::GROUP_NAME, raw.name.as_ref())?,
        share: page.needed(&rules::GROUP_SHARE, raw.share.as_ref())?,
        protocol: raw.protocol.unwrap_or(Protocol::H1),
        abr: raw.abr.unwrap_or(Abr::Throughput),
        start_buffer,
        buffer,
        abandon: raw.abandon.unwrap_or(true),
        keys: raw.keys.unwrap_or(true),
        line: page.value(&rules::GROUP_LINE, raw.line.as_ref())?.map(|rate| rate.0),
        seek_every: mean(&rules::GROUP_SEEK, raw.seek_every.as_ref())?,
        zap_every: mean(&rules::GROUP_ZAP, raw.zap_every.as_ref())?,
        cmcd: raw.cmcd.as_ref().map(|cmcd| self::cmcd(page, cmcd)).transpose()?,
        watches: raw.watches.iter().map(|name| name.get_ref().clone()).collect(),
    })
}

fn cmcd(page: &Page<'_>, raw: &raw::Cmcd) -> Result<Cmcd> {
    let version = page.needed(&rules::CMCD_VERSION, raw.version.as_ref())?.0 as u8;
    Ok(Cmcd { version, carry: raw.carry.unwrap_or(CmcdCarry::Query) })
}

// === What happens ===

/// A time of the run that lies within it.
fn moment(page: &Page<'_>, rule: &Rule, raw: &Spanned<Time>, duration: Duration) -> Result<Duration> {
    let at = page.needed(rule, Some(raw))?.0;
    if at >= duration {
        let what = format!("is after the end of the run; write less than {}", Time(duration));
        return Err(page.fail(raw.span(), rule, &what));
    }
    Ok(at)
}

/// The one of several deeds that is written.
fn only<T>(page: &Page<'_>, span: Range<usize>, deeds: Vec<(&Rule, Option<T>)>) -> Result<T> {
    let keys = deeds.iter().map(|(rule, _)| format!("`{}`", rule.key)).collect::<Vec<_>>().join(", ");
    let mut written = deeds.into_iter().filter_map(|(_, deed)| deed);
    match (written.next(), written.next()) {
        (Some(deed), None) => Ok(deed),
        (None, _) => Err(page.tell(Some(span), &format!("says not what is done; write one of {keys}"))),
        (Some(_), Some(_)) => {
            Err(page.tell(Some(span), &format!("says two things at once; write one of {keys}")))
        }
    }
}

/// Whether a flag is set.
fn is_set(raw: Option<&Spanned<bool>>) -> bool {
    raw.is_some_and(|raw| *raw.get_ref())
}

fn events(page: &Page<'_>, raw: &[Spanned<raw::Event>], duration: Duration) -> Result<Vec<Event>> {
    bounded(page, raw, "event")?;
    let mut events = raw.iter().map(|raw| event(page, raw, duration)).collect::<Result<Vec<_>>>()?;
    events.sort_by_key(|event| event.at);
    Ok(events)
}

fn event(page: &Page<'_>, written: &Spanned<raw::Event>, duration: Duration) -> Result<Event> {
    let raw = written.get_ref();
    if let (None, Some(hard)) = (&raw.purge, &raw.hard) {
        return Err(page.fail(
            hard.span(),
            &rules::EVENT_HARD,
            "has no meaning without `purge`; take it out",
        ));
    }
    let purge = raw.purge.as_ref().map(|purge| {
        let prefix = page.text(&rules::EVENT_PURGE, Some(purge), rules::PATH_BYTES_MAX)?;
        if !prefix.starts_with('/') {
            return Err(page.fail(purge.span(), &rules::EVENT_PURGE, "is no path; begin it with \"/\""));
        }
        Ok(Deed::Purge { prefix, hard: is_set(raw.hard.as_ref()) })
    });
    let deeds = vec![
        (&rules::EVENT_PURGE, purge.transpose()?),
        (&rules::EVENT_RESTART, is_set(raw.restart.as_ref()).then_some(Deed::Restart)),
        (&rules::EVENT_KILL, is_set(raw.kill.as_ref()).then_some(Deed::Kill)),
    ];
    let at = moment(page, &rules::EVENT_AT, &raw.at, duration)?;
    Ok(Event { at, what: only(page, written.span(), deeds)? })
}

fn faults(page: &Page<'_>, raw: &[Spanned<raw::Fault>], duration: Duration) -> Result<Vec<Fault>> {
    bounded(page, raw, "fault")?;
    raw.iter().map(|raw| fault(page, raw, duration)).collect()
}

fn fault(page: &Page<'_>, written: &Spanned<raw::Fault>, duration: Duration) -> Result<Fault> {
    let raw = written.get_ref();
    let paths = page.text(&rules::FAULT_PATHS, raw.paths.as_ref(), rules::PATH_BYTES_MAX)?;
    // As the origin will read it.
    if let (Err(error), Some(raw)) = (glob(&paths), &raw.paths) {
        let what = format!("is no glob ({}); write one such as \"**/*.m4s\"", error.root_cause());
        return Err(page.fail(raw.span(), &rules::FAULT_PATHS, &what));
    }
    Ok(Fault {
        at: moment(page, &rules::FAULT_AT, &raw.at, duration)?,
        over: page.needed(&rules::FAULT_OVER, Some(&raw.over))?.0,
        paths,
        share: page.needed(&rules::FAULT_SHARE, raw.share.as_ref())?.0,
        what: only(page, written.span(), wrongs(page, raw)?)?,
    })
}

/// What a fault may say, each with its key.
fn wrongs<'a>(page: &Page<'_>, raw: &raw::Fault) -> Result<Vec<(&'a Rule, Option<Wrong>)>> {
    let share = |rule: &Rule, raw: Option<&Spanned<Share>>| {
        page.value(rule, raw).map(|share| share.map(|share| share.0))
    };
    let number =
        |rule: &Rule, raw: Option<&Spanned<Number>>| page.value(rule, raw).map(|number| number.map(|n| n.0));
    let length = page.value(&rules::FAULT_LENGTH, raw.length.as_ref())?;
    if let (Some(0), Some(raw)) = (length, &raw.length) {
        return Err(page.fail(
            raw.span(),
            &rules::FAULT_LENGTH,
            "0 is no fault; write another number of bytes",
        ));
    }
    Ok(vec![
        (
            &rules::FAULT_DELAY,
            page.value(&rules::FAULT_DELAY, raw.delay.as_ref())?.map(|time| Wrong::Delay(time.0)),
        ),
        (
            &rules::FAULT_STATUS,
            number(&rules::FAULT_STATUS, raw.status.as_ref())?.map(|n| Wrong::Status(n as u16)),
        ),
        (
            &rules::FAULT_THROTTLE,
            page.value(&rules::FAULT_THROTTLE, raw.throttle.as_ref())?.map(|rate| Wrong::Throttle(rate.0)),
        ),
        (&rules::FAULT_BREAK, share(&rules::FAULT_BREAK, raw.breaks.as_ref())?.map(Wrong::Break)),
        (&rules::FAULT_LENGTH, length.map(Wrong::Length)),
        (&rules::FAULT_CORRUPT, share(&rules::FAULT_CORRUPT, raw.corrupt.as_ref())?.map(Wrong::Corrupt)),
        (&rules::FAULT_STALE, is_set(raw.stale.as_ref()).then_some(Wrong::Stale)),
        (
            &rules::FAULT_BACKWARD,
            number(&rules::FAULT_BACKWARD, raw.backward.as_ref())?.map(|n| Wrong::Backward(n as u32)),
        ),
        (&rules::FAULT_OUTAGE, is_set(raw.outage.as_ref()).then_some(Wrong::Outage)),
    ])
}

// === Tokens and targets ===

fn token(page: &Page<'_>, raw: &raw::Token, duration: Duration) -> Result<Token> {
    let carry = raw.carry.unwrap_or(Carry::Path);
    let lifetime = page.needed(&rules::TOKEN_LIFETIME, raw.lifetime.as_ref())?.0;
    if let (Carry::Cookie, Some(raw), true) = (carry, &raw.lifetime, lifetime < COOKIE_LIFE_MIN) {
        let what =
            format!("is too short for the server's own token; write at least {}", Time(COOKIE_LIFE_MIN));
        return Err(page.fail(raw.span(), &rules::TOKEN_LIFETIME, &what));
    }
    if let (Carry::Cookie, Some(raw)) = (carry, &raw.wave_at) {
        let what = "has no meaning with `cookie`, whose tokens the server makes; write another `carry`";
        return Err(page.fail(raw.span(), &rules::TOKEN_WAVE, what));
    }
    let wave =
        |raw| page.needed(&rules::TOKEN_WAVE, Some(raw)).and(moment(page, &rules::TOKEN_WAVE, raw, duration));
    Ok(Token { carry, lifetime, wave_at: raw.wave_at.as_ref().map(wave).transpose()? })
}

fn targets(page: &Page<'_>, raw: &raw::Targets) -> Result<Targets> {
    Ok(Targets {
        stall_ratio: page.needed(&rules::TARGET_STALL, raw.stall_ratio.as_ref())?.0,
        startup_p95: page.needed(&rules::TARGET_STARTUP, raw.startup_p95.as_ref())?.0,
        error_ratio: page.needed(&rules::TARGET_ERROR, raw.error_ratio.as_ref())?.0,
    })
}
