//! What is typed about servers that are started: where their programs are, how much memory and how many threads they get. The
//! benchmarks take [`Programs`] alone; runs, comparisons and searches take all of it. Which server it is, and on which
//! processors, is theirs.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::Setup;
use crate::proc;

/// Where the programs of the servers are.
#[derive(Clone, Debug, Args)]
pub(crate) struct Programs {
    /// The node's binary
    #[arg(long, global = true, value_name = "PATH", default_value = "target/release/forebay")]
    forebay: PathBuf,
    /// The nginx binary
    #[arg(long, global = true, value_name = "PATH", default_value = "nginx")]
    nginx: PathBuf,
    /// Varnish's binary
    #[arg(long, global = true, value_name = "PATH", default_value = "varnishd")]
    varnish: PathBuf,
    /// Apache Traffic Server's binary
    #[arg(long, global = true, value_name = "PATH", default_value = "traffic_server")]
    ats: PathBuf,
}

/// How a server is started.
#[derive(Clone, Debug, Args)]
pub(crate) struct SetupArguments {
    #[command(flatten)]
    programs: Programs,
    /// Size of the server's cache in memory
    #[arg(long, value_name = "SIZE", default_value = "1GiB")]
    memory: String,
    /// Worker threads (or processes) of the server; as many as there are processors for it, unless told
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    server_threads: Option<u32>,
}

// === impl Programs ===

impl Programs {
    /// These programs, and all else as it is by itself.
    pub(crate) fn setup(&self) -> Setup {
        Setup {
            forebay: self.forebay.clone(),
            nginx: self.nginx.clone(),
            varnish: self.varnish.clone(),
            ats: self.ats.clone(),
            ..Setup::default()
        }
    }
}

// === impl SetupArguments ===

impl SetupArguments {
    /// A server for these processors (in `taskset -c` form), with a thread for each unless told otherwise; without such a list
    /// it has [`Setup::default`]'s. It is not pinned to them here.
    pub(crate) fn setup(&self, cpus: Option<&str>) -> Result<Setup> {
        let setup = Setup { memory: self.memory.clone(), ..self.programs.setup() };
        let threads = match (self.server_threads, cpus) {
            (Some(threads), _) => threads,
            (None, Some(cpus)) => u32::try_from(proc::parse_cpu_list(cpus)?.len())?,
            (None, None) => setup.threads,
        };
        Ok(Setup { threads, ..setup })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        setup: SetupArguments,
    }

    fn setup(text: &str, cpus: Option<&str>) -> Setup {
        let words = ["x"].into_iter().chain(text.split_whitespace());
        Command::try_parse_from(words).unwrap().setup.setup(cpus).unwrap()
    }

    #[test]
    fn a_server_has_as_many_threads_as_processors_unless_told() {
        assert_eq!(setup("", Some("0-3,8")).threads, 5);
        assert_eq!(setup("--server-threads 3", Some("0-3,8")).threads, 3);
        assert_eq!(setup("", None).threads, Setup::default().threads);
    }

    #[test]
    fn what_is_typed_is_what_is_started_and_else_what_is_there_by_itself() {
        assert_eq!(format!("{:?}", setup("", None)), format!("{:?}", Setup::default()));
        let typed = setup("--forebay a --nginx b --varnish c --ats d --memory 2GiB", None);
        assert_eq!(
            [typed.forebay, typed.nginx, typed.varnish, typed.ats],
            ["a", "b", "c", "d"].map(PathBuf::from)
        );
        assert_eq!((typed.memory.as_str(), typed.cpus), ("2GiB", None));
    }
}
