//! The `headwater` command, for people: one module a subcommand.
//!
//! In: arguments, environment, the file of `--config`. Out: text for people, or with `--json` one object a line; errors go to
//! standard error with what to do. Exit code 0 if all is well, 1 if something failed, 2 for wrong arguments or settings.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it speaks to people in a terminal")]

mod backtest;
mod child;
mod clock;
mod compare;
mod console;
mod diff;
mod doctor;
mod export;
mod format;
mod incident;
mod manual;
mod map;
mod names;
mod past;
mod replay;
mod rules;
mod running;
mod settings;
mod tail;
mod terminal;
mod topics;
mod up;

use std::process::ExitCode;

use anyhow::Result;
use clap::{ArgMatches, Args, Command, FromArgMatches};
use headwater_settings::{Environment, Problems};
use headwater_telemetry::report_fatal;

use settings::Settings;

const ABOUT: &str = "Shows which services talk to which, how fast and how often it fails, from what the kernel saw";

fn main() -> ExitCode {
    let (matches, unknown) = match headwater_settings::parse(&cli(), std::env::args_os()) {
        Ok(parsed) => parsed,
        Err(error) => error.exit(),
    };
    let environment: Environment = std::env::vars().collect();
    let log_json = settings::logs_json(&matches, environment.clone());
    match dispatch(&matches, environment, unknown) {
        Ok(code) => code,
        Err(error) => {
            report_fatal("headwater", format!("{error:#}"), log_json);
            ExitCode::from(if error.is::<Problems>() { 2 } else { 1 })
        }
    }
}

fn cli() -> Command {
    Command::new("headwater")
        .version(env!("CARGO_PKG_VERSION"))
        .about(ABOUT)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(up::command())
        .subcommand(verb::<map::MapArgs>("map", "Prints the service map"))
        .subcommand(verb::<tail::TailArgs>("tail", "Follows a topic, one line a record"))
        .subcommand(verb::<diff::DiffArgs>("diff", "Compares two ranges of time, edge by edge"))
        .subcommand(verb::<incident::IncidentArgs>("incident", "Tells what happened in an incident, and what shows it"))
        .subcommand(verb::<replay::ReplayArgs>("replay", "Computes a past range again, into other topics"))
        .subcommand(verb::<export::ExportArgs>("export", "Writes topics into Parquet files, by the hour"))
        .subcommand(verb::<topics::TopicsArgs>("topics", "Lists the topics and what is in them"))
        .subcommand(verb::<console::ConsoleArgs>("console", "Serves the web page"))
        .subcommand(verb::<doctor::DoctorArgs>("doctor", "Checks what Headwater needs, and says what to do"))
        .subcommand(verb::<backtest::BacktestArgs>("backtest", "Says when objectives would have fired in the past"))
        .subcommand(plain::<rules::RulesArgs>("rules", "Checks a file of objectives"))
        .subcommand(plain::<manual::CompletionsArgs>("completions", "Prints completions for a shell"))
        .subcommand(plain::<manual::ManArgs>("man", "Prints or writes manual pages"))
}

fn dispatch(matches: &ArgMatches, environment: Environment, unknown: Problems) -> Result<ExitCode> {
    let Some((name, matches)) = matches.subcommand() else { return Ok(ExitCode::from(2)) };
    match name {
        "up" => return up::run(matches, environment, unknown).map(|()| ExitCode::SUCCESS),
        "rules" => return rules::run(&parsed(matches)?).map(|()| ExitCode::SUCCESS),
        "completions" => return manual::completions(&parsed(matches)?, cli()).map(|()| ExitCode::SUCCESS),
        "man" => return manual::man(&parsed(matches)?, cli()).map(|()| ExitCode::SUCCESS),
        _ => {}
    }
    let given = settings::given(matches, environment.clone());
    let mut settings = Settings::read(matches, environment, unknown)?;
    // The doctor looks at the rest, too.
    let not_found = match settings.take_from_running(&given) {
        Err(error) if name != "doctor" => return Err(error),
        taken => taken.err(),
    };
    settings.start_logging(name == "console")?;
    match name {
        "map" => map::run(&settings, &parsed(matches)?)?,
        "tail" => tail::run(&settings, &parsed(matches)?)?,
        "diff" => diff::run(&settings, &parsed(matches)?)?,
        "incident" => incident::run(&settings, &parsed(matches)?)?,
        "backtest" => backtest::run(&settings, &parsed(matches)?)?,
        "replay" => replay::run(&settings, &parsed(matches)?, settings.for_children(&given))?,
        "export" => export::run(&settings, &parsed(matches)?)?,
        "topics" => topics::run(&settings, &parsed(matches)?)?,
        "console" => console::run(&settings)?,
        // Clap lets no other name pass.
        _ => return doctor::run(&settings, &parsed(matches)?, not_found),
    }
    Ok(ExitCode::SUCCESS)
}

/// A subcommand with flags of its own and those of the settings.
fn verb<A: Args>(name: &'static str, about: &'static str) -> Command {
    settings::add_flags(A::augment_args(Command::new(name).about(about)))
}

/// A subcommand that needs no settings.
fn plain<A: Args>(name: &'static str, about: &'static str) -> Command {
    A::augment_args(Command::new(name).about(about))
}

fn parsed<A: FromArgMatches>(matches: &ArgMatches) -> Result<A> {
    A::from_arg_matches(matches).map_err(Into::into)
}

#[cfg(test)]
mod tests {
    #[test]
    fn all_flags_fit_together() {
        super::cli().debug_assert();
    }
}
