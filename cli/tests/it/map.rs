//! `headwater map` over a whole day, and over several namespaces.

use std::process::Command;
use std::time::Duration;

use headwater_console::clock::now_us;
use headwater_histogram::Histogram;
use headwater_kafka::{KafkaSettings, Partition, Publisher, Registry, admin};
use headwater_schemas::records::{Edge, Workload, edge_id};
use headwater_schemas::topics::Topic;
use headwater_schemas::wire::Encoder;
use headwater_system_tests::lab::shared;
use serde_json::Value;

const WINDOW_US: i64 = 10_000_000;
/// A day of windows.
const WINDOWS: i64 = 8640;

fn edge(window_start_us: i64) -> Edge {
    let [client, server] = ["a", "b"].map(|name| Workload::local("program", name));
    Edge {
        window_start_us,
        window_ms: WINDOW_US / 1000,
        revision: 0,
        client,
        server,
        protocol: "http".into(),
        requests: 1,
        errors: 0,
        both_sides: 1,
        request_bytes: 0,
        response_bytes: 0,
        p50_us: 0.0,
        p95_us: 0.0,
        p99_us: 0.0,
        duration_ns: Histogram::default(),
        server_duration_ns: Histogram::default(),
        client_to_server_bytes: 0,
        server_to_client_bytes: 0,
        connections_opened: 0,
        connections_closed: 0,
        connections_failed: 0,
        retransmits: 0,
        rtt_us: -1.0,
        asked: vec!["10.96.0.1:80".into()],
        encryption: Default::default(),
        completeness: 1.0,
        missing: Vec::new(),
    }
}

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
    publish(&settings, edges.into_iter());
    let printed = map(&settings, &["--minutes", "2"]);
    for line in ["shop/web  data/store  http", "blog/web  data/store  http"] {
        assert!(printed.lines().any(|printed| printed.starts_with(line)), "no `{line}` in\n{printed}");
    }
}

#[test]
fn the_map_of_a_day_has_all_of_its_windows_and_the_newest() {
    let settings = shared("day").unwrap();
    let newest_us = (now_us() / WINDOW_US - 1) * WINDOW_US;
    publish(&settings, (0..WINDOWS).map(|window| edge(newest_us - (WINDOWS - 1 - window) * WINDOW_US)));
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

fn publish(settings: &KafkaSettings, edges: impl Iterator<Item = Edge>) {
    admin::ensure_topics(settings, &[Topic::Edges]).unwrap();
    let id = Registry::new(settings).register_topic(Topic::Edges).unwrap();
    let encoder = Encoder::of::<Edge>(id).unwrap();
    let publisher = Publisher::start(settings, vec![Topic::Edges.name(&settings.prefix)]).unwrap();
    for edge in edges {
        let key = edge_id(&edge.client, &edge.server, &edge.protocol);
        let value = encoder.encode(&edge).unwrap();
        publisher.publish(0, Partition(0), key.as_bytes(), Some(&value), &[]).unwrap();
    }
    publisher.flush(Duration::from_secs(60)).unwrap();
}

/// What `headwater map` prints.
fn map(settings: &KafkaSettings, args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_headwater"))
        .arg("map")
        .args(args)
        .args(["--kafka-brokers", &settings.brokers, "--registry-url", &settings.registry_url])
        .args(["--kafka-prefix", &settings.prefix])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
