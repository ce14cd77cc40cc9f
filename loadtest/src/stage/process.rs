//! The origin as a process of its own: `forebay-loadtest origin`, how a run starts it, and what it tells of its requests. What it
//! answers is [`super::Stage`]'s, how it speaks [`super::serve`]'s.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ChildStderr;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::control::{self, Line, Order, Told};
use super::serve::{self, Server};
use crate::child::Guarded;
use crate::scenario::{Scenario, file};

/// How long the process may take until it listens.
const START_WAIT_MAX: Duration = Duration::from_secs(15);

/// The longest line that is read of what the process says, in bytes.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// The largest scenario that is read as JSON, in bytes.
const SCENARIO_BYTES_MAX: u64 = 4 << 20;

/// What `forebay-loadtest origin` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// A scenario: its name, its TOML file, or the scenario.json of a run.
    scenario: PathBuf,
    /// Where it listens.
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Where it takes orders: JSON lines, `{"begin":{"wall_epoch_ns":N}}` and `"ledger"`.
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS")]
    control: SocketAddr,
    /// The timeline stands still until the order to begin.
    #[arg(long)]
    waits: bool,
}

/// The line that says where a process listens.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Listening {
    media: SocketAddr,
    control: SocketAddr,
}

/// The origin's process; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Origin {
    process: Guarded,
    address: SocketAddr,
    line: Line,
}

/// What the origin was asked for. Counted from the start of the run on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ledger {
    pub(crate) requests: u64,
    /// Bytes of bodies that were handed to the kernel.
    pub(crate) bytes: u64,
    /// Connections that were made, and those that are there now.
    pub(crate) connections: u64,
    pub(crate) connections_now: u64,
    /// By kind of object: `multivariant`, `playlist`, `reload`, `init`, `segment`, `part`, `other`.
    pub(crate) kinds: std::collections::BTreeMap<String, Asked>,
    /// How often each fault was met, in the order of the scenario.
    pub(crate) faults: Vec<u64>,
    /// Requests for objects beyond those that are told apart; they are in `requests` and in no kind.
    #[serde(default)]
    pub(crate) beyond: u64,
}

/// Requests for objects of one kind. An object is a path and a byte range, of a live playlist each version of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Asked {
    pub(crate) objects: u64,
    pub(crate) requests: u64,
    /// The most for one object, and which.
    pub(crate) most: u64,
    pub(crate) most_for: String,
}

/// Runs the origin until its process is ended. Where it listens stands in its first line on standard error.
pub(crate) async fn run(arguments: &Arguments) -> Result<std::process::ExitCode> {
    crate::machine::raise_descriptor_limit()?;
    let server = Server::new(scenario(&arguments.scenario)?);
    let media = serve::listen(arguments.listen).await?;
    let control = serve::listen(arguments.control).await?;
    let listening = Listening { media: media.local_addr()?, control: control.local_addr()? };
    if arguments.waits {
        // Who started it ends it: an interrupt from the terminal, which goes to a whole group, would lose the last ledger.
        rustix::process::setpgid(None, None).context("a process group")?;
    } else {
        server.begin(SystemTime::now())?;
    }
    writeln!(std::io::stderr(), "{}", serde_json::to_string(&listening)?)?;
    tokio::join!(std::sync::Arc::clone(&server).accept(media), control::accept(server, control));
    Ok(std::process::ExitCode::SUCCESS)
}

/// A scenario as a run has written it, or as people write them.
fn scenario(path: &Path) -> Result<Scenario> {
    if path.extension() != Some(OsStr::new("json")) {
        return file::load(path);
    }
    let read = || {
        let mut text = Vec::new();
        std::fs::File::open(path)?.take(SCENARIO_BYTES_MAX + 1).read_to_end(&mut text)?;
        ensure!(text.len() as u64 <= SCENARIO_BYTES_MAX, "it is longer than {SCENARIO_BYTES_MAX} bytes");
        let scenario = serde_json::from_slice(&text)?;
        file::check::check(&scenario)?;
        anyhow::Ok(scenario)
    };
    read().with_context(|| format!("{}: no scenario as a run writes it (scenario.json)", path.display()))
}

// === impl Origin ===

impl Origin {
    /// Starts the origin on a port of 127.0.0.1 that the kernel chooses (or where told); its timeline stands still until
    /// [`Self::begin`]. To be called from a thread that lives as long as the run: the kernel ends the process with it.
    pub(crate) async fn start(
        scenario: &Scenario,
        listen: Option<SocketAddr>,
        cpus: Option<&str>,
    ) -> Result<Self> {
        let program = std::env::current_exe().context("the tester's own binary")?;
        Self::start_program(&program, scenario, listen, cpus).await
    }

