//! Runs all processors until the range is computed, and says how far it is.
//!
//! Each stage ends by itself: the join when its windows are published or its inputs are read to their ends, the others when
//! they have closed what every unit of the join has.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use headwater_kafka::{KafkaSettings, Offset, Partition, TopicPartition};
use headwater_telemetry::Health;
use serde::Serialize;

use super::Plan;
use super::prepare::prepare;
use crate::modes::Mode;
use crate::runtime;
use crate::settings::Settings;

const STATUS_INTERVAL: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(50);

/// What was asked for.
#[derive(Debug, Clone)]
pub struct Request {
    /// What the names of the topics that are written start with.
    pub into: String,
    pub from_us: i64,
    pub to_us: i64,
}

/// What all workers of a replay share.
pub struct Run {
    from_us: i64,
    /// Where the join's input partitions end.
    ends: BTreeMap<TopicPartition, Offset>,
    stages: Mutex<[Stage; Mode::ALL.len()]>,
    /// Raw records that were read.
    pub records: AtomicU64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Stage {
    /// The last window that all its units have closed.
    closed_through_us: Option<i64>,
    finished: bool,
}

/// One line of standard output: how far it is.
#[derive(Debug, Serialize)]
struct Status {
    from_us: i64,
    to_us: i64,
    window_ms: i64,
    /// An earlier run had left off in the middle.
    goes_on: bool,
    records: u64,
    closed_through_us: Option<i64>,
    finished: bool,
}

impl Run {
    fn new(from_us: i64, ends: BTreeMap<TopicPartition, Offset>) -> Run {
        Run { from_us, ends, stages: Mutex::default(), records: AtomicU64::new(0) }
    }

    /// Where an input partition of the join ends.
    pub fn end(&self, topic: &str, partition: Partition) -> Offset {
        let is_it = |at: &TopicPartition| at.topic == topic && at.partition == partition;
        self.ends.iter().find(|(at, _)| is_it(at)).map_or(Offset::FIRST, |(_, end)| *end)
    }

    /// Notes how far a mode is.
    pub fn note(&self, mode: Mode, closed_through_us: Option<i64>, finished: bool) {
        self.stages()[mode as usize] = Stage { closed_through_us, finished };
    }

    /// The last window that the stages after the join have to close: none before the join has finished, an empty one if there
    /// is nothing to close.
    pub fn joined(&self) -> Option<Option<i64>> {
        let Stage { closed_through_us, finished } = self.stages()[Mode::Join as usize];
        finished.then(|| closed_through_us.filter(|through_us| *through_us >= self.from_us))
    }

    fn status(&self, plan: &Plan, goes_on: bool) -> Status {
        let stages = *self.stages();
        let views = [Mode::ServiceMap, Mode::Latency].map(|mode| stages[mode as usize].closed_through_us);
        Status {
            from_us: plan.from_us,
            to_us: plan.to_us,
            window_ms: plan.windows.length_ms(),
            goes_on,
            records: self.records.load(Ordering::Relaxed),
            closed_through_us: views.into_iter().min().flatten(),
            finished: stages.iter().all(|stage| stage.finished),
        }
    }

    fn stages(&self) -> std::sync::MutexGuard<'_, [Stage; Mode::ALL.len()]> {
        // A thread that panicked in here left whole numbers behind.
        self.stages.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Computes the range again; returns when all of it is published.
///
/// # Errors
/// Before anything is written, if it cannot be right; and if `stop` was set before the end.
pub fn run(settings: &Settings, request: &Request, stop: &AtomicBool) -> Result<()> {
    let plan = Plan::of(&settings.join, request.from_us, request.to_us)?;
    let target = KafkaSettings { prefix: request.into.clone(), ..settings.kafka.clone() };
    let prepared = prepare(&settings.kafka, &target, &plan)?;
    let run = Run::new(plan.from_us, prepared.ends);
    let settings = Settings { kafka: target, raw_prefix: settings.kafka.prefix.clone(), ..settings.clone() };
    // It ends by itself: nobody asks for its health.
    let health = Health::default();
    std::thread::scope(|scope| {
        let (settings, run, health) = (&settings, &run, &health);
        let workers = Mode::ALL.map(|mode| scope.spawn(move || runtime::run(mode, settings, stop, health, Some(run))));
        let mut said_at = Instant::now();
        while !workers.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            if said_at.elapsed() >= STATUS_INTERVAL {
                said_at = Instant::now();
                say(&run.status(&plan, prepared.goes_on));
            }
            std::thread::sleep(POLL);
        }
    });
    let status = run.status(&plan, prepared.goes_on);
    say(&status);
    if !status.finished {
        bail!("stopped before the end: the same command goes on from here");
    }
    Ok(())
}

fn say(status: &Status) {
    // Whoever does not listen any more does not want to know.
    let _ = writeln!(std::io::stdout(), "{}", serde_json::to_string(status).unwrap_or_default());
}
