//! Writes outputs and the offsets of what they were made from, all or none.
//!
//! In: encoded records, offsets with a note. Out: one Kafka transaction (KIP-98, KIP-447). A member that has lost its partitions
//! cannot commit: the brokers check its membership. A process that died is fenced by its successor, or its transaction is
//! given up by the brokers after `transaction.timeout.ms`.
//!
//! Promise: no request of one transaction has an effect on another. librdkafka speaks the protocol from before KIP-890, in which all
//! transactions of a producer have the same epoch: a request that got no answer, was sent again and arrives after all would end the
//! next transaction, or set its offsets back (librdkafka#5423). So after everything but a quick and confirmed end the transactional
//! id is taken over anew, whose higher epoch makes the brokers refuse what is still on its way, and which ends what is pending.
//! Bound: each call is over within [`CALL_TIMEOUT`], or is left to itself after [`HANGS_AFTER`]; a take-over within [`TAKE_OVER_TIMEOUT`].

use std::collections::BTreeMap;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rdkafka::ClientContext;
use rdkafka::Message as _;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError as ClientError;
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;

use crate::client::{Complaints, log};
use crate::place::list_of_commits;
use crate::{Commit, GroupMember, KafkaError, KafkaSettings, Offset, Partition};

/// Until when readers of committed records may wait for a process that died in mid-transaction.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(15);
/// The library ignores it while it looks for the group's coordinator (librdkafka#5456): then the call takes as long as that, which
/// is for ever if it waits for a broker to which it does not connect again.
const CALL_TIMEOUT: Duration = Duration::from_secs(12);
/// The brokers have given the transaction up by then, so nothing is lost by not waiting for its call any more.
const HANGS_AFTER: Duration = TRANSACTION_TIMEOUT;
/// A broker that has just started reads its logs first.
const TAKE_OVER_TIMEOUT: Duration = Duration::from_secs(20);
/// A request without an answer for so long counts as lost; its connection is closed.
const SOCKET_TIMEOUT: Duration = Duration::from_secs(6);
/// How long the library waits, less at most a fifth, before it sends a lost request again.
const RETRY_BACKOFF: Duration = Duration::from_secs(2);
/// A transaction that ended sooner after its beginning cannot have sent a request twice.
const QUICK: Duration = Duration::from_millis(1500);

/// Why a transaction did not happen. The producer is of no use any more: [`Transactions::renew`] it, and only then ask for the
/// committed offsets and go on from there.
#[derive(Debug, thiserror::Error)]
#[error("the transaction broke off while {doing}: {reason}")]
pub struct TxnError {
    /// What was being done.
    pub doing: String,
    /// The library's or the brokers' words.
    pub reason: String,
}

/// A record to be written.
#[derive(Debug, Clone, Copy)]
pub struct NewRecord<'a> {
    pub topic: &'a str,
    pub partition: Partition,
    pub key: &'a [u8],
    pub value: Option<&'a [u8]>,
    pub headers: &'a [(&'a str, &'a [u8])],
    /// Microseconds since the epoch. Kafka's timestamp of the record is not before this time, also if this machine's clock is; else it is
    /// the present, from which its retention counts.
    pub not_before_us: i64,
}

impl<'a> NewRecord<'a> {
    /// A record without headers, made now.
    pub fn new(topic: &'a str, partition: Partition, key: &'a [u8], value: &'a [u8]) -> NewRecord<'a> {
        NewRecord { topic, partition, key, value: Some(value), headers: &[], not_before_us: 0 }
    }
}

/// Stands for records of one partition, of which it is told where the last one stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket(usize);

/// Where records stand, of which that was asked. Bounded by the records of one transaction.
#[derive(Default)]
struct Delivered {
    complaints: Complaints,
    places: Mutex<BTreeMap<usize, Offset>>,
}

impl ClientContext for Delivered {
    fn error(&self, error: ClientError, reason: &str) {
        self.complaints.note(&error, reason);
    }

    fn log(&self, level: RDKafkaLogLevel, _facility: &str, message: &str) {
        log(level, message);
    }
}

impl ProducerContext for Delivered {
    /// The number of a ticket; 0 where nobody asks.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: usize) {
        // The transaction tells what failed.
        let Some(message) = result.as_ref().ok().filter(|message| ticket > 0 && message.offset() >= 0) else { return };
        if let Ok(mut places) = self.places.lock() {
            let place = places.entry(ticket).or_insert(Offset::BEFORE_ALL);
            *place = Offset(message.offset()).max(*place);
        }
    }
}

