//! `cargo xtask bench`: what the agent costs the program that it observes, and what a processor does for a core.
//!
//! Machines are noisy, so whatever is compared runs in turn, with and without, several times; medians and ratios are
//! reported. All load goes to loopback, is bounded in time, and hits servers that this program started.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it speaks to people in a terminal")]

mod agent;
mod nginx;
mod paced;
mod processor;
mod report;
mod wrk;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use headwater_stack::{Stack, StackOptions};

use report::Report;

#[derive(Parser)]
#[command(about = "Measures what Headwater costs and what it does for it")]
struct Arguments {
    /// Also writes one JSON object a figure to this file.
    #[arg(long)]
    json: Option<PathBuf>,
    /// How many times each comparison runs, with and without.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Records through the processor.
    #[arg(long, default_value_t = 2_000_000)]
    records: u64,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut report = Report::default();
    println!("Starting Kafka and the registry");
    let stack = Stack::start(StackOptions::default()).context("start Kafka and the registry")?;
    agent::measure(&stack, arguments.rounds, &mut report)?;
    processor::measure(&stack, arguments.records, &mut report)?;
    report.print();
    if let Some(path) = arguments.json {
        report.write(&path)?;
    }
    Ok(())
}
