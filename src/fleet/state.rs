//! The file that outlives a node: which purges of the fleet it has applied, and those that it has yet to tell.
//!
//! Lines that are appended and synced, a checksum and a JSON value each. The last one may be torn by a kill: it was never
//! answered, and is left out. Any other that does not read is damage; what the file said is unknown then, which is told,
//! and the node goes on. When most lines are history the file is written anew under another name, and then renamed.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::message::{Message, PurgeId};
use crate::lines;
use crate::watermark::Watermark;

/// The first line.
const HEADER: &str = "forebay fleet 1";

/// Bytes of a file that is read: the largest outbox, twice, and history.
const FILE_BYTES_MAX: u64 = 3 << 30;

/// Bytes of history beyond which the file is written anew, if they are also more than what holds.
const HISTORY_BYTES_MAX: u64 = 256 * 1024;

/// How far a node has applied what the fleet was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// Which stream: another one when Redis has lost its data.
    pub(super) epoch: String,
    /// The place of the last entry.
    pub(super) at: Watermark,
}

/// What a file said.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) standing: Option<Standing>,
    /// What is yet to be told, the oldest first.
    pub(super) outbox: Vec<Message>,
    /// Why it cannot be relied on: nothing else is known then.
    pub(super) damage: Option<String>,
}

/// One line.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    /// What is applied.
    Applied { epoch: String, at: String },
    /// What is to be told.
    Untold(Message),
    /// What has been told.
    Told(Vec<PurgeId>),
}

/// A file, open for writing.
#[derive(Debug)]
pub(super) struct StateFile {
    path: PathBuf,
    /// None: it is to be written anew.
    file: Option<File>,
    bytes: u64,
    /// Of what held when it was written anew.
    live_bytes: u64,
}

impl Line {
    pub(super) fn applied(standing: &Standing) -> Line {
        Line::Applied { epoch: standing.epoch.clone(), at: standing.at.to_string() }
    }

    fn text(&self) -> String {
        // Text and lists always make JSON.
        let json = serde_json::to_string(self).unwrap_or_default();
        lines::line(&json)
    }

    /// None: it is damaged.
    fn read(text: &str) -> Option<Line> {
        serde_json::from_str(lines::text(text)?).ok()
    }
}

impl StateFile {
    /// Reads a file, and creates it where there is none.
    ///
    /// # Errors
    /// When it cannot be read, or its folder cannot be written.
    pub(super) fn open(path: &Path) -> io::Result<(StateFile, Kept)> {
        let kept = match File::open(path) {
            Ok(file) => {
                let mut bytes = Vec::new();
                file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
                read(&bytes)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Kept::default(),
            Err(error) => return Err(error),
        };
        let mut file = StateFile { path: path.to_owned(), file: None, bytes: 0, live_bytes: 0 };
        // A damaged one is replaced together with the first line that is noted.
        if kept.damage.is_none() {
            let standing = kept.standing.iter().map(Line::applied);
            file.write_anew(standing.chain(kept.outbox.iter().cloned().map(Line::Untold)))?;
        }
        Ok((file, kept))
    }

    /// Appends lines, and returns when they are on the disk. `all` gives what holds, these included.
    ///
    /// # Errors
    /// When the file cannot be written; it is written anew with the next line then.
    pub(super) fn note(&mut self, lines: &[Line], all: impl FnOnce() -> Vec<Line>) -> io::Result<()> {
        let text: String = lines.iter().map(Line::text).collect();
        let bytes = self.bytes + text.len() as u64;
        let is_due = bytes > HISTORY_BYTES_MAX.max(2 * self.live_bytes);
        let Some(file) = self.file.as_mut().filter(|_| !is_due) else {
            return self.write_anew(all().into_iter());
        };
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_data());
        self.bytes = bytes;
        if written.is_err() {
            self.file = None;
        }
        written
    }

    /// Writes the file anew with these lines alone.
    ///
    /// # Errors
    /// As [`StateFile::note`].
    pub(super) fn rewrite(&mut self, lines: Vec<Line>) -> io::Result<()> {
        self.write_anew(lines.into_iter())
    }

