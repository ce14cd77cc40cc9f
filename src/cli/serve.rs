//! `forebay serve` and `forebay demo`: run until told to stop.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use super::check::EXIT_BAD_CONFIGURATION;
use crate::clock::Clock;
use crate::demo::{self, DemoOptions};
use crate::observe::log;
use crate::server::Node;

/// Serves by a configuration file until SIGTERM, SIGINT or a drain; SIGUSR1 opens the access log anew. Exits 64 where
/// the configuration is bad or an address cannot be bound.
pub fn serve(file: &Path) -> ExitCode {
    let config = match crate::config::load(file) {
        Ok(config) => config,
        Err(diagnostics) => return refuse(&diagnostics.to_string()),
    };
    log::init(config.log.level);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(&error.to_string()),
    };
    let served = runtime.block_on(async {
        // Signals are caught before anything starts: none is lost between.
        let mut signals = Signals::catch().map_err(|error| error.to_string())?;
        let node = Node::start(&config, Clock::system()).map_err(|error| {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            format!("{}:{}: {error}", file.display(), crate::config::line_of(&text, error.key()))
        })?;
        signals.wait(&node).await;
        node.shutdown().await;
        Ok::<_, String>(())
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => refuse(&message),
    }
}

/// Runs the demo until SIGTERM or SIGINT.
pub fn demo(options: DemoOptions) -> ExitCode {
    let run = || {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(demo::run(options))
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// What may end a node, or have it open its log anew.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    reopen: tokio::signal::unix::Signal,
}

impl Signals {
    fn catch() -> std::io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reopen: signal(SignalKind::user_defined1())?,
        })
    }

    /// Returns when the node is to end.
    async fn wait(&mut self, node: &Node) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                () = node.stopped() => return,
                _ = self.reopen.recv() => node.reopen_access_log(),
            }
        }
    }
}

fn refuse(message: &str) -> ExitCode {
    say(message);
    ExitCode::from(EXIT_BAD_CONFIGURATION)
}

/// Tells the operator; where standard error is closed there is nobody to tell.
fn say(message: &str) {
    let _ = writeln!(std::io::stderr(), "{}", message.trim_end());
}
