//! Feeds a connection's parser and turns its exchanges into [`Request`] records.

use headwater_protocols::operation::{Asked, Operations};
use headwater_protocols::{
    CloseReason, Direction, Event, Exchange, Failure, Kind, LossReason, Outcome, Position, Segment, Side,
};
use headwater_schemas::records::{self, Request};

use super::connection::{Connection, Identity, Service};
use super::{ObserverOptions, Output, Paths};
use crate::clock::Clock;

/// What an exchange carries beside itself.
struct Context<'a> {
    identity: &'a Identity,
    protocol: &'static str,
    options: &'a ObserverOptions,
    clock: Clock,
}

/// Bytes of a connection.
pub fn segment(
    connection: &mut Connection,
    way: Direction,
    segment: &Segment<'_>,
    options: &ObserverOptions,
    operations: &mut Operations<Service>,
    clock: Clock,
    out: &mut impl FnMut(Output<'_>),
) {
    let Connection { identity, parser, requests, errors, .. } = connection;
    let context = Context { identity, protocol: parser.protocol(), options, clock };
    parser.segment(way, segment, &mut |event| publish(&event, &context, operations, requests, errors, out));
}

/// How far both directions got, where a connection ends: what was moved past the hooks is known to be missing.
pub fn reached(
    connection: &mut Connection,
    positions: [(Direction, Position); 2],
    options: &ObserverOptions,
    operations: &mut Operations<Service>,
    clock: Clock,
    out: &mut impl FnMut(Output<'_>),
) {
    let Connection { identity, parser, requests, errors, .. } = connection;
    let context = Context { identity, protocol: parser.protocol(), options, clock };
    for (direction, to) in positions {
        parser.unseen(direction, to, &mut |event| publish(&event, &context, operations, requests, errors, out));
    }
}

/// The end of the server's stream, all of which was seen; `by` ended its own first.
pub fn end_of_response(
    connection: &mut Connection,
    at_ns: u64,
    by: Side,
    options: &ObserverOptions,
    operations: &mut Operations<Service>,
    clock: Clock,
    out: &mut impl FnMut(Output<'_>),
) {
    let Connection { identity, parser, requests, errors, .. } = connection;
    let context = Context { identity, protocol: parser.protocol(), options, clock };
    parser.end_of_stream(Direction::Response, at_ns, by, &mut |event| {
        publish(&event, &context, operations, requests, errors, out);
    });
}

/// The end of a connection, or of its capture.
pub fn close(
    connection: &mut Connection,
    at_ns: u64,
    reason: CloseReason,
    options: &ObserverOptions,
    operations: &mut Operations<Service>,
    clock: Clock,
    out: &mut impl FnMut(Output<'_>),
) {
    let Connection { identity, parser, requests, errors, .. } = connection;
    let context = Context { identity, protocol: parser.protocol(), options, clock };
    parser.close(at_ns, reason, &mut |event| publish(&event, &context, operations, requests, errors, out));
}

/// What is open on a connection has no room any more: it is missing.
pub fn give_up(
    connection: &mut Connection,
    at_ns: u64,
    options: &ObserverOptions,
    operations: &mut Operations<Service>,
    clock: Clock,
    out: &mut impl FnMut(Output<'_>),
) {
    close(connection, at_ns, CloseReason::Unobserved, options, operations, clock, &mut |output| match output {
        Output::RequestsDropped(_, count) => out(Output::RequestsDropped("memory_full", count)),
        other => out(other),
    });
}

fn publish(
    event: &Event<'_>,
    context: &Context<'_>,
    operations: &mut Operations<Service>,
    requests: &mut i64,
    errors: &mut i64,
    out: &mut impl FnMut(Output<'_>),
) {
    match event {
        Event::Exchange(exchange) => {
            *requests += 1;
            *errors += i64::from(exchange.outcome.is_error());
            record(exchange, context, operations, out);
        }
        Event::Loss(loss) if is_missing_request(loss.reason) => {
            out(Output::RequestsDropped(loss.reason.as_str(), loss.count));
        }
        Event::Loss(_) => {}
    }
}

/// Whether a loss means that a request happened of which there will be no record.
fn is_missing_request(reason: LossReason) -> bool {
    // Nothing was asked in these: a response without request, bytes of another protocol.
    !matches!(reason, LossReason::UnsolicitedResponse | LossReason::Upgraded)
}

fn kind(exchange: &Exchange<'_>) -> records::Kind {
    match exchange.kind {
        Kind::Call => records::Kind::Call,
        Kind::OneWay => records::Kind::OneWay,
        Kind::Stream => records::Kind::Stream,
    }
}

fn record(
    exchange: &Exchange<'_>,
    context: &Context<'_>,
    operations: &mut Operations<Service>,
    out: &mut impl FnMut(Output<'_>),
) {
    let Context { identity, protocol, options, clock } = context;
    let started_ns = exchange.request_started_ns;
    let ended_ns = exchange.response_ended_ns.filter(|_| exchange.failure.is_none()).unwrap_or(exchange.completed_ns);
    let since_start = |at_ns: u64| at_ns.saturating_sub(started_ns) as i64;
    let asked = Asked {
        method: exchange.method,
        path: exchange.path,
        succeeded: exchange.outcome == Outcome::Ok,
        at_ns: exchange.completed_ns,
    };
    let operation = operations.of(&Service { protocol, ..identity.service }, &asked);
    let request = Request {
        connection_id: &identity.connection_id,
        side: identity.side,
        request_position: exchange.request_position.0 as i64,
        started_at_us: clock.epoch_us(started_ns),
        completed_at_us: clock.epoch_us(exchange.completed_ns),
        duration_ns: since_start(ended_ns),
        time_to_first_byte_ns: exchange.response_started_ns.map_or(-1, since_start),
        protocol,
        kind: kind(exchange),
        method: exchange.method,
        path: if options.paths == Paths::Full { exchange.path } else { operation.path },
        operation: operation.name,
        status: exchange.status.map_or(0, i32::from),
        error: exchange.outcome.is_error(),
        failure: exchange.failure.map(Failure::as_str),
        request_bytes: exchange.request_bytes as i64,
        response_bytes: exchange.response_bytes as i64,
        weight: 1,
        sums: None,
        node: &options.node,
        cluster: "",
        namespace: "",
        workload_kind: "",
        workload: "",
        pod: "",
        container: "",
        pid: identity.pid as i32,
        local_address: &identity.local_address,
        local_port: i32::from(identity.local_port),
        remote_address: &identity.remote_address,
        remote_port: i32::from(identity.remote_port),
    };
    out(Output::Request(request, &identity.owner));
}
