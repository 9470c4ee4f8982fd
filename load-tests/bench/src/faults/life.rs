//! What happens in a system over time: hours and days, jobs, deployments, ramps, and faults.
//!
//! In: a system and a seed. Out: its state at any time, the times at which it changes, and how much is asked. Nothing of it but the faults is
//! anything that somebody should be woken for.

use std::f64::consts::TAU;

use headwater_testing::Random;

use super::effect::State;
use super::fault::Fault;
use super::system::{System, Tier};

pub const DAY_S: f64 = 86_400.0;
pub const WEEK_S: f64 = 7.0 * DAY_S;
/// Slow changes go in steps of this length.
const STEP_S: f64 = 900.0;
/// How much slower everything is at the busiest hour than with nothing to do.
const SLOWER_WITH_LOAD: f64 = 0.3;
/// What is told of beside a false alarm.
const LATELY_S: f64 = 300.0;
const DEPLOYMENTS_A_WEEK: f64 = 3.0;

/// Something that begins and ends.
#[derive(Debug)]
struct Event {
    from_s: f64,
    to_s: f64,
    what: What,
}

#[derive(Debug)]
enum What {
    /// The only instance is away for a moment.
    Away(usize),
    /// One of several instances takes nothing new for a moment.
    Drains(usize),
    /// Just started, with nothing cached.
    Cold(usize),
    /// A new version is slower by a factor.
    Version(usize, f64),
    /// Slower and slower, until it is started again.
    Ramp(usize, f64),
    /// The job runs, and slows those down that it calls.
    Job(f64),
}

#[derive(Debug)]
pub struct Life {
    events: Vec<Event>,
    pub faults: Vec<Fault>,
    /// When the busiest hour is.
    shift_s: f64,
}

impl Life {
    /// A week without a fault.
    pub fn quiet(system: &System, random: &mut Random) -> Life {
        let mut events = Vec::new();
        for (service, _) in system.services.iter().enumerate().filter(|(_, service)| service.tier == Tier::Service) {
            for _ in 0..random.poisson(DEPLOYMENTS_A_WEEK) {
                deploy(system, service, WEEK_S * random.unit(), &mut events, random);
            }
            if random.chance(15) {
                let (from_s, length_s) = (WEEK_S * random.unit(), (6.0 + 42.0 * random.unit()) * 3600.0);
                let what = What::Ramp(service, 1.2 + 0.6 * random.unit());
                events.push(Event { from_s, to_s: from_s + length_s, what });
            }
        }
        let (minute_s, length_s, slows) =
            (3600.0 * random.unit(), 30.0 + 270.0 * random.unit(), 1.0 + 0.5 * random.unit());
        for hour in 0..168 {
            let from_s = f64::from(hour) * 3600.0 + minute_s;
            let to_s = from_s + length_s * (0.8 + 0.4 * random.unit());
            events.push(Event { from_s, to_s, what: What::Job(slows) });
        }
        Life { events, faults: Vec::new(), shift_s: DAY_S * random.unit() }
    }

    /// How much is asked, in what is asked at the busiest hour.
    pub fn load(&self, at_s: f64) -> f64 {
        let of_day = 0.625 + 0.375 * (TAU * (at_s - self.shift_s) / DAY_S).sin();
        let is_weekend = at_s.rem_euclid(WEEK_S) >= 5.0 * DAY_S;
        of_day * if is_weekend { 0.7 } else { 1.0 }
    }

    /// What began, ended or went on in the five minutes before a time, in words.
    pub fn lately(&self, system: &System, at_s: f64) -> Vec<String> {
        let is_near = |event: &&Event| {
            let changed = |change_s: f64| (at_s - LATELY_S..at_s).contains(&change_s);
            changed(event.from_s) || changed(event.to_s)
        };
        let name = |service: usize| &system.services[service].workload.name;
        let near = self.events.iter().filter(is_near);
        near.map(|Event { from_s, to_s, what }| {
            let what = match what {
                What::Away(service) => format!("{} is away", name(*service)),
                What::Drains(service) => format!("an instance of {} drains", name(*service)),
                What::Cold(service) => format!("{} is cold", name(*service)),
                What::Version(service, factor) => format!("a version of {}, {factor:.2} times as slow", name(*service)),
                What::Ramp(service, factor) => format!("{} gets {factor:.2} times as slow", name(*service)),
                What::Job(slows) => format!("the job runs, those it calls are {slows:.2} times as slow"),
            };
            format!("{what}, from {:.0} to {:.0} s of it", from_s - at_s, to_s - at_s)
        })
        .collect()
    }

    pub fn state(&self, system: &System, at_s: f64) -> State {
        let mut state = State::usual(system);
        let step_s = (at_s / STEP_S).floor() * STEP_S;
        let slower = 1.0 + SLOWER_WITH_LOAD * self.load(step_s);
        state.services.iter_mut().for_each(|service| service.factor *= slower);
        for Event { from_s, to_s, what } in &self.events {
            if !(*from_s..*to_s).contains(&at_s) {
                continue;
            }
            match *what {
                What::Away(service) => state.services[service].dead = 1.0,
                What::Drains(service) => state.services[service].refuses = 0.05,
                What::Cold(service) => state.services[service].factor *= 1.25,
                What::Version(service, factor) => state.services[service].factor *= factor,
                What::Ramp(service, factor) => {
                    let gone = ((step_s - from_s) / (to_s - from_s)).clamp(0.0, 1.0);
                    state.services[service].factor *= 1.0 + (factor - 1.0) * gone;
                }
                What::Job(slows) => {
                    state.job_runs = true;
                    let job = system.services.len() - 1;
                    for call in system.calls_of(job) {
                        state.services[system.calls[call].server].factor *= slows;
                    }
                }
            }
        }
        self.faults.iter().for_each(|fault| fault.apply(at_s, &mut state));
        state
    }

    /// All times from one to another at which the state may change, in order.
    pub fn changes_s(&self, from_s: f64, to_s: f64) -> Vec<f64> {
        let mut changes: Vec<f64> = self.events.iter().flat_map(|event| [event.from_s, event.to_s]).collect();
        changes.extend(self.faults.iter().flat_map(Fault::changes_s));
        let first = (from_s / STEP_S).floor() as i64;
        let last = (to_s / STEP_S).ceil() as i64;
        changes.extend((first..=last).map(|step| step as f64 * STEP_S));
        changes.retain(|at_s| (from_s..to_s).contains(at_s));
        changes.sort_by(f64::total_cmp);
        changes.dedup();
        changes
    }
}

fn deploy(system: &System, service: usize, from_s: f64, events: &mut Vec<Event>, random: &mut Random) {
    let instances = system.services[service].instances;
    let mut at_s = from_s;
    for _ in 0..instances {
        let (gone_s, what) = match instances {
            1 => (1.0 + 3.0 * random.unit(), What::Away(service)),
            _ => (1.0 + 4.0 * random.unit(), What::Drains(service)),
        };
        events.push(Event { from_s: at_s, to_s: at_s + gone_s, what });
        events.push(Event { from_s: at_s + gone_s, to_s: at_s + gone_s + 20.0, what: What::Cold(service) });
        at_s += gone_s + 20.0 + 40.0 * random.unit();
    }
    let slower = 1.0 + 0.1 * random.unit();
    // Until the next one, of which nobody knows; half a week is usual.
    events.push(Event { from_s, to_s: from_s + WEEK_S / 2.0, what: What::Version(service, slower) });
}
