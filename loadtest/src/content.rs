//! What is in a synthetic object: every byte follows from the object's path and its position.
//!
//! The origin writes bodies from it and the clients check them against it, each on their own, so that neither has to
//! keep a body. It knows nothing of HTTP. The path of an object also says its size and how slowly the origin sends it.

use std::time::Duration;

/// The largest synthetic object, in bytes.
pub(crate) const OBJECT_BYTES_MAX: u64 = 1 << 30;

/// The longest time over which the origin may spread one body.
pub(crate) const PACE_MAX: Duration = Duration::from_secs(60);

/// A synthetic object: where it is, how large it is, and over which time the origin spreads its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Object {
    /// The path on the origin, which is also the seed of the content.
    pub(crate) path: String,
    /// The body's length in bytes.
    pub(crate) size: u64,
    /// From the first to the last byte of the body; zero sends as fast as the reader takes it.
    pub(crate) pace: Duration,
}

/// The bytes of one object, by position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Content {
    seed: u64,
}

/// A digest of bytes that come piece by piece (FNV-1a, 64 bits): tells texts apart that nobody forges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Digest(u64);

/// Where the media of scenarios are, on the origin and, below whatever a server puts before it (a token), on a server.
pub(crate) const MEDIA: &str = "/media/";

/// What the origin has for a path of a scenario's media.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected {
    pub(crate) content: Content,
    /// Length of the whole object in bytes.
    pub(crate) bytes: u64,
}

/// What the origin has for this path, if the path says it: `.../media/ANYTHING.BYTES.m4s`, `.BYTES.mp4` or `.BYTES.key`. What stands
/// before `/media/` is not part of the content's name.
pub(crate) fn expected(path: &str) -> Option<Expected> {
    let name = &path[path.rfind(MEDIA)?..];
    let stem = [".m4s", ".mp4", ".key"].into_iter().find_map(|end| name.strip_suffix(end))?;
    let bytes = stem.rsplit_once('.')?.1.parse().ok()?;
    Some(Expected { content: Content::of(name), bytes })
}

// === impl Object ===

impl Object {
    /// The object of this name (letters, digits and hyphens). Two names are two bodies.
    pub(crate) fn new(name: &str, size: u64, pace: Duration) -> Self {
        Self { path: format!("/bytes/{size}/pace/{}/{name}.m4s", pace.as_millis()), size, pace }
    }

    /// The object a request path names; `None` when the path is of another form or beyond the limits.
    pub(crate) fn parse(path: &str) -> Option<Self> {
        let rest = path.strip_prefix("/bytes/")?;
        let (size, rest) = rest.split_once("/pace/")?;
        let (pace, name) = rest.split_once('/')?;
        let size = size.parse().ok().filter(|size| *size <= OBJECT_BYTES_MAX)?;
        let pace = Duration::from_millis(pace.parse().ok()?);
        let name = name.strip_suffix(".m4s")?;
        let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        (plain && pace <= PACE_MAX).then(|| Self { path: path.to_owned(), size, pace })
    }

    /// The object's bytes.
    pub(crate) fn content(&self) -> Content {
        Content::of(&self.path)
    }
}

// === impl Digest ===

impl Default for Digest {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Digest {
    /// The digest of a whole text.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut digest = Self::default();
        digest.update(bytes);
        digest
    }

    /// Adds what follows.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

// === impl Content ===

impl Content {
    /// The content that belongs to a path.
    pub(crate) fn of(path: &str) -> Self {
        Self { seed: Digest::of(path.as_bytes()).0 }
    }

    /// Writes the bytes that start at `offset` over the whole of `out`.
    pub(crate) fn fill(&self, offset: u64, out: &mut [u8]) {
        let (first, skip) = (offset / 8, (offset % 8) as usize);
        let head = out.len().min((8 - skip) % 8);
        let (unaligned, aligned) = out.split_at_mut(head);
        unaligned.copy_from_slice(&self.word(first)[skip..skip + head]);
        let first = first + u64::from(skip > 0);
        // Whole words: copies of a length that is not known beforehand are a call for each.
        let (words, rest) = aligned.as_chunks_mut::<8>();
        let last = first + words.len() as u64;
        for (index, word) in (first..).zip(words) {
            *word = self.word(index);
        }
        rest.copy_from_slice(&self.word(last)[..rest.len()]);
    }

