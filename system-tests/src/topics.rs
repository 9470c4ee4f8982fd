//! Reads topics into owned values.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use headwater_kafka::{KafkaSettings, Message, Offset, Partition, SchemaCache, Start, TopicReader};
use headwater_schemas::records::{Agent, Alert, Edge, Latency, Progress, Record, Request, Side, WindowClosed};
use headwater_schemas::topics::Topic;
use serde::de::DeserializeOwned;

const PATIENCE: Duration = Duration::from_secs(30);

/// What the oracle compares of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenRequest {
    pub connection_id: String,
    pub side: Side,
    pub position: i64,
    pub method: String,
    pub path: String,
    pub status: i32,
    pub request_bytes: i64,
    pub response_bytes: i64,
    pub duration_ns: i64,
    pub completed_at_us: i64,
    pub failure: Option<String>,
    pub namespace: String,
    pub workload: String,
    pub pod: String,
    pub local: String,
    pub remote: String,
}

/// Gives every record of requests as it is, with what it stands for.
pub fn each_request(settings: &KafkaSettings, mut to: impl FnMut(Request<'_>)) -> Result<()> {
    each(settings, Topic::Requests, |cache, value| {
        let (schema, datum) = cache.open(value)?;
        to(schema.decode(datum)?);
        Ok(())
    })
}

/// All requests that were published, each by itself.
///
/// # Errors
/// If a record stands for several: each is held against the path that it asked for, so the agent must tell of each.
pub fn requests(settings: &KafkaSettings) -> Result<Vec<SeenRequest>> {
    let mut seen = Vec::new();
    each(settings, Topic::Requests, |cache, value| {
        let (schema, datum) = cache.open(value)?;
        let request: Request<'_> = schema.decode(datum)?;
        let Request { connection_id, weight, path, .. } = request;
        anyhow::ensure!(
            request.sums.is_none() && weight == 1,
            "a record of connection {connection_id} stands for {weight} requests, the last one of {path}: let the agent tell of each"
        );
        seen.push(SeenRequest {
            connection_id: request.connection_id.to_owned(),
            side: request.side,
            position: request.request_position,
            method: request.method.to_owned(),
            path: request.path.to_owned(),
            status: request.status,
            request_bytes: request.request_bytes,
            response_bytes: request.response_bytes,
            duration_ns: request.duration_ns,
            completed_at_us: request.completed_at_us,
            failure: request.failure.map(str::to_owned),
            namespace: request.namespace.to_owned(),
            workload: request.workload.to_owned(),
            pod: request.pod.to_owned(),
            local: format!("{} {}", request.local_address, request.local_port),
            remote: format!("{} {}", request.remote_address, request.remote_port),
        });
        Ok(())
    })?;
    Ok(seen)
}

/// What stands in a partition of `requests`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InOrder {
    Request { completed_at_us: i64, path: String, side: Side },
    Progress { run: i64, sequence: i64, up_to_us: i64 },
}

/// Requests as they stand in each partition, and what agents say of them behind those that they vouch for.
pub fn requests_in_order(settings: &KafkaSettings) -> Result<BTreeMap<Partition, Vec<InOrder>>> {
    let mut cache = SchemaCache::new(settings);
    let mut requests: BTreeMap<Partition, Vec<(Offset, InOrder)>> = BTreeMap::new();
    read(settings, Topic::Requests, |message| {
        let (schema, datum) = cache.open(message.value().context("no value")?)?;
        let Request { completed_at_us, path, side, .. } = schema.decode(datum)?;
        let found = InOrder::Request { completed_at_us, path: path.to_owned(), side };
        requests.entry(message.partition()).or_default().push((message.offset(), found));
        Ok(())
    })?;
    let mut all: BTreeMap<Partition, Vec<InOrder>> = BTreeMap::new();
    read(settings, Topic::Progress, |message| {
        let (schema, datum) = cache.open(message.value().context("no value")?)?;
        let progress: Progress = schema.decode(datum)?;
        let of_partition = requests.entry(message.partition()).or_default();
        let through = of_partition.partition_point(|(at, _)| at.0 <= progress.requests.through_offset);
        let in_order = all.entry(message.partition()).or_default();
        in_order.extend(of_partition.drain(..through).map(|(_, request)| request));
        let Progress { agent_started_at_us: run, sequence, up_to_us, .. } = progress;
        in_order.push(InOrder::Progress { run, sequence, up_to_us });
        Ok(())
    })?;
    for (partition, left) in requests {
        all.entry(partition).or_default().extend(left.into_iter().map(|(_, request)| request));
    }
    Ok(all)
}

