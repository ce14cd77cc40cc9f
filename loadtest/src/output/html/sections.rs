//! The parts of a run's page that are no plots: the verdict, the key figures, tables, and what the result depends on.

use maud::{Markup, html};

use crate::measure::summary::{Quantiles, Verdict};
use crate::output::facts::{self, Fact, Group};
use crate::output::scenario;
use crate::output::unit::Unit;
use crate::output::words;
use crate::run::Finished;

/// Figures that stand large, and what they are called there.
const HEADLINE: [(&str, &str); 10] = [
    ("viewers at most", "viewers at most"),
    ("start-up p95", "start-up, p95"),
    ("stall ratio", "of the time stalled"),
    ("TTFB p99", "first byte, p99"),
    ("hit ratio", "of requests are hits"),
    ("requests/s", "requests"),
    ("throughput", "to viewers"),
    ("per segment or part", "origin requests per segment"),
    ("CPU per 1,000 viewers", "server, per 1,000 viewers"),
    ("server memory at most", "server memory at most"),
];

/// A share below this one is no line but a speck.
const SHARE_DRAWN_MIN: f64 = 0.005;

/// When the run was, as the machine's facts have it.
pub(super) fn date(run: &Finished) -> Option<String> {
    let date = run.machine.get("date")?.as_str()?;
    Some(date.replace('T', " ").replace('Z', " UTC"))
}

/// Whether it was good enough, first of all.
pub(super) fn verdict(run: &Finished) -> Markup {
    let targets = &run.summary.targets;
    let all = words::all_met(targets);
    html! {
        section.verdict.good[all].bad[!all] aria-labelledby="verdict" {
            h2 #verdict { span.sign aria-hidden="true" { @if all { "✓" } @else { "✗" } } (words::verdict(targets)) }
            @if let Some(warning) = words::warning(&run.summary) { p.warning { (warning) } }
            ul.targets { @for target in targets { (one_target(target)) } }
        }
    }
}

fn one_target(verdict: &Verdict) -> Markup {
    let (name, unit) = words::target(&verdict.target);
    // How much of what is allowed was used: a target of nothing is met with nothing.
    let used =
        if verdict.at_most > 0.0 { (verdict.measured / verdict.at_most * 100.0).min(100.0) } else { 0.0 };
    html! {
        li.met[verdict.met].missed[verdict.is_missed()].unmeasured[verdict.unmeasured] {
            span.name { (name) }
            span.measured { (words::measured(verdict)) }
            span.allowed {
                @if verdict.at_most > 0.0 { "at most " (unit.write(verdict.at_most)) } @else { "none allowed" }
            }
            span.gauge aria-hidden="true" {
                i style={ "width:" (format!("{:.0}", if verdict.is_missed() { 100.0 } else if verdict.unmeasured { 0.0 } else { used })) "%" } {}
            }
            span.word { (words::met(verdict)) }
        }
    }
}

/// The figures that one looks for.
pub(super) fn headline(run: &Finished) -> Markup {
    let facts = facts::of(&run.summary);
    html! {
        section aria-label="Key figures" {
            dl.tiles {
                @for (name, label) in HEADLINE {
                    @if let Some(fact) = facts::find(&facts, name).filter(|fact| fact.value.is_some()) {
                        div { dt { (label) } dd { (fact.text()) } }
                    }
                }
            }
        }
    }
}

/// All figures, group by group.
pub(super) fn figures(run: &Finished) -> Markup {
    let facts = facts::of(&run.summary);
    let of = |group: Group| -> Vec<&Fact> {
        facts.iter().filter(|fact| fact.group == group && fact.value.is_some()).collect()
    };
    html! {
        section aria-labelledby="figures" {
            h2 #figures { "Figures" }
            p.note {
                "Of the " (Unit::Seconds.write(run.summary.seconds)) " after the warm-up. CPU is in processors that are busy all \
                 the time; lateness is the tester's own, as a share of the time that a timer was set for."
            }
            div.figures {
                @for group in Group::ALL {
                    @let facts = of(group);
                    @if !facts.is_empty() {
                        table {
                            caption { (group.as_str()) }
                            tbody { @for fact in facts { tr { th scope="row" { (fact.name) } td { (fact.text()) } } } }
                        }
                    }
                }
            }
        }
    }
}

