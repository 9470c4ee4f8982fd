//! What of some windows stands in `edges` and `latencies`: of each record the newest revision.

use std::time::Duration;

use anyhow::{Result, bail};
use headwater_kafka::{KafkaSettings, Message, NextOfWindows, RecordError, SchemaCache, Start, WindowReader};
use headwater_schemas::records::{Edge, Latency, Record, WindowClosed};
use headwater_schemas::topics::Topic;
use serde::de::DeserializeOwned;
use tracing::warn;

use super::compare::{Revisable, Windows};
use crate::plausible::marker_is_plausible;
use crate::processor::read as decode;

const PATIENCE: Duration = Duration::from_secs(30);

/// By topic.
#[derive(Default)]
pub struct Published {
    pub edges: Windows<Edge>,
    pub latencies: Windows<Latency>,
}

/// Reads what was published of windows from `from_us` to `to_us`. No record is older, by Kafka's timestamp, than the end of its window.
///
/// # Errors
/// If the brokers or the registry do not answer.
pub fn read(
    kafka: &KafkaSettings,
    (from_us, to_us): (i64, i64),
    schemas: &mut SchemaCache,
    goes_on: &mut dyn FnMut() -> bool,
) -> Result<Option<Published>> {
    let edges = read_topic(kafka, Topic::Edges, (from_us, to_us), schemas, goes_on, |edge: &Edge| {
        (edge.window_start_us, edge.key())
    })?;
    let latencies = read_topic(kafka, Topic::Latencies, (from_us, to_us), schemas, goes_on, |latency: &Latency| {
        (latency.window_start_us, latency.key())
    })?;
    Ok(edges.zip(latencies).map(|(edges, latencies)| Published { edges, latencies }))
}

fn read_topic<R: Record + Revisable + DeserializeOwned>(
    kafka: &KafkaSettings,
    topic: Topic,
    (from_us, to_us): (i64, i64),
    schemas: &mut SchemaCache,
    goes_on: &mut dyn FnMut() -> bool,
    place: impl Fn(&R) -> (i64, String),
) -> Result<Option<Windows<R>>> {
    let mut windows = Windows::default();
    let mut reader = WindowReader::start(kafka, topic, &Start::AtMs(from_us / 1000))?;
    let is_of_range = |window_us: i64| (from_us..to_us).contains(&window_us);
    loop {
        if !goes_on() {
            return Ok(None);
        }
        let message = match reader.next(PATIENCE)? {
            NextOfWindows::Record(message) => message,
            NextOfWindows::Closed(message, closed) => {
                let is_plausible = marker_is_plausible(&closed, written_us(&message)).is_ok();
                if is_plausible && is_of_range(closed.window_start_us) {
                    windows.mark(*closed);
                }
                continue;
            }
            NextOfWindows::Unreadable(message, error) => {
                warn_of(&message, &error);
                continue;
            }
            NextOfWindows::End => return Ok(Some(windows)),
            NextOfWindows::Idle => bail!("nothing came of what was published for {PATIENCE:?}"),
        };
        let Some(value) = message.value() else { continue };
        let (schema, datum) = match schemas.open(value) {
            Ok(opened) => opened,
            Err(RecordError::Registry(error)) => return Err(error.into()),
            Err(RecordError::Bad(error)) => {
                warn_of(&message, &error);
                continue;
            }
        };
        let Ok(record) = schema.decode::<R>(datum) else { continue };
        let (window_us, key) = place(&record);
        if is_of_range(window_us) {
            windows.take(window_us, key, record);
        }
    }
}

fn warn_of(message: &Message<'_>, error: &str) {
    let (at, offset) = (message.topic(), message.offset());
    warn!(at, partition = %message.partition(), %offset, error, "what was published cannot be read, so it is not revised");
}

/// What a record of `edge-windows` says. One that cannot be read, or be meant, is a dead letter of whoever judges windows.
///
/// # Errors
/// If the registry does not answer.
pub fn marker(message: &Message<'_>, schemas: &mut SchemaCache) -> Result<Option<WindowClosed>> {
    let Some(value) = message.value() else { return Ok(None) };
    match schemas.open(value) {
        Ok((schema, datum)) => {
            let marker = decode::<WindowClosed>(&schema, datum).ok();
            Ok(marker.filter(|marker| marker_is_plausible(marker, written_us(message)).is_ok()))
        }
        Err(RecordError::Bad(_)) => Ok(None),
        Err(RecordError::Registry(error)) => Err(error.into()),
    }
}

fn written_us(message: &Message<'_>) -> Option<i64> {
    Some(message.timestamp_ms().saturating_mul(1000)).filter(|us| *us >= 0)
}
