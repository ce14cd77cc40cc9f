//! The file that revocations are noted in: lines that are appended, and synced before anything is answered.
//!
//! A line is a checksum and a JSON object. The last one may be torn, by a node that was killed while it wrote: it has no
//! line end, was never answered, and is left out. Any other that does not read is damage, and no start: a revocation that is silently
//! forgotten lets somebody in. At the start, and when most lines are history, the file is written anew with what still
//! holds, under another name, and then renamed.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::admission::revocation::{Identity, Kind, Record, Revocations};
use crate::lines;

/// The first line.
const HEADER: &str = "forebay revocations 1";

/// Bytes of a line: an identity all in escapes, and the rest.
const LINE_BYTES_MAX: u64 = 16 * 1024;

/// Lines of history beyond which the file is written anew, if they are also more than what holds.
const HISTORY_LINES_MAX: usize = 1024;

/// Why a file of revocations cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read or written.
    #[error("{}: {error}; name a file in a folder that exists and that the node may write in", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It is another kind of file.
    #[error("{}:1: is no file of revocations: its first line is not \"{HEADER}\"; name another file", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A line does not read.
    #[error(
        "{}:{line}: is damaged; put a copy of the file in its place, or take the line out, and give the revocation that \
         it held again",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// It holds more than the table may.
    #[error("{}: holds {over} revocations more than limits.revocations allows; raise that", path.display())]
    Full {
        /// The file.
        path: PathBuf,
        /// How many too many.
        over: usize,
    },
}

/// A file of revocations, open for writing.
#[derive(Debug)]
pub struct RevocationFile {
    path: PathBuf,
    file: File,
    /// Lines after the first.
    lines: usize,
    /// Whether it has to be written anew: the last write failed, and may have left half a line, or the file is no more
    /// where it was.
    is_torn: bool,
}

/// A line as it is written.
#[derive(Serialize, Deserialize)]
struct Line<'l> {
    kind: &'l str,
    value: std::borrow::Cow<'l, str>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    policy: Option<std::borrow::Cow<'l, str>>,
    until: u64,
    at: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    restored: bool,
}

impl RevocationFile {
    /// Opens a file, or creates it; takes what it holds into the table, and writes it anew without what has ended.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn open(path: &Path, table: &Revocations, now: u64) -> Result<RevocationFile, FileError> {
        let merged = table.merge(read(path)?, now);
        if merged.refused > 0 {
            return Err(FileError::Full { path: path.to_owned(), over: merged.refused });
        }
        let records = table.records(now);
        let file = write_anew(path, &records).map_err(|error| io_error(path, error))?;
        Ok(RevocationFile { path: path.to_owned(), file, lines: records.len(), is_torn: false })
    }

    /// Appends records, and returns when they are on the disk. `all` gives what holds, these included.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn note(
        &mut self,
        records: &[Arc<Record>],
        all: impl FnOnce() -> Vec<Arc<Record>>,
    ) -> Result<(), FileError> {
        // Appended to a file that has been moved away, a revocation would be forgotten at the next start.
        self.is_torn |= !is_at(&self.file, &self.path);
        if self.is_torn || self.lines + records.len() > HISTORY_LINES_MAX {
            let all = all();
            if self.is_torn || self.lines + records.len() > HISTORY_LINES_MAX.max(2 * all.len()) {
                self.file = write_anew(&self.path, &all).map_err(|error| io_error(&self.path, error))?;
                (self.lines, self.is_torn) = (all.len(), false);
                return Ok(());
            }
        }
        let text: String = records.iter().map(|record| line(record)).collect();
        let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_data());
        self.is_torn = written.is_err();
        self.lines += records.len();
        written.map_err(|error| io_error(&self.path, error))
    }
}

/// Whether an open file is the one at a path.
fn is_at(file: &File, path: &Path) -> bool {
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    let here = file.metadata().map(identity);
    here.is_ok_and(|here| fs::metadata(path).is_ok_and(|there| identity(there) == here))
}

/// What a file holds; nothing where there is none.
fn read(path: &Path) -> Result<Vec<Record>, FileError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io_error(path, error)),
    };
    let mut file = BufReader::new(file);
    let mut next = || -> Result<Option<Vec<u8>>, FileError> {
        let mut line = Vec::new();
        file.by_ref()
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', &mut line)
            .map_err(|error| io_error(path, error))?;
        Ok(Some(line).filter(|line| !line.is_empty()))
    };
    match next()? {
        None => return Ok(Vec::new()),
        Some(first) if first == format!("{HEADER}\n").as_bytes() => {}
        Some(_) => return Err(FileError::Foreign { path: path.to_owned() }),
    }
    let mut records = Vec::new();
    let mut number = 1;
    let mut line = next()?;
    while let Some(text) = line {
        number += 1;
        line = next()?;
        match record(&text) {
            Some(record) => records.push(record),
            None if !text.ends_with(b"\n") && line.is_none() => {
                tracing::warn!(file = %path.display(), line = number, "a torn last line is left out");
            }
            None => return Err(FileError::Damaged { path: path.to_owned(), line: number }),
        }
    }
    Ok(records)
}

fn write_anew(path: &Path, records: &[Arc<Record>]) -> io::Result<File> {
    lines::write_anew(path, HEADER, records.iter().map(|record| line(record)))
}

fn line(record: &Record) -> String {
    let Identity { kind, value, policy } = &record.identity;
    let line = Line {
        kind: kind.as_str(),
        value: (**value).into(),
        policy: policy.as_deref().map(Into::into),
        until: record.until,
        at: record.at,
        restored: record.restored,
    };
    // Text and numbers always make JSON.
    let json = serde_json::to_string(&line).unwrap_or_default();
    lines::line(&json)
}

/// None: the line is damaged.
fn record(line: &[u8]) -> Option<Record> {
    let text = lines::text(std::str::from_utf8(line).ok()?.strip_suffix('\n')?)?;
    let line: Line<'_> = serde_json::from_str(text).ok()?;
    let identity = Identity {
        kind: Kind::of(line.kind)?,
        value: line.value.into(),
        policy: line.policy.map(Into::into),
    };
    Some(Record { identity, until: line.until, at: line.at, restored: line.restored })
}

fn io_error(path: &Path, error: io::Error) -> FileError {
    FileError::Io { path: path.to_owned(), error }
}

#[cfg(test)]
mod tests;