/// All edges that readers of committed records see.
pub fn edges(settings: &KafkaSettings) -> Result<Vec<Edge>> {
    owned(settings, Topic::Edges)
}

/// All latencies that readers of committed records see.
pub fn latencies(settings: &KafkaSettings) -> Result<Vec<Latency>> {
    owned(settings, Topic::Latencies)
}

/// What edges add up to, by the minute.
pub fn edge_minutes(settings: &KafkaSettings) -> Result<Vec<Edge>> {
    owned(settings, Topic::EdgeMinutes)
}

/// The same of latencies.
pub fn latency_minutes(settings: &KafkaSettings) -> Result<Vec<Latency>> {
    owned(settings, Topic::LatencyMinutes)
}

/// All alerts that readers of committed records see.
pub fn alerts(settings: &KafkaSettings) -> Result<Vec<Alert>> {
    owned(settings, Topic::Alerts)
}

/// The same, where other things stand in the topic too: what is no edge is passed over.
pub fn good_edges(settings: &KafkaSettings) -> Result<Vec<Edge>> {
    let mut edges = Vec::new();
    each(settings, Topic::Edges, |cache, value| {
        if let Ok((schema, datum)) = cache.open(value) {
            edges.extend(schema.decode::<Edge>(datum).ok());
        }
        Ok(())
    })?;
    Ok(edges)
}

/// All heartbeats.
pub fn agents(settings: &KafkaSettings) -> Result<Vec<Agent>> {
    owned(settings, Topic::Agents)
}

/// What an agent had dropped by a heartbeat, and what the probes had missed until then, which may be the cause.
pub fn losses(agent: &Agent) -> String {
    const CAUSES: [&str; 10] = [
        "probe_unreadable",
        "probe_awaited",
        "probe_unplaced",
        "probe_other_call",
        "probe_kernel_memory",
        "probe_missed_runs",
        "probe_ring_full_data",
        "probe_undecided",
        "probe_unsettled",
        "probe_tls_unknown",
    ];
    let causes = CAUSES.iter().filter_map(|name| agent.counters.get_key_value(*name)).filter(|(_, count)| **count != 0);
    format!("dropped {:?}, probes {:?}", agent.dropped, causes.collect::<BTreeMap<_, _>>())
}

/// What closes the windows of a topic of one partition.
pub fn closed(settings: &KafkaSettings, topic: Topic) -> Result<Vec<WindowClosed>> {
    closed_from(settings, topic, Offset::FIRST)
}

/// The same, from an offset on.
pub fn closed_from(settings: &KafkaSettings, topic: Topic, from: Offset) -> Result<Vec<WindowClosed>> {
    let mut cache = SchemaCache::new(settings);
    let mut closed = Vec::new();
    read(settings, topic.windows().context("nothing closes its windows")?, |message| {
        let Some(value) = message.value().filter(|_| message.offset() >= from) else { return Ok(()) };
        let (schema, datum) = cache.open(value)?;
        closed.push(schema.decode(datum)?);
        Ok(())
    })?;
    Ok(closed)
}

fn owned<R: Record + DeserializeOwned>(settings: &KafkaSettings, topic: Topic) -> Result<Vec<R>> {
    let mut records = Vec::new();
    each(settings, topic, |cache, value| {
        let (schema, datum) = cache.open(value)?;
        records.push(schema.decode(datum)?);
        Ok(())
    })?;
    Ok(records)
}

/// Calls `take` with every value of a topic, from its beginning to its present end.
pub fn each(
    settings: &KafkaSettings,
    topic: Topic,
    mut take: impl FnMut(&mut SchemaCache, &[u8]) -> Result<()>,
) -> Result<()> {
    let mut cache = SchemaCache::new(settings);
    read(settings, topic, |message| message.value().map_or(Ok(()), |value| take(&mut cache, value)))
}

/// Gives every committed message of a topic: its key and its value, as far as it has them.
pub fn each_message(settings: &KafkaSettings, topic: Topic, mut take: impl FnMut(Vec<&[u8]>)) -> Result<()> {
    read(settings, topic, |message| {
        take([message.key(), message.value()].into_iter().flatten().collect());
        Ok(())
    })
}

fn read(settings: &KafkaSettings, topic: Topic, mut take: impl FnMut(&Message<'_>) -> Result<()>) -> Result<()> {
    let name = topic.name(&settings.prefix);
    let mut reader = TopicReader::start(settings, std::slice::from_ref(&name), &Start::Earliest)?;
    let mut result = Ok(());
    reader.read_to_end(PATIENCE, |message: &Message<'_>| {
        if result.is_ok() {
            result = take(message).with_context(|| format!("{name} {} {}", message.partition(), message.offset()));
        }
    })?;
    result
}
