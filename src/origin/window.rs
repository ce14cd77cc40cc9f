//! Two sums over the last seconds: of all requests, and of those among them that something is true of.
//!
//! Pure: the time comes from outside. Called by [`super::budget`] and [`super::breaker`].

use std::time::Duration;

use tokio::time::Instant;

/// Parts that a window is counted in; the oldest one is forgotten as a whole.
const SLOTS: usize = 10;

/// The sums.
#[derive(Debug)]
pub(super) struct Window {
    began: Instant,
    slot: Duration,
    slots: [Slot; SLOTS],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Slot {
    number: u64,
    all: u32,
    marked: u32,
}

impl Window {
    /// Nothing counted yet, of a window of `span`.
    pub(super) fn new(span: Duration, now: Instant) -> Self {
        let slot = (span / SLOTS as u32).max(Duration::from_millis(1));
        Self { began: now, slot, slots: [Slot::default(); SLOTS] }
    }

    /// Counts `all` requests, and `marked` of which it is true.
    pub(super) fn add(&mut self, now: Instant, all: u32, marked: u32) {
        let number = self.number(now);
        let slot = &mut self.slots[(number % SLOTS as u64) as usize];
        if slot.number != number {
            *slot = Slot { number, ..Slot::default() };
        }
        slot.all = slot.all.saturating_add(all);
        slot.marked = slot.marked.saturating_add(marked);
    }

    /// All requests of the window, and those of which it is true.
    pub(super) fn sums(&self, now: Instant) -> (u32, u32) {
        let number = self.number(now);
        let counted = self.slots.iter().filter(|slot| slot.number + SLOTS as u64 > number);
        counted.fold((0, 0), |(all, marked), slot| {
            (u32::saturating_add(all, slot.all), u32::saturating_add(marked, slot.marked))
        })
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.slots = [Slot::default(); SLOTS];
    }

    fn number(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.began).as_nanos() / self.slot.as_nanos();
        u64::try_from(since).unwrap_or(u64::MAX / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let mut window = Window::new(Duration::from_secs(10), began);
        window.add(at(0), 5, 1);
        window.add(at(9), 2, 2);
        assert_eq!(window.sums(at(9)), (7, 3));
        assert_eq!(window.sums(at(10)), (2, 2));
        window.add(at(10), 1, 0);
        assert_eq!(window.sums(at(18)), (3, 2));
        assert_eq!(window.sums(at(20)), (0, 0));
        window.add(at(20), 4, 4);
        window.clear();
        assert_eq!(window.sums(at(20)), (0, 0));
    }
}
