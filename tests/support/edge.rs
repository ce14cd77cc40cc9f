//! The real binary, started by a test: `forebay serve` with a configuration made from a template, every port chosen by
//! the system. Standard output (access lines) and standard error (the node's own lines) are collected. The process is
//! ended by its own id when the value is dropped.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use forebay::config::Config;
use serde_json::Value;

use super::certificate::{CERT_FILE, KEY_FILE, write_certificate};
use super::client::{self, Http1, Request, Response};
use super::metrics::Metrics;
use super::origin::Origin;
use super::wait::{eventually, within};

/// Lines that a process wrote, growing while it runs.
type Lines = Arc<Mutex<Vec<String>>>;

/// What a test adds to the template, section by section, as TOML text.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    servers: Vec<String>,
    server: String,
    http: Option<String>,
    memory: Option<String>,
    store: String,
    limits: String,
    origin: String,
    site: String,
    hosts: Option<String>,
    more: String,
    access: Option<String>,
    log: String,
    tls: bool,
    nodes: bool,
    files: Vec<(String, Vec<u8>)>,
}

impl Setup {
    /// A node before this origin: any host, no token, access lines on standard output.
    pub fn before(origin: &Origin) -> Setup {
        Setup::with_servers(&[origin.url()])
    }

    /// A node before these origin servers.
    pub fn with_servers(servers: &[String]) -> Setup {
        Setup { servers: servers.to_vec(), ..Setup::default() }
    }

    /// Adds lines to `[server]`.
    pub fn server(mut self, lines: &str) -> Setup {
        push_line(&mut self.server, lines);
        self
    }

    /// The plaintext listener; a port of the loopback that the system chooses unless told.
    pub fn http(mut self, address: SocketAddr) -> Setup {
        self.http = Some(address.to_string());
        self
    }

    /// `store.memory`; 64MiB unless told.
    pub fn memory(mut self, size: &str) -> Setup {
        self.memory = Some(size.to_owned());
        self
    }

    /// Adds lines to `[store]`.
    pub fn store(mut self, lines: &str) -> Setup {
        push_line(&mut self.store, lines);
        self
    }

    /// Adds lines to `[limits]`.
    pub fn limits(mut self, lines: &str) -> Setup {
        push_line(&mut self.limits, lines);
        self
    }

    /// Adds lines to `[origin.main]`.
    pub fn origin(mut self, lines: &str) -> Setup {
        push_line(&mut self.origin, lines);
        self
    }

    /// Adds lines to the first `[[site]]`.
    pub fn site(mut self, lines: &str) -> Setup {
        push_line(&mut self.site, lines);
        self
    }

    /// The first site's hosts, as a TOML array; any host unless told.
    pub fn hosts(mut self, hosts: &str) -> Setup {
        self.hosts = Some(hosts.to_owned());
        self
    }

    /// Adds sections behind the first site: its rules, other sites, token policies.
    pub fn more(mut self, sections: &str) -> Setup {
        push_line(&mut self.more, sections);
        self
    }

    /// Where access lines go; standard output unless told.
    pub fn access(mut self, place: &str) -> Setup {
        self.access = Some(place.to_owned());
        self
    }

    /// Adds lines to `[log]`.
    pub fn log(mut self, lines: &str) -> Setup {
        push_line(&mut self.log, lines);
        self
    }

    /// Writes a file beside the configuration, where `DIR` stands for the directory in every text given.
    pub fn file(self, name: &str, text: &str) -> Setup {
        self.bytes(name, text.as_bytes())
    }

    /// As [`Setup::file`], with any bytes.
    pub fn bytes(mut self, name: &str, bytes: &[u8]) -> Setup {
        self.files.push((name.to_owned(), bytes.to_vec()));
        self
    }

    /// Adds a TLS listener with a fresh certificate for `edge.test`.
    pub fn tls(mut self) -> Setup {
        self.tls = true;
        self
    }

    /// The same, and takes clients with a certificate of this authority (PEM) for nodes.
    pub fn tls_for_nodes(mut self, authority_pem: &str) -> Setup {
        self.nodes = true;
        self.tls().file("nodes.pem", authority_pem)
    }

