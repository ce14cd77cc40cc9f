//! What is never right in this repository: one test per rule, each of which lists every place that breaks it.
//!
//! Judges the files that git tracks or would track. Says nothing about lengths or taste; clippy and rustfmt look after
//! the rest. The rules about documents and about imports have files of their own in `tests/tidy/`.

#[path = "tidy/documents.rs"]
mod documents;
#[path = "tidy/imports.rs"]
mod imports;
#[path = "tidy/modules.rs"]
mod modules;
#[path = "tidy/repository.rs"]
mod repository;

use std::collections::BTreeSet;

use repository::{Repository, SourceFile, code_of, words};

/// Fails with the rule and every place that breaks it, `file:line: what`.
#[track_caller]
fn assert_none(rule: &str, places: &[String]) {
    assert!(places.is_empty(), "{rule}\n  {}\n", places.join("\n  "));
}

/// Every line of `file` that `fault` finds fault with.
fn faults<'a>(
    file: &'a SourceFile,
    fault: impl Fn(&str) -> Option<String> + 'a,
) -> impl Iterator<Item = String> + 'a {
    file.text.lines().enumerate().filter_map(move |(index, line)| {
        fault(line).map(|what| format!("{}:{}: {what}", file.path, index + 1))
    })
}

#[test]
fn nothing_is_left_unfinished() {
    // Each mark is put together here, so that this file holds none.
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("HA", "CK")];
    let macros = [concat!("to", "do!"), concat!("unimplem", "ented!")];
    let places: Vec<String> = Repository::open()
        .text_files()
        .filter(|file| !file.is_lock())
        .flat_map(|file| {
            faults(file, move |line| {
                let word = marks.into_iter().find(|mark| words(line).any(|word| word == *mark));
                let call = macros.into_iter().find(|call| file.is_rust() && code_of(line).contains(call));
                word.or(call).map(|found| format!("`{found}`"))
            })
        })
        .collect();
    assert_none("Unfinished marks: finish the work, or take it out.", &places);
}

#[test]
fn every_rust_file_is_part_of_a_target() {
    let repository = Repository::open();
    let reached = modules::reached(&repository);
    let dead: Vec<String> = repository
        .rust_files()
        .filter(|file| !reached.contains(&file.path))
        .map(|file| format!("{}:1: no `mod` line leads here", file.path))
        .collect();
    assert_none("Dead files: declare them, or delete them.", &dead);
}

#[test]
fn every_rust_file_begins_with_what_it_is_for() {
    let places: Vec<String> = Repository::open()
        .rust_files()
        // The tests of a module are for what the module is for.
        .filter(|file| !file.path.ends_with("/tests.rs"))
        .filter(|file| {
            let first = file.text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
            first.strip_prefix("//!").is_none_or(|rest| rest.trim().is_empty())
        })
        .map(|file| format!("{}:1: the first line is no `//!` sentence", file.path))
        .collect();
    assert_none("The first paragraph says what a file decides, what it does not, and who calls it.", &places);
}

#[test]
fn lines_have_no_tabs_no_trailing_blanks_and_no_carriage_returns() {
    let places: Vec<String> = Repository::open()
        .text_files()
        .filter(|file| file.is_written_by_hand())
        .flat_map(|file| {
            let tabs_allowed = file.path == "Makefile";
            file.text.split('\n').enumerate().filter_map(move |(index, line)| {
                let what = if line.ends_with('\r') {
                    "a carriage return"
                } else if line.ends_with([' ', '\t']) {
                    "blanks at the end"
                } else if line.contains('\t') && !tabs_allowed {
                    "a tab"
                } else {
                    return None;
                };
                Some(format!("{}:{}: {what}", file.path, index + 1))
            })
        })
        .collect();
    assert_none("Blanks that cannot be seen: take them out (in Rust sources, write \\t and \\r).", &places);
}

#[test]
fn no_file_names_a_folder_of_the_machine_it_was_written_on() {
    let folders = [concat!("/wo", "rk/"), concat!("/ro", "ot/.")];
    let places: Vec<String> = Repository::open()
        .text_files()
        .flat_map(|file| {
            faults(file, move |line| {
                let found = folders.into_iter().find(|folder| {
                    line.match_indices(folder).any(|(at, _)| {
                        let before = line[..at].chars().next_back();
                        !before.is_some_and(|c| c.is_alphanumeric() || "_-./}*".contains(c))
                    })
                });
                found.map(|folder| format!("`{folder}`"))
            })
        })
        .collect();
    assert_none("Paths of one machine: name them from the root of the repository.", &places);
}

