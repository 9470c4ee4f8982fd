//! A real Kafka and registry, and records that a test publishes to them as the agent and the processors would.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use headwater_console::clock::now_us;
use headwater_console::feed::Feed;
use headwater_console::live::Limits;
use headwater_console::server::{Server, ServerSettings};
use headwater_histogram::Histogram;
use headwater_kafka::{KafkaSettings, Partition, Publisher, Registry, admin};
use headwater_process::wait_for;
use headwater_schemas::records::{
    Agent, Alert, AlertState, Edge, Evidence, Latency, Missing, Record, WindowClosed, Workload,
};
use headwater_schemas::topics::Topic;
use headwater_schemas::wire::Encoder;
use headwater_stack::shared::Shared;
use serde::Serialize;
use tokio::runtime::Runtime;

pub const PATIENCE: Duration = Duration::from_secs(40);
pub const WINDOW_US: i64 = 10_000_000;

const TOPICS: [Topic; 6] =
    [Topic::Edges, Topic::EdgeWindows, Topic::Latencies, Topic::LatencyWindows, Topic::Alerts, Topic::Agents];

/// The Kafka and the registry that tests share, with a topic prefix of the test's own.
pub fn settings(name: &str) -> KafkaSettings {
    let shared = Shared::get().unwrap();
    let mut settings = KafkaSettings::local(&shared.brokers, &shared.registry_url);
    settings.prefix = Shared::prefix(name);
    settings
}

/// Writes into the topics that the console reads.
pub struct Writer {
    publisher: Publisher,
    encoders: BTreeMap<Topic, Encoder>,
    /// Records of each topic, which nobody else writes.
    written: [AtomicI64; TOPICS.len()],
}

impl Writer {
    pub fn start(settings: &KafkaSettings) -> Writer {
        admin::ensure_topics(settings, &TOPICS).unwrap();
        let registry = Registry::new(settings);
        let id = |topic| registry.register_topic(topic).unwrap();
        let encoders = BTreeMap::from([
            (Topic::Edges, Encoder::of::<Edge>(id(Topic::Edges)).unwrap()),
            (Topic::EdgeWindows, Encoder::of::<WindowClosed>(id(Topic::EdgeWindows)).unwrap()),
            (Topic::Latencies, Encoder::of::<Latency>(id(Topic::Latencies)).unwrap()),
            (Topic::LatencyWindows, Encoder::of::<WindowClosed>(id(Topic::LatencyWindows)).unwrap()),
            (Topic::Alerts, Encoder::of::<Alert>(id(Topic::Alerts)).unwrap()),
            (Topic::Agents, Encoder::of::<Agent>(id(Topic::Agents)).unwrap()),
        ]);
        let names = TOPICS.iter().map(|topic| topic.name(&settings.prefix)).collect();
        Writer { publisher: Publisher::start(settings, names).unwrap(), encoders, written: Default::default() }
    }

    pub fn edge(&self, edge: &Edge) {
        self.write(Topic::Edges, &edge.key(), edge);
    }

    pub fn latency(&self, l: &Latency) {
        self.write(Topic::Latencies, &l.key(), l);
    }

    pub fn alert(&self, alert: &Alert) {
        self.write(Topic::Alerts, &alert.alert_id, alert);
    }

    pub fn agent(&self, agent: &Agent) {
        self.write(Topic::Agents, &agent.node, agent);
    }

    /// Says that a window is published in full.
    pub fn close(&self, window_start_us: i64) {
        self.close_without(window_start_us, 1.0, Vec::new());
    }

    /// Says that a window is published, and what is missing of it.
    pub fn close_without(&self, window_start_us: i64, completeness: f64, missing: Vec<Missing>) {
        let closed = WindowClosed {
            window_start_us,
            window_ms: WINDOW_US / 1000,
            source_partition: 0,
            source_partitions: 1,
            nodes: 1,
            completeness,
            missing,
            records: -1,
            through_offset: -1,
            late_windows_us: Vec::new(),
            revision: 0,
            touches: Vec::new(),
        };
        for topic in [Topic::Edges, Topic::Latencies] {
            let through_offset = self.written[index(topic)].load(Ordering::Relaxed) - 1;
            self.write(topic.windows().unwrap(), "0", &WindowClosed { through_offset, ..closed.clone() });
        }
        self.flush();
    }

    /// Bytes that are no record.
    pub fn garbage(&self, topic: Topic) {
        self.publisher
            .publish(index(topic), Partition(0), b"garbage", Some(b"\x00\x7f\xff\xff\xffnothing"), &[])
            .unwrap();
        self.written[index(topic)].fetch_add(1, Ordering::Relaxed);
        self.flush();
    }

    pub fn flush(&self) {
        self.publisher.flush(PATIENCE).unwrap();
    }

    fn write<R: Record + Serialize>(&self, topic: Topic, key: &str, record: &R) {
        let value = self.encoders[&topic].encode(record).unwrap();
        self.publisher.publish(index(topic), Partition(0), key.as_bytes(), Some(&value), &[]).unwrap();
        self.written[index(topic)].fetch_add(1, Ordering::Relaxed);
    }
}