    /// Threads are not pinned: the nodes of all tests would share the first processors.
    fn text(&self, directory: &Path) -> String {
        let servers: Vec<String> = self.servers.iter().map(|server| format!("{server:?}")).collect();
        let https = if self.tls {
            let nodes = if self.nodes { ", client_ca = \"DIR/nodes.pem\"" } else { "" };
            format!(
                "https = [{{ listen = \"127.0.0.1:0\", cert = \"DIR/{CERT_FILE}\", key = \"DIR/{KEY_FILE}\"{nodes} }}]"
            )
        } else {
            String::new()
        };
        let text = format!(
            "[server]\nhttp = [\"{}\"]\nadmin = \"127.0.0.1:0\"\nthreads = 2\npin_threads = false\n{https}\n{}\n\
             [store]\nmemory = \"{}\"\n{}\n[limits]\n{}\n[log]\naccess = \"{}\"\n{}\n\
             [origin.main]\nservers = [{}]\n{}\n[[site]]\nhosts = {}\norigin = \"main\"\n{}\n{}",
            self.http.as_deref().unwrap_or("127.0.0.1:0"),
            self.server,
            self.memory.as_deref().unwrap_or("64MiB"),
            self.store,
            self.limits,
            self.access.as_deref().unwrap_or("stdout"),
            self.log,
            servers.join(", "),
            self.origin,
            self.hosts.as_deref().unwrap_or("[\"*\"]"),
            self.site,
            self.more,
        );
        text.replace("DIR", &directory.display().to_string())
    }

    /// The configuration, checked, for a node in the test's own process.
    pub fn config(&self, directory: &Path) -> Config {
        let text = self.text(directory);
        forebay::config::parse(&text, &directory.join("forebay.toml"))
            .unwrap_or_else(|mistakes| panic!("{mistakes}\n{text}"))
    }

    /// Writes the files that stand beside the configuration.
    pub fn write_files(&self, directory: &Path) {
        for (name, bytes) in &self.files {
            std::fs::write(directory.join(name), bytes).expect("a writable directory");
        }
    }

    /// Starts the node and waits until it serves.
    pub async fn start(&self) -> Edge {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let roots = self.tls.then(|| write_certificate(directory.path()));
        self.write_files(directory.path());
        let mut edge = Edge::run(&self.text(directory.path()), directory).await;
        edge.roots = roots;
        edge
    }
}

fn push_line(text: &mut String, lines: &str) {
    text.push_str(lines);
    text.push('\n');
}

/// A port that a node may listen on, and nobody else gets meanwhile.
pub struct Port {
    pub address: SocketAddr,
    _socket: tokio::net::TcpSocket,
}

impl Port {
    /// A port of the loopback.
    pub fn reserve() -> Port {
        Port::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port")
    }

    /// One port on each of these addresses.
    pub fn reserve_on(addresses: &[[u8; 4]]) -> Vec<Port> {
        let attempt = |_| -> Option<Vec<Port>> {
            let first = Port::bind(SocketAddr::from((addresses[0], 0))).ok()?;
            let port = first.address.port();
            let others =
                addresses[1..].iter().map(|address| Port::bind(SocketAddr::from((*address, port))).ok());
            std::iter::once(Some(first)).chain(others).collect()
        };
        (0..100).find_map(attempt).expect("a port that is free on all addresses")
    }

    fn bind(address: SocketAddr) -> std::io::Result<Port> {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.set_reuseport(true)?;
        socket.bind(address)?;
        Ok(Port { address: socket.local_addr()?, _socket: socket })
    }
}

/// A running node.
pub struct Edge {
    process: Process,
    http: SocketAddr,
    https: Option<SocketAddr>,
    admin: SocketAddr,
    roots: Option<Arc<rustls::RootCertStore>>,
    _directory: tempfile::TempDir,
}

impl Edge {
    /// Starts `forebay serve` with this text as its configuration and waits until it serves.
    pub async fn run(config: &str, directory: tempfile::TempDir) -> Edge {
        let process = Process::serve(&write_config(directory.path(), config));
        let ready =
            || process.stderr_json().iter().any(|line| line["message"] == "ready") || process.has_ended();
        within("the node's `ready` line", async {
            eventually("ready", ready).await;
        })
        .await;
        assert!(!process.has_ended(), "the node ended at start:\n{}\nwith\n{config}", process.stderr_text());
        let listeners = process.listeners();
        let of =
            |name: &str| listeners.iter().find(|(listener, _)| listener == name).map(|(_, address)| *address);
        Edge {
            http: of("http").expect("a `listening` line for http"),
            https: of("https"),
            admin: of("admin").expect("a `listening` line for admin"),
            process,
            roots: None,
            _directory: directory,
        }
    }

