//! How fast a walk over all sockets goes.
//!
//! In: how many sockets there are, the interval between two walks, the time. Out: how long the walk rests before it goes on. A node with a hundred
//! thousand connections would otherwise put as many records into the producer's queue at once, which takes more memory than the
//! connections themselves. Pure.

use std::time::{Duration, Instant};

/// Sockets a second, unless there are so many that half of the interval is too short for them: up to ten thousand are done in the time
/// that the walk has before a window ends.
const SOCKETS_PER_SECOND: f64 = 50_000.0;

/// What a walk may do at once when it has rested.
const BURST: Duration = Duration::from_millis(50);

/// The pace of one walk.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    began: Instant,
    per_second: f64,
    done: usize,
}

impl Pace {
    pub fn new(now: Instant, sockets: usize, interval: Duration) -> Pace {
        let needed = sockets as f64 / (interval / 2).as_secs_f64();
        Pace { began: now, per_second: needed.max(SOCKETS_PER_SECOND), done: 0 }
    }

    /// So many more sockets were walked over.
    pub fn done(&mut self, sockets: usize) {
        self.done += sockets;
    }

    /// How long until the walk may go on; zero if it may now.
    pub fn rest(&self, now: Instant) -> Duration {
        let due = Duration::from_secs_f64(self.done as f64 / self.per_second);
        (self.began + due).saturating_duration_since(now + BURST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long a walk over so many sockets takes whose chunks take no time.
    fn takes(sockets: usize, interval: Duration) -> Duration {
        let began = Instant::now();
        let (mut now, mut pace) = (began, Pace::new(began, sockets, interval));
        for _ in 0..sockets.div_ceil(93) {
            now += pace.rest(now);
            pace.done(93);
        }
        now - began
    }

    #[test]
    fn few_sockets_are_walked_over_at_once_and_many_evenly_but_in_half_of_the_interval() {
        let seconds = Duration::from_secs;
        assert_eq!(takes(2_500, seconds(10)), Duration::ZERO);
        assert!(takes(10_000, seconds(10)) < Duration::from_millis(200));
        let many = takes(100_000, seconds(10));
        assert!(many > Duration::from_millis(1_900) && many < seconds(2), "{many:?}");
        let short = takes(100_000, seconds(1));
        assert!(short > Duration::from_millis(400) && short < Duration::from_millis(500), "{short:?}");
    }
}
