//! Publishes what a fleet tells, as its agents do: into the partition of the connection, and how far each node is into every partition.
//!
//! Bound: what a node holds back waits here, so it is for the caller to let it go.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use headwater_kafka::{KafkaSettings, Partition, Publisher, Registry, admin, partition_of};
use headwater_schemas::records::{Flow, Progress, Request};
use headwater_schemas::topics::Topic;
use headwater_schemas::wire::Encoder;

use super::{Sink, records};
use crate::vouch::{Of, Topics, Vouch};

const TOPICS: [Topic; 3] = [Topic::Flows, Topic::Requests, Topic::Progress];
const FLOWS: usize = 0;
const REQUESTS: usize = 1;
const INDEXES: Topics = Topics { flows: FLOWS, requests: REQUESTS, progress: 2 };

/// The producer's queue has room again after a moment.
const FULL_PAUSE: Duration = Duration::from_millis(2);

/// A frozen broker is back within half a minute, and a new partition is known within ten seconds.
const SEND_TIMEOUT: Duration = Duration::from_secs(120);

const FLUSH_TIMEOUT: Duration = Duration::from_secs(120);

/// One producer for all nodes.
pub struct Outlet {
    publisher: Publisher,
    requests: Encoder,
    flows: Encoder,
    vouch: Vouch,
    /// What nodes are called there: asked for once, since there are many records.
    numbers: BTreeMap<u32, usize>,
    partitions: i32,
    /// Nodes that hold back what they tell, with what they have.
    held: BTreeMap<u32, Vec<Held>>,
    buffer: Vec<u8>,
}

enum Held {
    Record { topic: usize, partition: Partition, key: Vec<u8>, value: Vec<u8> },
    Progress(Box<Progress>),
}

impl Outlet {
    /// Makes the topics if they are not there.
    pub fn open(settings: &KafkaSettings) -> Result<Outlet> {
        let partitions = admin::ensure_topics(settings, &TOPICS)?;
        let registry = Registry::new(settings);
        let names = TOPICS.map(|topic| topic.name(&settings.prefix)).to_vec();
        Ok(Outlet {
            publisher: Publisher::start(settings, names)?,
            requests: Encoder::of::<Request<'_>>(registry.register_topic(Topic::Requests)?)?,
            flows: Encoder::of::<Flow<'_>>(registry.register_topic(Topic::Flows)?)?,
            vouch: Vouch::new(INDEXES, registry.register_topic(Topic::Progress)?, partitions[&Topic::Requests])?,
            numbers: BTreeMap::new(),
            partitions: partitions[&Topic::Requests],
            held: BTreeMap::new(),
            buffer: Vec::new(),
        })
    }

    /// From now on a node keeps what it tells, as one does whose Kafka is away.
    pub fn hold(&mut self, node: u32) {
        self.held.entry(node).or_default();
    }

    /// It tells all that it kept, in order, and what comes.
    pub fn release(&mut self, node: u32) -> Result<()> {
        for held in self.held.remove(&node).unwrap_or_default() {
            match held {
                Held::Record { topic, partition, key, value } => {
                    self.send(node, topic, partition, &key, &value);
                }
                Held::Progress(progress) => self.vouch.say(&progress, None),
            }
        }
        self.vouch.advance(&self.publisher)
    }

    /// From now on records go to all partitions that there are.
    pub fn count_partitions(&mut self, settings: &KafkaSettings) -> Result<()> {
        self.partitions = admin::partition_counts(settings, &TOPICS)?[&Topic::Requests];
        self.vouch.set_partitions(self.partitions);
        Ok(())
    }

    /// Something that is no record.
    pub fn poison(&mut self, partition: Partition, value: &[u8]) {
        publish(&self.publisher, REQUESTS, partition, b"poison", value);
        // It is nobody's, but acknowledged among the others.
        self.vouch.handed(Of::Requests, partition, "poison");
    }

    /// Says how far nodes are whose records have arrived meanwhile.
    pub fn advance(&mut self) -> Result<()> {
        self.vouch.advance(&self.publisher)
    }

    /// Waits until all that was told is in Kafka.
    pub fn flush(&mut self) -> Result<()> {
        self.vouch.finish(&self.publisher, FLUSH_TIMEOUT)
    }

    fn record(&mut self, node: u32, topic: usize, key: &str) {
        let partition = partition_of(key.as_bytes(), self.partitions);
        match self.held.get_mut(&node) {
            Some(held) => {
                let (key, value) = (key.as_bytes().to_vec(), self.buffer.clone());
                held.push(Held::Record { topic, partition, key, value });
            }
            None => {
                let value = std::mem::take(&mut self.buffer);
                self.send(node, topic, partition, key.as_bytes(), &value);
                self.buffer = value;
            }
        }
    }

    fn send(&mut self, node: u32, topic: usize, partition: Partition, key: &[u8], value: &[u8]) {
        publish(&self.publisher, topic, partition, key, value);
        let of = if topic == FLOWS { Of::Flows } else { Of::Requests };
        let vouch = &mut self.vouch;
        let number = *self.numbers.entry(node).or_insert_with(|| vouch.number(&records::node_name(node)));
        vouch.handed_by(of, partition, number);
    }
}

impl Sink for Outlet {
    fn request(&mut self, node: u32, record: &Request<'_>) -> Result<()> {
        self.buffer.clear();
        self.requests.encode_into(record, &mut self.buffer)?;
        self.record(node, REQUESTS, record.connection_id);
        Ok(())
    }

    fn flow(&mut self, node: u32, record: &Flow<'_>) -> Result<()> {
        self.buffer.clear();
        self.flows.encode_into(record, &mut self.buffer)?;
        self.record(node, FLOWS, record.connection_id);
        Ok(())
    }

    fn progress(&mut self, node: u32, record: &Progress) -> Result<()> {
        match self.held.get_mut(&node) {
            Some(held) => held.push(Held::Progress(Box::new(record.clone()))),
            None => self.vouch.say(record, None),
        }
        self.vouch.advance(&self.publisher)
    }
}

/// Waits for room, and until a partition that was added is known.
///
/// # Panics
/// If that takes longer than any harm that is done to brokers: a fleet that tells nothing looks like processors that read nothing.
fn publish(publisher: &Publisher, topic: usize, partition: Partition, key: &[u8], value: &[u8]) {
    let deadline = Instant::now() + SEND_TIMEOUT;
    while let Err(error) = publisher.publish(topic, partition, key, Some(value), &[]) {
        let (topic, complaint) = (TOPICS[topic], publisher.complaint());
        assert!(Instant::now() < deadline, "{topic:?} {partition} takes nothing: {error:?}, {complaint:?}");
        std::thread::sleep(FULL_PAUSE);
    }
}
