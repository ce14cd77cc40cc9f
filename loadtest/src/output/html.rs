//! One run, or several beside each other, as one HTML page that needs nothing else: its style and its plots are in it, and no
//! script is. Texts are escaped by the macro that writes them. What is on the page stands here and in [`sections`], what several
//! runs have beside each other in [`beside`]; how it looks in `html/page.css`.

mod beside;
mod sections;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::charts;
use super::plot::{Frame, Plot};
use super::scenario;
use crate::run::Finished;

const STYLE: &str = include_str!("html/page.css");

/// The page of these runs: of one, or of several beside each other.
pub(crate) fn page(runs: &[Finished]) -> String {
    match runs {
        [] => shell("no run", &html! { p { "There is no run to show." } }),
        [run] => one(run),
        several => beside::page(several),
    }
}

fn one(run: &Finished) -> String {
    let name = scenario::text(&run.scenario, "name");
    let frame = charts::frame(run);
    let body = html! {
        header {
            p.eyebrow { "Load test" @if let Some(date) = sections::date(run) { " · " (date) } }
            h1 { (name) " " span.at { "at " (run.server) } }
            p.about { (scenario::text(&run.scenario, "about")) }
        }
        (sections::verdict(run))
        (sections::headline(run))
        section aria-labelledby="over-time" {
            h2 #over-time { "Over time" }
            (marks(&frame))
            (plots(&charts::of(run), &frame))
        }
        (sections::figures(run))
        (sections::kinds(run))
        (sections::errors(run))
        (sections::origin(run))
        (sections::setting(run))
    };
    shell(&format!("{name} at {}", run.server), &body)
}

/// What the signs in the plots mean.
fn marks(frame: &Frame) -> Markup {
    html! {
        @if frame.warm_up > 0.0 || !frame.marks.is_empty() {
            ol.marks {
                @if frame.warm_up > 0.0 {
                    li { i.swatch.warm {} "warm-up, not counted: " (super::unit::clock(frame.warm_up, frame.seconds)) }
                }
                @for (at, sign, text) in &frame.marks {
                    li { b.sign { (sign) } (super::unit::clock(*at, frame.seconds)) " " span.text { (text) } }
                }
            }
        }
    }
}

fn plots(plots: &[Plot], frame: &Frame) -> Markup {
    html! { div.plots { @for plot in plots { (plot.render(frame)) } } }
}

fn shell(title: &str, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main { (body) }
                footer { p { "Written by forebay-loadtest " (env!("CARGO_PKG_VERSION")) "." } }
            }
        }
    };
    let mut text = page.into_string();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests;
