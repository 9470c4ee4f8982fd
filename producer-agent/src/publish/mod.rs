//! Encodes records and hands them to Kafka, in three parts: encoder (`encode.rs`), log (the crate `headwater-spool`), sender (`sender.rs`),
//! which opens the way to Kafka by itself (`opening.rs`), sends on it (`route.rs`) and empties the log into it (`drain.rs`).
//!
//! In: records of the observer, how far they go (whose records it waits for: `vouch.rs`), heartbeats. Out: messages in the producer's bounded queue or in the log, and a line in the
//! [`Ledger`] for each. Never waits for Kafka: a record that finds no room is dropped and counted, what is said of progress waits. A record whose
//! workload has no name yet is held; see [`Held`].

mod drain;
mod encode;
mod evictions;
mod message;
mod opening;
mod route;
mod sender;
mod vouch;

use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Result;
use headwater_schemas::records::{Agent, Flow, Identity, Process, Progress, Record, Request};
use serde::Serialize;

use crate::held::{Held, HeldRecord};
use crate::ledger::{Ledger, Stream};
use crate::metrics;
use crate::naming::{Named, Owner};
use crate::observe::Output;
use crate::rate::Rate;
use crate::settings::Settings;
use encode::Encoders;
use sender::Sender;

/// The part of the agent's memory that held records may take.
const HELD_PART: usize = 4;

/// Publishes what one agent has to say.
pub struct Outlet {
    encoders: Encoders,
    sender: Sender,
    requests_rate: Rate,
    buffer: Vec<u8>,
    held: Held,
    /// Failed deliveries that were booked already.
    failed: [u64; 3],
}

impl Outlet {
    /// Takes records at once, and begins to open the way to Kafka.
    pub fn open(settings: &Settings) -> Result<Outlet> {
        Ok(Outlet {
            encoders: Encoders::new()?,
            sender: Sender::start(&settings.kafka, settings.spool.as_ref())?,
            requests_rate: Rate::new(settings.requests_per_second_max, Instant::now()),
            buffer: Vec::with_capacity(1024),
            held: Held::new(settings.memory_bytes / HELD_PART),
            failed: [0; 3],
        })
    }

    /// Goes on with what waits, and counts what Kafka has acknowledged, which makes room in the queue. Says whether Kafka was reached now.
    ///
    /// # Errors
    /// If Kafka cannot be reached, however long one waits.
    pub fn advance(&mut self) -> Result<bool> {
        self.sender.advance(&self.encoders)
    }

    /// Whether Kafka has been reached.
    pub fn is_open(&self) -> bool {
        self.sender.is_open()
    }

