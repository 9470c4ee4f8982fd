//! Reads topics without a group: for whoever looks at them, and for tests.
//!
//! In: topics and where to start. Out: records that are committed, partition by partition in order, and the moment at which
//! each partition's end was first reached. Bounded by 16 MiB of fetched records a topic.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError as ClientError;
use rdkafka::{Offset as Position, TopicPartitionList};

use crate::client::Plain;
use crate::offsets::{at_time, kept_of};
use crate::place::{add, partitions_of};
use crate::{KafkaError, KafkaSettings, Message, Offset, Partition, TopicPartition};

const TIMEOUT: Duration = Duration::from_secs(30);

/// How long one of several topics is waited for before the others are looked at.
const TURN: Duration = Duration::from_millis(20);

/// Where to start reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    Earliest,
    /// What is committed from now on.
    Latest,
    /// The first records that were produced at or after this time; if there are none, what is committed from now on.
    AtMs(i64),
    /// Partitions that are not named are not read.
    Offsets(Vec<(TopicPartition, Offset)>),
}

/// What came next.
pub enum Next<'a> {
    Record(Message<'a>),
    /// All records that were committed in this partition by now were read. Said once for each partition, so that a caller
    /// may count to [`TopicReader::partitions`], whatever is written meanwhile.
    End(TopicPartition),
    /// Nothing came in the given time.
    Idle,
}

/// A reader of some topics.
pub struct TopicReader {
    /// One consumer a topic: librdkafka's end of a partition does not name the topic.
    lanes: Vec<(String, BaseConsumer<Plain>)>,
    turn: usize,
    partitions: Vec<TopicPartition>,
    starts: Vec<Offset>,
    ended: BTreeSet<(usize, i32)>,
}

impl TopicReader {
    /// Starts reading all partitions of the topics.
    ///
    /// # Errors
    /// Also if no topic is named, or one is not there.
    pub fn start(settings: &KafkaSettings, topics: &[String], start: &Start) -> Result<TopicReader, KafkaError> {
        if topics.is_empty() {
            // It would stay idle for ever, as if there were no records.
            return Err(KafkaError::Other { doing: "start reading".into(), reason: "no topic is named".into() });
        }
        let mut lanes = Vec::new();
        let (mut partitions, mut starts) = (Vec::new(), Vec::new());
        for topic in topics {
            let consumer = consumer(settings)?;
            let list = start_list(&consumer, topic, start)?;
            partitions.extend(partitions_of(&list));
            starts.extend(list.elements().iter().map(|element| match element.offset() {
                Position::Offset(offset) => Offset(offset),
                _ => Offset::FIRST,
            }));
            consumer.assign(&list).map_err(KafkaError::client(format!("read {topic}")))?;
            lanes.push((topic.clone(), consumer));
        }
        Ok(TopicReader { lanes, turn: 0, partitions, starts, ended: BTreeSet::new() })
    }

    /// The partitions that are read.
    pub fn partitions(&self) -> &[TopicPartition] {
        &self.partitions
    }

    /// Where the reading of each began: no later than its first record.
    pub fn starts(&self) -> impl Iterator<Item = (&TopicPartition, Offset)> {
        self.partitions.iter().zip(self.starts.iter().copied())
    }

    /// Waits for the next record or end.
    ///
    /// # Errors
    /// Brokers that are away are waited for and give [`Next::Idle`]; an error is one that waiting does not cure.
    pub fn next(&mut self, timeout: Duration) -> Result<Next<'_>, KafkaError> {
        let deadline = Instant::now() + timeout;
        let mut empty = 0;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            // Everybody is asked once without waiting, so that a quiet topic does not hold a busy one up.
            let wait = match self.lanes.len() {
                1 => left,
                lanes if empty < lanes => Duration::ZERO,
                _ => left.min(TURN),
            };
            self.turn = (self.turn + 1) % self.lanes.len().max(1);
            let Some((topic, consumer)) = self.lanes.get(self.turn) else { return Ok(Next::Idle) };
            match consumer.poll(wait) {
                Some(Ok(message)) => return Ok(Next::Record(Message::borrowed(message))),
                Some(Err(ClientError::PartitionEOF(partition))) => {
                    if self.ended.insert((self.turn, partition)) {
                        return Ok(Next::End(TopicPartition::new(topic, Partition(partition))));
                    }
                }
                Some(Err(error)) if !is_passing(&error) => {
                    return Err(KafkaError::Client { doing: format!("read {topic}"), source: error });
                }
                _ => empty += 1,
            }
            if empty >= self.lanes.len() && Instant::now() >= deadline {
                return Ok(Next::Idle);
            }
        }
    }

    /// Reads until the end of every partition was reached, or nothing came for `patience`.
    pub fn read_to_end(&mut self, patience: Duration, mut each: impl FnMut(&Message<'_>)) -> Result<(), KafkaError> {
        while self.ended.len() < self.partitions.len() {
            match self.next(patience)? {
                Next::Record(message) => each(&message),
                Next::End(_) => {}
                Next::Idle => {
                    return Err(KafkaError::Other {
                        doing: format!("read {:?} to the end", self.partitions),
                        reason: format!("nothing came for {patience:?} after {} ends", self.ended.len()),
                    });
                }
            }
        }
        Ok(())
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

fn consumer(settings: &KafkaSettings) -> Result<BaseConsumer<Plain>, KafkaError> {
    config(settings).create_with_context(Plain::default()).map_err(KafkaError::client("make a Kafka consumer"))
}

/// That of a consumer that is in no group.
pub(crate) fn config(settings: &KafkaSettings) -> ClientConfig {
    let mut config = settings.client();
    config
        // A group id is required, but no group is joined.
        .set("group.id", "headwater-reader")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "earliest")
        .set("fetch.wait.max.ms", "100")
        .set("queued.max.messages.kbytes", "16384");
    config
}

fn start_list(consumer: &BaseConsumer<Plain>, topic: &str, start: &Start) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::new();
    if let Start::Offsets(offsets) = start {
        for (at, offset) in offsets.iter().filter(|(at, _)| at.topic == topic) {
            add(&mut list, at, Position::Offset(offset.0))?;
        }
        return Ok(list);
    }
    let doing = format!("ask for the partitions of {topic}");
    let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT).map_err(KafkaError::client(doing.clone()))?;
    let partitions = metadata.topics().first().map(rdkafka::metadata::MetadataTopic::partitions).unwrap_or_default();
    if partitions.is_empty() {
        return Err(KafkaError::Other {
            doing,
            reason: "the topic is not there; does the program that writes it run?".into(),
        });
    }
    let partitions: Vec<_> = partitions.iter().map(|at| TopicPartition::new(topic, Partition(at.id()))).collect();
    if *start == Start::Earliest {
        for at in &partitions {
            add(&mut list, at, Position::Beginning)?;
        }
        return Ok(list);
    }
    // Before anything is looked for: librdkafka would look for an end some time later, and pass over what was written meanwhile.
    let kept = kept_of(consumer, &partitions)?;
    let found = match start {
        Start::AtMs(ms) => at_time(consumer, &partitions, *ms)?,
        _ => vec![None; partitions.len()],
    };
    for ((at, kept), found) in partitions.iter().zip(kept).zip(found) {
        add(&mut list, at, Position::Offset(found.unwrap_or(kept.end).0))?;
    }
    Ok(list)
}
