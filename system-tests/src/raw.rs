//! Writes into the topics past the agent: records of which every sum is known, and bytes that are none.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use headwater_kafka::{KafkaSettings, Partition, PublishError, Publisher, Registry, admin, partition_of};
use headwater_schemas::records::{Partial, Progress, Record, Request, Share, Side, Workload};
use headwater_schemas::samples;
use headwater_schemas::topics::{Topic, WINDOW_CLOSED_HEADER};
use headwater_schemas::wire::Encoder;

use headwater_testing::Random;

use crate::vouch::{Of, Topics, Vouch};

const FLUSH_TIMEOUT: Duration = Duration::from_secs(30);
const NODE: &str = "raw-node";

/// A writer of all topics.
pub struct Raw {
    publisher: Publisher,
    partitions: BTreeMap<Topic, i32>,
    ids: BTreeMap<Topic, u32>,
    request: Encoder,
    partial: Encoder,
    progress: Encoder,
    vouch: Mutex<Vouch>,
    /// Bad records so far, which are their names.
    bad: u64,
    /// Whether Kafka's timestamps are of the time that the records tell of, as if they had been written then.
    is_dated: bool,
}

/// A record that is none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bad {
    /// How its key starts, which no other record's does.
    pub key: String,
    pub topic: Topic,
    pub kind: &'static str,
    /// Whether a command that only looks at the topic cannot read it either.
    pub unreadable: bool,
}

struct Bytes {
    kind: &'static str,
    value: Option<Vec<u8>>,
    header: Option<(&'static str, Vec<u8>)>,
    key_bytes: usize,
    unreadable: bool,
}

impl Raw {
    /// Makes the topics and registers all schemas.
    pub fn start(settings: &KafkaSettings) -> Result<Raw> {
        let registry = Registry::new(settings);
        let mut ids = BTreeMap::new();
        for topic in Topic::ALL {
            ids.insert(topic, registry.register_topic(topic)?);
        }
        let partitions = admin::ensure_topics(settings, &Topic::ALL)?;
        let indexes = Topics {
            flows: index(Topic::Flows)?,
            requests: index(Topic::Requests)?,
            progress: index(Topic::Progress)?,
        };
        let vouch = Vouch::new(indexes, ids[&Topic::Progress], partitions[&Topic::Progress])?;
        Ok(Raw {
            partitions,
            vouch: Mutex::new(vouch),
            progress: Encoder::of::<Progress>(ids[&Topic::Progress])?,
            publisher: publisher(settings)?,
            request: Encoder::of::<Request<'_>>(ids[&Topic::Requests])?,
            partial: Encoder::of::<Partial>(ids[&Topic::Partials])?,
            ids,
            bad: 0,
            is_dated: false,
        })
    }

    /// As [`Raw::start`], but seconds are written as if they had passed just then, before or after the present. The brokers keep what is
    /// dated long before the present as long as they keep a record beside it that is not: one without value, which is none, stands
    /// before it in each partition. Gives how many.
    pub fn start_dated(settings: &KafkaSettings) -> Result<(Raw, usize)> {
        const DATED: [Topic; 3] = [Topic::Requests, Topic::Flows, Topic::Progress];
        admin::ensure_topics_dated_by_producers(settings, &DATED)?;
        let raw = Raw { is_dated: true, ..Raw::start(settings)? };
        let mut written = 0;
        for topic in DATED {
            for partition in (0..raw.partitions[&topic]).map(Partition) {
                raw.publish(topic, partition, NODE.as_bytes(), None, &[], None)?;
                raw.is_nobodys(topic, partition);
                written += 1;
            }
        }
        Ok((raw, written))
    }

    /// From now on records are spread among as many partitions as there are, as by an agent that starts again.
    pub fn count_again(&mut self, settings: &KafkaSettings) -> Result<()> {
        self.flush()?;
        self.publisher = publisher(settings)?;
        self.partitions = admin::partition_counts(settings, &Topic::ALL)?;
        let mut vouch = self.vouch();
        vouch.begin_anew();
        vouch.set_partitions(self.partitions[&Topic::Progress]);
        drop(vouch);
        Ok(())
    }

