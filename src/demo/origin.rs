//! The demo origin: an HTTP server of the embedded media, as VOD, as a live stream, and as a Low-Latency stream.
//!
//! Decides what exists, what is held until it exists, and what is refused. It behaves as an ordinary packager does:
//! relative URIs, entity tags, `Cache-Control` that a cache can use, 404 for what has expired or is still to come. It
//! counts the requests it gets, for tests that ask how many reached the origin. Started by `forebay demo` and by tests,
//! always behind a node; players are not meant to ask it, and it sends no CORS headers.

pub mod answer;
pub mod playlist;
pub mod resource;
pub mod timeline;

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use axum::serve::ListenerExt;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::net::TcpListener;

use self::answer::Label;
use self::resource::{Reload, Resource, Stream};
use self::timeline::{Edge, PartNumber, Timeline, loop_place};
use super::media::{LOOP_SEGMENTS, Media, MediaError, Object, Rendition, SEGMENT_DURATION};
use crate::clock::Clock;

/// How long a request is held for a part: three target durations, then 503 (RFC 8216bis section 6.2.5.2).
pub const HOLD_LIMIT: Duration = SEGMENT_DURATION.saturating_mul(3);

/// Paths whose requests are counted one by one; the count of the path seen first goes when there are more.
pub const COUNTED_PATHS: usize = 65_536;

/// How often a held request looks at the clock. Only a manual clock can move between two looks; the system clock's
/// time is waited for exactly.
const CLOCK_LOOK: Duration = Duration::from_millis(20);

const PLAYLIST_TYPE: &str = "application/vnd.apple.mpegurl";
const FIXED_PLAYLIST: Label =
    Label { content_type: PLAYLIST_TYPE, cache_control: "max-age=3600", ranges: false };
const LIVE_PLAYLIST: Label = Label { content_type: PLAYLIST_TYPE, cache_control: "max-age=1", ranges: false };
const SEGMENT: Label = Label { content_type: "video/mp4", cache_control: "max-age=3600", ranges: true };

/// The origin. Clones share everything.
#[derive(Clone)]
pub struct DemoOrigin(Arc<Shared>);

struct Shared {
    media: Media,
    clock: Clock,
    timeline: Timeline,
    hold_limit: Duration,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    total: u64,
    of_path: HashMap<String, u64>,
    oldest_first: VecDeque<String>,
}

// === impl DemoOrigin ===

impl DemoOrigin {
    /// An origin whose live edge follows this clock.
    ///
    /// # Errors
    /// [`MediaError`] when the binary was built with damaged media.
    pub fn new(clock: Clock) -> Result<DemoOrigin, MediaError> {
        DemoOrigin::with_hold_limit(clock, HOLD_LIMIT)
    }

    /// The same with another limit than [`HOLD_LIMIT`].
    ///
    /// # Errors
    /// As [`DemoOrigin::new`].
    pub fn with_hold_limit(clock: Clock, hold_limit: Duration) -> Result<DemoOrigin, MediaError> {
        let media = Media::load()?;
        let timeline = Timeline::joined_at(clock.now());
        Ok(DemoOrigin(Arc::new(Shared { media, clock, timeline, hold_limit, counts: Mutex::default() })))
    }

    /// The origin as an axum service.
    pub fn router(&self) -> Router {
        Router::new().fallback(respond).with_state(self.clone())
    }

