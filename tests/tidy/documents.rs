//! Documents are held to the files they name: every path in code marks and every relative link exists; and so does every
//! function that the document on caching, and the tables above its tests, say holds a requirement.
//!
//! A path is a word in backticks that contains a slash and begins with a folder or file of the root (or of the
//! document's own folder), or ends as a file of this repository does. `*` stands for any characters, `{a,b}` for either
//! word. Blocks of code, paths from the root of the machine, and `foo`, which stands for any name, are left alone.

use std::collections::BTreeSet;

use crate::assert_none;
use crate::repository::{Repository, SourceFile, words};

/// Endings that make a word without a slash the name of a file.
const ENDINGS: [&str; 7] = [".rs", ".toml", ".md", ".sh", ".yml", ".service", ".conf"];

/// Folders that hold what is built or fetched: named, but not tracked.
const GENERATED: [&str; 2] = ["target", "node_modules"];

/// The lines and names of the modules that a source declares public.
pub(crate) fn modules(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().filter_map(|(index, line)| {
        let name = line.strip_prefix("pub mod ").or_else(|| line.strip_prefix("mod "))?.strip_suffix(';')?;
        Some((index + 1, name))
    })
}

/// The lines of a document outside fenced blocks.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            return None;
        }
        (!fenced).then_some((index + 1, line))
    })
}

/// Words in backticks that may be paths.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    let is_path = |c: char| c.is_ascii_alphanumeric() || "_./*{},-".contains(c);
    line.split('`').skip(1).step_by(2).filter(move |word| !word.is_empty() && word.chars().all(is_path))
}

/// Targets of links that lead to files.
fn linked(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| {
        let target = rest.split(')').next()?.split('#').next()?;
        (!target.is_empty() && !target.contains(':')).then_some(target)
    })
}

/// `a/{b,c}.rs` as `a/b.rs` and `a/c.rs`.
fn alternatives(path: &str) -> Vec<String> {
    match path.split_once('{').and_then(|(head, rest)| Some((head, rest.split_once('}')?))) {
        None => vec![path.to_owned()],
        Some((head, (middle, tail))) => {
            middle.split(',').flat_map(|word| alternatives(&format!("{head}{word}{tail}"))).collect()
        }
    }
}

/// Whether `path` matches `pattern`, in which `*` stands for any characters.
fn matches(pattern: &str, path: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == path,
        Some((head, tail)) => path.strip_prefix(head).is_some_and(|rest| {
            (0..=rest.len()).filter_map(|at| rest.get(at..)).any(|rest| matches(tail, rest))
        }),
    }
}

/// Whether the repository holds `path`, seen from `folder` or from the root.
fn exists(repository: &Repository, folder: &str, path: &str) -> bool {
    let path = path.trim_start_matches("./");
    if path.split('/').next().is_some_and(|first| GENERATED.contains(&first)) {
        return true;
    }
    alternatives(path).iter().all(|path| {
        [path.clone(), format!("{folder}{path}")].iter().any(|path| {
            if path.contains('*') {
                repository.paths().any(|held| matches(path, held))
            } else {
                repository.holds(path)
            }
        })
    })
}

/// The folder of a document, with its slash.
fn folder_of(document: &SourceFile) -> &str {
    document.path.rfind('/').map_or("", |at| &document.path[..=at])
}

/// Whether a quoted word claims to be a file or folder of the repository.
fn claims_to_be_a_path(repository: &Repository, folder: &str, word: &str) -> bool {
    if word.starts_with('/') || word.starts_with("foo") {
        return false;
    }
    let Some((first, _)) = word.split_once('/') else {
        return ENDINGS.iter().any(|ending| word.len() > ending.len() && word.ends_with(ending));
    };
    ENDINGS.iter().any(|ending| word.ends_with(ending))
        || repository.has_at_root(first)
        || repository.has_at_root(&format!("{folder}{first}"))
}

#[test]
fn documents_name_only_what_is_there() {
    let repository = Repository::open();
    let mut places = Vec::new();
    for document in repository.text_files().filter(|file| file.path.ends_with(".md")) {
        let folder = folder_of(document);
        for (line, text) in prose(&document.text) {
            let claimed = quoted(text).filter(|word| claims_to_be_a_path(&repository, folder, word));
            let gone = |path: &&str| {
                // A name alone may be that of a file anywhere.
                let anywhere =
                    !path.contains('/') && repository.paths().any(|held| held.ends_with(&format!("/{path}")));
                !anywhere && !exists(&repository, folder, path)
            };
            for path in claimed.chain(linked(text)).filter(gone) {
                places.push(format!("{}:{line}: `{path}`", document.path));
            }
        }
    }
    assert_none("Documents name what is not there: correct the document, or bring the file back.", &places);
}

