//! A corpus of playlists of all kinds, `tests/corpus/NAME.m3u8`, and what is read from each, `NAME.txt`: what it says of
//! itself, what it names and where that leads, and where its URIs stand. `UPDATE=1 cargo test --lib corpus` writes the
//! latter anew.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use super::names::{Named, names};
use super::read::read;
use super::uris::{self, Place, Stands};
use crate::key::reference::{is_same_host, resolve};
use crate::key::target;

/// Playlists of the corpus, at least.
const PLAYLISTS_MIN: usize = 25;

/// Where each of them stands, as far as what it names depends on it.
const DOCUMENT: &str = "/live/ch1/index.m3u8";
const HOST: &str = "own.example";

/// Longest URI that is shown in full, in characters.
const SHOWN: usize = 120;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

/// The names of the files with this extension.
fn files(extension: &str) -> BTreeSet<String> {
    let files = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let of = files.filter(|path| path.extension().is_some_and(|known| known == extension));
    of.map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect()
}

/// All that is read from a playlist, as text.
fn said(text: &[u8]) -> String {
    let mut said = String::new();
    match read(text) {
        Ok(facts) => writeln!(said, "{facts:#?}").unwrap(),
        Err(error) => writeln!(said, "error: {error}").unwrap(),
    }
    let Ok(text) = std::str::from_utf8(text) else { return said };
    said += "\nnames\n";
    names(text, |named| writeln!(said, "  {}", line_of(&named)).unwrap());
    said += "\nURIs\n";
    uris::find(text, |place| writeln!(said, "  {}", place_of(text, &place)).unwrap());
    said
}

fn line_of(named: &Named<'_>) -> String {
    let mut line = format!("{} {}", named.kind.as_str(), shown(&named.uri));
    let is_own = |_: &str, host: &str| is_same_host(host, HOST);
    let path = resolve(&named.uri, DOCUMENT, is_own)
        .and_then(|(path, _)| target::path(&path, true).ok().map(|path| shown(&path)));
    let _ = write!(line, " -> {}", path.unwrap_or_else(|| "nothing here".to_owned()));
    if let Some(range) = named.range {
        let len = range.len.map_or_else(|| "the rest".to_owned(), |len| format!("{len} bytes"));
        let _ = write!(line, ", {len} from {}", range.start);
    }
    if let Some(msn) = named.msn {
        let part = named.part.map(|part| format!(".{part}")).unwrap_or_default();
        let _ = write!(line, ", number {msn}{part}");
    }
    for (says, word) in [(named.hint, "hint"), (named.gap, "gap")] {
        if says {
            let _ = write!(line, ", {word}");
        }
    }
    line
}

fn place_of(text: &str, place: &Place<'_>) -> String {
    let raw = &text[place.at.clone()];
    let stands = match place.stands {
        Stands::Variant => "variant".to_owned(),
        Stands::Segment => "segment".to_owned(),
        Stands::Attribute { tag, name, .. } => format!("{tag} {name}"),
    };
    let row = text[..place.at.start].matches('\n').count() + 1;
    let says = if place.says == raw { String::new() } else { format!(" says {}", shown(&place.says)) };
    format!("line {row}, bytes {}..{}, {stands}: {}{says}", place.at.start, place.at.end, shown(raw))
}

fn shown(uri: &str) -> String {
    match uri.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}... ({} bytes)", &uri[..end], uri.len()),
        None => uri.to_owned(),
    }
}

/// The lines by which two texts differ, those of the first with `-`, those of the second with `+`.
fn difference(expected: &str, actual: &str) -> String {
    let (old, new): (Vec<_>, Vec<_>) = (expected.lines().collect(), actual.lines().collect());
    let same = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
    let (old, new) = (&old[same..], &new[same..]);
    let tail = old.iter().rev().zip(new.iter().rev()).take_while(|(old, new)| old == new).count();
    let lines = |mark: &str, lines: &[&str]| -> String {
        lines[..lines.len() - tail].iter().map(|line| format!("{mark} {line}\n")).collect()
    };
    format!("from line {}:\n{}{}", same + 1, lines("-", old), lines("+", new))
}

#[test]
fn what_is_read_from_each_playlist_of_the_corpus_is_written_beside_it() {
    let update = std::env::var_os("UPDATE").is_some();
    let playlists = files("m3u8");
    assert!(playlists.len() >= PLAYLISTS_MIN);
    let mut wrong = String::new();
    for name in &playlists {
        let actual = said(&fs::read(folder().join(format!("{name}.m3u8"))).unwrap());
        let path = folder().join(format!("{name}.txt"));
        let expected = fs::read_to_string(&path).unwrap_or_default();
        if expected != actual && update {
            fs::write(&path, actual).unwrap();
        } else if expected != actual {
            let _ = writeln!(wrong, "{name}, {}", difference(&expected, &actual));
        }
    }
    assert!(
        wrong.is_empty(),
        "other things are read than before; if that is right, UPDATE=1 writes them:\n{wrong}"
    );
    assert_eq!(files("txt"), playlists, "a text without a playlist");
}

#[test]
fn a_difference_is_shown_by_its_lines_alone() {
    assert_eq!(difference("a\nb\nc\n", "a\nx\ny\nc\n"), "from line 2:\n- b\n+ x\n+ y\n");
}
