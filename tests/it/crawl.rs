//! Follows every URI of every playlist and manifest through a real node, as RFC 3986 resolves them, with the token in
//! each place: what is the site's opens, and what is not stays as it was written.
//!
//! A text marks its URIs: `[[...]]` is the site's, `((...))` is not. What stands between marks comes back byte for byte.

mod manifest;
mod uri;

use std::collections::{BTreeMap, BTreeSet};

use crate::support::client::{Request, Response};
use crate::support::edge::{Edge, Setup};
use crate::support::origin::{Answer, Origin};
use crate::support::signing::{KEY_HEX, OTHER_KEY_HEX, now, sign};
use uri::Url;

const HOST: &str = "edge.test";
const START: &str = "/live/ch1/master.m3u8";

/// What is written in place of variables, here and by a player.
const VARIABLES: [(&str, &str); 4] =
    [("own", "https://edge.test/live"), ("cdn", "https://other.example/x"), ("up", "../"), ("ask", "?q=1")];

const DEFINES: &str = "#EXT-X-DEFINE:NAME=\"own\",VALUE=\"https://edge.test/live\"\n\
    #EXT-X-DEFINE:VALUE=\"https://other.example/x\",NAME=\"cdn\"\n\
    #EXT-X-DEFINE:NAME=\"up\",VALUE=\"../\"\n#EXT-X-DEFINE:NAME=\"ask\",VALUE=\"?q=1\"\n";

const MASTER: &str = "\u{feff}#EXTM3U\r\n\
    #EXT-X-CONTENT-STEERING:PATHWAY-ID=\"a,b\",SERVER-URI=\"[[/steer/a?x=1]]\"\r\n\
    #EXT-X-SESSION-DATA:DATA-ID=\"URI=\",LANGUAGE=\"en\",URI=\"[[data.json]]\"\r\n\
    #EXT-X-SESSION-KEY:URI=\"[[/keys/session.key]]\",METHOD=AES-128\r\n\
    #EXT-X-SESSION-KEY:METHOD=SAMPLE-AES,URI=\"((skd://key?a=b))\",KEYFORMAT=\"com.apple.streamingkeydelivery\"\r\n\
    \r\n\
    #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"x,URI=no\",URI=\"[[a/index.m3u8]]\"\r\n\
    #EXT-X-MEDIA:URI=\"[[/live/ch1/a/index.m3u8#t]]\",TYPE=AUDIO,GROUP-ID=\"b\",NAME=\"y\"\r\n\
    #EXT-X-MEDIA:TYPE=CLOSED-CAPTIONS,GROUP-ID=\"c\",NAME=\"z\",URI=\"\"\r\n\
    #EXT-X-STREAM-INF:BANDWIDTH=1,CODECS=\"avc1.4d401f,mp4a.40.2\"\r\n  [[v/index.m3u8]]  \r\n\
    #EXT-X-STREAM-INF:BANDWIDTH=2\r\n[[https://edge.test/live/ch1/v/index.m3u8?x=1]]\r\n\
    #EXT-X-STREAM-INF:BANDWIDTH=3\r\n[[HTTP://EDGE.test:8080/live/ch1/v/index.m3u8?]]\r\n\
    #EXT-X-STREAM-INF:BANDWIDTH=4\r\n[[//www.test/live/ch1/v/index.m3u8?x&]]\r\n\
    #EXT-X-STREAM-INF:BANDWIDTH=5\r\n((https://[2001:db8::1]:8443/live/ch1/v/index.m3u8))\r\n\
    #EXT-X-STREAM-INF:BANDWIDTH=6\r\n((https://other.example/v/index.m3u8))\r\n\
    #EXT-X-STREAM-INF:BANDWIDTH=7\r\n((https://user@edge.test/v/index.m3u8))\r\n\
    #EXT-X-STREAM-INF:BANDWIDTH=8\r\n((//edge.test.other.example/v/index.m3u8))\r\n\
    #EXT-X-STREAM-INF:BANDWIDTH=9\r\n((/\\other.example/v/index.m3u8))\r\n\
    #EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=1,URI=\"[[i/../v/./index.m3u8]]\"\r\n\
    #EXT-X-IMAGE-STREAM-INF:BANDWIDTH=1,URI=\"[[../ch1/v/index.m3u8?a/../b]]\"";

