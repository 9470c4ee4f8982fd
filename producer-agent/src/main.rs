//! `headwater-agent`: reads the settings and runs the pipeline until it is told to stop.
#![allow(clippy::print_stderr, reason = "what is wrong at the start goes to standard error, before there is a log")]

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use headwater_agent::metrics::METRICS;
use headwater_agent::pipeline;
use headwater_agent::settings::{ALL_KEYS, Settings};
use headwater_telemetry::{Health, report_fatal};

fn main() -> ExitCode {
    let command = clap::Command::new("headwater-agent")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Captures what this node's sockets do with eBPF and publishes it to Kafka");
    let loaded = headwater_settings::load(command, ALL_KEYS, std::env::args_os(), std::env::vars().collect());
    let mut values = match loaded {
        Ok((_, values)) => values,
        Err(error) => error.exit(),
    };
    let settings = Settings::read(&mut values);
    if let Err(problems) = values.finish() {
        report_fatal("headwater-agent", problems, settings.telemetry.log_json);
        return ExitCode::from(2);
    }
    match run(&settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report_fatal("headwater-agent", format!("{error:#}"), settings.telemetry.log_json);
            ExitCode::FAILURE
        }
    }
}

fn run(settings: &Settings) -> Result<()> {
    let health = Health::default();
    settings.telemetry.start("headwater-agent", METRICS, &health)?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("listen for signals")?;
    }
    run_in_background();
    weigh_more();
    pipeline::run(settings, &stop, &health)
}

/// The batch class does not preempt the programs that are observed when it wakes up. Threads made later inherit it.
fn run_in_background() {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the parameters outlive the call; 0 is the calling thread.
    let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const parameters) };
    if result != 0 {
        tracing::warn!(error = %std::io::Error::last_os_error(), "the agent cannot enter the batch scheduling class");
    }
}

/// About three times a program's weight.
const NICE: i32 = -5;

/// Where programs want more processor time than there is, the agent still has to empty the ring buffer in time, or whoever is loudest costs its neighbours
/// their events. How much it may take at all is for `capture.cpu_budget`. It keeps the weight that it was started with if that is another one than
/// everybody's, or if it may not change it (CAP_SYS_NICE). Threads made later inherit it.
fn weigh_more() {
    // SAFETY: a call without pointers; 0 is the calling thread.
    let nice = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
    if nice != 0 {
        return;
    }
    // SAFETY: as above.
    let result = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
    if result != 0 {
        tracing::debug!(error = %std::io::Error::last_os_error(), "the agent cannot weigh more than other programs");
    }
}
