//! Playlists that are made up for tests, of all tags, and what their maker knows of them: where their URIs stand, what
//! they say of themselves and what they name.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::ops::Range;
use std::time::Duration;

use proptest::prelude::*;

use super::read::{PlaylistFacts, Reach, read};
use crate::asset::Kind;

/// Kind, media sequence number, part, hint, gap.
pub(crate) type Name = (Kind, Option<u64>, Option<u64>, bool, bool);

/// A playlist, and what is known of it.
#[derive(Clone, Debug)]
pub(crate) struct Generated {
    pub(crate) text: String,
    /// Where URIs stand.
    pub(crate) uris: Vec<Range<usize>>,
    pub(crate) facts: PlaylistFacts,
    pub(crate) names: Vec<Name>,
}

/// What a line is made of.
#[derive(Clone, Debug)]
struct Line {
    choice: usize,
    uri: String,
    number: u64,
    flag: bool,
    carriage: bool,
}

/// The beginning of a media playlist.
#[derive(Clone, Debug)]
struct Head {
    bom: bool,
    last_newline: bool,
    sequence: Option<u64>,
    discontinuities: Option<u64>,
    target: Option<u64>,
    control: Option<(bool, bool)>,
    part_target: bool,
    vod: Option<bool>,
    skipped: Option<u64>,
    ended: bool,
}

fn uri() -> impl Strategy<Value = String> {
    let path =
        "[a-z0-9_~-]{1,6}(/[a-z0-9_.~-]{1,6}){0,2}(\\?[a-z]=[a-z0-9]{0,3}(&[a-z]=[0-9])?)?(#[a-z]{1,3})?";
    prop_oneof![
        6 => path,
        1 => path.prop_map(|path| format!("/{path}")),
        1 => path.prop_map(|path| format!("../{path}")),
        1 => path.prop_map(|path| format!("https://own.example/{path}")),
        1 => path.prop_map(|path| format!("https://other.example:8443/{path}")),
        1 => Just("data:text/plain;base64,AAAA".to_owned()),
        1 => Just("skd://asset/1".to_owned()),
        1 => Just("?only=query".to_owned()),
    ]
}

fn line() -> impl Strategy<Value = Line> {
    (0..24_usize, uri(), 0..100_000_u64, any::<bool>(), any::<bool>())
        .prop_map(|(choice, uri, number, flag, carriage)| Line { choice, uri, number, flag, carriage })
}

fn head() -> impl Strategy<Value = Head> {
    let some = |most: u64| prop::option::of(0..most);
    let first = (any::<bool>(), any::<bool>(), some(u64::MAX / 2), some(1000), some(5000));
    let second = (
        prop::option::of((any::<bool>(), any::<bool>())),
        any::<bool>(),
        prop::option::of(any::<bool>()),
        some(1000),
        any::<bool>(),
    );
    (first, second).prop_map(|(first, second)| {
        let (bom, last_newline, sequence, discontinuities, target) = first;
        let (control, part_target, vod, skipped, ended) = second;
        Head {
            bom,
            last_newline,
            sequence,
            discontinuities,
            target,
            control,
            part_target,
            vod,
            skipped,
            ended,
        }
    })
}

/// Media playlists and multivariant ones.
pub(crate) fn playlist() -> impl Strategy<Value = Generated> {
    let lines = || prop::collection::vec(line(), 0..40);
    prop_oneof![
        3 => (head(), lines()).prop_map(|(head, lines)| Maker::new(head.bom).media(&head, &lines)),
        1 => (any::<bool>(), lines()).prop_map(|(bom, lines)| Maker::new(bom).multivariant(&lines)),
    ]
}

struct Maker {
    made: Generated,
    end: &'static str,
    /// Number and parts of the segment that comes next.
    next: u64,
    parts: u64,
    gap: bool,
}

impl Maker {
    fn new(bom: bool) -> Maker {
        // Of one that says nothing.
        let facts = read(b"#EXTM3U\n").unwrap();
        let text = if bom { "\u{feff}#EXTM3U\n" } else { "#EXTM3U\n" }.to_owned();
        let made = Generated { text, uris: Vec::new(), facts, names: Vec::new() };
        Maker { made, end: "\n", next: 0, parts: 0, gap: false }
    }

