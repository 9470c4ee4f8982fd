//! `headwater backtest RULES`: when the objectives of a file would have fired in the past, judged by the very code of the running processor.
//!
//! In: a file of objectives and two times; the topics of edges and latencies. Out: a line for each alert that would have fired or resolved, and what was read and was missing.

mod read;
mod text;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use headwater_kafka::connect_check;
use headwater_processors::objectives::file;
use headwater_processors::objectives::rules::Rules;

use crate::clock::{now_us, parse_time_us};
use crate::past::range::Range;
use crate::settings::Settings;
use crate::terminal::{colours_wanted, print};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  headwater backtest objectives.yaml --from -1d --to now
  headwater backtest objectives.yaml --from 2026-01-31T08:00 --to 2026-01-31T18:00 --json

The file is that of `objectives.file` and of `headwater rules check`. What the long windows hold of the time before is read, too, as far as it is kept (7 days).")]
pub struct BacktestArgs {
    /// The file of objectives
    rules: PathBuf,
    /// Where the range begins: a time such as 2026-01-31T12:00 (UTC), seconds or milliseconds since 1970, or -1d
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: String,
    /// Where it ends, written the same way
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, default_value = "now")]
    to: String,
    /// Print one JSON object a line: each alert, and a summary at the end
    #[arg(long)]
    json: bool,
}

pub fn run(settings: &Settings, args: &BacktestArgs) -> Result<()> {
    let path = &args.rules;
    let rules = Rules::parse(&file::read(path)?).with_context(|| format!("objectives in {}", path.display()))?;
    if rules.objectives.is_empty() {
        bail!("there is no objective in {}: docs/objectives.md shows one", path.display());
    }
    let range = range(settings, args)?;
    connect_check(&settings.kafka, CONNECT_TIMEOUT)?;
    let report = read::run(&settings.kafka, Arc::new(rules), &range)?;
    if report.read.windows == 0 {
        bail!(
            "no whole window of {}edges ends between {} and {}: windows are published some seconds after their end and kept for 7 days; \
             `headwater tail edges --from earliest --count 1` shows the oldest",
            range.prefix,
            args.from,
            args.to
        );
    }
    if args.json { print(&text::json(&report)?) } else { print(&text::text(&report, colours_wanted())) }
}

fn range(settings: &Settings, args: &BacktestArgs) -> Result<Range> {
    let now_us = now_us();
    let time = |flag: &str, text: &str| parse_time_us(text, now_us).map_err(|error| error.context(flag.to_owned()));
    let (from_us, to_us) = (time("--from", &args.from)?, time("--to", &args.to)?);
    if from_us >= to_us {
        bail!("--from {} is not before --to {}", args.from, args.to);
    }
    if from_us >= now_us {
        bail!("--from {} is yet to come: there is nothing to judge", args.from);
    }
    Ok(Range { prefix: settings.kafka.prefix.clone(), from_us, to_us })
}