    /// Why nothing is delivered, if that is so: the end of a sentence.
    pub fn problem(&self) -> Option<&'static str> {
        self.sender.problem()
    }

    /// The time of what is taken from now on.
    pub fn set_now(&mut self, now: Instant) {
        self.requests_rate.set_now(now);
    }

    /// Takes what the observer gives.
    pub fn take(&mut self, output: Output<'_>, ledger: &mut Ledger) {
        match output {
            Output::Request(request, owner) if !self.requests_rate.admit(owner.cgroup()) => {
                ledger.dropped_of(Some(owner), Stream::Requests, "rate_limited", request.weight.unsigned_abs());
            }
            Output::Request(request, owner) => match owner.named() {
                Some(named) => self.request(request, &named, owner, ledger),
                None => self.hold(Stream::Requests, owner, request.completed_at_us, &request, ledger),
            },
            Output::Flow(flow, owner) => match owner.named() {
                Some(named) => self.flow(flow, &named, owner, ledger),
                None => self.hold(Stream::Flows, owner, flow.observed_at_us, &flow, ledger),
            },
            Output::Process(process, owner) => match owner.named() {
                Some(named) => self.process(process, &named, owner, ledger),
                None => self.hold(Stream::Processes, owner, process.observed_at_us, &process, ledger),
            },
            Output::RequestsDropped(reason, count, owner) => ledger.dropped_of(owner, Stream::Requests, reason, count),
            Output::FlowsDropped(reason, count, owner) => ledger.dropped_of(owner, Stream::Flows, reason, count),
        }
    }

    /// Publishes the held records whose workloads have a name by now, or whose time is over.
    pub fn release(&mut self, now: Instant, ledger: &mut Ledger) {
        for (record, named) in self.held.release(now) {
            self.released(&record, &named, ledger);
        }
    }

    /// Event time of the oldest record that is held, of those that progress speaks of.
    pub fn held_since_us(&self) -> Option<i64> {
        self.held.oldest_us()
    }

    /// Records that are held, and how often one was given up as `unknown` since too many were.
    pub fn held(&self) -> (usize, u64) {
        (self.held.len(), self.held.overflows())
    }

    /// What the records that are held take.
    pub fn held_bytes(&self) -> usize {
        self.held.bytes()
    }

    /// Says in every partition how far the agent is, once all records handed over so far have arrived. To be called only if
    /// [`Outlet::progress_is_out`].
    pub fn progress(&mut self, progress: &Progress) -> Result<()> {
        let encoded = self.encoders.progress.encode(progress)?;
        self.sender.progress(&progress.node, encoded, &self.encoders);
        Ok(())
    }

    /// Whether nothing waits that must come before more of it.
    pub fn progress_is_out(&mut self) -> bool {
        self.sender.progress_is_out(&self.encoders)
    }

    /// Publishes the agent's heartbeat, if Kafka is reached.
    ///
    /// # Errors
    /// If the producer takes nothing any more: the agent must be started again.
    pub fn heartbeat(&mut self, agent: &Agent) -> Result<()> {
        self.buffer.clear();
        self.encoders.agent.encode_into(agent, &mut self.buffer)?;
        self.sender.heartbeat(&agent.node, &mut self.buffer, agent.dropped.values().sum())
    }

    /// Publishes who owns an address, if Kafka is reached.
    pub fn identity(&mut self, identity: &Identity) {
        self.buffer.clear();
        match self.encoders.identity.encode_into(identity, &mut self.buffer) {
            Ok(()) => self.sender.identity(&identity.key(), &mut self.buffer),
            Err(error) => tracing::error!(%error, "a record cannot be encoded"),
        }
    }

    /// Books records that were given up after they had been handed over.
    pub fn book_failed_deliveries(&mut self, ledger: &mut Ledger) {
        for stream in Stream::ALL {
            let failed = self.sender.failed(stream);
            let booked = std::mem::replace(&mut self.failed[stream as usize], failed);
            ledger.not_delivered(stream, "not_delivered", failed - booked);
        }
        self.sender.book_evictions(ledger);
    }

    /// Records of a stream that a broker has acknowledged.
    pub fn delivered(&self, stream: Stream) -> u64 {
        self.sender.delivered(stream)
    }

    /// What the heartbeat says of the spool. Sets its metrics to the same numbers.
    pub fn spool_counters(&self, now_us: i64) -> [(&'static str, i64); 5] {
        let (spool, evictions, [requests, flows, processes]) = self.sender.spool();
        let (on_disk, in_memory) = spool.bytes();
        let age_us = spool.oldest_us().map_or(0, |oldest_us| now_us.saturating_sub(oldest_us as i64).max(0));
        metrics::SPOOL_BYTES.set(&[], on_disk as f64);
        metrics::SPOOL_OLDEST_AGE.set(&[], age_us as f64 / 1e6);
        for (record, reason, count) in evictions.totals() {
            metrics::SPOOL_EVICTED.set_total(&[record, reason], count);
        }
        [
            ("spool_bytes", on_disk as i64),
            ("spool_memory_bytes", in_memory as i64),
            ("spool_requests_of_earlier_runs", requests as i64),
            ("spool_flows_of_earlier_runs", flows as i64),
            ("spool_processes_of_earlier_runs", processes as i64),
        ]
    }

    /// Delivers what is left, or leaves it in the spool for the next run.
    pub fn close(self, timeout: Duration) -> Result<()> {
        self.sender.close(&self.encoders, timeout)
    }

    fn request<'a>(&mut self, mut request: Request<'a>, named: &'a Named, owner: &Rc<Owner>, ledger: &mut Ledger) {
        named.fill_request(&mut request);
        let weight = request.weight.unsigned_abs();
        if let Err(reason) = self.record(Stream::Requests, request.connection_id, &request) {
            return ledger.dropped_of(Some(owner), Stream::Requests, reason, weight);
        }
        ledger.published(Stream::Requests);
    }

    fn process<'a>(&mut self, mut process: Process<'a>, named: &'a Named, owner: &Rc<Owner>, ledger: &mut Ledger) {
        named.fill_process(&mut process);
        if let Err(reason) = self.record(Stream::Processes, &process.key(), &process) {
            return ledger.dropped_of(Some(owner), Stream::Processes, reason, 1);
        }
        ledger.published(Stream::Processes);
    }

    fn flow<'a>(&mut self, mut flow: Flow<'a>, named: &'a Named, owner: &Rc<Owner>, ledger: &mut Ledger) {
        named.fill_flow(&mut flow);
        if let Err(reason) = self.record(Stream::Flows, flow.connection_id, &flow) {
            return ledger.dropped_of(Some(owner), Stream::Flows, reason, 1);
        }
        ledger.published(Stream::Flows);
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
        let mut value = Vec::with_capacity(256);
        match self.encoders.encode(stream, record, &mut value) {
            Ok(()) => {
                for record in self.held.add(stream, owner, event_us, value) {
                    self.released(&record, &Named::unknown(), ledger);
                }
            }
            Err(error) => {
                tracing::error!(%error, "a record cannot be encoded");
                ledger.dropped_of(Some(owner), stream, "not_encoded", 1);
            }
        }
    }

    fn released(&mut self, record: &HeldRecord, named: &Named, ledger: &mut Ledger) {
        let HeldRecord { stream, value, owner, .. } = record;
        // These bytes were written here, with the same schema; should they not be read, the record counts as dropped.
        let is_read = match stream {
            Stream::Requests => match self.encoders.request(value) {
                Some(request) => {
                    self.request(request, named, owner, ledger);
                    true
                }
                None => false,
            },
            Stream::Flows => match self.encoders.flow(value) {
                Some(flow) => {
                    self.flow(flow, named, owner, ledger);
                    true
                }
                None => false,
            },
            Stream::Processes => match self.encoders.process(value) {
                Some(process) => {
                    self.process(process, named, owner, ledger);
                    true
                }
                None => false,
            },
        };
        if !is_read {
            ledger.dropped_of(Some(owner), *stream, "not_encoded", 1);
        }
    }

    /// Hands over a record, or says why not.
    fn record<R: Record + Serialize>(&mut self, stream: Stream, key: &str, record: &R) -> Result<(), &'static str> {
        self.buffer.clear();
        if let Err(error) = self.encoders.encode(stream, record, &mut self.buffer) {
            tracing::error!(%error, "a record cannot be encoded");
            return Err("not_encoded");
        }
        self.sender.record(stream, key.as_bytes(), &mut self.buffer)
    }
}
