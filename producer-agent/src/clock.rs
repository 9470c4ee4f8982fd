//! Turns the kernel's monotonic time into the time of day.
//!
//! The offset between both is measured anew from time to time, for the time of day may be set or slewed.

/// Adds the time of day to monotonic times.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    offset_ns: i64,
}

impl Clock {
    /// Measures the offset now.
    pub fn measure() -> Clock {
        // The middle of two monotonic reads around one of the time of day; the narrowest of some tries.
        let tries = (0..5).map(|_| {
            let before = monotonic_ns();
            let day = read_ns(libc::CLOCK_REALTIME);
            let after = monotonic_ns();
            (after - before, day as i64 - (before + (after - before) / 2) as i64)
        });
        let (_, offset_ns) = tries.min_by_key(|(width_ns, _)| *width_ns).unwrap_or_default();
        Clock { offset_ns }
    }

    /// How far the time of day is ahead of CLOCK_MONOTONIC.
    pub fn offset_ns(&self) -> i64 {
        self.offset_ns
    }

    /// Microseconds since the epoch for a time of CLOCK_MONOTONIC.
    pub fn epoch_us(&self, monotonic_ns: u64) -> i64 {
        (monotonic_ns as i64).saturating_add(self.offset_ns).div_euclid(1000)
    }
}

/// CLOCK_MONOTONIC, which is what the probes stamp events with.
pub fn monotonic_ns() -> u64 {
    read_ns(libc::CLOCK_MONOTONIC)
}

fn read_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: both clocks always exist on Linux, and the target outlives the call.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_day_is_that_of_the_system() {
        let system_us = || {
            let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            since.map_or(0, |since| since.as_micros() as i64)
        };
        let before_us = system_us();
        let day_us = Clock::measure().epoch_us(monotonic_ns());
        let after_us = system_us();
        // Whatever held the test up between two of its reads, it did so between these two.
        let took_us = after_us - before_us + 1;
        assert!((before_us - took_us..=after_us + took_us).contains(&day_us), "{day_us} in {before_us}..{after_us}");
    }
}
