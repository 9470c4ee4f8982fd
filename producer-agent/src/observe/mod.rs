//! Turns what the probes saw into records.
//!
//! In: events of the ring buffer in order, the records of all sockets at an interval, the time of day. Out: [`Request`]s,
//! [`Flow`]s and [`Process`]es that borrow from the state here, with the owner whose name is still to be filled in, and drops by reason. Pure: no I/O, no
//! clock of its own. Bounded: `connections_max` connections, of which a single cgroup leaves some to
//! the others, each with a parser that has bounds.

mod ahead;
mod callers;
mod connection;
mod datagrams;
mod ends;
mod failed;
mod flow;
mod pressure;
mod processes;
mod request;
mod resolved;
mod rest;
mod spare;
mod sums;
#[cfg(test)]
mod tests;
mod tls;
mod unix;

use std::collections::hash_map::Entry;
use std::rc::Rc;
use std::time::Duration;

use headwater_probe_loader::Event;
use headwater_probe_loader::types::sums::ExchangeEvent;
use headwater_probe_loader::types::{DataEvent, SocketRecord, direction, flag, interest, mark, role};
use headwater_protocols::operation::{Bounds, Counts as OperationCounts, Operations};
use headwater_protocols::{Direction, Interest as Wanted, Known, Options, Position, Segment, Side as ProtocolSide};
use headwater_schemas::records::{Flow, Process, Request};
use headwater_workload::bounded::Bounded;
use headwater_workload::names::CgroupKey;
use rustc_hash::FxHashMap;

use crate::clock::Clock;
use crate::memory::Shares;
use crate::naming::{Owner, Owners};
use ahead::Ahead;
use connection::{Connection, Service, Spoken, published_id};
use datagrams::Datagrams;
use ends::reach;
use failed::Failed;
use request::Shared;
use resolved::Resolved;
use spare::{Spared, Spares};
use sums::Summaries;

pub use rest::Rest;
pub use sums::Cells;

/// What comes out of the observer.
pub enum Output<'a> {
    /// Without the names of its workload, which are the owner's.
    Request(Request<'a>, &'a Rc<Owner>),
    Flow(Flow<'a>, &'a Rc<Owner>),
    Process(Process<'a>, &'a Rc<Owner>),
    /// So many requests are missing, for this reason, whose they were if that is known.
    RequestsDropped(&'static str, u64, Option<&'a Rc<Owner>>),
    /// So many flow records are missing, for this reason, whose they were if that is known.
    FlowsDropped(&'static str, u64, Option<&'a Rc<Owner>>),
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
    /// Of very busy connections with both ends here, the server's is followed for a part of the time only.
    pub spares_second_ends: bool,
    /// Libraries of TLS are watched.
    pub watches_tls: bool,
    pub protocols: Options,
}

/// A socket among all: both ends of a connection may be on this machine.
type SocketKey = (u64, u16);

/// Walks over all sockets without a sign of a connection after which it is given up: its close was lost, or its program let go
/// of it long ago.
const UNSEEN_WALKS_MAX: u32 = 12;

/// A connection is idle on which nothing was said for so long before a walk: its parser sleeps.
const IDLE_NS: u64 = 1_000_000_000;

/// Sockets without room whose owners are remembered, so that what is missing of them is known to be theirs.
const REFUSED_HALF_MAX: usize = 16 * 1024;

/// Programs that were seen to encrypt between two looks at them.
const ENCRYPTING_MAX: usize = 256;

/// Connections that ended lately whose programs move the bytes of TLS themselves, and may go on for a while with what they got.
const ENDED_HALF_MAX: usize = 1024;

/// Ends of Unix sockets that are not looked at and may just have said something; those that are told to be quiet say no more.
const HIDDEN_HALF_MAX: usize = 4096;

/// Cgroups whose connections share what they have learnt; those that had a new connection the longest time ago begin anew.
const KNOWN_HALF_MAX: usize = 64;

