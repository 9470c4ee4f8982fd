//! How many requests there were of late, and how many of them were not good.
//!
//! In: counts of windows, in their order. Out: sums over the time before the end of the newest. Sums are of whole minutes up to six hours, and of
//! whole ten minutes beyond, the newest of which is not over: so a sum is of up to a minute, or ten, less than it says. Bounded: by the longest time.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::rules::LONG_MAX_US;

const MINUTE_US: i64 = 60 * 1_000_000;
const MINUTES_UP_TO_US: i64 = 6 * 60 * MINUTE_US;

/// Requests, and those of them that were not good.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    pub requests: u64,
    pub bad: u64,
}

impl Count {
    pub fn add(&mut self, other: Count) {
        self.requests = self.requests.saturating_add(other.requests);
        self.bad = self.bad.saturating_add(other.bad);
    }

    /// The share that was not good; 0 without requests.
    pub fn bad_share(self) -> f64 {
        if self.requests == 0 { 0.0 } else { self.bad as f64 / self.requests as f64 }
    }
}

/// What one objective has counted of one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    minutes: Ring,
    tens: Ring,
}

impl Default for Budget {
    fn default() -> Budget {
        let ring = |length_us, kept_us| Ring { length_us, kept_us, buckets: VecDeque::new() };
        Budget { minutes: ring(MINUTE_US, MINUTES_UP_TO_US), tens: ring(10 * MINUTE_US, LONG_MAX_US) }
    }
}

impl Budget {
    /// Adds what was counted in a window that starts then, which is none before the newest.
    pub fn add(&mut self, window_us: i64, count: Count) {
        self.minutes.add(window_us, count);
        self.tens.add(window_us, count);
    }

    /// The sum over so long a time, up to the end of the window that starts then.
    pub fn over(&self, window_us: i64, span_us: i64) -> Count {
        let ring = if span_us <= MINUTES_UP_TO_US { &self.minutes } else { &self.tens };
        ring.over(window_us, span_us)
    }

    /// Forgets what no sum needs any more. Whether anything is left.
    pub fn forget(&mut self, window_us: i64) -> bool {
        self.minutes.forget(window_us);
        self.tens.forget(window_us);
        !self.tens.buckets.is_empty()
    }
}

/// Counts by spans of one length: the start of each, if there was a request in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Ring {
    length_us: i64,
    kept_us: i64,
    buckets: VecDeque<(i64, Count)>,
}

impl Ring {
    fn add(&mut self, window_us: i64, count: Count) {
        let start_us = self.bucket(window_us);
        match self.buckets.back_mut() {
            Some((last_us, sum)) if *last_us == start_us => sum.add(count),
            _ => self.buckets.push_back((start_us, count)),
        }
    }

    fn over(&self, window_us: i64, span_us: i64) -> Count {
        let after_us = self.bucket(window_us) - span_us;
        let newest_first = self.buckets.iter().rev();
        newest_first.take_while(|(start_us, _)| *start_us > after_us).fold(Count::default(), |mut sum, (_, count)| {
            sum.add(*count);
            sum
        })
    }

    fn forget(&mut self, window_us: i64) {
        let before_us = self.bucket(window_us) - self.kept_us;
        while self.buckets.front().is_some_and(|(start_us, _)| *start_us <= before_us) {
            self.buckets.pop_front();
        }
    }

    fn bucket(&self, time_us: i64) -> i64 {
        time_us - time_us.rem_euclid(self.length_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WINDOW_US: i64 = 10 * 1_000_000;

    proptest! {
        /// Held against all windows one by one.
        #[test]
        fn sums_are_of_the_time_that_they_say(
            windows in proptest::collection::vec((1i64..4000, 0u64..100, 0u64..100), 1..200), span_minutes in 1i64..(3 * 24 * 60),
        ) {
            // Whole spans of ten minutes, where it is longer than the minutes are kept for.
            let span_minutes = if span_minutes <= 360 { span_minutes } else { (span_minutes / 10).max(37) * 10 };
            let length_us = if span_minutes <= 360 { MINUTE_US } else { 10 * MINUTE_US };
            let span_us = span_minutes * MINUTE_US;
            let (mut budget, mut all, mut window_us) = (Budget::default(), Vec::new(), 1_790_000_000_000_000);
            for (steps, good, bad) in windows {
                window_us += steps * WINDOW_US;
                let count = Count { requests: good + bad, bad };
                budget.add(window_us, count);
                budget.forget(window_us);
                all.push((window_us, count));
                let bucket = |us: i64| us.div_euclid(length_us);
                let mut expected = Count::default();
                let oldest = bucket(window_us) - span_us / length_us;
                all.iter().filter(|(us, _)| bucket(*us) > oldest).for_each(|(_, count)| expected.add(*count));
                prop_assert_eq!(budget.over(window_us, span_us), expected);
            }
            prop_assert!(budget.minutes.buckets.len() <= 360 && budget.tens.buckets.len() <= 432);
        }
    }

    #[test]
    fn what_was_days_ago_is_forgotten() {
        let mut budget = Budget::default();
        budget.add(0, Count { requests: 5, bad: 1 });
        assert!(budget.forget(LONG_MAX_US - WINDOW_US));
        assert!(!budget.forget(LONG_MAX_US));
    }
}
