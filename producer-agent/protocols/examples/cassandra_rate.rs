//! What one request of Cassandra costs: prints nanoseconds of processor time per exchange for the usual shapes.
//!
//! `cargo run --release -p headwater-protocols --example cassandra_rate [SECONDS]`.
#![allow(clippy::print_stdout, reason = "it speaks to people in a terminal")]

#[path = "../tests/shared/envelopes.rs"]
mod envelopes;

use std::hint::black_box;
use std::time::{Duration, Instant};

use envelopes::{OPTIONS, execute, prepare, prepared, query, ready, rows, startup, void};
use headwater_protocols::cassandra::{Cassandra, Options};
use headwater_protocols::{Connection, Direction, Event, Follow, OrderOptions, Position, Segment, Side};

/// The probes copy no more of a call.
const REQUEST_BYTES_MAX: usize = 4096;
const ANSWER_BYTES_MAX: usize = 1024;
const ID: [u8; 16] = [7; 16];

fn main() {
    let seconds = std::env::args().nth(1).and_then(|seconds| seconds.parse().ok()).unwrap_or(1.0);
    let run_for = Duration::from_secs_f64(seconds);
    let asked =
        query(4, 1, "SELECT note FROM orders WHERE customer = 4711 AND id = 550e8400-e29b-41d4-a716-446655440000");
    let answered = rows(4, 1, 10_000);
    measure("QUERY with 10 KB of answer", run_for, &[(Direction::Request, &asked), (Direction::Response, &answered)]);
    let bound = execute(4, 1, ID);
    measure("EXECUTE with its answer", run_for, &[(Direction::Request, &bound), (Direction::Response, &void(4, 1))]);
    println!("{} bytes for an idle connection", size_of::<Connection<Cassandra>>());
}

/// Exchanges one after another, each with these calls.
fn measure(name: &str, run_for: Duration, calls: &[(Direction, &[u8])]) {
    let mut connection = Connection::new(Side::Server, OrderOptions::default(), Cassandra::new(Options::default()));
    let mut positions = [0u64; 2];
    let (mut exchanges, mut now_ns) = (0u64, 0);
    let mut say = |direction: Direction, moved: &[u8]| {
        now_ns += 1_000;
        let captured_max = if direction == Direction::Request { REQUEST_BYTES_MAX } else { ANSWER_BYTES_MAX };
        let segment = Segment {
            position: Position(positions[direction as usize]),
            length: moved.len() as u64,
            captured: black_box(&moved[..moved.len().min(captured_max)]),
            at_ns: now_ns,
            other_position: Position(positions[direction.opposite() as usize]),
        };
        positions[direction as usize] += moved.len() as u64;
        connection.segment(direction, &segment, &mut |event| {
            let Event::Exchange(exchange) = event else { panic!("a loss: {event:?}") };
            exchanges += 1;
            black_box(exchange);
        });
    };
    say(Direction::Request, &startup(4, OPTIONS));
    say(Direction::Response, &ready(4));
    say(Direction::Request, &prepare(4, 1, "UPDATE orders SET note = ? WHERE id = ?"));
    say(Direction::Response, &prepared(4, 1, ID));
    let (begun, cpu_begun_ns) = (Instant::now(), cpu_time_ns());
    while begun.elapsed() < run_for {
        for _ in 0..1_000 {
            calls.iter().for_each(|(direction, bytes)| say(*direction, bytes));
        }
    }
    let each_ns = (cpu_time_ns() - cpu_begun_ns) as f64 / exchanges as f64;
    println!("{each_ns:7.0} ns per exchange: {name}");
}

/// The time that this thread has run, so that other load does not count.
fn cpu_time_ns() -> u64 {
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux has /proc mounted");
    let on_cpu_ns = statistics.split(' ').next().and_then(|field| field.parse().ok());
    on_cpu_ns.expect("the first field of schedstat is a number of nanoseconds")
}
