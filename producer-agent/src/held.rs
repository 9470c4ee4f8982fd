//! Records that wait for the name of their workload.
//!
//! In: encoded records with their owner. Out: the same, those of one cgroup in their order, once the owner is named or its time is over.
//! Bounded in bytes: past that the oldest record of the cgroup that has the most goes without a name, counted, so that a loud cgroup
//! does not take the names from its neighbours' records.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use headwater_workload::names::CgroupKey;
use rustc_hash::FxHashMap;

use crate::ledger::Stream;
use crate::memory::Shares;
use crate::naming::{Named, Owner};

/// What a record takes beside its bytes.
const RECORD_BYTES: usize = size_of::<HeldRecord>() + 16;

/// A record that waits.
pub struct HeldRecord {
    pub stream: Stream,
    pub value: Vec<u8>,
    pub owner: Rc<Owner>,
    event_us: i64,
}

impl HeldRecord {
    fn bytes(&self) -> usize {
        RECORD_BYTES + self.value.capacity()
    }
}

/// All that wait, those of each cgroup the oldest first.
pub struct Held {
    records: FxHashMap<CgroupKey, VecDeque<HeldRecord>>,
    shares: Shares,
    bytes_max: usize,
    overflows: u64,
}

impl Held {
    pub fn new(bytes_max: usize) -> Held {
        Held { records: FxHashMap::default(), shares: Shares::default(), bytes_max, overflows: 0 }
    }

    /// Keeps a record. Gives back those that have no room any more.
    pub fn add(&mut self, stream: Stream, owner: &Rc<Owner>, event_us: i64, value: Vec<u8>) -> Vec<HeldRecord> {
        let record = HeldRecord { stream, value, owner: Rc::clone(owner), event_us };
        self.shares.change(owner.cgroup(), 0, record.bytes());
        self.records.entry(owner.cgroup()).or_default().push_back(record);
        let mut given_back = Vec::new();
        while self.shares.total_bytes() > self.bytes_max {
            let Some(cgroup) = self.shares.heaviest() else { break };
            let Some(oldest) = self.records.get_mut(&cgroup).and_then(VecDeque::pop_front) else { break };
            self.shares.change(cgroup, oldest.bytes(), 0);
            self.overflows += 1;
            given_back.push(oldest);
        }
        given_back
    }

    /// Takes out those that wait no more, those of a cgroup in their order.
    pub fn release(&mut self, now: Instant) -> Vec<(HeldRecord, Rc<Named>)> {
        let mut released = Vec::new();
        let shares = &mut self.shares;
        self.records.retain(|cgroup, records| {
            for record in std::mem::take(records) {
                match record.owner.named_by(now) {
                    Some(named) => {
                        shares.change(*cgroup, record.bytes(), 0);
                        released.push((record, named));
                    }
                    None => records.push_back(record),
                }
            }
            !records.is_empty()
        });
        released
    }

    /// Event time of the oldest, of those that progress speaks of: nothing waits for the name of a process that nobody knows any more.
    pub fn oldest_us(&self) -> Option<i64> {
        let all = self.records.values().flatten();
        all.filter(|record| Stream::VOUCHED_FOR.contains(&record.stream)).map(|record| record.event_us).min()
    }

    pub fn len(&self) -> usize {
        self.records.values().map(VecDeque::len).sum()
    }

    /// What they take.
    pub fn bytes(&self) -> usize {
        self.shares.total_bytes()
    }

    /// How many went without a name since there were too many.
    pub fn overflows(&self) -> u64 {
        self.overflows
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::naming::Owners;
    use crate::naming::tests::socket;
    use headwater_probe_loader::types::SocketRecord;
    use headwater_workload::{Kind, Workload};
    use std::time::Duration;

    #[test]
    fn records_keep_their_order_and_wait_no_longer_than_they_may() {
        let start = Instant::now();
        let mut owners = Owners::new(Duration::from_secs(2));
        owners.set_now(start);
        let (first, second) = (owners.of(&socket(1)), owners.of(&socket(2)));
        let mut held = Held::new(10_000);
        for (owner, value) in [(&first, 1), (&second, 2), (&first, 3)] {
            assert!(held.add(Stream::Requests, owner, i64::from(value), vec![value]).is_empty());
        }
        assert!(held.release(start).is_empty());
        assert_eq!(held.oldest_us(), Some(1));
        let mut keys = Vec::new();
        owners.ask(|key, _| {
            keys.push(key);
            true
        });
        owners.take((&keys[0], false), Workload { kind: Kind::Program, name: "a".into(), ..Workload::default() });
        let names = |released: Vec<(HeldRecord, Rc<Named>)>| -> Vec<(u8, String)> {
            released.iter().map(|(record, named)| (record.value[0], named.name().to_owned())).collect()
        };
        assert_eq!(names(held.release(start)), [(1, "a".into()), (3, "a".into())]);
        assert_eq!(held.oldest_us(), Some(2));
        assert_eq!(names(held.release(start + Duration::from_secs(2))), [(2, "unknown".into())]);
        // A name that comes later counts from then on.
        owners.take((&keys[1], false), Workload { kind: Kind::Program, name: "b".into(), ..Workload::default() });
        assert_eq!(second.named().unwrap().name(), "b");
    }

    #[test]
    fn too_many_go_without_a_name_and_are_counted_where_most_are() {
        let mut owners = Owners::new(Duration::from_secs(2));
        let in_cgroup = |id| SocketRecord { cgroup_id: id, ..socket(id as u32) };
        let (loud, quiet) = (owners.of(&in_cgroup(1)), owners.of(&in_cgroup(2)));
        let mut held = Held::new(100 * RECORD_BYTES);
        let mut add = |owner: &Rc<Owner>, count: i64| -> usize {
            (0..count).map(|at| held.add(Stream::Flows, owner, at, vec![]).len()).sum()
        };
        assert_eq!((add(&quiet, 40), add(&loud, 100)), (0, 40));
        assert_eq!(add(&quiet, 5), 5);
        let of = |cgroup: &Rc<Owner>| held.records[&cgroup.cgroup()].len();
        assert_eq!((of(&quiet), of(&loud)), (45, 55));
        assert_eq!((held.len(), held.overflows(), held.bytes()), (100, 45, 100 * RECORD_BYTES));
        assert_eq!(held.release(Instant::now() + Duration::from_secs(3)).len(), 100);
        assert_eq!((held.len(), held.bytes()), (0, 0));
    }
}
