//! Replay: computes a past range of windows again, into topics under another prefix.
//!
//! In: `flows` and `requests` as they stand in Kafka. Out: what the same processors make of them, exactly once, under the other
//! prefix; each window as it was the first time, bit for bit. All that sets a replay apart is where the join's group starts:
//! it is put far enough before the range ([`Plan`]), with a note of which windows to publish ([`Replay`]). From there on a
//! replay is an ordinary group: killed and started again, it goes on. Bounded: it ends where the logs ended when it began.

mod prepare;
mod run;

use anyhow::{Result, bail};
use headwater_schemas::place::Offset;

use crate::join::{FORGET_AFTER_US, JoinSettings, REACH_WINDOWS};
use crate::plausible::AHEAD_US_MAX;
use crate::processor::{Checkpoint, Memo, Replay};
use crate::windows::Windows;

pub use run::{Request, Run, run};

/// What is to be computed, and how far back it reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    windows: Windows,
    /// The whole windows of the range: the first one, and the end of the last one.
    pub from_us: i64,
    pub to_us: i64,
}

/// The part of an input partition from a time on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The oldest offset that is kept.
    pub first: Offset,
    /// The first record that Kafka's timestamp calls not older than the time.
    pub at: Offset,
}

impl Plan {
    /// The whole windows between two times.
    pub fn of(settings: &JoinSettings, from_us: i64, to_us: i64) -> Result<Plan> {
        let windows = settings.windows;
        let from_us = windows.start_of(from_us.saturating_add(windows.length_us() - 1));
        let plan = Plan { windows, from_us, to_us: windows.start_of(to_us) };
        if plan.from_us < 0 || plan.from_us >= plan.to_us {
            bail!("no whole window of {} ms lies in the range: make it longer", windows.length_ms());
        }
        Ok(plan)
    }

    /// The first window that is closed again. What counts in the first one of the range may follow from it.
    fn memory_from_us(&self) -> i64 {
        self.windows.shift(self.from_us, -REACH_WINDOWS)
    }

    /// Records before this time by Kafka's timestamp have no say in any of the windows.
    ///
    /// Watermarks count for a while after the time that they speak of, and no record that is let in is further ahead of its
    /// timestamp than `AHEAD_US_MAX`.
    pub fn read_from_us(&self) -> i64 {
        (self.memory_from_us() - FORGET_AFTER_US - AHEAD_US_MAX).max(0)
    }

    /// The first range that can be computed if nothing older than this record is kept.
    fn earliest_from_us(&self, oldest_us: i64) -> i64 {
        let reach_us = self.from_us - self.read_from_us();
        self.windows.end(self.windows.start_of(oldest_us + reach_us))
    }

    /// Whether records that the range needs may have been there and are not kept any more.
    pub fn is_cut(place: Place) -> bool {
        place.first > Offset::FIRST && place.at <= place.first
    }

    /// Where the inputs of one unit of the join start, and what it is to know then.
    pub fn checkpoints(&self, places: [Place; 3]) -> [Checkpoint; 3] {
        // Where nothing was ever before, the join begins as it did the first time.
        let from_birth = places.iter().all(|place| place.at == Offset::FIRST);
        let replay = Replay {
            from_us: self.from_us,
            to_us: self.to_us,
            memory_from_us: (!from_birth).then(|| self.memory_from_us()),
            at_end: false,
        };
        places.map(|place| Checkpoint {
            needed_from: place.at,
            memo: Memo {
                closed_through_us: Some(self.windows.shift(self.from_us, -1)),
                window_ms: self.windows.length_ms(),
                read_to: place.at,
                replay: Some(replay),
                ..Memo::default()
            },
        })
    }

    /// The same for windows that close where the logs end, of which what was read up to these ends was told before.
    pub fn checkpoints_at_end(&self, places: [Place; 3], ends: [Offset; 3]) -> [Checkpoint; 3] {
        let mut checkpoints = self.checkpoints(places);
        for (checkpoint, end) in checkpoints.iter_mut().zip(ends) {
            checkpoint.memo.read_to = end;
            if let Some(replay) = &mut checkpoint.memo.replay {
                (replay.at_end, replay.memory_from_us) = (true, Some(self.memory_from_us()));
            }
        }
        checkpoints
    }

    /// Whether this is the range that a group was put before.
    fn is_of(&self, memo: &Memo) -> bool {
        let range = memo.replay.map(|replay| (replay.from_us, replay.to_us));
        range == Some((self.from_us, self.to_us)) && memo.window_ms == self.windows.length_ms()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn plan(from_us: i64, to_us: i64) -> Plan {
        Plan::of(&JoinSettings::default(), from_us, to_us).unwrap()
    }

    #[test]
    fn only_whole_windows_are_computed() {
        let plan = plan(12_000_001, 59_999_999);
        assert_eq!((plan.from_us, plan.to_us), (20_000_000, 50_000_000));
        assert!(Plan::of(&JoinSettings::default(), 12_000_000, 29_000_000).is_err());
        assert!(Plan::of(&JoinSettings::default(), 50_000_000, 20_000_000).is_err());
    }

    #[test]
    fn a_start_that_retention_has_cut_is_told_from_the_birth_of_the_log() {
        let is_cut = |first, at| Plan::is_cut(Place { first: Offset(first), at: Offset(at) });
        assert!(!is_cut(0, 0));
        assert!(!is_cut(7, 8));
        assert!(is_cut(7, 7));
        let plan = plan(100_000_000_000, 200_000_000_000);
        let oldest_us = 150_000_000_000;
        let from_us = plan.earliest_from_us(oldest_us);
        let later = Plan::of(&JoinSettings::default(), from_us, 200_000_000_000).unwrap();
        assert_eq!(later.from_us, from_us);
        assert!(later.read_from_us() > oldest_us, "a range from there on needs nothing older");
    }
}
