//! Random systems of services: who calls whom, how often, how long it takes and how often it fails.
//!
//! In: a seed. Out: a call graph without rings, of 5 to 40 services with databases, caches, queues and others' interfaces that only an
//! address names. Services stand in the order of the calls: who is called stands behind who calls.

use headwater_schemas::records::{ADDRESS, Workload};
use headwater_testing::Random;

/// The most requests that an edge usually carries, and the fewest.
const RATE_MAX: f64 = 1000.0;
const RATE_MIN: f64 = 0.1;

/// What a service is, which decides how fast it is and what is said to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// People, or programs that nobody observes; where requests begin.
    Load,
    /// Begins requests at each hour.
    Job,
    Service,
    Database,
    Cache,
    Queue,
    /// Somebody else's interface, of which only an address is known.
    External,
}

#[derive(Debug)]
pub struct Service {
    pub workload: Workload,
    pub tier: Tier,
    /// At which clients ask for it: a load balancer's address, which names nobody.
    pub address: String,
    pub instances: u32,
    /// Median of the time that it takes itself, without those that it calls.
    pub own_us: f64,
    /// Standard deviation of the logarithm of that time.
    pub spread: f64,
    /// The share of requests that take up to 20 times as long.
    pub tail_share: f64,
    /// The share of requests that it fails by itself.
    pub error_share: f64,
    pub operations: Vec<Operation>,
    /// Requests a second that begin here.
    pub begins_per_s: f64,
}

#[derive(Debug)]
pub struct Operation {
    pub name: String,
    /// Of the service's requests, those of this operation.
    pub share: f64,
    /// Its own time, in that of the service.
    pub scale: f64,
}

/// An edge: a service calls another one while it answers.
#[derive(Debug)]
pub struct Call {
    pub client: usize,
    pub server: usize,
    pub protocol: &'static str,
    pub calls_per_request: f64,
    pub retries: u32,
    /// After which the client gives up; none if it waits for ever.
    pub timeout_us: Option<f64>,
    /// The chance that a call that fails makes the client's own request fail.
    pub fails_client: f64,
    /// New connections for each request.
    pub connects: f64,
    pub network_us: f64,
}

#[derive(Debug)]
pub struct System {
    pub seed: u64,
    pub services: Vec<Service>,
    pub calls: Vec<Call>,
}

impl System {
    /// The same seed gives the same system.
    pub fn new(seed: u64) -> System {
        let mut random = Random::new(seed);
        let count = random.between(5, 40) as usize;
        let mut services = vec![service(0, Tier::Load, &mut random), service(1, Tier::Service, &mut random)];
        let leaves = (count * 2 / 5).max(1);
        for number in 2..count - leaves {
            services.push(service(number, Tier::Service, &mut random));
        }
        let inner = services.len();
        for number in inner..count {
            let tier = match random.below(10) {
                0..4 => Tier::Database,
                4..7 => Tier::Cache,
                7..9 => Tier::Queue,
                _ => Tier::External,
            };
            services.push(service(number, tier, &mut random));
        }
        services[0].begins_per_s = log_uniform(&mut random, 1.0, 300.0);
        let mut calls = Vec::new();
        for (server, Service { tier, .. }) in services.iter().enumerate().skip(1) {
            let callers = if server == 1 { 1 } else { 1 + random.index(3).min(random.index(3)) };
            let mut clients: Vec<usize> =
                (0..callers).map(|_| 1 + random.index(inner.min(server).max(2) - 1)).collect();
            clients.sort_unstable();
            clients.dedup();
            if server == 1 {
                clients = vec![0];
            }
            for client in clients {
                calls.push(call(client, server, *tier, &mut random));
            }
        }
        // A job calls two of them, whatever they are.
        let job = services.len();
        services.push(service(job, Tier::Job, &mut random));
        services[job].begins_per_s = log_uniform(&mut random, 0.5, 30.0);
        for server in [1 + random.index(count - 1), count - 1] {
            if !calls.iter().any(|call: &Call| call.client == job && call.server == server) {
                calls.push(Call { timeout_us: None, ..call(job, server, services[server].tier, &mut random) });
            }
        }
        let mut system = System { seed, services, calls };
        system.keep_rates_within_bounds();
        system
    }

