//! `headwater export TOPIC... --into FOLDER`: topics as Parquet files, by the hour.
//!
//! In: what stands in the topics. Out: files, and for each topic a line of how much was written. The same command again goes on from there. What could not be
//! exported, since it could not be read or was deleted before, is said.

mod rows;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use headwater_kafka::offsets::{self, Place as Found};
use headwater_kafka::{Next, Offset, RecordError, SchemaCache, Start, TopicPartition, TopicReader, connect_check};
use headwater_parquet::{Columns, Folder, Place, Totals};
use headwater_schemas::topics::Topic;
use serde::Serialize;

use crate::clock::{now_us, parse_time_us};
use crate::format::bytes;
use crate::settings::Settings;
use crate::tail::topic_named;
use crate::terminal::print;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(30);
const SAYS_EACH: Duration = Duration::from_secs(2);

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  headwater export edges latencies --into ./past
  duckdb -c \"select client.name, server.name, sum(requests) from './past/edges/**/*.parquet' group by all\"

FOLDER/TOPIC/date=2026-01-31/hour=09/000000.parquet holds what is of that hour (UTC). The same command again adds what came since.")]
pub struct ExportArgs {
    /// Which topics, without the prefix
    #[arg(value_name = "TOPIC", required = true, num_args = 1..)]
    #[arg(value_parser = PossibleValuesParser::new(Topic::ALL.map(Topic::suffix)).map(topic_named))]
    topics: Vec<Topic>,
    /// Where the files go: a folder for each topic is made in it
    #[arg(long, value_name = "FOLDER")]
    into: PathBuf,
    /// Leave out what was written before, where nothing was exported yet: a time such as 2026-01-31T12:00:00Z (UTC), or one before now such as -1d
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: Option<String>,
    /// Print one JSON object a topic
    #[arg(long)]
    json: bool,
}

/// What became of one topic.
#[derive(Debug, Default, Serialize)]
struct Exported {
    topic: &'static str,
    records: u64,
    files: u64,
    bytes: u64,
    /// Records that could not be read.
    unreadable: u64,
    /// Offsets that retention took before they were exported.
    deleted: i64,
    folder: PathBuf,
}

pub fn run(settings: &Settings, args: &ExportArgs) -> Result<()> {
    let parse = |time: &String| parse_time_us(time, now_us()).context("--from");
    let from_us = args.from.as_ref().map(parse).transpose()?;
    connect_check(&settings.kafka, CONNECT_TIMEOUT)?;
    for topic in &args.topics {
        let folder = args.into.join(topic.suffix());
        let exported = export(settings, *topic, &folder, from_us.unwrap_or(0))
            .with_context(|| format!("export {} into {}", topic.name(&settings.kafka.prefix), folder.display()))?;
        print(&if args.json { serde_json::to_string(&exported)? + "\n" } else { told(&exported) })?;
    }
    Ok(())
}

fn told(exported: &Exported) -> String {
    let Exported { topic, records, files, bytes: count, unreadable, deleted, folder } = exported;
    let mut told = match records {
        0 => format!("{topic}: nothing new"),
        _ => format!("{topic}: {records} records in {files} files, {}, in {}", bytes(*count as f64), folder.display()),
    };
    if *unreadable > 0 {
        told.push_str(&format!("; {unreadable} could not be read"));
    }
    if *deleted > 0 {
        told.push_str(&format!("; up to {deleted} were deleted before they were exported"));
    }
    told + "\n"
}

fn export(settings: &Settings, topic: Topic, path: &Path, from_us: i64) -> Result<Exported> {
    let kafka = &settings.kafka;
    let name = topic.name(&kafka.prefix);
    let mut folder = Folder::open(path, &name, Columns::of_avro(topic.schema())?)?;
    let found = offsets::places_at(kafka, std::slice::from_ref(&name), from_us / 1000)?;
    let mut exported = Exported { topic: topic.suffix(), folder: path.to_owned(), ..Exported::default() };
    let starts = starts(&found, folder.next_offsets(), &mut exported.deleted)?;
    if starts.is_empty() {
        return Ok(exported);
    }
    let mut reader = TopicReader::start(kafka, std::slice::from_ref(&name), &Start::Offsets(starts))?;
    let (partitions, mut ends) = (reader.partitions().len(), 0);
    let mut schemas = SchemaCache::new(kafka);
    let (mut records, mut said_at) = (0u64, Instant::now());
    while ends < partitions {
        let message = match reader.next(PATIENCE)? {
            Next::Record(message) => message,
            Next::End(_) => {
                ends += 1;
                continue;
            }
            Next::Idle => bail!("nothing came from the brokers for {PATIENCE:?}; check that they are well"),
        };
        let place = Place {
            partition: message.partition().0,
            offset: message.offset().0,
            timestamp_ms: message.timestamp_ms(),
        };
        let pushed = match message.value() {
            // A mark between records, or the end of a key.
            None => Ok(()),
            Some(value) => rows::push(topic, value, place, &mut schemas, &mut folder)?,
        };
        match pushed {
            Ok(()) => records += u64::from(message.value().is_some()),
            Err(RecordError::Bad(error)) => {
                exported.unreadable += 1;
                eprintln!("left out {name} partition {} offset {}: {error}", place.partition, place.offset);
            }
            Err(RecordError::Registry(error)) => return Err(error.into()),
        }
        folder.passed(place.partition, place.offset);
        if said_at.elapsed() >= SAYS_EACH {
            said_at = Instant::now();
            eprintln!("{}: {records} records so far", topic.suffix());
        }
    }
    folder.commit()?;
    let Totals { rows, files, bytes } = folder.totals();
    Ok(Exported { records: rows, files, bytes, ..exported })
}

/// Where each partition is read on that has anything new.
fn starts(
    found: &[Found],
    next_offsets: &BTreeMap<i32, i64>,
    deleted: &mut i64,
) -> Result<Vec<(TopicPartition, Offset)>> {
    let mut starts = Vec::new();
    for Found { at, kept, reached } in found {
        let start = match next_offsets.get(&at.partition.0).copied().map(Offset) {
            Some(next) if next > kept.end => bail!(
                "{at} ends at offset {}, and {next} was exported before: it is another topic of that name; name another folder",
                kept.end
            ),
            Some(next) => {
                *deleted += (kept.first.0 - next.0).max(0);
                next.max(kept.first)
            }
            None => *reached,
        };
        if start < kept.end {
            starts.push((at.clone(), start));
        }
    }
    Ok(starts)
}
