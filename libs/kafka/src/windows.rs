//! Reads a topic of windows beside the one that says when they are whole, as one.
//!
//! In: `edges` and `edge-windows`, or `latencies` and `latency-windows`; or any other topic by itself. Out: their records, and each [`WindowClosed`] behind all records that it speaks of. Bounded as a
//! [`TopicReader`] is: no more than one record of the second topic is held until the first is read that far.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use headwater_schemas::records::WindowClosed;
use headwater_schemas::topics::Topic;

use crate::offsets::Held;
use crate::{
    KafkaError, KafkaSettings, Message, Next, Offset, Partition, RecordError, SchemaCache, Start, TopicPartition,
    TopicReader,
};

/// How long the one topic is waited for before the other is looked at.
const TURN: Duration = Duration::from_millis(50);

/// What was committed together comes together, but for what a transaction hides that is open. What does not come for so long may not be there any more.
const STUCK_AFTER: Duration = Duration::from_secs(5);

/// What came next.
pub enum NextOfWindows {
    /// A record of the topic.
    Record(Message<'static>),
    /// A source partition has closed a window, and all that it says to be there was read.
    Closed(Message<'static>, Box<WindowClosed>),
    /// A record that should close a window, and why it cannot be read.
    Unreadable(Message<'static>, String),
    /// All that was committed by now was read. Said once, whatever is written meanwhile.
    End,
    /// Nothing came in the given time.
    Idle,
}

/// A reader of one topic of windows.
pub struct WindowReader {
    records: TopicReader,
    windows: Option<TopicReader>,
    /// Up to where each partition of the records was read.
    reached: BTreeMap<Partition, Offset>,
    /// The next one that closes a window, and since when it waits, or was looked for last.
    held: Option<(Message<'static>, WindowClosed, Instant)>,
    undecoded: Option<Message<'static>>,
    ends: usize,
    has_ended: bool,
    cache: SchemaCache,
    held_by_brokers: Held,
}

impl WindowReader {
    /// Starts reading all partitions of a topic, and of the one that closes its windows, if there is one.
    ///
    /// # Errors
    /// Also if one of the two is not there.
    pub fn start(settings: &KafkaSettings, topic: Topic, start: &Start) -> Result<WindowReader, KafkaError> {
        let open = |topic: Topic| TopicReader::start(settings, &[topic.name(&settings.prefix)], start);
        let records = open(topic)?;
        let reached = records.starts().map(|(at, offset)| (at.partition, offset)).collect();
        Ok(WindowReader {
            // Behind the records: what is written just now may be read without what closes it, and never the other way round.
            windows: topic.windows().map(open).transpose()?,
            records,
            reached,
            held: None,
            undecoded: None,
            ends: 0,
            has_ended: false,
            cache: SchemaCache::new(settings),
            held_by_brokers: Held::new(settings)?,
        })
    }

    /// The partitions of the topic.
    pub fn partitions(&self) -> &[TopicPartition] {
        self.records.partitions()
    }

    /// Waits for what comes next.
    ///
    /// # Errors
    /// As [`TopicReader::next`]; and if the registry does not answer, after which it may be asked again.
    pub fn next(&mut self, timeout: Duration) -> Result<NextOfWindows, KafkaError> {
        let deadline = Instant::now() + timeout;
        loop {
            if self.held.is_none()
                && let Some(unreadable) = self.look()?
            {
                return Ok(unreadable);
            }
            if self.has_read_what_is_held()?
                && let Some((message, closed, _)) = self.held.take()
            {
                return Ok(NextOfWindows::Closed(message, Box::new(closed)));
            }
            if !self.has_ended && self.held.is_none() && self.ends == self.all() {
                self.has_ended = true;
                return Ok(NextOfWindows::End);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.records.next(left.min(TURN))? {
                Next::Record(message) => {
                    self.reached.insert(message.partition(), message.offset().next());
                    return Ok(NextOfWindows::Record(message.detached()));
                }
                Next::End(_) => self.ends += 1,
                Next::Idle if left.is_zero() => return Ok(NextOfWindows::Idle),
                Next::Idle => {}
            }
        }
    }

    /// Ends that are told of, if all is read.
    fn all(&self) -> usize {
        let of_windows = self.windows.as_ref().map_or(0, |windows| windows.partitions().len());
        self.records.partitions().len() + of_windows
    }

    /// Looks whether another window is closed. Gives what cannot be read.
    fn look(&mut self) -> Result<Option<NextOfWindows>, KafkaError> {
        let Some(windows) = &mut self.windows else { return Ok(None) };
        let message = match self.undecoded.take() {
            Some(message) => message,
            None => match windows.next(Duration::ZERO)? {
                Next::Record(message) => message.detached(),
                Next::End(_) => {
                    self.ends += 1;
                    return Ok(None);
                }
                Next::Idle => return Ok(None),
            },
        };
        // A key that is deleted is nobody's window.
        let Some(value) = message.value() else { return Ok(None) };
        let decoded = self.cache.open(value).and_then(|(schema, datum)| {
            schema.decode::<WindowClosed>(datum).map_err(|error| RecordError::Bad(error.to_string()))
        });
        match decoded {
            Ok(closed) => {
                self.held = Some((message, closed, Instant::now()));
                Ok(None)
            }
            Err(RecordError::Bad(error)) => Ok(Some(NextOfWindows::Unreadable(message, error))),
            Err(RecordError::Registry(error)) => {
                self.undecoded = Some(message);
                Err(error)
            }
        }
    }

    /// Whether all was read that is closed next, or never will be: it was deleted, or the topic was made anew.
    fn has_read_what_is_held(&mut self) -> Result<bool, KafkaError> {
        let Some((message, WindowClosed { through_offset, .. }, since)) = &mut self.held else { return Ok(false) };
        let reached = self.reached.get(&message.partition()).copied().unwrap_or(Offset::FIRST);
        if *through_offset < reached.0 {
            return Ok(true);
        }
        let is_it = |at: &&TopicPartition| at.partition == message.partition();
        let Some(at) = self.records.partitions().iter().find(is_it).filter(|_| since.elapsed() >= STUCK_AFTER) else {
            return Ok(false);
        };
        *since = Instant::now();
        let kept = self.held_by_brokers.of(at)?;
        let is_gone = kept.first.0 > *through_offset || kept.end.0 <= *through_offset;
        if is_gone {
            tracing::warn!(%at, first = %kept.first, end = %kept.end, through_offset, "what a window is closed by is not there any more");
        }
        Ok(is_gone)
    }
}