    fn line(&mut self, line: &str) {
        self.made.text += line;
        self.made.text += self.end;
    }

    /// A line with a URI in it.
    fn uri(&mut self, before: &str, uri: &str, after: &str) {
        self.made.text += before;
        let start = self.made.text.len();
        self.made.text += uri;
        self.made.uris.push(start..self.made.text.len());
        self.line(after);
    }

    fn name(&mut self, kind: Kind) {
        self.made.names.push((kind, None, None, false, false));
    }

    fn media(mut self, head: &Head, lines: &[Line]) -> Generated {
        if let Some(number) = head.sequence {
            self.line(&format!("#EXT-X-MEDIA-SEQUENCE:{number}"));
            self.made.facts.media_sequence = number;
            self.next = number;
        }
        if let Some(number) = head.discontinuities {
            self.line(&format!("#EXT-X-DISCONTINUITY-SEQUENCE:{number}"));
            self.made.facts.discontinuity_sequence = number;
        }
        if let Some(seconds) = head.target {
            self.line(&format!("#EXT-X-TARGETDURATION:{seconds}"));
            self.made.facts.target_duration = Duration::from_secs(seconds.clamp(1, 3600));
        }
        if let Some((blocks, skips)) = head.control {
            let (yes, until) =
                (if blocks { "YES" } else { "NO" }, if skips { ",CAN-SKIP-UNTIL=12.0" } else { "" });
            self.line(&format!("#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD={yes}{until},HOLD-BACK=6"));
            (self.made.facts.can_block_reload, self.made.facts.can_skip) = (blocks, skips);
        }
        if head.part_target {
            self.line("#EXT-X-PART-INF:PART-TARGET=0.5");
            self.made.facts.part_target = Some(Duration::from_millis(500));
        }
        if let Some(vod) = head.vod {
            self.line(&format!("#EXT-X-PLAYLIST-TYPE:{}", if vod { "VOD" } else { "EVENT" }));
            self.made.facts.ended |= vod;
        }
        if let Some(segments) = head.skipped {
            self.line(&format!("#EXT-X-SKIP:SKIPPED-SEGMENTS={segments}"));
            self.next += segments;
        }
        lines.iter().for_each(|line| self.media_line(line));
        if head.ended {
            self.line("#EXT-X-ENDLIST");
            self.made.facts.ended = true;
        }
        if !head.last_newline {
            self.made.text.truncate(self.made.text.trim_end().len());
        }
        self.made.facts.reach = Reach { next: self.next, parts: self.parts };
        self.made
    }

