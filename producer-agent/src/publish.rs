//! Encodes records and hands them to Kafka.
//!
//! In: records of the observer, watermarks, heartbeats. Out: messages in the producer's bounded queue, and a line in the
//! [`Ledger`] for each. Never blocks: a record that finds the queue full is dropped and counted, a watermark waits. A record whose
//! workload has no name yet is held; see [`Held`].

use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use headwater_kafka::{KafkaSettings, Partition, Publisher, Registry, admin, partition_of};
use headwater_schemas::records::{Agent, Flow, Identity, Record, Request, Watermark};
use headwater_schemas::topics::{Topic, WATERMARK_HEADER};
use headwater_schemas::wire::{Encoder, WriterSchema, split};
use serde::Serialize;

use crate::deliveries::{Deliveries, News};
use crate::held::Held;
use crate::ledger::{Ledger, Stream};
use crate::naming::{Named, Owner};
use crate::observe::Output;
use crate::settings::Settings;

/// Index of the heartbeats' topic in the publisher; those of the streams are `Stream as usize`.
const AGENTS: usize = 2;
/// The same of who owns which address.
const IDENTITIES: usize = 3;

/// Publishes what one agent has to say.
pub struct Outlet {
    publisher: Publisher,
    lanes: [Lane; 2],
    agent: Encoder,
    identity: Encoder,
    watermark: Encoder,
    requests_limit: DefaultDirectRateLimiter,
    buffer: Vec<u8>,
    held: Held,
    waiting: Waiting,
    /// Failed deliveries that were booked already.
    failed: [u64; 2],
    deliveries: Deliveries,
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

/// What it takes to write to the topic of a stream.
struct Lane {
    partitions: i32,
    encoder: Encoder,
    /// Reads what the encoder wrote, of records that were held.
    schema: WriterSchema,
}

impl Outlet {
    /// Makes the topics where they are missing, registers the schemas and starts the producer.
    pub fn open(settings: &Settings) -> Result<Outlet> {
        let kafka: &KafkaSettings = &settings.kafka;
        let topics = [Topic::Requests, Topic::Flows, Topic::Agents, Topic::Identities];
        let partitions = admin::ensure_topics(kafka, &topics)?;
        let registry = Registry::new(kafka);
        let lane = |topic: Topic, encoder: Encoder| -> Result<Lane> {
            let partitions = partitions.get(&topic).copied().context("a topic has no partitions")?;
            Ok(Lane { partitions, encoder, schema: WriterSchema::parse(topic.schema())? })
        };
        let requests = Encoder::of::<Request<'_>>(registry.register_topic(Topic::Requests)?)?;
        let flows = Encoder::of::<Flow<'_>>(registry.register_topic(Topic::Flows)?)?;
        Ok(Outlet {
            lanes: [lane(Topic::Requests, requests)?, lane(Topic::Flows, flows)?],
            agent: Encoder::of::<Agent>(registry.register_topic(Topic::Agents)?)?,
            identity: Encoder::of::<Identity>(registry.register_topic(Topic::Identities)?)?,
            watermark: Encoder::of::<Watermark>(registry.register_header(WATERMARK_HEADER)?)?,
            publisher: Publisher::start(kafka, topics.map(|topic| topic.name(&kafka.prefix)).to_vec())?,
            requests_limit: RateLimiter::direct(Quota::per_second(settings.requests_per_second_max)),
            buffer: Vec::with_capacity(1024),
            held: Held::default(),
            waiting: Waiting::default(),
            failed: [0; 2],
            deliveries: Deliveries::default(),
        })
    }

