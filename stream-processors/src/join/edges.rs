//! The sums of one window, by edge and operation, as they leave the join.
//!
//! In: exchanges and what connections did, with the names of both ends. Out: partial records, ordered by their names. All sums are
//! integers that stop at their maximum, so any order of adding gives the same bits. Bounded: past a number of different keys, a
//! new one becomes unknown and is counted; past a number of different unseen servers, they do too.

use headwater_schemas::asked::with_port;
use headwater_schemas::encryption::Encryption;
use headwater_schemas::records::{ADDRESS, HOST, Partial, Side};
use rustc_hash::{FxHashMap, FxHashSet};

use super::exchanges::Exchange;
use super::items::{FlowItem, came_to};
use super::summed::Summed;
use super::symbols::{Symbol, Symbols};
use crate::processor::Counters;
use crate::sums::{Sum, add};

const KEYS_MAX: usize = 20_000;
const UNSEEN_SERVERS_MAX: usize = 256;

/// What is added up separately.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    pub client: Symbol,
    pub server: Symbol,
    pub protocol: Symbol,
    /// Empty for what connections did.
    pub operation: Symbol,
    pub status_class: Symbol,
}

impl Key {
    pub fn edge(&self) -> (Symbol, Symbol, Symbol) {
        (self.client, self.server, self.protocol)
    }
}

/// The sums of one window.
#[derive(Default)]
pub struct Edges {
    sums: FxHashMap<Key, Sum>,
    unseen_servers: FxHashMap<(Symbol, u16), Symbol>,
    /// What was noted already; past the bound it is noted again and again.
    asked: FxHashSet<((Symbol, Symbol, Symbol), Symbol, u16)>,
    pub counters: Counters,
}

impl Edges {
    /// The name of a server that no record named: that by which its client came to it, or its address as its client sees it.
    pub fn unseen_server(&mut self, remote: Symbol, port: u16, symbols: &mut Symbols) -> Symbol {
        if let Some(&name) = self.unseen_servers.get(&(remote, port)) {
            return name;
        }
        if !remote.is_known() || self.unseen_servers.len() == UNSEEN_SERVERS_MAX {
            self.counters.add("unseen_servers_cut_off", u64::from(remote.is_known()));
            return Symbol::UNKNOWN;
        }
        let (kind, asked) = match came_to(symbols.text(remote)) {
            (_, Some(host)) => (HOST, with_port(host, port)),
            (address, None) => (ADDRESS, with_port(address, port)),
        };
        let name = symbols.intern_workload(["", "", kind, &asked]);
        self.unseen_servers.insert((remote, port), name);
        name
    }

    pub fn add_exchange(&mut self, key: Key, exchange: &Exchange, symbols: &Symbols) {
        let Some(counts) = exchange.item() else {
            return;
        };
        self.asked_by(key, exchange, symbols);
        let is_of_both = exchange.client.is_some() && (exchange.server.is_some() || exchange.is_in_servers_sum);
        let sum = self.sum(key);
        add(&mut sum.requests, 1);
        add(&mut sum.errors, i64::from(counts.error));
        add(&mut sum.both_sides, i64::from(is_of_both));
        add(&mut sum.request_bytes, counts.request_bytes);
        add(&mut sum.response_bytes, counts.response_bytes);
        if counts.has_latency {
            sum.duration_ns.record(counts.duration_ns);
        }
        if let Some(server) = exchange.server.filter(|server| server.has_latency) {
            sum.server_duration_ns.record(server.duration_ns);
        }
    }

    /// Adds what records tell that stand for several exchanges.
    pub fn add_summed(&mut self, key: Key, summed: &Summed, symbols: &Symbols) {
        self.asked_by(key, &summed.ends, symbols);
        self.sum(key).add(&summed.sum);
    }

    fn asked_by(&mut self, key: Key, exchange: &Exchange, symbols: &Symbols) {
        if let Some(client) = exchange.client {
            self.asked(key, client.remote, client.remote_port, symbols);
        }
    }

    /// Adds all that a connection's record says; `sent` and `received` as its client means them.
    pub fn add_flow(
        &mut self,
        key: Key,
        flow: &FlowItem,
        client_to_server_bytes: i64,
        server_to_client_bytes: i64,
        symbols: &Symbols,
    ) {
        use headwater_schemas::records::FlowState::{Closed, Failed};
        if flow.side == Side::Client {
            self.asked(key, flow.remote, flow.remote_port, symbols);
        }
        let sum = self.sum(key);
        add(&mut sum.client_to_server_bytes, client_to_server_bytes);
        add(&mut sum.server_to_client_bytes, server_to_client_bytes);
        add(&mut sum.connections_opened, flow.opened);
        add(&mut sum.connections_closed, i64::from(flow.state == Closed));
        add(&mut sum.connections_failed, if flow.state == Failed { flow.attempts } else { 0 });
        add(&mut sum.retransmits, flow.retransmits);
        if flow.rtt_us >= 0 {
            add(&mut sum.rtt_us_sum, flow.rtt_us);
            add(&mut sum.rtt_count, 1);
        }
    }

