//! Drift: says when an edge is slower, or fails more often, than at this hour of the last weeks: what comes so slowly that every quarter of an hour is like the one before it.
//!
//! In: `edge-hours`. Out: `alerts`, firing and resolved. An hour is judged when the first record of a later one stands behind it, as all of it does then; what is published again
//! changes no judgement. A pure function of the log: after a restart the hours are read again that the last judgements depend on. Bounded: edges, and hours of each.

mod alert;
mod past;
mod story;

use std::collections::BTreeMap;
use std::sync::Arc;

use headwater_schemas::place::{Offset, Partition};
use headwater_schemas::records::{Edge, Evidence, Workload};

use self::alert::alert;
use self::past::{Level, Past, QUANTILES, WEEK_HOURS, WEEKS};
use self::story::{Reading, Story};
use crate::bottlenecks::{Deviations, slower_than, surprise};
use crate::objectives::rules::Rules;
use crate::plausible::{is_named, plausible_window};
use crate::processor::{BadInput, Checkpoint, Counters, Input, Memo, Output, read};

const HOUR_US: i64 = 3_600_000_000;
/// What is judged depends on the weeks before it, and what fires then on the weeks before that.
const MEMORY_HOURS: i64 = 2 * WEEKS * WEEK_HOURS + 48;
/// Edges with a past: 11 KiB each after four weeks.
const EDGES_MAX: usize = 10_000;

/// Of an hour that is less complete nothing is said.
const COMPLETENESS_MIN: f64 = 0.95;
/// How improbable it must be by chance.
const SURPRISE_MIN: f64 = 20.0;
/// Percentiles, what they may rise by, and the least rise in microseconds.
const LATENCIES: [(u32, f64, f64); QUANTILES] = [(50, 1.5, 300.0), (95, 1.6, 1000.0)];
/// The share of errors may be so many times the usual one, and more by so much.
const ERRORS_FACTOR: f64 = 2.0;
const ERRORS_RISE: f64 = 0.005;

/// What is looked at of an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Latency,
    Errors,
}

impl Kind {
    const ALL: [Kind; 2] = [Kind::Latency, Kind::Errors];
}

/// Client, server, protocol.
type Key = (Workload, Workload, String);

/// The judge of hours.
pub struct Drift {
    topic: String,
    partition: Partition,
    edges: BTreeMap<Key, Judged>,
    open: Option<Hour>,
    first_offsets: BTreeMap<i64, Offset>,
    published_through_us: Option<i64>,
    next_offset: Offset,
    read_to: Offset,
    rules: Arc<Rules>,
    outputs: Vec<Output>,
    counters: Counters,
}

#[derive(Default)]
struct Judged {
    past: Past,
    stories: [Story; Kind::ALL.len()],
}

/// An hour of which more may come.
struct Hour {
    start_us: i64,
    seen: BTreeMap<Key, Seen>,
}

struct Seen {
    level: Level,
    readings: [Option<Reading>; Kind::ALL.len()],
    evidence: Evidence,
    is_complete: bool,
}

impl Drift {
    /// Judges what stands in this partition, as a checkpoint left it.
    pub fn new(topic: String, partition: Partition, checkpoint: Option<&Checkpoint>) -> Drift {
        let memo = checkpoint.map(|checkpoint| checkpoint.memo.clone()).unwrap_or_default();
        Drift {
            topic,
            partition,
            edges: BTreeMap::new(),
            open: None,
            first_offsets: BTreeMap::new(),
            published_through_us: memo.closed_through_us,
            next_offset: checkpoint.map_or(Offset::FIRST, |checkpoint| checkpoint.needed_from),
            read_to: memo.read_to,
            rules: Arc::default(),
            outputs: Vec::new(),
            counters: Counters::default(),
        }
    }

    /// Takes the next record.
    ///
    /// # Errors
    /// If it says what cannot be; it counts for nothing then.
    pub fn record(&mut self, input: Input<'_>) -> Result<(), BadInput> {
        let Input { offset, timestamp_us, schema, datum, .. } = input;
        self.next_offset = offset.next();
        let edge: Edge = read(schema, datum)?;
        plausible_window(edge.window_start_us, timestamp_us)?;
        self.edge(offset, edge)
    }

    /// The next record could not be read.
    pub fn unreadable(&mut self, offset: Offset) {
        self.next_offset = offset.next();
    }

    /// As [`Drift::record`].
    ///
    /// # Errors
    /// As there.
    pub fn edge(&mut self, offset: Offset, edge: Edge) -> Result<(), BadInput> {
        self.next_offset = offset.next();
        is_named(&edge.client, &edge.server, &edge.protocol)?;
        edge.duration_ns.check().map_err(|error| BadInput(error.to_string()))?;
        if edge.window_ms != HOUR_US / 1000 || edge.window_start_us.rem_euclid(HOUR_US) != 0 {
            return Err(BadInput(format!("{} ms from {} are no hour", edge.window_ms, edge.window_start_us)));
        }
        if edge.revision > 0 {
            return Ok(());
        }
        let start_us = edge.window_start_us;
        match &self.open {
            Some(hour) if start_us < hour.start_us => {
                self.counters.add("late", u64::from(offset >= self.read_to));
                return Ok(());
            }
            Some(hour) if start_us > hour.start_us => self.close(),
            _ => {}
        }
        self.first_offsets.entry(start_us).or_insert(offset);
        let evidence = Evidence {
            topic: self.topic.clone(),
            partition: self.partition.0,
            offset: offset.0,
            window_start_us: start_us,
        };
        let level = Level::of(edge.requests, edge.errors, &edge.duration_ns);
        let key = (edge.client.clone(), edge.server.clone(), edge.protocol.clone());
        let is_complete = edge.completeness >= COMPLETENESS_MIN;
        let past = self.edges.get(&key).filter(|_| is_complete).map(|judged| &judged.past);
        let readings = past.map_or([None; Kind::ALL.len()], |past| readings(past, start_us / HOUR_US, &level, &edge));
        let hour = self.open.get_or_insert_with(|| Hour { start_us, seen: BTreeMap::new() });
        hour.seen.insert(key, Seen { level, readings, evidence, is_complete });
        Ok(())
    }

