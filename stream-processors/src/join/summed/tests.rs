#![allow(clippy::unwrap_used)]

use std::ops::RangeInclusive;

use headwater_schemas::ids::{ConnectionId, StreamPosition};
use headwater_schemas::records::Side::{Client, Server};
use headwater_schemas::records::{Request, Side, Sums};
use headwater_schemas::samples;

use super::super::clocks::Written;
use super::super::counted::Counted;
use super::super::exchanges::{Later, pair};
use super::super::items::{RequestItem, Told};
use super::super::symbols::Symbols;
use crate::processor::Counters;
use crate::windows::{Window, Windows};

const WINDOW_US: i64 = 10_000_000;
const BEGIN_US: i64 = 1_790_000_000_000_000;
/// What each exchange is here.
const REQUEST_BYTES: i64 = 10;
const RESPONSE_BYTES: i64 = 100;
const DURATION_NS: u64 = 1_000_000;

/// A connection's records by window, and what the join made of the windows before.
struct Bench {
    symbols: Symbols,
    later: Later,
    counted: Counted,
    counters: Counters,
}

/// What counts in a window.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    requests: i64,
    errors: i64,
    both_sides: i64,
    request_bytes: i64,
    /// How many durations there are, as it counts and as servers saw it.
    durations: u64,
    server_durations: u64,
    late_side: u64,
}

impl Bench {
    fn new() -> Bench {
        let (later, counters) = (Later::new(), Counters::default());
        Bench { symbols: Symbols::default(), later, counted: Counted::new(1000), counters }
    }

    /// A record of the exchange at this position.
    fn one(&mut self, window: i64, side: Side, position: i64, operation: &str, status: i32) {
        self.told(window, side, position..=position, 1, operation, status, false);
    }

    /// A record of so many exchanges, of which the first and the last are at these positions.
    fn sum(&mut self, window: i64, side: Side, range: RangeInclusive<i64>, count: i64, operation: &str) {
        self.told(window, side, range, count, operation, 200, true);
    }

    #[allow(clippy::too_many_arguments, reason = "what a record says")]
    fn told(
        &mut self,
        window: i64,
        side: Side,
        range: RangeInclusive<i64>,
        count: i64,
        operation: &str,
        status: i32,
        is_sum: bool,
    ) {
        let mut sums = Sums {
            from_position: *range.start(),
            request_bytes: count * REQUEST_BYTES,
            response_bytes: count * RESPONSE_BYTES,
            duration_ns: Default::default(),
        };
        sums.duration_ns.record_many(DURATION_NS, count as u32);
        let request = Request {
            side,
            request_position: *range.end(),
            completed_at_us: BEGIN_US + window * WINDOW_US + 1,
            duration_ns: DURATION_NS as i64,
            failure: None,
            kind: Default::default(),
            operation,
            status,
            code: "",
            error: status >= 500,
            request_bytes: REQUEST_BYTES,
            response_bytes: RESPONSE_BYTES,
            weight: count,
            sums: is_sum.then(|| Box::new(sums)),
            ..samples::request()
        };
        let told = Told::of(request, unstamped(), &mut self.symbols).unwrap();
        self.later.entry(Window::starting_at(BEGIN_US + window * WINDOW_US)).or_default().push(told);
    }

    fn close(&mut self, window: i64) -> Seen {
        let windows = Windows::of_ms(WINDOW_US / 1000);
        let window = Window::starting_at(BEGIN_US + window * WINDOW_US);
        let items = self.later.remove(&window).unwrap_or_default();
        let to = windows.moved(window, 6);
        let late_side = self.counters.get("late_side");
        let paired = pair(window, items, &mut self.later, to, &mut self.counted, &mut self.counters);
        let mut seen = Seen { late_side: self.counters.get("late_side") - late_side, ..Seen::default() };
        for exchange in &paired.exchanges {
            let item = exchange.item().unwrap();
            seen.requests += 1;
            seen.errors += i64::from(item.error);
            let is_paired = exchange.client.is_some() && exchange.server.is_some();
            seen.both_sides += i64::from(exchange.is_in_servers_sum || is_paired);
            seen.request_bytes += item.request_bytes;
            seen.durations += 1;
            seen.server_durations += u64::from(exchange.server.is_some());
        }
        for sum in paired.summed.iter().map(|summed| &summed.sum) {
            seen.requests += sum.requests;
            seen.errors += sum.errors;
            seen.both_sides += sum.both_sides;
            seen.request_bytes += sum.request_bytes;
            seen.durations += sum.duration_ns.count();
            seen.server_durations += sum.server_duration_ns.count();
        }
        seen
    }
}

