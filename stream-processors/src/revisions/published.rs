//! What of some windows stands in `edges` and `latencies`: of each record the newest revision.

use std::time::Duration;

use anyhow::{Result, bail};
use headwater_kafka::{KafkaSettings, Message, Next, RecordError, SchemaCache, Start, TopicReader};
use headwater_schemas::records::{Edge, Latency, PartitionClosed};
use headwater_schemas::topics::PARTITION_CLOSED_HEADER;
use tracing::warn;

use super::WRITES;
use super::compare::Windows;
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
    let mut published = Published::default();
    let [edges, latencies] = WRITES.map(|topic| topic.name(&kafka.prefix));
    let mut reader = TopicReader::start(kafka, &[edges.clone(), latencies], &Start::AtMs(from_us / 1000))?;
    let mut open = reader.partitions().len();
    let is_of_range = |window_us: i64| (from_us..to_us).contains(&window_us);
    while open > 0 {
        if !goes_on() {
            return Ok(None);
        }
        let message = match reader.next(PATIENCE)? {
            Next::Record(message) => message,
            Next::End(_) => {
                open -= 1;
                continue;
            }
            Next::Idle => bail!("nothing came of what was published for {PATIENCE:?}"),
        };
        let Some(value) = message.value() else {
            match marker(&message, schemas)?.filter(|marker| is_of_range(marker.window_start_us)) {
                Some(marker) if message.topic() == edges => published.edges.mark(marker),
                Some(marker) => published.latencies.mark(marker),
                None => {}
            }
            continue;
        };
        let (schema, datum) = match schemas.open(value) {
            Ok(opened) => opened,
            Err(RecordError::Registry(error)) => return Err(error.into()),
            Err(RecordError::Bad(error)) => {
                let (at, offset) = (message.topic(), message.offset());
                warn!(at, partition = %message.partition(), %offset, error, "what was published cannot be read, so it is not revised");
                continue;
            }
        };
        if message.topic() == edges {
            let Ok(edge) = schema.decode::<Edge>(datum) else { continue };
            if is_of_range(edge.window_start_us) {
                published.edges.take(edge.window_start_us, edge.key(), edge);
            }
        } else {
            let Ok(latency) = schema.decode::<Latency>(datum) else { continue };
            if is_of_range(latency.window_start_us) {
                published.latencies.take(latency.window_start_us, latency.key(), latency);
            }
        }
    }
    Ok(Some(published))
}

/// What a record says if it is a marker. One that cannot be read, or be meant, is a dead letter of whoever judges windows.
///
/// # Errors
/// If the registry does not answer.
pub fn marker(message: &Message<'_>, schemas: &mut SchemaCache) -> Result<Option<PartitionClosed>> {
    let Some(bytes) = message.header(PARTITION_CLOSED_HEADER).filter(|_| message.value().is_none()) else {
        return Ok(None);
    };
    match schemas.open(bytes) {
        Ok((schema, datum)) => {
            let written_us = Some(message.timestamp_ms().saturating_mul(1000)).filter(|us| *us >= 0);
            let marker = decode::<PartitionClosed>(&schema, datum).ok();
            Ok(marker.filter(|marker| marker_is_plausible(marker, written_us).is_ok()))
        }
        Err(RecordError::Bad(_)) => Ok(None),
        Err(RecordError::Registry(error)) => Err(error.into()),
    }
}
