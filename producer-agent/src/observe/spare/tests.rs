//! Both ends of a connection on one node, without a kernel.
#![allow(clippy::unwrap_used)]

use headwater_probe_loader::types::sums::{key, operation};
use headwater_probe_loader::types::{DataEvent, SocketRecord, direction, flag, interest, role};
use headwater_schemas::records::Side;

use super::*;
use crate::clock::{Clock, monotonic_ns};
use crate::observe::Event;
use crate::observe::sums::tests::Hand;
use crate::observe::tests::{CLIENT_SENDS, SERVER_ANSWERS, data, options, socket};

const ID: u64 = 7;
const BUSY: u32 = 2_000;
const MS: u64 = 1_000_000;

struct Bench {
    observer: Observer,
    hand: Hand,
    clock: Clock,
    now_ns: u64,
    exchanges: usize,
    records: [usize; 2],
    lost: Vec<&'static str>,
}

impl Bench {
    /// Both ends are hot.
    fn hot() -> Bench {
        let (hand, clock) = (Hand::default(), Clock::measure());
        let mut bench = Bench {
            observer: Observer::new(options(), Some(Box::new(hand.clone())), clock),
            hand,
            clock,
            now_ns: monotonic_ns(),
            exchanges: 0,
            records: [0; 2],
            lost: Vec::new(),
        };
        for role in [role::CLIENT, role::SERVER] {
            bench.take(|observer, mut out| observer.event(Event::Open(record(role, 0)), &mut out));
        }
        bench.told(40);
        assert_eq!(bench.hand.keys().len(), 2);
        bench.wanted();
        bench
    }

