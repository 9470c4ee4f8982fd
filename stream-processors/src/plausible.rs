//! What a record that others wrote may say, judged from the record alone: so it is judged alike whenever it is read.

use headwater_schemas::records::PartitionClosed;

use crate::processor::BadInput;

/// Times further ahead of the record's Kafka timestamp than this are refused: they would hold back restarts.
pub const AHEAD_US_MAX: i64 = 5 * 60 * 1_000_000;
/// Times further behind the record's Kafka timestamp than this are refused.
const BEHIND_US_MAX: i64 = 24 * 3600 * 1_000_000;

const SOURCE_PARTITIONS_MAX: i64 = 4096;
const MISSING_MAX: i64 = 100_000;
const DAY_MS: i64 = 86_400_000;

/// Whether an event time can be true, given when Kafka says that the record was made.
pub fn plausible_time(field: &str, time_us: i64, timestamp_us: Option<i64>) -> Result<(), BadInput> {
    let Some(timestamp_us) = timestamp_us else {
        return within(field, time_us, 0, i64::MAX / 4).map(|_| ());
    };
    let ahead_us = time_us.saturating_sub(timestamp_us);
    if !(-BEHIND_US_MAX..=AHEAD_US_MAX).contains(&ahead_us) {
        let (seconds, direction) = (ahead_us.unsigned_abs() / 1_000_000, if ahead_us > 0 { "after" } else { "before" });
        return Err(BadInput(format!("{field} is {seconds} s {direction} the record's Kafka timestamp")));
    }
    Ok(())
}

/// A number within bounds that any honest record keeps.
pub fn within(field: &str, value: i64, least: i64, most: i64) -> Result<i64, BadInput> {
    if (least..=most).contains(&value) {
        return Ok(value);
    }
    Err(BadInput(format!("{field} is {value}, it must be from {least} to {most}")))
}

/// Whether a marker can be meant.
pub fn marker_is_plausible(marker: &PartitionClosed, timestamp_us: Option<i64>) -> Result<(), BadInput> {
    plausible_time("window_start_us", marker.window_start_us, timestamp_us)?;
    within("window_ms", marker.window_ms, 1, DAY_MS)?;
    let sources = within("source_partitions", i64::from(marker.source_partitions), 1, SOURCE_PARTITIONS_MAX)?;
    within("source_partition", i64::from(marker.source_partition), 0, sources - 1)?;
    within("nodes", i64::from(marker.nodes), 0, i64::from(i32::MAX))?;
    within("number of missing entries", marker.missing.len() as i64, 0, MISSING_MAX)?;
    if !(0.0..=1.0).contains(&marker.completeness) {
        return Err(BadInput(format!("completeness is {}, it must be from 0 to 1", marker.completeness)));
    }
    Ok(())
}
