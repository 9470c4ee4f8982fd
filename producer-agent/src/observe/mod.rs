//! Turns what the probes saw into records.
//!
//! In: events of the ring buffer in order, the records of all sockets at an interval, the time of day. Out: [`Request`]s and
//! [`Flow`]s that borrow from the state here, with the owner whose name is still to be filled in, and drops by reason. Pure: no I/O, no
//! clock of its own. Bounded: `connections_max` connections, each with a parser that has bounds.

mod connection;
mod failed;
mod flow;
mod pressure;
mod request;
#[cfg(test)]
mod tests;

use std::collections::hash_map::Entry;
use std::rc::Rc;
use std::time::Duration;

use headwater_probe_loader::Event;
use headwater_probe_loader::types::{DataEvent, SocketRecord, direction, flag, role};
use headwater_protocols::operation::{Bounds, Counts as OperationCounts, Operations};
use headwater_protocols::{CloseReason, Direction, Options, Position, Segment, Side as ProtocolSide};
use headwater_schemas::records::{Flow, Request, Side};
use rustc_hash::FxHashMap;

use crate::clock::Clock;
use crate::memory::Shares;
use crate::naming::{Owner, Owners};
use connection::{Connection, Service};
use failed::Failed;

/// What comes out of the observer.
pub enum Output<'a> {
    /// Without the names of its workload, which are the owner's.
    Request(Request<'a>, &'a Rc<Owner>),
    Flow(Flow<'a>, &'a Rc<Owner>),
    /// So many requests are missing, for this reason.
    RequestsDropped(&'static str, u64),
    /// So many flow records are missing, for this reason.
    FlowsDropped(&'static str, u64),
}

/// What is wanted from now on of one end of a connection; see [`headwater_probe_loader::types::interest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interest {
    pub connection_id: u64,
    pub role: u32,
    pub interest: u32,
}

/// How paths are published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paths {
    /// With placeholders instead of identifiers.
    Templated,
    /// As they are, without query.
    Full,
}

/// What the observer needs to know.
#[derive(Debug, Clone)]
pub struct ObserverOptions {
    pub node: String,
    pub paths: Paths,
    pub connections_max: usize,
    /// Bytes that the parsers may keep together.
    pub memory_bytes: usize,
    /// Distinct operations of one workload.
    pub operations_max: usize,
    /// How long records wait for the name of their workload.
    pub name_wait: Duration,
    pub protocols: Options,
}

/// A socket among all: both ends of a connection may be on this machine.
type SocketKey = (u64, u16);

/// Walks over all sockets without a sign of a connection after which it is given up: its close was lost, or its program let go
/// of it long ago.
const UNSEEN_WALKS_MAX: u64 = 12;

/// The state of all connections under capture.
pub struct Observer {
    options: ObserverOptions,
    connections: FxHashMap<SocketKey, Connection>,
    owners: Owners,
    operations: Operations<Service>,
    failed: Failed,
    shares: Shares,
    /// Connections whose open exchanges were given up for want of memory.
    evicted: u64,
    /// What others keep of `memory_bytes`.
    kept_elsewhere_bytes: usize,
    clock: Clock,
    /// The number of the newest walk over all sockets; 0 before the first.
    walk: u64,
    interests: Vec<Interest>,
}

impl Observer {
    pub fn new(options: ObserverOptions, clock: Clock) -> Observer {
        Observer {
            connections: FxHashMap::default(),
            owners: Owners::new(options.name_wait),
            operations: Operations::new(Bounds { names_max: options.operations_max, ..Bounds::default() }),
            options,
            failed: Failed::default(),
            shares: Shares::default(),
            evicted: 0,
            kept_elsewhere_bytes: 0,
            clock,
            walk: 0,
            interests: Vec::new(),
        }
    }

    /// What has been decided since this was asked last. At most one for each event.
    pub fn interests(&mut self) -> impl Iterator<Item = Interest> {
        self.interests.drain(..)
    }

    /// Takes over a newly measured offset between the clocks.
    pub fn set_clock(&mut self, clock: Clock) {
        self.clock = clock;
    }

