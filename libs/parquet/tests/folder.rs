//! What is pushed into a folder is in its files, once, whatever is killed in between.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use headwater_parquet::{Columns, ExportError, Folder, PROGRESS, Place};
use headwater_schemas::records::{Edge, Record};
use headwater_schemas::samples;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Row, RowAccessor};
use proptest::prelude::*;

const HOUR_US: i64 = 3_600_000_000;

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn rows(folder: &Path) -> Vec<Row> {
    let parquet = files(folder).into_iter().filter(|path| path.extension().is_some_and(|end| end == "parquet"));
    let rows = parquet.flat_map(|path| {
        let reader = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
        reader.get_row_iter(None).unwrap().map(Result::unwrap).collect::<Vec<_>>()
    });
    rows.collect()
}

fn edges(folder: &Path) -> Result<Folder, ExportError> {
    Folder::open(folder, "headwater.edges", Columns::of_avro(Edge::SCHEMA)?)
}

fn at(partition: i32, offset: i64) -> Place {
    Place { partition, offset, timestamp_ms: 1_790_000_000_000 }
}

/// By partition, the offsets that are in files, in order.
fn offsets(folder: &Path) -> BTreeMap<i32, Vec<i64>> {
    let mut offsets = BTreeMap::<i32, Vec<i64>>::new();
    for row in rows(folder) {
        offsets.entry(row.get_int(0).unwrap()).or_default().push(row.get_long(1).unwrap());
    }
    offsets.values_mut().for_each(|offsets| offsets.sort_unstable());
    offsets
}

/// Every topic's record, with all its fields, becomes a row.
#[test]
fn each_record_has_columns() {
    fn check<R: Record + serde::Serialize>(record: &R) {
        let folder = tempfile::tempdir().unwrap();
        let columns = Columns::of_avro(R::SCHEMA).unwrap();
        let mut into = Folder::open(folder.path(), R::NAME, columns).unwrap();
        into.push(record, 1_790_000_000_000_000, at(3, 7)).unwrap();
        into.commit().unwrap();
        let rows = rows(folder.path());
        assert_eq!((rows.len(), rows[0].get_int(0).unwrap(), rows[0].get_long(1).unwrap()), (1, 3, 7), "{}", R::NAME);
        // What it holds, by the words that another reader of the same record has for it.
        let json = serde_json::to_value(record).unwrap();
        let found = rows[0].to_json_value();
        for (name, value) in json.as_object().unwrap() {
            let found = found.get(name).unwrap_or_else(|| panic!("{}: {name} is not there", R::NAME));
            if value.is_string() || value.is_boolean() {
                assert_eq!(found, value, "{}: {name}", R::NAME);
            }
        }
    }
    check(&samples::flow());
    check(&samples::request());
    check(&samples::identity());
    check(&samples::process());
    check(&samples::agent());
    check(&samples::partial());
    check(&samples::edge());
    check(&samples::latency());
    check(&samples::alert());
    check(&samples::dead_letter());
}

#[test]
fn files_stand_by_the_hour_and_a_later_export_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let start_us = 1_790_000_000_000_000 / HOUR_US * HOUR_US;
    let mut into = edges(folder.path()).unwrap();
    assert!(into.next_offsets().is_empty());
    for (offset, time_us) in [(0, start_us), (1, start_us + HOUR_US - 1), (2, start_us + HOUR_US)] {
        into.push(&samples::edge(), time_us, at(0, offset)).unwrap();
    }
    into.passed(0, 3);
    into.commit().unwrap();
    assert_eq!((into.totals().rows, into.totals().files), (3, 2));
    drop(into);
    let mut into = edges(folder.path()).unwrap();
    assert_eq!(into.next_offsets(), &BTreeMap::from([(0, 4)]));
    into.push(&samples::edge(), start_us, at(0, 4)).unwrap();
    into.commit().unwrap();
    let names: Vec<String> = files(folder.path())
        .iter()
        .map(|path| path.strip_prefix(folder.path()).unwrap().to_str().unwrap().to_owned())
        .collect();
    let hour = |hour: &str, number: u64| format!("date=2026-09-21/hour={hour}/{number:06}.parquet");
    assert_eq!(names, [PROGRESS.to_owned(), hour("14", 0), hour("14", 1), hour("15", 0)]);
    let other = Folder::open(folder.path(), "headwater.latencies", Columns::of_avro(Edge::SCHEMA).unwrap());
    assert!(matches!(other.err(), Some(ExportError::OtherTopic { .. })));
}

#[test]
fn nothing_to_export_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut into = edges(folder.path()).unwrap();
    into.commit().unwrap();
    assert_eq!(files(folder.path()).len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// A writer that goes away at any moment, also between its files and its word that they count, leaves each record in one file once it has gone on.
    #[test]
    fn each_record_is_in_one_file(steps in proptest::collection::vec((0u8..10, 0i64..4), 1..60)) {
        let folder = tempfile::tempdir().unwrap();
        let start_us = 1_790_000_000_000_000;
        let mut into = edges(folder.path()).unwrap();
        let mut end = 0;
        for (step, hour) in steps {
            match step {
                0 => into.commit().unwrap(),
                1 => {
                    drop(into);
                    into = edges(folder.path()).unwrap();
                }
                2 => {
                    // Its files are whole, and its word of them is lost.
                    let before = fs::read(folder.path().join(PROGRESS)).ok();
                    into.commit().unwrap();
                    drop(into);
                    match before {
                        Some(before) => fs::write(folder.path().join(PROGRESS), before).unwrap(),
                        None => fs::remove_file(folder.path().join(PROGRESS)).unwrap(),
                    }
                    into = edges(folder.path()).unwrap();
                }
                _ => {
                    let next = into.next_offsets().get(&0).copied().unwrap_or(0);
                    into.push(&samples::edge(), start_us + hour * HOUR_US, at(0, next)).unwrap();
                    end = end.max(next + 1);
                }
            }
        }
        for offset in into.next_offsets().get(&0).copied().unwrap_or(0)..end {
            into.push(&samples::edge(), start_us, at(0, offset)).unwrap();
        }
        into.commit().unwrap();
        let expected = if end == 0 { BTreeMap::new() } else { BTreeMap::from([(0, (0..end).collect::<Vec<_>>())]) };
        prop_assert_eq!(offsets(folder.path()), expected);
    }
}
