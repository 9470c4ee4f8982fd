//! Feeds a connection's parser, and turns its exchanges and those that the probes added up into [`Request`] records.

use std::rc::Rc;

use headwater_probe_loader::types::sums::{ExchangeEvent, Last, reason};
use headwater_protocols::http1::Http1;
use headwater_protocols::operation::{Asked, Operations};
use headwater_protocols::tls::Tls;
use headwater_protocols::{
    CloseReason, Code, Direction, Encryption, Event, Exchange, Failure, Kind, LossReason, OpenRequest, Outcome, Parser,
    Position, Protocol, RequestId, Sink,
};
use headwater_schemas::records::{self, Request, Sums};

use super::callers::Callers;
use super::connection::{Connection, Identity, Service};
use super::resolved::Resolved;
use super::spare::Spared;
use super::sums::folds::Fold;
use super::sums::{Heat, Single, Summaries, Summed, Told};
use super::{ObserverOptions, Output, Paths, SocketKey, tls};
use crate::clock::Clock;

const SECOND_US: i64 = 1_000_000;

/// What all connections share.
pub struct Shared {
    pub options: ObserverOptions,
    pub operations: Operations<Service>,
    pub sums: Summaries,
    pub clock: Clock,
    /// What the answers of DNS say of addresses.
    pub resolved: Resolved,
    /// Connections whose exchanges are to be added up from now on.
    pub hot: Vec<SocketKey>,
    /// Exchanges of whose record a value is `unknown`, since it stands in a table whose beginning was not seen.
    pub values_unknown: u64,
}

