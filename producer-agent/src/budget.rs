//! How much detail there is for the processor time that the agent may take (`capture.cpu_budget`).
//!
//! In: the processor time of the agent and that of its probes, look by look. Out: how many exchanges a second make a connection hot, so that
//! they are added up instead of told of one by one. Detail goes first where it is most, and counts never go. Pure: no clock of its own.
//!
//! Giving up detail spares the agent's time, and next to nothing of the probes': they look at each call in any case. So they can take no more than half
//! of the budget away from the agent, and a node whose sockets are very busy keeps its detail where that is cheap.
//!
//! Promise: a look changes it by one step at most. Detail that costs too much again after it was given back is given back later the next
//! time, so that a load between two steps does not make it swing.

use std::time::Duration;

/// How many exchanges a second make a connection hot, from full detail to the least.
const HOT_PER_SECOND: [u32; 5] = [32, 16, 8, 4, 2];

/// What is the agent's in any case, of the budget.
const AGENTS_PART: f64 = 0.5;

/// Detail is given back once the agent has taken less than this part of what is its own, at so many looks on end.
const ROOMY: f64 = 0.5;
const ROOMY_LOOKS_MIN: u32 = 6;
const ROOMY_LOOKS_MAX: u32 = 96;

/// The budget, and what is given up for it.
#[derive(Debug)]
pub struct Budget {
    /// Of one core; none without a budget.
    share: Option<f64>,
    level: usize,
    /// Looks on end that found room.
    roomy_looks: u32,
    /// So many are needed.
    roomy_looks_needed: u32,
    /// The last change gave detail back.
    has_given_back: bool,
    /// Looks that found too much spent, and no detail to give up that would have mended it.
    pub exceeded_looks: u64,
}

impl Budget {
    /// A budget in percent of one core; 0 for none.
    pub fn new(percent: u32) -> Budget {
        Budget {
            share: (percent > 0).then_some(f64::from(percent) / 100.0),
            level: 0,
            roomy_looks: 0,
            roomy_looks_needed: ROOMY_LOOKS_MIN,
            has_given_back: false,
            exceeded_looks: 0,
        }
    }

    /// How many exchanges a second make a connection hot.
    pub fn hot_per_second(&self) -> u32 {
        HOT_PER_SECOND[self.level]
    }

    /// Whether detail is given up: then the agent adds up what the probes cannot.
    pub fn gives_up(&self) -> bool {
        self.level > 0
    }

    /// The agent and its probes have taken this processor time since the last look. Says whether the detail changes.
    pub fn look(&mut self, agent: Duration, probes: Duration, since_last: Duration) -> bool {
        let Some(share) = self.share else { return false };
        let budget = (since_last.as_secs_f64() * share).max(f64::MIN_POSITIVE);
        let (agent, probes) = (agent.as_secs_f64() / budget, probes.as_secs_f64() / budget);
        let part = agent / (1.0 - probes).max(AGENTS_PART);
        let before = self.level;
        if part > 1.0 {
            self.exceeded();
        } else if part < ROOMY {
            self.roomy();
        } else {
            self.roomy_looks = 0;
        }
        let changes = self.level != before;
        self.exceeded_looks += u64::from(agent + probes > 1.0 && !changes);
        changes
    }

    fn exceeded(&mut self) {
        self.roomy_looks = 0;
        if self.level + 1 == HOT_PER_SECOND.len() {
            return;
        }
        self.level += 1;
        if self.has_given_back {
            self.roomy_looks_needed = (2 * self.roomy_looks_needed).min(ROOMY_LOOKS_MAX);
            self.has_given_back = false;
        }
    }

