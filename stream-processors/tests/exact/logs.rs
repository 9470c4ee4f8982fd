//! What agents write into Kafka: records in the partition of their connection, progress in every partition, each agent in order.
//!
//! In: a [`World`]. Out: the logs of all partitions of flows, requests and progress, as bytes. Progress is that of the agent's own
//! ledger. What is dropped, or dies with its agent, is known by its absence from the logs.

use std::collections::{BTreeMap, HashSet};

use headwater_agent::ledger::{Ledger, Stream};
use headwater_histogram::Histogram;
use headwater_kafka::partition_of;
use headwater_processors::processor::Kind;
use headwater_schemas::place::{Offset, Partition};
use headwater_schemas::records::{
    ADDRESS, CLIENT_LEFT, Flow, FlowState, HOST, Kind as RequestKind, Outcome, Progress, Record, Request, Side, Sums,
    Workload,
};
use headwater_schemas::wire::{Encoder, split};
use serde::Serialize;

use crate::vouched::{Came, Saying, progress};
use crate::world::{End, Exchange, Fact, Run, SECOND, World, is_plain};
use headwater_testing::Random;

const POLL_US: i64 = 50_000;
const SETTLED_US: i64 = 50_000;

/// One record of a partition.
#[derive(Debug, Clone)]
pub struct Entry {
    pub offset: Offset,
    pub timestamp_us: i64,
    /// When the broker appended it, if it says so.
    pub appended_us: Option<i64>,
    pub kind: Kind,
    pub datum: Vec<u8>,
    /// What it tells of: several exchanges if it is their sum.
    pub facts: Vec<Fact>,
    /// The run of an agent that wrote it.
    pub run: usize,
    /// Where in the log of progress its agent vouches for it.
    pub vouched_at: Option<Offset>,
}

impl Entry {
    /// What a processor wrote.
    pub fn made(offset: Offset, timestamp_us: i64, kind: Kind, datum: Vec<u8>) -> Entry {
        let (appended_us, facts, run, vouched_at) = (None, Vec::new(), 0, None);
        Entry { offset, timestamp_us, appended_us, kind, datum, facts, run, vouched_at }
    }
}

pub type Log = Vec<Entry>;

/// The logs of the topics by partition, and which facts are in them and vouched for.
pub struct Logs {
    pub flows: Vec<Log>,
    pub requests: Vec<Log>,
    pub progress: Vec<Log>,
    pub delivered: HashSet<(u8, usize)>,
}

/// A record on its way.
struct Sent {
    arrives_us: i64,
    run: usize,
    emitted_us: i64,
    stream: Stream,
    partition: Partition,
    datum: Vec<u8>,
    facts: Vec<Fact>,
}

/// How one run of an agent delivers.
struct Delivery {
    random: Random,
    full: Option<(i64, i64)>,
    stalled: Option<(i64, i64, Option<Partition>)>,
    last_us: Vec<i64>,
}

pub struct Codec {
    request: Encoder,
    flow: Encoder,
    progress: Encoder,
}

impl Codec {
    pub fn new() -> Codec {
        Codec {
            request: Encoder::of::<Request<'_>>(1).unwrap(),
            flow: Encoder::of::<Flow<'_>>(2).unwrap(),
            progress: Encoder::of::<Progress>(3).unwrap(),
        }
    }
}

/// The datum of a record.
pub fn datum<R: Record + Serialize>(encoder: &Encoder, record: &R) -> Vec<u8> {
    let value = encoder.encode(record).unwrap();
    split(&value).unwrap().1.to_vec()
}