#[test]
fn the_node_prints_nothing_by_macro() {
    let banned = ["println!", "print!", "dbg!"];
    let places: Vec<String> = Repository::open()
        .rust_files()
        .filter(|file| file.path.starts_with("src/"))
        .flat_map(|file| {
            faults(file, move |line| {
                let code = code_of(line);
                let found = banned.into_iter().find(|call| {
                    code.match_indices(call).any(|(at, _)| {
                        let before = code[..at].chars().next_back();
                        !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
                    })
                });
                found.map(|call| format!("`{call}`"))
            })
        })
        .collect();
    assert_none(
        "A macro that prints panics when the reader has gone: write to `stdout()` and handle the error, or use tracing.",
        &places,
    );
}

#[test]
fn every_shell_script_stops_at_the_first_error() {
    let places: Vec<String> = Repository::open()
        .text_files()
        .filter(|file| file.is_shell() && !file.text.lines().any(|line| line.starts_with("set -eu")))
        .map(|file| format!("{}:1: no line `set -eu`", file.path))
        .collect();
    assert_none("A shell script that goes on after an error does harm.", &places);
}

#[test]
fn every_dependency_is_used() {
    let repository = Repository::open();
    let mut places = Vec::new();
    for (manifest, folder) in [("Cargo.toml", ""), ("loadtest/Cargo.toml", "loadtest/")] {
        let used: BTreeSet<&str> = repository
            .rust_files()
            .filter(|file| {
                file.path.starts_with(folder) && (!folder.is_empty() || !file.path.starts_with("loadtest/"))
            })
            .flat_map(|file| file.text.lines())
            .flat_map(crates_named)
            .collect();
        let text = repository.file(manifest).map(|file| file.text.as_str()).unwrap_or_default();
        places.extend(
            dependencies(text).filter(|(_, name)| !used.contains(name.replace('-', "_").as_str())).map(
                |(line, name)| format!("{manifest}:{line}: no source names `{}`", name.replace('-', "_")),
            ),
        );
    }
    assert_none("Dependencies nobody uses: take them out.", &places);
}

/// The lines and names of the dependencies in a manifest, of every kind and target.
fn dependencies(manifest: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut inside = false;
    manifest.lines().enumerate().filter_map(move |(index, line)| {
        if let Some(header) = line.strip_prefix('[') {
            let header = header.trim_end_matches(']');
            inside = header.ends_with("dependencies");
            return header.split_once("dependencies.").map(|(_, name)| (index + 1, name));
        }
        let (name, _) = line.split_once('=')?;
        let name = name.split('.').next().unwrap_or_default().trim();
        (inside && !name.is_empty() && !name.starts_with('#')).then_some((index + 1, name))
    })
}

/// Words of a line of Rust that may name a crate: those before `::`, and the one of a plain `use`.
fn crates_named(line: &str) -> impl Iterator<Item = &str> {
    let code = code_of(line);
    let paths = code.match_indices("::").map(move |(at, _)| {
        let start =
            code[..at].rfind(|c: char| !c.is_alphanumeric() && c != '_').map_or(0, |before| before + 1);
        &code[start..at]
    });
    let plain = code.trim_start().trim_start_matches("pub ").strip_prefix("use ");
    let plain = plain.and_then(|rest| rest.split([';', ' ', ':']).next());
    paths.chain(plain)
}

#[test]
fn the_manifest_reader_sees_every_form_of_a_dependency() {
    let manifest = "[package]\nname = \"x\"\n[dependencies]\na-b = \"1\"\n# c = \"1\"\nd.workspace = true\n\
                    [target.'cfg(unix)'.dev-dependencies]\ne = { version = \"1\" }\n[dependencies.f]\nversion = \"1\"\n";
    assert_eq!(dependencies(manifest).collect::<Vec<_>>(), [(4, "a-b"), (6, "d"), (8, "e"), (9, "f")]);
    assert_eq!(crates_named("    let x = toml::from_str(y); // serde::z").collect::<Vec<_>>(), ["toml"]);
    assert_eq!(crates_named("use libc;").collect::<Vec<_>>(), ["libc"]);
}