    /// The owners of the connections' sockets.
    pub fn owners(&mut self) -> &mut Owners {
        &mut self.owners
    }

    /// How many connections have state.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// How many operations are known, and how many had no room.
    pub fn operations(&self) -> OperationCounts {
        self.operations.counts()
    }

    /// Takes one event.
    pub fn event(&mut self, event: Event<'_>, out: &mut impl FnMut(Output<'_>)) {
        match event {
            Event::Data(data, captured) => self.data(&data, captured, out),
            Event::EndOfStream(data) => self.end_of_stream(&data, out),
            Event::Open(socket) => {
                self.connection(&socket, out);
            }
            Event::Close(socket) => self.close(&socket, out),
            // These are told to the naming thread.
            Event::Cgroup(..) | Event::Process(..) => {}
        }
    }

    /// Takes one socket of a walk over all, which publishes what its connection did since the last one.
    pub fn walked(&mut self, socket: &SocketRecord, out: &mut impl FnMut(Output<'_>)) {
        let (walk, clock) = (self.walk, self.clock);
        let node = self.options.node.clone();
        let Some(connection) = self.connection(socket, out) else { return };
        connection.seen_in_walk = walk;
        // A socket that several processes hold comes several times.
        if std::mem::replace(&mut connection.walked_in, walk) != walk {
            flow::progress(connection, socket, &node, clock, out);
        }
    }

    /// Begins a walk over all sockets. Events may come between two of its sockets.
    pub fn begin_walk(&mut self) {
        self.walk += 1;
    }

    /// Ends a walk: connections of which nothing was seen for long are given up.
    pub fn end_walk(&mut self, now_ns: u64, out: &mut impl FnMut(Output<'_>)) {
        let (walk, clock) = (self.walk, self.clock);
        let (options, operations, shares) = (&self.options, &mut self.operations, &mut self.shares);
        self.connections.retain(|_, connection| {
            let keep = walk.saturating_sub(connection.seen_in_walk) <= UNSEEN_WALKS_MAX;
            if !keep {
                connection.book_end(shares);
                request::close(connection, now_ns, CloseReason::Unobserved, options, operations, clock, out);
                out(Output::FlowsDropped("close_missed", 1));
            }
            keep
        });
        self.tell_failed(now_ns, out);
    }

    /// Ends all parsers, since the capture ends: what is open is counted.
    pub fn finish(&mut self, now_ns: u64, out: &mut impl FnMut(Output<'_>)) {
        self.tell_failed(now_ns, out);
        let clock = self.clock;
        for connection in self.connections.values_mut() {
            request::close(
                connection,
                now_ns,
                CloseReason::Unobserved,
                &self.options,
                &mut self.operations,
                clock,
                out,
            );
        }
    }

    fn data(&mut self, event: &DataEvent, captured: &[u8], out: &mut impl FnMut(Output<'_>)) {
        let Some(connection) = self.connections.get_mut(&(event.connection_id, event.role)) else {
            // Its OPEN did not come through, and neither could this be named: the probes announce it again.
            out(Output::RequestsDropped("connection_unknown", 1));
            return;
        };
        connection.seen_in_walk = self.walk;
        if event.length == 0 {
            // Its call's bytes have no place that can be told, and lie among those that others were told to have skipped.
            out(Output::RequestsDropped("ambiguous", 1));
            return;
        }
        let segment = Segment {
            position: Position(event.position),
            length: u64::from(event.length),
            captured,
            at_ns: event.at_ns,
            other_position: Position(event.other_position),
        };
        let (way, before) = (direction_of(event), connection.parser.recognition());
        request::segment(connection, way, &segment, &self.options, &mut self.operations, self.clock, out);
        if let Some(interest) = connection.decide(before) {
            self.interests.push(Interest { connection_id: event.connection_id, role: u32::from(event.role), interest });
        }
        connection.book_memory(&mut self.shares);
        self.keep_to_memory(event.at_ns, out);
    }

    /// The end of the server's stream, read by the client or made by the server, ends what is open. The other way round, the client has
    /// only said that it will ask nothing more.
    fn end_of_stream(&mut self, event: &DataEvent, out: &mut impl FnMut(Output<'_>)) {
        if direction_of(event) != Direction::Response {
            return;
        }
        if let Some(connection) = self.connections.get_mut(&(event.connection_id, event.role)) {
            let positions =
                [(Direction::Request, Position(event.other_position)), (Direction::Response, Position(event.position))];
            request::reached(connection, positions, &self.options, &mut self.operations, self.clock, out);
            let by = if event.length == 0 { ProtocolSide::Server } else { ProtocolSide::Client };
            request::end_of_response(connection, event.at_ns, by, &self.options, &mut self.operations, self.clock, out);
            connection.book_memory(&mut self.shares);
        }
    }

    fn close(&mut self, socket: &SocketRecord, out: &mut impl FnMut(Output<'_>)) {
        if socket.connection_id == 0 && socket.flags & flag::ESTABLISHED == 0 {
            return self.never_established(socket, out);
        }
        self.connection(socket, out);
        let Some(mut connection) = self.connections.remove(&(socket.connection_id, socket.role)) else { return };
        let (to_server, to_client) = match connection.identity.side {
            Side::Client => (socket.sent_bytes, socket.received_bytes),
            Side::Server => (socket.received_bytes, socket.sent_bytes),
        };
        let positions = [(Direction::Request, Position(to_server)), (Direction::Response, Position(to_client))];
        request::reached(&mut connection, positions, &self.options, &mut self.operations, self.clock, out);
        connection.book_end(&mut self.shares);
        let reason = flow::close_reason(socket);
        request::close(&mut connection, socket.at_ns, reason, &self.options, &mut self.operations, self.clock, out);
        flow::last(&mut connection, socket, 1, &self.options.node, self.clock, out);
    }

    fn never_established(&mut self, socket: &SocketRecord, out: &mut impl FnMut(Output<'_>)) {
        let owner = self.owners.of(socket);
        if self.failed.add(socket, &owner) {
            self.tell_attempts(socket, 1, &owner, out);
        }
    }

    /// Tells of attempts to connect that failed and were not told at once. They are told as of `at_ns`: what was before is complete.
    fn tell_failed(&mut self, at_ns: u64, out: &mut impl FnMut(Output<'_>)) {
        let mut failed = std::mem::take(&mut self.failed);
        failed.end_interval(|attempts| {
            let socket = SocketRecord { at_ns, ..attempts.socket };
            self.tell_attempts(&socket, attempts.count, &attempts.owner, out);
        });
        self.failed = failed;
    }

    fn tell_attempts(
        &mut self,
        socket: &SocketRecord,
        count: i64,
        owner: &Rc<Owner>,
        out: &mut impl FnMut(Output<'_>),
    ) {
        let mut connection = Connection::new(socket, self.walk, &mut self.owners, &self.options.protocols);
        connection.identity.connection_id = failed::name(&self.options.node, socket).to_string();
        connection.identity.owner = Rc::clone(owner);
        flow::last(&mut connection, socket, count, &self.options.node, self.clock, out);
    }

    /// The connection of a socket, made if it is new and there is room.
    fn connection(&mut self, socket: &SocketRecord, out: &mut impl FnMut(Output<'_>)) -> Option<&mut Connection> {
        let full = self.connections.len() >= self.options.connections_max;
        match self.connections.entry((socket.connection_id, socket.role)) {
            Entry::Occupied(entry) => {
                let connection = entry.into_mut();
                connection.update(socket, &mut self.owners, &mut self.shares);
                Some(connection)
            }
            Entry::Vacant(_) if full => {
                out(Output::FlowsDropped("connections_full", 1));
                None
            }
            Entry::Vacant(entry) => {
                let protocols = &self.options.protocols;
                Some(entry.insert(Connection::new(socket, self.walk, &mut self.owners, protocols)))
            }
        }
    }
}

fn direction_of(event: &DataEvent) -> Direction {
    let sends = u32::from(event.direction) == direction::SEND;
    let is_client = u32::from(event.role) == role::CLIENT;
    if sends == is_client { Direction::Request } else { Direction::Response }
}
