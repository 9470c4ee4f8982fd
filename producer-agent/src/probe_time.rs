//! What the probes cost the node, from what they measure of themselves for a small part of the time.
//!
//! In: the time, turn by turn, and what was measured. Out: when to measure, and the processor time of all runs, as an estimate. Pure: no clock of its own.
//!
//! Promise: a turn about each second is measured, whatever it does, so that what is estimated of it is what all turns cost.

use std::time::Duration;

use headwater_probe_loader::types::cost::{Cost, PROGRAMS};

/// A turn is measured so long after the last one that was. No part of a second, so that what comes each second is not always in it.
const PAUSE_NS: u64 = 930_000_000;

/// The estimate.
#[derive(Debug, Default)]
pub struct ProbeTime {
    measuring_since_ns: Option<u64>,
    pause_until_ns: u64,
    /// Since the last look.
    measured_ns: u64,
    looked_at_ns: u64,
    seen: [Cost; PROGRAMS],
    total_ns: [u64; PROGRAMS],
    cores: [f64; PROGRAMS],
}

impl ProbeTime {
    pub fn new(now_ns: u64) -> ProbeTime {
        ProbeTime { looked_at_ns: now_ns, pause_until_ns: now_ns, ..ProbeTime::default() }
    }

    /// A turn begins. Says whether the runs are to be measured from now on, where that changes.
    pub fn turn(&mut self, now_ns: u64) -> Option<bool> {
        if let Some(since_ns) = self.measuring_since_ns.take() {
            self.measured_ns += now_ns.saturating_sub(since_ns);
            self.pause_until_ns = now_ns + PAUSE_NS;
            return Some(false);
        }
        if now_ns < self.pause_until_ns {
            return None;
        }
        self.measuring_since_ns = Some(now_ns);
        Some(true)
    }

    /// Takes what was measured since the start. Says what the probes have cost since the last time, by program.
    pub fn look(&mut self, now_ns: u64, costs: &[Cost; PROGRAMS]) -> [Duration; PROGRAMS] {
        if let Some(since_ns) = &mut self.measuring_since_ns {
            self.measured_ns += now_ns.saturating_sub(*since_ns);
            *since_ns = now_ns;
        }
        if self.measured_ns == 0 {
            return [Duration::ZERO; PROGRAMS];
        }
        let passed_ns = now_ns.saturating_sub(self.looked_at_ns);
        let mut spent = [Duration::ZERO; PROGRAMS];
        for (at, cost) in costs.iter().enumerate() {
            let measured = cost.time_ns.saturating_sub(self.seen[at].time_ns);
            let share = measured as f64 / self.measured_ns as f64;
            let estimate_ns = (share * passed_ns as f64) as u64;
            self.cores[at] = share;
            self.total_ns[at] += estimate_ns;
            spent[at] = Duration::from_nanos(estimate_ns);
        }
        (self.seen, self.measured_ns, self.looked_at_ns) = (*costs, 0, now_ns);
        spent
    }

    /// Processor time since the start, by program.
    pub fn total_ns(&self) -> [u64; PROGRAMS] {
        self.total_ns
    }

    /// Processors that each program kept busy between the last two looks.
    pub fn cores(&self) -> [f64; PROGRAMS] {
        self.cores
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: u64 = 1_000_000;

    proptest! {
        /// Runs that cost the same all the time are estimated as what they cost, however long turns are, and few of the turns are measured.
        #[test]
        fn a_steady_cost_is_what_it_is(turns in proptest::collection::vec(1_u64..120, 200..2000), permille in 0_u64..2000) {
            let mut now_ns = 7_000 * MS;
            let began_ns = now_ns;
            let mut time = ProbeTime::new(now_ns);
            let mut costs = [Cost::default(); PROGRAMS];
            let (mut measures, mut measured_ns, mut told) = (false, 0, Duration::ZERO);
            for (number, turn_ms) in turns.into_iter().enumerate() {
                measures = time.turn(now_ns).unwrap_or(measures);
                now_ns += turn_ms * MS;
                if measures {
                    measured_ns += turn_ms * MS;
                    costs[1].runs += 1;
                    costs[1].time_ns += turn_ms * permille * MS / 1000;
                }
                if number % 100 == 99 {
                    told += time.look(now_ns, &costs).iter().sum::<Duration>();
                }
            }
            let cost_ns = (time.looked_at_ns - began_ns) as f64 * permille as f64 / 1000.0;
            prop_assert!((told.as_nanos() as f64 - cost_ns).abs() <= 0.001 * cost_ns + 1e3, "{:?} of {}", told, cost_ns);
            prop_assert_eq!(time.total_ns()[1], told.as_nanos() as u64);
            prop_assert!(measured_ns as f64 <= 120.0 * MS as f64 + 0.13 * (now_ns - began_ns) as f64);
        }
    }

    #[test]
    fn nothing_is_said_of_a_time_in_which_nothing_was_measured() {
        let mut time = ProbeTime::new(0);
        assert_eq!(time.look(5_000 * MS, &[Cost::default(); PROGRAMS]), [Duration::ZERO; PROGRAMS]);
        assert_eq!(time.turn(5_000 * MS), Some(true));
        let costs = [Cost { runs: 1, time_ns: MS }; PROGRAMS];
        // The estimate stands for all that has passed.
        assert_eq!(time.look(5_010 * MS, &costs), [Duration::from_millis(501); PROGRAMS]);
        assert_eq!(time.turn(5_020 * MS), Some(false));
        assert_eq!(time.turn(5_030 * MS), None);
        assert_eq!(time.look(10_020 * MS, &costs), [Duration::ZERO; PROGRAMS]);
    }
}
