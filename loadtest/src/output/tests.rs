#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
use super::*;

fn kept(folder: &Path, name: &str, run: &Finished) -> PathBuf {
    let path = folder.join(name);
    write_json(&path, run).unwrap();
    path
}

#[test]
fn a_run_that_was_written_is_rendered_again_alone_and_beside_another() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (sample::run(1, "forebay"), sample::run(1, "nginx"));
    let paths = vec![kept(folder.path(), "1.json", &one), kept(folder.path(), "2.json", &other)];
    let html = folder.path().join("page.html");
    report(&Arguments { runs: paths[..1].to_vec(), html: Some(html.clone()) }).unwrap();
    assert_eq!(std::fs::read_to_string(&html).unwrap(), html::page(std::slice::from_ref(&one)));
    report(&Arguments { runs: paths, html: Some(html.clone()) }).unwrap();
    assert_eq!(std::fs::read_to_string(&html).unwrap(), html::page(&[one, other]));
}

#[test]
fn what_is_no_run_is_refused_with_the_files_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.json");
    let refused = |text: &str| {
        std::fs::write(&path, text).unwrap();
        let error = format!("{:#}", read(&path).unwrap_err());
        assert!(error.contains("x.json"), "{error}");
        error
    };
    assert!(refused("{").contains("no JSON"));
    assert!(refused("{}").contains("no version"));
    assert!(refused(r#"{"version": 2}"#).contains("version 2"));
    assert!(refused(r#"{"version": 1}"#).contains("missing field"));
    let runs = vec![path.clone(); RUNS_MAX + 1];
    assert!(report(&Arguments { runs, html: None }).unwrap_err().to_string().contains("at most 6"));
}

#[test]
fn runs_beside_each_other_have_ratios_to_the_first_and_who_is_better() {
    let (one, mut other) = (sample::run(1, "forebay"), sample::run(1, "forebay"));
    other.server = "nginx".to_owned();
    other.summary.viewers.startup_ms.p95 *= 2.0;
    other.summary.requests.hit_ratio *= 0.5;
    let runs = [one, other];
    let lines = compare::lines(&runs);
    let cell = |name: &str| &lines.iter().find(|line| line.name == name).unwrap().cells[1];
    assert_eq!((cell("start-up p95").ratio, cell("start-up p95").is_better), (Some(2.0), Some(false)));
    assert_eq!(cell("hit ratio").is_better, Some(false));
    assert_eq!((cell("TTFB p99").ratio, cell("TTFB p99").is_better), (Some(1.0), None));
    for runs in [runs.to_vec(), [runs.clone(), runs.clone()].concat()] {
        let text = compare::text(&runs);
        for line in text.lines() {
            assert!(line.chars().count() <= text::COLUMNS, "{line}");
        }
        let startup = text.lines().rfind(|line| line.starts_with("start-up p95"));
        assert!(startup.unwrap().contains("×2.00"), "{text}");
    }
    let head = compare::text(&runs).lines().nth(2).unwrap().to_owned();
    assert_eq!(head.split_whitespace().collect::<Vec<_>>(), ["forebay", "nginx"]);
}

#[test]
fn runs_are_called_by_what_differs_and_numbered_if_nothing_does() {
    let run = sample::run(1, "forebay");
    let mut other = run.clone();
    assert_eq!(compare::names(&[run.clone(), other.clone()]), ["forebay #1", "forebay #2"]);
    assert!(compare::warning(&[run.clone(), other.clone()]).is_none());
    other.server = "nginx".to_owned();
    assert_eq!(compare::names(&[run.clone(), other.clone()]), ["forebay", "nginx"]);
    other.scenario["name"] = Value::from("steady");
    assert_eq!(compare::names(&[run.clone(), other.clone()]), ["kick-off forebay", "steady nginx"]);
    assert!(compare::warning(&[run.clone(), other.clone()]).unwrap().contains("different scenarios"));
    other.machine["cores"] = Value::from(64);
    assert!(compare::warning(&[run, other]).unwrap().contains("different machines"));
}
