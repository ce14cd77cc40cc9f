//! Starts Debian's nginx as a caching proxy, tuned the way its experts do, with all its files in a temporary folder
//! (in memory, where /dev/shm is there).

use std::fmt::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::child::Guarded;
use crate::server::{Kind, Server, Setup};

/// How long nginx may take until it accepts connections.
const START_WAIT_MAX: Duration = Duration::from_secs(10);

/// How often a start is tried: the free ports it is given may be taken by another process before it binds them.
const START_ATTEMPTS_MAX: usize = 5;

/// How often a starting nginx is asked whether it accepts connections.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Starts nginx with two worker processes in front of the origin.
pub(crate) async fn start(setup: &Setup, origin: SocketAddr) -> Result<Server> {
    let mut attempt = 1;
    loop {
        match start_once(setup, origin).await {
            Err(error)
                if attempt < START_ATTEMPTS_MAX
                    && format!("{error:#}").contains("Address already in use") =>
            {
                attempt += 1;
            }
            outcome => return outcome,
        }
    }
}

/// The version nginx names, or `None` when it is not installed.
pub(crate) async fn version(program: &Path) -> Option<String> {
    let output = Command::new(program).arg("-v").output().await.ok()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    text.trim().strip_prefix("nginx version: nginx/").map(str::to_owned)
}

async fn start_once(setup: &Setup, origin: SocketAddr) -> Result<Server> {
    // In memory, unless the node beside it has a disk as well.
    let place = setup.disk.as_ref().map_or(Path::new("/dev/shm"), |disk| &disk.folder);
    let mut builder = tempfile::Builder::new();
    builder.prefix("forebay-bench-nginx-");
    let files = if place.is_dir() { builder.tempdir_in(place) } else { builder.tempdir() };
    let files = files.context("a temporary folder")?;
    let (http, h2c) = free_addresses()?;
    let folder = files.path();
    let config = folder.join("nginx.conf");
    let log = folder.join("error.log");
    let text = configuration(folder, http, h2c, origin);
    std::fs::write(&config, text).with_context(|| config.display().to_string())?;
    let args = [
        "-p".as_ref(),
        folder.as_os_str(),
        "-c".as_ref(),
        config.as_os_str(),
        "-e".as_ref(),
        log.as_os_str(),
    ];
    let mut process = Guarded::start(&setup.nginx, &args, setup.cpus.as_deref())?;
    // nginx says on standard error only what it also writes to its log.
    drop(process.take_stderr());
    wait_until_it_accepts(&mut process, http, &log).await?;
    Ok(Server {
        kind: Kind::Nginx,
        http,
        h2c: Some(h2c),
        admin: None,
        process: Some(process),
        _files: Some(files),
    })
}

async fn wait_until_it_accepts(process: &mut Guarded, address: SocketAddr, log: &Path) -> Result<()> {
    let deadline = Instant::now() + START_WAIT_MAX;
    loop {
        if let Some(status) = process.ended()? {
            let log = std::fs::read_to_string(log).unwrap_or_default();
            bail!("nginx ended with {status}: {}", log.trim());
        }
        if TcpStream::connect(address).await.is_ok() {
            return Ok(());
        }
        if Instant::now() > deadline {
            let log = std::fs::read_to_string(log).unwrap_or_default();
            bail!("nginx does not accept connections on {address} after {START_WAIT_MAX:?}: {}", log.trim());
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Two addresses nobody listens on: nginx cannot say which port the kernel chose for it.
fn free_addresses() -> Result<(SocketAddr, SocketAddr)> {
    let (a, b) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
    Ok((a.local_addr()?, b.local_addr()?))
}

fn configuration(folder: &Path, http: SocketAddr, h2c: SocketAddr, origin: SocketAddr) -> String {
    let folder = folder.display();
    // Without this line the workers of a master that runs as root change to a user that cannot write here.
    let user = if rustix::process::getuid().is_root() { "user root;" } else { "" };
    let mut temporary = String::new();
    for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        // Writing to a String does not fail.
        writeln!(temporary, "    {kind}_temp_path {folder}/{kind};").ok();
    }
    format!(
        r#"{user}
daemon off;
worker_processes 2;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{
    worker_connections 8192;
    multi_accept on;
}}
http {{
    default_type video/mp4;
    access_log off;
    sendfile on;
    tcp_nopush on;
    tcp_nodelay on;
    keepalive_timeout 75s;
    keepalive_requests 1000000000;
    reset_timedout_connection on;
    server_tokens off;
    open_file_cache max=20000 inactive=10m;
    open_file_cache_valid 10m;
    open_file_cache_min_uses 1;
    open_file_cache_errors off;
{temporary}
    proxy_cache_path {folder}/cache levels=1:2 keys_zone=cache:64m max_size=4g inactive=1h use_temp_path=off;
    upstream origin {{
        server {origin};
        keepalive 64;
    }}
    server {{
        listen {http} reuseport backlog=4096;
        listen {h2c} http2 reuseport backlog=4096;
        location / {{
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffers 16 64k;
            proxy_buffer_size 64k;
            proxy_cache cache;
            proxy_cache_key $uri$is_args$args;
            proxy_cache_valid 200 1h;
            proxy_cache_lock on;
            proxy_cache_lock_timeout 30s;
            proxy_cache_lock_age 30s;
            add_header X-Cache $upstream_cache_status;
        }}
    }}
}}
"#
    )
}
