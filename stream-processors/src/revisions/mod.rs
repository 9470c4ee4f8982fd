//! Revisions: windows of which records came late are computed again from the logs, and what differs is published again.
//!
//! In: `edge-windows`, whose records name such windows; then `flows`, `requests`, and what was published. Out: records of `edges` and `latencies` as a whole, under the
//! next `revision`. Promises: what is published is what join and merge make of all that stood in the logs when they were read; nothing is published twice, since only what differs from
//! what stands there is. One instance works, whichever the group gives the first partition of `edge-windows`. It reads a log again only where something came late, and
//! rests four times as long as that took.

mod compare;
mod compute;
mod due;
pub(crate) mod published;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use headwater_kafka::{
    Commit, GroupEvent, GroupMember, KafkaSettings, Offset, Partition, SchemaCache, TopicPartition, Transactions, admin,
};
use headwater_schemas::records::{Edge, Latency, WindowClosed};
use headwater_schemas::topics::Topic;
use headwater_telemetry::{Health, Part};
use tracing::{info, warn};

use self::due::{Due, Turn};
use self::published::{marker, read};
use crate::merge::{ClosedWindow, LatencyView, ServiceMapView, View};
use crate::metrics;
use crate::processor::Output;
use crate::replay::Plan;
use crate::runtime::{self, outlet::Outlet};
use crate::settings::Settings;
use crate::sums::Sum;

/// The name of the mode.
pub const NAME: &str = "revisions";

/// The raw topics that windows are computed from.
pub const READS: [Topic; 3] = [Topic::Flows, Topic::Requests, Topic::Progress];
/// The topics whose windows are published again, which it reads, too, and those that close them.
pub const WRITES: [Topic; 4] = [Topic::Edges, Topic::EdgeWindows, Topic::Latencies, Topic::LatencyWindows];

const POLL: Duration = Duration::from_millis(200);
/// How old what the metrics say may be.
const TELL_INTERVAL: Duration = Duration::from_secs(1);
/// What was read and gave nothing is committed as rarely.
const COMMIT_INTERVAL: Duration = Duration::from_secs(10);
/// A turn reads as long as there is to read; it beats meanwhile.
const STALLS_AFTER: Duration = Duration::from_secs(180);
/// It rests so many times as long as it worked: no more than a fifth of a processor goes into windows that were published before.
const RESTS: u32 = 4;
/// Records of one transaction.
const RECORDS_MAX: usize = 10_000;
/// The partition whose markers are read. Each has them all.
const FIRST: Partition = Partition(0);

/// The group that works on the topics of a prefix.
pub fn group(prefix: &str) -> String {
    format!("{prefix}{NAME}")
}

/// Runs until `stop` is set. Troubles with the brokers are waited out.
pub fn run(settings: &Settings, stop: &AtomicBool, health: &Health) {
    let health = health.part(NAME, STALLS_AFTER);
    let mut schemas = SchemaCache::new(&settings.kafka);
    runtime::again_and_again(NAME, stop, &health, || {
        Worker::start(settings, &health, &mut schemas).and_then(|mut worker| worker.work(stop))
    });
}

struct Worker<'a> {
    settings: &'a Settings,
    health: &'a Part,
    schemas: &'a mut SchemaCache,
    member: GroupMember,
    transactions: Transactions,
    outlet: Outlet,
    markers: TopicPartition,
    /// What waits, for whoever has the markers.
    due: Option<Due>,
    next_offset: Offset,
    has_read: bool,
    committed_at: Instant,
    rests_until: Instant,
    is_member: bool,
    told_at: Instant,
}

