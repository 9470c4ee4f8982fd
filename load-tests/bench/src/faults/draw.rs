//! What is counted in one window: so many requests of each edge and operation, drawn from the samples of the state.
//!
//! In: parts of a window with their states. Out: the records `edges` and `latencies` of the window, as service-map and latency write them.
//! Few requests are drawn one by one, many by bucket of the histogram.

use std::collections::BTreeMap;

use headwater_histogram::{Histogram, SCALE};
use headwater_schemas::records::{ADDRESS, Edge, Latency, Workload};
use headwater_testing::Random;

use super::solve::{Ended, How, Tried};
use super::system::System;

/// Above that they are drawn by bucket.
const ONE_BY_ONE_MAX: i64 = 100;
/// No request takes longer, in microseconds.
const US_MAX: f64 = 600e6;
const BUCKETS_PER_OCTAVE: f64 = (1 << SCALE) as f64;
const WINDOW_MS: i64 = 10_000;
/// One window of this many in which a service pauses: for its garbage, a neighbour, a disk.
const PAUSES_ONE_IN: u64 = 2000;
/// Of the logarithm: how requests and times vary from window to window, beyond chance.
const LOAD_VARIES: f64 = 0.05;
const TIME_VARIES: f64 = 0.03;
const RTT_VARIES: f64 = 0.1;
const RETRANSMITS: f64 = 0.0005;
const REQUEST_BYTES: f64 = 200.0;
/// Standard deviation of a request's size, in its mean.
const BYTES_VARY: f64 = 0.6;
const RESPONSE_BYTES: i64 = 1000;

/// Some time of one state.
pub struct Part<'a> {
    pub seconds: f64,
    pub load: f64,
    pub job_runs: bool,
    pub prepared: &'a [Prepared],
    /// Of each service: whether it hangs.
    pub hangs: &'a [bool],
}

/// Samples of one edge and operation, ready to be drawn from.
pub struct Prepared {
    tried: Tried,
    answered: [Buckets; 2],
    unanswered_us: f64,
    unanswered: f64,
    no_connection: f64,
    never: f64,
    delay_us: f64,
    lost: f64,
}

/// The chance of each bucket that has any.
#[derive(Default)]
struct Buckets(Vec<(i32, f64)>);

impl Prepared {
    pub fn new(tried: Tried, delay_us: f64, lost: f64) -> Prepared {
        let count = tried.samples.len() as f64;
        let share = |how: How| tried.samples.iter().filter(|sample| sample.how == how).count() as f64 / count;
        let buckets = |how: How| {
            let mut counts: BTreeMap<i32, f64> = BTreeMap::new();
            for sample in tried.samples.iter().filter(|sample| sample.how == how) {
                *counts.entry(bucket(sample.us)).or_default() += 1.0 / count;
            }
            Buckets(counts.into_iter().collect())
        };
        let unanswered = tried.samples.iter().find(|sample| sample.how == How::Unanswered);
        Prepared {
            answered: [buckets(How::Ok), buckets(How::Failed)],
            unanswered_us: unanswered.map_or(0.0, |sample| sample.us),
            unanswered: share(How::Unanswered),
            no_connection: share(How::NoConnection),
            never: share(How::Never),
            delay_us,
            lost,
            tried,
        }
    }
}

/// What an edge carried in a window under one name of its server.
#[derive(Default)]
struct Carried {
    /// Of each operation, what succeeded and what failed.
    operations: [[Histogram; 2]; 2],
    /// Of requests that were sent, whatever became of them.
    sent_bytes: i64,
    answered: i64,
    opened: i64,
    failed: i64,
    retransmits: i64,
    rtt_us: f64,
}

