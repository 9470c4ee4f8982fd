//! What the join keeps of a record: numbers and symbols, no strings.
//!
//! In: records as their agents wrote them, which may be anything. Out: items that are safe to add up, or why not.

use headwater_schemas::Histogram;
use headwater_schemas::encryption::Encryption;
use headwater_schemas::ids::{ConnectionId, StreamPosition};
use headwater_schemas::records::{Flow, FlowState, Request, Side, Sums};
use serde::{Deserialize, Serialize};

use super::clocks::Written;
use super::ranges::Range;
use super::symbols::{Symbol, Symbols};
use crate::plausible::{are_names, within};
use crate::processor::BadInput;

/// Far above what one record can hold, far below where sums overflow.
const COUNT_MAX: i64 = 1 << 50;
const DURATION_NS_MAX: i64 = 365 * 86_400 * 1_000_000_000;
const WEIGHT_MAX: i64 = 1_000_000_000;

/// What a record of `requests` tells of.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Told {
    One(RequestItem),
    Several(Box<SumItem>),
}

/// One side's record of several exchanges.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SumItem {
    /// The last of them.
    pub last: RequestItem,
    /// Where the request of the first one starts.
    pub from: StreamPosition,
    pub amount: Amount,
}

/// How many exchanges, and their totals.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Amount {
    pub count: u32,
    pub request_bytes: i64,
    pub response_bytes: i64,
    pub duration_ns: Histogram,
}

/// One side's record of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestItem {
    pub connection: ConnectionId,
    pub position: StreamPosition,
    pub at_us: i64,
    /// How long whoever asked had to wait.
    pub duration_ns: u64,
    /// That says something of whoever answers.
    pub has_latency: bool,
    pub request_bytes: i64,
    pub response_bytes: i64,
    /// It was used in another window, with the other side's record.
    pub is_used: bool,
    pub side: Side,
    pub error: bool,
    pub remote_port: u16,
    /// See [`came_to`].
    pub remote: Symbol,
    pub protocol: Symbol,
    pub operation: Symbol,
    pub status_class: Symbol,
    pub workload: Symbol,
    pub node: Symbol,
}

/// One side's record of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowItem {
    pub connection: ConnectionId,
    pub at_us: i64,
    /// By its agent's clock, whatever that shows: what names the record among those of its side.
    pub told_at_us: i64,
    pub sent_bytes: i64,
    pub received_bytes: i64,
    pub retransmits: i64,
    pub rtt_us: i64,
    pub opened: i64,
    pub attempts: i64,
    pub side: Side,
    pub state: FlowState,
    pub encryption: Encryption,
    pub remote_port: u16,
    /// See [`came_to`].
    pub remote: Symbol,
    pub protocol: Symbol,
    pub workload: Symbol,
    pub node: Symbol,
}

/// What the two kinds of items have in common.
pub trait Item {
    fn at_us(&self) -> i64;
    fn connection(&self) -> ConnectionId;
    fn side(&self) -> Side;
    fn workload(&self) -> Symbol;
    fn node(&self) -> Symbol;
    fn protocol(&self) -> Symbol;
    fn remote(&self) -> Symbol;
    fn symbols(&self) -> [Symbol; 6];
}

impl Item for Told {
    fn at_us(&self) -> i64 {
        self.last().at_us
    }
    fn connection(&self) -> ConnectionId {
        self.last().connection
    }
    fn side(&self) -> Side {
        self.last().side
    }
    fn workload(&self) -> Symbol {
        self.last().workload
    }
    fn node(&self) -> Symbol {
        self.last().node
    }
    fn protocol(&self) -> Symbol {
        self.last().protocol
    }
    fn remote(&self) -> Symbol {
        self.last().remote
    }
    fn symbols(&self) -> [Symbol; 6] {
        let last = self.last();
        [last.remote, last.protocol, last.operation, last.status_class, last.workload, last.node]
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
    fn remote(&self) -> Symbol {
        self.remote
    }
    fn symbols(&self) -> [Symbol; 6] {
        [self.remote, self.protocol, self.workload, self.node, Symbol::EMPTY, Symbol::EMPTY]
    }
}

impl Told {
    /// What it tells of, added up.
    pub fn into_amount(self) -> Amount {
        match self {
            Told::One(one) => Amount::one(one.request_bytes, one.response_bytes, one.duration_ns),
            Told::Several(sum) => sum.amount,
        }
    }

