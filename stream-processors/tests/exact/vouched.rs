//! What agents say of their progress, once the records that it vouches for are in the logs.
//!
//! In: the logs of both topics, when each run's records came, and what it said. Out: the logs of progress, which name offsets as the brokers told them,
//! and in each record's entry where it was vouched for.

use std::collections::HashMap;

use headwater_processors::processor::Kind;
use headwater_schemas::place::Offset;
use headwater_schemas::records::{Progress, Share};
use headwater_schemas::wire::Encoder;
use headwater_testing::Random;

use crate::logs::{Entry, Log, datum};

/// Something that a run of an agent says in one partition, and when that arrives: behind all that it vouches for.
pub struct Saying {
    pub arrives_us: i64,
    pub emitted_us: i64,
    pub run: usize,
    pub partition: usize,
    /// Without places.
    pub progress: Progress,
    /// Records of flows and of requests that had been handed over for this partition.
    pub handed: [usize; 2],
}

/// When records of a run came into a partition of a stream, and where they stand.
pub type Came = HashMap<(usize, usize, usize), Vec<(i64, Offset)>>;

/// The log of progress of each partition. `logs` are those of flows and requests; `node_of` names the node of a run.
pub fn progress(
    mut sayings: Vec<Saying>,
    logs: &mut [Vec<Log>; 2],
    came: &Came,
    node_of: impl Fn(usize) -> usize,
    (is_stamped, random): (bool, &mut Random),
    encoder: &Encoder,
) -> Vec<Log> {
    sayings.sort_by_key(|saying| (saying.arrives_us, saying.run));
    let mut all: Vec<Log> = logs[0].iter().map(|_| Log::new()).collect();
    let mut told: HashMap<(usize, usize, usize), (usize, i64)> = HashMap::new();
    for Saying { arrives_us, emitted_us, run, partition, progress, handed } in sayings {
        let log = &mut all[partition];
        let at = Offset(log.last().map_or(0, |last: &Entry| last.offset.0 + 1 + i64::from(random.chance(5))));
        let mut share = |stream: usize, share: &Share| {
            let of_run = came.get(&(run, stream, partition)).map(Vec::as_slice).unwrap_or_default();
            // What came meanwhile may be vouched for, too.
            let known = of_run.partition_point(|(came_us, _)| *came_us < arrives_us).max(handed[stream]);
            let count = if random.chance(50) { known } else { handed[stream] };
            let (before, after) = told.get(&(run, stream, partition)).copied().unwrap_or((0, -1));
            let count = count.max(before);
            let after = if before == 0 { of_run[..count].first().map_or(-1, |(_, first)| first.0 - 1) } else { after };
            let through = if count == 0 { -1 } else { of_run[count - 1].1.0 };
            told.insert((run, stream, partition), (count, through));
            for entry in &mut logs[stream][partition] {
                if entry.offset.0 <= through && node_of(entry.run) == node_of(run) {
                    entry.vouched_at.get_or_insert(at);
                }
            }
            Share { after_offset: after, through_offset: through, records: (count - before) as i64, ..share.clone() }
        };
        let (flows, requests) = (share(0, &progress.flows), share(1, &progress.requests));
        let progress = Progress { flows, requests, ..progress };
        let appended_us = is_stamped.then_some(arrives_us);
        log.push(Entry {
            offset: at,
            timestamp_us: appended_us.unwrap_or(emitted_us),
            appended_us,
            kind: Kind::Value,
            datum: datum(encoder, &progress),
            facts: Vec::new(),
            run,
            vouched_at: None,
        });
    }
    all
}
