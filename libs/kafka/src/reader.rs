//! Reads topics without a group: for whoever looks at them, and for tests.
//!
//! In: topics and where to start. Out: records that are committed, partition by partition in order, and the moment at which
//! a partition's end was reached.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError as ClientError;
use rdkafka::{Offset, TopicPartitionList};

use crate::client::Plain;
use crate::{KafkaError, KafkaSettings, Message};

const TIMEOUT: Duration = Duration::from_secs(30);

/// Where to start reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    Earliest,
    Latest,
    /// The first records that were produced at or after this time.
    AtMs(i64),
    /// Topic, partition, offset; partitions that are not named are not read.
    Offsets(Vec<(String, i32, i64)>),
}

/// What came next.
pub enum Next<'a> {
    Record(Message<'a>),
    /// All committed records of this partition were read, for now.
    End {
        topic: String,
        partition: i32,
    },
    /// Nothing came in the given time.
    Idle,
}

/// A reader of some topics.
pub struct TopicReader {
    consumer: BaseConsumer<Plain>,
    partitions: Vec<(String, i32)>,
}

impl TopicReader {
    /// Starts reading all partitions of the topics.
    pub fn start(settings: &KafkaSettings, topics: &[String], start: &Start) -> Result<TopicReader, KafkaError> {
        let consumer: BaseConsumer<Plain> = settings
            .client()
            // A group id is required, but no group is joined.
            .set("group.id", "headwater-reader")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "earliest")
            .set("fetch.wait.max.ms", "100")
            .set("queued.max.messages.kbytes", "16384")
            .create_with_context(Plain::default())
            .map_err(KafkaError::client("make a Kafka consumer"))?;
        let list = start_list(&consumer, topics, start)?;
        let partitions = list.elements().iter().map(|at| (at.topic().to_owned(), at.partition())).collect();
        consumer.assign(&list).map_err(KafkaError::client(format!("read {}", topics.join(", "))))?;
        Ok(TopicReader { consumer, partitions })
    }

    /// The partitions that are read.
    pub fn partitions(&self) -> &[(String, i32)] {
        &self.partitions
    }

    /// Waits for the next record or end.
    ///
    /// # Errors
    /// Brokers that are away are waited for and give [`Next::Idle`]; an error is one that waiting does not cure.
    pub fn next(&mut self, timeout: Duration) -> Result<Next<'_>, KafkaError> {
        match self.consumer.poll(timeout) {
            None => Ok(Next::Idle),
            Some(Ok(message)) => Ok(Next::Record(Message::borrowed(message))),
            Some(Err(ClientError::PartitionEOF(partition))) => {
                // The error names no topic: it is the one whose position stands at its end.
                let topic = self.topic_at_end(partition);
                Ok(Next::End { topic, partition })
            }
            Some(Err(error)) if is_passing(&error) => Ok(Next::Idle),
            Some(Err(source)) => Err(KafkaError::Client { doing: "read a topic".into(), source }),
        }
    }

    /// Reads until the end of every partition was reached once, or nothing came for `patience`.
    pub fn read_to_end(&mut self, patience: Duration, mut each: impl FnMut(&Message<'_>)) -> Result<(), KafkaError> {
        let mut ends = 0;
        while ends < self.partitions.len() {
            match self.next(patience)? {
                Next::Record(message) => each(&message),
                Next::End { .. } => ends += 1,
                Next::Idle => {
                    return Err(KafkaError::Other {
                        doing: format!("read {:?} to the end", self.partitions),
                        reason: format!("nothing came for {patience:?} after {ends} ends"),
                    });
                }
            }
        }
        Ok(())
    }

    fn topic_at_end(&self, partition: i32) -> String {
        let mut same = self.partitions.iter().filter(|(_, other)| *other == partition);
        match (same.next(), same.next()) {
            (Some((topic, _)), None) => topic.clone(),
            _ => String::new(),
        }
    }
}

/// Whether librdkafka will get over it by itself.
pub fn is_passing(error: &ClientError) -> bool {
    use rdkafka::types::RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::BrokerTransportFailure
                | Code::AllBrokersDown
                | Code::OperationTimedOut
                | Code::Resolve
                | Code::NotCoordinator
                | Code::CoordinatorNotAvailable
                | Code::CoordinatorLoadInProgress
                | Code::LeaderNotAvailable
                | Code::NotLeaderForPartition
                | Code::RequestTimedOut
                | Code::NetworkException
                | Code::UnknownTopicOrPartition
                | Code::UnknownTopic
                | Code::UnknownPartition
        )
    )
}

fn start_list(
    consumer: &BaseConsumer<Plain>,
    topics: &[String],
    start: &Start,
) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::new();
    if let Start::Offsets(offsets) = start {
        for (topic, partition, offset) in offsets {
            list.add_partition_offset(topic, *partition, Offset::Offset(*offset))
                .map_err(KafkaError::client(format!("start {topic} {partition} at {offset}")))?;
        }
        return Ok(list);
    }
    let offset = match start {
        Start::Latest => Offset::End,
        Start::AtMs(ms) => Offset::Offset(*ms),
        _ => Offset::Beginning,
    };
    for topic in topics {
        let doing = format!("ask for the partitions of {topic}");
        let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT).map_err(KafkaError::client(doing.clone()))?;
        let partitions =
            metadata.topics().first().map(rdkafka::metadata::MetadataTopic::partitions).unwrap_or_default();
        if partitions.is_empty() {
            return Err(KafkaError::Other {
                doing,
                reason: "the topic is not there; does the program that writes it run?".into(),
            });
        }
        for partition in partitions {
            list.add_partition_offset(topic, partition.id(), offset).map_err(KafkaError::client(doing.clone()))?;
        }
    }
    match start {
        Start::AtMs(ms) => consumer
            .offsets_for_times(list, TIMEOUT)
            .map_err(KafkaError::client(format!("look for the records from {ms} on"))),
        _ => Ok(list),
    }
}