    /// # Errors
    /// If no honest agent can mean it. Then it leaves no trace.
    pub fn of(mut request: Request<'_>, written: Written, symbols: &mut Symbols) -> Result<Told, BadInput> {
        let Some(sums) = request.sums.take() else {
            within("weight of a record without sums", request.weight, 1, 1)?;
            return RequestItem::of(&request, written, symbols).map(Told::One);
        };
        let from = StreamPosition(sums.from_position);
        let amount = Amount::of(&request, *sums)?;
        let last = RequestItem::of(&request, written, symbols)?;
        Ok(Told::Several(Box::new(SumItem { last, from, amount })))
    }

    /// The exchange that it tells of, or the last one.
    pub fn last(&self) -> &RequestItem {
        match self {
            Told::One(item) => item,
            Told::Several(sum) => &sum.last,
        }
    }

    /// Where the exchanges that it tells of lie.
    pub fn range(&self) -> Range {
        match self {
            Told::One(item) => item.range(),
            Told::Several(sum) => sum.range(),
        }
    }
}

impl SumItem {
    pub fn range(&self) -> Range {
        Range { from: self.from, ..self.last.range() }
    }
}

impl Amount {
    /// What a record stands for, checked with its positions.
    fn of(request: &Request<'_>, sums: Sums) -> Result<Amount, BadInput> {
        let count = within("weight", request.weight, 1, WEIGHT_MAX)?;
        within("request_position", request.request_position, 0, i64::MAX)?;
        // Each request has a byte at least.
        let from = within("sums.from_position", sums.from_position, 0, request.request_position)?;
        within("weight", count, 1, (request.request_position - from).saturating_add(1))?;
        let duration_ns = sums.duration_ns;
        duration_ns.check().map_err(|error| BadInput(format!("sums.duration_ns: {error}")))?;
        within("longest of sums.duration_ns", duration_ns.max() as i64, 0, DURATION_NS_MAX)?;
        if duration_ns.count() != count as u64 {
            return Err(BadInput(format!("weight is {count}, but sums.duration_ns holds {}", duration_ns.count())));
        }
        Ok(Amount {
            count: count as u32,
            request_bytes: within("sums.request_bytes", sums.request_bytes, 0, COUNT_MAX)?,
            response_bytes: within("sums.response_bytes", sums.response_bytes, 0, COUNT_MAX)?,
            duration_ns,
        })
    }

    /// What one exchange is.
    pub fn one(request_bytes: i64, response_bytes: i64, duration_ns: u64) -> Amount {
        let mut amount = Amount { count: 1, request_bytes, response_bytes, ..Amount::default() };
        amount.duration_ns.record(duration_ns);
        amount
    }

    /// Takes the exchanges that both sides told of out of both: all of the one that has fewer. Gives how many.
    ///
    /// Both sides see the same bytes. A duration is measured by each side, so what is left of the durations is near to the truth only.
    pub fn take_common(&mut self, other: &mut Amount) -> u32 {
        let (fewer, more) = if self.count <= other.count { (self, other) } else { (other, self) };
        let common = std::mem::take(fewer);
        more.count -= common.count;
        more.request_bytes = (more.request_bytes - common.request_bytes).max(0);
        more.response_bytes = (more.response_bytes - common.response_bytes).max(0);
        more.duration_ns.take_nearest(&common.duration_ns);
        common.count
    }
}

impl RequestItem {
    /// Where it lies.
    pub fn range(&self) -> Range {
        let RequestItem { position, operation, status_class, .. } = *self;
        Range { from: position, to: position, operation, status_class }
    }

