//! `headwater export` on a real Kafka: what stands in the topics is in the files, once, also after the next export, and other readers of Parquet find it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use headwater_console::clock::now_us;
use headwater_kafka::{Partition, Publisher};
use headwater_schemas::records::{Edge, Workload};
use headwater_schemas::topics::Topic;
use headwater_system_tests::lab::shared;
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::{Value, json};

use crate::windows::{WINDOW_US, Written, closed, edge, printed, publish, refused};

/// All rows below a folder, as JSON.
fn rows(folder: &Path) -> Vec<Value> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(rows(&path));
        } else if path.extension().is_some_and(|end| end == "parquet") {
            let reader = SerializedFileReader::new(File::open(&path).unwrap()).unwrap();
            found.extend(reader.get_row_iter(None).unwrap().map(|row| row.unwrap().to_json_value()));
        }
    }
    found
}

fn windows(from_us: i64, count: i64) -> impl Iterator<Item = Written> {
    (0..count).flat_map(move |at| {
        let window_us = from_us + at * WINDOW_US;
        let of = |name: &str| Edge { requests: at, server: Workload::local("program", name), ..edge(window_us) };
        [Written::Edge(of("b")), Written::Edge(of("c")), Written::Closed(Topic::Edges, closed(window_us))]
    })
}

#[test]
fn what_is_in_a_topic_is_in_files_once() {
    let settings = shared("export").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().to_str().unwrap();
    let from_us = (now_us() / WINDOW_US - 1000) * WINDOW_US;
    publish(&settings, windows(from_us, 400));
    // One that nobody can read costs none of its neighbours.
    let topic = Topic::Edges.name(&settings.prefix);
    let publisher = Publisher::start(&settings, vec![topic]).unwrap();
    publisher.publish(0, Partition(0), b"bad", Some(b"\x01bad"), &[]).unwrap();
    publisher.flush(std::time::Duration::from_secs(60)).unwrap();
    publish(&settings, windows(from_us + 400 * WINDOW_US, 10));

    let told: Value =
        serde_json::from_str(&printed(&settings, &["export", "edges", "--into", into, "--json"])).unwrap();
    assert_eq!(
        (&told["records"], &told["unreadable"], &told["deleted"]),
        (&820.into(), &1.into(), &0.into()),
        "{told}"
    );
    let told = printed(&settings, &["export", "edges", "--into", into]);
    assert!(told.contains("edges: nothing new"), "{told}");
    publish(&settings, windows(from_us + 410 * WINDOW_US, 1));
    let told = printed(&settings, &["export", "edges", "--into", into]);
    assert!(told.contains("edges: 2 records in 1 files"), "{told}");

    let mut found: Vec<(i64, String, i64)> = rows(folder.path())
        .iter()
        .map(|row| {
            let server = row["server"]["name"].as_str().unwrap().to_owned();
            (row["kafka_offset"].as_i64().unwrap(), server, row["requests"].as_i64().unwrap())
        })
        .collect();
    found.sort();
    assert_eq!(found.len(), 822);
    let each = |at: usize| ["b", "c"].map(|name| (name.to_owned(), at as i64));
    let expected = (0..400).chain(0..10).chain(0..1).flat_map(each);
    let found: Vec<(String, i64)> = found.into_iter().map(|(_, server, requests)| (server, requests)).collect();
    assert_eq!(found, expected.collect::<Vec<_>>());

    // Of another topic there is nothing to go on with.
    let exported = folder.path().join("edges");
    fs::write(exported.join("_progress.json"), r#"{"topic": "x", "next_batch": 1, "next_offsets": {}}"#).unwrap();
    let error = refused(&settings, &["export", "edges", "--into", into]);
    assert!(error.contains("exported of x"), "{error}");
}

#[test]
fn duckdb_pandas_and_polars_read_what_was_exported() {
    let settings = shared("export-read").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let from_us = (now_us() / WINDOW_US - 1000) * WINDOW_US;
    let slow = Edge { p95_us: 1234.5, ..edge(from_us + 400 * WINDOW_US) };
    publish(&settings, windows(from_us, 400).chain([Written::Edge(slow)]));
    let into = folder.path().to_str().unwrap();
    let told = printed(&settings, &["export", "edges", "--into", into]);
    assert!(told.contains("801 records"), "{told}");

    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/export");
    let modules = headwater_testing::python_modules("parquet-readers", &here.join("requirements.txt")).unwrap();
    let requests: i64 = (0..400).sum();
    let hours: BTreeSet<i64> = (0..401).map(|at| (from_us + at * WINDOW_US) / 3_600_000_000).collect();
    for (reader, kind) in [
        ("duckdb", "TIMESTAMP WITH TIME ZONE"),
        ("pandas", "datetime64[us, UTC]"),
        ("polars", "Datetime(time_unit='us', time_zone='UTC')"),
    ] {
        let mut python = Command::new("python3");
        python.arg(here.join("read.py")).args([reader, &format!("{into}/edges")]).env("PYTHONPATH", &modules);
        let output = python.output().unwrap();
        assert!(output.status.success(), "{reader}: {}", String::from_utf8_lossy(&output.stderr));
        let read: Value = serde_json::from_slice(&output.stdout).unwrap();
        let expected = json!({
            "requests": {"b": requests + 1, "c": requests},
            "kind": kind,
            "first_us": from_us,
            "p95_us": 1234.5,
            "hours": hours.len(),
        });
        assert_eq!(read, expected, "{reader}");
    }
}
