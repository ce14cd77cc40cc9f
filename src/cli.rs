//! The command line: what was typed, and which function does it.

pub mod cache;
pub mod check;
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
    },
    /// Inspect, verify or clear the cache on disk.
    Cache(cache::CacheArgs),
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
        Command::Check { file } => check::check(&file),
        Command::Cache(args) => cache::run(&args),
        Command::Token(args) => token::run(*args),
        Command::Demo(options) => serve::demo(options),
        Command::Schema => schema::schema(),
        Command::Completions { shell } => schema::completions(shell, &mut Cli::command()),
        Command::Man => schema::man(Cli::command()),
    }
}
