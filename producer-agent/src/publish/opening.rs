//! Opens the way to Kafka on a thread of its own: brokers, topics, schemas. The pipeline does not wait for it.
//!
//! In: the settings. Out: a [`Route`] as soon as there is one, or an error that no waiting cures; until then, what is in the way. It tries
//! again for ever, [`PAUSE`] after each try.

use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use headwater_kafka::{KafkaError, KafkaSettings, Offset, Partition, Publisher, Registry, admin, connect_check};
use headwater_schemas::topics::Topic;

use super::route::Route;
use super::vouch::Vouching;
use crate::ledger::Stream;

/// Topics by their index in the publisher: those of the streams as `Stream as usize`, then the others.
pub const TOPICS: [Topic; 6] =
    [Topic::Requests, Topic::Flows, Topic::Processes, Topic::Agents, Topic::Identities, Topic::Progress];
pub const AGENTS: usize = 3;
pub const IDENTITIES: usize = 4;
pub const PROGRESS: usize = 5;

/// How long a broker may take to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(500);

/// What the registry calls the schemas, by topic.
pub type SchemaIds = [u32; TOPICS.len()];

/// A way that is being opened.
pub struct Opening {
    news: Receiver<Result<Route, KafkaError>>,
}

/// How far it is.
pub enum News {
    Nothing,
    Open(Box<Route>),
    /// It does not work yet; it goes on.
    InTheWay(String),
}

impl Opening {
    /// The thread ends with its way, or with the process: it may be in the middle of a wait for a broker.
    pub fn start(settings: &KafkaSettings) -> Result<Opening> {
        let settings = settings.clone();
        let (told, news) = sync_channel(1);
        let open = move || {
            loop {
                let opened = open(&settings);
                let goes_on = opened.as_ref().is_err_and(|error| error.is_passing());
                if told.send(opened).is_err() || !goes_on {
                    return;
                }
                std::thread::sleep(PAUSE);
            }
        };
        std::thread::Builder::new()
            .name("opening".into())
            .spawn(open)
            .context("start the thread that opens the way to Kafka")?;
        Ok(Opening { news })
    }

    /// What has happened since the last look.
    ///
    /// # Errors
    /// What no waiting cures, such as a wrong password.
    pub fn look(&self) -> Result<News> {
        match self.news.try_recv() {
            Ok(Ok(route)) => Ok(News::Open(Box::new(route))),
            Ok(Err(error)) if error.is_passing() => Ok(News::InTheWay(error.to_string())),
            Ok(Err(error)) => Err(error.into()),
            Err(TryRecvError::Empty) => Ok(News::Nothing),
            Err(TryRecvError::Disconnected) => Err(anyhow!("the thread that opens the way to Kafka has ended")),
        }
    }
}

/// Makes the topics where they are missing, registers the schemas and starts the producer.
fn open(settings: &KafkaSettings) -> Result<Route, KafkaError> {
    connect_check(settings, CONNECT_TIMEOUT)?;
    let partitions = admin::ensure_topics(settings, &TOPICS)?;
    let of = |topic| partitions.get(&topic).copied().unwrap_or(1);
    let schema_ids = register(settings)?;
    let publisher = Publisher::start(settings, TOPICS.map(|topic| topic.name(&settings.prefix)).to_vec())?;
    let ends = |stream: Stream| {
        let partitions = (0..of(Topic::Progress)).map(Partition);
        partitions.map(|partition| end_of(&publisher, stream as usize, partition)).collect()
    };
    let ends: [Result<Vec<Offset>, KafkaError>; 2] = Stream::VOUCHED_FOR.map(ends);
    let [requests, flows] = ends;
    Ok(Route {
        partitions: [of(Topic::Requests), of(Topic::Flows), of(Topic::Processes)],
        vouching: Vouching::new([requests?, flows?]),
        schema_ids,
        publisher,
    })
}

/// Where a partition ends. One that was just made has nobody who knows for a moment.
fn end_of(publisher: &Publisher, topic: usize, partition: Partition) -> Result<Offset, KafkaError> {
    let deadline = Instant::now() + CONNECT_TIMEOUT;
    loop {
        match publisher.ask_end(topic, partition, CONNECT_TIMEOUT) {
            Err(_) if Instant::now() < deadline => std::thread::sleep(PAUSE),
            told => return told,
        }
    }
}

fn register(settings: &KafkaSettings) -> Result<SchemaIds, KafkaError> {
    let registry = Registry::new(settings);
    let mut ids = [0; TOPICS.len()];
    for (id, topic) in ids.iter_mut().zip(TOPICS) {
        *id = registry.register_topic(topic)?;
    }
    Ok(ids)
}
