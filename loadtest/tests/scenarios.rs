//! The scenarios that come with the binary, as a user gets at them.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::{Command, Output};

fn scenarios(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_forebay-loadtest")).arg("scenarios").args(arguments).output().unwrap()
}

#[test]
fn all_are_listed_and_each_that_is_listed_is_printed_as_its_file() {
    let list = scenarios(&[]);
    assert!(list.status.success());
    let list = String::from_utf8(list.stdout).unwrap();
    assert_eq!(list.lines().count(), 13, "{list}");
    for line in list.lines() {
        let name = line.split_whitespace().next().unwrap();
        let file = format!("{}/scenarios/{name}.toml", env!("CARGO_MANIFEST_DIR"));
        assert!(scenarios(&[name]).stdout == std::fs::read(file).unwrap(), "{name}");
    }
}

#[test]
fn a_name_that_none_has_is_an_error_with_what_was_meant() {
    let output = scenarios(&["low-latncy"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("did you mean \"low-latency\"?"), "{error}");
}
