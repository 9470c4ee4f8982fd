//! Roll-ups: what edges and latencies add up to in a minute and in an hour.
//!
//! In: what closes windows, `edge-windows` and `latency-windows`; then the records of these windows, from the log. Out: one record a key and span, in topics of their own. Promises: a
//! minute is rolled up when the last window that begins in it is closed, an hour from its minutes when none of its windows can change any more in good order; one of which a window is
//! published again is, too, under a higher number, as a whole. Nothing is published twice: what a span gives is one transaction with where its markers were read. One instance
//! works on a topic, whichever the group gives its first partition.

mod read;
mod roll;
mod spans;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use headwater_kafka::{Assignment, Commit, GroupEvent, GroupMember, SchemaCache, TopicPartition, Transactions, admin};
use headwater_schemas::records::{Edge, Latency};
use headwater_schemas::topics::Topic;
use headwater_telemetry::{Health, Part};
use tracing::{info, warn};

use self::read::{FIRST, Read, read};
use self::roll::Rolled;
use self::spans::{Memo, Spans, Turn};
use crate::metrics;
use crate::revisions::published::marker;
use crate::runtime::{self, outlet::Outlet};
use crate::settings::Settings;

/// The name of the mode.
pub const NAME: &str = "rollups";

/// What closes windows, and what these hold.
pub const READS: [Topic; 4] = [Topic::EdgeWindows, Topic::Edges, Topic::LatencyWindows, Topic::Latencies];
/// Minutes, which hours are made of, and hours.
pub const WRITES: [Topic; 4] = [Topic::EdgeMinutes, Topic::EdgeHours, Topic::LatencyMinutes, Topic::LatencyHours];

/// What is rolled up.
const KINDS: [Topic; 2] = [Topic::Edges, Topic::Latencies];

const POLL: Duration = Duration::from_millis(200);
/// How old what the metrics say may be.
const TELL_INTERVAL: Duration = Duration::from_secs(1);
/// What was read and gave nothing is committed as rarely.
const COMMIT_INTERVAL: Duration = Duration::from_secs(10);
/// A turn reads as long as there is to read; it beats meanwhile.
const STALLS_AFTER: Duration = Duration::from_secs(180);

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
    lanes: [Lane; KINDS.len()],
    committed_at: Instant,
    is_member: bool,
    told_at: Instant,
}

/// One topic that is rolled up.
struct Lane {
    of: Topic,
    markers: TopicPartition,
    /// What is known of it, for whoever has its markers.
    spans: Option<Spans>,
    has_read: bool,
}

impl<'a> Worker<'a> {
    fn start(settings: &'a Settings, health: &'a Part, schemas: &'a mut SchemaCache) -> Result<Worker<'a>> {
        let kafka = &settings.kafka;
        let partitions = admin::ensure_topics(kafka, &[READS.as_slice(), &WRITES].concat())?;
        let group = group(&kafka.prefix);
        let outlet = Outlet::open(NAME, &WRITES, kafka, &partitions, schemas)?;
        let transactions = Transactions::start(kafka, &format!("{group}-{}", settings.instance))?;
        let lanes = KINDS.map(|of| {
            let closed = of.windows().unwrap_or(of).name(&kafka.prefix);
            Lane { of, markers: TopicPartition::new(closed, FIRST), spans: None, has_read: false }
        });
        let topics = lanes.each_ref().map(|lane| lane.markers.topic.clone());
        let member = GroupMember::join(kafka, &group, &topics, settings.static_member())?;
        info!(mode = NAME, group, "processing");
        health.not_ready("waits for its group to take it in");
        let now = Instant::now();
        let (committed_at, told_at) = (now, now);
        Ok(Worker {
            settings,
            health,
            schemas,
            member,
            transactions,
            outlet,
            lanes,
            committed_at,
            is_member: false,
            told_at,
        })
    }

    fn work(&mut self, stop: &AtomicBool) -> Result<()> {
        while !stop.load(Ordering::Relaxed) {
            self.health.beat();
            let is_record = self.step()?;
            metrics::RECORDS.add(&[NAME], u64::from(is_record));
            self.tell();
            // A span is rolled up as soon as what closes it was read, and nothing behind that: so it is also where much is read at once.
            while !stop.load(Ordering::Relaxed)
                && let Some((at, turn)) = self.next()
            {
                self.health.beat();
                self.turn(at, &turn, stop)?;
            }
            let has_read = self.lanes.iter().any(|lane| lane.has_read);
            if has_read && self.committed_at.elapsed() >= COMMIT_INTERVAL {
                self.commit()?;
            }
        }
        Ok(())
    }

    fn next(&self) -> Option<(usize, Turn)> {
        let spans = |lane: &Lane| lane.spans.as_ref().and_then(Spans::next);
        self.lanes.iter().enumerate().find_map(|(at, lane)| Some((at, spans(lane)?)))
    }

    /// Once a moment, how it stands.
    fn tell(&mut self) {
        if self.told_at.elapsed() < TELL_INTERVAL {
            return;
        }
        self.told_at = Instant::now();
        let now_us = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64);
        let spans = || self.lanes.iter().filter_map(|lane| lane.spans.as_ref());
        let closed_to_us = spans().filter_map(Spans::closed_to_us).min();
        let delay_s = closed_to_us.map_or(0.0, |closed_to_us| (now_us - closed_to_us).max(0) as f64 / 1e6);
        let known: usize = spans().map(Spans::known).sum();
        metrics::UNITS.set(&[NAME], spans().count() as f64);
        metrics::WINDOW_DELAY.set(&[NAME, "0"], delay_s);
        metrics::TABLE_ENTRIES.set(&[NAME, "windows", "0"], known as f64);
    }

