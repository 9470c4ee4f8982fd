//! Runs a processor exactly once: reads its inputs as a member of a group, and publishes what it gives together with the offsets
//! of what that was made from, in one transaction.
//!
//! In: a mode. Out: committed records. Recovery is the same code as the start: whatever went wrong, the state is dropped and built
//! again from the committed offsets. Bounded: one unit of work a partition; outputs wait no longer than a moment.

mod align;
mod gauges;
mod growth;
pub(crate) mod outlet;
pub mod snapshots;
mod troubles;
pub(crate) mod unit;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use headwater_kafka::offsets::Held;
use headwater_kafka::{
    Assignment, GroupEvent, GroupMember, KafkaSettings, Message, Offset, Partition, SchemaCache, TopicPartition,
    Transactions, TxnError, admin,
};
use headwater_schemas::topics::Topic;
use headwater_telemetry::{Health, Part};
use tracing::{info, warn};

use crate::metrics;
use crate::modes::Mode;
use crate::objectives::file::RulesFile;
use crate::replay::Run;
use crate::settings::Settings;
use align::align;
use gauges::Gauges;
use growth::{Growth, Known};
use outlet::Outlet;
use snapshots::Snapshots;
use unit::{Unit, checkpoints, snapshot_place};

const POLL: Duration = Duration::from_millis(50);

/// Records between two looks at the clock and at which inputs wait, neither of which is worth a twentieth of the time.
const RECORDS_A_TURN: usize = 64;

/// Outputs of several partitions that come at about the same time share a transaction.
const COMMIT_INTERVAL: Duration = Duration::from_millis(100);

/// What was read and gave nothing to publish is committed too, so that a quiet time is not read again after each restart.
const QUIET_COMMIT_INTERVAL: Duration = Duration::from_secs(10);

/// How long the two halves of a pair of partitions may be with different members.
const SPLIT_TIMEOUT: Duration = Duration::from_secs(60);

/// Ends of windows come more often than this; after so long a silence the brokers are asked whether they live.
const SILENCE: Duration = Duration::from_secs(15);
const ASK_TIMEOUT: Duration = Duration::from_secs(3);
/// Of the question where a partition begins, for which a record waits.
const GAP_TIMEOUT: Duration = Duration::from_secs(30);

/// How old what the metrics say may be.
const TELL_INTERVAL: Duration = Duration::from_secs(1);

/// A transaction may take a minute on its way; what takes longer hangs.
const STALLS_AFTER: Duration = Duration::from_secs(180);

/// Transactions that break off one after the other before the whole worker starts again, with a pause before it.
const BREAKS_MAX: u32 = 3;

const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// Runs until `stop` is set, or the replay has ended that it is part of. Troubles with the brokers are waited out.
pub fn run(mode: Mode, settings: &Settings, stop: &AtomicBool, health: &Health, replay: Option<&Run>) {
    let health = health.part(mode.name(), STALLS_AFTER);
    // Both outlive the worker, which may start again while the registry is away, or the file of objectives is broken.
    let (mut schemas, mut rules) = (SchemaCache::new(&settings.kafka), None);
    again_and_again(mode.name(), stop, &health, || {
        Worker::start(mode, settings, &health, replay, (&mut schemas, &mut rules))
            .and_then(|mut worker| worker.work(stop))
    });
}

/// Lives one life after the other until one ends in good order or `stop` is set, with pauses between them.
pub fn again_and_again(mode: &str, stop: &AtomicBool, health: &Part, mut live: impl FnMut() -> Result<()>) {
    let mut backoff = Duration::from_millis(200);
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        match live() {
            Ok(()) => return,
            Err(error) => {
                metrics::RESTARTS.add(&[mode], 1);
                warn!(mode, error = format!("{error:#}"), "starting again from the committed offsets");
                health.not_ready(format!("starts again: {error:#}"));
            }
        }
        if began.elapsed() > BACKOFF_MAX {
            backoff = Duration::from_millis(200);
        }
        let until = Instant::now() + backoff;
        while Instant::now() < until && !stop.load(Ordering::Relaxed) {
            health.beat();
            std::thread::sleep(POLL);
        }
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

/// One life of a group member and its transactional producer.
struct Worker<'a> {
    mode: Mode,
    settings: &'a Settings,
    replay: Option<&'a Run>,
    health: Arc<Part>,
    /// When something came from the brokers last.
    heard_at: Instant,
    topics: Vec<String>,
    /// Of all that it reads and writes, at its start.
    partitions: BTreeMap<Topic, i32>,
    growth: Growth,
    assigned_at: Instant,
    member: GroupMember,
    transactions: Transactions,
    outlet: Outlet,
    /// Only where there is anything to keep.
    snapshots: Option<Snapshots>,
    /// What services promise, where that is judged.
    rules: &'a mut Option<RulesFile>,
    schemas: &'a mut SchemaCache,
    /// Assigned partitions whose counterparts are not here yet.
    halves: BTreeMap<(Partition, usize), Assignment>,
    split_since: Option<Instant>,
    units: BTreeMap<Partition, Unit>,
    committed_at: Instant,
    /// Transactions that broke off since the last one that was committed.
    breaks: u32,
    gauges: Gauges,
    told_at: Instant,
    /// Once anything was missed.
    held: Option<Held>,
    /// Whether the group has answered.
    is_member: bool,
    /// When it was last looked at whether a replay has ended: not after each record.
    looked_at: Instant,
}

