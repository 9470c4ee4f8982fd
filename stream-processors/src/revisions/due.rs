//! Which windows are to be computed again, and when.
//!
//! In: markers of `edges`, in the order of the log. Out: windows, a turn at a time, once nothing more seems to come of them. A window is due when no marker of the
//! last minute named it as late, or when its horizon has passed, whatever still comes. Bounded: windows that wait; those of one turn.

use std::collections::BTreeMap;

use headwater_schemas::place::Offset;
use headwater_schemas::records::WindowClosed;

use crate::join::{MEMORY_WINDOWS, REACH_WINDOWS};
use crate::windows::Windows;

/// Nothing more seems to come of a window that was not named for so long.
pub const QUIET_US: i64 = 60_000_000;
/// Late windows that wait to be computed again.
const LATE_MAX: usize = 10_000;
/// The most late windows of one turn, from the first to the last: what is read for them is held in memory until the last record is.
const WINDOWS_MAX: i64 = 24;

/// Windows to compute again, from the start of the first to the end of the last, for the sake of those that are late.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    pub from_us: i64,
    pub to_us: i64,
    late_us: Vec<i64>,
}

/// A window of which something came late.
#[derive(Debug, Clone, Copy)]
struct Late {
    /// The newest window whose marker said so.
    named_us: i64,
    /// Where the first marker stands that did.
    first: Offset,
}

/// Late windows that were not computed again since.
pub struct Due {
    windows: Windows,
    horizon_us: i64,
    late: BTreeMap<i64, Late>,
    closed_through_us: Option<i64>,
    /// Windows that were forgotten since there were too many, since the last look.
    given_up: u64,
}

impl Due {
    pub fn new(windows: Windows, horizon_us: i64) -> Due {
        Due { windows, horizon_us, late: BTreeMap::new(), closed_through_us: None, given_up: 0 }
    }

    /// Takes a marker. One of windows of another length, from before the settings were changed, names none that could be computed again, nor does one any beyond the horizon.
    pub fn marker(&mut self, offset: Offset, marker: &WindowClosed) {
        if marker.window_ms != self.windows.length_ms() {
            return;
        }
        let named_us = marker.window_start_us;
        self.closed_through_us = self.closed_through_us.max(Some(named_us));
        let oldest_us = self.windows.shift(named_us, -1).saturating_sub(self.horizon_us);
        for late_us in marker.late_windows_us.iter().filter(|late_us| **late_us >= oldest_us) {
            let late = self.late.entry(*late_us).or_insert(Late { named_us, first: offset });
            late.named_us = named_us.max(late.named_us);
        }
        while self.late.len() > LATE_MAX {
            self.late.pop_first();
            self.given_up += 1;
        }
    }

    /// What is due next, if anything is. What counts in a window may depend on what came of those near it, so these are computed with it:
    /// those that look ahead to it, and those that it reaches.
    pub fn next(&self) -> Option<Turn> {
        let closed_us = self.closed_through_us?;
        let is_due = |late_us: i64, late: &Late| {
            closed_us - late.named_us >= QUIET_US || closed_us >= self.windows.end(late_us) + self.horizon_us
        };
        let mut due = self.late.iter().filter(|(late_us, late)| is_due(**late_us, late)).map(|(late_us, _)| *late_us);
        let first_us = due.next()?;
        let most_us = self.windows.shift(first_us, WINDOWS_MAX);
        let late_us: Vec<i64> = [first_us].into_iter().chain(due.take_while(|late_us| *late_us < most_us)).collect();
        let last_us = late_us.last().copied().unwrap_or(first_us);
        Some(Turn {
            from_us: self.windows.shift(first_us, -MEMORY_WINDOWS),
            to_us: self.windows.shift(last_us, REACH_WINDOWS + 1).min(self.windows.end(closed_us)),
            late_us,
        })
    }

    /// It was computed again. Whatever a marker behind those that were taken says is due anew.
    pub fn done(&mut self, turn: &Turn) {
        self.late.retain(|late_us, _| !turn.late_us.contains(late_us));
    }

