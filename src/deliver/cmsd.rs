//! Common Media Server Data (CTA-5006): what an answer tells its player of the object and of the way it came.
//!
//! `CMSD-Static`, a Dictionary, is about the object and belongs to its origin: the node adds what it knows and the origin did
//! not say. `CMSD-Dynamic`, a List, has a member for each hop, in the order in which the answer passed them: the node
//! appends its own. What came is passed on as it was written, if it can be read (RFC 9651); else the player could read
//! nothing of the whole.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use pingora::http::ResponseHeader;
use sfv::{Dictionary, List, Parser};

use super::fields;
use crate::asset::Kind;
use crate::hls::ByteRange;
use crate::playlists::media::Told;

/// `CMSD-Static`.
pub const STATIC: HeaderName = HeaderName::from_static("cmsd-static");

/// `CMSD-Dynamic`.
pub const DYNAMIC: HeaderName = HeaderName::from_static("cmsd-dynamic");

/// What the node knows of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// `br`: encoded bitrate, on the average of its duration, in kbit/s.
    pub bitrate: Option<u64>,
    /// What playlists say of it: `d`, how long it plays, in ms; `nor` and `nrr`, what a player asks for next.
    pub media: Option<Arc<Told>>,
    /// `ot`: object type.
    pub object_type: Option<&'static str>,
    /// `sf`: streaming format.
    pub format: Option<&'static str>,
    /// `st`: stream type.
    pub stream_type: Option<&'static str>,
}

/// What the node says of its own part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hop {
    /// `du`: whether the node has more to do than it should.
    pub duress: bool,
    /// `etp`: estimated throughput towards the client, in kbit/s.
    pub throughput: Option<u64>,
    /// `rtt`: round-trip time to the client, in ms.
    pub round_trip: Option<u64>,
    /// `rd`: from the request to the answer, in ms.
    pub delay: Option<u64>,
    /// `com.forebay-hit`: whether it was answered from what the node held.
    pub hit: bool,
}

/// The object type of CTA-5006, where kind, name or content type tell it.
pub fn object_type(kind: Kind, path: &str, header: &ResponseHeader) -> Option<&'static str> {
    match kind {
        Kind::MultivariantPlaylist | Kind::MediaPlaylist | Kind::Manifest => Some("m"),
        Kind::Init => Some("i"),
        Kind::Key => Some("k"),
        Kind::Segment | Kind::Part => media_type(path, header),
        Kind::Image | Kind::Api | Kind::Other => None,
    }
}

/// Of a segment. One that may have both audio and video in it is not told.
fn media_type(path: &str, header: &ResponseHeader) -> Option<&'static str> {
    let extension =
        path.rsplit('/').next().and_then(|name| name.rsplit_once('.')).map(|(_, extension)| extension);
    let is = |known: &[&str]| {
        extension.is_some_and(|own| known.iter().any(|known| own.eq_ignore_ascii_case(known)))
    };
    let content_type = header.headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let begins = |word: &str| {
        content_type.get(..word.len()).is_some_and(|own| own.eq_ignore_ascii_case(word.as_bytes()))
    };
    if is(&["m4a", "cmfa", "aac", "ac3", "ec3", "mp3"]) || begins("audio/") {
        Some("a")
    } else if is(&["m4v", "cmfv"]) {
        Some("v")
    } else if is(&["vtt", "webvtt"]) || begins("text/vtt") {
        Some("c")
    } else if is(&["cmft"]) {
        Some("tt")
    } else {
        None
    }
}

