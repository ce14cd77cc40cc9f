//! Limits of a scenario that comes as JSON and not from [`super::build`]: numbers of everything, and what the origin computes and
//! takes memory for. Who watches and how is only counted: the process that reads the scenario lets nobody watch.
//!
//! Called by the origin's process.

use std::time::Duration;

use anyhow::{Result, anyhow, ensure};

use super::rules::{self, Measure, Number, Rule};
use super::units::{Rate, Share, Time};
use crate::scenario::{Deed, Fault, Scenario, Stream, Wrong};
use crate::stage::faults::glob;

/// That a scenario keeps to the limits of the rules; an error names the key.
pub(crate) fn check(scenario: &Scenario) -> Result<()> {
    let Scenario { streams, audience, groups, events, faults, .. } = scenario;
    for (count, kind) in [
        (streams.len(), "stream"),
        (audience.arrivals.len(), "audience.arrivals"),
        (groups.len(), "group"),
        (events.len(), "event"),
        (faults.len(), "fault"),
    ] {
        ensure!(count <= rules::TABLES_MAX, "{kind}: {count} of them, over {}", rules::TABLES_MAX);
    }
    let viewers = audience.arrivals.iter().fold(0_u64, |sum, one| sum + u64::from(one.viewers));
    ensure!(
        viewers <= u64::from(rules::VIEWERS_MAX),
        "audience.arrivals.viewers: {viewers} in all, over {}",
        rules::VIEWERS_MAX
    );
    let titles = streams.iter().fold(0_u64, |sum, one| sum + u64::from(one.count));
    ensure!(
        titles <= u64::from(rules::TITLES_MAX),
        "stream.count: {titles} titles in all, over {}",
        rules::TITLES_MAX
    );
    time(&rules::DURATION, scenario.duration)?;
    text(&rules::ABOUT, &scenario.about, rules::ABOUT_BYTES_MAX)?;
    streams.iter().try_for_each(stream)?;
    faults.iter().try_for_each(fault)?;
    for event in events {
        time(&rules::EVENT_AT, event.at)?;
        if let Deed::Purge { prefix, .. } = &event.what {
            text(&rules::EVENT_PURGE, prefix, rules::PATH_BYTES_MAX)?;
        }
    }
    Ok(())
}

fn stream(stream: &Stream) -> Result<()> {
    text(&rules::STREAM_NAME, &stream.name, rules::NAME_BYTES_MAX)?;
    number(&rules::STREAM_COUNT, stream.count)?;
    time(&rules::STREAM_SEGMENT, stream.segment)?;
    time(&rules::STREAM_PART, stream.part)?;
    ensure!(
        stream.part <= stream.segment,
        "{}: is longer than a segment of \"{}\"",
        rules::STREAM_PART.name(),
        stream.name
    );
    number(&rules::STREAM_WINDOW, stream.window)?;
    time(&rules::STREAM_LENGTH, stream.length)?;
    let count = stream.bitrates.len();
    ensure!(
        (1..=rules::BITRATES_MAX).contains(&count),
        "{}: has {count} bit rates; write 1 to {}",
        rules::STREAM_BITRATES.name(),
        rules::BITRATES_MAX
    );
    for bitrate in &stream.bitrates {
        within(&rules::STREAM_BITRATES, Rate(*bitrate))?;
    }
    stream.audio.map_or(Ok(()), |audio| within(&rules::STREAM_AUDIO, Rate(audio)))?;
    stream.key_every.map_or(Ok(()), |every| number(&rules::STREAM_KEY_EVERY, every))
}

fn fault(fault: &Fault) -> Result<()> {
    time(&rules::FAULT_AT, fault.at)?;
    time(&rules::FAULT_OVER, fault.over)?;
    text(&rules::FAULT_PATHS, &fault.paths, rules::PATH_BYTES_MAX)?;
    glob(&fault.paths)?;
    within(&rules::FAULT_SHARE, Share(fault.share))?;
    match fault.what {
        Wrong::Delay(delay) => time(&rules::FAULT_DELAY, delay),
        Wrong::Status(status) => number(&rules::FAULT_STATUS, status),
        Wrong::Throttle(rate) => within(&rules::FAULT_THROTTLE, Rate(rate)),
        Wrong::Break(share) => within(&rules::FAULT_BREAK, Share(share)),
        Wrong::Length(bytes) => within(&rules::FAULT_LENGTH, bytes),
        Wrong::Corrupt(share) => within(&rules::FAULT_CORRUPT, Share(share)),
        Wrong::Backward(segments) => number(&rules::FAULT_BACKWARD, segments),
        Wrong::Stale | Wrong::Outage => Ok(()),
    }
}

fn time(rule: &Rule, time: Duration) -> Result<()> {
    within(rule, Time(time))
}

fn number(rule: &Rule, number: impl Into<u64>) -> Result<()> {
    within(rule, Number(number.into()))
}

fn within<T: Measure>(rule: &Rule, value: T) -> Result<()> {
    rule.check(value).map(|_| ()).map_err(|why| anyhow!("{}: {why}", rule.name()))
}

fn text(rule: &Rule, text: &str, bytes_max: usize) -> Result<()> {
    ensure!(text.len() <= bytes_max, "{}: {} bytes, over {bytes_max}", rule.name(), text.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;
    use crate::scenario::adjust::{DURATION_MAX, DURATION_MIN};
    use crate::scenario::presets;
    use crate::stage::sample;

    #[test]
    fn what_comes_from_a_file_passes_whatever_its_duration_was_made() {
        for preset in presets::ALL {
            let scenario = super::super::parse(preset.name, preset.text).unwrap();
            check(&scenario).unwrap();
            for duration in [DURATION_MIN, DURATION_MAX] {
                check(&scenario.clone().with_duration(duration)).unwrap();
            }
        }
    }

    #[test]
    fn what_is_over_a_limit_is_named() {
        type Change = fn(&mut Scenario);
        let cases: [(Change, &str); 10] = [
            (|s| s.streams[0].segment = Duration::ZERO, "stream.segment"),
            (|s| s.streams[0].part = Duration::from_secs(9), "longer than a segment"),
            (|s| s.streams[0].window = u32::MAX, "stream.window"),
            (|s| s.streams[2].length = Duration::MAX, "stream.length"),
            (|s| s.streams[0].bitrates = vec![], "stream.bitrates"),
            (|s| s.streams.iter_mut().for_each(|one| one.count = 100_000), "300000 titles"),
            (|s| s.streams = vec![s.streams[0].clone(); 1_001], "stream: 1001 of them"),
            (|s| s.faults[0].share = f64::NAN, "fault.share"),
            (|s| s.faults[0].what = Wrong::Backward(1_001), "fault.backward"),
            (|s| s.faults[0].paths = "a".repeat(201), "fault.paths: 201 bytes"),
        ];
        for (change, says) in cases {
            let mut scenario = sample::scenario(vec![sample::fault(Wrong::Stale)]);
            check(&scenario).unwrap();
            change(&mut scenario);
            let error = check(&scenario).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