/// Words in backticks that are made like the names of functions: letters and digits, with underscores between.
fn snake_words(line: &str) -> impl Iterator<Item = &str> {
    let is_of_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '*';
    line.split('`').skip(1).step_by(2).filter(move |word| word.contains('_') && word.chars().all(is_of_name))
}

/// The names of the functions that a source defines.
fn functions(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let (before, rest) = line.split_once("fn ")?;
        let is_definition = before
            .split_whitespace()
            .all(|word| ["pub", "pub(super)", "pub(crate)", "async", "const"].contains(&word));
        let name = rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next()?;
        is_definition.then_some(name)
    })
}

/// A word that is no function has to be one of the sources' own all the same: a key, a field, an outcome.
#[test]
fn what_is_said_of_caching_names_functions_that_exist() {
    let repository = Repository::open();
    let modules = repository.rust_files().flat_map(|file| modules(&file.text).map(|(_, name)| name));
    let defined = repository.rust_files().flat_map(|file| functions(&file.text));
    let defined: BTreeSet<&str> = defined.chain(modules).collect();
    let sources = || repository.rust_files().filter(|file| file.path.starts_with("src/"));
    let is_word = |name: &str| sources().any(|file| words(&file.text).any(|word| word == name));
    let mut places = Vec::new();
    let mut judge = |path: &str, line: usize, text: &str| {
        for name in snake_words(text) {
            let is_there = defined.contains(name)
                || (name.contains('*') && defined.iter().any(|held| matches(name, held)))
                || is_word(name);
            if !is_there {
                places.push(format!("{path}:{line}: `{name}`"));
            }
        }
    };
    let Some(document) = repository.file("docs/rfc9111.md") else {
        return assert_none("The document on caching is gone.", &["docs/rfc9111.md".to_owned()]);
    };
    prose(&document.text).for_each(|(line, text)| judge(&document.path, line, text));
    for file in repository.rust_files().filter(|file| file.path.starts_with("tests/it/rfc9111")) {
        let tables = file.text.lines().enumerate().filter(|(_, line)| line.starts_with("//! |"));
        tables.for_each(|(index, text)| judge(&file.path, index + 1, text));
    }
    assert_none("Tests or functions that are said to hold a requirement, and are not there.", &places);
}

#[test]
fn functions_are_told_from_what_calls_them() {
    let text = "pub(crate) async fn a_b(\n    fn c_d<T>(\n// fn e_f(\nlet g = Fn (\n";
    assert_eq!(functions(text).collect::<Vec<_>>(), ["a_b", "c_d"]);
    assert_eq!(snake_words("`a_b`, `a-b`, `A_B`, `a`, `a_*`").collect::<Vec<_>>(), ["a_b", "a_*"]);
}

#[test]
fn the_code_map_names_every_module() {
    let repository = Repository::open();
    let text = |path: &str| repository.file(path).map(|file| file.text.as_str()).unwrap_or_default();
    let map = text("ARCHITECTURE.md");
    let places: Vec<String> = modules(text("src/lib.rs"))
        .filter(|(_, name)| {
            !map.contains(&format!("`src/{name}.rs`")) && !map.contains(&format!("`src/{name}/`"))
        })
        .map(|(line, name)| format!("src/lib.rs:{line}: ARCHITECTURE.md does not name `src/{name}.rs`"))
        .collect();
    assert_none("Modules that are missing from the code map.", &places);
}

#[test]
fn paths_are_told_from_other_quoted_words() {
    assert_eq!(quoted("see `src/a.rs` and `GET /x` or `b.toml`").collect::<Vec<_>>(), ["src/a.rs", "b.toml"]);
    assert_eq!(linked("[a](b.md#c), [d](https://e), [f](#g)").collect::<Vec<_>>(), ["b.md"]);
    assert_eq!(alternatives("a/{b,c}/d"), ["a/b/d", "a/c/d"]);
    assert!(matches("conf/*.toml", "conf/a.toml") && !matches("conf/*.toml", "conf/a.md"));
    assert_eq!(prose("a\n```\nb\n```\nc").collect::<Vec<_>>(), [(1, "a"), (5, "c")]);
}
