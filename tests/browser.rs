//! A real player in a real browser plays the demo's streams through the node: no stall, no error, and the node's
//! metrics show the segments. `tests/browser/play.mjs` drives the browser.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "browser/demo.rs"]
mod demo;

use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use demo::{Demo, in_repository, require};
use serde_json::Value;

/// Browsers decode video on the processor; one at a time, so that one test does not starve another.
static ONE_BROWSER: Mutex<()> = Mutex::new(());

/// 15 s of the live stream, with simulated viewers beside the player.
#[test]
fn a_browser_plays_the_live_stream_through_the_node() {
    let _turn = turn();
    let mut demo = Demo::start();
    let played = play(&demo, "live");
    assert!(played["fragments"].as_u64() > Some(3), "{played}");
    let segments = |outcome| demo.requests(&["kind=\"segment\"", outcome]);
    for outcome in ["outcome=\"hit\"", "outcome=\"miss\""] {
        assert!(segments(outcome) > 0.0, "no segment with {outcome}:\n{}", demo.metrics());
    }
    for outcome in ["outcome=\"denied\"", "outcome=\"error\""] {
        assert!(demo.requests(&[outcome]) == 0.0, "requests with {outcome}:\n{}", demo.metrics());
    }
    assert!(demo.interrupt(), "the demo did not end cleanly on SIGINT");
}

/// 15 s of the Low-Latency stream, by parts, at less than the latency of whole segments.
#[test]
fn a_browser_plays_the_low_latency_stream_through_the_node() {
    let _turn = turn();
    let demo = Demo::start();
    let played = play(&demo, "low_latency");
    assert!(played["parts"].as_u64() > Some(10), "{played}");
    assert!(played["latency"].as_f64().is_some_and(|seconds| seconds > 0.0 && seconds < 6.0), "{played}");
}

/// The first 15 s of the loop as VOD.
#[test]
fn a_browser_plays_vod_through_the_node() {
    let _turn = turn();
    let played = play(&Demo::start(), "vod");
    assert!(played["fragments"].as_u64() > Some(3), "{played}");
}

fn turn() -> MutexGuard<'static, ()> {
    ONE_BROWSER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often a stream is played until it has shown that it can be played without a stall. A machine that stands still for
/// longer than a player has media makes one; a stream that stalls by itself does so each time.
const ATTEMPTS: usize = 3;

/// Lets the browser play 15 s of a stream; what it tells, after it has told of no problem.
fn play(demo: &Demo, stream: &str) -> Value {
    for _ in 1..ATTEMPTS {
        let told = attempt(demo, stream);
        if told["slow"] != true {
            return judged(stream, told);
        }
        eprintln!("{stream}, once more: {}", told["problems"]);
    }
    judged(stream, attempt(demo, stream))
}

fn judged(stream: &str, told: Value) -> Value {
    assert_eq!(told["ok"], true, "{stream}: {told}");
    assert!(told["played"].as_f64() >= Some(15.0), "{told}");
    assert_eq!(told["stalls"], 0, "{told}");
    told
}

fn attempt(demo: &Demo, stream: &str) -> Value {
    require("node");
    let modules = in_repository("node_modules/playwright-core");
    assert!(modules.exists(), "{} is missing: run `make setup`", modules.display());
    let screenshot = in_repository("target").join(format!("demo-{stream}.png"));
    let output = Command::new("node")
        .arg(in_repository("tests/browser/play.mjs"))
        .arg(format!("{}?stream={stream}&viewers=10", demo.at.page))
        .args(["--seconds", "15", "--screenshot"])
        .arg(screenshot)
        .output()
        .expect("node starts");
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    let told: Value = serde_json::from_str(stdout.trim())
        .unwrap_or_else(|error| panic!("{stream}: {error}: {stdout}{stderr}"));
    assert_eq!(output.status.success(), told["ok"] == true, "{stream}: {told}{stderr}");
    told
}
