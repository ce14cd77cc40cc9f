//! Mistakes in a configuration file: where each stands, why it is one, and what to write instead.
//!
//! Made by `super::shape` and `super::resolve`, shown by `forebay check` and `forebay serve`. Everything that is wrong
//! with a file is collected before anything is shown.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// One mistake. Shown as `FILE:LINE: KEY: REASON; REMEDY`, without the key where a mistake has none (TOML syntax).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file, as it was named to [`super::load`].
    pub file: PathBuf,
    /// Line in it, from 1.
    pub line: usize,
    /// The key, such as `site[0].rule[1].ttl`; empty where there is none.
    pub key: String,
    /// Why it is a mistake. Never holds a secret's bytes.
    pub reason: String,
    /// What to do about it.
    pub remedy: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.file.display(), self.line)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}; {}", self.reason, self.remedy)
    }
}

/// Every mistake of a file, in the order of its lines; at least one. Shown one per line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, diagnostic) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{diagnostic}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

/// Collects the mistakes of one file, and knows on which line each key stands.
#[derive(Debug)]
pub(super) struct Report {
    file: PathBuf,
    lines: BTreeMap<String, usize>,
    mistakes: Vec<Diagnostic>,
    /// Keys that an unknown key was probably meant to be: not reported as missing too.
    meant: Vec<String>,
}

impl Report {
    pub(super) fn new(file: &Path) -> Report {
        Report { file: file.to_owned(), lines: BTreeMap::new(), mistakes: Vec::new(), meant: Vec::new() }
    }

    /// Remembers where a key stands. The first place counts.
    pub(super) fn place(&mut self, key: &str, line: usize) {
        self.lines.entry(key.to_owned()).or_insert(line);
    }

    /// Adds a mistake at a key: at its line, or that of the nearest key around it that the file has. A key that is
    /// reported already is not reported again: what follows from a mistake is no news.
    pub(super) fn mistake(&mut self, key: &str, reason: impl Into<String>, remedy: impl Into<String>) {
        if self.mistakes.iter().any(|mistake| mistake.key == key)
            || self.meant.iter().any(|meant| meant == key)
        {
            return;
        }
        let line = self.line_of(key);
        self.mistake_at(line, key, reason, remedy);
    }

    /// Adds a mistake at a line that is known.
    pub(super) fn mistake_at(
        &mut self,
        line: usize,
        key: &str,
        reason: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.mistakes.push(Diagnostic {
            file: self.file.clone(),
            line,
            key: key.to_owned(),
            reason: reason.into(),
            remedy: remedy.into(),
        });
    }

    /// Notes that an unknown key was probably meant to be this one.
    pub(super) fn meant(&mut self, key: String) {
        self.meant.push(key);
    }

    /// Whether nothing is wrong so far.
    pub(super) fn is_empty(&self) -> bool {
        self.mistakes.is_empty()
    }

    /// The mistakes in the order of their lines.
    pub(super) fn into_diagnostics(mut self) -> Diagnostics {
        self.mistakes.sort_by_key(|mistake| mistake.line);
        Diagnostics(self.mistakes)
    }

    /// Whether the file has this key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.lines.contains_key(key)
    }

    /// The folder that relative paths in the file start at.
    pub(super) fn folder(&self) -> &Path {
        self.file.parent().unwrap_or_else(|| Path::new(""))
    }

    /// Line of a key, else of the nearest key around it, else 1.
    pub(super) fn line_of(&self, key: &str) -> usize {
        let mut key = key;
        loop {
            if let Some(line) = self.lines.get(key) {
                return *line;
            }
            match key.rfind(['.', '[']) {
                Some(end) => key = &key[..end],
                None => return 1,
            }
        }
    }
}

/// The key of a member; names that TOML would quote are quoted.
pub(super) fn join(key: &str, name: &str) -> String {
    let bare =
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    let name = if bare { name.to_owned() } else { format!("\"{}\"", name.escape_debug()) };
    if key.is_empty() { name } else { format!("{key}.{name}") }
}

/// The candidate nearest to a mistyped word, when it is near enough to be meant, or the one that it is a part
/// of (`secret` of `secret_file`).
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let bound = match word.chars().count() {
        0..=2 => 1,
        3..=6 => 2,
        _ => 3,
    };
    let lower = word.to_ascii_lowercase().replace('-', "_");
    let candidates: Vec<&str> = candidates.into_iter().collect();
    let distance = |candidate: &str| strsim::osa_distance(&lower, &candidate.to_ascii_lowercase());
    let best = candidates.iter().copied().min_by_key(|candidate| distance(candidate))?;
    if distance(best) <= bound && distance(best) < best.chars().count() {
        return Some(best);
    }
    let is_part = |candidate: &&str| candidate.split('_').any(|part| part == lower);
    candidates.into_iter().find(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_word_finds_the_one_that_was_meant() {
        let keys = ["http", "https", "admin", "admin_token_file", "threads", "idle_timeout", "secret_file"];
        for (word, meant) in [
            ("htp", Some("http")),
            ("thread", Some("threads")),
            ("idle-timeout", Some("idle_timeout")),
            ("Idle_Timeout", Some("idle_timeout")),
            ("secret", Some("secret_file")),
            ("fleet", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, keys), meant, "{word}");
        }
    }

    #[test]
    fn a_mistake_stands_at_the_line_of_the_nearest_key_around_it() {
        let mut report = Report::new(Path::new("f.toml"));
        report.place("site[0]", 4);
        report.place("site[0].rule[1]", 9);
        assert_eq!(report.line_of("site[0].rule[1].key.query[3]"), 9);
        assert_eq!(report.line_of("site[0].rule[0].ttl"), 4);
        assert_eq!(report.line_of("log.queue"), 1);
    }
}
