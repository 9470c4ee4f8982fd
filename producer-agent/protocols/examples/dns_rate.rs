//! What one question of DNS over TCP costs: prints nanoseconds of processor time per exchange for the usual shapes.
//!
//! `cargo run --release -p headwater-protocols --example dns_rate [SECONDS]`.
#![allow(clippy::print_stdout, reason = "it speaks to people in a terminal")]

#[path = "../tests/shared/questions.rs"]
mod questions;

use std::hint::black_box;
use std::time::{Duration, Instant};

use headwater_protocols::dns::{Dns, Options};
use headwater_protocols::{Connection, Direction, Event, Follow, OrderOptions, Position, Segment, Side};
use questions::{A, AAAA, NOERROR, NXDOMAIN, answer, ask_with_opt, framed};

/// The probes copy no more of a call.
const REQUEST_BYTES_MAX: usize = 4096;
const ANSWER_BYTES_MAX: usize = 1024;

fn main() {
    let seconds = std::env::args().nth(1).and_then(|seconds| seconds.parse().ok()).unwrap_or(1.0);
    let run_for = Duration::from_secs_f64(seconds);
    let name = "orders.shop.svc.cluster.local";
    let (asked, answered) = (ask_with_opt(1, name, A), answer(1, name, A, NOERROR, &[0; 16]));
    let (asked, answered) = (framed(&asked), framed(&answered));
    measure("A with its answer", run_for, &[(Direction::Request, &asked), (Direction::Response, &answered)]);
    let (asked, answered) = (ask_with_opt(1, name, AAAA), answer(1, name, AAAA, NXDOMAIN, &[]));
    let (asked, answered) = (framed(&asked), framed(&answered));
    measure("AAAA of what is not there", run_for, &[(Direction::Request, &asked), (Direction::Response, &answered)]);
    println!("{} bytes for an idle connection", size_of::<Connection<Dns>>());
}

/// Exchanges one after another, each with these calls.
fn measure(name: &str, run_for: Duration, calls: &[(Direction, &[u8])]) {
    let mut connection = Connection::new(Side::Server, OrderOptions::default(), Dns::new(Options::default()));
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
