//! `headwater diff A B`: two ranges of time compared edge by edge, from the topics of edges or latencies alone.
//!
//! In: two ranges, of the same topics or of others, such as those that a replay wrote. Out: a table of what appeared, vanished and changed, the most surprising first, or with
//! `--json` one object that has everything.

use std::time::Duration;

use anyhow::{Result, bail};
use headwater_kafka::connect_check;
use headwater_schemas::topics::Topic;

use crate::clock::now_us;
use crate::compare::table::Shown;
use crate::compare::{Side, compare};
use crate::past::range::Range;
use crate::past::read::read;
use crate::settings::Settings;
use crate::terminal::{colours_wanted, print};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const RANGE: &str = "The range before, as [PREFIX@]START/LENGTH, or START..END: START and END are a time such as 2026-01-31T12:00 (UTC), seconds or milliseconds since 1970, -1h or now; \
     PREFIX@ names the topics of a replay";

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  headwater diff -70m/10m -10m/10m                 now, and an hour ago
  headwater diff 2026-01-31T09:00/1h 2026-02-01T09:00/1h
  headwater diff -20m/10m again.@-20m/10m          a past range, and what `headwater replay --into again.` made of it

An edge counts as changed where chance explains it a thousand times worse than a change (a SCORE of 7 or more, a natural logarithm), and where
it matters: its rate by a fifth, a percentile by a quarter, a share by 0.1 percentage points. Percentiles are those of all requests of a range.")]
pub struct DiffArgs {
    /// The range before
    #[arg(value_name = "A", allow_hyphen_values = true, long_help = RANGE)]
    a: String,
    /// The range after, written the same way
    #[arg(value_name = "B", allow_hyphen_values = true)]
    b: String,
    /// Compare each operation of the edges by itself
    #[arg(long)]
    operations: bool,
    /// Also show what is as before
    #[arg(long)]
    all: bool,
    /// Rows at most
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..))]
    rows: u32,
    /// Print all of it as one JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(settings: &Settings, args: &DiffArgs) -> Result<()> {
    let now_us = now_us();
    let range = |text: &str| Range::parse(text, &settings.kafka.prefix, now_us);
    let (a, b) = (range(&args.a)?, range(&args.b)?);
    connect_check(&settings.kafka, CONNECT_TIMEOUT)?;
    let topic = if args.operations { Topic::Latencies } else { Topic::Edges };
    let of = |range: &Range| read(&settings.kafka, topic, range);
    let comparison = compare(of(&a)?, of(&b)?, [&a.prefix, &b.prefix]);
    for (text, range, side) in [(&args.a, &a, &comparison.a), (&args.b, &b, &comparison.b)] {
        require_windows(text, range, side, topic)?;
    }
    if args.json {
        return print(&format!("{}\n", serde_json::to_string(&comparison)?));
    }
    let shown = Shown { rows_max: args.rows as usize, all: args.all, colours: colours_wanted() };
    print(&comparison.text(shown))
}

/// Nothing is not as before.
fn require_windows(text: &str, range: &Range, side: &Side, topic: Topic) -> Result<()> {
    if side.windows == 0 {
        let name = topic.name(&range.prefix);
        bail!(
            "no whole window of {name} lies in `{text}`: windows are published some seconds after their end and kept for 7 days; \
             `headwater tail {} --from earliest --count 1` shows the oldest",
            topic.suffix()
        );
    }
    Ok(())
}