/// The records of one window.
pub fn window(system: &System, start_us: i64, parts: &[Part<'_>], random: &mut Random) -> (Vec<Edge>, Vec<Latency>) {
    let jitter = (LOAD_VARIES * random.normal()).exp();
    let varies: Vec<f64> = system
        .services
        .iter()
        .map(|_| {
            let pause = if random.one_in(PAUSES_ONE_IN) { 1.5 + 1.5 * random.unit() } else { 1.0 };
            pause * (TIME_VARIES * random.normal()).exp()
        })
        .collect();
    let mut carried: BTreeMap<(usize, bool), Carried> = BTreeMap::new();
    for part in parts {
        for prepared in part.prepared {
            let Tried { call: number, operation, per_s, of_jobs_per_s, .. } = prepared.tried;
            let call = &system.calls[number];
            let jobs_per_s = if part.job_runs { of_jobs_per_s } else { 0.0 };
            let count = poisson(random, (per_s * part.load * jitter + jobs_per_s) * part.seconds);
            if count == 0 {
                continue;
            }
            let is_external = system.services[call.server].workload.kind == ADDRESS;
            let drawn = prepared.draw(count, varies[call.server], random);
            let named = carried.entry((number, false)).or_default();
            let [ok, failed] = &mut named.operations[operation];
            // They are our own.
            let _ = ok.merge(&drawn.answered[0]);
            let _ = failed.merge(&drawn.answered[1]);
            named.sent_bytes += bytes(drawn.answers, random);
            named.answered += drawn.answers;
            named.opened += poisson(random, drawn.answers as f64 * call.connects);
            named.retransmits += poisson(random, count as f64 * (RETRANSMITS + prepared.lost));
            named.rtt_us = (call.network_us + prepared.delay_us) * (RTT_VARIES * random.normal()).exp();
            // Who says nothing is known by name as long as an older connection lasts.
            let is_nameless = !is_external && call.connects > 0.05 && part.hangs[call.server];
            let silent = carried.entry((number, is_nameless)).or_default();
            let unanswered_ns = (prepared.unanswered_us * 1000.0) as u64;
            silent.operations[operation][1].record_many(unanswered_ns, drawn.unanswered);
            // Of a request that nobody ever answers nor gives up, the join knows the bytes that were sent.
            silent.sent_bytes += bytes(i64::from(drawn.unanswered) + drawn.never, random);
            let refused = carried.entry((number, !is_external)).or_default();
            refused.failed += drawn.no_connection;
        }
    }
    let mut records = (Vec::new(), Vec::new());
    for ((number, is_nameless), carried) in carried {
        publish(system, number, is_nameless, carried, start_us, &mut records);
    }
    records
}

struct Drawn {
    answered: [Histogram; 2],
    answers: i64,
    unanswered: u32,
    no_connection: i64,
    never: i64,
}

impl Prepared {
    fn draw(&self, count: i64, varies: f64, random: &mut Random) -> Drawn {
        let mut drawn = Drawn { answered: Default::default(), answers: 0, unanswered: 0, no_connection: 0, never: 0 };
        if count > ONE_BY_ONE_MAX {
            let shift = (varies.log2() * BUCKETS_PER_OCTAVE).round() as i32;
            for (histogram, buckets) in drawn.answered.iter_mut().zip(&self.answered) {
                *histogram = buckets.draw(count, shift, random);
            }
            drawn.answers = drawn.answered.iter().map(|histogram| histogram.count() as i64).sum();
            drawn.unanswered = poisson(random, count as f64 * self.unanswered) as u32;
            drawn.no_connection = poisson(random, count as f64 * self.no_connection);
            drawn.never = poisson(random, count as f64 * self.never);
            return drawn;
        }
        for _ in 0..count {
            let Ended { us, how, .. } = self.tried.samples[random.index(self.tried.samples.len())];
            let ns = (us.min(US_MAX) * varies * 1000.0) as u64;
            match how {
                How::Ok | How::Failed => {
                    drawn.answered[usize::from(how == How::Failed)].record(ns);
                    drawn.answers += 1;
                }
                How::Unanswered => drawn.unanswered += 1,
                How::NoConnection => drawn.no_connection += 1,
                How::Never => drawn.never += 1,
            }
        }
        drawn
    }
}

impl Buckets {
    fn draw(&self, count: i64, shift: i32, random: &mut Random) -> Histogram {
        let (Some((first, _)), Some((last, _))) = (self.0.first(), self.0.last()) else { return Histogram::default() };
        let mut counts = vec![0u32; (last - first + 1) as usize];
        let mut sum = 0.0;
        for (bucket, chance) in &self.0 {
            let drawn = poisson(random, count as f64 * chance);
            counts[(bucket - first) as usize] = drawn as u32;
            sum += drawn as f64 * ((f64::from(bucket + shift) + 0.5) / BUCKETS_PER_OCTAVE).exp2();
        }
        Histogram::of_buckets(first + shift, &counts, sum as u64)
    }
}

/// How large so many requests are.
fn bytes(requests: i64, random: &mut Random) -> i64 {
    let deviation = BYTES_VARY * (requests as f64).sqrt() * random.normal();
    (REQUEST_BYTES * (requests as f64 + deviation)).max(requests as f64) as i64
}

/// The bucket of a time: see [`Histogram`].
fn bucket(us: f64) -> i32 {
    let ns = (us.min(US_MAX) * 1000.0).max(1.0);
    (ns.log2() * BUCKETS_PER_OCTAVE).ceil() as i32 - 1
}

/// How many there are where `mean` are usual; for many, as good as the normal distribution is.
fn poisson(random: &mut Random, mean: f64) -> i64 {
    if mean <= 0.0 {
        0
    } else if mean > 30.0 {
        (mean + mean.sqrt() * random.normal()).round().max(0.0) as i64
    } else {
        random.poisson(mean)
    }
}

fn publish(
    system: &System,
    number: usize,
    is_nameless: bool,
    carried: Carried,
    start_us: i64,
    (edges, latencies): &mut (Vec<Edge>, Vec<Latency>),
) {
    let call = &system.calls[number];
    let server = &system.services[call.server];
    let client = system.services[call.client].workload.clone();
    let workload = if is_nameless { Workload::local(ADDRESS, &server.address) } else { server.workload.clone() };
    let mut durations = Histogram::default();
    let (mut requests, mut errors) = (0, 0);
    for (operation, histograms) in server.operations.iter().zip(carried.operations) {
        for (class, duration_ns) in ["2xx", "5xx"].into_iter().zip(histograms) {
            let count = duration_ns.count() as i64;
            if count == 0 {
                continue;
            }
            let failed = if class == "5xx" { count } else { 0 };
            (requests, errors) = (requests + count, errors + failed);
            // They are our own.
            let _ = durations.merge(&duration_ns);
            latencies.push(Latency {
                window_start_us: start_us,
                window_ms: WINDOW_MS,
                revision: 0,
                client: client.clone(),
                server: workload.clone(),
                protocol: call.protocol.to_owned(),
                operation: operation.name.clone(),
                status_class: class.to_owned(),
                requests: count,
                errors: failed,
                p50_us: duration_ns.quantile(0.5) / 1000.0,
                p95_us: duration_ns.quantile(0.95) / 1000.0,
                p99_us: duration_ns.quantile(0.99) / 1000.0,
                duration_ns,
                server_duration_ns: Histogram::default(),
                completeness: 1.0,
            });
        }
    }
    if requests == 0 && carried.failed == 0 && carried.sent_bytes == 0 {
        return;
    }
    let asked = if server.workload.kind == ADDRESS { Vec::new() } else { vec![server.address.clone()] };
    edges.push(Edge {
        window_start_us: start_us,
        window_ms: WINDOW_MS,
        revision: 0,
        client,
        server: workload,
        // Of what was refused, nothing was understood.
        protocol: if is_nameless && requests == 0 { "tcp".to_owned() } else { call.protocol.to_owned() },
        requests,
        errors,
        both_sides: if is_nameless || server.workload.kind == ADDRESS { 0 } else { carried.answered },
        request_bytes: (REQUEST_BYTES * requests as f64) as i64,
        response_bytes: RESPONSE_BYTES * carried.answered,
        p50_us: durations.quantile(0.5) / 1000.0,
        p95_us: durations.quantile(0.95) / 1000.0,
        p99_us: durations.quantile(0.99) / 1000.0,
        duration_ns: durations,
        server_duration_ns: Histogram::default(),
        client_to_server_bytes: carried.sent_bytes,
        server_to_client_bytes: RESPONSE_BYTES * carried.answered,
        connections_opened: carried.opened,
        connections_closed: carried.opened,
        connections_failed: carried.failed,
        retransmits: carried.retransmits,
        rtt_us: if carried.rtt_us > 0.0 { carried.rtt_us } else { -1.0 },
        asked,
        encryption: BTreeMap::new(),
        completeness: 1.0,
    });
}