    /// Notes what a client asked for, once for each edge, since it is the same most of the time.
    fn asked(&mut self, key: Key, remote: Symbol, port: u16, symbols: &Symbols) {
        if self.asked.contains(&(key.edge(), remote, port)) || !remote.is_known() {
            return;
        }
        if self.asked.len() < KEYS_MAX {
            self.asked.insert((key.edge(), remote, port));
        }
        let (address, _) = came_to(symbols.text(remote));
        self.sum(key).asked.add(address, port);
    }

    /// Counts a connection.
    pub fn add_encryption(&mut self, key: Key, encryption: Encryption) {
        self.sum(key).encryption.add(encryption);
    }

    pub fn add_retransmits(&mut self, key: Key, retransmits: i64) {
        add(&mut self.sum(key).retransmits, retransmits);
    }

    /// The edges of which there is anything yet.
    pub fn edges(&self) -> FxHashSet<(Symbol, Symbol, Symbol)> {
        self.sums.keys().map(Key::edge).collect()
    }

    /// The partial records, ordered by name.
    pub fn into_partials(
        self,
        window_start_us: i64,
        window_ms: i64,
        raw_partition: i32,
        symbols: &Symbols,
    ) -> Vec<Partial> {
        let text = |symbol| symbols.text(symbol).to_owned();
        let mut sums: Vec<(Key, Sum)> = self.sums.into_iter().collect();
        in_order_of_names(&mut sums, symbols);
        sums.into_iter()
            .map(|(key, sum)| Partial {
                window_start_us,
                window_ms,
                raw_partition,
                client: symbols.workload(key.client),
                server: symbols.workload(key.server),
                protocol: text(key.protocol),
                operation: text(key.operation),
                status_class: text(key.status_class),
                requests: sum.requests,
                errors: sum.errors,
                both_sides: sum.both_sides,
                request_bytes: sum.request_bytes,
                response_bytes: sum.response_bytes,
                duration_ns: sum.duration_ns,
                server_duration_ns: sum.server_duration_ns,
                client_to_server_bytes: sum.client_to_server_bytes,
                server_to_client_bytes: sum.server_to_client_bytes,
                connections_opened: sum.connections_opened,
                connections_closed: sum.connections_closed,
                connections_failed: sum.connections_failed,
                retransmits: sum.retransmits,
                rtt_us_sum: sum.rtt_us_sum,
                rtt_count: sum.rtt_count,
                asked: sum.asked.into_addresses(),
                encryption: sum.encryption.into_map(),
            })
            .collect()
    }

    fn sum(&mut self, key: Key) -> &mut Sum {
        let key = if self.sums.len() < KEYS_MAX || self.sums.contains_key(&key) {
            key
        } else {
            self.counters.add("keys_cut_off", 1);
            let unknown = |symbol| if symbol == Symbol::EMPTY { Symbol::EMPTY } else { Symbol::UNKNOWN };
            Key {
                client: Symbol::UNKNOWN,
                server: Symbol::UNKNOWN,
                protocol: Symbol::UNKNOWN,
                operation: unknown(key.operation),
                status_class: unknown(key.status_class),
            }
        };
        self.sums.entry(key).or_default()
    }
}

/// Orders sums by the names in their keys. Each name is compared with others once, and not once for each key that has it.
fn in_order_of_names(sums: &mut [(Key, Sum)], symbols: &Symbols) {
    let workloads = ranks(sums.iter().flat_map(|(key, _)| [key.client, key.server]), |symbol| symbols.workload(symbol));
    let texts = |(key, _): &(Key, Sum)| [key.protocol, key.operation, key.status_class];
    let texts_ranks = ranks(sums.iter().flat_map(texts), |symbol| symbols.text(symbol));
    sums.sort_by_cached_key(|sum| {
        let ends = [sum.0.client, sum.0.server].map(|symbol| workloads.get(&symbol).copied());
        (ends, texts(sum).map(|symbol| texts_ranks.get(&symbol).copied()))
    });
}

/// Numbers in the order of what symbols stand for.
fn ranks<T: Ord>(symbols: impl Iterator<Item = Symbol>, name: impl Fn(Symbol) -> T) -> FxHashMap<Symbol, u32> {
    let symbols: FxHashSet<Symbol> = symbols.collect();
    let mut named: Vec<(T, Symbol)> = symbols.into_iter().map(|symbol| (name(symbol), symbol)).collect();
    named.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    (0..).zip(named).map(|(rank, (_, symbol))| (symbol, rank)).collect()
}
