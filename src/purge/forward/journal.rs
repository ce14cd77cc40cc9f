//! The file in which purges are noted that are still to be passed on: lines that are appended, and synced before a purge is
//! answered.
//!
//! A line is JSON: `add` notes a purge for a place, `done` takes it out. A last line without an end was torn by a kill, and
//! is left out. Any other that does not read is passed over with a line in the log: a purge is sent again rather than not,
//! and no node fails to start for want of one. When most lines are history, the file is written anew beside itself, and
//! renamed.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::Passed;
use crate::store::purges::{PurgeMode, PurgeTarget};

/// Bytes of a file that is read at the start: sixteen queues of the longest purges would not be longer by much.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// Lines of history beyond which the file is written anew, if they are also more than what waits.
const HISTORY_LINES_MAX: usize = 1024;

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {error}; name a file in a folder that exists and that the node may write in", path.display())]
pub struct JournalError {
    /// The file.
    path: PathBuf,
    /// Why.
    error: io::Error,
}

/// A journal, open for writing.
pub(super) struct Journal {
    path: PathBuf,
    state: Mutex<State>,
}

struct State {
    file: File,
    /// What is noted, in order.
    noted: Vec<(String, Passed)>,
    lines: usize,
    /// Whether the last write failed: it may have left half a line.
    is_torn: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Entry {
    Add(Noted),
    Done { name: String, id: String },
}

/// A purge as it is written.
#[derive(Serialize, Deserialize)]
struct Noted {
    name: String,
    id: String,
    at: u64,
    hard: bool,
    scope: String,
    site: Option<String>,
    named: Option<String>,
}

impl Journal {
    /// Opens a file, or creates it; gives what waits, of places with these names.
    pub(super) fn open(
        path: &Path,
        names: &[&str],
    ) -> Result<(Journal, Vec<(String, Passed)>), JournalError> {
        let failed = |error| JournalError { path: path.to_owned(), error };
        let mut noted = read(path).map_err(failed)?;
        noted.retain(|(name, _)| names.contains(&name.as_str()));
        let file = write_anew(path, &noted).map_err(failed)?;
        let state = State { file, lines: noted.len(), noted: noted.clone(), is_torn: false };
        Ok((Journal { path: path.to_owned(), state: Mutex::new(state) }, noted))
    }

    /// Notes purges, and returns when they are on the disk, or cannot be: they are sent in any case.
    pub(super) async fn add(self: Arc<Self>, purges: Vec<(String, Arc<Passed>)>) {
        let entries = purges.iter().map(|(name, purge)| Entry::Add(Noted::of(name, purge))).collect();
        let purges = purges.into_iter().map(|(name, purge)| (name, Passed::clone(&purge)));
        let purges: Vec<_> = purges.collect();
        self.write(entries, move |noted| noted.extend(purges)).await;
    }

    /// Takes a purge out.
    pub(super) async fn remove(self: Arc<Self>, name: String, id: String) {
        let entry = Entry::Done { name: name.clone(), id: id.clone() };
        self.write(vec![entry], move |noted| {
            noted.retain(|(of, purge)| *of != name || purge.id != id);
        })
        .await;
    }

    async fn write(
        self: Arc<Self>,
        entries: Vec<Entry>,
        change: impl FnOnce(&mut Vec<(String, Passed)>) + Send + 'static,
    ) {
        // A disk may be slow: not on a thread that serves. It fails only while the runtime ends.
        let _ = tokio::task::spawn_blocking(move || {
            let mut state = self.state.lock();
            change(&mut state.noted);
            if let Err(error) = state.write(&self.path, &entries) {
                state.is_torn = true;
                let path = self.path.display();
                tracing::error!(%path, %error, "purges that are to be passed on could not be noted: a restart may forget them");
            }
        })
        .await;
    }
}

impl State {
    fn write(&mut self, path: &Path, entries: &[Entry]) -> io::Result<()> {
        let history = (self.lines + entries.len()).saturating_sub(self.noted.len());
        if self.is_torn || history > HISTORY_LINES_MAX.max(self.noted.len()) {
            self.file = write_anew(path, &self.noted)?;
            (self.lines, self.is_torn) = (self.noted.len(), false);
            return Ok(());
        }
        self.file.write_all(&text_of(entries)?)?;
        self.lines += entries.len();
        self.file.sync_data()
    }
}

fn text_of(entries: &[Entry]) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    for entry in entries {
        serde_json::to_writer(&mut text, entry)?;
        text.push(b'\n');
    }
    Ok(text)
}

fn read(path: &Path) -> io::Result<Vec<(String, Passed)>> {
    let bytes = match fs::metadata(path) {
        Ok(metadata) if metadata.len() > FILE_BYTES_MAX => return Err(io::Error::other("is too long")),
        Ok(_) => fs::read(path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let (mut noted, mut done) = (Vec::new(), HashSet::new());
    let lines = bytes.get(..whole).unwrap_or_default().split(|byte| *byte == b'\n');
    for (number, line) in lines.enumerate().filter(|(_, line)| !line.is_empty()) {
        match serde_json::from_slice(line) {
            Ok(Entry::Add(purge)) => noted.extend(purge.read()),
            Ok(Entry::Done { name, id }) => drop(done.insert((name, id))),
            Err(_) => {
                tracing::error!(path = %path.display(), line = number + 1, "a line of purges that are to be passed on is damaged, and is passed over")
            }
        }
    }
    noted.retain(|(name, purge): &(String, Passed)| !done.contains(&(name.clone(), purge.id.clone())));
    Ok(noted)
}

fn write_anew(path: &Path, noted: &[(String, Passed)]) -> io::Result<File> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = path.with_file_name(name);
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&beside)?;
    let entries: Vec<Entry> = noted.iter().map(|(name, purge)| Entry::Add(Noted::of(name, purge))).collect();
    file.write_all(&text_of(&entries)?)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(file)
}

