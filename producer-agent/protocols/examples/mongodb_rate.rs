//! What one command of MongoDB costs: prints nanoseconds of processor time per exchange for the usual shapes.
//!
//! `cargo run --release -p headwater-protocols --example mongodb_rate [SECONDS]`.
#![allow(clippy::print_stdout, reason = "it speaks to people in a terminal")]

#[path = "../tests/shared/documents.rs"]
mod documents;

use std::hint::black_box;
use std::time::{Duration, Instant};

use documents::Value::{Document, Int};
use documents::{ask, batch, document, insert, ok, text};
use headwater_protocols::mongodb::{Mongodb, Options};
use headwater_protocols::{Connection, Direction, Event, Follow, OrderOptions, Position, Segment, Side};

/// The probes copy no more of a call.
const REQUEST_BYTES_MAX: usize = 4096;
const ANSWER_BYTES_MAX: usize = 1024;

fn main() {
    let seconds = std::env::args().nth(1).and_then(|seconds| seconds.parse().ok()).unwrap_or(1.0);
    let run_for = Duration::from_secs_f64(seconds);
    let filter = document(&[("_id", Int(4711))]);
    let asked =
        ask(7, &[("find", text("orders")), ("filter", Document(filter)), ("limit", Int(1)), ("singleBatch", Int(1))]);
    let some: Vec<Vec<u8>> =
        (0..10).map(|at| document(&[("_id", Int(at)), ("note", text(&"x".repeat(1_000)))])).collect();
    let answered = batch(8, 7, ("firstBatch", 0), &some);
    measure("find with 10 KB of answer", run_for, &[(Direction::Request, &asked), (Direction::Response, &answered)]);
    let written = insert(7, 0, "orders", &some);
    measure("insert of 10 KB", run_for, &[(Direction::Request, &written), (Direction::Response, &ok(8, 7))]);
    println!("{} bytes for an idle connection", size_of::<Connection<Mongodb>>());
}

/// Exchanges one after another, each with these calls.
fn measure(name: &str, run_for: Duration, calls: &[(Direction, &[u8])]) {
    let mut connection = Connection::new(Side::Server, OrderOptions::default(), Mongodb::new(Options::default()));
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
