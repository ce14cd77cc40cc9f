//! Debian's Varnish: its parameters, how it is started, and its bans. What it does with requests stands in
//! `loadtest/peers/default.vcl`.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use super::launch::{Launch, Ready, free_address, located, with_free_ports};
use super::{Kind, Ports, Purged, Server, Setup, template};
use crate::http1::Client;

const VCL: &str = include_str!("../../peers/default.vcl");

/// Run-time parameters, and why.
const PARAMETERS: [&str; 10] = [
    // HTTP/2 for clients that begin with its preface.
    "feature=+http2",
    // A thread for each request under way. So many of each pool are there before a crowd comes, and so many may be.
    "thread_pool_min=500",
    "thread_pool_max=5000",
    // New threads are made without a pause between them.
    "thread_pool_add_delay=0",
    // Requests beyond the threads wait; by default all but 20 would have their connections closed.
    "thread_queue_limit=10000",
    // Room for a crowd that comes at once.
    "listen_depth=4096",
    // Players keep their connections for longer than a target duration; the default is 5 seconds.
    "timeout_idle=75",
    // Slow viewers: the whole of a segment may take longer than a minute.
    "send_timeout=600",
    // Everybody who waits for one fetch is woken at once rather than by threes.
    "rush_exponent=1000",
    // The ban lurker removes what a ban has hit soon, so that no lookup has to compare it.
    "ban_lurker_age=1",
];

/// Starts Varnish in front of the origin.
pub(super) async fn start(setup: &Setup, origin: SocketAddr) -> Result<Server> {
    with_free_ports(async || start_once(setup, origin).await).await
}

async fn start_once(setup: &Setup, origin: SocketAddr) -> Result<Server> {
    let files = setup.folder(Kind::Varnish)?;
    let http = free_address()?;
    let vcl = files.path().join("default.vcl");
    let text = template::fill(
        VCL,
        &[("origin_host", &origin.ip().to_string()), ("origin_port", &origin.port().to_string())],
    )?;
    std::fs::write(&vcl, text).with_context(|| vcl.display().to_string())?;
    let launch = Launch {
        name: "varnish",
        program: setup.varnish.clone(),
        args: arguments(setup, files.path(), http, &vcl)?,
        cpus: setup.cpus.clone(),
        // Its first process takes connections before the second one, which serves, is there.
        ready: Ready::Answers(http),
    };
    Server::launched(Kind::Varnish, launch, files, Ports { http, h2c: http, admin: None }).await
}

/// The version Varnish names, or `None` when it is not installed.
pub(crate) async fn version(program: &Path) -> Option<String> {
    let output = Command::new(located(program)).arg("-V").output().await.ok()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    Some(text.split_once("(varnish-")?.1.split([' ', ')']).next()?.to_owned())
}

/// Bans every object whose URL begins with the prefix.
pub(super) async fn purge(http: SocketAddr, prefix: &str) -> Result<Purged> {
    let answer = Client::connect(http).await?.plain("BAN", prefix, "").await?;
    ensure!(answer.status == 200, "status {}", answer.status);
    Ok(Purged::Done)
}

fn arguments(setup: &Setup, folder: &Path, http: SocketAddr, vcl: &Path) -> Result<Vec<OsString>> {
    let bytes = setup.cache_bytes()?;
    // No storage of Varnish's outlives its process; on disk it is a file that is mapped.
    let storage = match &setup.disk {
        Some(_) => format!("default=file,{},{bytes}B", folder.join("storage").display()),
        None => format!("default=malloc,{bytes}B"),
    };
    // In the foreground; as whoever started it; its shared memory, which is its log, in the temporary folder; no listener for
    // its command line.
    let mut arguments: Vec<OsString> = ["-F", "-j", "none", "-T", "none", "-n"].map(OsString::from).into();
    arguments.push(folder.join("varnish").into());
    arguments.extend(["-a".into(), OsString::from(http.to_string()), "-f".into(), vcl.into()]);
    arguments.extend(["-s", storage.as_str()].map(OsString::from));
    arguments.extend(["-p".into(), format!("thread_pools={}", setup.threads.clamp(1, 32)).into()]);
    for parameter in PARAMETERS {
        arguments.extend(["-p", parameter].map(OsString::from));
    }
    Ok(arguments)
}
