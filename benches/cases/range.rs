//! What a `Range` field asks for, what is sent for it, and the chunks that are.

use std::sync::Arc;

use forebay::asset::Kind;
use forebay::deliver::encode::Selected;
use forebay::deliver::multipart::Boundary;
use forebay::deliver::plan::{Plan, Terms, plan};
use forebay::store::Object;
use http::header::RANGE;
use http::{HeaderMap, HeaderValue, Method};

use super::case::Case;
use super::objects;

/// Bytes of the object.
const BODY_BYTES: usize = 4 << 20;

/// Ranges that a request may ask for, as by default.
const RANGES_MAX: usize = 16;

/// A request for parts of an object.
pub struct Ranged {
    object: Arc<Object>,
    request: HeaderMap,
    terms: Terms,
    expected: u64,
}

/// One range of 256 KiB, as players of byte-range playlists ask for.
pub fn one() -> Ranged {
    Ranged::new("bytes=1048576-1310719", 256 << 10)
}

/// Eight of 1 KiB.
pub fn eight() -> Ranged {
    let field = "bytes=0-1023, 100000-101023, 200000-201023, 300000-301023, 400000-401023, 500000-501023, \
                 600000-601023, 700000-701023";
    Ranged::new(field, 8 << 10)
}

impl Ranged {
    fn new(field: &'static str, expected: u64) -> Ranged {
        let store = objects::store(64 << 20);
        let key = objects::key("live.example.com /vod/film/1080p.mp4".to_owned());
        let object = objects::kept(store, key, Kind::Segment, &vec![7; BODY_BYTES]);
        let request = HeaderMap::from_iter([(RANGE, HeaderValue::from_static(field))]);
        let terms = Terms { ranges_max: RANGES_MAX, named: 0, boundary: Boundary::random };
        Ranged { object, request, terms, expected }
    }

    /// Bytes in the chunks from `start` to before `end`.
    fn read(&self, start: u64, end: u64) -> u64 {
        let mut reader = self.object.body.reader();
        reader.seek(start, Some(end));
        let mut bytes = 0;
        while let Ok(Some(Some(chunk))) = reader.try_next() {
            bytes += chunk.len() as u64;
        }
        bytes
    }
}

impl Case for Ranged {
    fn run(&self, _turn: u64) -> u64 {
        match plan(&Method::GET, &self.request, &self.object, &Selected::default(), &self.terms) {
            Ok(Plan::Part { start, end, .. }) => self.read(start, end),
            Ok(Plan::Parts(parts)) => parts.parts().iter().map(|part| self.read(part.start, part.end)).sum(),
            _ => 0,
        }
    }

    fn expected(&self) -> u64 {
        self.expected
    }
}
