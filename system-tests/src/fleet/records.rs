//! The single records of a fleet.

use headwater_schemas::records::{Flow, FlowState, Kind, Outcome, Request, Side};

use super::Shape;

pub const REQUEST_BYTES: i64 = 240;
const RESPONSE_BYTES: i64 = 1_100;

/// The golden ratio's bits: numbers in a row become ids that are spread evenly.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

const VERBS: [&str; 4] = ["GET", "POST", "PUT", "DELETE"];

/// Medians of the quickest and the slowest operations.
const DURATION_NS: std::ops::Range<u64> = 200_000..80_000_000;

/// One in so many operations fails always.
const FAILS_ONE_IN: u32 = 10;

pub struct Names {
    pub nodes: Vec<String>,
    pub services: Vec<String>,
}

/// What all requests of one key of `latencies` have in common.
pub struct Series {
    pub first_connection: u64,
    operation: String,
    path: String,
    verb: usize,
    fails: bool,
    median_ns: u64,
}

/// One connection of an edge, and what it did so far.
pub struct Connection {
    id: String,
    sides: [End; 2],
    pub now: Counts,
    /// What the last flow records said.
    pub told: Counts,
}

struct End {
    node: u32,
    node_name: String,
    service: String,
    pod: String,
    address: String,
    port: i32,
}

#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    pub requests: i64,
    errors: i64,
}

/// Which request, and when it was over.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    pub number: u64,
    pub at_us: i64,
    pub position: i64,
}

/// What a node is called.
pub fn node_name(node: u32) -> String {
    format!("node-{node:04}")
}

pub fn names(shape: &Shape) -> Names {
    Names {
        nodes: (0..shape.nodes).map(node_name).collect(),
        services: (0..shape.services).map(|service| format!("service-{service:04}")).collect(),
    }
}

pub fn series(shape: &Shape) -> Vec<Series> {
    let of_edge = |edge: u32| {
        (0..shape.operations).map(move |operation| {
            let number = u64::from(edge) * u64::from(shape.operations) + u64::from(operation);
            let verb = operation as usize % VERBS.len();
            let path = format!("/v1/resource-{:02}/{{id}}", operation);
            let spread = number.wrapping_mul(SPREAD) >> 32;
            Series {
                first_connection: u64::from(edge) * u64::from(shape.connections_per_edge),
                operation: format!("{} {path}", VERBS[verb]),
                path,
                verb,
                fails: operation % FAILS_ONE_IN == FAILS_ONE_IN - 1,
                median_ns: DURATION_NS.start + spread % (DURATION_NS.end - DURATION_NS.start) / (1 + spread % 64),
            }
        })
    };
    // One edge after the other would fill one window with few of them: operations come in turn instead.
    let mut series: Vec<(u32, Series)> = (0..shape.edges).flat_map(|edge| (0..).zip(of_edge(edge))).collect();
    series.sort_by_key(|(operation, _)| *operation);
    series.into_iter().map(|(_, series)| series).collect()
}

pub fn connections(shape: &Shape, names: &Names) -> Vec<Connection> {
    let services = shape.services.max(2);
    let mut connections = Vec::new();
    for edge in 0..shape.edges {
        let client = edge % services;
        let server = (client + 1 + edge / services) % services;
        for turn in 0..shape.connections_per_edge {
            let number = connections.len() as u64;
            let end = |service: u32, port: i32| {
                let node = service % shape.nodes;
                let name = &names.services[service as usize];
                End {
                    node,
                    node_name: names.nodes[node as usize].clone(),
                    service: name.clone(),
                    pod: format!("{name}-7d4b9c{:03x}-{:05x}", service, service.wrapping_mul(2_654_435_761) >> 12),
                    address: format!("10.{}.{}.{}", node / 250, node % 250, 1 + service / shape.nodes % 250),
                    port,
                }
            };
            connections.push(Connection {
                id: format!("{:016x}", (number + 1).wrapping_mul(SPREAD)),
                sides: [end(client, 32_768 + (edge * 2 + turn) as i32 % 28_000), end(server, 8080)],
                now: Counts::default(),
                told: Counts::default(),
            });
        }
    }
    connections
}

