//! Which processor each of the viewers' threads runs on: one of its own, where there is one for each.
//!
//! A connection stays with its thread, so two threads on one processor keep one half of the viewers waiting while another
//! processor has nothing to do, for as long as it takes the system to move one of them. With fewer threads than processors, or
//! more, or a quota below what the processors give, where threads run is left to the system.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Processors of the process, and which of them each thread has.
#[derive(Clone, Debug)]
pub(super) struct Processors {
    all: CpuSet,
    /// By thread; empty: that is left to the system.
    own: Vec<usize>,
}

impl Processors {
    /// Those of so many threads, if `pins`; `cores` is how many the process may use at a time. None: the system does not tell
    /// which there are, so nothing is asked of it.
    pub(super) fn of(threads: usize, cores: usize, pins: bool) -> Option<Processors> {
        let all = sched_getaffinity(None).ok().filter(|_| pins)?;
        let allowed: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|processor| all.is_set(*processor)).collect();
        let own = if allowed.len() == threads && cores == threads { allowed } else { Vec::new() };
        Some(Processors { all, own })
    }

    /// Keeps the calling thread, one of viewers, on its own processor. What it starts is kept there as well, until it says
    /// otherwise ([`Self::release`]).
    pub(super) fn keep(&self, thread: usize) {
        let Some(processor) = self.own.get(thread) else { return };
        let mut own = CpuSet::new();
        own.set(*processor);
        if let Err(error) = sched_setaffinity(None, &own) {
            tracing::warn!(%error, processor, "a thread cannot be kept on its processor");
        }
    }

    /// Lets the calling thread run on all processors: one that a viewers' thread has started for what takes long.
    pub(super) fn release(&self) {
        if !self.own.is_empty()
            && let Err(error) = sched_setaffinity(None, &self.all)
        {
            tracing::warn!(%error, "a thread stays on the processor of the one that has started it");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    fn here() -> Vec<usize> {
        let set = sched_getaffinity(None).unwrap();
        (0..CpuSet::MAX_CPU).filter(|processor| set.is_set(*processor)).collect()
    }

    #[test]
    fn a_thread_has_a_processor_of_its_own_where_there_is_one_for_each() {
        let all = here();
        let processors = Processors::of(all.len(), all.len(), true).unwrap();
        for (thread, processor) in all.iter().enumerate() {
            let processors = processors.clone();
            let own = std::thread::spawn(move || {
                processors.keep(thread);
                here()
            });
            assert_eq!(own.join().unwrap(), [*processor]);
        }
        assert_eq!(here(), all);
    }

    #[test]
    fn what_a_kept_thread_starts_can_be_released() {
        let all = here();
        let processors = Processors::of(all.len(), all.len(), true).unwrap();
        let released = std::thread::spawn(move || {
            processors.keep(0);
            std::thread::spawn(move || {
                processors.release();
                here()
            })
            .join()
            .unwrap()
        });
        assert_eq!(released.join().unwrap(), all);
    }

    #[test]
    fn otherwise_the_system_decides() {
        let all = here();
        let count = all.len();
        for (threads, cores, pins) in
            [(count + 1, count, true), (count, count + 1, true), (count, count, false)]
        {
            let processors = Processors::of(threads, cores, pins);
            let own = std::thread::spawn(move || {
                processors.inspect(|processors| processors.keep(0));
                here()
            });
            assert_eq!(own.join().unwrap(), all, "{threads} {cores} {pins}");
        }
    }
}
