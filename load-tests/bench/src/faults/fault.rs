//! Faults of eight kinds, from faint to plain: where, what and how much.
//!
//! In: a system and random numbers. Out: a fault in a place that carries at least one request in two seconds, and what it does to the state. How slow
//! something gets is said in multiples of the whole time that the place takes to answer, with those that it waits for: what nobody who calls it can
//! notice is no fault.

use headwater_schemas::records::Workload;
use headwater_testing::Random;

use super::effect::{OfService, State};
use super::solve::{How, solve};
use super::system::{Call, System, Tier, log_uniform};

/// Where less is asked, nothing can be told within minutes.
const RATE_MIN: f64 = 0.5;
/// A service that lacks the processor is slower and slower for so long.
const GROWS_S: f64 = 60.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Latency,
    Errors,
    Crash,
    Hang,
    Starvation,
    Network,
    Database,
    Refusal,
}

impl Kind {
    pub const ALL: [Kind; 8] = [
        Kind::Latency,
        Kind::Errors,
        Kind::Crash,
        Kind::Hang,
        Kind::Starvation,
        Kind::Network,
        Kind::Database,
        Kind::Refusal,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Latency => "latency",
            Kind::Errors => "errors",
            Kind::Crash => "crash",
            Kind::Hang => "hang",
            Kind::Starvation => "cpu starvation",
            Kind::Network => "packet loss, delay",
            Kind::Database => "slow database",
            Kind::Refusal => "refusal",
        }
    }
}

/// Who is to be blamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Service(usize),
    Call(usize),
}

#[derive(Debug, Clone)]
pub struct Fault {
    pub kind: Kind,
    pub place: Place,
    pub from_s: f64,
    pub to_s: f64,
    what: What,
}

#[derive(Debug, Clone)]
enum What {
    Service(OfService),
    Packets { delay_us: f64, lost: f64 },
}

impl Fault {
    /// One of a kind in a system; none if that has no place for it.
    pub fn new(kind: Kind, system: &System, from_s: f64, to_s: f64, random: &mut Random) -> Option<Fault> {
        let rates = system.usual_rates();
        let fits = |number: &usize| {
            let tier = system.services[*number].tier;
            let is_right = match kind {
                Kind::Database => tier == Tier::Database,
                Kind::Starvation => tier == Tier::Service,
                _ => !matches!(tier, Tier::Load | Tier::Job),
            };
            is_right && rates[*number] >= RATE_MIN
        };
        let usual = State::usual(system).services.swap_remove(0);
        let (place, what) = if kind == Kind::Network {
            let carries = |number: &usize| {
                let call = &system.calls[*number];
                fits(&call.server) && rates[call.client] * call.calls_per_request >= RATE_MIN
            };
            let call = pick((0..system.calls.len()).filter(carries), random)?;
            let whole_us = whole_us(system, system.calls[call].server);
            let (delay_us, lost) = match random.below(2) {
                0 => ((whole_us * log_uniform(random, 0.7, 10.0)).clamp(1_000.0, 200_000.0), 0.0),
                _ => (0.0, log_uniform(random, 0.01, 0.1)),
            };
            (Place::Call(call), What::Packets { delay_us, lost })
        } else {
            let service = pick((0..system.services.len()).filter(fits), random)?;
            let mut effect = of_service(kind, system, service, usual, random);
            // It is its own work that takes longer, until all of it takes so many times as long.
            let whole = (whole_us(system, service) / system.services[service].own_us).max(1.0);
            effect.factor = 1.0 + (effect.factor - 1.0) * whole;
            effect.tail_factor = 1.0 + (effect.tail_factor - 1.0) * whole;
            (Place::Service(service), What::Service(effect))
        };
        Some(Fault { kind, place, from_s, to_s, what })
    }

    /// Adds to the state what the fault does at a time.
    pub fn apply(&self, at_s: f64, state: &mut State) {
        if !(self.from_s..self.to_s).contains(&at_s) {
            return;
        }
        match (self.place, &self.what) {
            (Place::Service(service), What::Service(effect)) => {
                let grown = match self.kind {
                    Kind::Starvation => ((at_s - self.from_s + 10.0) / GROWS_S).min(1.0),
                    _ => 1.0,
                };
                let factor = 1.0 + (effect.factor - 1.0) * grown;
                let usual = &state.services[service];
                state.services[service] = OfService { factor: usual.factor * factor, ..effect.clone() };
            }
            (Place::Call(call), What::Packets { delay_us, lost }) => {
                state.calls[call].delay_us += delay_us;
                state.calls[call].lost += lost;
            }
            _ => {}
        }
    }