    /// From where on the log must be read to know the same again, if nothing is needed of what stands behind.
    pub fn needed_from(&self, next: Offset) -> Offset {
        self.late.values().map(|late| late.first).fold(next, Offset::min)
    }

    /// End of the newest window whose marker was read.
    pub fn closed_to_us(&self) -> Option<i64> {
        Some(self.windows.end(self.closed_through_us?))
    }

    /// Late windows that were not computed again yet.
    pub fn waiting(&self) -> usize {
        self.late.len()
    }

    pub fn take_given_up(&mut self) -> u64 {
        std::mem::take(&mut self.given_up)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const WINDOW_US: i64 = 10_000_000;

    /// The window of this number closes, and names these as late.
    fn closes(due: &mut Due, window: i64, late: &[i64]) {
        let marker = WindowClosed {
            window_start_us: window * WINDOW_US,
            missing: Vec::new(),
            late_windows_us: late.iter().map(|late| late * WINDOW_US).collect(),
            ..headwater_schemas::samples::window_closed()
        };
        due.marker(Offset(window), &marker);
    }

    fn due() -> Due {
        Due::new(Windows::of_ms(10_000), 90 * WINDOW_US)
    }

    fn range(due: &Due) -> Option<(i64, i64)> {
        due.next().map(|turn| (turn.from_us / WINDOW_US, turn.to_us / WINDOW_US))
    }

    #[test]
    fn a_window_is_due_once_nothing_more_comes_of_it() {
        let mut due = due();
        closes(&mut due, 100, &[]);
        assert_eq!(range(&due), None);
        closes(&mut due, 101, &[95, 96]);
        closes(&mut due, 106, &[96]);
        assert_eq!(range(&due), None);
        closes(&mut due, 107, &[]);
        assert_eq!(range(&due), Some((87, 108)), "window 95, with those near it; 96 was named a moment ago");
        assert_eq!(due.needed_from(Offset(108)), Offset(101));
        let turn = due.next().unwrap();
        due.done(&turn);
        assert_eq!((range(&due), due.waiting()), (None, 1));
        closes(&mut due, 112, &[]);
        assert_eq!(range(&due), Some((88, 109)));
        due.done(&due.next().unwrap());
        assert_eq!((range(&due), due.needed_from(Offset(113))), (None, Offset(113)));
    }

    #[test]
    fn a_window_of_which_something_comes_for_ever_is_due_at_its_horizon() {
        let mut due = due();
        for window in 100..=189 {
            closes(&mut due, window, &[98]);
            assert_eq!(range(&due).is_some(), window >= 189, "{window}");
        }
    }

    #[test]
    fn a_turn_has_no_window_that_is_not_closed_and_not_too_many() {
        let mut due = due();
        closes(&mut due, 100, &[99]);
        closes(&mut due, 106, &[]);
        assert_eq!(range(&due), Some((91, 107)));
        let mut due = self::due();
        closes(&mut due, 191, &(100..191).collect::<Vec<_>>());
        closes(&mut due, 200, &(191..200).collect::<Vec<_>>());
        closes(&mut due, 206, &[]);
        let mut turns = Vec::new();
        while let Some(turn) = due.next() {
            turns.push((turn.from_us / WINDOW_US, turn.to_us / WINDOW_US));
            due.done(&turn);
        }
        assert_eq!(turns, [(92, 136), (116, 160), (140, 184), (164, 207), (188, 207)]);
    }

    #[test]
    fn windows_of_another_length_are_nothing_to_it_and_those_that_wait_are_bounded() {
        let mut due = due();
        let marker = headwater_schemas::samples::window_closed();
        due.marker(Offset(0), &WindowClosed { window_ms: 5000, ..marker });
        assert_eq!(due.waiting(), 0);
        closes(&mut due, 200, &[108]);
        assert_eq!(due.waiting(), 0, "it is beyond the horizon");
        for window in 0..12_000 {
            closes(&mut due, 200 + window, &[199 + window]);
        }
        assert_eq!((due.waiting(), due.take_given_up(), due.take_given_up()), (LATE_MAX, 2000, 0));
    }
}
