//! Texts whose URIs are found and given a token: HLS playlists and DASH manifests.

use std::hint::black_box;
use std::ops::Range;

use forebay::carry::{Form, Split, Syntax, Terms, Viewer, split};
use forebay::{dash, hls};

use super::{Clock, Fuzzed};

const TOKEN: &str = "hdnts=exp=1~hmac=0";

/// HLS: places in order and within the text, and the same text with the token in it.
pub fn playlist(_: Clock) -> Fuzzed {
    let run = |data: &[u8]| {
        let _ = black_box(hls::read::read(data));
        if let Ok(text) = std::str::from_utf8(data) {
            let mut order = Order::default();
            hls::uris::find(text, |place| order.take(text, &place.at, &place.says));
        }
        carries(data, Syntax::Hls);
    };
    let seeds = [
        "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:4\n#EXT-X-MAP:URI=\"init.mp4\",BYTERANGE=\"1@0\"\n\
         #EXT-X-KEY:METHOD=AES-128,URI=\"/k\",IV=0x1\n#EXTINF:4,\na/b.ts?x=1#f\n#EXT-X-PART:DURATION=1,URI=\"p.ts\"\n\
         #EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"//h/p2.ts\"\n#EXT-X-ENDLIST\n",
        "#EXTM3U\r\n#EXT-X-DEFINE:NAME=\"v\",VALUE=\"../x\"\r\n#EXT-X-DEFINE:QUERYPARAM=\"q\"\r\n\
         #EXT-X-STREAM-INF:BANDWIDTH=1\r\n{$v}/{$q}.m3u8\r\n#EXT-X-MEDIA:TYPE=AUDIO,URI=\"https://live.example.com/a\"\r\n\
         #EXT-X-DATERANGE:ID=\"d\",X-ASSET-LIST=\"l.json\"\r\n#EXT-X-CONTENT-STEERING:SERVER-URI=\"/s\"\r\n",
    ];
    Fuzzed { run: Box::new(run), seeds: seeds.map(|seed| seed.as_bytes().to_vec()).into() }
}

/// DASH: the same.
pub fn manifest(_: Clock) -> Fuzzed {
    let run = |data: &[u8]| {
        if let Ok(text) = std::str::from_utf8(data) {
            let mut order = Order::default();
            let found = dash::find(text, |place, _| order.take(text, &place.at, &place.says));
            if let Ok(Some(opening)) = found {
                assert!(text.is_char_boundary(opening.at), "a BaseURL would go into a character");
            }
        }
        carries(data, Syntax::Dash);
    };
    let seeds = [
        "<?xml version=\"1.0\"?><MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\"><Period><BaseURL>p/</BaseURL>\
         <AdaptationSet><SegmentTemplate media='$Number$.m4s?a=1&amp;b' initialization=\"i.mp4\"/></AdaptationSet>\
         </Period></MPD>",
        "<m:MPD xmlns:m=\"urn:mpeg:dash:schema:mpd:2011\"><m:Location>https://live.example.com/l.mpd</m:Location>\
         <m:BaseURL>../</m:BaseURL><m:Period><SegmentURL media=\"&#x61;.ts\" index=\"/i\"/></m:Period></m:MPD>",
    ];
    Fuzzed { run: Box::new(run), seeds: seeds.map(|seed| seed.as_bytes().to_vec()).into() }
}

#[derive(Default)]
struct Order {
    end: usize,
}

impl Order {
    fn take(&mut self, text: &str, at: &Range<usize>, says: &str) {
        assert!(at.start >= self.end && at.start <= at.end, "{at:?} after {}", self.end);
        assert!(text.get(at.clone()).is_some(), "{at:?} is no part of the text");
        black_box(says.len());
        self.end = at.end;
    }
}

/// Gives the text a token in both forms, for a viewer of each kind.
fn carries(data: &[u8], syntax: Syntax) {
    for form in [Form::Query, Form::Path] {
        let terms = Terms {
            form,
            syntax,
            path: "/live/index.m3u8",
            is_own: &|host| host == "live.example.com",
            is_token: &|parameter| parameter.starts_with("hdnts="),
            has_token: &|path| path.starts_with("/hdnts="),
        };
        let Ok(split) = split(data, &terms) else { continue };
        let token = if form == Form::Query { TOKEN.to_owned() } else { format!("/{TOKEN}") };
        for inherits in [false, true] {
            let viewer = Viewer { token: &token, inherits, host: "live.example.com" };
            assert_eq!(with_token(&split, data, &viewer).len() as u64, split.len_for(&viewer), "its length");
        }
        black_box(split.held_bytes());
    }
}

fn with_token(split: &Split, data: &[u8], viewer: &Viewer<'_>) -> Vec<u8> {
    let (mut sent, mut from) = (Vec::new(), 0);
    for edit in split.edits(viewer) {
        sent.extend_from_slice(&data[from..edit.at]);
        for part in [edit.head, viewer.token, edit.tail] {
            sent.extend_from_slice(part.as_bytes());
        }
        from = edit.at + edit.skip;
    }
    sent.extend_from_slice(&data[from..]);
    sent
}
