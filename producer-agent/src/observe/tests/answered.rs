//! What answers of DNS teach of the addresses that a workload connects to, over TCP and UDP.

use headwater_probe_loader::types::{DATAGRAM_BYTES_MAX, DatagramEvent};

use super::*;

const NAME: &[u8] = b"\x03api\x07example\0";
const FIRST: [u8; 4] = [192, 0, 2, 1];
const SECOND: [u8; 4] = [192, 0, 2, 2];

/// A question for the addresses of a name.
fn question(id: u8, name: &[u8]) -> Vec<u8> {
    [&[0, id, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0], name, &[0, 1, 0, 1]].concat()
}

/// Its answer: the name is an alias of `edge.example`, which has both addresses.
fn answer(id: u8, name: &[u8]) -> Vec<u8> {
    let alias = [&[0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 0, 0, 14][..], b"\x04edge\x07example\0"].concat();
    let [first, second] = [FIRST, SECOND]
        .map(|address| [&b"\x04edge\x07example\0"[..], &[0, 1, 0, 1, 0, 0, 0, 0, 0, 4], &address].concat());
    let header = [0, id, 0x81, 0x80, 0, 1, 0, 3, 0, 0, 0, 0];
    [&header[..], name, &[0, 1, 0, 1], &alias, &first, &second].concat()
}

/// As TCP carries it.
fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes()[..], message].concat()
}

impl Bench {
    /// Asks over a TCP connection of its own, as a side of it sees that; so many bytes of the answer are captured.
    fn asks(&mut self, connection_id: u64, role: u32, name: &[u8], captured: usize) {
        self.event(Event::Open(SocketRecord { remote_port: 53, ..socket(role, connection_id, 0, 0) }));
        let (asked, answered) = (framed(&question(7, name)), framed(&answer(7, name)));
        let is_client = role == role::CLIENT;
        let ways =
            if is_client { [direction::SEND, direction::RECEIVE] } else { [direction::RECEIVE, direction::SEND] };
        let event = data(role, ways[0], 1_000, asked.len(), 0);
        self.event(Event::Data(DataEvent { connection_id, ..event }, &asked));
        let event = data(role, ways[1], 2_000, answered.len(), asked.len());
        let captured_bytes = answered.len().min(captured) as u32;
        let captured = &answered[..captured_bytes as usize];
        self.event(Event::Data(DataEvent { connection_id, captured_bytes, ..event }, captured));
        let told = self.seen.iter().filter(|seen| matches!(seen, Seen::Request { .. })).count();
        assert!(told > 0, "{:?}", self.seen);
    }

    /// The name by which a workload came to an address, with whose port it makes no difference.
    fn name(&mut self, cgroup_id: u64, address: [u8; 4]) -> String {
        let mut remote_address = [0; 16];
        remote_address[..4].copy_from_slice(&address);
        let id = 100 + cgroup_id * 1_000 + u64::from(address[3]);
        let opened = SocketRecord { remote_address, cgroup_id, ..socket(role::CLIENT, id, 0, 0) };
        self.event(Event::Open(SocketRecord { opened_at_ns: 9_000, ..opened }));
        let name = self.observer.connections[&(id, role::CLIENT as u16)].identity.remote_name().to_owned();
        self.observer.connections.remove(&(id, role::CLIENT as u16));
        name
    }
}

#[test]
fn an_answer_over_tcp_names_the_addresses_for_who_asked() {
    let mut bench = Bench::new(Paths::Templated, 10);
    bench.asks(7, role::CLIENT, NAME, usize::MAX);
    // The name that was asked for, and not the one that it stands for.
    assert_eq!([FIRST, SECOND].map(|address| bench.name(1, address)), ["api.example"; 2]);
    assert_eq!(bench.name(1, [192, 0, 2, 3]), "");
    // Another workload has not asked for it.
    assert_eq!(bench.name(2, FIRST), "");
}

#[test]
fn who_answers_over_tcp_learns_nothing_by_it() {
    let mut bench = Bench::new(Paths::Templated, 10);
    bench.asks(7, role::SERVER, NAME, usize::MAX);
    assert_eq!(bench.name(1, FIRST), "");
}

#[test]
fn of_an_answer_over_tcp_that_was_not_captured_to_its_end_the_rest_names_nothing() {
    let whole = framed(&answer(7, NAME)).len();
    for (captured, names) in [(whole - 1, ["api.example", ""]), (whole - 29, ["", ""]), (20, ["", ""])] {
        let mut bench = Bench::new(Paths::Templated, 10);
        bench.asks(7, role::CLIENT, NAME, captured);
        assert_eq!([FIRST, SECOND].map(|address| bench.name(1, address)), names, "{captured}");
    }
}

#[test]
fn answers_over_tcp_and_udp_are_remembered_together() {
    const OTHER: &[u8] = b"\x03cdn\x07example\0";
    // The same name twice, and two names of one address.
    for (over_udp, known) in [(NAME, "api.example"), (OTHER, "")] {
        let mut bench = Bench::new(Paths::Templated, 10);
        bench.asks(7, role::CLIENT, NAME, usize::MAX);
        for (direction, message) in
            [(direction::SEND, question(8, over_udp)), (direction::RECEIVE, answer(8, over_udp))]
        {
            let mut bytes = [0; DATAGRAM_BYTES_MAX];
            bytes[..message.len()].copy_from_slice(&message);
            let length = message.len() as u32;
            bench.event(Event::Datagram(Box::new(DatagramEvent {
                direction,
                length,
                captured_bytes: length,
                bytes,
                ..datagram()
            })));
        }
        assert_eq!(bench.name(1, FIRST), known);
    }
}

/// Of the workload of [`socket`].
fn datagram() -> DatagramEvent {
    let SocketRecord { cgroup_id, process_started_ns, program, pid, exec, cgroup_hierarchy, .. } =
        socket(role::CLIENT, 9, 0, 0);
    DatagramEvent {
        kind: kind::DATAGRAM,
        captured_bytes: 0,
        at_ns: 3_000,
        socket: 9,
        cgroup_id,
        process_started_ns,
        local_address: [0; 16],
        remote_address: [10; 16],
        program,
        local_port: 4_711,
        remote_port: 53,
        local_family: libc::AF_INET as u16,
        remote_family: libc::AF_INET as u16,
        length: 0,
        direction: direction::SEND,
        pid,
        exec,
        cgroup_hierarchy,
        network: 1,
        bytes: [0; DATAGRAM_BYTES_MAX],
    }
}
