//! Writes outputs and the offsets of what they were made from, all or none.
//!
//! In: encoded records, offsets with a note. Out: one Kafka transaction (KIP-98, KIP-447). A member that has lost its partitions
//! cannot commit: the brokers check its membership. A process that died is fenced by its successor, or its transaction is
//! given up by the brokers after `transaction.timeout.ms`.

use std::time::Duration;

use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};

use crate::client::Plain;
use crate::place::list_of_commits;
use crate::{Commit, GroupMember, KafkaError, KafkaSettings, Partition};

/// Until when readers of committed records may wait for a process that died in mid-transaction.
const TRANSACTION_TIMEOUT_MS: &str = "15000";
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a transaction did not happen.
#[derive(Debug, thiserror::Error)]
pub enum TxnError {
    /// It was given up; nothing of it is seen by readers. Go back to the committed offsets and try again.
    #[error("the transaction was given up while {doing}: {reason}")]
    Aborted { doing: String, reason: String },
    /// This producer is of no use any more: make it and the group member anew.
    #[error("the transactional producer cannot go on while {doing}: {reason}")]
    Fatal { doing: String, reason: String },
}

/// A transactional producer.
pub struct Transactions {
    /// With a thread that serves delivery reports: aborting waits for them.
    producer: ThreadedProducer<Plain>,
    open: bool,
}

impl Transactions {
    /// Takes over the transactional id, which fences whoever had it.
    pub fn start(settings: &KafkaSettings, transactional_id: &str) -> Result<Transactions, KafkaError> {
        let producer: ThreadedProducer<Plain> = settings
            .client()
            .set("transactional.id", transactional_id)
            .set("transaction.timeout.ms", TRANSACTION_TIMEOUT_MS)
            .set("compression.codec", "zstd")
            .set("compression.level", "1")
            .set("linger.ms", "5")
            .create_with_context(Plain::default())
            .map_err(KafkaError::client("make a transactional producer"))?;
        producer
            .init_transactions(CALL_TIMEOUT)
            .map_err(KafkaError::client(format!("take over the transactional id {transactional_id}")))?;
        Ok(Transactions { producer, open: false })
    }

    /// Adds a record to the transaction, which begins with its first one.
    pub fn send(
        &mut self,
        topic: &str,
        partition: Partition,
        key: &[u8],
        value: Option<&[u8]>,
        headers: &[(&str, &[u8])],
    ) -> Result<(), TxnError> {
        self.begin()?;
        let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic).partition(partition.0).key(key);
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
                Err((error, _)) => return Err(self.give_up(&format!("sending to {topic} {partition}"), &error)),
            }
        }
    }

    /// Commits what was sent together with where the member's group goes on.
    ///
    /// # Errors
    /// Whatever the error, nothing of the transaction is committed, unless the brokers' last answer was lost: the committed
    /// offsets, read anew, tell.
    pub fn commit(&mut self, inputs: &[Commit], member: &GroupMember) -> Result<(), TxnError> {
        self.begin()?;
        let list = match list_of_commits(inputs) {
            Ok(list) => list,
            Err(error) => return Err(self.give_up("noting offsets", &error)),
        };
        let Some(metadata) = member.metadata() else {
            return Err(self.abort("the member is in no group", "committing"));
        };
        if let Err(error) = self.producer.send_offsets_to_transaction(&list, &metadata, CALL_TIMEOUT) {
            return Err(self.give_up("committing offsets", &error));
        }
        match self.producer.commit_transaction(CALL_TIMEOUT) {
            Ok(()) => {
                self.open = false;
                Ok(())
            }
            Err(error) => Err(self.give_up("committing", &error)),
        }
    }

    /// Gives the open transaction up, if there is one.
    pub fn abandon(&mut self) -> Result<(), TxnError> {
        if !self.open {
            return Ok(());
        }
        match self.abort("its input is not ours any more", "abandoning it") {
            fatal @ TxnError::Fatal { .. } => Err(fatal),
            TxnError::Aborted { .. } => Ok(()),
        }
    }

    fn begin(&mut self) -> Result<(), TxnError> {
        if !self.open {
            if let Err(error) = self.producer.begin_transaction() {
                return Err(TxnError::Fatal { doing: "beginning it".into(), reason: error.to_string() });
            }
            self.open = true;
        }
        Ok(())
    }

    /// Aborts after an error, if the producer can go on at all.
    fn give_up(&mut self, doing: &str, error: &ClientError) -> TxnError {
        if let ClientError::Transaction(details) = error
            && details.is_fatal()
        {
            return TxnError::Fatal { doing: doing.to_owned(), reason: error.to_string() };
        }
        self.abort(&error.to_string(), doing)
    }

    fn abort(&mut self, reason: &str, doing: &str) -> TxnError {
        match self.producer.abort_transaction(CALL_TIMEOUT) {
            Ok(()) => {
                self.open = false;
                TxnError::Aborted { doing: doing.to_owned(), reason: reason.to_owned() }
            }
            // Also where the brokers are away for long: a new producer settles it when they are back.
            Err(error) => TxnError::Fatal { doing: doing.to_owned(), reason: format!("{reason}; aborting: {error}") },
        }
    }
}
