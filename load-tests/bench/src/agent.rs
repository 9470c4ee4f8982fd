//! What the agent costs: the observed server's speed with and without it, and its own processor time and memory.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use headwater_kafka::{KafkaSettings, Next, Start, TopicReader};
use headwater_process::{Child, Launch, cpu_time, program, rss_bytes};
use headwater_schemas::topics::Topic;
use headwater_stack::Stack;

use crate::nginx::Nginx;
use crate::report::{Report, median};
use crate::{paced, wrk};

const FULL_SPEED_SECONDS: u32 = 5;
const STEADY_RATE: u32 = 10_000;
const STEADY: Duration = Duration::from_secs(20);
const READY_TIMEOUT: Duration = Duration::from_secs(60);

pub fn measure(stack: &Stack, rounds: u32, report: &mut Report) -> Result<()> {
    let nginx = Nginx::start()?;
    full_speed(stack, &nginx, rounds, report)?;
    steady(stack, &nginx, rounds, report)?;
    if !nginx.errors().trim().is_empty() {
        println!("  nginx said: {}", nginx.errors());
    }
    Ok(())
}

/// In turn without and with the agent, and the other way round in every second round.
fn full_speed(stack: &Stack, nginx: &Nginx, rounds: u32, report: &mut Report) -> Result<()> {
    println!("nginx at full speed, {rounds} rounds without and with the agent");
    let (mut throughput, mut p99) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let with = |agent: bool| -> Result<wrk::Speed> {
            let _agent = if agent { Some(start(stack, nginx, &format!("speed{round}."))?) } else { None };
            wrk::run(&nginx.url(), FULL_SPEED_SECONDS)
        };
        let (without, with) = if round % 2 == 0 {
            let without = with(false)?;
            (without, with(true)?)
        } else {
            let first = with(true)?;
            (with(false)?, first)
        };
        println!(
            "  round {round}: {:.0} and {:.0} requests/s, p99 {:.0} and {:.0} us",
            without.requests_per_second, with.requests_per_second, without.p99_us, with.p99_us
        );
        throughput.push(with.requests_per_second / without.requests_per_second);
        p99.push(with.p99_us / without.p99_us);
    }
    report.add("nginx_throughput_ratio", median(&throughput), "ratio");
    report.add("nginx_p99_ratio", median(&p99), "ratio");
    Ok(())
}

/// Processor time of the agent and its probes at a steady rate, and its memory: medians of some runs, each with a new agent.
fn steady(stack: &Stack, nginx: &Nginx, rounds: u32, report: &mut Report) -> Result<()> {
    println!("the agent at {STEADY_RATE} requests/s, {rounds} times {STEADY:?}");
    let _stats = BpfStats::enable()?;
    let (mut core_percent, mut rss_mib) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let agent = start(stack, nginx, &format!("steady{round}."))?;
        let (cpu_before, probes_before) = (cpu_time(agent.pid())?, probe_time(agent.pid()));
        let answered = paced::run(nginx.port(), STEADY_RATE, STEADY)?;
        // What is still in the agent's buffers belongs to the load.
        std::thread::sleep(Duration::from_secs(1));
        let own = (cpu_time(agent.pid())? - cpu_before).as_secs_f64();
        let probes = (probe_time(agent.pid()) - probes_before).as_secs_f64();
        let per_request_us = |seconds: f64| seconds * 1e6 / answered as f64;
        println!(
            "  round {round}: {answered} requests; agent {:.2} us and probes {:.2} us a request",
            per_request_us(own),
            per_request_us(probes)
        );
        // At 10,000 requests/s, a microsecond a request is one percent of a core.
        core_percent.push(per_request_us(own + probes));
        rss_mib.push(rss_bytes(agent.pid())? as f64 / f64::from(1 << 20));
    }
    report.add("agent_core_percent_at_10k_rps", median(&core_percent), "percent");
    report.add("agent_rss_mib", median(&rss_mib), "MiB");
    Ok(())
}

/// Starts an agent that sees nginx only, and waits for its first heartbeat.
fn start(stack: &Stack, nginx: &Nginx, prefix: &str) -> Result<Child> {
    let pids: Vec<String> = nginx.pids()?.iter().map(u32::to_string).collect();
    let mut command = Command::new(program("headwater-agent")?);
    command.args(["--kafka-brokers", &stack.bootstrap(), "--registry-url", &stack.registry().url()]).args([
        "--kafka-prefix",
        prefix,
        "--capture-pid",
        &pids.join(","),
        "--log-level",
        "warn",
    ]);
    let launch = Launch::new("headwater-agent", command, nginx.log_of(&format!("{prefix}agent")));
    let mut agent = launch.ending_softly().spawn()?;
    let mut settings = KafkaSettings::local(&stack.bootstrap(), &stack.registry().url());
    settings.prefix = prefix.to_owned();
    let topic = Topic::Agents.name(prefix);
    agent.await_ready(READY_TIMEOUT, || {
        let mut reader = TopicReader::start(&settings, std::slice::from_ref(&topic), &Start::Earliest).ok()?;
        matches!(reader.next(Duration::from_secs(1)), Ok(Next::Record(_))).then_some(())
    })?;
    Ok(agent)
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