const MEDIA: &str = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-PART-INF:PART-TARGET=1\n\
    #EXT-X-KEY:METHOD=AES-128,IV=0x1,URI=\"[[/keys/1.key?id=1&x=2]]\"\n\
    #EXT-X-KEY:METHOD=SAMPLE-AES,KEYFORMAT=\"urn:uuid:edef8ba9\",URI=\"((data:text/plain;base64,AAAA))\"\n\
    #EXT-X-MAP:BYTERANGE=\"100@0\",URI=\"[[init.mp4]]\"\n\
    #EXT-X-DATERANGE:ID=\"a\",START-DATE=\"2024-01-01T00:00:00Z\",X-ASSET-URI=\"[[/ads/1.m3u8]]\",X-ASSET-LIST=\"[[list.json?d=1]]\"\n\
    #EXT-X-DATERANGE:ID=\"b\",X-ASSET-URI=\"((https://ads.example/1.m3u8))\",X-COM=\"/no\"\n\
    # [comment] /no.ts\n#EXTINF:2.0,/no.ts, \"no\"\n[[1.m4s]]\n\
    #EXTINF:2,\n[[../../../../ch1/v/2.m4s]]\n#EXTINF:2,\n[[./3.m4s]]\n#EXTINF:2,\n[[sub/../%34.m4s?x#f?y]]\n\
    #EXTINF:2,\n[[?seg=5]]\n#EXTINF:2,\n[[d:r/6.m4s]]\n#EXTINF:2,\n[[{$own}/ch1/v/7.m4s]]\n\
    #EXTINF:2,\n(({$cdn}/8.m4s))\n#EXTINF:2,\n[[{$up}v/9.m4s{$ask}]]\n#EXTINF:2,\n(({$unknown}/10.m4s))\n\
    #EXTINF:2,\n[[/live//ch1/v/11.m4s]]\n#EXTINF:2,\n[[a b/12.m4s]]\n#EXTINF:2,\n[[é/13.m4s]]\n\
    #EXTINF:2,\n[[https://edge.test/live/ch1/../ch1/v/14.m4s]]\n\
    #EXT-X-PART:INDEPENDENT=YES,URI=\"[[15.part1.m4s]]\",DURATION=1\n\
    #EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"[[15.part2.m4s]]\"\n\
    #EXT-X-RENDITION-REPORT:URI=\"[[../a/index.m3u8]]\",LAST-MSN=3,LAST-PART=1\n#EXT-X-FOREIGN:URI=\"/no\"\n\n";

const AUDIO: &str = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n[[1.m4s]]\n#EXTINF:2,\n[[/live/ch1/a/2.m4s]]\n\
    #EXT-X-RENDITION-REPORT:URI=\"[[/live/ch1/v/index.m3u8]]\"\n#EXT-X-ENDLIST\n";

/// The texts of the corpus, by path.
fn corpus() -> BTreeMap<&'static str, String> {
    // A scheme is told from a segment with a colon by what stands before it.
    let media = MEDIA.replace("[[d:r/", "[[./d:r/").replacen('\n', &format!("\n{DEFINES}"), 1);
    let texts = [MASTER.to_owned(), media, AUDIO.to_owned(), AUDIO.replace('\n', "\r\n")];
    [START, "/live/ch1/v/index.m3u8", "/live/ch1/a/index.m3u8", "/ads/1.m3u8"]
        .into_iter()
        .zip(texts)
        .collect()
}

