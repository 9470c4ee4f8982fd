//! DNS over UDP: datagrams in, records of exchanges out.
//!
//! A datagram belongs to no connection. An exchange is named by what both sides see of it, whatever stands in between that changes the server's address: the
//! client's address and port, the id, and what was asked, byte by byte; its position says the how-manieth of that name it is. Where a client's socket is
//! bound to no address, nobody sees that from it: then its record has a name of its own, and meets no other.
//!
//! Bounds: [`OPEN_MAX`] questions, of which a single cgroup leaves some to the others; [`NAMES_HALF_MAX`] names twice.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use headwater_probe_loader::types::{DatagramEvent, SocketRecord, direction, role};
use headwater_protocols::dns::datagrams::{Datagram, Ends, Out, Questions, Told};
use headwater_protocols::{Exchange, Position, Side};
use headwater_workload::bounded::Bounded;

use super::callers::Callers;
use super::connection::{Identity, address, published_id};
use super::request::{self, Shared};
use super::sums::Heat;
use super::{Observer, Output};
use crate::memory::Shares;
use crate::naming::Owner;

/// Questions of all sockets that wait for their answers.
const OPEN_MAX: usize = 16 * 1024;

/// Names of exchanges that are remembered, so that the next one of the same name is told apart. A socket that asks the same again gives an id again after some
/// ten thousand questions.
const NAMES_HALF_MAX: usize = 32 * 1024;

/// What is open, and what was told of lately.
pub struct Datagrams {
    questions: Questions<Rc<Socket>>,
    /// Open questions, by cgroup.
    open: Shares,
    /// How many exchanges have had a name, as clients (`true`) and as servers tell of them: both may be on this node.
    names: Bounded<(u64, bool), u32>,
}

/// Whose socket it is, and where.
pub struct Socket {
    record: SocketRecord,
    local: IpAddr,
    /// Its network namespace.
    network: u32,
    owner: Rc<Owner>,
}

impl Datagrams {
    pub fn new() -> Datagrams {
        Datagrams { questions: Questions::default(), open: Shares::default(), names: Bounded::new(NAMES_HALF_MAX) }
    }

    /// As for connections: as long as half of all is free, and then up to three for each that is free for all.
    fn has_room(&self, owner: &Owner) -> bool {
        const FOR_EACH_FREE: usize = 3;
        let free = OPEN_MAX.saturating_sub(self.open.total_bytes());
        free > OPEN_MAX / 2 || self.open.of(owner.cgroup()) < free * FOR_EACH_FREE
    }
}

