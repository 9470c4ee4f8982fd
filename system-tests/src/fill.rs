//! Raw records as agents would write them, of which every sum is known.

use std::time::Duration;

use anyhow::Result;
use headwater_kafka::{KafkaSettings, Partition, Publisher, Registry, admin, partition_of};
use headwater_schemas::records::{Dropped, Kind, Outcome, Progress, Request, Share, Side};
use headwater_schemas::topics::Topic;
use headwater_schemas::wire::Encoder;

use crate::vouch::{Of, Topics, Vouch};

const PATIENCE: Duration = Duration::from_secs(60);
const CONNECTIONS: u64 = 2_000;
const SERVICES: u64 = 20;
const OPERATIONS: [&str; 8] = [
    "GET /",
    "GET /products",
    "GET /products/{id}",
    "POST /orders",
    "GET /orders/{id}",
    "POST /payments",
    "GET /stock",
    "DELETE /cart/{id}",
];

/// What is to be there.
#[derive(Debug, Clone)]
pub struct Fill {
    /// Both sides of half as many requests.
    pub records: u64,
    /// Over so much event time, from here on.
    pub seconds: u64,
    pub start_us: i64,
    /// Whether Kafka's timestamps are the event times, as if the records had been published then.
    pub in_the_past: bool,
    /// A second in which the agent says that it lost a few records.
    pub lossy_second: Option<u64>,
}

/// Progress goes on for so long behind the last record, so that all windows close.
pub const SECONDS_BEHIND: u64 = 30;

/// Publishes the records, with progress each second.
pub fn fill(settings: &KafkaSettings, fill: &Fill) -> Result<()> {
    let Fill { records, seconds, start_us, .. } = *fill;
    let topics = [Topic::Requests, Topic::Flows, Topic::Progress];
    let partitions = match fill.in_the_past {
        true => admin::ensure_topics_dated_by_producers(settings, &topics),
        false => admin::ensure_topics(settings, &topics),
    }?;
    let registry = Registry::new(settings);
    let encoder = Encoder::of::<Request<'_>>(registry.register_topic(Topic::Requests)?)?;
    let names = topics.map(|topic| topic.name(&settings.prefix)).to_vec();
    let publisher = match fill.in_the_past {
        // Each second waits for the one before it.
        true => Publisher::lingering(settings, names, Duration::from_millis(2)),
        false => Publisher::start(settings, names),
    }?;
    let count = partitions[&Topic::Requests];
    let indexes = Topics { requests: 0, flows: 1, progress: 2 };
    let mut vouch = Vouch::new(indexes, registry.register_topic(Topic::Progress)?, count)?;
    let per_second = records / 2 / seconds;
    let mut buffer = Vec::new();
    for second in 0..seconds + SECONDS_BEHIND {
        let from_us = start_us + second as i64 * 1_000_000;
        for i in 0..if second < seconds { per_second } else { 0 } {
            let at_us = from_us + (i * 1_000_000 / per_second) as i64;
            for side in [Side::Client, Side::Server] {
                let number = second * per_second + i;
                let id = format!("{:016x}", (number % CONNECTIONS).wrapping_mul(0x9e37_79b9_7f4a_7c15));
                let record = request(&id, number, side, at_us);
                let at_ms = fill.in_the_past.then_some(at_us / 1000);
                let partition = partition_of(id.as_bytes(), count);
                publish(&publisher, &encoder, &record, (partition, at_ms), &mut buffer)?;
                vouch.handed(Of::Requests, partition, record.node);
            }
        }
        let dropped = || if fill.lossy_second == Some(second) { loss(from_us) } else { vec![] };
        let published = per_second as i64 * 2;
        let progress = Progress {
            node: "bench".into(),
            agent_started_at_us: start_us,
            sequence: second as i64,
            covers_from_us: from_us,
            up_to_us: from_us + 1_000_000,
            is_final: false,
            partitions: count,
            flows: Share::anywhere(published, dropped()),
            requests: Share::anywhere(published, dropped()),
        };
        vouch.say(&progress, fill.in_the_past.then_some(progress.up_to_us / 1000));
        match fill.in_the_past {
            // What is dated then cannot vouch for what is dated later: who reads from between the two would miss it.
            true => vouch.finish(&publisher, PATIENCE)?,
            false => vouch.advance(&publisher)?,
        }
    }
    vouch.finish(&publisher, PATIENCE)
}

fn loss(from_us: i64) -> Vec<Dropped> {
    vec![Dropped { reason: "queue-full".into(), count: 3, from_us, to_us: from_us + 1_000_000 }]
}

fn publish(
    publisher: &Publisher,
    encoder: &Encoder,
    record: &Request<'_>,
    (partition, at_ms): (Partition, Option<i64>),
    buffer: &mut Vec<u8>,
) -> Result<()> {
    buffer.clear();
    encoder.encode_into(record, buffer)?;
    while publisher.publish_at(0, partition, record.connection_id.as_bytes(), Some(buffer), &[], at_ms).is_err() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    Ok(())
}

fn request<'a>(id: &'a str, number: u64, side: Side, at_us: i64) -> Request<'a> {
    const NAMES: [&str; SERVICES as usize] = [
        "s00", "s01", "s02", "s03", "s04", "s05", "s06", "s07", "s08", "s09", "s10", "s11", "s12", "s13", "s14", "s15",
        "s16", "s17", "s18", "s19",
    ];
    let connection = number % CONNECTIONS;
    let (client, server) = (connection % SERVICES, (connection * 7 + 3) % SERVICES);
    let operation = OPERATIONS[(number / CONNECTIONS % OPERATIONS.len() as u64) as usize];
    let (method, path) = operation.split_once(' ').unwrap_or((operation, ""));
    let error = number.is_multiple_of(100);
    Request {
        connection_id: id,
        side,
        request_position: (number / CONNECTIONS * 200) as i64,
        started_at_us: at_us - 1_500,
        completed_at_us: at_us,
        duration_ns: 200_000 + (number % 997) as i64 * 3_000,
        time_to_first_byte_ns: 190_000,
        protocol: "http",
        kind: Kind::Call,
        method,
        path,
        operation,
        resource: "",
        status: if error { 500 } else { 200 },
        outcome: if error { Outcome::ServerError } else { Outcome::Ok },
        code: "",
        error,
        failure: None,
        request_bytes: 200,
        response_bytes: 900,
        request_messages: None,
        response_messages: None,
        trace_id: "",
        parent_span_id: "",
        request_id: "",
        request_thread_id: 0,
        request_call: 0,
        response_thread_id: 0,
        response_call: 0,
        weight: 1,
        sums: None,
        node: "bench",
        cluster: "",
        namespace: "",
        workload_kind: "program",
        workload: NAMES[if side == Side::Client { client } else { server } as usize],
        pod: "",
        container: "",
        pid: 1,
        local_address: "10.0.0.1",
        local_port: 8080,
        remote_address: "10.0.0.2",
        remote_name: "",
        remote_port: 40_000,
    }
}
