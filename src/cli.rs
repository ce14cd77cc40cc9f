//! The command line: what was typed, and which function does it.

pub mod admin;
pub mod cache;
mod cases;
pub mod check;
pub mod explain;
pub mod purge;
pub mod ready;
pub mod schema;
pub mod serve;
pub mod token;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

/// An edge CDN cache node for HLS.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve viewers.
    Serve {
        /// The configuration file.
        #[arg(long, short, env = "FOREBAY_CONFIG", value_name = "FILE")]
        config: PathBuf,
    },
    /// Check a configuration and name every mistake in it.
    Check {
        /// The configuration file.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// File with requests and what is expected to become of them; exits 1 if one comes out otherwise.
        #[arg(long, value_name = "CASES")]
        cases: Option<PathBuf>,
    },
    /// Tell why a request is answered as it is: site, rule, key, token, freshness.
    Explain(Box<explain::ExplainArgs>),
    /// Inspect, verify or clear the cache on disk.
    Cache(cache::CacheArgs),
    /// Have a running node expire or remove objects by URL, prefix, tag or site.
    Purge(Box<purge::PurgeArgs>),
    /// Ask a running node whether it should get traffic; exits 0 if so, 1 if not.
    Ready(ready::ReadyArgs),
    /// Make, check and sign with viewers' tokens.
    Token(Box<token::TokenArgs>),
    /// Play an embedded live stream through a node, in the browser.
    Demo(crate::demo::DemoOptions),
    /// Print the JSON Schema of the configuration.
    Schema,
    /// Print a completion script.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page.
    Man,
}

/// Does what the command line asks for.
pub fn run() -> ExitCode {
    match Cli::parse().command {
        Command::Serve { config } => serve::serve(&config),
        Command::Check { file, cases } => check::check(&file, cases.as_deref()),
        Command::Explain(args) => explain::run(&args),
        Command::Cache(args) => cache::run(&args),
        Command::Purge(args) => purge::run(&args),
        Command::Ready(args) => ready::run(&args),
        Command::Token(args) => token::run(&args),
        Command::Demo(options) => serve::demo(options),
        Command::Schema => schema::schema(),
        Command::Completions { shell } => schema::completions(shell, &mut Cli::command()),
        Command::Man => schema::man(Cli::command()),
    }
}