impl Logs {
    pub fn of(world: &World, codec: &Codec) -> Logs {
        let (mut sent, mut sayings): (Vec<Sent>, Vec<Saying>) = Default::default();
        for run in 0..world.runs.len() {
            let (records, said) = deliver(world, run, codec);
            sent.extend(records);
            sayings.extend(said);
        }
        sent.sort_by_key(|record| (record.arrives_us, record.run));
        let mut random = Random::new(world.plan.seed ^ 0x0ff5e7);
        let partitions = world.plan.partitions as usize;
        let mut logs = [vec![Log::new(); partitions], vec![Log::new(); partitions]];
        let mut came = Came::new();
        for Sent { arrives_us, run, emitted_us, stream, partition, datum, facts } in sent {
            let (stream, partition) = (usize::from(stream == Stream::Requests), partition.0 as usize);
            let log = &mut logs[stream][partition];
            // Offsets have gaps where transactions end.
            let offset = Offset(log.last().map_or(0, |last: &Entry| last.offset.0 + 1 + i64::from(random.chance(5))));
            came.entry((run, stream, partition)).or_default().push((arrives_us, offset));
            let appended_us = world.plan.is_stamped.then_some(arrives_us);
            let timestamp_us = appended_us.unwrap_or(emitted_us);
            let (kind, vouched_at) = (Kind::Value, None);
            log.push(Entry { offset, timestamp_us, appended_us, kind, datum, facts, run, vouched_at });
        }
        let node_of = |run: usize| world.runs[run].node;
        let how = (world.plan.is_stamped, &mut random);
        let progress = progress(sayings, &mut logs, &came, node_of, how, &codec.progress);
        // What nobody vouches for counts nowhere.
        let vouched = logs.iter().flatten().flatten().filter(|entry| entry.vouched_at.is_some());
        let facts = vouched.flat_map(|entry| &entry.facts).map(|fact| match *fact {
            Fact::Exchange(index, side) => (side as u8, index),
            Fact::Progress(index) => (2, index),
        });
        let delivered = facts.collect();
        let [flows, requests] = logs;
        Logs { flows, requests, progress, delivered }
    }

    pub fn has_exchange(&self, index: usize, side: Side) -> bool {
        self.delivered.contains(&(side as u8, index))
    }

    pub fn has_progress(&self, index: usize) -> bool {
        self.delivered.contains(&(2, index))
    }
}

/// All that one run of an agent publishes, as its pipeline does it, and when it arrives; what dies with it is left out.
fn deliver(world: &World, run: usize, codec: &Codec) -> (Vec<Sent>, Vec<Saying>) {
    let Run { node, from_us, to_us, end } = world.runs[run].clone();
    let partitions = world.plan.partitions;
    let mut delivery = Delivery::of(world, run);
    let began_us = world.local_us(node, from_us);
    let mut ledger = Ledger::new(format!("node-{node}"), began_us, began_us);
    let mut facts = world.captured[run].iter().peekable();
    let mut summing = Summing::default();
    let (mut sent, mut sayings) = (Vec::new(), Vec::new());
    let mut handed = vec![[0, 0]; partitions as usize];
    let mut watermark_at_us = from_us + SECOND;
    let mut now_us = from_us;
    loop {
        now_us = (now_us + POLL_US).min(to_us);
        let stopping = now_us == to_us;
        let is_last_word = stopping && end == End::Stopped;
        let drained = |at_us: i64| at_us < now_us || is_last_word;
        let mut told: Vec<Vec<Fact>> = Vec::new();
        while let Some((_, fact)) = facts.next_if(|(at_us, _)| drained(*at_us)) {
            match summing.add(world, *fact) {
                Some(before) => told.extend(before),
                None => told.push(vec![*fact]),
            }
        }
        // A watermark vouches for what was counted before it.
        if now_us >= watermark_at_us || is_last_word {
            told.extend(summing.flush());
        }
        for facts in told {
            let (stream, connection, datum) = encode(world, &facts, node, codec);
            let partition = partition_of(connection_id(connection).as_bytes(), partitions);
            if delivery.finds_queue_full(now_us) {
                ledger.dropped(stream, "queue_full", facts.len() as u64);
                continue;
            }
            facts.iter().for_each(|_| ledger.published(stream));
            let arrives_us = delivery.arrives_us(stream, partition, now_us);
            handed[partition.0 as usize][usize::from(stream == Stream::Requests)] += 1;
            sent.push(Sent { arrives_us, run, emitted_us: now_us, stream, partition, datum, facts });
        }
        if now_us >= watermark_at_us || is_last_word {
            watermark_at_us = now_us + SECOND;
            let local_us = world.local_us(node, now_us);
            let up_to_us = (local_us - SETTLED_US).max(began_us);
            let progress = ledger.progress(up_to_us, local_us, is_last_word);
            let progress = Progress { partitions, ..progress };
            for partition in 0..partitions as usize {
                if delivery.finds_queue_full(now_us) {
                    continue;
                }
                let arrives_us = delivery.said_us(Partition(partition as i32), now_us);
                let (progress, handed) = (progress.clone(), handed[partition]);
                sayings.push(Saying { arrives_us, emitted_us: now_us, run, partition, progress, handed });
            }
        }
        if stopping {
            break;
        }
    }
    if end == End::Killed {
        sent.retain(|record| record.arrives_us <= to_us);
        sayings.retain(|saying| saying.arrives_us <= to_us);
    }
    (sent, sayings)
}

