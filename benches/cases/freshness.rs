//! Whether an answer of the origin is kept, for how long, and what viewers are told.

use std::time::Duration;

use forebay::asset::Kind;
use forebay::cache::{Fetched, Said, Times, Verdict, judge};
use forebay::hls;
use pingora::http::ResponseHeader;

use super::case::Case;
use super::{site, text};

/// An answer of the origin.
pub struct Answer {
    header: ResponseHeader,
    kind: Kind,
    said: Said,
    /// A playlist that is read first.
    text: Option<String>,
    times: Times,
    expected: u64,
}

impl Answer {
    fn new(kind: Kind, fields: &[(&'static str, &'static str)], expected: u64) -> Answer {
        let mut header = ResponseHeader::build(200, Some(fields.len())).expect("a header");
        for (name, value) in fields {
            header.append_header(*name, *value).expect("a field");
        }
        Answer { header, kind, said: Said::default(), text: None, times: Times::default(), expected }
    }
}

/// A segment of an origin that says how long it holds.
pub fn segment() -> Answer {
    let fields = [
        ("server", "nginx"),
        ("date", "Fri, 15 Jan 2027 07:59:58 GMT"),
        ("content-type", "video/mp4"),
        ("content-length", "1843200"),
        ("last-modified", "Fri, 15 Jan 2027 07:59:50 GMT"),
        ("etag", "\"65a4e1d6-1c2000\""),
        ("cache-control", "public, max-age=3600, stale-if-error=86400"),
        ("access-control-allow-origin", "*"),
        ("accept-ranges", "bytes"),
    ];
    // Two seconds have passed since it was made.
    Answer::new(Kind::Segment, &fields, 3598)
}

/// A live playlist that has been read: its target duration caps what its origin says.
pub fn live_playlist() -> Answer {
    let playlist = hls::read::read(text::live().as_bytes()).expect("a playlist");
    let fields = [
        ("date", "Fri, 15 Jan 2027 08:00:00 GMT"),
        ("content-type", "application/vnd.apple.mpegurl"),
        ("etag", "\"1234567-3\""),
        ("cache-control", "max-age=60"),
        ("surrogate-key", "channel-12 live"),
    ];
    let answer = Answer::new(Kind::MediaPlaylist, &fields, text::LIVE_TARGET_SECONDS);
    Answer { said: Said { playlist: Some(playlist), manifest: None }, ..answer }
}

/// The same, and its text is read for it.
pub fn live_playlist_read() -> Answer {
    Answer { text: Some(text::live()), said: Said::default(), ..live_playlist() }
}

impl Case for Answer {
    fn run(&self, _turn: u64) -> u64 {
        let said = match &self.text {
            Some(text) => Said { playlist: hls::read::read(text.as_bytes()).ok(), manifest: None },
            None => self.said,
        };
        let fetched = Fetched {
            header: &self.header,
            kind: self.kind,
            said,
            blocking: false,
            stream: None,
            times: &self.times,
            asked: site::now(),
            now: site::now(),
            authorized: false,
            keyed_by_it: false,
            no_store: false,
        };
        match judge(&fetched) {
            Verdict::Keep(kept) => {
                kept.lifetime.fresh_until.duration_since(site::now()).unwrap_or(Duration::ZERO).as_secs()
            }
            Verdict::Pass(..) => 0,
        }
    }

    fn expected(&self) -> u64 {
        self.expected
    }
}
