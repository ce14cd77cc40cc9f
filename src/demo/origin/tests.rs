//! The origin over its HTTP interface, with a clock that stands still until it is moved.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::time::UNIX_EPOCH;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::*;

/// Segment [`OPEN`] has just started: 22:13:20 of the stream's second day.
const START: Duration = Duration::from_secs(1_700_000_000);
const OPEN: u64 = (86_400 + 22 * 3_600 + 13 * 60 + 20) / 2;

/// A running origin; it ends with the test.
struct Running {
    origin: DemoOrigin,
    clock: Clock,
    address: std::net::SocketAddr,
    server: JoinHandle<io::Result<()>>,
}

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Running {
    async fn start(hold_limit: Duration) -> Running {
        let clock = Clock::manual(UNIX_EPOCH + START);
        let origin = DemoOrigin::with_hold_limit(clock.clone(), hold_limit).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn({
            let origin = origin.clone();
            async move { origin.serve(listener, std::future::pending()).await }
        });
        Running { origin, clock, address, server }
    }

    async fn ask(&self, method: &str, target: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("{method} {target} HTTP/1.1\r\nHost: origin\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let head_end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(answer[..head_end].to_vec()).unwrap().to_ascii_lowercase();
        Answer { status: head[9..12].parse().unwrap(), head, body: answer[head_end + 4..].to_vec() }
    }

    async fn get(&self, target: &str) -> Answer {
        self.ask("GET", target).await
    }

    /// Starts a GET and waits until the origin has counted it, so that it is being held.
    async fn held(self: &Arc<Self>, target: String) -> JoinHandle<Answer> {
        let before = self.origin.total_requests();
        let running = Arc::clone(self);
        let asking = tokio::spawn(async move { running.get(&target).await });
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.origin.total_requests() == before {
            assert!(Instant::now() < deadline, "the request did not arrive");
            tokio::task::yield_now().await;
        }
        asking
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Answer {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

async fn start() -> Arc<Running> {
    Arc::new(Running::start(HOLD_LIMIT).await)
}

#[tokio::test]
async fn every_uri_of_every_playlist_can_be_fetched() {
    let running = start().await;
    for stream in ["vod", "live", "ll"] {
        let multivariant = running.get(&format!("/{stream}/index.m3u8")).await;
        for rendition in multivariant.text().lines().filter(|line| !line.starts_with('#')) {
            let playlist = running.get(&format!("/{stream}/{rendition}")).await;
            let directory = rendition.strip_suffix("index.m3u8").unwrap();
            let quoted =
                playlist.text().lines().filter_map(|line| line.split("URI=\"").nth(1)?.split('"').next());
            let plain = playlist.text().lines().filter(|line| !line.starts_with('#'));
            for uri in quoted.chain(plain).filter(|uri| !uri.starts_with("../")) {
                if playlist.text().contains(&format!("TYPE=PART,URI=\"{uri}\"")) {
                    continue;
                }
                let answer = running.get(&format!("/{stream}/{directory}{uri}")).await;
                assert_eq!(answer.status, 200, "/{stream}/{directory}{uri}");
                assert!(!answer.body.is_empty());
            }
        }
    }
}

#[tokio::test]
async fn a_segment_is_there_from_its_end_until_it_has_expired() {
    let running = start().await;
    let path = format!("/live/180p/seg-{OPEN}.m4s");
    running.clock.advance(Duration::from_millis(1_999));
    assert_eq!(running.get(&path).await.status, 404, "still being made");
    running.clock.advance(Duration::from_millis(1));
    assert_eq!(running.get(&path).await.status, 200, "just made");
    running.clock.advance(SEGMENT_DURATION * 12);
    assert_eq!(running.get(&path).await.status, 200, "left the window a while ago");
    running.clock.advance(SEGMENT_DURATION);
    assert_eq!(running.get(&path).await.status, 404, "expired");
}

#[tokio::test]
async fn the_media_of_the_live_stream_is_that_of_the_loop() {
    let running = start().await;
    let live = running.get(&format!("/live/360p/seg-{}.m4s", OPEN - 1)).await;
    let vod = running.get(&format!("/vod/360p/seg-{}.m4s", (OPEN - 1) % 12)).await;
    assert_eq!((live.status, live.body), (200, vod.body));
    assert_eq!(running.get("/vod/360p/seg-12.m4s").await.status, 404);
    assert_eq!(running.get("/vod/720p/seg-0.m4s").await.status, 404);
}

#[tokio::test]
async fn the_parts_of_a_segment_are_served_as_its_bytes() {
    let running = start().await;
    let mut parts = Vec::new();
    for part in 0..4 {
        parts.extend(running.get(&format!("/ll/540p/seg-{}.part{part}.m4s", OPEN - 1)).await.body);
    }
    assert_eq!(parts, running.get(&format!("/ll/540p/seg-{}.m4s", OPEN - 1)).await.body);
}

#[tokio::test]
async fn a_blocking_reload_is_held_until_its_part_exists() {
    let running = start().await;
    let asking = running.held(format!("/ll/180p/index.m3u8?_HLS_msn={OPEN}&_HLS_part=0")).await;
    running.clock.advance(Duration::from_millis(499));
    tokio::time::timeout(CLOCK_LOOK * 3, async {
        while !asking.is_finished() {
            tokio::task::yield_now().await
        }
    })
    .await
    .expect_err("answered before the part existed");
    running.clock.advance(Duration::from_millis(1));
    let answer = asking.await.unwrap();
    assert_eq!(answer.status, 200);
    assert!(
        answer.text().contains(&format!("URI=\"seg-{OPEN}.part0.m4s\",INDEPENDENT=YES")),
        "{}",
        answer.text()
    );
}

#[tokio::test]
async fn a_hinted_part_is_held_until_it_exists() {
    let running = start().await;
    let asking = running.held(format!("/ll/180p/seg-{OPEN}.part0.m4s")).await;
    running.clock.advance(Duration::from_millis(500));
    let answer = asking.await.unwrap();
    assert_eq!(answer.status, 200);
    assert!(!answer.body.is_empty());
    assert_eq!(running.get(&format!("/ll/180p/seg-{OPEN}.part2.m4s")).await.status, 404, "not hinted at");
}

#[tokio::test]
async fn a_reload_of_what_is_there_is_answered_at_once() {
    let running = start().await;
    for query in
        [format!("_HLS_msn={}", OPEN - 1), format!("_HLS_msn={}&_HLS_part=3", OPEN - 1), "_HLS_msn=5".into()]
    {
        assert_eq!(running.get(&format!("/ll/180p/index.m3u8?{query}")).await.status, 200, "{query}");
    }
}

#[tokio::test]
async fn a_reload_too_far_ahead_or_not_understood_is_400() {
    let running = start().await;
    let far = [format!("_HLS_msn={}", OPEN + 2), format!("_HLS_msn={}&_HLS_part=2", OPEN + 1)];
    for query in far.iter().map(String::as_str).chain(["_HLS_part=1", "_HLS_msn=x"]) {
        assert_eq!(running.get(&format!("/ll/180p/index.m3u8?{query}")).await.status, 400, "{query}");
    }
}

#[tokio::test]
async fn a_reload_whose_part_does_not_come_is_503_after_the_limit() {
    let running = Running::start(Duration::from_millis(50)).await;
    let asked_at = Instant::now();
    assert_eq!(running.get(&format!("/ll/180p/index.m3u8?_HLS_msn={OPEN}")).await.status, 503);
    assert!(asked_at.elapsed() >= Duration::from_millis(50));
}

#[tokio::test]
async fn a_head_has_the_headers_of_a_get_and_no_body() {
    let running = start().await;
    let (get, head) =
        (running.get("/vod/180p/init.mp4").await, running.ask("HEAD", "/vod/180p/init.mp4").await);
    assert!(head.body.is_empty());
    for line in [
        "content-type: video/mp4".to_owned(),
        "cache-control: max-age=3600".to_owned(),
        format!("content-length: {}", get.body.len()),
    ] {
        assert!(
            get.head.contains(&line) && head.head.contains(&line),
            "{line} in {}\n{}",
            get.head,
            head.head
        );
    }
    let other = running.ask("POST", "/vod/180p/init.mp4").await;
    assert_eq!(other.status, 405);
    assert!(other.head.contains("allow: get, head"));
}

#[tokio::test]
async fn requests_are_counted_by_path_and_in_all() {
    let running = start().await;
    running.get("/live/180p/index.m3u8?a=1").await;
    running.ask("HEAD", "/live/180p/index.m3u8").await;
    running.get("/nothing").await;
    assert_eq!(running.origin.requests("/live/180p/index.m3u8"), 2);
    assert_eq!(running.origin.requests_where(|path| path.starts_with("/live/")), 2);
    assert_eq!(running.origin.total_requests(), 3);
}

#[test]
fn counting_forgets_the_oldest_path_when_there_are_too_many() {
    let mut counts = Counts::default();
    for number in 0..=COUNTED_PATHS {
        counts.count(&number.to_string());
    }
    assert_eq!(counts.of_path.len(), COUNTED_PATHS);
    assert_eq!(counts.of_path.get("0"), None);
    assert_eq!(counts.total, COUNTED_PATHS as u64 + 1);
}
