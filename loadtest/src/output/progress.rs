//! A run while it goes on: in a terminal a few lines that are drawn anew each second, else a plain line every few seconds, both
//! on standard error; at the end the summary, on standard output. Called by the one who runs it, with each row.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::paint::Paint;
use super::text;
use super::unit::{Unit, clock};
use crate::measure::summary::{Row, Summary, Usage};

/// Seconds between plain lines.
const PLAIN_EVERY_SECONDS: u32 = 5;

/// Redraws per second, at most.
const DRAWS_PER_SECOND: u8 = 4;

/// What is shown of a run.
#[derive(Debug)]
pub(crate) struct Progress {
    /// What is run, and at what.
    title: String,
    seconds: f64,
    show: Show,
    paint: Paint,
    errors: u64,
    mismatches: u64,
}

#[derive(Debug)]
enum Show {
    Nothing,
    Lines,
    Bar(ProgressBar),
}

// === impl Progress ===

impl Progress {
    /// A run of the scenario of that name, at this server, for so long. Where it is not to be shown, nothing is written at all.
    pub(crate) fn new(scenario: &str, server: &str, duration: Duration, shows: bool) -> Self {
        let title = format!("{scenario} at {server}");
        let show = match (shows, std::io::stderr().is_terminal()) {
            (false, _) => Show::Nothing,
            (true, false) => Show::Lines,
            (true, true) => Show::Bar(bar(&title, duration)),
        };
        let progress = Self {
            title,
            seconds: duration.as_secs_f64(),
            show,
            paint: Paint::of(&std::io::stderr()),
            errors: 0,
            mismatches: 0,
        };
        if let Show::Lines = progress.show {
            progress.say(&format!("{}, {}", progress.title, Unit::Seconds.write(progress.seconds)));
        }
        progress
    }

    /// A second is over.
    pub(crate) fn second(&mut self, row: &Row) {
        self.errors += row.errors;
        self.mismatches += row.mismatches;
        match &self.show {
            Show::Nothing => {}
            Show::Lines => {
                if row.second.is_multiple_of(PLAIN_EVERY_SECONDS) {
                    self.say(&self.plain(row));
                }
            }
            Show::Bar(bar) => {
                bar.set_position(u64::from(row.second));
                bar.set_message(self.lively(row));
            }
        }
    }

    /// Something happened, so many seconds after the start.
    pub(crate) fn mark(&mut self, seconds: f64, text: &str) {
        let line = format!("{:>8}  {text}", clock(seconds, self.seconds));
        match &self.show {
            Show::Nothing => {}
            Show::Lines => self.say(&line),
            Show::Bar(bar) => bar.println(self.paint.warn(&line)),
        }
    }

    /// The run is over.
    pub(crate) fn finish(self, summary: &Summary) {
        match &self.show {
            Show::Nothing => return,
            Show::Lines => {}
            Show::Bar(bar) => bar.finish_and_clear(),
        }
        let stdout = std::io::stdout();
        let text = text::summary(&self.title, summary, Paint::of(&stdout));
        // Nobody reads any more: the files still tell.
        write!(stdout.lock(), "{text}").ok();
    }

    /// A second in a line of at most 80 columns.
    fn plain(&self, row: &Row) -> String {
        let mut parts = vec![
            format!(
                "{:>8}  {} viewers",
                clock(f64::from(row.second), self.seconds),
                Unit::Count.tick(row.viewers.into())
            ),
            format!("{} stalled", Unit::Count.tick(row.stalled.into())),
            Unit::PerSecond.write(row.requests as f64),
            Unit::BitsPerSecond.write(row.bytes as f64 * 8.0),
        ];
        if let Some(server) = row.server {
            parts.push(Unit::Cpus.write(server.cpu_seconds));
        }
        if self.errors + self.mismatches > 0 {
            parts.push(format!("{} failed", Unit::Count.tick((self.errors + self.mismatches) as f64)));
        }
        parts.join("  ")
    }

