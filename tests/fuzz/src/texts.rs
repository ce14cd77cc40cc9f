//! Texts whose URIs are found and given a token: HLS playlists and DASH manifests.

use std::hint::black_box;
use std::ops::Range;

use forebay::carry::{Form, Split, Syntax, Terms, Viewer, split};
use forebay::config::model::{By, HostChange, Late, LowLatency, OrderBy, VariantBounds, VariantOrder};
use forebay::hls::Directives;
use forebay::hls::variables::Around;
use forebay::key::reference::resolve;
use forebay::key::target;
use forebay::{dash, hls, normal};

use super::{Clock, Fuzzed};

/// Lines that are read as queries.
const LINES_MAX: usize = 16;

const TOKEN: &str = "hdnts=exp=1~hmac=0";

/// HLS: places in order and within the text, names that are among them and where they lead, every line as a query with
/// directives, and the same text with the token in it.
pub fn playlist(_: Clock) -> Fuzzed {
    let run = |data: &[u8]| {
        let facts = hls::read::read(data).ok();
        if let Ok(text) = std::str::from_utf8(data) {
            let rule = LowLatency { reload: By::Edge, delta: By::Edge, late: Late::Error };
            let announced = facts.and_then(|facts| hls::announce::announce(text, &facts, &rule));
            black_box(hls::delta::delta(announced.as_deref().unwrap_or(text)));
            let mut order = Order::default();
            let mut places = 0;
            hls::uris::find(text, |place| {
                order.take(text, &place.at, &place.says);
                places += 1;
            });
            names(text, places);
            for line in text.lines().take(LINES_MAX) {
                if let Ok(Directives { reload: Some(reload), .. }) = Directives::of(Some(line)) {
                    let reach = facts.map(|facts| facts.reach).unwrap_or_default();
                    let holds = reach.holds(reload.msn, reload.part);
                    assert!(!holds || reload.msn <= reach.next, "{reach:?} holds {reload:?}");
                    assert!(holds || reload.msn >= reach.next, "{reach:?} does not hold {reload:?}");
                }
            }
        }
        carries(data, Syntax::Hls);
        changes(data, Syntax::Hls);
    };
    let seeds = [
        include_str!("../../corpus/low-latency-ranges.m3u8"),
        include_str!("../../corpus/define-import.m3u8"),
        include_str!("../../corpus/delta.m3u8"),
        "#EXTM3U\n# &_HLS_msn=7&_HLS_part=1&_HLS_skip=YES\n#EXT-X-MEDIA-SEQUENCE:6\n#EXT-X-GAP\na\n#EXT-X-PART:DURATION=1,URI=\"b\"\n",
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
        changes(data, Syntax::Dash);
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

/// What a playlist names, with nothing known around it and with something.
fn names(text: &str, places: usize) {
    let imported = [("host".into(), "https://live.example.com/v".into())];
    let known = Around { query: text.lines().nth(1), imported: &imported };
    for around in [Around::default(), known] {
        let mut named = 0;
        hls::names::names_around(text, &around, |name| {
            named += 1;
            assert!(name.part.is_none() || name.msn.is_some(), "a part without a segment: {name:?}");
            let is_own = |_: &str, host: &str| host == "live.example.com";
            if let Some((path, _)) = resolve(&name.uri, "/live/index.m3u8", is_own) {
                assert!(path.starts_with('/'), "{path} is no path");
                black_box(target::path(&path, true).is_ok());
            }
        });
        assert!(named <= places, "{named} names in {places} places");
    }
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

/// Whether a URI has a parameter of these names.
fn has_dropped(uri: &str, names: &[String]) -> bool {
    let uri = uri.split('#').next().unwrap_or_default();
    let query = uri.split_once('?').map_or("", |(_, query)| query);
    query.split('&').any(|parameter| names.iter().any(|name| forebay::key::is_named(parameter, name)))
}

/// Makes the changes of rules in the text.
fn changes(data: &[u8], syntax: Syntax) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let names = ["x".to_owned(), "a".to_owned()];
    let change = HostChange { host: "live.example.com".to_owned(), port: None, to: String::new() };
    if let Ok(Some(made)) = normal::parameters::drop(text, syntax, &names) {
        assert_ne!(made, text, "a text that is as it was");
        if syntax == Syntax::Hls {
            hls::uris::find(&made, |place| {
                assert!(!has_dropped(&place.says, &names), "{:?} is left", place.says)
            });
        }
    }
    let _ = black_box(normal::hosts::change(text, syntax, &[change]));
    if syntax == Syntax::Hls {
        let bounds = VariantBounds { height: (None, Some(720)), ..VariantBounds::default() };
        let order = VariantOrder { by: OrderBy::Bandwidth, down: true };
        black_box(hls::variants::choose(text, &bounds, Some(order)));
    }
}

/// Gives the text a token in all forms, for a viewer of each kind.
fn carries(data: &[u8], syntax: Syntax) {
    for form in [Form::Query, Form::Path, Form::PathAndQuery] {
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
            let viewer = Viewer { token: &token, query: "sid=1", inherits, host: "live.example.com" };
            assert_eq!(with_token(&split, data, &viewer).len() as u64, split.len_for(&viewer), "its length");
        }
        black_box(split.held_bytes());
    }
}

fn with_token(split: &Split, data: &[u8], viewer: &Viewer<'_>) -> Vec<u8> {
    let (mut sent, mut from) = (Vec::new(), 0);
    for edit in split.edits(viewer) {
        sent.extend_from_slice(&data[from..edit.at]);
        for part in [edit.head, edit.text, edit.tail] {
            sent.extend_from_slice(part.as_bytes());
        }
        from = edit.at + edit.skip;
    }
    sent.extend_from_slice(&data[from..]);
    sent
}
