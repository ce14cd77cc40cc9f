//! A viewer's token in a playlist: where it goes, which is found once for a text, and the bytes of one viewer, which are
//! gathered for each answer.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use forebay::asset::Kind;
use forebay::carry::{Form, Syntax, Terms, split};
use forebay::deliver::carry::{Bearer, Carrier, token_text};
use forebay::store::Object;

use super::case::Case;
use super::site::{HOST, NOW_UNIX};
use super::token::{VIEWERS, edgeauth_token};
use super::{objects, text};

/// `limits.playlist`, as by default.
const TEXT_BYTES_MAX: u64 = 8 << 20;

const PATH: &str = "/live/channel-12/1080p/index.m3u8";

const TERMS: Terms<'_> = Terms {
    form: Form::Query,
    syntax: Syntax::Hls,
    path: PATH,
    is_own: &|host| host == HOST,
    is_token: &|parameter| parameter.starts_with("hdnts="),
    has_token: &|path| path.starts_with("/hdnts="),
};

/// A text that is split.
pub struct Splitting {
    text: String,
    expected: u64,
}

/// A playlist that viewers' tokens are put into.
pub struct Gathering {
    carrier: Carrier,
    object: Arc<Object>,
    /// One for each viewer, all of one length.
    tokens: Vec<String>,
    expected: u64,
}

/// The live edge of a Low-Latency stream.
pub fn split_live() -> Splitting {
    Splitting::new(text::live())
}

/// A film of two hours.
pub fn split_vod() -> Splitting {
    Splitting::new(text::vod())
}

/// The live edge of a Low-Latency stream.
pub fn gather_live() -> Gathering {
    Gathering::new(&text::live())
}

/// A film of two hours.
pub fn gather_vod() -> Gathering {
    Gathering::new(&text::vod())
}

impl Splitting {
    fn new(text: String) -> Splitting {
        Splitting { expected: text::uris(&text), text }
    }
}

impl Case for Splitting {
    fn run(&self, _turn: u64) -> u64 {
        let split = split(self.text.as_bytes(), &TERMS).expect("a playlist");
        let viewer = forebay::carry::Viewer { token: "t", query: "", inherits: false, host: HOST };
        // One byte of token in each place, and the mark before it.
        (split.len_for(&viewer) - self.text.len() as u64) / 2
    }

    fn expected(&self) -> u64 {
        self.expected
    }

    fn body_bytes(&self) -> Option<u64> {
        Some(self.text.len() as u64)
    }
}

impl Gathering {
    fn new(text: &str) -> Gathering {
        let store = objects::store(64 << 20);
        let object = objects::kept(
            store,
            objects::key(format!("{HOST} {PATH}")),
            Kind::MediaPlaylist,
            text.as_bytes(),
        );
        let token = |viewer| token_text(Form::Query, "hdnts", &edgeauth_token(viewer, &[0x5A; 32], NOW_UNIX));
        let tokens: Vec<String> = (0..VIEWERS).map(token).collect();
        let each = tokens.first().map_or(0, String::len) as u64 + 1;
        let expected = text.len() as u64 + text::uris(text) * each;
        Gathering { carrier: Carrier::new(store, TEXT_BYTES_MAX), object, tokens, expected }
    }
}

impl Case for Gathering {
    fn run(&self, turn: u64) -> u64 {
        let Some(token) = self.tokens.get((turn % VIEWERS) as usize) else { return 0 };
        let bearer = Bearer { terms: TERMS, token, query: "", inherits: false, host: HOST };
        let selected = pin!(self.carrier.select(&self.object, &bearer));
        let Poll::Ready(Ok(Some(rewritten))) = selected.poll(&mut Context::from_waker(Waker::noop())) else {
            return 0;
        };
        rewritten.gather(&self.object).map_or(0, |bytes| bytes.len() as u64)
    }

    fn expected(&self) -> u64 {
        self.expected
    }

    fn body_bytes(&self) -> Option<u64> {
        Some(self.expected)
    }
}