impl<'a> Worker<'a> {
    fn start(settings: &'a Settings, health: &'a Part, schemas: &'a mut SchemaCache) -> Result<Worker<'a>> {
        let kafka = &settings.kafka;
        let partitions = admin::ensure_topics(kafka, &[WRITES.as_slice(), &[Topic::Partials]].concat())?;
        let raw = KafkaSettings { prefix: settings.raw_prefix.clone(), ..kafka.clone() };
        admin::ensure_topics(&raw, &READS)?;
        let group = group(&kafka.prefix);
        let closed = Topic::EdgeWindows.name(&kafka.prefix);
        let outlet = Outlet::open(NAME, &WRITES, kafka, &partitions, schemas)?;
        let transactions = Transactions::start(kafka, &format!("{group}-{}", settings.instance))?;
        let member = GroupMember::join(kafka, &group, std::slice::from_ref(&closed), settings.static_member())?;
        info!(mode = NAME, group, "processing");
        health.not_ready("waits for its group to take it in");
        Ok(Worker {
            settings,
            health,
            schemas,
            member,
            transactions,
            outlet,
            markers: TopicPartition::new(closed, FIRST),
            due: None,
            next_offset: Offset::FIRST,
            has_read: false,
            committed_at: Instant::now(),
            rests_until: Instant::now(),
            is_member: false,
            told_at: Instant::now(),
        })
    }

    fn work(&mut self, stop: &AtomicBool) -> Result<()> {
        while !stop.load(Ordering::Relaxed) {
            self.health.beat();
            let is_record = self.step()?;
            metrics::RECORDS.add(&[NAME], u64::from(is_record));
            self.tell();
            if is_record {
                continue;
            }
            // All markers that are there were read.
            let turn = self.due.as_ref().filter(|_| Instant::now() >= self.rests_until).and_then(Due::next);
            if let Some(turn) = turn {
                self.turn(&turn, stop)?;
            }
            if self.has_read && self.committed_at.elapsed() >= COMMIT_INTERVAL {
                self.commit()?;
            }
        }
        Ok(())
    }

    /// Once a moment, how it stands.
    fn tell(&mut self) {
        if self.told_at.elapsed() < TELL_INTERVAL {
            return;
        }
        self.told_at = Instant::now();
        let now_us = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64);
        let closed_to_us = self.due.as_ref().and_then(Due::closed_to_us);
        let delay_s = closed_to_us.map_or(0.0, |closed_to_us| (now_us - closed_to_us).max(0) as f64 / 1e6);
        let waiting = self.due.as_ref().map_or(0, Due::waiting);
        metrics::UNITS.set(&[NAME], f64::from(u8::from(self.due.is_some())));
        metrics::WINDOW_DELAY.set(&[NAME, "0"], delay_s);
        metrics::TABLE_ENTRIES.set(&[NAME, "late_windows", "0"], waiting as f64);
    }

    /// Waits for what happens next. Whether it was a record.
    fn step(&mut self) -> Result<bool> {
        match self.member.poll(POLL)? {
            GroupEvent::Record(message) => {
                if message.partition() == FIRST
                    && let Some(due) = &mut self.due
                {
                    self.next_offset = message.offset().next();
                    self.has_read = true;
                    if let Some(marker) = marker(&message, self.schemas)? {
                        due.marker(message.offset(), &marker);
                    }
                }
                return Ok(true);
            }
            GroupEvent::Assigned(assignments) => {
                for assignment in assignments {
                    if assignment.at == self.markers {
                        info!(mode = NAME, "looks for windows of which something comes late");
                        let settings = &self.settings.join;
                        self.due = Some(Due::new(settings.windows, settings.horizon_us));
                        self.next_offset = assignment.committed.unwrap_or(Offset::FIRST);
                    } else {
                        self.member.hold(&[assignment.at], true)?;
                    }
                }
            }
            GroupEvent::Revoked(gone) => {
                if gone.contains(&self.markers) {
                    self.due = None;
                }
            }
            GroupEvent::Idle => {}
        }
        if self.member.state().is_member && !std::mem::replace(&mut self.is_member, true) {
            self.health.ready();
        }
        Ok(false)
    }

