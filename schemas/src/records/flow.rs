use serde::{Deserialize, Serialize};

use super::Side;

/// What a connection's [`Flow`] record says of its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FlowState {
    /// It goes on.
    Open,
    /// It ended in order.
    Closed,
    /// It was never established, or ended by a reset or a timeout.
    Failed,
}

/// What one connection of TCP or of a Unix socket did since its previous record. See `avro/flow.avsc` for the meaning of each field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Flow<'a> {
    /// 16 hex digits, equal on both sides of the connection, also through NAT. For a connection that was never established: of the
    /// client's addresses and time alone.
    pub connection_id: &'a str,
    /// Which end this is.
    pub side: Side,
    /// What the connection did in the time that this record covers.
    pub state: FlowState,
    /// Why it failed: `refused`, `timeout`, `reset`, `unreachable`, `errno-N`.
    #[serde(borrow)]
    pub failure: Option<&'a str>,
    /// Connections that this record stands for: more than 1 only where a program tried again and again to reach one address and port
    /// and never got a connection.
    #[serde(default = "one_attempt")]
    pub attempts: i64,
    /// When it was established, or first seen if that was before the agent started; in microseconds since the epoch.
    pub opened_at_us: i64,
    /// It was there before the agent started.
    pub opened_before_capture: bool,
    /// End of the time that this record covers, in microseconds since the epoch. The event time: windows and watermarks refer to
    /// it.
    pub observed_at_us: i64,
    /// 1 in the first record of a connection that was established under capture, else 0.
    pub opened: i64,
    /// `http` and the like; `tls` if what is spoken is encrypted; `tcp`, or `unix` on a Unix socket, if no protocol was recognised.
    pub protocol: &'a str,
    /// How it is encrypted: one of [`encryption::WORDS`](crate::encryption::WORDS).
    #[serde(default = "unknown")]
    pub encryption: &'a str,
    /// What the handshake said; None where nothing of TLS was seen.
    #[serde(borrow, default)]
    pub tls: Option<Tls<'a>>,
    /// Payload bytes that this side's program wrote.
    pub sent_bytes: i64,
    /// Payload bytes that this side's program read.
    pub received_bytes: i64,
    /// Segments that this side sent again.
    pub retransmits: i64,
    /// Exchanges completed.
    pub requests: i64,
    /// Of these, the ones with an error.
    pub errors: i64,
    /// Smoothed round-trip time as the kernel has it, in microseconds; -1 if it has none.
    pub rtt_us: i64,
    /// Smallest round-trip time that the kernel saw lately, in microseconds; -1 if it has none.
    pub rtt_min_us: i64,
    /// From SYN to established, in microseconds, on the client side, in the first record; else -1.
    pub connect_us: i64,
    /// Host on which this side runs.
    pub node: &'a str,
    /// The cluster of this side's workload; empty outside of one, or where it has no name.
    pub cluster: &'a str,
    /// Of Kubernetes; empty outside of it.
    pub namespace: &'a str,
    /// Of Kubernetes, such as `Deployment`; else `container`, `unit` or `program`; `unknown` if nobody has named it.
    pub workload_kind: &'a str,
    /// Name of this side's workload.
    pub workload: &'a str,
    /// Of Kubernetes; empty outside of it.
    pub pod: &'a str,
    /// The container within the pod, or by itself; empty outside of one.
    pub container: &'a str,
    /// Process that used the socket first; 0 if unknown.
    pub pid: i32,
    /// This side's IP address, as this side sees it; of a Unix socket, `unix:` and its path, or `unix:` alone on the client's side.
    pub local_address: &'a str,
    /// This side's TCP port; 0 of a Unix socket.
    pub local_port: i32,
    /// The other side's IP address, as this side sees it, so before or after NAT; of a Unix socket as above.
    pub remote_address: &'a str,
    /// The other side's TCP port, as this side sees it; 0 of a Unix socket.
    pub remote_port: i32,
    /// The name by which a client came to it; empty if that is not known.
    #[serde(default)]
    pub remote_name: &'a str,
}

record!(Flow<'_>, "Flow", "flow", straight);

/// What a connection's handshake said. None: not seen, or itself encrypted. See `avro/flow.avsc`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tls<'a> {
    /// As IANA names it.
    pub cipher_suite: Option<&'a str>,
    /// Likewise; empty if keys were exchanged without a group.
    pub key_exchange_group: Option<&'a str>,
    /// The key exchange stands against quantum computers.
    pub post_quantum: Option<bool>,
    /// The host that the client named; empty if none.
    pub server_name: Option<&'a str>,
    /// The protocol that the server chose; empty if none.
    pub alpn: Option<&'a str>,
    /// The protocols that the client offered, with commas between; empty if none.
    pub alpn_offered: Option<&'a str>,
    /// Of the server's certificate.
    pub certificate_issuer: Option<&'a str>,
    /// When that certificate ends, in microseconds since the epoch.
    pub certificate_expires_at_us: Option<i64>,
    /// The client proved who it is by a certificate, too.
    pub mutual: Option<bool>,
    /// It goes on with keys that both sides had.
    pub resumed: Option<bool>,
    /// The protocol in clear text by which both sides agreed on TLS; empty if there was none.
    pub upgraded_from: &'a str,
}

/// What the records of the time before that field said.
fn unknown() -> &'static str {
    "unknown"
}

/// What the records of the time before this field said.
fn one_attempt() -> i64 {
    1
}
