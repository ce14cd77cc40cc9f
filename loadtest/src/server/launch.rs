//! Starting a configured server as a child process, on its first start and on each restart: free ports, the wait until it
//! answers, what it said when it does not, and its end. What the configuration says is each kind's own.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ChildStderr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::net::TcpStream;

use crate::child::Guarded;
use crate::http1::Client;

/// How long a server may take until it answers.
const START_WAIT_MAX: Duration = Duration::from_secs(20);

/// How often a starting server is asked whether it answers.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// How long one such question may take.
const PROBE_MAX: Duration = Duration::from_secs(2);

/// How long a server may take to end after SIGTERM in a restart before it is killed.
const END_WAIT_MAX: Duration = Duration::from_secs(15);

/// How many of the last lines are shown when a server does not start.
const LOG_LINES_SHOWN: usize = 20;

/// The longest line of a log that is read, in bytes; the rest of a longer one is read as further lines.
const LOG_LINE_BYTES_MAX: u64 = 64 * 1024;

/// Ports for servers: below those that the kernel gives to connections, so that none is taken while a server restarts.
const PORTS: std::ops::Range<u16> = 12_000..32_000;

/// How often a start is tried when a port is taken.
const START_ATTEMPTS_MAX: usize = 5;

/// How many ports are tried until one is free.
const PORTS_TRIED_MAX: usize = 200;

/// How to start a configured server, as often as need be.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    /// What it is called where it does not start.
    pub(crate) name: &'static str,
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<OsString>,
    /// Processors to run on, in `taskset -c` form; none leaves it to the kernel.
    pub(crate) cpus: Option<String>,
    pub(crate) ready: Ready,
}

/// How a server shows that it is ready.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ready {
    /// By a line on standard error of which this is true.
    Says(fn(&str) -> bool),
    /// It takes connections.
    Accepts(SocketAddr),
    /// It answers a `PURGE` of something that is not there: the origin is not asked for it.
    Answers(SocketAddr),
}

/// What a server has said last, and whether it has said that it is ready.
#[derive(Debug, Default)]
struct Said {
    last: VecDeque<String>,
    ready: bool,
    ended: bool,
}

// === impl Launch ===

impl Launch {
    /// Starts the server and waits until it is ready.
    pub(crate) async fn start(&self) -> Result<Guarded> {
        let args: Vec<_> = self.args.iter().map(OsString::as_os_str).collect();
        let mut process = Guarded::start(&located(&self.program), &args, self.cpus.as_deref())?;
        let log = process.take_stderr().context("the server's log")?;
        let said = Arc::new(Mutex::new(Said::default()));
        let (ready, told) = (self.ready, Arc::clone(&said));
        // Reads to the end, so that the server never waits for its log to be taken; ends with the server.
        std::thread::Builder::new()
            .name(format!("{}-log", self.name))
            .spawn(move || follow(log, ready, &told))
            .context("a thread")?;
        match self.wait(&mut process, &said).await {
            Ok(()) => Ok(process),
            Err(error) => {
                // Ended first, so that its last words are there.
                end(process, true).await?;
                settle(&said).await;
                Err(error.context(format!("the last that {} said:\n{}", self.name, said.shown())))
            }
        }
    }