    /// A second in the lines below the bar.
    fn lively(&self, row: &Row) -> String {
        let (paint, count) = (self.paint, |value: u32| Unit::Count.write(f64::from(value)));
        let alarm = |value: u64, text: String| if value > 0 { paint.bad(&text) } else { text };
        let viewers = format!(
            "viewers   {} there   {} starting   {}",
            count(row.viewers),
            count(row.starting),
            alarm(row.stalled.into(), format!("{} stalled", count(row.stalled)))
        );
        let hits = if row.hits > 0 {
            format!("   {} hits", Unit::Share.write(row.hits as f64 / row.requests.max(1) as f64))
        } else {
            String::new()
        };
        let requests = format!(
            "requests  {}   {}{hits}   {}",
            Unit::PerSecond.write(row.requests as f64),
            Unit::BitsPerSecond.write(row.bytes as f64 * 8.0),
            alarm(
                self.errors + self.mismatches,
                format!(
                    "{} errors, {} wrong",
                    Unit::Count.tick(self.errors as f64),
                    Unit::Count.tick(self.mismatches as f64)
                )
            ),
        );
        let mut times = String::from("times    ");
        for (name, quantiles, value) in [
            ("first byte p99", row.ttfb_ms, row.ttfb_ms.p99),
            ("start-up p95", row.startup_ms, row.startup_ms.p95),
            ("behind live p50", row.behind_live_ms, row.behind_live_ms.p50),
        ] {
            if quantiles.count > 0 {
                times.push_str(&format!(" {name} {}  ", Unit::Milliseconds.write(value)));
            }
        }
        if times.trim_end() == "times" {
            times.push_str(" none yet");
        }
        let usage = |name: &str, usage: Option<Usage>| {
            usage.map(|usage| {
                format!("{name} {:.2}, {}", usage.cpu_seconds, Unit::Bytes.write(usage.resident_bytes as f64))
            })
        };
        let machine: Vec<String> =
            [usage("server", row.server), usage("origin", row.origin), usage("tester", row.tester)]
                .into_iter()
                .flatten()
                .collect();
        let machine = format!("cpu, mem  {}", machine.join("   "));
        [viewers, requests, times.trim_end().to_owned(), machine].join("\n")
    }

    fn say(&self, line: &str) {
        writeln!(std::io::stderr(), "{line}").ok();
    }
}

fn bar(title: &str, duration: Duration) -> ProgressBar {
    let target = ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND);
    let bar = ProgressBar::with_draw_target(Some(duration.as_secs().max(1)), target);
    let template = "{prefix}  {bar:30}  {pos} of {len} s\n{msg}";
    // A template that is not understood leaves the default bar, which tells less.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("━╸─"));
    }
    bar.set_prefix(title.to_owned());
    bar
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use indicatif::InMemoryTerm;

    use super::*;
    use crate::output::sample;

    fn quiet(title: &str) -> Progress {
        let mut progress = Progress::new(title, "forebay", Duration::from_secs(120), false);
        progress.paint = Paint::plain();
        progress
    }

    #[test]
    fn a_second_is_told_within_a_terminals_width_both_ways() {
        let mut progress = quiet("kick-off");
        for row in &sample::run(1, "forebay").rows {
            progress.second(row);
            let lines = progress.lively(row);
            assert_eq!(lines.lines().count(), 4);
            for line in lines.lines().chain([progress.plain(row).as_str()]) {
                assert!(line.chars().count() <= text::COLUMNS, "{line}");
            }
        }
        assert!(progress.errors > 0);
    }

    #[test]
    fn the_bar_stays_where_it_is_and_marks_scroll_above_it() {
        let screen = InMemoryTerm::new(12, 80);
        let mut progress = quiet("kick-off");
        let bar = bar(&progress.title, Duration::from_secs(120));
        bar.set_draw_target(ProgressDrawTarget::term_like_with_hz(Box::new(screen.clone()), 255));
        progress.show = Show::Bar(bar.clone());
        let rows = sample::run(1, "forebay").rows;
        progress.mark(0.0, "begins");
        for row in &rows[..60] {
            progress.second(row);
        }
        bar.force_draw();
        let shown = screen.contents();
        let lines: Vec<&str> = shown.lines().collect();
        assert!(lines[0].ends_with("begins") && lines[1].starts_with("kick-off at forebay  ━"), "{shown}");
        assert!(lines[1].ends_with("60 of 120 s") && lines.len() == 6, "{shown}");
        assert!(lines[2].starts_with("viewers") && lines[5].starts_with("cpu, mem  server"), "{shown}");
    }
}
