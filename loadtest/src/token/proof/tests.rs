#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::cell::{Cell, RefCell};

use bytes::Bytes;
use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue};

use super::*;
use crate::fetch::Cache;

const ENTRY: &str = "/media/live/a/index.m3u8";

/// What is wrong with a site.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ill {
    Nothing,
    /// It looks at no token.
    Open,
    /// It takes tokens that have ended.
    Timeless,
    /// It looks at playlists alone.
    SegmentsOpen,
    /// It does not carry the token on to what playlists name.
    Forgets,
}

/// A site that wants the mint's tokens in one place, and that has one stream.
struct Site {
    carry: Carry,
    now: SystemTime,
    mint: Mint,
    ill: Ill,
    asked: RefCell<Vec<String>>,
    left: Cell<bool>,
}

impl Site {
    /// The token of a request, and the path without it.
    fn token(&self, get: &Get<'_>) -> (Option<String>, String) {
        let path = get.url.path().to_owned();
        let field = |name: &str| {
            let found = get.fields.iter().find(|(field, _)| field == name);
            found.map(|(_, value)| value.to_str().unwrap().to_owned())
        };
        let query = || get.url.query().and_then(|query| query.strip_prefix("hdnts=")).map(str::to_owned);
        match self.carry {
            Carry::Path => match path.strip_prefix("/hdnts=").and_then(|rest| rest.split_once('/')) {
                Some((token, rest)) => (Some(token.replace("%2F", "/")), format!("/{rest}")),
                None => (None, path),
            },
            Carry::Query => (query(), path),
            Carry::Cookie => {
                let cookie = field(COOKIE.as_str());
                let kept = cookie.and_then(|cookie| cookie.strip_prefix("hdntl=").map(str::to_owned));
                (kept.or_else(query), path)
            }
            Carry::Header => (field("hdnts"), path),
        }
    }

    /// Whether a token is good for a path now.
    fn admits(&self, token: Option<&str>, path: &str) -> bool {
        let Some((fields, _)) = token.and_then(|token| token.split_once("~hmac=")) else { return false };
        let said = |name: &str| fields.split('~').find_map(|field| field.strip_prefix(name)).unwrap();
        let folder = said("acl=").trim_end_matches('*');
        let ends = std::time::UNIX_EPOCH + Duration::from_secs(said("exp=").parse().unwrap());
        token == Some(&self.mint.signed(fields))
            && path.starts_with(folder)
            && (self.ill == Ill::Timeless || self.now < ends)
    }

    fn answer(&self, get: &Get<'_>) -> (StatusCode, HeaderMap, Bytes) {
        let (token, path) = self.token(get);
        let is_segment = path.ends_with(".m4s");
        let open = self.ill == Ill::Open || (is_segment && self.ill == Ill::SegmentsOpen);
        let mut headers = HeaderMap::new();
        if !open && !self.admits(token.as_deref(), &path) {
            return (StatusCode::FORBIDDEN, headers, Bytes::new());
        }
        let token = token.unwrap_or_default();
        let carries = self.ill != Ill::Forgets;
        if self.carry == Carry::Cookie && carries {
            let cookie = format!("hdntl={token}; Path=/media/live/a/");
            headers.insert(SET_COOKIE, HeaderValue::from_str(&cookie).unwrap());
        }
        let suffix =
            if self.carry == Carry::Query && carries { format!("?hdnts={token}") } else { String::new() };
        let root = if self.carry == Carry::Path && !carries { "/media/live/a/" } else { "" };
        let text = match path.as_str() {
            ENTRY => format!("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n\n{root}v0.m3u8{suffix}\n"),
            "/media/live/a/v0.m3u8" => format!("#EXTM3U\n#EXTINF:4,\n{root}v0/1.5.m4s{suffix}\n"),
            "/media/live/a/v0/1.5.m4s" => String::new(),
            _ => return (StatusCode::NOT_FOUND, headers, Bytes::new()),
        };
        (StatusCode::OK, headers, text.into())
    }
}

impl Fetch for Site {
    async fn get(&self, get: Get<'_>) -> Exchange {
        let (status, headers, text) = self.answer(&get);
        self.asked.borrow_mut().push(format!("{} {}", status.as_u16(), get.url.path()));
        Exchange {
            due: get.due,
            sent: get.due,
            first_byte: Some(get.due),
            end: get.due,
            status: Some(status),
            headers,
            cache: Cache::Unknown,
            bytes: text.len() as u64,
            text,
            connected: false,
            outcome: Outcome::Whole,
        }
    }

    fn leave(&self) {
        self.left.set(true);
    }
}

async fn proven(carry: Carry, ill: Ill) -> (Result<()>, Site) {
    let now = std::time::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let token = Token { carry, lifetime: Duration::from_secs(90), wave_at: Some(Duration::from_secs(45)) };
    let mint = Mint::new(&token, now);
    let site = Site { carry, now, mint: mint.clone(), ill, asked: RefCell::default(), left: Cell::default() };
    let entry = Url::parse(&format!("http://edge.example{ENTRY}")).unwrap();
    (prove(&site, &entry, (&token, &mint), now).await, site)
}

const CARRIES: [Carry; 4] = [Carry::Path, Carry::Query, Carry::Cookie, Carry::Header];

#[tokio::test]
async fn a_site_that_holds_viewers_to_their_tokens_is_proven_with_every_carry() {
    for carry in CARRIES {
        let (result, site) = proven(carry, Ill::Nothing).await;
        result.unwrap_or_else(|error| panic!("{carry:?}: {error:#}"));
        let statuses: Vec<String> = site.asked.borrow().iter().map(|asked| asked[..3].to_owned()).collect();
        assert_eq!(statuses, ["403", "403", "403", "403", "200", "200", "200", "403"], "{carry:?}");
        assert!(site.left.get());
    }
}

#[test]
fn a_url_without_its_token_keeps_a_query_of_its_own() {
    for (with, without) in [
        ("http://a/1.m4s?hdnts=exp=1~hmac=2", "http://a/1.m4s"),
        ("http://a/1.m4s?v=3&hdnts=exp=1~hmac=2&hdntsx=4", "http://a/1.m4s?v=3&hdntsx=4"),
        ("http://a/1.m4s?v=%20a+b", "http://a/1.m4s?v=%20a+b"),
        ("http://a/1.m4s", "http://a/1.m4s"),
    ] {
        assert_eq!(bare(&with.parse().unwrap(), Carry::Query).as_str(), without);
    }
}

#[tokio::test]
async fn a_site_that_does_not_is_told_by_what_it_lets_through() {
    for carry in CARRIES {
        for (ill, expected) in [
            (Ill::Open, "without a token: 200 OK, not a refusal"),
            (Ill::Timeless, "with a token that has ended: 200 OK"),
            (Ill::SegmentsOpen, "v0/1.5.m4s: without a token: 200 OK"),
        ] {
            let error = format!("{:#}", proven(carry, ill).await.0.unwrap_err());
            assert!(error.contains(expected), "{carry:?}: {error}");
        }
    }
    for carry in [Carry::Path, Carry::Query, Carry::Cookie] {
        let error = format!("{:#}", proven(carry, Ill::Forgets).await.0.unwrap_err());
        assert!(error.contains("v0.m3u8: with a good token: 403 Forbidden"), "{carry:?}: {error}");
    }
}
