//! Feeds the model from Kafka, for as long as the console runs.
//!
//! In: the topics edges and latencies with what closes their windows, alerts and agents, each read by a thread of its own: one that is not there yet holds
//! none of the others up. Out: the model, and a [`Status`] that says whether it can be believed. Promises: an outage of the
//! brokers or the registry stops nothing for good and is told; a record that cannot be read is counted and passed over.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use headwater_kafka::{
    KafkaError, KafkaSettings, Message, NextOfWindows as Next, RecordError, Start, WindowReader, connect_check,
};
use headwater_schemas::records::WindowClosed;
use headwater_schemas::topics::Topic;
use headwater_telemetry::{Health as ProgramHealth, Part};
use serde::Serialize;

use crate::clock::now_us;
use crate::live::{CutOffs, Limits, Live};
use crate::records::{Item, ItemReader, place};

const POLL: Duration = Duration::from_millis(200);
const RETRY: Duration = Duration::from_secs(1);
/// Heartbeats and closed windows come more often than this; after so long a silence the broker is asked whether it lives.
const SILENCE: Duration = Duration::from_secs(12);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Alerts may be older than the windows: one that still fires must be known after a restart of the console.
const ALERTS_FROM: Duration = Duration::from_secs(24 * 3600);

/// The client's own time-outs are half a minute.
const STALLS_AFTER: Duration = Duration::from_secs(120);

const TOPICS: [Topic; 4] = [Topic::Edges, Topic::Latencies, Topic::Alerts, Topic::Agents];

/// Whether what the model says can be believed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    pub now_us: i64,
    /// End of the newest window that is published in full.
    pub newest_window_end_us: Option<i64>,
    /// All that was there when reading began has been read.
    pub caught_up: bool,
    /// Whether a broker answered when one was asked last.
    pub broker_answers: bool,
    /// Why edges are not read at the moment.
    pub problem: Option<String>,
    /// Why other topics are not read.
    pub other_problems: Vec<String>,
    pub brokers: String,
    pub prefix: String,
    /// Agents with a heartbeat of late.
    pub agents_beating: usize,
    pub cut_offs: CutOffs,
    /// Records that are none, by schema or by bytes.
    pub unreadable: u64,
}

pub struct Feed {
    settings: KafkaSettings,
    minutes: u32,
    live: Mutex<Live>,
    sources: Mutex<[Source; TOPICS.len()]>,
    version: AtomicU64,
    health: ProgramHealth,
    /// The reading of each topic.
    parts: [Arc<Part>; TOPICS.len()],
    stop: AtomicBool,
}

/// What is known of the reading of one topic.
#[derive(Clone, Default)]
struct Source {
    broker_answers: bool,
    problem: Option<String>,
    caught_up: bool,
    unreadable: u64,
}

impl Feed {
    /// The reading of each topic becomes a part of the program's health.
    pub fn new(settings: KafkaSettings, limits: Limits, health: ProgramHealth) -> Arc<Feed> {
        Arc::new(Feed {
            parts: TOPICS.map(|topic| health.part(format!("reading {}", topic.suffix()), STALLS_AFTER)),
            health,
            settings,
            minutes: limits.minutes,
            live: Mutex::new(Live::new(limits)),
            sources: Mutex::default(),
            version: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        })
    }

    /// Starts reading. [`Feed::stop`] ends the threads.
    pub fn start(self: &Arc<Self>) -> Result<Vec<JoinHandle<()>>> {
        let start = |(index, topic): (usize, Topic)| {
            let feed = Arc::clone(self);
            let name = format!("feed-{}", topic.suffix());
            thread::Builder::new().name(name).spawn(move || feed.run(index, topic)).context("start a reading thread")
        };
        TOPICS.into_iter().enumerate().map(start).collect()
    }

    /// Whether the console moves, and whether it has something to show. One that has read the past stays ready while Kafka is away: the
    /// page says so, and shows what was there.
    pub fn health(&self) -> ProgramHealth {
        self.health.clone()
    }

    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// The model as it is now: whoever computes from it holds nobody up.
    pub fn snapshot(&self) -> Live {
        self.live().clone()
    }

    /// Another number after every change of what the model answers, but for the ages of heartbeats.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// How many minutes are kept.
    pub fn minutes(&self) -> u32 {
        self.minutes
    }

    pub fn status(&self) -> Status {
        let sources = self.sources().clone();
        let mut other_problems: Vec<String> = sources[1..].iter().filter_map(|source| source.problem.clone()).collect();
        // Brokers that are away are away for all topics: that is told once.
        other_problems.dedup();
        let live = self.live();
        let now_us = now_us();
        Status {
            now_us,
            newest_window_end_us: live.newest_window_end_us(),
            caught_up: sources[0].caught_up,
            broker_answers: sources[0].broker_answers,
            problem: sources[0].problem.clone(),
            other_problems,
            brokers: self.settings.brokers.clone(),
            prefix: self.settings.prefix.clone(),
            agents_beating: live.agents_beating(now_us),
            cut_offs: live.cut_offs(),
            unreadable: sources.iter().map(|source| source.unreadable).sum(),
        }
    }

