//! `forebay cache stat|verify|clear` tells and does the same on a stopped node and on a running one.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::support::content::content;
use crate::support::edge::{Edge, Setup};
use crate::support::origin::{Answer, Origin};
use crate::support::wait::within;

const OBJECTS: usize = 6;

/// Runs the tool on a configuration that names `disk`, and `admin` if a node runs.
async fn cache(command: &str, disk: &Path, admin: Option<SocketAddr>) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("forebay.toml");
    let admin = admin.map(|address| format!("admin = \"{address}\"\n")).unwrap_or_default();
    let text = format!(
        "[server]\nhttp = [\"127.0.0.1:0\"]\n{admin}[store]\ndisk = [{{ path = \"{}\", size = \"256MiB\" }}]\n\
         [origin.main]\nservers = [\"http://127.0.0.1:1\"]\n[[site]]\nhosts = [\"*\"]\norigin = \"main\"\n",
        disk.display()
    );
    std::fs::write(&file, text).unwrap();
    let mut tool = tokio::process::Command::new(env!("CARGO_BIN_EXE_forebay"));
    tool.args(["cache", command, "--json", "--config"]).arg(&file).output().await.unwrap()
}

fn json(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text)
        .unwrap_or_else(|_| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)))
}

async fn filled(disk: &Path) -> (Origin, Edge) {
    let origin = Origin::start().await;
    origin.otherwise(|_, _| Answer::ok(content(1, 400_000)).cache_control("max-age=3600"));
    let store = format!(
        "disk = [{{ path = \"{}\", size = \"256MiB\" }}]\ndisk_admit_within = \"0s\"",
        disk.display()
    );
    let edge = Setup::before(&origin).store(&store).start().await;
    // What a slow disk was spared is offered again when it is asked for.
    within("objects on disk", async {
        while edge.metrics().await.sum("forebay_cache_objects", &[("tier", "disk")]) < OBJECTS as f64 {
            for number in 0..OBJECTS {
                edge.get(&format!("/seg/{number}.m4s")).await;
            }
        }
    })
    .await;
    (origin, edge)
}

#[tokio::test]
async fn the_disk_is_told_of_and_verified_running_and_stopped() {
    let disk = tempfile::tempdir().unwrap();
    let (_origin, edge) = filled(disk.path()).await;
    for running in [true, false] {
        if !running {
            edge.stop().await;
        }
        let stat = json(&cache("stat", disk.path(), None).await);
        assert_eq!(stat["objects"], OBJECTS, "{stat}");
        assert_eq!(stat["closed_in_order"], !running, "{stat}");
        let output = cache("verify", disk.path(), None).await;
        let report = json(&output);
        assert_eq!(output.status.code(), Some(0), "{report}");
        assert_eq!(report["damaged"].as_array().map(Vec::len), Some(0), "{report}");
    }
}

#[tokio::test]
async fn damage_is_told_with_its_place() {
    let disk = tempfile::tempdir().unwrap();
    let (_origin, edge) = filled(disk.path()).await;
    edge.stop().await;
    let region = std::fs::read_dir(disk.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().contains("region")))
        .min()
        .unwrap();
    // Amid the bodies of the first records.
    let mut bytes = std::fs::read(&region).unwrap();
    bytes[600_000] ^= 0x40;
    std::fs::write(&region, bytes).unwrap();
    let output = cache("verify", disk.path(), None).await;
    let report = json(&output);
    assert_eq!(output.status.code(), Some(65), "{report}");
    assert_eq!(report["damaged"][0]["reason"], "block", "{report}");
}

#[tokio::test]
async fn everything_is_cleared_running_and_stopped() {
    let disk = tempfile::tempdir().unwrap();
    let (origin, edge) = filled(disk.path()).await;
    let output = cache("clear", disk.path(), None).await;
    assert_eq!(output.status.code(), Some(74), "a node runs, and there is no admin listener to ask");
    assert_eq!(edge.get("/seg/1.m4s").await.outcome(), "hit");
    assert_eq!(json(&cache("clear", disk.path(), Some(edge.admin())).await)["cleared"], 1);
    assert_eq!(edge.get("/seg/1.m4s").await.outcome(), "miss");
    edge.stop().await;
    assert_eq!(json(&cache("stat", disk.path(), None).await)["objects"], 1);
    assert_eq!(json(&cache("clear", disk.path(), None).await)["cleared"], 1);
    assert_eq!(json(&cache("stat", disk.path(), None).await)["objects"], 0);
    assert_eq!(origin.requests("/seg/1.m4s"), 2);
}