    /// Takes what the observer gives.
    pub fn take(&mut self, output: Output<'_>, ledger: &mut Ledger) {
        match output {
            Output::Request(..) if self.requests_limit.check().is_err() => {
                ledger.dropped(Stream::Requests, "rate_limited", 1);
            }
            Output::Request(request, owner) => match owner.named() {
                Some(named) => self.request(request, &named, ledger),
                None => self.hold(Stream::Requests, owner, request.completed_at_us, &request, ledger),
            },
            Output::Flow(flow, owner) => match owner.named() {
                Some(named) => self.flow(flow, &named, ledger),
                None => self.hold(Stream::Flows, owner, flow.observed_at_us, &flow, ledger),
            },
            Output::RequestsDropped(reason, count) => ledger.dropped(Stream::Requests, reason, count),
            Output::FlowsDropped(reason, count) => ledger.dropped(Stream::Flows, reason, count),
        }
    }

    /// Publishes the held records whose workloads have a name by now, or whose time is over.
    pub fn release(&mut self, now: Instant, ledger: &mut Ledger) {
        for (record, named) in self.held.release(now) {
            self.released(record.stream, &record.value, &named, ledger);
        }
    }

    /// Event time of the oldest record that is held.
    pub fn held_since_us(&self) -> Option<i64> {
        self.held.oldest_us()
    }

    /// Records that are held, and how often one was given up as `unknown` since too many were.
    pub fn held(&self) -> (usize, u64) {
        (self.held.len(), self.held.overflows())
    }

    /// Writes the watermarks into every partition of their topics, behind all records handed over so far. Those that find the queue
    /// full wait; see [`Outlet::watermarks_are_out`].
    pub fn watermarks(&mut self, watermarks: &[Watermark; 2]) -> Result<()> {
        for (stream, watermark) in Stream::ALL.into_iter().zip(watermarks) {
            let bytes: Rc<[u8]> = self.watermark.encode(watermark)?.into();
            self.waiting.add(stream, self.lanes[stream as usize].partitions, &watermark.node, &bytes);
        }
        self.watermarks_are_out();
        Ok(())
    }

    /// Hands over the watermarks that wait, as far as there is room. Says whether none waits any more. Until then there must be no newer
    /// one: what is dropped meanwhile is told by the next one, so that no drop is forgotten with a watermark.
    pub fn watermarks_are_out(&mut self) -> bool {
        let publisher = &self.publisher;
        self.waiting.hand_over(|WaitingWatermark { stream, partition, node, bytes }| {
            let headers = [(WATERMARK_HEADER, &**bytes)];
            publisher.publish(*stream as usize, *partition, node.as_bytes(), None, &headers).is_ok()
        })
    }

    /// Publishes the agent's heartbeat. One that finds the queue full is left out: the next one says the same and more.
    ///
    /// # Errors
    /// If the producer takes nothing any more: the agent must be started again.
    pub fn heartbeat(&mut self, agent: &Agent) -> Result<()> {
        self.buffer.clear();
        self.agent.encode_into(agent, &mut self.buffer)?;
        let _ = self.publisher.publish(AGENTS, Partition(0), agent.node.as_bytes(), Some(&self.buffer), &[]);
        self.tell(agent.dropped.values().sum());
        self.publisher.check().context("the agent can deliver nothing any more")
    }

    /// Whether Kafka takes nothing, although something waits.
    pub fn is_stalled(&self) -> bool {
        self.deliveries.are_stalled()
    }

    /// Publishes who owns an address. One that finds the queue full is left out: the next interval says the same and more.
    pub fn identity(&mut self, identity: &Identity) {
        self.buffer.clear();
        match self.identity.encode_into(identity, &mut self.buffer) {
            Ok(()) => {
                let _ = self.publisher.publish(
                    IDENTITIES,
                    Partition(0),
                    identity.key().as_bytes(),
                    Some(&self.buffer),
                    &[],
                );
            }
            Err(error) => tracing::error!(%error, "a record cannot be encoded"),
        }
    }

    /// Says when the brokers take nothing any more, and when they do again.
    fn tell(&mut self, dropped: i64) {
        let (waiting, delivered) =
            (self.publisher.waiting(), (0..=IDENTITIES).map(|topic| self.publisher.delivered(topic)));
        match self.deliveries.look(waiting, delivered.sum(), Instant::now()) {
            Some(News::Stalled(time)) => tracing::warn!(
                waiting,
                dropped,
                reason = self.publisher.complaint(),
                "Kafka has taken nothing for {} s: records wait in the queue (kafka.queue_bytes), and once it is full they are \
                 dropped and counted; check the brokers and their disks",
                time.as_secs()
            ),
            Some(News::Again) => tracing::info!(waiting, dropped, "Kafka takes records again"),
            None => {}
        }
    }

