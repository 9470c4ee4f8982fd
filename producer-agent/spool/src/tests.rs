//! The log against what a plain list says, with kills, full disks and damaged files.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use crate::{Event, Handed, Options, Refused, Spool};

fn options(bytes_max: u64, memory_bytes_max: usize) -> Options {
    Options { bytes_max, memory_bytes_max, note: b"note".to_vec() }
}

fn open(path: &Path) -> Spool {
    Spool::open(path, &options(1 << 20, 1 << 20)).unwrap()
}

fn push(spool: &mut Spool, values: std::ops::Range<u8>) {
    values.for_each(|value| spool.push(0, b"key", &[value]).unwrap());
}

/// Hands over all that is taken, and returns the values with their positions.
fn take(spool: &mut Spool, most: usize) -> Vec<(u64, u8)> {
    let mut taken = Vec::new();
    spool.hand_over(|event| match event {
        Event::Entry(entry, _) if taken.len() < most => {
            taken.push((entry.position, entry.value[0]));
            Handed { messages: 1, is_complete: true }
        }
        _ => Handed::NOT,
    });
    taken
}

fn values(taken: &[(u64, u8)]) -> Vec<u8> {
    taken.iter().map(|(_, value)| *value).collect()
}

fn files(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|end| end == "log")).collect();
    files.sort();
    files
}

#[test]
fn what_was_written_outlives_a_kill_in_its_order_and_comes_before_what_is_new() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(folder.path());
    push(&mut spool, 0..5);
    spool.write_out();
    push(&mut spool, 5..7);
    drop(spool);
    let mut spool = open(folder.path());
    push(&mut spool, 10..12);
    let taken = take(&mut spool, 99);
    assert_eq!(values(&taken), [0, 1, 2, 3, 4, 10, 11], "what was in memory alone is lost");
    assert!(taken.is_sorted_by(|one, next| one.0 < next.0));
    assert!(spool.is_read());
    taken.iter().for_each(|(position, _)| spool.acknowledge(*position));
    spool.settle();
    assert_eq!((spool.bytes(), files(folder.path()).len()), ((0, 0), 0));
    drop(spool);
    assert_eq!(take(&mut open(folder.path()), 99), []);
}

#[test]
fn what_was_acknowledged_is_not_handed_over_again_after_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(folder.path());
    push(&mut spool, 0..9);
    spool.write_out();
    let taken = take(&mut spool, 6);
    // Those of one partition come before those of another one.
    for index in [0, 1, 2, 4] {
        spool.acknowledge(taken[index as usize].0);
    }
    spool.settle();
    drop(spool);
    assert_eq!(values(&take(&mut open(folder.path()), 99)), [3, 4, 5, 6, 7, 8]);
}

#[test]
fn what_is_on_its_way_outlives_a_kill_as_well_unless_it_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(folder.path());
    let mut positions = Vec::new();
    for value in 0..4 {
        assert!(spool.is_read());
        positions.push(spool.next_position());
        spool.handed(0, b"key", &[value]);
    }
    // Nothing is written yet, and the first is acknowledged meanwhile.
    spool.acknowledge(positions[0]);
    spool.acknowledge(positions[2]);
    spool.settle();
    push(&mut spool, 4..6);
    spool.write_out();
    assert_eq!(values(&take(&mut spool, 99)), [4, 5], "the others are on their way");
    drop(spool);
    let mut spool = open(folder.path());
    assert_eq!(values(&take(&mut spool, 99)), [1, 3, 4, 5], "the third one was acknowledged out of its turn");
}

#[test]
fn what_is_acknowledged_leaves_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("unused");
    let mut spool = Spool::open(&path, &options(1 << 20, 1 << 20)).unwrap();
    for _ in 0..100 {
        let first = spool.next_position();
        (0..200).for_each(|_| spool.handed(0, b"key", &[1; 200]));
        (first..spool.next_position()).for_each(|position| spool.acknowledge(position));
        spool.settle();
        assert_eq!(spool.bytes(), (0, 0));
    }
    assert!(!path.exists());
}

