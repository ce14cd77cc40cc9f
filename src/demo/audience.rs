//! Simulated viewers: they ask the node for what a player asks for, at the pace of a player, and throw it away.
//!
//! One browser alone shows a cache little to do. Decides what a viewer asks next; how many there are, and of which
//! stream, the page decides.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::AbortHandle;

use super::client::{Client, ClientError};
use super::links::{Links, Stream};
use super::media::SEGMENT_DURATION;

/// Simulated viewers at once.
pub const MAX_VIEWERS: usize = 200;

/// Renditions that viewers are spread over.
const RENDITIONS: [&str; 3] = ["180p", "360p", "540p"];

/// How long a viewer waits after a request that failed.
const AFTER_ERROR: Duration = Duration::from_secs(1);

/// Segments or parts behind the live edge at which a viewer starts.
const START_BEHIND: usize = 3;

/// The simulated viewers. They leave when it is dropped.
pub struct Audience {
    node: Arc<Client>,
    links: Arc<Links>,
    present: Mutex<Present>,
}

#[derive(Default)]
struct Present {
    stream: Stream,
    viewers: Vec<AbortHandle>,
}

impl Audience {
    /// An audience of nobody, at the node that listens here.
    pub fn new(node: SocketAddr, links: Arc<Links>) -> Audience {
        Audience { node: Arc::new(Client::new(node)), links, present: Mutex::default() }
    }

    /// Lets viewers come or leave until this many, at most [`MAX_VIEWERS`], watch this stream. Says how many do.
    /// Must be called within a tokio runtime.
    pub fn set(&self, stream: Stream, viewers: usize) -> usize {
        let mut present = self.present.lock();
        let stay = if present.stream == stream { viewers.min(MAX_VIEWERS) } else { 0 };
        let left = stay.min(present.viewers.len());
        present.viewers.drain(left..).for_each(|viewer| viewer.abort());
        present.stream = stream;
        for number in present.viewers.len()..viewers.min(MAX_VIEWERS) {
            let (node, links) = (Arc::clone(&self.node), Arc::clone(&self.links));
            present.viewers.push(tokio::spawn(watch(node, links, stream, number)).abort_handle());
        }
        present.viewers.len()
    }
}

impl Drop for Audience {
    fn drop(&mut self) {
        self.present.get_mut().viewers.drain(..).for_each(|viewer| viewer.abort());
    }
}

/// One viewer, until it is aborted.
async fn watch(node: Arc<Client>, links: Arc<Links>, stream: Stream, number: usize) {
    let directory = format!(
        "{}{}/{}/",
        links.token(&format!("viewer-{number}")),
        stream.directory(),
        RENDITIONS[number % RENDITIONS.len()]
    );
    // Viewers do not all arrive at the same moment.
    tokio::time::sleep(
        Duration::from_millis(37).saturating_mul(u32::try_from(number % 54).unwrap_or_default()),
    )
    .await;
    loop {
        let watched = match stream {
            Stream::Vod => watch_once(&node, &directory).await,
            Stream::Live | Stream::LowLatency => watch_live(&node, &directory).await,
        };
        if let Err(error) = watched {
            tracing::debug!(%error, number, "simulated viewer");
            tokio::time::sleep(AFTER_ERROR).await;
        }
    }
}

async fn watch_once(node: &Client, directory: &str) -> Result<(), ClientError> {
    let Some(playlist) = fetch_text(node, &format!("{directory}index.m3u8")).await? else {
        tokio::time::sleep(AFTER_ERROR).await;
        return Ok(());
    };
    for uri in media_uris(&playlist) {
        node.get(&format!("{directory}{uri}")).await?;
        tokio::time::sleep(SEGMENT_DURATION).await;
    }
    Ok(())
}