    fn media_line(&mut self, line: &Line) {
        self.end = if line.carriage { "\r\n" } else { "\n" };
        let (uri, number) = (line.uri.as_str(), line.number);
        let yes = |says: bool, text: &'static str| if says { text } else { "" };
        match line.choice {
            0..=7 => {
                self.line(&format!("#EXTINF:{}.5,a title, URI=\"no\"", number % 10));
                self.uri("", uri, "");
                let (msn, gap) = (self.next, std::mem::take(&mut self.gap));
                self.made.names.push((Kind::Segment, Some(msn), None, false, gap));
                self.next += 1;
                self.parts = 0;
            }
            8..=10 => {
                let range = format!("\",BYTERANGE=\"{number}@7\"{}", yes(line.flag, ",GAP=YES"));
                self.uri("#EXT-X-PART:DURATION=0.5,URI=\"", uri, &range);
                self.made.names.push((Kind::Part, Some(self.next), Some(self.parts), false, line.flag));
                self.parts += 1;
            }
            11 if line.flag => {
                self.uri(
                    "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"",
                    uri,
                    &format!("\",BYTERANGE-START={number}"),
                );
                self.made.names.push((Kind::Part, Some(self.next), Some(self.parts), true, false));
            }
            11 => {
                self.uri("#EXT-X-PRELOAD-HINT:TYPE=MAP,URI=\"", uri, "\"");
                self.made.names.push((Kind::Init, None, None, true, false));
            }
            12 => {
                self.uri("#EXT-X-RENDITION-REPORT:URI=\"", uri, &format!("\",LAST-MSN={number},LAST-PART=1"));
                self.name(Kind::MediaPlaylist);
            }
            13 => {
                self.uri("#EXT-X-MAP:BYTERANGE=\"10@0\",URI=\"", uri, "\"");
                self.name(Kind::Init);
            }
            14 => {
                self.uri("#EXT-X-KEY:METHOD=AES-128,IV=0x01, URI=\"", uri, "\",KEYFORMAT=\"identity,URI=\"");
                self.name(Kind::Key);
            }
            15 => {
                let attribute = if line.flag { "X-ASSET-URI" } else { "X-ASSET-LIST" };
                let before = format!(
                    "#EXT-X-DATERANGE:ID=\"{number}\",START-DATE=\"2031-01-01T00:00:00Z\",{attribute}=\""
                );
                self.uri(&before, uri, "\",X-COM-A=\"b\"");
            }
            16 => {
                self.line("#EXT-X-GAP");
                self.gap = true;
            }
            17 => self.line(yes(line.flag, "#EXT-X-DISCONTINUITY")),
            18 => self.line(&format!("#EXT-X-BYTERANGE:{number}@0")),
            19 => self.line("#EXT-X-PROGRAM-DATE-TIME:2031-01-01T00:00:00.000Z"),
            20 => self.line(&format!("# {uri}")),
            21 => self.line(&format!("#EXT-X-VENDOR-{number}:URI=\"{uri}\"")),
            22 => self.line(&format!("#EXT-X-BITRATE:{number}")),
            _ => self.line(""),
        }
    }

    fn multivariant(mut self, lines: &[Line]) -> Generated {
        for line in lines {
            self.end = if line.carriage { "\r\n" } else { "\n" };
            let (uri, number) = (line.uri.as_str(), line.number);
            match line.choice {
                0..=8 => {
                    self.line(&format!("#EXT-X-STREAM-INF:BANDWIDTH={number},CODECS=\"a,b\",URI=\"no\""));
                    if line.flag {
                        self.line("# between");
                    }
                    self.uri("", uri, "");
                    self.name(Kind::MediaPlaylist);
                    self.made.facts.multivariant = true;
                    self.next += 1;
                }
                9..=11 => {
                    let kind = ["AUDIO", "VIDEO", "SUBTITLES"][(number % 3) as usize];
                    self.uri(
                        &format!("#EXT-X-MEDIA:TYPE={kind},GROUP-ID=\"g\",NAME=\"n\",URI=\""),
                        uri,
                        "\"",
                    );
                    self.name(Kind::MediaPlaylist);
                }
                12 | 13 => {
                    let tag = if line.flag { "I-FRAME" } else { "IMAGE" };
                    self.uri(&format!("#EXT-X-{tag}-STREAM-INF:BANDWIDTH={number},URI=\""), uri, "\"");
                    self.name(Kind::MediaPlaylist);
                }
                14 => {
                    self.uri("#EXT-X-SESSION-KEY:METHOD=AES-128,URI=\"", uri, "\"");
                    self.name(Kind::Key);
                }
                15 => self.uri("#EXT-X-SESSION-DATA:DATA-ID=\"a\",URI=\"", uri, "\""),
                16 => self.uri("#EXT-X-CONTENT-STEERING:SERVER-URI=\"", uri, "\",PATHWAY-ID=\"A\""),
                17 => self.line("#EXT-X-INDEPENDENT-SEGMENTS"),
                18 => self.line("#EXT-X-START:TIME-OFFSET=1"),
                19 => self.line("#EXT-X-DEFINE:NAME=\"n\",VALUE=\"v\""),
                20 => self.line(&format!("#{uri}")),
                _ => self.line(""),
            }
        }
        self.made.facts.reach.next = self.next;
        self.made
    }
}
