//! hls.js in Chromium: a page of its own, on a port of its own beside the node, and what it tells of a stream.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use axum::Router;
use axum::http::header;
use axum::response::Html;
use axum::routing::get;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::task::JoinHandle;

const PAGE: &str = include_str!("page.html");

/// Seconds of media that are shown: five segments.
const SECONDS: &str = "10";

/// Seconds after which a player that has not shown them has failed: many times what a busy machine needs.
const LIMIT: &str = "120";

/// The page's server, until it is dropped.
pub(crate) struct Page {
    address: SocketAddr,
    server: JoinHandle<std::io::Result<()>>,
}

/// What a browser that ran the page told.
#[derive(Debug)]
pub(crate) struct Told(Value);

impl Page {
    /// Serves the page.
    pub(crate) async fn start() -> Page {
        let player = in_repository("node_modules/hls.js/dist/hls.min.js");
        let player = std::fs::read(&player)
            .unwrap_or_else(|error| panic!("{}: {error}; run `make setup`", player.display()));
        let script = ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], player);
        let router = Router::new()
            .route("/", get(|| async { Html(PAGE) }))
            .route("/hls.js", get(|| async move { script.clone() }));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let server = tokio::spawn(async move { axum::serve(listener, router).await });
        Page { address, server }
    }

    /// Its origin (RFC 6454), as CORS names it.
    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Lets a browser of its own play a stream, with cookies or without.
    pub(crate) async fn play(&self, url: &str, credentials: bool) -> Told {
        let url = percent_encoding::utf8_percent_encode(url, percent_encoding::NON_ALPHANUMERIC);
        let output = Command::new("node")
            .arg(in_repository("tests/browser/play.mjs"))
            .arg(format!("{}/?url={url}&credentials={}", self.origin(), u8::from(credentials)))
            .args(["--seconds", SECONDS, "--limit", LIMIT])
            .kill_on_drop(true)
            .output()
            .await
            .expect("node is missing: run `make setup`");
        let stdout = String::from_utf8_lossy(&output.stdout);
        let told = serde_json::from_str(stdout.trim());
        Told(told.unwrap_or_else(|_| panic!("{stdout}{}", String::from_utf8_lossy(&output.stderr))))
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Told {
    /// It showed what it was to show, by parts under several keys and with blocking reloads, and met no error but to have
    /// waited: that is the machine's.
    pub(crate) fn assert_played(&self) {
        let Told(told) = self;
        assert!(told["ok"] == true || told["slow"] == true, "{told}");
        assert!(told["played"].as_f64() >= SECONDS.parse().ok(), "{told}");
        // Half of the pictures of ten seconds, those that a slow machine drops among them.
        assert!(told["frames"].as_u64() > Some(120), "{told}");
        assert!(told["parts"].as_u64() > Some(10), "{told}");
        let asked = self.asked();
        for (what, least) in [(".key", 3), ("/init.mp4", 1), (".part", 10), ("_HLS_msn=", 5)] {
            let found = asked.iter().filter(|url| url.contains(what)).count();
            assert!(found >= least, "{found} addresses with {what}: {asked:#?}");
        }
    }

    /// It showed nothing, since the node refused it.
    pub(crate) fn assert_refused(&self) {
        let Told(told) = self;
        assert_eq!(told["played"], 0.0, "{told}");
        let error = &told["errors"][0];
        assert_eq!((&error["status"], &error["fatal"]), (&Value::from(403), &Value::from(true)), "{told}");
    }

    /// The addresses it asked for.
    pub(crate) fn asked(&self) -> Vec<&str> {
        self.0["asked"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
    }
}

fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
