//! A plot over the time of a run, as inline SVG: lines and areas, axes with units, a legend, marks of what happened, and a
//! figure under the pointer, without a script.
//!
//! The drawing is stretched to the width it is given, its texts are not: positions along the time are percentages, so that the
//! same plot can be read on a wide screen and on a phone. Colours are classes; the page's style sheet has them. Which plots there
//! are stands in [`super::charts`].

mod scale;

use std::fmt::Write as _;

use maud::{Markup, html};

use self::scale::Scale;
use super::unit::{Unit, clock};

/// Height of the drawing, in CSS pixels.
const HEIGHT: f64 = 168.0;

/// Width of the drawing in its own units, which are stretched.
const WIDTH: f64 = 1_000.0;

/// Points of a line. A longer run has several seconds in each.
const POINTS_MAX: usize = 360;

/// Places with a figure under the pointer.
const HINTS_MAX: usize = 90;

/// Marks closer to each other than this share of the time stand below each other.
const MARK_DISTANCE: f64 = 0.045;

/// Rows that marks stand in, from above the drawing downwards.
const MARK_ROWS: usize = 3;

/// The first row's middle, and the distance to the next, in CSS pixels.
const MARK_TOP: f64 = -10.0;
const MARK_ROW: f64 = 18.0;

/// One plot.
#[derive(Clone, Debug)]
pub(crate) struct Plot {
    /// Unique on the page; of letters and dashes.
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) unit: Unit,
    pub(crate) series: Vec<Series>,
    /// The most that a target allows, as a line across.
    pub(crate) limit: Option<f64>,
    /// The axis reaches at least so far.
    pub(crate) reach: f64,
    /// One value may be thousands of another: the axis may be logarithmic.
    pub(crate) may_be_log: bool,
}

/// One line.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) name: String,
    /// Class of its colour: `a` to `f`, or `p50`, `p95`, `p99`, `bad`.
    pub(crate) tone: &'static str,
    /// Whether the space below the line is filled.
    pub(crate) is_area: bool,
    /// How seconds become one point.
    pub(crate) gather: Gather,
    /// Time in seconds, and the value; none: there is none.
    pub(crate) points: Vec<(f64, Option<f64>)>,
}

/// How several values become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gather {
    Mean,
    /// What must not be lost: the worst percentile, the most stalls.
    Most,
}

/// What all plots of a page have in common.
#[derive(Clone, Debug, Default)]
pub(crate) struct Frame {
    /// Length of the run, in seconds.
    pub(crate) seconds: f64,
    /// Seconds at the beginning that do not count.
    pub(crate) warm_up: f64,
    /// What happened when, and the sign for it.
    pub(crate) marks: Vec<(f64, String, String)>,
}

// === impl Series ===

impl Series {
    /// At most so many points.
    fn gathered(&self, points_max: usize) -> Vec<(f64, Option<f64>)> {
        let each = self.points.len().div_ceil(points_max).max(1);
        let gathered = self.points.chunks(each).map(|chunk| {
            let values: Vec<f64> = chunk.iter().filter_map(|(_, value)| *value).collect();
            let value = match self.gather {
                Gather::Mean => {
                    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
                }
                Gather::Most => values.iter().copied().reduce(f64::max),
            };
            (chunk.last().map_or(0.0, |(at, _)| *at), value)
        });
        gathered.collect()
    }

    fn values(&self) -> impl Iterator<Item = f64> {
        self.points.iter().filter_map(|(_, value)| *value)
    }
}

// === impl Plot ===

impl Plot {
    /// Whether there is anything to draw.
    pub(crate) fn has_values(&self) -> bool {
        self.series.iter().any(|series| series.values().next().is_some())
    }