async fn watch_live(node: &Client, directory: &str) -> Result<(), ClientError> {
    let mut seen: HashSet<String> = HashSet::new();
    let mut target = format!("{directory}index.m3u8");
    loop {
        let Some(playlist) = fetch_text(node, &target).await? else {
            tokio::time::sleep(AFTER_ERROR).await;
            return Ok(());
        };
        let uris = media_uris(&playlist);
        let old = if seen.is_empty() { uris.len().saturating_sub(START_BEHIND) } else { 0 };
        for uri in uris.iter().skip(old).filter(|uri| !seen.contains(**uri)) {
            node.get(&format!("{directory}{uri}")).await?;
        }
        seen = uris.into_iter().map(str::to_owned).collect();
        match next_reload(&playlist) {
            Some(directives) => target = format!("{directory}index.m3u8?{directives}"),
            None => tokio::time::sleep(SEGMENT_DURATION).await,
        }
    }
}

/// A playlist; None when the answer is not 200.
async fn fetch_text(node: &Client, target: &str) -> Result<Option<String>, ClientError> {
    let answer = node.get(target).await?;
    Ok((answer.status == 200).then(|| String::from_utf8_lossy(&answer.body).into_owned()))
}

/// What a viewer fetches: the parts where there are any, else the segments.
fn media_uris(playlist: &str) -> Vec<&str> {
    let parts = playlist.lines().filter(|line| line.starts_with("#EXT-X-PART:"));
    let parts: Vec<&str> = parts.filter_map(|line| line.split("URI=\"").nth(1)?.split('"').next()).collect();
    if parts.is_empty() {
        return playlist.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    }
    parts
}

/// The directives of the next blocking reload; None where the server does not block.
fn next_reload(playlist: &str) -> Option<String> {
    if !playlist.contains("CAN-BLOCK-RELOAD=YES") {
        return None;
    }
    let first: u64 =
        playlist.lines().find_map(|line| line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:"))?.parse().ok()?;
    let (mut segments, mut parts) = (0, 0);
    for line in playlist.lines() {
        if line.starts_with("#EXT-X-PART:") {
            parts += 1;
        } else if line.starts_with("#EXTINF:") {
            (segments, parts) = (segments + 1, 0);
        }
    }
    Some(format!("_HLS_msn={}&_HLS_part={parts}", first + segments))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use std::time::Instant;

    use super::*;
    use crate::clock::Clock;
    use crate::demo::origin::DemoOrigin;

    async fn started() -> (DemoOrigin, Audience) {
        let origin = DemoOrigin::new(Clock::system()).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = origin.clone();
        tokio::spawn(async move { served.serve(listener, std::future::pending()).await });
        let links = Links::new(Clock::system(), Box::new(|_, _| String::new()));
        (origin, Audience::new(address, Arc::new(links)))
    }

    async fn until(what: &str, condition: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(120);
        while !condition() {
            assert!(Instant::now() < deadline, "{what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn viewers_fetch_the_segments_of_the_stream_they_are_told_to_watch() {
        let (origin, audience) = started().await;
        assert_eq!(audience.set(Stream::Live, 3), 3);
        let segments = |stream: &'static str, rendition: &'static str| {
            let start = format!("/{stream}/{rendition}/seg-");
            let origin = origin.clone();
            move || origin.requests_where(|path| path.starts_with(&start)) > 0
        };
        for rendition in RENDITIONS {
            until("live segments", segments("live", rendition)).await;
        }
        assert_eq!(audience.set(Stream::LowLatency, 1), 1);
        until("parts", || {
            origin.requests_where(|path| path.starts_with("/ll/180p/") && path.contains(".part")) > 4
        })
        .await;
        assert_eq!(audience.set(Stream::Vod, 1), 1);
        until("vod segments", segments("vod", "180p")).await;
        assert_eq!(audience.set(Stream::Vod, 1_000), MAX_VIEWERS);
        assert_eq!(audience.set(Stream::Vod, 0), 0);
    }

    #[test]
    fn the_next_reload_asks_for_the_part_after_the_last() {
        let playlist = "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES\n#EXT-X-MEDIA-SEQUENCE:7\n#EXT-X-PART:URI=\"a\"\n\
                        #EXTINF:2,\nseg-7\n#EXT-X-PART:URI=\"b\"\n#EXT-X-PART:URI=\"c\"\n";
        assert_eq!(next_reload(playlist).as_deref(), Some("_HLS_msn=8&_HLS_part=2"));
        assert_eq!(media_uris(playlist), ["a", "b", "c"]);
        assert_eq!(next_reload("#EXT-X-MEDIA-SEQUENCE:7\n"), None);
    }
}