    /// When it begins, changes and ends.
    pub fn changes_s(&self) -> Vec<f64> {
        let mut changes = vec![self.from_s, self.to_s];
        if self.kind == Kind::Starvation {
            changes.extend((1..=(GROWS_S / 10.0) as u32).map(|step| self.from_s + 10.0 * f64::from(step)));
        }
        changes
    }

    /// Of the requests that its place is asked in a time, those to which it does anything, at a load.
    pub fn touched(&self, system: &System, load: f64, seconds: f64) -> f64 {
        let rates = system.usual_rates();
        let (per_s, share) = match (self.place, &self.what) {
            (Place::Call(call), What::Packets { lost, .. }) => {
                let call = &system.calls[call];
                (rates[call.client] * call.calls_per_request, if *lost > 0.0 { *lost } else { 1.0 })
            }
            (Place::Service(service), What::Service(effect)) => {
                let operations = &system.services[service].operations;
                let of_operation = effect.operation.map_or(1.0, |operation| operations[operation].share);
                let into = |call: &&Call| call.server == service;
                let connects = system.calls.iter().filter(into).map(|call| call.connects).fold(0.0, f64::max);
                let share = match self.kind {
                    Kind::Refusal => effect.refuses * connects,
                    Kind::Crash => effect.dead,
                    Kind::Hang => effect.hung,
                    _ if effect.error_share > 0.0 => effect.error_share,
                    _ if effect.factor > 1.0 => 1.0,
                    _ => effect.tail_share,
                };
                (rates[service], share * of_operation)
            }
            _ => (0.0, 0.0),
        };
        per_s * load * seconds * share
    }

    /// In words.
    pub fn tell(&self, system: &System) -> String {
        match self.place {
            Place::Service(service) => format!("{} {:?}", system.services[service].workload, self.what),
            Place::Call(call) => {
                let call = &system.calls[call];
                let [client, server] = [call.client, call.server].map(|end| &system.services[end].workload);
                format!("{client} to {server} {:?}", self.what)
            }
        }
    }

    /// Whether this is the place that an alert's edge names.
    pub fn is_at(&self, system: &System, client: &Workload, server: &Workload) -> bool {
        match self.place {
            Place::Service(service) => system.services[service].workload == *server,
            Place::Call(call) => {
                let call = &system.calls[call];
                let ends = [call.client, call.server].map(|end| &system.services[end].workload);
                ends == [client, server]
            }
        }
    }
}

fn of_service(kind: Kind, system: &System, service: usize, usual: OfService, random: &mut Random) -> OfService {
    let operations = system.services[service].operations.len();
    let operation = (operations > 1 && random.chance(40)).then(|| random.index(operations));
    match kind {
        // The slow tail alone, or all of it.
        Kind::Latency if random.chance(35) => OfService {
            operation,
            tail_share: log_uniform(random, 0.02, 0.08),
            tail_factor: log_uniform(random, 10.0, 40.0),
            ..usual
        },
        Kind::Latency => OfService { operation, factor: log_uniform(random, 1.6, 12.0), ..usual },
        Kind::Errors if random.chance(40) => {
            OfService { operation, error_share: log_uniform(random, 0.01, 0.045), ..usual }
        }
        Kind::Errors => OfService { operation, error_share: log_uniform(random, 0.05, 0.9), ..usual },
        Kind::Crash => OfService { dead: partly(random), ..usual },
        Kind::Hang => OfService { hung: partly(random), ..usual },
        Kind::Starvation => OfService {
            factor: log_uniform(random, 1.6, 10.0),
            tail_share: 0.05,
            tail_factor: 1.0 + 4.0 * random.unit(),
            ..usual
        },
        Kind::Database | Kind::Network => OfService { factor: log_uniform(random, 1.8, 25.0), ..usual },
        Kind::Refusal => OfService { refuses: 0.2 + 0.8 * random.unit(), ..usual },
    }
}

/// The median of what a service usually takes, with those that it waits for.
fn whole_us(system: &System, service: usize) -> f64 {
    let tried = solve(system, &State::usual(system));
    let answers = tried.iter().find(|tried| system.calls[tried.call].server == service && tried.operation == 0);
    let answers = answers.into_iter().flat_map(|tried| &tried.samples);
    let mut us: Vec<f64> = answers.filter(|ended| ended.how == How::Ok).map(|ended| ended.us).collect();
    us.sort_by(f64::total_cmp);
    us.get(us.len() / 2).copied().unwrap_or(system.services[service].own_us)
}

/// All instances, or some of them.
fn partly(random: &mut Random) -> f64 {
    if random.chance(60) { 1.0 } else { 0.1 + 0.8 * random.unit() }
}

fn pick(from: impl Iterator<Item = usize>, random: &mut Random) -> Option<usize> {
    let from: Vec<usize> = from.collect();
    (!from.is_empty()).then(|| from[random.index(from.len())])
}
