//! What carrying a token costs: CPU of the whole node per hit of a live playlist, written anew for its viewer and as it
//! is, in turns under the same load by wrk. The same node serves all, from sites of the same tokens that differ in `carry` alone.
//!
//! Before anything is measured, each site has answered as a hit and with the token at each URI where it belongs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use clap::Args;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Plan, hits};
use crate::origin::{answer_heads, threads_and_listener};
use crate::report::{Report, median_min_max};
use crate::run::pins;
use crate::server::node;
use crate::{proc, wrk};

/// The most that a playlist written anew may cost, as a multiple of one that is sent as it is.
const RATIO_MAX: f64 = 1.3;

/// The signing key of the sites, in hexadecimal.
const KEY_HEX: &str = "52a152a152a152a152a152a152a1";

/// The folder that the token is for, and the playlist in it.
const FOLDER: &str = "/live/";
const PLAYLIST: &str = "index.m3u8";

/// How long an answer may take, and a playlist until it is a hit.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// How much is measured.
#[derive(Clone, Debug, Args)]
pub(crate) struct Arguments {
    /// Rounds of each way, in turns
    #[arg(long, default_value_t = Self::default().rounds, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Seconds of one round
    #[arg(long, default_value_t = Self::default().seconds, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// Connections of wrk
    #[arg(long, default_value_t = Self::default().connections, value_parser = clap::value_parser!(u32).range(2..=4096))]
    connections: u32,
    /// Segments in the playlist
    #[arg(long, default_value_t = Self::default().segments, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    segments: u32,
}

impl Default for Arguments {
    fn default() -> Self {
        Self { rounds: 7, seconds: 3, connections: 64, segments: 30 }
    }
}

impl Arguments {
    /// Sizes for a look rather than a figure to quote.
    pub(super) fn quick() -> Self {
        Self { rounds: 3, seconds: 1, ..Self::default() }
    }
}

/// One way to carry a token: a site of its own, and what is asked of it.
struct Way {
    name: &'static str,
    /// The site's host, and `carry` of its policy.
    host: &'static str,
    carry: &'static str,
    target: String,
    /// What the token looks like in the playlist.
    carried: String,
    /// How often it is there.
    times: usize,
}

/// Measures each way and prints a table.
pub(crate) async fn run(plan: &Plan, arguments: &Arguments, report: &mut Report) -> Result<()> {
    report.heading(
        "carry: CPU of the whole node per hit of a live playlist, with and without the viewer's token in it",
    );
    if wrk::version().await.is_none() {
        report.say("wrk: not installed, skipped (Debian: apt-get install wrk)");
        return Ok(());
    }
    let (server_cpus, client_cpus) = pins::split()?.unzip();
    let text = playlist(arguments.segments);
    let (origin, address) = start_origin(&text)?;
    let mut setup = plan.setup("256MiB");
    setup.cpus = server_cpus;
    let ways = ways(&token()?, arguments.segments as usize + 1);
    let server = node::start_with(&setup, address, &sites(&ways), &[("key", KEY_HEX)]).await?;
    let load = |way: &Way, seconds| wrk::Load {
        threads: hits::THREADS as u32,
        connections: arguments.connections,
        seconds,
        cpus: client_cpus.clone(),
        host: Some(way.host.to_owned()),
    };
    let url = |way: &Way| format!("http://{}{}", server.http, way.target);
    let pid = server.pid()?;
    for way in &ways {
        check(server.http, way, &text).await.with_context(|| way.name)?;
        wrk::run(&load(way, hits::WARM_UP_SECONDS), &url(way)).await?;
    }
    let mut costs: Vec<Vec<f64>> = vec![Vec::new(); ways.len()];
    for round in 0..arguments.rounds {
        for (way, costs) in ways.iter().zip(&mut costs) {
            let before = proc::tree_cpu(pid)?;
            let outcome = wrk::run(&load(way, arguments.seconds), &url(way)).await?;
            let cpu = proc::tree_cpu(pid)?.saturating_sub(before).as_secs_f64();
            ensure!(outcome.errors == 0, "{}: wrk counted {} errors", way.name, outcome.errors);
            ensure!(outcome.requests > 0, "{}: wrk completed no request", way.name);
            let cost = cpu * 1e6 / outcome.requests as f64;
            report.row(json!({
                "bench": "carry", "way": way.name, "segments": arguments.segments, "playlist_bytes": text.len(),
                "round": round, "cpu_us_per_request": cost,
                "requests_per_second": outcome.requests as f64 / outcome.seconds,
            }));
            costs.push(cost);
        }
    }
    drop(origin);
    print(&ways, &costs, text.len(), report);
    Ok(())
}

fn print(ways: &[Way], costs: &[Vec<f64>], bytes: usize, report: &mut Report) {
    let cell = |values: &[f64], digits: usize| {
        let (median, min, max) = median_min_max(values);
        format!("{median:.digits$} ({min:.digits$}..{max:.digits$})")
    };
    let mut rows = Vec::new();
    for (way, of_way) in ways.iter().zip(costs) {
        let ratios: Vec<f64> = of_way.iter().zip(&costs[0]).map(|(cost, plain)| cost / plain).collect();
        rows.push(vec![way.name.to_owned(), cell(of_way, 1), cell(&ratios, 2)]);
        if way.times > 0 {
            let (median, _, _) = median_min_max(&ratios);
            report.target(
                &format!("{}: CPU beside the playlist as it is", way.name),
                Some(median),
                RATIO_MAX,
                "times",
            );
        }
    }
    report.table(&[&format!("playlist of {bytes} bytes"), "CPU µs/request", "beside as it is"], &rows);
}

