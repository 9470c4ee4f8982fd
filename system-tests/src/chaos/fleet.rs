//! The long chaos: a fleet tells what it sees, two and more instances of each mode work on it, three brokers keep it, and all of them come to
//! harm, while nodes hold back what they have, lose some, or write what is none; in the middle partitions are added.
//!
//! In: how long, and a seed. Out: a [`Report`]: what happened, and whether readers of committed records saw what the log says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use headwater_kafka::{KafkaSettings, Partition, TopicPartition, admin, offsets};
use headwater_process::{Child, Launch, program};
use headwater_processors::revisions;
use headwater_schemas::records::{Edge, WindowClosed};
use headwater_schemas::topics::Topic;
use headwater_stack::{Stack, StackOptions};

use super::feed::{Feed, Word};
use super::verdict::{Verdict, compare};
use super::victim::Start;
use super::{Chaos, MODES, Part, Victim};
use crate::batch::{self, Windows};
use crate::client::time_of_day_us;
use crate::fleet::Shape;
use crate::lab::kafka_arguments;
use crate::newest::newest;
use crate::rolled::{self, Rolled};
use crate::topics;
use crate::windows::{WINDOW_US, window_of};

const BROKERS: u16 = 3;
const HEAP_MB: u32 = 320;

/// With the number of partitions of the beginning, and then with all of them.
const PARTITIONS: [i32; 2] = [4, 6];

const SHAPE: Shape =
    Shape { nodes: 8, services: 20, edges: 60, operations: 4, connections_per_edge: 2, requests_per_second: 240 };

/// Between two faults.
const PAUSE_MS: std::ops::Range<u64> = 2_000..14_000;

/// A node that is silent for more than a minute is waited for no longer.
const HELD_MS: std::ops::Range<u64> = 5_000..90_000;

/// One fault in so many is that of a node.
const NODES_ONE_IN: u64 = 5;

/// A member that was killed holds its partitions for ten seconds, its transaction for fifteen to thirty-five; a held node tells at last.
const RECOVERY: Duration = Duration::from_secs(300);
const LOOK: Duration = Duration::from_secs(3);

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub minutes: u64,
    pub seed: u64,
}

/// What came out.
#[derive(Debug)]
pub struct Report {
    pub faults: usize,
    /// By what came to harm.
    pub by_victim: BTreeMap<String, usize>,
    pub verdict: Verdict,
    /// Windows of ten seconds of which all edges are called complete.
    pub complete: usize,
    /// Of these, the ones that have another number of requests than the fleet told of.
    pub wrong: usize,
    /// Windows that were published again, with what came late.
    pub revised: usize,
    /// Roll-ups of minutes, of edges and latencies together.
    pub rolled: [Rolled; 2],
}