    /// Serves on a listener until `shutdown` is ready and the requests under way, held ones included, have ended.
    ///
    /// # Errors
    /// What the listener reports.
    pub async fn serve(
        &self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let listener = listener.tap_io(|stream| {
            // Without it, a small answer can wait for the acknowledgement of the one before.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "demo origin: TCP_NODELAY");
            }
        });
        axum::serve(listener, self.router()).with_graceful_shutdown(shutdown).await
    }

    /// Requests for a path (no query) so far, whatever the method and the answer.
    pub fn requests(&self, path: &str) -> u64 {
        self.0.counts.lock().of_path.get(path).copied().unwrap_or_default()
    }

    /// Requests for all paths that satisfy a condition.
    pub fn requests_where(&self, mut wanted: impl FnMut(&str) -> bool) -> u64 {
        self.0.counts.lock().of_path.iter().filter(|(path, _)| wanted(path)).map(|(_, count)| count).sum()
    }

    /// All requests so far.
    pub fn total_requests(&self) -> u64 {
        self.0.counts.lock().total
    }

    /// The live edge at this moment.
    pub fn edge(&self) -> Edge {
        self.0.timeline.edge(self.0.clock.now())
    }

    async fn answer(&self, headers: &HeaderMap, resource: Resource<'_>, query: &str) -> Response<Body> {
        match resource {
            Resource::Health => answer::refusal(StatusCode::OK, "ok"),
            Resource::Multivariant(_) => {
                answer::object(headers, &text(playlist::multivariant(&self.0.media)), FIXED_PLAYLIST)
            }
            Resource::Playlist(stream, rendition) => match self.0.media.rendition(rendition) {
                Some(rendition) => self.media_playlist(headers, stream, rendition, query).await,
                None => not_found(),
            },
            Resource::Init(_, rendition) => match self.0.media.rendition(rendition) {
                Some(rendition) => answer::object(headers, &rendition.init, SEGMENT),
                None => not_found(),
            },
            Resource::Segment(stream, rendition, number) => match self.segment(stream, rendition, number) {
                Some(object) => answer::object(headers, object, SEGMENT),
                None => not_found(),
            },
            Resource::Part(rendition, segment, part) => match self.part(rendition, segment, part).await {
                Ok(object) => answer::object(headers, object, SEGMENT),
                Err(refusal) => refusal,
            },
        }
    }

    async fn media_playlist(
        &self,
        headers: &HeaderMap,
        stream: Stream,
        rendition: &Rendition,
        query: &str,
    ) -> Response<Body> {
        match stream {
            Stream::Vod => answer::object(headers, &text(playlist::vod(rendition)), FIXED_PLAYLIST),
            Stream::Live => answer::object(headers, &text(playlist::live(self.edge())), LIVE_PLAYLIST),
            Stream::LowLatency => {
                if let Err(refusal) = self.hold_reload(query).await {
                    return refusal;
                }
                let playlist = playlist::low_latency(&self.0.media, rendition, self.edge());
                answer::object(headers, &text(playlist), LIVE_PLAYLIST)
            }
        }
    }

    /// Holds a blocking reload until the playlist has what it asks for.
    async fn hold_reload(&self, query: &str) -> Result<(), Response<Body>> {
        let reload = match Reload::parse(query) {
            Ok(Some(reload)) => reload,
            Ok(None) => return Ok(()),
            Err(error) => return Err(answer::refusal(StatusCode::BAD_REQUEST, error.to_string())),
        };
        let edge = self.edge();
        // The last complete segment plus two.
        if reload.segment > edge.open_segment().saturating_add(1) || edge.is_too_far(reload.part) {
            return Err(answer::refusal(StatusCode::BAD_REQUEST, "the playlist is not that far yet"));
        }
        self.hold_until(reload.part).await
    }

    /// Waits until a part exists, at the longest for the hold limit.
    async fn hold_until(&self, part: PartNumber) -> Result<(), Response<Body>> {
        let deadline = Instant::now() + self.0.hold_limit;
        while !self.edge().has(part) {
            if Instant::now() >= deadline {
                return Err(answer::refusal(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "the part did not come in time",
                ));
            }
            let left = self.0.timeline.exists_at(part).duration_since(self.0.clock.now()).unwrap_or_default();
            tokio::time::sleep(left.min(CLOCK_LOOK)).await;
        }
        Ok(())
    }

    /// A segment, if it is complete and has not expired.
    fn segment(&self, stream: Stream, rendition: &str, number: u64) -> Option<&Object> {
        let edge = self.edge();
        let exists = match stream {
            Stream::Vod => number < LOOP_SEGMENTS as u64,
            Stream::Live | Stream::LowLatency => edge.keeps(number) && number < edge.open_segment(),
        };
        let segment = self.0.media.rendition(rendition)?.segments.get(loop_place(number))?;
        exists.then_some(&segment.whole)
    }

    /// A part, if it has not expired; the one that comes next is waited for.
    async fn part(&self, rendition: &str, segment: u64, part: usize) -> Result<&Object, Response<Body>> {
        let media = self.0.media.rendition(rendition).and_then(|r| r.segments.get(loop_place(segment)));
        let object = media.and_then(|media| media.parts.get(part)).ok_or_else(not_found)?;
        let number = PartNumber::new(segment, part as u64).ok_or_else(not_found)?;
        let edge = self.edge();
        if !edge.keeps(segment) || !(edge.has(number) || edge.is_next(number)) {
            return Err(not_found());
        }
        self.hold_until(number).await?;
        Ok(object)
    }
}

/// Every request to the origin.
async fn respond(State(origin): State<DemoOrigin>, request: Request) -> Response<Body> {
    let path = request.uri().path();
    origin.0.counts.lock().count(path);
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refusal = answer::refusal(StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD only");
        refusal.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refusal;
    }
    match Resource::parse(path) {
        Some(resource) => {
            origin.answer(request.headers(), resource, request.uri().query().unwrap_or_default()).await
        }
        None => not_found(),
    }
}

fn not_found() -> Response<Body> {
    answer::refusal(StatusCode::NOT_FOUND, "not found, not yet published, or expired")
}

fn text(playlist: String) -> Object {
    Object::new(Bytes::from(playlist))
}

// === impl Counts ===

impl Counts {
    fn count(&mut self, path: &str) {
        self.total += 1;
        if let Some(count) = self.of_path.get_mut(path) {
            *count += 1;
            return;
        }
        if self.oldest_first.len() == COUNTED_PATHS
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.of_path.remove(&oldest);
        }
        self.of_path.insert(path.to_owned(), 1);
        self.oldest_first.push_back(path.to_owned());
    }
}

#[cfg(test)]
mod tests;
