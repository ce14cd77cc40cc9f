//! `forebay ready`: whether a node should get traffic, as an exit status. For health checks of containers that have no shell.
//!
//! Decides nothing: the node's own readiness does.

use std::io::Write;
use std::process::ExitCode;

use clap::Args;

use super::admin::{NodeArgs, NodeError};
use super::check::EXIT_BAD_CONFIGURATION;

/// Exit status where the node should get no traffic.
const EXIT_NOT_READY: u8 = 1;

/// What `forebay ready` is told.
#[derive(Debug, Args)]
pub struct ReadyArgs {
    #[command(flatten)]
    node: NodeArgs,
}

/// Asks the node. 0: it is ready; 1: it is not, or cannot be asked; 64: what names it is bad.
pub(super) fn run(args: &ReadyArgs) -> ExitCode {
    let node = match args.node.node() {
        Ok(node) => node,
        Err(NodeError::Configuration(mistakes)) => return fail(EXIT_BAD_CONFIGURATION, &mistakes),
        Err(NodeError::Unusable(error)) => {
            return fail(EXIT_BAD_CONFIGURATION, &format!("forebay ready: {error:#}"));
        }
    };
    match node.get("/readyz") {
        Ok(answered) if answered.status == 200 => {
            // Nobody may be reading; the exit status says the same.
            let _ = writeln!(std::io::stdout(), "ready");
            ExitCode::SUCCESS
        }
        Ok(_) => fail(EXIT_NOT_READY, "not ready"),
        Err(error) => fail(EXIT_NOT_READY, &format!("forebay ready: {error:#}")),
    }
}

fn fail(code: u8, message: &str) -> ExitCode {
    // Where standard error cannot be written to, the exit status still tells.
    let _ = writeln!(std::io::stderr(), "{message}");
    ExitCode::from(code)
}
