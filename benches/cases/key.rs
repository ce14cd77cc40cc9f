//! The key of a request, from its target as it was sent: normal form, kind, rules, the parameters that count, and the hash.

use std::sync::Arc;

use forebay::admission::token::Claims;
use forebay::site::{Asked, Site};
use http::{HeaderMap, Method};

use super::case::Case;
use super::site::{self, HOST};

/// A request whose key is made.
pub struct Keyed {
    site: Arc<Site>,
    path: &'static str,
    query: Option<&'static str>,
    headers: HeaderMap,
    claims: Claims,
    expected: &'static str,
}

impl Keyed {
    fn new(path: &'static str, query: Option<&'static str>, expected: &'static str) -> Keyed {
        let (headers, claims) = (HeaderMap::new(), Claims::default());
        Keyed { site: site::site(HOST), path, query, headers, claims, expected }
    }
}

/// A segment, whose target is in normal form.
pub fn segment() -> Keyed {
    let path = "/live/channel-12/1080p/segment-0001234567.m4s";
    Keyed::new(path, None, "live.example.com /live/channel-12/1080p/segment-0001234567.m4s")
}

/// A blocking reload, with a token, CMCD and tracking in its query.
pub fn reload() -> Keyed {
    let query = "hdnts=exp=1800003600~acl=%2flive%2f*~hmac=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\
                 &_HLS_part=2&_HLS_msn=1234567&utm_source=app&CMCD=bl%3D4000%2Cbr%3D5000%2Cot%3Dm%2Csid%3D%22a81bc81b%22";
    let expected = "live.example.com /live/channel-12/1080p/index.m3u8?_HLS_msn=1234567&_HLS_part=2";
    Keyed::new("/live/channel-12/1080p/index.m3u8", Some(query), expected)
}

/// A target that is not in normal form.
pub fn respelled() -> Keyed {
    let path = "/live/../live/channel%2D12/./1080p/segment%2d0001234567.m4s";
    Keyed::new(path, Some("&&"), "live.example.com /live/channel-12/1080p/segment-0001234567.m4s")
}

impl Case for Keyed {
    fn run(&self, _turn: u64) -> u64 {
        let normal = self.site.normal(self.path, self.query).expect("a target");
        let asked = Asked {
            path: &normal.path,
            query: normal.query.as_deref(),
            kind: self.site.kind(&normal.path),
            headers: &self.headers,
            claims: &self.claims,
            held: &self.site.held(&Method::GET, &self.headers),
        };
        self.site.with_key(&asked, |hash, _| folded(hash)).expect("a key")
    }

    fn expected(&self) -> u64 {
        folded(forebay::key::hash_of(self.expected))
    }
}

fn folded(hash: u128) -> u64 {
    (hash as u64) ^ ((hash >> 64) as u64)
}
