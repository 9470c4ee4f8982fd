//! How much detail there is for the processor time that the agent may take (`capture.cpu_budget`).
//!
//! In: the processor time of the agent and that of its probes, look by look. Out: how many exchanges a second make a connection hot, so that
//! they are added up instead of told of one by one, and of how many workloads nothing but counters is wanted for a while. Detail goes first
//! where it is most. Pure: no clock of its own.
//!
//! The probes look at each call in any case: less detail spares the agent's time, and of the probes' that of the calls that they tell of. What the others take
//! can be no more than half of the budget, and a node whose sockets are very busy keeps its detail where that is cheap.
//!
//! Promise: a look goes one step; where more than twice the budget was spent, or too much again after a step, to the last step before a rest. Detail that costs too much
//! again after it was given back is given back later the next time, so that a load between two steps does not make it swing. A rest lasts
//! as long as it takes for what was spent to be the budget on average, and a look between two rests shows whether it is needed still. Who has spent
//! what is there for a whole look is looked at before ([`Budget::is_spent`]).

use std::time::Duration;

/// How many exchanges a second make a connection hot, from full detail to the least. Behind these, workloads rest.
const HOT_PER_SECOND: [u32; 5] = [32, 16, 8, 4, 2];
const HOTTEST: usize = HOT_PER_SECOND.len() - 1;

/// Workloads that rest at a time.
pub const RESTING_MAX: usize = 8;

/// What is the agent's in any case, of the budget.
const AGENTS_PART: f64 = 0.5;

/// Detail is given back once the agent has taken less than this part of what is its own, at so many looks on end.
const ROOMY: f64 = 0.5;
const ROOMY_LOOKS_MIN: u32 = 6;
const ROOMY_LOOKS_MAX: u32 = 96;

/// So many times the budget is too much for single steps.
const FAR: f64 = 2.0;

/// A look comes so long after the one before, or sooner.
pub const LOOK: Duration = Duration::from_secs(5);

/// Up to so many times what is there for a look, what was spent before the first one may have been for starting.
const STARTING: f64 = 3.0;

const REST_MAX: Duration = Duration::from_secs(120);

/// Processor time since the last look.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spent {
    pub agent: Duration,
    /// Of the probes: the calls that they told of.
    pub telling: Duration,
    /// Of the probes: all other calls.
    pub counting: Duration,
}

/// The budget, and what is given up for it.
#[derive(Debug)]
pub struct Budget {
    /// Of one core; none without a budget.
    share: Option<f64>,
    /// Workloads that may rest at a time.
    resting_max: usize,
    level: usize,
    has_looked: bool,
    /// Looks on end that found room.
    roomy_looks: u32,
    /// So many are needed.
    roomy_looks_needed: u32,
    /// The last look gave detail up.
    has_given_up: bool,
    /// The last change gave detail back.
    has_given_back: bool,
    /// Until one of those that rest is followed again.
    rest_left: Duration,
    /// Looks that found too much spent, and no detail to give up that would have mended it.
    pub exceeded_looks: u64,
}

impl Budget {
    /// A budget in percent of one core; 0 for none. Workloads may rest for it, or not.
    pub fn new(percent: u32, rests: bool) -> Budget {
        Budget {
            share: (percent > 0).then_some(f64::from(percent) / 100.0),
            resting_max: if rests { RESTING_MAX } else { 0 },
            level: 0,
            has_looked: false,
            roomy_looks: 0,
            roomy_looks_needed: ROOMY_LOOKS_MIN,
            has_given_up: false,
            has_given_back: false,
            rest_left: Duration::ZERO,
            exceeded_looks: 0,
        }
    }

    /// How many exchanges a second make a connection hot.
    pub fn hot_per_second(&self) -> u32 {
        HOT_PER_SECOND[self.level.min(HOTTEST)]
    }

    /// Whether detail is given up: then the agent adds up what the probes cannot.
    pub fn gives_up(&self) -> bool {
        self.level > 0
    }