fn index(topic: Topic) -> usize {
    TOPICS.iter().position(|other| *other == topic).unwrap()
}

/// Start of the newest window that can be over by now.
pub fn newest_window_us() -> i64 {
    (now_us() / WINDOW_US - 1) * WINDOW_US
}

/// Durations around a median, of which the slowest twentieth takes up to four times as long.
pub fn durations(count: i64, median_us: f64) -> Histogram {
    let mut histogram = Histogram::default();
    for i in 0..count {
        let rank = (i as f64 + 0.5) / count as f64;
        let factor = if rank < 0.95 { 0.4 + 1.2 * rank } else { 1.6 + 50.0 * (rank - 0.95) };
        histogram.record((median_us * factor * 1e3) as u64);
    }
    histogram
}

/// An HTTP edge of one window.
pub fn http(window_start_us: i64, client: &str, server: &str, requests: i64, errors: i64, median_us: f64) -> Edge {
    let duration_ns = durations(requests, median_us);
    let us = |q| duration_ns.quantile(q) / 1e3;
    Edge {
        window_start_us,
        window_ms: WINDOW_US / 1000,
        revision: 0,
        client: named(client),
        server: named(server),
        protocol: "http".into(),
        requests,
        errors,
        both_sides: requests,
        request_bytes: requests * 210,
        response_bytes: requests * 1800,
        p50_us: us(0.5),
        p95_us: us(0.95),
        p99_us: us(0.99),
        server_duration_ns: durations(requests, median_us * 0.9),
        duration_ns,
        client_to_server_bytes: requests * 230,
        server_to_client_bytes: requests * 2000,
        connections_opened: requests / 50,
        connections_closed: requests / 60,
        connections_failed: 0,
        retransmits: 0,
        rtt_us: 42.0,
        asked: Vec::new(),
        encryption: BTreeMap::from([("none".into(), 3)]),
        completeness: 1.0,
    }
}

/// The same of an edge that goes through TLS.
pub fn tls(edge: Edge) -> Edge {
    let encryption = BTreeMap::from([("tls1.3".into(), 4), ("tls1.2".into(), 1)]);
    Edge { protocol: "tls".into(), encryption, ..edge }
}

/// A workload outside of Kubernetes.
pub fn named(name: &str) -> Workload {
    Workload::local("unit", name)
}

/// An edge whose protocol is not taken apart.
pub fn tcp(window_start_us: i64, client: &str, server: &str, bytes: i64, rtt_us: f64) -> Edge {
    Edge {
        protocol: "tcp".into(),
        encryption: BTreeMap::from([("unknown".into(), 2)]),
        client_to_server_bytes: bytes / 4,
        server_to_client_bytes: bytes * 3 / 4,
        rtt_us,
        ..http(window_start_us, client, server, 0, 0, 1.0)
    }
}

pub fn latency(edge: &Edge, operation: &str, status_class: &str, requests: i64, median_us: f64) -> Latency {
    let duration_ns = durations(requests, median_us);
    Latency {
        window_start_us: edge.window_start_us,
        window_ms: edge.window_ms,
        revision: 0,
        client: edge.client.clone(),
        server: edge.server.clone(),
        protocol: edge.protocol.clone(),
        operation: operation.into(),
        status_class: status_class.into(),
        requests,
        errors: if status_class == "5xx" { requests } else { 0 },
        p50_us: duration_ns.quantile(0.5) / 1e3,
        p95_us: duration_ns.quantile(0.95) / 1e3,
        p99_us: duration_ns.quantile(0.99) / 1e3,
        server_duration_ns: durations(requests, median_us * 0.9),
        duration_ns,
        completeness: edge.completeness,
    }
}

pub fn firing(window_start_us: i64) -> Alert {
    Alert {
        alert_id: "error_rate shop-orders>shop-payments/http".into(),
        state: AlertState::Firing,
        kind: "error_rate".into(),
        service: named("shop-payments"),
        client: named("shop-orders"),
        server: named("shop-payments"),
        protocol: "http".into(),
        operation: "POST /payments".into(),
        started_at_us: window_start_us,
        observed_at_us: window_start_us + WINDOW_US,
        value: 0.25,
        baseline: 0.001,
        threshold: 0.05,
        message: "shop-payments fails 25 % of POST /payments from shop-orders".into(),
        evidence: vec![Evidence { topic: "headwater.edges".into(), partition: 0, offset: 4711, window_start_us }],
        incident_id: "shop-payments 1".into(),
        score: 12.0,
        runners_up: Vec::new(),
        objective: String::new(),
        severity: String::new(),
        owner: String::new(),
    }
}

