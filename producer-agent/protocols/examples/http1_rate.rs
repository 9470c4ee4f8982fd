//! What one exchange costs: prints nanoseconds of processor time per exchange for the usual shapes.
//!
//! `cargo run --release -p headwater-protocols --example http1_rate [SECONDS]`; under a profiler, with more seconds.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it speaks to people in a terminal")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use headwater_protocols::http1::Http1;
use headwater_protocols::operation::{Asked, Bounds, Operations};
use headwater_protocols::{Connection, Direction, Event, Options, Parser, Position, Segment, Side};

const REQUEST: &[u8] = b"GET /api/v1/users/12345?fields=name,email HTTP/1.1\r\n\
    Host: shop.example.org\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
    Accept: application/json\r\n\
    Accept-Encoding: gzip, deflate, br\r\n\
    Accept-Language: en-GB,en;q=0.5\r\n\
    Connection: keep-alive\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Server: nginx/1.22.1\r\n\
    Date: Tue, 01 Jul 2025 10:00:00 GMT\r\n\
    Content-Type: application/json\r\n\
    Content-Length: 5000\r\n\
    Connection: keep-alive\r\n\
    Cache-Control: no-store\r\n\r\n";
const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n";

fn main() {
    let seconds = std::env::args().nth(1).and_then(|seconds| seconds.parse().ok()).unwrap_or(1.0);
    let run_for = Duration::from_secs_f64(seconds);
    let with_body = RESPONSE.len() as u64 + 5_000;
    let whole = [(REQUEST, REQUEST.len() as u64), (RESPONSE, with_body)];
    measure("whole heads, a body by position", run_for, &whole, None);
    measure("the same, with the operation's name", run_for, &whole, Some(Operations::new(Bounds::default())));
    let chunked = [(REQUEST, REQUEST.len() as u64), (CHUNKED, CHUNKED.len() as u64)];
    measure("a small chunked response", run_for, &chunked, None);
    let (head, rest) = REQUEST.split_at(100);
    let split = [(head, 100), (rest, rest.len() as u64), (RESPONSE, with_body)];
    measure("a request head in two pieces", run_for, &split, None);
    println!("{} bytes for an idle connection", size_of::<Parser>() + size_of::<Connection<Http1>>());
}

/// Exchanges one after another on one kept-alive connection. All segments but the last are of the request.
fn measure(name: &str, run_for: Duration, segments: &[(&[u8], u64)], mut operations: Option<Operations<()>>) {
    let mut connection = Parser::new(Side::Server, &Options::default());
    let mut positions = [Position::START; 2];
    let (mut exchanges, mut now_ns) = (0u64, 0);
    let (begun, cpu_begun_ns) = (Instant::now(), cpu_time_ns());
    while begun.elapsed() < run_for {
        for _ in 0..1_000 {
            for (at, (captured, length)) in segments.iter().enumerate() {
                let is_last = at + 1 == segments.len();
                let direction = if is_last { Direction::Response } else { Direction::Request };
                now_ns += 1_000;
                let segment = Segment {
                    position: positions[direction as usize],
                    length: *length,
                    captured: black_box(captured),
                    at_ns: now_ns,
                    other_position: positions[direction.opposite() as usize],
                };
                positions[direction as usize] = segment.position.saturating_add(*length);
                connection.segment(direction, &segment, &mut |event| {
                    let Event::Exchange(exchange) = event else { panic!("a loss: {event:?}") };
                    exchanges += 1;
                    if let Some(operations) = &mut operations {
                        let asked = Asked {
                            method: exchange.method,
                            path: exchange.path,
                            named: exchange.named,
                            succeeded: true,
                            at_ns: now_ns,
                        };
                        black_box(operations.of(&(), &asked));
                    }
                    black_box(exchange);
                });
            }
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
