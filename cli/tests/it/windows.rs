//! Windows whose sums are known, in topics of a test's own, and what the command prints of them.

use std::process::{Command, Output};
use std::time::Duration;

use headwater_histogram::Histogram;
use headwater_kafka::{KafkaSettings, Partition, Publisher, Registry, admin};
use headwater_schemas::records::{Alert, Edge, Latency, PartitionClosed, Workload};
use headwater_schemas::topics::{PARTITION_CLOSED_HEADER, Topic};
use headwater_schemas::wire::Encoder;

pub const WINDOW_US: i64 = 10_000_000;
const PATIENCE: Duration = Duration::from_secs(60);

/// What is to be in the topics, in its order.
pub enum Written {
    Edge(Edge),
    Latency(Latency),
    /// In the topic, by the only source partition.
    Closed(Topic, PartitionClosed),
    Alert(Alert),
}

/// One request from `a` to `b`.
pub fn edge(window_start_us: i64) -> Edge {
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

/// Everything of the window is there.
pub fn closed(window_start_us: i64) -> PartitionClosed {
    PartitionClosed {
        window_start_us,
        window_ms: WINDOW_US / 1000,
        source_partition: 0,
        source_partitions: 1,
        nodes: 1,
        completeness: 1.0,
        missing: Vec::new(),
        records: -1,
        late_windows_us: Vec::new(),
        revision: 0,
    }
}

pub fn publish(settings: &KafkaSettings, written: impl IntoIterator<Item = Written>) {
    let topics = [Topic::Edges, Topic::Latencies, Topic::Alerts];
    admin::ensure_topics(settings, &topics).unwrap();
    let registry = Registry::new(settings);
    let ids = topics.map(|topic| registry.register_topic(topic).unwrap());
    let edges = Encoder::of::<Edge>(ids[0]).unwrap();
    let latencies = Encoder::of::<Latency>(ids[1]).unwrap();
    let alerts = Encoder::of::<Alert>(ids[2]).unwrap();
    let markers = Encoder::of::<PartitionClosed>(registry.register_header(PARTITION_CLOSED_HEADER).unwrap()).unwrap();
    let publisher = Publisher::start(settings, topics.map(|topic| topic.name(&settings.prefix)).to_vec()).unwrap();
    let place = |topic: Topic| topics.iter().position(|other| *other == topic).unwrap();
    for written in written {
        let (topic, key, value, marker) = match &written {
            Written::Edge(edge) => (Topic::Edges, edge.key(), Some(edges.encode(edge).unwrap()), None),
            Written::Latency(latency) => {
                (Topic::Latencies, latency.operation.clone(), Some(latencies.encode(latency).unwrap()), None)
            }
            Written::Closed(topic, marker) => (*topic, String::new(), None, Some(markers.encode(marker).unwrap())),
            Written::Alert(alert) => (Topic::Alerts, alert.alert_id.clone(), Some(alerts.encode(alert).unwrap()), None),
        };
        let headers: Vec<(&str, &[u8])> =
            marker.iter().map(|marker| (PARTITION_CLOSED_HEADER, marker.as_slice())).collect();
        publisher.publish(place(topic), Partition(0), key.as_bytes(), value.as_deref(), &headers).unwrap();
    }
    publisher.flush(PATIENCE).unwrap();
}

pub fn headwater(settings: &KafkaSettings, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_headwater"))
        .args(args)
        .args(["--kafka-brokers", &settings.brokers, "--registry-url", &settings.registry_url])
        .args(["--kafka-prefix", &settings.prefix])
        .output()
        .unwrap()
}

/// What the command prints, and that all is well.
pub fn printed(settings: &KafkaSettings, args: &[&str]) -> String {
    let output = headwater(settings, args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Its error, and that there is one.
pub fn refused(settings: &KafkaSettings, args: &[&str]) -> String {
    let output = headwater(settings, args);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).unwrap()
}
