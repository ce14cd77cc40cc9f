//! A film of 4 GiB in one file, far larger than memory and disk: viewers seek about in it.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;

use crate::support::client::{Http1, Request};
use crate::support::content::{assert_same_bytes, piece};
use crate::support::edge::Setup;
use crate::support::origin::{Answer, Origin, Recorded};
use crate::support::seed::seed;

const MIB: u64 = 1024 * 1024;
const PATH: &str = "/film.mp4";
const FILM_BYTES: u64 = 4096 * MIB;
const MEMORY: u64 = 64 * MIB;
/// What the process may take beyond its budget: code, threads, connections and their buffers, 64 at each end.
const OVERHEAD: u64 = 96 * MIB;
const VIEWERS: u64 = 64;
const SEEKS: usize = 8;

/// The film's bytes from `start` to before `end`, which lie within one slice.
fn bytes_of_slice(start: u64, end: u64) -> Bytes {
    let slice = piece(start / MIB, MIB as usize);
    let begin = (start % MIB) as usize;
    slice.slice(begin..begin + (end - start) as usize)
}

/// The answer to a range that is exactly one slice; anything else the film's origin refuses.
fn answer(request: &Recorded) -> Answer {
    let range = request.header("range").and_then(|range| range.strip_prefix("bytes="));
    let range = range.and_then(|range| range.split_once('-'));
    let Some((Ok(first), Ok(last))) = range.map(|(first, last)| (first.parse::<u64>(), last.parse::<u64>()))
    else {
        return Answer::status(500);
    };
    if first % MIB != 0
        || last + 1 != first + MIB
        || request.header("if-range").is_some_and(|tag| tag != "\"v1\"")
    {
        return Answer::status(500);
    }
    Answer::status(206)
        .body(bytes_of_slice(first, last + 1))
        .header("content-range", &format!("bytes {first}-{last}/{FILM_BYTES}"))
        .header("accept-ranges", "bytes")
        .header("etag", "\"v1\"")
        .cache_control("max-age=3600")
}

/// 64 viewers seek at random: every byte is right, each slice that any of them touched has come from the origin once,
/// though memory holds a fraction of them, and the node stays within its budget. A disk that is too slow for what comes is
/// spared by the node: as many slices as it has not taken, or not given in time, may come once more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn viewers_who_seek_cost_the_origin_each_slice_once() {
    let seed = seed();
    let directory = tempfile::tempdir().unwrap();
    let origin = Origin::start().await;
    origin.script(PATH, |request, _| answer(request));
    let disk = format!("disk = [{{ path = \"{}\", size = \"2GiB\" }}]", directory.path().display());
    let edge = Arc::new(Setup::before(&origin).memory("64MiB").store(&disk).start().await);
    let mut viewers = JoinSet::new();
    for viewer in 0..VIEWERS {
        let edge = Arc::clone(&edge);
        viewers.spawn(async move {
            let mut random = StdRng::seed_from_u64(seed.wrapping_add(viewer));
            let mut connection = Http1::connect(edge.http()).await;
            let (mut touched, mut most) = (BTreeSet::new(), 0);
            for _ in 0..SEEKS {
                let start = random.random_range(0..FILM_BYTES);
                let end = (start + random.random_range(64 * 1024..=2 * MIB)).min(FILM_BYTES);
                let range = format!("bytes={start}-{}", end - 1);
                let response = connection.ask(&Request::get(PATH).range(&range)).await;
                assert_eq!(response.status(), 206, "{range}");
                let expected = format!("bytes {start}-{}/{FILM_BYTES}", end - 1);
                assert_eq!(response.get("content-range"), Some(expected.as_str()));
                let mut rest = response.whole().clone();
                let mut at = start;
                while at < end {
                    let until = (at / MIB * MIB + MIB).min(end);
                    let part = rest.split_to(rest.len().min((until - at) as usize));
                    assert_same_bytes(&part, &bytes_of_slice(at, until), &range);
                    touched.insert(at / MIB);
                    at = until;
                }
                assert!(rest.is_empty(), "{range}");
                most = most.max(edge.resident_bytes());
            }
            (touched, most)
        });
    }
    let viewers = viewers.join_all().await;
    let most = viewers.iter().map(|(_, most)| *most).max().unwrap_or_default();
    let visits: usize = viewers.iter().map(|(touched, _)| touched.len()).sum();
    let touched: BTreeSet<u64> = viewers.into_iter().flat_map(|(touched, _)| touched).collect();
    assert!(visits > touched.len(), "no slice was visited twice, seed {seed}");
    let metrics = edge.metrics().await;
    let spared = ["forebay_disk_writes_shed_total", "forebay_disk_reads_shed_total"];
    let spared: f64 = spared.iter().map(|name| metrics.sum(name, &[])).sum();
    let (fetched, least) = (origin.body_bytes(PATH), touched.len() as u64 * MIB);
    eprintln!("{} slices of {}, {spared} spared", fetched / MIB, touched.len());
    let most_fetched = least + spared as u64 * MIB;
    assert!(
        fetched >= least && fetched <= most_fetched,
        "{} MiB of {} and {spared}, seed {seed}",
        fetched / MIB,
        touched.len()
    );
    assert!(most < MEMORY + OVERHEAD, "{} MiB resident, seed {seed}", most / MIB);
}