impl Connection {
    pub fn node(&self, side: Side) -> u32 {
        self.ends(side).0.node
    }

    pub fn count(&mut self, series: &Series) {
        self.now.requests += 1;
        self.now.errors += i64::from(series.fails);
    }

    fn ends(&self, side: Side) -> (&End, &End) {
        let [client, server] = &self.sides;
        if side == Side::Client { (client, server) } else { (server, client) }
    }

    pub fn request<'a>(&'a self, side: Side, series: &'a Series, moment: Moment) -> Request<'a> {
        let (own, other) = self.ends(side);
        let Moment { number, at_us, position } = moment;
        // From half of the median to eight times as much, most of it near the median.
        let spread = number.wrapping_mul(SPREAD) >> 40;
        let factor = 512 + spread % 1024 + if spread.is_multiple_of(37) { spread % 7_000 } else { 0 };
        let server_ns = series.median_ns * factor / 1024;
        let duration_ns = server_ns + if side == Side::Client { 90_000 + spread % 60_000 } else { 0 };
        Request {
            connection_id: &self.id,
            side,
            request_position: position,
            started_at_us: at_us - duration_ns as i64 / 1000,
            completed_at_us: at_us,
            duration_ns: duration_ns as i64,
            time_to_first_byte_ns: duration_ns as i64 - 10_000,
            protocol: "http",
            kind: Kind::Call,
            method: VERBS[series.verb],
            path: &series.path,
            operation: &series.operation,
            resource: "",
            status: if series.fails { 500 } else { 200 },
            outcome: if series.fails { Outcome::ServerError } else { Outcome::Ok },
            code: "",
            error: series.fails,
            failure: None,
            request_bytes: REQUEST_BYTES,
            response_bytes: RESPONSE_BYTES,
            request_messages: None,
            response_messages: None,
            trace_id: "",
            parent_span_id: "",
            request_id: "",
            request_thread_id: 0,
            request_call: 0,
            response_thread_id: 0,
            response_call: 0,
            weight: 1,
            sums: None,
            node: &own.node_name,
            cluster: "",
            namespace: "shop",
            workload_kind: "Deployment",
            workload: &own.service,
            pod: &own.pod,
            container: "main",
            pid: 1,
            local_address: &own.address,
            local_port: own.port,
            remote_address: &other.address,
            remote_name: "",
            remote_port: other.port,
        }
    }

    /// What it did since its last flow records, of which `before` tells.
    pub fn flow(&self, side: Side, observed_at_us: i64, before: Counts) -> Flow<'_> {
        let (own, other) = self.ends(side);
        let requests = self.told.requests - before.requests;
        let (asked, answered) = (requests * REQUEST_BYTES, requests * RESPONSE_BYTES);
        let (sent_bytes, received_bytes) = if side == Side::Client { (asked, answered) } else { (answered, asked) };
        Flow {
            connection_id: &self.id,
            side,
            state: FlowState::Open,
            failure: None,
            attempts: 1,
            opened_at_us: observed_at_us - 3_600_000_000,
            opened_before_capture: true,
            observed_at_us,
            opened: 0,
            protocol: "http",
            encryption: "none",
            tls: None,
            sent_bytes,
            received_bytes,
            retransmits: 0,
            requests,
            errors: self.told.errors - before.errors,
            rtt_us: 180,
            rtt_min_us: 120,
            connect_us: -1,
            node: &own.node_name,
            cluster: "",
            namespace: "shop",
            workload_kind: "Deployment",
            workload: &own.service,
            pod: &own.pod,
            container: "main",
            pid: 1,
            local_address: &own.address,
            local_port: own.port,
            remote_address: &other.address,
            remote_name: "",
            remote_port: other.port,
        }
    }
}
