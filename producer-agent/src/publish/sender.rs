//! The last of the three parts of publishing: hands encoded records to the producer, once the way to Kafka is open. Until then they wait
//! in the [`Backlog`].
//!
//! Promise: what goes to one partition goes in the order in which it was given here. Never blocks.

use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use headwater_kafka::{KafkaSettings, Partition, partition_of};
use headwater_schemas::topics::WATERMARK_HEADER;
use headwater_schemas::wire::set_schema_id;

use super::backlog::Backlog;
use super::opening::{AGENTS, IDENTITIES, News, Opening, Route};
use crate::deliveries;
use crate::ledger::Stream;

/// How often it is said that the way is not open.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// Sends what the outlet has encoded.
pub struct Sender {
    way: Way,
    backlog: Backlog,
    waiting: Waiting,
    deliveries: deliveries::Deliveries,
}

/// The way to Kafka.
enum Way {
    Opening { opening: Opening, since: Instant, told_at: Option<Instant>, refused: u64 },
    Open(Box<Route>),
}

/// Watermarks that found the queue full. Bounded: one for each partition.
#[derive(Default)]
struct Waiting(Vec<WaitingWatermark>);

/// One watermark for one partition, encoded.
struct WaitingWatermark {
    stream: Stream,
    partition: Partition,
    node: Rc<str>,
    bytes: Rc<[u8]>,
}

impl Waiting {
    fn add(&mut self, stream: Stream, partitions: i32, node: &str, bytes: &Rc<[u8]>) {
        let node: Rc<str> = node.into();
        let waiting = |partition| WaitingWatermark {
            stream,
            partition: Partition(partition),
            node: Rc::clone(&node),
            bytes: Rc::clone(bytes),
        };
        self.0.extend((0..partitions).map(waiting));
    }

    /// What a watermark says stays true, so one that waits is late and nothing else.
    fn hand_over(&mut self, mut publish: impl FnMut(&WaitingWatermark) -> bool) -> bool {
        self.0.retain(|waiting| !publish(waiting));
        self.0.is_empty()
    }
}

impl Sender {
    /// Begins to open the way.
    pub fn start(settings: &KafkaSettings) -> Result<Sender> {
        let opening = Opening::start(settings)?;
        Ok(Sender {
            way: Way::Opening { opening, since: Instant::now(), told_at: None, refused: 0 },
            backlog: Backlog::new(settings.queue_bytes as usize),
            waiting: Waiting::default(),
            deliveries: deliveries::Deliveries::default(),
        })
    }

    /// Goes on with what waits, as far as that is possible, and counts what Kafka has acknowledged. Says whether the way was opened now.
    ///
    /// # Errors
    /// If the way cannot be opened, however long one waits.
    pub fn advance(&mut self) -> Result<bool> {
        let mut has_opened = false;
        if let Way::Opening { opening, since, told_at, refused } = &mut self.way {
            match opening.look()? {
                News::Nothing => {}
                News::InTheWay(what) => {
                    if told_at.is_none_or(|at| at.elapsed() >= TOLD_EVERY) {
                        *told_at = Some(Instant::now());
                        tracing::warn!(
                            waiting = self.backlog.len(),
                            dropped = *refused,
                            "Kafka has not been reached for {} s: {what}. The capture goes on; records wait (kafka.queue_bytes bounds \
                             them), and further ones are dropped and counted",
                            since.elapsed().as_secs(),
                        );
                    }
                }
                News::Open(route) => {
                    let (waited, dropped) = (self.backlog.len(), *refused);
                    tracing::info!(waited, dropped, "Kafka is reached after {:.1} s", since.elapsed().as_secs_f64());
                    self.way = Way::Open(route);
                    has_opened = true;
                }
            }
        }
        if let Way::Open(route) = &self.way {
            route.publisher.take_reports();
            if !self.backlog.is_empty() {
                let mut value = Vec::new();
                self.backlog.hand_over(|record| {
                    value.clear();
                    value.extend_from_slice(record.value());
                    route.send(record.stream, record.key(), &mut value).is_ok()
                });
            }
        }
        Ok(has_opened)
    }

    /// Whether Kafka has been reached.
    pub fn is_open(&self) -> bool {
        matches!(self.way, Way::Open(_))
    }

