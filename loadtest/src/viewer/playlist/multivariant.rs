//! Multivariant playlists (RFC 8216bis, section 4.4.6): the variants of a title and their audio renditions.

use anyhow::{Context, Result, ensure};

use super::attributes::{attributes, number};
use super::{RENDITIONS_MAX, VARIANTS_MAX};

/// What of a title can be chosen.
#[derive(Debug, PartialEq)]
pub(crate) struct Multivariant {
    /// By ascending peak; of several with one peak the first, the others stand in for it elsewhere (redundant variants).
    pub(crate) variants: Box<[Variant]>,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Variant {
    /// `BANDWIDTH`, in bits per second: what a line has to carry.
    pub(crate) peak: u64,
    /// `AVERAGE-BANDWIDTH`, or else the peak, in bits per second.
    pub(crate) bitrate: u64,
    pub(crate) uri: Box<str>,
    /// Where its audio is, if it is not in its segments.
    pub(crate) audio: Option<Box<str>>,
}

/// An `EXT-X-MEDIA` of type AUDIO.
struct Audio<'a> {
    group: &'a str,
    uri: Option<&'a str>,
    default: bool,
}

struct Listed<'a> {
    peak: u64,
    bitrate: u64,
    group: Option<&'a str>,
    uri: &'a str,
}

// === impl Multivariant ===

impl Multivariant {
    pub(super) fn parse<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Self> {
        let (mut listed, mut audios, mut open) = (Vec::new(), Vec::new(), None);
        for line in lines {
            if let Some(list) = line.strip_prefix("#EXT-X-STREAM-INF:") {
                open = Some(stream_inf(list)?);
            } else if let Some(list) = line.strip_prefix("#EXT-X-MEDIA:") {
                ensure!(audios.len() < RENDITIONS_MAX, "more than {RENDITIONS_MAX} renditions");
                audios.extend(audio(list));
            } else if !line.starts_with('#') {
                let (peak, bitrate, group) =
                    open.take().context("a variant's URI without EXT-X-STREAM-INF")?;
                ensure!(listed.len() < VARIANTS_MAX, "more than {VARIANTS_MAX} variants");
                listed.push(Listed { peak, bitrate, group, uri: line });
            }
        }
        ensure!(!listed.is_empty(), "EXT-X-STREAM-INF without a URI after it");
        listed.sort_by_key(|variant| variant.peak);
        listed.dedup_by_key(|variant| variant.peak);
        let variants = listed.into_iter().map(|listed| Variant::of(&listed, &audios)).collect();
        Ok(Self { variants })
    }
}

// === impl Variant ===

impl Variant {
    fn of(listed: &Listed<'_>, audios: &[Audio<'_>]) -> Self {
        let group = || audios.iter().filter(|audio| Some(audio.group) == listed.group);
        let audio = group().find(|audio| audio.default).or_else(|| group().next());
        Self {
            peak: listed.peak,
            bitrate: listed.bitrate,
            uri: listed.uri.into(),
            audio: audio.and_then(|audio| audio.uri).map(Into::into),
        }
    }
}

/// Peak, bitrate and audio group.
fn stream_inf(list: &str) -> Result<(u64, u64, Option<&str>)> {
    let (mut peak, mut average, mut group) = (None, None, None);
    for (name, value) in attributes(list) {
        match name {
            "BANDWIDTH" => peak = Some(number(value)?),
            "AVERAGE-BANDWIDTH" => average = Some(number(value)?),
            "AUDIO" => group = Some(value),
            _ => {}
        }
    }
    let peak = peak.context("EXT-X-STREAM-INF without BANDWIDTH")?;
    Ok((peak, average.unwrap_or(peak), group))
}

fn audio(list: &str) -> Option<Audio<'_>> {
    let mut audio = Audio { group: "", uri: None, default: false };
    let mut is_audio = false;
    for (name, value) in attributes(list) {
        match name {
            "TYPE" => is_audio = value == "AUDIO",
            "GROUP-ID" => audio.group = value,
            "URI" => audio.uri = Some(value),
            "DEFAULT" => audio.default = value == "YES",
            _ => {}
        }
    }
    is_audio.then_some(audio)
}