    /// The position of the first byte of `data`, which starts at `offset`, that is not what it has to be.
    pub(crate) fn first_difference(&self, offset: u64, data: &[u8]) -> Option<u64> {
        let (first, skip) = (offset / 8, (offset % 8) as usize);
        let head = data.len().min((8 - skip) % 8);
        let (unaligned, aligned) = data.split_at(head);
        let mut wrong = unaligned != &self.word(first)[skip..skip + head];
        let first = first + u64::from(skip > 0);
        // Whole words as numbers: a comparison of slices is a call for each.
        let (words, rest) = aligned.as_chunks::<8>();
        for (index, word) in (first..).zip(words) {
            wrong |= u64::from_ne_bytes(*word) != u64::from_ne_bytes(self.word(index));
        }
        wrong |= *rest != self.word(first + words.len() as u64)[..rest.len()];
        let expected = |at: u64| self.word(at / 8)[(at % 8) as usize];
        wrong.then(|| {
            (offset..).zip(data).find(|(at, byte)| **byte != expected(*at)).map_or(offset, |(at, _)| at)
        })
    }

    /// Eight bytes of content (splitmix64 of the seed and the position).
    fn word(&self, index: u64) -> [u8; 8] {
        let mut z = self.seed.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)).to_le_bytes()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    fn whole(content: Content, size: usize) -> Vec<u8> {
        let mut out = vec![0; size];
        content.fill(0, &mut out);
        out
    }

    #[test]
    fn a_part_is_the_same_bytes_as_in_the_whole() {
        let content = Content::of("/a");
        let body = whole(content, 100);
        for start in 0..100 {
            for end in start..=100 {
                let mut part = vec![0; end - start];
                content.fill(start as u64, &mut part);
                assert_eq!(part, body[start..end], "{start}..{end}");
                assert_eq!(content.first_difference(start as u64, &part), None, "{start}..{end}");
            }
        }
    }

    #[test]
    fn one_changed_byte_is_found_where_it_is() {
        let content = Content::of("/a");
        for start in 0..9 {
            for at in start..60 {
                let mut body = whole(content, 60);
                body[at] ^= 1;
                assert_eq!(content.first_difference(start as u64, &body[start..]), Some(at as u64));
            }
        }
    }

    #[test]
    fn two_names_are_two_bodies() {
        assert_ne!(whole(Content::of("/a"), 64), whole(Content::of("/b"), 64));
    }

    #[test]
    fn a_path_says_what_its_object_is() {
        let object = Object::new("herd-1", 2_000_000, Duration::from_secs(1));
        assert_eq!(Object::parse(&object.path), Some(object));
    }

    #[test]
    fn a_media_path_says_its_length_and_its_content_is_the_same_below_a_token() {
        let plain = expected("/media/live/final/v2/17.625000.m4s").unwrap();
        let below = expected("/exp=1~hmac=00/media/live/final/v2/17.625000.m4s").unwrap();
        assert_eq!((plain.bytes, below.bytes), (625_000, 625_000));
        assert_eq!(whole(plain.content, 64), whole(below.content, 64));
        for other in
            ["/media/live/final/index.m3u8", "/17.625000.m4s", "/media/17.m4s", "/media/17.x.m4s", ""]
        {
            assert!(expected(other).is_none(), "{other}");
        }
    }

    #[test]
    fn a_path_of_another_form_names_no_object() {
        for path in [
            "/",
            "/bytes/1/pace/0/.m4s",
            "/bytes/1/pace/0/a/b.m4s",
            "/bytes/-1/pace/0/a.m4s",
            "/bytes/1/pace/60001/a.m4s",
            "/bytes/1073741825/pace/0/a.m4s",
            "/bytes/1/pace/0/a.ts",
        ] {
            assert_eq!(Object::parse(path), None, "{path}");
        }
    }
}