    /// All of an hour was read.
    fn close(&mut self) {
        let Some(Hour { start_us, seen }) = self.open.take() else { return };
        let number = start_us / HOUR_US;
        let mut deviations = Deviations::default();
        for ((client, server, _), seen) in &seen {
            if seen.readings.iter().flatten().any(|reading| reading.deviates) {
                deviations.insert(client, server);
            }
        }
        // Who fires is not well by an hour of which nothing is known.
        for ((client, server, _), judged) in &self.edges {
            if judged.stories.iter().any(Story::is_firing) {
                deviations.insert(client, server);
            }
        }
        let is_published = self.published_through_us.is_some_and(|through_us| start_us <= through_us);
        for (key, judged) in &mut self.edges {
            let seen = seen.get(key);
            for kind in Kind::ALL {
                let read = seen.and_then(|seen| Some((seen.readings[kind as usize].as_ref()?, &seen.evidence)));
                let story = &mut judged.stories[kind as usize];
                let Some(step) = story.step(start_us, read, deviations.explain(&key.0, &key.1)) else { continue };
                if !is_published {
                    let reading = read.map(|(reading, _)| *reading).unwrap_or_default();
                    let mut alert = alert(key, kind, &reading, step, start_us + HOUR_US);
                    self.rules.address(&mut alert);
                    self.outputs.push(Output::Alert(alert));
                }
            }
        }
        for (key, seen) in seen.into_iter().filter(|(_, seen)| seen.is_complete) {
            if self.edges.len() >= EDGES_MAX && !self.edges.contains_key(&key) {
                self.counters.add("subjects_cut_off", 1);
                continue;
            }
            self.edges.entry(key).or_default().past.learn(number, seen.level);
        }
        self.edges.retain(|_, judged| {
            let has_past = judged.past.forget(number);
            has_past || !judged.stories.iter().all(Story::is_idle)
        });
        self.first_offsets = self.first_offsets.split_off(&(start_us - MEMORY_HOURS * HOUR_US));
        self.published_through_us = self.published_through_us.max(Some(start_us));
    }

    /// Where to start reading again.
    pub fn checkpoint(&self) -> Checkpoint {
        let needed_from = self.first_offsets.values().next().copied().unwrap_or(self.next_offset);
        let memo = Memo {
            closed_through_us: self.published_through_us,
            window_ms: HOUR_US / 1000,
            read_to: self.next_offset.max(self.read_to),
            ..Memo::default()
        };
        Checkpoint { needed_from, memo }
    }

    /// Who is told of which service.
    pub fn follow(&mut self, rules: &Arc<Rules>) {
        self.rules = Arc::clone(rules);
    }

    pub fn has_outputs(&self) -> bool {
        !self.outputs.is_empty()
    }

    pub fn take_outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outputs)
    }

    pub fn take_counters(&mut self) -> Counters {
        std::mem::take(&mut self.counters)
    }

    /// Edges with a past.
    pub fn edges(&self) -> usize {
        self.edges.len()
    }

    /// What fires.
    pub fn firing(&self) -> usize {
        self.edges.values().flat_map(|judged| &judged.stories).filter(|story| story.is_firing()).count()
    }
}

/// An hour against what is usual of it.
fn readings(past: &Past, hour: i64, level: &Level, edge: &Edge) -> [Option<Reading>; Kind::ALL.len()] {
    let usual = past.usual(hour);
    let mut latency: Option<Reading> = None;
    for (quantile, (percentile, factor, rise_us)) in LATENCIES.into_iter().enumerate() {
        let (Some(value), Some(usual)) = (level.quantile_us(quantile), usual.quantiles_us[quantile]) else { continue };
        let limit = (usual * factor).max(usual + rise_us);
        let [slower] = slower_than(&edge.duration_ns, [limit]);
        // As many as may be slower than the percentile: it was the limit's share at most.
        let chance = 1.0 - f64::from(percentile) / 100.0;
        let surprise = surprise(slower, edge.requests, chance, edge.requests as f64);
        let deviates = value > limit && surprise >= SURPRISE_MIN;
        let reading = Reading { value, usual, limit, percentile, surprise, deviates };
        if latency.is_none_or(|other| {
            (reading.deviates, reading.value / reading.limit) > (other.deviates, other.value / other.limit)
        }) {
            latency = Some(reading);
        }
    }
    let errors = usual.errors.filter(|_| edge.requests > 0).map(|known| {
        let (value, limit) =
            (edge.errors as f64 / edge.requests as f64, (known.share * ERRORS_FACTOR).max(known.share + ERRORS_RISE));
        let surprise = surprise(edge.errors, edge.requests, limit, known.requests);
        Reading {
            value,
            usual: known.share,
            limit,
            percentile: 0,
            surprise,
            deviates: value > limit && surprise >= SURPRISE_MIN,
        }
    });
    [latency, errors]
}