impl Noted {
    fn of(name: &str, purge: &Passed) -> Noted {
        let (site, named) = match &purge.target {
            PurgeTarget::Url { site, target } => (Some(site.clone()), Some(target.clone())),
            PurgeTarget::Prefix { site, path } => (Some(site.clone()), Some(path.clone())),
            PurgeTarget::Tag { site, tag } => (site.clone(), Some(tag.clone())),
            PurgeTarget::Site(site) => (Some(site.clone()), None),
            PurgeTarget::Everything => (None, None),
        };
        Noted {
            name: name.to_owned(),
            id: purge.id.clone(),
            at: purge.at,
            hard: purge.mode == PurgeMode::Hard,
            scope: purge.target.scope().to_owned(),
            site,
            named,
        }
    }

    /// None: of a version that knows more.
    fn read(self) -> Option<(String, Passed)> {
        let target = match (self.scope.as_str(), self.site, self.named) {
            ("url", Some(site), Some(target)) => PurgeTarget::Url { site, target },
            ("prefix", Some(site), Some(path)) => PurgeTarget::Prefix { site, path },
            ("tag", site, Some(tag)) => PurgeTarget::Tag { site, tag },
            ("site", Some(site), None) => PurgeTarget::Site(site),
            ("everything", None, None) => PurgeTarget::Everything,
            _ => return None,
        };
        let mode = if self.hard { PurgeMode::Hard } else { PurgeMode::Soft };
        Some((self.name, Passed { id: self.id, target, mode, at: self.at }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;

    fn purges() -> Vec<(String, Arc<Passed>)> {
        let site = || "a".to_owned();
        let targets = [
            PurgeTarget::Url { site: site(), target: "/x".to_owned() },
            PurgeTarget::Prefix { site: site(), path: "/p".to_owned() },
            PurgeTarget::Tag { site: None, tag: "t".to_owned() },
            PurgeTarget::Tag { site: Some(site()), tag: "t".to_owned() },
            PurgeTarget::Site(site()),
            PurgeTarget::Everything,
        ];
        let modes = [PurgeMode::Soft, PurgeMode::Hard];
        let of =
            |(number, target)| Passed { id: format!("{number}"), target, mode: modes[number % 2], at: 7 };
        targets.into_iter().enumerate().map(of).map(|purge| ("cdn".to_owned(), Arc::new(purge))).collect()
    }

    fn ids(path: &Path) -> Vec<String> {
        Journal::open(path, &["cdn"]).unwrap().1.into_iter().map(|(_, purge)| purge.id).collect()
    }

    #[tokio::test]
    async fn what_waits_is_found_again_and_what_is_done_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("purges");
        let (journal, waiting) = Journal::open(&path, &["cdn"]).unwrap();
        assert!(waiting.is_empty());
        let journal = Arc::new(journal);
        Arc::clone(&journal).add(purges()).await;
        Arc::clone(&journal).remove("cdn".to_owned(), "1".to_owned()).await;
        let (_, found) = Journal::open(&path, &["cdn"]).unwrap();
        let expected: Vec<_> = purges().into_iter().filter(|(_, purge)| purge.id != "1").collect();
        assert_eq!(
            found.iter().map(|(_, purge)| purge).collect::<Vec<_>>(),
            expected.iter().map(|(_, purge)| &**purge).collect::<Vec<_>>()
        );
        // Of a place that is no longer configured nothing is kept.
        assert!(Journal::open(&path, &["other"]).unwrap().1.is_empty());
    }

    #[tokio::test]
    async fn a_torn_end_and_a_damaged_line_cost_themselves_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("purges");
        Arc::new(Journal::open(&path, &["cdn"]).unwrap().0).add(purges()).await;
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, &text[..text.len() - 5]).unwrap();
        assert_eq!(ids(&path), ["0", "1", "2", "3", "4"]);
        fs::write(&path, text.replacen("\"id\":\"2\"", "\"id\":", 1)).unwrap();
        assert_eq!(ids(&path), ["0", "1", "3", "4", "5"]);
    }

    #[tokio::test]
    async fn a_file_of_history_is_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("purges");
        let journal = Arc::new(Journal::open(&path, &["cdn"]).unwrap().0);
        Arc::clone(&journal).add(purges()).await;
        for _ in 0..HISTORY_LINES_MAX {
            Arc::clone(&journal).remove("cdn".to_owned(), "0".to_owned()).await;
        }
        assert!(fs::read_to_string(&path).unwrap().lines().count() < HISTORY_LINES_MAX);
        assert_eq!(ids(&path), ["1", "2", "3", "4", "5"]);
    }
}
