//! One record of each type with every field set: for tests, and for the fixtures of released versions.

use std::collections::BTreeMap;

use headwater_histogram::Histogram;

use crate::records::{
    Agent, Alert, AlertState, Candidate, DeadLetter, Dropped, Edge, Evidence, Flow, FlowState, Identity, Kind, Latency,
    Missing, Outcome, Partial, Process, ProcessKind, Progress, Request, Share, Side, Sums, Tls, Touch, WindowClosed,
    Workload, WorkloadDropped,
};

pub fn request() -> Request<'static> {
    Request {
        connection_id: "00f1e2d3c4b5a697",
        side: Side::Server,
        request_position: 1 << 40,
        started_at_us: 1_790_000_000_000_001,
        completed_at_us: 1_790_000_000_250_002,
        duration_ns: 250_001_000,
        time_to_first_byte_ns: 249_000_000,
        protocol: "http",
        kind: Kind::Stream,
        method: "POST",
        path: "/orders/{id}",
        operation: "POST /orders/{id}",
        resource: "orders.example:8080",
        status: 503,
        outcome: Outcome::ServerError,
        code: "MISCONF",
        error: true,
        failure: Some("reset"),
        request_bytes: 512,
        response_bytes: 70_000,
        request_messages: Some(3),
        response_messages: Some(3),
        trace_id: "0af7651916cd43dd8448eb211c80319c",
        parent_span_id: "b7ad6b7169203331",
        request_id: "2f1acc6c-3a60-4b43-b4a0-4fd7c7aa7b5d",
        request_thread_id: 4711,
        request_call: 12,
        response_thread_id: 4712,
        response_call: 13,
        weight: 4,
        sums: Some(Box::new(Sums {
            from_position: (1 << 40) - 2048,
            request_bytes: 2048,
            response_bytes: 280_000,
            duration_ns: histogram(),
        })),
        node: "node-a",
        cluster: "east",
        namespace: "shop",
        workload_kind: "Deployment",
        workload: "shop-orders",
        pod: "shop-orders-5d4f8-abcde",
        container: "orders",
        pid: 4711,
        local_address: "10.0.0.7",
        local_port: 8080,
        remote_address: "fd00::1",
        remote_name: "api.example",
        remote_port: 40_000,
    }
}

pub fn flow() -> Flow<'static> {
    Flow {
        connection_id: "00f1e2d3c4b5a697",
        side: Side::Client,
        state: FlowState::Failed,
        failure: Some("timeout"),
        opened_at_us: 1_790_000_000_000_001,
        opened_before_capture: true,
        observed_at_us: 1_790_000_009_750_000,
        opened: 1,
        protocol: "tls",
        encryption: "tls1.2",
        tls: Some(Tls {
            cipher_suite: Some("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
            key_exchange_group: Some("x25519"),
            post_quantum: Some(false),
            server_name: Some("shop.example"),
            alpn: Some("h2"),
            alpn_offered: Some("h2,http/1.1"),
            certificate_issuer: Some("C=SE, O=Example, CN=Root"),
            certificate_expires_at_us: Some(1_890_000_000_000_000),
            mutual: Some(true),
            resumed: Some(false),
            upgraded_from: "postgresql",
        }),
        sent_bytes: 1 << 33,
        received_bytes: 12,
        retransmits: 2,
        requests: 4,
        errors: 1,
        rtt_us: 180,
        rtt_min_us: -1,
        connect_us: 90,
        attempts: 1,
        node: "node-a",
        cluster: "east",
        namespace: "shop",
        workload_kind: "Deployment",
        workload: "shop-orders",
        pod: "shop-orders-5d4f8-abcde",
        container: "orders",
        pid: 4711,
        local_address: "10.0.0.7",
        local_port: 40_000,
        remote_address: "10.0.0.8",
        remote_name: "db.example",
        remote_port: 5432,
    }
}

pub fn progress() -> Progress {
    let share = |through_offset| Share {
        published: 12_345,
        dropped: vec![Dropped { reason: "queue_full".into(), count: 9, from_us: 1, to_us: 2 }],
        after_offset: 7,
        through_offset,
        records: 2,
    };
    Progress {
        node: "node-a".into(),
        agent_started_at_us: 1_790_000_000_000_001,
        sequence: 17,
        covers_from_us: 1_790_000_001_000_000,
        up_to_us: 1_790_000_002_000_000,
        is_final: true,
        partitions: 6,
        flows: share(9),
        requests: share(1 << 40),
    }
}

