//! The configuration: from a TOML file to types that cannot be wrong.
//!
//! A file goes one way: text, its shape against the schema (`shape`), the file as written (`raw`), what it means
//! (`resolve`), the checked [`model`]. Whatever is wrong on the way is collected in [`Diagnostics`]. Only a TOML syntax
//! error keeps the rest from being looked at.

pub mod formats;
pub mod model;
pub mod reference;
pub mod territory;
pub mod units;

mod diagnostic;
mod files;
mod raw;
mod resolve;
mod shape;

use std::path::Path;

use diagnostic::Report;
pub use diagnostic::{Diagnostic, Diagnostics};
pub use model::Config;

/// Bytes of a configuration file.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Reads and checks a configuration file, and the secrets it names. Relative paths of secrets and certificates start at
/// the file's folder.
///
/// # Errors
/// Every mistake in it; a file that cannot be read is one.
pub fn load(path: &Path) -> Result<Config, Diagnostics> {
    let read = files::read_bounded(path, FILE_BYTES_MAX)
        .and_then(|bytes| String::from_utf8(bytes).map_err(|_| "is not UTF-8 text".to_owned()));
    match read {
        Ok(text) => parse(&text, path),
        Err(reason) => Err(Diagnostics(vec![Diagnostic {
            file: path.to_owned(),
            line: 1,
            key: String::new(),
            reason,
            remedy: "name a configuration file that can be read".to_owned(),
        }])),
    }
}

/// Checks the text of a configuration file. `path` names it in messages, and its folder is where relative paths start.
///
/// # Errors
/// Every mistake in it.
pub fn parse(text: &str, path: &Path) -> Result<Config, Diagnostics> {
    let mut report = Report::new(path);
    let Some(file) = shape::read(text, &mut report) else {
        return Err(report.into_diagnostics());
    };
    let config = resolve::resolve(&file, &mut report);
    if report.is_empty() { Ok(config) } else { Err(report.into_diagnostics()) }
}

/// Line of a key in the text of a configuration file, else of the nearest key around it.
pub fn line_of(text: &str, key: &str) -> usize {
    let mut report = Report::new(Path::new(""));
    // Only the places of keys are wanted here.
    let _ = shape::read(text, &mut report);
    report.line_of(key)
}

#[cfg(test)]
mod tests;
