//! `forebay token`: makes signed tokens and keys, says what a token holds and whether it is good, and has a node refuse some.
//!
//! What signs and verifies works on files and arguments alone and needs no running node; it verifies with the very code that
//! admits requests. Exit codes: 0 done or valid, 1 refused, 64 arguments or files that cannot be used; those of
//! revocations are told in [`revoke`].

mod bench;
mod inspect;
mod keygen;
mod make;
mod order;
mod policy;
mod request;
mod revoke;
mod said;
mod sign;
mod subject;
mod target;
mod verify;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::clock::Clock;

/// Exit code for arguments or files that cannot be used (`EX_USAGE`).
const UNUSABLE: u8 = 64;

/// Exit code for a token that is refused.
const REFUSED: u8 = 1;

/// Arguments of `forebay token`.
#[derive(Args, Debug)]
pub struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Subcommand, Debug)]
enum TokenCommand {
    /// Print a signed token, or a URL or a line of a header that carries one.
    Sign(Box<sign::SignArgs>),
    /// Print what a token says and whether it is valid. Exit 0: valid, 1: refused.
    Verify(Box<verify::VerifyArgs>),
    /// Print what a token says, without any key.
    Inspect(inspect::InspectArgs),
    /// Make a new random key, or a pair.
    Keygen(keygen::KeygenArgs),
    /// Measure what it costs to admit a request, by format of its token.
    Bench(bench::BenchArgs),
    /// Have a running node refuse tokens although they are good.
    Revoke(revoke::RevokeArgs),
    /// Take such a revocation back.
    Restore(revoke::RestoreArgs),
    /// List the revocations in force on a running node.
    Revocations(revoke::RevocationsArgs),
}

/// Runs `forebay token`: results to standard output, what cannot be used to standard error.
pub fn run(args: &TokenArgs) -> ExitCode {
    let now = Clock::system().unix_seconds();
    let done = execute(&args.command, now, &mut io::stdout().lock());
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // With standard error gone there is nobody left to tell.
            let _ = writeln!(io::stderr(), "forebay token: {error:#}");
            ExitCode::from(UNUSABLE)
        }
    }
}

fn execute(command: &TokenCommand, now: u64, out: &mut impl Write) -> Result<u8> {
    match command {
        TokenCommand::Sign(args) => sign::sign(args, now, out),
        TokenCommand::Verify(args) => verify::verify(args, now, out),
        TokenCommand::Inspect(args) => inspect::inspect(args, out),
        TokenCommand::Keygen(args) => keygen::keygen(args, out),
        TokenCommand::Bench(args) => bench::bench(args, out),
        TokenCommand::Revoke(args) => revoke::revoke(args, out),
        TokenCommand::Restore(args) => revoke::restore(args, out),
        TokenCommand::Revocations(args) => revoke::list(args, out),
    }
}

#[cfg(test)]
mod tests;
