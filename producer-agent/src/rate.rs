//! How many records may be published within a second, and how many of them may be one cgroup's.
//!
//! In: records with their cgroup, and the time. Out: which of them there is room for. Until half of the bound is reached nobody is counted
//! by itself; from then on a cgroup may have as many more as are left for all, so that a single loud one leaves a quarter to the others: the
//! rule that the ring buffer follows, too ([`headwater_probe_loader::types::share`]). Pure. Bounded by the bound itself: a cgroup is
//! remembered for a second, and only if it had a record.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use headwater_workload::names::CgroupKey;
use rustc_hash::FxHashMap;

const SECOND: Duration = Duration::from_secs(1);

/// The records of the current second.
pub struct Rate {
    per_second_max: u32,
    began: Instant,
    total: u32,
    /// Those behind the first half.
    by_cgroup: FxHashMap<CgroupKey, u32>,
}

impl Rate {
    pub fn new(per_second_max: NonZeroU32, now: Instant) -> Rate {
        Rate { per_second_max: per_second_max.get(), began: now, total: 0, by_cgroup: FxHashMap::default() }
    }

    /// The time from which the next records are. A new second begins when the last one is over.
    pub fn set_now(&mut self, now: Instant) {
        if now.saturating_duration_since(self.began) >= SECOND {
            (self.began, self.total) = (now, 0);
            self.by_cgroup.clear();
        }
    }

    /// Whether there is room for one more of a cgroup.
    pub fn admit(&mut self, cgroup: CgroupKey) -> bool {
        let left = self.per_second_max.saturating_sub(self.total);
        if left <= self.per_second_max / 2 {
            let has = self.by_cgroup.get(&cgroup).copied().unwrap_or(0);
            if has >= left {
                return false;
            }
            self.by_cgroup.insert(cgroup, has + 1);
        }
        self.total += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn admitted(rate: &mut Rate, id: u64, count: u32) -> usize {
        (0..count).filter(|_| rate.admit(CgroupKey { hierarchy: 0, id })).count()
    }

    #[test]
    fn a_loud_cgroup_leaves_a_quarter_of_each_second_to_the_others() {
        let start = Instant::now();
        let mut rate = Rate::new(NonZeroU32::new(1000).unwrap(), start);
        for second in 0..3 {
            rate.set_now(start + SECOND * second);
            assert_eq!(admitted(&mut rate, 1, 5000), 750);
            assert_eq!(admitted(&mut rate, 2, 100), 100);
            assert_eq!(admitted(&mut rate, 3, 5000), 75);
            rate.set_now(start + SECOND * second + SECOND / 2);
            assert_eq!(admitted(&mut rate, 1, 5000), 0, "the second is not over");
        }
    }

    #[test]
    fn the_bound_holds_for_all_together() {
        let mut rate = Rate::new(NonZeroU32::new(100).unwrap(), Instant::now());
        let all: usize = (0..1000).map(|id| admitted(&mut rate, id, 1)).sum();
        assert_eq!(all, 100);
        let mut smallest = Rate::new(NonZeroU32::new(1).unwrap(), Instant::now());
        assert_eq!(admitted(&mut smallest, 1, 5), 1);
    }
}