    /// The figure: title, unit, legend and drawing.
    pub(crate) fn render(&self, frame: &Frame) -> Markup {
        let scale = self.scale();
        let [title, about] = ["title", "about"].map(|part| format!("{}-{part}", self.id));
        html! {
            figure.plot {
                figcaption {
                    h3 { (self.title) }
                    span.unit { (self.unit.name()) @if let Some(remark) = scale.remark() { (remark) } }
                    ul.legend {
                        @for series in &self.series { li { i class={ "swatch " (series.tone) } {} (series.name) } }
                        @if let Some(limit) = self.limit { li { i.swatch.limit {} "target " (self.unit.write(limit)) } }
                    }
                }
                svg.drawing role="img" aria-labelledby={ (title) " " (about) } width="100%" height=(HEIGHT + 22.0) {
                    title id=(title) { (self.title) " over time" }
                    desc id=(about) { (self.description()) }
                    (self.backdrop(&scale, frame))
                    svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } preserveAspectRatio="none" width="100%" height=(HEIGHT) {
                        @for series in &self.series { (lines(series, &scale, frame)) }
                        @if let Some(limit) = self.limit.filter(|limit| scale.holds(*limit)) {
                            path.line.limit d={ "M0 " (fixed(y(&scale, limit))) "H" (WIDTH) } {}
                        }
                    }
                    (marks(frame))
                    svg.hints viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } preserveAspectRatio="none" width="100%"
                        height=(HEIGHT) { (self.hints(frame)) }
                }
            }
        }
    }

    /// The axis that shows all values, the limit if it is near, and zero.
    fn scale(&self) -> Scale {
        let values = || self.series.iter().flat_map(Series::values);
        let most = values().fold(self.reach, f64::max);
        let most = self.limit.filter(|limit| *limit < most * 4.0).map_or(most, |limit| most.max(limit));
        let least = values().filter(|value| *value > 0.0).fold(f64::INFINITY, f64::min);
        let mut sorted: Vec<f64> = values().collect();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.get(sorted.len() / 2).copied().unwrap_or(0.0);
        let lowest = values().fold(f64::INFINITY, f64::min);
        if self.unit == Unit::Share && lowest > scale::UPPER_TENTH && most <= 1.0 {
            Scale::upper_tenth()
        } else if self.may_be_log && middle > 0.0 && most > middle * 30.0 {
            Scale::logarithmic(least, most)
        } else {
            Scale::linear(most)
        }
    }

    /// In a sentence for those who do not see it.
    fn description(&self) -> String {
        let mut text = String::new();
        for series in &self.series {
            let most = series.points.iter().filter_map(|(at, value)| value.map(|value| (*at, value)));
            let most = most.reduce(|most, next| if next.1 > most.1 { next } else { most });
            let last = series.values().last();
            if let (Some((at, most)), Some(last)) = (most, last) {
                let (most, last) = (self.unit.write(most), self.unit.write(last));
                write!(text, "{}: at most {most} at {at:.0} s, {last} at the end. ", series.name).ok();
            }
        }
        text.trim_end().to_owned()
    }

    /// Warm-up, grid, axes and their texts.
    fn backdrop(&self, scale: &Scale, frame: &Frame) -> Markup {
        let unit = self.unit;
        let steps = scale::times(frame.seconds);
        html! {
            @if frame.warm_up > 0.0 && frame.warm_up < frame.seconds {
                rect.warm-up width=(percent(frame.warm_up, frame)) height=(HEIGHT) {}
            }
            @for value in scale.ticks() {
                line.grid x2="100%" y1=(fixed(y(scale, value))) y2=(fixed(y(scale, value))) {}
                text.tick x="-8" y=(fixed(y(scale, value) + 4.0)) text-anchor="end" { (unit.tick(value)) }
            }
            line.axis x2="100%" y1=(HEIGHT) y2=(HEIGHT) {}
            @for at in steps {
                line.axis x1=(percent(at, frame)) x2=(percent(at, frame)) y1=(HEIGHT) y2=(HEIGHT + 4.0) {}
                text.tick x=(percent(at, frame)) y=(HEIGHT + 18.0) text-anchor="middle" {
                    (clock(at, frame.seconds))
                }
            }
        }
    }

    /// What is under the pointer: the time, and each line's figure.
    fn hints(&self, frame: &Frame) -> Markup {
        let gathered: Vec<_> =
            self.series.iter().map(|series| (series, series.gathered(HINTS_MAX))).collect();
        let longest = gathered.iter().map(|(_, points)| points).max_by_key(|points| points.len());
        let times: Vec<f64> = longest.into_iter().flatten().map(|(at, _)| *at).collect();
        let from = |index: usize| if index == 0 { 0.0 } else { times[index - 1] };
        let text = |index: usize| {
            let mut text = clock(times[index], frame.seconds);
            for (series, points) in &gathered {
                if let Some((_, Some(value))) = points.get(index) {
                    write!(text, "\n{}: {}", series.name, self.unit.write(*value)).ok();
                }
            }
            text
        };
        html! {
            @for index in 0..times.len() {
                rect x=(fixed(x(from(index), frame))) width=(fixed(x(times[index], frame) - x(from(index), frame)))
                    height=(HEIGHT) { title { (text(index)) } }
            }
        }
    }
}

