//! What a request to the demo origin asks for: path and query, parsed once.
//!
//! Decides what a path names and which part a blocking reload waits for; whether that exists yet is
//! [`super::timeline`]'s. Pure; called by the origin for each request.

use super::timeline::PartNumber;
use crate::demo::media::PARTS_PER_SEGMENT;

/// What a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource<'a> {
    /// `/healthz`
    Health,
    /// `/{stream}/index.m3u8`
    Multivariant(Stream),
    /// `/{stream}/{rendition}/index.m3u8`
    Playlist(Stream, &'a str),
    /// `/{stream}/{rendition}/init.mp4`
    Init(Stream, &'a str),
    /// `/{stream}/{rendition}/seg-{number}.m4s`
    Segment(Stream, &'a str, u64),
    /// `/ll/{rendition}/seg-{number}.part{part}.m4s`
    Part(&'a str, u64, usize),
}

/// One of the three streams, all of the same media.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// `/vod`: the loop once.
    Vod,
    /// `/live`: a sliding window of segments.
    Live,
    /// `/ll`: the same with parts and blocking reload.
    LowLatency,
}

/// A blocking reload that cannot be understood (RFC 8216bis section 6.2.5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReloadError {
    /// A directive is not a decimal number, or stands twice.
    #[error("{0} is not one decimal number")]
    Number(&'static str),
    /// `_HLS_part` without `_HLS_msn`.
    #[error("_HLS_part needs _HLS_msn")]
    PartAlone,
}

/// A blocking reload: the playlist is wanted once it holds this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reload {
    /// `_HLS_msn`.
    pub segment: u64,
    /// The last part that has to be in it.
    pub part: PartNumber,
}

impl Resource<'_> {
    /// What a path names, if it has the form of anything.
    pub fn parse(path: &str) -> Option<Resource<'_>> {
        if path == "/healthz" {
            return Some(Resource::Health);
        }
        let mut segments = path.strip_prefix('/')?.split('/');
        let stream = match segments.next()? {
            "vod" => Stream::Vod,
            "live" => Stream::Live,
            "ll" => Stream::LowLatency,
            _ => return None,
        };
        match (segments.next()?, segments.next(), segments.next()) {
            ("index.m3u8", None, None) => Some(Resource::Multivariant(stream)),
            (rendition, Some(file), None) => Resource::parse_file(stream, rendition, file),
            _ => None,
        }
    }

    fn parse_file<'a>(stream: Stream, rendition: &'a str, file: &str) -> Option<Resource<'a>> {
        match file {
            "index.m3u8" => return Some(Resource::Playlist(stream, rendition)),
            "init.mp4" => return Some(Resource::Init(stream, rendition)),
            _ => {}
        }
        let name = file.strip_prefix("seg-")?.strip_suffix(".m4s")?;
        match name.split_once(".part") {
            None => Some(Resource::Segment(stream, rendition, number(name)?)),
            Some((segment, part)) if stream == Stream::LowLatency => {
                let part = usize::try_from(number(part)?).ok().filter(|part| *part < PARTS_PER_SEGMENT)?;
                Some(Resource::Part(rendition, number(segment)?, part))
            }
            Some(_) => None,
        }
    }
}

impl Reload {
    /// The blocking reload that a query asks for; None: there is none. Other parameters do not matter.
    ///
    /// # Errors
    /// [`ReloadError`]: the directives cannot be understood, and the request is to be answered 400.
    pub fn parse(query: &str) -> Result<Option<Reload>, ReloadError> {
        let (mut segment, mut part) = (None, None);
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let (slot, name) = match name {
                "_HLS_msn" => (&mut segment, "_HLS_msn"),
                "_HLS_part" => (&mut part, "_HLS_part"),
                _ => continue,
            };
            let value = number(value).ok_or(ReloadError::Number(name))?;
            if slot.replace(value).is_some() {
                return Err(ReloadError::Number(name));
            }
        }
        match (segment, part) {
            (None, None) => Ok(None),
            (None, Some(_)) => Err(ReloadError::PartAlone),
            (Some(segment), part) => {
                let part = match part {
                    None => PartNumber::last_of(segment),
                    Some(part) if part < PARTS_PER_SEGMENT as u64 => PartNumber::new(segment, part),
                    // A part past the last one of its segment means the first part of the next segment.
                    Some(_) => segment.checked_add(1).and_then(|next| PartNumber::new(next, 0)),
                };
                Ok(Some(Reload { segment, part: part.ok_or(ReloadError::Number("_HLS_msn"))? }))
            }
        }
    }
}

/// A decimal number without sign or leading zeros, as the playlists write it.
fn number(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    #[test]
    fn every_announced_form_of_path_is_understood() {
        use Stream::{Live, LowLatency, Vod};
        let expected = [
            ("/healthz", Resource::Health),
            ("/vod/index.m3u8", Resource::Multivariant(Vod)),
            ("/live/360p/index.m3u8", Resource::Playlist(Live, "360p")),
            ("/live/360p/init.mp4", Resource::Init(Live, "360p")),
            ("/vod/180p/seg-0.m4s", Resource::Segment(Vod, "180p", 0)),
            ("/ll/540p/seg-1234.part3.m4s", Resource::Part("540p", 1234, 3)),
            ("/ll/540p/seg-1234.m4s", Resource::Segment(LowLatency, "540p", 1234)),
        ];
        for (path, resource) in expected {
            assert_eq!(Resource::parse(path), Some(resource), "{path}");
        }
    }

    #[test]
    fn other_paths_name_nothing() {
        for path in [
            "",
            "/",
            "/live",
            "/live/",
            "/dash/index.m3u8",
            "/live/180p/x/index.m3u8",
            "/live/180p/seg-.m4s",
            "/live/180p/seg-01.m4s",
            "/live/180p/seg-+1.m4s",
            "/live/180p/seg-1.part0.m4s",
            "/ll/180p/seg-1.part4.m4s",
            "/ll/180p/seg-99999999999999999999.m4s",
            "/live/180p/seg-1.ts",
        ] {
            assert_eq!(Resource::parse(path), None, "{path}");
        }
    }

    #[test]
    fn a_reload_without_part_waits_for_the_whole_segment() {
        let reload = Reload::parse("_HLS_msn=7").unwrap().unwrap();
        assert_eq!(reload, Reload { segment: 7, part: PartNumber::last_of(7).unwrap() });
    }

    #[test]
    fn a_part_past_the_segment_is_the_first_of_the_next() {
        let reload = Reload::parse("a=b&_HLS_part=4&_HLS_msn=7").unwrap().unwrap();
        assert_eq!(reload.part, PartNumber::new(8, 0).unwrap());
    }

    #[test]
    fn a_query_without_directives_does_not_block() {
        assert_eq!(Reload::parse(""), Ok(None));
        assert_eq!(Reload::parse("_HLS_skip=YES&x"), Ok(None));
    }

    #[test]
    fn a_reload_that_makes_no_sense_is_refused() {
        assert_eq!(Reload::parse("_HLS_part=1"), Err(ReloadError::PartAlone));
        for query in ["_HLS_msn=", "_HLS_msn=-1", "_HLS_msn=1&_HLS_msn=1", "_HLS_msn=18446744073709551615"] {
            assert_eq!(Reload::parse(query), Err(ReloadError::Number("_HLS_msn")), "{query}");
        }
    }
}
