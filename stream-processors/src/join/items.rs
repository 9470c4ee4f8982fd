//! What the join keeps of a record: numbers and symbols, no strings.
//!
//! In: records as their agents wrote them, which may be anything. Out: items that are safe to add up, or why not.

use headwater_schemas::ids::{ConnectionId, StreamPosition};
use headwater_schemas::records::{Flow, FlowState, Request, Side, status_class};

use super::symbols::{Symbol, Symbols};
use crate::plausible::{plausible_time, within};
use crate::processor::BadInput;

/// Far above what one record can hold, far below where sums overflow.
const COUNT_MAX: i64 = 1 << 50;
const DURATION_NS_MAX: i64 = 365 * 86_400 * 1_000_000_000;
const WEIGHT_MAX: i64 = 1_000_000_000;

/// One side's record of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestItem {
    pub connection: ConnectionId,
    pub position: StreamPosition,
    pub at_us: i64,
    /// How long whoever asked had to wait.
    pub duration_ns: u64,
    pub request_bytes: i64,
    pub response_bytes: i64,
    /// 0 once it was counted with the other side's record.
    pub weight: u32,
    pub side: Side,
    pub error: bool,
    pub remote_port: u16,
    pub remote_address: Symbol,
    pub protocol: Symbol,
    pub operation: Symbol,
    pub status_class: Symbol,
    pub workload: Symbol,
    pub node: Symbol,
}

/// One side's record of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowItem {
    pub connection: ConnectionId,
    pub at_us: i64,
    pub sent_bytes: i64,
    pub received_bytes: i64,
    pub retransmits: i64,
    pub rtt_us: i64,
    pub opened: i64,
    pub attempts: i64,
    pub side: Side,
    pub state: FlowState,
    pub remote_port: u16,
    pub remote_address: Symbol,
    pub protocol: Symbol,
    pub workload: Symbol,
    pub node: Symbol,
}

/// What the two kinds of items have in common.
pub trait Item: Copy {
    fn at_us(&self) -> i64;
    fn connection(&self) -> ConnectionId;
    fn side(&self) -> Side;
    fn workload(&self) -> Symbol;
    fn node(&self) -> Symbol;
    fn protocol(&self) -> Symbol;
    fn symbols(&self) -> [Symbol; 6];
}

impl Item for RequestItem {
    fn at_us(&self) -> i64 {
        self.at_us
    }
    fn connection(&self) -> ConnectionId {
        self.connection
    }
    fn side(&self) -> Side {
        self.side
    }
    fn workload(&self) -> Symbol {
        self.workload
    }
    fn node(&self) -> Symbol {
        self.node
    }
    fn protocol(&self) -> Symbol {
        self.protocol
    }
    fn symbols(&self) -> [Symbol; 6] {
        [self.remote_address, self.protocol, self.operation, self.status_class, self.workload, self.node]
    }
}

impl Item for FlowItem {
    fn at_us(&self) -> i64 {
        self.at_us
    }
    fn connection(&self) -> ConnectionId {
        self.connection
    }
    fn side(&self) -> Side {
        self.side
    }
    fn workload(&self) -> Symbol {
        self.workload
    }
    fn node(&self) -> Symbol {
        self.node
    }
    fn protocol(&self) -> Symbol {
        self.protocol
    }
    fn symbols(&self) -> [Symbol; 6] {
        [self.remote_address, self.protocol, self.workload, self.node, Symbol::EMPTY, Symbol::EMPTY]
    }
}

impl RequestItem {
    pub fn of(
        request: &Request<'_>,
        timestamp_us: Option<i64>,
        symbols: &mut Symbols,
    ) -> Result<RequestItem, BadInput> {
        plausible_time("completed_at_us", request.completed_at_us, timestamp_us)?;
        Ok(RequestItem {
            connection: connection(request.connection_id)?,
            position: StreamPosition(within("request_position", request.request_position, 0, i64::MAX)?),
            at_us: request.completed_at_us,
            duration_ns: within("duration_ns", request.latency_ns(), 0, DURATION_NS_MAX)? as u64,
            request_bytes: within("request_bytes", request.request_bytes, 0, COUNT_MAX)?,
            response_bytes: within("response_bytes", request.response_bytes, 0, COUNT_MAX)?,
            weight: within("weight", request.weight, 1, WEIGHT_MAX)? as u32,
            side: request.side,
            error: request.error,
            remote_port: port(request.remote_port)?,
            remote_address: symbols.intern(request.remote_address),
            protocol: symbols.intern(request.protocol),
            operation: symbols.intern(if request.operation.is_empty() { "unknown" } else { request.operation }),
            status_class: symbols.intern(status_class(request.status)),
            workload: symbols.intern_workload([
                request.cluster,
                request.namespace,
                request.workload_kind,
                request.workload,
            ]),
            node: symbols.intern(request.node),
        })
    }
}

impl FlowItem {
    pub fn of(flow: &Flow<'_>, timestamp_us: Option<i64>, symbols: &mut Symbols) -> Result<FlowItem, BadInput> {
        plausible_time("observed_at_us", flow.observed_at_us, timestamp_us)?;
        Ok(FlowItem {
            connection: connection(flow.connection_id)?,
            at_us: flow.observed_at_us,
            sent_bytes: within("sent_bytes", flow.sent_bytes, 0, COUNT_MAX)?,
            received_bytes: within("received_bytes", flow.received_bytes, 0, COUNT_MAX)?,
            retransmits: within("retransmits", flow.retransmits, 0, COUNT_MAX)?,
            rtt_us: within("rtt_us", flow.rtt_us, -1, COUNT_MAX)?,
            opened: within("opened", flow.opened, 0, 1)?,
            attempts: within("attempts", flow.attempts, 1, WEIGHT_MAX)?,
            side: flow.side,
            state: flow.state,
            remote_port: port(flow.remote_port)?,
            remote_address: symbols.intern(flow.remote_address),
            protocol: symbols.intern(flow.protocol),
            workload: symbols.intern_workload([flow.cluster, flow.namespace, flow.workload_kind, flow.workload]),
            node: symbols.intern(flow.node),
        })
    }
}

fn connection(id: &str) -> Result<ConnectionId, BadInput> {
    ConnectionId::parse(id).ok_or_else(|| {
        BadInput(format!("connection_id {:?} is not 16 hex digits", id.chars().take(40).collect::<String>()))
    })
}

fn port(port: i32) -> Result<u16, BadInput> {
    u16::try_from(port).map_err(|_| BadInput(format!("remote_port is {port}, it must be from 0 to 65535")))
}
