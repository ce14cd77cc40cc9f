//! What the sides of a run take, second by second: CPU and resident memory of server, origin and tester, from /proc, and what the
//! server has cached in files in memory.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Result;

use crate::measure::summary::Usage;
use crate::proc::{self, Processes};
use crate::server::CacheFiles;

/// How often the memory files of the server are looked for, in seconds: it takes a look at every descriptor it has open, and at
/// every file of its cache.
const MEMORY_FILES_EVERY: u32 = 5;

/// The first process of the server, which a restart changes. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Root(Arc<AtomicU32>);

/// Reads what processes take.
#[derive(Debug)]
pub(crate) struct Meter {
    server: Root,
    /// What the server has cached in files that show in none of its processes.
    cache: CacheFiles,
    origin: Option<u32>,
    /// CPU time of each process tree when it was read last, by its root.
    before: HashMap<u32, Duration>,
    /// CPU seconds of each side since the run began, whichever processes it has had.
    cpu: Cpu,
    /// Bytes of the memory files that the server's processes have open, and of its cache's files, when they were looked for last.
    memory_files: u64,
    cache_files: u64,
    readings: u32,
    /// The server's process that was there once and is no more, without having been ended by the run.
    pub(crate) server_fell: Option<u32>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Cpu {
    server: f64,
    origin: f64,
    tester: f64,
}

/// What was read: CPU since the run began, and memory now.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Taken {
    pub(crate) server: Option<Usage>,
    pub(crate) origin: Option<Usage>,
    pub(crate) tester: Usage,
}

// === impl Root ===

impl Root {
    /// No process, as while the server is being started anew.
    const NOBODY: u32 = 0;

    pub(crate) fn set(&self, pid: Option<u32>) {
        self.0.store(pid.unwrap_or(Self::NOBODY), Ordering::Release);
    }

    pub(crate) fn get(&self) -> Option<u32> {
        Some(self.0.load(Ordering::Acquire)).filter(|pid| *pid != Self::NOBODY)
    }
}

// === impl Meter ===

impl Meter {
    /// Begins to count now. Without an id a side is not there, or is not this machine's.
    pub(crate) fn start(server: Root, cache: CacheFiles, origin: Option<u32>) -> Result<Self> {
        let mut meter = Self {
            server,
            cache,
            origin,
            before: HashMap::new(),
            cpu: Cpu::default(),
            memory_files: 0,
            cache_files: 0,
            readings: 0,
            server_fell: None,
        };
        meter.begin()?;
        Ok(meter)
    }

    /// Counts from now on, and says what was read.
    pub(crate) fn begin(&mut self) -> Result<Taken> {
        let taken = self.read()?;
        self.cpu = Cpu::default();
        Ok(taken)
    }

    /// What was taken since it began to count, and what is resident now.
    pub(crate) fn read(&mut self) -> Result<Taken> {
        let processes = Processes::now()?;
        let own = std::process::id();
        self.cpu.tester += self.since(own, processes.cpu(own).unwrap_or_default());
        let tester = Usage { cpu_seconds: self.cpu.tester, resident_bytes: proc::resident_bytes(own)? };
        let origin = self.origin.and_then(|pid| self.tree(&processes, pid, 0)).map(|taken| {
            self.cpu.origin += taken.cpu_seconds;
            Usage { cpu_seconds: self.cpu.origin, ..taken }
        });
        let server = self.server.get().and_then(|pid| {
            if self.readings.is_multiple_of(MEMORY_FILES_EVERY) {
                let files =
                    processes.tree(pid).into_iter().filter_map(|pid| proc::memory_files_bytes(pid).ok());
                self.memory_files = files.sum();
                self.cache_files = self.cache.bytes();
            }
            let taken = self.tree(&processes, pid, self.memory_files);
            // Between the two looks it may have been ended by an event.
            if taken.is_none() && self.server.get() == Some(pid) {
                self.server_fell = Some(pid);
            }
            let taken = taken?;
            self.cpu.server += taken.cpu_seconds;
            Some(Usage {
                cpu_seconds: self.cpu.server,
                resident_bytes: taken.resident_bytes + self.cache_files,
            })
        });
        self.readings = self.readings.wrapping_add(1);
        Ok(Taken { server, origin, tester })
    }

