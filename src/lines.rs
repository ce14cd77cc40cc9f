//! Files of lines that say whether they are whole: how a line is written and read, and how a file is written anew.
//!
//! Decides nothing about what the lines mean, nor about damage; that is whose file it is.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use xxhash_rust::xxh3::xxh3_64;

/// A line around a text without line ends: its checksum, the text, a line end.
pub fn line(text: &str) -> String {
    format!("{:016x} {text}\n", xxh3_64(text.as_bytes()))
}

/// The text of a line without its line end; None: it is damaged.
pub fn text(line: &str) -> Option<&str> {
    let (sum, text) = line.split_at_checked(16)?;
    let text = text.strip_prefix(' ')?;
    (u64::from_str_radix(sum, 16).ok()? == xxh3_64(text.as_bytes())).then_some(text)
}

/// Writes a file under another name, a header line and these lines, and puts it in the place of what is there. Gives the
/// file, open at its end. Only its owner may read it.
///
/// # Errors
/// When it cannot be written, synced or put there; what was there stays then.
pub fn write_anew(path: &Path, header: &str, lines: impl Iterator<Item = String>) -> io::Result<File> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let open = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    let mut file = BufWriter::new(open);
    writeln!(file, "{header}")?;
    for line in lines {
        file.write_all(line.as_bytes())?;
    }
    let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_as_it_was_written_and_a_damaged_one_not() {
        let written = line("{\"a\":1}");
        let whole = written.trim_end();
        assert_eq!(text(whole), Some("{\"a\":1}"));
        assert_eq!(text(&whole.replace('1', "2")), None);
        for damaged in ["", " ", "0123456789abcdef", "0123456789abcdef x", "é123456789abcdeé"] {
            assert_eq!(text(damaged), None, "{damaged}");
        }
    }
}
