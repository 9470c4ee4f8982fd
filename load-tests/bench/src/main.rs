//! `cargo xtask bench`: what observation costs whom it observes, and what a processor does for a core.
//!
//! Machines are noisy, so whatever is compared runs in turn, several times; medians and ratios are reported. All load goes to loopback, is
//! bounded in time, and stays in a cgroup of the benchmark's own, which is all that is captured.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it speaks to people in a terminal")]

mod calls;
mod churn;
mod faults;
mod ground;
mod grpc;
mod hostile;
mod ladder;
mod load;
mod overhead;
mod paced;
mod postgres;
mod protocols;
mod records;
mod report;
mod servers;
mod throughput;
mod warm;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, ValueEnum};

use ground::Ground;
use report::Report;

#[derive(Parser)]
#[command(about = "Measures what Headwater costs and what it does for it")]
struct Arguments {
    /// What is measured.
    #[arg(value_enum, default_value_t = Part::All)]
    part: Part,
    /// Also writes one JSON object a figure to this file.
    #[arg(long)]
    json: Option<PathBuf>,
    /// How many times each comparison runs.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// The one kind of `hostile` that runs, instead of all.
    #[arg(long)]
    kind: Option<String>,
    /// Builds of the agent that `records` compares.
    #[arg(long)]
    agent: Vec<PathBuf>,
    /// Records of requests in the backlog of `throughput`.
    #[arg(long, default_value_t = throughput::RECORDS)]
    records: u64,
    /// Records of requests a second at which `recovery` kills, instead of 70 % of what fills the machine.
    #[arg(long)]
    per_second: Option<u64>,
    /// Nodes of `fleet`.
    #[arg(long, default_value_t = throughput::NODES)]
    nodes: u32,
    /// Decides the systems and faults of `faults`.
    #[arg(long, default_value_t = faults::REPORT_SEED)]
    seed: u64,
    /// How long `faults` looks at edges without a fault, all edges added up, in weeks.
    #[arg(long, default_value_t = faults::QUIET_EDGE_WEEKS)]
    quiet_edge_weeks: f64,
    /// Whether `faults` tells of each one.
    #[arg(long)]
    verbose: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Overhead, churn and throughput.
    All,
    /// What the agent costs the programs that it observes, and the machine.
    Overhead,
    /// Of that, what it costs Redis.
    Redis,
    /// Of that, what it costs at a steady rate that leaves the machine room.
    Steady,
    /// What the agent costs servers of Redis, PostgreSQL and gRPC at saturation.
    Protocols,
    /// What the probes cost one exchange of a thread with itself.
    Calls,
    /// What each step of observation adds, from nothing to everything.
    Ladder,
    /// The agent's memory while connections and programs come and go.
    Churn,
    /// What the agent takes of the processor beside hostile programs.
    Hostile,
    /// What a record of each exchange costs agent and broker.
    Records,
    /// Records a second and core through the processors, and how soon they are back after a kill.
    Throughput,
    /// Of that, how soon they are back after a kill.
    Recovery,
    /// What thousands of nodes take of the processors, and when their windows close.
    Fleet,
    /// Whether alerts blame the culprits of faults in generated systems, and nobody in quiet weeks.
    Faults,
}

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == paced::ARGUMENT) {
        return paced::send_all(&words[1..]);
    }
    if words.first().is_some_and(|word| word == churn::ARGUMENT) {
        return churn::load(words.get(1).map(String::as_str));
    }
    if words.first().is_some_and(|word| word == calls::ARGUMENT) {
        return calls::ask_itself();
    }
    if words.first().is_some_and(|word| word == hostile::ARGUMENT) {
        return hostile::load(&words[1..]);
    }
    if words.first().is_some_and(|word| word == grpc::ARGUMENT) {
        return grpc::serve(&words[1..]);
    }
    let arguments = Arguments::parse();
    let mut report = Report::default();
    if arguments.part == Part::Faults {
        let Arguments { seed, quiet_edge_weeks, verbose, .. } = arguments;
        faults::measure(&faults::Plan { seed, quiet_edge_weeks, is_verbose: verbose }, &mut report)?;
    } else {
        on_ground(&arguments, &mut report)?;
    }
    report.print();
    if let Some(path) = &arguments.json {
        report.write(path)?;
    }
    Ok(())
}

/// All that needs Kafka and servers.
fn on_ground(arguments: &Arguments, report: &mut Report) -> Result<()> {
    println!("Starting Kafka and the registry");
    let ground = Ground::prepare()?;
    match arguments.part {
        Part::All => {
            overhead::measure(&ground, arguments.rounds, report)?;
            churn::measure(&ground, report)?;
            throughput::measure(&ground, arguments.records, report)?;
        }
        Part::Overhead => overhead::measure(&ground, arguments.rounds, report)?,
        Part::Redis => overhead::redis(&ground, arguments.rounds, report)?,
        Part::Steady => overhead::steady(&ground, arguments.rounds, report)?,
        Part::Protocols => protocols::measure(&ground, arguments.rounds, report)?,
        Part::Calls => calls::measure(&ground, arguments.rounds, report)?,
        Part::Ladder => ladder::measure(&ground, arguments.rounds, report)?,
        Part::Churn => churn::measure(&ground, report)?,
        Part::Hostile => hostile::measure(&ground, arguments.kind.as_deref(), report)?,
        Part::Records => records::measure(&ground, &arguments.agent, arguments.rounds, report)?,
        Part::Recovery => throughput::recovery(&ground, arguments.per_second, report)?,
        Part::Fleet => throughput::fleet(&ground, arguments.nodes, report)?,
        Part::Throughput => throughput::measure(&ground, arguments.records, report)?,
        // It needs no ground.
        Part::Faults => {}
    }
    Ok(())
}
