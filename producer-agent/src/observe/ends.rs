//! How connections end: with what the probes tell of it, after an attempt that failed, without a word, or with the capture.
//!
//! In: the end of a socket, the end of a walk over all, and the end of all. Out: the last record of each connection with what was still open on it, or that it is
//! missing.

use std::rc::Rc;

use headwater_probe_loader::types::{SocketRecord, flag};
use headwater_protocols::{CloseReason, Direction, Parser, Position, Sink};
use headwater_schemas::records::Side;

use super::connection::Connection;
use super::request::{self, Shared};
use super::spare::Spared;
use super::{Observer, Output, SocketKey, UNSEEN_WALKS_MAX, failed, flow, known_of, tls, unix};
use crate::naming::Owner;

impl Observer {
    /// Ends a walk: connections of which nothing was seen for long are given up.
    pub fn end_walk(&mut self, now_ns: u64, out: &mut impl FnMut(Output<'_>)) {
        let walk = self.walk;
        let (shared, shares, sockets) = (&mut self.shared, &mut self.shares, &mut self.sockets);
        self.connections.retain(|_, connection| {
            let keep = walk.saturating_sub(connection.seen_in_walk) <= UNSEEN_WALKS_MAX;
            if !keep {
                connection.book_end(shares);
                end_sums(connection, shared, out);
                request::feed(connection, shared, out, |parser, sink| {
                    parser.close(now_ns, CloseReason::Unobserved, sink);
                });
                tls::feed(connection, shared, out, |plaintext, _, sink| {
                    plaintext.close(now_ns, CloseReason::Unobserved, sink);
                });
                end_folds(connection, shared, out);
                sockets.change(connection.cgroup(), 1, 0);
                end_missed(connection, walk, out);
            }
            keep
        });
        self.tell_failed(now_ns, out);
    }

    /// Whether the last walk has not found all connections.
    pub fn misses_any(&self) -> bool {
        self.connections.values().any(|connection| connection.walked_in != self.walk)
    }

    /// Ends all parsers, since the capture ends: what is open is counted, and so is what the last walk has not found, of which no program holds
    /// the socket any more.
    pub fn finish(&mut self, now_ns: u64, out: &mut impl FnMut(Output<'_>)) {
        self.tell_failed(now_ns, out);
        self.expire_ahead(u64::MAX, out);
        self.finish_datagrams(out);
        for connection in self.connections.values_mut() {
            if connection.walked_in != self.walk {
                end_missed(connection, self.walk, out);
            }
            end_sums(connection, &mut self.shared, out);
            if connection.is_open_in_probes {
                out(Output::RequestsDropped("unfinished", 1, Some(&connection.identity.owner)));
            }
            request::feed(connection, &mut self.shared, out, |parser, sink| {
                parser.close(now_ns, CloseReason::Unobserved, sink);
            });
            tls::feed(connection, &mut self.shared, out, |plaintext, _, sink| {
                plaintext.close(now_ns, CloseReason::Unobserved, sink);
            });
            end_folds(connection, &mut self.shared, out);
        }
    }

    pub(super) fn close(&mut self, socket: &SocketRecord, out: &mut impl FnMut(Output<'_>)) {
        if !unix::is_one(socket) {
            return self.close_end(socket, out);
        }
        let ends = [Some(*socket), unix::other_end(socket).filter(|end| self.connections.contains_key(&key(end)))];
        for end in ends.into_iter().flatten() {
            // Its peer may have told of it.
            if self.over.get(&key(&end)).is_none() {
                self.over.insert(key(&end), ());
                self.close_end(&end, out);
            }
        }
    }

    fn close_end(&mut self, socket: &SocketRecord, out: &mut impl FnMut(Output<'_>)) {
        if socket.connection_id == 0 && socket.flags & flag::ESTABLISHED == 0 {
            return self.never_established(socket, out);
        }
        self.take_ahead((socket.connection_id, socket.role), out);
        self.connection(socket, out);
        let Some(mut connection) = self.connections.remove(&(socket.connection_id, socket.role)) else { return };
        self.sockets.change(connection.cgroup(), 1, 0);
        let (to_server, to_client) = match connection.identity.side {
            Side::Client => (socket.sent_bytes, socket.received_bytes),
            Side::Server => (socket.received_bytes, socket.sent_bytes),
        };
        end_sums(&mut connection, &mut self.shared, out);
        connection.book_end(&mut self.shares);
        connection.identity.owner.worked(0);
        let is_left_out = connection.is_left_out(socket);
        Observer::book_rest(&mut connection, socket, is_left_out, out);
        if connection.rests || connection.spared == Spared::Yes {
            let known = known_of(&mut self.known, connection.cgroup());
            connection.begin_anew(&self.shared.options.protocols, &known, &mut self.shares);
        }
        let resumes = socket.flags & flag::SUMMED != 0;
        let reason = flow::close_reason(socket);
        request::feed(&mut connection, &mut self.shared, out, |parser, sink| {
            reach(parser, [Position(to_server), Position(to_client)], resumes, sink);
            parser.close(socket.at_ns, reason, sink);
        });
        if connection.plaintext.as_ref().is_some_and(|plaintext| plaintext.is_carried()) {
            self.ended.insert(connection.identity.socket, ());
        }
        let reason = flow::close_reason_under_tls(socket);
        tls::feed(&mut connection, &mut self.shared, out, |plaintext, _, sink| {
            plaintext.close(socket.at_ns, reason, sink)
        });
        end_folds(&mut connection, &mut self.shared, out);
        flow::last(&mut connection, socket, 1, &self.shared.options.node, self.shared.clock, out);
    }

    fn never_established(&mut self, socket: &SocketRecord, out: &mut impl FnMut(Output<'_>)) {
        let owner = self.owners.of(socket);
        if self.failed.add(socket, &owner) {
            self.tell_attempts(socket, 1, &owner, out);
        }
    }

    /// Tells of attempts to connect that failed and were not told at once. They are told as of `at_ns`: what was before is complete.
    fn tell_failed(&mut self, at_ns: u64, out: &mut impl FnMut(Output<'_>)) {
        let mut failed = std::mem::take(&mut self.failed);
        failed.end_interval(|attempts| {
            let socket = SocketRecord { at_ns, ..attempts.socket };
            self.tell_attempts(&socket, attempts.count, &attempts.owner, out);
        });
        self.failed = failed;
    }

    fn tell_attempts(
        &mut self,
        socket: &SocketRecord,
        count: i64,
        owner: &Rc<Owner>,
        out: &mut impl FnMut(Output<'_>),
    ) {
        let id = failed::name(&self.shared.options.node, socket);
        let protocols = &self.shared.options.protocols;
        let remote_name = self.shared.resolved.of(socket, owner);
        let mut connection = Connection::new(socket, id, Rc::clone(owner), self.walk, protocols, remote_name);
        flow::last(&mut connection, socket, count, &self.shared.options.node, self.shared.clock, out);
    }
}

fn key(socket: &SocketRecord) -> SocketKey {
    (socket.connection_id, socket.role)
}

/// Counts a connection that is over, of whose end nothing came.
fn end_missed(connection: &Connection, walk: u32, out: &mut impl FnMut(Output<'_>)) {
    let Connection { identity, walked_in, seen_in_walk, .. } = connection;
    tracing::debug!(
        connection_id = identity.connection_id(),
        side = ?identity.side,
        local_port = identity.local_port,
        remote_port = identity.remote_port,
        walk,
        walked_in,
        seen_in_walk,
        "no walk finds a connection, and no end of it was told"
    );
    out(Output::FlowsDropped("close_missed", 1, Some(&identity.owner)));
}

/// Publishes what the probes have added up of a connection that has ended.
pub(super) fn end_sums(connection: &mut Connection, shared: &mut Shared, out: &mut impl FnMut(Output<'_>)) {
    let mut all = Vec::new();
    shared.sums.end(connection.identity.socket, &mut connection.heat, |summed| all.push(summed));
    for summed in all {
        request::sums(connection, &summed, shared, out);
    }
}

/// Publishes what the agent has added up itself of a connection that has ended, once all of it was looked at.
pub(super) fn end_folds(connection: &mut Connection, shared: &mut Shared, out: &mut impl FnMut(Output<'_>)) {
    let own = shared.sums.take_own(&mut connection.heat);
    request::folds(&own, &connection.identity, &shared.options.node, out);
}

/// How far both directions got, where a connection ends. What was moved past the hooks is known to be missing, but not what was added up.
pub(super) fn reach(parser: &mut Parser, [request, response]: [Position; 2], was_summed: bool, sink: &mut Sink<'_>) {
    if was_summed {
        return parser.resume(request, response, sink);
    }
    parser.unseen(Direction::Request, request, sink);
    parser.unseen(Direction::Response, response, sink);
}
