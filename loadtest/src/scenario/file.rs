//! Scenarios as TOML: units in values, a default for most, and a clear error for what cannot be.
//!
//! Decides where a scenario comes from (a file, or those that come with the binary), and how an error names its place: file,
//! line, key, and what to write instead. What is written is in [`raw`], what may be in [`rules`], and what it means in [`build`].

mod build;
pub(crate) mod check;
mod raw;
pub(crate) mod reference;
pub(crate) mod rules;
mod units;

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Error, Result, anyhow, bail};
use toml::Spanned;

use super::{Scenario, presets};
use rules::{Measure, Rule, Without};

/// The longest scenario that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// How much of a line is shown with an error, in characters.
const LINE_SHOWN_MAX: usize = 100;

/// How alike a name has to be to what was written, to be proposed: 1 is the same.
const ALIKE_MIN: f64 = 0.75;

/// The scenario of a file, or the one of that name that comes with the binary.
pub(crate) fn load(name_or_path: &Path) -> Result<Scenario> {
    let shown = name_or_path.display().to_string();
    if let Some(preset) = presets::find(&shown) {
        return parse(preset.name, preset.text);
    }
    let text = match File::open(name_or_path) {
        Ok(file) => read(file).with_context(|| shown.clone())?,
        Err(error) if is_name(&shown) => bail!(
            "{shown}: no scenario of this name comes with the binary, and no file is there ({error}); {}",
            presets::remedy(&shown)
        ),
        Err(error) => return Err(Error::from(error).context(format!("{shown}: cannot be read"))),
    };
    let name = name_or_path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or(shown);
    parse(&name, &text)
}

/// The scenario that this text describes; errors call it by this name.
pub(crate) fn parse(name: &str, text: &str) -> Result<Scenario> {
    let page = Page { name, text };
    let raw = toml::from_str(text).map_err(|error| page.refuse(&error))?;
    build::scenario(&page, &raw)
}

/// Whether this can be the name of a scenario: it is no path.
fn is_name(text: &str) -> bool {
    !text.contains(['/', '.'])
}

fn read(file: File) -> Result<String> {
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).context("cannot be read as text")?;
    if text.len() as u64 > FILE_BYTES_MAX {
        bail!("is longer than {FILE_BYTES_MAX} bytes; a scenario is a few tables of TOML");
    }
    Ok(text)
}

/// Of the names, the one that is most like what was written, if one is.
pub(crate) fn most_like<'a>(written: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    names
        .map(|name| (strsim::jaro_winkler(written, name), name))
        .filter(|(alike, _)| *alike >= ALIKE_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// A file under reading: what errors need to name their place.
struct Page<'a> {
    name: &'a str,
    text: &'a str,
}

// === impl Page ===

impl Page<'_> {
    /// The value of a key, or its default; none: it has none. It is within the rule's range.
    fn value<T: Measure>(&self, rule: &Rule, raw: Option<&Spanned<T>>) -> Result<Option<T>> {
        match raw {
            None => rule.default().map_err(|error| anyhow!("{}: {error}", rule.name())),
            Some(raw) => {
                rule.check(*raw.get_ref()).map(Some).map_err(|what| self.fail(raw.span(), rule, &what))
            }
        }
    }

    /// The value of a key that is there or has a default.
    fn needed<T: Measure>(&self, rule: &Rule, raw: Option<&Spanned<T>>) -> Result<T> {
        self.value(rule, raw)?.with_context(|| format!("{}: {} is missing; add it", self.name, rule.name()))
    }

    /// A text that is no longer than this many bytes.
    fn text(&self, rule: &Rule, raw: Option<&Spanned<String>>, bytes_max: usize) -> Result<String> {
        match (raw, &rule.without) {
            (Some(raw), _) if raw.get_ref().len() > bytes_max => {
                Err(self.fail(raw.span(), rule, &format!("is longer than {bytes_max} bytes; shorten it")))
            }
            (Some(raw), _) => Ok(raw.get_ref().clone()),
            (None, Without::Is(text)) => Ok((*text).to_owned()),
            (None, _) => bail!("{}: {} is missing; add it", self.name, rule.name()),
        }
    }

    /// That the value at this place cannot be, and what to do about it.
    fn fail(&self, at: Range<usize>, rule: &Rule, what: &str) -> Error {
        self.tell(Some(at), &format!("{}: {what}", rule.name()))
    }

    /// An error of TOML or of serde, with a proposal where a name is unknown.
    fn refuse(&self, error: &toml::de::Error) -> Error {
        let mut names = error.message().split('`').skip(1).step_by(2);
        let written = names.next().unwrap_or_default();
        let proposal = match error.message() {
            message if message.starts_with("unknown ") => most_like(written, names)
                .map_or("; take it out".to_owned(), |name| format!("; did you mean `{name}`?")),
            message if message.starts_with("missing ") => "; add it".to_owned(),
            _ => String::new(),
        };
        let at = error.span();
        let key = match &at {
            Some(at) if error.message().contains("; write ") => self.key(at.start),
            _ => String::new(),
        };
        self.tell(at, &format!("{key}{}{proposal}", error.message().trim_end()))
    }

    /// The key of the line that a value stands in.
    fn key(&self, at: usize) -> String {
        let line = self.line(at).1;
        let key = line.split('=').next().unwrap_or_default().trim();
        let is_key =
            !key.is_empty() && key.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'.');
        if is_key { format!("{key}: ") } else { String::new() }
    }

    /// Number, from 1 on, and text of the line at a place.
    fn line(&self, at: usize) -> (usize, &str) {
        let before = self.text.get(..at).unwrap_or_default();
        let number = before.matches('\n').count();
        (number + 1, self.text.lines().nth(number).unwrap_or_default())
    }

    fn tell(&self, at: Option<Range<usize>>, what: &str) -> Error {
        let Some(at) = at else { return anyhow!("{}: {what}", self.name) };
        let (number, line) = self.line(at.start);
        let line: String = line.chars().take(LINE_SHOWN_MAX).collect();
        anyhow!("{}:{number}: {what}\n    {number} | {line}", self.name)
    }
}

#[cfg(test)]
mod tests;