    fn write_anew(&mut self, all: impl Iterator<Item = Line>) -> io::Result<()> {
        self.file = None;
        let mut bytes = 0;
        let written = all.map(|line| line.text()).inspect(|text| bytes += text.len() as u64);
        self.file = Some(lines::write_anew(&self.path, HEADER, written)?);
        (self.bytes, self.live_bytes) = (bytes, bytes);
        Ok(())
    }
}

fn read(bytes: &[u8]) -> Kept {
    let damaged = |what: String| Kept { damage: Some(what), ..Kept::default() };
    if bytes.is_empty() {
        return damaged("it is empty".to_owned());
    }
    // What is behind the last line end was torn.
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let Some(text) = bytes.get(..whole).and_then(|bytes| std::str::from_utf8(bytes).ok()) else {
        return damaged("it is not text".to_owned());
    };
    let mut lines = text.lines();
    if lines.next() != Some(HEADER) {
        return damaged(format!("its first line is not \"{HEADER}\""));
    }
    let mut kept = Kept::default();
    for (place, line) in lines.enumerate() {
        match Line::read(line) {
            Some(Line::Applied { epoch, at }) => {
                let Ok(at) = at.parse() else { return damaged(format!("line {}", place + 2)) };
                kept.standing = Some(Standing { epoch, at });
            }
            Some(Line::Untold(message)) => kept.outbox.push(message),
            Some(Line::Told(ids)) => kept.outbox.retain(|message| !ids.contains(&message.id)),
            None => return damaged(format!("line {}", place + 2)),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use std::fs;

    use super::*;
    use crate::store::purges::PurgeMode;

    fn standing(millis: u64) -> Standing {
        Standing { epoch: "e".to_owned(), at: Watermark { millis, sequence: 0 } }
    }

    fn message() -> Message {
        Message::everything("n", PurgeMode::Hard)
    }

    #[test]
    fn what_was_noted_is_there_when_it_is_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fleet");
        let (mut file, kept) = StateFile::open(&path).unwrap();
        assert!(kept.standing.is_none() && kept.outbox.is_empty() && kept.damage.is_none());
        let (told, untold) = (message(), message());
        file.note(&[Line::Untold(told.clone())], Vec::new).unwrap();
        file.note(&[Line::Untold(untold.clone()), Line::applied(&standing(3))], Vec::new).unwrap();
        file.note(&[Line::Told(vec![told.id])], Vec::new).unwrap();
        for _ in 0..2 {
            let (_, kept) = StateFile::open(&path).unwrap();
            assert_eq!((kept.standing, &kept.outbox[..]), (Some(standing(3)), &[untold.clone()][..]));
        }
        // A line that a kill has cut off was never answered.
        let mut bytes = fs::read(&path).unwrap();
        bytes.extend_from_slice(&Line::Untold(message()).text().as_bytes()[..30]);
        fs::write(&path, &bytes).unwrap();
        assert_eq!(StateFile::open(&path).unwrap().1.outbox, [untold]);
    }

    #[test]
    fn any_damage_is_told_and_nothing_is_believed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fleet");
        let (mut file, _) = StateFile::open(&path).unwrap();
        file.note(&[Line::Untold(message()), Line::applied(&standing(3))], Vec::new).unwrap();
        let whole = fs::read(&path).unwrap();
        for place in 0..whole.len() - 1 {
            let mut bytes = whole.clone();
            bytes[place] ^= 4;
            let kept = read(&bytes);
            let is_sound = kept.damage.is_some() && kept.standing.is_none() && kept.outbox.is_empty();
            assert!(is_sound, "byte {place}: {kept:?}");
        }
        assert!(read(b"").damage.is_some());
    }

    #[test]
    fn history_does_not_grow_without_bound() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fleet");
        let (mut file, _) = StateFile::open(&path).unwrap();
        file.file = Some(File::options().write(true).open("/dev/null").unwrap());
        for count in 0..20_000 {
            // Only the step that writes the file anew goes to a disk.
            if file.note(&[Line::applied(&standing(count))], || vec![Line::applied(&standing(7))]).is_err() {
                file.file = Some(File::options().write(true).open("/dev/null").unwrap());
            }
            assert!(file.bytes <= HISTORY_BYTES_MAX);
            if path.metadata().unwrap().len() > HEADER.len() as u64 + 1 {
                let (_, kept) = StateFile::open(&path).unwrap();
                return assert_eq!(kept.standing, Some(standing(7)));
            }
        }
        panic!("it was never written anew");
    }
}
