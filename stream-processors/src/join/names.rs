//! Who is at the two ends of a connection and what it speaks, as the records of either side and either topic said lately.
//!
//! Each record names only its own side. A protocol that one side has understood is the connection's: the other side may have moved its bytes
//! where nobody could look. So is the name by which the client came, which a record of before the handshake does not have yet. The newest mention by event time wins, and between two of the same time the
//! smaller name: so the order in which the two topics are read does not matter. A mention is good for
//! [`MEMORY_WINDOWS`](super::MEMORY_WINDOWS) windows. Bounded: the connections that were mentioned longest ago are cut off first.

use headwater_schemas::ids::ConnectionId;
use headwater_schemas::records::Side;
use rustc_hash::{FxHashMap, FxHashSet};
use serde::{Deserialize, Serialize};

use super::items::{Item, came_to};
use super::symbols::{Symbol, Symbols};

/// The names of all connections that were mentioned lately.
#[derive(Serialize, Deserialize)]
pub struct Names {
    connections: FxHashMap<ConnectionId, Ends>,
    /// When one was mentioned last that was cut off.
    cut_off_us: i64,
    #[serde(skip)]
    connections_max: usize,
}

#[derive(Clone, Copy, Default, Serialize, Deserialize)]
struct Ends {
    client: Mention,
    server: Mention,
    understood: Understood,
}

/// What a side has understood.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Understood {
    at_us: i64,
    protocol: Symbol,
    /// The server's end as its client came to it, if that was by a name: see [`came_to`].
    remote: Symbol,
}

impl Default for Understood {
    fn default() -> Self {
        Understood { at_us: i64::MIN, protocol: Symbol::UNKNOWN, remote: Symbol::UNKNOWN }
    }
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Mention {
    seen_us: i64,
    /// Whose agent saw it last.
    node: Symbol,
    named_us: i64,
    name: Symbol,
}

/// What agents call a protocol that they do not know.
const NOT_UNDERSTOOD: [&str; 2] = ["tcp", "unix"];

impl Default for Mention {
    fn default() -> Self {
        Mention { seen_us: i64::MIN, node: Symbol::UNKNOWN, named_us: i64::MIN, name: Symbol::UNKNOWN }
    }
}

impl Names {
    pub fn new(connections_max: usize) -> Names {
        Names { connections: FxHashMap::default(), cut_off_us: i64::MIN, connections_max }
    }

    pub fn set_connections_max(&mut self, connections_max: usize) {
        self.connections_max = connections_max;
    }

    /// One side of a connection was seen. It counts as seen also if its name is unknown.
    pub fn mention(&mut self, item: &impl Item, symbols: &Symbols) {
        let (at_us, name, node) = (item.at_us(), item.workload(), item.node());
        let ends = self.connections.entry(item.connection()).or_default();
        ends.speaks(item.protocol(), at_us, symbols);
        if item.side() == Side::Client {
            ends.came_to(item.remote(), symbols);
        }
        let end = match item.side() {
            Side::Client => &mut ends.client,
            Side::Server => &mut ends.server,
        };
        if at_us > end.seen_us || (at_us == end.seen_us && symbols.text(node) < symbols.text(end.node)) {
            (end.seen_us, end.node) = (at_us, node);
        }
        if !name.is_known() {
            return;
        }
        if at_us > end.named_us || (at_us == end.named_us && symbols.text(name) < symbols.text(end.name)) {
            (end.name, end.named_us) = (name, at_us);
        }
    }

    /// Whose agent saw this side last, if that was since a time.
    pub fn seen_by(&self, connection: ConnectionId, side: Side, since_us: i64) -> Option<Symbol> {
        self.end(connection, side).filter(|end| end.seen_us >= since_us).map(|end| end.node)
    }

    /// When these nodes saw an end last since a time, and the names of all ends that they saw. None where it is not known, since some that were
    /// seen since then were cut off.
    pub fn seen_on(
        &self,
        nodes: &FxHashSet<Symbol>,
        since_us: i64,
    ) -> Option<FxHashMap<Symbol, (i64, FxHashSet<Symbol>)>> {
        let mut seen: FxHashMap<Symbol, (i64, FxHashSet<Symbol>)> = FxHashMap::default();
        let ends = self.connections.values().flat_map(|ends| [ends.client, ends.server]);
        for end in ends.filter(|end| end.seen_us >= since_us && nodes.contains(&end.node)) {
            let (last_us, names) = seen.entry(end.node).or_default();
            *last_us = end.seen_us.max(*last_us);
            names.extend(Some(end.name).filter(|name| name.is_known()));
        }
        (self.cut_off_us < since_us).then_some(seen)
    }

