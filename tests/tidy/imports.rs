//! Which module may import which: the order of the stations a request passes, and one direction along it.

use crate::assert_none;
use crate::repository::{Repository, code_of};

/// Every module of `src/lib.rs`, in the order in which they stand on each other. A module imports from lines above its
/// own and from its own line, never from a line below. There are no exceptions; a module that needs something from
/// below takes it as a parameter, or the thing belongs further up.
const ORDER: &[&[&str]] = &[
    // What everything speaks in.
    &["asset"],
    &["clock"],
    &["outcome"],
    &["reason"],
    &["watermark"],
    &["wake"],
    &["fields"],
    &["lines"],
    &["config"],
    // The way of a request.
    &["admission"],
    &["key"],
    &["hls"],
    &["dash"],
    &["playlists"],
    &["carry"],
    &["normal"],
    &["store"],
    &["cache"],
    &["tier"],
    &["origin"],
    &["peers"],
    &["steering"],
    &["site"],
    &["coalesce"],
    &["prefetch"],
    &["deliver"],
    // What nodes share.
    &["fleet"],
    // What it tells.
    &["observe"],
    // What operators have removed, and whom they refuse.
    &["purge"],
    &["revoke"],
    // What puts the stations in order, and runs them: viewers' listeners and the operator's.
    &["proxy"],
    &["explain"],
    &["server", "admin"],
    // Around it.
    &["demo"],
    &["cli"],
];

fn rank(module: &str) -> Option<usize> {
    ORDER.iter().position(|line| line.contains(&module))
}

/// The lines and first names of every `crate::` path in a source, groups in braces included.
fn crate_paths(text: &str) -> Vec<(usize, String)> {
    let code: String = text.lines().flat_map(|line| [code_of(line), "\n"]).collect();
    let mut found = Vec::new();
    for (at, head) in code.match_indices("crate::") {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let line = code[..at].matches('\n').count() + 1;
        let rest = &code[at + head.len()..];
        match rest.strip_prefix('{') {
            None => found.extend(first_word(rest).map(|word| (line, word))),
            Some(group) => found.extend(members(group).into_iter().map(|word| (line, word))),
        }
    }
    found
}

/// The first word of each member of a brace group, up to the brace that closes it.
fn members(group: &str) -> Vec<String> {
    let mut depth = 0_u32;
    let mut starts = vec![0];
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => starts.push(at + 1),
            _ => {}
        }
    }
    starts.into_iter().filter_map(|start| first_word(group[start..].trim_start())).collect()
}

fn first_word(text: &str) -> Option<String> {
    let word: String = text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!word.is_empty()).then_some(word)
}

#[test]
fn a_station_imports_nothing_from_a_later_one() {
    let repository = Repository::open();
    let mut places = Vec::new();
    for file in repository.rust_files() {
        let Some(inside) = file.path.strip_prefix("src/") else { continue };
        let module = inside.split(['/', '.']).next().unwrap_or_default();
        let Some(own) = rank(module) else { continue };
        for (line, imported) in crate_paths(&file.text) {
            if rank(&imported).is_some_and(|theirs| theirs > own) {
                places
                    .push(format!("{}:{line}: `{module}` imports `{imported}`, a later station", file.path));
            }
        }
    }
    assert_none("Imports against the way of a request (the order is in tests/tidy/imports.rs).", &places);
}

#[test]
fn every_module_has_a_place_in_the_order() {
    let repository = Repository::open();
    let map = repository.file("src/lib.rs").map(|file| file.text.as_str()).unwrap_or_default();
    let places: Vec<String> = crate::documents::modules(map)
        .filter(|(_, module)| rank(module).is_none())
        .map(|(line, module)| format!("src/lib.rs:{line}: `{module}` has no line in tests/tidy/imports.rs"))
        .collect();
    assert_none("Modules without a place in the order of the stations.", &places);
}

#[test]
fn paths_are_read_out_of_every_form_of_import() {
    let text = "use crate::config::{A, B};\n// use crate::no;\nuse crate::{\n    cache::{X, crate_y},\n    key,\n};\n\
                fn f(x: crate::store::Y) {}\nuse mycrate::no;\n";
    let expected = [(1, "config"), (3, "cache"), (3, "key"), (7, "store")];
    assert_eq!(crate_paths(text), expected.map(|(line, word)| (line, word.to_owned())));
}
