//! Several runs beside each other: verdicts, figures with their ratio to the first run's, and plots over each other.

use maud::{Markup, html};

use super::{marks, plots, sections, shell};
use crate::output::charts::{self, TONES};
use crate::output::compare::{self, Cell, Line};
use crate::output::plot::Frame;
use crate::output::scenario;
use crate::output::words;
use crate::run::Finished;

pub(super) fn page(runs: &[Finished]) -> String {
    let names = compare::names(runs);
    let title = compare::title(runs);
    let body = html! {
        header {
            p.eyebrow { "Load tests beside each other" }
            h1 { (title) }
            @if let Some(warning) = compare::warning(runs) { p.warning { (warning) } }
        }
        (verdicts(runs, &names))
        section aria-labelledby="figures" {
            h2 #figures { "Figures" }
            p.note {
                "The small figure is the ratio to " b { (names[0]) } ", green where that is better by more than a tenth, and red \
                 where it is worse."
            }
            (table(&compare::lines(runs), &names))
        }
        section aria-labelledby="over-time" {
            h2 #over-time { "Over time" }
            @let frame = frame(runs);
            (marks(&frame))
            (plots(&charts::beside(runs, &names), &frame))
        }
        (settings(runs, &names))
    };
    shell(&title, &html! { div.several { (body) } })
}

/// The longest of the runs; what happened in them is marked where all had it at the same time.
fn frame(runs: &[Finished]) -> Frame {
    let frames: Vec<Frame> = runs.iter().map(charts::frame).collect();
    let mut frame = frames.first().cloned().unwrap_or_default();
    frame.seconds = frames.iter().map(|frame| frame.seconds).fold(1.0, f64::max);
    let is_same = |other: &Frame| {
        other.marks.len() == frame.marks.len()
            && other.marks.iter().zip(&frame.marks).all(|(a, b)| a.2 == b.2 && (a.0 - b.0).abs() < 2.0)
    };
    if !frames.iter().all(is_same) {
        frame.marks.clear();
    }
    if frames.iter().any(|other| (other.warm_up - frame.warm_up).abs() > f64::EPSILON) {
        frame.warm_up = 0.0;
    }
    frame
}

fn verdicts(runs: &[Finished], names: &[String]) -> Markup {
    html! {
        section aria-label="Verdicts" {
            ul.runs {
                @for ((run, name), tone) in runs.iter().zip(names).zip(TONES.iter().cycle()) {
                    @let targets = &run.summary.targets;
                    @let all = words::all_met(targets);
                    li.good[all].bad[!all] {
                        h2 { i class={ "swatch " (tone) } {} (name) }
                        p.result {
                            span.sign aria-hidden="true" { @if all { "✓" } @else { "✗" } } " " (words::verdict(targets))
                        }
                        @for target in targets.iter().filter(|target| !target.met) {
                            @let (name, unit) = words::target(&target.target);
                            p.miss {
                                (name) " " @if target.unmeasured { (words::met(target)) } @else { (words::measured(target)) }
                                " (at most " (unit.write(target.at_most)) ")"
                            }
                        }
                        @if let Some(warning) = words::warning(&run.summary) { p.warning { (warning) } }
                    }
                }
            }
        }
    }
}

fn table(lines: &[Line], names: &[String]) -> Markup {
    html! {
        div.wide tabindex="0" role="region" aria-labelledby="figures" {
            table.beside {
                thead {
                    tr {
                        th scope="col" {}
                        @for (name, tone) in names.iter().zip(TONES.iter().cycle()) {
                            th scope="col" { i class={ "swatch " (tone) } {} (name) }
                        }
                    }
                }
                @for group in compare::groups(lines) {
                    tbody {
                        tr.group { th scope="rowgroup" colspan=(names.len() + 1) { (group[0].group.as_str()) } }
                        @for line in group {
                            tr { th scope="row" { (line.name) } @for (index, cell) in line.cells.iter().enumerate() { (one(cell, index)) } }
                        }
                    }
                }
            }
        }
    }
}

/// The first run has no ratio, and no room for one.
fn one(cell: &Cell, index: usize) -> Markup {
    html! {
        td {
            (cell.text)
            @if index > 0 {
                " " small.better[cell.is_better == Some(true)].worse[cell.is_better == Some(false)] {
                    @if let Some(ratio) = cell.ratio { "×" (format!("{ratio:.2}")) }
                }
            }
        }
    }
}

fn settings(runs: &[Finished], names: &[String]) -> Markup {
    html! {
        section aria-labelledby="setting" {
            h2 #setting { "What they depend on" }
            @for (run, name) in runs.iter().zip(names) {
                details {
                    summary { (name) }
                    div.groups {
                        (sections::machine(&run.machine))
                        pre { (scenario::outline(&run.scenario)) }
                    }
                }
            }
        }
    }
}
