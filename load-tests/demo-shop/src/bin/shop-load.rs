//! The load generator as a program. It prints the totals of each operation at its end, one JSON object a line.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it speaks to people in a terminal")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use headwater_demo_shop::load::{self, DEFAULT_RATE, LoadOptions};
use headwater_demo_shop::report::Line;
use headwater_demo_shop::service;
use tokio::signal::unix::{SignalKind, signal};

/// Sends the demo shop its planned requests.
#[derive(Parser)]
struct Args {
    #[arg(long)]
    gateway: SocketAddr,
    /// Requests a second.
    #[arg(long, default_value_t = DEFAULT_RATE)]
    rate: f64,
    /// Decides the plan, together with the rate.
    #[arg(long, default_value_t = 1)]
    seed: u32,
    /// Stop after so many requests.
    #[arg(long)]
    requests: Option<u64>,
    /// Stop after so many seconds.
    #[arg(long)]
    duration: Option<u64>,
    /// Write each request and its answer to this file, one JSON object a line.
    #[arg(long)]
    report: Option<PathBuf>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    service::run(async move {
        let options = LoadOptions {
            rate: args.rate,
            seed: args.seed,
            requests: args.requests,
            duration: args.duration.map(Duration::from_secs),
            report: args.report,
        };
        let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
        let stop = async move {
            tokio::select! { _ = terminate.recv() => (), _ = interrupt.recv() => () }
        };
        for total in load::run(args.gateway, &options, stop).await? {
            println!("{}", serde_json::to_string(&Line::Total(total)).context("writing a total")?);
        }
        Ok(())
    })
}
