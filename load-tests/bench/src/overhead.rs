//! What the agent costs: the observed servers' speed with and without it, the machine's time for each request, and its own memory.
//!
//! The cgroup of the servers and of their load is all that is captured, so both sides of each request are seen. Kafka runs on the same
//! processors.

use std::time::Duration;

use anyhow::Result;
use headwater_process::{cpu_time, rss_bytes};
use headwater_schemas::topics::Topic;

use crate::ground::{Detail, Ground, until_at_rest};
use crate::load::{self, Speed};
use crate::paced::{self, Paced};
use crate::report::{Report, median};
use crate::servers::{Nginx, Redis};
use crate::warm;

const FULL_SPEED_SECONDS: u32 = 10;
const CONNECTIONS: u32 = 32;
const REDIS_REQUESTS: u32 = 1_000_000;
const STEADY_RATE: u32 = 10_000;
const STEADY: Duration = Duration::from_secs(20);

/// Who is there while a load runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observed {
    Nothing,
    /// An agent is attached, and sees none of it.
    Elsewhere,
    Load(Detail),
}

const VARIANTS: [Observed; 4] =
    [Observed::Nothing, Observed::Elsewhere, Observed::Load(Detail::Default), Observed::Load(Detail::Full)];

/// One run.
pub struct Run {
    pub speed: Speed,
    /// Processor time of servers, load, agent and Kafka for a request.
    pub machine_us: f64,
    /// Of the agent alone, without its probes, which are the load's time.
    pub agent_us: f64,
    /// Of Kafka and the registry.
    pub stack_us: f64,
}

pub fn measure(ground: &Ground, rounds: u32, report: &mut Report) -> Result<()> {
    let nginx = Nginx::start(ground)?;
    warm::up(ground, &nginx)?;
    let of_nginx = || load::wrk(ground, &nginx.url("/"), CONNECTIONS, FULL_SPEED_SECONDS);
    let runs = compare(ground, "nginx", rounds, of_nginx)?;
    report.add("nginx_throughput_ratio", throughput_ratio(&runs, 2), "ratio");
    report.add("floor_ratio", throughput_ratio(&runs, 1), "ratio");
    let added = |variant: usize| {
        median(&runs.iter().map(|run| run[variant].machine_us - run[0].machine_us).collect::<Vec<_>>())
    };
    report.add("nginx_throughput_ratio_full", throughput_ratio(&runs, 3), "ratio");
    report.add("machine_us_per_request", added(2), "us");
    report.add("machine_us_per_request_full", added(3), "us");
    report.add("machine_us_per_request_floor", added(1), "us");
    // Both sides of each request are read.
    let sides: Vec<f64> = runs.iter().map(|run| 2.0 * 1e6 / run[3].agent_us).collect();
    report.add("agent_rps_per_core", median(&sides), "1/s");
    redis(ground, rounds, report)?;
    at_steady_rate(ground, &nginx, rounds, report)?;
    if !nginx.errors().trim().is_empty() {
        println!("  nginx said: {}", nginx.errors());
    }
    Ok(())
}

/// A steady rate alone.
pub fn steady(ground: &Ground, rounds: u32, report: &mut Report) -> Result<()> {
    let nginx = Nginx::start(ground)?;
    warm::up(ground, &nginx)?;
    at_steady_rate(ground, &nginx, rounds, report)
}

/// Redis alone.
pub fn redis(ground: &Ground, rounds: u32, report: &mut Report) -> Result<()> {
    let redis = Redis::start(ground)?;
    let runs = compare(ground, "redis", rounds, || load::redis(ground, redis.port(), CONNECTIONS, REDIS_REQUESTS))?;
    report.add("redis_throughput_ratio", throughput_ratio(&runs, 2), "ratio");
    report.add("redis_throughput_ratio_full", throughput_ratio(&runs, 3), "ratio");
    Ok(())
}

/// Of a variant, over that without an agent.
fn throughput_ratio(runs: &[[Run; VARIANTS.len()]], variant: usize) -> f64 {
    let of = |run: &Run| run.speed.requests_per_second;
    median(&runs.iter().map(|run| of(&run[variant]) / of(&run[0])).collect::<Vec<_>>())
}

/// Each variant in each round, in an order that turns.
fn compare(
    ground: &Ground,
    name: &str,
    rounds: u32,
    load: impl Fn() -> Result<Speed>,
) -> Result<Vec<[Run; VARIANTS.len()]>> {
    println!(
        "{name} at full speed, {rounds} rounds: without an agent, with one that sees nothing of it, with one that sees it, and in full detail"
    );
    let mut all = Vec::new();
    for round in 0..rounds as usize {
        let mut runs = [None, None, None, None];
        for turn in 0..VARIANTS.len() {
            let at = (turn + round) % VARIANTS.len();
            runs[at] = Some(run(ground, VARIANTS[at], &format!("{name}{round}{at}."), &load)?);
        }
        let [Some(without), Some(elsewhere), Some(with), Some(full)] = runs else { continue };
        let runs = [without, elsewhere, with, full];
        let texts = runs.iter().map(|run| {
            let Run { speed, machine_us, agent_us, stack_us } = run;
            let Speed { requests_per_second, p99_us, .. } = speed;
            format!(
                "{requests_per_second:.0}/s {machine_us:.1} us (agent {agent_us:.2}, Kafka {stack_us:.2}) p99 {:.0} us",
                p99_us.unwrap_or_default()
            )
        });
        println!("  round {round}: {}", texts.collect::<Vec<_>>().join(", "));
        all.push(runs);
    }
    Ok(all)
}

