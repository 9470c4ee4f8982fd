//! Whose clock is believed: an agent's, but for times that the broker's calls the future.
//!
//! In: times by the agent's clock, and when the broker appended the record (`message.timestamp.type=LogAppendTime`). Out: times of
//! which none is further ahead of the broker's than [`AHEAD_US_MAX`]. A clock that is ahead by more is wrong, for nobody can tell of what
//! has not happened; that a clock is behind cannot be told from records that come late. A partition's times are moved, never its order:
//! what stands before a watermark is still before its time. So a node whose clock is ahead counts once and holds nobody up.

use headwater_schemas::records::Progress;

use crate::plausible::{BEHIND_US_MAX, plausible_time};
use crate::processor::BadInput;
use crate::windows::Windows;

/// Clocks differ by less where they are kept (NTP). Both sides of a connection still meet within it, also in windows of this length.
const AHEAD_US_MAX: i64 = 5_000_000;

/// When a record was written.
#[derive(Debug, Clone, Copy)]
pub struct Written {
    timestamp_us: Option<i64>,
    /// Times behind this one are in the future; none where no broker has stamped the record.
    latest_us: Option<i64>,
}

impl Written {
    pub fn of(timestamp_us: Option<i64>, appended_us: Option<i64>, windows: Windows) -> Written {
        let ahead_us = AHEAD_US_MAX.min(windows.length_us());
        Written { timestamp_us, latest_us: appended_us.map(|appended_us| appended_us.saturating_add(ahead_us)) }
    }

    /// A time of which a record tells.
    ///
    /// # Errors
    /// If no clock that anybody keeps can have shown it then.
    pub fn time(self, field: &str, at_us: i64) -> Result<i64, BadInput> {
        let at_us = at_us - self.ahead_us(at_us);
        plausible_time(field, at_us, self.timestamp_us)?;
        Ok(at_us)
    }

    /// Moves all times of progress that is ahead. Gives by how much.
    ///
    /// # Errors
    /// As [`Written::time`].
    pub fn progress(self, progress: &mut Progress) -> Result<i64, BadInput> {
        let ahead_us = self.ahead_us(progress.up_to_us);
        progress.up_to_us -= ahead_us;
        progress.covers_from_us = progress.covers_from_us.saturating_sub(ahead_us);
        plausible_time("up_to_us", progress.up_to_us, self.timestamp_us)?;
        for dropped in progress.flows.dropped.iter_mut().chain(&mut progress.requests.dropped) {
            dropped.to_us = self.time("dropped to_us", dropped.to_us.saturating_sub(ahead_us))?;
            dropped.from_us = dropped.from_us.saturating_sub(ahead_us).min(dropped.to_us);
        }
        Ok(ahead_us)
    }

    /// By how much a time is too late. More than a day is no clock, but a record that is none.
    fn ahead_us(self, at_us: i64) -> i64 {
        let ahead_us = self.latest_us.map_or(0, |latest_us| at_us.saturating_sub(latest_us));
        if (0..=BEHIND_US_MAX).contains(&ahead_us) { ahead_us } else { 0 }
    }
}
