//! What the kernel says about a process: the CPU time of a process tree and its peak memory, from /proc.
//!
//! The parsers are pure; the readers at the top go to /proc. Called by the benchmarks before and after a round.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// Bytes of the blocks that a file's length on disk or in memory is told in (stat(2)).
pub(crate) const STAT_BLOCK_BYTES: u64 = 512;

/// What one line of /proc/PID/stat says, as far as it is used (proc(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pid: u32,
    parent: u32,
    /// User and system time of the process and of the children it has waited for, in clock ticks.
    ticks: u64,
    /// Of these, the children's.
    children_ticks: u64,
}

/// CPU time (user and system) that a process and all its descendants have used so far. Children that ended and were
/// waited for are counted, so the figure never falls while the root lives.
pub(crate) fn tree_cpu(root: u32) -> Result<Duration> {
    Processes::now()?.tree_cpu(root).with_context(|| format!("process {root} is no longer there"))
}

/// A process and all its descendants, as far as they are there.
pub(crate) fn tree(root: u32) -> Result<Vec<u32>> {
    Ok(Processes::now()?.tree(root))
}

/// All processes of the machine at one moment, so that several trees can be told from one reading of /proc.
#[derive(Debug)]
pub(crate) struct Processes {
    stats: Vec<Stat>,
}

impl Processes {
    pub(crate) fn now() -> Result<Self> {
        let mut stats = Vec::new();
        for entry in fs::read_dir("/proc").context("/proc")? {
            let name = entry.context("/proc")?.file_name();
            if !name.to_string_lossy().bytes().all(|b| b.is_ascii_digit()) {
                continue;
            }
            // A process may end between the listing and the reading: it is then in its parent's figure.
            if let Ok(line) = fs::read_to_string(format!("/proc/{}/stat", name.to_string_lossy())) {
                stats.push(parse_stat(&line)?);
            }
        }
        Ok(Self { stats })
    }

    /// As [`tree_cpu`]; none: there is no such process.
    pub(crate) fn tree_cpu(&self, root: u32) -> Option<Duration> {
        tree_ticks(root, &self.stats).map(duration)
    }

    /// CPU time of a process alone, without any of its children.
    pub(crate) fn cpu(&self, pid: u32) -> Option<Duration> {
        let stat = self.stats.iter().find(|stat| stat.pid == pid)?;
        Some(duration(stat.ticks - stat.children_ticks))
    }

    /// A process and all its descendants; nobody when it is not there.
    pub(crate) fn tree(&self, root: u32) -> Vec<u32> {
        let mut tree: Vec<u32> =
            self.stats.iter().filter(|stat| stat.pid == root).map(|stat| stat.pid).collect();
        let mut next = 0;
        while let Some(parent) = tree.get(next).copied() {
            tree.extend(self.stats.iter().filter(|stat| stat.parent == parent).map(|stat| stat.pid));
            next += 1;
        }
        tree
    }
}

/// What a process has in memory now, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resident {
    /// Of its own, and of files.
    pub(crate) own: u64,
    /// Shared with others (memory files, `/dev/shm`), as far as it has touched it through a mapping.
    pub(crate) shared: u64,
}

/// What a process has in memory (`RssAnon` and `RssFile`, `RssShmem`).
pub(crate) fn resident(pid: u32) -> Result<Resident> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| path.clone())?;
    let bytes = |name: &str| {
        status_kib(&status, name).map(|kib| kib * 1024).with_context(|| format!("{path}: no {name} line"))
    };
    Ok(Resident { own: bytes("RssAnon")? + bytes("RssFile")?, shared: bytes("RssShmem")? })
}

/// CPU time of the children of this process that ended and were waited for.
pub(crate) fn ended_children_cpu() -> Result<Duration> {
    let line = fs::read_to_string("/proc/self/stat").context("/proc/self/stat")?;
    Ok(duration(parse_stat(&line)?.children_ticks))
}

