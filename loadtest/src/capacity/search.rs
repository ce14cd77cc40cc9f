//! The search itself: which audience is tried next, when it ends, and what it has found. A run is a function here, so that the
//! search is tested without any.
//!
//! One bad run is no break: what breaks is run once more with the same audience, and counts as carried if it then holds. So a
//! moment in which the machine did something else does not decide; where no step is left for that, it is said. A run in which the tester was late itself is no measure of
//! the server: it is a limit too, but the tester's.

use anyhow::{Result, anyhow};

use crate::measure::summary::{Summary, Verdict};
use crate::output::words;
use crate::run::Finished;

/// Where the search begins and ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bounds {
    /// Viewers of the first step, from 1 on.
    pub(crate) from: u32,
    /// Viewers of any step, at most.
    pub(crate) most: u32,
    /// Runs at most; one that is done again counts twice.
    pub(crate) steps_max: u32,
    /// The search ends when what breaks is this share, or less, above what is carried.
    pub(crate) precision: f64,
}

/// One run of the search.
#[derive(Clone, Debug)]
pub(crate) struct Tried {
    /// Viewers in all.
    pub(crate) viewers: u32,
    /// None: every target was met.
    pub(crate) broke: Option<Broke>,
    pub(crate) summary: Summary,
}

/// Why a run does not count as carried.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Broke {
    /// These targets were missed: name, what was measured, and the most it was to be.
    Targets(Vec<(String, f64, f64)>),
    /// The tester was late itself, by this share of a timer's time (99th percentile).
    Tester { pacing_p99: f64 },
}

/// What was found.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) bounds: Bounds,
    /// In the order they were made.
    pub(crate) tried: Vec<Tried>,
    /// Whether the two ends came as close as they were to.
    pub(crate) is_narrow: bool,
    /// Whether the limit was met in one run alone: the steps had come to their end before it could be run once more.
    pub(crate) is_once: bool,
    /// Why it ended before its time: a run that failed, or that is none to go by.
    pub(crate) failed: Option<String>,
    /// Indices of the largest audience that was carried, and the smallest that was not.
    good: Option<usize>,
    bad: Option<usize>,
}

/// Searches: `run` is a whole run with so many viewers, `tell` hears of each when it is over, `is_over` ends the search early.
/// So does a run that fails, or is none to go by: an error where nothing was carried by then, else told with what was found.
pub(crate) async fn search(
    bounds: &Bounds,
    mut run: impl AsyncFnMut(u32) -> Result<Finished>,
    mut tell: impl FnMut(&Tried),
    is_over: impl Fn() -> bool,
) -> Result<Found> {
    let mut found = Found {
        bounds: *bounds,
        tried: Vec::new(),
        is_narrow: false,
        is_once: false,
        failed: None,
        good: None,
        bad: None,
    };
    let mut again = false;
    while (found.tried.len() as u32) < bounds.steps_max && !is_over() {
        let last = found.tried.last().filter(|_| again).map(|tried| tried.viewers);
        let Some(viewers) = last.or_else(|| found.next()) else {
            found.is_narrow = true;
            break;
        };
        let outcome = run(viewers).await;
        if is_over() {
            // It was ended early, and is no whole run, if it is one at all.
            break;
        }
        let finished = match outcome.and_then(|finished| to_go_by(viewers, finished)) {
            Ok(finished) => finished,
            Err(error) if found.good.is_some() => {
                found.failed = Some(format!("{error:#}"));
                break;
            }
            Err(error) => return Err(error),
        };
        let tried = Tried { viewers, broke: broke(&finished.summary), summary: finished.summary };
        tell(&tried);
        again = found.note(tried, again);
    }
    Ok(found)
}

fn to_go_by(viewers: u32, finished: Finished) -> Result<Finished> {
    if finished.spoiled.is_empty() {
        return Ok(finished);
    }
    Err(anyhow!("the run with {viewers} viewers is none to go by: {}", finished.spoiled.join("; ")))
}

/// Why a run is not carried, if it is not. A tester that was late itself is named in place of the targets: they are not the
/// server's then.
fn broke(summary: &Summary) -> Option<Broke> {
    if summary.pacing.is_late() {
        return Some(Broke::Tester { pacing_p99: summary.pacing.p99 });
    }
    // Where all came during the warm-up there is no start-up to measure, which does not break; nothing else may be unmeasured.
    let is_broken = |v: &&Verdict| v.is_missed() || (v.unmeasured && v.target != "startup_p95_seconds");
    let missed = summary.targets.iter().filter(is_broken);
    let missed: Vec<_> = missed.map(|v| (v.target.clone(), v.measured, v.at_most)).collect();
    (!missed.is_empty()).then_some(Broke::Targets(missed))
}

/// The audience after these two ends; none: they are close enough, or the end of what may be tried is reached.
fn next(bounds: &Bounds, good: Option<u32>, bad: Option<u32>) -> Option<u32> {
    match (good, bad) {
        (None, None) => Some(bounds.from.clamp(1, bounds.most)),
        (Some(good), None) => (good < bounds.most).then(|| good.saturating_mul(2).min(bounds.most)),
        (None, Some(bad)) => (bad > 1).then_some(bad / 2),
        (Some(good), Some(bad)) => {
            let between = bad.saturating_sub(good);
            (between > 1 && f64::from(between) > f64::from(good) * bounds.precision)
                .then(|| good + between / 2)
        }
    }
}

// === impl Found ===

impl Found {
    /// The run with the largest audience that was carried, below any that was not.
    pub(crate) fn carried(&self) -> Option<&Tried> {
        self.good.map(|index| &self.tried[index])
    }

    /// The run with the smallest audience that was not carried.
    pub(crate) fn limit(&self) -> Option<&Tried> {
        self.bad.map(|index| &self.tried[index])
    }

    /// Whether it was the tester that came to its limit.
    pub(crate) fn is_testers(&self) -> bool {
        self.limit().is_some_and(|tried| matches!(tried.broke, Some(Broke::Tester { .. })))
    }

    fn next(&self) -> Option<u32> {
        let viewers = |tried: &Tried| tried.viewers;
        next(&self.bounds, self.carried().map(viewers), self.limit().map(viewers))
    }

    /// Notes a run; true: it is to be done again before it counts.
    fn note(&mut self, tried: Tried, is_second: bool) -> bool {
        let (index, has_broken) = (self.tried.len(), tried.broke.is_some());
        self.tried.push(tried);
        let last_step = self.tried.len() as u32 >= self.bounds.steps_max;
        if has_broken && !is_second && !last_step {
            return true;
        }
        if has_broken {
            (self.bad, self.is_once) = (Some(index), !is_second);
        } else {
            self.good = Some(index);
        }
        false
    }
}

// === impl Broke ===

impl Broke {
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Tester { pacing_p99 } => words::tester_was_late("", *pacing_p99),
            Self::Targets(missed) => {
                let text = |(name, measured, at_most): &(String, f64, f64)| {
                    format!("{name} breaks ({measured:.4}, at most {at_most})")
                };
                missed.iter().map(text).collect::<Vec<_>>().join(" and ")
            }
        }
    }
}

#[cfg(test)]
mod tests;
