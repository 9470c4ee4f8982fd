#![allow(clippy::unwrap_used)]
//! Which exchanges get a cell, and which lose it again, without a kernel.

use std::cell::RefCell;
use std::collections::BTreeMap;

use headwater_probe_loader::types::sums::{BUCKETS, OCTAVE_END, bucket};
use headwater_protocols::{Code, Failure, Messages, Position};

use super::*;

const SOCKET: SocketKey = (7, 1);

/// Cells in the test's hands: what is open, and what waits to be taken.
#[derive(Default, Clone)]
pub struct Hand {
    open: Rc<RefCell<BTreeMap<u32, Fits>>>,
    waiting: Rc<RefCell<BTreeMap<u32, Vec<Taken>>>>,
}

impl Cells for Hand {
    fn set_day_offset(&mut self, _offset_ns: i64) {}

    fn open(&mut self, place: u32, fits: Fits) {
        self.open.borrow_mut().insert(place, fits);
    }

    fn settle(&mut self, place: u32, from: u64) {
        if let Some(fits) = self.open.borrow_mut().get_mut(&place) {
            fits.settled_from = from;
        }
    }

    fn close(&mut self, place: u32) {
        self.open.borrow_mut().remove(&place);
    }

    fn take(&mut self, place: u32, before_second: u64, to: &mut dyn FnMut(Taken)) {
        let mut waiting = self.waiting.borrow_mut();
        let all = waiting.remove(&place).unwrap_or_default();
        let (taken, left): (Vec<_>, Vec<_>) = all.into_iter().partition(|taken| taken.second < before_second);
        taken.into_iter().for_each(to);
        waiting.insert(place, left);
    }
}

impl Hand {
    pub fn keys(&self) -> Vec<u64> {
        self.open.borrow().values().map(|fits| fits.key).collect()
    }

    pub fn place_of(&self, key: u64) -> Option<u32> {
        self.open.borrow().iter().find(|(_, fits)| fits.key == key).map(|(place, _)| *place)
    }

    pub fn adds(&self, place: u32, second: u64, exchanges: u32) {
        let mut counts = Box::new([0; BUCKETS]);
        counts[100] = exchanges;
        self.waiting.borrow_mut().entry(place).or_default().push(Taken {
            second,
            exchanges: u64::from(exchanges),
            request_bytes: 0,
            response_bytes: 0,
            duration_ns: u64::from(exchanges) * 10_000,
            first_position: 0,
            last: Last::default(),
            counts,
        });
    }

    fn only(&self) -> (u32, Fits) {
        let open = self.open.borrow();
        assert_eq!(open.len(), 1, "{open:?}");
        open.iter().next().map(|(place, fits)| (*place, *fits)).unwrap()
    }
}

struct Bench {
    hand: Hand,
    sums: Summaries,
    heat: Heat,
    now_ns: u64,
}

impl Bench {
    fn new() -> Bench {
        let hand = Hand::default();
        let sums = Summaries::new(Some(Box::new(hand.clone())));
        Bench { hand, sums, heat: Heat::default(), now_ns: 1_000 }
    }

    /// An exchange that takes a millisecond, behind the one before.
    fn told(&mut self, path: &str, status: u16, bytes: u64) -> bool {
        self.told_from(path, status, bytes, self.now_ns + 1)
    }

    fn told_from(&mut self, path: &str, status: u16, bytes: u64, started_ns: u64) -> bool {
        self.now_ns += 1_000_000;
        let exchange = self.exchange(path, status, bytes, started_ns);
        self.sums.told(&mut self.heat, (SOCKET, true), &exchange, "/a/{id}", "GET /a/{id}") == Told::CellOpened
    }