    /// Of how many workloads nothing but counters is wanted.
    pub fn resting(&self) -> usize {
        self.level.saturating_sub(HOTTEST)
    }

    /// Whether the agent alone has spent since the last look what is there for a whole one: then it is time to look.
    pub fn is_spent(&self, agent: Duration) -> bool {
        let looks = if self.has_looked { 1.0 } else { STARTING };
        self.share.is_some_and(|share| agent > LOOK.mul_f64(looks * share))
    }

    /// So much was spent since the last look. Says whether the detail changes.
    pub fn look(&mut self, spent: &Spent, since_last: Duration) -> bool {
        let Some(share) = self.share else { return false };
        self.has_looked = true;
        let budget = (since_last.as_secs_f64() * share).max(f64::MIN_POSITIVE);
        let [agent, telling, counting] =
            [spent.agent, spent.telling, spent.counting].map(|time| time.as_secs_f64() / budget);
        let part = (agent + telling) / (1.0 - counting).max(AGENTS_PART);
        let before = self.level;
        let had_given_up = std::mem::take(&mut self.has_given_up);
        if part > 1.0 {
            self.exceeded(part, had_given_up, since_last);
        } else if self.resting() > 0 {
            self.rest(since_last);
        } else if part < ROOMY {
            self.roomy();
        } else {
            self.roomy_looks = 0;
        }
        let changes = self.level != before;
        self.exceeded_looks += u64::from(agent + telling + counting > 1.0 && !changes);
        changes
    }

    fn exceeded(&mut self, part: f64, had_given_up: bool, since_last: Duration) {
        self.roomy_looks = 0;
        if self.level >= HOTTEST {
            if self.resting() < self.resting_max {
                self.level += 1;
                // What was spent since the last look is to be enough for that time and for this.
                self.rest_left = REST_MAX.min(since_last.mul_f64(part - 1.0));
            }
            return;
        }
        self.level = if part > FAR || had_given_up { HOTTEST } else { self.level + 1 };
        self.has_given_up = true;
        if self.has_given_back {
            self.roomy_looks_needed = (2 * self.roomy_looks_needed).min(ROOMY_LOOKS_MAX);
            self.has_given_back = false;
        }
    }