    /// Counts what Kafka has acknowledged, which makes room in the queue.
    pub fn take_reports(&self) {
        self.publisher.take_reports();
    }

    /// Books records that were given up after they had been handed over.
    pub fn book_failed_deliveries(&mut self, ledger: &mut Ledger) {
        for stream in Stream::ALL {
            let failed = self.publisher.records_failed(stream as usize);
            let booked = std::mem::replace(&mut self.failed[stream as usize], failed);
            ledger.not_delivered(stream, failed - booked);
        }
    }

    /// Records of a stream that a broker has acknowledged.
    pub fn delivered(&self, stream: Stream) -> u64 {
        self.publisher.records_delivered(stream as usize)
    }

    /// Delivers what is left.
    pub fn close(self, timeout: Duration) -> Result<()> {
        self.publisher.flush(timeout).context("stop the agent in order")
    }

    fn request<'a>(&mut self, mut request: Request<'a>, named: &'a Named, ledger: &mut Ledger) {
        named.fill_request(&mut request);
        self.record(Stream::Requests, request.connection_id, &request, ledger);
    }

    fn flow<'a>(&mut self, mut flow: Flow<'a>, named: &'a Named, ledger: &mut Ledger) {
        named.fill_flow(&mut flow);
        self.record(Stream::Flows, flow.connection_id, &flow, ledger);
    }

    /// Keeps a record until its owner is named, as the bytes that it would have without names.
    fn hold<R: Record + Serialize>(
        &mut self,
        stream: Stream,
        owner: &Rc<Owner>,
        event_us: i64,
        record: &R,
        ledger: &mut Ledger,
    ) {
        match self.lanes[stream as usize].encoder.encode(record) {
            Ok(value) => {
                if let Some(oldest) = self.held.add(stream, owner, event_us, value) {
                    self.released(oldest.stream, &oldest.value, &Named::unknown(), ledger);
                }
            }
            Err(error) => {
                tracing::error!(%error, "a record cannot be encoded");
                ledger.dropped(stream, "not_encoded", 1);
            }
        }
    }

    fn released(&mut self, stream: Stream, value: &[u8], named: &Named, ledger: &mut Ledger) {
        let schema = &self.lanes[stream as usize].schema;
        // These bytes were written here, with the same schema; should they not be read, the record counts as dropped.
        let Ok((_, datum)) = split(value) else { return ledger.dropped(stream, "not_encoded", 1) };
        match stream {
            Stream::Requests => match schema.decode::<Request<'_>>(datum) {
                Ok(request) => self.request(request, named, ledger),
                Err(_) => ledger.dropped(stream, "not_encoded", 1),
            },
            Stream::Flows => match schema.decode::<Flow<'_>>(datum) {
                Ok(flow) => self.flow(flow, named, ledger),
                Err(_) => ledger.dropped(stream, "not_encoded", 1),
            },
        }
    }

    fn record<R: Record + Serialize>(&mut self, stream: Stream, connection_id: &str, record: &R, ledger: &mut Ledger) {
        let lane = &self.lanes[stream as usize];
        self.buffer.clear();
        if let Err(error) = lane.encoder.encode_into(record, &mut self.buffer) {
            tracing::error!(%error, "a record cannot be encoded");
            return ledger.dropped(stream, "not_encoded", 1);
        }
        let key = connection_id.as_bytes();
        let partition = partition_of(key, lane.partitions);
        match self.publisher.publish(stream as usize, partition, key, Some(&self.buffer), &[]) {
            Ok(()) => ledger.published(stream),
            Err(error) => ledger.dropped(stream, error.reason(), 1),
        }
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
