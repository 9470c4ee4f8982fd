//! What thousands of nodes take of the processors: when windows close, and with how much of processor and memory.
//!
//! In: a fleet whose nodes all say how far they are in each second, and have little to tell. Out: figures, first while all speak, then while one
//! node in a hundred is silent. One producer speaks for all nodes, so what thousands of connections take of the brokers is not in it.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use headwater_kafka::{KafkaSettings, Start, TopicReader, admin};
use headwater_process::{Child, cpu_time, rss_bytes, tail};
use headwater_schemas::topics::Topic;
use headwater_system_tests::fleet::Shape;

use super::backlog;
use super::live::{Load, Watch, now_us};
use crate::ground::Ground;
use crate::report::{Report, median};

/// Windows that are left out at the start, and those that are measured.
const WINDOWS_BEFORE: usize = 3;
const WINDOWS: usize = 4;

/// One node in so many falls silent.
const SILENT_ONE_IN: u32 = 100;

/// Of all nodes together.
const REQUESTS_PER_SECOND: u64 = 5_000;

const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// One service a node, which calls the next one.
fn shape(nodes: u32) -> Shape {
    Shape {
        nodes,
        services: nodes,
        edges: nodes,
        operations: 2,
        connections_per_edge: 1,
        requests_per_second: REQUESTS_PER_SECOND,
    }
}

pub fn measure(ground: &Ground, settings: &KafkaSettings, nodes: u32, report: &mut Report) -> Result<()> {
    println!("a fleet of {nodes} nodes, {} partitions", settings.partitions);
    admin::ensure_topics(settings, &[Topic::EdgeWindows])?;
    let log = ground.folder().join("fleet-processor.log");
    let load = Load::start(settings, shape(nodes))?;
    let mut processor = backlog::start(settings, "bench", &log)?;
    let result = watch(ground, settings, nodes, &load, &processor, report);
    processor.kill();
    let slowest = load.stop()?;
    result.with_context(|| format!("the processor's log ends so:\n{}", tail(&log)))?;
    println!("  the load was behind its time by {slowest:?} at most");
    ensure!(slowest < Duration::from_secs(2), "the load was {slowest:?} behind its time: the machine cannot carry it");
    Ok(())
}

fn watch(
    ground: &Ground,
    settings: &KafkaSettings,
    nodes: u32,
    load: &Load,
    processor: &Child,
    report: &mut Report,
) -> Result<()> {
    let mut watch = Watch::start(settings)?;
    watch.until(|ends| (ends.len() >= WINDOWS_BEFORE).then_some(()))?;
    span(ground, processor, &mut watch, "fleet", report)?;
    let before = edge_bytes(settings)?;
    report.add("fleet_edge_bytes", before.largest(), "bytes");
    load.silence(nodes / SILENT_ONE_IN);
    let silent_at_us = now_us()?;
    // The first window that ended after they fell silent.
    watch.until(|ends| ends.keys().next_back().is_some_and(|end_us| *end_us > silent_at_us).then_some(()))?;
    span(ground, processor, &mut watch, "fleet_silent", report)?;
    let after = edge_bytes(settings)?;
    report.add("fleet_silent_edge_bytes", after.largest(), "bytes");
    Ok(())
}

/// Some windows: how long after their end they closed, and what that took.
fn span(ground: &Ground, processor: &Child, watch: &mut Watch, name: &str, report: &mut Report) -> Result<()> {
    let cpu = || -> Result<(Duration, Duration)> { Ok((cpu_time(processor.pid())?, ground.stack_cpu()?)) };
    let (from_us, (processor_before, stack_before)) = (now_us()?, cpu()?);
    let mut rss = 0;
    let delays_s: Vec<f64> = watch.until(|ends| {
        rss = rss.max(rss_bytes(processor.pid()).unwrap_or(0));
        let seen = ends.iter().filter(|(_, seen_us)| **seen_us > from_us);
        let delays: Vec<f64> = seen.map(|(end_us, seen_us)| (seen_us - end_us) as f64 / 1e6).collect();
        (delays.len() > WINDOWS).then_some(delays)
    })?;
    let took_s = (now_us()? - from_us) as f64 / 1e6;
    let (processor_after, stack_after) = cpu()?;
    let cores = |before: Duration, after: Duration| (after - before).as_secs_f64() / took_s;
    report.add_named(format!("{name}_close_s"), median(&delays_s), "s");
    report.add_named(format!("{name}_processor_cores"), cores(processor_before, processor_after), "cores");
    report.add_named(format!("{name}_kafka_cores"), cores(stack_before, stack_after), "cores");
    report.add_named(format!("{name}_rss_mib"), rss as f64 / f64::from(1 << 20), "MiB");
    Ok(())
}

/// Bytes of the values of `edges` by window.
struct EdgeBytes(BTreeMap<i64, (u64, u64)>);

impl EdgeBytes {
    /// Of a record of the window whose records are the largest.
    fn largest(&self) -> f64 {
        self.0.values().map(|(bytes, records)| *bytes as f64 / *records as f64).fold(0.0, f64::max)
    }
}

fn edge_bytes(settings: &KafkaSettings) -> Result<EdgeBytes> {
    let mut reader = TopicReader::start(settings, &[Topic::Edges.name(&settings.prefix)], &Start::Earliest)?;
    let mut bytes = EdgeBytes(BTreeMap::new());
    reader.read_to_end(READ_TIMEOUT, |message| {
        if let Some(value) = message.value() {
            let (sum, count) = bytes.0.entry(message.timestamp_ms()).or_default();
            (*sum, *count) = (*sum + value.len() as u64, *count + 1);
        }
    })?;
    Ok(bytes)
}