impl<'a> Worker<'a> {
    fn start(
        mode: Mode,
        settings: &'a Settings,
        health: &Arc<Part>,
        replay: Option<&'a Run>,
        (schemas, rules): (&'a mut SchemaCache, &'a mut Option<RulesFile>),
    ) -> Result<Worker<'a>> {
        let kafka = &settings.kafka;
        let input_prefix = if mode == Mode::Join { &settings.raw_prefix } else { &kafka.prefix };
        let inputs = KafkaSettings { prefix: input_prefix.clone(), ..kafka.clone() };
        let mut outputs = mode.outputs().to_vec();
        outputs.push(Topic::DeadLetters);
        let mut partitions = admin::ensure_topics(&inputs, mode.inputs())?;
        partitions.extend(admin::ensure_topics(kafka, &outputs)?);
        let topics: Vec<String> = mode.inputs().iter().map(|topic| topic.name(input_prefix)).collect();
        let group = mode.group(&kafka.prefix);
        let outlet = Outlet::open(mode.name(), mode.outputs(), kafka, &partitions, schemas)?;
        let transactions = Transactions::start(kafka, &format!("{group}-{}", settings.instance))?;
        let member = GroupMember::join(kafka, &group, &topics, settings.static_member())?;
        let gauges = Gauges::new(mode, &topics);
        if let (Mode::Bottlenecks, Some(path)) = (mode, settings.objectives_file.as_deref()) {
            RulesFile::open_once(rules, path)?;
        }
        let kept = match mode {
            Mode::Join => Some(snapshots::OF_JOINS),
            _ => rules.as_ref().map(|_| snapshots::OF_OBJECTIVES),
        };
        let count = partitions.get(&mode.inputs()[0]).copied().unwrap_or(1);
        let kept = kept.filter(|_| replay.is_none());
        let snapshots = kept.and_then(|kept| Snapshots::open(kafka, kept, count));
        let known = partitions.iter().map(|(topic, count)| {
            let is_input = mode.inputs().contains(topic);
            let prefix = if is_input { input_prefix } else { &kafka.prefix };
            Known { name: topic.name(prefix), partitions: *count, is_input }
        });
        let known = known.collect();
        info!(mode = mode.name(), group, "processing");
        health.not_ready("waits for its group to take it in");
        Ok(Worker {
            mode,
            settings,
            replay,
            health: Arc::clone(health),
            heard_at: Instant::now(),
            topics,
            partitions,
            growth: Growth::of(known),
            assigned_at: Instant::now(),
            member,
            transactions,
            outlet,
            snapshots,
            rules,
            schemas,
            halves: BTreeMap::new(),
            split_since: None,
            units: BTreeMap::new(),
            committed_at: Instant::now(),
            breaks: 0,
            gauges,
            told_at: Instant::now(),
            held: None,
            is_member: false,
            looked_at: Instant::now(),
        })
    }

    fn work(&mut self, stop: &AtomicBool) -> Result<()> {
        while !stop.load(Ordering::Relaxed) && !self.has_ended() {
            self.health.beat();
            self.turn()?;
            self.ask_in_silence();
            self.tell()?;
            let since = self.committed_at.elapsed();
            let are_due = self.snapshots.as_mut().is_some_and(|snapshots| snapshots.are_due(&mut self.units));
            if (since >= COMMIT_INTERVAL && (are_due || self.units.values().any(Unit::has_outputs)))
                || (since >= QUIET_COMMIT_INTERVAL && self.units.values().any(Unit::has_read))
            {
                self.commit()?;
            }
            self.refuse_split()?;
            self.refuse_more_partitions()?;
        }
        Ok(())
    }

    /// Waits for what happens next and does it, and what else there is of it.
    fn turn(&mut self) -> Result<()> {
        let mut records = 0;
        while records < RECORDS_A_TURN && self.step()? {
            records += 1;
        }
        if records > 0 {
            self.heard_at = Instant::now();
            self.units.values_mut().for_each(|unit| unit.read_until(self.heard_at));
        }
        self.throttle()
    }

    /// Waits for what happens next, and does it. Whether it was a record.
    fn step(&mut self) -> Result<bool> {
        match self.member.poll(POLL)? {
            GroupEvent::Record(message) => {
                let Some(stream) = self.topics.iter().position(|topic| topic == message.topic()) else {
                    return Ok(true);
                };
                let Some(unit) = self.units.get_mut(&message.partition()) else { return Ok(true) };
                // Of other inputs, transactions end at offsets of their own.
                match unit.skipped(stream, message.offset()).filter(|_| self.mode == Mode::Join) {
                    None => unit.record(self.mode, stream, &message, self.schemas)?,
                    Some(from) => {
                        let message = message.detached();
                        self.after_a_gap(stream, from, &message)?;
                    }
                }
                if let Some(replay) = self.replay.filter(|_| self.mode == Mode::Join) {
                    replay.records.fetch_add(1, Ordering::Relaxed);
                }
                return Ok(true);
            }
            GroupEvent::Assigned(assignments) => self.assigned(assignments)?,
            GroupEvent::Revoked(gone) => self.revoked(&gone),
            GroupEvent::Idle => {}
        }
        Ok(false)
    }

    /// Takes a record before which others should stand: whether these were deleted, the brokers know.
    fn after_a_gap(&mut self, stream: usize, from: Offset, message: &Message<'_>) -> Result<()> {
        let at = TopicPartition::new(message.topic(), message.partition());
        let begins = self.member.first_kept(&at, GAP_TIMEOUT)?;
        let Some(unit) = self.units.get_mut(&message.partition()) else { return Ok(()) };
        if begins > from {
            unit.deleted(self.mode, stream, from, message);
        }
        unit.record(self.mode, stream, message, self.schemas)
    }

    /// Once a moment, whether there is anything to publish or not.
    fn tell(&mut self) -> Result<()> {
        if self.told_at.elapsed() < TELL_INTERVAL {
            return Ok(());
        }
        self.told_at = Instant::now();
        let state = self.member.state();
        if state.is_member && !self.is_member {
            self.is_member = true;
            self.health.ready();
        }
        self.gauges.set(&mut self.units, &state);
        if let Some(rules) = self.rules.as_mut().and_then(RulesFile::look) {
            self.units.values_mut().for_each(|unit| unit.follow(rules));
        }
        self.look_at_what_is_gone()?;
        if self.mode == Mode::Join {
            align(&mut self.units, &self.topics, &state, self.settings.join.windows.length_us());
        }
        Ok(())
    }

    /// Whether records that units wait for are kept at all, the brokers know.
    fn look_at_what_is_gone(&mut self) -> Result<()> {
        let now = Instant::now();
        for (partition, unit) in &mut self.units {
            for (stream, topic) in self.topics.iter().enumerate() {
                let Some(waits_for) = unit.stuck(stream, now) else { continue };
                let at = TopicPartition::new(topic, *partition);
                let kept = match &mut self.held {
                    Some(held) => held,
                    held => held.insert(Held::new(&self.settings.kafka)?),
                }
                .of(&at)?;
                unit.is_gone(self.mode, &at, stream, waits_for, kept);
            }
        }
        Ok(())
    }

    /// Brokers that are away send nothing, as those do that have nothing.
    fn ask_in_silence(&mut self) {
        if self.heard_at.elapsed() < SILENCE {
            return;
        }
        match self.member.ask_brokers(ASK_TIMEOUT) {
            Ok(()) if self.is_member => self.health.ready(),
            Ok(()) => self.health.not_ready("waits for its group to take it in"),
            Err(error) => self.health.not_ready(format!("does not reach Kafka: {error}")),
        }
        self.heard_at = Instant::now();
    }

    /// A unit begins once all its inputs are here.
    fn assigned(&mut self, assignments: Vec<Assignment>) -> Result<()> {
        self.assigned_at = Instant::now();
        let mut fresh: Vec<(Partition, usize)> = Vec::new();
        for assignment in assignments {
            if let Some(stream) = self.topics.iter().position(|topic| *topic == assignment.at.topic) {
                fresh.push((assignment.at.partition, stream));
                self.halves.insert((assignment.at.partition, stream), assignment);
            }
        }
        let streams = self.topics.len();
        let mut partitions: Vec<Partition> = fresh.iter().map(|(partition, _)| *partition).collect();
        partitions.dedup();
        let mut ready = Vec::new();
        for partition in partitions {
            let keys: Vec<(Partition, usize)> = (0..streams).map(|stream| (partition, stream)).collect();
            if !keys.iter().all(|key| self.halves.contains_key(key)) {
                continue;
            }
            let mut inputs: Vec<Assignment> = keys.iter().filter_map(|key| self.halves.remove(key)).collect();
            if !keys.iter().all(|key| fresh.contains(key)) {
                // A half that came earlier has been read from already, for nobody.
                let pairs: Vec<_> = inputs.iter().map(|input| input.at.clone()).collect();
                inputs = self.member.rewind(&pairs)?;
            }
            ready.push((partition, inputs));
        }
        self.begin(&ready)?;
        self.split_since = (!self.halves.is_empty()).then(Instant::now);
        Ok(())
    }

    /// Begins the units of partitions whose inputs are here.
    fn begin(&mut self, ready: &[(Partition, Vec<Assignment>)]) -> Result<()> {
        let group = self.mode.group(&self.settings.kafka.prefix);
        let mut left = Vec::new();
        for (partition, inputs) in ready {
            if self.replay.is_some() && self.mode == Mode::Join && inputs.iter().any(|input| input.committed.is_none())
            {
                bail!(
                    "the start of the replay in partition {partition} is not known any more; start it anew with another prefix"
                );
            }
            left.push((*partition, checkpoints(inputs, &group)?));
        }
        let places: Vec<_> =
            left.iter().filter_map(|(partition, left)| Some((*partition, snapshot_place(left)?))).collect();
        let mut read = match &self.snapshots {
            Some(snapshots) => snapshots.read(&self.settings.kafka, &places),
            None => BTreeMap::new(),
        };
        let mut sought = Vec::new();
        for (partition, checkpoints) in left {
            let snapshot = read.remove(&partition);
            let mut unit = Unit::new(self.mode, self.settings, &self.partitions, partition, &checkpoints, snapshot);
            if let Some(rules) = &self.rules {
                unit.follow(rules.rules());
            }
            for (topic, offset) in self.topics.iter().zip(unit.goes_on_at().into_iter().flatten()) {
                sought.push((TopicPartition::new(topic, partition), offset));
            }
            info!(mode = self.mode.name(), %partition, "took over a partition");
            self.units.insert(partition, unit);
        }
        if sought.is_empty() { Ok(()) } else { Ok(self.member.seek(&sought)?) }
    }

    /// What a unit had not committed belongs to its successor.
    fn revoked(&mut self, gone: &[TopicPartition]) {
        for TopicPartition { topic, partition } in gone {
            if let Some(stream) = self.topics.iter().position(|name| name == topic) {
                self.halves.remove(&(*partition, stream));
            }
            if let Some(unit) = self.units.remove(partition) {
                self.gauges.forget(*partition, &unit);
                info!(mode = self.mode.name(), %partition, "gave up a partition");
            }
        }
        self.split_since = if self.halves.is_empty() { None } else { self.split_since };
    }

    /// Holds back inputs that are too far ahead of their counterparts.
    fn throttle(&mut self) -> Result<()> {
        for (partition, unit) in &mut self.units {
            for (stream, topic) in self.topics.iter().enumerate() {
                if let Some(pause) = unit.pause_change(stream) {
                    self.member.hold(&[TopicPartition::new(topic, *partition)], pause)?;
                }
            }
        }
        Ok(())
    }

    /// Publishes what there is, with the offsets of what it was made from.
    fn commit(&mut self) -> Result<()> {
        match self.publish() {
            Ok(()) => {
                metrics::TRANSACTIONS.add(&[self.mode.name()], 1);
                self.committed_at = Instant::now();
                self.breaks = 0;
                self.snapshots.iter_mut().for_each(Snapshots::committed);
                Ok(())
            }
            Err(error) if self.breaks == BREAKS_MAX => Err(error.into()),
            Err(error) => {
                warn!(mode = self.mode.name(), %error, "building the state again");
                metrics::ABORTS.add(&[self.mode.name()], 1);
                self.breaks += 1;
                self.snapshots.iter_mut().for_each(Snapshots::broke_off);
                // First: while a transaction is pending, the brokers do not tell the offsets in it.
                self.transactions.renew()?;
                self.rebuild()
            }
        }
    }

    fn publish(&mut self) -> Result<(), TxnError> {
        let mut commits = Vec::new();
        let publishes = self.units.values().any(Unit::has_outputs);
        self.outlet.begin();
        for unit in self.units.values_mut() {
            for letter in unit.take_dead_letters() {
                self.outlet.dead_letter(&mut self.transactions, &letter)?;
            }
            for output in unit.take_outputs() {
                self.outlet.output(&mut self.transactions, &output)?;
            }
        }
        self.outlet.finish(&mut self.transactions)?;
        if let Some(snapshots) = &mut self.snapshots {
            snapshots.add(&mut self.transactions, &mut self.units, publishes)?;
        }
        for (partition, unit) in &mut self.units {
            commits.extend(unit.commits(&self.topics, *partition));
        }
        self.transactions.commit(&commits, &self.member)
    }

    /// Drops all state and goes back to what is committed.
    fn rebuild(&mut self) -> Result<()> {
        let partitions: Vec<Partition> = std::mem::take(&mut self.units).into_keys().collect();
        let mut ready = Vec::new();
        for partition in partitions {
            let pairs: Vec<_> = self.topics.iter().map(|topic| TopicPartition::new(topic, partition)).collect();
            ready.push((partition, self.member.rewind(&pairs)?));
            self.member.hold(&pairs, false)?;
        }
        self.begin(&ready)
    }

    /// Whether this stage of a replay has published all that there is for it. A member alone has all partitions.
    fn has_ended(&mut self) -> bool {
        let Some(replay) = self.replay.filter(|_| self.looked_at.elapsed() >= POLL) else { return false };
        self.looked_at = Instant::now();
        let count = self.partitions.get(&self.mode.inputs()[0]).map_or(0, |count| *count as usize);
        if self.units.len() < count || self.units.values().any(Unit::has_outputs) {
            return false;
        }
        let closed_through_us = self.units.values().map(Unit::closed_through_us).min().flatten();
        let finished = match (self.mode, replay.joined()) {
            (Mode::Join, _) => self.units.iter().all(|(partition, unit)| {
                let ends: Vec<Offset> = self.topics.iter().map(|topic| replay.end(topic, *partition)).collect();
                unit.is_at_end(&ends)
            }),
            (_, None) => false,
            (_, Some(joined_us)) => closed_through_us >= joined_us,
        };
        replay.note(self.mode, closed_through_us, finished);
        finished
    }

    /// Where partitions were added, it begins again with all of them. What was written meanwhile says that it is not whole.
    fn refuse_more_partitions(&mut self) -> Result<()> {
        // Brokers that are away would hold it up.
        if self.growth.is_due() && self.heard_at.elapsed() < SILENCE {
            self.growth.look(|name| self.member.partition_count(name, ASK_TIMEOUT).ok());
        }
        let known = self.partitions.get(&self.mode.inputs()[0]).copied().unwrap_or(0);
        let has_new = self.units.keys().any(|partition| partition.0 >= known);
        if let Some(what) = self.growth.told(self.assigned_at, has_new) {
            bail!(
                "{what}; until every agent and processor knows them, windows say partitions-differ or partition-not-read. Agents come \
                 to know them when they are started again"
            );
        }
        Ok(())
    }

    /// Partitions that must be together and are not cannot be worked on by anybody.
    fn refuse_split(&self) -> Result<()> {
        if self.split_since.is_some_and(|since| since.elapsed() > SPLIT_TIMEOUT) {
            let halves: Vec<_> = self.halves.values().map(|half| half.at.to_string()).collect();
            bail!(
                "the group gave {} to this member without the partitions that they are joined with; give the topics the same \
                 number of partitions and the group the assignor range",
                halves.join(", ")
            );
        }
        Ok(())
    }
}

impl Drop for Worker<'_> {
    /// Whoever works on its partitions next says how they are.
    fn drop(&mut self) {
        self.units.iter().for_each(|(partition, unit)| self.gauges.forget(*partition, unit));
    }
}