/// A transactional producer.
pub struct Transactions {
    settings: KafkaSettings,
    transactional_id: String,
    /// With a thread that serves delivery reports: committing waits for them.
    /// Shared with a call that hangs.
    producer: Arc<ThreadedProducer<Delivered>>,
    /// When the open transaction began.
    began: Option<Instant>,
    /// Tickets that were given.
    tickets: usize,
}

impl Transactions {
    /// Takes over the transactional id, which fences whoever had it and ends the transaction that is pending.
    pub fn start(settings: &KafkaSettings, transactional_id: &str) -> Result<Transactions, KafkaError> {
        let producer = take_over(settings, transactional_id)?;
        let (settings, transactional_id) = (settings.clone(), transactional_id.to_owned());
        Ok(Transactions { settings, transactional_id, producer, began: None, tickets: 0 })
    }

    /// Takes over its own transactional id: whatever it has sent and not seen confirmed has no effect from now on.
    pub fn renew(&mut self) -> Result<(), KafkaError> {
        self.producer = take_over(&self.settings, &self.transactional_id)?;
        self.began = None;
        Ok(())
    }

    /// Adds a record to the transaction, which begins with its first one.
    pub fn send(&mut self, record: &NewRecord<'_>) -> Result<(), TxnError> {
        self.send_with(record, 0)
    }

    /// As [`Transactions::send`]. Where the record stands can be asked for between [`Transactions::settle`] and the commit.
    pub fn send_noted(&mut self, record: &NewRecord<'_>) -> Result<Ticket, TxnError> {
        let ticket = self.ticket();
        self.send_as(record, ticket)?;
        Ok(ticket)
    }

    /// A new ticket, for this transaction.
    pub fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    /// As [`Transactions::send_noted`], for one more record of the ticket's partition.
    pub fn send_as(&mut self, record: &NewRecord<'_>, ticket: Ticket) -> Result<(), TxnError> {
        self.send_with(record, ticket.0)
    }

    /// Waits until all that was sent is with the brokers, though not committed yet.
    pub fn settle(&mut self) -> Result<(), TxnError> {
        self.await_answers()
    }

    /// Where the last record of a ticket stands; none if the brokers did not tell.
    pub fn place(&self, ticket: Ticket) -> Option<Offset> {
        self.producer.context().places.lock().ok()?.get(&ticket.0).copied()
    }

