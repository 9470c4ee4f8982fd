//! What one message of AMQP costs: prints nanoseconds of processor time per exchange for the usual shapes.
//!
//! `cargo run --release -p headwater-protocols --example amqp_rate [SECONDS]`.
#![allow(clippy::print_stdout, reason = "it speaks to people in a terminal")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use headwater_protocols::amqp::{Amqp, Options};
use headwater_protocols::{Connection, Direction, Event, Follow, OrderOptions, Position, Segment, Side};

#[path = "../tests/shared/frames.rs"]
mod frames;

fn main() {
    let seconds = std::env::args().nth(1).and_then(|seconds| seconds.parse().ok()).unwrap_or(1.0);
    let run_for = Duration::from_secs_f64(seconds);
    let published = frames::publish(1, "plant", "line.4711.temperature", &[b'x'; 64]);
    measure("a message that is published", run_for, &[(Direction::Request, &published)]);
    let delivered = frames::deliver(1, "me", 7, "line.4711.temperature", &[b'x'; 64]);
    let acknowledged = frames::acknowledge(1, 7, false);
    let calls: [(Direction, &[u8]); 2] = [(Direction::Response, &delivered), (Direction::Request, &acknowledged)];
    measure("a message that is delivered, with its ack", run_for, &calls);
    println!("{} bytes for an idle connection", size_of::<Connection<Amqp>>());
}

/// Exchanges one after another, each with these calls.
fn measure(name: &str, run_for: Duration, calls: &[(Direction, &[u8])]) {
    let mut connection = Connection::new(Side::Server, OrderOptions::default(), Amqp::new(Options::default()));
    let mut positions = [0u64; 2];
    let (mut exchanges, mut now_ns) = (0u64, 0);
    let mut say = |direction: Direction, captured: &[u8]| {
        now_ns += 1_000;
        let segment = Segment {
            position: Position(positions[direction as usize]),
            length: captured.len() as u64,
            captured: black_box(captured),
            at_ns: now_ns,
            other_position: Position(positions[direction.opposite() as usize]),
        };
        positions[direction as usize] += captured.len() as u64;
        connection.segment(direction, &segment, &mut |event| {
            let Event::Exchange(exchange) = event else { panic!("a loss: {event:?}") };
            exchanges += 1;
            black_box(exchange);
        });
    };
    for (at, said) in frames::beginning().iter().enumerate() {
        say(if at % 2 == 0 { Direction::Request } else { Direction::Response }, said);
    }
    say(Direction::Request, &frames::method(1, 20, 10, &[&[0]]));
    say(Direction::Response, &frames::method(1, 20, 11, &[&[0; 4]]));
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
