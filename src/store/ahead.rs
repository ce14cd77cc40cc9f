//! Objects that were fetched before anybody had asked for them: whether somebody has since.
//!
//! The mark goes with the object, and with those that take its place around the same body. It counts once: as used with
//! the first request that the object answers, else as wasted when the last of them leaves the memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use prometheus::IntCounter;

/// A request has been answered with the object.
const USED: u8 = 1;

/// All of it has come.
const WHOLE: u8 = 2;

/// What objects that were fetched ahead are counted in.
#[derive(Debug)]
pub struct AheadCounters {
    /// Objects that somebody has asked for.
    pub used: IntCounter,
    /// Their bytes.
    pub used_bytes: IntCounter,
    /// Objects that have gone before anybody asked.
    pub wasted: IntCounter,
    /// Their bytes.
    pub wasted_bytes: IntCounter,
}

/// The mark of one such object.
#[derive(Debug)]
pub struct AheadMark {
    state: AtomicU8,
    /// Bytes that were fetched ahead.
    bytes: AtomicU64,
    counters: Arc<AheadCounters>,
}

impl AheadMark {
    /// Of an object that is about to come.
    pub fn new(counters: Arc<AheadCounters>) -> Arc<AheadMark> {
        Arc::new(AheadMark { state: AtomicU8::new(0), bytes: AtomicU64::new(0), counters })
    }

    /// A request is answered with the object. Only the first one counts; the others cost one relaxed load.
    pub fn note_use(&self) {
        if self.state.load(Ordering::Relaxed) & USED != 0 {
            return;
        }
        let before = self.state.fetch_or(USED, Ordering::AcqRel);
        if before & USED == 0 {
            self.counters.used.inc();
            if before & WHOLE != 0 {
                self.counters.used_bytes.inc_by(self.bytes.load(Ordering::Relaxed));
            }
        }
    }

    /// All `bytes` that were to be fetched have come.
    pub fn note_whole(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
        let before = self.state.fetch_or(WHOLE, Ordering::AcqRel);
        if before == USED {
            self.counters.used_bytes.inc_by(bytes);
        }
    }
}

impl Drop for AheadMark {
    fn drop(&mut self) {
        // What has broken off was never an object.
        if *self.state.get_mut() == WHOLE {
            self.counters.wasted.inc();
            self.counters.wasted_bytes.inc_by(*self.bytes.get_mut());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn counted(with: impl FnOnce(Arc<AheadMark>)) -> [u64; 4] {
        let counter = |name: &str| IntCounter::new(name, "a test").unwrap();
        let counters = Arc::new(AheadCounters {
            used: counter("used"),
            used_bytes: counter("used_bytes"),
            wasted: counter("wasted"),
            wasted_bytes: counter("wasted_bytes"),
        });
        with(AheadMark::new(Arc::clone(&counters)));
        let AheadCounters { used, used_bytes, wasted, wasted_bytes } = &*counters;
        [used, used_bytes, wasted, wasted_bytes].map(IntCounter::get)
    }

    #[test]
    fn an_object_counts_once_as_used_or_as_wasted() {
        let used_when_whole = counted(|mark| {
            mark.note_whole(7);
            mark.note_use();
            mark.note_use();
        });
        assert_eq!(used_when_whole, [1, 7, 0, 0]);
        let used_while_it_came = counted(|mark| {
            mark.note_use();
            mark.note_whole(7);
            mark.note_use();
        });
        assert_eq!(used_while_it_came, [1, 7, 0, 0]);
        assert_eq!(counted(|mark| mark.note_whole(7)), [0, 0, 1, 7]);
    }

    #[test]
    fn what_breaks_off_is_not_wasted_and_counts_no_bytes() {
        assert_eq!(counted(drop), [0; 4]);
        assert_eq!(counted(|mark| mark.note_use()), [1, 0, 0, 0]);
    }

    #[test]
    fn objects_around_the_same_body_are_one() {
        let shared = counted(|mark| {
            let again = Arc::clone(&mark);
            mark.note_whole(3);
            drop(mark);
            again.note_use();
        });
        assert_eq!(shared, [1, 3, 0, 0]);
    }
}