    async fn wait(&self, process: &mut Guarded, said: &Mutex<Said>) -> Result<()> {
        let deadline = Instant::now() + START_WAIT_MAX;
        loop {
            if let Some(status) = process.ended()? {
                bail!("{} ended with {status} before it was ready", self.name);
            }
            let ready = match self.ready {
                Ready::Says(_) => said.lock().unwrap_or_else(PoisonError::into_inner).ready,
                Ready::Accepts(address) => TcpStream::connect(address).await.is_ok(),
                Ready::Answers(address) => answers(address).await,
            };
            if ready {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("{} is not ready after {START_WAIT_MAX:?}", self.name);
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

/// What a server has said, which more than one thread sees.
trait Shown {
    fn shown(&self) -> String;
}

impl Shown for Mutex<Said> {
    fn shown(&self) -> String {
        let said = self.lock().unwrap_or_else(PoisonError::into_inner);
        if said.last.is_empty() { "(nothing)".to_owned() } else { Vec::from(said.last.clone()).join("\n") }
    }
}

/// Ends a server, first by SIGTERM, or kills all its processes at once, and waits until they are gone.
pub(crate) async fn end(process: Guarded, kill: bool) -> Result<()> {
    tokio::task::spawn_blocking(move || if kill { process.kill_tree() } else { process.end(END_WAIT_MAX) })
        .await
        .context("ending a server")?
}

/// Starts a server on free ports, once more on others when somebody else has taken one before the server bound it.
pub(crate) async fn with_free_ports<T>(start: impl AsyncFn() -> Result<T>) -> Result<T> {
    for _ in 1..START_ATTEMPTS_MAX {
        match start().await {
            Err(error) if port_was_taken(&error) => {}
            outcome => return outcome,
        }
    }
    start().await
}

fn port_was_taken(error: &anyhow::Error) -> bool {
    let text = format!("{error:#}").to_ascii_lowercase();
    text.contains("address already in use") || text.contains("address in use")
}

/// An address of 127.0.0.1 nobody listens on: most servers cannot say which port the kernel chose for them, and a restarted one
/// needs the one it had.
pub(crate) fn free_address() -> Result<SocketAddr> {
    for _ in 0..PORTS_TRIED_MAX {
        // The kernel chooses at random: so does this, without random numbers of its own.
        let chosen = TcpListener::bind("127.0.0.1:0").context("a port of 127.0.0.1")?.local_addr()?.port();
        let address = SocketAddr::from(([127, 0, 0, 1], PORTS.start + chosen % (PORTS.end - PORTS.start)));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    bail!("none of {PORTS_TRIED_MAX} ports of 127.0.0.1 between {} and {} is free", PORTS.start, PORTS.end)
}

/// The program where it is: Debian has servers in /usr/sbin, which need not be in the search path.
pub(crate) fn located(program: &Path) -> PathBuf {
    let is_name = program.components().count() == 1;
    let path = std::env::var_os("PATH").unwrap_or_default();
    if is_name && !std::env::split_paths(&path).any(|folder| folder.join(program).is_file()) {
        for folder in ["/usr/sbin", "/usr/local/sbin", "/usr/bin"] {
            let there = Path::new(folder).join(program);
            if there.is_file() {
                return there;
            }
        }
    }
    program.to_owned()
}

async fn answers(address: SocketAddr) -> bool {
    let ask = async { Client::connect(address).await?.plain("PURGE", "/.ready", "").await };
    tokio::time::timeout(PROBE_MAX, ask).await.is_ok_and(|answer| answer.is_ok())
}

/// Waits until the log has been read to its end.
async fn settle(said: &Mutex<Said>) {
    let deadline = Instant::now() + PROBE_MAX;
    while !said.lock().unwrap_or_else(PoisonError::into_inner).ended && Instant::now() < deadline {
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

fn follow(log: ChildStderr, ready: Ready, said: &Mutex<Said>) {
    let mut log = BufReader::new(log);
    let mut line = Vec::new();
    loop {
        line.clear();
        // What cannot be read any more has ended.
        let read = (&mut log).take(LOG_LINE_BYTES_MAX).read_until(b'\n', &mut line).unwrap_or(0);
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        if read == 0 {
            said.ended = true;
            return;
        }
        said.note(String::from_utf8_lossy(&line).trim_end(), ready);
    }
}

// === impl Said ===

impl Said {
    fn note(&mut self, line: &str, ready: Ready) {
        if let Ready::Says(is_ready) = ready {
            self.ready |= is_ready(line);
        }
        if self.last.len() == LOG_LINES_SHOWN {
            self.last.pop_front();
        }
        self.last.push_back(line.to_owned());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    fn shell(script: &str, ready: Ready) -> Launch {
        Launch {
            name: "shell",
            program: "sh".into(),
            args: vec!["-c".into(), script.into()],
            cpus: None,
            ready,
        }
    }

    #[tokio::test]
    async fn a_server_is_ready_when_it_says_so() {
        let launch =
            shell("echo starting >&2; echo ready >&2; exec sleep 600", Ready::Says(|line| line == "ready"));
        let process = launch.start().await.unwrap();
        end(process, false).await.unwrap();
    }

    #[tokio::test]
    async fn a_server_that_ends_early_is_an_error_with_its_last_lines_alone() {
        let launch = shell("for n in $(seq 100); do echo line $n >&2; done; exit 3", Ready::Says(|_| false));
        let error = format!("{:#}", launch.start().await.unwrap_err());
        assert!(error.contains("line 100") && error.contains("line 81"), "{error}");
        assert!(!error.contains("line 80\n") && error.contains("exit status: 3"), "{error}");
    }

    #[tokio::test]
    async fn a_kill_ends_children_of_the_server_too() {
        let script = "sleep 600 & echo child $! >&2; wait";
        let launch = shell(script, Ready::Says(|line| line.starts_with("child")));
        let process = launch.start().await.unwrap();
        let children = crate::proc::tree(process.id()).unwrap();
        assert_eq!(children.len(), 2, "{children:?}");
        end(process, true).await.unwrap();
        for pid in children {
            assert!(!crate::proc::runs(pid), "{pid}");
        }
    }

    #[tokio::test]
    async fn a_start_is_tried_again_only_when_a_port_was_taken() {
        for (text, tries) in [("bind: Address already in use (98)", START_ATTEMPTS_MAX), ("no such file", 1)]
        {
            let tried = std::cell::Cell::new(0);
            let start = async || -> Result<()> {
                tried.set(tried.get() + 1);
                bail!("{text}")
            };
            assert!(with_free_ports(start).await.is_err());
            assert_eq!(tried.get(), tries, "{text}");
        }
    }

    #[test]
    fn a_free_address_can_be_bound_and_is_no_port_of_the_kernels() {
        let address = free_address().unwrap();
        assert!(PORTS.contains(&address.port()));
    }
}