/// Adds to `CMSD-Static` what the origin did not say.
pub fn describe(header: &mut ResponseHeader, about: &About) {
    let words = [("ot", about.object_type), ("sf", about.format), ("st", about.stream_type)];
    let words = words.into_iter().filter_map(|(key, value)| Some((key, value?.to_owned())));
    let media = about.media.as_deref();
    let duration = media.and_then(|media| media.duration).map(|duration| duration.as_millis().to_string());
    let bitrate = about.bitrate.filter(|bitrate| *bitrate <= INTEGER_MAX).map(|bitrate| bitrate.to_string());
    let next = media.and_then(|media| media.next.as_ref());
    let path = next.and_then(|next| next.path.as_ref()).map(|path| format!("\"{path}\""));
    let range = next.and_then(|next| next.range).map(|range| format!("\"{}\"", positions(range)));
    let media = [("d", duration), ("br", bitrate), ("nor", path), ("nrr", range)];
    let media = media.into_iter().filter_map(|(key, value)| Some((key, value?)));
    add_static(header, words.chain(media).chain([("v", "1".to_owned())]));
}

/// A sub-range as `nrr` writes it, which is as `Range` does.
fn positions(range: ByteRange) -> String {
    let last = range.len.and_then(|len| range.start.checked_add(len)?.checked_sub(1));
    last.map_or_else(|| format!("{}-", range.start), |last| format!("{}-{last}", range.start))
}

/// The bitrate, in kbit/s and rounded, of so many bytes that play for so long. None: they play for no time.
pub fn bitrate(bytes: u64, duration: Duration) -> Option<u64> {
    let milliseconds = duration.as_millis();
    let bits = u128::from(bytes) * 8;
    u64::try_from((bits + milliseconds / 2).checked_div(milliseconds)?).ok()
}

/// Adds `ht`, how long a blocking reload was held, in ms, to `CMSD-Static`, unless the origin said it.
pub fn tell_held(header: &mut ResponseHeader, milliseconds: u64) {
    add_static(header, [("ht", milliseconds.to_string())]);
}

fn add_static(header: &mut ResponseHeader, members: impl IntoIterator<Item = (&'static str, String)>) {
    let mut text = joined(header, &STATIC);
    let Ok(said) = Parser::new(&text).parse::<Dictionary>() else { return };
    for (key, value) in members.into_iter().filter(|(key, _)| !said.contains_key(*key)) {
        let comma = if text.is_empty() { "" } else { "," };
        // Writing to a string cannot fail.
        let _ = write!(text, "{comma}{key}={value}");
    }
    set(header, STATIC, &text);
}

/// Appends the node's member to `CMSD-Dynamic`. `passes` says whether the answer comes over the hops that are told of before
/// it; one from what the node held does not, and what they said of it then is not told again.
pub fn append_hop(header: &mut ResponseHeader, node: &str, hop: &Hop, passes: bool) {
    let before =
        Some(joined(header, &DYNAMIC)).filter(|text| passes && Parser::new(text).parse::<List>().is_ok());
    let mut text = before.unwrap_or_default();
    if !text.is_empty() {
        text.push(',');
    }
    // Writing to a string cannot fail.
    let _ = write!(text, "\"{node}\"");
    let figures = [("etp", hop.throughput), ("rtt", hop.round_trip), ("rd", hop.delay)];
    for (key, value) in figures.into_iter().filter_map(|(key, value)| Some((key, value?))) {
        let _ = write!(text, ";{key}={}", value.min(INTEGER_MAX));
    }
    if hop.duress {
        text.push_str(";du");
    }
    text.push_str(if hop.hit { ";com.forebay-hit" } else { ";com.forebay-hit=?0" });
    set(header, DYNAMIC, &text);
}

/// The largest integer of a structured field (RFC 9651 section 3.3.1).
const INTEGER_MAX: u64 = 999_999_999_999_999;

/// The lines of a field as one list (RFC 9651 section 4.2), empty ones left out; one that is not ASCII cannot be read, and
/// neither can this.
fn joined(header: &ResponseHeader, name: &HeaderName) -> String {
    let lines = header.headers.get_all(name).iter().map(|line| line.to_str().unwrap_or("\u{fffd}").trim());
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(",")
}

fn set(header: &mut ResponseHeader, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        fields::set(header, name, value);
    }
}

#[cfg(test)]
mod tests;