    fn take(&mut self, with: impl FnOnce(&mut Observer, &mut dyn FnMut(Output<'_>))) {
        let Bench { observer, records, lost, .. } = self;
        with(observer, &mut |output| match output {
            Output::Request(request, _) => records[usize::from(request.side == Side::Server)] += 1,
            Output::RequestsDropped(reason, ..) => lost.push(reason),
            Output::Flow(..) | Output::Process(..) | Output::FlowsDropped(..) => {}
        });
    }

    /// Exchanges of which both ends are told, a millisecond each.
    fn told(&mut self, count: usize) {
        for _ in 0..count {
            for role in [role::CLIENT, role::SERVER] {
                self.asked(role);
                self.answered(role);
            }
            self.exchanges += 1;
            self.now_ns += MS;
        }
    }

    /// The server's end misses the answer to one request and the next one.
    fn server_misses_some(&mut self) {
        for missed in [true, false] {
            self.asked(role::SERVER);
            if !missed {
                self.answered(role::SERVER);
            }
            self.exchanges += if missed { 2 } else { 1 };
            self.now_ns += MS;
        }
    }

    fn asked(&mut self, role: u32) {
        let way = if role == role::CLIENT { direction::SEND } else { direction::RECEIVE };
        self.moved(
            role,
            way,
            0,
            CLIENT_SENDS,
            self.exchanges * CLIENT_SENDS.len(),
            self.exchanges * SERVER_ANSWERS.len(),
        );
    }

    fn answered(&mut self, role: u32) {
        let way = if role == role::CLIENT { direction::RECEIVE } else { direction::SEND };
        let asked = (self.exchanges + 1) * CLIENT_SENDS.len();
        self.moved(role, way, MS / 2, SERVER_ANSWERS, self.exchanges * SERVER_ANSWERS.len(), asked);
    }

    fn moved(&mut self, role: u32, way: u32, after_ns: u64, bytes: &[u8], position: usize, other: usize) {
        let event = data(role, way, self.now_ns + after_ns, bytes.len(), other);
        let event = DataEvent { position: position as u64, ..event };
        self.take(|observer, mut out| observer.event(Event::Data(event, bytes), &mut out));
    }

    /// A second in which the probes added up so much of each end is over. Says what is wanted since.
    fn second(&mut self, client: u32, server: u32) -> Vec<(u32, u32)> {
        let second = (self.clock.epoch_us(self.now_ns) / 1_000_000).unsigned_abs();
        let operation = operation("GET", "/orders/7").unwrap();
        for (role, exchanges) in [(role::CLIENT, client), (role::SERVER, server)] {
            if let Some(place) = self.hand.place_of(key(ID, role, operation))
                && exchanges > 0
            {
                self.hand.adds(place, second, exchanges);
            }
        }
        // The next one begins, wherever in this one it was.
        let into_us = (self.clock.epoch_us(self.now_ns) % 1_000_000).unsigned_abs();
        self.now_ns += (1_000_000 - into_us) * 1_000 + MS;
        let now_ns = self.now_ns;
        self.take(|observer, mut out| observer.take_sums(now_ns, &mut out));
        self.wanted()
    }

    fn wanted(&mut self) -> Vec<(u32, u32)> {
        self.observer.interests().map(|wanted| (wanted.role, wanted.interest)).collect()
    }

    /// Until it is the server's turn; how many seconds that took.
    fn until_its_turn(&mut self) -> u64 {
        (1..=TURNS).find(|_| self.second(BUSY, 0) == [(role::SERVER, interest::HEADS)]).unwrap()
    }
}

fn record(role: u32, moved: u64) -> SocketRecord {
    let socket = socket(role, ID, 0, 0);
    SocketRecord { sent_bytes: moved, received_bytes: moved, ..socket }
}

#[test]
fn the_servers_end_is_followed_one_second_in_eight() {
    let mut bench = Bench::hot();
    assert_eq!(bench.second(BUSY, BUSY), [(role::SERVER, interest::COUNTERS)]);
    assert_eq!((bench.observer.spared(), bench.observer.looks_again()), (1, false));
    bench.until_its_turn();
    assert!(bench.observer.looks_again());
    for _ in 0..3 {
        // Of its turn it is told, and has a cell again.
        bench.told(40);
        assert_eq!(bench.wanted().last(), Some(&(role::SERVER, interest::SUMS)));
        assert_eq!(bench.second(BUSY, BUSY), [(role::SERVER, interest::COUNTERS)]);
        assert_eq!(bench.until_its_turn(), TURNS - 1);
    }
    assert_eq!(bench.lost, [""; 0]);
}

#[test]
fn nothing_is_missing_of_what_the_client_tells() {
    let mut bench = Bench::hot();
    bench.second(BUSY, BUSY);
    let before = bench.records;
    // The probes had not heard of it yet.
    bench.told(3);
    assert_eq!([bench.records[0] - before[0], bench.records[1] - before[1]], [3, 0]);
    bench.until_its_turn();
    // An answer whose request went by before.
    bench.answered(role::SERVER);
    bench.exchanges += 1;
    bench.server_misses_some();
    bench.wanted();
    let counted = SocketRecord { flags: flag::ESTABLISHED | flag::COUNTED, ..record(role::SERVER, 1 << 20) };
    bench.observer.begin_walk();
    bench.take(|observer, mut out| observer.walked(&counted, &mut out));
    assert_eq!(bench.wanted(), []);
    bench.take(|observer, mut out| observer.event(Event::Close(counted), &mut out));
    assert_eq!(bench.lost, [""; 0]);
}

#[test]
fn what_the_probes_leave_out_by_mistake_is_missing() {
    let mut bench = Bench::hot();
    bench.second(BUSY, BUSY);
    bench.until_its_turn();
    let counted = |moved| SocketRecord { flags: flag::ESTABLISHED | flag::COUNTED, ..record(role::SERVER, moved) };
    for (moved, lost) in [(1 << 20, 0), (1 << 21, 1)] {
        bench.observer.begin_walk();
        bench.take(|observer, mut out| observer.walked(&counted(moved), &mut out));
        assert_eq!(bench.lost.len(), lost);
    }
    assert_eq!(bench.wanted(), [(role::SERVER, interest::HEADS)], "its word had been lost");
}

#[test]
fn the_server_is_followed_again_when_its_client_does_not_tell() {
    // It is not added up any more.
    let mut bench = Bench::hot();
    bench.second(BUSY, BUSY);
    let wanted: Vec<_> = (0..4).flat_map(|_| bench.second(1, 0)).collect();
    assert!(wanted.contains(&(role::SERVER, interest::HEADS)), "{wanted:?}");
    assert_eq!(bench.observer.spared(), 0);
    // It is gone.
    let mut bench = Bench::hot();
    bench.second(BUSY, BUSY);
    bench.take(|observer, mut out| observer.event(Event::Close(record(role::CLIENT, 0)), &mut out));
    assert_eq!(bench.second(0, 0), [(role::SERVER, interest::HEADS)]);
    // It rests, at once.
    let mut bench = Bench::hot();
    bench.second(BUSY, BUSY);
    bench.take(|observer, mut out| observer.rest((ID, CLIENT), true, 0, &mut out));
    assert!(bench.wanted().contains(&(role::SERVER, interest::HEADS)));
    bench.server_misses_some();
    assert!(!bench.lost.is_empty(), "what nobody tells of counts as missing again");
}

#[test]
fn ends_of_little_and_of_other_nodes_are_not_spared() {
    let mut bench = Bench::hot();
    for (client, server) in [(BUSY, 0), (0, BUSY), (BUSY, 500), (100, BUSY)] {
        assert_eq!(bench.second(client, server), [], "{client} {server}");
    }
    let mut bench = Bench::hot();
    bench.take(|observer, mut out| observer.event(Event::Close(record(role::CLIENT, 0)), &mut out));
    assert_eq!(bench.second(BUSY, BUSY), []);
}
