//! A bad configuration is refused whole: exit status 64, a message with file, line and key, and nothing started. The
//! messages of single mistakes are snapshotted beside `tests/config/invalid`; here the process itself is what counts.

use std::net::{SocketAddr, TcpListener};

use crate::support::edge::{Edge, refused};
use crate::support::origin::{Answer, Origin};

/// The smallest file that the documents promise to run.
const MINIMAL: &str = r#"[server]
http  = ["127.0.0.1:8080"]
admin = "127.0.0.1:9090"

[store]
memory = "1GiB"

[origin.main]
servers = ["http://127.0.0.1:8000"]

[[site]]
hosts  = ["*"]
origin = "main"
"#;

/// The minimal file with system-chosen ports, where `from` is replaced by `to`.
fn minimal_with(from: &str, to: &str) -> String {
    let text = MINIMAL.replace(":8080", ":0").replace(":9090", ":0");
    assert!(text.contains(from), "{from:?} is not in the minimal file");
    text.replace(from, to)
}

/// The place of `needle` in the text, as a line number from 1.
fn line_of(text: &str, needle: &str) -> usize {
    text.lines().position(|line| line.contains(needle)).expect("the text holds it") + 1
}

/// Refused with 64, naming file, line and key, and without a listener.
async fn assert_refused(text: &str, line_with: &str, key: &str) {
    let refusal = refused(text).await;
    assert_eq!(refusal.code, Some(64), "{}\nfor\n{text}", refusal.stderr);
    let place = format!("{}:{}: {key}", refusal.file.display(), line_of(text, line_with));
    assert!(refusal.stderr.contains(&place), "no {place:?} in\n{}", refusal.stderr);
    assert!(refusal.listeners.is_empty(), "listened: {:?}", refusal.listeners);
    assert!(!refusal.stderr.contains("panicked"), "{}", refusal.stderr);
}

/// The minimal file runs as it stands, but for the ports.
#[tokio::test]
async fn the_minimal_file_runs() {
    let origin = Origin::start().await;
    origin.otherwise(|_, _| Answer::ok("here"));
    let text = minimal_with("http://127.0.0.1:8000", &origin.url());
    let directory = tempfile::tempdir().expect("a temporary directory");
    let edge = Edge::run(&text, directory).await;
    assert_eq!(edge.get("/1.m4s").await.whole(), "here");
    assert_eq!(edge.get("/1.m4s").await.outcome(), "hit");
}

#[tokio::test]
async fn an_unknown_key_is_refused() {
    let text = minimal_with("[store]\nmemory", "[store]\nmemmory");
    assert_refused(&text, "memmory", "store.memmory").await;
}

#[tokio::test]
async fn an_unknown_section_is_refused() {
    let text = minimal_with("[store]", "[stores]");
    assert_refused(&text, "[stores]", "stores").await;
}

#[tokio::test]
async fn a_bad_unit_is_refused() {
    let text = minimal_with("1GiB", "1 gigabyte");
    assert_refused(&text, "gigabyte", "store.memory").await;
}

#[tokio::test]
async fn a_duplicate_site_is_refused() {
    let text = minimal_with(
        "origin = \"main\"",
        "origin = \"main\"\n[[site]]\nhosts = [ \"*\" ]\norigin = \"main\"",
    );
    assert_refused(&text, "[ \"*\" ]", "site[1].hosts").await;
}

#[tokio::test]
async fn a_missing_secret_file_is_refused() {
    let policy = "token = \"viewer\"\n[token.viewer]\nformat = \"edgeauth\"\n\
                  keys = [{ id = \"k1\", secret_file = \"nowhere.key\" }]";
    let text = minimal_with("origin = \"main\"", &format!("origin = \"main\"\n{policy}"));
    assert_refused(&text, "nowhere.key", "token.viewer.keys[0].secret_file").await;
}