    /// Why nothing is delivered, if that is so: the end of a sentence.
    pub fn problem(&self) -> Option<&'static str> {
        match &self.way {
            Way::Opening { .. } => Some("captures, but has not reached Kafka yet"),
            Way::Open(_) if self.deliveries.are_stalled() => Some("captures, but Kafka takes nothing"),
            Way::Open(_) => None,
        }
    }

    /// Takes a record.
    ///
    /// # Errors
    /// The reason why it was not taken.
    pub fn record(&mut self, stream: Stream, key: &[u8], value: &mut [u8]) -> Result<(), &'static str> {
        if let (Way::Open(route), true) = (&self.way, self.backlog.is_empty()) {
            return route.send(stream, key, value);
        }
        if self.backlog.push(stream, key, value) {
            return Ok(());
        }
        if let Way::Opening { refused, .. } = &mut self.way {
            *refused += 1;
        }
        Err("queue_full")
    }

    /// Puts watermarks into every partition of their topics, behind all records that were taken so far. Those that find the queue full
    /// wait. To be called only if [`Sender::watermarks_are_out`].
    pub fn watermarks(&mut self, node: &str, mut watermarks: [Vec<u8>; 2]) {
        let Way::Open(route) = &self.way else { return };
        for (stream, watermark) in Stream::ALL.into_iter().zip(&mut watermarks) {
            set_schema_id(watermark, route.watermark_schema_id);
            self.waiting.add(stream, route.partitions[stream as usize], node, &Rc::from(watermark.as_slice()));
        }
        self.watermarks_are_out();
    }

    /// Hands over the watermarks that wait, as far as there is room. Says whether nothing waits that must come before a new one. Until then
    /// there must be none: what is dropped meanwhile is told by the next one, so that no drop is forgotten with a watermark.
    pub fn watermarks_are_out(&mut self) -> bool {
        let Way::Open(route) = &self.way else { return false };
        self.backlog.is_empty()
            && self.waiting.hand_over(|WaitingWatermark { stream, partition, node, bytes }| {
                let headers = [(WATERMARK_HEADER, &**bytes)];
                route.publisher.publish(*stream as usize, *partition, node.as_bytes(), None, &headers).is_ok()
            })
    }

    /// Publishes a heartbeat. One that finds no room is left out: the next one says the same and more.
    ///
    /// # Errors
    /// If the producer takes nothing any more: the agent must be started again.
    pub fn heartbeat(&mut self, node: &str, value: &mut [u8], dropped: i64) -> Result<()> {
        let Way::Open(route) = &self.way else { return Ok(()) };
        route.other(AGENTS, node.as_bytes(), value);
        let publisher = &route.publisher;
        let waiting = publisher.waiting();
        let delivered = (0..=IDENTITIES).map(|topic| publisher.delivered(topic)).sum();
        match self.deliveries.look(waiting, delivered, Instant::now()) {
            Some(deliveries::News::Stalled(time)) => tracing::warn!(
                waiting,
                dropped,
                reason = publisher.complaint(),
                "Kafka has taken nothing for {} s: records wait in the queue (kafka.queue_bytes), and once it is full they are \
                 dropped and counted; check the brokers and their disks",
                time.as_secs()
            ),
            Some(deliveries::News::Again) => tracing::info!(waiting, dropped, "Kafka takes records again"),
            None => {}
        }
        publisher.check().context("the agent can deliver nothing any more")
    }

    /// Publishes who owns an address. One that finds no room is left out: the next interval says the same and more.
    pub fn identity(&mut self, key: &str, value: &mut [u8]) {
        if let Way::Open(route) = &self.way {
            route.other(IDENTITIES, key.as_bytes(), value);
        }
    }

    /// Records of a stream that were given up after they had been taken.
    pub fn failed(&self, stream: Stream) -> u64 {
        self.count(|route| route.publisher.records_failed(stream as usize))
    }

    /// Records of a stream that a broker has acknowledged.
    pub fn delivered(&self, stream: Stream) -> u64 {
        self.count(|route| route.publisher.records_delivered(stream as usize))
    }

    /// Delivers what is left.
    ///
    /// # Errors
    /// If that is not possible in this time: what is left is lost.
    pub fn close(mut self, timeout: Duration) -> Result<()> {
        let deadline = Instant::now() + timeout;
        while !(self.is_open() && self.backlog.is_empty()) && Instant::now() < deadline {
            self.advance()?;
            std::thread::sleep(Duration::from_millis(5));
        }
        match &self.way {
            Way::Open(route) if self.backlog.is_empty() => {
                let left = deadline.saturating_duration_since(Instant::now());
                route.publisher.flush(left).context("stop the agent in order")
            }
            Way::Opening { .. } if self.backlog.is_empty() => Ok(()),
            _ => bail!(
                "stop the agent in order: the last {} records are lost, since Kafka did not take them",
                self.backlog.len()
            ),
        }
    }

    fn count(&self, of: impl Fn(&Route) -> u64) -> u64 {
        match &self.way {
            Way::Opening { .. } => 0,
            Way::Open(route) => of(route),
        }
    }
}

impl Route {
    /// Hands a record of a stream to the producer.
    fn send(&self, stream: Stream, key: &[u8], value: &mut [u8]) -> Result<(), &'static str> {
        let topic = stream as usize;
        set_schema_id(value, self.schema_ids[topic]);
        let partition = partition_of(key, self.partitions[topic]);
        self.publisher.publish(topic, partition, key, Some(value), &[]).map_err(|error| error.reason())
    }

    /// Hands over a record of a topic that has one partition.
    fn other(&self, topic: usize, key: &[u8], value: &mut [u8]) {
        set_schema_id(value, self.schema_ids[topic]);
        let _ = self.publisher.publish(topic, Partition(0), key, Some(value), &[]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watermark_that_finds_the_queue_full_goes_out_later_to_the_partitions_that_lack_it() {
        let mut waiting = Waiting::default();
        waiting.add(Stream::Requests, 3, "n", &Rc::from(*b"r"));
        waiting.add(Stream::Flows, 2, "n", &Rc::from(*b"f"));
        let (mut sent, mut room) = (Vec::new(), 2);
        let place = |one: &WaitingWatermark| (one.stream, one.partition.0, one.bytes.to_vec());
        assert!(!waiting.hand_over(|one| {
            let taken = room > 0;
            if taken {
                room -= 1;
                sent.push(place(one));
            }
            taken
        }));
        assert!(!waiting.hand_over(|_| false));
        assert!(waiting.hand_over(|one| {
            sent.push(place(one));
            true
        }));
        let requests = (0..3).map(|partition| (Stream::Requests, partition, b"r".to_vec()));
        let flows = (0..2).map(|partition| (Stream::Flows, partition, b"f".to_vec()));
        assert_eq!(sent, requests.chain(flows).collect::<Vec<_>>());
    }
}
