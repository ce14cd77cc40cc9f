//! What is wrong with the origin, for whom and when. Which requests are hit follows from the seed, the fault and how many requests
//! the fault has matched before: a repeat of the same requests is hit the same. Called by [`super::Stage`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use globset::{GlobBuilder, GlobMatcher};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::Answer;
use crate::scenario::{Fault, Scenario, Wrong};

/// All faults of a scenario, and how often each was met.
#[derive(Debug)]
pub(super) struct Faults {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    seed: u64,
    from: Duration,
    until: Duration,
    /// None: what was to be a glob is none; it matches nothing.
    paths: Option<GlobMatcher>,
    share: f64,
    what: Wrong,
    matches: AtomicU64,
    met: AtomicU64,
}

/// The faults that hit one request.
#[derive(Debug)]
pub(super) struct Hits<'a> {
    rules: Vec<&'a Rule>,
}

/// Which time the live playlists that a request is shown are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    Now,
    /// They stand still from then until then.
    Still {
        from: Duration,
        until: Duration,
    },
    /// They are so much behind until then; in segments.
    Behind {
        segments: u32,
        until: Duration,
    },
}

/// The paths that a fault's glob means: `*` and `?` stay within a folder, `**` does not.
pub(crate) fn glob(paths: &str) -> Result<GlobMatcher> {
    let glob = GlobBuilder::new(paths).literal_separator(true).build();
    Ok(glob.with_context(|| format!("'{paths}' is no glob over paths (as '**/*.m4s')"))?.compile_matcher())
}

/// How long the faults of a scenario may hold a playlist back at most, where a segment is so long.
pub(super) fn back_max(scenario: &Scenario, segment: Duration) -> Duration {
    let back = scenario.faults.iter().map(|fault| match fault.what {
        Wrong::Stale => fault.over,
        Wrong::Backward(segments) => segment.saturating_mul(segments),
        _ => Duration::ZERO,
    });
    back.max().unwrap_or_default()
}

// === impl Faults ===

impl Faults {
    /// The globs are checked where the scenario is read ([`glob`]).
    pub(super) fn of(scenario: &Scenario) -> Self {
        let rules = scenario.faults.iter().enumerate();
        Self { rules: rules.map(|(index, fault)| Rule::of(fault, scenario.seed, index as u64)).collect() }
    }

    /// The faults that this request meets. Those that concern live playlists do not match anything else.
    pub(super) fn hits(&self, path: &str, now: Duration, is_live_playlist: bool) -> Hits<'_> {
        let concerns =
            |rule: &Rule| is_live_playlist || !matches!(rule.what, Wrong::Stale | Wrong::Backward(_));
        let mut hit: Vec<&Rule> = Vec::new();
        for rule in &self.rules {
            if rule.from <= now && now < rule.until && concerns(rule) && rule.hits(path) {
                hit.push(rule);
            }
        }
        // Nobody is there to do anything else; and another status has no media in its body.
        if let Some(outage) = hit.iter().position(|rule| rule.what == Wrong::Outage) {
            hit = vec![hit[outage]];
        } else if let Some(status) = hit.iter().position(|rule| matches!(rule.what, Wrong::Status(_))) {
            let status = hit[status];
            hit.retain(|rule| std::ptr::eq(*rule, status) || matches!(rule.what, Wrong::Delay(_)));
        }
        for rule in hit.iter().filter(|rule| !rule.is_of_bodies()) {
            rule.met.fetch_add(1, Ordering::Relaxed);
        }
        Hits { rules: hit }
    }

    /// When an outage begins that ends the wait for an answer between these two times.
    pub(super) fn outage_between(&self, path: &str, now: Duration, answer: Duration) -> Option<Duration> {
        let begins = |rule: &&Rule| rule.what == Wrong::Outage && now < rule.from && rule.from <= answer;
        let rule =
            self.rules.iter().filter(begins).filter(|rule| rule.hits(path)).min_by_key(|rule| rule.from)?;
        rule.met.fetch_add(1, Ordering::Relaxed);
        Some(rule.from)
    }

    /// How often each was met, in the order of the scenario.
    pub(super) fn met(&self) -> Vec<u64> {
        self.rules.iter().map(|rule| rule.met.load(Ordering::Relaxed)).collect()
    }
}

// === impl Rule ===

