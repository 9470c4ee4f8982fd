//! How long requests take and how they end, in each part of a system in one state: a caller's time holds that of whom it calls.
//!
//! In: a system and its state. Out: for each edge and operation, how many requests a second are tried, and so many samples of how they end.
//! Samples are drawn from the servers up to the clients, with the same random numbers for each state, so that what did not change stays alike.

use headwater_testing::Random;

use super::effect::{OfService, State};
use super::system::{Call, Service, System, Tier};

/// Samples of each edge and operation.
const SAMPLES: usize = 1024;

/// After that, a segment that got lost is sent again (RFC 6298, section 2.4, as Linux has it).
const RESEND_US: f64 = 200_000.0;
const REFUSED_US: f64 = 300.0;

/// How a request ended, as its client sees it.
#[derive(Debug, Clone, Copy)]
pub struct Ended {
    /// Infinite if it never did.
    pub us: f64,
    pub how: How,
    /// Whether the server began to work on it, and called others.
    pub reached: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    Ok,
    Failed,
    /// The server took it and said nothing; the client gave up.
    Unanswered,
    /// There was no connection to send it over.
    NoConnection,
    /// The client waits for ever.
    Never,
}

/// Requests of one operation over one edge.
#[derive(Debug)]
pub struct Tried {
    pub call: usize,
    pub operation: usize,
    /// With the load at its usual, and jobs not counted; those of jobs stand beside it.
    pub per_s: f64,
    pub of_jobs_per_s: f64,
    pub samples: Vec<Ended>,
}

/// A service, one of its operations, and how often a request of it tries each edge and operation.
type Made = (usize, usize, Vec<(usize, f64)>);

/// All edges and operations.
pub fn solve(system: &System, state: &State) -> Vec<Tried> {
    let mut tried: Vec<Tried> = Vec::new();
    let mut at: Vec<Vec<usize>> = vec![Vec::new(); system.calls.len()];
    // Of a service's operation, the calls that one request makes.
    let mut made: Vec<Made> = Vec::new();
    for server in system.in_order().rev() {
        let service = &system.services[server];
        for operation in 0..service.operations.len() {
            let mut random = Random::new(system.seed ^ ((server as u64) << 32 | operation as u64));
            let mut counts: Vec<(usize, f64)> = Vec::new();
            let answers: Vec<Ended> = (0..SAMPLES)
                .map(|_| {
                    let mut request = Request { system, tried: &tried, at: &at, counts: &mut counts };
                    request.answer(server, operation, &state.services[server], &mut random)
                })
                .collect();
            counts.iter_mut().for_each(|(_, count)| *count /= SAMPLES as f64);
            made.push((server, operation, counts));
            for (number, call) in system.calls.iter().enumerate().filter(|(_, call)| call.server == server) {
                let mut random = Random::new(system.seed ^ 0x5eed ^ ((number as u64) << 32 | operation as u64));
                let effect = &state.calls[number];
                let samples = (0..SAMPLES).map(|sample| {
                    let lost = if random.unit() < effect.lost { RESEND_US } else { 0.0 };
                    let over_us = call.network_us * (0.2 * random.normal()).exp() + effect.delay_us + lost;
                    ask(call, &state.services[server], answers[sample], over_us, &mut random)
                });
                let samples = samples.collect();
                at[number].push(tried.len());
                tried.push(Tried { call: number, operation, per_s: 0.0, of_jobs_per_s: 0.0, samples });
            }
        }
    }
    spread_rates(system, &mut tried, &made);
    tried
}

