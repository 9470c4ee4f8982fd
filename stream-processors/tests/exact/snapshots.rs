//! Snapshots of the join: what is written is what is read, for ever under one version, and nothing else is gone on from.
//!
//! That going on from one changes no bit of the output is shown in [`crate::join`].

use std::path::Path;

use headwater_processors::join::{Join, JoinSettings, REACH_WINDOWS};
use headwater_processors::processor::{Checkpoint, Input, Memo, Output, Processor, Replay};
use headwater_processors::windows::Windows;
use headwater_schemas::place::{Offset, Partition};

use crate::join::{logs, wire};
use crate::logs::{Log, Logs};
use crate::world::{Plan, World};

/// A snapshot of this version, in the middle of the world below.
const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/exact/snapshot-7.bin");

/// Some of everything: nodes that stop, losses, records of several exchanges, sides that come late.
fn world() -> World {
    World::of(&Plan {
        seed: 11,
        nodes: 3,
        partitions: 1,
        connections: 12,
        seconds: 60,
        skew_ms: 2_000,
        is_stamped: true,
        late_closes: true,
        drops: true,
        stalls: true,
        kills: true,
        stops: true,
        sums: true,
    })
}

fn restore(checkpoints: &[Option<Checkpoint>], bytes: &[u8]) -> Result<Join, String> {
    let join = Join::restore(Partition(0), 1, JoinSettings::default(), checkpoints, bytes);
    join.map_err(|error| error.to_string())
}

/// Reads on until so many windows are closed, or to the end.
fn read_on(join: &mut Join, logs: &Logs, windows: usize) -> Vec<Output> {
    let logs: [&Log; 3] = [&logs.flows[0], &logs.requests[0], &logs.progress[0]];
    let from = join.read_from().unwrap();
    let mut places: Vec<usize> =
        (0..3).map(|stream| logs[stream].partition_point(|e| e.offset < from[stream])).collect();
    let mut outputs = Vec::new();
    let closed = |outputs: &[Output]| outputs.iter().filter(|output| matches!(output, Output::Closed(..))).count();
    loop {
        let mut has_read = false;
        for stream in 0..3 {
            let Some(entry) = logs[stream].get(places[stream]).filter(|_| join.wants(stream)) else { continue };
            let schema = [&wire().flow, &wire().request, &wire().progress][stream];
            let (offset, timestamp_us, appended_us) = (entry.offset, Some(entry.timestamp_us), entry.appended_us);
            let (kind, datum) = (entry.kind, entry.datum.as_slice());
            join.record(Input { stream, offset, timestamp_us, appended_us, kind, partitions: None, schema, datum })
                .unwrap();
            (places[stream], has_read) = (places[stream] + 1, true);
            outputs.extend(join.take_outputs());
            if closed(&outputs) >= windows {
                return outputs;
            }
        }
        if !has_read {
            return outputs;
        }
    }
}

/// What is committed in the middle, the snapshot of then, and what comes after.
fn in_the_middle(logs: &Logs) -> (Vec<Option<Checkpoint>>, Vec<u8>, Vec<Output>) {
    let mut join = Join::new(Partition(0), 1, JoinSettings::default(), &[None, None, None]);
    read_on(&mut join, logs, 3);
    let checkpoints = join.checkpoints().into_iter().map(Some).collect();
    let snapshot = join.snapshot().unwrap();
    (checkpoints, snapshot, read_on(&mut join, logs, usize::MAX))
}

