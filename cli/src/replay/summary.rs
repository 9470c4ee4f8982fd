//! What came of a replay, read back from the topics that it wrote: so it is what anyone else will find there.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use anyhow::{Context, Result};
use headwater_kafka::{KafkaSettings, Message, SchemaCache, Start, TopicReader};
use headwater_schemas::records::WindowClosed;
use headwater_schemas::topics::Topic;
use serde::Serialize;

use super::follow::Status;
use crate::clock::rfc3339;
use crate::past::incomplete::{Incomplete, MarkersOfWindow, is_whole};
use crate::terminal::clean;

const PATIENCE: Duration = Duration::from_secs(20);
/// Lines of each list that a person is shown.
const LINES_MAX: usize = 12;

#[derive(Debug, Serialize)]
pub struct Summary {
    from: String,
    to: String,
    into: String,
    window_ms: i64,
    windows: usize,
    windows_in_range: i64,
    edges: u64,
    latencies: u64,
    alerts: u64,
    dead_letters: u64,
    /// Windows of which something is missing, as it was the first time.
    incomplete: Vec<Incomplete>,
    /// Times of the range that have no window.
    not_computed: Vec<NotComputed>,
    records_read: u64,
    seconds: f64,
}

#[derive(Debug, PartialEq, Serialize)]
struct NotComputed {
    from: String,
    to: String,
    why: &'static str,
}

/// Those of each window.
type Markers = BTreeMap<i64, MarkersOfWindow>;

impl Summary {
    pub fn read(target: &KafkaSettings, status: &Status, took: Duration) -> Result<Summary> {
        let mut markers = Markers::new();
        let mut cache = SchemaCache::new(target);
        let mut unread = 0;
        count(target, Topic::EdgeWindows, |message| {
            let Some(value) = message.value() else { return };
            let opened = cache.open(value).ok();
            match opened.and_then(|(schema, datum)| schema.decode::<WindowClosed>(datum).ok()) {
                Some(marker) => {
                    markers.entry(marker.window_start_us).or_default().insert(marker.source_partition, marker);
                }
                None => unread += 1,
            }
        })?;
        anyhow::ensure!(unread == 0, "{unread} records of {} cannot be read", Topic::EdgeWindows.name(&target.prefix));
        markers.retain(|_, of_window| is_whole(of_window));
        let incomplete =
            markers.iter().filter_map(|(start_us, of_window)| Incomplete::of(*start_us, of_window)).collect();
        Ok(Summary {
            from: rfc3339(status.from_us),
            to: rfc3339(status.to_us),
            into: target.prefix.clone(),
            window_ms: status.window_ms,
            windows: markers.len(),
            windows_in_range: status.windows(),
            edges: count(target, Topic::Edges, |_| {})?,
            latencies: count(target, Topic::Latencies, |_| {})?,
            alerts: count(target, Topic::Alerts, |_| {})?,
            dead_letters: count(target, Topic::DeadLetters, |_| {})?,
            incomplete,
            not_computed: not_computed(status, &markers.keys().copied().collect::<Vec<_>>()),
            records_read: status.records,
            seconds: took.as_secs_f64(),
        })
    }

    /// The same for people.
    pub fn text(&self) -> String {
        let Summary { from, to, into, windows, windows_in_range, edges, latencies, alerts, dead_letters, .. } = self;
        let mut text = format!(
            "Computed {windows} of {windows_in_range} windows from {from} to {to} into {into}*\n  \
             edges {edges}, latencies {latencies}, alerts {alerts}, dead letters {dead_letters}; \
             {} records read in {:.1} s\n",
            self.records_read, self.seconds
        );
        let mut list = |title: String, lines: Vec<String>| {
            if lines.is_empty() {
                return;
            }
            // Writing to a string does not fail.
            let _ = writeln!(text, "{title}");
            lines.iter().take(LINES_MAX).for_each(|line| _ = writeln!(text, "  {}", clean(line)));
            if lines.len() > LINES_MAX {
                let _ = writeln!(text, "  and {} more; --json lists all", lines.len() - LINES_MAX);
            }
        };
        list(
            format!("Incomplete, as it was the first time: {} windows", self.incomplete.len()),
            self.incomplete.iter().map(Incomplete::text).collect(),
        );
        let gap = |gap: &NotComputed| format!("{} to {}: {}", gap.from, gap.to, gap.why);
        list("Not computed:".to_owned(), self.not_computed.iter().map(gap).collect());
        text
    }
}

/// How many records have a value.
fn count(target: &KafkaSettings, topic: Topic, mut each: impl FnMut(&Message<'_>)) -> Result<u64> {
    let name = topic.name(&target.prefix);
    let mut reader = TopicReader::start(target, std::slice::from_ref(&name), &Start::Earliest)?;
    let mut values = 0;
    let read = reader.read_to_end(PATIENCE, |message| {
        values += u64::from(message.value().is_some());
        each(message);
    });
    read.with_context(|| format!("read {name} back"))?;
    Ok(values)
}

/// The stretches of the range between the windows that are there.
fn not_computed(status: &Status, starts_us: &[i64]) -> Vec<NotComputed> {
    let length_us = status.window_ms * 1000;
    let (first_us, last_us) = (starts_us.first().copied(), starts_us.last().copied());
    let mut stretches = Vec::new();
    let mut expected_us = status.from_us;
    for start_us in starts_us.iter().copied().chain([status.to_us]) {
        if start_us > expected_us {
            let why = match (first_us, last_us) {
                (Some(first_us), _) if start_us == first_us => "nothing was observed before",
                (_, Some(last_us)) if expected_us <= last_us => "no agent observed anything for long",
                _ => "the records that close these windows are not in the topics (yet)",
            };
            stretches.push(NotComputed { from: rfc3339(expected_us), to: rfc3339(start_us), why });
        }
        expected_us = start_us + length_us;
    }
    stretches
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn windows_that_are_not_there_are_named_with_the_reason() {
        let line =
            r#"{"from_us":0,"to_us":60000000,"window_ms":10000,"goes_on":false,"records":1,"closed_through_us":1}"#;
        let status: Status = serde_json::from_str(line).unwrap();
        let at = |seconds: i64| rfc3339(seconds * 1_000_000);
        let told = not_computed(&status, &[10_000_000, 30_000_000]);
        let expected = [
            (0, 10, "nothing was observed before"),
            (20, 30, "no agent observed anything for long"),
            (40, 60, "the records that close these windows are not in the topics (yet)"),
        ];
        assert_eq!(told, expected.map(|(from, to, why)| NotComputed { from: at(from), to: at(to), why }));
        assert!(not_computed(&status, &(0..6).map(|i| i * 10_000_000).collect::<Vec<_>>()).is_empty());
        assert_eq!(not_computed(&status, &[]).len(), 1);
    }
}