/// So many requests of so many bytes, and nothing else.
fn requests(requests: i64) -> Seen {
    Seen { requests, request_bytes: requests * REQUEST_BYTES, durations: requests as u64, ..Seen::default() }
}

#[test]
fn a_record_of_one_exchange_is_as_small_as_before() {
    assert_eq!((size_of::<Told>(), size_of::<RequestItem>()), (80, 80));
}

#[test]
fn the_clients_sums_count_and_the_servers_add_only_how_long_it_took_them() {
    let mut bench = Bench::new();
    bench.sum(0, Client, 100..=199, 10, "GET /a");
    bench.sum(0, Client, 200..=299, 10, "GET /a");
    bench.sum(0, Server, 150..=250, 9, "GET /a");
    bench.sum(0, Server, 260..=299, 4, "GET /a");
    // Of another operation within the same bytes, from the server's side in single records.
    bench.sum(0, Client, 105..=205, 2, "GET /b");
    bench.one(0, Server, 105, "GET /b", 200);
    bench.one(0, Server, 205, "GET /b", 200);
    assert_eq!(bench.close(0), Seen { both_sides: 15, server_durations: 15, ..requests(22) });
}

#[test]
fn a_servers_sum_counts_where_its_client_tells_nothing_of_it() {
    let mut bench = Bench::new();
    bench.one(0, Client, 50, "GET /a", 200);
    bench.sum(0, Server, 100..=199, 10, "GET /a");
    bench.one(0, Client, 200, "GET /a", 200);
    assert_eq!(bench.close(0), Seen { server_durations: 10, ..requests(12) });
}

#[test]
fn a_clients_single_records_within_a_servers_sum_count_once() {
    let mut bench = Bench::new();
    (100..110).for_each(|position| bench.one(0, Client, position, "GET /a", 200));
    bench.sum(0, Server, 100..=109, 10, "GET /a");
    assert_eq!(bench.close(0), Seen { both_sides: 10, server_durations: 10, ..requests(10) });
    // What the client tells of in the window before, or in the one after, is told all the same.
    (200..205).for_each(|position| bench.one(1, Client, position, "GET /a", 200));
    assert_eq!(bench.close(1), requests(5));
    bench.sum(2, Server, 200..=204, 5, "GET /a");
    bench.sum(2, Server, 300..=304, 5, "GET /a");
    bench.sum(3, Client, 299..=304, 6, "GET /a");
    assert_eq!(bench.close(2), Seen { late_side: 5, ..requests(0) });
    assert_eq!(bench.close(3), Seen { both_sides: 5, server_durations: 5, ..requests(6) });
}

/// Rule 3, and what is not of it.
#[test]
fn a_servers_single_record_is_in_its_clients_sum_if_it_may_be() {
    let mut bench = Bench::new();
    bench.sum(0, Client, 100..=199, 10, "GET /a");
    bench.sum(0, Client, 300..=399, 10, "GET /b");
    bench.one(0, Server, 100, "GET /a", 200);
    // Of another status, of an operation that the client sums elsewhere, and before the sum: these are not in it.
    bench.one(0, Server, 110, "GET /a", 404);
    bench.one(0, Server, 120, "GET /b", 200);
    bench.one(0, Server, 99, "GET /a", 200);
    // The client tells of this one by itself.
    bench.one(0, Server, 130, "GET /a", 200);
    bench.one(0, Client, 130, "GET /a", 200);
    // The client calls this one otherwise: it never tells of such an operation.
    bench.one(0, Server, 140, "GET /{other}", 200);
    assert_eq!(bench.close(0), Seen { both_sides: 3, server_durations: 6, ..requests(24) });
}