pub fn heartbeat(node: &str, sequence: i64, dropped: i64) -> Agent {
    let now_us = now_us();
    let count = |n: i64| BTreeMap::from([("requests".to_owned(), n), ("flows".to_owned(), n / 10)]);
    Agent {
        node: node.into(),
        agent_started_at_us: now_us - 3600 * 1_000_000,
        sequence,
        observed_at_us: now_us,
        version: "0.1.0".into(),
        kernel: "6.18.0".into(),
        capture_path: "tp_btf".into(),
        is_final: false,
        captured: count(120_000 + sequence * 900),
        published: count(120_000 + sequence * 900 - dropped),
        in_flight: BTreeMap::new(),
        dropped: BTreeMap::from([("rate_limit".to_owned(), dropped)]),
        counters: BTreeMap::new(),
        cpu_ms: 40_000 + sequence * 100,
        rss_bytes: 38_000_000,
        dropped_by_workload: Vec::new(),
    }
}

pub fn no_data(node: &str, from_us: i64, to_us: i64) -> Missing {
    Missing { node: node.into(), reason: "no-data".into(), count: 0, from_us, to_us }
}

/// A console of its own on a free port.
pub struct Console {
    pub url: String,
    feed: Arc<Feed>,
    _runtime: Runtime,
}

impl Console {
    pub fn start(settings: &KafkaSettings) -> Console {
        Console::serve(settings, ServerSettings::default())
    }

    pub fn serve(settings: &KafkaSettings, server_settings: ServerSettings) -> Console {
        let runtime = Runtime::new().unwrap();
        let limits = Limits { counted_edges_max: server_settings.metrics_edges_max, ..Limits::default() };
        let feed = Feed::new(settings.clone(), limits, Default::default());
        let server = runtime.block_on(Server::bind(&server_settings, feed.clone())).unwrap();
        feed.start().unwrap();
        headwater_console::alerting::start(&feed, &server_settings.alerting).unwrap();
        headwater_console::otlp::start(&feed, &server_settings.otlp).unwrap();
        let url = server.url();
        runtime.spawn(server.run());
        Console { url, feed, _runtime: runtime }
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.feed.stop();
    }
}

/// Polls until there is an answer.
pub fn eventually<T>(what: &str, probe: impl FnMut() -> Option<T>) -> T {
    wait_for(PATIENCE, probe).unwrap_or_else(|| panic!("not within {PATIENCE:?}: {what}"))
}

/// A shop like the sample system, over several windows that end now.
pub fn write_shop(writer: &Writer, windows: i64, from_us: i64) {
    for window in 0..windows {
        let start_us = from_us + window * WINDOW_US;
        let wave = 1.0 + 0.25 * (window as f64 / 7.0).sin();
        let n = |rate: f64| (rate * 10.0 * wave) as i64;
        let hurt = window > windows - 5;
        let payments = http(
            start_us,
            "shop-orders",
            "shop-payments",
            n(6.1),
            if hurt { n(1.5) } else { 0 },
            if hurt { 31_000.0 } else { 2_600.0 },
        );
        let orders = http(start_us, "nginx", "shop-orders", n(8.2), if hurt { n(0.2) } else { 0 }, 7_300.0);
        let asked = ["10.96.0.10:80", "[fd00::10]:80", "{more}"].map(str::to_owned).to_vec();
        let payments = Edge { asked, ..payments };
        let catalog = http(start_us, "nginx", "shop-catalog", n(21.4), 0, 1_150.0);
        let shipping = http(start_us, "nginx", "shop-shipping", n(2.9), 0, 3_900.0);
        for edge in [
            &http(start_us, "shop-load", "nginx", n(32.5), if hurt { n(0.2) } else { 0 }, 2_300.0),
            &catalog,
            &orders,
            &shipping,
            &payments,
            &http(start_us, "shop-orders", "shop-catalog", n(8.0), 0, 980.0),
            &http(start_us, "shop-shipping", "shop-catalog", n(2.9), 0, 940.0),
            &tcp(start_us, "shop-catalog", "postgres", n(9_800.0), 31.0),
            &tcp(start_us, "shop-orders", "postgres", n(4_100.0), 28.0),
            &tcp(start_us, "shop-payments", "postgres", n(2_200.0), 30.0),
            &tls(tcp(start_us, "shop-shipping", "postgres", n(1_300.0), 33.0)),
            &tcp(start_us, "shop-catalog", "redis-server", n(19_000.0), 22.0),
            &tcp(start_us, "shop-orders", "redis-server", n(1_900.0), 24.0),
            &tcp(start_us, "shop-shipping", "redis-server", n(800.0), 25.0),
        ] {
            writer.edge(edge);
        }
        writer.latency(&latency(&catalog, "GET /products/{id}", "2xx", n(14.0), 900.0));
        writer.latency(&latency(&catalog, "GET /products", "2xx", n(7.4), 1_900.0));
        writer.latency(&latency(&orders, "POST /orders", "2xx", n(6.0), 9_100.0));
        writer.latency(&latency(&orders, "GET /orders/{id}", "2xx", n(2.0), 2_100.0));
        writer.latency(&latency(&shipping, "GET /shipments/{id}", "2xx", n(2.9), 3_900.0));
        writer.latency(&latency(&payments, "POST /payments", "2xx", n(4.6), if hurt { 31_000.0 } else { 2_600.0 }));
        if hurt {
            writer.latency(&latency(&payments, "POST /payments", "5xx", n(1.5), 1_200.0));
        }
        writer.close(start_us);
    }
}
