//! Dashboards, scalers and the documentation ask for metrics that the programs have.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use headwater_manifests::folder;

/// A name that begins like one of ours.
const PREFIXES: [&str; 2] = ["headwater_", "process_"];

/// What docs/metrics.md lists, which tests of the programs hold against their tables.
fn known() -> BTreeSet<String> {
    let text = std::fs::read_to_string(folder().join("../docs/metrics.md")).unwrap();
    let mut known = BTreeSet::new();
    for line in text.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let Some(name) = cells.get(1).and_then(|cell| cell.strip_prefix('`')?.strip_suffix('`')) else { continue };
        known.insert(name.to_owned());
        if cells[2] == "histogram" {
            known.extend(["bucket", "sum", "count"].map(|part| format!("{name}_{part}")));
        }
    }
    assert!(known.len() > 40, "docs/metrics.md has no tables");
    known
}

fn metrics_in(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| PREFIXES.iter().any(|prefix| word.starts_with(prefix) && word.len() > prefix.len())).collect()
}

#[test]
fn every_metric_that_is_asked_for_exists() {
    let known = known();
    let mut files = vec![folder().join("../docs/operating.md")];
    for place in ["components/dashboards", "components/keda/objects/processor"] {
        files.extend(std::fs::read_dir(folder().join(place)).unwrap().map(|entry| entry.unwrap().path()));
    }
    let mut asked = 0;
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let unknown: Vec<&str> = metrics_in(&text).into_iter().filter(|name| !known.contains(*name)).collect();
        assert!(unknown.is_empty(), "{}: there is no {unknown:?}", file.display());
        asked += metrics_in(&text).len();
    }
    assert!(asked > 20, "the files ask for {asked} metrics: are they where they were?");
}

#[test]
fn a_name_is_found_wherever_it_stands() {
    let found = metrics_in("rate(headwater_x_total{a=\"b\"}[1m]) / process_y or headwater-processor");
    assert_eq!(found, BTreeSet::from(["headwater_x_total", "process_y"]));
}