#[test]
fn a_servers_single_record_finds_its_clients_sum_in_later_and_in_earlier_windows() {
    let mut bench = Bench::new();
    bench.one(0, Server, 100, "GET /a", 200);
    bench.sum(1, Client, 100..=199, 10, "GET /a");
    bench.one(2, Server, 150, "GET /a", 200);
    assert_eq!(bench.close(0), requests(0));
    assert_eq!(bench.close(1), Seen { both_sides: 2, server_durations: 2, ..requests(10) });
    assert_eq!(bench.close(2), requests(0));
    // This one was not known when its client's sum counted.
    bench.one(3, Server, 199, "GET /a", 200);
    assert_eq!(bench.close(3), Seen { late_side: 1, ..requests(0) });
}

/// Rule 4.
#[test]
fn what_counted_from_the_server_is_taken_out_of_what_the_client_sums_later() {
    let mut bench = Bench::new();
    bench.one(0, Server, 100, "GET /a", 500);
    bench.one(0, Server, 101, "GET /a", 200);
    bench.one(0, Server, 103, "GET /a", 200);
    assert_eq!(bench.close(0), Seen { errors: 1, server_durations: 3, ..requests(3) });
    bench.sum(1, Client, 99..=102, 3, "GET /a");
    bench.told(1, Client, 100..=100, 1, "GET /a", 500, true);
    assert_eq!(bench.close(1), Seen { late_side: 2, ..requests(2) });
    // It is taken out once.
    bench.sum(2, Client, 99..=102, 3, "GET /a");
    assert_eq!(bench.close(2), requests(3));
}

#[test]
fn what_a_server_summed_before_its_client_told_of_it_counts_once() {
    let mut bench = Bench::new();
    bench.sum(0, Server, 100..=199, 10, "GET /a");
    bench.sum(0, Server, 200..=299, 10, "GET /a");
    assert_eq!(bench.close(0), Seen { server_durations: 20, ..requests(20) });
    bench.one(1, Client, 100, "GET /a", 200);
    bench.sum(1, Client, 110..=250, 14, "GET /a");
    bench.sum(1, Client, 260..=350, 10, "GET /a");
    bench.one(1, Client, 351, "GET /a", 200);
    assert_eq!(bench.close(1), Seen { late_side: 20, ..requests(6) });
    bench.sum(2, Client, 400..=450, 3, "GET /a");
    bench.sum(2, Server, 500..=510, 2, "GET /a");
    assert_eq!(bench.close(2), Seen { server_durations: 2, ..requests(5) });
    (500..503).for_each(|position| bench.one(3, Client, position, "GET /a", 200));
    assert_eq!(bench.close(3), Seen { late_side: 2, ..requests(1) });
}

#[test]
fn no_more_are_seen_from_both_sides_than_either_side_tells_of() {
    let mut bench = Bench::new();
    bench.one(0, Server, 100, "GET /a", 200);
    assert_eq!(bench.close(0), Seen { server_durations: 1, ..requests(1) });
    bench.sum(1, Client, 100..=102, 2, "GET /a");
    bench.one(1, Server, 101, "GET /a", 200);
    bench.one(1, Server, 102, "GET /a", 200);
    bench.sum(1, Client, 200..=299, 5, "GET /a");
    bench.sum(1, Server, 200..=299, 9, "GET /a");
    assert_eq!(bench.close(1), Seen { both_sides: 1 + 5, server_durations: 2 + 9, late_side: 1, ..requests(1 + 5) });
}

/// The server knows a little later that an exchange is over: at each border of windows its sum begins with one that its client counted before.
#[test]
fn a_servers_sum_across_a_border_stays_where_most_of_it_is() {
    let mut bench = Bench::new();
    bench.sum(0, Side::Client, 0..=40, 5, "GET /");
    bench.sum(0, Side::Server, 0..=30, 4, "GET /");
    bench.sum(1, Side::Client, 50..=90, 5, "GET /");
    bench.sum(1, Side::Server, 40..=90, 6, "GET /");
    let first = bench.close(0);
    assert_eq!((first.requests, first.both_sides, first.server_durations), (5, 4, 4));
    let second = bench.close(1);
    assert_eq!((second.requests, second.both_sides, second.server_durations), (5, 5, 6));
}

