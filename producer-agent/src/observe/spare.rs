//! Connections with both ends on this node, and so much on them that the second end is not worth its price: the server's end would tell of the same
//! exchanges as the client's, and of its own durations, which a part of the time shows as well.
//!
//! In: what the probes added up of each end in a second. Out: which servers' ends are not followed until their turn comes again, one second in
//! [`TURNS`], spread by the connection's name; and what is wanted of them. Nothing is missing meanwhile, and nothing is booked: the client's end
//! tells of each exchange, or counts it as missing. Where that end rests, is told of one by one or is gone, the server's is followed again.
//! Bounded: only ends that had a cell.

use headwater_probe_loader::types::{SocketRecord, interest, role};
use headwater_protocols::CloseReason;
use rustc_hash::FxHashMap;

use super::ends::{end_folds, end_sums};
use super::{Interest, Observer, Output, SocketKey, known_of, published_id, request, unix};

/// So many exchanges within a second, of one connection.
const SPARED_PER_SECOND: u64 = 512;

/// One second in so many is followed.
const TURNS: u64 = 8;

/// So long, in seconds, may an end take from its turn's begin until it is added up again. From then on it is like any other.
const WAKING_SECONDS: u32 = 2;

const CLIENT: u16 = role::CLIENT as u16;
const SERVER: u16 = role::SERVER as u16;

/// Whether an end is followed, where its other end tells of the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Spared {
    /// As any other end.
    #[default]
    No,
    /// It is not followed.
    Yes,
    /// It is its turn, since this second (its lower half). What goes by until the parser knows where it is, its other end tells.
    Waking(u32),
}

/// The servers' ends that are spared, by their connections.
#[derive(Default)]
pub struct Spares {
    ends: Vec<u64>,
    /// Of a socket that was only counted, more is wanted again.
    looks_again: bool,
}

impl Spares {
    pub fn count(&self) -> usize {
        self.ends.len()
    }
}

impl Observer {
    /// A second has begun in which so much had been added up, by end, in those before.
    pub(super) fn spare(
        &mut self,
        second: u64,
        now_ns: u64,
        added: &FxHashMap<SocketKey, u64>,
        out: &mut impl FnMut(Output<'_>),
    ) {
        for id in std::mem::take(&mut self.spares.ends) {
            self.go_on_sparing(id, second);
        }
        let busy = added.iter().filter(|((_, role), count)| *role == SERVER && **count >= SPARED_PER_SECOND);
        for (&(id, _), _) in busy {
            if added.get(&(id, CLIENT)).is_some_and(|count| *count >= SPARED_PER_SECOND / 2) && self.client_tells(id) {
                self.begin_sparing(id, now_ns, out);
            }
        }
    }

    /// How many ends are not followed all the time.
    pub fn spared(&self) -> usize {
        self.spares.count()
    }

    /// Whether the probes are to look once more at sockets of which nothing but counters was wanted. Said once.
    pub fn looks_again(&mut self) -> bool {
        std::mem::take(&mut self.spares.looks_again)
    }

    /// A client's end is not followed any more: the server's has to tell.
    pub(super) fn client_is_silent(&mut self, (id, role): SocketKey) {
        if role == CLIENT {
            self.follow(id, Spared::No);
        }
    }

    fn client_tells(&self, id: u64) -> bool {
        let client = self.connections.get(&(id, CLIENT));
        client.is_some_and(|client| !client.rests && client.heat.has_cells())
    }

    /// An end goes on resting, or its turn has come, or it is like any other again.
    fn go_on_sparing(&mut self, id: u64, second: u64) {
        let Some(server) = self.connections.get(&(id, SERVER)) else { return };
        let is_spared = match server.spared {
            Spared::No => return,
            _ if !self.client_tells(id) => self.follow(id, Spared::No),
            Spared::Yes if (published_id(id).0 ^ second).is_multiple_of(TURNS) => {
                self.follow(id, Spared::Waking(second as u32))
            }
            Spared::Yes => true,
            Spared::Waking(since) if (second as u32).wrapping_sub(since) < WAKING_SECONDS => true,
            Spared::Waking(_) => self.follow(id, Spared::No),
        };
        if is_spared {
            self.spares.ends.push(id);
        }
    }

    /// Places in a stream of a Unix socket are those of one end alone: where both are here, the client's tells of all.
    pub(super) fn spare_unix(&mut self, socket: &SocketRecord, out: &mut impl FnMut(Output<'_>)) {
        let id = socket.connection_id;
        if unix::is_one(socket) && self.connections.get(&(id, CLIENT)).is_some_and(|client| !client.rests) {
            self.begin_sparing(id, socket.at_ns, out);
        }
    }

    pub(super) fn begin_sparing(&mut self, id: u64, now_ns: u64, out: &mut impl FnMut(Output<'_>)) {
        let Some(server) = self.connections.get_mut(&(id, SERVER)) else { return };
        if server.rests || server.spared == Spared::Yes {
            return;
        }
        let was_followed = std::mem::replace(&mut server.spared, Spared::Yes) == Spared::No;
        if was_followed && !server.identity.is_unix() {
            self.spares.ends.push(id);
        }
        self.shared.sums.rest(&mut server.heat);
        end_sums(server, &mut self.shared, out);
        // What is under way, the client's end tells of.
        request::feed(server, &mut self.shared, out, |parser, sink| {
            parser.close(now_ns, CloseReason::Unobserved, sink);
        });
        end_folds(server, &mut self.shared, out);
        self.begin_anew((id, SERVER));
        self.interests.push(Interest { connection_id: id, role: role::SERVER, interest: interest::COUNTERS });
    }

    /// The server's end is followed again, if it was not. Says whether its other end still tells of the same.
    fn follow(&mut self, id: u64, spared: Spared) -> bool {
        let Some(server) = self.connections.get_mut(&(id, SERVER)) else { return false };
        let before = std::mem::replace(&mut server.spared, spared);
        if before == Spared::Yes {
            server.was_spared = true;
            self.spares.looks_again = true;
            self.interests.push(Interest { connection_id: id, role: role::SERVER, interest: interest::HEADS });
        }
        spared != Spared::No
    }

    /// A connection's parser knows nothing any more of what went by.
    pub(super) fn begin_anew(&mut self, socket: SocketKey) {
        let Some(connection) = self.connections.get_mut(&socket) else { return };
        let known = known_of(&mut self.known, connection.cgroup());
        connection.begin_anew(&self.shared.options.protocols, &known, &mut self.shares);
    }
}

#[cfg(test)]
mod tests;
