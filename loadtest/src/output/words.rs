//! Verdicts and facts in words, the same in the text and in the HTML.

use serde_json::Value;

use super::unit::Unit;
use crate::measure::summary::{LATE_P99_MAX, Summary, Verdict};

/// What it means that the tester was late itself, and what to do about it.
pub(crate) const LATE_REMEDY: &str = "these figures are not the server's alone. Take fewer viewers, more threads or processors, or \
                                      further machines (forebay-loadtest join)";

/// Whether the run was good enough.
pub(crate) fn all_met(targets: &[Verdict]) -> bool {
    targets.iter().all(|target| target.met)
}

/// The verdict in a sentence.
pub(crate) fn verdict(targets: &[Verdict]) -> String {
    let missed = targets.iter().filter(|target| target.is_missed()).count();
    let unmeasured = targets.iter().filter(|target| target.unmeasured).count();
    let all = targets.len();
    let text = match missed {
        _ if all == 0 => "No targets".to_owned(),
        0 if unmeasured == 0 => format!("All {all} targets met"),
        0 => format!("{} of {all} targets met", all - unmeasured),
        missed => format!("{missed} of {all} targets missed"),
    };
    if unmeasured > 0 { format!("{text}, {unmeasured} unmeasured") } else { text }
}

/// What a target is called, and of what it is.
pub(crate) fn target(name: &str) -> (&str, Unit) {
    match name {
        "stall_ratio" => ("stall ratio", Unit::Share),
        "startup_p95_seconds" => ("start-up p95", Unit::Seconds),
        "error_ratio" => ("error ratio", Unit::Share),
        "mismatches" => ("wrong bodies", Unit::Count),
        other => (other, Unit::Number),
    }
}

/// What was measured, with its unit.
pub(crate) fn measured(verdict: &Verdict) -> String {
    if verdict.unmeasured {
        return "none".to_owned();
    }
    target(&verdict.target).1.write(verdict.measured)
}

/// `met`, `missed`, or `unmeasured` where there was nothing to measure.
pub(crate) fn met(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict { unmeasured: true, .. } => "unmeasured",
        Verdict { met: true, .. } => "met",
        _ => "missed",
    }
}

/// Why the figures may not be the server's alone.
pub(crate) fn warning(summary: &Summary) -> Option<String> {
    let pacing = &summary.pacing;
    pacing.is_late().then(|| format!("Warning: {}: {LATE_REMEDY}.", tester_was_late("", pacing.p99)))
}

/// That the tester was late itself, when (` in 1 of 3 rounds`), and by how much.
pub(crate) fn tester_was_late(when: &str, p99: f64) -> String {
    let [late, most] = [p99, LATE_P99_MAX].map(|share| Unit::Share.write(share));
    format!("the tester was late itself{when} (late p99 {late}, at most {most})")
}

/// The facts of the machine, one after the other; what was not found out is left out.
pub(crate) fn machine(machine: &Value) -> Vec<(String, String)> {
    let facts = machine.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    facts
        .map(|(name, value)| (name.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    fn of(target: &str, measured: f64, met: bool) -> Verdict {
        Verdict { target: target.to_owned(), measured, at_most: 1.0, met, unmeasured: false }
    }

    #[test]
    fn a_verdict_says_what_was_missed_and_what_could_not_be_measured() {
        let unmeasured = Verdict { unmeasured: true, ..of("startup_p95_seconds", 0.0, false) };
        let targets = [of("stall_ratio", 0.5, true), of("error_ratio", 2.0, false), unmeasured];
        assert_eq!(targets.each_ref().map(met), ["met", "missed", "unmeasured"]);
        assert_eq!(verdict(&targets), "1 of 3 targets missed, 1 unmeasured");
        let but_one = [targets[0].clone(), targets[2].clone()];
        assert_eq!(
            (verdict(&but_one).as_str(), all_met(&but_one)),
            ("1 of 2 targets met, 1 unmeasured", false)
        );
        assert_eq!(measured(&targets[2]), "none");
        assert_eq!(verdict(&[targets[0].clone(), targets[0].clone()]), "All 2 targets met");
        assert_eq!(measured(&of("startup_p95_seconds", 0.25, true)), "250 ms");
    }

    #[test]
    fn a_tester_that_is_late_at_its_99th_percentile_is_named_whatever_the_mean() {
        let mut summary = Summary::default();
        (summary.pacing.mean, summary.pacing.p99) = (0.5, LATE_P99_MAX);
        assert_eq!(warning(&summary), None);
        (summary.pacing.mean, summary.pacing.p99) = (0.001, 0.05);
        let text = warning(&summary).unwrap();
        assert!(text.contains("late itself (late p99 5 %, at most 2 %)") && text.contains("join"), "{text}");
    }
}
