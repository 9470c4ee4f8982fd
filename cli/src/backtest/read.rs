//! Reads edges and latencies side by side into a backtest, as the running processor reads them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use headwater_kafka::{KafkaSettings, Message, Next, Partition, RecordError, SchemaCache, Start, TopicReader};
use headwater_processors::backtest::{Backtest, Outcome};
use headwater_processors::objectives::rules::Rules;
use headwater_processors::processor::{Input, Kind};
use headwater_schemas::records::PartitionClosed;
use headwater_schemas::topics::{PARTITION_CLOSED_HEADER, Topic};

use crate::past::collect::{Collected, Collector};
use crate::past::range::Range;

const PATIENCE: Duration = Duration::from_secs(30);
/// As the processor's inputs are numbered.
const TOPICS: [Topic; 2] = [Topic::Edges, Topic::Latencies];
const EDGES: usize = 0;

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
    reader: TopicReader,
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
        lanes.push(Lane::start(kafka, topic.name(&range.prefix), reads_from_us)?);
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
        let wanted = |(stream, lane): &(usize, &mut Lane)| !lane.has_ended && backtest.wants(*stream);
        let next = lanes.iter_mut().enumerate().filter(wanted).min_by_key(|(_, lane)| lane.reached_us);
        let Some((stream, Lane { name, reader, reached_us, has_ended })) = next else { break };
        let message = match reader.next(PATIENCE)? {
            Next::Record(message) => message,
            Next::End(_) => {
                *has_ended = true;
                continue;
            }
            Next::Idle => {
                bail!("read {name}: nothing came from the brokers for {PATIENCE:?}; check that they are well")
            }
        };
        match take(&mut backtest, stream, &message, &mut cache) {
            Ok(Some(marker)) => {
                *reached_us = marker.window_start_us;
                if stream == EDGES {
                    windows_before.closed(marker.clone());
                    windows.closed(marker);
                }
            }
            Ok(None) => {}
            Err(RecordError::Bad(error)) => {
                eprintln!("passed over {name} partition {} offset {}: {error}", message.partition(), message.offset());
                unreadable += 1;
            }
            Err(RecordError::Registry(error)) => {
                return Err(error).with_context(|| format!("read {name} offset {}", message.offset()));
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
    fn start(kafka: &KafkaSettings, name: String, from_us: i64) -> Result<Lane> {
        // Records are dated when they were written, which is never before their window's end.
        let reader = TopicReader::start(kafka, std::slice::from_ref(&name), &Start::AtMs(from_us / 1000))?;
        let partitions = reader.partitions().len();
        if partitions != 1 {
            bail!(
                "{name} has {partitions} partitions: of more than one, each is judged by itself, and a backtest judges one; Headwater makes the topic with one"
            );
        }
        Ok(Lane { name, reader, reached_us: i64::MIN, has_ended: false })
    }
}

/// Gives a record to the judge. Returns the marker if it is one.
fn take(
    backtest: &mut Backtest,
    stream: usize,
    message: &Message<'_>,
    cache: &mut SchemaCache,
) -> Result<Option<PartitionClosed>, RecordError> {
    let (kind, bytes) = match (message.value(), message.header(PARTITION_CLOSED_HEADER)) {
        (Some(value), _) => (Kind::Value, value),
        (None, Some(marker)) => (Kind::Control, marker),
        (None, None) => {
            return Err(RecordError::Bad(format!("it has neither a value nor the header {PARTITION_CLOSED_HEADER}")));
        }
    };
    let (schema, datum) = cache.open(bytes)?;
    let timestamp_us = Some(message.timestamp_ms()).filter(|ms| *ms >= 0).map(|ms| ms.saturating_mul(1000));
    let (appended_us, partitions, offset) = (None, None, message.offset());
    let input = Input { stream, offset, timestamp_us, appended_us, kind, partitions, schema: &schema, datum };
    backtest.record(input).map_err(|error| RecordError::Bad(error.0))?;
    match kind {
        Kind::Value => Ok(None),
        Kind::Control => schema.decode(datum).map(Some).map_err(|error| RecordError::Bad(error.to_string())),
    }
}
