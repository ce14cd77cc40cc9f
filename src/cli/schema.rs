//! `forebay schema`, `completions` and `man`: what the program says of itself, for other programs.

use std::io::Write;
use std::process::ExitCode;

use crate::config::reference;

/// Prints the JSON Schema of the configuration.
pub fn schema() -> ExitCode {
    let text = serde_json::to_string_pretty(&reference::schema()).unwrap_or_default();
    print(|out| writeln!(out, "{text}"))
}

/// Prints a completion script.
pub fn completions(shell: clap_complete::Shell, command: &mut clap::Command) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, command, "forebay", &mut script);
    print(|out| out.write_all(&script))
}

/// Prints the manual page.
pub fn man(command: clap::Command) -> ExitCode {
    let page = clap_mangen::Man::new(command);
    print(|out| page.render(out))
}

/// Writes to standard output; a reader that has gone is no fault of ours.
fn print(write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> ExitCode {
    let mut out = std::io::stdout().lock();
    match write(&mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}
