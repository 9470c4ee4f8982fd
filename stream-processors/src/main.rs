//! `headwater-processor MODE`: one of the stream processors, or all of them in one process.
#![allow(clippy::print_stderr, reason = "what is wrong at the start goes to standard error, before there is a log")]

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Arg, ArgMatches, value_parser};
use headwater_processors::metrics::METRICS;
use headwater_processors::modes::Mode;
use headwater_processors::settings::{ALL_KEYS, Settings};
use headwater_processors::{replay, revisions, rollups, runtime};
use headwater_telemetry::{Health, report_fatal};
use tracing::warn;

/// How long a broker may take to answer at the start.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

const REPLAY: &str = "replay";

/// What reads windows of the log again, by name.
type Worker = (&'static str, fn(&Settings, &AtomicBool, &Health));
const WORKERS: [Worker; 2] = [(revisions::NAME, revisions::run), (rollups::NAME, rollups::run)];

fn main() -> ExitCode {
    let names: Vec<&str> =
        Mode::ALL.iter().map(|mode| mode.name()).chain([revisions::NAME, rollups::NAME, "all", REPLAY]).collect();
    let command = clap::Command::new("headwater-processor")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Computes the service map, latencies and alerts from what the agents publish")
        .arg(
            Arg::new("mode")
                .required(true)
                .value_parser(names)
                .help("Which processor to run; replay runs all of a past range"),
        )
        .arg(replay_flag("into", "Prefix of the topics that a replay writes"))
        .arg(
            replay_flag("from-us", "Where the range of a replay begins, in microseconds since 1970")
                .value_parser(value_parser!(i64)),
        )
        .arg(replay_flag("to-us", "Where it ends").value_parser(value_parser!(i64)));
    let loaded = headwater_settings::load(command, ALL_KEYS, std::env::args_os(), std::env::vars().collect());
    let (matches, mut values) = match loaded {
        Ok(loaded) => loaded,
        Err(error) => error.exit(),
    };
    let settings = Settings::read(&mut values);
    if let Err(problems) = values.finish() {
        report_fatal("headwater-processor", problems, settings.telemetry.log_json);
        return ExitCode::from(2);
    }
    let wanted = matches.get_one::<String>("mode").map_or("all", String::as_str);
    let replay = replay_request(&matches);
    let modes: Vec<Mode> = Mode::ALL.into_iter().filter(|mode| wanted == "all" || mode.name() == wanted).collect();
    let workers: Vec<&Worker> = WORKERS.iter().filter(|(name, _)| wanted == "all" || wanted == *name).collect();
    match run(&modes, &workers, &settings, replay.as_ref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report_fatal("headwater-processor", format!("{error:#}"), settings.telemetry.log_json);
            ExitCode::FAILURE
        }
    }
}

fn replay_flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).required_if_eq("mode", REPLAY).help(help)
}

fn replay_request(matches: &ArgMatches) -> Option<replay::Request> {
    let wanted = matches.get_one::<String>("mode").is_some_and(|mode| mode == REPLAY);
    let (into, from_us, to_us) =
        (matches.get_one::<String>("into"), matches.get_one("from-us"), matches.get_one("to-us"));
    wanted.then_some(replay::Request { into: into?.clone(), from_us: *from_us?, to_us: *to_us? })
}

/// Each mode works on a thread of its own.
fn run(modes: &[Mode], workers: &[&Worker], settings: &Settings, replay: Option<&replay::Request>) -> Result<()> {
    let health = Health::default();
    settings.telemetry.start("headwater-processor", METRICS, &health)?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("listen for signals")?;
    }
    // A wrong address is told at once; later on, brokers that are away are waited for, as the registry is from the start: whatever starts
    // the processors again must not be stopped by it.
    headwater_kafka::connect_check(&settings.kafka, CONNECT_TIMEOUT)?;
    match (headwater_kafka::Registry::new(&settings.kafka).subjects(), replay) {
        (Err(error), None) if error.is_passing() => warn!(error = error.to_string(), "waiting for the registry"),
        (Err(error), _) => return Err(error.into()),
        (Ok(_), Some(request)) => return replay::run(settings, request, &stop),
        (Ok(_), None) => {}
    }
    let failed: Vec<&str> = std::thread::scope(|scope| {
        let (stop, health) = (&*stop, &health);
        let start = |&mode: &Mode| {
            let run = move || {
                if mode == Mode::Bottlenecks && modes.len() > 1 {
                    let_others_go_first();
                }
                let _stop_all = StopAll(stop);
                runtime::run(mode, settings, stop, health, None);
            };
            (mode.name(), scope.spawn(run))
        };
        let mut threads: Vec<_> = modes.iter().map(start).collect();
        for &&(name, work) in workers {
            let run = move || {
                if !modes.is_empty() {
                    let_others_go_first();
                }
                let _stop_all = StopAll(stop);
                work(settings, stop, health);
            };
            threads.push((name, scope.spawn(run)));
        }
        threads.into_iter().filter_map(|(mode, thread)| thread.join().is_err().then_some(mode)).collect()
    });
    if !failed.is_empty() {
        bail!("{} failed by a fault of the program, which is told above; please report it", failed.join(", "));
    }
    Ok(())
}

/// What judges windows reads the last twenty minutes of them at its start. Where processors are few, whoever makes the windows that it waits for
/// goes first. Holds for this thread and those that it makes.
fn let_others_go_first() {
    const NICENESS: libc::c_int = 10;
    // SAFETY: it takes a plain integer, and concerns the calling thread alone.
    if unsafe { libc::nice(NICENESS) } == -1 {
        warn!(error = %std::io::Error::last_os_error(), "cannot let other processors go first");
    }
}

/// A process without one of its processors would look alive: a fault in one of them ends all, as does an end in good order, which only a stop
/// brings about.
struct StopAll<'a>(&'a AtomicBool);

impl Drop for StopAll<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
