//! Windows of event time: of one length, aligned to the epoch, named by their start.

/// How event time is cut into windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    length_us: i64,
}

impl Windows {
    /// Windows of this many milliseconds (at least one).
    pub fn of_ms(length_ms: i64) -> Windows {
        Windows { length_us: length_ms.max(1) * 1000 }
    }

    pub fn length_us(self) -> i64 {
        self.length_us
    }

    pub fn length_ms(self) -> i64 {
        self.length_us / 1000
    }

    /// Start of the window that contains a time.
    pub fn start_of(self, time_us: i64) -> i64 {
        time_us.div_euclid(self.length_us).saturating_mul(self.length_us)
    }

    /// End of the window that starts here; it does not belong to the window.
    pub fn end(self, start_us: i64) -> i64 {
        start_us + self.length_us
    }

    /// Start of the window `count` windows later (or earlier).
    pub fn shift(self, start_us: i64, count: i64) -> i64 {
        start_us + count * self.length_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_aligned_to_the_epoch_also_before_it() {
        let windows = Windows::of_ms(10_000);
        assert_eq!(windows.start_of(19_999_999), 10_000_000);
        assert_eq!(windows.start_of(20_000_000), 20_000_000);
        assert_eq!(windows.start_of(-1), -10_000_000);
    }
}