    fn roomy(&mut self) {
        self.roomy_looks += 1;
        if self.roomy_looks < self.roomy_looks_needed {
            return;
        }
        self.roomy_looks = 0;
        if self.level == 0 {
            self.roomy_looks_needed = ROOMY_LOOKS_MIN;
            self.has_given_back = false;
        } else {
            self.level -= 1;
            self.has_given_back = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LOOK: Duration = Duration::from_secs(5);
    const NONE: Duration = Duration::ZERO;

    fn spends(percent: f64) -> Duration {
        LOOK.mul_f64(percent / 100.0)
    }

    #[test]
    fn without_a_budget_nothing_is_given_up() {
        let mut budget = Budget::new(0);
        for _ in 0..100 {
            assert!(!budget.look(spends(400.0), NONE, LOOK));
        }
        assert_eq!(budget.hot_per_second(), 32);
    }

    #[test]
    fn what_is_too_much_at_the_last_step_is_counted() {
        let mut budget = Budget::new(10);
        let told: Vec<u32> =
            (0..6).map(|_| (budget.look(spends(10.1), NONE, LOOK), budget.hot_per_second()).1).collect();
        assert_eq!((told, budget.exceeded_looks), (vec![16, 8, 4, 2, 2, 2], 2));
    }

    #[test]
    fn the_probes_take_no_more_than_half_of_it_away() {
        let mut budget = Budget::new(10);
        assert!(!budget.look(spends(6.0), spends(3.9), LOOK));
        assert!(budget.look(spends(6.2), spends(3.9), LOOK));
        for _ in 0..10 {
            assert!(!budget.look(spends(4.9), spends(60.0), LOOK), "less detail would not mend it");
        }
        assert_eq!((budget.level, budget.exceeded_looks), (1, 10));
        assert!(budget.look(spends(5.1), spends(60.0), LOOK));
        let gives_back = (0..ROOMY_LOOKS_MIN).map(|_| budget.look(spends(2.4), spends(60.0), LOOK));
        assert_eq!(gives_back.filter(|changes| *changes).count(), 1);
    }

    proptest! {
        /// Whatever is spent, each look goes one step at most, down only when too much was spent and up only when there was room for long.
        #[test]
        fn steps_are_single_and_have_their_reason(spent in proptest::collection::vec(0.0..30.0_f64, 1..500)) {
            let mut budget = Budget::new(10);
            let mut roomy = 0;
            for percent in spent {
                let before = budget.level;
                let changed = budget.look(spends(percent), NONE, LOOK);
                roomy = if percent < 5.0 { roomy + 1 } else { 0 };
                prop_assert_eq!(changed, before != budget.level);
                prop_assert!(before.abs_diff(budget.level) <= 1);
                prop_assert!(budget.level <= before || percent > 10.0);
                prop_assert!(budget.level >= before || roomy >= ROOMY_LOOKS_MIN);
            }
        }

        /// All is given back when there is nothing to do any more.
        #[test]
        fn detail_comes_back(spent in proptest::collection::vec(0.0..30.0_f64, 0..500)) {
            let mut budget = Budget::new(10);
            for percent in spent {
                budget.look(spends(percent), NONE, LOOK);
            }
            for _ in 0..HOT_PER_SECOND.len() as u32 * ROOMY_LOOKS_MAX {
                budget.look(spends(1.0), NONE, LOOK);
            }
            prop_assert_eq!((budget.level, budget.roomy_looks_needed), (0, ROOMY_LOOKS_MIN));
        }

        /// Under a load that stays the same, whatever each step spares, it changes a few times at first and then next to never.
        #[test]
        fn a_steady_load_does_not_make_it_swing(mut costs in proptest::collection::vec(0.0..60.0_f64, 5)) {
            costs.sort_by(|one, other| other.total_cmp(one));
            let mut budget = Budget::new(10);
            let mut changes = 0;
            const LOOKS: u32 = 10_000;
            for _ in 0..LOOKS {
                changes += u32::from(budget.look(spends(costs[budget.level]), NONE, LOOK));
            }
            prop_assert!(changes <= 20 + 2 * LOOKS / ROOMY_LOOKS_MAX, "{} changes with {:?}", changes, costs);
        }
    }
}
