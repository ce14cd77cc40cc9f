//! A catalogue of numbered objects and one film that is kept in slices, larger than the memory of the node before it,
//! and viewers who check every byte that they get.

use std::net::SocketAddr;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;

use super::client::{Http1, Request, Response};
use super::content::{assert_same_bytes, piece};
use super::edge::Setup;
use super::origin::{Answer, Origin};

const MIB: usize = 1024 * 1024;

/// Numbered objects: 50 MiB together.
pub const OBJECTS: u64 = 40;

/// Where the film is.
pub const FILM: &str = "/film.mp4";

/// Not a whole number of slices.
const FILM_BYTES: usize = 8 * MIB + 77;

/// Where an object is.
pub fn path(number: u64) -> String {
    format!("/seg/{number}.m4s")
}

/// An object's body: from next to nothing to four blocks of the disk.
pub fn body(number: u64) -> Bytes {
    let length = [2_100_000, 300_000, MIB, 3_100_000, 1000][(number % 5) as usize];
    piece(number, length + number as usize)
}

fn film() -> Bytes {
    piece(1000, FILM_BYTES)
}

/// An origin that has the catalogue: any number that is asked for.
pub async fn origin() -> Origin {
    let origin = Origin::start().await;
    let answer = |body: Bytes| Answer::ok(body).cache_control("max-age=3600").etag("\"v1\"").ranges();
    origin.on(FILM, answer(film()));
    origin.otherwise(move |request, _| {
        let number = request.path().strip_prefix("/seg/").and_then(|rest| rest.strip_suffix(".m4s"));
        number.and_then(|number| number.parse().ok()).map_or(Answer::status(404), |n| answer(body(n)))
    });
    origin
}

/// A node with half of the catalogue in memory at most, that writes each object to disk at once.
pub fn setup(origin: &Origin, disks: &str) -> Setup {
    Setup::before(origin)
        .memory("24MiB")
        .limits("object_share = 15\nslice_above = \"4MiB\"")
        .store(&format!("disk = [{disks}]\ndisk_admit_within = \"0s\""))
}

/// Asks for an object; it must come, and be exact.
pub async fn check(connection: &mut Http1, number: u64) -> Response {
    let response = connection.ask(&Request::get(&path(number))).await;
    assert_eq!(response.status(), 200, "object {number}: {:?}", response.head);
    assert_same_bytes(response.whole(), &body(number), &format!("object {number}"));
    response
}

/// Asks for these bytes of `whole` at `path`; they must come, and be exact.
async fn check_part(connection: &mut Http1, path: &str, whole: &Bytes, random: &mut StdRng) -> Response {
    let start = random.random_range(0..whole.len());
    let end = (start + random.random_range(1..2 * MIB)).min(whole.len());
    let response = connection.ask(&Request::get(path).range(&format!("bytes={start}-{}", end - 1))).await;
    assert_eq!(response.status(), 206, "{path} {start}..{end}: {:?}", response.head);
    assert_same_bytes(response.whole(), &whole[start..end], &format!("{path} {start}..{end}"));
    response
}

/// So many viewers, each of whom makes so many requests: objects, parts of objects, parts of the film. Whatever they are
/// answered must be exact. Returns how many answers were hits.
pub async fn view(http: SocketAddr, seed: u64, viewers: u64, requests: usize) -> usize {
    let mut set = JoinSet::new();
    for viewer in 0..viewers {
        set.spawn(async move {
            let mut random = StdRng::seed_from_u64(seed.wrapping_add(viewer));
            let mut connection = Http1::connect(http).await;
            let mut hits = 0;
            for _ in 0..requests {
                let number = random.random_range(0..OBJECTS);
                let response = match random.random_range(0..4) {
                    0 => check_part(&mut connection, FILM, &film(), &mut random).await,
                    1 => check_part(&mut connection, &path(number), &body(number), &mut random).await,
                    _ => check(&mut connection, number).await,
                };
                hits += usize::from(response.outcome() == "hit");
            }
            hits
        });
    }
    set.join_all().await.into_iter().sum()
}