/// A line, broken where there is no value, and what lies below it.
fn lines(series: &Series, scale: &Scale, frame: &Frame) -> Markup {
    let points = series.gathered(POINTS_MAX);
    let (mut line, mut area) = (String::new(), String::new());
    for stretch in points.split(|(_, value)| value.is_none()) {
        let at: Vec<(f64, f64)> = stretch
            .iter()
            .filter_map(|(at, value)| value.map(|value| (x(*at, frame), y(scale, value))))
            .collect();
        let (Some(first), Some(last)) = (at.first(), at.last()) else { continue };
        let path: Vec<String> = at.iter().map(|(x, y)| format!("{} {}", fixed(*x), fixed(*y))).collect();
        write!(line, "M{}", path.join("L")).ok();
        // A lonely point is a line of no length, whose round ends are a dot.
        if at.len() == 1 {
            line.push_str("h0");
        }
        write!(area, "M{} {HEIGHT}L{}L{} {HEIGHT}Z", fixed(first.0), path.join("L"), fixed(last.0)).ok();
    }
    html! {
        @if series.is_area { path class={ "area " (series.tone) } d=(area) {} }
        path class={ "line " (series.tone) } d=(line) {}
    }
}

/// A line and a sign for everything that happened.
fn marks(frame: &Frame) -> Markup {
    let mut row = 0;
    let mut before = f64::NEG_INFINITY;
    let placed: Vec<_> = frame
        .marks
        .iter()
        .map(|(at, sign, text)| {
            row = if at - before < frame.seconds * MARK_DISTANCE { (row + 1) % MARK_ROWS } else { 0 };
            before = *at;
            (
                percent(*at, frame),
                MARK_TOP + MARK_ROW * row as f64,
                sign,
                format!("{}: {text}", clock(*at, frame.seconds)),
            )
        })
        .collect();
    html! {
        @for (at, top, sign, text) in &placed {
            g.mark {
                line x1=(at) x2=(at) y1=(MARK_TOP) y2=(HEIGHT) {}
                circle cx=(at) cy=(top) r="8" { title { (text) } }
                text x=(at) y=(top + 3.5) text-anchor="middle" { (sign) }
            }
        }
    }
}

fn x(seconds: f64, frame: &Frame) -> f64 {
    (seconds / frame.seconds.max(1.0)).clamp(0.0, 1.0) * WIDTH
}

fn y(scale: &Scale, value: f64) -> f64 {
    (1.0 - scale.place(value)) * HEIGHT
}

fn percent(seconds: f64, frame: &Frame) -> String {
    format!("{}%", fixed(x(seconds, frame) / WIDTH * 100.0))
}

/// As short as a screen needs it.
fn fixed(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

#[cfg(test)]
mod tests;