    fn rest(&mut self, since_last: Duration) {
        self.roomy_looks = 0;
        self.rest_left = self.rest_left.saturating_sub(since_last);
        if self.rest_left.is_zero() {
            // Should more of them rest, the next one is followed at the next look.
            self.level -= 1;
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

    const REST_LOOKS_MAX: u32 = (REST_MAX.as_secs() / LOOK.as_secs()) as u32;

    fn percent(percent: f64) -> Duration {
        LOOK.mul_f64(percent / 100.0)
    }

    fn spends(agent: f64) -> Spent {
        Spent { agent: percent(agent), ..Spent::default() }
    }

    #[test]
    fn without_a_budget_nothing_is_given_up() {
        let mut budget = Budget::new(0, true);
        for _ in 0..100 {
            assert!(!budget.look(&spends(400.0), LOOK));
        }
        assert_eq!((budget.hot_per_second(), budget.resting()), (32, 0));
    }

    #[test]
    fn a_little_too_much_goes_one_step_and_far_too_much_or_too_much_again_to_the_last_one() {
        let mut budget = Budget::new(10, true);
        let mut look = |spent: f64| (budget.look(&spends(spent), LOOK), budget.hot_per_second(), budget.resting());
        let told: Vec<_> = [10.1, 9.0, 10.1, 9.0, 10.1, 10.1, 10.1, 10.1].map(&mut look).into();
        let expected = [(16, 0), (16, 0), (8, 0), (8, 0), (4, 0), (2, 0), (2, 1), (2, 2)];
        assert_eq!(told.iter().map(|(_, hot, resting)| (*hot, *resting)).collect::<Vec<_>>(), expected);
        assert_eq!(told.iter().filter(|(changes, ..)| *changes).count(), 6);
        let mut budget = Budget::new(10, true);
        let told: Vec<_> =
            (0..2).map(|_| (budget.look(&spends(81.0), LOOK), budget.hot_per_second(), budget.resting())).collect();
        assert_eq!(told, [(true, 2, 0), (true, 2, 1)]);
    }

    #[test]
    fn no_more_workloads_rest_than_the_most() {
        let mut budget = Budget::new(10, true);
        for _ in 0..20 {
            budget.look(&spends(81.0), LOOK);
        }
        assert_eq!((budget.resting(), budget.exceeded_looks), (RESTING_MAX, 20 - 1 - RESTING_MAX as u64));
    }

    #[test]
    fn where_none_may_rest_what_is_too_much_at_the_last_step_is_counted() {
        let mut budget = Budget::new(10, false);
        let told: Vec<u32> = (0..4).map(|_| (budget.look(&spends(10.1), LOOK), budget.hot_per_second()).1).collect();
        assert_eq!((told, budget.resting(), budget.exceeded_looks), (vec![16, 2, 2, 2], 0, 2));
    }

    #[test]
    fn who_has_spent_it_all_is_looked_at_before() {
        let second = |agent: f64| Spent { agent: Duration::from_secs_f64(agent), ..Spent::default() };
        let mut budget = Budget::new(10, true);
        assert_eq!([29.9, 30.1].map(|spent| budget.is_spent(percent(spent))), [false, true], "it starts");
        budget.look(&spends(1.0), LOOK);
        assert_eq!([9.9, 10.1].map(|spent| budget.is_spent(percent(spent))), [false, true]);
        // Six tenths of a second in a second, twice: for the second of them it rests for five.
        assert!(budget.look(&second(0.6), Duration::from_secs(1)) && budget.look(&second(0.6), Duration::from_secs(1)));
        let rests = [LOOK; 3].map(|look| {
            let rests = budget.resting();
            budget.look(&spends(0.0), look);
            rests
        });
        assert_eq!(rests, [1, 0, 0]);
        assert!(!Budget::new(0, true).is_spent(percent(81.0)), "there is no bound");
    }

    #[test]
    fn calls_that_are_only_counted_take_no_more_than_half_of_it_away() {
        let spends = |agent: f64, counting: f64| Spent { counting: percent(counting), ..spends(agent) };
        let mut budget = Budget::new(10, true);
        assert!(!budget.look(&spends(6.0, 3.9), LOOK));
        assert!(budget.look(&spends(6.2, 3.9), LOOK));
        for _ in 0..10 {
            assert!(!budget.look(&spends(4.9, 60.0), LOOK), "less detail would not mend it");
        }
        assert_eq!((budget.level, budget.exceeded_looks), (1, 10));
        assert!(budget.look(&spends(5.1, 60.0), LOOK));
        let gives_back = (0..ROOMY_LOOKS_MIN).map(|_| budget.look(&spends(2.4, 60.0), LOOK));
        assert_eq!(gives_back.filter(|changes| *changes).count(), 1);
    }

    #[test]
    fn calls_that_are_told_of_are_spared_with_the_detail() {
        let mut budget = Budget::new(10, true);
        assert!(budget.look(&Spent { telling: percent(8.0), ..spends(3.0) }, LOOK));
    }

    proptest! {
        /// Whatever is spent, detail goes only when too much was spent, and comes back only after a rest or when there was room for long.
        #[test]
        fn steps_have_their_reason(spent in proptest::collection::vec(0.0..30.0_f64, 1..500)) {
            let mut budget = Budget::new(10, true);
            let mut roomy = 0;
            let mut had_given_up = false;
            for percent in spent {
                let (before, rested) = (budget.level, budget.resting());
                let changed = budget.look(&spends(percent), LOOK);
                roomy = if percent < 5.0 { roomy + 1 } else { 0 };
                prop_assert_eq!(changed, before != budget.level);
                prop_assert!(budget.level <= before + 1 || percent > 20.0 || had_given_up);
                had_given_up = budget.level > before;
                prop_assert!(budget.level <= before || percent > 10.0);
                prop_assert!(budget.resting() <= rested + 1);
                prop_assert!(budget.level + 1 >= before);
                prop_assert!(budget.level >= before || rested > 0 || roomy >= ROOMY_LOOKS_MIN);
            }
        }

        /// All is given back when there is nothing to do any more.
        #[test]
        fn detail_comes_back(spent in proptest::collection::vec(0.0..300.0_f64, 0..500)) {
            let mut budget = Budget::new(10, true);
            for percent in spent {
                budget.look(&spends(percent), LOOK);
            }
            for _ in 0..REST_LOOKS_MAX + (HOT_PER_SECOND.len() + RESTING_MAX) as u32 * ROOMY_LOOKS_MAX {
                budget.look(&spends(1.0), LOOK);
            }
            prop_assert_eq!((budget.level, budget.roomy_looks_needed), (0, ROOMY_LOOKS_MIN));
        }

        /// Under a load that stays the same, which steps without rest bring into the budget, it changes a few times at first and then next to never.
        #[test]
        fn a_steady_load_does_not_make_it_swing(mut costs in proptest::collection::vec(0.0..60.0_f64, 4), least in 0.0..10.0_f64) {
            costs.push(least);
            costs.sort_by(|one, other| other.total_cmp(one));
            let mut budget = Budget::new(10, true);
            let mut changes = 0;
            const LOOKS: u32 = 10_000;
            for _ in 0..LOOKS {
                changes += u32::from(budget.look(&spends(costs[budget.level]), LOOK));
            }
            prop_assert!(changes <= 20 + 2 * LOOKS / ROOMY_LOOKS_MAX, "{} changes with {:?}", changes, costs);
        }

        /// Whatever a loud workload costs, up to what a rest of the longest mends, the budget holds on average; and it is looked at again and again.
        #[test]
        fn a_loud_workload_is_followed_as_far_as_the_budget_goes(loud in 10.1..200.0_f64, others in 0.0..0.5_f64) {
            let mut budget = Budget::new(10, true);
            let (mut spent, mut followed) = (0.0, 0);
            const LOOKS: u32 = 2_000;
            for look in 0..LOOKS {
                let follows = budget.resting() == 0;
                let percent = others + if follows { loud } else { 0.0 };
                budget.look(&spends(percent), LOOK);
                if look >= 10 {
                    spent += percent;
                    followed += u32::from(follows);
                }
            }
            let percent = spent / f64::from(LOOKS - 10);
            prop_assert!(percent <= 10.5, "{} % on average", percent);
            prop_assert!(followed >= LOOKS / (2 * REST_LOOKS_MAX), "{} looks", followed);
        }

        /// The same where each second shows whether it is time to look. Once it rests, nothing comes of it that is dearer than a second of it.
        #[test]
        fn a_loud_workload_costs_a_second_at_a_time(loud in 10.1..200.0_f64, others in 0.0..0.5_f64) {
            let mut budget = Budget::new(10, true);
            let (mut since_look, mut spent_since, mut spent) = (0, 0.0, 0.0);
            const SECONDS: u32 = 10_000;
            for second in 0..SECONDS {
                let now = others + if budget.resting() == 0 { loud } else { 0.0 };
                since_look += 1;
                spent_since += now / 100.0;
                spent += if second >= 50 { now } else { 0.0 };
                let agent = Duration::from_secs_f64(spent_since);
                if since_look == 5 || budget.is_spent(agent) {
                    budget.look(&Spent { agent, ..Spent::default() }, Duration::from_secs(since_look));
                    (since_look, spent_since) = (0, 0.0);
                }
                prop_assert!(second < 50 || spent_since <= 0.5 + loud / 100.0);
            }
            let percent = spent / f64::from(SECONDS - 50);
            prop_assert!(percent <= 10.5, "{} % on average", percent);
        }
    }
}
