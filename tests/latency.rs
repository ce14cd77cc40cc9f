//! A real player of the Low-Latency stream through the node, beside one straight from the origin: it plays by parts and
//! blocking reloads, without a stall, and no further behind the live edge. Both play in one page, at the same time, the
//! same rendition; `tests/browser/play.mjs` drives the browser.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[allow(dead_code, unreachable_pub, reason = "made for many tests, of which these need a part")]
#[path = "support"]
mod support {
    pub mod certificate;
    pub mod client;
    pub mod edge;
    pub mod metrics;
    pub mod origin;
    pub mod wait;
}

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use axum::Router;
use axum::http::header;
use axum::response::Html;
use axum::routing::get;
use forebay::clock::Clock;
use forebay::demo::origin::DemoOrigin;
use serde_json::Value;
use support::edge::Setup;
use tokio::net::TcpListener;
use tokio::process::Command;

const PAGE: &str = include_str!("latency/page.html");

/// The stream's multivariant playlist at the demo's origin.
const INDEX: &str = "/ll/index.m3u8";

/// The most that the node may add to the median latency, in seconds.
const ADDED_MAX: f64 = 0.150;

/// Seconds beyond those of media after which players that have not shown them have failed.
const BEYOND: u32 = 90;

/// How much is played: seconds of media, and after how many of them latency is looked at.
#[derive(Clone, Copy)]
struct Length {
    seconds: u32,
    warm: u32,
}

/// 15 s. A stall is a failure unless the player beside it stalled as well: then it was the machine's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_low_latency_player_plays_by_parts_and_blocking_reloads_through_the_node() {
    let [through, straight] = play(Length { seconds: 15, warm: 8 }).await;
    for player in [&through, &straight] {
        player.assert_low_latency(Length { seconds: 15, warm: 8 });
    }
    assert!(through.stalls() == 0 || straight.stalls() > 0, "{:?}", through.0);
}

/// 60 s, measured: no stall, and the medians of both figures at most 150 ms apart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, for a machine that does nothing else: make latency"]
async fn live_latency_through_the_node_is_that_straight_from_the_origin() {
    let length = Length { seconds: 60, warm: 15 };
    let [through, straight] = play(length).await;
    for player in [&through, &straight] {
        player.assert_low_latency(length);
        assert_eq!(player.stalls(), 0, "{:?}", player.0);
    }
    for figure in ["latency", "behind"] {
        let added = through.median(figure) - straight.median(figure);
        assert!(added.abs() <= ADDED_MAX, "{figure}: {added:.3} s apart");
    }
}

/// What the page tells of one player.
struct Told(Value);

impl Told {
    fn stalls(&self) -> u64 {
        self.0["stalls"].as_u64().expect("a number of stalls")
    }

    fn samples(&self, figure: &str) -> Vec<f64> {
        let samples = self.0[figure].as_array().expect("samples");
        let mut samples: Vec<f64> = samples.iter().filter_map(Value::as_f64).collect();
        samples.sort_by(f64::total_cmp);
        samples
    }

    fn median(&self, figure: &str) -> f64 {
        let samples = self.samples(figure);
        samples[samples.len() / 2]
    }

    /// It showed what it was to show, loaded it by parts, and asked for playlists by blocking reload: at least half of
    /// the parts and reloads that there were in that time.
    #[track_caller]
    fn assert_low_latency(&self, length: Length) {
        let told = &self.0;
        let count = |name: &str| told[name].as_u64().expect("a number");
        assert!(told["played"].as_f64() >= Some(f64::from(length.seconds)), "{told}");
        assert!(count("frames") > u64::from(length.seconds) * 12, "{told}");
        assert_eq!(told["lowLatency"]["canBlockReload"], true, "{told}");
        let part_seconds = told["lowLatency"]["partTarget"].as_f64().expect("a part's duration");
        let half = (f64::from(length.seconds) / part_seconds / 2.0) as u64;
        assert!(count("parts") > half && count("reloads") > half, "less than {half} of either: {told}");
        assert!(!self.samples("behind").is_empty(), "{told}");
    }

    fn print(&self) {
        let line = |figure: &str| {
            let samples = self.samples(figure);
            let at = |quantile: f64| samples[((samples.len() - 1) as f64 * quantile) as usize];
            format!("{figure} {:.3} s ({:.3} to {:.3})", at(0.5), at(0.05), at(0.95))
        };
        let told = &self.0;
        let mut out = std::io::stdout().lock();
        writeln!(
            out,
            "{:9} {}, {}; {} samples, target {} s, {:.1} s played, {} stalls, {} parts, {} reloads",
            told["name"].as_str().unwrap_or_default(),
            line("latency"),
            line("behind"),
            self.samples("behind").len(),
            told["target"],
            told["played"].as_f64().unwrap_or_default(),
            told["stalls"],
            told["parts"],
            told["reloads"],
        )
        .expect("standard output");
    }
}

/// Plays the stream through a node and straight from its origin.
async fn play(length: Length) -> [Told; 2] {
    let (origin, page) = (start_origin().await, start_page().await);
    let edge = Setup::with_servers(&[format!("http://{origin}")]).start().await;
    let url = |host: SocketAddr| {
        let url = format!("http://{host}{INDEX}");
        percent_encoding::utf8_percent_encode(&url, percent_encoding::NON_ALPHANUMERIC).to_string()
    };
    let output = Command::new("node")
        .arg(in_repository("tests/browser/play.mjs"))
        .arg(format!(
            "http://{page}/?through={}&straight={}&warm={}",
            url(edge.http()),
            url(origin),
            length.warm
        ))
        // The origin says nothing about who may read it.
        .args(["--any-origin", "--seconds", &length.seconds.to_string()])
        .args(["--limit", &(length.seconds + BEYOND).to_string()])
        .kill_on_drop(true)
        .output()
        .await
        .expect("node is missing: run `make setup`");
    let stdout = String::from_utf8_lossy(&output.stdout);
    let told: Value = serde_json::from_str(stdout.trim())
        .unwrap_or_else(|_| panic!("{stdout}{}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(told["ok"], true, "{told}");
    let players = [0, 1].map(|index| Told(told["players"][index].clone()));
    players.iter().for_each(Told::print);
    let (status, written) = edge.stop().await;
    assert!(status.success(), "{written}");
    players
}

/// The demo's origin, until the test ends.
async fn start_origin() -> SocketAddr {
    let origin = DemoOrigin::new(Clock::system()).expect("the demo's media");
    let (listener, address) = listener().await;
    tokio::spawn(async move { origin.serve(listener, std::future::pending()).await });
    address
}

/// The page and the player, until the test ends.
async fn start_page() -> SocketAddr {
    let player = in_repository("node_modules/hls.js/dist/hls.min.js");
    let player = std::fs::read(&player)
        .unwrap_or_else(|error| panic!("{}: {error}; run `make setup`", player.display()));
    let script = ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], player);
    let router = Router::new()
        .route("/", get(|| async { Html(PAGE) }))
        .route("/hls.js", get(|| async move { script.clone() }));
    let (listener, address) = listener().await;
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
