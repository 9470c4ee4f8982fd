//! Reads edges and latencies side by side into a backtest, each with what closes its windows, as the running processor reads them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use headwater_kafka::{
    KafkaSettings, Message, NextOfWindows as Next, Partition, RecordError, SchemaCache, Start, WindowReader,
};
use headwater_processors::backtest::{Backtest, Outcome};
use headwater_processors::objectives::rules::Rules;
use headwater_processors::processor::{Input, Kind};
use headwater_schemas::topics::Topic;

use crate::past::collect::{Collected, Collector};
use crate::past::range::Range;

const PATIENCE: Duration = Duration::from_secs(30);
/// Two inputs of the processor each: their records, and what closes their windows.
const TOPICS: [Topic; 2] = [Topic::Edges, Topic::Latencies];

/// What a backtest says, and what it rests on.
pub struct Report {
    pub range: Range,
    pub outcome: Outcome,
    /// The windows of edges in the range.
    pub read: Collected,
    /// And before it, for what long windows hold of that time.
    pub before: Collected,
    pub before_us: i64,
    /// Records that are none: a dead letter each, for the running processor.
    pub unreadable: u64,
}

/// One topic.
struct Lane {
    name: String,
    reader: WindowReader,
    /// Start of the last window of which a marker was read.
    reached_us: i64,
    has_ended: bool,
}

/// # Errors
/// If a topic is not there, or has more partitions than one processor judges.
pub fn run(kafka: &KafkaSettings, rules: Arc<Rules>, range: &Range) -> Result<Report> {
    let reads_from_us = Backtest::reads_from_us(&rules, range.from_us);
    let mut lanes = Vec::new();
    for topic in TOPICS {
        lanes.push(Lane::start(kafka, topic, &range.prefix, reads_from_us)?);
    }
    let names = TOPICS.map(|topic| topic.name(&range.prefix));
    let mut backtest = Backtest::new(rules, names, Partition(0), range.from_us, range.to_us);
    let mut cache = SchemaCache::new(kafka);
    let mut windows = Collector::new(range.clone());
    let before = Range { from_us: reads_from_us, to_us: range.from_us, ..range.clone() };
    let mut windows_before = Collector::new(before);
    let mut unreadable = 0;
    while !backtest.is_over() {
        // The one that is behind, as long as the judge wants more of it.
        let wanted = |(number, lane): &(usize, &mut Lane)| !lane.has_ended && backtest.wants(2 * number);
        let next = lanes.iter_mut().enumerate().filter(wanted).min_by_key(|(_, lane)| lane.reached_us);
        let Some((number, Lane { name, reader, reached_us, has_ended })) = next else { break };
        let (message, closed) = match reader.next(PATIENCE)? {
            Next::Record(message) => (message, None),
            Next::Closed(message, closed) => (message, Some(closed)),
            Next::Unreadable(message, error) => {
                pass_over(&message, &error, &mut unreadable);
                continue;
            }
            Next::End => {
                *has_ended = true;
                continue;
            }
            Next::Idle => {
                bail!("read {name}: nothing came from the brokers for {PATIENCE:?}; check that they are well")
            }
        };
        let stream = 2 * number + usize::from(closed.is_some());
        match take(&mut backtest, stream, &message, &mut cache) {
            Ok(()) => {}
            Err(RecordError::Bad(error)) => {
                pass_over(&message, &error, &mut unreadable);
                continue;
            }
            Err(RecordError::Registry(error)) => {
                return Err(error).with_context(|| format!("read {} offset {}", message.topic(), message.offset()));
            }
        }
        if let Some(closed) = closed {
            *reached_us = closed.window_start_us;
            if TOPICS[number] == Topic::Edges {
                windows_before.closed((*closed).clone());
                windows.closed(*closed);
            }
        }
    }
    Ok(Report {
        outcome: backtest.finish(),
        read: windows.finish(),
        before: windows_before.finish(),
        before_us: range.from_us - reads_from_us,
        range: range.clone(),
        unreadable,
    })
}

impl Lane {
    fn start(kafka: &KafkaSettings, topic: Topic, prefix: &str, from_us: i64) -> Result<Lane> {
        let kafka = KafkaSettings { prefix: prefix.to_owned(), ..kafka.clone() };
        let name = topic.name(prefix);
        // Records are dated when they were written, which is never before their window's end.
        let reader = WindowReader::start(&kafka, topic, &Start::AtMs(from_us / 1000))?;
        let partitions = reader.partitions().len();
        if partitions != 1 {
            bail!(
                "{name} has {partitions} partitions: of more than one, each is judged by itself, and a backtest judges one; Headwater makes the topic with one"
            );
        }
        Ok(Lane { name, reader, reached_us: i64::MIN, has_ended: false })
    }
}

fn pass_over(message: &Message<'_>, error: &str, unreadable: &mut u64) {
    eprintln!("passed over {} partition {} offset {}: {error}", message.topic(), message.partition(), message.offset());
    *unreadable += 1;
}

/// Gives a record to the judge.
fn take(
    backtest: &mut Backtest,
    stream: usize,
    message: &Message<'_>,
    cache: &mut SchemaCache,
) -> Result<(), RecordError> {
    let Some(value) = message.value() else { return Err(RecordError::Bad("it has no value".to_owned())) };
    let (schema, datum) = cache.open(value)?;
    let timestamp_us = Some(message.timestamp_ms()).filter(|ms| *ms >= 0).map(|ms| ms.saturating_mul(1000));
    let (appended_us, partitions, offset, kind) = (None, None, message.offset(), Kind::Value);
    let input = Input { stream, offset, timestamp_us, appended_us, kind, partitions, schema: &schema, datum };
    backtest.record(input).map_err(|error| RecordError::Bad(error.0))
}
