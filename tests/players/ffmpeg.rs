//! ffmpeg as a player of the live edge: what it decodes, picture by picture.

use std::io::Write;

use forebay::demo::media::{Media, PARTS_PER_SEGMENT};
use tokio::process::Command;

/// Seconds of media that are read: five segments.
const SECONDS: &str = "10";

/// Pictures of a segment.
const SEGMENT_PICTURES: usize = 48;

/// Pictures of a part.
const PART_PICTURES: usize = SEGMENT_PICTURES / PARTS_PER_SEGMENT;

/// Pictures that are decoded at least, of five segments.
const PICTURES: usize = 5 * SEGMENT_PICTURES - PART_PICTURES - 1;

/// What ffmpeg made of a stream.
#[derive(Debug)]
pub(crate) struct Read {
    /// Hashes of the pictures, in their order.
    pictures: Vec<String>,
    /// Its complaints.
    complaints: String,
    succeeded: bool,
}

/// Reads [`SECONDS`] from the live edge, the lowest rendition, and decodes picture and sound.
pub(crate) async fn read(url: &str) -> Read {
    hashes(&["-i", url, "-map", "0:v:0", "-map", "0:a:0", "-t", SECONDS]).await
}

async fn hashes(input: &[&str]) -> Read {
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error"])
        .args(input)
        .args(["-fps_mode", "passthrough", "-f", "framehash", "-hash", "sha256", "-"])
        .kill_on_drop(true)
        .output()
        .await
        .expect("ffmpeg is missing: run `make setup`");
    let lines = String::from_utf8_lossy(&output.stdout);
    // Stream, decoding time, presentation time, duration, size, hash.
    let frames = lines.lines().filter(|line| !line.starts_with('#')).map(|line| line.split(','));
    let pictures = frames.filter_map(|mut frame| (frame.next()?.trim() == "0").then(|| frame.next_back())?);
    Read {
        pictures: pictures.map(|hash| hash.trim().to_owned()).collect(),
        complaints: String::from_utf8_lossy(&output.stderr).into_owned(),
        succeeded: output.status.success(),
    }
}

/// The pictures of the clear loop, of the rendition that is listed first.
pub(crate) async fn clear_pictures() -> Vec<String> {
    let media = Media::load().expect("the demo's media");
    let rendition = media.renditions.first().expect("a rendition");
    let mut file = tempfile::NamedTempFile::with_suffix(".mp4").expect("a temporary file");
    let segments = rendition.segments.iter().map(|segment| &segment.whole);
    for object in std::iter::once(&rendition.init).chain(segments) {
        file.write_all(&object.bytes).expect("a writable file");
    }
    let path = file.path().to_str().expect("a path in UTF-8");
    let read = hashes(&["-i", path, "-map", "0:v:0"]).await;
    assert!(read.succeeded && read.complaints.is_empty(), "{}", read.complaints);
    assert_eq!(read.pictures.len(), rendition.segments.len() * SEGMENT_PICTURES);
    read.pictures
}

impl Read {
    /// It read all that was asked of it without a complaint: picture after picture of the clear loop, from the start of
    /// a segment on. Where the loop begins anew, ffmpeg 5.1 leaves out the first part of an fMP4 stream, clear or not.
    pub(crate) fn assert_played(&self, clear: &[String]) {
        assert!(self.succeeded && self.complaints.is_empty(), "{}", self.complaints);
        assert!(self.pictures.len() >= PICTURES, "{} pictures", self.pictures.len());
        let is_read_from = |start: usize| {
            let before = self.pictures.len().min(clear.len() - start);
            let (before, behind) = self.pictures.split_at(before);
            clear[start..].starts_with(before)
                && [0, PART_PICTURES].iter().any(|left_out| clear[*left_out..].starts_with(behind))
        };
        let start = (0..clear.len()).step_by(SEGMENT_PICTURES).find(|start| is_read_from(*start));
        assert!(start.is_some(), "{} pictures that are not a row of the loop's", self.pictures.len());
    }

    /// It read nothing, since the node refused it.
    pub(crate) fn assert_refused(&self) {
        assert!(!self.succeeded && self.pictures.is_empty(), "{self:?}");
        assert!(self.complaints.contains("403"), "{}", self.complaints);
    }
}
