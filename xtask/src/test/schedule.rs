//! Decides which job starts next. Pure: it sees what waits and what runs, and nothing else.

use super::classes::Class;
use super::job::{Job, Turn};

/// Tests that wait for real programs, side by side: each has some processes, which mostly sleep.
const WAITING_MAX: usize = 5;
/// One core computes while the other one serves those that wait.
const PURE_MAX: usize = 1;
const BACKGROUND_MAX: usize = 1;

/// What runs now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    pub pure: usize,
    pub waiting: usize,
    pub alone: usize,
    pub background: usize,
}

impl Load {
    pub fn of(turns: impl Iterator<Item = Turn>) -> Self {
        turns.fold(Self::default(), |mut load, turn| {
            match turn {
                Turn::Test(Class::Pure) => load.pure += 1,
                Turn::Test(Class::Waits) => load.waiting += 1,
                Turn::Test(Class::Alone) => load.alone += 1,
                Turn::Background => load.background += 1,
            }
            load
        })
    }
}

/// The index of the job to start now, if any may. `has_kafka` is false until the shared Kafka answers.
pub fn next(waiting: &[Job], load: Load, has_kafka: bool) -> Option<usize> {
    if load.alone > 0 {
        return None;
    }
    let may = |turn: Turn| match turn {
        Turn::Test(Class::Pure) => load.pure < PURE_MAX,
        Turn::Test(Class::Waits) => has_kafka && load.waiting < WAITING_MAX,
        // Last of all, and then nothing beside it.
        Turn::Test(Class::Alone) => {
            has_kafka && load == Load::default() && waiting.iter().all(|job| job.turn == Turn::Test(Class::Alone))
        }
        Turn::Background => load.background < BACKGROUND_MAX,
    };
    // The longest first, so that no long one is left over at the end.
    let candidates = waiting.iter().enumerate().filter(|(_, job)| may(job.turn));
    candidates.max_by_key(|(index, job)| (job.typical_s, usize::MAX - index)).map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn job(turn: Turn, typical_s: u64) -> Job {
        Job { turn, typical_s, ..Job::background("x", &["x"], Duration::ZERO) }
    }

    /// Runs all with jobs of one tick each; tells what ran together.
    fn ticks(mut waiting: Vec<Job>) -> Vec<Load> {
        let mut loads = Vec::new();
        while !waiting.is_empty() {
            let mut running = Vec::new();
            while let Some(index) = next(&waiting, Load::of(running.iter().copied()), true) {
                running.push(waiting.remove(index).turn);
            }
            assert!(!running.is_empty(), "nothing may start, and {} wait", waiting.len());
            loads.push(Load::of(running.into_iter()));
        }
        loads
    }

    #[test]
    fn what_measures_runs_alone_and_everything_runs() {
        let kinds = [Turn::Test(Class::Pure), Turn::Test(Class::Waits), Turn::Test(Class::Alone), Turn::Background];
        let loads = ticks((0..40).map(|number| job(kinds[number % 4], number as u64)).collect());
        let sum = |count: fn(&Load) -> usize| loads.iter().map(count).sum::<usize>();
        assert_eq!([sum(|l| l.pure), sum(|l| l.waiting), sum(|l| l.alone), sum(|l| l.background)], [10; 4]);
        assert!(loads.iter().all(|load| load.alone == 0 || *load == Load { alone: 1, ..Load::default() }));
        assert!(loads.iter().all(|load| load.pure <= PURE_MAX && load.waiting <= WAITING_MAX));
    }

    #[test]
    fn the_longest_begins_first_and_nothing_waits_for_kafka_but_what_needs_it() {
        let jobs =
            [job(Turn::Test(Class::Waits), 5), job(Turn::Test(Class::Waits), 90), job(Turn::Test(Class::Pure), 1)];
        assert_eq!(next(&jobs, Load::default(), true), Some(1));
        assert_eq!(next(&jobs, Load::default(), false), Some(2));
        assert_eq!(next(&jobs, Load { alone: 1, ..Load::default() }, true), None);
    }
}