/// As a message that goes to every partition does.
#[test]
fn an_entry_of_several_messages_is_done_when_all_of_them_are() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(folder.path());
    push(&mut spool, 0..1);
    spool.write_out();
    let mut position = 0;
    for handed in [Handed { messages: 2, is_complete: false }, Handed { messages: 1, is_complete: true }] {
        spool.hand_over(|event| {
            let Event::Entry(entry, _) = event else { return Handed::NOT };
            position = entry.position;
            handed
        });
    }
    for left in (0..3).rev() {
        spool.acknowledge(position);
        spool.settle();
        assert_eq!(files(folder.path()).is_empty(), left == 0);
    }
}

#[test]
fn a_write_that_was_torn_at_any_byte_costs_what_was_torn_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(folder.path());
    push(&mut spool, 0..3);
    spool.write_out();
    let file = files(folder.path()).remove(0);
    let before = fs::metadata(&file).unwrap().len();
    push(&mut spool, 3..5);
    spool.write_out();
    drop(spool);
    let whole = fs::read(&file).unwrap();
    let second = before + (whole.len() as u64 - before) / 2;
    for end in before..=whole.len() as u64 {
        fs::write(&file, &whole[..end as usize]).unwrap();
        let mut spool = open(folder.path());
        let (mut taken, mut lost) = (Vec::new(), Vec::new());
        push(&mut spool, 7..8);
        spool.hand_over(|event| {
            match event {
                Event::Entry(entry, _) => taken.push(entry.value[0]),
                Event::Lost { bytes, .. } => lost.push(bytes),
            }
            Handed { messages: 1, is_complete: true }
        });
        let whole_ones = 3 + u8::from(end >= second) + u8::from(end == whole.len() as u64);
        assert_eq!(taken, (0..whole_ones).chain([7]).collect::<Vec<u8>>(), "{end} bytes");
        let torn = if end >= second { end - second } else { end - before };
        let torn = if end == whole.len() as u64 { 0 } else { torn };
        assert_eq!(lost.iter().sum::<u64>(), torn, "{end} bytes");
    }
}

#[test]
fn a_damaged_file_costs_its_rest_and_it_is_said_how_much() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(folder.path());
    push(&mut spool, 0..4);
    // It fills the file.
    spool.push(2, b"key", &[9; 140_000]).unwrap();
    push(&mut spool, 4..6);
    spool.write_out();
    let file = files(folder.path()).remove(0);
    let mut bytes = fs::read(&file).unwrap();
    let frame_bytes = crate::Entry { position: 1, kind: 0, key: b"key", value: &[1] }.frame_bytes();
    bytes[crate::frame::Head::bytes(b"note") + 3 * frame_bytes - 1] ^= 1;
    fs::write(&file, bytes).unwrap();
    let (mut taken, mut lost) = (Vec::new(), Vec::new());
    spool.hand_over(|event| {
        match event {
            Event::Entry(entry, _) => taken.push(entry.value[0]),
            Event::Lost { counts, writer, .. } => lost.push((writer.is_ours, counts.unwrap())),
        }
        Handed { messages: 1, is_complete: true }
    });
    assert_eq!((taken, lost), (vec![0, 1, 4, 5], vec![(true, [2, 0, 1, 0, 0, 0, 0])]));
}

#[test]
fn a_file_without_head_and_files_of_others_stop_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(folder.path());
    push(&mut spool, 0..2);
    spool.write_out();
    drop(spool);
    for (name, bytes) in [("00000000000000000000.log", &b""[..]), ("12.log", b"?"), ("notes", b"?")] {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    fs::write(folder.path().join("00000000000000000900.log"), [7; 99]).unwrap();
    fs::write(folder.path().join("acknowledged"), [7; 99]).unwrap();
    let mut spool = open(folder.path());
    let (mut taken, mut lost) = (Vec::new(), 0);
    spool.hand_over(|event| {
        match event {
            Event::Entry(entry, _) => taken.push(entry.position),
            Event::Lost { .. } => lost += 1,
        }
        Handed { messages: 1, is_complete: true }
    });
    assert_eq!((taken.len(), lost), (2, 2));
    taken.iter().for_each(|position| spool.acknowledge(*position));
    spool.settle();
    assert_eq!(files(folder.path()).len(), 1, "a file of somebody else stays");
}

