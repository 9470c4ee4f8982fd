//! Windows of event time: of one length, aligned to the epoch, named by their start.

use serde::{Deserialize, Serialize};

/// One window, named by its start: microseconds of event time since the epoch. In a memo it is that number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
#[repr(transparent)]
pub struct Window(i64);

impl Window {
    /// Before all others.
    pub const FIRST: Window = Window(i64::MIN);

    /// The one that starts here.
    pub fn starting_at(start_us: i64) -> Window {
        Window(start_us)
    }

    pub fn start_us(self) -> i64 {
        self.0
    }
}

/// How event time is cut into windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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

    /// The window that contains a time.
    pub fn at(self, time_us: i64) -> Window {
        Window(self.start_of(time_us))
    }

    /// The first window that does not start before a time.
    pub fn starting_from(self, time_us: i64) -> Window {
        let window = self.at(time_us);
        if window.0 == time_us { window } else { self.next(window) }
    }

    /// The end of a window; it does not belong to it.
    pub fn end_us(self, window: Window) -> i64 {
        self.end(window.0)
    }

    /// The window behind this one.
    pub fn next(self, window: Window) -> Window {
        Window(self.end(window.0))
    }

    /// The window so many later (or earlier).
    pub fn moved(self, window: Window, count: i64) -> Window {
        Window(self.shift(window.0, count))
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
