//! Adds what one window holds to the edges that it belongs to.
//!
//! A name comes from the record itself, then from the connection's other records; an unseen server is the host or address that its
//! client asked for, anything else `unknown`. A connection counts from its client's side if that side is captured, never from both: the
//! server's counts where no client was seen lately, or none whose node is still expected to tell.

use headwater_schemas::encryption::Encryption;
use headwater_schemas::ids::ConnectionId;
use headwater_schemas::records::{FlowState, Side};
use rustc_hash::{FxHashMap, FxHashSet};

use super::MEMORY_WINDOWS;
use super::credits::{CREDIT_WINDOWS, Credits};
use super::edges::{Edges, Key};
use super::exchanges::Exchange;
use super::items::FlowItem;
use super::names::Names;
use super::summed::Summed;
use super::symbols::{Symbol, Symbols};
use crate::processor::Counters;
use crate::windows::{Window, Windows};

/// Where names come from, and where sums go.
pub struct Fold<'a> {
    pub window: Window,
    pub windows: Windows,
    pub names: &'a Names,
    pub credits: &'a mut Credits,
    /// Nodes whose data is expected in this window.
    pub nodes: FxHashSet<Symbol>,
    /// Mentions before this time are too old.
    pub since_us: i64,
    pub symbols: &'a mut Symbols,
    pub edges: Edges,
}

impl Fold<'_> {
    pub fn exchanges(&mut self, exchanges: &[Exchange]) {
        for exchange in exchanges {
            if let Some(key) = self.key(exchange) {
                self.edges.add_exchange(key, exchange, self.symbols);
            }
        }
    }

    /// What records tell that stand for several exchanges.
    pub fn summed(&mut self, summed: &[Summed]) {
        for summed in summed {
            if let Some(key) = self.key(&summed.ends) {
                self.edges.add_summed(key, summed, self.symbols);
            }
        }
    }

    fn key(&mut self, exchange: &Exchange) -> Option<Key> {
        let item = exchange.item()?;
        let client = self.name(item.connection, Side::Client, exchange.client.map(|client| client.workload));
        let server = self.name(item.connection, Side::Server, exchange.server.map(|server| server.workload));
        let asked = exchange.client.map(|client| (client.remote, client.remote_port));
        let server = self.or_asked(server, item.connection, asked);
        // The client's view holds, but an operation that only the server understood is better than none.
        let operation = match exchange.server {
            Some(server) if !item.operation.is_known() => server.operation,
            _ => item.operation,
        };
        Some(Key { client, server, protocol: item.protocol, operation, status_class: item.status_class })
    }

    pub fn flows(&mut self, flows: &[FlowItem], counters: &mut Counters) {
        let mut seen: FxHashSet<(ConnectionId, Side, i64)> = FxHashSet::default();
        let mut without_bytes = Vec::new();
        // A connection ends once, though each side tells of it.
        let ends = |flow: &&FlowItem| flow.side == Side::Client && flow.state != FlowState::Open;
        let ended: FxHashSet<ConnectionId> = flows.iter().filter(ends).map(|flow| flow.connection).collect();
        // Either side may have seen the handshake alone.
        let mut encryptions: FxHashMap<ConnectionId, Encryption> = FxHashMap::default();
        for flow in flows {
            let known = encryptions.entry(flow.connection).or_insert(flow.encryption);
            *known = known.or(flow.encryption);
        }
        for flow in flows {
            if !seen.insert((flow.connection, flow.side, flow.told_at_us)) {
                counters.add("duplicates", 1);
                continue;
            }
            let flow = match flow.side {
                Side::Server if self.client_tells(flow.connection) => {
                    self.retransmits_of_server(flow);
                    continue;
                }
                Side::Server if ended.contains(&flow.connection) => FlowItem { state: FlowState::Open, ..*flow },
                Side::Server => *flow,
                Side::Client => self.credits.claim(self.window, flow, self.windows),
            };
            if makes_an_edge(&flow) {
                let key = self.flow_key(&flow);
                self.add(key, &flow);
                // Each connection counts once, if it says anything.
                if flow.sent_bytes + flow.received_bytes > 0
                    && let Some(encryption) = encryptions.remove(&flow.connection)
                {
                    self.edges.add_encryption(key, encryption);
                }
            } else if flow.state == FlowState::Closed {
                without_bytes.push(flow);
            }
        }
        if without_bytes.is_empty() {
            return;
        }
        let edges = self.edges.edges();
        for flow in without_bytes {
            let key = self.flow_key(&flow);
            if edges.contains(&key.edge()) {
                self.add(key, &flow);
            }
        }
    }

    /// Whether a connection counts from its client's side. An agent tells of each open connection at every walk, so one that did
    /// not for as many windows as nodes are waited for does not see it. The two sides' clocks may be apart by nearly as much.
    fn client_tells(&self, connection: ConnectionId) -> bool {
        let since_us = self.windows.moved(self.window, CREDIT_WINDOWS - MEMORY_WINDOWS).start_us();
        self.names.seen_by(connection, Side::Client, since_us).is_some_and(|node| self.nodes.contains(&node))
    }

    fn add(&mut self, key: Key, flow: &FlowItem) {
        let (to_server, to_client) = match flow.side {
            Side::Client => (flow.sent_bytes, flow.received_bytes),
            Side::Server => {
                self.credits.give(self.window, flow);
                (flow.received_bytes, flow.sent_bytes)
            }
        };
        self.edges.add_flow(key, flow, to_server, to_client, self.symbols);
    }

    /// The client's side counts the connection; only what the server sent again is known to the server alone.
    fn retransmits_of_server(&mut self, flow: &FlowItem) {
        if flow.retransmits > 0 {
            let key = self.flow_key(flow);
            self.edges.add_retransmits(key, flow.retransmits);
        }
    }

    fn flow_key(&mut self, flow: &FlowItem) -> Key {
        let own = |side| (flow.side == side).then_some(flow.workload);
        let client = self.name(flow.connection, Side::Client, own(Side::Client));
        let server = self.name(flow.connection, Side::Server, own(Side::Server));
        let asked = (flow.side == Side::Client).then_some((flow.remote, flow.remote_port));
        let server = self.or_asked(server, flow.connection, asked);
        let protocol = self.names.protocol(flow.connection, self.since_us).unwrap_or(flow.protocol);
        Key { client, server, protocol, operation: Symbol::EMPTY, status_class: Symbol::EMPTY }
    }

    fn name(&self, connection: ConnectionId, side: Side, own: Option<Symbol>) -> Symbol {
        own.filter(|name| name.is_known())
            .or_else(|| self.names.name(connection, side, self.since_us))
            .unwrap_or(Symbol::UNKNOWN)
    }

    fn or_asked(&mut self, name: Symbol, connection: ConnectionId, by_client: Option<(Symbol, u16)>) -> Symbol {
        match by_client {
            Some((remote, port)) if !name.is_known() => {
                let remote = self.names.remote(connection).unwrap_or(remote);
                self.edges.unseen_server(remote, port, self.symbols)
            }
            _ => name,
        }
    }
}

/// A connection that only closes, or does nothing at all, makes no edge of its own.
fn makes_an_edge(flow: &FlowItem) -> bool {
    let moved = flow.sent_bytes > 0 || flow.received_bytes > 0 || flow.retransmits > 0;
    moved || flow.state == FlowState::Failed || (flow.opened > 0 && flow.state == FlowState::Open)
}
