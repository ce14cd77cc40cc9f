//! Several runs beside each other, figure by figure, as the text and the HTML have them. Ratios are to the first run.

use super::facts::{self, Better, Fact, Group};
use super::text::{cut, pad};
use super::{scenario, words};
use crate::run::Finished;

/// A ratio as far from 1 as this, or nearer, is no difference.
const NO_DIFFERENCE: f64 = 0.1;

/// Characters of a run's name in a table.
const NAME_CHARACTERS_MAX: usize = 12;

/// One figure of all runs.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) group: Group,
    pub(crate) name: &'static str,
    pub(crate) better: Better,
    pub(crate) cells: Vec<Cell>,
}

/// One figure of one run.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    pub(crate) text: String,
    /// To the first run's; none for the first, and where there is none.
    pub(crate) ratio: Option<f64>,
    /// Whether this run is the better one; none: no difference, or none that is better.
    pub(crate) is_better: Option<bool>,
}

/// What the runs are called: by what differs between them.
pub(crate) fn names(runs: &[Finished]) -> Vec<String> {
    let scenario = |run: &Finished| scenario::text(&run.scenario, "name").to_owned();
    let is_same_server = runs.windows(2).all(|pair| pair[0].server == pair[1].server);
    let is_same_scenario = runs.windows(2).all(|pair| scenario(&pair[0]) == scenario(&pair[1]));
    let name = |run: &Finished| match (is_same_scenario, is_same_server) {
        (true, _) => run.server.clone(),
        (false, true) => scenario(run),
        (false, false) => format!("{} {}", scenario(run), run.server),
    };
    let names: Vec<String> = runs.iter().map(name).collect();
    // Runs of the same name are numbered.
    let number = |(index, name): (usize, &String)| {
        let before = names[..index].iter().filter(|other| *other == name).count();
        let is_alone = names.iter().filter(|other| *other == name).count() == 1;
        if is_alone { name.clone() } else { format!("{name} #{}", before + 1) }
    };
    names.iter().enumerate().map(number).collect()
}

/// What all of them are about.
pub(crate) fn title(runs: &[Finished]) -> String {
    let mut scenarios: Vec<&str> = runs.iter().map(|run| scenario::text(&run.scenario, "name")).collect();
    scenarios.dedup();
    match scenarios.as_slice() {
        [one] => format!("{one}: {} runs", runs.len()),
        several => format!("{} runs: {}", runs.len(), several.join(", ")),
    }
}

/// Why the runs cannot be compared as they are.
pub(crate) fn warning(runs: &[Finished]) -> Option<String> {
    let differs =
        |name: &str| runs.windows(2).any(|pair| pair[0].machine.get(name) != pair[1].machine.get(name));
    let is_same_scenario = runs.windows(2).all(|pair| pair[0].scenario == pair[1].scenario);
    let machine = differs("cpu") || differs("cores");
    match (machine, is_same_scenario) {
        (true, _) => Some("These runs are of different machines: compare with care.".to_owned()),
        (false, false) => {
            Some("These runs had different scenarios, seeds or sizes: compare with care.".to_owned())
        }
        (false, true) => None,
    }
}

/// All figures that at least one run has.
pub(crate) fn lines(runs: &[Finished]) -> Vec<Line> {
    let facts: Vec<Vec<Fact>> = runs.iter().map(|run| facts::of(&run.summary)).collect();
    let Some(first) = facts.first() else { return Vec::new() };
    let line = |(index, fact): (usize, &Fact)| Line {
        group: fact.group,
        name: fact.name,
        better: fact.better,
        cells: facts.iter().enumerate().map(|(run, facts)| cell(&facts[index], fact, run == 0)).collect(),
    };
    let is_there = |index: usize| facts.iter().any(|facts| facts[index].value.is_some());
    first.iter().enumerate().filter(|(index, _)| is_there(*index)).map(line).collect()
}

/// The lines, group by group.
pub(crate) fn groups(lines: &[Line]) -> impl Iterator<Item = &[Line]> {
    lines.chunk_by(|one, next| one.group == next.group)
}

/// The table for a terminal: up to four runs fit 80 columns. Of two, the ratios stand beside the figures, else below them.
pub(crate) fn text(runs: &[Finished]) -> String {
    let names: Vec<String> = names(runs).iter().map(|name| cut(name, NAME_CHARACTERS_MAX)).collect();
    let mut text = format!("{}\n", title(runs));
    if let Some(warning) = warning(runs) {
        text.push_str(&warning);
        text.push('\n');
    }
    let lines = lines(runs);
    let verdicts = std::iter::once("targets".to_owned()).chain(runs.iter().map(short_verdict)).collect();
    let are_two = runs.len() == 2;
    let figure = |index: usize, cell: &Cell| match cell.ratio {
        Some(ratio) if are_two => format!("{} {:>6}", cell.text, format!("×{ratio:.2}")),
        None if are_two && index == 1 => format!("{} {:6}", cell.text, ""),
        _ => cell.text.clone(),
    };
    put(&mut text, &head("", &names), Some(verdicts), &lines, figure);
    if !are_two {
        let told = |line: &Line| {
            line.better != Better::Neither && line.cells.iter().any(|cell| cell.ratio.is_some())
        };
        let lines: Vec<Line> = lines.into_iter().filter(told).collect();
        let first = names.first().map_or("", String::as_str);
        put(&mut text, &head(&format!("times {first}"), &names), None, &lines, |_, cell| {
            cell.ratio.map_or_else(String::new, |ratio| format!("×{ratio:.2}"))
        });
    }
    text
}

fn head(title: &str, names: &[String]) -> Vec<String> {
    std::iter::once(title.to_owned()).chain(names.iter().cloned()).collect()
}

/// A table, with an empty line before each group.
fn put(
    text: &mut String,
    head: &[String],
    verdicts: Option<Vec<String>>,
    lines: &[Line],
    figure: impl Fn(usize, &Cell) -> String,
) {
    let mut rows = vec![Vec::new(), head.to_vec()];
    rows.extend(verdicts);
    for group in groups(lines) {
        rows.push(Vec::new());
        rows.extend(group.iter().map(|line| {
            let cells = line.cells.iter().enumerate().map(|(index, cell)| figure(index, cell));
            std::iter::once(line.name.to_owned()).chain(cells).collect::<Vec<_>>()
        }));
    }
    for line in pad(&rows, 1) {
        text.push_str(&line);
        text.push('\n');
    }
}

fn short_verdict(run: &Finished) -> String {
    let targets = &run.summary.targets;
    let missed = targets.iter().filter(|target| target.is_missed()).count();
    match missed {
        0 if words::all_met(targets) => "all met".to_owned(),
        0 => format!("{} unmeasured", targets.iter().filter(|target| target.unmeasured).count()),
        missed => format!("{missed} missed"),
    }
}

fn cell(fact: &Fact, first: &Fact, is_first: bool) -> Cell {
    let ratio = match (fact.value, first.value) {
        (Some(value), Some(base)) if !is_first && base > 0.0 && value >= 0.0 => Some(value / base),
        _ => None,
    };
    let differs = ratio.filter(|ratio| (ratio - 1.0).abs() > NO_DIFFERENCE);
    let is_better = differs.and_then(|ratio| match fact.better {
        Better::Lower => Some(ratio < 1.0),
        Better::Higher => Some(ratio > 1.0),
        Better::Neither => None,
    });
    Cell { text: fact.text(), ratio, is_better }
}
