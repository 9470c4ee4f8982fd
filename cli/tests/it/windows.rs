//! Windows whose sums are known, in topics of a test's own, and what the command prints of them.

use std::process::{Command, Output};
use std::time::Duration;

use headwater_histogram::Histogram;
use headwater_kafka::{KafkaSettings, Partition, Publisher, Registry, admin};
use headwater_schemas::records::{Alert, Edge, Latency, WindowClosed, Workload};
use headwater_schemas::topics::Topic;
use headwater_schemas::wire::Encoder;

pub const WINDOW_US: i64 = 10_000_000;
const PATIENCE: Duration = Duration::from_secs(60);

/// What is to be in the topics, in its order.
pub enum Written {
    Edge(Edge),
    Latency(Latency),
    /// All that is in the topic so far, by the only source partition.
    Closed(Topic, WindowClosed),
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
    }
}

/// Everything of the window is there.
pub fn closed(window_start_us: i64) -> WindowClosed {
    WindowClosed {
        window_start_us,
        window_ms: WINDOW_US / 1000,
        source_partition: 0,
        source_partitions: 1,
        nodes: 1,
        completeness: 1.0,
        missing: Vec::new(),
        records: -1,
        through_offset: -1,
        late_windows_us: Vec::new(),
        revision: 0,
        touches: Vec::new(),
    }
}

pub fn publish(settings: &KafkaSettings, written: impl IntoIterator<Item = Written>) {
    let topics = [Topic::Edges, Topic::EdgeWindows, Topic::Latencies, Topic::LatencyWindows, Topic::Alerts];
    admin::ensure_topics(settings, &topics).unwrap();
    let registry = Registry::new(settings);
    let ids = topics.map(|topic| registry.register_topic(topic).unwrap());
    let edges = Encoder::of::<Edge>(ids[0]).unwrap();
    let latencies = Encoder::of::<Latency>(ids[2]).unwrap();
    let alerts = Encoder::of::<Alert>(ids[4]).unwrap();
    let closed = [ids[1], ids[3]].map(|id| Encoder::of::<WindowClosed>(id).unwrap());
    let publisher = Publisher::start(settings, topics.map(|topic| topic.name(&settings.prefix)).to_vec()).unwrap();
    let place = |topic: Topic| topics.iter().position(|other| *other == topic).unwrap();
    // Nobody else writes there.
    let end = |name: String| -> i64 {
        let states = admin::topics(settings).unwrap();
        states.iter().find(|state| state.name == name).unwrap().kept[0].end.0
    };
    let mut ends = topics.map(|topic| end(topic.name(&settings.prefix)));
    for written in written {
        let (topic, key, value) = match &written {
            Written::Edge(edge) => (Topic::Edges, edge.key(), edges.encode(edge).unwrap()),
            Written::Latency(latency) => {
                (Topic::Latencies, latency.operation.clone(), latencies.encode(latency).unwrap())
            }
            Written::Closed(topic, marker) => {
                let through_offset = ends[place(*topic)] - 1;
                let marker = WindowClosed { through_offset, ..marker.clone() };
                let encoder = &closed[usize::from(*topic == Topic::Latencies)];
                (topic.windows().unwrap(), "0".to_owned(), encoder.encode(&marker).unwrap())
            }
            Written::Alert(alert) => (Topic::Alerts, alert.alert_id.clone(), alerts.encode(alert).unwrap()),
        };
        publisher.publish(place(topic), Partition(0), key.as_bytes(), Some(&value), &[]).unwrap();
        ends[place(topic)] += 1;
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