    /// Computes windows again, and publishes what differs.
    fn turn(&mut self, turn: &Turn, stop: &AtomicBool) -> Result<()> {
        let began = Instant::now();
        let range = (turn.from_us, turn.to_us);
        let plan = Plan::of(&self.settings.join, turn.from_us, turn.to_us)?;
        let mut goes_on = || {
            self.health.beat();
            !stop.load(Ordering::Relaxed)
        };
        // Some may have been added since the last turn.
        let partitions = self.partitions()?;
        let computed = compute::compute(self.settings, &partitions, &plan, self.schemas, &mut goes_on)?;
        let published = read(&self.settings.kafka, range, self.schemas, &mut goes_on)?;
        if stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        let outputs = match (computed, published) {
            (Some(computed), Some(published)) => {
                let (edges, of_edges) = published.edges.revised(&computed.edges, emptied_edge);
                let (latencies, of_latencies) = published.latencies.revised(&computed.latencies, emptied_latency);
                let closed = |topic| move |marker| Output::Closed(topic, marker);
                let edges = edges.into_iter().map(Output::Edge).chain(of_edges.into_iter().map(closed(Topic::Edges)));
                let latencies = latencies.into_iter().map(Output::Latency);
                edges.chain(latencies).chain(of_latencies.into_iter().map(closed(Topic::Latencies))).collect()
            }
            _ => {
                warn!(
                    from_us = range.0,
                    to_us = range.1,
                    "windows are not revised: records that they need are not kept any more"
                );
                metrics::EVENTS.add(&[NAME, "given_up"], 1);
                Vec::new()
            }
        };
        // Only with the last of them is this turn over: whoever comes before that begins it again, and adds the rest.
        let mut parts = outputs.chunks(RECORDS_MAX).peekable();
        while let Some(part) = parts.next() {
            self.outlet.begin();
            for output in part {
                self.outlet.output(&mut self.transactions, output)?;
            }
            self.outlet.finish(&mut self.transactions)?;
            if parts.peek().is_none() {
                self.done(turn);
            }
            self.commit()?;
        }
        self.done(turn);
        let took = began.elapsed();
        self.rests_until = Instant::now() + took * RESTS;
        metrics::EVENTS.add(&[NAME, "records_revised"], outputs.len() as u64);
        info!(
            from_us = range.0,
            to_us = range.1,
            records = outputs.len(),
            ?took,
            "revised windows of which something came late"
        );
        Ok(())
    }

    fn done(&mut self, turn: &Turn) {
        if let Some(due) = &mut self.due {
            due.done(turn);
            metrics::EVENTS.add(&[NAME, "given_up"], due.take_given_up());
        }
    }

    /// How many partitions the topics have that tell of windows.
    fn partitions(&self) -> Result<BTreeMap<Topic, i32>> {
        let kafka = &self.settings.kafka;
        let raw = KafkaSettings { prefix: self.settings.raw_prefix.clone(), ..kafka.clone() };
        let mut partitions = admin::partition_counts(kafka, &[Topic::Partials])?;
        partitions.extend(admin::partition_counts(&raw, &READS)?);
        Ok(partitions)
    }

    fn commit(&mut self) -> Result<()> {
        let Some(due) = &self.due else { return Ok(()) };
        let next = due.needed_from(self.next_offset);
        let commit = Commit { at: self.markers.clone(), next, note: String::new() };
        self.transactions.commit(&[commit], &self.member)?;
        (self.has_read, self.committed_at) = (false, Instant::now());
        Ok(())
    }
}

/// An edge of which nothing is left.
fn emptied_edge(edge: &Edge, marker: &WindowClosed) -> Option<Edge> {
    let key = (edge.client.clone(), edge.server.clone(), edge.protocol.clone());
    match ServiceMapView::record(key, Sum::default(), &ClosedWindow::of(marker)) {
        Output::Edge(edge) => Some(edge),
        _ => None,
    }
}

fn emptied_latency(latency: &Latency, marker: &WindowClosed) -> Option<Latency> {
    let Latency { client, server, protocol, operation, status_class, .. } = latency.clone();
    let key = (client, server, [protocol, operation, status_class]);
    match LatencyView::record(key, Sum::default(), &ClosedWindow::of(marker)) {
        Output::Latency(latency) => Some(latency),
        _ => None,
    }
}