pub fn agent() -> Agent {
    let counts = |n| BTreeMap::from([("requests".to_owned(), n), ("flows".to_owned(), n + 1)]);
    Agent {
        node: "node-a".into(),
        agent_started_at_us: 1_790_000_000_000_001,
        sequence: 3,
        observed_at_us: 1_790_000_005_000_000,
        version: "0.1.0".into(),
        kernel: "6.18.0".into(),
        capture_path: "tp_btf".into(),
        is_final: false,
        captured: counts(10),
        published: counts(7),
        in_flight: counts(2),
        dropped: BTreeMap::from([("requests/queue_full".to_owned(), 1)]),
        counters: BTreeMap::from([("connections".to_owned(), 5)]),
        cpu_ms: 1234,
        rss_bytes: 50 << 20,
        dropped_by_workload: vec![WorkloadDropped {
            cluster: "c1".into(),
            namespace: "shop".into(),
            workload_kind: "deployment".into(),
            workload: "orders".into(),
            pod: "orders-5d4f-x".into(),
            container: "app".into(),
            dropped: BTreeMap::from([("requests/queue_full".to_owned(), 1)]),
        }],
    }
}

pub fn identity() -> Identity {
    Identity {
        network: "c1".into(),
        address: "10.0.0.7".into(),
        node: "node-a".into(),
        agent_started_at_us: 1_790_000_000_000_001,
        cluster: "c1".into(),
        namespace: "shop".into(),
        kind: "Deployment".into(),
        name: "orders".into(),
        pod: "orders-5d4f-x".into(),
        labels: BTreeMap::from([("app".to_owned(), "orders".to_owned())]),
        from_us: 1_790_000_001_000_000,
        until_us: 1_790_000_011_000_000,
        ended: true,
    }
}

pub fn process() -> Process<'static> {
    Process {
        kind: ProcessKind::OomKill,
        observed_at_us: 1_790_000_000_250_002,
        node: "node-a",
        cluster: "east",
        namespace: "shop",
        workload_kind: "Deployment",
        workload: "shop-orders",
        pod: "shop-orders-5d4f8-abcde",
        container: "orders",
        pid: 4711,
        executable_name: "orders",
        process_start_ns: 86_400_000_000_001,
        lived_us: 3_600_000_000,
        exit_code: Some(3),
        signal: Some(9),
        local_address: Some("10.0.0.7"),
        local_port: Some(8080),
    }
}

/// A workload of Kubernetes.
fn in_cluster(name: &str) -> Workload {
    Workload { cluster: "east".into(), namespace: "shop".into(), kind: "Deployment".into(), name: name.into() }
}

fn histogram() -> Histogram {
    let mut histogram = Histogram::default();
    [0, 1, 1000, 250_001_000].into_iter().for_each(|value| histogram.record(value));
    histogram
}

fn missing() -> Vec<Missing> {
    vec![Missing { node: "node-b".into(), reason: "no-data".into(), count: 0, from_us: 1, to_us: 2 }]
}

pub fn partial() -> Partial {
    Partial {
        window_start_us: 1_790_000_000_000_000,
        window_ms: 10_000,
        raw_partition: 3,
        client: Workload::local("unit", "nginx"),
        server: in_cluster("shop-orders"),
        protocol: "http".into(),
        operation: "GET /".into(),
        status_class: "2xx".into(),
        requests: 4,
        errors: 1,
        both_sides: 3,
        request_bytes: 100,
        response_bytes: 200,
        duration_ns: histogram(),
        server_duration_ns: Histogram::default(),
        client_to_server_bytes: 300,
        server_to_client_bytes: 400,
        connections_opened: 5,
        connections_closed: 6,
        connections_failed: 7,
        retransmits: 8,
        rtt_us_sum: 900,
        rtt_count: 10,
        asked: vec!["10.96.0.10:80".into()],
        encryption: BTreeMap::from([("none".into(), 4), ("tls1.3".into(), 2)]),
    }
}

