//! How long the probes wait for memory of a program that the kernel is just moving: a processor that waits does nothing else.
//!
//! In: times of the clock. Out: for how long to wait now.

/// For one read. The kernel moves up to 32 pages at a time, which takes it some hundred microseconds.
pub const ONE_NS_MAX: u64 = 300_000;

/// Of one processor in a second, also where memory is absent for good: one thousandth of it.
pub const SECOND_NS_MAX: u64 = 1_000_000;

const SECOND_NS: u64 = 1_000_000_000;

/// What a processor has spent so since a moment.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Spent {
    since_ns: u64,
    spent_ns: u64,
}

impl Spent {
    /// For how long it may wait now.
    #[inline(always)]
    pub fn may_wait_ns(&mut self, now_ns: u64) -> u64 {
        if now_ns.wrapping_sub(self.since_ns) >= SECOND_NS {
            *self = Spent { since_ns: now_ns, spent_ns: 0 };
        }
        SECOND_NS_MAX.saturating_sub(self.spent_ns).min(ONE_NS_MAX)
    }

    /// It has waited for so long.
    #[inline(always)]
    pub fn waited(&mut self, for_ns: u64) {
        self.spent_ns = self.spent_ns.saturating_add(for_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_waited_in_a_second_than_may_be() {
        let mut spent = Spent::default();
        let (mut now_ns, mut in_second_ns) = (5 * SECOND_NS, 0);
        for _ in 0..10_000 {
            let waits_ns = spent.may_wait_ns(now_ns);
            assert!(waits_ns <= ONE_NS_MAX);
            spent.waited(waits_ns);
            in_second_ns += waits_ns;
            now_ns += waits_ns + 1_000;
        }
        assert!(now_ns < 6 * SECOND_NS);
        assert_eq!(in_second_ns, SECOND_NS_MAX);
        assert_eq!(spent.may_wait_ns(7 * SECOND_NS), ONE_NS_MAX);
    }
}