#[test]
fn a_snapshot_of_this_version_is_gone_on_from_for_ever() {
    let logs = logs(&world());
    let (checkpoints, snapshot, rest) = in_the_middle(&logs);
    assert!(rest.len() > 20, "only {} outputs come behind it", rest.len());
    if std::env::var_os("UPDATE_SNAPSHOT").is_some() {
        std::fs::write(Path::new(FIXTURE), &snapshot).unwrap();
    }
    let fixture = std::fs::read(FIXTURE).unwrap();
    let about = "if the form of a snapshot changes, it needs another version (src/join/snapshot.rs) and, by UPDATE_SNAPSHOT=1, another fixture";
    assert_eq!(fixture.len(), snapshot.len(), "{about}");
    let mut join = restore(&checkpoints, &fixture).unwrap_or_else(|error| panic!("{error}; {about}"));
    assert!(read_on(&mut join, &logs, usize::MAX) == rest, "{about}");
}

#[test]
fn what_is_no_snapshot_of_this_state_is_refused() {
    let logs = logs(&world());
    let (checkpoints, snapshot, _) = in_the_middle(&logs);
    let refused =
        |checkpoints: &[Option<Checkpoint>], bytes: &[u8]| restore(checkpoints, bytes).err().unwrap_or_default();
    assert_eq!(refused(&checkpoints, &snapshot), "");
    for length in (0..snapshot.len()).step_by(7) {
        assert_ne!(refused(&checkpoints, &snapshot[..length]), "", "{length} bytes of {}", snapshot.len());
    }
    let mut of_later = snapshot.clone();
    of_later[0] += 1;
    assert!(refused(&checkpoints, &of_later).contains("version"));
    assert!(refused(&[None, None, None], &snapshot).contains("committed"));
    let with = |change: &dyn Fn(&mut Memo)| {
        let mut others = checkpoints.clone();
        others.iter_mut().flatten().for_each(|checkpoint| change(&mut checkpoint.memo));
        others
    };
    let window_us = JoinSettings::default().windows.length_us();
    let later =
        |windows: i64| with(&|memo: &mut Memo| *memo.closed_through_us.as_mut().unwrap() += windows * window_us);
    assert_eq!(refused(&later(REACH_WINDOWS - 1), &snapshot), "");
    assert!(refused(&later(REACH_WINDOWS + 1), &snapshot).contains("too old"));
    assert!(refused(&later(-1), &snapshot).contains("newer"));
    let replay = Replay { from_us: 0, to_us: 1, memory_from_us: None, at_end: false };
    assert_ne!(refused(&with(&|memo| memo.replay = Some(replay)), &snapshot), "");

    let of = |partition, settings| Join::restore(Partition(partition), 1, settings, &checkpoints, &snapshot).err();
    let shorter = JoinSettings { windows: Windows::of_ms(5000), ..JoinSettings::default() };
    assert!(of(1, JoinSettings::default()).unwrap().to_string().contains("partition"));
    assert!(of(0, shorter).unwrap().to_string().contains("settings"));
}

#[test]
fn whatever_byte_is_another_nothing_panics() {
    let logs = logs(&world());
    let (checkpoints, snapshot, _) = in_the_middle(&logs);
    for place in 0..snapshot.len() {
        let mut other = snapshot.clone();
        other[place] ^= 0x55;
        let _ = restore(&checkpoints, &other);
    }
}

#[test]
fn while_windows_are_closed_again_there_is_none() {
    let logs = logs(&world());
    let (checkpoints, ..) = in_the_middle(&logs);
    let mut again = Join::new(Partition(0), 1, JoinSettings::default(), &checkpoints);
    assert_eq!((again.snapshot_bytes(), again.snapshot()), (None, None));
    read_on(&mut again, &logs, 1);
    assert!(again.snapshot().is_some(), "it is as far as before, and more");
    let replay = Some(Replay { from_us: 0, to_us: i64::MAX, memory_from_us: None, at_end: false });
    let memo = Memo { window_ms: 10_000, replay, ..Memo::default() };
    let checkpoint = Some(Checkpoint { needed_from: Offset::FIRST, memo });
    let mut replay =
        Join::new(Partition(0), 1, JoinSettings::default(), &[checkpoint.clone(), checkpoint.clone(), checkpoint]);
    read_on(&mut replay, &logs, 3);
    assert_eq!(replay.snapshot(), None);
}
