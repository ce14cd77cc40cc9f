//! Reads the files a configuration names: secrets, certificates, keys.
//!
//! Says why a file cannot be used, and never what is in it.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use rustls_pki_types::pem::{self, SectionKind};

use super::diagnostic::Report;
use super::model::Secret;

/// Bytes of a file with a secret.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// Bytes of a PEM file.
const PEM_BYTES_MAX: u64 = 4 << 20;

/// What a PEM file has to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pem {
    /// One certificate or more.
    Certificates,
    /// One private key.
    PrivateKey,
}

/// Reads a file whole, or says why not.
pub(super) fn read_bounded(path: &Path, bytes_max: u64) -> Result<Vec<u8>, String> {
    let cannot = |error: std::io::Error| format!("cannot be read: {error}");
    let mut bytes = Vec::new();
    File::open(path).map_err(cannot)?.take(bytes_max + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > bytes_max {
        return Err(format!("is longer than {}", super::units::show_size(bytes_max)));
    }
    Ok(bytes)
}

/// A path of the file, from the folder it starts at.
pub(super) fn path(report: &Report, written: &str) -> PathBuf {
    report.folder().join(written)
}

/// Reads a secret that is visible ASCII text. A mistake yields an empty one.
pub(super) fn text_secret(report: &mut Report, key: &str, written: &str) -> Secret {
    let Some(text) = secret_text(report, key, written) else { return Secret(Vec::new()) };
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let reason = format!("file \"{written}\" holds something else than visible ASCII characters");
        report.mistake(key, reason, "write the secret on one line, without spaces");
    }
    Secret(text.into_bytes())
}

/// Reads the text of a secret.
pub(super) fn secret_text(report: &mut Report, key: &str, written: &str) -> Option<String> {
    if written.is_empty() {
        report.mistake(key, "is empty", "name the file that holds the secret");
        return None;
    }
    let bytes = match read_bounded(&path(report, written), SECRET_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(reason) => {
            let remedy = "name a file that the node may read, with one secret in it";
            report.mistake(key, format!("file \"{written}\" {reason}"), remedy);
            return None;
        }
    };
    match String::from_utf8(bytes) {
        Ok(text) if text.trim().is_empty() => {
            report.mistake(key, format!("file \"{written}\" is empty"), "write the secret into it");
            None
        }
        Ok(text) => Some(text.trim().to_owned()),
        Err(_) => {
            report.mistake(
                key,
                format!("file \"{written}\" is not text"),
                "write the secret as text into it",
            );
            None
        }
    }
}

/// Checks that a PEM file holds what it has to, and tells where it is.
pub(super) fn pem(report: &mut Report, key: &str, written: &str, want: Pem) -> PathBuf {
    let place = path(report, written);
    let found = if written.is_empty() {
        Err(("is empty".to_owned(), "name a PEM file".to_owned()))
    } else {
        read_bounded(&place, PEM_BYTES_MAX)
            .map_err(|reason| {
                (format!("file \"{written}\" {reason}"), "name a PEM file that the node may read".to_owned())
            })
            .and_then(|bytes| {
                pem_mistake(&bytes, want).map_err(|(why, how)| (format!("file \"{written}\" {why}"), how))
            })
    };
    if let Err((reason, remedy)) = found {
        report.mistake(key, reason, remedy);
    }
    place
}

fn pem_mistake(bytes: &[u8], want: Pem) -> Result<(), (String, String)> {
    let (what, label) = match want {
        Pem::Certificates => ("certificate", "CERTIFICATE"),
        Pem::PrivateKey => ("private key", "PRIVATE KEY"),
    };
    let remedy = format!("name a file with a section \"-----BEGIN {label}-----\"");
    let fits = |kind: SectionKind| match want {
        Pem::Certificates => kind == SectionKind::Certificate,
        Pem::PrivateKey => {
            matches!(kind, SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey)
        }
    };
    let mut rest = std::io::Cursor::new(bytes);
    let mut sections = Vec::new();
    loop {
        match pem::from_buf(&mut rest) {
            Ok(Some((kind, _))) => sections.push(kind),
            Ok(None) => break,
            Err(_) => return Err(("is not PEM: a section is broken".to_owned(), remedy)),
        }
    }
    if sections.iter().copied().any(fits) {
        return Ok(());
    }
    let labels = labels(bytes);
    if labels.iter().any(|label| label == "ENCRYPTED PRIVATE KEY") && want == Pem::PrivateKey {
        let remedy = "decrypt it, for instance with \"openssl pkey\"".to_owned();
        return Err(("holds an encrypted private key".to_owned(), remedy));
    }
    match labels.first() {
        Some(label) => Err((format!("holds no {what}, but a section {label}"), remedy)),
        None => Err((format!("is not PEM: it holds no {what}"), remedy)),
    }
}

/// The labels of a PEM file's sections, also of those that are not known.
fn labels(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let label = |line: &str| Some(line.trim().strip_prefix("-----BEGIN ")?.strip_suffix("-----")?.to_owned());
    text.lines().filter_map(label).filter(|label| label.len() <= 40).collect()
}