    /// A command of Redis, behind the one before.
    fn command(&mut self, method: &str, change: impl FnOnce(&mut Exchange<'_>)) -> bool {
        let started_ns = self.now_ns + 1;
        self.now_ns += 1_000_000;
        let code = Code::default();
        let plain = self.exchange("", 0, 30, started_ns);
        let mut exchange = Exchange { method, status: None, code, protocol: "redis", ..plain };
        change(&mut exchange);
        self.sums.told(&mut self.heat, (SOCKET, true), &exchange, "", method) == Told::CellOpened
    }

    fn exchange<'a>(&self, path: &'a str, status: u16, bytes: u64, started_ns: u64) -> Exchange<'a> {
        Exchange {
            request_position: Position(self.now_ns),
            response_position: Some(Position(self.now_ns)),
            method: "GET",
            path,
            path_truncated: false,
            named: "",
            resource: "",
            addresses: &[],
            propagated: headwater_protocols::Propagated::default(),
            status: Some(status),
            request_bytes: bytes,
            response_bytes: 100,
            request_started_ns: started_ns,
            request_ended_ns: started_ns,
            response_started_ns: Some(self.now_ns),
            response_ended_ns: Some(self.now_ns),
            completed_ns: self.now_ns,
            protocol: "http",
            kind: Kind::Call,
            outcome: Outcome::Ok,
            code: Code::of_status(status),
            failure: None,
            messages: Messages::default(),
        }
    }

    fn heat_up(&mut self) {
        for _ in 1..HOT_PER_SECOND {
            assert!(!self.told("/a/1", 200, 80), "cold as yet");
        }
    }
}

#[test]
fn a_hot_operation_gets_a_cell_and_its_sizes() {
    let mut bench = Bench::new();
    bench.heat_up();
    assert!(bench.told("/a/17", 200, 80));
    let (_, fits) = bench.hand.only();
    assert_eq!(fits.key, key(7, 1, operation("GET", "/a/4").unwrap()));
    assert_eq!((fits.request_bytes_min, fits.request_bytes_max, number_of(fits.status)), (80, 80, 200));
    assert!(!bench.told("/a/2", 200, 90), "once");
    assert!(!bench.told("/a/2", 200, 300));
    let (_, fits) = bench.hand.only();
    assert_eq!((fits.request_bytes_min, fits.request_bytes_max), (80, 159), "two requests of 80 bytes never fit");
    assert!(!bench.told("/a/2", 404, 80), "the cell stays with the status that it has");
    assert_eq!(number_of(bench.hand.only().1.status), 200);
}

#[test]
fn a_hot_command_gets_a_cell_that_knows_what_was_answered() {
    let mut bench = Bench::new();
    let is_added = (0..HOT_PER_SECOND).map(|_| bench.command("GET", |_| {})).collect::<Vec<_>>();
    assert_eq!(is_added.iter().position(|is_added| *is_added), Some(HOT_PER_SECOND as usize - 1));
    let (_, fits) = bench.hand.only();
    let key = key(7, 1, resp::operation("GET").unwrap());
    assert_eq!((fits.key, fits.status, fits.settled_from), (key, STATUS_OK, 0));
    bench.sums.settled(&mut bench.heat, 77);
    assert_eq!(bench.hand.only().1.settled_from, 77);
    assert!(bench.command("SET", |_| {}));
    assert!(bench.hand.open.borrow().values().all(|fits| fits.settled_from == 77), "also what comes later");
    assert!(Summaries::single(&bench.heat, key, STATUS_OK, 1_000_000).unwrap().is_whole, "of any size");
}

