//! `cargo +nightly fuzz run files`: any bytes in the files of the spool's folder, also behind a head and frames that are valid. Whatever
//! is there, a run begins, hands over each position at most once and in order, ends, takes new messages behind that, and leaves an empty folder.

#![no_main]

use std::fs;
use std::path::Path;

use headwater_spool::frame::{Entry, Head};
use headwater_spool::{Event, Handed, Options, Spool};

const INPUT_BYTES_MAX: usize = 1 << 16;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((&[shape, first, length], rest)) = input.split_first_chunk::<3>() else { return };
    if rest.len() > INPUT_BYTES_MAX {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (one, other) = rest.split_at(rest.len().min(usize::from(length)));
    write(folder.path(), u64::from(first), shape, one);
    write(folder.path(), u64::from(first) + u64::from(shape), shape >> 4, other);
    if shape & 8 != 0 {
        fs::write(folder.path().join("acknowledged"), other).expect("write a note");
    }
    let options = Options { bytes_max: 1 << 20, memory_bytes_max: 1 << 20, note: Vec::new() };
    let mut spool = Spool::open(folder.path(), &options).expect("open a folder of ours");
    assert!(spool.push(0, b"key", b"new").is_ok());
    let mut positions: Vec<u64> = Vec::new();
    let mut news = 0;
    spool.hand_over(|event| {
        if let Event::Entry(entry, writer) = event {
            assert!(positions.last().is_none_or(|last| *last < entry.position), "out of order");
            positions.push(entry.position);
            news += u32::from(writer.is_ours);
        }
        Handed { messages: 1, is_complete: true }
    });
    assert_eq!(news, 1, "the new one is handed over");
    assert!(spool.is_read());
    positions.iter().for_each(|position| spool.acknowledge(*position));
    spool.settle();
    assert_eq!(spool.bytes(), (0, 0));
});

/// A file of bytes; behind a head and entries that are valid, if the shape says so.
fn write(folder: &Path, first: u64, shape: u8, bytes: &[u8]) {
    let mut file = Vec::new();
    if shape & 1 != 0 {
        file.extend(Head { run: u64::from(shape), since_us: 1, note: b"note".to_vec() }.write());
    }
    if shape & 2 != 0 {
        for number in 0..u64::from(shape & 7) {
            Entry { position: first + number, kind: shape & 3, key: b"key", value: &number.to_le_bytes() }
                .write(&mut file);
        }
    }
    file.extend(bytes);
    fs::write(folder.join(format!("{first:020}.log")), file).expect("write a file");
}