    /// The name of this side, if a record said it since a time.
    pub fn name(&self, connection: ConnectionId, side: Side, since_us: i64) -> Option<Symbol> {
        self.end(connection, side).filter(|end| end.named_us >= since_us).map(|end| end.name)
    }

    /// What the connection speaks, if a side has understood it since a time.
    pub fn protocol(&self, connection: ConnectionId, since_us: i64) -> Option<Symbol> {
        let spoken = self.connections.get(&connection)?.understood;
        (spoken.at_us >= since_us && spoken.protocol.is_known()).then_some(spoken.protocol)
    }

    /// The server's end as its client came to it, if that was by a name.
    pub fn remote(&self, connection: ConnectionId) -> Option<Symbol> {
        self.connections.get(&connection).map(|ends| ends.understood.remote).filter(|remote| remote.is_known())
    }

    /// Forgets what was not mentioned since a time, and then the oldest until the bound holds. Says how many were cut off.
    pub fn forget(&mut self, since_us: i64) -> u64 {
        self.connections.retain(|_, ends| ends.last_us() >= since_us);
        let excess = self.connections.len().saturating_sub(self.connections_max);
        if excess > 0 {
            let mut by_age: Vec<(i64, ConnectionId)> =
                self.connections.iter().map(|(id, ends)| (ends.last_us(), *id)).collect();
            by_age.select_nth_unstable(excess - 1);
            by_age[..excess].iter().for_each(|(last_us, id)| {
                self.cut_off_us = self.cut_off_us.max(*last_us);
                self.connections.remove(id);
            });
        }
        excess as u64
    }

    pub fn len(&self) -> usize {
        self.connections.len()
    }

    pub fn symbols(&self) -> impl Iterator<Item = Symbol> {
        self.connections.values().flat_map(|ends| {
            let Ends { client, server, understood } = ends;
            [client.name, client.node, server.name, server.node, understood.protocol, understood.remote]
        })
    }

    fn end(&self, connection: ConnectionId, side: Side) -> Option<Mention> {
        let ends = self.connections.get(&connection)?;
        Some(match side {
            Side::Client => ends.client,
            Side::Server => ends.server,
        })
    }
}

impl Ends {
    fn speaks(&mut self, protocol: Symbol, at_us: i64, symbols: &Symbols) {
        let known = &mut self.understood;
        if protocol == known.protocol {
            known.at_us = known.at_us.max(at_us);
            return;
        }
        let text = symbols.text(protocol);
        let is_understood = protocol.is_known() && !NOT_UNDERSTOOD.contains(&text);
        let is_newer = at_us > known.at_us || (at_us == known.at_us && text < symbols.text(known.protocol));
        if is_understood && is_newer {
            (known.at_us, known.protocol) = (at_us, protocol);
        }
    }

    /// It has one name at most; of two, which no agent says, it is the smaller one.
    fn came_to(&mut self, remote: Symbol, symbols: &Symbols) {
        let known = &mut self.understood.remote;
        if remote == *known {
            return;
        }
        let text = symbols.text(remote);
        if came_to(text).1.is_some() && (!known.is_known() || text < symbols.text(*known)) {
            *known = remote;
        }
    }

    fn last_us(&self) -> i64 {
        self.client.seen_us.max(self.server.seen_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mentioned(names: &mut Names, connection: u64, at_us: i64, node: Symbol, name: Symbol) {
        let end = Mention { seen_us: at_us, node, named_us: at_us, name };
        names.connections.insert(ConnectionId(connection), Ends { client: end, ..Ends::default() });
    }

    /// Who was cut off may have been any: until that is too long ago to matter.
    #[test]
    fn whom_a_node_saw_is_not_known_where_some_were_cut_off() {
        let mut symbols = Symbols::default();
        let [node, a, b] = ["n1", "a", "b"].map(|text| symbols.intern(text));
        let nodes = FxHashSet::from_iter([node]);
        let mut names = Names::new(1);
        mentioned(&mut names, 1, 10, node, a);
        mentioned(&mut names, 2, 20, node, b);
        let seen = |names: &Names, since_us| names.seen_on(&nodes, since_us);
        assert_eq!(seen(&names, 0), Some([(node, (20, [a, b].into_iter().collect()))].into_iter().collect()));
        assert_eq!(names.forget(0), 1);
        assert_eq!(seen(&names, 10), None);
        assert_eq!(seen(&names, 11), Some([(node, (20, [b].into_iter().collect()))].into_iter().collect()));
        assert_eq!(seen(&names, 21), Some(FxHashMap::default()));
    }
}