impl Observer {
    /// A datagram was sent or received.
    pub(super) fn datagram(&mut self, event: &DatagramEvent, out: &mut impl FnMut(Output<'_>)) {
        let record = record_of(event);
        let owner = self.owners.of(&record);
        let local = address(event.local_family, event.local_address);
        let remote = address(event.remote_family, event.remote_address);
        let has_room = self.datagrams.has_room(&owner);
        let captured = event.bytes.len().min(event.captured_bytes as usize).min(event.length as usize);
        let datagram = Datagram {
            socket: event.socket,
            is_sent: event.direction == direction::SEND,
            peer: (event.remote_port != 0).then(|| SocketAddr::new(remote, event.remote_port)),
            bytes: event.length,
            captured: &event.bytes[..captured],
            at_ns: event.at_ns,
        };
        let cgroup = owner.cgroup();
        let socket = Rc::new(Socket { record, local, network: event.network, owner });
        let opened = self.told(out, |questions, tell| questions.take(&datagram, &socket, has_room, tell));
        if opened {
            self.datagrams.open.change(cgroup, 0, 1);
        }
    }

    /// All datagrams up to this time have come: what has waited for too long is told of.
    pub fn expire_datagrams(&mut self, now_ns: u64, out: &mut impl FnMut(Output<'_>)) {
        self.told(out, |questions, tell| questions.expire(now_ns, tell));
    }

    /// Events may have been missed before this time, and datagrams among them.
    pub fn missed_datagrams(&mut self, before_ns: u64) {
        self.datagrams.questions.missed(before_ns);
    }

    pub(super) fn finish_datagrams(&mut self, out: &mut impl FnMut(Output<'_>)) {
        self.told(out, |questions, tell| questions.finish(tell));
    }

    /// Does something with the questions, and tells what comes of it.
    fn told<T>(
        &mut self,
        out: &mut impl FnMut(Output<'_>),
        with: impl FnOnce(&mut Questions<Rc<Socket>>, &mut Out<'_, Rc<Socket>>) -> T,
    ) -> T {
        let Observer { datagrams: Datagrams { questions, open, names }, shared, .. } = self;
        with(questions, &mut |told, socket, was_open| {
            if was_open {
                open.change(socket.owner.cgroup(), 1, 0);
            }
            match told {
                Told::Exchange(exchange, ends) => tell(&exchange, &ends, socket, names, shared, out),
                Told::WithoutPeer => out(Output::RequestsDropped("peer_unknown", 1, Some(&socket.owner))),
                Told::Lost(reason) if request::is_missing_request(reason) => {
                    out(Output::RequestsDropped(reason.as_str(), 1, Some(&socket.owner)));
                }
                Told::Lost(_) => {}
            }
        })
    }
}

fn tell(
    exchange: &Exchange<'_>,
    ends: &Ends<'_>,
    socket: &Socket,
    names: &mut Bounded<(u64, bool), u32>,
    shared: &mut Shared,
    out: &mut impl FnMut(Output<'_>),
) {
    let Socket { record, local, network, owner } = socket;
    let is_client = ends.side == Side::Client;
    let client = if is_client { SocketAddr::new(*local, record.local_port) } else { ends.peer };
    let id = if client.ip().is_unspecified() {
        // Nobody else can know it.
        let own = [exchange.request_started_ns.to_ne_bytes(), record.connection_id.to_ne_bytes()].concat();
        hash(&[shared.options.node.as_bytes(), &own, &ends.id.to_be_bytes()])
    } else {
        name(client, ends, *network, &shared.options.node)
    };
    let ordinal = names.get(&(id, is_client)).copied().unwrap_or(0);
    names.insert((id, is_client), ordinal.saturating_add(1));
    let exchange = Exchange { request_position: Position(ordinal.into()), ..*exchange };
    let record = SocketRecord {
        connection_id: id,
        role: if is_client { role::CLIENT } else { role::SERVER } as u16,
        family: libc::AF_INET6 as u16,
        local_address: octets(*local),
        remote_address: octets(ends.peer.ip()),
        remote_port: ends.peer.port(),
        ..*record
    };
    let identity = Identity::new(&record, published_id(id), Rc::clone(owner), None);
    request::record(
        &exchange,
        (&identity, &Callers::default()),
        &mut Heat::default(),
        request::AddsUp::Probes,
        shared,
        out,
    );
}

/// What both sides name an exchange by. Addresses of the loopback are those of one network namespace of one node.
fn name(client: SocketAddr, ends: &Ends<'_>, network: u32, node: &str) -> u64 {
    let (port, id) = (client.port().to_be_bytes(), ends.id.to_be_bytes());
    let shared: &[&[u8]] = &[&octets(client.ip()), &port, &id, ends.question];
    let own: &[&[u8]] = if client.ip().is_loopback() { &[&network.to_be_bytes(), node.as_bytes()] } else { &[] };
    hash(&[shared, own].concat())
}

/// FNV-1a, the same on every machine and in every version.
fn hash(parts: &[&[u8]]) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    parts.iter().copied().flatten().fold(OFFSET, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// What is known of the socket; its name is still the socket's own.
fn record_of(event: &DatagramEvent) -> SocketRecord {
    SocketRecord {
        connection_id: event.socket,
        at_ns: event.at_ns,
        opened_at_ns: event.at_ns,
        cgroup_id: event.cgroup_id,
        process_started_ns: event.process_started_ns,
        sent_bytes: 0,
        received_bytes: 0,
        sent_before_bytes: 0,
        received_before_bytes: 0,
        local_address: event.local_address,
        remote_address: event.remote_address,
        program: event.program,
        local_port: event.local_port,
        remote_port: event.remote_port,
        family: event.local_family,
        role: role::UNKNOWN as u16,
        flags: 0,
        pid: event.pid,
        tcp_state: 0,
        error: 0,
        retransmits: 0,
        rtt_us: 0,
        rtt_min_us: 0,
        connect_us: 0,
        exec: event.exec,
        cgroup_hierarchy: event.cgroup_hierarchy,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use headwater_probe_loader::Event;
    use headwater_probe_loader::types::{DATAGRAM_BYTES_MAX, kind};
    use headwater_schemas::records;

    use super::*;
    use crate::clock::Clock;
    use crate::observe::ObserverOptions;

    /// What was told of an exchange: its side, its name and its position.
    type Named = (records::Side, String, i64);

    struct Bench {
        observer: Observer,
        told: Vec<Named>,
        dropped: Vec<&'static str>,
    }

    impl Bench {
        fn new(node: &str) -> Bench {
            let options = ObserverOptions { node: node.into(), ..crate::observe::tests::options() };
            let observer = Observer::new(options, None, Clock::measure());
            Bench { observer, told: Vec::new(), dropped: Vec::new() }
        }

        fn with(&mut self, does: impl FnOnce(&mut Observer, &mut dyn FnMut(Output<'_>))) {
            let Bench { observer, told, dropped } = self;
            does(observer, &mut |output| match output {
                Output::Request(request, _) => {
                    told.push((request.side, request.connection_id.to_owned(), request.request_position));
                }
                Output::RequestsDropped(reason, ..) => dropped.push(reason),
                _ => {}
            });
        }

        fn event(&mut self, event: DatagramEvent) {
            self.with(|observer, mut out| observer.event(Event::Datagram(Box::new(event)), &mut out));
        }

        /// A question and its answer, as a side sees them.
        fn exchange(&mut self, local: &str, remote: &str, network: u32) {
            let asks = remote.ends_with(":53");
            for is_answer in [false, true] {
                let way = if asks == is_answer { direction::RECEIVE } else { direction::SEND };
                self.event(datagram(local, remote, network, way, is_answer));
            }
        }

        fn last(&self) -> Named {
            self.told.last().unwrap().clone()
        }
    }

    fn datagram(local: &str, remote: &str, network: u32, way: u32, is_answer: bool) -> DatagramEvent {
        let [local, remote] = [local, remote].map(|address| address.parse::<SocketAddr>().unwrap());
        let question = b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x01a\x07example\0\0\x01\0\x01";
        let mut bytes = [0; DATAGRAM_BYTES_MAX];
        bytes[..question.len()].copy_from_slice(question);
        bytes[2] |= u8::from(is_answer) << 7;
        DatagramEvent {
            kind: kind::DATAGRAM,
            captured_bytes: question.len() as u32,
            at_ns: if is_answer { 2_000 } else { 1_000 },
            socket: 1,
            cgroup_id: 5,
            process_started_ns: 1,
            local_address: octets(local.ip()),
            remote_address: octets(remote.ip()),
            program: [0; 16],
            local_port: local.port(),
            remote_port: remote.port(),
            local_family: libc::AF_INET6 as u16,
            remote_family: libc::AF_INET6 as u16,
            length: question.len() as u32,
            direction: way,
            pid: 1,
            exec: 1,
            cgroup_hierarchy: 0,
            network,
            bytes,
        }
    }

    #[test]
    fn both_sides_name_an_exchange_alike_also_where_the_servers_address_is_translated() {
        let (mut client, mut server) = (Bench::new("a"), Bench::new("b"));
        for ordinal in 0..3 {
            client.exchange("10.0.0.1:4711", "10.96.0.10:53", 1);
            server.exchange("[::]:53", "10.0.0.1:4711", 2);
            let (of_client, of_server) = (client.last(), server.last());
            assert_eq!((of_client.0, of_server.0), (records::Side::Client, records::Side::Server));
            assert_eq!((&of_client.1, of_client.2), (&of_server.1, of_server.2));
            assert_eq!(of_client.2, ordinal);
        }
        client.exchange("10.0.0.1:4712", "10.96.0.10:53", 1);
        assert_ne!(client.last().1, server.last().1);
        assert_eq!((client.dropped.len(), server.dropped.len()), (0, 0));
    }

    #[test]
    fn both_sides_of_one_node_name_an_exchange_alike() {
        let mut node = Bench::new("a");
        for ordinal in 0..3 {
            node.exchange("127.0.0.1:4711", "127.0.0.1:53", 1);
            let of_client = node.last();
            node.exchange("127.0.0.1:53", "127.0.0.1:4711", 1);
            let of_server = node.last();
            assert_eq!((of_client.0, of_server.0), (records::Side::Client, records::Side::Server));
            assert_eq!((&of_client.1, of_client.2), (&of_server.1, ordinal));
            assert_eq!(of_server.2, ordinal);
        }
    }

    #[test]
    fn what_is_everywhere_is_named_by_where_it_is() {
        let name = |node, local, network| {
            let mut bench = Bench::new(node);
            bench.exchange(local, "127.0.0.53:53", network);
            bench.last().1
        };
        let here = name("a", "127.0.0.1:4711", 1);
        assert_eq!(here, name("a", "127.0.0.1:4711", 1));
        assert_ne!(here, name("b", "127.0.0.1:4711", 1));
        assert_ne!(here, name("a", "127.0.0.1:4711", 2));
        // Who is bound to no address could be anybody.
        assert_ne!(name("a", "0.0.0.0:4711", 1), here);
    }

    #[test]
    fn a_loud_cgroup_leaves_room_for_the_questions_of_others() {
        let mut bench = Bench::new("a");
        let ask = |cgroup_id, number: u64| {
            let event = datagram("10.0.0.1:4711", "10.0.0.2:53", 1, direction::SEND, false);
            DatagramEvent { cgroup_id, socket: number, at_ns: 1 + number, ..event }
        };
        for number in 0..2 * OPEN_MAX as u64 {
            bench.event(ask(1, number));
        }
        let lost = bench.dropped.len();
        assert_eq!(lost, 2 * OPEN_MAX - OPEN_MAX * 3 / 4);
        bench.event(ask(2, 1 << 40));
        assert_eq!(bench.dropped.len(), lost);
        bench.with(|observer, mut out| observer.expire_datagrams(u64::MAX, &mut out));
        assert_eq!(bench.dropped[lost..], [""; 0]);
        assert_eq!((bench.told.len(), bench.observer.datagrams.open.total_bytes()), (OPEN_MAX * 3 / 4 + 1, 0));
    }
}
