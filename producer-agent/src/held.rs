//! Records that wait for the name of their workload.
//!
//! In: encoded records with their owner. Out: the same in their order, once the owner is named or its time is over. Bounded: [`RECORDS_MAX`];
//! past that the oldest goes without a name, counted.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use crate::ledger::Stream;
use crate::naming::{Named, Owner};

const RECORDS_MAX: usize = 20_000;

/// A record that waits.
pub struct HeldRecord {
    pub stream: Stream,
    pub value: Vec<u8>,
    owner: Rc<Owner>,
    event_us: i64,
}

/// All that wait, the oldest first.
#[derive(Default)]
pub struct Held {
    records: VecDeque<HeldRecord>,
    overflows: u64,
}

impl Held {
    /// Keeps a record. Gives back the oldest one if there are too many.
    pub fn add(&mut self, stream: Stream, owner: &Rc<Owner>, event_us: i64, value: Vec<u8>) -> Option<HeldRecord> {
        self.records.push_back(HeldRecord { stream, value, owner: Rc::clone(owner), event_us });
        if self.records.len() <= RECORDS_MAX {
            return None;
        }
        self.overflows += 1;
        self.records.pop_front()
    }

    /// Takes out those that wait no more, in their order.
    pub fn release(&mut self, now: Instant) -> Vec<(HeldRecord, Rc<Named>)> {
        let mut released = Vec::new();
        for record in std::mem::take(&mut self.records) {
            match record.owner.named_by(now) {
                Some(named) => released.push((record, named)),
                None => self.records.push_back(record),
            }
        }
        released
    }

    /// Event time of the oldest.
    pub fn oldest_us(&self) -> Option<i64> {
        self.records.iter().map(|record| record.event_us).min()
    }

    pub fn len(&self) -> usize {
        self.records.len()
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
    use headwater_workload::{Kind, Workload};
    use std::time::Duration;

    #[test]
    fn records_keep_their_order_and_wait_no_longer_than_they_may() {
        let start = Instant::now();
        let mut owners = Owners::new(Duration::from_secs(2));
        owners.set_now(start);
        let (first, second) = (owners.of(&socket(1)), owners.of(&socket(2)));
        let mut held = Held::default();
        for (owner, value) in [(&first, 1), (&second, 2), (&first, 3)] {
            assert!(held.add(Stream::Requests, owner, i64::from(value), vec![value]).is_none());
        }
        assert!(held.release(start).is_empty());
        assert_eq!(held.oldest_us(), Some(1));
        let mut keys = Vec::new();
        owners.ask(|key| {
            keys.push(key);
            true
        });
        owners.take(&keys[0], Workload { kind: Kind::Program, name: "a".into(), ..Workload::default() });
        let names = |released: Vec<(HeldRecord, Rc<Named>)>| -> Vec<(u8, String)> {
            released.iter().map(|(record, named)| (record.value[0], named.name().to_owned())).collect()
        };
        assert_eq!(names(held.release(start)), [(1, "a".into()), (3, "a".into())]);
        assert_eq!(held.oldest_us(), Some(2));
        assert_eq!(names(held.release(start + Duration::from_secs(2))), [(2, "unknown".into())]);
        // A name that comes later counts from then on.
        owners.take(&keys[1], Workload { kind: Kind::Program, name: "b".into(), ..Workload::default() });
        assert_eq!(second.named().unwrap().name(), "b");
    }

    #[test]
    fn too_many_go_without_a_name_and_are_counted() {
        let mut owners = Owners::new(Duration::from_secs(2));
        let owner = owners.of(&socket(1));
        let mut held = Held::default();
        let given_back = (0..RECORDS_MAX + 3).filter(|i| held.add(Stream::Flows, &owner, *i as i64, vec![]).is_some());
        assert_eq!(given_back.count(), 3);
        assert_eq!((held.len(), held.overflows()), (RECORDS_MAX, 3));
    }
}