#[tokio::test]
async fn a_site_without_its_origin_is_refused() {
    let text = minimal_with("origin = \"main\"", "origin = \"mian\"");
    assert_refused(&text, "mian", "site[0].origin").await;
}

#[tokio::test]
async fn broken_toml_is_refused() {
    let text = minimal_with("memory = \"1GiB\"", "memory = \"1GiB");
    assert_refused(&text, "1GiB", "").await;
}

/// An address that another process listens on is refused, and the node's other addresses are not left open.
#[tokio::test]
async fn an_occupied_address_is_refused() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address").to_string();
    let text =
        minimal_with("http  = [\"127.0.0.1:0\"]", &format!("http  = [\"127.0.0.1:0\", \"{address}\"]"));
    assert_refused(&text, &address, "server.http[1]").await;
    let text = minimal_with("admin = \"127.0.0.1:0\"", &format!("admin = \"{address}\""));
    assert_refused(&text, &address, "server.admin").await;
}

/// An address that this machine does not have is refused.
#[tokio::test]
async fn an_unreachable_address_is_refused() {
    let text = minimal_with("127.0.0.1:0\"]", "192.0.2.1:0\"]");
    assert_refused(&text, "192.0.2.1", "server.http[0]").await;
}

/// What is found unusable only when the node has begun to start is told as a mistake of the file is: the folder of purges to
/// pass on, or of revocations.
#[tokio::test]
async fn a_folder_that_cannot_be_used_is_refused() {
    let folder = "/proc/none/such";
    let purges = format!(
        "{}\n[purge]\nforward = [{{ name = \"cdn\", url = \"http://127.0.0.1:1/{{tag}}\", targets = [\"tag\"] }}]\n\
         forward_state = \"{folder}\"\n",
        minimal_with("", "")
    );
    assert_refused(&purges, "forward_state", "purge.forward_state").await;
    let revocations = format!("{}\n[revocation]\nfile = \"{folder}/list\"\n", minimal_with("", ""));
    assert_refused(&revocations, "file = ", "revocation.file").await;
}

/// An admin listener that others can reach needs a credential.
#[tokio::test]
async fn a_public_admin_listener_without_a_credential_is_refused() {
    let text = minimal_with("admin = \"127.0.0.1:0\"", "admin = \"0.0.0.0:0\"");
    assert_refused(&text, "0.0.0.0", "server.admin").await;
}

/// Every mistake of a file is told at once.
#[tokio::test]
async fn all_mistakes_are_told_together() {
    let text = minimal_with("1GiB", "1 gigabyte").replace("origin = \"main\"", "origin = \"mian\"");
    let refusal = refused(&text).await;
    assert_eq!(refusal.code, Some(64));
    for key in ["store.memory", "site[0].origin"] {
        assert!(refusal.stderr.contains(key), "no {key} in\n{}", refusal.stderr);
    }
}

/// A file that is not there is refused, by name.
#[tokio::test]
async fn a_missing_file_is_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("absent.toml");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_forebay"))
        .args(["serve", "--config"])
        .arg(&file)
        .output()
        .expect("the built binary");
    assert_eq!(output.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&output.stderr).contains("absent.toml"));
}

/// A refused start leaves its address free: the same file with the mistake put right starts on it.
#[tokio::test]
async fn a_refused_start_leaves_nothing_behind() {
    let port = free_port();
    let fixed = minimal_with("http  = [\"127.0.0.1:0\"]", &format!("http  = [\"{port}\"]"));
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let admin = format!("admin = \"{}\"", taken.local_addr().expect("an address"));
    let refusal = refused(&fixed.replace("admin = \"127.0.0.1:0\"", &admin)).await;
    assert_eq!(refusal.code, Some(64), "{}", refusal.stderr);
    let edge = Edge::run(&fixed, tempfile::tempdir().expect("a temporary directory")).await;
    assert_eq!(edge.http(), port);
}

fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("an address")
}
