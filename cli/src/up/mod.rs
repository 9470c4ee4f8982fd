//! `headwater up`: a whole Headwater on this machine, from Kafka to the page, until Ctrl-C.
//!
//! In: flags. Out: Kafka and the registry (unless they are given), the agent, the processors and the page; with `--demo` a
//! sample system too, and then nothing but that is captured. Promises: what is needed is checked before anything starts;
//! Ctrl-C stops what was started, in order, and only that; no child outlives this process, however it ends; what needs
//! no root does not run as root.
//! Bounds: the restarts of a child ([`RESTARTS_MAX`](headwater_process::RESTARTS_MAX)) and each wait.

mod access;
mod demo;
mod options;
mod page;
mod place;
mod preflight;
mod ready;
mod say;
mod session;

use anyhow::Result;
use clap::{ArgMatches, Args, Command, FromArgMatches};
use headwater_settings::{Environment, Problems};

use options::{Options, UpArgs};
use say::Say;
use session::Session;
pub use session::stop_on_signals;

pub fn command() -> Command {
    let about = "Starts everything on this machine: Kafka, agent, processors and the page";
    let command = crate::settings::add_flags(UpArgs::augment_args(Command::new("up").about(about)));
    // The two that people type most have short names here.
    command
        .mut_arg("kafka.brokers", |arg| arg.visible_alias("brokers"))
        .mut_arg("registry.url", |arg| arg.visible_alias("registry"))
}

pub fn run(matches: &ArgMatches, environment: Environment, unknown: Problems) -> Result<()> {
    let args = UpArgs::from_arg_matches(matches)?;
    let options = Options::read(args, matches, environment, unknown)?;
    // The page's process tells of the page's health.
    options.settings.start_logging(false)?;
    let say = Say::new();
    let programs = preflight::check(&options)?;
    let stop = session::stop_on_signals()?;
    if !preflight::agreed(&options)? {
        say.line("Nothing was started.");
        return Ok(());
    }
    let Some(mut session) = Session::start(&options, &programs, &say, &stop)? else {
        say.line("Stopped before everything was up.");
        return Ok(());
    };
    session.introduce(&say)?;
    let ended = session.watch(&say, &stop);
    session.stop(&say);
    ended
}
