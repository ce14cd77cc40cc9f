//! The tables of docs/capacity.md are what the command prints.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::Command;

#[test]
fn the_document_has_what_the_simulation_says() {
    let output = Command::new(env!("CARGO_BIN_EXE_forebay-loadtest")).arg("simulate").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/capacity.md");
    let document = std::fs::read_to_string(document).unwrap();
    assert!(
        document.contains(&format!("<!-- forebay-loadtest simulate -->\n{said}")),
        "docs/capacity.md does not have\n{said}"
    );
}

#[test]
fn sizes_beyond_reason_are_refused() {
    for wrong in ["--zipf=-1", "--zipf=NaN", "--edges=0", "--viewers=1000000000", "--on-demand=101"] {
        let output =
            Command::new(env!("CARGO_BIN_EXE_forebay-loadtest")).args(["simulate", wrong]).output().unwrap();
        assert!(!output.status.success(), "{wrong}");
    }
}
