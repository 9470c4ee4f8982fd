//! Whose records are missing, as far as that is known.
//!
//! In: losses with the owner of what was lost. Out: what each workload has lost since the start, for the heartbeat. What has no owner that is
//! known is in the ledger's sums alone. Bounded: [`CGROUPS_MAX`] cgroups, of which each is named as the first of its owners with a name that lost
//! something; what further ones lose is nobody's. At most [`TOLD_MAX`] workloads are told of, those that lost the most.

use std::collections::BTreeMap;
use std::rc::Rc;

use headwater_schemas::records::WorkloadDropped;
use headwater_workload::names::CgroupKey;
use rustc_hash::FxHashMap;

use crate::ledger::Stream;
use crate::naming::{Named, Owner};

const CGROUPS_MAX: usize = 4096;
const TOLD_MAX: usize = 100;

/// What the owners in one cgroup have lost.
struct Lost {
    owner: Rc<Owner>,
    dropped: BTreeMap<(Stream, &'static str), i64>,
}

/// All losses that have an owner.
#[derive(Default)]
pub struct ByWorkload {
    by_cgroup: FxHashMap<CgroupKey, Lost>,
}

impl ByWorkload {
    /// So many records of an owner are missing.
    pub fn add(&mut self, owner: &Rc<Owner>, stream: Stream, reason: &'static str, count: i64) {
        let is_full = self.by_cgroup.len() >= CGROUPS_MAX;
        if count == 0 || is_full && !self.by_cgroup.contains_key(&owner.cgroup()) {
            return;
        }
        let new = || Lost { owner: Rc::clone(owner), dropped: BTreeMap::new() };
        let lost = self.by_cgroup.entry(owner.cgroup()).or_insert_with(new);
        if !lost.owner.is_known() && owner.is_known() {
            lost.owner = Rc::clone(owner);
        }
        let sum = lost.dropped.entry((stream, reason)).or_default();
        *sum = sum.saturating_add(count);
    }

    /// One for each name. What is not named yet is `unknown`.
    pub fn told(&self) -> Vec<WorkloadDropped> {
        let mut by_name: BTreeMap<[String; 6], BTreeMap<String, i64>> = BTreeMap::new();
        for Lost { owner, dropped } in self.by_cgroup.values() {
            let named = owner.named().unwrap_or_else(|| Rc::new(Named::unknown()));
            let sums = by_name.entry(named.all().map(str::to_owned)).or_default();
            for ((stream, reason), count) in dropped {
                *sums.entry(stream.name_of(reason)).or_default() += count;
            }
        }
        let mut told: Vec<WorkloadDropped> = Vec::with_capacity(by_name.len());
        for ([cluster, namespace, workload_kind, workload, pod, container], dropped) in by_name {
            told.push(WorkloadDropped { cluster, namespace, workload_kind, workload, pod, container, dropped });
        }
        told.sort_by_key(|one| std::cmp::Reverse(one.dropped.values().sum::<i64>()));
        told.truncate(TOLD_MAX);
        told
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use headwater_probe_loader::types::SocketRecord;
    use headwater_workload::{Kind, Workload};

    use super::*;
    use crate::naming::Owners;
    use crate::naming::tests::socket;

    #[test]
    fn who_lost_the_most_comes_first_and_programs_of_one_name_are_one() {
        let mut owners = Owners::new(Duration::from_secs(1));
        let all: Vec<Rc<Owner>> = (1..=4).map(|id| owners.of(&socket(id))).collect();
        let mut keys = Vec::new();
        owners.ask(|key, _| {
            keys.push(key);
            true
        });
        for (key, name) in keys.iter().zip(["a", "b", "a"]) {
            owners.take((key, false), Workload { kind: Kind::Program, name: name.into(), ..Workload::default() });
        }
        let mut lost = ByWorkload::default();
        lost.add(&all[0], Stream::Requests, "ring_full", 3);
        lost.add(&all[1], Stream::Flows, "ring_full", 5);
        lost.add(&all[2], Stream::Requests, "ring_full", 4);
        lost.add(&all[2], Stream::Requests, "gap", 1);
        lost.add(&all[3], Stream::Requests, "gap", 1);
        lost.add(&all[3], Stream::Requests, "gap", 0);
        let told: Vec<_> = lost.told().into_iter().map(|one| (one.workload, one.dropped)).collect();
        let sums = |sums: &[(&str, i64)]| sums.iter().map(|(reason, sum)| ((*reason).to_owned(), *sum)).collect();
        assert_eq!(
            told,
            [
                ("a".to_owned(), sums(&[("requests/gap", 1), ("requests/ring_full", 7)])),
                ("b".to_owned(), sums(&[("flows/ring_full", 5)])),
                ("unknown".to_owned(), sums(&[("requests/gap", 1)])),
            ]
        );
    }

    #[test]
    fn a_cgroup_is_named_by_whoever_has_a_name() {
        let mut owners = Owners::new(Duration::from_secs(1));
        let [nobody, somebody] = [1, 2].map(|id| owners.of(&SocketRecord { cgroup_id: 7, ..socket(id) }));
        let mut keys = Vec::new();
        owners.ask(|key, _| {
            keys.push(key);
            true
        });
        owners.take((&keys[0], false), Workload::unknown());
        owners.take((&keys[1], false), Workload { kind: Kind::Program, name: "a".into(), ..Workload::default() });
        let mut lost = ByWorkload::default();
        for owner in [&nobody, &somebody, &nobody] {
            lost.add(owner, Stream::Flows, "ring_full", 1);
        }
        let told: Vec<_> = lost.told().into_iter().map(|one| (one.workload, one.dropped["flows/ring_full"])).collect();
        assert_eq!(told, [("a".to_owned(), 3)]);
    }

    #[test]
    fn cgroups_beyond_the_bound_are_nobodys() {
        let mut owners = Owners::new(Duration::from_secs(1));
        let mut lost = ByWorkload::default();
        for id in 0..CGROUPS_MAX as u64 + 10 {
            let owner = owners.of(&SocketRecord { cgroup_id: id, ..socket(1) });
            lost.add(&owner, Stream::Requests, "gap", 1);
        }
        assert_eq!(lost.told()[0].dropped["requests/gap"], CGROUPS_MAX as i64);
    }
}
