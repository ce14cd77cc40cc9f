//! The benchmarks as a user runs them: the binary, its exit code, and the JSON file. No server but the harness's own
//! origin is needed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::process::{Command, Output};

use serde_json::Value;

fn bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_forebay-loadtest")).arg("bench").args(arguments).output().unwrap()
}

#[test]
fn a_small_herd_on_the_origin_itself_gets_every_byte_and_asks_once_each() {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("herd.json");
    let output = bench(&[
        "herd",
        "--servers=direct",
        "--clients=20",
        "--object-bytes=300001",
        "--pace-ms=50",
        "--rounds=2",
        "--json",
        json.to_str().unwrap(),
    ]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let report: Value = serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    assert_eq!(report["rows"].as_array().unwrap().len(), 2, "{report}");
    for row in report["rows"].as_array().unwrap() {
        assert_eq!(row["origin_requests"], 20, "{row}");
        assert_eq!(row["exact"], 20, "{row}");
        assert_eq!(row["errors"], 0, "{row}");
        assert!(
            row["first_byte_ms_p50"].as_f64().unwrap() <= row["last_byte_ms_p50"].as_f64().unwrap(),
            "{row}"
        );
        assert!(row["last_byte_ms_p50"].as_f64().unwrap() >= 50.0, "{row}");
    }
    assert!(report["machine"]["kernel"].is_string(), "{report}");
}

#[test]
fn a_stalled_reader_of_the_origin_itself_delays_nobody_and_the_second_viewer_has_all() {
    let output = bench(&[
        "stalled-reader",
        "--servers=direct",
        "--rounds=1",
        "--object-bytes=3000000",
        "--pace-ms=50",
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn parked_viewers_of_the_origin_itself_get_every_part_and_each_asks_for_itself() {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("parked.json");
    let output = bench(&[
        "parked",
        "--servers=direct",
        "--clients=20",
        "--parts=5",
        "--part-ms=200",
        "--part-bytes=70001",
        "--one-fetches-in=4",
        "--json",
        json.to_str().unwrap(),
    ]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let report: Value = serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    let row = &report["rows"][0];
    let count = |name: &str| row[name].as_u64().unwrap();
    assert_eq!(
        (count("origin_plain_requests"), count("origin_refused"), count("errors")),
        (20, 0, 0),
        "{row}"
    );
    // A viewer that a busy machine holds up finds more than one part at once; none is asked for twice by one.
    assert!(count("waited_for") >= 1 && count("waited_for") <= 5, "{row}");
    assert!(count("origin_reloads") >= 20 && count("origin_reloads") <= 100, "{row}");
    assert!(
        count("origin_reloads_for_a_part_most") == 20 && count("origin_part_requests_most") <= 5,
        "{row}"
    );
    assert_eq!(count("woken") + count("late"), count("origin_reloads"), "{row}");
}

#[test]
fn viewers_beyond_the_limit_of_descriptors_are_refused_with_the_remedy() {
    let script = format!(
        "ulimit -n 600 && exec {} bench parked --servers=direct --clients=60",
        env!("CARGO_BIN_EXE_forebay-loadtest")
    );
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("60 viewers need 620 open descriptors, the limit is 600: raise"), "{text}");
}

#[test]
fn a_missing_node_is_an_error_that_says_what_to_do() {
    let output = bench(&["herd", "--forebay=/no/such/forebay"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("/no/such/forebay") && text.contains("--forebay PATH"), "{text}");
}

#[test]
fn missing_peers_are_named_and_left_out() {
    let output = bench(&[
        "herd",
        "--servers=nginx,varnish,ats",
        "--nginx=/no/such/nginx",
        "--varnish=/no/such/varnishd",
        "--ats=/no/such/traffic_server",
    ]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8_lossy(&output.stdout);
    for (peer, package) in [("nginx", "nginx"), ("varnish", "varnish"), ("ats", "trafficserver")] {
        assert!(
            text.contains(&format!("{peer}: not installed, skipped (Debian: apt-get install {package})")),
            "{text}"
        );
    }
}

#[test]
fn the_disk_benchmark_without_the_node_reads_raw_files_and_leaves_none() {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("disk.json");
    let files = folder.path().join("files");
    std::fs::create_dir(&files).unwrap();
    let output = bench(&[
        "disk",
        "--servers=direct",
        "--catalogue=16",
        "--rounds=2",
        "--folder",
        files.to_str().unwrap(),
        "--json",
        json.to_str().unwrap(),
    ]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert_eq!(text.matches("forebay: not among --servers, skipped").count(), 2, "{text}");
    let report: Value = serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    assert_eq!(report["rows"].as_array().unwrap().len(), 4, "{report}");
    assert!(report["rows"].as_array().unwrap().iter().all(|row| row["server"] == "raw reads"), "{report}");
    assert_eq!(std::fs::read_dir(&files).unwrap().count(), 0);
}

#[test]
fn the_traces_without_the_node_are_skipped() {
    let output = bench(&["traces", "--servers=direct"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stdout).contains("forebay: not among --servers, skipped"));
}