/// Requests by what was asked for and what the cache said.
pub(super) fn kinds(run: &Finished) -> Markup {
    let total: u64 = run.summary.kinds.iter().map(|kind| kind.requests).sum();
    let share = |requests: u64| requests as f64 / total.max(1) as f64;
    let times = |quantiles: &Quantiles, values: &[f64]| -> Vec<String> {
        let write =
            |value: &f64| if quantiles.count > 0 { Unit::Milliseconds.write(*value) } else { "-".into() };
        values.iter().map(write).collect()
    };
    html! {
        section aria-labelledby="kinds" {
            h2 #kinds { "Requests by kind and by what the cache said" }
            p.note { "Times are from when a request was due, so that waiting for a connection counts." }
            div.wide tabindex="0" role="region" aria-labelledby="kinds" {
                table {
                    thead {
                        tr {
                            th scope="col" rowspan="2" { "kind" } th.word scope="col" rowspan="2" { "cache" }
                            th scope="col" rowspan="2" { "requests" } th scope="col" rowspan="2" { "share" }
                            th scope="col" rowspan="2" { "bytes" }
                            th.over scope="colgroup" colspan="3" { "first byte" }
                            th.over scope="colgroup" colspan="3" { "whole" }
                        }
                        tr { @for _ in 0..2 { @for name in ["p50", "p95", "p99"] { th scope="col" { (name) } } } }
                    }
                    tbody {
                        @for kind in &run.summary.kinds {
                            tr {
                                th scope="row" { (kind.kind) }
                                td.word { span class={ "cache " (kind.cache) } { (kind.cache) } }
                                td { (Unit::Count.write(kind.requests as f64)) }
                                td.bar {
                                    @if share(kind.requests) >= SHARE_DRAWN_MIN {
                                        i style={ "width:" (format!("{:.1}", share(kind.requests) * 100.0)) "%" } {}
                                    }
                                    (Unit::Share.write(share(kind.requests)))
                                }
                                td { (Unit::Bytes.write(kind.bytes as f64)) }
                                @for quantiles in [&kind.ttfb_ms, &kind.whole_ms] {
                                    @for text in times(quantiles, &[quantiles.p50, quantiles.p95, quantiles.p99]) {
                                        td { (text) }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What went wrong, if anything did.
pub(super) fn errors(run: &Finished) -> Markup {
    let requests = &run.summary.requests;
    html! {
        @if requests.errors + requests.mismatches + requests.bad_playlists > 0 {
            section aria-labelledby="errors" {
                h2 #errors { "What went wrong" }
                div.groups {
                    table {
                        caption { "by word" }
                        tbody {
                            @for (word, count) in &requests.errors_by { (counted(word, *count)) }
                            @if requests.mismatches > 0 { (counted("wrong bodies", requests.mismatches)) }
                            @if requests.bad_playlists > 0 { (counted("bad playlists", requests.bad_playlists)) }
                        }
                    }
                    @if !requests.examples.is_empty() {
                        div.examples {
                            h3 { "Some of them" }
                            ul { @for example in &requests.examples { li { code { (example) } } } }
                        }
                    }
                }
            }
        }
    }
}

fn counted(word: &str, count: u64) -> Markup {
    html! { tr { th scope="row" { (word) } td { (Unit::Count.write(count as f64)) } } }
}

/// How often the origin was asked for what.
pub(super) fn origin(run: &Finished) -> Markup {
    html! {
        @if let Some(origin) = run.summary.origin.as_ref().filter(|origin| !origin.per_object.is_empty()) {
            section aria-labelledby="per-object" {
                h2 #per-object { "Requests to the origin for each object" }
                p.note { "Of the whole run. Once for each object is perfect." }
                div.wide tabindex="0" role="region" aria-labelledby="per-object" {
                    table {
                        thead {
                            tr {
                                th scope="col" { "kind" } th scope="col" { "objects" } th scope="col" { "requests" }
                                th scope="col" { "for each" } th scope="col" { "most" }
                                th.left scope="col" { "most was for" }
                            }
                        }
                        tbody {
                            @for (kind, asked) in &origin.per_object {
                                tr {
                                    th scope="row" { (kind) }
                                    td { (Unit::Count.write(asked.objects as f64)) }
                                    td { (Unit::Count.write(asked.requests as f64)) }
                                    td { (Unit::Number.write(asked.mean)) }
                                    td { (Unit::Count.write(asked.most as f64)) }
                                    td.left { code { (asked.most_for) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The machine and the scenario: what the result depends on.
pub(super) fn setting(run: &Finished) -> Markup {
    html! {
        section aria-labelledby="setting" {
            h2 #setting { "What it depends on" }
            div.groups {
                (machine(&run.machine))
                details {
                    summary { "The scenario, as it was run" }
                    pre { (scenario::outline(&run.scenario)) }
                }
            }
        }
    }
}

/// The facts of a machine.
pub(super) fn machine(facts: &serde_json::Value) -> Markup {
    html! {
        table {
            caption { "machine" }
            tbody {
                @for (name, value) in words::machine(facts) {
                    tr { th scope="row" { (name) } td.text { (value) } }
                }
            }
        }
    }
}