/// Exchanges that are being summed: of one second of the clock, by connection, side, operation and status.
#[derive(Default)]
struct Summing {
    second: i64,
    sums: BTreeMap<(usize, Side, String, bool), Vec<Fact>>,
}

impl Summing {
    /// Counts an exchange if its side sums it. Gives what ends with the second before, in that case.
    fn add(&mut self, world: &World, fact: Fact) -> Option<Vec<Vec<Fact>>> {
        let Fact::Exchange(index, side) = fact else { return None };
        let exchange = &world.exchanges[index];
        let second = exchange.seen[side as usize].unwrap().0.div_euclid(SECOND);
        if !world.is_summed(index, side, second) {
            return None;
        }
        let before = if second == self.second { Vec::new() } else { self.flush() };
        self.second = second;
        let name = (exchange.connection, side, world.operation(index), exchange.error);
        self.sums.entry(name).or_default().push(fact);
        Some(before)
    }

    fn flush(&mut self) -> Vec<Vec<Fact>> {
        std::mem::take(&mut self.sums).into_values().collect()
    }
}

impl Delivery {
    fn of(world: &World, run: usize) -> Delivery {
        let mut random = Random::new(world.plan.seed ^ (run as u64 + 1).wrapping_mul(0x5eed));
        let Run { from_us, to_us, .. } = world.runs[run];
        let mut phase = |may: bool, seconds_max: i64| {
            let begins_us = random.between(from_us, to_us);
            let length_us = random.between(0, seconds_max * SECOND);
            (may && random.chance(60)).then_some((begins_us, begins_us + length_us))
        };
        let full = phase(world.plan.drops, 8);
        let stalled = phase(world.plan.stalls, 40);
        let one =
            random.chance(50).then(|| random.between(0, i64::from(world.plan.partitions) - 1) as i32).map(Partition);
        let stalled = stalled.map(|(begins_us, ends_us)| (begins_us, ends_us, one));
        let last_us = vec![i64::MIN; 3 * world.plan.partitions as usize];
        Delivery { random, full, stalled, last_us }
    }

    fn finds_queue_full(&mut self, now_us: i64) -> bool {
        self.full.is_some_and(|(from_us, to_us)| (from_us..to_us).contains(&now_us)) && self.random.chance(50)
    }

    /// Each agent's records stay in order in a partition.
    fn arrives_us(&mut self, stream: Stream, partition: Partition, now_us: i64) -> i64 {
        let mut arrives_us = now_us + self.random.between(1_000, 150_000);
        if let Some((from_us, to_us, one)) = self.stalled
            && (from_us..to_us).contains(&now_us)
            && one.is_none_or(|one| one == partition)
        {
            arrives_us = arrives_us.max(to_us);
        }
        let last_us = &mut self.last_us[3 * partition.0 as usize + stream as usize];
        *last_us = arrives_us.max(*last_us);
        *last_us
    }

