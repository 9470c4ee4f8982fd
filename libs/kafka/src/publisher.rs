//! The agent's producer: idempotent, never blocking, nothing lost while the process lives.
//!
//! In: encoded records with their partition. Out: messages in Kafka, and a count of every delivery report. Bounded by bytes
//! (`kafka.queue_bytes`) and messages; past that a record is refused at once, so that its caller can count it. There is no
//! delivery timeout: what was taken is delivered however long the brokers are away. Delivery reports wait until the caller takes
//! them ([`Publisher::take_reports`]): a thread for them would cost an eighth of the agent's time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError as ClientError;
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientContext, IntoOpaque, Message as _};

use crate::client::{Complaints, log};
use crate::handle::TopicHandle;
use crate::placed::{Placed, Places};
use crate::{KafkaError, KafkaSettings, Offset, Partition};

const QUEUE_MESSAGES_MAX: &str = "1000000";

/// Batches whose reports are taken at a time.
const REPORT_BATCHES_MAX: usize = 10_000;

/// A producer for some topics, each named by its index.
pub struct Publisher {
    /// They go before the producer, as its fields do in order.
    handles: Vec<TopicHandle>,
    producer: BaseProducer<Reports>,
    topics: Vec<String>,
}

/// Why a record was not taken. It is lost if its caller does not keep it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishError {
    /// The queue has no room.
    QueueFull,
    /// It is larger than a broker takes.
    TooLarge,
    /// The producer takes nothing any more; [`Publisher::check`] says why.
    Stopped,
}

impl PublishError {
    /// A word for counters.
    pub fn reason(self) -> &'static str {
        match self {
            PublishError::QueueFull => "queue_full",
            PublishError::TooLarge => "too_large",
            PublishError::Stopped => "producer_stopped",
        }
    }
}

/// What a message is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag {
    /// Less than [`Tag::NUMBERS`]; [`Publisher::reported`] names it.
    pub number: u64,
    /// [`Publisher::reported`] is to name it once its fate is known.
    pub is_reported: bool,
    /// It is a record that is counted among those of its topic.
    pub is_counted: bool,
}

impl Tag {
    /// Bound of the numbers.
    pub const NUMBERS: u64 = 1 << 56;

    const TOPICS: usize = 64;

    /// What librdkafka keeps of a message of the topic with this index.
    fn opaque(self, topic: usize) -> usize {
        let flags = usize::from(self.is_counted) | usize::from(self.is_reported) << 1;
        ((self.number % Tag::NUMBERS) as usize * 256) | ((topic % Tag::TOPICS) << 2) | flags
    }

    fn of(opaque: usize) -> (Tag, usize) {
        let tag = Tag { number: (opaque / 256) as u64, is_reported: opaque & 2 != 0, is_counted: opaque & 1 != 0 };
        (tag, opaque >> 2 & (Tag::TOPICS - 1))
    }
}

/// Delivery reports, by topic.
struct Reports {
    complaints: Complaints,
    counts: Arc<Vec<Counts>>,
    reported: Mutex<Vec<u64>>,
    /// By topic and partition.
    placed: Mutex<Places>,
}

/// What is in it holds whatever a thread that panicked did.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What became of the messages of a topic. Those without value, which carry headers alone, are no records: they are counted apart.
#[derive(Default)]
struct Counts {
    records: Outcomes,
    others: Outcomes,
}

#[derive(Default)]
struct Outcomes {
    delivered: AtomicU64,
    failed: AtomicU64,
}

impl ClientContext for Reports {
    fn error(&self, error: ClientError, reason: &str) {
        self.complaints.note(&error, reason);
    }

    fn log(&self, level: RDKafkaLogLevel, _facility: &str, message: &str) {
        log(level, message);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, opaque: usize) {
        let (tag, topic) = Tag::of(opaque);
        let Some(counts) = self.counts.get(topic) else { return };
        if tag.is_reported {
            lock(&self.reported).push(tag.number);
        }
        let (Ok(message) | Err((_, message))) = result;
        if let Some(placed) = lock(&self.placed).of(topic, Partition(message.partition())) {
            match result {
                Ok(message) => placed.acknowledged(Some(Offset(message.offset())).filter(|at| *at >= Offset::FIRST)),
                Err(_) => placed.failed += 1,
            }
        }
        let outcomes = if tag.is_counted { &counts.records } else { &counts.others };
        let outcome = if result.is_err() { &outcomes.failed } else { &outcomes.delivered };
        let before = outcome.fetch_add(1, Ordering::Relaxed);
        // Ever more rarely, since whole queues fail for one reason.
        if let Err((error, _)) = result
            && (before + 1).is_power_of_two()
        {
            tracing::warn!(%error, records = before + 1, "records were not delivered");
        }
    }
}