    /// The first plaintext listener.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Every address it said it listens on, with the listener's name.
    pub fn listeners(&self) -> Vec<(String, SocketAddr)> {
        self.process.listeners()
    }

    /// The TLS listener and the roots that trust it.
    pub fn https(&self) -> (SocketAddr, &Arc<rustls::RootCertStore>) {
        (self.https.expect("a TLS listener"), self.roots.as_ref().expect("its certificate"))
    }

    /// The admin listener.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// GET on a connection of its own, read to the end.
    pub async fn get(&self, target: &str) -> Response {
        client::get(self.http, target).await
    }

    /// One request on a connection of its own, read to the end.
    pub async fn ask(&self, request: &Request) -> Response {
        client::ask(self.http, request).await
    }

    /// Sends a request on a connection of its own and leaves the answer unread.
    pub async fn open(&self, request: &Request) -> Http1 {
        let mut connection = Http1::connect(self.http).await;
        connection.send(request).await;
        connection
    }

    /// What `/metrics` says now.
    pub async fn metrics(&self) -> Metrics {
        metrics(self.admin).await
    }

    /// Waits until the sum of these samples is at least `least`, and returns what `/metrics` said then.
    pub async fn await_metric(&self, name: &str, labels: &[(&str, &str)], least: f64) -> Metrics {
        await_metric(self.admin, name, labels, least).await
    }

    /// The access lines so far, parsed.
    pub fn access_lines(&self) -> Vec<Value> {
        let lines = self.process.stdout.lock().expect("lines");
        let parse = |line: &String| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        lines.iter().map(parse).collect()
    }

    /// Waits for at least `count` access lines.
    pub async fn await_access_lines(&self, count: usize) -> Vec<Value> {
        eventually(&format!("{count} access lines"), || {
            self.process.stdout.lock().expect("lines").len() >= count
        })
        .await;
        self.access_lines()
    }

    /// Waits until the node has written a line of its own with this message.
    pub async fn await_said(&self, message: &str) {
        let said = || self.process.stderr_json().iter().any(|line| line["message"] == message);
        eventually(message, said).await;
    }

    /// Waits until the node knows all that its disks hold from before.
    pub async fn await_recovered(&self) {
        self.await_said("disk is recovered").await;
    }

    /// Everything the process wrote so far, on both outputs.
    pub fn everything_written(&self) -> String {
        let stdout = self.process.stdout.lock().expect("lines").join("\n");
        format!("{stdout}\n{}", self.process.stderr_text())
    }

    /// Resident memory, in bytes, without the pages of files: those of a binary with its symbols, which the kernel takes back
    /// when it wants to, grow with the code and not with the load.
    pub fn resident_bytes(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("a running node");
        let line = status.lines().find(|line| line.starts_with("RssAnon:")).expect("RssAnon");
        let kilobytes: u64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number");
        kilobytes * 1024
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        self.process.signal("TERM");
    }

    /// Has the process stand still, with all its connections and sockets open.
    pub fn freeze(&self) {
        self.process.signal("STOP");
    }

    /// Sends SIGKILL, and waits for the end.
    pub async fn kill(&self) {
        self.process.signal("KILL");
        self.ended().await;
    }

    /// Has it stand still (SIGSTOP).
    pub fn pause(&self) {
        self.process.signal("STOP");
    }

    /// Has it go on.
    pub fn resume(&self) {
        self.process.signal("CONT");
    }

    /// Sends SIGINT, as Ctrl-C does.
    pub fn interrupt(&self) {
        self.process.signal("INT");
    }

    /// Waits for the end of the process.
    pub async fn ended(&self) -> ExitStatus {
        self.process.ended().await
    }

    /// Whether the process has ended.
    pub fn has_ended(&self) -> bool {
        self.process.has_ended()
    }

    /// Sends SIGTERM, waits for the end and returns everything that was written.
    pub async fn stop(&self) -> (ExitStatus, String) {
        self.terminate();
        let status = self.ended().await;
        self.process.outputs_closed().await;
        (status, self.everything_written())
    }
}

