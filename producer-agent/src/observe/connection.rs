//! What is kept of one socket.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;

use headwater_probe_loader::types::{SocketRecord, flag, interest, role};
use headwater_protocols::http1::Http1;
use headwater_protocols::http2::Http2;
use headwater_protocols::tls::Plaintext;
use headwater_protocols::websocket::WebSocket;
use headwater_protocols::{
    Encryption, Interest, Known, Options, Parser, Protocol as _, Recognition, Side as ProtocolSide,
};
use headwater_schemas::ids::ConnectionId;
use headwater_schemas::records::Side;
use headwater_workload::names::CgroupKey;

use super::SocketKey;
use super::callers::Callers;
use super::resolved::is_host;
use super::spare::Spared;
use super::sums::Heat;
use super::unix;
use crate::memory::Shares;
use crate::naming::{Owner, Owners};

/// Hex digits of a connection's id.
const ID_DIGITS: usize = 16;

/// What a connection speaks, as far as it is known, and what has to be copied of it therefore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spoken {
    pub recognition: Recognition,
    pub protocol: &'static str,
    pub interest: Interest,
}

impl Spoken {
    pub const NOTHING: Spoken = Spoken { recognition: Recognition::Undecided, protocol: "", interest: Interest::Heads };

    pub fn by(parser: &Parser) -> Spoken {
        let recognition = parser.recognition();
        let interest = if recognition == Recognition::Recognised { parser.interest() } else { Interest::Heads };
        Spoken { recognition, protocol: parser.protocol(), interest }
    }
}

/// One socket under capture.
pub struct Connection {
    pub identity: Identity,
    pub parser: Parser,
    /// The protocol once it is known, also after another one took over.
    pub protocol: Option<&'static str>,
    /// What its handshake said, once that is known.
    pub encryption: Option<Box<Encryption>>,
    /// What is said under TLS, where that is seen.
    pub plaintext: Option<Box<Plaintext>>,
    pub callers: Callers,
    pub reported: Reported,
    /// Exchanges since the last flow record, and those of them that failed.
    pub requests: u32,
    pub errors: u32,
    /// Whether its exchanges are, or will be, added up.
    pub heat: Heat,
    /// It was idle once.
    pub has_slept: bool,
    /// An exchange was under way at the last walk that is to be added up.
    pub is_open_in_probes: bool,
    /// Its workload rests: it is not followed.
    pub rests: bool,
    /// It rested since its last flow record, or the probes did not follow it then.
    pub has_rested: bool,
    /// Its other end is on this node, too, and tells of the same.
    pub spared: Spared,
    /// It was not followed for that reason at some time since its last flow record.
    pub was_spared: bool,
    /// What the parser had allocated when that was last booked.
    pub kept_bytes: usize,
    /// The number of the last walk over all sockets during or after which something was seen of it.
    pub seen_in_walk: u32,
    /// The number of the last walk that came by; 0 if none did.
    pub walked_in: u32,
}

/// Whose operations are counted together, as far as it is known when a socket is first used: programs of one name in one cgroup, which is a
/// container or a unit. Each process may be one of many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Service {
    pub cgroup: CgroupKey,
    /// Name of its first thread.
    pub program: [u8; 16],
    pub protocol: &'static str,
}

impl Service {
    pub fn of(socket: &SocketRecord) -> Service {
        let cgroup = CgroupKey { hierarchy: socket.cgroup_hierarchy, id: socket.cgroup_id };
        Service { cgroup, program: socket.program, protocol: "" }
    }
}

/// What stays the same, as the records spell it.
pub struct Identity {
    pub socket: SocketKey,
    /// Connection id, local address, remote address, remote name. A node has a hundred thousand of these, so they share one allocation.
    words: Box<str>,
    local_address_end: u8,
    remote_address_end: u8,
    pub side: Side,
    pub local_port: u16,
    pub remote_port: u16,
    pub owner: Rc<Owner>,
}

impl Identity {
    /// `remote_name` is the name by which its program came to the remote address, if that is known.
    pub fn new(socket: &SocketRecord, id: ConnectionId, owner: Rc<Owner>, remote_name: Option<&str>) -> Identity {
        let [local, remote] = addresses(socket);
        let has_ports = !unix::is_one(socket);
        Identity {
            socket: (socket.connection_id, socket.role),
            words: format!("{id}{local}{remote}{}", remote_name.unwrap_or_default()).into(),
            // No address of IP has more than 39 characters, and no path more than 40.
            local_address_end: (ID_DIGITS + local.len()) as u8,
            remote_address_end: (ID_DIGITS + local.len() + remote.len()) as u8,
            side: if u32::from(socket.role) == role::CLIENT { Side::Client } else { Side::Server },
            local_port: if has_ports { socket.local_port } else { 0 },
            remote_port: if has_ports { socket.remote_port } else { 0 },
            owner,
        }
    }

