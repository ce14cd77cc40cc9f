//! The files under judgement, read once per test: what git tracks or would track, as text.
//!
//! Where git is not there, or the sources are no checkout, every file but built and fetched ones counts.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Folders that hold what is built or fetched.
const GENERATED: [&str; 3] = ["target", "node_modules", ".git"];

/// One text file.
pub(crate) struct SourceFile {
    /// From the root of the repository, with `/`.
    pub(crate) path: String,
    /// The whole of it.
    pub(crate) text: String,
}

impl SourceFile {
    /// Whether it is a Rust source.
    pub(crate) fn is_rust(&self) -> bool {
        self.has_extension(&["rs"])
    }

    /// Whether a tool writes it to fix versions.
    pub(crate) fn is_lock(&self) -> bool {
        self.path.ends_with("Cargo.lock") || self.path.ends_with("package-lock.json")
    }

    /// Whether it is run by a shell.
    pub(crate) fn is_shell(&self) -> bool {
        let first = self.text.lines().next().unwrap_or_default();
        self.has_extension(&["sh"]) || (first.starts_with("#!") && first.ends_with("sh"))
    }

    /// Whether the rules about blanks hold for it: not for lock files, snapshots and deliberately bad input.
    pub(crate) fn is_written_by_hand(&self) -> bool {
        let kinds =
            ["rs", "toml", "md", "sh", "yml", "yaml", "json", "service", "conf", "mjs", "js", "css", "html"];
        let name = self.path.rsplit('/').next().unwrap_or_default();
        let known = self.has_extension(&kinds) || name == "Makefile" || self.is_shell();
        known && !self.is_lock() && !self.path.starts_with("tests/config/")
    }

    fn has_extension(&self, known: &[&str]) -> bool {
        self.path.rsplit_once('.').is_some_and(|(_, extension)| known.contains(&extension))
    }
}

/// The files of the repository.
pub(crate) struct Repository {
    root: PathBuf,
    paths: Vec<String>,
    files: Vec<SourceFile>,
}

impl Repository {
    /// Lists and reads every file. Panics when the root itself cannot be listed.
    pub(crate) fn open() -> Self {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let mut paths = listed_by_git(&root).unwrap_or_else(|| {
            let mut paths = Vec::new();
            walk(&root, "", &mut paths);
            paths
        });
        // A file that was deleted but not yet committed is still listed.
        paths.retain(|path| root.join(path).is_file());
        paths.sort();
        paths.dedup();
        assert!(paths.iter().any(|path| path == "Cargo.toml"), "no Cargo.toml below {}", root.display());
        // What is no UTF-8 is media.
        let files = paths.iter().filter_map(|path| {
            let text = String::from_utf8(std::fs::read(root.join(path)).ok()?).ok()?;
            Some(SourceFile { path: path.clone(), text })
        });
        Repository { files: files.collect(), root, paths }
    }

    /// Paths of all files, text or not.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.paths.iter().map(String::as_str)
    }

    /// Every file that is text.
    pub(crate) fn text_files(&self) -> impl Iterator<Item = &SourceFile> {
        self.files.iter()
    }

    /// Every Rust source.
    pub(crate) fn rust_files(&self) -> impl Iterator<Item = &SourceFile> {
        self.files.iter().filter(|file| file.is_rust())
    }

    /// The file at `path`.
    pub(crate) fn file(&self, path: &str) -> Option<&SourceFile> {
        self.files.iter().find(|file| file.path == path)
    }

    /// Whether `path` is a file, or a folder that holds one.
    pub(crate) fn holds(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        path.is_empty()
            || self.paths().any(|held| {
                held.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
    }

    /// Whether `name` stands at the root.
    pub(crate) fn has_at_root(&self, name: &str) -> bool {
        self.root.join(name).exists()
    }
}

fn listed_by_git(root: &Path) -> Option<Vec<String>> {
    if !root.join(".git").exists() {
        return None;
    }
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let listed = String::from_utf8(output.stdout).ok()?;
    Some(listed.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect())
}

fn walk(root: &Path, below: &str, paths: &mut Vec<String>) {
    let Ok(entries) = std::fs::read_dir(root.join(below)) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if below.is_empty() { name.clone() } else { format!("{below}/{name}") };
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && !GENERATED.contains(&name.as_str()) => walk(root, &path, paths),
            Ok(kind) if kind.is_file() => paths.push(path),
            _ => {}
        }
    }
}

/// A line of Rust without its comment. A `//` behind a colon belongs to an address in a string.
pub(crate) fn code_of(line: &str) -> &str {
    let comment = line.match_indices("//").find(|(at, _)| !line[..*at].ends_with(':'));
    comment.map_or(line, |(at, _)| &line[..at])
}

/// The words of a line: letters, digits and underscores.
pub(crate) fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}
