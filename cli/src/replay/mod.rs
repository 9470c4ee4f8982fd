//! `headwater replay`: computes a past range of windows again, into topics under another prefix.
//!
//! In: two times and a prefix. Out: topics like those of the range's own time, progress on standard error, and at the end what
//! came of it, read back from these topics. The work is done by `headwater-processor replay`, a child that runs the same
//! processors as ever; this command knows times, children and topics alone. Stopped in the middle, the same command goes on.

mod follow;
mod summary;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use headwater_kafka::{KafkaSettings, connect_check};

use crate::clock::{now_us, parse_time_us};
use crate::settings::Settings;
use crate::terminal::print;
use summary::Summary;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Kafka's limit is 249 for the whole name.
const PREFIX_CHARS_MAX: usize = 200;

#[derive(Debug, clap::Args)]
pub struct ReplayArgs {
    /// Where the range begins: a time such as 2026-01-31T12:00:00Z (UTC), seconds or milliseconds since 1970, or -15m
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: String,
    /// Where it ends, written the same way; also now
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    to: String,
    /// What the names of the topics start with that are written; no others' records may be there
    #[arg(long, value_name = "PREFIX")]
    into: String,
    /// File of settings of the processors, if they had one: the same join.* settings give the same windows
    #[arg(long, value_name = "FILE")]
    processor_config: Option<std::path::PathBuf>,
    /// Print the summary as one JSON object
    #[arg(long)]
    json: bool,
}

/// What is asked of the child.
struct Task<'a> {
    from_us: i64,
    to_us: i64,
    args: &'a ReplayArgs,
    /// Settings of Kafka, registry and logs.
    variables: Vec<(String, String)>,
}

pub fn run(settings: &Settings, args: &ReplayArgs, variables: Vec<(String, String)>) -> Result<()> {
    let now_us = now_us();
    let time = |flag: &str, text: &str| parse_time_us(text, now_us).map_err(|error| error.context(flag.to_owned()));
    let task = Task { from_us: time("--from", &args.from)?, to_us: time("--to", &args.to)?, args, variables };
    check(settings, &task, now_us)?;
    connect_check(&settings.kafka, CONNECT_TIMEOUT)?;
    let began = Instant::now();
    let status = follow::run(&task)?;
    let target = KafkaSettings { prefix: args.into.clone(), ..settings.kafka.clone() };
    let summary = Summary::read(&target, &status, began.elapsed())?;
    if args.json { print(&format!("{}\n", serde_json::to_string(&summary)?)) } else { print(&summary.text()) }
}

fn check(settings: &Settings, task: &Task<'_>, now_us: i64) -> Result<()> {
    let into = &task.args.into;
    if task.from_us >= task.to_us {
        bail!("--from {} is not before --to {}", task.args.from, task.args.to);
    }
    if task.from_us > now_us {
        bail!("--from {} is in the future: there is nothing to compute again", task.args.from);
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if into.is_empty() || into.len() > PREFIX_CHARS_MAX || !into.chars().all(fits) {
        bail!("--into `{into}` cannot begin the name of a topic: use letters, digits, dots, dashes, such as replay.");
    }
    if *into == settings.kafka.prefix {
        bail!(
            "--into {into} is the prefix of the topics that are read (kafka.prefix): give another one, such as replay."
        );
    }
    Ok(())
}