    /// What it is called where nothing is known of what is spoken.
    pub fn transport(&self) -> &'static str {
        if self.is_unix() { "unix" } else { "tcp" }
    }

    pub fn is_unix(&self) -> bool {
        self.local_address().starts_with(unix::PREFIX)
    }

    pub fn connection_id(&self) -> &str {
        &self.words[..ID_DIGITS]
    }

    pub fn local_address(&self) -> &str {
        &self.words[ID_DIGITS..self.local_address_end.into()]
    }

    pub fn remote_address(&self) -> &str {
        &self.words[self.local_address_end.into()..self.remote_address_end.into()]
    }

    /// Empty if it is not known.
    pub fn remote_name(&self) -> &str {
        &self.words[self.remote_address_end.into()..]
    }

    /// What the client's handshake named is what it came for, unless it is known better.
    pub fn name_remote(&mut self, server_name: &str) {
        if self.side == Side::Client && self.remote_name().is_empty() && is_host(server_name) {
            self.words = [&*self.words, &server_name.to_ascii_lowercase()].concat().into();
        }
    }

    /// Whose operations its own are.
    pub fn service(&self, protocol: &'static str) -> Service {
        Service { cgroup: self.owner.cgroup(), program: self.owner.first_thread(), protocol }
    }
}

/// What flow records have said so far.
#[derive(Default)]
pub struct Reported {
    pub opened: bool,
    pub sent_bytes: u64,
    pub received_bytes: u64,
    pub retransmits: u32,
}

impl Connection {
    /// `walk` is the number of the newest walk.
    pub fn new(
        socket: &SocketRecord,
        id: ConnectionId,
        owner: Rc<Owner>,
        walk: u32,
        protocols: &Options,
        remote_name: Option<&str>,
    ) -> Connection {
        let identity = Identity::new(socket, id, owner, remote_name);
        let side = match identity.side {
            Side::Client => ProtocolSide::Client,
            Side::Server => ProtocolSide::Server,
        };
        Connection {
            identity,
            parser: Parser::new(side, protocols),
            protocol: None,
            encryption: None,
            plaintext: None,
            callers: Callers::default(),
            reported: Reported {
                opened: false,
                sent_bytes: socket.sent_before_bytes,
                received_bytes: socket.received_before_bytes,
                retransmits: if socket.flags & flag::OPENED_BEFORE != 0 { socket.retransmits } else { 0 },
            },
            requests: 0,
            errors: 0,
            heat: Heat::default(),
            has_slept: false,
            is_open_in_probes: false,
            rests: false,
            has_rested: false,
            spared: Spared::No,
            was_spared: false,
            kept_bytes: 0,
            seen_in_walk: walk,
            walked_in: 0,
        }
    }

    /// Whose share of what has a bound it takes.
    pub fn cgroup(&self) -> CgroupKey {
        self.identity.owner.cgroup()
    }

    /// What is wanted of the connection from now on, where that has just changed.
    pub fn decide(&mut self, before: Spoken, watches_tls: bool) -> Option<u32> {
        let spoken = Spoken::by(&self.parser);
        if spoken == before {
            return None;
        }
        let Spoken { recognition, protocol, .. } = spoken;
        match recognition {
            // That outside is TLS may be found out later than what goes on inside.
            Recognition::Recognised | Recognition::Foreign if self.is_seen_under_tls() => Some(self.wanted_under_tls()),
            // What goes through a tunnel is to be seen.
            Recognition::Undecided => Some(interest::HEADS),
            Recognition::Recognised => {
                // A tunnel stays what it was made with; HTTP/2 and WebSocket may begin in HTTP/1.1.
                match self.protocol {
                    Some(known) if known != Http1::NAME || ![Http2::NAME, WebSocket::NAME].contains(&protocol) => {}
                    _ => self.protocol = Some(protocol),
                }
                Some(match self.parser.interest() {
                    Interest::Counters if watches_tls && self.is_encrypted() => interest::RECORDS,
                    Interest::Counters => interest::COUNTERS,
                    Interest::Frames => interest::FRAMES,
                    Interest::Calls => interest::CALLS,
                    Interest::Heads if self.heat.has_cells() => interest::SUMS,
                    Interest::Heads => interest::HEADS,
                })
            }
            Recognition::Foreign => Some(interest::COUNTERS),
        }
    }

    /// Whether the probes only count it, or did up to its newest call, and nobody else tells of it. To be asked once for each flow record.
    pub fn is_left_out(&mut self, socket: &SocketRecord) -> bool {
        let was_spared = std::mem::take(&mut self.was_spared) || self.spared == Spared::Yes;
        socket.flags & flag::COUNTED != 0 && !was_spared
    }