#[test]
fn commands_that_are_not_plain_get_none() {
    type Change = fn(&mut Exchange<'_>);
    let changes: [(&str, Change); 9] = [
        ("GET", |exchange| (exchange.outcome, exchange.code) = (Outcome::ClientError, Code::new(b"WRONGTYPE"))),
        ("GET", |exchange| exchange.code = Code::new(b"MOVED")),
        ("GET", |exchange| exchange.failure = Some(Failure::Reset)),
        ("GET", |exchange| exchange.response_started_ns = Some(exchange.request_started_ns)),
        ("GET", |exchange| exchange.request_ended_ns += 1),
        ("BLPOP", |exchange| exchange.kind = Kind::Wait),
        ("SUBSCRIBE", |_| {}),
        ("MULTI", |_| {}),
        ("CONFIG GET", |_| {}),
    ];
    for (method, change) in changes {
        let mut bench = Bench::new();
        for _ in 0..3 * HOT_PER_SECOND {
            assert!(!bench.command(method, change), "{method}");
        }
    }
}

#[test]
fn what_is_slow_or_overlaps_gets_none() {
    let mut bench = Bench::new();
    for _ in 0..200 {
        bench.now_ns += SECOND_NS / u64::from(HOT_PER_SECOND - 1);
        assert!(!bench.told("/a/1", 200, 80));
    }
    let mut bench = Bench::new();
    bench.heat_up();
    for _ in 0..50 {
        let before_the_last_answer = bench.now_ns - 1;
        assert!(!bench.told_from("/a/1", 200, 80, before_the_last_answer), "pipelined");
    }
    assert!(bench.hand.open.borrow().is_empty());
}

#[test]
fn what_is_hot_follows_the_budget_and_a_cell_stays_as_long_as_it_pays() {
    let mut bench = Bench::new();
    // Ten a second: less than what is hot in full detail.
    let told = |sums_hot: u32, bench: &mut Bench| {
        bench.sums.set_hot_per_second(sums_hot, false);
        (0..20).any(|_| {
            bench.now_ns += SECOND_NS / 10;
            bench.told("/a/1", 200, 80)
        })
    };
    assert!(!told(32, &mut bench) && !told(16, &mut bench));
    assert!(told(4, &mut bench));
    let (place, _) = bench.hand.only();
    for second in 10..20 {
        bench.hand.adds(place, second, 1);
        assert!(bench.sums.take(second + 1).cold.is_empty(), "one a second is a quarter of four");
    }
    bench.sums.set_hot_per_second(32, false);
    let cold: usize = (20..30)
        .map(|second| {
            bench.hand.adds(place, second, 1);
            bench.sums.take(second + 1).cold.len()
        })
        .sum();
    assert_eq!(cold, 1, "it is given back with the detail");
}

#[test]
fn what_is_hot_and_has_no_cell_is_added_up_by_the_agent_only_if_it_is_to() {
    let mut bench = Bench::new();
    let sample = || headwater_schemas::samples::request();
    let folds = |bench: &mut Bench, adds_up_itself| {
        bench.sums.set_hot_per_second(4, adds_up_itself);
        (0..8)
            .filter(|_| {
                bench.now_ns += SECOND_NS / 8;
                // Pipelined, so that no cell is given.
                bench.told_from("/a/1", 200, 80, 0);
                let position = bench.now_ns as i64;
                let request = Request {
                    request_position: position,
                    kind: headwater_schemas::records::Kind::Call,
                    sums: None,
                    failure: None,
                    weight: 1,
                    ..sample()
                };
                bench.sums.fold(&mut bench.heat, SOCKET, &request, Told::AsBefore).0
            })
            .count()
    };
    assert_eq!(folds(&mut bench, false), 0);
    assert_eq!(folds(&mut bench, true), 8, "it was hot already");
    assert_eq!(folds(&mut bench, false), 0);
    // What the probes add up from now on comes behind it.
    let request = Request { sums: None, failure: None, weight: 1, ..sample() };
    let (is_added, before) = bench.sums.fold(&mut bench.heat, SOCKET, &request, Told::CellOpened);
    assert!(!is_added && before.len() == 1);
    assert!(bench.sums.take_own(&mut bench.heat).is_empty());
    bench.now_ns += 4 * SECOND_NS;
    assert_eq!(folds(&mut bench, true), 5, "it has cooled down meanwhile");
    bench.heat.sleep();
    bench.sums.end(SOCKET, &mut bench.heat, |_| panic!("it has no cell"));
    assert!(!bench.sums.take_own(&mut bench.heat).is_empty(), "what was added up of a connection is told when it ends");
}

#[test]
fn what_is_not_plain_of_a_command_with_a_cell_is_added_up_by_nobody() {
    let mut bench = Bench::new();
    while !bench.command("GET", |_| {}) {}
    bench.sums.set_hot_per_second(4, true);
    let request = |operation| Request {
        protocol: "redis",
        operation,
        kind: headwater_schemas::records::Kind::Call,
        sums: None,
        failure: None,
        weight: 1,
        ..headwater_schemas::samples::request()
    };
    let is_added =
        |bench: &mut Bench, operation| bench.sums.fold(&mut bench.heat, SOCKET, &request(operation), Told::AsBefore).0;
    assert!(!is_added(&mut bench, "GET"), "its sum would overlap that of the probes");
    assert!(is_added(&mut bench, "SET"));
}

#[test]
fn sums_go_to_their_connection_and_a_cold_cell_is_given_up() {
    let mut bench = Bench::new();
    bench.heat_up();
    assert!(bench.told("/a/1", 200, 80));
    let (place, _) = bench.hand.only();
    bench.hand.adds(place, 10, 40);
    bench.hand.adds(place, 11, 3);
    let takings = bench.sums.take(11);
    assert_eq!((takings.summed.len(), takings.cold.len()), (1, 0), "the second 11 is not over");
    let (socket, summed) = &takings.summed[0];
    assert_eq!((*socket, summed.exchanges, summed.second, &*summed.common.path), (SOCKET, 40, 10, "/a/{id}"));
    assert_eq!((summed.duration_ns.count(), summed.duration_ns.sum()), (40, 400_000));
    assert_eq!(bench.sums.taken_to_second(), Some(11));
    let mut lost = Vec::new();
    for second in 12..15 {
        lost.extend(bench.sums.take(second).cold);
    }
    assert_eq!(lost, [(SOCKET, bench.heat.known()[0].key)]);
    bench.heat.cool(lost[0].1);
    assert!(bench.hand.open.borrow().is_empty() && !bench.heat.has_cells());
    bench.hand.adds(place, 14, 1);
    let late: u64 =
        (15..19).flat_map(|second| bench.sums.take(second).summed).map(|(_, summed)| summed.exchanges).sum();
    assert_eq!((late, bench.sums.count()), (1, 0), "what was under way is not lost, and the place is free");
    bench.now_ns += 2 * SECOND_NS;
    bench.heat_up();
    assert!(bench.told("/a/1", 200, 80), "hot again");
}

#[test]
fn a_connection_that_was_not_plain_is_told_of_for_ever() {
    let mut bench = Bench::new();
    bench.heat_up();
    assert!(bench.told("/a/1", 200, 80));
    bench.sums.not_plain(&mut bench.heat);
    assert!(bench.hand.open.borrow().is_empty());
    for _ in 0..200 {
        assert!(!bench.told("/a/1", 200, 80));
    }
}

#[test]
fn the_end_takes_everything_and_what_did_not_fit_is_known_by_its_key() {
    let mut bench = Bench::new();
    bench.heat_up();
    assert!(bench.told("/a/1", 200, 80));
    let (place, fits) = bench.hand.only();
    let single = |status, bytes| Summaries::single(&bench.heat, fits.key, status_of(status), bytes).unwrap();
    assert!(single(200, 100).is_whole);
    assert!(!single(200, 101).is_whole && !single(503, 100).is_whole);
    assert_eq!((single(503, 9).status, &*single(503, 9).common.operation), (503, "GET /a/{id}"));
    assert!(Summaries::single(&bench.heat, 1, status_of(200), 1).is_none());
    bench.hand.adds(place, 10, 5);
    bench.hand.adds(place, 11, 6);
    let mut exchanges = 0;
    bench.sums.end(SOCKET, &mut bench.heat, |summed| exchanges += summed.exchanges);
    assert_eq!((exchanges, bench.sums.count()), (11, 0));
    assert!(bench.hand.open.borrow().is_empty());
}

#[test]
fn what_is_added_up_while_a_cell_is_given_up_is_not_lost_with_its_connection() {
    for rests in [true, false] {
        let mut bench = Bench::new();
        bench.heat_up();
        assert!(bench.told("/a/1", 200, 80));
        let (place, fits) = bench.hand.only();
        if rests {
            bench.sums.rest(&mut bench.heat);
        } else {
            let cold: Vec<_> = (10..14).flat_map(|second| bench.sums.take(second).cold).collect();
            assert_eq!(cold, [(SOCKET, fits.key)]);
            bench.heat.cool(fits.key);
        }
        bench.hand.adds(place, 14, 5);
        let mut exchanges = 0;
        bench.sums.end(SOCKET, &mut bench.heat, |summed| exchanges += summed.exchanges);
        assert_eq!(exchanges, 5);
        let late: u64 =
            (15..19).flat_map(|second| bench.sums.take(second).summed).map(|(_, taken)| taken.exchanges).sum();
        assert_eq!((late, bench.sums.count()), (0, 0), "nothing comes twice, and the place is free");
    }
}

/// The probes' buckets and those of the records are drawn apart, for machines that share no code.
#[test]
fn the_probes_count_durations_as_the_records_do() {
    let first = (OCTAVE_FIRST as usize * BUCKETS_PER_OCTAVE) as i32;
    let mut duration_ns = 1_025_u64;
    while duration_ns <= 1 << OCTAVE_END {
        for near in [duration_ns - 1, duration_ns, duration_ns + 1, duration_ns.next_power_of_two()] {
            if near <= 1 << OCTAVE_FIRST || near > 1 << OCTAVE_END {
                continue;
            }
            let mut counts = [0; BUCKETS];
            counts[bucket(near) as usize] = 1;
            let mut recorded = Histogram::default();
            recorded.record(near);
            let counted = Histogram::of_buckets(first, &counts, near);
            assert!(counted.buckets().eq(recorded.buckets()), "{near} ns");
        }
        duration_ns += duration_ns / 97 + 1;
    }
}
