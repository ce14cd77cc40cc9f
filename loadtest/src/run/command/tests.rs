//! What is typed, and how a run ends.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use clap::Parser;

use super::*;
use crate::measure::summary::{Summary, Verdict};
use crate::run::fake;

#[derive(Debug, Parser)]
struct Command {
    #[command(flatten)]
    arguments: Arguments,
}

fn typed(text: &str) -> Result<Arguments, clap::Error> {
    Command::try_parse_from(["run"].into_iter().chain(text.split_whitespace()))
        .map(|command| command.arguments)
}

fn against_typed(text: &str) -> Result<Against> {
    against(&typed(text).unwrap(), None)
}

fn finished(spoiled: &[&str]) -> Finished {
    Finished {
        version: 1,
        server: "forebay".to_owned(),
        machine: serde_json::Value::Null,
        scenario: serde_json::Value::Null,
        summary: Summary::default(),
        rows: Vec::new(),
        marks: Vec::new(),
        spoiled: spoiled.iter().map(|why| (*why).to_owned()).collect(),
    }
}

#[test]
fn a_missed_target_fails_only_where_it_is_to_and_wrong_bytes_always() {
    let mut run = finished(&[]);
    assert_eq!(code(&run, false, true), 0);
    run.summary.targets.push(Verdict { met: false, ..Verdict::default() });
    assert_eq!((code(&run, false, false), code(&run, false, true)), (0, 1));
    run.summary.targets = vec![Verdict { unmeasured: true, ..Verdict::default() }];
    assert_eq!((code(&run, false, false), code(&run, false, true)), (0, 1));
    run.summary.targets.clear();
    run.summary.requests.mismatches = 1;
    assert_eq!(code(&run, false, false), 1);
    assert_eq!(code(&finished(&["worker 1 was lost"]), false, false), 1);
    assert_eq!(code(&finished(&["interrupted after 1.0 s"]), true, false), INTERRUPTED);
}

#[test]
fn a_file_that_cannot_be_written_keeps_the_result_from_no_other_place() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).display().to_string();
    let typed = |json: &str, html: &str, runs: &str| {
        typed(&format!("x --json {} --html {} --runs {}", place(json), place(html), place(runs))).unwrap()
    };
    let run = finished(&[]);
    let error = write(&typed("none/a.json", "a.html", "runs"), &run).unwrap_err();
    assert!(format!("{error:#}").contains("none/a.json"), "{error:#}");
    assert!(folder.path().join("a.html").exists() && folder.path().join("runs").exists());
    // Of several failures it is the first; a folder cannot be below a file.
    let error = write(&typed("b.json", "none/b.html", "a.html"), &run).unwrap_err();
    assert!(format!("{error:#}").contains("none/b.html"), "{error:#}");
    assert!(folder.path().join("b.json").exists());
    write(&typed("c.json", "c.html", "runs"), &run).unwrap();
}

#[test]
fn who_is_asked_is_one_of_server_target_stream_and_nobody() {
    assert!(matches!(against_typed("x").unwrap(), Against::Started(Kind::Forebay, _)));
    assert!(matches!(against_typed("x --server nginx").unwrap(), Against::Started(Kind::Nginx, _)));
    assert!(matches!(against_typed("x --rehearse").unwrap(), Against::Rehearsal));
    let running = against_typed("x --target http://a:80/ --origin 127.0.0.1:9 --insecure").unwrap();
    let Against::Running { target: Target::Server(url), reach, origin } = running else {
        panic!("{running:?}")
    };
    assert_eq!((url.as_str(), reach.insecure, origin.unwrap().port()), ("http://a/", true, 9));
    let running = against_typed("x --stream https://a/b.m3u8 --connect-to 127.0.0.1:8").unwrap();
    assert!(matches!(running, Against::Running { target: Target::Stream(_), .. }), "{running:?}");
    for wrong in [
        "x --server nginx --rehearse",
        "x --target http://a/ --stream http://a/",
        "x --stream http://a/ --rehearse",
        "x --origin 127.0.0.1:1",
        "x --listen 127.0.0.1:1",
        "x --workers 2 --rehearse",
        "x --workers 0",
        "x --viewers 0",
        "x --threads 0",
        "x --duration 0s",
        "x --target nowhere",
        "x --runs a --no-runs",
        "",
    ] {
        assert!(typed(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn what_is_no_web_address_is_refused_with_its_place_and_what_to_write() {
    for option in ["--target", "--stream"] {
        for wrong in ["ftp://x", "localhost:8080", "nowhere", "file:///etc/passwd", "http://", "ws://a/"] {
            let error = typed(&format!("x {option} {wrong}")).unwrap_err().to_string();
            for part in [option, wrong, "write http://HOST:PORT/ or https://HOST/"] {
                assert!(error.contains(part), "{error}");
            }
        }
        assert!(typed(&format!("x {option} https://[::1]:8443/a.m3u8")).is_ok());
    }
}

#[test]
fn workers_on_other_machines_are_not_sent_to_this_ones_loopback() {
    let error = against_typed("x --workers 2 --listen 0.0.0.0:7000").unwrap_err();
    assert!(error.to_string().contains("--target"), "{error}");
    assert!(against_typed("x --workers 2").is_ok());
    assert!(against_typed("x --workers 2 --listen 0.0.0.0:7000 --target http://a/").is_ok());
}

#[test]
fn what_is_typed_changes_the_scenario() {
    let typed = typed("x --viewers 77 --seed 9 --duration 1m30s").unwrap();
    let scenario = adjusted(&typed, fake::scenario(10, 100));
    assert_eq!(scenario.audience.arrivals[0].viewers, 77);
    assert_eq!((scenario.seed, scenario.duration), (9, Duration::from_secs(90)));
}

#[test]
fn times_are_typed_as_people_do() {
    let seconds = |text| duration(text).unwrap().as_secs_f64();
    assert_eq!(
        [seconds("90"), seconds("90s"), seconds("5m"), seconds("1h 30m"), seconds("1500ms")],
        [90.0, 90.0, 300.0, 5400.0, 1.5]
    );
    for wrong in ["", "-5s", "5 parsecs", "0", "900ms", "25h"] {
        assert!(duration(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_file_of_authorities_that_is_not_there_is_named() {
    let error = against_typed("x --target https://a/ --ca /no/such/file").unwrap_err();
    assert!(format!("{error:#}").contains("/no/such/file"), "{error:#}");
}
