//! Tells a person when the brokers take nothing any more, and when they do again.
//!
//! In: at each heartbeat, how many messages wait and how many were ever delivered. Out: a line in the log at the start of an
//! outage, one a minute while it lasts, one at its end. Nothing is decided here: what waits is kept, what finds no room is
//! dropped and counted elsewhere.

use std::time::{Duration, Instant};

/// A broker that is restarted in good order is back before this.
const STALLED_AFTER: Duration = Duration::from_secs(10);
const TOLD_EVERY: Duration = Duration::from_secs(60);

#[derive(Default)]
pub struct Deliveries {
    delivered: u64,
    /// Since when something waits and nothing was delivered.
    stuck_since: Option<Instant>,
    told_at: Option<Instant>,
}

/// Something to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// Nothing was delivered for so long, though something waits.
    Stalled(Duration),
    /// After that, something was.
    Again,
}

impl Deliveries {
    /// Whether an outage goes on, which was told.
    pub fn are_stalled(&self) -> bool {
        self.told_at.is_some()
    }

    /// For how long something has waited and nothing was delivered, by what was looked at.
    pub fn stuck(&mut self, waiting: usize, delivered: u64, now: Instant) -> Option<Duration> {
        if waiting == 0 || delivered > self.delivered {
            self.delivered = delivered;
            self.stuck_since = (waiting > 0).then_some(now);
            return None;
        }
        Some(now.saturating_duration_since(*self.stuck_since.get_or_insert(now)))
    }

    pub fn look(&mut self, waiting: usize, delivered: u64, now: Instant) -> Option<News> {
        let stuck = self.stuck(waiting, delivered, now).filter(|stuck| *stuck >= STALLED_AFTER);
        let Some(stuck) = stuck else { return self.told_at.take().map(|_| News::Again) };
        if self.told_at.is_some_and(|at| now.saturating_duration_since(at) < TOLD_EVERY) {
            return None;
        }
        self.told_at = Some(now);
        Some(News::Stalled(stuck))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_told_at_its_start_now_and_then_and_at_its_end() {
        let start = Instant::now();
        let mut deliveries = Deliveries::default();
        let mut look =
            |second: u64, waiting, delivered| deliveries.look(waiting, delivered, start + Duration::from_secs(second));
        assert_eq!(look(0, 3, 10), None);
        assert_eq!(look(5, 2, 20), None, "it goes on");
        assert_eq!(look(10, 9, 20), None, "it has only just stopped");
        assert_eq!(look(15, 20, 20), Some(News::Stalled(Duration::from_secs(10))));
        assert_eq!(look(20, 20, 20), None, "that was said");
        assert_eq!(look(75, 20, 20), Some(News::Stalled(Duration::from_secs(70))));
        assert_eq!(look(80, 12, 28), Some(News::Again));
        assert_eq!(look(85, 0, 40), None);
        assert_eq!(look(300, 0, 40), None, "an idle node stalls nothing");
    }

    #[test]
    fn it_is_known_at_once_for_how_long_nothing_was_delivered() {
        let start = Instant::now();
        let mut deliveries = Deliveries::default();
        let mut stuck = |ms: u64, waiting, delivered| {
            deliveries.stuck(waiting, delivered, start + Duration::from_millis(ms)).map(|time| time.as_millis())
        };
        assert_eq!(stuck(0, 3, 0), Some(0));
        assert_eq!(stuck(100, 4, 0), Some(100));
        assert_eq!(stuck(200, 4, 1), None);
        assert_eq!(stuck(250, 4, 1), Some(50), "it waits again since the last delivery");
        assert_eq!(stuck(900, 0, 1), None);
    }
}
