//! What one request of Kafka costs: prints nanoseconds of processor time per exchange for the usual shapes.
//!
//! `cargo run --release -p headwater-protocols --example kafka_rate [SECONDS]`.
#![allow(clippy::print_stdout, reason = "it speaks to people in a terminal")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use headwater_protocols::kafka::{Kafka, Options};
use headwater_protocols::{Connection, Direction, Event, Follow, OrderOptions, Position, Segment, Side};

/// The probes copy no more of a call.
const REQUEST_BYTES_MAX: usize = 4096;
const ANSWER_BYTES_MAX: usize = 1024;

fn main() {
    let seconds = std::env::args().nth(1).and_then(|seconds| seconds.parse().ok()).unwrap_or(1.0);
    let run_for = Duration::from_secs_f64(seconds);
    let [acknowledged, one_way] = [1, 0].map(|acks| produce(acks, 1_000));
    measure(
        "Produce of 1 KB with its answer",
        run_for,
        &[(Direction::Request, &acknowledged), (Direction::Response, &produced())],
    );
    measure("Produce of 1 KB with acks=0, and one Metadata for 100", run_for, &{
        let mut calls = vec![(Direction::Request, &one_way[..]); 100];
        calls.extend([(Direction::Request, METADATA), (Direction::Response, METADATA_ANSWER)]);
        calls
    });
    let fetched = fetched(60_000);
    measure("Fetch of 60 KB", run_for, &[(Direction::Request, FETCH), (Direction::Response, &fetched)]);
    println!("{} bytes for an idle connection", size_of::<Connection<Kafka>>());
}

/// Version 1, of one topic; its answer names no brokers and no topics.
const METADATA: &[u8] = b"\0\0\0\x1a\0\x03\0\x01\0\0\0\x07\0\x04shop\0\0\0\x01\0\x06orders";
const METADATA_ANSWER: &[u8] = b"\0\0\0\x10\0\0\0\x07\0\0\0\0\0\0\0\0\0\0\0\0";
/// Version 4, of one partition, with a wait of 500 ms.
const FETCH: &[u8] = b"\0\0\0\x3f\0\x01\0\x04\0\0\0\x07\0\x04shop\xff\xff\xff\xff\0\0\x01\xf4\0\0\0\x01\0\x10\0\0\0\
    \0\0\0\x01\0\x06orders\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\x07\0\x10\0\0";

/// Version 3, of one partition.
fn produce(acks: i16, bytes: usize) -> Vec<u8> {
    let head = [&b"\0\0\0\x03\0\0\0\x07\0\x04shop\xff\xff"[..], &acks.to_be_bytes(), b"\0\0\x13\x88"].concat();
    let topic = [&b"\0\0\0\x01\0\x06orders\0\0\0\x01\0\0\0\0"[..], &(bytes as i32).to_be_bytes(), &vec![b'x'; bytes]];
    framed(&[&head[..], &topic.concat()].concat())
}

fn produced() -> Vec<u8> {
    framed(&[&b"\0\0\0\x07\0\0\0\x01\0\x06orders\0\0\0\x01"[..], &[0; 26]].concat())
}

fn fetched(bytes: usize) -> Vec<u8> {
    let partition = [&[0; 22][..], &[0xff; 4], &(bytes as i32).to_be_bytes(), &vec![b'x'; bytes]].concat();
    framed(&[&b"\0\0\0\x07\0\0\0\0\0\0\0\x01\0\x06orders\0\0\0\x01"[..], &partition].concat())
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as i32).to_be_bytes(), message].concat()
}

/// Exchanges one after another, each with these calls.
fn measure(name: &str, run_for: Duration, calls: &[(Direction, &[u8])]) {
    let mut connection = Connection::new(Side::Server, OrderOptions::default(), Kafka::new(Options::default()));
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
    say(Direction::Request, METADATA);
    say(Direction::Response, METADATA_ANSWER);
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