/// The state of all connections under capture.
pub struct Observer {
    shared: Shared,
    /// Each for itself, so that the table is small, also while it grows.
    connections: FxHashMap<SocketKey, Box<Connection>>,
    owners: Owners,
    failed: Failed,
    datagrams: Datagrams,
    shares: Shares,
    /// Connections, by cgroup.
    sockets: Shares,
    /// What the connections of a cgroup have learnt together.
    known: Bounded<CgroupKey, Known>,
    /// What that took at the last walk.
    known_bytes: usize,
    /// Whose sockets are for which there was no room.
    refused: Bounded<SocketKey, Rc<Owner>>,
    /// Connections whose open exchanges were given up for want of memory.
    evicted: u64,
    /// What others keep of `memory_bytes`.
    kept_elsewhere_bytes: usize,
    /// The number of the newest walk over all sockets; 0 before the first.
    walk: u32,
    interests: Vec<Interest>,
    /// Workloads that are not followed for a while, the longest first.
    resting: Vec<CgroupKey>,
    spares: Spares,
    /// Programs that were seen to encrypt since this was asked last.
    encrypting: Vec<u32>,
    ahead: Ahead,
    untied: Ahead,
    /// See [`ENDED_HALF_MAX`].
    ended: Bounded<SocketKey, ()>,
    /// Ends of Unix sockets that are over, of which more may be told.
    over: Bounded<SocketKey, ()>,
    /// Ends of Unix sockets that are the system's own.
    hidden: Bounded<SocketKey, ()>,
    /// So far.
    events: i64,
}

impl Observer {
    /// Without cells, each exchange is a record.
    pub fn new(options: ObserverOptions, cells: Option<Box<dyn Cells>>, clock: Clock) -> Observer {
        let bounds = Bounds { names_max: options.operations_max, ..Bounds::default() };
        Observer {
            connections: FxHashMap::default(),
            owners: Owners::new(options.name_wait),
            shared: Shared {
                options,
                operations: Operations::new(bounds),
                sums: Summaries::new(cells),
                clock,
                resolved: Resolved::new(),
                hot: Vec::new(),
                values_unknown: 0,
            },
            failed: Failed::default(),
            datagrams: Datagrams::new(),
            shares: Shares::default(),
            sockets: Shares::default(),
            known: Bounded::new(KNOWN_HALF_MAX),
            known_bytes: 0,
            refused: Bounded::new(REFUSED_HALF_MAX),
            evicted: 0,
            kept_elsewhere_bytes: 0,
            walk: 0,
            interests: Vec::new(),
            resting: Vec::new(),
            spares: Spares::default(),
            encrypting: Vec::new(),
            ahead: Ahead::default(),
            untied: Ahead::default(),
            ended: Bounded::new(ENDED_HALF_MAX),
            over: Bounded::new(ENDED_HALF_MAX),
            hidden: Bounded::new(HIDDEN_HALF_MAX),
            events: 0,
        }
    }

    /// What has been decided since this was asked last. At most one for each event.
    pub fn interests(&mut self) -> impl Iterator<Item = Interest> {
        self.interests.drain(..)
    }

    /// Programs whose connections turned out to be encrypted since this was asked last.
    pub fn encrypting(&mut self) -> impl Iterator<Item = u32> {
        self.encrypting.drain(..)
    }

    /// Takes over a newly measured offset between the clocks.
    pub fn set_clock(&mut self, clock: Clock) {
        self.shared.clock = clock;
        self.shared.sums.set_day_offset(clock.offset_ns());
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
        self.shared.operations.counts()
    }

    /// Addresses of which it is not remembered any more by which name a workload came to them.
    pub fn remote_names_forgotten(&self) -> u64 {
        self.shared.resolved.forgotten
    }

    /// Exchanges whose records have a value that is `unknown`.
    pub fn values_unknown(&self) -> u64 {
        self.shared.values_unknown
    }

