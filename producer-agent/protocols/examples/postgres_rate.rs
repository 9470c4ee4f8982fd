//! What one exchange of PostgreSQL costs: prints nanoseconds of processor time per exchange for the usual shapes.
//!
//! `cargo run --release -p headwater-protocols --example postgres_rate [SECONDS]`.
#![allow(clippy::print_stdout, reason = "it speaks to people in a terminal")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use headwater_protocols::postgres::{Options, Postgres};
use headwater_protocols::{Connection, Direction, Event, Follow, OrderOptions, Position, Segment, Side};

const STATEMENT: &str = "SELECT abalance, filler FROM pgbench_accounts WHERE aid = ";
const STARTUP: &[u8] = b"\0\0\0\x12\0\x03\0\0user\0bob\0\0";
const WELCOME: &[u8] = b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I";
const BOUND: &[u8] = b"B\0\0\0\x0e\0s1\0\0\0\0\0\0\0E\0\0\0\x09\0\0\0\0\0S\0\0\0\x04";
const ROW: &[u8] = b"D\0\0\0\x0f\0\x01\0\0\0\x0512345C\0\0\0\x0dSELECT 1\0Z\0\0\0\x05I";

fn main() {
    let seconds = std::env::args().nth(1).and_then(|seconds| seconds.parse().ok()).unwrap_or(1.0);
    let run_for = Duration::from_secs_f64(seconds);
    let described = [message(b'T', [&[0, 1][..], b"abalance\0", &[0; 18]].concat()), ROW.to_vec()].concat();
    let simple = message(b'Q', format!("{STATEMENT}12345;\0"));
    measure("a simple query with a row", run_for, &simple, &described, described.len() as u64);
    let large = 8192;
    measure(
        "a simple query with 8 KiB of rows, of which the first are seen",
        run_for,
        &simple,
        &described[..40],
        large,
    );
    let answered = [b"2\0\0\0\x04", ROW].concat();
    measure("Bind, Execute and Sync of a prepared statement", run_for, BOUND, &answered, answered.len() as u64);
    let parsed = [message(b'P', format!("\0{STATEMENT}$1\0\0\0")), BOUND.to_vec()].concat();
    let answered = [&b"1\0\0\0\x04"[..], &answered].concat();
    measure("the same with its Parse", run_for, &parsed, &answered, answered.len() as u64);
    println!("{} bytes for an idle connection", size_of::<Connection<Postgres>>());
}

fn message(kind: u8, body: impl AsRef<[u8]>) -> Vec<u8> {
    [&[kind], &(body.as_ref().len() as u32 + 4).to_be_bytes()[..], body.as_ref()].concat()
}

/// Exchanges one after another. Of an answer, `answer_bytes` are moved.
fn measure(name: &str, run_for: Duration, request: &[u8], answer: &[u8], answer_bytes: u64) {
    let mut connection = Connection::new(Side::Server, OrderOptions::default(), Postgres::new(Options::default()));
    let mut positions = [0u64; 2];
    let (mut exchanges, mut now_ns) = (0u64, 0);
    let mut say = |direction: Direction, captured: &[u8], length: u64| {
        now_ns += 1_000;
        let segment = Segment {
            position: Position(positions[direction as usize]),
            length,
            captured: black_box(captured),
            at_ns: now_ns,
            other_position: Position(positions[direction.opposite() as usize]),
        };
        positions[direction as usize] += length;
        connection.segment(direction, &segment, &mut |event| {
            let Event::Exchange(exchange) = event else { panic!("a loss: {event:?}") };
            exchanges += 1;
            black_box(exchange);
        });
    };
    say(Direction::Request, STARTUP, STARTUP.len() as u64);
    say(Direction::Response, WELCOME, WELCOME.len() as u64);
    let (begun, cpu_begun_ns) = (Instant::now(), cpu_time_ns());
    while begun.elapsed() < run_for {
        for _ in 0..1_000 {
            say(Direction::Request, request, request.len() as u64);
            say(Direction::Response, answer, answer_bytes);
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
