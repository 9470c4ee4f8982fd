//! `headwater map` over a whole day, and over several namespaces.

use std::time::Duration;

use headwater_console::clock::now_us;
use headwater_kafka::KafkaSettings;
use headwater_schemas::records::{Edge, Workload};
use headwater_schemas::topics::Topic;
use headwater_system_tests::lab::shared;
use serde_json::Value;

use crate::windows::{WINDOW_US, Written, closed, edge, printed, publish};

/// A day of windows.
const WINDOWS: i64 = 8640;

#[test]
fn the_table_tells_namespaces() {
    let settings = shared("namespaces").unwrap();
    let newest_us = (now_us() / WINDOW_US - 1) * WINDOW_US;
    let pod = |namespace: &str, name: &str| {
        let [cluster, namespace, kind, name] = ["kubernetes", namespace, "Deployment", name].map(str::to_owned);
        Workload { cluster, namespace, kind, name }
    };
    let edges = ["shop", "blog"].map(|namespace| Edge {
        client: pod(namespace, "web"),
        server: pod("data", "store"),
        ..edge(newest_us)
    });
    let whole = Written::Closed(Topic::Edges, closed(newest_us));
    publish(&settings, edges.map(Written::Edge).into_iter().chain([whole]));
    let printed = map(&settings, &["--minutes", "2"]);
    for line in ["shop/web  data/store  http", "blog/web  data/store  http"] {
        assert!(printed.lines().any(|printed| printed.starts_with(line)), "no `{line}` in\n{printed}");
    }
}

#[test]
fn the_map_of_a_day_has_all_of_its_windows_and_the_newest() {
    let settings = shared("day").unwrap();
    let newest_us = (now_us() / WINDOW_US - 1) * WINDOW_US;
    let windows = (0..WINDOWS).map(|window| edge(newest_us - (WINDOWS - 1 - window) * WINDOW_US));
    let whole = Written::Closed(Topic::Edges, closed(newest_us));
    publish(&settings, windows.map(Written::Edge).chain([whole]));
    let printed = map(&settings, &["--json", "--minutes", "1440"]);
    let lines: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len() as i64, WINDOWS);
    assert_eq!(lines[0]["asked"], serde_json::json!(["10.96.0.1:80"]));
    let newest = lines.iter().map(|line| line["window_start"].as_str().unwrap()).max().unwrap();
    assert_eq!(
        humantime::parse_rfc3339(newest).unwrap(),
        std::time::UNIX_EPOCH + Duration::from_micros(newest_us as u64)
    );
}

/// What `headwater map` prints.
fn map(settings: &KafkaSettings, args: &[&str]) -> String {
    printed(settings, &[&["map"], args].concat())
}
