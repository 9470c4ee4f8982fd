//! Says for nodes that tests play how far they are, as agents do: once the brokers have acknowledged what they vouch for.
//!
//! In: for each record whose it was, in the order in which one producer got them; what nodes say. Out: that, with where the records stand. A partition's
//! records are acknowledged in order, so the acknowledged ones are known by their number. Bounded by what is on its way.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use headwater_kafka::{Partition, PublishError, Publisher};
use headwater_schemas::records::{Progress, Share};
use headwater_schemas::wire::Encoder;

const TURN: Duration = Duration::from_millis(5);
const LOOK: Duration = Duration::from_millis(1);

/// Indexes of the topics in the producer.
#[derive(Debug, Clone, Copy)]
pub struct Topics {
    pub flows: usize,
    pub requests: usize,
    pub progress: usize,
}

/// A topic whose records are vouched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Of {
    Flows,
    Requests,
}

type Place = (Of, i32);

/// What nodes have said, and what they have handed over.
pub struct Vouch {
    topics: Topics,
    encoder: Encoder,
    partitions: i32,
    numbers: BTreeMap<String, usize>,
    /// Whose records are on their way, the oldest first, and how many have arrived.
    on_their_way: BTreeMap<Place, (VecDeque<usize>, u64)>,
    nodes: Vec<BTreeMap<Place, Counts>>,
    waiting: VecDeque<Waiting>,
}

/// Records of a node in a partition.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    handed: u64,
    arrived: u64,
    /// Of these it was said where they stand: up to there.
    told: u64,
    through: Option<i64>,
}

struct Waiting {
    node: usize,
    progress: Progress,
    handed: BTreeMap<Place, u64>,
    timestamp_ms: Option<i64>,
}

impl Vouch {
    pub fn new(topics: Topics, progress_schema_id: u32, partitions: i32) -> Result<Vouch> {
        Ok(Vouch {
            topics,
            encoder: Encoder::of::<Progress>(progress_schema_id)?,
            partitions,
            numbers: BTreeMap::new(),
            on_their_way: BTreeMap::new(),
            nodes: Vec::new(),
            waiting: VecDeque::new(),
        })
    }

    /// From now on nodes speak in so many partitions.
    pub fn set_partitions(&mut self, partitions: i32) {
        self.partitions = partitions;
    }

    /// The producer was made anew, after all that it had was delivered.
    pub fn begin_anew(&mut self) {
        self.on_their_way.clear();
    }

    /// The producer got a record of a node.
    pub fn handed(&mut self, of: Of, partition: Partition, node: &str) {
        let node = self.number(node);
        self.handed_by(of, partition, node);
    }

    /// The producer got a record of the node that has this number here.
    pub fn handed_by(&mut self, of: Of, partition: Partition, node: usize) {
        let place = (of, partition.0);
        self.on_their_way.entry(place).or_default().0.push_back(node);
        self.nodes[node].entry(place).or_default().handed += 1;
    }

    /// A node says how far it is, whose records so far are vouched for.
    pub fn say(&mut self, progress: &Progress, timestamp_ms: Option<i64>) {
        let node = self.number(&progress.node);
        let handed = self.nodes[node].iter().map(|(place, counts)| (*place, counts.handed)).collect();
        let progress = Progress { partitions: self.partitions, ..progress.clone() };
        self.waiting.push_back(Waiting { node, progress, handed, timestamp_ms });
    }

    /// Publishes what may be said by now.
    pub fn advance(&mut self, publisher: &Publisher) -> Result<()> {
        publisher.take_reports();
        for (place, (nodes, arrived)) in &mut self.on_their_way {
            let placed = publisher.placed(self.topics.of(place.0), Partition(place.1));
            if placed.is_open {
                publisher.ask_end(self.topics.of(place.0), Partition(place.1), Duration::from_secs(5))?;
            }
            for _ in *arrived..placed.known() {
                if let Some(node) = nodes.pop_front() {
                    self.nodes[node].entry(*place).or_default().arrived += 1;
                }
            }
            *arrived = placed.known();
        }
        while let Some(first) = self.waiting.front() {
            let counts = &self.nodes[first.node];
            if first.handed.iter().any(|(place, handed)| counts[place].arrived < *handed) {
                return Ok(());
            }
            let Some(Waiting { node, progress, timestamp_ms, .. }) = self.waiting.pop_front() else { return Ok(()) };
            for partition in 0..self.partitions {
                let flows = self.share((Of::Flows, partition), node, &progress.flows, publisher);
                let requests = self.share((Of::Requests, partition), node, &progress.requests, publisher);
                let value = self.encoder.encode(&Progress { flows, requests, ..progress.clone() })?;
                self.publish(publisher, partition, progress.node.as_bytes(), &value, timestamp_ms)?;
            }
        }
        Ok(())
    }

    /// Waits until all is said and delivered. Looks more often than the client's own flush, since some wait for each second of hours.
    pub fn finish(&mut self, publisher: &Publisher, timeout: Duration) -> Result<()> {
        let deadline = Instant::now() + timeout;
        while !self.waiting.is_empty() || publisher.waiting() > 0 {
            ensure!(Instant::now() < deadline, "records are not acknowledged: {:?}", publisher.complaint());
            std::thread::sleep(LOOK);
            self.advance(publisher)?;
        }
        Ok(())
    }

    fn share(&mut self, place: Place, node: usize, share: &Share, publisher: &Publisher) -> Share {
        let counts = self.nodes[node].entry(place).or_default();
        let after_offset = counts.through.unwrap_or(-1);
        let last = publisher.placed(self.topics.of(place.0), Partition(place.1)).last;
        if counts.arrived > 0 {
            counts.through = last.map(|last| last.0).max(counts.through);
        }
        let records = counts.arrived - std::mem::replace(&mut counts.told, counts.arrived);
        let through_offset = counts.through.unwrap_or(-1);
        Share { after_offset, through_offset, records: records as i64, ..share.clone() }
    }

    fn publish(
        &self,
        publisher: &Publisher,
        partition: i32,
        key: &[u8],
        value: &[u8],
        timestamp_ms: Option<i64>,
    ) -> Result<()> {
        let topic = self.topics.progress;
        loop {
            match publisher.publish_at(topic, Partition(partition), key, Some(value), &[], timestamp_ms) {
                Ok(()) => return Ok(()),
                // A partition that was added is not known at once.
                Err(PublishError::QueueFull | PublishError::Stopped) if publisher.check().is_ok() => {
                    std::thread::sleep(TURN);
                }
                Err(error) => anyhow::bail!("say how far a node is: {}", error.reason()),
            }
        }
    }

    /// The number that a node has here, now or from now on.
    pub fn number(&mut self, node: &str) -> usize {
        if let Some(number) = self.numbers.get(node) {
            return *number;
        }
        self.numbers.insert(node.to_owned(), self.nodes.len());
        self.nodes.push(BTreeMap::new());
        self.nodes.len() - 1
    }
}

impl Topics {
    fn of(self, of: Of) -> usize {
        match of {
            Of::Flows => self.flows,
            Of::Requests => self.requests,
        }
    }
}
