//! The built binary's `forebay demo`, started by a test with every port chosen by the system, and ended by its own id
//! when the value is dropped. Used by the tests in which a real player reads the stream.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde::Deserialize;

/// How long the demo may take to start, or to end after SIGTERM.
const START_LIMIT: Duration = Duration::from_secs(120);

/// A running demo.
pub(crate) struct Demo {
    child: Child,
    /// Its addresses.
    pub(crate) at: Addresses,
}

/// The line that `forebay demo --json` prints.
#[derive(Debug, Deserialize)]
#[allow(dead_code, reason = "each test binary reads the addresses it needs")]
pub(crate) struct Addresses {
    pub(crate) page: String,
    pub(crate) node: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) origin: SocketAddr,
    pub(crate) live: String,
    pub(crate) low_latency: String,
    pub(crate) vod: String,
}

impl Demo {
    /// Starts the demo and waits for its addresses.
    pub(crate) fn start() -> Demo {
        let mut child = Command::new(env!("CARGO_BIN_EXE_forebay"))
            .args(["demo", "--page", "127.0.0.1:0", "--json"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the built binary starts");
        let stdout = child.stdout.take().expect("a pipe");
        let (send, lines) = mpsc::sync_channel(16);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // An error means that nobody listens any more; the pipe is read on, so that the demo can write.
                let _ = send.try_send(line);
            }
        });
        let line = lines.recv_timeout(START_LIMIT);
        let at = line.ok().and_then(|line| serde_json::from_str(&line).ok());
        let Some(at) = at else {
            // What the reason is stands on standard error, which is the test's own.
            let _ = child.kill();
            let _ = child.wait();
            panic!("`forebay demo` did not say where it is");
        };
        Demo { child, at }
    }

    /// The node's metrics, in the Prometheus text format.
    pub(crate) fn metrics(&self) -> String {
        let mut stream = TcpStream::connect(self.at.admin).expect("the admin listener");
        stream.set_read_timeout(Some(START_LIMIT)).expect("a time limit");
        let request = format!("GET /metrics HTTP/1.0\r\nHost: {}\r\n\r\n", self.at.admin);
        stream.write_all(request.as_bytes()).expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.split_whitespace().nth(1) == Some("200"), "{answer}");
        answer
    }

    /// The node's answers so far with all of these labels, such as `outcome="hit"`.
    pub(crate) fn requests(&self, labels: &[&str]) -> f64 {
        let metrics = self.metrics();
        let lines = metrics.lines().filter(|line| line.starts_with("forebay_requests_total{"));
        let wanted = lines.filter(|line| labels.iter().all(|label| line.contains(label)));
        wanted
            .map(|line| {
                line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok()).expect("a number")
            })
            .sum()
    }

    /// Asks the demo to end as Ctrl-C does, and says whether it ended well in time.
    pub(crate) fn interrupt(&mut self) -> bool {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", "INT", &id]).status();
        assert!(sent.is_ok_and(|status| status.success()), "SIGINT to {id}");
        let deadline = Instant::now() + START_LIMIT;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().expect("a child of this process") {
                return status.success();
            }
            pause();
        }
        false
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[allow(clippy::disallowed_methods, reason = "the end of a child process is polled for, up to a deadline")]
fn pause() {
    std::thread::sleep(Duration::from_millis(20));
}

/// A file of this repository.
#[allow(dead_code, reason = "each test binary asks for what it needs")]
pub(crate) fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Fails with the remedy when a program is not there.
pub(crate) fn require(program: &str) {
    let found = Command::new(program).arg("-version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(found.is_ok(), "{program} is missing: run `make setup`");
}