    /// What is said of progress comes behind all records of its partition, and in order.
    fn said_us(&mut self, partition: Partition, now_us: i64) -> i64 {
        let all = 3 * partition.0 as usize..3 * partition.0 as usize + 3;
        let before_us = self.last_us[all].iter().copied().max().unwrap_or(i64::MIN);
        let arrives_us = before_us.max(now_us) + self.random.between(1_000, 150_000);
        self.last_us[3 * partition.0 as usize + 2] = arrives_us;
        arrives_us
    }
}

pub fn connection_id(connection: usize) -> String {
    format!("{:016x}", (connection as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// What a client sees of its server: an address that tells which connection it is.
/// Who is at one end of a connection: two namespaces hold workloads of the same names.
pub fn workload(connection: usize, side: Side) -> Workload {
    let letter = if side == Side::Client { 'c' } else { 's' };
    Workload {
        cluster: "east".to_owned(),
        namespace: if connection.is_multiple_of(2) { "blue" } else { "green" }.to_owned(),
        kind: "Deployment".to_owned(),
        name: format!("{letter}-{}", connection / 2),
    }
}

/// The connection at which a workload of [`workload`], or what a client asked for, stands.
pub fn connection_of(end: &Workload) -> Option<usize> {
    if end.kind == HOST {
        return end.name.strip_prefix('h')?.strip_suffix(".example:80")?.parse().ok();
    }
    if end.kind == ADDRESS {
        let (high, low) = end.name.strip_prefix("10.1.")?.strip_suffix(":80")?.split_once('.')?;
        return Some(high.parse::<usize>().ok()? * 256 + low.parse::<usize>().ok()?);
    }
    let half: usize = end.name.split_once('-')?.1.parse().ok()?;
    Some(2 * half + usize::from(end.namespace == "green"))
}

/// One side of some connections moves its bytes where nobody can look.
pub fn understands(connection: usize, side: Side) -> bool {
    match connection % 3 {
        0 => true,
        1 => side == Side::Client,
        _ => side == Side::Server,
    }
}

pub fn server_address(connection: usize) -> String {
    format!("10.1.{}.{}", connection / 256, connection % 256)
}

/// By which name the client came to that; empty if that was not seen.
pub fn server_name(connection: usize) -> String {
    if connection % 4 == 1 { format!("h{connection}.example") } else { String::new() }
}

/// The name is known only once something was asked, so that what the connection did has none.
pub fn is_named_late(connection: usize) -> bool {
    connection % 8 == 5
}

/// How long whoever asked had to wait, as one side measures it.
pub fn waited_ns(exchange: &Exchange, side: Side) -> i64 {
    exchange.duration_ns + if side == Side::Client { 5_000 } else { 0 }
}

/// What a record says beside its last exchange, if it stands for several.
fn sums_of(world: &World, facts: &[Fact]) -> Option<Box<Sums>> {
    let exchanges = facts.iter().filter_map(|fact| match *fact {
        Fact::Exchange(index, side) => Some((index, side)),
        Fact::Progress(_) => None,
    });
    let (first, side) = exchanges.clone().next()?;
    let second = world.exchanges[first].seen[side as usize].unwrap().0.div_euclid(SECOND);
    let mut sums = Sums {
        from_position: world.exchanges[first].position,
        request_bytes: 0,
        response_bytes: 0,
        duration_ns: Histogram::default(),
    };
    for (index, side) in exchanges {
        let exchange = &world.exchanges[index];
        sums.request_bytes += exchange.request_bytes;
        sums.response_bytes += exchange.response_bytes;
        sums.duration_ns.record(waited_ns(exchange, side) as u64);
    }
    world.is_summed(first, side, second).then(|| Box::new(sums))
}

fn encode(world: &World, facts: &[Fact], node: usize, codec: &Codec) -> (Stream, usize, Vec<u8>) {
    let node = format!("node-{node}");
    // Through NAT the server sees another address than its client has.
    let addresses = |connection: usize, side: Side| match side {
        Side::Client => ("10.0.0.1".to_owned(), 40_000, server_address(connection), 80),
        Side::Server => ("192.168.0.1".to_owned(), 8080, "172.16.0.1".to_owned(), 50_000),
    };
    match *facts.last().unwrap() {
        Fact::Exchange(index, side) => {
            let exchange = &world.exchanges[index];
            let at_us = exchange.seen[side as usize].unwrap().0;
            let (local_address, local_port, remote_address, remote_port) = addresses(exchange.connection, side);
            let workload = workload(exchange.connection, side);
            let remote_name = if side == Side::Client { server_name(exchange.connection) } else { String::new() };
            let waited_ns = waited_ns(exchange, side);
            // Nobody waits for the end of a stream, or of what its client cut off.
            let (kind, failure) = match index % 11 {
                0 => (RequestKind::Stream, None),
                1 => (RequestKind::Call, Some(CLIENT_LEFT)),
                _ => (RequestKind::Call, None),
            };
            assert_eq!(is_plain(index), kind == RequestKind::Call && failure.is_none());
            let has_end = kind == RequestKind::Call && failure.is_none();
            let request = Request {
                connection_id: &connection_id(exchange.connection),
                side,
                request_position: exchange.position,
                started_at_us: at_us - exchange.duration_ns / 1000,
                completed_at_us: at_us,
                duration_ns: if has_end { waited_ns } else { waited_ns * 3 },
                time_to_first_byte_ns: if has_end { -1 } else { waited_ns },
                protocol: "http",
                kind,
                method: "GET",
                path: "/",
                operation: &world.operation(index),
                resource: "",
                status: if exchange.error { 500 } else { 200 },
                outcome: if exchange.error { Outcome::ServerError } else { Outcome::Ok },
                code: "",
                error: exchange.error,
                failure,
                request_bytes: exchange.request_bytes,
                response_bytes: exchange.response_bytes,
                request_messages: None,
                response_messages: None,
                trace_id: "",
                parent_span_id: "",
                request_id: "",
                request_thread_id: 0,
                request_call: 0,
                response_thread_id: 0,
                response_call: 0,
                weight: facts.len() as i64,
                sums: sums_of(world, facts),
                node: &node,
                cluster: &workload.cluster,
                namespace: &workload.namespace,
                workload_kind: &workload.kind,
                workload: &workload.name,
                pod: "",
                container: "",
                pid: 1,
                local_address: &local_address,
                local_port,
                remote_address: &remote_address,
                remote_port,
                remote_name: &remote_name,
            };
            (Stream::Requests, exchange.connection, datum(&codec.request, &request))
        }
        Fact::Progress(index) => {
            let progress = &world.progress[index];
            let (local_address, local_port, remote_address, remote_port) =
                addresses(progress.connection, progress.side);
            let workload = workload(progress.connection, progress.side);
            let is_client = progress.side == Side::Client && !is_named_late(progress.connection);
            let remote_name = if is_client { server_name(progress.connection) } else { String::new() };
            let flow = Flow {
                connection_id: &connection_id(progress.connection),
                side: progress.side,
                state: if progress.closed { FlowState::Closed } else { FlowState::Open },
                failure: None,
                opened_at_us: progress.at_us,
                opened_before_capture: false,
                observed_at_us: progress.at_us,
                opened: i64::from(progress.opened),
                protocol: if understands(progress.connection, progress.side) { "http" } else { "tcp" },
                encryption: if understands(progress.connection, progress.side) { "none" } else { "unknown" },
                tls: None,
                sent_bytes: progress.sent,
                received_bytes: progress.received,
                retransmits: 0,
                requests: 0,
                errors: 0,
                rtt_us: -1,
                rtt_min_us: -1,
                connect_us: -1,
                attempts: 1,
                node: &node,
                cluster: &workload.cluster,
                namespace: &workload.namespace,
                workload_kind: &workload.kind,
                workload: &workload.name,
                pod: "",
                container: "",
                pid: 1,
                local_address: &local_address,
                local_port,
                remote_address: &remote_address,
                remote_port,
                remote_name: &remote_name,
            };
            (Stream::Flows, progress.connection, datum(&codec.flow, &flow))
        }
    }
}