/// The first one is what the others are compared with.
fn ways(token: &str, uris: usize) -> Vec<Way> {
    let by_query = format!("{FOLDER}{PLAYLIST}?hdnts={token}");
    let way = |name, host, carry, target: &str, carried: String, times| Way {
        name,
        host,
        carry,
        target: target.to_owned(),
        carried,
        times,
    };
    let below = format!("/hdnts={token}{FOLDER}{PLAYLIST}");
    vec![
        way("as it is", "none.test", "none", &by_query, "hdnts=".to_owned(), 0),
        way("inherited by path", "path.test", "path", &below, "hdnts=".to_owned(), 0),
        way("by query", "query.test", "query", &by_query, format!("?hdnts={token}"), uris),
        way("by path", "path.test", "path", &by_query, format!("/hdnts={token}{FOLDER}"), uris),
    ]
}

/// A site and a policy for each `carry`.
fn sites(ways: &[Way]) -> String {
    let mut hosts: Vec<(&str, &str)> = ways.iter().map(|way| (way.host, way.carry)).collect();
    hosts.sort_unstable();
    hosts.dedup();
    let one = |(host, carry): &(&str, &str)| {
        format!(
            "[token.{carry}]\nformat = \"edgeauth\"\ncarry = \"{carry}\"\nkeys = [{{ id = \"k\", secret_file = \"key\" }}]\n\n\
             [[site]]\nhosts = [\"{host}\"]\norigin = \"main\"\ntoken = \"{carry}\"\n\n"
        )
    };
    hosts.iter().map(one).collect()
}

/// An EdgeAuth 2.0 token for the folder, from the published format: fields joined by `~`, then the HMAC of that text.
fn token() -> Result<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("a clock after 1970")?.as_secs();
    let fields = format!("exp={}~acl={FOLDER}*~id=viewer-1", now + 24 * 3600);
    let mut mac = Hmac::<Sha256>::new_from_slice(&hex::decode(KEY_HEX)?).context("a key")?;
    mac.update(fields.as_bytes());
    Ok(format!("{fields}~hmac={}", hex::encode(mac.finalize().into_bytes())))
}

/// A live media playlist; its init segment and each of its segments is a URI.
fn playlist(segments: u32) -> String {
    let mut text = String::from(
        "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:6\n#EXT-X-MEDIA-SEQUENCE:1000\n#EXT-X-MAP:URI=\"init.mp4\"\n",
    );
    for number in 0..segments {
        text.push_str(&format!("#EXTINF:6.000,\nsegment-{}.m4s\n", 1000 + number));
    }
    text
}

/// Asks until the answer is a hit, then looks at every byte of it.
async fn check(server: SocketAddr, way: &Way, text: &str) -> Result<()> {
    let deadline = Instant::now() + ANSWER_MAX;
    loop {
        let (head, body) =
            tokio::time::timeout(ANSWER_MAX, ask(server, way)).await.context("no answer in time")??;
        ensure!(head.starts_with("HTTP/1.1 200"), "{head}");
        ensure!(
            body.matches(&way.carried).count() == way.times,
            "the token is not where it belongs:\n{body}"
        );
        if way.times > 0 {
            ensure!(body.replace(&way.carried, "") == text, "other bytes:\n{body}");
        } else {
            ensure!(body == text, "other bytes:\n{body}");
        }
        if head.to_ascii_lowercase().contains("; hit") {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "not a hit after {ANSWER_MAX:?} of requests:\n{head}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Head and body of one answer on a connection of its own.
async fn ask(server: SocketAddr, way: &Way) -> Result<(String, String)> {
    let mut stream = TcpStream::connect(server).await?;
    let request = format!("GET {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", way.target, way.host);
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer without a body")?;
    Ok((head.to_owned(), body.to_owned()))
}

/// An origin that has nothing but the playlist, on threads of its own that end when it is dropped.
struct PlaylistOrigin(Option<tokio::runtime::Runtime>);

impl Drop for PlaylistOrigin {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

fn start_origin(text: &str) -> Result<(PlaylistOrigin, SocketAddr)> {
    let (runtime, listener, address) = threads_and_listener("playlist-origin")?;
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.apple.mpegurl\r\nETag: \"v1\"\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    );
    let answer: Arc<[u8]> = answer.into_bytes().into();
    runtime.spawn(answer_heads(listener, move |_| Arc::clone(&answer)));
    Ok((PlaylistOrigin(Some(runtime)), address))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    #[test]
    fn a_token_is_made_as_the_published_generators_do() {
        let token = token().unwrap();
        let (fields, mac) = token.rsplit_once("~hmac=").unwrap();
        assert!(fields.starts_with("exp=") && fields.ends_with("~acl=/live/*~id=viewer-1"), "{token}");
        assert_eq!(mac.len(), 64);
    }

    #[test]
    fn each_site_has_a_policy_of_its_own() {
        let sites = sites(&ways("t", 3));
        for carry in ["none", "path", "query"] {
            assert_eq!(sites.matches(&format!("[token.{carry}]")).count(), 1, "{sites}");
        }
        assert_eq!(sites.matches("[[site]]").count(), 3);
    }
}