    /// Takes one event.
    pub fn event(&mut self, event: Event<'_>, out: &mut impl FnMut(Output<'_>)) {
        self.events += 1;
        match event {
            Event::Data(data, captured) => self.data(&data, captured, out),
            Event::Plaintext(data, captured) => self.plaintext((&data, self.events), captured, out),
            Event::Sent(data) => self.sent(&data, out),
            Event::Tied(data) => self.tied(&data, out),
            Event::EndOfStream(data) => self.end_of_stream(&data, out),
            Event::Exchange(exchange) => self.single(&exchange, out),
            Event::Datagram(event) => self.datagram(&event, out),
            Event::Life(event) => self.life(&event, out),
            Event::Open(socket) => {
                self.connection(&socket, out);
                self.spare_unix(&socket, out);
            }
            Event::Close(socket) => self.close(&socket, out),
            // These are told to the naming thread.
            Event::Cgroup(..) | Event::Process(..) => {}
        }
    }

    /// Takes one socket of a walk over all, which publishes what its connection did since the last one.
    pub fn walked(&mut self, socket: &SocketRecord, out: &mut impl FnMut(Output<'_>)) {
        let (walk, clock) = (self.walk, self.shared.clock);
        let node = self.shared.options.node.clone();
        let Some(connection) = self.connection(socket, out) else { return };
        connection.seen_in_walk = walk;
        connection.is_open_in_probes = socket.flags & flag::EXCHANGE_OPEN != 0;
        let mut told_again = None;
        // A socket that several processes hold comes several times.
        if std::mem::replace(&mut connection.walked_in, walk) != walk {
            let is_left_out = connection.is_left_out(socket);
            Observer::book_rest(connection, socket, is_left_out, out);
            told_again = connection.tell_again(is_left_out);
            flow::progress(connection, socket, &node, clock, out);
            connection.sleep(socket.at_ns.saturating_sub(IDLE_NS));
        }
        self.interests.extend(told_again);
    }

    /// Begins a walk over all sockets. Events may come between two of its sockets.
    pub fn begin_walk(&mut self) {
        self.walk += 1;
        self.known_bytes = self.known.iter().map(|(_, known)| known.heap_bytes()).sum();
    }

    /// From now on, the exchanges of a connection are added up that has so many within a second: by the probes alone, or by the agent too.
    pub fn set_hot_per_second(&mut self, exchanges: u32, adds_up_itself: bool) {
        self.shared.sums.set_hot_per_second(exchanges, adds_up_itself);
    }

    /// Publishes what was added up in seconds of the day before this time's.
    pub fn take_sums(&mut self, now_ns: u64, out: &mut impl FnMut(Output<'_>)) {
        let second = self.shared.clock.epoch_us(now_ns).div_euclid(1_000_000).unsigned_abs();
        let takings = self.shared.sums.take(second);
        let mut added: FxHashMap<SocketKey, u64> = FxHashMap::default();
        for (socket, summed) in takings.summed {
            *added.entry(socket).or_default() += summed.exchanges;
            match self.connections.get_mut(&socket) {
                Some(connection) => request::sums(connection, &summed, &self.shared, out),
                None => out(Output::RequestsDropped("connection_unknown", summed.exchanges, self.refused.get(&socket))),
            }
        }
        let second = i64::try_from(second).unwrap_or(i64::MAX);
        let Shared { options, sums, .. } = &mut self.shared;
        for socket in sums.folds.listed() {
            let Some(connection) = self.connections.get_mut(&socket) else { continue };
            let Connection { identity, heat, .. } = &mut **connection;
            let folds = heat.own().map(|own| sums.folds.take_before(second, socket, own)).unwrap_or_default();
            request::folds(&folds, identity, &options.node, out);
        }
        for ((connection_id, role), key) in takings.cold {
            let Some(connection) = self.connections.get_mut(&(connection_id, role)) else { continue };
            connection.heat.cool(key);
            if !connection.heat.has_cells() {
                self.interests.push(Interest { connection_id, role: u32::from(role), interest: interest::HEADS });
            }
        }
        if self.shared.options.spares_second_ends {
            self.spare(second.unsigned_abs(), now_ns, &added, out);
        }
    }

    /// Up to this time (microseconds since the epoch) all that was added up has been published; none if nothing is.
    pub fn sums_taken_to_us(&self) -> Option<i64> {
        Some((self.shared.sums.taken_to_second()? as i64).saturating_mul(1_000_000))
    }

    /// Exchanges that the agent has added up itself, and those of them that found no room.
    pub fn folded(&self) -> (u64, u64) {
        (self.shared.sums.folds.added, self.shared.sums.folds.without_room)
    }

    /// Cells in use, and how often an operation found none.
    pub fn cells(&self) -> (usize, u64) {
        (self.shared.sums.count(), self.shared.sums.without_cell)
    }

    /// An exchange that was to be added up and did not fit.
    fn single(&mut self, event: &ExchangeEvent, out: &mut impl FnMut(Output<'_>)) {
        let socket = (event.connection_id, event.role as u16);
        let Some(connection) = self.connections.get_mut(&socket) else {
            out(Output::RequestsDropped("connection_unknown", 1, self.refused.get(&socket)));
            return;
        };
        connection.seen_in_walk = self.walk;
        connection.identity.owner.worked(0);
        if connection.rests || connection.spared == Spared::Yes {
            // It is among those that the walk counts as missing, or that the other end tells of.
            return;
        }
        if request::single(connection, event, &mut self.shared, out) {
            self.shared.sums.not_plain(&mut connection.heat);
            let (connection_id, role) = (event.connection_id, event.role);
            self.interests.push(Interest { connection_id, role, interest: interest::HEADS });
        }
    }

    fn data(&mut self, event: &DataEvent, captured: &[u8], out: &mut impl FnMut(Output<'_>)) {
        let socket = (event.connection_id, event.role);
        let Some(connection) = self.connections.get_mut(&socket) else {
            if self.hidden.get(&socket).is_some() {
                return;
            }
            // There was no room for it, or its close came first.
            out(Output::RequestsDropped("connection_unknown", 1, self.refused.get(&socket)));
            return;
        };
        connection.seen_in_walk = self.walk;
        connection.identity.owner.worked(captured.len());
        if event.length == 0 {
            // Its call's bytes have no place that can be told, and lie among those that others were told to have skipped.
            out(Output::RequestsDropped("ambiguous", 1, Some(&connection.identity.owner)));
            return;
        }
        let segment = Segment {
            position: Position(event.position),
            length: u64::from(event.length),
            captured,
            at_ns: event.at_ns,
            other_position: Position(event.other_position),
        };
        if connection.spared == Spared::Yes {
            return;
        }
        if connection.rests {
            return self.interests.extend(Observer::only_recognise(connection, event, &segment));
        }
        let (way, before) = (direction_of(event), Spoken::by(&connection.parser));
        let watches_tls = self.shared.options.watches_tls;
        if watches_tls && connection.is_encrypted() {
            connection.wire(way, &segment);
            return connection.book_memory(&mut self.shares);
        }
        connection.callers.note(way, (event, self.events), before.interest != Wanted::Heads);
        let [request, response] = positions(event);
        if event.marks & mark::RESUMES != 0 {
            request::feed(connection, &mut self.shared, out, |parser, sink| parser.resume(request, response, sink));
        }
        if event.marks & mark::CHECKPOINT != 0 && connection.parser.is_settled(request, response) {
            self.shared.sums.settled(&mut connection.heat, event.position + 1);
        }
        request::feed(connection, &mut self.shared, out, |parser, sink| parser.segment(way, &segment, sink));
        if watches_tls {
            connection.wire(way, &segment);
        }
        for (connection_id, role) in self.shared.hot.drain(..) {
            self.interests.push(Interest { connection_id, role: u32::from(role), interest: interest::SUMS });
        }
        if let Some(interest) = connection.decide(before, watches_tls) {
            if interest == interest::RECORDS && self.encrypting.len() < ENCRYPTING_MAX {
                self.encrypting.push(connection.identity.owner.pid());
            }
            self.interests.push(Interest { connection_id: event.connection_id, role: u32::from(event.role), interest });
        }
        if !connection.has_slept {
            // Many a connection of a pool has one exchange, and then none for long.
            connection.sleep(u64::MAX);
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
        self.take_ahead((event.connection_id, event.role), out);
        if let Some(connection) = self.connections.get_mut(&(event.connection_id, event.role)) {
            if connection.rests || connection.spared == Spared::Yes {
                return;
            }
            let [request, response] = positions(event);
            let by = if event.length == 0 { ProtocolSide::Server } else { ProtocolSide::Client };
            let resumes = event.marks & mark::RESUMES != 0;
            request::feed(connection, &mut self.shared, out, |parser, sink| {
                reach(parser, [request, response], resumes, sink);
                parser.end_of_stream(Direction::Response, event.at_ns, by, sink);
            });
            tls::feed(connection, &mut self.shared, out, |plaintext, _, sink| {
                plaintext.end_of_stream(Direction::Response, event.at_ns, by, sink);
            });
            connection.book_memory(&mut self.shares);
        }
    }

    /// Whether a cgroup may have one more connection: as long as half of all is free, and then up to three for each that is free for all. So
    /// a single cgroup leaves a quarter to the others.
    fn has_room(&self, cgroup: CgroupKey) -> bool {
        const FOR_EACH_FREE: usize = 3;
        let connections_max = self.shared.options.connections_max;
        let free = connections_max.saturating_sub(self.connections.len());
        free > connections_max / 2 || self.sockets.of(cgroup) < free * FOR_EACH_FREE
    }

    /// The connection of a socket, made if it is new and there is room.
    fn connection(&mut self, socket: &SocketRecord, out: &mut impl FnMut(Output<'_>)) -> Option<&mut Box<Connection>> {
        let key = (socket.connection_id, socket.role);
        let cgroup = Service::of(socket).cgroup;
        let (has_room, rests) = (self.has_room(cgroup), self.resting.contains(&cgroup));
        if unix::is_one(socket) {
            if unix::is_of_the_system(&unix::path(socket)) {
                self.hidden.insert(key, ());
                let (connection_id, role) = (socket.connection_id, u32::from(socket.role));
                self.interests.push(Interest { connection_id, role, interest: interest::COUNTERS });
                return None;
            }
            if self.over.get(&key).is_some() {
                return None;
            }
        }
        match self.connections.entry(key) {
            Entry::Occupied(entry) => {
                let connection = entry.into_mut();
                let before = connection.cgroup();
                connection.update(socket, &mut self.owners, &mut self.shares);
                if connection.cgroup() != before {
                    self.sockets.change(before, 1, 0);
                    self.sockets.change(connection.cgroup(), 0, 1);
                    connection.parser.share(&known_of(&mut self.known, connection.cgroup()));
                }
                Some(connection)
            }
            Entry::Vacant(_) if !has_room => {
                let owner = self.owners.of(socket);
                out(Output::FlowsDropped("connections_full", 1, Some(&owner)));
                self.refused.insert(key, owner);
                None
            }
            Entry::Vacant(entry) => {
                let protocols = &self.shared.options.protocols;
                let (id, owner) = (published_id(socket.connection_id), self.owners.of(socket));
                owner.worked(0);
                let remote_name = self.shared.resolved.of(socket, &owner);
                let mut connection = Box::new(Connection::new(socket, id, owner, self.walk, protocols, remote_name));
                connection.parser.share(&known_of(&mut self.known, connection.cgroup()));
                connection.rests = rests;
                self.sockets.change(connection.cgroup(), 0, 1);
                Some(entry.insert(connection))
            }
        }
    }
}

/// Where request and response stand before an event.
fn positions(event: &DataEvent) -> [Position; 2] {
    let (own, other) = (Position(event.position), Position(event.other_position));
    match direction_of(event) {
        Direction::Request => [own, other],
        Direction::Response => [other, own],
    }
}

/// What the connections of a cgroup share.
fn known_of(known: &mut Bounded<CgroupKey, Known>, cgroup: CgroupKey) -> Known {
    if known.get(&cgroup).is_none() {
        known.insert(cgroup, Known::shared());
    }
    known.get(&cgroup).cloned().unwrap_or_default()
}

fn direction_of(event: &DataEvent) -> Direction {
    let sends = u32::from(event.direction) == direction::SEND;
    let is_client = u32::from(event.role) == role::CLIENT;
    if sends == is_client { Direction::Request } else { Direction::Response }
}
