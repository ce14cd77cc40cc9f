//! `forebay check FILE`: says whether a configuration file is right, and everything that is wrong with it.
//!
//! Starts nothing and binds nothing. Called by [`crate::cli`].

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use super::cases;
use crate::config;

/// Exit status for a configuration that cannot be used (`EX_USAGE` of sysexits).
pub const EXIT_BAD_CONFIGURATION: u8 = 64;

/// Exit status when the answer cannot be written (`EX_IOERR` of sysexits).
const EXIT_CANNOT_WRITE: u8 = 74;

/// Checks a configuration file. Right: one line on standard output and exit status 0. Wrong: one line per mistake on
/// standard error and exit status 64. Right, but a case of `cases` comes out otherwise than expected: exit status 1.
pub fn check(file: &Path, cases: Option<&Path>) -> ExitCode {
    report(file, cases, &mut std::io::stdout().lock(), &mut std::io::stderr().lock())
}

fn report(file: &Path, cases: Option<&Path>, out: &mut impl Write, err: &mut impl Write) -> ExitCode {
    let written = match config::load(file) {
        Ok(config) => {
            let (sites, origins) =
                (counted(config.sites.len(), "site"), counted(config.origins.len(), "origin"));
            writeln!(out, "{}: ok ({sites}, {origins})", file.display()).and_then(|()| match cases {
                Some(cases) => cases::check(file, &config, cases, out, err),
                None => Ok(ExitCode::SUCCESS),
            })
        }
        Err(mistakes) => writeln!(err, "{mistakes}").map(|()| ExitCode::from(EXIT_BAD_CONFIGURATION)),
    };
    written.unwrap_or_else(|_| ExitCode::from(EXIT_CANNOT_WRITE))
}

fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn run(text: &str) -> (ExitCode, String, String) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("forebay.toml");
        std::fs::write(&file, text).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = report(&file, None, &mut out, &mut err);
        let shown =
            |bytes| String::from_utf8(bytes).unwrap().replace(&format!("{}/", folder.path().display()), "");
        (code, shown(out), shown(err))
    }

    #[test]
    fn a_right_file_is_called_ok_on_standard_output() {
        let text = "[server]\nhttp = ['127.0.0.1:0']\n[origin.a]\nservers = ['http://a', 'http://b']\n\
                    [[site]]\nhosts = ['a.example']\norigin = 'a'\n[[site]]\nhosts = ['*']\norigin = 'a'\n";
        let (code, out, err) = run(text);
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::SUCCESS));
        assert_eq!((out.as_str(), err.as_str()), ("forebay.toml: ok (2 sites, 1 origin)\n", ""));
    }

    #[test]
    fn every_mistake_of_a_wrong_file_is_told_on_standard_error() {
        let (code, out, err) = run("[server]\nhttp = ['127.0.0.1:0']\nh2c = 1\n");
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(64)));
        assert_eq!(out, "");
        assert_eq!(
            err,
            "forebay.toml:1: site: there is no site; add [[site]] with hosts = [\"*\"] and the origin's name\n\
             forebay.toml:3: server.h2c: must be true or false, but is a whole number; \
             write true or false, such as h2c = false\n"
        );
    }
}
