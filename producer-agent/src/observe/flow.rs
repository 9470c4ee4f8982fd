//! What a connection did since its last [`Flow`] record.

use headwater_probe_loader::types::{SocketRecord, flag, role};
use headwater_protocols::{CloseReason, Encryption, Side, Version};
use headwater_schemas::records::{Flow, FlowState, Tls};

use super::Output;
use super::connection::Connection;
use crate::clock::Clock;

/// Publishes the progress of an open connection, also where nothing happened: the join knows by it that this side is captured. A
/// connection that has not moved a byte yet has nothing to say: its protocol is not known.
pub fn progress(
    connection: &mut Connection,
    socket: &SocketRecord,
    node: &str,
    clock: Clock,
    out: &mut impl FnMut(Output<'_>),
) {
    if socket.sent_bytes + socket.received_bytes > 0 {
        let told = Told { state: FlowState::Open, failure: None, attempts: 1 };
        publish(connection, socket, told, node, clock, out);
    }
}

/// Publishes the last record of a connection, or of so many that failed alike.
pub fn last(
    connection: &mut Connection,
    socket: &SocketRecord,
    attempts: i64,
    node: &str,
    clock: Clock,
    out: &mut impl FnMut(Output<'_>),
) {
    let other;
    let failure = match socket.error as i32 {
        0 if socket.flags & flag::ESTABLISHED == 0 => Some("closed"),
        0 => None,
        libc::ECONNREFUSED => Some("refused"),
        libc::ETIMEDOUT => Some("timeout"),
        libc::ECONNRESET | libc::EPIPE => Some("reset"),
        libc::EHOSTUNREACH | libc::ENETUNREACH => Some("unreachable"),
        errno => {
            other = format!("errno-{errno}");
            Some(other.as_str())
        }
    };
    let state = if failure.is_some() { FlowState::Failed } else { FlowState::Closed };
    publish(connection, socket, Told { state, failure, attempts }, node, clock, out);
}

/// How the connection ended, for what was still open on it.
pub fn close_reason(socket: &SocketRecord) -> CloseReason {
    let own = if u32::from(socket.role) == role::CLIENT { Side::Client } else { Side::Server };
    let is_aborted = socket.flags & flag::ABORTED != 0;
    // What the socket was before tells who ended it first.
    let by = match socket.tcp_state {
        tcp_state::FIN_WAIT1 | tcp_state::FIN_WAIT2 | tcp_state::TIME_WAIT | tcp_state::CLOSING => own,
        // A client that closes its socket with bytes unread leaves, whatever the server has said meanwhile.
        tcp_state::CLOSE_WAIT if is_aborted => Side::Client,
        tcp_state::CLOSE_WAIT | tcp_state::LAST_ACK => own.opposite(),
        _ if is_aborted || socket.error == 0 => own,
        _ => own.opposite(),
    };
    match socket.error as i32 {
        libc::ETIMEDOUT => CloseReason::TimedOut,
        0 if !is_aborted => CloseReason::Finished { by },
        _ => CloseReason::Reset { by },
    }
}

/// The same for what was said under TLS: a program knows the end of that by an alert (RFC 8446, 6.1), and need not read that of the stream behind it. A server that has
/// ended its stream in order refuses the alert by which the client answers.
pub fn close_reason_under_tls(socket: &SocketRecord) -> CloseReason {
    let peer_ended = matches!(socket.tcp_state, tcp_state::CLOSE_WAIT | tcp_state::LAST_ACK);
    match close_reason(socket) {
        CloseReason::Reset { by: by @ Side::Server } if peer_ended && u32::from(socket.role) == role::CLIENT => {
            CloseReason::Finished { by }
        }
        reason => reason,
    }
}

/// What a record says of its connection's life.
struct Told<'a> {
    state: FlowState,
    failure: Option<&'a str>,
    attempts: i64,
}

/// include/net/tcp_states.h
pub(super) mod tcp_state {
    pub const FIN_WAIT1: u32 = 4;
    pub const FIN_WAIT2: u32 = 5;
    pub const TIME_WAIT: u32 = 6;
    pub const CLOSE_WAIT: u32 = 8;
    pub const LAST_ACK: u32 = 9;
    pub const CLOSING: u32 = 11;
}

fn publish(
    connection: &mut Connection,
    socket: &SocketRecord,
    Told { state, failure, attempts }: Told<'_>,
    node: &str,
    clock: Clock,
    out: &mut impl FnMut(Output<'_>),
) {
    let opened_before_capture = socket.flags & flag::OPENED_BEFORE != 0;
    let established = socket.flags & flag::ESTABLISHED != 0;
    let Connection { identity, parser, protocol, encryption, reported, requests, errors, .. } = connection;
    if *requests > 0 {
        // The first one may have been found at the end only.
        protocol.get_or_insert(parser.protocol());
    }
    let first = !std::mem::replace(&mut reported.opened, true);
    let flow = Flow {
        connection_id: identity.connection_id(),
        side: identity.side,
        state,
        failure,
        attempts,
        opened_at_us: clock.epoch_us(socket.opened_at_ns),
        opened_before_capture,
        observed_at_us: clock.epoch_us(socket.at_ns),
        opened: i64::from(first && established && !opened_before_capture),
        protocol: protocol.unwrap_or(identity.transport()),
        encryption: match (encryption.as_deref(), protocol) {
            (Some(told), _) => told.version.map_or("tls", Version::as_str),
            (None, Some(_)) => "none",
            (None, None) => "unknown",
        },
        tls: encryption.as_deref().map(tls),
        sent_bytes: socket.sent_bytes.saturating_sub(reported.sent_bytes) as i64,
        received_bytes: socket.received_bytes.saturating_sub(reported.received_bytes) as i64,
        retransmits: i64::from(socket.retransmits.saturating_sub(reported.retransmits)),
        requests: std::mem::take(requests).into(),
        errors: std::mem::take(errors).into(),
        rtt_us: if socket.rtt_us == 0 { -1 } else { i64::from(socket.rtt_us) },
        rtt_min_us: if matches!(socket.rtt_min_us, 0 | u32::MAX) { -1 } else { i64::from(socket.rtt_min_us) },
        connect_us: if first && socket.connect_us != 0 { i64::from(socket.connect_us) } else { -1 },
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
    };
    out(Output::Flow(flow, &identity.owner));
    reported.sent_bytes = socket.sent_bytes;
    reported.received_bytes = socket.received_bytes;
    reported.retransmits = socket.retransmits;
}

fn tls(told: &Encryption) -> Tls<'_> {
    Tls {
        cipher_suite: told.cipher_suite.as_deref(),
        key_exchange_group: told.key_exchange_group.as_deref(),
        post_quantum: told.is_post_quantum,
        server_name: told.server_name.as_deref(),
        alpn: told.alpn.as_deref(),
        alpn_offered: told.alpn_offered.as_deref(),
        certificate_issuer: told.issuer.as_deref(),
        certificate_expires_at_us: told.expires_at_s.map(|at_s| at_s.saturating_mul(1_000_000)),
        mutual: told.is_mutual,
        resumed: told.is_resumed,
        upgraded_from: told.upgraded_from,
    }
}
