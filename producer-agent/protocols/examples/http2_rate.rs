//! What one exchange of HTTP/2 costs: prints nanoseconds of processor time per exchange for the usual shapes.
//!
//! `cargo run --release -p headwater-protocols --example http2_rate [SECONDS]`.
#![allow(clippy::print_stdout, reason = "it speaks to people in a terminal")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use headwater_protocols::http2::{Http2, Options};
use headwater_protocols::{Connection, Direction, Event, Follow, OrderOptions, Position, Segment, Side};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
const HEADERS: u8 = 1;
const DATA: u8 = 0;
/// Of a head, that it ends its stream, or not.
const LAST: u8 = 5;
const MORE: u8 = 4;
/// Adds a path, `application/grpc`, and a status of gRPC to the tables.
const FIRST_CALL: &[u8] = b"\x83\x86\x44\x0f/shop.Carts/Add\x5f\x10application/grpc";
const FIRST_END: &[u8] = b"\x40\x0bgrpc-status\x010";

fn main() {
    let seconds = std::env::args().nth(1).and_then(|seconds| seconds.parse().ok()).unwrap_or(1.0);
    let run_for = Duration::from_secs_f64(seconds);
    let message = b"\0\0\0\0\x05hello";
    let get: &[(u8, u8, &[u8])] = &[(HEADERS, LAST, b"\x82\x86\x04\x08/users/7")];
    measure("GET with a path of its own, answered by a head", run_for, get, &[(HEADERS, LAST, b"\x88")], 0);
    let body = [0; 7_000];
    let long: &[(u8, u8, &[u8])] = &[(HEADERS, MORE, b"\x88"), (DATA, 1, &body)];
    measure("the same answered with 7 KB, of which the first are seen", run_for, get, long, 7_000);
    let call: &[(u8, u8, &[u8])] = &[(HEADERS, MORE, b"\x83\x86\xbf\xbe"), (DATA, 1, message)];
    let answer: &[(u8, u8, &[u8])] = &[(HEADERS, MORE, b"\x88"), (DATA, 0, message), (HEADERS, LAST, b"\xbe")];
    measure("a call of gRPC, whose headers stand in the tables", run_for, call, answer, 0);
    println!("{} bytes for an idle connection, without its tables", size_of::<Connection<Http2>>());
}

/// Exchanges one after another. Of an answer, so many bytes are not captured.
fn measure(name: &str, run_for: Duration, request: &[(u8, u8, &[u8])], answer: &[(u8, u8, &[u8])], hidden: usize) {
    let mut connection = Connection::new(Side::Server, OrderOptions::default(), Http2::new(Options::default()));
    let mut positions = [0u64; 2];
    let (mut exchanges, mut now_ns) = (0u64, 0);
    let mut say = |direction: Direction, bytes: &[u8], captured: usize| {
        now_ns += 1_000;
        let segment = Segment {
            position: Position(positions[direction as usize]),
            length: bytes.len() as u64,
            captured: black_box(&bytes[..captured]),
            at_ns: now_ns,
            other_position: Position(positions[direction.opposite() as usize]),
        };
        positions[direction as usize] += bytes.len() as u64;
        connection.segment(direction, &segment, &mut |event| {
            let Event::Exchange(exchange) = event else { panic!("a loss: {event:?}") };
            exchanges += 1;
            black_box(exchange);
        });
    };
    say(Direction::Request, PREFACE, PREFACE.len());
    say(Direction::Response, SETTINGS, SETTINGS.len());
    let mut id = 1;
    let (mut asked, mut answered) =
        (frames(&[(HEADERS, LAST, FIRST_CALL)]), frames(&[(HEADERS, LAST, &[b"\x88", FIRST_END].concat())]));
    let (begun, cpu_begun_ns) = (Instant::now(), cpu_time_ns());
    while begun.elapsed() < run_for && id < u32::MAX / 2 - 2_000 {
        for _ in 0..1_000 {
            set_stream(&mut asked, id);
            set_stream(&mut answered, id);
            say(Direction::Request, &asked, asked.len());
            say(Direction::Response, &answered, answered.len() - if id == 1 { 0 } else { hidden });
            if id == 1 {
                (asked, answered) = (frames(request), frames(answer));
            }
            id += 2;
        }
    }
    let each_ns = (cpu_time_ns() - cpu_begun_ns) as f64 / exchanges as f64;
    println!("{each_ns:7.0} ns per exchange: {name}");
}

fn frames(frames: &[(u8, u8, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, flags, payload) in frames {
        bytes.extend(&(payload.len() as u32).to_be_bytes()[1..]);
        bytes.extend([*kind, *flags, 0, 0, 0, 0]);
        bytes.extend(*payload);
    }
    bytes
}

/// Writes the id of a stream into each frame.
fn set_stream(frames: &mut [u8], id: u32) {
    let mut rest = frames;
    while let Some((head, behind)) = rest.split_first_chunk_mut::<9>() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        head[5..].copy_from_slice(&id.to_be_bytes());
        rest = &mut behind[length..];
    }
}

/// The time that this thread has run, so that other load does not count.
fn cpu_time_ns() -> u64 {
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux has /proc mounted");
    let on_cpu_ns = statistics.split(' ').next().and_then(|field| field.parse().ok());
    on_cpu_ns.expect("the first field of schedstat is a number of nanoseconds")
}