#[test]
fn the_disk_has_its_bound_and_memory_its_own_and_what_finds_no_room_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let bytes_max = 256 << 10;
    let mut spool = Spool::open(folder.path(), &options(bytes_max, 64 << 10)).unwrap();
    let value = [1; 1000];
    let mut taken = 0;
    let refused = loop {
        match spool.push(0, b"key", &value) {
            Ok(()) => taken += 1,
            Err(refused) => break refused,
        }
        spool.write_out();
    };
    let on_disk: u64 = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    let (file_bytes, memory_bytes) = spool.bytes();
    assert_eq!(refused, Refused::Full);
    assert!((taken as u64) * 1000 > bytes_max && on_disk <= bytes_max, "{taken} taken, {on_disk} bytes on disk");
    assert!(file_bytes <= on_disk && memory_bytes <= 64 << 10);
    assert_eq!(spool.push(0, b"key", &vec![0; 5 << 20]), Err(Refused::TooLarge));
    let mut handed = 0;
    spool.hand_over(|_| {
        handed += 1;
        Handed { messages: 1, is_complete: true }
    });
    assert_eq!(handed, taken);
}

#[test]
fn a_full_disk_costs_nothing_that_memory_has_room_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(folder.path(), &options(1 << 20, 4 << 10)).unwrap();
    push(&mut spool, 0..5);
    spool.write_out();
    // Half an entry fits.
    spool.folder().disk_room.set(Some(10));
    push(&mut spool, 5..10);
    spool.write_out();
    assert_eq!(spool.failure().unwrap().kind(), std::io::ErrorKind::StorageFull);
    let refused = loop {
        if let Err(refused) = spool.push(1, b"key", &[99; 200]) {
            break refused;
        }
    };
    assert_eq!(refused, Refused::Disk);
    spool.folder().disk_room.set(None);
    spool.forget_failure();
    spool.write_out();
    assert!(spool.failure().is_none());
    drop(spool);
    let taken = values(&take(&mut open(folder.path()), 99));
    assert_eq!(taken[..10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert!(taken.len() > 20 && taken[10..].iter().all(|&value| value == 99));
}

#[test]
fn a_folder_is_made_when_it_is_needed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b");
    let mut spool = open(&path);
    push(&mut spool, 0..3);
    assert!(spool.has_folder() && values(&take(&mut spool, 1)) == [0] && !path.exists());
    spool.write_out();
    assert_eq!(files(&path).len(), 1);
    drop(spool);
    assert_eq!(values(&take(&mut open(&path), 99)), [0, 1, 2], "what is not acknowledged is not gone");

    // One that another program has used meanwhile, and one that cannot be made.
    for path in [folder.path().join("c"), folder.path().join("file/d")] {
        let mut spool = open(&path);
        push(&mut spool, 0..1);
        match path.parent().unwrap() == folder.path() {
            true => {
                let mut other = open(&path);
                push(&mut other, 0..1);
                other.write_out();
            }
            false => fs::write(folder.path().join("file"), "").unwrap(),
        }
        spool.write_out();
        assert!(spool.failure().is_some());
        assert_eq!(values(&take(&mut spool, 99)), [0]);
    }
}

#[test]
fn a_folder_has_one_user_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path());
    let error = Spool::open(folder.path(), &options(1 << 20, 1 << 20)).unwrap_err();
    assert!(error.to_string().contains("another program uses it"), "{error}");
    drop(spool);
    open(folder.path());
}

#[derive(Debug, Clone)]
enum Step {
    Push(u8),
    /// A message that is on its way already.
    Direct,
    WriteOut,
    HandOver(usize),
    /// Acknowledges those whose turn it is.
    Acknowledge(u8),
    Settle,
    FullDisk(u64),
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1..40u8).prop_map(Step::Push),
        2 => Just(Step::Direct),
        4 => Just(Step::WriteOut),
        4 => (1..40usize).prop_map(Step::HandOver),
        4 => any::<u8>().prop_map(Step::Acknowledge),
        3 => Just(Step::Settle),
        1 => (0..2000u64).prop_map(Step::FullDisk),
        2 => Just(Step::Kill),
    ]
}