impl Rule {
    fn of(fault: &Fault, seed: u64, index: u64) -> Self {
        Self {
            seed: xxh3_64_with_seed(&index.to_le_bytes(), seed),
            from: fault.at,
            until: fault.at.saturating_add(fault.over),
            paths: glob(&fault.paths).ok(),
            share: fault.share,
            what: fault.what.clone(),
            matches: AtomicU64::new(0),
            met: AtomicU64::new(0),
        }
    }

    /// Whether the next request is hit, if the path is meant.
    fn hits(&self, path: &str) -> bool {
        if !self.paths.as_ref().is_some_and(|paths| paths.is_match(path)) {
            return false;
        }
        let count = self.matches.fetch_add(1, Ordering::Relaxed);
        let drawn = xxh3_64_with_seed(&count.to_le_bytes(), self.seed);
        // 53 bits, as many as a number from 0 to 1 has.
        ((drawn >> 11) as f64) < self.share * (1_u64 << 53) as f64
    }

    fn is_of_bodies(&self) -> bool {
        matches!(self.what, Wrong::Throttle(_) | Wrong::Break(_) | Wrong::Length(_) | Wrong::Corrupt(_))
    }
}

// === impl Hits ===

impl Hits<'_> {
    pub(super) fn is_outage(&self) -> bool {
        self.rules.iter().any(|rule| rule.what == Wrong::Outage)
    }

    pub(super) fn status(&self) -> Option<u16> {
        self.rules
            .iter()
            .find_map(|rule| if let Wrong::Status(status) = rule.what { Some(status) } else { None })
    }

    /// Which time its live playlists are of; of several faults, the last one in the scenario decides.
    pub(super) fn shown(&self) -> Shown {
        let of = |rule: &&Rule| match rule.what {
            Wrong::Stale => Some(Shown::Still { from: rule.from, until: rule.until }),
            Wrong::Backward(segments) => Some(Shown::Behind { segments, until: rule.until }),
            _ => None,
        };
        self.rules.iter().rev().find_map(of).unwrap_or(Shown::Now)
    }

    /// Does to an answer what is to be done to it.
    pub(super) fn apply(&self, answer: &mut Answer) {
        let bytes = answer.body.bytes();
        for rule in &self.rules {
            if rule.is_of_bodies() {
                if bytes == 0 {
                    continue;
                }
                rule.met.fetch_add(1, Ordering::Relaxed);
            }
            match rule.what {
                Wrong::Delay(delay) => answer.at = answer.at.saturating_add(delay),
                Wrong::Throttle(bits) => {
                    answer.throttle = Some(answer.throttle.map_or(bits, |other| other.min(bits)).max(1));
                }
                Wrong::Break(share) => {
                    let whole = answer.breaks_after.unwrap_or(bytes);
                    // A share of 1 would be no break.
                    answer.breaks_after = Some(whole.min(share_of(bytes, share).min(bytes - 1)));
                }
                Wrong::Length(more) => {
                    answer.length = answer.length.saturating_add_signed(more);
                    answer.breaks_after = Some(answer.breaks_after.unwrap_or(bytes));
                }
                Wrong::Corrupt(share) => answer.corrupt = Some(share_of(bytes, share).min(bytes - 1)),
                Wrong::Status(_) | Wrong::Stale | Wrong::Backward(_) | Wrong::Outage => {}
            }
        }
    }
}

fn share_of(bytes: u64, share: f64) -> u64 {
    (bytes as f64 * share.clamp(0.0, 1.0)) as u64
}

// === impl Shown ===

impl Shown {
    /// The time that a playlist is of which is shown at this one. In the stream's time; `from` and `until` of the fault likewise.
    pub(super) fn of(self, at_ns: u64, segment_ns: u64, stream: impl Fn(Duration) -> u64) -> u64 {
        match self {
            Self::Still { from, until } if at_ns < stream(until) => at_ns.min(stream(from)),
            Self::Behind { segments, until } if at_ns < stream(until) => {
                at_ns.saturating_sub(segment_ns.saturating_mul(u64::from(segments)))
            }
            _ => at_ns,
        }
    }

    /// When something is shown that is published then.
    pub(super) fn from(self, published_ns: u64, segment_ns: u64, stream: impl Fn(Duration) -> u64) -> u64 {
        match self {
            Self::Now => published_ns,
            Self::Still { from, .. } if published_ns <= stream(from) => published_ns,
            Self::Still { until, .. } => published_ns.max(stream(until)),
            Self::Behind { segments, until } => {
                let later = published_ns.saturating_add(segment_ns.saturating_mul(u64::from(segments)));
                later.min(stream(until).max(published_ns))
            }
        }
    }
}
