//! Child processes that do not outlive the benchmark: ended by their own id when their guard is dropped, and by the
//! kernel when this process dies without dropping anything. Called by what starts the servers.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};

use crate::proc;

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
        // Ctrl-C at a terminal is the load tester's: it ends what it has started when it has heard the last of it.
        command.process_group(0);
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

    /// Asks the process to end (SIGTERM), kills it when it has not within this time, and waits for its end.
    pub(crate) fn end(self, wait_max: Duration) -> Result<()> {
        let mut own = self;
        own.ask_and_wait(wait_max);
        Ok(())
    }

    /// Kills the process and all its descendants at once, as when the machine fails, and waits until they are gone.
    pub(crate) fn kill_tree(self) -> Result<()> {
        let mut own = self;
        if own.ended()?.is_none() {
            // Stopped first, so that it neither replaces children nor cleans up after them.
            kill_process(Pid::from_child(&own.child), Signal::STOP).ok();
        }
        let tree = proc::tree(own.id()).unwrap_or_default();
        for pid in tree.iter().filter_map(|pid| Pid::from_raw(i32::try_from(*pid).ok()?)) {
            // Fails for what has ended meanwhile.
            kill_process(pid, Signal::KILL).ok();
        }
        own.child.kill().ok();
        own.child.wait().context("waiting for a child process")?;
        let deadline = Instant::now() + TERMINATE_WAIT_MAX;
        while let Some(pid) = tree.iter().find(|pid| proc::runs(**pid)) {
            ensure!(
                Instant::now() < deadline,
                "process {pid} is there {TERMINATE_WAIT_MAX:?} after it was killed"
            );
            pause();
        }
        Ok(())
    }

    /// How the process ended, if it has.
    pub(crate) fn ended(&mut self) -> Result<Option<std::process::ExitStatus>> {
        self.child.try_wait().context("waiting for a child process")
    }

    fn ask_and_wait(&mut self, wait_max: Duration) {
        // SIGTERM first: nginx's master process ends its workers only when it is asked to.
        let deadline = Instant::now() + wait_max;
        let asked = matches!(self.child.try_wait(), Ok(None))
            && kill_process(Pid::from_child(&self.child), Signal::TERM).is_ok();
        while asked && Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
            pause();
        }
        // Both fail only when the process has ended and was waited for.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.ask_and_wait(TERMINATE_WAIT_MAX);
    }
}

#[allow(clippy::disallowed_methods, reason = "blocking code that polls up to a deadline")]
fn pause() {
    std::thread::sleep(Duration::from_millis(5));
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
    fn a_child_is_not_met_by_signals_to_the_group_of_its_parent() {
        let child = Guarded::start(Path::new("sleep"), &[OsStr::new("600")], None).unwrap();
        let group = |pid| rustix::process::getpgid(pid).unwrap();
        assert_ne!(group(Some(Pid::from_child(&child.child))), group(None));
    }

    #[test]
    fn a_process_that_does_not_heed_sigterm_is_killed_after_the_wait() {
        let script = OsStr::new("trap '' TERM; echo there >&2; while :; do sleep 1; done");
        let mut child = Guarded::start(Path::new("sh"), &[OsStr::new("-c"), script], None).unwrap();
        // The trap is set once it has said so.
        let mut log = std::io::BufReader::new(child.take_stderr().unwrap());
        std::io::BufRead::read_line(&mut log, &mut String::new()).unwrap();
        let pid = child.id();
        child.end(Duration::from_millis(100)).unwrap();
        assert!(!proc::runs(pid));
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = Guarded::start(Path::new("/no/such/program"), &[], None).unwrap_err();
        assert!(error.to_string().contains("/no/such/program"), "{error}");
    }
}