/// A text taken apart at its marks: what stands before each URI, the URI, and whether it is the site's.
fn marked(text: &str) -> (Vec<(&str, &str, bool)>, &str) {
    let (mut uris, mut rest) = (Vec::new(), text);
    while let Some(at) = [rest.find("[["), rest.find("((")].into_iter().flatten().min() {
        let own = rest[at..].starts_with("[[");
        let len = rest[at..].find(if own { "]]" } else { "))" }).expect("a mark that is closed");
        uris.push((&rest[..at], &rest[at + 2..at + len], own));
        rest = &rest[at + len + 2..];
    }
    (uris, rest)
}

fn plain(text: &str) -> String {
    let (uris, rest) = marked(text);
    uris.iter().map(|(before, uri, _)| format!("{before}{uri}")).chain([rest.to_owned()]).collect()
}

/// How the node is set up, and how the first playlist is asked for.
#[derive(Clone, Copy, Debug)]
struct Way {
    carry: &'static str,
    session: bool,
    /// Where the token stands in the first request.
    first: &'static str,
    /// What the origin says of how long its texts may be kept.
    control: &'static str,
}

/// A viewer who follows what it is given.
struct Crawler<'a> {
    edge: &'a Edge,
    origin: &'a Origin,
    way: Way,
    token: String,
    /// Name, value and path.
    cookies: Vec<(String, String, String)>,
    corpus: BTreeMap<&'static str, String>,
    seen: BTreeSet<String>,
}

async fn node(way: Way, texts: impl IntoIterator<Item = (&'static str, String)>) -> (Origin, Edge) {
    let origin = Origin::start().await;
    origin.otherwise(|_, _| Answer::ok("media").cache_control("max-age=60"));
    for (path, text) in texts {
        origin.on(path, Answer::ok(text).etag("\"v1\"").cache_control(way.control));
    }
    let session = match way.session {
        true => "session = { keys = [{ id = \"s\", secret_file = \"DIR/s.key\" }], scope = \"token\" }",
        false => "",
    };
    let policy = format!(
        "[token.viewer]\nformat = \"edgeauth\"\ncarry = \"{}\"\nkeys = [{{ id = \"k\", secret_file = \"DIR/k.key\" }}]\n{session}",
        way.carry
    );
    let setup = Setup::before(&origin).hosts("[\"edge.test\", \"www.test\"]");
    let setup =
        setup.site("token = \"viewer\"").more(&policy).file("k.key", KEY_HEX).file("s.key", OTHER_KEY_HEX);
    (origin, setup.start().await)
}

impl<'a> Crawler<'a> {
    fn new(edge: &'a Edge, origin: &'a Origin, way: Way) -> Crawler<'a> {
        let token = sign(KEY_HEX, &format!("exp={}~acl=/*~id=one~data=a&b='c'%22", now() + 3600));
        Crawler { edge, origin, way, token, cookies: Vec::new(), corpus: corpus(), seen: BTreeSet::new() }
    }

    /// The URL of the first playlist, and what goes along.
    fn first(&mut self, path: &str) -> Url {
        let token = self.token.replace('%', "%25").replace('&', "%26").replace('\'', "%27");
        let target = match self.way.first {
            "query" => format!("{path}?hdnts={token}"),
            "path" => format!("/hdnts={token}{path}"),
            _ => {
                self.cookies.push(("hdnts".to_owned(), token, "/".to_owned()));
                path.to_owned()
            }
        };
        Url::of(&format!("https://{HOST}{target}"))
    }

    /// Asks as a browser would, cookies included, and keeps what it is given.
    async fn ask(&mut self, url: &Url) -> Response {
        let mut request = Request::get(&url.target()).host(&url.authority);
        let sent = |path: &str| url.path == path || (path.ends_with('/') && url.path.starts_with(path));
        let pairs: Vec<_> = self.cookies.iter().filter(|(_, _, path)| sent(path)).collect();
        if !pairs.is_empty() {
            let pairs: Vec<_> = pairs.iter().map(|(name, value, _)| format!("{name}={value}")).collect();
            request = request.header("cookie", &pairs.join("; "));
        }
        let response = self.edge.ask(&request).await;
        for (_, cookie) in response.head.headers.iter().filter(|(name, _)| name == "set-cookie") {
            let (pair, attributes) = cookie.split_once(';').expect("attributes");
            let (name, value) = pair.split_once('=').expect("a pair");
            let path =
                attributes.split("Path=").nth(1).and_then(|rest| rest.split(';').next()).expect("a path");
            self.cookies.retain(|(known, _, of)| (known.as_str(), of.as_str()) != (name, path));
            self.cookies.push((name.to_owned(), value.to_owned(), path.to_owned()));
        }
        response
    }

    /// Follows a playlist that was asked for at `url`; `base` is the same without any token.
    async fn follow(&mut self, url: Url, base: Url) {
        let way = self.way;
        let response = self.ask(&url).await;
        assert_eq!(response.status(), 200, "{way:?} {url}: {:?}", response.head);
        let text = self.corpus.get(base.path.as_str()).cloned().expect("a text of the corpus");
        let given = std::str::from_utf8(response.whole()).expect("UTF-8").to_owned();
        assert_eq!(response.get("content-length"), Some(given.len().to_string().as_str()));
        let (uris, end) = marked(&text);
        let mut rest = given.as_str();
        for (place, (before, uri, own)) in uris.iter().enumerate() {
            rest =
                rest.strip_prefix(before).unwrap_or_else(|| panic!("{way:?} {base}: {before:?} in {given}"));
            let next = uris.get(place + 1).map_or(end, |(before, ..)| before);
            let len =
                if next.is_empty() { rest.len() } else { rest.find(next).expect("what stands after a URI") };
            let (found, after) = rest.split_at(len);
            rest = after;
            if !own {
                assert_eq!(&found, uri, "{way:?} {base}: a URI that is not the site's");
                continue;
            }
            let wanted = base.join(&written_out(uri));
            let asked = url.join(&written_out(found));
            assert_eq!(asked.authority, wanted.authority, "{way:?} {base}: {uri} became {found}");
            assert!(!found.contains("_HLS_"), "{found}");
            if let Some(path) = self.corpus.keys().copied().find(|path| *path == wanted.path) {
                if self.seen.insert(path.to_owned()) {
                    Box::pin(self.follow(asked, wanted)).await;
                }
                continue;
            }
            let answer = self.ask(&asked).await;
            assert_eq!(answer.status(), 200, "{way:?} {base}: {uri} became {found}: {asked}");
            let fetched = uri::normal(&wanted.target());
            assert!(
                self.origin.recorded().iter().any(|request| request.target == fetched),
                "{way:?} {base}: {uri} became {found}: the origin was not asked for {fetched}"
            );
        }
        assert_eq!(rest, end, "{way:?} {base}");
    }
}