    fn send_with(&mut self, record: &NewRecord<'_>, ticket: usize) -> Result<(), TxnError> {
        self.begin()?;
        let NewRecord { topic, partition, key, value, headers, not_before_us } = *record;
        let mut record: BaseRecord<'_, [u8], [u8], usize> =
            BaseRecord::with_opaque_to(topic, ticket).partition(partition.0).key(key);
        // The library stamps what has no timestamp with the present.
        let not_before_ms = not_before_us.div_euclid(1000).saturating_add(1);
        if not_before_ms > now_ms() {
            record = record.timestamp(not_before_ms);
        }
        if let Some(value) = value {
            record = record.payload(value);
        }
        if !headers.is_empty() {
            let owned = headers
                .iter()
                .fold(OwnedHeaders::new(), |owned, (key, value)| owned.insert(Header { key, value: Some(*value) }));
            record = record.headers(owned);
        }
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((error, refused)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) => {
                    record = refused;
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err((error, _)) => return Err(broke_off(&format!("sending to {topic} {partition}"), error)),
            }
        }
    }

    /// Commits what was sent together with where the member's group goes on.
    ///
    /// # Errors
    /// Whatever the error, nothing of the transaction is committed, unless the brokers' last answer was lost: the committed
    /// offsets, read anew after [`Transactions::renew`], tell.
    pub fn commit(&mut self, inputs: &[Commit], member: &GroupMember) -> Result<(), TxnError> {
        let began = self.begin()?;
        let list = list_of_commits(inputs).map_err(|error| broke_off("noting offsets", error))?;
        let metadata = member.metadata().ok_or_else(|| broke_off("committing", "the member is in no group"))?;
        self.await_answers()?;
        let producer = Arc::clone(&self.producer);
        within(HANGS_AFTER, "committing offsets", move || {
            producer.send_offsets_to_transaction(&list, &metadata, CALL_TIMEOUT)
        })?;
        let producer = Arc::clone(&self.producer);
        within(HANGS_AFTER, "committing", move || producer.commit_transaction(CALL_TIMEOUT))?;
        self.began = None;
        if let Ok(mut places) = self.producer.context().places.lock() {
            places.clear();
        }
        let took = began.elapsed();
        if took >= QUICK {
            tracing::info!(self.transactional_id, ?took, "a request of the transaction may still be on its way");
            self.renew().map_err(|error| broke_off("taking over after a slow commit", error))?;
        }
        Ok(())
    }

    /// Waits until the records are with the brokers. While the transaction before is not quite over, the library asks for the
    /// partitions of records again at once, and for those of offsets only after the whole pause: so they go second.
    fn await_answers(&self) -> Result<(), TxnError> {
        let deadline = Instant::now() + CALL_TIMEOUT;
        while self.producer.in_flight_count() > 0 {
            if Instant::now() > deadline {
                return Err(broke_off("sending", "the brokers do not answer"));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// When the open transaction began, which is now if none is open.
    fn begin(&mut self) -> Result<Instant, TxnError> {
        if let Some(began) = self.began {
            return Ok(began);
        }
        let began = Instant::now();
        self.producer.begin_transaction().map_err(|error| broke_off("beginning it", error))?;
        self.began = Some(began);
        Ok(began)
    }
}

/// Calls the library on a thread of its own. One that does not come back keeps its thread and its producer until it does; whatever it
/// does then has no effect, since the transactional id is taken over before anything else is done with it.
fn within<E: ToString + Send + 'static>(
    timeout: Duration,
    doing: &'static str,
    call: impl FnOnce() -> Result<(), E> + Send + 'static,
) -> Result<(), TxnError> {
    let (tell, told) = channel();
    let run = move || tell.send(call()).unwrap_or_default();
    thread::Builder::new().name("transaction".into()).spawn(run).map_err(|error| broke_off(doing, error))?;
    match told.recv_timeout(timeout) {
        Ok(done) => done.map_err(|error| broke_off(doing, error)),
        Err(RecvTimeoutError::Timeout) => {
            tracing::error!(doing, ?timeout, "a call of librdkafka hangs; its producer is given up for a new one");
            Err(broke_off(doing, format!("librdkafka's call hangs for {timeout:?} already")))
        }
        Err(RecvTimeoutError::Disconnected) => Err(broke_off(doing, "the thread that did it panicked")),
    }
}

fn take_over(settings: &KafkaSettings, transactional_id: &str) -> Result<Arc<ThreadedProducer<Delivered>>, KafkaError> {
    let ms = |duration: Duration| duration.as_millis().to_string();
    let producer: ThreadedProducer<Delivered> = settings
        .client()
        .set("transactional.id", transactional_id)
        .set("transaction.timeout.ms", ms(TRANSACTION_TIMEOUT))
        .set("socket.timeout.ms", ms(SOCKET_TIMEOUT))
        .set("retry.backoff.ms", ms(RETRY_BACKOFF))
        .set("retry.backoff.max.ms", ms(RETRY_BACKOFF))
        .set("compression.codec", "zstd")
        .set("compression.level", "1")
        .set("linger.ms", "5")
        .create_with_context(Delivered::default())
        .map_err(KafkaError::client("make a transactional producer"))?;
    producer
        .init_transactions(TAKE_OVER_TIMEOUT)
        .map_err(KafkaError::client(format!("take over the transactional id {transactional_id}")))?;
    Ok(Arc::new(producer))
}

fn now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}

fn broke_off(doing: &str, reason: impl ToString) -> TxnError {
    TxnError { doing: doing.to_owned(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const SHORT: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn a_call_that_hangs_is_told_of_and_not_waited_for() {
        let (_release, hangs) = channel::<()>();
        let call = move || hangs.recv();
        let error = within(SHORT, "committing offsets", call).unwrap_err();
        assert!(error.to_string().contains("committing offsets") && error.to_string().contains("hangs"), "{error}");
    }

    #[test]
    fn a_call_that_comes_back_says_what_it_says() {
        within(LONG, "committing", || Ok::<(), String>(())).unwrap();
        let error = within(LONG, "committing", || Err("the broker says no")).unwrap_err();
        assert!(error.to_string().contains("the broker says no"), "{error}");
    }

    #[test]
    fn a_call_that_panics_is_an_error() {
        let error = within(LONG, "committing", || -> Result<(), String> { panic!("on purpose") }).unwrap_err();
        assert!(error.to_string().contains("panicked"), "{error}");
    }
}