/// Runs it all.
pub fn run(plan: Plan) -> Result<Report> {
    let stack = Arc::new(Stack::start(StackOptions { brokers: BROKERS, heap_mb: HEAP_MB, ..StackOptions::default() })?);
    let settings = KafkaSettings {
        partitions: PARTITIONS[0],
        ..KafkaSettings::local(&stack.bootstrap(), &stack.registry().url())
    };
    let logs = tempfile::tempdir().context("make a folder for logs")?;
    // Before processors look for them, so that all have the partitions of the beginning.
    admin::ensure_topics(&settings, &Topic::ALL)?;
    let feed = Feed::start(&settings, SHAPE)?;
    let mut victims = vec![Victim::part("registry", Part::Registry, &stack)];
    victims.extend((0..stack.brokers().len()).map(|n| Victim::part(format!("broker-{n}"), Part::Broker(n), &stack)));
    for mode in MODES {
        for instance in ["named", "unnamed"] {
            let start = start(&settings, mode, instance, logs.path());
            victims.push(Victim::program(format!("{mode}-{instance}"), start()?, start));
        }
    }
    let mut chaos = Chaos::of(victims, plan.seed);
    let mut of_nodes = 0;
    let (began, length) = (Instant::now(), Duration::from_secs(plan.minutes * 60));
    let mut are_added = false;
    while began.elapsed() < length {
        let at = Instant::now() + chaos.random_ms(PAUSE_MS);
        chaos.supervise(|| Instant::now() >= at)?;
        if !are_added && began.elapsed() > length / 2 {
            are_added = add_partitions(&settings, &feed)?;
            of_nodes += usize::from(are_added);
        } else if chaos.random_below(NODES_ONE_IN) == 0 {
            feed.say(harm_to_a_node(&mut chaos)?)?;
            of_nodes += 1;
        } else {
            chaos.harm_any()?;
        }
    }
    let deadline = Instant::now() + RECOVERY;
    feed.say(Word::ReleaseAll)?;
    while !chaos.all_run() && Instant::now() < deadline {
        supervise_a_moment(&mut chaos)?;
    }
    let calm_us = window_of(time_of_day_us()?);
    let mut reached = Reached::default();
    while !reached.is_behind(calm_us) && Instant::now() < deadline {
        supervise_a_moment(&mut chaos)?;
        // Brokers that come back may not answer yet.
        reached = reached_by_all(&settings).unwrap_or(reached);
    }
    if !reached.is_behind(calm_us) {
        println!(
            "{RECOVERY:?} after the last fault not all windows up to {calm_us} are closed: {reached:?}; logs are in {:?}",
            logs.keep()
        );
    }
    // What came late is published again when nothing more has come of it for a minute.
    let mut are_revised = false;
    let revised_by = Instant::now() + RECOVERY;
    while !are_revised && Instant::now() < revised_by {
        supervise_a_moment(&mut chaos)?;
        are_revised = all_are_revised(&settings, calm_us).unwrap_or(false);
    }
    if !are_revised {
        println!("{RECOVERY:?} after that not all late windows up to {calm_us} are revised");
    }
    let mut rolled: [Rolled; 2] = Default::default();
    let rolled_by = Instant::now() + RECOVERY;
    while rolled.iter().any(|rolled| rolled.right == 0 || rolled.missing + rolled.wrong > 0)
        && Instant::now() < rolled_by
    {
        supervise_a_moment(&mut chaos)?;
        rolled = rolled_up(&settings, calm_us).unwrap_or(rolled);
    }
    feed.stop()?;
    let mut by_victim = BTreeMap::from([("nodes".to_owned(), of_nodes)]);
    chaos.faults().iter().for_each(|fault| *by_victim.entry(fault.victim.clone()).or_default() += 1);
    let published = Windows { edges: topics::edges(&settings)?, latencies: topics::latencies(&settings)? };
    let closed = topics::closed(&settings, Topic::Edges)?;
    let verdict = compare(&published, &closed, &batch::compute(&settings)?, calm_us);
    let again = published.edges.iter().filter(|edge| edge.revision > 0).map(|edge| edge.window_start_us);
    let revised = again.collect::<BTreeSet<_>>().len();
    let (complete, wrong) = held_against_truth(newest(published.edges), newest(closed), calm_us);
    Ok(Report { faults: by_victim.values().sum(), by_victim, verdict, complete, wrong, revised, rolled })
}

/// Whether no window up to one waits to be published again: the group of the revisions commits where the first marker stands that names one which does.
fn all_are_revised(settings: &KafkaSettings, last_us: i64) -> Result<bool> {
    let at = TopicPartition::new(Topic::EdgeWindows.name(&settings.prefix), Partition(0));
    let group = revisions::group(&settings.prefix);
    let committed = offsets::committed(settings, &group, std::slice::from_ref(&at))?;
    let Some(committed) = committed.first().and_then(|assignment| assignment.committed) else { return Ok(false) };
    let behind = topics::closed_from(settings, Topic::Edges, committed)?;
    let waits = |marker: &WindowClosed| marker.late_windows_us.iter().any(|late_us| *late_us <= last_us);
    Ok(!behind.iter().any(waits))
}

/// What the minutes up to a window say, of edges and of latencies. They may be behind what is revised meanwhile: whoever asks waits until they are not.
fn rolled_up(settings: &KafkaSettings, to_us: i64) -> Result<[Rolled; 2]> {
    let (edges, latencies) = (topics::edges(settings)?, topics::latencies(settings)?);
    let (edge_minutes, latency_minutes) = (topics::edge_minutes(settings)?, topics::latency_minutes(settings)?);
    Ok([rolled::compare(edges, edge_minutes, 0, to_us), rolled::compare(latencies, latency_minutes, 0, to_us)])
}

