//! What the processors do for a core, beside a loop that only reads and decodes the same topics, and how soon they are back after a kill.
//!
//! In: records of a [`Fleet`], of which every sum is known. Out: figures. A run whose edges hold another number of requests, or whose
//! latencies lack a series, gives an error and no figure.

mod backlog;
mod bare;
mod fleet;
mod live;
mod recovery;
mod share;
mod sizes;

use std::time::SystemTime;

use anyhow::{Context, Result};
use headwater_kafka::KafkaSettings;
use headwater_system_tests::fleet::{Fleet, Outlet, SECONDS_BEHIND, Shape};

use self::bare::Decoding;
use crate::ground::Ground;
use crate::report::Report;

/// Both sides of half as many requests.
pub const RECORDS: u64 = 6_000_000;

/// Three windows, each with 20 records of each series.
const EVENT_SECONDS: u64 = 30;
const WINDOWS: u64 = 3;
const WINDOW_US: i64 = 10_000_000;

/// Each holds 12,500 series at most, and a join keeps 20,000 apart.
const PARTITIONS: i32 = 16;

const SHAPE: Shape = Shape {
    nodes: 50,
    services: 2_000,
    edges: 5_000,
    operations: 20,
    connections_per_edge: 2,
    requests_per_second: RECORDS / 2 / EVENT_SECONDS,
};

/// Of the machine's processor time, while the processors are killed.
const LOAD_AT_KILL: f64 = 0.7;

/// Records of requests a second of the first trial of what takes that.
const FIRST_PER_SECOND: u64 = 40_000;

pub fn measure(ground: &Ground, records: u64, report: &mut Report) -> Result<()> {
    let shape = Shape { requests_per_second: records / 2 / EVENT_SECONDS, ..SHAPE };
    println!(
        "the processors on a backlog of {records} records, with {} series on {} nodes",
        shape.series(),
        shape.nodes
    );
    let settings = settings(ground, "one.");
    let backlog = fill(&settings, shape)?;
    let bare = |decoding| bare::records_per_second_core(&settings, backlog.records, decoding);
    let (by_schema, straight) = (bare(Decoding::BySchema)?, bare(Decoding::Straight)?);
    println!("  a loop that reads and decodes: {by_schema:.0} records/s/core; as the processors decode, {straight:.0}");
    let one = backlog::work_off(&settings, 1, &backlog)?;
    println!("  one instance: {one}");
    report.add("records_per_second_core", one.per_core(), "records/s/core");
    report.add("ratio_to_bare_loop", one.per_core() / by_schema, "ratio");
    report.add("ratio_to_straight_loop", one.per_core() / straight, "ratio");
    report.add("bytes_per_live_series", sizes::partial_bytes(&settings)? / (shape.series() * WINDOWS) as f64, "bytes");
    report.add("processor_rss_mib", one.rss_bytes as f64 / f64::from(1 << 20), "MiB");

    let settings = self::settings(ground, "two.");
    let backlog = fill(&settings, shape)?;
    let two = backlog::work_off(&settings, 2, &backlog)?;
    println!("  two instances: {two}");
    report.add("scaling_two_instances", two.per_core() / one.per_core(), "ratio");

    recovery(ground, None, report)
}

/// Nodes of `fleet`.
pub const NODES: u32 = 10_000;

/// What a fleet of so many nodes takes of the processors, and when its windows close.
pub fn fleet(ground: &Ground, nodes: u32, report: &mut Report) -> Result<()> {
    let settings = ground.settings("fleet.");
    fleet::measure(ground, &settings, nodes, report)
}

/// How soon windows close in time again after a kill at so many records of requests a second, or at [`LOAD_AT_KILL`].
pub fn recovery(ground: &Ground, per_second: Option<u64>, report: &mut Report) -> Result<()> {
    let per_second = match per_second {
        Some(per_second) => per_second,
        None => share::records_per_second(ground, LOAD_AT_KILL, FIRST_PER_SECOND)?,
    };
    let recovery = recovery::after_a_kill(&settings(ground, "live."), shape(per_second))?;
    report.add("recovery_records_per_second", per_second as f64, "records/s");
    report.add("recovery_s", recovery.as_secs_f64(), "s");
    Ok(())
}

fn shape(records_per_second: u64) -> Shape {
    Shape { requests_per_second: records_per_second / 2, ..SHAPE }
}

fn settings(ground: &Ground, prefix: &str) -> KafkaSettings {
    KafkaSettings { partitions: PARTITIONS, ..ground.settings(prefix) }
}

/// What is to be worked off.
struct Backlog {
    requests: i64,
    /// In each window.
    series: u64,
    /// Of requests and flows.
    records: u64,
}

/// Publishes whole windows of the last minutes.
fn fill(settings: &KafkaSettings, shape: Shape) -> Result<Backlog> {
    let now_us = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).context("read the clock")?.as_micros() as i64;
    let start_us = (now_us / WINDOW_US - 12) * WINDOW_US;
    let mut outlet = Outlet::open(settings)?;
    let mut fleet = Fleet::new(shape, start_us);
    for _ in 0..EVENT_SECONDS {
        fleet.second(&[], &mut outlet)?;
    }
    for _ in 0..SECONDS_BEHIND {
        fleet.quiet_second(&mut outlet)?;
    }
    outlet.flush()?;
    // Each connection is told of once in each window, by both ends.
    let records = 2 * (fleet.requests() + shape.connections() * WINDOWS);
    Ok(Backlog { requests: fleet.requests() as i64, series: shape.series(), records })
}
