//! The share of requests that may be sent once more: so that an origin that fails is not asked twice as much for it.
//!
//! Pure but for its lock. Called by the group for further attempts and for second requests.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::window::Window;

/// The time that a share is of.
const SPAN: Duration = Duration::from_secs(10);

/// So many percent of the requests of the last seconds, and a few in any case.
pub(super) struct Budget {
    percent: u32,
    floor: u32,
    window: Mutex<Window>,
}

impl Budget {
    pub(super) fn new(percent: u32, floor: u32) -> Self {
        Self { percent, floor, window: Mutex::new(Window::new(SPAN, Instant::now())) }
    }

    /// Counts a request, which earns its share.
    pub(super) fn earn(&self, now: Instant) {
        self.window.lock().add(now, 1, 0);
    }

    /// Takes one from the budget; false: it is used up.
    pub(super) fn spend(&self, now: Instant) -> bool {
        let mut window = self.window.lock();
        let (requests, spent) = window.sums(now);
        let share = u64::from(requests) * u64::from(self.percent) / 100;
        let may = u64::from(spent) < share + u64::from(self.floor);
        if may {
            window.add(now, 0, 1);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_and_a_few_are_spent_and_come_back_with_time() {
        let now = Instant::now();
        let budget = Budget::new(20, 3);
        let spent = |now| std::iter::repeat_with(|| budget.spend(now)).take(1000).filter(|may| *may).count();
        assert_eq!(spent(now), 3);
        (0..50).for_each(|_| budget.earn(now));
        assert_eq!(spent(now), 10);
        assert_eq!(spent(now + SPAN + SPAN), 3);
        assert!(!Budget::new(0, 0).spend(now));
    }
}
