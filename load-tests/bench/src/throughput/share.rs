//! How many records a second take a share of the machine, with the load and Kafka beside the processors.
//!
//! In: the share. Out: a rate, found by trials, since a record costs the less, the more come at a time. All that the machine does counts, so other
//! work makes it less.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use headwater_kafka::{KafkaSettings, admin};
use headwater_process::tail;
use headwater_schemas::topics::Topic;
use headwater_system_tests::fleet::Shape;

use super::live::{Load, Watch};
use super::{backlog, settings, shape};
use crate::ground::Ground;

/// Until processors and Kafka have warmed up.
const WINDOWS_BEFORE: usize = 6;
const MEASURED: Duration = Duration::from_secs(30);
/// A share is met by so much.
const NEAR: f64 = 0.05;
const TRIALS: usize = 5;

/// Records of requests a second that take such a share of the machine's processor time. Each trial has topics of its own.
pub fn records_per_second(ground: &Ground, share: f64, first: u64) -> Result<u64> {
    println!("the load that takes {:.0} % of the machine", 100.0 * share);
    let mut records = first;
    for trial in 0..TRIALS {
        let used = used(&settings(ground, &format!("room{trial}.")), shape(records))?;
        println!("  {records} records a second take {:.0} %", 100.0 * used);
        if (used - share).abs() <= NEAR {
            return Ok(records);
        }
        records = (records as f64 * share / used) as u64;
    }
    bail!("no load was near it: the machine has other work that comes and goes")
}

/// The share that a fleet takes, its own, Kafka's and the processors'.
fn used(settings: &KafkaSettings, shape: Shape) -> Result<f64> {
    admin::ensure_topics(settings, &[Topic::EdgeWindows])?;
    let folder = tempfile::tempdir()?;
    let log = folder.path().join("processor.log");
    let load = Load::start(settings, shape)?;
    let mut watch = Watch::start(settings)?;
    let mut processor = backlog::start(settings, "bench", &log)?;
    let warm = watch.until(|ends| (ends.len() >= WINDOWS_BEFORE).then_some(()));
    warm.with_context(|| format!("the processor's log ends so:\n{}", tail(&log)))?;
    let before = Times::read()?;
    std::thread::sleep(MEASURED);
    let used = Times::read()?.used_since(before);
    processor.kill();
    load.stop()?;
    Ok(used)
}

/// Of all processors, in ticks (proc(5), /proc/stat): what they did in all, and nothing.
#[derive(Clone, Copy)]
struct Times {
    all: u64,
    idle: u64,
}

impl Times {
    fn read() -> Result<Times> {
        let text = fs::read_to_string("/proc/stat").context("read /proc/stat")?;
        Times::of(&text).context("the first line of /proc/stat has no times of the processors")
    }

    /// user, nice, system, idle, iowait, irq, softirq, steal; guests are in the first two.
    fn of(text: &str) -> Option<Times> {
        let line = text.lines().next()?.strip_prefix("cpu ")?;
        let times: Vec<u64> = line.split_whitespace().take(8).map(str::parse).collect::<Result<_, _>>().ok()?;
        Some(Times { all: times.iter().sum(), idle: times.get(3)? + times.get(4)? })
    }

    fn used_since(self, before: Times) -> f64 {
        let all = self.all.saturating_sub(before.all).max(1);
        1.0 - self.idle.saturating_sub(before.idle) as f64 / all as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_a_disk_is_idle_and_what_the_host_takes_is_not() -> Result<()> {
        let times = |line: &str| Times::of(line).context("no times");
        let before = times("cpu  10 0 10 70 10 0 0 0 5 0\ncpu0 1 1 1 1 1 1 1 1\n")?;
        let after = times("cpu  40 0 10 110 20 0 0 20 9 0\n")?;
        assert!((after.used_since(before) - 0.5).abs() < 1e-9);
        assert!(Times::of("intr 1 2").is_none());
        Ok(())
    }
}
