//! What of a path is signed in formats that sign a path and leave open how much of it: the path, leading directories of
//! it, or a text that it begins with.

use super::super::diagnostic::Report;

/// Bytes of a prefix.
const PREFIX_BYTES_MAX: usize = 1024;

/// What of a path is signed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Extent {
    /// The path.
    #[default]
    Path,
    /// So many leading directories, with the slash behind the last of them; at least one.
    Directories(usize),
    /// A text that paths begin with.
    Prefix(String),
}

pub(super) fn resolve(
    report: &mut Report,
    key: &str,
    directories: Option<u32>,
    prefix: Option<&str>,
) -> Extent {
    let at_prefix = format!("{key}.prefix");
    match (directories, prefix) {
        (None, None) => Extent::Path,
        (Some(_), Some(_)) => {
            report.mistake(&at_prefix, "does not go with directories: one of them is signed", "remove one");
            Extent::Path
        }
        (Some(count), None) => Extent::Directories(usize::try_from(count).unwrap_or(usize::MAX)),
        (None, Some(prefix)) => {
            let shown = prefix.escape_debug();
            if !prefix.starts_with('/') {
                report.mistake(&at_prefix, format!("no path begins with \"{shown}\""), "begin it with \"/\"");
            } else if !prefix.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#".contains(&byte)) {
                let remedy = "percent-encode what a path cannot hold";
                report.mistake(&at_prefix, format!("\"{shown}\" is no path"), remedy);
            } else if prefix.len() > PREFIX_BYTES_MAX {
                let remedy = format!("write at most {PREFIX_BYTES_MAX} bytes");
                report.mistake(&at_prefix, "is too long", remedy);
            }
            Extent::Prefix(prefix.to_owned())
        }
    }
}
