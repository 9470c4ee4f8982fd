//! What one message of MQTT costs: prints nanoseconds of processor time per exchange for the usual shapes.
//!
//! `cargo run --release -p headwater-protocols --example mqtt_rate [SECONDS]`.
#![allow(clippy::print_stdout, reason = "it speaks to people in a terminal")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use headwater_protocols::mqtt::{Mqtt, Options};
use headwater_protocols::{Connection, Direction, Event, Follow, OrderOptions, Position, Segment, Side};

const CONNECT: &[u8] = b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01c";
const CONNACK: &[u8] = b"\x20\x02\0\0";
const TOPIC: &[u8] = b"plant/line/4711/temperature";

fn main() {
    let seconds = std::env::args().nth(1).and_then(|seconds| seconds.parse().ok()).unwrap_or(1.0);
    let run_for = Duration::from_secs_f64(seconds);
    measure("PUBLISH with QoS 0", run_for, &[(Direction::Request, &publish(0))]);
    let acknowledged = publish(1);
    measure(
        "PUBLISH with QoS 1 and its PUBACK",
        run_for,
        &[(Direction::Request, &acknowledged), (Direction::Response, b"\x40\x02\0\x07")],
    );
    let once = publish(2);
    measure(
        "PUBLISH with QoS 2 up to its PUBCOMP",
        run_for,
        &[
            (Direction::Request, &once),
            (Direction::Response, b"\x50\x02\0\x07"),
            (Direction::Request, b"\x62\x02\0\x07"),
            (Direction::Response, b"\x70\x02\0\x07"),
        ],
    );
    println!("{} bytes for an idle connection", size_of::<Connection<Mqtt>>());
}

/// A message of 64 bytes.
fn publish(quality: u8) -> Vec<u8> {
    let id: &[u8] = if quality > 0 { &[0, 7] } else { &[] };
    let body = [&(TOPIC.len() as u16).to_be_bytes()[..], TOPIC, id, &[b'x'; 64]].concat();
    [&[0x30 | quality << 1, body.len() as u8][..], &body].concat()
}

/// Exchanges one after another, each with these calls.
fn measure(name: &str, run_for: Duration, calls: &[(Direction, &[u8])]) {
    let mut connection = Connection::new(Side::Server, OrderOptions::default(), Mqtt::new(Options::default()));
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
    say(Direction::Request, CONNECT);
    say(Direction::Response, CONNACK);
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