pub fn window_closed() -> WindowClosed {
    WindowClosed {
        window_start_us: 1_790_000_000_000_000,
        window_ms: 10_000,
        source_partition: 1,
        source_partitions: 4,
        nodes: 2,
        completeness: 0.75,
        missing: missing(),
        records: -1,
        through_offset: -1,
        late_windows_us: vec![1_789_999_940_000_000],
        revision: 0,
        touches: vec![Touch {
            node: "node-1".into(),
            last_us: 1_789_999_999_000_000,
            workloads: vec!["//unit/nginx".into()],
        }],
    }
}

pub fn edge() -> Edge {
    Edge {
        window_start_us: 1_790_000_000_000_000,
        window_ms: 10_000,
        revision: 0,
        client: Workload::local("unit", "nginx"),
        server: in_cluster("shop-orders"),
        protocol: "http".into(),
        requests: 4,
        errors: 1,
        both_sides: 3,
        request_bytes: 100,
        response_bytes: 200,
        p50_us: 1.0,
        p95_us: 250_001.0,
        p99_us: 250_001.5,
        duration_ns: histogram(),
        server_duration_ns: histogram(),
        client_to_server_bytes: 300,
        server_to_client_bytes: 400,
        connections_opened: 5,
        connections_closed: 6,
        connections_failed: 7,
        retransmits: 8,
        rtt_us: 90.5,
        asked: vec!["10.96.0.10:80".into()],
        encryption: BTreeMap::from([("none".into(), 4), ("tls1.3".into(), 2)]),
        completeness: 0.5,
    }
}

pub fn latency() -> Latency {
    Latency {
        window_start_us: 1_790_000_000_000_000,
        window_ms: 10_000,
        revision: 0,
        client: Workload::local("unit", "nginx"),
        server: in_cluster("shop-orders"),
        protocol: "http".into(),
        operation: "GET /".into(),
        status_class: "5xx".into(),
        requests: 4,
        errors: 4,
        p50_us: 1.0,
        p95_us: 2.0,
        p99_us: 3.0,
        duration_ns: histogram(),
        server_duration_ns: histogram(),
        completeness: 1.0,
    }
}

pub fn alert() -> Alert {
    Alert {
        alert_id: "a1".into(),
        state: AlertState::Resolved,
        kind: "latency_p95".into(),
        service: in_cluster("shop-orders"),
        client: Workload::local("unit", "nginx"),
        server: in_cluster("shop-orders"),
        protocol: "http".into(),
        operation: "GET /".into(),
        started_at_us: 1_790_000_000_000_000,
        observed_at_us: 1_790_000_030_000_000,
        value: 9000.0,
        baseline: 1000.0,
        threshold: 2000.0,
        message: "slow".into(),
        evidence: vec![Evidence { topic: "headwater.edges".into(), partition: 0, offset: 12, window_start_us: 1 }],
        incident_id: "i1".into(),
        score: 21.5,
        runners_up: vec![Candidate {
            client: in_cluster("shop-orders"),
            server: in_cluster("shop-payments"),
            score: 9.25,
        }],
        objective: "orders-answer".into(),
        severity: "page".into(),
        owner: "team-orders".into(),
    }
}

pub fn dead_letter() -> DeadLetter<'static> {
    DeadLetter {
        topic: "headwater.requests",
        partition: 2,
        offset: 99,
        error: "too short",
        read_by: "join",
        value: &[0, 1, 2, 255],
        value_bytes: 70_000,
    }
}

/// Calls a macro with the name of the `.avsc` file, the type and the function here, for each type.
#[macro_export]
macro_rules! each_record {
    ($call:ident) => {
        $call!("agent", $crate::records::Agent, agent);
        $call!("alert", $crate::records::Alert, alert);
        $call!("dead_letter", $crate::records::DeadLetter<'_>, dead_letter);
        $call!("edge", $crate::records::Edge, edge);
        $call!("flow", $crate::records::Flow<'_>, flow);
        $call!("identity", $crate::records::Identity, identity);
        $call!("latency", $crate::records::Latency, latency);
        $call!("partial", $crate::records::Partial, partial);
        $call!("window_closed", $crate::records::WindowClosed, window_closed);
        $call!("process", $crate::records::Process<'_>, process);
        $call!("progress", $crate::records::Progress, progress);
        $call!("request", $crate::records::Request<'_>, request);
    };
}