    /// The same with another binary of the tester.
    async fn start_program(
        program: &Path,
        scenario: &Scenario,
        listen: Option<SocketAddr>,
        cpus: Option<&str>,
    ) -> Result<Self> {
        let mut file = tempfile::Builder::new()
            .prefix("forebay-scenario-")
            .suffix(".json")
            .tempfile()
            .context("a temporary file")?;
        serde_json::to_writer(&mut file, scenario)?;
        file.flush()?;
        let listen = listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0))).to_string();
        let args: [&OsStr; 5] = [
            "origin".as_ref(),
            file.path().as_os_str(),
            "--waits".as_ref(),
            "--listen".as_ref(),
            listen.as_ref(),
        ];
        let mut process = Guarded::start(program, &args, cpus)?;
        let says = process.take_stderr().context("what the origin says")?;
        let (tell, told) = oneshot::channel();
        std::thread::Builder::new().name("origin-says".into()).spawn(move || follow(says, tell))?;
        let late = || format!("the origin does not listen after {START_WAIT_MAX:?}");
        let listening = tokio::time::timeout(START_WAIT_MAX, told).await.with_context(late)?;
        let listening = listening.context("the thread that reads what the origin says has ended")??;
        Ok(Self { process, address: listening.media, line: Line::connect(listening.control).await? })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The run begins then; what was asked before is forgotten.
    pub(crate) async fn begin(&self, wall_epoch: SystemTime) -> Result<()> {
        let since =
            wall_epoch.duration_since(SystemTime::UNIX_EPOCH).context("the run begins before 1970")?;
        let order = Order::Begin { wall_epoch_ns: u64::try_from(since.as_nanos())? };
        match self.line.order(&order).await? {
            Told::Begun => Ok(()),
            told => bail!("the origin was told to begin and says {told:?}"),
        }
    }

    pub(crate) async fn ledger(&self) -> Result<Ledger> {
        match self.line.order(&Order::Ledger).await? {
            Told::Ledger(ledger) => Ok(ledger),
            told => bail!("the origin was asked for its ledger and says {told:?}"),
        }
    }
}

/// Reads what the process says, to its end, and tells where it listens, or what it says instead.
fn follow(says: ChildStderr, tell: oneshot::Sender<Result<Listening>>) {
    let mut says = BufReader::new(says);
    let mut line = Vec::new();
    let found = Read::take(&mut says, LINE_BYTES_MAX)
        .read_until(b'\n', &mut line)
        .context("what the origin says")
        .and_then(|_| {
            let line = String::from_utf8_lossy(&line);
            serde_json::from_str(&line)
                .with_context(|| format!("the origin did not start: {}", line.trim_end()))
        });
    // Nobody listens any more only when the start was given up.
    tell.send(found).ok();
    std::io::copy(&mut says, &mut std::io::sink()).ok();
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;
    use crate::stage::sample;

    /// The binary that belongs to this test's, which cargo makes for the tests beside it.
    fn program() -> PathBuf {
        let test = std::env::current_exe().unwrap();
        let program = test.ancestors().nth(2).unwrap().join("forebay-loadtest");
        assert!(program.exists(), "{} is not built: test without --bin", program.display());
        program
    }

    #[tokio::test]
    async fn a_process_is_started_begins_tells_and_ends_with_its_guard() {
        let origin = Origin::start_program(&program(), &sample::scenario(vec![]), None, None).await.unwrap();
        let process = format!("/proc/{}", origin.pid());
        assert!(Path::new(&process).exists());
        // Until it begins it is the beginning of the run; a run that began 9 s ago has two segments more.
        let sequence = async || {
            let text = ask(origin.address()).await;
            text.lines()
                .find_map(|line| line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:")?.parse::<u64>().ok())
                .unwrap()
        };
        assert_eq!(sequence().await, 9994);
        assert_eq!(origin.ledger().await.unwrap().requests, 1);
        origin.begin(SystemTime::now() - Duration::from_secs(9)).await.unwrap();
        assert_eq!(origin.ledger().await.unwrap().requests, 0);
        assert!(sequence().await >= 9996);
        assert_eq!(origin.ledger().await.unwrap().kinds["playlist"].requests, 1);
        drop(origin);
        assert!(!Path::new(&process).exists());
    }

    #[tokio::test]
    async fn an_address_that_is_taken_is_named_with_a_remedy() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let scenario = sample::scenario(vec![]);
        let error = Origin::start_program(&program(), &scenario, Some(address), None).await.unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains(&format!("cannot listen on {address}")) && text.contains("--listen"), "{text}");
    }

    #[test]
    fn a_scenario_as_json_is_held_to_its_limits() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scenario.json");
        let told = |text: &[u8]| {
            std::fs::write(&path, text).unwrap();
            scenario(&path).map_err(|error| format!("{error:#}"))
        };
        let mut good = sample::scenario(vec![]);
        assert_eq!(told(&serde_json::to_vec(&good).unwrap()).unwrap(), good);
        good.streams[0].segment = Duration::ZERO;
        let error = told(&serde_json::to_vec(&good).unwrap()).unwrap_err();
        assert!(error.contains("scenario.json") && error.contains("stream.segment"), "{error}");
        let error = told(&vec![b' '; SCENARIO_BYTES_MAX as usize + 1]).unwrap_err();
        assert!(error.contains("longer than 4194304 bytes"), "{error}");
    }

    async fn ask(address: SocketAddr) -> String {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = b"GET /media/live/sport/v0.m3u8 HTTP/1.1\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }
}
