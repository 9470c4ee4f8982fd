//! `headwater-processor MODE`: one of the stream processors, or all of them in one process.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Arg;
use headwater_processors::modes::Mode;
use headwater_processors::runtime;
use headwater_processors::settings::{ALL_KEYS, Settings};

/// How long a broker may take to answer at the start.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

fn main() -> ExitCode {
    let names: Vec<&str> = Mode::ALL.iter().map(|mode| mode.name()).chain(["all"]).collect();
    let command = clap::Command::new("headwater-processor")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Computes the service map, latencies and alerts from what the agents publish")
        .arg(Arg::new("mode").required(true).value_parser(names).help("Which processor to run"));
    let loaded = headwater_settings::load(command, ALL_KEYS, std::env::args_os(), std::env::vars().collect());
    let (matches, mut values) = match loaded {
        Ok(loaded) => loaded,
        Err(error) => error.exit(),
    };
    let settings = Settings::read(&mut values);
    if let Err(problems) = values.finish() {
        eprintln!("headwater-processor: {problems}");
        return ExitCode::from(2);
    }
    let wanted = matches.get_one::<String>("mode").map_or("all", String::as_str);
    let modes: Vec<Mode> = Mode::ALL.into_iter().filter(|mode| wanted == "all" || mode.name() == wanted).collect();
    match run(&modes, &settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("headwater-processor: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Each mode works on a thread of its own.
fn run(modes: &[Mode], settings: &Settings) -> Result<()> {
    settings.telemetry.start()?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("listen for signals")?;
    }
    headwater_kafka::connect_check(&settings.kafka, CONNECT_TIMEOUT)?;
    std::thread::scope(|scope| {
        for &mode in modes {
            let stop = &*stop;
            scope.spawn(move || runtime::run(mode, settings, stop));
        }
    });
    Ok(())
}
