//! Reads back what was written in parts at places that are known.
//!
//! In: where the first part stands, and how the parts' keys begin. Out: the parts put together, or nothing where one is missing. Whoever noted the
//! place did so in the transaction that wrote the parts, so they are committed: they are read as they stand, without waiting for other
//! transactions that are open in the same partition. Bounded by the bytes that the caller says, and by time.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError as ClientError;
use rdkafka::{Message as _, Offset as Position, TopicPartitionList};

use crate::client::Plain;
use crate::place::add;
use crate::reader::{config, is_passing};
use crate::{KafkaError, KafkaSettings, Offset, TopicPartition};

const POLL: Duration = Duration::from_millis(100);

/// What was written in parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub at: TopicPartition,
    /// Of the first part.
    pub offset: Offset,
    /// The key of all its parts, which no others have.
    pub key: Vec<u8>,
    pub parts: u32,
    /// Of all parts together.
    pub bytes: usize,
}

/// Reads all of them, each whole or not at all.
///
/// # Errors
/// If the brokers refuse it. What does not come in time is missing.
pub fn read_parts(
    settings: &KafkaSettings,
    wanted: &[Wanted],
    timeout: Duration,
) -> Result<Vec<Option<Vec<u8>>>, KafkaError> {
    let mut found: Vec<(u32, Vec<u8>)> = wanted.iter().map(|_| (0, Vec::new())).collect();
    let places: BTreeSet<&TopicPartition> = wanted.iter().map(|wanted| &wanted.at).collect();
    let mut list = TopicPartitionList::new();
    for place in places {
        let first = wanted.iter().filter(|wanted| wanted.at == *place).map(|wanted| wanted.offset).min();
        add(&mut list, place, Position::Offset(first.unwrap_or_default().0))?;
    }
    let mut ended: BTreeSet<i32> = BTreeSet::new();
    let consumer = consumer(settings)?;
    consumer.assign(&list).map_err(KafkaError::client("read what was written in parts"))?;
    let deadline = Instant::now() + timeout;
    let is_whole = |(wanted, (parts, _)): (&Wanted, &(u32, Vec<u8>))| wanted.parts == *parts;
    while ended.len() < list.count() && !wanted.iter().zip(&found).all(is_whole) && Instant::now() < deadline {
        let message = match consumer.poll(POLL) {
            Some(Ok(message)) => message,
            Some(Err(ClientError::PartitionEOF(partition))) => {
                ended.insert(partition);
                continue;
            }
            Some(Err(error)) if !is_passing(&error) => {
                return Err(KafkaError::client("read what was written in parts")(error));
            }
            _ => continue,
        };
        let (partition, key) = (message.partition(), message.key().unwrap_or_default());
        let is_its = |wanted: &Wanted| {
            wanted.at.partition.0 == partition && wanted.offset.0 <= message.offset() && wanted.key == key
        };
        let Some(its) = wanted.iter().position(is_its) else { continue };
        let (parts, bytes) = &mut found[its];
        let part = message.payload().unwrap_or_default();
        if *parts < wanted[its].parts && bytes.len() + part.len() <= wanted[its].bytes {
            *parts += 1;
            bytes.extend_from_slice(part);
        }
    }
    let is_complete = |(wanted, (parts, bytes)): (&Wanted, (u32, Vec<u8>))| {
        (parts == wanted.parts && bytes.len() == wanted.bytes).then_some(bytes)
    };
    Ok(wanted.iter().zip(found).map(is_complete).collect())
}

fn consumer(settings: &KafkaSettings) -> Result<BaseConsumer<Plain>, KafkaError> {
    config(settings)
        .set("isolation.level", "read_uncommitted")
        // What is not kept any more is missing, and nothing else of its partition is of use.
        .set("auto.offset.reset", "latest")
        .create_with_context(Plain::default())
        .map_err(KafkaError::client("make a Kafka consumer"))
}
