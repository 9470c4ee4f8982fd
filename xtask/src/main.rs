//! `cargo xtask`: what plain cargo cannot say. Every task first sets up what it needs.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it speaks to people in a terminal")]

mod apt;
mod bench;
mod chaos;
mod cluster;
#[cfg(test)]
mod deny;
mod guest;
mod needs;
mod run;
mod setup;
mod test;
mod up;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::needs::Purpose;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Sets up, runs, tests and measures Headwater")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Check for what building, running and testing need, and install what is missing
    Setup(Consent),
    /// Build everything and run `headwater up` with the given arguments (for example --demo)
    #[command(disable_help_flag = true)]
    Up {
        /// --yes installs without asking; all others go to `headwater up`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
        arguments: Vec<String>,
    },
    /// Format, lints, unit tests, and the tests on the real kernel and the real Kafka
    Test {
        #[command(flatten)]
        consent: Consent,
        /// Also what is too slow for each run
        #[arg(long, conflicts_with = "quick")]
        all: bool,
        /// Format, lints, and the tests that need neither root nor Kafka
        #[arg(long)]
        quick: bool,
        /// Only the tests whose name contains this, without the checks of the sources
        #[arg(long, value_name = "NAME")]
        only: Option<String>,
    },
    /// A real Kubernetes cluster on this machine, for tests
    Cluster(cluster::Cluster),
    /// Run a command on another kernel, in an emulated machine with this machine's files
    Guest(guest::Guest),
    /// Kill, stop and freeze processors, brokers and registry under load, and hold what came out against the log
    Chaos {
        #[command(flatten)]
        consent: Consent,
        #[command(flatten)]
        chaos: chaos::Chaos,
    },
    /// Measure what the agent costs and what the processors achieve, in alternating runs
    Bench {
        #[command(flatten)]
        consent: Consent,
        /// overhead, redis, protocols, calls, ladder, churn, hostile, records, throughput, recovery or faults; overhead, churn and throughput if there is none
        part: Option<String>,
        /// Write one line of JSON for each figure to this file
        #[arg(long)]
        json: Option<PathBuf>,
    },
}

#[derive(Args, Clone, Copy)]
struct Consent {
    /// Install what is missing without asking (also with CI=true)
    #[arg(long)]
    yes: bool,
}

fn main() -> ExitCode {
    let result = match Cli::parse().task {
        Task::Setup(consent) => setup::ensure(Purpose::EACH_RUN, consent.yes),
        Task::Up { arguments } => up::run(arguments),
        Task::Test { consent, all, quick, only } => test::run(&test::Options { yes: consent.yes, all, quick, only }),
        Task::Cluster(cluster) => cluster::run(cluster),
        Task::Guest(guest) => guest::run(guest),
        Task::Chaos { consent, chaos } => chaos::run(consent.yes, chaos),
        Task::Bench { consent, part, json } => bench::run(consent.yes, part, json),
    };
    // Printed here, since what is missing on a machine is no bug whose backtrace anyone wants.
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
