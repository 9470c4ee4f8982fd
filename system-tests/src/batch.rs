//! What the logs of `flows`, `requests` and progress say, computed at once: no group, no transactions, no restarts, every partition from its beginning.
//!
//! In: the topics as they stand. Out: the edges and latencies that a processor must have published of them. It drives the processors'
//! values as their runtime does. Bounded by memory: it holds all records.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use headwater_kafka::{
    KafkaSettings, Message, Offset, Partition, RecordError, SchemaCache, Start, TopicReader, admin, partition_of,
};
use headwater_processors::join::{Join, JoinSettings};
use headwater_processors::merge::{LatencyView, Merge, ServiceMapView, View};
use headwater_processors::processor::{Input, Kind, Output, Processor};
use headwater_schemas::records::{Edge, Latency, Partial, WindowClosed};
use headwater_schemas::topics::Topic;

const TOPICS: [Topic; 3] = [Topic::Flows, Topic::Requests, Topic::Progress];
const PATIENCE: Duration = Duration::from_secs(60);

/// All windows that the log closes.
#[derive(Debug, Default)]
pub struct Windows {
    pub edges: Vec<Edge>,
    pub latencies: Vec<Latency>,
}

/// A record of the log.
struct Entry {
    offset: Offset,
    timestamp_us: i64,
    is_stamped_by_broker: bool,
    value: Option<Vec<u8>>,
}

/// What a raw partition says of a window.
type Part = (Vec<Partial>, WindowClosed);

/// Reads the topics and computes their windows.
pub fn compute(settings: &KafkaSettings) -> Result<Windows> {
    let counts = admin::partition_counts(settings, &[Topic::Requests, Topic::Partials])?;
    let (raw, partials) = (counts[&Topic::Requests], counts[&Topic::Partials]);
    let mut logs = read(settings)?;
    let mut cache = SchemaCache::new(settings);
    let mut windows: BTreeMap<i64, Vec<Part>> = BTreeMap::new();
    for partition in (0..raw).map(Partition) {
        let inputs = [0, 1, 2].map(|stream| logs.remove(&(stream, partition)).unwrap_or_default());
        let join = Join::new(partition, raw, JoinSettings::default(), &[]);
        let mut of_window = Vec::new();
        for output in drive(join, &inputs, &mut cache)? {
            match output {
                Output::Partial(partial) => of_window.push(partial),
                Output::Closed(_, marker) => {
                    let part = (std::mem::take(&mut of_window), marker);
                    windows.entry(part.1.window_start_us).or_default().push(part);
                }
                other => bail!("a join gave {other:?}"),
            }
        }
    }
    let mut computed = Windows::default();
    let outputs = [merge::<ServiceMapView>(&windows, partials)?, merge::<LatencyView>(&windows, partials)?].concat();
    for output in outputs {
        match output {
            Output::Edge(edge) => computed.edges.push(edge),
            Output::Latency(latency) => computed.latencies.push(latency),
            _ => {}
        }
    }
    Ok(computed)
}

fn read(settings: &KafkaSettings) -> Result<BTreeMap<(usize, Partition), Vec<Entry>>> {
    let mut logs: BTreeMap<(usize, Partition), Vec<Entry>> = BTreeMap::new();
    for (stream, topic) in TOPICS.into_iter().enumerate() {
        let mut reader = TopicReader::start(settings, &[topic.name(&settings.prefix)], &Start::Earliest)?;
        reader.read_to_end(PATIENCE, |message: &Message<'_>| {
            logs.entry((stream, message.partition())).or_default().push(Entry {
                offset: message.offset(),
                timestamp_us: message.timestamp_ms() * 1000,
                is_stamped_by_broker: message.is_stamped_by_broker(),
                value: message.value().map(<[u8]>::to_vec),
            });
        })?;
    }
    Ok(logs)
}

/// Gives a join its inputs, one record of each in turn while it wants them.
fn drive(mut join: Join, inputs: &[Vec<Entry>; 3], cache: &mut SchemaCache) -> Result<Vec<Output>> {
    let mut places = [0; 3];
    let mut outputs = Vec::new();
    loop {
        let left = |stream: usize, places: &[usize; 3]| places[stream] < inputs[stream].len();
        // What waits for an input that has ended is what the runtime would wait for too.
        let wanted = [0, 1, 2].map(|stream| left(stream, &places) && join.wants(stream));
        if wanted == [false; 3] {
            return Ok(outputs);
        }
        for stream in (0..3).filter(|stream| wanted[*stream]) {
            take(&mut join, stream, &inputs[stream][places[stream]], cache)?;
            places[stream] += 1;
        }
        outputs.extend(join.take_outputs());
    }
}

fn take(join: &mut Join, stream: usize, entry: &Entry, cache: &mut SchemaCache) -> Result<()> {
    let timestamp_us = Some(entry.timestamp_us).filter(|us| *us >= 0);
    let is_taken = match entry.value.as_ref().map(|value| cache.open(value)) {
        Some(Ok((schema, datum))) => {
            let appended_us = timestamp_us.filter(|_| entry.is_stamped_by_broker);
            let (offset, partitions, kind) = (entry.offset, None, Kind::Value);
            let input = Input { stream, offset, timestamp_us, appended_us, kind, partitions, schema: &schema, datum };
            join.record(input).is_ok()
        }
        Some(Err(RecordError::Registry(error))) => return Err(error).context("ask for the schema of a record"),
        Some(Err(RecordError::Bad(_))) | None => false,
    };
    if !is_taken {
        join.unreadable(stream, entry.offset);
    }
    Ok(())
}

/// Adds the partials up as the merges of so many partitions do, each in the order of the windows.
fn merge<V: View>(windows: &BTreeMap<i64, Vec<Part>>, partitions: i32) -> Result<Vec<Output>> {
    let mut merges: Vec<Merge<V>> =
        (0..partitions).map(|number| Merge::new(Partition(number), partitions, None)).collect();
    let mut offset = Offset::FIRST;
    for (partials, marker) in windows.values().flatten() {
        for partial in partials {
            let key = partial.key();
            let at = partition_of(key.as_bytes(), partitions);
            offset = offset.next();
            merges[at.0 as usize].partial(offset, partial.clone())?;
        }
        for merge in &mut merges {
            offset = offset.next();
            merge.closed(offset, marker.clone(), Some(partitions));
        }
    }
    Ok(merges.iter_mut().flat_map(Processor::take_outputs).collect())
}