/// From those who begin requests down to the last server.
fn spread_rates(system: &System, tried: &mut [Tried], made: &[Made]) {
    // Those were made from the last server up.
    for (client, operation, counts) in made.iter().rev() {
        let Service { tier, begins_per_s, operations, .. } = &system.services[*client];
        let (mut per_s, mut of_jobs_per_s) = (0.0, 0.0);
        match tier {
            Tier::Load => per_s = begins_per_s * operations[*operation].share,
            Tier::Job => of_jobs_per_s = begins_per_s * operations[*operation].share,
            _ => {
                let into = |tried: &&Tried| system.calls[tried.call].server == *client && tried.operation == *operation;
                for tried in tried.iter().filter(into) {
                    // Who was not reached calls nobody.
                    let reached = tried.samples.iter().filter(|sample| sample.reached).count();
                    let share = reached as f64 / tried.samples.len() as f64;
                    per_s += tried.per_s * share;
                    of_jobs_per_s += tried.of_jobs_per_s * share;
                }
            }
        }
        for (number, count) in counts {
            tried[*number].per_s += per_s * count;
            tried[*number].of_jobs_per_s += of_jobs_per_s * count;
        }
    }
}

/// One request at a service.
struct Request<'a> {
    system: &'a System,
    tried: &'a [Tried],
    at: &'a [Vec<usize>],
    /// How often each edge and operation was tried.
    counts: &'a mut Vec<(usize, f64)>,
}

impl Request<'_> {
    /// How a service answers, once a request has reached it.
    fn answer(&mut self, server: usize, operation: usize, effect: &OfService, random: &mut Random) -> Ended {
        let service = &self.system.services[server];
        let concerned = effect.operation.is_none_or(|concerned| concerned == operation);
        // Each request takes the same random numbers, whatever the effect.
        let (normal, tail, slower, fails, long) =
            (random.normal(), random.unit(), random.unit(), random.unit(), random.unit());
        let mut us = service.own_us * service.operations[operation].scale * (service.spread * normal).exp();
        if tail < service.tail_share {
            us *= 1.0 + 19.0 * long;
        }
        let mut error_share = service.error_share;
        if concerned {
            us *= effect.factor;
            if slower < effect.tail_share {
                us *= effect.tail_factor;
            }
            error_share += effect.error_share;
        }
        let mut how = if fails < error_share { How::Failed } else { How::Ok };
        let mut random = Random::new(random.number());
        for number in self.system.calls_of(server) {
            let call = &self.system.calls[number];
            let times =
                call.calls_per_request.floor() + f64::from(u8::from(random.unit() < call.calls_per_request.fract()));
            for _ in 0..times as u32 {
                if how != How::Ok {
                    break;
                }
                let ended = self.call(number, call, &mut random);
                us += ended.us;
                match ended.how {
                    How::Ok => {}
                    How::Never => how = How::Never,
                    _ if random.unit() < call.fails_client => how = How::Failed,
                    _ => {}
                }
            }
        }
        Ended { us, how, reached: true }
    }

    fn call(&mut self, number: usize, call: &Call, random: &mut Random) -> Ended {
        let operations = &self.system.services[call.server].operations;
        let operation = usize::from(operations.len() > 1 && random.unit() > operations[0].share);
        let tried = self.at[number][operation];
        let mut us = 0.0;
        for attempt in 0..=call.retries {
            match self.counts.iter_mut().find(|(other, _)| *other == tried) {
                Some((_, count)) => *count += 1.0,
                None => self.counts.push((tried, 1.0)),
            }
            let samples = &self.tried[tried].samples;
            let ended = samples[random.index(samples.len())];
            us += ended.us;
            if matches!(ended.how, How::Ok | How::Never) || attempt == call.retries {
                return Ended { us, ..ended };
            }
        }
        Ended { us, how: How::Failed, reached: true }
    }
}

/// What the client sees of an answer.
fn ask(call: &Call, server: &OfService, answer: Ended, over_us: f64, random: &mut Random) -> Ended {
    let (dead, hung, refused) = (random.unit(), random.unit(), random.unit());
    if dead < server.dead || refused < server.refuses * call.connects {
        return Ended { us: REFUSED_US, how: How::NoConnection, reached: false };
    }
    let us = answer.us + over_us;
    let reached = hung >= server.hung;
    if !reached || answer.how == How::Never || call.timeout_us.is_some_and(|timeout_us| us > timeout_us) {
        return match call.timeout_us {
            Some(us) => Ended { us, how: How::Unanswered, reached },
            None => Ended { us: f64::INFINITY, how: How::Never, reached },
        };
    }
    Ended { us, how: answer.how, reached }
}
