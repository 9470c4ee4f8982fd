//! Does harm to processes at random moments, and brings each back after a while, as a supervisor would.
//!
//! In: what may be harmed, a seed, how often. Out: [`Fault`]s: what was away, from when to when. A process that ends by
//! itself (one that finds no broker at its start) is started again too, and told of.

mod feed;
pub mod fleet;
pub mod verdict;
mod victim;

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use headwater_process::Child;
use headwater_testing::Random;

use crate::client::time_of_day_us;
use crate::lab::Lab;
pub use victim::{Harm, Part, Victim};

pub const MODES: [&str; 6] = ["join", "service-map", "latency", "bottlenecks", "revisions", "rollups"];

const TICK: Duration = Duration::from_millis(20);

/// Between two kills.
const PAUSE_MS: Range<u64> = 2_000..8_000;

/// Between a kill and the new start.
const AWAY_MS: Range<u64> = 100..4_000;

/// So long is away what is taken away in good order.
const STOPPED_MS: Range<u64> = 1_000..40_000;

/// Transactions expire after 15 s, sessions with a group after 10.
const FROZEN_MS: Range<u64> = 500..25_000;

/// One end of a process, and its new start.
#[derive(Debug, Clone)]
pub struct Fault {
    pub victim: String,
    pub ended_at_us: i64,
    pub started_at_us: i64,
}

/// Everything that may be harmed.
pub struct Chaos {
    random: Random,
    victims: Vec<Victim>,
    faults: Vec<Fault>,
}

impl Chaos {
    /// Takes the agent, the processors and, if they are the lab's own, Kafka and the registry under supervision; all of them run.
    pub fn new(lab: &Arc<Lab>, seed: u64, agent: Child, processors: Vec<Child>) -> Chaos {
        let of_agent = Arc::clone(lab);
        let agent = Victim::program("agent", agent, Box::new(move || of_agent.spawn_agent()));
        let processors = MODES.into_iter().zip(processors).map(|(mode, process)| {
            let lab = Arc::clone(lab);
            Victim::program(mode, process, Box::new(move || lab.processor(mode)))
        });
        let parts = lab.stack.iter().flat_map(|stack| {
            [("kafka", Part::Broker(0)), ("registry", Part::Registry)]
                .map(|(name, part)| Victim::part(name, part, stack))
        });
        Chaos::of([agent].into_iter().chain(processors).chain(parts).collect(), seed)
    }

    /// Takes these under supervision; all of them run.
    pub fn of(victims: Vec<Victim>, seed: u64) -> Chaos {
        Chaos { random: Random::new(seed), victims, faults: Vec::new() }
    }

    /// Kills so many times, each time whatever runs by chance.
    pub fn kill(&mut self, times: usize) -> Result<()> {
        for _ in 0..times {
            let at = Instant::now() + self.random_ms(PAUSE_MS);
            self.supervise(|| Instant::now() >= at)?;
            let running: Vec<usize> = (0..self.victims.len()).filter(|&v| self.victims[v].is_running()).collect();
            let chosen = running[self.random.below(running.len() as u64) as usize];
            let away = self.random_ms(AWAY_MS);
            self.harm(chosen, Harm::Kill, away)?;
        }
        Ok(())
    }

    /// Does any harm to whatever runs by chance. A broker is spared while another one is away: of three, two must agree.
    pub fn harm_any(&mut self) -> Result<()> {
        let spares_brokers = self.victims.iter().any(|victim| victim.is_broker() && !victim.is_running());
        let may = |victim: &Victim| victim.is_running() && !(victim.is_broker() && spares_brokers);
        let candidates: Vec<usize> = (0..self.victims.len()).filter(|&v| may(&self.victims[v])).collect();
        if candidates.is_empty() {
            return Ok(());
        }
        let chosen = candidates[self.random.below(candidates.len() as u64) as usize];
        let (harm, range) = match self.random.below(3) {
            0 => (Harm::Kill, AWAY_MS),
            1 => (Harm::Stop, STOPPED_MS),
            _ => (Harm::Freeze, FROZEN_MS),
        };
        let away = self.random_ms(range);
        self.harm(chosen, harm, away)
    }

    /// Keeps everything running until something holds.
    pub fn supervise(&mut self, mut until: impl FnMut() -> bool) -> Result<()> {
        while !until() {
            for victim in &mut self.victims {
                victim.supervise(&mut self.faults)?;
            }
            std::thread::sleep(TICK);
        }
        Ok(())
    }

    /// Whether nothing is away.
    pub fn all_run(&self) -> bool {
        self.victims.iter().all(Victim::is_running)
    }

    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// From a range, by the seed.
    pub fn random_ms(&mut self, range: Range<u64>) -> Duration {
        Duration::from_millis(range.start + self.random.below(range.end - range.start))
    }

    /// Less than a bound, by the seed.
    pub fn random_below(&mut self, bound: u64) -> u64 {
        self.random.below(bound)
    }

    fn harm(&mut self, chosen: usize, harm: Harm, away: Duration) -> Result<()> {
        let victim = &mut self.victims[chosen];
        println!("{} {harm:?} {}, for {away:?}", time_of_day_us()?, victim.name);
        victim.harm(harm, away)
    }
}
