//! Child processes that do not outlive the benchmark: ended by their own id when their guard is dropped, and by the
//! kernel when this process dies without dropping anything. Called by what starts the servers.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};

/// How long a server may take to end after SIGTERM before it is killed.
const TERMINATE_WAIT_MAX: Duration = Duration::from_secs(2);

/// A running child process; dropping it ends the process and waits for its end.
#[derive(Debug)]
pub(crate) struct Guarded {
    child: Child,
}

// === impl Guarded ===

impl Guarded {
    /// Starts a program with standard error piped, on these processors only when some are given (`taskset -c` form).
    /// To be called from a thread that lives as long as the child may: the kernel ends the child with that thread.
    pub(crate) fn start(program: &Path, args: &[&OsStr], cpus: Option<&str>) -> Result<Self> {
        let mut command = match cpus {
            Some(cpus) => {
                // taskset becomes the program and so keeps the process id.
                let mut command = Command::new("taskset");
                command.args(["-c", cpus]).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        die_with_parent(&mut command);
        let child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Self { child })
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What the process writes to standard error; `None` from the second call on.
    pub(crate) fn take_stderr(&mut self) -> Option<std::process::ChildStderr> {
        self.child.stderr.take()
    }

    /// How the process ended, if it has.
    pub(crate) fn ended(&mut self) -> Result<Option<std::process::ExitStatus>> {
        self.child.try_wait().context("waiting for a child process")
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SIGTERM first: nginx's master process ends its workers only when it is asked to.
        let deadline = Instant::now() + TERMINATE_WAIT_MAX;
        let asked = matches!(self.child.try_wait(), Ok(None))
            && kill_process(Pid::from_child(&self.child), Signal::TERM).is_ok();
        while asked && Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
            #[allow(clippy::disallowed_methods, reason = "a drop guard that polls up to a deadline")]
            std::thread::sleep(Duration::from_millis(5));
        }
        // Both fail only when the process has ended and was waited for.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[allow(unsafe_code, reason = "Command::pre_exec is the only way to set the parent-death signal of a child")]
fn die_with_parent(command: &mut Command) {
    // SAFETY: the closure runs in the forked child before exec and makes one prctl system call: it allocates nothing,
    // takes no lock and touches no memory of the parent.
    unsafe {
        command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::TERM))?));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    #[test]
    fn a_dropped_guard_has_ended_its_process() {
        let child = Guarded::start(Path::new("sleep"), &[OsStr::new("600")], None).unwrap();
        let path = format!("/proc/{}", child.id());
        assert!(Path::new(&path).exists());
        drop(child);
        assert!(!Path::new(&path).exists());
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = Guarded::start(Path::new("/no/such/program"), &[], None).unwrap_err();
        assert!(error.to_string().contains("/no/such/program"), "{error}");
    }
}