    fn of(request: &Request<'_>, written: Written, symbols: &mut Symbols) -> Result<RequestItem, BadInput> {
        let at_us = written.time("completed_at_us", request.completed_at_us)?;
        are_names("workload", [request.cluster, request.namespace, request.workload_kind, request.workload])?;
        are_names(
            "request",
            [request.protocol, request.operation, request.remote_address, request.remote_name, request.node],
        )?;
        Ok(RequestItem {
            connection: connection(request.connection_id)?,
            position: StreamPosition(within("request_position", request.request_position, 0, i64::MAX)?),
            at_us,
            duration_ns: within("duration_ns", request.latency_ns(), 0, DURATION_NS_MAX)? as u64,
            has_latency: request.has_latency(),
            request_bytes: within("request_bytes", request.request_bytes, 0, COUNT_MAX)?,
            response_bytes: within("response_bytes", request.response_bytes, 0, COUNT_MAX)?,
            is_used: false,
            side: request.side,
            error: request.error,
            remote_port: port(request.remote_port)?,
            remote: remote(request.remote_address, request.remote_name, symbols)?,
            protocol: symbols.intern(request.protocol),
            operation: symbols.intern(if request.operation.is_empty() { "unknown" } else { request.operation }),
            status_class: symbols.intern(request.status_class()),
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
    pub fn of(flow: &Flow<'_>, written: Written, symbols: &mut Symbols) -> Result<FlowItem, BadInput> {
        let at_us = written.time("observed_at_us", flow.observed_at_us)?;
        are_names("workload", [flow.cluster, flow.namespace, flow.workload_kind, flow.workload])?;
        are_names("flow", [flow.protocol, flow.remote_address, flow.remote_name, flow.node])?;
        Ok(FlowItem {
            connection: connection(flow.connection_id)?,
            at_us,
            told_at_us: flow.observed_at_us,
            sent_bytes: within("sent_bytes", flow.sent_bytes, 0, COUNT_MAX)?,
            received_bytes: within("received_bytes", flow.received_bytes, 0, COUNT_MAX)?,
            retransmits: within("retransmits", flow.retransmits, 0, COUNT_MAX)?,
            rtt_us: within("rtt_us", flow.rtt_us, -1, COUNT_MAX)?,
            opened: within("opened", flow.opened, 0, 1)?,
            attempts: within("attempts", flow.attempts, 1, WEIGHT_MAX)?,
            side: flow.side,
            state: flow.state,
            encryption: Encryption::of(flow.encryption),
            remote_port: port(flow.remote_port)?,
            remote: remote(flow.remote_address, flow.remote_name, symbols)?,
            protocol: symbols.intern(flow.protocol),
            workload: symbols.intern_workload([flow.cluster, flow.namespace, flow.workload_kind, flow.workload]),
            node: symbols.intern(flow.node),
        })
    }
}

/// The other end as one word, since few have a name: its address, and that behind a space.
fn remote(address: &str, name: &str, symbols: &mut Symbols) -> Result<Symbol, BadInput> {
    if [address, name].iter().any(|word| word.contains(' ')) {
        return Err(BadInput(format!("the other end is `{address}` with the name `{name}`")));
    }
    Ok(if name.is_empty() { symbols.intern(address) } else { symbols.intern(&format!("{address} {name}")) })
}

/// The address of an end, and the name by which its client came there.
pub fn came_to(remote: &str) -> (&str, Option<&str>) {
    remote.split_once(' ').map_or((remote, None), |(address, name)| (address, Some(name)))
}

fn connection(id: &str) -> Result<ConnectionId, BadInput> {
    ConnectionId::parse(id).ok_or_else(|| {
        BadInput(format!("connection_id {:?} is not 16 hex digits", id.chars().take(40).collect::<String>()))
    })
}

fn port(port: i32) -> Result<u16, BadInput> {
    u16::try_from(port).map_err(|_| BadInput(format!("remote_port is {port}, it must be from 0 to 65535")))
}