/// A URI as a player reads it.
fn written_out(uri: &str) -> String {
    VARIABLES.iter().fold(uri.to_owned(), |uri, (name, value)| uri.replace(&format!("{{${name}}}"), value))
}

/// All ways that a token is carried and first comes.
fn ways() -> Vec<Way> {
    let mut ways = Vec::new();
    for (carry, session) in
        [("path", false), ("query", false), ("path", true), ("query", true), ("cookie", true)]
    {
        for first in ["query", "path", "cookie"] {
            for control in ["max-age=60", "no-store"] {
                ways.push(Way { carry, session, first, control });
            }
        }
    }
    ways
}

/// From the multivariant playlist to the last segment, every URI of the site opens, and no other is touched.
#[tokio::test]
async fn every_uri_of_a_stream_opens_however_its_token_is_carried() {
    for way in ways() {
        let texts = corpus().into_iter().map(|(path, text)| (path, plain(&text)));
        let (origin, edge) = node(way, texts).await;
        // The second viewer is answered from the store, where it may be.
        for _ in 0..2 {
            let mut crawler = Crawler::new(&edge, &origin, way);
            crawler.seen.insert(START.to_owned());
            let url = crawler.first(START);
            crawler.follow(url, Url::of(&format!("https://{HOST}{START}"))).await;
            assert_eq!(crawler.seen.len(), crawler.corpus.len(), "{:?}", crawler.seen);
        }
    }
}
