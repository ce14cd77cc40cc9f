//! Embeds the player of the demo page when `npm ci` has fetched it.
//!
//! Writes `hls_js.rs` to the output folder: `Some` bytes, or `None`, with which `forebay demo` says what to run.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

const PLAYER: &str = "node_modules/hls.js/dist/hls.min.js";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    // A file that is not there would make every build start anew. `npm ci` touches package.json when it has put the
    // player in place (its postinstall script), and this looks again.
    println!("cargo::rerun-if-changed=package.json");
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let player = root.join(PLAYER);
    let embedded = if player.is_file() {
        println!("cargo::rerun-if-changed={PLAYER}");
        format!("Some(include_bytes!({:?}))", display(&player))
    } else {
        "None".to_owned()
    };
    fs::write(out.join("hls_js.rs"), format!("const HLS_JS: Option<&[u8]> = {embedded};\n"))
}

fn display(path: &Path) -> String {
    path.display().to_string()
}