/// Feeds the parser of a connection; what it finds goes out.
pub fn feed(
    connection: &mut Connection,
    shared: &mut Shared,
    out: &mut impl FnMut(Output<'_>),
    with: impl FnOnce(&mut Parser, &mut Sink<'_>),
) {
    let Connection { identity, parser, protocol, encryption, callers, requests, errors, heat, spared, .. } = connection;
    let is_told_by_other_end = *spared != Spared::No;
    with(parser, &mut |event| match event {
        Event::Exchange(exchange) => {
            *requests += 1;
            *errors += u32::from(exchange.outcome.is_error());
            let adds_up = if identity.is_unix() { AddsUp::Agent } else { AddsUp::Probes };
            record(&exchange, (identity, callers), heat, adds_up, shared, out);
        }
        Event::Loss(loss) if is_missing_request(loss.reason) && !is_told_by_other_end => {
            out(Output::RequestsDropped(loss.reason.as_str(), loss.count, Some(&identity.owner)));
        }
        Event::Loss(loss) if loss.reason == LossReason::ValueUnknown => shared.values_unknown += loss.count,
        Event::Loss(_) => {}
        Event::Encryption(told) => encrypted(identity, protocol, encryption, told),
    });
}

/// What was found under TLS, where the probes see nothing to add up.
pub fn found_under_tls(
    event: Event<'_>,
    (identity, callers): (&Identity, &Callers),
    heat: &mut Heat,
    (requests, errors): (&mut u32, &mut u32),
    shared: &mut Shared,
    out: &mut impl FnMut(Output<'_>),
) {
    match event {
        Event::Exchange(exchange) => {
            *requests += 1;
            *errors += u32::from(exchange.outcome.is_error());
            record(&exchange, (identity, callers), heat, AddsUp::Agent, shared, out);
        }
        Event::Loss(loss) if is_missing_request(loss.reason) => {
            out(Output::RequestsDropped(loss.reason.as_str(), loss.count, Some(&identity.owner)));
        }
        Event::Loss(loss) if loss.reason == LossReason::ValueUnknown => shared.values_unknown += loss.count,
        Event::Loss(_) | Event::Encryption(_) => {}
    }
}

/// What a handshake said.
pub fn encrypted(
    identity: &mut Identity,
    protocol: &mut Option<&'static str>,
    encryption: &mut Option<Box<Encryption>>,
    told: &Encryption,
) {
    protocol.get_or_insert(Tls::NAME);
    if let Some(server_name) = told.server_name.as_deref().filter(|_| !leads_elsewhere(told)) {
        identity.name_remote(server_name);
    }
    *encryption = Some(Box::new(told.clone()));
}

/// What the handshake names is somewhere behind the other end: a proxy was asked to pass the connection on (RFC 9110, 9.3.6).
fn leads_elsewhere(told: &Encryption) -> bool {
    told.upgraded_from == Http1::NAME
}

/// What is open on a connection is not followed any more: it is missing, for this reason.
pub fn give_up(
    connection: &mut Connection,
    reason: &'static str,
    at_ns: u64,
    shared: &mut Shared,
    out: &mut impl FnMut(Output<'_>),
) {
    let mut out = |output: Output<'_>| match output {
        Output::RequestsDropped(_, count, owner) => out(Output::RequestsDropped(reason, count, owner)),
        other => out(other),
    };
    feed(connection, shared, &mut out, |parser, sink| parser.close(at_ns, CloseReason::Unobserved, sink));
    tls::feed(connection, shared, &mut out, |plaintext, _, sink| plaintext.close(at_ns, CloseReason::Unobserved, sink));
    connection.callers.forget();
}

/// Whether a loss means that a request happened of which there will be no record.
pub fn is_missing_request(reason: LossReason) -> bool {
    // Nothing was asked in these: a response without request, bytes of another protocol. Of the last there is a record.
    !matches!(reason, LossReason::UnsolicitedResponse | LossReason::Upgraded | LossReason::ValueUnknown)
}

fn kind(exchange: &Exchange<'_>) -> records::Kind {
    match exchange.kind {
        Kind::Call => records::Kind::Call,
        Kind::OneWay => records::Kind::OneWay,
        Kind::Stream => records::Kind::Stream,
        Kind::Wait => records::Kind::Wait,
    }
}

fn outcome(outcome: Outcome) -> records::Outcome {
    match outcome {
        Outcome::Ok => records::Outcome::Ok,
        Outcome::ClientError => records::Outcome::ClientError,
        Outcome::ServerError => records::Outcome::ServerError,
        Outcome::Unanswered => records::Outcome::Unanswered,
        Outcome::Unknown => records::Outcome::Unknown,
    }
}

/// What a status says that the probes knew.
fn outcome_of(status: u16, failure: Option<Failure>) -> records::Outcome {
    match status {
        _ if failure.is_some() => records::Outcome::Unanswered,
        400..500 => records::Outcome::ClientError,
        500.. => records::Outcome::ServerError,
        _ => records::Outcome::Ok,
    }
}

/// Who may add up the exchanges that follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddsUp {
    /// The probes, or the agent.
    Probes,
    Agent,
}

/// Tells of an exchange.
pub fn record(
    exchange: &Exchange<'_>,
    (identity, callers): (&Identity, &Callers),
    heat: &mut Heat,
    adds_up: AddsUp,
    shared: &mut Shared,
    out: &mut impl FnMut(Output<'_>),
) {
    let Shared { options, operations, sums, clock, hot, resolved, .. } = shared;
    // What somebody else was answered, over the same connection, is not this workload's.
    if identity.side == records::Side::Client {
        resolved.learn(identity.owner.cgroup(), exchange.resource, exchange.addresses, exchange.completed_ns);
    }
    let started_ns = exchange.request_started_ns;
    let ended_ns = exchange.response_ended_ns.filter(|_| exchange.failure.is_none()).unwrap_or(exchange.completed_ns);
    let since_start = |at_ns: u64| at_ns.saturating_sub(started_ns) as i64;
    let asked = Asked {
        method: exchange.method,
        path: exchange.path,
        named: exchange.named,
        succeeded: exchange.outcome == Outcome::Ok,
        at_ns: exchange.completed_ns,
    };
    let operation = operations.of(&identity.service(exchange.protocol), &asked);
    let path = if options.paths == Paths::Full { exchange.path } else { operation.path };
    let (trace_id, parent_span_id) = exchange.propagated.trace.map(|trace| trace.digits()).unwrap_or_default();
    let request_id = exchange.propagated.request_id.map(RequestId::text).unwrap_or_default();
    // Of what the server began, it is the server that asks.
    let way = if exchange.request_position.is_of_server() { Direction::Response } else { Direction::Request };
    let asked_by = callers.at(way, started_ns);
    let answered_by = exchange.response_started_ns.map(|at_ns| callers.at(way.opposite(), at_ns)).unwrap_or_default();
    let count = |messages: Option<u32>| messages.map(|count| i32::try_from(count).unwrap_or(i32::MAX));
    let request = Request {
        request_position: exchange.request_position.0 as i64,
        started_at_us: clock.epoch_us(started_ns),
        completed_at_us: clock.epoch_us(exchange.completed_ns),
        duration_ns: since_start(ended_ns),
        time_to_first_byte_ns: exchange.response_started_ns.map_or(-1, since_start),
        protocol: exchange.protocol,
        kind: kind(exchange),
        method: exchange.method,
        path,
        operation: operation.name,
        resource: exchange.resource,
        status: exchange.status.map_or(0, i32::from),
        outcome: outcome(exchange.outcome),
        code: if exchange.status.map(Code::of_status) == Some(exchange.code) { "" } else { exchange.code.as_str() },
        error: exchange.outcome.is_error(),
        failure: exchange.failure.map(Failure::as_str),
        request_bytes: exchange.request_bytes as i64,
        response_bytes: exchange.response_bytes as i64,
        request_messages: count(exchange.messages.request),
        response_messages: count(exchange.messages.response),
        trace_id: &trace_id,
        parent_span_id: &parent_span_id,
        request_id: &request_id,
        request_thread_id: asked_by.thread as i32,
        request_call: asked_by.call,
        response_thread_id: answered_by.thread as i32,
        response_call: answered_by.call,
        ..of_connection(identity, &options.node)
    };
    // A path that is published as it is cannot stand for others.
    let told = match options.paths {
        Paths::Templated => {
            let end = (identity.socket, adds_up == AddsUp::Probes);
            sums.told(heat, end, exchange, path, operation.name)
        }
        Paths::Full => Told::AsBefore,
    };
    if told == Told::CellOpened {
        hot.push(identity.socket);
    }
    tell(request, identity, heat, sums, told, &options.node, out);
}

/// An exchange has a record of its own, or is added up by the agent.
fn tell(
    request: Request<'_>,
    identity: &Identity,
    heat: &mut Heat,
    sums: &mut Summaries,
    told: Told,
    node: &str,
    out: &mut impl FnMut(Output<'_>),
) {
    let (is_added, before) = sums.fold(heat, identity.socket, &request, told);
    folds(&before, identity, node, out);
    if !is_added {
        out(Output::Request(request, &identity.owner));
    }
}

/// What the agent has added up of a connection.
pub fn folds(folds: &[Fold], identity: &Identity, node: &str, out: &mut impl FnMut(Output<'_>)) {
    for fold in folds {
        out(Output::Request(fold.record(of_connection(identity, node)), &identity.owner));
    }
}

/// An exchange that the probes told of themselves. Says whether their connection was not plain after all.
pub fn single(
    connection: &mut Connection,
    event: &ExchangeEvent,
    shared: &mut Shared,
    out: &mut impl FnMut(Output<'_>),
) -> bool {
    let owner = Rc::clone(&connection.identity.owner);
    let last = &event.exchange;
    let known = Summaries::single(&connection.heat, event.key, event.status, last.response_bytes);
    match (event.reason, known) {
        (reason::UNFIT, Some(single)) => publish(connection, &single, last, None, shared, out),
        (reason::AT_END, Some(single)) if single.is_whole => {
            publish(connection, &single, last, None, shared, out);
        }
        (reason::UNANSWERED, Some(single)) => {
            publish(connection, &single, last, Some(Failure::NoResponse), shared, out);
        }
        (reason::HANDED_OVER, Some(single)) => {
            let open = OpenRequest {
                method: &single.common.method,
                start: Position(last.position),
                end: Position(last.position.saturating_add(last.request_bytes)),
                at_ns: last.started_ns,
                response: Position(event.answer_position),
            };
            feed(connection, shared, out, |parser, sink| parser.resume_open(&open, sink));
        }
        // Whether its answer was whole is not known.
        (reason::AT_END, _) => out(Output::RequestsDropped(LossReason::Unfinished.as_str(), 1, Some(&owner))),
        (reason::OVERTAKEN, _) => out(Output::RequestsDropped("overtaken", 2, Some(&owner))),
        _ => out(Output::RequestsDropped("not_plain", 1, Some(&owner))),
    }
    event.reason == reason::NOT_PLAIN
}

fn publish(
    connection: &mut Connection,
    single: &Single,
    last: &Last,
    failure: Option<Failure>,
    shared: &mut Shared,
    out: &mut impl FnMut(Output<'_>),
) {
    let Shared { options, sums, clock, .. } = shared;
    let error = failure.is_some() || single.status >= 500;
    connection.requests += 1;
    connection.errors += u32::from(error);
    let Connection { identity, heat, .. } = connection;
    let common = &single.common;
    let request = Request {
        protocol: common.protocol,
        method: &common.method,
        path: &common.path,
        operation: &common.operation,
        status: i32::from(single.status),
        outcome: outcome_of(single.status, failure),
        error,
        failure: failure.map(Failure::as_str),
        ..of_last(last, identity, *clock, &options.node)
    };
    // Of the others, some may still be added up by the probes.
    let told = if single.status == common.status { Told::InCell } else { Told::AsBefore };
    tell(request, identity, heat, sums, told, &options.node, out);
}

/// What was added up of one operation in one second.
pub fn sums(connection: &mut Connection, summed: &Summed, shared: &Shared, out: &mut impl FnMut(Output<'_>)) {
    let exchanges = i64::try_from(summed.exchanges).unwrap_or(i64::MAX);
    let common = &summed.common;
    let error = common.status >= 500;
    let in_second = u32::try_from(summed.exchanges).unwrap_or(u32::MAX);
    connection.requests = connection.requests.saturating_add(in_second);
    connection.errors = connection.errors.saturating_add(if error { in_second } else { 0 });
    let identity = &connection.identity;
    let last = of_last(&summed.last, identity, shared.clock, &shared.options.node);
    let second_us = (summed.second as i64).saturating_mul(SECOND_US);
    let request = Request {
        // The clock may have been measured anew since the probes chose the second.
        completed_at_us: last.completed_at_us.clamp(second_us, second_us + SECOND_US - 1),
        protocol: common.protocol,
        method: &common.method,
        path: &common.path,
        operation: &common.operation,
        status: i32::from(common.status),
        outcome: outcome_of(common.status, None),
        error,
        weight: exchanges,
        sums: Some(Box::new(Sums {
            from_position: summed.first_position as i64,
            request_bytes: summed.request_bytes as i64,
            response_bytes: summed.response_bytes as i64,
            duration_ns: summed.duration_ns.clone(),
        })),
        ..last
    };
    out(Output::Request(request, &identity.owner));
}

/// The fields that the probes know of an exchange.
fn of_last<'a>(last: &Last, identity: &'a Identity, clock: Clock, node: &'a str) -> Request<'a> {
    let ended_ns = if last.answered_ns == 0 { last.completed_ns } else { last.ended_ns };
    let since_start = |at_ns: u64| at_ns.saturating_sub(last.started_ns) as i64;
    Request {
        request_position: last.position as i64,
        started_at_us: clock.epoch_us(last.started_ns),
        completed_at_us: clock.epoch_us(last.completed_ns),
        duration_ns: since_start(ended_ns),
        time_to_first_byte_ns: if last.answered_ns == 0 { -1 } else { since_start(last.answered_ns) },
        request_bytes: last.request_bytes as i64,
        response_bytes: last.response_bytes as i64,
        ..of_connection(identity, node)
    }
}

/// The fields that are the connection's; those of an exchange are still to be filled in.
fn of_connection<'a>(identity: &'a Identity, node: &'a str) -> Request<'a> {
    Request {
        connection_id: identity.connection_id(),
        side: identity.side,
        request_position: 0,
        started_at_us: 0,
        completed_at_us: 0,
        duration_ns: 0,
        time_to_first_byte_ns: -1,
        protocol: "",
        kind: records::Kind::Call,
        method: "",
        path: "",
        operation: "",
        resource: "",
        status: 0,
        outcome: records::Outcome::Unknown,
        code: "",
        error: false,
        failure: None,
        request_bytes: 0,
        response_bytes: 0,
        request_messages: None,
        response_messages: None,
        trace_id: "",
        parent_span_id: "",
        request_id: "",
        request_thread_id: 0,
        request_call: 0,
        response_thread_id: 0,
        response_call: 0,
        weight: 1,
        sums: None,
        node,
        cluster: "",
        namespace: "",
        workload_kind: "",
        workload: "",
        pod: "",
        container: "",
        pid: identity.owner.pid() as i32,
        local_address: identity.local_address(),
        local_port: i32::from(identity.local_port),
        remote_address: identity.remote_address(),
        remote_name: identity.remote_name(),
        remote_port: i32::from(identity.remote_port),
    }
}
