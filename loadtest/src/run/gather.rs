//! The seconds of a run, from all its sources: a second is whole when every source that is still there has told of it. Pure; the
//! conductor feeds it, and so does each worker for its own threads.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

use crate::measure::Book;
use crate::measure::summary::Usage;

/// How many seconds the slowest source may be behind the fastest one before it counts as lost: books wait in memory meanwhile.
pub(crate) const BEHIND_SECONDS_MAX: u32 = 60;

/// Books that wait to be whole.
#[derive(Debug)]
pub(crate) struct Gather {
    sources: Vec<Source>,
    waiting: BTreeMap<u32, Second>,
    /// The last second that was handed out.
    done: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Source {
    /// The last second that it has told of.
    told: u32,
    gone: bool,
}

/// What was gathered in a second.
#[derive(Debug, Default)]
pub(crate) struct Second {
    pub(crate) book: Book,
    /// What sources took that are processes of their own; resident memory is their sum.
    pub(crate) usage: Usage,
}

// === impl Gather ===

impl Gather {
    pub(crate) fn new(sources: usize) -> Self {
        Self { sources: vec![Source::default(); sources], waiting: BTreeMap::new(), done: 0 }
    }

    /// A source tells of its second. Seconds begin at 1 and go up; an error says that the source does not keep to that.
    pub(crate) fn take(
        &mut self,
        source: usize,
        second: u32,
        book: &Book,
        usage: Option<Usage>,
    ) -> Result<()> {
        let sources = self.sources.len();
        ensure!(source < sources, "source {source} of {sources}");
        let told = &mut self.sources[source];
        ensure!(!told.gone, "second {second} after its end");
        ensure!(second > told.told, "second {second} after second {}", told.told);
        let most = told.told + BEHIND_SECONDS_MAX;
        ensure!(second <= most, "second {second} after second {}: a gap of over a minute", told.told);
        told.told = second;
        let waiting = self.waiting.entry(second).or_default();
        waiting.book.merge(book);
        if let Some(usage) = usage {
            waiting.usage.cpu_seconds += usage.cpu_seconds;
            let resident_bytes = &mut waiting.usage.resident_bytes;
            *resident_bytes = resident_bytes.saturating_add(usage.resident_bytes);
        }
        Ok(())
    }

    /// Nothing more comes of it, and nobody waits for it any more.
    pub(crate) fn gone(&mut self, source: usize) {
        if let Some(source) = self.sources.get_mut(source) {
            source.gone = true;
        }
    }

    pub(crate) fn all_gone(&self) -> bool {
        self.sources.iter().all(|source| source.gone)
    }

    /// Sources that hold everybody else up for longer than they may.
    pub(crate) fn far_behind(&self) -> Vec<usize> {
        let first = self.sources.iter().map(|source| source.told).max().unwrap_or_default();
        let is_late = |source: &Source| !source.gone && source.told + BEHIND_SECONDS_MAX < first;
        (0..self.sources.len()).filter(|at| is_late(&self.sources[*at])).collect()
    }

    /// The second that is handed out next.
    pub(crate) fn due(&self) -> u32 {
        self.done + 1
    }

    /// Whether anything waits to be handed out.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The next second that is whole, if it is; one of which nobody told anything has nothing in it.
    pub(crate) fn next(&mut self) -> Option<(u32, Second)> {
        let last = *self.waiting.keys().next_back()?;
        let whole = self.sources.iter().filter(|source| !source.gone).map(|source| source.told).min();
        let second = self.due();
        if second > whole.unwrap_or(last).min(last) {
            return None;
        }
        self.done = second;
        Some((second, self.waiting.remove(&second).unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    fn usage(cpu_seconds: f64) -> Option<Usage> {
        Some(Usage { cpu_seconds, resident_bytes: 10 })
    }

    fn seconds(gather: &mut Gather) -> Vec<u32> {
        std::iter::from_fn(|| gather.next()).map(|(second, _)| second).collect()
    }

    #[test]
    fn a_second_is_whole_when_all_have_told_of_it() {
        let mut gather = Gather::new(2);
        gather.take(0, 1, &Book::default(), usage(0.25)).unwrap();
        gather.take(0, 2, &Book::default(), None).unwrap();
        assert!(gather.next().is_none());
        gather.take(1, 1, &Book::default(), usage(0.5)).unwrap();
        let (second, sum) = gather.next().unwrap();
        assert_eq!((second, sum.usage), (1, Usage { cpu_seconds: 0.75, resident_bytes: 20 }));
        assert!(gather.next().is_none());
    }

    #[test]
    fn nobody_waits_for_who_is_gone_and_what_it_told_counts() {
        let mut gather = Gather::new(3);
        gather.take(0, 1, &Book::default(), usage(1.0)).unwrap();
        gather.take(1, 1, &Book::default(), usage(1.0)).unwrap();
        gather.take(1, 2, &Book::default(), None).unwrap();
        gather.gone(2);
        assert_eq!(gather.next().unwrap().1.usage.cpu_seconds, 2.0);
        assert!(gather.next().is_none());
        gather.gone(0);
        assert_eq!(seconds(&mut gather), [2]);
        assert!(!gather.all_gone());
        gather.gone(1);
        assert!(gather.all_gone());
        assert!(gather.next().is_none());
    }

    #[test]
    fn a_second_of_which_nobody_told_is_there_all_the_same() {
        let mut gather = Gather::new(1);
        gather.take(0, 3, &Book::default(), usage(1.0)).unwrap();
        assert_eq!(seconds(&mut gather), [1, 2, 3]);
    }

    #[test]
    fn seconds_that_go_back_or_far_ahead_or_come_after_the_end_are_refused() {
        let mut gather = Gather::new(1);
        gather.take(0, 2, &Book::default(), None).unwrap();
        let mut refused = |source, second| gather.take(source, second, &Book::default(), None).is_err();
        assert!(refused(0, 0) && refused(0, 1) && refused(0, 2));
        assert!(refused(0, 3 + BEHIND_SECONDS_MAX));
        assert!(refused(1, 3));
        assert!(!refused(0, 3));
        gather.gone(0);
        assert!(gather.take(0, 4, &Book::default(), None).is_err());
    }

    #[test]
    fn who_holds_everybody_up_for_a_minute_is_named() {
        let mut gather = Gather::new(2);
        gather.take(0, BEHIND_SECONDS_MAX, &Book::default(), None).unwrap();
        assert!(gather.far_behind().is_empty());
        gather.take(0, BEHIND_SECONDS_MAX + 1, &Book::default(), None).unwrap();
        assert_eq!(gather.far_behind(), [1]);
        gather.gone(1);
        assert!(gather.far_behind().is_empty());
    }
}