/// What is handed over.
struct Message<'a> {
    topic: usize,
    partition: i32,
    key: &'a [u8],
    value: Option<&'a [u8]>,
    headers: &'a [(&'a str, &'a [u8])],
    timestamp_ms: Option<i64>,
    opaque: usize,
}

impl Publisher {
    /// Starts a producer.
    pub fn start(settings: &KafkaSettings, topics: Vec<String>) -> Result<Publisher, KafkaError> {
        // Few large batches cost agent and brokers less; what is said of progress each second bounds how fresh anything can be anyway.
        Publisher::lingering(settings, topics, Duration::from_millis(250))
    }

    /// The same for whoever waits for deliveries: what is handed over is sent after so long.
    pub fn lingering(settings: &KafkaSettings, topics: Vec<String>, linger: Duration) -> Result<Publisher, KafkaError> {
        let counts = Arc::new(topics.iter().map(|_| Default::default()).collect::<Vec<_>>());
        let queue_kbytes = (settings.queue_bytes / 1024).max(1).to_string();
        let producer: BaseProducer<Reports> = settings
            .client()
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("compression.codec", "zstd")
            .set("compression.level", "1")
            .set("linger.ms", linger.as_millis().to_string())
            .set("batch.num.messages", "50000")
            .set("message.timeout.ms", "0")
            // Until it is asked again it refuses what goes into a partition that was added, by default for five minutes: also in a
            // program that started with all of them, where a broker answered it that had not heard yet.
            .set("topic.metadata.refresh.interval.ms", "10000")
            .set("queue.buffering.max.kbytes", queue_kbytes)
            .set("queue.buffering.max.messages", QUEUE_MESSAGES_MAX)
            .create_with_context(Reports {
                complaints: Complaints::default(),
                counts,
                reported: Mutex::default(),
                placed: Mutex::default(),
            })
            .map_err(KafkaError::client("make a Kafka producer"))?;
        let handle = |topic: &String| TopicHandle::new(producer.client(), topic);
        let handles = topics.iter().map(handle).collect::<Result<_, _>>().map_err(|code| KafkaError::Other {
            doing: "make a Kafka producer".into(),
            reason: format!("a topic has no name that Kafka takes: {code}"),
        })?;
        Ok(Publisher { handles, producer, topics })
    }

    /// Counts the deliveries that were reported since the last call, without waiting. Until then they count as waiting and take
    /// their room in the queue, so this must be called now and then.
    pub fn take_reports(&self) {
        // A poll serves one event, which has the reports of a batch or a complaint, and does not say whether there was one: but
        // then fewer things wait. Nothing is added meanwhile, and a batch more is for the next call.
        let mut before = self.waiting();
        for _ in 0..REPORT_BATCHES_MAX {
            self.producer.poll(Duration::ZERO);
            let after = self.waiting();
            if after >= before {
                return;
            }
            before = after;
        }
    }

    /// Hands a record over. A record without value carries headers alone.
    pub fn publish(
        &self,
        topic: usize,
        partition: Partition,
        key: &[u8],
        value: Option<&[u8]>,
        headers: &[(&str, &[u8])],
    ) -> Result<(), PublishError> {
        self.publish_at(topic, partition, key, value, headers, None)
    }

    /// The same with a timestamp (milliseconds since the epoch) other than the present: for records of a past that tests make.
    pub fn publish_at(
        &self,
        topic: usize,
        partition: Partition,
        key: &[u8],
        value: Option<&[u8]>,
        headers: &[(&str, &[u8])],
        timestamp_ms: Option<i64>,
    ) -> Result<(), PublishError> {
        let tag = Tag { number: 0, is_reported: false, is_counted: value.is_some() };
        self.hand_over(topic, partition, key, value, headers, timestamp_ms, tag)
    }

    /// Hands over a record, or a message without value that carries headers alone, which is known by a tag.
    pub fn publish_tagged(
        &self,
        topic: usize,
        partition: Partition,
        key: &[u8],
        value: Option<&[u8]>,
        headers: &[(&str, &[u8])],
        tag: Tag,
    ) -> Result<(), PublishError> {
        self.hand_over(topic, partition, key, value, headers, None, tag)
    }

    /// Numbers of the tagged messages whose fate has become known since the last call: a broker has acknowledged them, or they were given
    /// up for good, which is counted. [`Publisher::take_reports`] learns of them.
    pub fn reported(&self) -> Vec<u64> {
        std::mem::take(&mut lock(&self.producer.context().reported))
    }