fn duration(ticks: u64) -> Duration {
    Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// The largest resident memory a process has had, in bytes (`VmHWM`).
pub(crate) fn peak_memory_bytes(pid: u32) -> Result<u64> {
    status_bytes(pid, "VmHWM")
}

/// The resident memory of a process now, in bytes (`VmRSS`).
pub(crate) fn resident_bytes(pid: u32) -> Result<u64> {
    status_bytes(pid, "VmRSS")
}

/// Bytes of memory that a process takes now: resident ones, and those of its anonymous files, whether it has touched them
/// through a mapping or not.
pub(crate) fn memory_bytes(pid: u32) -> Result<u64> {
    Ok(status_bytes(pid, "RssAnon")? + status_bytes(pid, "RssFile")? + memory_files_bytes(pid)?)
}

/// Bytes of memory that the anonymous files (memfd) of a process take.
pub(crate) fn memory_files_bytes(pid: u32) -> Result<u64> {
    let folder = format!("/proc/{pid}/fd");
    let mut bytes = 0;
    for entry in fs::read_dir(&folder).with_context(|| folder.clone())? {
        let descriptor = entry.with_context(|| folder.clone())?.path();
        // A descriptor may be closed between the listing and the reading.
        let (Ok(target), Ok(file)) = (fs::read_link(&descriptor), fs::metadata(&descriptor)) else {
            continue;
        };
        if target.to_string_lossy().starts_with("/memfd:") {
            bytes += file.blocks() * STAT_BLOCK_BYTES;
        }
    }
    Ok(bytes)
}

/// Whether a process is there and has not ended. One that has, and that nobody has waited for, holds nothing any more once the
/// last of its threads is gone.
pub(crate) fn runs(pid: u32) -> bool {
    let ended = |status: &str| field(status, "State").is_some_and(|state| state.starts_with(['Z', 'X']));
    let threads = || fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| !ended(&status) || threads() > 1)
}

/// The TCP congestion control of new connections, if the kernel tells.
pub(crate) fn congestion_control() -> Option<String> {
    let name = fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control").ok()?;
    Some(name.trim().to_owned())
}

/// The processors this process may run on, in order.
pub(crate) fn allowed_cpus() -> Result<Vec<u32>> {
    let status = fs::read_to_string("/proc/self/status").context("/proc/self/status")?;
    let list = field(&status, "Cpus_allowed_list").context("/proc/self/status: no Cpus_allowed_list line")?;
    parse_cpu_list(list)
}

/// The first value of a `name : value` or `name: value` line.
pub(crate) fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim() == name)
        .map(|(_, v)| v.trim())
}

fn status_bytes(pid: u32, name: &str) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| path.clone())?;
    status_kib(&status, name).map(|kib| kib * 1024).with_context(|| format!("{path}: no {name} line"))
}

fn parse_stat(line: &str) -> Result<Stat> {
    // The command name stands in parentheses and may itself hold spaces and parentheses.
    let (Some(open), Some(close)) = (line.find('('), line.rfind(')')) else {
        bail!("not a /proc/PID/stat line: {line:?}");
    };
    let pid = line[..open].trim().parse().with_context(|| format!("process id in {line:?}"))?;
    let rest: Vec<&str> = line[close + 1..].split_ascii_whitespace().collect();
    let number = |index: usize, name: &str| -> Result<u64> {
        let text = rest.get(index).with_context(|| format!("no {name} in {line:?}"))?;
        text.parse().with_context(|| format!("{name} in {line:?}"))
    };
    // Field 3 of proc(5), the state, has index 0 here.
    let children_ticks = number(13, "cutime")? + number(14, "cstime")?;
    let ticks = number(11, "utime")? + number(12, "stime")? + children_ticks;
    Ok(Stat { pid, parent: u32::try_from(number(1, "ppid")?)?, ticks, children_ticks })
}

fn tree_ticks(root: u32, stats: &[Stat]) -> Option<u64> {
    let mut children: HashMap<u32, Vec<&Stat>> = HashMap::new();
    for stat in stats {
        children.entry(stat.parent).or_default().push(stat);
    }
    let mut todo = vec![stats.iter().find(|stat| stat.pid == root)?];
    let mut ticks = 0;
    while let Some(stat) = todo.pop() {
        ticks += stat.ticks;
        todo.extend(children.remove(&stat.pid).unwrap_or_default());
    }
    Some(ticks)
}

fn status_kib(status: &str, name: &str) -> Option<u64> {
    field(status, name)?.strip_suffix("kB")?.trim().parse().ok()
}

