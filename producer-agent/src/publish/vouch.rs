//! What an agent says of its progress waits here until the brokers have acknowledged the records that it vouches for.
//!
//! In: progress as it was made, and how many records had been handed over by then. Out: the same for each partition with where its records
//! stand, in the order in which it came. Promise: whoever reads of a record that something is complete finds it in the topic. Bounded:
//! [`WAITING_MAX`] of them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use headwater_kafka::{Offset, Partition, PublishError, Publisher, Stretch, Stretches, Tag};
use headwater_schemas::records::{Progress, Share};
use headwater_schemas::topics::Topic;
use headwater_schemas::wire::set_schema_id;

use super::encode::Encoders;
use super::opening::{PROGRESS, TOPICS};
use crate::ledger::Stream;

/// More are not made, or stay in the spool.
const WAITING_MAX: usize = 64;

/// A broker that has taken a request twice does not say where its records stand; the next ones do, or it is asked after so long.
const ASK_AFTER: Duration = Duration::from_secs(2);
const ASK_TIMEOUT: Duration = Duration::from_secs(1);

/// What was handed over and is to be vouched for.
pub struct Vouching {
    partitions: i32,
    /// Records that were handed over, by watched stream and partition.
    handed: [Vec<u64>; 2],
    told: [Vec<Stretches>; 2],
    waiting: VecDeque<Waiting>,
    asked_at: Option<Instant>,
}

struct Waiting {
    progress: Progress,
    tag: Tag,
    /// Of these the fate must be known.
    handed: [Vec<u64>; 2],
    /// What each partition is told, once that is so.
    values: Vec<Vec<u8>>,
    next: usize,
}

impl Vouching {
    /// `ends` are where the partitions of requests and of flows end before anything is handed over: what runs of the agent before this one have
    /// written stands before, and what they left to be said is said of it.
    pub fn new(ends: [Vec<Offset>; 2]) -> Vouching {
        let count = ends[0].len();
        Vouching {
            partitions: i32::try_from(count).unwrap_or(i32::MAX),
            handed: [vec![0; count], vec![0; count]],
            told: ends.map(|ends| ends.into_iter().map(Stretches::behind).collect()),
            waiting: VecDeque::new(),
            asked_at: None,
        }
    }

    /// A record was handed over.
    pub fn handed(&mut self, stream: Stream, partition: Partition) {
        if let Some(counts) = self.handed.get_mut(stream as usize)
            && let Some(count) = usize::try_from(partition.0).ok().and_then(|at| counts.get_mut(at))
        {
            *count += 1;
        }
    }

    /// Takes what is to be said once all that was handed over has arrived. Says how many messages that will be; none if it has no room.
    pub fn take(&mut self, progress: Progress, tag: Tag) -> Option<u32> {
        if self.waiting.len() >= WAITING_MAX {
            return None;
        }
        let progress = Progress { partitions: self.partitions, ..progress };
        self.waiting.push_back(Waiting { progress, tag, handed: self.handed.clone(), values: Vec::new(), next: 0 });
        Some(self.partitions.unsigned_abs())
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Says what can be said by now, as far as there is room.
    pub fn advance(&mut self, publisher: &Publisher, encoders: &Encoders, schema_id: u32) {
        while let Some(mut first) = self.waiting.pop_front() {
            if first.values.is_empty() && self.are_placed(&first, publisher) {
                first.values = self.values(&first.progress, publisher, encoders, schema_id);
            }
            let key = first.progress.node.as_bytes();
            while let Some(value) = first.values.get(first.next) {
                let partition = Partition(i32::try_from(first.next).unwrap_or(i32::MAX));
                match publisher.publish_tagged(PROGRESS, partition, key, Some(value), &[], first.tag) {
                    Ok(()) | Err(PublishError::TooLarge) => first.next += 1,
                    Err(PublishError::QueueFull | PublishError::Stopped) => break,
                }
            }
            if first.next < usize::try_from(self.partitions).unwrap_or(0) {
                return self.waiting.push_front(first);
            }
        }
    }

    /// Whether the brokers have acknowledged all that one vouches for, and said where that stands.
    fn are_placed(&mut self, waiting: &Waiting, publisher: &Publisher) -> bool {
        for (stream, handed) in waiting.handed.iter().enumerate() {
            for (partition, handed) in (0..self.partitions).map(Partition).zip(handed) {
                let placed = publisher.placed(stream, partition);
                if placed.known() < *handed {
                    return false;
                }
                if placed.is_open && !self.asks(publisher, stream, partition) {
                    return false;
                }
            }
        }
        self.asked_at = None;
        true
    }

    /// Asks where a partition ends, once nobody said it for a while. Says whether somebody did.
    fn asks(&mut self, publisher: &Publisher, stream: usize, partition: Partition) -> bool {
        let since = self.asked_at.get_or_insert_with(Instant::now);
        if since.elapsed() < ASK_AFTER {
            return false;
        }
        let asked = publisher.ask_end(stream, partition, ASK_TIMEOUT);
        if let Err(error) = &asked {
            *since = Instant::now();
            tracing::debug!(%error, "nobody says where records stand that are acknowledged; it is asked again");
        }
        asked.is_ok()
    }

    fn values(
        &mut self,
        progress: &Progress,
        publisher: &Publisher,
        encoders: &Encoders,
        schema_id: u32,
    ) -> Vec<Vec<u8>> {
        (0..self.partitions)
            .map(|partition| {
                let mut of = |stream: Stream, share: &Share| {
                    let placed = publisher.placed(stream as usize, Partition(partition));
                    placed_at(share, self.told[stream as usize][partition as usize].next(&placed))
                };
                let flows = of(Stream::Flows, &progress.flows);
                let requests = of(Stream::Requests, &progress.requests);
                let progress = Progress { flows, requests, ..progress.clone() };
                let mut value = encoders.progress.encode(&progress).unwrap_or_else(|error| {
                    // It was encoded before, so this is a fault of the program; nobody can read what is left of it.
                    tracing::error!(%error, "what the agent says of its progress cannot be encoded");
                    Vec::new()
                });
                if !value.is_empty() {
                    set_schema_id(&mut value, schema_id);
                }
                value
            })
            .collect()
    }
}

/// What is said of a topic, with where the records stand.
fn placed_at(share: &Share, Stretch { after, through, records }: Stretch) -> Share {
    Share {
        after_offset: after.0,
        through_offset: through.0,
        records: i64::try_from(records).unwrap_or(i64::MAX),
        ..share.clone()
    }
}

/// Streams are numbered in the publisher as the topics are.
const _: () = assert!(
    matches!(TOPICS[Stream::Requests as usize], Topic::Requests)
        && matches!(TOPICS[Stream::Flows as usize], Topic::Flows)
);
