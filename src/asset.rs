//! What a path names: playlist, segment, part, init segment, key, manifest, image, API document or anything else.
//!
//! Decides the *kind* of an asset from its path alone; what a playlist says about itself (multivariant or media, live or
//! ended) is read later, by [`crate::hls`], and may refine the kind of a stored object. Freshness, negative caching,
//! CORS and metrics all speak in these kinds.

/// The kind of an asset. The word of [`Kind::as_str`] is the same in metric labels, the access log and rule `kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// A playlist that lists variants (RFC 8216bis section 4.4.6).
    MultivariantPlaylist,
    /// A playlist that lists segments, live or ended (RFC 8216bis section 4.4.3); also any playlist not read yet.
    MediaPlaylist,
    /// A media segment, of HLS or DASH.
    Segment,
    /// A partial segment (`EXT-X-PART`, RFC 8216bis section 4.4.4.9).
    Part,
    /// A media initialization section (`EXT-X-MAP`, RFC 8216bis section 4.4.4.5).
    Init,
    /// A decryption key or a licence: never shared between viewers.
    Key,
    /// A DASH manifest.
    Manifest,
    /// A picture: thumbnails, posters.
    Image,
    /// A JSON document of an application.
    Api,
    /// Everything else.
    Other,
}

impl Kind {
    /// Every kind, in the order of the discriminants, so that `ALL[kind as usize] == kind`.
    pub const ALL: [Kind; 10] = [
        Kind::MultivariantPlaylist,
        Kind::MediaPlaylist,
        Kind::Segment,
        Kind::Part,
        Kind::Init,
        Kind::Key,
        Kind::Manifest,
        Kind::Image,
        Kind::Api,
        Kind::Other,
    ];

    /// The word for this kind in labels, logs and configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::MultivariantPlaylist => "multivariant_playlist",
            Kind::MediaPlaylist => "media_playlist",
            Kind::Segment => "segment",
            Kind::Part => "part",
            Kind::Init => "init",
            Kind::Key => "key",
            Kind::Manifest => "manifest",
            Kind::Image => "image",
            Kind::Api => "api",
            Kind::Other => "other",
        }
    }

    /// The kind with this word, if there is one.
    pub fn from_word(word: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// Whether this is an HLS playlist of either sort.
    pub const fn is_playlist(self) -> bool {
        matches!(self, Kind::MultivariantPlaylist | Kind::MediaPlaylist)
    }
}

/// Classifies a path (no query) by the extension and the name of its last segment.
///
/// The extension is compared without regard to case. An MP4 file whose stem says `init` is an initialization section; a
/// segment whose stem says `part` is a partial segment.
pub fn classify(path: &str) -> Kind {
    let name = path.rsplit('/').next().unwrap_or_default();
    let Some((stem, extension)) = name.rsplit_once('.') else {
        return Kind::Other;
    };
    let is = |known: &[&str]| known.iter().any(|k| extension.eq_ignore_ascii_case(k));
    if is(&["m3u8", "m3u"]) {
        Kind::MediaPlaylist
    } else if is(&[
        "m4s", "ts", "mp4", "m4v", "m4a", "cmfv", "cmfa", "cmft", "aac", "ac3", "ec3", "mp3", "vtt", "webvtt",
    ]) {
        segment_kind(stem)
    } else if is(&["mpd"]) {
        Kind::Manifest
    } else if is(&["key"]) {
        Kind::Key
    } else if is(&["jpg", "jpeg", "png", "webp", "avif", "gif"]) {
        Kind::Image
    } else if is(&["json"]) {
        Kind::Api
    } else {
        Kind::Other
    }
}

fn segment_kind(stem: &str) -> Kind {
    let has_word = |word: &str| {
        stem.split(|c: char| !c.is_ascii_alphabetic()).any(|part| part.eq_ignore_ascii_case(word))
    };
    if has_word("init") {
        Kind::Init
    } else if has_word("part") {
        Kind::Part
    } else {
        Kind::Segment
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_classified_by_its_last_segment() {
        for (path, kind) in [
            ("/live/index.m3u8", Kind::MediaPlaylist),
            ("/live/INDEX.M3U8", Kind::MediaPlaylist),
            ("/live/seg-12.m4s", Kind::Segment),
            ("/live/12.ts", Kind::Segment),
            ("/live/init.mp4", Kind::Init),
            ("/live/video_init_0.mp4", Kind::Init),
            ("/live/initial.mp4", Kind::Segment),
            ("/live/seg-12.part3.m4s", Kind::Part),
            ("/part/seg12.m4s", Kind::Segment),
            ("/k/1.key", Kind::Key),
            ("/d/a.mpd", Kind::Manifest),
            ("/t/a.jpg", Kind::Image),
            ("/api/home.json", Kind::Api),
            ("/api/home", Kind::Other),
            ("/a.m3u8/x", Kind::Other),
            ("/", Kind::Other),
            ("", Kind::Other),
        ] {
            assert_eq!(classify(path), kind, "{path}");
        }
    }

    #[test]
    fn words_and_discriminants_agree() {
        for (place, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, place);
            assert_eq!(Kind::from_word(kind.as_str()), Some(kind));
        }
    }
}