    /// From now on requests are written with a version of their schema that the registry got just now.
    pub fn renew_schema(&mut self, settings: &KafkaSettings) -> Result<()> {
        let schema = Request::SCHEMA.replacen("\"doc\": \"", "\"doc\": \"Again: ", 1);
        let subject = format!("{}-value", Topic::Requests.name(&settings.prefix));
        let id = Registry::new(settings).register(&subject, &schema)?;
        anyhow::ensure!(id != self.request.schema_id(), "the registry takes it for the same schema");
        self.request = Encoder::of::<Request<'_>>(id)?;
        Ok(())
    }

    /// Both sides' records of `count` requests that completed within one second, one of them an error, and, once these have arrived, how far their
    /// node is. The same second gives the same records.
    pub fn second(&self, start_us: i64, second: i64, count: i64) -> Result<()> {
        self.second_of(NODE, start_us, second, count, second)
    }

    /// The same of one node of several, each with connections and workloads of its own, and written when another second is over.
    pub fn second_of(&self, node: &str, start_us: i64, second: i64, count: i64, written_s: i64) -> Result<()> {
        let from_us = start_us + second * 1_000_000;
        let written_ms = self.is_dated.then_some((start_us + written_s * 1_000_000) / 1000 + 1000);
        let first = node.bytes().fold(0, |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(byte.into())) << 32;
        let first = if node == NODE { 0 } else { first };
        let [client, server] = if node == NODE {
            ["raw-client", "raw-server"].map(str::to_owned)
        } else {
            ["client", "server"].map(|end| format!("{node}-{end}"))
        };
        for i in 0..count {
            let connection_id = format!("{:016x}", (first + i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            for side in [Side::Client, Side::Server] {
                let request = Request {
                    connection_id: &connection_id,
                    side,
                    request_position: second * 200,
                    started_at_us: from_us + i * (1_000_000 / count) - 1_500,
                    completed_at_us: from_us + i * (1_000_000 / count),
                    status: if i == 0 { 500 } else { 200 },
                    error: i == 0,
                    code: "",
                    failure: None,
                    weight: 1,
                    sums: None,
                    node,
                    workload: if side == Side::Client { &client } else { &server },
                    ..samples::request()
                };
                let value = self.request.encode(&request)?;
                let partition = partition_of(connection_id.as_bytes(), self.partitions[&Topic::Requests]);
                self.publish(Topic::Requests, partition, connection_id.as_bytes(), Some(&value), &[], written_ms)?;
                self.vouch().handed(Of::Requests, partition, node);
            }
        }
        let progress = Progress {
            node: node.into(),
            agent_started_at_us: start_us,
            sequence: second,
            covers_from_us: from_us,
            up_to_us: from_us + 1_000_000,
            is_final: false,
            partitions: 0,
            flows: Share::anywhere(0, vec![]),
            requests: Share::anywhere(2 * count, vec![]),
        };
        let mut vouch = self.vouch();
        vouch.say(&progress, written_ms);
        vouch.finish(&self.publisher, FLUSH_TIMEOUT)
    }

    /// One record, into the first partition of its topic.
    pub fn record<R: Record + serde::Serialize>(&self, topic: Topic, key: &str, record: &R) -> Result<()> {
        let value = Encoder::of::<R>(self.ids[&topic])?.encode(record)?;
        self.publish(topic, Partition(0), key.as_bytes(), Some(&value), &[], None)?;
        self.is_nobodys(topic, Partition(0));
        Ok(())
    }

    /// One bad record of each kind into every partition of a topic.
    pub fn bad(&mut self, topic: Topic, random: &mut Random) -> Result<Vec<Bad>> {
        let mut written = Vec::new();
        for partition in (0..self.partitions[&topic]).map(Partition) {
            for Bytes { kind, value, header, key_bytes, unreadable } in self.kinds(topic, random)? {
                self.bad += 1;
                let name = format!("bad-{:06}", self.bad);
                let key = name.clone() + &"!".repeat(key_bytes);
                let header = header.as_ref().map(|(name, bytes)| (*name, bytes.as_slice()));
                self.publish(topic, partition, key.as_bytes(), value.as_deref(), header.as_slice(), None)?;
                self.is_nobodys(topic, partition);
                written.push(Bad { key: name, topic, kind, unreadable });
            }
        }
        Ok(written)
    }

    pub fn flush(&self) -> Result<()> {
        Ok(self.publisher.flush(FLUSH_TIMEOUT)?)
    }

    fn kinds(&self, topic: Topic, random: &mut Random) -> Result<Vec<Bytes>> {
        let id = self.ids[&topic].to_be_bytes();
        let framed = |id: [u8; 4], datum: &[u8]| [&[0], id.as_slice(), datum].concat();
        let now_us = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_micros() as i64;
        let progress = self.progress.encode(&samples::progress())?;
        // Only among partials anybody takes these for what they are.
        let (header, foreign_mark) = (WINDOW_CLOSED_HEADER, progress.clone());
        let another = if topic == Topic::Progress { self.partial.encode(&samples::partial())? } else { progress };
        let value =
            |kind, value: Vec<u8>| Bytes { kind, value: Some(value), header: None, key_bytes: 0, unreadable: true };
        let mark = |kind, bytes: Vec<u8>| Bytes {
            kind,
            value: None,
            header: Some((header, bytes)),
            key_bytes: 0,
            unreadable: topic == Topic::Partials,
        };
        let mut kinds = vec![
            value("unknown schema", framed([0x7f, 0, 0, 1], b"anything")),
            value("schema id of no registry", framed([0xff; 4], b"anything")),
            value("empty", vec![]),
            value("a zero byte", vec![0]),
            value("wrong magic byte", [&[1], id.as_slice(), b"anything"].concat()),
            value("schema of another record", another),
            value("no datum", framed(id, b"")),
            value("random datum", framed(id, &bytes(random, 3, 40))),
            value("random bytes", bytes(random, 1, 2000)),
            value("long random bytes", bytes(random, 200_000, 300_000)),
            // Just below the million bytes of a message, which its dead letter has to keep to as well.
            Bytes { key_bytes: 980_000, ..value("a key of 980 kB", bytes(random, 19_950, 19_951)) },
            mark("random mark", bytes(random, 1, 100)),
            mark("mark of an unknown schema", framed([0x7f, 0, 0, 2], b"anything")),
            mark("mark of another record", foreign_mark),
            Bytes { unreadable: false, header: None, ..mark("no value and no mark", vec![]) },
        ];
        if topic == Topic::Requests {
            let workload = "w".repeat(100_000);
            let request = Request { workload: &workload, completed_at_us: now_us, ..samples::request() };
            kinds.push(Bytes { unreadable: false, ..value("a name of 100 kB", self.request.encode(&request)?) });
        }
        if topic == Topic::Partials {
            let partial = Partial {
                client: Workload::local("program", &"c".repeat(500_000)),
                window_start_us: now_us,
                ..samples::partial()
            };
            kinds.push(Bytes { unreadable: false, ..value("a name of 500 kB", self.partial.encode(&partial)?) });
        }
        Ok(kinds)
    }

    /// A record that no node vouches for.
    fn is_nobodys(&self, topic: Topic, partition: Partition) {
        match topic {
            Topic::Flows => self.vouch().handed(Of::Flows, partition, "nobody"),
            Topic::Requests => self.vouch().handed(Of::Requests, partition, "nobody"),
            _ => {}
        }
    }

    fn vouch(&self) -> MutexGuard<'_, Vouch> {
        self.vouch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(
        &self,
        topic: Topic,
        partition: Partition,
        key: &[u8],
        value: Option<&[u8]>,
        headers: &[(&str, &[u8])],
        written_ms: Option<i64>,
    ) -> Result<()> {
        let index = index(topic)?;
        loop {
            match self.publisher.publish_at(index, partition, key, value, headers, written_ms) {
                Ok(()) => return Ok(()),
                Err(PublishError::QueueFull) => std::thread::sleep(Duration::from_millis(5)),
                Err(error) => anyhow::bail!("{topic:?} {partition}: {}", error.reason()),
            }
        }
    }
}

/// Who waits for each second's records to arrive keeps them for no larger batch.
fn publisher(settings: &KafkaSettings) -> Result<Publisher> {
    let names = Topic::ALL.map(|topic| topic.name(&settings.prefix)).to_vec();
    Ok(Publisher::lingering(settings, names, Duration::from_millis(2))?)
}

/// The topic's place among all, which is its index in the producer.
fn index(topic: Topic) -> Result<usize> {
    Topic::ALL.iter().position(|other| *other == topic).context("a topic that is none")
}

/// At least and less than so many random bytes.
fn bytes(random: &mut Random, least: u64, most: u64) -> Vec<u8> {
    let count = least + random.below(most - least);
    (0..count).map(|_| random.number() as u8).collect()
}
