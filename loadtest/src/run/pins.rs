//! Which processors the server has, and which viewers and origin: where there are enough, they do not disturb each other.

use anyhow::Result;

use crate::proc;

/// Processors from which on they are split: below, both sides need what there is.
const CPUS_MIN: usize = 4;

/// The processors of the server, and of viewers and origin, in `taskset -c` form: the first half and the others of those that this
/// process may run on. None where there are fewer than four, or no `taskset`.
pub(crate) fn split() -> Result<Option<(String, String)>> {
    let has_taskset = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join("taskset").is_file()));
    Ok(halves(&proc::allowed_cpus()?).filter(|_| has_taskset))
}

/// How many processors a list has.
pub(crate) fn count(cpus: &str) -> Result<usize> {
    Ok(proc::parse_cpu_list(cpus)?.len())
}

fn halves(cpus: &[u32]) -> Option<(String, String)> {
    let (server, others) = cpus.split_at(cpus.len() / 2);
    (cpus.len() >= CPUS_MIN).then(|| (list(server), list(others)))
}

fn list(cpus: &[u32]) -> String {
    cpus.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    #[test]
    fn from_four_processors_on_the_server_has_the_first_half() {
        let both = |server: &str, others: &str| Some((server.to_owned(), others.to_owned()));
        assert_eq!(halves(&[0, 1, 2]), None);
        assert_eq!(halves(&[0, 1, 2, 3]), both("0,1", "2,3"));
        assert_eq!(halves(&[1, 3, 5, 7, 9]), both("1,3", "5,7,9"));
    }

    #[test]
    fn a_half_is_a_list_as_the_kernel_has_it() {
        let (server, others) = halves(&[0, 1, 2, 3, 8, 9, 10]).unwrap();
        assert_eq!((count(&server).unwrap(), count(&others).unwrap()), (3, 4));
    }
}