    #[allow(clippy::too_many_arguments, reason = "the whole of a message, which callers above name in part")]
    fn hand_over(
        &self,
        topic: usize,
        partition: Partition,
        key: &[u8],
        value: Option<&[u8]>,
        headers: &[(&str, &[u8])],
        timestamp_ms: Option<i64>,
        tag: Tag,
    ) -> Result<(), PublishError> {
        let message =
            Message { topic, partition: partition.0, key, value, headers, timestamp_ms, opaque: tag.opaque(topic) };
        let sent = match self.send(&message) {
            Err(RDKafkaErrorCode::QueueFull) => {
                self.take_reports();
                self.send(&message)
            }
            sent => sent,
        };
        sent.map_err(|code| match code {
            RDKafkaErrorCode::QueueFull => PublishError::QueueFull,
            RDKafkaErrorCode::MessageSizeTooLarge => PublishError::TooLarge,
            _ => PublishError::Stopped,
        })
    }

    fn send(&self, message: &Message<'_>) -> Result<(), RDKafkaErrorCode> {
        let Message { topic, partition, key, value, headers, timestamp_ms, opaque } = *message;
        // Almost all messages are like this, so they go the shorter way.
        if let (Some(value), true, None) = (value, headers.is_empty(), timestamp_ms) {
            return self.handles[topic].produce(partition, key, value, opaque.into_ptr());
        }
        let mut record: BaseRecord<'_, [u8], [u8], usize> =
            BaseRecord::with_opaque_to(&self.topics[topic], opaque).partition(partition).key(key);
        if let Some(value) = value {
            record = record.payload(value);
        }
        if !headers.is_empty() {
            let owned = headers.iter().fold(OwnedHeaders::new_with_capacity(headers.len()), |owned, (key, value)| {
                owned.insert(Header { key, value: Some(*value) })
            });
            record = record.headers(owned);
        }
        if let Some(timestamp_ms) = timestamp_ms {
            record = record.timestamp(timestamp_ms);
        }
        self.producer.send(record).map_err(|(error, _)| error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail))
    }

    /// # Errors
    /// If the producer has met an error that it cannot get over: it must be made anew.
    pub fn check(&self) -> Result<(), KafkaError> {
        match self.producer.client().fatal_error() {
            None => Ok(()),
            Some((code, reason)) => Err(KafkaError::Other {
                doing: "publish".into(),
                reason: format!("{code}: {reason}; start the program again"),
            }),
        }
    }

    /// Messages of the topic that a broker has acknowledged.
    pub fn delivered(&self, topic: usize) -> u64 {
        self.count(topic, |counts| {
            counts.records.delivered.load(Ordering::Relaxed) + counts.others.delivered.load(Ordering::Relaxed)
        })
    }

    /// Messages of the topic that were given up after they had been handed over.
    pub fn failed(&self, topic: usize) -> u64 {
        self.count(topic, |counts| {
            counts.records.failed.load(Ordering::Relaxed) + counts.others.failed.load(Ordering::Relaxed)
        })
    }

    /// The same of records alone: messages that have a value.
    pub fn records_delivered(&self, topic: usize) -> u64 {
        self.count(topic, |counts| counts.records.delivered.load(Ordering::Relaxed))
    }

    /// The same of records alone: messages that have a value.
    pub fn records_failed(&self, topic: usize) -> u64 {
        self.count(topic, |counts| counts.records.failed.load(Ordering::Relaxed))
    }

    /// What a partition has of the messages that were handed over, as far as that was reported ([`Publisher::take_reports`]).
    pub fn placed(&self, topic: usize, partition: Partition) -> Placed {
        lock(&self.producer.context().placed).of(topic, partition).map_or_else(Placed::default, |placed| *placed)
    }

    /// Asks where a partition ends, before which all that is acknowledged stands: for [`Placed::is_open`], too.
    ///
    /// # Errors
    /// If no broker says so in this time.
    pub fn ask_end(&self, topic: usize, partition: Partition, timeout: Duration) -> Result<Offset, KafkaError> {
        let name = &self.topics[topic];
        let asked = self.producer.client().fetch_watermarks(name, partition.0, timeout);
        let (_, end) = asked.map_err(KafkaError::client(format!("ask where {name} {partition} ends")))?;
        if let Some(placed) = lock(&self.producer.context().placed).of(topic, partition) {
            placed.end(Offset(end));
        }
        Ok(Offset(end))
    }

    /// Messages that were handed over and have no delivery report yet.
    pub fn waiting(&self) -> usize {
        self.producer.in_flight_count().max(0) as usize
    }

    /// What librdkafka complained of last.
    pub fn complaint(&self) -> Option<String> {
        self.producer.context().complaints.newest().map(|(_, reason)| reason)
    }

    /// Waits until everything is delivered.
    ///
    /// # Errors
    /// If the time is over; what is still queued is lost with the process.
    pub fn flush(&self, timeout: Duration) -> Result<(), KafkaError> {
        self.producer.flush(timeout).map_err(|source| {
            let doing = format!("deliver the last {} messages, which are lost now", self.waiting());
            KafkaError::Client { doing, source }
        })
    }

    fn count(&self, topic: usize, of: impl Fn(&Counts) -> u64) -> u64 {
        self.producer.context().counts.get(topic).map_or(0, of)
    }
}
