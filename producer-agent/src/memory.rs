//! Who keeps how much of the agent's memory, or of another thing that has a bound.
//!
//! In: changes of what is kept for somebody. Out: the sum, and who keeps the most: whoever is the first to give something up when the sum
//! is over its bound. So a loud or hostile cgroup pays before its neighbours do. Pure. Bounded by those that keep something.

use headwater_workload::names::CgroupKey;
use rustc_hash::FxHashMap;

/// Bytes that are kept, by the cgroup that caused them.
#[derive(Debug, Default)]
pub struct Shares {
    by_cgroup: FxHashMap<CgroupKey, usize>,
    total_bytes: usize,
}

impl Shares {
    /// What was kept for a cgroup has become more or less.
    pub fn change(&mut self, cgroup: CgroupKey, before_bytes: usize, after_bytes: usize) {
        if before_bytes == after_bytes {
            return;
        }
        let share = self.by_cgroup.entry(cgroup).or_default();
        *share = (*share + after_bytes).saturating_sub(before_bytes);
        if *share == 0 {
            self.by_cgroup.remove(&cgroup);
        }
        self.total_bytes = (self.total_bytes + after_bytes).saturating_sub(before_bytes);
    }

    /// Of one cgroup.
    pub fn of(&self, cgroup: CgroupKey) -> usize {
        self.by_cgroup.get(&cgroup).copied().unwrap_or(0)
    }

    /// Of all.
    pub fn total_bytes(&self) -> usize {
        self.total_bytes
    }

    /// Who keeps the most; among equals the same one each time.
    pub fn heaviest(&self) -> Option<CgroupKey> {
        let key = |(cgroup, bytes): (&CgroupKey, &usize)| (*bytes, cgroup.hierarchy, cgroup.id);
        let (_, hierarchy, id) = self.by_cgroup.iter().map(key).max()?;
        Some(CgroupKey { hierarchy, id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_and_the_heaviest_are_known_after_each_change() {
        let cgroup = |id| CgroupKey { hierarchy: 0, id };
        let mut shares = Shares::default();
        assert_eq!((shares.total_bytes(), shares.heaviest()), (0, None));
        shares.change(cgroup(1), 0, 100);
        shares.change(cgroup(2), 0, 60);
        shares.change(cgroup(2), 60, 90);
        assert_eq!((shares.total_bytes(), shares.heaviest()), (190, Some(cgroup(1))));
        shares.change(cgroup(1), 100, 10);
        assert_eq!((shares.total_bytes(), shares.heaviest()), (100, Some(cgroup(2))));
        shares.change(cgroup(2), 90, 0);
        shares.change(cgroup(1), 10, 0);
        assert_eq!((shares.total_bytes(), shares.heaviest(), shares.by_cgroup.len()), (0, None, 0));
    }
}