    fn run(&self, index: usize, topic: Topic) {
        // Of the others, the page says itself that they are missing.
        if topic != Topic::Edges {
            self.parts[index].ready();
        }
        while !self.stopped() {
            self.parts[index].beat();
            if let Err(error) = self.read(index, topic) {
                tracing::debug!(topic = topic.suffix(), "{error}");
                self.update(index, |source| source.problem = Some(error.to_string()));
                thread::sleep(RETRY);
            }
        }
    }

    /// Reads one topic until told to stop, or until an error that waiting does not cure.
    fn read(&self, index: usize, topic: Topic) -> Result<(), KafkaError> {
        self.ask_broker(index)?;
        let back = match topic {
            Topic::Alerts => ALERTS_FROM,
            _ => Duration::from_secs(u64::from(self.minutes) * 60),
        };
        let start = Start::AtMs(now_us() / 1000 - back.as_millis() as i64);
        let mut reader = WindowReader::start(&self.settings, topic, &start)?;
        let mut items = ItemReader::new(&self.settings);
        let mut heard_at = Instant::now();
        self.update(index, |source| source.problem = None);
        while !self.stopped() {
            self.parts[index].beat();
            let next = match reader.next(POLL) {
                // The registry is away.
                Err(error) if error.is_passing() => {
                    self.update(index, |source| source.problem = Some(error.to_string()));
                    thread::sleep(RETRY);
                    continue;
                }
                next => next?,
            };
            match next {
                Next::Record(message) => {
                    heard_at = Instant::now();
                    self.take(index, topic, &message, &mut items);
                }
                Next::Closed(_, closed) => {
                    heard_at = Instant::now();
                    self.closed(index, topic, &closed);
                }
                Next::Unreadable(message, error) => {
                    self.pass_over(index, &place(topic.windows().unwrap_or(topic), &message), &error);
                }
                Next::End => {
                    self.count(topic);
                    self.update(index, |source| source.caught_up = true);
                }
                Next::Idle if heard_at.elapsed() > SILENCE => {
                    let found = self.ask_broker(index);
                    self.update(index, |source| source.problem = found.err().map(|error| error.to_string()));
                    heard_at = Instant::now();
                }
                Next::Idle => {}
            }
        }
        Ok(())
    }

    /// From now on windows come in full, and count.
    fn count(&self, topic: Topic) {
        let mut live = self.live();
        match topic {
            Topic::Edges => live.count_edges(now_us()),
            Topic::Latencies => live.count_latencies(now_us()),
            _ => return,
        }
        drop(live);
        self.version.fetch_add(1, Ordering::Release);
    }

    fn ask_broker(&self, index: usize) -> Result<(), KafkaError> {
        let found = connect_check(&self.settings, CONNECT_TIMEOUT);
        self.update(index, |source| source.broker_answers = found.is_ok());
        found
    }

    fn take(&self, index: usize, topic: Topic, message: &Message<'_>, items: &mut ItemReader) {
        let item = loop {
            match items.read(topic, message) {
                Ok(item) => break item,
                Err(RecordError::Bad(error)) => {
                    return self.pass_over(index, &place(topic, message), &error);
                }
                Err(RecordError::Registry(error)) => {
                    self.parts[index].beat();
                    self.update(index, |source| source.problem = Some(error.to_string()));
                    thread::sleep(RETRY);
                    if self.stopped() {
                        return;
                    }
                }
            }
        };
        self.update(index, |source| source.problem = None);
        let mut live = self.live();
        let changed = match item {
            Item::Edge(edge) => live.edge(*edge, now_us()),
            Item::Latency(latency) => live.latency(*latency, now_us()),
            Item::Alert(alert) => live.alert(*alert),
            // Heartbeats change nothing but the answer about the agents, which is of some second anyway.
            Item::Agent(agent) => {
                live.agent(*agent, now_us());
                false
            }
            Item::Nothing => false,
        };
        drop(live);
        if changed {
            self.version.fetch_add(1, Ordering::Release);
        }
    }

    fn closed(&self, index: usize, topic: Topic, closed: &WindowClosed) {
        self.update(index, |source| source.problem = None);
        let mut live = self.live();
        let changed = match topic {
            Topic::Edges => live.edges_closed(closed, now_us()),
            _ => live.latencies_closed(closed, now_us()),
        };
        drop(live);
        if changed {
            self.version.fetch_add(1, Ordering::Release);
        }
    }

    fn pass_over(&self, index: usize, place: &str, error: &str) {
        tracing::warn!("pass over {place}: {error}");
        self.update(index, |source| source.unreadable += 1);
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        // A panic of another thread left the model as it was between two records.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is known of a source.
    fn update(&self, index: usize, change: impl FnOnce(&mut Source)) {
        let mut sources = self.sources();
        change(&mut sources[index]);
        let source = sources[index].clone();
        drop(sources);
        match (&source.problem, source.caught_up) {
            (_, true) => self.parts[index].ready(),
            (Some(problem), false) if index == 0 => self.parts[index].not_ready(format!("has not begun: {problem}")),
            _ => {}
        }
    }

    fn sources(&self) -> MutexGuard<'_, [Source; TOPICS.len()]> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the alerts are as the topic has them now.
    pub fn knows_alerts(&self) -> bool {
        let alerts = TOPICS.iter().position(|topic| *topic == Topic::Alerts);
        alerts
            .and_then(|index| self.sources().get(index).cloned())
            .is_some_and(|source| source.caught_up && source.broker_answers && source.problem.is_none())
    }

    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
