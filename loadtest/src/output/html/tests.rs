#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
use super::*;
use crate::output::sample;

/// The text is well-formed as far as a browser would not forgive: every element that is opened is closed, in order.
fn hold_nesting(page: &str) {
    const VOID: [&str; 3] = ["meta", "br", "!DOCTYPE"];
    let mut open: Vec<&str> = Vec::new();
    let mut rest = page;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        let end = rest.find('>').unwrap();
        let tag = &rest[..end];
        let name = tag.trim_start_matches('/').split_whitespace().next().unwrap();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "</{name}> closes nothing");
        } else if !VOID.contains(&name) {
            open.push(name);
        }
        rest = &rest[end + 1..];
    }
    assert!(open.is_empty(), "still open: {open:?}");
}

fn ids(page: &str) -> Vec<&str> {
    page.split(" id=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect()
}

fn pages() -> [String; 2] {
    let (one, other) = (sample::run(3, "forebay"), sample::run(3, "nginx"));
    [page(std::slice::from_ref(&one)), page(&[one, other])]
}

#[test]
fn pages_are_whole_and_every_name_in_them_is_there_once() {
    for page in pages() {
        hold_nesting(&page);
        let ids = ids(&page);
        let mut unique = ids.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), ids.len(), "{ids:?}");
        for labels in page.split("aria-labelledby=\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
            assert!(labels.split(' ').all(|label| ids.contains(&label)), "{labels:?} names nothing");
        }
    }
}

#[test]
fn pages_need_nothing_from_elsewhere_and_run_nothing() {
    for page in pages() {
        for outside in
            ["http://", "https://", "<script", "<link", "<img", "@import", "url(", " onload", "javascript:"]
        {
            assert!(!page.contains(outside), "{outside:?} is in the page");
        }
    }
}

#[test]
fn texts_of_a_run_are_escaped_wherever_they_stand() {
    let evil = "<script>alert(\"x\")</script>&";
    let mut run = sample::run(3, evil);
    run.marks.push((70.0, evil.to_owned()));
    run.scenario["name"] = evil.into();
    run.scenario["about"] = evil.into();
    run.machine["cpu"] = evil.into();
    run.summary.requests.examples.push(evil.to_owned());
    run.summary.requests.errors_by.insert(evil.to_owned(), 1);
    run.summary.kinds[0].kind = evil.to_owned();
    run.summary.kinds[0].cache = evil.to_owned();
    run.summary.targets[0].target = evil.to_owned();
    run.summary.origin.as_mut().unwrap().per_object.get_mut("segment").unwrap().most_for = evil.to_owned();
    for page in [page(std::slice::from_ref(&run)), page(&[run.clone(), run])] {
        hold_nesting(&page);
        assert!(!page.contains("<script") && page.contains("&lt;script&gt;"));
    }
}

#[test]
fn the_verdict_comes_before_any_figure_and_all_plots_are_there() {
    let [page, _] = pages();
    let at = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text:?} is not in the page"));
    assert!(at("id=\"verdict\"") < at("class=\"tiles\"") && at("class=\"tiles\"") < at("class=\"plots\""));
    for plot in [
        "audience",
        "stalls",
        "start-up",
        "ttfb",
        "whole",
        "hit-ratio",
        "throughput",
        "requests",
        "origin",
        "errors",
        "cpu",
        "memory",
        "live",
        "bitrate",
    ] {
        at(&format!("id=\"{plot}-title\""));
    }
    at("restart of the server &lt;SIGTERM&gt;");
}

#[test]
fn a_run_of_nothing_has_a_page() {
    let mut run = sample::run(3, "forebay");
    run.rows.clear();
    run.marks.clear();
    run.summary = crate::measure::summary::Summary::default();
    run.scenario = serde_json::Value::Null;
    run.machine = serde_json::Value::Null;
    hold_nesting(&page(&[run.clone(), run.clone()]));
    hold_nesting(&page(&[run]));
    hold_nesting(&page(&[]));
}

/// Hours of rows make no larger a page than minutes do.
#[test]
fn what_was_not_measured_is_told_as_such_in_text_page_and_json() {
    let mut run = sample::run(3, "forebay");
    let startup =
        run.summary.targets.iter_mut().find(|target| target.target == "startup_p95_seconds").unwrap();
    (startup.measured, startup.met, startup.unmeasured) = (0.0, false, true);
    let page = page(std::slice::from_ref(&run));
    assert!(
        page.contains("unmeasured\"><span class=\"name\">start-up") && page.contains(">unmeasured</span>")
    );
    let text = crate::output::text::summary("x", &run.summary, crate::output::paint::Paint::plain());
    let line = text.lines().find(|line| line.trim_start().starts_with("start-up p95")).unwrap();
    assert!(line.ends_with("unmeasured") && line.contains("none"), "{line}");
    let json = serde_json::to_value(&run).unwrap();
    assert_eq!(json["summary"]["targets"][1]["unmeasured"], true);
}

#[test]
fn the_page_of_a_long_run_stays_small() {
    let mut run = sample::run(3, "forebay");
    let rows = run.rows.clone();
    run.rows = (0..14_400)
        .map(|second| {
            let mut row = rows[second as usize % rows.len()].clone();
            row.second = second + 1;
            row
        })
        .collect();
    let bytes = page(&[run]).len();
    assert!(bytes < 1_000_000, "{bytes} bytes");
}

/// Writes pages to look at, in a browser or as screenshots: `cargo test -p forebay-loadtest to_look_at -- --ignored --nocapture`.
#[test]
#[ignore = "writes files for people"]
fn pages_to_look_at() {
    let folder = std::env::temp_dir().join("forebay-loadtest-pages");
    std::fs::create_dir_all(&folder).unwrap();
    let mut good = sample::run(3, "varnish");
    for target in &mut good.summary.targets {
        (target.measured, target.met) = (target.at_most * 0.4, true);
    }
    let runs = [sample::run(3, "forebay"), sample::run(3, "nginx"), good];
    std::fs::write(folder.join("one.html"), page(&runs[..1])).unwrap();
    std::fs::write(folder.join("good.html"), page(&runs[2..])).unwrap();
    std::fs::write(folder.join("beside.html"), page(&runs)).unwrap();
    for run in &runs {
        super::super::write_json(&folder.join(format!("{}.json", run.server)), run).unwrap();
    }
}