    /// Services in an order in which clients stand before their servers.
    pub fn in_order(&self) -> impl DoubleEndedIterator<Item = usize> {
        let job = self.services.len() - 1;
        std::iter::once(job).chain(0..job)
    }

    pub fn calls_of(&self, client: usize) -> impl Iterator<Item = usize> {
        self.calls.iter().enumerate().filter(move |(_, call)| call.client == client).map(|(number, _)| number)
    }

    /// Requests a second that each service usually gets from everyone but jobs, before retries.
    pub fn usual_rates(&self) -> Vec<f64> {
        let mut rates = vec![0.0; self.services.len()];
        rates[0] = self.services[0].begins_per_s;
        for client in 0..self.services.len() - 1 {
            for call in self.calls.iter().filter(|call| call.client == client) {
                rates[call.server] += rates[client] * call.calls_per_request;
            }
        }
        rates
    }

    fn keep_rates_within_bounds(&mut self) {
        for client in 0..self.services.len() - 1 {
            let rate = self.usual_rates()[client].max(1e-9);
            for call in self.calls.iter_mut().filter(|call| call.client == client) {
                call.calls_per_request = (call.calls_per_request * rate).clamp(RATE_MIN, RATE_MAX) / rate;
            }
        }
    }
}

fn service(number: usize, tier: Tier, random: &mut Random) -> Service {
    let (kind, stem, own_us) = match tier {
        Tier::Load => ("program", "load", (1.0, 2.0)),
        Tier::Job => ("program", "job", (1.0, 2.0)),
        Tier::Service => ("program", "service", (200.0, 20_000.0)),
        Tier::Database => ("program", "database", (150.0, 10_000.0)),
        Tier::Cache => ("program", "cache", (50.0, 500.0)),
        Tier::Queue => ("program", "queue", (200.0, 5_000.0)),
        Tier::External => (ADDRESS, "external", (10_000.0, 200_000.0)),
    };
    let address = format!("10.96.0.{number}:8080");
    let name = if tier == Tier::External { format!("203.0.113.{number}:443") } else { format!("{stem}-{number}") };
    let first_share = 0.5 + 0.5 * random.unit();
    let count = if tier == Tier::Service { 1 + random.index(2) } else { 1 };
    let shares = if count == 1 { vec![1.0] } else { vec![first_share, 1.0 - first_share] };
    let operation = |(at, share): (usize, f64)| Operation {
        name: format!("operation-{at}"),
        share,
        scale: if at == 0 { 1.0 } else { 3.0 },
    };
    Service {
        workload: Workload::local(kind, &name),
        tier,
        address,
        instances: 1 + random.below(4) as u32,
        own_us: log_uniform(random, own_us.0, own_us.1),
        spread: 0.2 + 0.8 * random.unit(),
        tail_share: 0.02 * random.unit(),
        error_share: if random.chance(50) { 0.0 } else { 0.01 * random.unit() * random.unit() },
        operations: shares.into_iter().enumerate().map(operation).collect(),
        begins_per_s: 0.0,
    }
}

fn call(client: usize, server: usize, tier: Tier, random: &mut Random) -> Call {
    let protocol = match tier {
        Tier::Database => "postgresql",
        Tier::Cache => "redis",
        Tier::Queue => "kafka",
        _ => "http",
    };
    let pools = !matches!(tier, Tier::Service | Tier::External) || random.chance(60);
    Call {
        client,
        server,
        protocol,
        calls_per_request: if client == 0 { 1.0 } else { log_uniform(random, 0.1, 3.0) },
        retries: random.below(3) as u32,
        timeout_us: random.chance(80).then(|| log_uniform(random, 500_000.0, 5_000_000.0)),
        fails_client: if random.chance(70) { 1.0 } else { 0.3 * random.unit() },
        connects: if pools { log_uniform(random, 0.002, 0.1) } else { 1.0 },
        network_us: log_uniform(random, 50.0, 800.0),
    }
}

/// From `least` to `most`, each factor as likely as each other.
pub fn log_uniform(random: &mut Random, least: f64, most: f64) -> f64 {
    least * (most / least).powf(random.unit())
}