    /// Waits for what happens next. Whether it was a record.
    fn step(&mut self) -> Result<bool> {
        match self.member.poll(POLL)? {
            GroupEvent::Record(message) => {
                let is_of = |lane: &&mut Lane| lane.markers.topic == message.topic() && message.partition() == FIRST;
                if let Some(lane) = self.lanes.iter_mut().find(is_of)
                    && let Some(spans) = &mut lane.spans
                {
                    lane.has_read = true;
                    match marker(&message, self.schemas)? {
                        Some(marker) => spans.marker(message.offset(), &marker),
                        None => spans.passed_over(message.offset()),
                    }
                    metrics::EVENTS.add(&[NAME, "given_up"], spans.take_given_up());
                }
                return Ok(true);
            }
            GroupEvent::Assigned(assignments) => {
                for assignment in assignments {
                    let Some(lane) = self.lanes.iter_mut().find(|lane| lane.markers == assignment.at) else {
                        self.member.hold(&[assignment.at], true)?;
                        continue;
                    };
                    info!(mode = NAME, topic = ?lane.of, "rolls up");
                    lane.spans = Some(Spans::new(self.settings.join.horizon_us, memo(&assignment)?));
                    lane.has_read = false;
                }
            }
            GroupEvent::Revoked(gone) => {
                for lane in self.lanes.iter_mut().filter(|lane| gone.contains(&lane.markers)) {
                    lane.spans = None;
                }
            }
            GroupEvent::Idle => {
                self.lanes.iter_mut().filter_map(|lane| lane.spans.as_mut()).for_each(Spans::rests);
            }
        }
        if self.member.state().is_member && !std::mem::replace(&mut self.is_member, true) {
            self.health.ready();
        }
        Ok(false)
    }

    /// Rolls a span up.
    fn turn(&mut self, at: usize, turn: &Turn, stop: &AtomicBool) -> Result<()> {
        match self.lanes[at].of {
            Topic::Edges => self.roll::<Edge>(at, turn, stop),
            _ => self.roll::<Latency>(at, turn, stop),
        }
    }

    fn roll<R: Rolled>(&mut self, at: usize, turn: &Turn, stop: &AtomicBool) -> Result<()> {
        let mut goes_on = || {
            self.health.beat();
            !stop.load(Ordering::Relaxed)
        };
        let of = self.lanes[at].of;
        let records = match read::<R>(&self.settings.kafka, of, turn, self.schemas, &mut goes_on)? {
            Read::Stopped => return Ok(()),
            Read::Rolled(records) => records,
            Read::TooMuch(why) => {
                warn!(topic = ?of, level = ?turn.level, from_us = turn.from_us, %why, "a span is not rolled up");
                metrics::EVENTS.add(&[NAME, "given_up"], 1);
                Vec::new()
            }
        };
        self.outlet.begin();
        if let Some(topic) = turn.level.topic(of) {
            for record in &records {
                self.outlet.send(&mut self.transactions, topic, &record.kafka_key(), record, turn.to_us)?;
            }
        }
        if let Some(spans) = &mut self.lanes[at].spans {
            spans.done(turn);
        }
        metrics::EVENTS.add(&[NAME, "records_rolled_up"], records.len() as u64);
        self.commit()
    }

    /// All that was made is there with it, or it is not there either.
    fn commit(&mut self) -> Result<()> {
        let mut commits = Vec::new();
        for lane in &mut self.lanes {
            let Some((next, memo)) = lane.spans.as_ref().map(Spans::checkpoint) else { continue };
            commits.push(Commit { at: lane.markers.clone(), next, note: serde_json::to_string(memo)? });
            lane.has_read = false;
        }
        if !commits.is_empty() {
            self.transactions.commit(&commits, &self.member)?;
        }
        self.committed_at = Instant::now();
        Ok(())
    }
}

/// What was noted beside an offset.
///
/// # Errors
/// If it cannot be read: with nothing known, spans would be published again.
fn memo(Assignment { at, committed, note }: &Assignment) -> Result<Memo> {
    let Some(committed) = committed else { return Ok(Memo::default()) };
    serde_json::from_str(note).with_context(|| {
        format!("what is noted beside offset {committed} of {at} cannot be read; to begin again behind it, delete the group's offsets of this topic")
    })
}
