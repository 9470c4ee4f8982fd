//! Reads the records of a span, and adds them up.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use headwater_kafka::{
    KafkaSettings, Message, Next, Offset, Partition, RecordError, SchemaCache, Start, TopicReader, offsets,
};
use headwater_schemas::topics::Topic;
use tracing::warn;

use super::roll::{Roll, Rolled, TooMuch};
use super::spans::{Level, Turn};

/// Brokers that say nothing for so long are away.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(200);
/// What closes windows speaks of this partition.
pub const FIRST: Partition = Partition(0);

/// What came of a turn.
pub enum Read<R> {
    Rolled(Vec<R>),
    TooMuch(TooMuch),
    /// `goes_on` said no.
    Stopped,
}

/// Rolls a span of a topic up. Hours are made of the minutes of it. No record is older, by Kafka's timestamp, than what it tells of.
///
/// # Errors
/// If the brokers or the registry do not answer.
pub fn read<R: Rolled>(
    kafka: &KafkaSettings,
    of: Topic,
    turn: &Turn,
    schemas: &mut SchemaCache,
    goes_on: &mut dyn FnMut() -> bool,
) -> Result<Read<R>> {
    let (from, through) = match turn.level {
        Level::Minute => (of, Some(turn.through)),
        Level::Hour => (Level::Minute.topic(of).unwrap_or(of), None),
    };
    let from = from.name(&kafka.prefix);
    // What closes windows says how far to read, where there is one partition. A transaction that is open hides what others have committed behind it.
    if let Some(through) = through
        && let Some(read) = read_up_to(kafka, &from, turn, Some(through), schemas, goes_on)?
    {
        return Ok(read);
    }
    if !offsets::settle(kafka, &from, PATIENCE, goes_on)? {
        return Ok(Read::Stopped);
    }
    let read = read_up_to(kafka, &from, turn, None, schemas, goes_on)?;
    read.with_context(|| format!("{from} was not read to its end"))
}

/// Reads up to an offset, or to the end. None if the end comes before that offset, or it is not known whether it does.
fn read_up_to<R: Rolled>(
    kafka: &KafkaSettings,
    from: &str,
    turn: &Turn,
    through: Option<Offset>,
    schemas: &mut SchemaCache,
    goes_on: &mut dyn FnMut() -> bool,
) -> Result<Option<Read<R>>> {
    let mut reader = TopicReader::start(kafka, &[from.to_owned()], &Start::AtMs(turn.from_us / 1000))?;
    let mut roll = Roll::<R>::new(turn);
    let (mut open, mut silent) = (reader.partitions().len(), Duration::ZERO);
    if through.is_some() && open != 1 {
        return Ok(None);
    }
    while open > 0 {
        if !goes_on() {
            return Ok(Some(Read::Stopped));
        }
        let message = match reader.next(POLL)? {
            Next::Record(message) => message,
            Next::End(_) => {
                open -= 1;
                continue;
            }
            Next::Idle if silent < PATIENCE => {
                silent += POLL;
                continue;
            }
            Next::Idle => bail!("nothing came of {from} for {PATIENCE:?}"),
        };
        silent = Duration::ZERO;
        if let Some(too_much) = take(&mut roll, &message, schemas)? {
            return Ok(Some(Read::TooMuch(too_much)));
        }
        if through.is_some_and(|through| message.offset() >= through) {
            return Ok(Some(Read::Rolled(roll.finish())));
        }
    }
    Ok(through.is_none().then(|| Read::Rolled(roll.finish())))
}

fn take<R: Rolled>(
    roll: &mut Roll<'_, R>,
    message: &Message<'_>,
    schemas: &mut SchemaCache,
) -> Result<Option<TooMuch>> {
    let Some(value) = message.value() else { return Ok(None) };
    let opened = match schemas.open(value) {
        Ok((schema, datum)) => schema.decode::<R>(datum).map_err(|error| error.to_string()),
        Err(RecordError::Registry(error)) => return Err(error.into()),
        Err(RecordError::Bad(error)) => Err(error),
    };
    match opened.and_then(|record| roll.take(record).map_err(|error| error.to_string())) {
        Ok(too_much) => Ok(too_much),
        Err(error) => {
            let (at, partition, offset) = (message.topic(), message.partition(), message.offset());
            warn!(at, %partition, %offset, error, "a record is left out of roll-ups, which say that they are not complete");
            Ok(None)
        }
    }
}