#[test]
fn the_same_record_twice_counts_once() {
    let mut bench = Bench::new();
    for _ in 0..2 {
        bench.sum(0, Client, 100..=199, 10, "GET /a");
        bench.sum(0, Server, 100..=199, 10, "GET /a");
    }
    assert_eq!(bench.close(0), Seen { both_sides: 10, server_durations: 10, ..requests(10) });
    assert_eq!(bench.counters.get("duplicates"), 2);
}

#[test]
fn what_is_remembered_is_bounded_and_forgotten() {
    let mut bench = Bench::new();
    for window in 0..3 {
        bench.sum(window, Client, 100..=199, 10, "GET /a");
        bench.sum(window, Server, 300..=399, 10, "GET /b");
        bench.one(window, Server, 500 + window, "GET /c", 200);
        bench.close(window);
    }
    assert_eq!(bench.counted.len(), 9);
    assert_eq!(bench.counted.forget(Window::starting_at(BEGIN_US + WINDOW_US)), 0);
    assert_eq!(bench.counted.len(), 6);
    bench.counted.set_entries_max(4);
    assert_eq!(bench.counted.forget(Window::starting_at(BEGIN_US + WINDOW_US)), 3);
    assert_eq!(bench.counted.len(), 3);
}

#[test]
fn sums_that_no_agent_can_mean_are_refused() {
    let good = || Request { completed_at_us: BEGIN_US, ..samples::request() };
    let sums = || *good().sums.unwrap();
    let with = |sums: Sums| Request { sums: Some(Box::new(sums)), ..good() };
    let refused = |request: Request<'_>| Told::of(request, unstamped(), &mut Symbols::default()).unwrap_err().0;
    assert!(Told::of(good(), unstamped(), &mut Symbols::default()).is_ok());
    let mut longest = sums();
    longest.duration_ns.record(u64::MAX);
    let position = good().request_position;
    for (request, why) in [
        (Request { sums: None, ..good() }, "weight of a record without sums is 4"),
        (Request { weight: 3, ..good() }, "weight is 3, but sums.duration_ns holds 4"),
        (Request { weight: 0, ..good() }, "weight is 0"),
        (Request { weight: i64::MAX, ..good() }, "weight is 9223372036854775807"),
        (with(Sums { from_position: position + 1, ..sums() }), "sums.from_position"),
        (with(Sums { from_position: -1, ..sums() }), "sums.from_position"),
        (with(Sums { from_position: position - 2, ..sums() }), "weight is 4, it must be from 1 to 3"),
        (with(Sums { request_bytes: -1, ..sums() }), "sums.request_bytes"),
        (with(Sums { response_bytes: i64::MAX, ..sums() }), "sums.response_bytes"),
        (Request { weight: 5, ..with(longest) }, "longest of sums.duration_ns"),
        (with(Sums { duration_ns: serde_json::from_str(FOREIGN_HISTOGRAM).unwrap(), ..sums() }), "scale 4"),
    ] {
        let refused = refused(request);
        assert!(refused.contains(why), "{refused}, not {why}");
    }
}

/// Of which Kafka says no time.
fn unstamped() -> Written {
    Written::of(None, None, Windows::of_ms(WINDOW_US / 1000))
}

const FOREIGN_HISTOGRAM: &str = r#"{"scale":4,"zero_count":4,"offset":0,"counts":[],"sum":0,"min":0,"max":0}"#;

#[test]
fn names_of_exchanges_are_those_of_the_sample() {
    let told = Told::of(samples::request(), unstamped(), &mut Symbols::default()).unwrap();
    let Told::Several(sum) = told else { panic!("{told:?}") };
    assert_eq!((sum.from, sum.last.position), (StreamPosition((1 << 40) - 2048), StreamPosition(1 << 40)));
    assert_eq!(Some(sum.last.connection), ConnectionId::parse(samples::request().connection_id));
    assert_eq!(sum.amount.count, 4);
}