    /// A process tree: its CPU since it was read last. What its processes share is counted once: the most that one of them has,
    /// or what stands in memory files.
    fn tree(&mut self, processes: &Processes, root: u32, memory_files: u64) -> Option<Usage> {
        let cpu = processes.tree_cpu(root)?;
        // A root that has ended and was not waited for has no memory: it is not there any more.
        let first = proc::resident(root).ok()?;
        let rest = processes.tree(root).into_iter().filter(|pid| *pid != root);
        let (own, shared) = rest
            .filter_map(|pid| proc::resident(pid).ok())
            .fold((first.own, first.shared), |(own, shared), one| (own + one.own, shared.max(one.shared)));
        Some(Usage { cpu_seconds: self.since(root, cpu), resident_bytes: own + shared.max(memory_files) })
    }

    /// What was added since the last time; all of it for a process that was not there then.
    fn since(&mut self, root: u32, cpu: Duration) -> f64 {
        let before = self.before.insert(root, cpu).unwrap_or_default();
        cpu.saturating_sub(before).as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use std::process::{Child, Command};

    use super::*;

    /// A process with a child that works until it is ended.
    fn works() -> Child {
        let mut command = Command::new("sh");
        command.args(["-c", "(while :; do :; done) & echo $!; wait"]).stdout(std::process::Stdio::piped());
        command.spawn().unwrap()
    }

    fn end(mut root: Child) {
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(root.stdout.take().unwrap()), &mut line)
            .unwrap();
        let child = rustix::process::Pid::from_raw(line.trim().parse().unwrap()).unwrap();
        rustix::process::kill_process(child, rustix::process::Signal::KILL).unwrap();
        root.kill().ok();
        root.wait().unwrap();
    }

    #[test]
    fn the_work_of_children_is_the_servers_and_is_counted_from_the_beginning_on() {
        let (server, root) = (works(), Root::default());
        root.set(Some(server.id()));
        let mut meter = Meter::start(root, CacheFiles::default(), None).unwrap();
        let (mut theirs, mut own) = (0.0, 0.0);
        while theirs < 0.3 {
            let taken = meter.read().unwrap();
            let server = taken.server.unwrap();
            assert!(server.resident_bytes > 100_000 && taken.tester.resident_bytes > 100_000);
            assert!(taken.origin.is_none());
            assert!(server.cpu_seconds >= theirs && taken.tester.cpu_seconds >= own);
            (theirs, own) = (server.cpu_seconds, taken.tester.cpu_seconds);
            #[allow(clippy::disallowed_methods, reason = "lets the other process work; bounded by its work")]
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(meter.server_fell.is_none());
        meter.begin().unwrap();
        assert!(meter.read().unwrap().server.unwrap().cpu_seconds < theirs);
        end(server);
    }

    #[test]
    fn what_a_server_has_cached_in_files_is_memory_that_it_takes() {
        let folder = tempfile::tempdir().unwrap();
        let (server, root) = (works(), Root::default());
        root.set(Some(server.id()));
        let resident = |meter: &mut Meter| meter.read().unwrap().server.unwrap().resident_bytes;
        let mut meter = Meter::start(root, CacheFiles::below(folder.path()), None).unwrap();
        let before = resident(&mut meter);
        std::fs::create_dir(folder.path().join("a")).unwrap();
        std::fs::write(folder.path().join("a/body"), vec![1; 64 << 20]).unwrap();
        // It is not looked for each time.
        let after = (0..MEMORY_FILES_EVERY).map(|_| resident(&mut meter)).max().unwrap();
        assert!(after >= before + (60 << 20), "{before} {after}");
        end(server);
    }

    #[test]
    fn a_server_that_ends_by_itself_is_noticed_and_one_that_the_run_ends_is_not() {
        let (server, root) = (works(), Root::default());
        let pid = server.id();
        root.set(Some(pid));
        let mut meter = Meter::start(root.clone(), CacheFiles::default(), None).unwrap();
        end(server);
        root.set(None);
        assert!(meter.read().unwrap().server.is_none());
        assert_eq!(meter.server_fell, None);
        root.set(Some(pid));
        assert!(meter.read().unwrap().server.is_none());
        assert_eq!(meter.server_fell, Some(pid));
    }
}
