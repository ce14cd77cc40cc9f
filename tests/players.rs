//! Real players play an encrypted Low-Latency stream that tokens protect: hls.js in Chromium, and ffmpeg. A third viewer
//! fetches what a playlist only hints at, which neither of them does. `tests/browser/play.mjs` drives the browser.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "players/browser.rs"]
mod browser;
#[path = "players/ffmpeg.rs"]
mod ffmpeg;
#[path = "players/preload.rs"]
mod preload;
#[path = "players/protected.rs"]
mod protected;

#[allow(dead_code, unreachable_pub, reason = "made for many tests, of which these need a part")]
#[path = "support"]
mod support {
    pub mod certificate;
    pub mod client;
    pub mod content;
    pub mod edge;
    pub mod encrypted;
    pub mod metrics;
    pub mod origin;
    pub mod signing;
    pub mod wait;
}

use browser::Page;
use preload::Viewer;
use protected::{Carry, Protected, assert_carried};
use support::encrypted::{DIRECTORY, EncryptedOrigin, INDEX};

/// Both players understand how the stream is encrypted: without a node between, neither complains.
#[tokio::test]
async fn players_play_the_encrypted_stream_of_the_origin() {
    let (origin, page) = (EncryptedOrigin::start().await, Page::start().await);
    let url = format!("{}{INDEX}", origin.url());
    let (shown, read, clear) =
        tokio::join!(page.play(&url, false), ffmpeg::read(&url), ffmpeg::clear_pictures());
    shown.assert_played();
    read.assert_played(&clear);
}

/// Players get a session token with the first playlist; it stands before the path of everything they ask for.
#[tokio::test]
async fn players_play_with_the_token_in_the_path() {
    play(Carry::Path).await;
}

/// The same as a parameter of everything they ask for.
#[tokio::test]
async fn players_play_with_the_token_in_the_query() {
    play(Carry::Query).await;
}

/// The same in a cookie, and in no address.
#[tokio::test]
async fn players_play_with_the_token_in_a_cookie() {
    play(Carry::Cookie).await;
}

/// Without a token, nothing of the stream comes to a player, and the page may read why. The token that viewers are given
/// opens the first playlist alone, so that what players get beyond it, they get by the session's.
#[tokio::test]
async fn players_play_nothing_without_a_token() {
    let protected = Protected::start(Carry::Path).await;
    let url = protected.url(INDEX);
    let (shown, read) = tokio::join!(protected.page.play(&url, false), ffmpeg::read(&url));
    shown.assert_refused();
    read.assert_refused();
    let (_, given) = protected.target.split_once('?').expect("a token in the query");
    for file in ["keys/init.key", "180p/index.m3u8", "180p/init.mp4"] {
        for query in ["", given] {
            let answer = protected.edge.get(&format!("{DIRECTORY}/{file}?{query}")).await;
            assert_eq!(answer.status(), 403, "{file} with {query:?}");
        }
    }
    assert_eq!(protected.origin.recorded().len(), 0, "the origin was asked");
}

/// All three viewers at once, with one address.
async fn play(carry: Carry) {
    let protected = Protected::start(carry).await;
    let url = protected.url(&protected.target);
    let mut viewer = Viewer::of(protected.edge.http());
    let (shown, read, clear, ()) = tokio::join!(
        protected.page.play(&url, carry.needs_cookies()),
        ffmpeg::read(&url),
        ffmpeg::clear_pictures(),
        viewer.watch(&protected.target)
    );
    shown.assert_played();
    read.assert_played(&clear);
    assert_carried(carry, &shown.asked());
    let told: Vec<&str> = viewer.told.iter().map(String::as_str).chain(shown.asked()).collect();
    protected.assert_admitted_in_secret(&told).await;
}