/// What `/metrics` of a node with this admin listener says now.
pub async fn metrics(admin: SocketAddr) -> Metrics {
    let response = client::get(admin, "/metrics").await;
    assert_eq!(response.status(), 200);
    Metrics::parse(&String::from_utf8_lossy(response.whole()))
}

/// Waits until the sum of these samples is at least `least`, and returns what `/metrics` said then.
pub async fn await_metric(admin: SocketAddr, name: &str, labels: &[(&str, &str)], least: f64) -> Metrics {
    let what = format!("{name}{labels:?} of at least {least}");
    within(&what, async {
        loop {
            let metrics = metrics(admin).await;
            if metrics.sum(name, labels) >= least {
                return metrics;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
}

/// How a `serve` that was not to start has ended.
pub struct Refusal {
    pub code: Option<i32>,
    pub stderr: String,
    /// The configuration file, as it stands in messages.
    pub file: PathBuf,
    /// Addresses that it said it listens on; a refused configuration has none.
    pub listeners: Vec<(String, SocketAddr)>,
}

/// Runs `serve` with a configuration that it must refuse, and waits for its end.
pub async fn refused(config: &str) -> Refusal {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = write_config(directory.path(), config);
    let process = Process::serve(&file);
    let status = process.ended().await;
    process.outputs_closed().await;
    let stderr = process.stderr_text();
    Refusal { code: status.code(), stderr, file, listeners: process.listeners() }
}

fn write_config(directory: &Path, text: &str) -> PathBuf {
    let file = directory.join("forebay.toml");
    std::fs::write(&file, text).expect("a writable directory");
    file
}

/// A child process whose outputs are read by threads of their own, so that it never blocks on a full pipe.
struct Process {
    child: Mutex<Child>,
    stdout: Lines,
    stderr: Lines,
    readers: Vec<std::thread::JoinHandle<()>>,
}

impl Process {
    fn serve(config: &Path) -> Process {
        let mut child = Command::new(env!("CARGO_BIN_EXE_forebay"))
            .args(["serve", "--config"])
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the built binary");
        let (stdout, out) = collect(child.stdout.take().expect("a pipe"));
        let (stderr, err) = collect(child.stderr.take().expect("a pipe"));
        Process { child: Mutex::new(child), stdout, stderr, readers: vec![out, err] }
    }

    fn id(&self) -> u32 {
        self.child.lock().expect("the child").id()
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.id().to_string()).status();
        assert!(sent.expect("the `kill` command").success());
    }

    fn has_ended(&self) -> bool {
        self.child.lock().expect("the child").try_wait().expect("a child of ours").is_some()
    }

    async fn ended(&self) -> ExitStatus {
        eventually("the end of the process", || self.has_ended()).await;
        self.child.lock().expect("the child").wait().expect("a child of ours")
    }

    async fn outputs_closed(&self) {
        eventually("the end of its outputs", || {
            self.readers.iter().all(std::thread::JoinHandle::is_finished)
        })
        .await;
    }

    fn stderr_text(&self) -> String {
        self.stderr.lock().expect("lines").join("\n")
    }

    fn stderr_json(&self) -> Vec<Value> {
        let lines = self.stderr.lock().expect("lines");
        lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    fn listeners(&self) -> Vec<(String, SocketAddr)> {
        let address = |line: Value| {
            let listener = line["listener"].as_str()?.to_owned();
            Some((listener, line["address"].as_str()?.parse().ok()?))
        };
        let lines = self.stderr_json().into_iter().filter(|line| line["message"] == "listening");
        lines.filter_map(address).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let mut child = self.child.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let _ = child.kill();
        let _ = child.wait();
        if std::thread::panicking() {
            let lines = self.stderr.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            eprintln!("--- the node's standard error, last lines ---");
            for line in lines.iter().rev().take(40).rev() {
                eprintln!("{line}");
            }
        }
    }
}

fn collect(pipe: impl Read + Send + 'static) -> (Lines, std::thread::JoinHandle<()>) {
    let lines = Lines::default();
    let sink = Arc::clone(&lines);
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            sink.lock().expect("lines").push(String::from_utf8_lossy(&line).into_owned());
        }
    });
    (lines, reader)
}