/// What is in the log or on its way, by position.
#[derive(Default)]
struct Model {
    waiting: BTreeMap<u64, u32>,
    /// Handed over, and not acknowledged.
    on_the_way: BTreeMap<u64, u32>,
    acknowledged: BTreeSet<u64>,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Each message is handed over until it is acknowledged, those before it first; and not after that, but for what was acknowledged and
    /// not noted before a kill.
    #[test]
    fn nothing_is_lost_or_leaves_its_order(steps in proptest::collection::vec(step(), 1..120)) {
        let folder = tempfile::tempdir().unwrap();
        let options = options(64 << 10, 64 << 10);
        let mut spool = Spool::open(folder.path(), &options).unwrap();
        let mut model = Model::default();
        let mut number = 0u32;
        for step in steps.into_iter().chain([Step::HandOver(usize::MAX)]) {
            match step {
                Step::Push(bytes) => {
                    number += 1;
                    let mut value = number.to_le_bytes().to_vec();
                    value.resize(4 + usize::from(bytes) * 20, 0);
                    let position = spool.next_position();
                    if spool.push(1, b"key", &value).is_ok() {
                        model.waiting.insert(position, number);
                    }
                }
                Step::Direct => if spool.is_read() {
                    prop_assert!(model.waiting.is_empty());
                    number += 1;
                    model.on_the_way.insert(spool.next_position(), number);
                    spool.handed(1, b"key", &number.to_le_bytes());
                },
                Step::WriteOut => spool.write_out(),
                Step::HandOver(most) => {
                    let mut left = most;
                    let mut handed = Vec::new();
                    spool.hand_over(|event| {
                        let Event::Entry(entry, _) = event else { panic!("{event:?}") };
                        if left == 0 {
                            return Handed::NOT;
                        }
                        left -= 1;
                        handed.push((entry.position, u32::from_le_bytes(*entry.value.first_chunk().unwrap())));
                        Handed { messages: 1, is_complete: true }
                    });
                    for (position, value) in handed {
                        let first = model.waiting.pop_first();
                        prop_assert_eq!(first, Some((position, value)), "the first that waits is handed over");
                        model.on_the_way.insert(position, value);
                    }
                    prop_assert!(left == 0 || model.waiting.is_empty());
                    prop_assert_eq!(left == 0 && !model.waiting.is_empty(), !spool.is_read());
                }
                Step::Acknowledge(bits) => {
                    let some: Vec<u64> = model.on_the_way.keys().copied().filter(|p| bits >> (p % 8) & 1 == 1).collect();
                    for position in some {
                        spool.acknowledge(position);
                        model.on_the_way.remove(&position);
                        model.acknowledged.insert(position);
                    }
                }
                Step::Settle => spool.settle(),
                Step::FullDisk(room) => {
                    let before = spool.folder().disk_room.get();
                    spool.folder().disk_room.set(if before.is_some() { None } else { Some(room) });
                    spool.forget_failure();
                }
                Step::Kill => {
                    let survivors = spool.positions_in_files();
                    drop(spool);
                    spool = Spool::open(folder.path(), &options).unwrap();
                    let mut all = std::mem::take(&mut model.waiting);
                    all.append(&mut model.on_the_way);
                    all.retain(|position, _| survivors.contains(position));
                    // What was acknowledged last may come once more, in its place.
                    let mut again = Vec::new();
                    spool.hand_over(|event| {
                        let Event::Entry(entry, _) = event else { panic!("{event:?}") };
                        again.push((entry.position, u32::from_le_bytes(*entry.value.first_chunk().unwrap())));
                        Handed { messages: 1, is_complete: true }
                    });
                    prop_assert!(again.is_sorted_by(|one, next| one.0 < next.0));
                    let missing = all.iter().find(|(position, _)| !again.iter().any(|(p, _)| p == *position));
                    prop_assert_eq!(missing, None);
                    prop_assert!(again.iter().all(|(p, _)| all.contains_key(p) || model.acknowledged.contains(p)));
                    model.on_the_way = again.into_iter().collect();
                }
            }
            let on_disk: u64 =
                fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
            prop_assert!(on_disk <= options.bytes_max, "{} bytes", on_disk);
        }
        prop_assert!(model.waiting.is_empty());
    }
}
