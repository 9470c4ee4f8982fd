//! Reads the windows of a range from their topic.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use headwater_console::records::{Item, ItemReader, place};
use headwater_kafka::{KafkaSettings, NextOfWindows as Next, RecordError, Start, WindowReader};
use headwater_schemas::topics::Topic;

use super::collect::{Collected, Collector, Observed};
use super::range::Range;

const PATIENCE: Duration = Duration::from_secs(30);

/// Adds up the windows of the range. The topic is that of edges or of latencies.
///
/// # Errors
/// Also if no window of the range is whole.
pub fn read(kafka: &KafkaSettings, topic: Topic, range: &Range) -> Result<Collected> {
    let settings = KafkaSettings { prefix: range.prefix.clone(), ..kafka.clone() };
    let name = topic.name(&range.prefix);
    // Records are dated when they were written, which is never before their window's end.
    let start = Start::AtMs(range.from_us / 1000);
    let mut reader = WindowReader::start(&settings, topic, &start)?;
    let partitions = reader.partitions().len();
    let mut items = ItemReader::new(&settings);
    let mut collector = Collector::new(range.clone());
    // Where there is one partition, what follows the last window is behind it.
    while !(partitions == 1 && collector.is_over()) {
        let message = match reader.next(PATIENCE)? {
            Next::Record(message) => message,
            Next::Closed(_, closed) => {
                collector.closed(*closed);
                continue;
            }
            Next::Unreadable(message, error) => {
                eprintln!("passed over {}: {error}", place(topic.windows().unwrap_or(topic), &message));
                collector.unreadable();
                continue;
            }
            Next::End => break,
            Next::Idle => {
                bail!("read {name}: nothing came from the brokers for {PATIENCE:?}; check that they are well")
            }
        };
        let observed = match items.read(topic, &message) {
            Ok(Item::Edge(edge)) => Observed::edge(*edge),
            Ok(Item::Latency(latency)) => Observed::latency(*latency),
            Ok(_) => None,
            Err(RecordError::Bad(error)) => {
                eprintln!("passed over {}: {error}", place(topic, &message));
                collector.unreadable();
                None
            }
            Err(RecordError::Registry(error)) => return Err(error.into()),
        };
        let Some(observed) = observed else { continue };
        collector.record(observed).with_context(|| format!("read {}", place(topic, &message)))?;
    }
    Ok(collector.finish())
}
