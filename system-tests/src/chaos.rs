//! Kills the lab's processes at random moments, and starts each again after a while, as a supervisor would.
//!
//! In: a lab, a seed, how many kills. Out: [`Fault`]s: what was killed, from when to when it was away. A process that ends by
//! itself (one that finds no broker at its start) is started again too, and told of.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use headwater_process::Child;

use crate::client::time_of_day_us;
use crate::lab::Lab;
use headwater_testing::Random;

pub const MODES: [&str; 4] = ["join", "service-map", "latency", "bottlenecks"];

const TICK: Duration = Duration::from_millis(20);

/// Between two kills.
const PAUSE_MS: std::ops::Range<u64> = 2_000..8_000;

/// Between a kill and the new start.
const AWAY_MS: std::ops::Range<u64> = 100..4_000;

/// Before a process that ended by itself is started again.
const AGAIN: Duration = Duration::from_secs(1);

/// One end of a process, and its new start.
#[derive(Debug, Clone)]
pub struct Fault {
    pub victim: &'static str,
    pub ended_at_us: i64,
    pub started_at_us: i64,
}

/// Everything that may be killed.
pub struct Chaos {
    lab: Arc<Lab>,
    random: Random,
    victims: Vec<Victim>,
    faults: Vec<Fault>,
}

struct Victim {
    name: &'static str,
    state: State,
}

enum State {
    /// Kafka and the registry are the stack's own processes.
    Running(Option<Child>),
    Ended {
        at_us: i64,
        again_at: Instant,
    },
    /// A part of the stack takes some seconds.
    Starting(JoinHandle<Result<()>>),
}

impl Chaos {
    /// Takes the agent, the processors, Kafka and the registry under supervision; all of them run.
    pub fn new(lab: Arc<Lab>, seed: u64, agent: Child, processors: Vec<Child>) -> Chaos {
        let programs = ["agent"].into_iter().chain(MODES).zip([agent].into_iter().chain(processors));
        let programs = programs.map(|(name, process)| Victim { name, state: State::Running(Some(process)) });
        let stack = ["kafka", "registry"].map(|name| Victim { name, state: State::Running(None) });
        Chaos { lab, random: Random::new(seed), victims: programs.chain(stack).collect(), faults: Vec::new() }
    }

    /// Kills so many times, each time whatever runs by chance.
    pub fn kill(&mut self, times: usize) -> Result<()> {
        for _ in 0..times {
            let at = Instant::now() + self.random_ms(PAUSE_MS);
            self.supervise(|| Instant::now() >= at)?;
            let running: Vec<usize> = (0..self.victims.len()).filter(|&v| self.victims[v].is_running()).collect();
            let chosen = running[self.random.below(running.len() as u64) as usize];
            let away = self.random_ms(AWAY_MS);
            let victim = &mut self.victims[chosen];
            println!("{} kill {}, for {away:?}", time_of_day_us()?, victim.name);
            let at_us = time_of_day_us()?;
            match &mut victim.state {
                State::Running(Some(process)) => process.kill(),
                _ if victim.name == "kafka" => self.lab.own_stack().kafka().kill(),
                _ => self.lab.own_stack().registry().kill(),
            }
            victim.state = State::Ended { at_us, again_at: Instant::now() + away };
        }
        Ok(())
    }

    /// Keeps everything running until something holds.
    pub fn supervise(&mut self, mut until: impl FnMut() -> bool) -> Result<()> {
        while !until() {
            for victim in &mut self.victims {
                victim.supervise(&self.lab, &mut self.faults)?;
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

    fn random_ms(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(range.start + self.random.below(range.end - range.start))
    }
}

impl Victim {
    fn is_running(&self) -> bool {
        matches!(self.state, State::Running(_))
    }

    fn supervise(&mut self, lab: &Arc<Lab>, faults: &mut Vec<Fault>) -> Result<()> {
        match &mut self.state {
            State::Running(Some(process)) => {
                if let Some(status) = process.ended()? {
                    let log = process.log_text();
                    println!("{} {} ended by itself, {status}: {}", time_of_day_us()?, self.name, last_line(&log));
                    self.state = State::Ended { at_us: time_of_day_us()?, again_at: Instant::now() + AGAIN };
                }
            }
            State::Ended { at_us, again_at } if Instant::now() >= *again_at => {
                faults.push(Fault { victim: self.name, ended_at_us: *at_us, started_at_us: time_of_day_us()? });
                self.state = start(self.name, lab)?;
            }
            State::Starting(start) if start.is_finished() => {
                let State::Starting(start) = std::mem::replace(&mut self.state, State::Running(None)) else {
                    return Ok(());
                };
                let Ok(started) = start.join() else { bail!("the start of {} panicked", self.name) };
                match started {
                    Ok(()) => println!("{} {} is back", time_of_day_us()?, self.name),
                    Err(error) => {
                        println!("{} {} did not start: {error:#}", time_of_day_us()?, self.name);
                        self.state = State::Ended { at_us: time_of_day_us()?, again_at: Instant::now() + AGAIN };
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn start(name: &'static str, lab: &Arc<Lab>) -> Result<State> {
    let of_stack = Arc::clone(lab);
    Ok(match name {
        "agent" => State::Running(Some(lab.spawn_agent()?)),
        "kafka" => State::Starting(std::thread::spawn(move || Ok(of_stack.own_stack().kafka().restart()?))),
        "registry" => State::Starting(std::thread::spawn(move || Ok(of_stack.own_stack().registry().restart()?))),
        mode => State::Running(Some(lab.processor(mode)?)),
    })
}

fn last_line(text: &str) -> &str {
    text.lines().last().unwrap_or_default()
}
