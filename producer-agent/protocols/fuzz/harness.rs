//! Turns arbitrary bytes into segments and checks what must hold for any input. The fuzz target and a test on the
//! stable toolchain share it.

// Each target needs a part of it.
#![allow(dead_code)]

use headwater_protocols::http1::Options;
use headwater_protocols::operation::{Asked, Bounds, Operations};
use headwater_protocols::{
    CloseReason, Direction, Event, Options as AllOptions, OrderOptions, Parser, Position, Segment, Side,
};

use crate::checks::{Checks, end};

/// Small bounds, so that short inputs reach them.
const OPTIONS: Options = Options { head_bytes_max: 200, pending_exchanges_max: 3, path_bytes_max: 20 };

const ORDER: OrderOptions = OrderOptions { early_segments_max: 3, early_bytes_max: 100 };

/// There, questions come out as they are answered.
const ANSWERED_BY_NUMBER: [&str; 7] = ["amqp", "cassandra", "dns", "mongodb", "mqtt", "nats", "websocket"];

const UPGRADE: [&str; 2] =
    ["GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n", "HTTP/1.1 101 Go on\r\nUpgrade: websocket\r\n\r\n"];

/// Reads the input as: one byte of settings, then for each segment six bytes that describe it, then its bytes.
/// Returns how many exchanges came out.
pub fn run(input: &[u8]) -> u64 {
    follow(input, ["", ""])
}

/// The same behind what makes a connection one of WebSocket.
pub fn run_behind_upgrade(input: &[u8]) -> u64 {
    follow(input, UPGRADE)
}

fn follow(input: &[u8], begins: [&str; 2]) -> u64 {
    let Some((settings, mut rest)) = input.split_first() else { return 0 };
    let side = if settings & 1 == 0 { Side::Client } else { Side::Server };
    let mut parser = Parser::new(side, &AllOptions { order: ORDER, http1: OPTIONS, ..AllOptions::default() });
    let mut output = Output { checks: Checks::default(), operations: Operations::new(Bounds::default()) };
    // Starting near the end of what a position can be must not overflow.
    let base = [0, 0, 5_000, u64::MAX - 500][usize::from(settings >> 1 & 3)];
    let mut positions = [Position(base); 2];
    for (direction, begins) in [Direction::Request, Direction::Response].into_iter().zip(begins) {
        let (position, length) = (positions[direction as usize], begins.len() as u64);
        let other_position = positions[direction.opposite() as usize];
        let segment = Segment { position, length, captured: begins.as_bytes(), at_ns: 0, other_position };
        positions[direction as usize] = position.saturating_add(length);
        parser.segment(direction, &segment, &mut |event| output.take(event));
    }
    while let Some((description, behind)) = rest.split_at_checked(6) {
        let &[flags, jump, length, hidden, other_jump, time] = description else { break };
        let (bytes, behind) = behind.split_at(usize::from(length).min(behind.len()));
        rest = behind;
        let direction = if flags & 1 == 0 { Direction::Request } else { Direction::Response };
        let (own, other) = (direction as usize, direction.opposite() as usize);
        // Most segments follow the one before; some jump ahead or back, or speak of what has not come.
        let start = match flags >> 1 & 7 {
            0 => positions[own].saturating_add(u64::from(jump)),
            1 => back(positions[own], jump),
            _ => positions[own],
        };
        let other_position = match flags >> 4 & 7 {
            0 => positions[other].saturating_add(u64::from(other_jump)),
            1 => back(positions[other], other_jump),
            _ => positions[other],
        };
        let hidden = if flags >> 7 == 1 { u64::from(hidden) } else { 0 };
        let length = bytes.len() as u64 + hidden;
        positions[own] = start.saturating_add(length);
        output.checks.now_ns += u64::from(time);
        let at_ns = output.checks.now_ns;
        let segment = Segment { position: start, length, captured: bytes, at_ns, other_position };
        parser.segment(direction, &segment, &mut |event| output.take(event));
        if settings >> 7 == 1 {
            parser.sleep(u64::MAX);
        }
    }
    let by = if settings >> 5 & 1 == 0 { Side::Client } else { Side::Server };
    if settings >> 6 & 1 == 1 {
        parser.end_of_stream(Direction::Request, output.checks.now_ns, by, &mut |event| output.take(event));
        parser.end_of_stream(Direction::Response, output.checks.now_ns, by, &mut |event| output.take(event));
    }
    parser.close(output.checks.now_ns, end(settings >> 3, by), &mut |event| output.take(event));
    assert!(parser.is_idle(), "something is left after the close");
    let events = output.checks.events;
    parser.close(output.checks.now_ns, CloseReason::Finished { by }, &mut |event| output.take(event));
    assert_eq!(events, output.checks.events, "the second close emitted something");
    output.checks.exchanges
}

fn back(position: Position, bytes: u8) -> Position {
    Position(position.0.saturating_sub(u64::from(bytes)))
}

struct Output {
    checks: Checks,
    operations: Operations<()>,
}

impl Output {
    fn take(&mut self, event: Event<'_>) {
        let is_by_number =
            matches!(event, Event::Exchange(exchange) if ANSWERED_BY_NUMBER.contains(&exchange.protocol));
        let taken = if is_by_number { self.checks.take(event) } else { self.checks.take_in_order(event) };
        let Some(exchange) = taken else { return };
        assert!(!exchange.method.is_empty() && exchange.path.len() <= OPTIONS.path_bytes_max as usize, "{exchange:?}");
        assert!(exchange.status.is_some() || exchange.failure.is_some() || exchange.protocol != "http", "{exchange:?}");
        let asked = Asked {
            method: exchange.method,
            path: exchange.path,
            named: exchange.named,
            succeeded: exchange.status.is_some_and(|status| status < 400),
            at_ns: exchange.completed_ns,
        };
        assert!(!self.operations.of(&(), &asked).name.contains('?'), "{exchange:?}");
    }
}
