//! What is given up when the parsers keep more than they may: the open exchanges of the connections that keep the most, in the cgroup that
//! keeps the most. Each is counted as missing.

use headwater_workload::names::CgroupKey;
use rustc_hash::FxHashMap;

use super::{Observer, Output, SocketKey, known_of, request};

/// So much of the bound is left afterwards, so that the connections are not looked through for every segment.
const LEFT_EIGHTHS: usize = 7;

impl Observer {
    /// What others keep of the memory that all share.
    pub fn set_kept_elsewhere(&mut self, bytes: usize) {
        self.kept_elsewhere_bytes = bytes;
    }

    /// Bytes that parsers keep, and how many connections had to give theirs up.
    pub fn memory(&self) -> (usize, u64) {
        (self.shares.total_bytes(), self.evicted)
    }

    /// Gives up as much as is too much.
    pub(super) fn keep_to_memory(&mut self, now_ns: u64, out: &mut impl FnMut(Output<'_>)) {
        let kept_elsewhere_bytes = self.kept_elsewhere_bytes + self.known_bytes;
        let bytes_max = self.shared.options.memory_bytes.saturating_sub(kept_elsewhere_bytes);
        if self.shares.total_bytes() <= bytes_max {
            return;
        }
        let mut by_cgroup: FxHashMap<CgroupKey, Vec<(usize, SocketKey)>> = FxHashMap::default();
        for (key, connection) in self.connections.iter().filter(|(_, connection)| connection.kept_bytes > 0) {
            let cgroup = connection.cgroup();
            by_cgroup.entry(cgroup).or_default().push((connection.kept_bytes, *key));
        }
        by_cgroup.values_mut().for_each(|connections| connections.sort_unstable());
        while self.shares.total_bytes() > bytes_max / 8 * LEFT_EIGHTHS {
            let heaviest = self.shares.heaviest().and_then(|cgroup| by_cgroup.get_mut(&cgroup));
            let Some((_, key)) = heaviest.and_then(Vec::pop) else { return };
            self.give_up(key, now_ns, out);
        }
    }

    /// Counts what is open on a connection as missing, and follows it anew from where it is.
    fn give_up(&mut self, key: SocketKey, now_ns: u64, out: &mut impl FnMut(Output<'_>)) {
        let Some(connection) = self.connections.get_mut(&key) else { return };
        self.evicted += 1;
        request::give_up(connection, "memory_full", now_ns, &mut self.shared, out);
        let known = known_of(&mut self.known, connection.cgroup());
        connection.begin_anew(&self.shared.options.protocols, &known, &mut self.shares);
    }
}