    /// What is wanted of it, if the probes count it only: another connection's word may have taken the place of its own before they saw it.
    pub fn tell_again(&mut self, is_left_out: bool) -> Option<super::Interest> {
        if !is_left_out || self.rests || self.is_only_counted() {
            return None;
        }
        self.has_rested = true;
        let (connection_id, role) = self.identity.socket;
        Some(super::Interest { connection_id, role: u32::from(role), interest: self.wanted_again() })
    }

    /// What is wanted of it where nothing but counters was.
    pub fn wanted_again(&self) -> u32 {
        if self.is_seen_under_tls() { self.wanted_under_tls() } else { interest::HEADS }
    }

    /// Whether it speaks what nothing is read of in any case.
    pub fn is_only_counted(&self) -> bool {
        match self.parser.recognition() {
            _ if self.is_seen_under_tls() => false,
            Recognition::Foreign => true,
            Recognition::Recognised => self.parser.interest() == Interest::Counters,
            Recognition::Undecided => false,
        }
    }

    /// Follows it anew, from where it is.
    pub fn begin_anew(&mut self, protocols: &Options, known: &Known, shares: &mut Shares) {
        let side = match self.identity.side {
            Side::Client => ProtocolSide::Client,
            Side::Server => ProtocolSide::Server,
        };
        if let Some(plaintext) = self.plaintext.as_mut().filter(|plaintext| plaintext.was_called()) {
            // What is around it stays as it is.
            plaintext.begin_anew();
            return self.book_memory(shares);
        }
        self.parser = Parser::new(side, protocols);
        self.parser.share(known);
        self.book_memory(shares);
    }

    /// Gives up what is not needed of a connection on which nothing was said since `before_ns`, if that is one that is idle.
    pub fn sleep(&mut self, before_ns: u64) {
        if self.parser.sleep(before_ns) {
            self.heat.sleep();
            self.callers.forget();
            self.has_slept = true;
        }
    }

    /// The owner may become known after the socket: an accepted connection belongs to whoever uses it first.
    pub fn update(&mut self, socket: &SocketRecord, owners: &mut Owners, shares: &mut Shares) {
        if self.identity.owner.pid() == 0 && socket.pid != 0 {
            let before = std::mem::replace(&mut self.identity.owner, owners.of(socket));
            shares.change(before.cgroup(), self.kept_bytes, 0);
            shares.change(self.cgroup(), 0, self.kept_bytes);
        }
    }

    /// Books what is allocated by now for what is open.
    pub fn book_memory(&mut self, shares: &mut Shares) {
        if self.plaintext.is_none() && self.parser.is_idle() {
            self.callers.forget();
        }
        let plaintext_bytes = self.plaintext.as_ref().map_or(0, |plaintext| plaintext.heap_bytes());
        self.book(self.parser.heap_bytes() + plaintext_bytes + self.callers.heap_bytes(), shares);
    }

    /// Books that it goes.
    pub fn book_end(&mut self, shares: &mut Shares) {
        self.book(0, shares);
    }

    fn book(&mut self, bytes: usize, shares: &mut Shares) {
        let before = std::mem::replace(&mut self.kept_bytes, bytes);
        shares.change(self.cgroup(), before, bytes);
    }
}

/// Spreads the two sequence numbers over all bits, one to one, so that no part of the published
/// id looks like one.
pub fn published_id(id: u64) -> ConnectionId {
    ConnectionId(spread(id))
}

/// The finalizer of SplitMix64.
pub fn spread(id: u64) -> u64 {
    let id = (id ^ (id >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let id = (id ^ (id >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    id ^ (id >> 31)
}

/// Local and remote address. Of a Unix socket the server's end has the path, and its client's none.
fn addresses(socket: &SocketRecord) -> [String; 2] {
    if unix::is_one(socket) {
        let [server, client] = [format!("{}{}", unix::PREFIX, unix::path(socket)), unix::PREFIX.to_owned()];
        return if u32::from(socket.role) == role::CLIENT { [client, server] } else { [server, client] };
    }
    [socket.local_address, socket.remote_address].map(|bytes| address(socket.family, bytes).to_string())
}

/// An IPv4 address in an IPv6 socket is an IPv4 address.
pub fn address(family: u16, bytes: [u8; 16]) -> IpAddr {
    if i32::from(family) == libc::AF_INET6 {
        Ipv6Addr::from(bytes).to_canonical()
    } else {
        IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_address_in_an_ipv6_socket_is_written_as_ipv4() {
        let mut mapped = [0; 16];
        mapped[10..].copy_from_slice(&[0xff, 0xff, 10, 0, 0, 7]);
        assert_eq!(address(libc::AF_INET6 as u16, mapped).to_string(), "10.0.0.7");
        assert_eq!(
            address(libc::AF_INET as u16, [127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).to_string(),
            "127.0.0.1"
        );
    }
}