/// The processors of a list as the kernel and `taskset -c` have it: `0-2,5`.
pub(crate) fn parse_cpu_list(list: &str) -> Result<Vec<u32>> {
    let mut cpus = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let bad = || format!("not a list of processors: {list:?}");
        let (first, last): (u32, u32) =
            (first.trim().parse().with_context(bad)?, last.trim().parse().with_context(bad)?);
        cpus.extend(first..=last);
    }
    Ok(cpus)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    const LINE: &str =
        "42 (nginx: (x) y) S 7 42 42 0 -1 4194624 100 0 0 0 11 22 3 4 20 0 1 0 100 1000 10 0 0";

    #[test]
    fn a_command_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        assert_eq!(parse_stat(LINE).unwrap(), Stat { pid: 42, parent: 7, ticks: 40, children_ticks: 7 });
    }

    #[test]
    fn a_line_that_is_cut_off_is_an_error_that_names_the_field() {
        let error = parse_stat("42 (a) S 7 42").unwrap_err();
        assert!(error.to_string().contains("utime"), "{error}");
        assert!(parse_stat("").is_err());
    }

    #[test]
    fn the_tree_holds_the_root_and_all_below_and_nothing_else() {
        let stat = |pid, parent, ticks| Stat { pid, parent, ticks, children_ticks: 0 };
        let stats = [stat(1, 0, 1000), stat(5, 1, 1), stat(6, 5, 10), stat(7, 6, 100), stat(8, 1, 5000)];
        assert_eq!(tree_ticks(5, &stats), Some(111));
        assert_eq!(tree_ticks(9, &stats), None);
    }

    #[test]
    fn a_process_alone_has_not_the_time_of_its_children() {
        let stat = |pid, parent, ticks, children_ticks| Stat { pid, parent, ticks, children_ticks };
        let processes = Processes {
            stats: vec![stat(6, 5, 10, 0), stat(5, 1, 7, 4), stat(7, 6, 1, 0), stat(8, 1, 9, 0)],
        };
        let tick = duration(1);
        assert_eq!(processes.cpu(5), Some(tick * 3));
        assert_eq!(processes.tree_cpu(5), Some(tick * 18));
        assert_eq!(processes.tree(5), [5, 6, 7]);
        assert!(processes.tree(9).is_empty() && processes.cpu(9).is_none());
    }

    #[test]
    fn the_own_process_has_used_time_and_memory() {
        let pid = std::process::id();
        let mut sum = 0_u64;
        while tree_cpu(pid).unwrap().is_zero() {
            sum = std::hint::black_box((0..1_000_000).fold(sum, u64::wrapping_add));
        }
        assert!(resident_bytes(pid).unwrap() > 100_000);
        assert!(peak_memory_bytes(pid).unwrap() > 100_000);
        assert!(memory_bytes(pid).unwrap() > 100_000);
        assert!(resident(pid).unwrap().own > 100_000);
    }

    #[test]
    fn the_pages_of_memory_files_are_counted_and_their_holes_are_not() {
        let pid = std::process::id();
        let before = memory_files_bytes(pid).unwrap();
        let file = rustix::fs::memfd_create(c"counted", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&file, 1 << 30).unwrap();
        assert_eq!(memory_files_bytes(pid).unwrap(), before);
        rustix::io::pwrite(&file, &[1; 100_000], 1 << 20).unwrap();
        assert!((100_000..1 << 20).contains(&(memory_files_bytes(pid).unwrap() - before)));
    }

    #[test]
    fn the_time_of_ended_children_is_counted() {
        let before = ended_children_cpu().unwrap();
        let count = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done";
        while ended_children_cpu().unwrap() == before {
            assert!(std::process::Command::new("sh").args(["-c", count]).status().unwrap().success());
        }
    }

    #[test]
    fn peak_memory_is_read_in_kibibytes() {
        assert_eq!(status_kib("Name:\tx\nVmPeak:\t 5 kB\nVmHWM:\t   1234 kB\n", "VmHWM"), Some(1234));
        assert_eq!(status_kib("Name:\tx\n", "VmHWM"), None);
    }

    #[test]
    fn a_list_of_processors_may_hold_ranges() {
        assert_eq!(parse_cpu_list("0-2,5,7-8").unwrap(), [0, 1, 2, 5, 7, 8]);
        assert!(parse_cpu_list("0-x").is_err());
    }
}