/// Runs a load while somebody is there or not.
pub fn run(ground: &Ground, observed: Observed, prefix: &str, load: &impl Fn() -> Result<Speed>) -> Result<Run> {
    let agent = match observed {
        Observed::Nothing => None,
        Observed::Elsewhere => Some(ground.agent(ground.empty_cgroup(), prefix, Detail::Default)?),
        Observed::Load(detail) => Some(ground.agent(ground.load_cgroup(), prefix, detail)?),
    };
    let agent_cpu = || agent.as_ref().map_or(Ok(Duration::ZERO), |agent| cpu_time(agent.process.pid()));
    let before = (ground.load_cpu()?, ground.stack_cpu()?, agent_cpu()?);
    let speed = load()?;
    if let Some(agent) = &agent {
        until_at_rest(agent.process.pid())?;
    }
    let after = (ground.load_cpu()?, ground.stack_cpu()?, agent_cpu()?);
    let agent_time = after.2 - before.2;
    let all = (after.0 - before.0) + (after.1 - before.1) + agent_time;
    let us = |time: Duration| time.as_secs_f64() * 1e6 / speed.requests;
    Ok(Run { speed, machine_us: us(all), agent_us: us(agent_time), stack_us: us(after.1 - before.1) })
}

/// At a rate that leaves the machine room: latency and memory as it is by default; processor time of the agent and bytes on the broker in
/// full detail.
fn at_steady_rate(ground: &Ground, nginx: &Nginx, rounds: u32, report: &mut Report) -> Result<()> {
    println!(
        "nginx at {STEADY_RATE} requests/s, {rounds} times {STEADY:?} without the agent, with it, and in full detail"
    );
    let _stats = BpfStats::enable()?;
    let (mut core_percent, mut rss_mib, mut p99, mut bytes) = (vec![], vec![], vec![], vec![]);
    for round in 0..rounds {
        let without = paced::run(nginx.port(), STEADY_RATE, STEADY, ground)?;
        let with = steady_with(ground, nginx, &format!("steady{round}."), Detail::Default)?;
        let full = steady_with(ground, nginx, &format!("full{round}."), Detail::Full)?;
        println!(
            "  round {round}: p99 {:.0} us, {:.0} us and {:.0} us; agent and probes {:.2} us and {:.2} us a request; {:.1} bytes a side",
            without.p99_us,
            with.speed.p99_us,
            full.speed.p99_us,
            with.agent_us + with.probes_us,
            full.agent_us + full.probes_us,
            full.bytes,
        );
        // Both sides are seen; the figure is of one. At 10,000 requests/s, a microsecond a request is one percent of a core.
        core_percent.push((full.agent_us + full.probes_us) / 2.0);
        rss_mib.push(with.rss_mib.max(full.rss_mib));
        p99.push(with.speed.p99_us / without.p99_us);
        bytes.push(full.bytes);
    }
    report.add("nginx_p99_ratio", median(&p99), "ratio");
    report.add("agent_core_percent_at_10k_rps", median(&core_percent), "percent");
    report.add("agent_rss_mib", median(&rss_mib), "MiB");
    report.add("bytes_per_request", median(&bytes), "bytes");
    Ok(())
}

/// A run at a steady rate with an agent, for each request.
struct Steady {
    speed: Paced,
    agent_us: f64,
    probes_us: f64,
    /// On the broker, for each side.
    bytes: f64,
    rss_mib: f64,
}

fn steady_with(ground: &Ground, nginx: &Nginx, prefix: &str, detail: Detail) -> Result<Steady> {
    let agent = ground.agent(ground.load_cgroup(), prefix, detail)?;
    let pid = agent.process.pid();
    let (cpu_before, probes_before) = (cpu_time(pid)?, probe_time(pid));
    let speed = paced::run(nginx.port(), STEADY_RATE, STEADY, ground)?;
    until_at_rest(pid)?;
    let us = |time: Duration| time.as_secs_f64() * 1e6 / speed.requests;
    Ok(Steady {
        agent_us: us(cpu_time(pid)? - cpu_before),
        probes_us: us(probe_time(pid) - probes_before),
        bytes: ground.log_bytes(&agent, Topic::Requests)? as f64 / (2.0 * speed.requests),
        rss_mib: rss_bytes(pid)? as f64 / f64::from(1 << 20),
        speed,
    })
}

/// Time that the kernel spent in the agent's probes, as it shows it with their file descriptors.
fn probe_time(pid: u32) -> Duration {
    let folder = format!("/proc/{pid}/fdinfo");
    let ns = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| std::fs::read_to_string(entry.path()).ok())
        .filter_map(|info| info.lines().find_map(|line| line.strip_prefix("run_time_ns:"))?.trim().parse::<u64>().ok())
        .sum();
    Duration::from_nanos(ns)
}

/// The kernel measures programs only while this is on; it costs some nanoseconds a run.
struct BpfStats {
    before: String,
}

const BPF_STATS: &str = "/proc/sys/kernel/bpf_stats_enabled";

impl BpfStats {
    fn enable() -> Result<BpfStats> {
        use anyhow::Context;
        let before = std::fs::read_to_string(BPF_STATS).with_context(|| format!("read {BPF_STATS}"))?;
        std::fs::write(BPF_STATS, "1").with_context(|| format!("write {BPF_STATS}; run as root"))?;
        Ok(BpfStats { before })
    }
}

impl Drop for BpfStats {
    fn drop(&mut self) {
        let _ = std::fs::write(BPF_STATS, self.before.trim());
    }
}
