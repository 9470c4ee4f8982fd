//! Runs a processor as the runtime does, without Kafka: reads in any interleaving, commits, crashes, goes on from the checkpoints.

use headwater_processors::processor::{BadSnapshot, Checkpoint, Counters, Input, Memo, Output, Processor};
use headwater_processors::windows::Window;
use headwater_schemas::place::Offset;
use headwater_schemas::wire::WriterSchema;

use crate::logs::Log;
use headwater_testing::Random;

/// In which manner to read.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    pub seed: u64,
    /// Records of one input in a row.
    pub batch_max: i64,
    /// About how often it crashes, at any places.
    pub crashes: u32,
    /// Of a hundred crashes, how many are recovered from by a snapshot if there is one.
    pub snapshots: i64,
}

/// What stands for the state at one of the commits.
struct Snapshot {
    bytes: Vec<u8>,
    windows_since: usize,
}

impl Pace {
    pub const STEADY: Pace = Pace { seed: 0, batch_max: 1, crashes: 0, snapshots: 0 };
}

/// What committed readers of the outputs see.
#[derive(Default)]
pub struct Committed {
    pub outputs: Vec<Output>,
    pub counters: Counters,
    /// Where the join sealed each window, for flows and for requests, in the log of progress.
    pub seals: Vec<(Window, Offset, Offset)>,
    pub crashes: u32,
    /// Of these, those behind which a snapshot was gone on from.
    pub restored: u32,
}

/// Schemas of the values and of the control records.
pub struct Schemas<'a> {
    pub values: Vec<&'a WriterSchema>,
    pub control: &'a WriterSchema,
}

/// Makes the processor as checkpoints left it, or from a snapshot.
pub type Make<'a> = dyn Fn(&[Option<Checkpoint>], Option<&[u8]>) -> Result<Box<dyn Processor>, BadSnapshot> + 'a;

pub fn drive(make: &Make<'_>, logs: &[&Log], schemas: &Schemas<'_>, pace: Pace) -> Committed {
    let mut random = Random::new(pace.seed);
    let mut checkpoints: Vec<Option<Checkpoint>> = vec![None; logs.len()];
    let mut processor = make(&checkpoints, None).unwrap();
    let mut snapshot: Option<Snapshot> = None;
    let mut places = vec![0; logs.len()];
    let mut committed = Committed::default();
    let batches = logs.iter().map(|log| log.len()).sum::<usize>() as f64 / ((pace.batch_max as f64 + 1.0) / 2.0);
    let crash_chance = f64::from(pace.crashes) / batches.max(1.0);
    loop {
        let readable: Vec<usize> = (0..logs.len()).filter(|&stream| places[stream] < logs[stream].len()).collect();
        if readable.is_empty() {
            break;
        }
        let stream = readable[random.between(0, readable.len() as i64 - 1) as usize];
        for _ in 0..random.between(1, pace.batch_max) {
            let Some(entry) = logs[stream].get(places[stream]).filter(|_| processor.wants(stream)) else {
                break;
            };
            let schema = match entry.kind {
                headwater_processors::processor::Kind::Value => schemas.values[stream],
                headwater_processors::processor::Kind::Control => schemas.control,
            };
            let (offset, timestamp_us, kind) = (entry.offset, Some(entry.timestamp_us), entry.kind);
            let (appended_us, datum) = (entry.appended_us, entry.datum.as_slice());
            let input = Input { stream, offset, timestamp_us, appended_us, kind, partitions: None, schema, datum };
            processor.record(input).unwrap_or_else(|error| panic!("offset {offset} of input {stream}: {error}"));
            places[stream] += 1;
        }
        if committed.crashes < 2 * pace.crashes && random.unit() < crash_chance {
            committed.crashes += 1;
            let kept = snapshot.as_ref().filter(|_| random.chance(pace.snapshots));
            let restored = kept.map(|snapshot| (make(&checkpoints, Some(&snapshot.bytes)), snapshot.windows_since));
            let from = match restored {
                Some((Ok(restored), _)) => {
                    committed.restored += 1;
                    processor = restored;
                    processor.read_from().unwrap()
                }
                other => {
                    if let Some((Err(error), windows_since)) = other {
                        assert!(windows_since > 4, "{windows_since} windows after it a snapshot is refused: {error}");
                    }
                    processor = make(&checkpoints, None).unwrap();
                    let needed_from = |checkpoint: &Option<Checkpoint>| checkpoint.as_ref().map(|it| it.needed_from);
                    checkpoints.iter().map(|checkpoint| needed_from(checkpoint).unwrap_or(Offset::FIRST)).collect()
                }
            };
            for (stream, log) in logs.iter().enumerate() {
                places[stream] = log.partition_point(|entry| entry.offset < from[stream]);
            }
        } else if random.chance(if processor.has_outputs() { 70 } else { 3 }) {
            let closed = committed.outputs.iter().filter(|output| matches!(output, Output::Closed(..))).count();
            commit(processor.as_mut(), logs, &places, &mut checkpoints, &mut committed);
            let now_closed = committed.outputs.iter().filter(|output| matches!(output, Output::Closed(..))).count();
            if let Some(snapshot) = &mut snapshot {
                snapshot.windows_since += now_closed - closed;
            }
            if pace.snapshots > 0 && random.chance(30) {
                let new = processor.snapshot().map(|bytes| Snapshot { bytes, windows_since: 0 });
                snapshot = new.or(snapshot);
            }
        }
    }
    commit(processor.as_mut(), logs, &places, &mut checkpoints, &mut committed);
    committed
}

fn commit(
    processor: &mut dyn Processor,
    logs: &[&Log],
    places: &[usize],
    checkpoints: &mut [Option<Checkpoint>],
    committed: &mut Committed,
) {
    committed.outputs.extend(processor.take_outputs());
    for (name, count) in processor.take_counters().iter() {
        committed.counters.add(name, count);
    }
    for (stream, mut checkpoint) in processor.checkpoints().into_iter().enumerate() {
        let read_to = places[stream].checked_sub(1).map_or(Offset::FIRST, |last| logs[stream][last].offset.next());
        assert!(
            checkpoint.needed_from <= read_to.max(checkpoint.needed_from.min(read_to.next())),
            "needs what was not read"
        );
        checkpoint.memo.read_to = checkpoint.memo.read_to.max(read_to);
        // As it is committed: text, below the 4 KiB that Kafka lets it have.
        let text = serde_json::to_string(&checkpoint.memo).unwrap();
        assert!(text.len() < 4096, "{text}");
        checkpoint.memo = serde_json::from_str::<Memo>(&text).unwrap();
        checkpoints[stream] = Some(checkpoint);
    }
    if let [Some(first), Some(second), ..] = checkpoints {
        for (window, offset) in &first.memo.seals {
            let other = second.memo.seals.iter().find(|(other, _)| other == window);
            let is_new = committed.seals.iter().all(|(known, ..)| known != window);
            if let Some((_, other)) = other.filter(|_| is_new) {
                committed.seals.push((*window, *offset, *other));
            }
        }
    }
}