/// How many windows are called complete, and how many of these do not have all that happened: as much in each window.
fn held_against_truth(edges: Vec<Edge>, closed: Vec<WindowClosed>, last_us: i64) -> (usize, usize) {
    let mut windows: BTreeMap<i64, (bool, i64)> = BTreeMap::new();
    for marker in closed.iter().filter(|marker| marker.window_start_us <= last_us) {
        let (is_complete, _) = windows.entry(marker.window_start_us).or_insert((true, 0));
        *is_complete &= marker.completeness == 1.0;
    }
    for edge in edges {
        // What nothing closes is not called complete.
        windows.entry(edge.window_start_us).and_modify(|(_, requests)| *requests += edge.requests);
    }
    let expected = SHAPE.requests_per_second.cast_signed() * WINDOW_US / 1_000_000;
    let complete: Vec<i64> = windows.into_values().filter_map(|(is, requests)| is.then_some(requests)).collect();
    (complete.len(), complete.iter().filter(|requests| **requests != expected).count())
}

fn supervise_a_moment(chaos: &mut Chaos) -> Result<()> {
    let until = Instant::now() + LOOK;
    chaos.supervise(|| Instant::now() >= until)
}

/// Starts one of two instances of a mode: one has a name, so it is the same member of its group at each start; the other one is another.
fn start(settings: &KafkaSettings, mode: &'static str, instance: &str, logs: &Path) -> Start {
    let mut arguments = kafka_arguments(settings);
    arguments.extend(["--kafka-partitions".to_owned(), settings.partitions.to_string()]);
    if instance == "named" {
        arguments.extend(["--processor-instance".to_owned(), "named".to_owned()]);
    }
    let log = logs.join(format!("{mode}-{instance}.log"));
    Box::new(move || -> Result<Child> {
        let mut command = Command::new(program("headwater-processor")?);
        command.arg(mode).args(&arguments);
        Ok(Launch::new(mode, command, &log).spawn()?)
    })
}

/// As an operator adds them: all topics at once; agents come to know them when they start again. Whether the brokers did it.
fn add_partitions(settings: &KafkaSettings, feed: &Feed) -> Result<bool> {
    let topics = [Topic::Flows, Topic::Requests, Topic::Progress, Topic::Partials];
    match admin::add_partitions(settings, &topics, PARTITIONS[1] as usize) {
        Ok(()) => println!("{} partitions are added", time_of_day_us()?),
        Err(error) => {
            println!("{} partitions are not added yet: {error}", time_of_day_us()?);
            return Ok(false);
        }
    }
    feed.say(Word::CountPartitions)?;
    Ok(true)
}

fn harm_to_a_node(chaos: &mut Chaos) -> Result<Word> {
    let node = chaos.random_below(u64::from(SHAPE.nodes)) as u32;
    let word = match chaos.random_below(3) {
        0 => Word::Hold(node, chaos.random_ms(HELD_MS)),
        1 => Word::Lose(node),
        _ => Word::Poison,
    };
    println!("{} {word:?}", time_of_day_us()?);
    Ok(word)
}

/// The last window that each partition of partials has closed in each topic.
#[derive(Debug, Default)]
struct Reached(BTreeMap<(Topic, i32), i64>);

impl Reached {
    /// Whether everything of a window is said.
    fn is_behind(&self, window_us: i64) -> bool {
        let topics = [Topic::Edges, Topic::Latencies];
        let mut all = topics.iter().flat_map(|topic| (0..PARTITIONS[1]).map(move |partition| (*topic, partition)));
        all.all(|key| self.0.get(&key).is_some_and(|last_us| *last_us >= window_us))
    }
}

fn reached_by_all(settings: &KafkaSettings) -> Result<Reached> {
    let mut reached = Reached::default();
    for topic in [Topic::Edges, Topic::Latencies] {
        for WindowClosed { source_partition, window_start_us, .. } in topics::closed(settings, topic)? {
            let last_us = reached.0.entry((topic, source_partition)).or_insert(window_start_us);
            *last_us = window_start_us.max(*last_us);
        }
    }
    Ok(reached)
}
