//! ffmpeg reads the demo's VOD through the node without an error, and what it reads is what the origin has; and it follows
//! the live edge.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "browser/demo.rs"]
mod demo;

use std::process::Command;

use demo::{Demo, require};

/// Streams of the multivariant playlist: picture and sound of three renditions.
const STREAMS: usize = 6;

/// Segments of the loop in three renditions, all of which the second reading finds in memory.
const SEGMENTS: f64 = 36.0;

/// Seconds of media of the live streams, and pictures of them at 24 a second.
const LIVE_SECONDS: &str = "20";
const LIVE_PICTURES: std::ops::RangeInclusive<usize> = 467..=481;

#[test]
fn ffmpeg_reads_through_the_node_what_the_origin_has() {
    require("ffmpeg");
    let mut demo = Demo::start();
    let from_origin = hashes(&format!("http://{}/vod/index.m3u8", demo.at.origin));
    assert_eq!(from_origin.lines().count(), STREAMS, "{from_origin}");
    // The first time from the origin through the node, the second time from the node's memory.
    for time in ["first", "second"] {
        assert_eq!(hashes(&demo.at.vod), from_origin, "the {time} time");
    }
    let hits = demo.requests(&["kind=\"segment\"", "outcome=\"hit\""]);
    assert!(hits >= SEGMENTS, "{hits} segments came from memory:\n{}", demo.metrics());
    assert!(demo.interrupt(), "the demo did not end cleanly on SIGINT");
}

/// 20 s of media of the plain live stream and of the Low-Latency one, whose segments it reads: every picture, but for those
/// of one part that ffmpeg 5.1 leaves out where the loop begins anew.
#[test]
fn ffmpeg_follows_the_live_edge_without_a_complaint() {
    require("ffmpeg");
    let mut demo = Demo::start();
    let pictures = |url: &str| {
        let output = run(&["-i", url, "-map", "0:v:0", "-t", LIVE_SECONDS, "-f", "framecrc", "-"]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && stderr.is_empty(), "ffmpeg -i {url}: {}\n{stderr}", output.status);
        output.stdout.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"0,")).count()
    };
    let (live, low_latency) = std::thread::scope(|scope| {
        let live = scope.spawn(|| pictures(&demo.at.live));
        let low_latency = scope.spawn(|| pictures(&demo.at.low_latency));
        (live.join().expect("the live stream"), low_latency.join().expect("the Low-Latency stream"))
    });
    for found in [live, low_latency] {
        assert!(LIVE_PICTURES.contains(&found), "{live} and {low_latency} pictures");
    }
    assert!(demo.interrupt(), "the demo did not end cleanly on SIGINT");
}

#[test]
fn ffmpeg_is_refused_without_a_token() {
    require("ffmpeg");
    let demo = Demo::start();
    let output = ffmpeg(&format!("http://{}/vod/index.m3u8", demo.at.node));
    assert!(!output.status.success());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("403"), "{stderr}");
}

/// A hash of every decoded stream at a URL, one a line; no complaint was made while reading.
fn hashes(url: &str) -> String {
    let output = ffmpeg(url);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.is_empty(), "ffmpeg -i {url}: {}\n{stderr}", output.status);
    String::from_utf8(output.stdout).expect("hashes in ASCII")
}

fn ffmpeg(url: &str) -> std::process::Output {
    run(&["-i", url, "-map", "0", "-f", "streamhash", "-hash", "sha256", "-"])
}

fn run(arguments: &[&str]) -> std::process::Output {
    Command::new("ffmpeg").args(["-nostdin", "-v", "error"]).args(arguments).output().expect("ffmpeg starts")
}
