//! Which Rust files the compiler reaches: from each target's root along its `mod` lines.
//!
//! Reads formatted sources line by line: a `mod name {` block ends at the `}` of its own indentation.

use std::collections::BTreeSet;

use crate::repository::{Repository, SourceFile, code_of};

/// Paths of the files that some target is made of.
pub(crate) fn reached(repository: &Repository) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut waiting: Vec<(String, bool)> = repository
        .rust_files()
        .filter(|file| is_root(&file.path))
        .map(|file| (file.path.clone(), true))
        .collect();
    while let Some((path, owns_its_folder)) = waiting.pop() {
        let Some(file) = repository.file(&path) else { continue };
        if !reached.insert(path) {
            continue;
        }
        for (candidates, owner) in declared(file, owns_its_folder) {
            let found = candidates.into_iter().filter(|path| repository.file(path).is_some());
            waiting.extend(found.map(|path| (path.clone(), owner || path.ends_with("/mod.rs"))));
        }
    }
    reached
}

/// Whether cargo makes a target of the file by its place.
fn is_root(path: &str) -> bool {
    let package = ["loadtest/", "tests/fuzz/"].into_iter().find_map(|package| path.strip_prefix(package));
    let path = package.unwrap_or(path);
    let parts: Vec<&str> = path.split('/').collect();
    let is_source = matches!(parts[..], ["build.rs"] | ["src", "main.rs" | "lib.rs"] | ["src", "bin", _]);
    let is_other = matches!(parts[..], ["tests" | "benches" | "examples", _]);
    let has_a_folder =
        matches!(parts[..], ["tests" | "benches" | "examples", _, "main.rs"] | ["src", "bin", _, "main.rs"]);
    is_source || is_other || has_a_folder
}

/// For each `mod` line, where its file may be, and whether that file's own modules stand beside it.
fn declared(file: &SourceFile, owns_its_folder: bool) -> Vec<(Vec<String>, bool)> {
    let (folder, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
    let own = if owns_its_folder { folder.to_owned() } else { join(folder, name.trim_end_matches(".rs")) };
    let mut blocks: Vec<(usize, String)> = Vec::new();
    let mut redirected: Option<String> = None;
    let mut found = Vec::new();
    for line in file.text.lines() {
        let indent = line.len() - line.trim_start().len();
        let code = code_of(line).trim();
        if code == "}" {
            blocks.retain(|(at, _)| *at < indent);
        } else if let Some(rest) = code.strip_prefix("#[path = \"") {
            redirected = rest.split('"').next().map(str::to_owned);
        } else if let Some(rest) = after_mod(code) {
            let base = blocks.iter().fold(own.clone(), |base, (_, block)| join(&base, block));
            if let Some(name) = rest.strip_suffix(';') {
                found.push(match redirected.take() {
                    Some(path) if blocks.is_empty() => (vec![join(folder, &path)], true),
                    Some(path) => (vec![join(&base, &path)], true),
                    None => (
                        vec![join(&base, &format!("{name}.rs")), join(&base, &format!("{name}/mod.rs"))],
                        false,
                    ),
                });
            } else if let Some(name) = rest.strip_suffix('{') {
                blocks.push((indent, redirected.take().unwrap_or_else(|| name.trim().to_owned())));
            }
        }
    }
    found
}

/// What follows `mod `, whatever the visibility.
fn after_mod(code: &str) -> Option<&str> {
    let code = match code.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(')')?.1,
        Some(rest) => rest,
        None => code,
    };
    code.trim_start().strip_prefix("mod ")
}

/// `folder/path`, with `..` resolved.
fn join(folder: &str, path: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    parts.join("/")
}

#[test]
fn a_module_is_found_wherever_its_line_says() {
    let file = |path: &str, text: &str| SourceFile { path: path.to_owned(), text: text.to_owned() };
    let places = |file: &SourceFile, root: bool| -> Vec<String> {
        declared(file, root).into_iter().filter_map(|(candidates, _)| candidates.into_iter().next()).collect()
    };
    let text = "pub mod a;\npub(crate) mod b;\n// mod no;\nmod c {\n    mod d;\n}\n#[path = \"../e/x.rs\"]\nmod e;\n";
    assert_eq!(places(&file("src/lib.rs", text), true), ["src/a.rs", "src/b.rs", "src/c/d.rs", "e/x.rs"]);
    assert_eq!(places(&file("src/store.rs", "mod tests;\n"), false), ["src/store/tests.rs"]);
}
