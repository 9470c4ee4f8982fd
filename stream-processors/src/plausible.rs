//! What a record that others wrote may say, judged from the record alone: so it is judged alike whenever it is read.

use headwater_schemas::records::{MORE, WindowClosed, Workload};

use crate::processor::BadInput;
use crate::touched::WORKLOADS_MAX;

/// Times further ahead of the record's Kafka timestamp than this are refused: they would hold back restarts.
pub const AHEAD_US_MAX: i64 = 5 * 60 * 1_000_000;
/// What an agent says of a time further behind the record's Kafka timestamp than this is refused.
pub const BEHIND_US_MAX: i64 = 24 * 3600 * 1_000_000;

/// No name is longer: what is made of records, with the names of two sides in key and value, must fit into one message of Kafka.
/// Agents cut theirs at a fraction of it.
const NAME_BYTES_MAX: usize = 4096;

pub const SOURCE_PARTITIONS_MAX: i64 = 4096;
const MISSING_MAX: i64 = 100_000;
const DAY_MS: i64 = 86_400_000;

/// Whether a time of which an agent speaks can be true, given when Kafka says that the record was made.
pub fn plausible_time(field: &str, time_us: i64, timestamp_us: Option<i64>) -> Result<(), BadInput> {
    not_ahead(field, time_us, timestamp_us)?;
    let behind_us = timestamp_us.map_or(0, |timestamp_us| timestamp_us.saturating_sub(time_us));
    if behind_us > BEHIND_US_MAX {
        let seconds = behind_us / 1_000_000;
        return Err(BadInput(format!("{field} is {seconds} s before the record's Kafka timestamp")));
    }
    Ok(())
}

/// Whether a window that a processor tells of can be meant. It may be as old as its log: a processor that was down for days, or computes
/// a past range again, tells of it now. None of ours is ahead, whatever clock its processor has: [`crate::runtime`] sees to that.
pub fn plausible_window(window_start_us: i64, timestamp_us: Option<i64>) -> Result<(), BadInput> {
    within("window_start_us", window_start_us, 0, i64::MAX / 4)?;
    not_ahead("window_start_us", window_start_us, timestamp_us)
}

fn not_ahead(field: &str, time_us: i64, timestamp_us: Option<i64>) -> Result<(), BadInput> {
    let Some(timestamp_us) = timestamp_us else {
        return within(field, time_us, 0, i64::MAX / 4).map(|_| ());
    };
    let ahead_us = time_us.saturating_sub(timestamp_us);
    if ahead_us > AHEAD_US_MAX {
        return Err(BadInput(format!("{field} is {} s after the record's Kafka timestamp", ahead_us / 1_000_000)));
    }
    Ok(())
}

/// Names that any honest record may have.
pub fn are_names<'a>(field: &str, names: impl IntoIterator<Item = &'a str>) -> Result<(), BadInput> {
    match names.into_iter().find(|name| name.len() > NAME_BYTES_MAX) {
        Some(name) => Err(BadInput(format!(
            "{field} has a name of {} bytes, where none has more than {NAME_BYTES_MAX}",
            name.len()
        ))),
        None => Ok(()),
    }
}

/// The names of an edge.
pub fn is_named(client: &Workload, server: &Workload, protocol: &str) -> Result<(), BadInput> {
    for (field, workload) in [("client", client), ("server", server)] {
        let Workload { cluster, namespace, kind, name } = workload;
        are_names(field, [cluster, namespace, kind, name].map(String::as_str))?;
    }
    are_names("protocol", [protocol])
}

/// A number within bounds that any honest record keeps.
pub fn within(field: &str, value: i64, least: i64, most: i64) -> Result<i64, BadInput> {
    if (least..=most).contains(&value) {
        return Ok(value);
    }
    Err(BadInput(format!("{field} is {value}, it must be from {least} to {most}")))
}

/// Whether a marker can be meant.
pub fn marker_is_plausible(marker: &WindowClosed, timestamp_us: Option<i64>) -> Result<(), BadInput> {
    plausible_window(marker.window_start_us, timestamp_us)?;
    within("window_ms", marker.window_ms, 1, DAY_MS)?;
    let sources = within("source_partitions", i64::from(marker.source_partitions), 1, SOURCE_PARTITIONS_MAX)?;
    within("source_partition", i64::from(marker.source_partition), 0, sources - 1)?;
    within("records", marker.records, -1, i64::MAX)?;
    within("revision", i64::from(marker.revision), 0, i64::from(i32::MAX))?;
    within("nodes", i64::from(marker.nodes), 0, i64::from(i32::MAX))?;
    within("number of missing entries", marker.missing.len() as i64, 0, MISSING_MAX)?;
    let late = &marker.late_windows_us;
    within("number of late windows", late.len() as i64, 0, WindowClosed::LATE_WINDOWS_MAX as i64)?;
    within("late_windows_us", late.iter().copied().min().unwrap_or(0), 0, marker.window_start_us)?;
    within("late_windows_us", late.iter().copied().max().unwrap_or(0), 0, marker.window_start_us)?;
    are_names("missing", marker.missing.iter().flat_map(|missing| [missing.node.as_str(), missing.reason.as_str()]))?;
    let workloads = || marker.touches.iter().flat_map(|touch| &touch.workloads);
    let listed = workloads().filter(|workload| *workload != MORE).count();
    within("number of workloads", listed as i64, 0, WORKLOADS_MAX as i64)?;
    within("number of nodes that touch", marker.touches.len() as i64, 0, MISSING_MAX)?;
    are_names("touches", marker.touches.iter().map(|touch| &touch.node).chain(workloads()).map(String::as_str))?;
    if !(0.0..=1.0).contains(&marker.completeness) {
        return Err(BadInput(format!("completeness is {}, it must be from 0 to 1", marker.completeness)));
    }
    Ok(())
}
