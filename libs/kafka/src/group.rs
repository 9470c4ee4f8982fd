//! A member of a consumer group, for processors: everything that happens to it is a value from [`GroupMember::poll`].
//!
//! In: topics of a group. Out: [`GroupEvent`]s, one at a time, in order: a partition's records
//! come between its assignment and its revocation. Commits are none of its business; [`crate::Transactions`] makes them.
//!
//! The group agrees by the classic protocol. With that of KIP-848 librdkafka before 2.15 stalls now and then, and may skip records; it can
//! be chosen all the same (`kafka.group_protocol`).

use std::collections::{BTreeSet, VecDeque};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, ConsumerGroupMetadata, Rebalance};
use rdkafka::error::KafkaError as ClientError;
use rdkafka::message::OwnedMessage;
use rdkafka::statistics::Statistics;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientContext, Message as _, Offset as Position, TopicPartitionList};

use crate::client::{Complaints, log};
use crate::lag::{INTERVAL_MS, MemberState};
use crate::place::{add, list_of, partitions_of};
use crate::reader::is_passing;
use crate::{KafkaError, KafkaSettings, Message, Offset, Partition, TopicPartition};

const TIMEOUT: Duration = Duration::from_secs(30);
/// Nobody is told where a group stands while a transaction that commits to it is open. That of a process that is gone is so for as long as
/// `transaction.timeout.ms` says, and until the brokers look for it (by default every 10 s).
const COMMITTED_TIMEOUT: Duration = Duration::from_secs(60);
const ASK_AGAIN: Duration = Duration::from_millis(100);
const SEEK_AGAIN: Duration = Duration::from_millis(5);
/// A member that was killed is given up after this; with KIP-848 the brokers say after what.
const SESSION_TIMEOUT_MS: &str = "10000";
const HEARTBEAT_INTERVAL_MS: &str = "2000";

/// A partition that came to this member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The partition.
    pub at: TopicPartition,
    /// Where the group stands, if it has committed: reading starts there, else at the oldest record.
    pub committed: Option<Offset>,
    /// What was noted with that commit.
    pub note: String,
}

/// What happened.
pub enum GroupEvent<'a> {
    Assigned(Vec<Assignment>),
    Revoked(Vec<TopicPartition>),
    Record(Message<'a>),
    Idle,
}

/// A member of a group.
pub struct GroupMember {
    consumer: BaseConsumer<Changes>,
    /// A record that came in the same call as a change, which goes first.
    waiting: Option<OwnedMessage>,
}

enum Change {
    Assigned(Vec<TopicPartition>),
    Revoked(Vec<TopicPartition>),
    Failed(String),
}

#[derive(Default)]
struct Changes {
    complaints: Complaints,
    queue: Mutex<VecDeque<Change>>,
    state: Mutex<MemberState>,
    /// Partitions that are held back. librdkafka keeps them so when they go elsewhere and come again, of which nobody would know.
    held: Mutex<BTreeSet<TopicPartition>>,
}

impl ClientContext for Changes {
    fn error(&self, error: ClientError, reason: &str) {
        self.complaints.note(&error, reason);
    }

    fn log(&self, level: RDKafkaLogLevel, _facility: &str, message: &str) {
        log(level, message);
    }

    fn stats(&self, statistics: Statistics) {
        if let Ok(mut state) = self.state.lock() {
            *state = MemberState::of(&statistics);
        }
    }
}

impl ConsumerContext for Changes {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let change = match rebalance {
            Rebalance::Assign(list) => Change::Assigned(partitions_of(list)),
            Rebalance::Revoke(list) => {
                let gone = partitions_of(list);
                self.let_go(consumer, &gone);
                Change::Revoked(gone)
            }
            Rebalance::Error(error) => Change::Failed(error.to_string()),
        };
        if let Ok(mut queue) = self.queue.lock() {
            queue.push_back(change);
        }
    }
}

impl Changes {
    /// Lets go what is held back of partitions that leave. Here, since a change that crosses the start or the end of fetching on
    /// librdkafka's own thread may undo it (librdkafka's issues 2190 and 5591): until this callback returns it does neither.
    fn let_go(&self, consumer: &BaseConsumer<Self>, gone: &[TopicPartition]) {
        let Ok(mut held) = self.held.lock() else { return };
        let leaving: Vec<TopicPartition> = gone.iter().filter(|at| held.remove(at)).cloned().collect();
        if leaving.is_empty() {
            return;
        }
        if let Err(error) = consumer.resume(&list_of(&leaving)) {
            let reason = format!("let go {leaving:?}, which were held back and leave: {error}");
            if let Ok(mut queue) = self.queue.lock() {
                queue.push_back(Change::Failed(reason));
            }
        }
    }
}

impl GroupMember {
    /// Joins a group. A member with a name (KIP-345) that comes back within the session timeout, after a stop or a kill, gets its
    /// partitions back, and the others keep theirs meanwhile. Of two with one name the first one fails.
    pub fn join(
        settings: &KafkaSettings,
        group: &str,
        topics: &[String],
        name: Option<&str>,
    ) -> Result<GroupMember, KafkaError> {
        let mut config = settings.client();
        config.set("group.id", group).set("group.protocol", settings.group_protocol);
        // Partition p of every topic goes to the same member: requests and flows are joined partition by partition.
        match settings.group_protocol {
            "consumer" => config.set("group.remote.assignor", "range"),
            _ => config
                .set("partition.assignment.strategy", "range")
                .set("session.timeout.ms", SESSION_TIMEOUT_MS)
                .set("heartbeat.interval.ms", HEARTBEAT_INTERVAL_MS),
        };
        if let Some(name) = name {
            config.set("group.instance.id", name);
        }
        let consumer: BaseConsumer<Changes> = config
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("isolation.level", "read_committed")
            .set("auto.offset.reset", "earliest")
            .set("fetch.wait.max.ms", "100")
            .set("statistics.interval.ms", INTERVAL_MS)
            // Partitions that are added are seen as soon.
            .set("topic.metadata.refresh.interval.ms", "10000")
            // With KIP-848 a member that exceeds this never comes back (librdkafka before 2.15), so it is far away.
            .set("max.poll.interval.ms", "900000")
            .set("queued.max.messages.kbytes", "32768")
            .create_with_context(Changes::default())
            .map_err(KafkaError::client("make a Kafka consumer"))?;
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        consumer.subscribe(&names).map_err(KafkaError::client(format!("join the group {group}")))?;
        Ok(GroupMember { consumer, waiting: None })
    }

    /// Waits for what happens next.
    ///
    /// # Errors
    /// Brokers that are away are waited for. After an error the member must be made anew.
    pub fn poll(&mut self, timeout: Duration) -> Result<GroupEvent<'_>, KafkaError> {
        if let Some(change) = self.change() {
            return self.changed(change);
        }
        if let Some(message) = self.waiting.take() {
            return Ok(GroupEvent::Record(Message::owned(message)));
        }
        let polled = self.consumer.poll(timeout);
        let has_changes = self.consumer.context().queue.lock().is_ok_and(|queue| !queue.is_empty());
        match polled {
            Some(Ok(message)) if has_changes => self.waiting = Some(message.detach()),
            Some(Ok(message)) => return Ok(GroupEvent::Record(Message::borrowed(message))),
            Some(Err(error)) if !is_passing(&error) => {
                return Err(KafkaError::Client { doing: "read as a member of the group".into(), source: error });
            }
            _ => {}
        }
        match self.change() {
            Some(change) => self.changed(change),
            None => Ok(GroupEvent::Idle),
        }
    }

    /// Whether a broker answers within `timeout`: [`GroupEvent::Idle`] looks the same when all are away.
    pub fn ask_brokers(&self, timeout: Duration) -> Result<(), KafkaError> {
        self.consumer
            .fetch_metadata(None, timeout)
            .map(drop)
            .map_err(KafkaError::client("ask whether the brokers answer"))
    }

    /// The first offset that a partition keeps.
    pub fn first_kept(&self, at: &TopicPartition, timeout: Duration) -> Result<Offset, KafkaError> {
        let kept = self.consumer.fetch_watermarks(&at.topic, at.partition.0, timeout);
        let (first, _) = kept.map_err(KafkaError::client(format!("ask what {at} keeps")))?;
        Ok(Offset(first))
    }

    /// How many partitions a topic has now.
    pub fn partition_count(&self, topic: &str, timeout: Duration) -> Result<usize, KafkaError> {
        let doing = || format!("ask for the partitions of {topic}");
        let metadata = self.consumer.fetch_metadata(Some(topic), timeout).map_err(KafkaError::client(doing()))?;
        let found = metadata.topics().iter().find(|found| found.name() == topic).map(|found| found.partitions().len());
        found.ok_or_else(|| KafkaError::Other { doing: doing(), reason: "the brokers do not know it".into() })
    }

    /// How it stands, as of the last call of [`GroupMember::poll`].
    pub fn state(&self) -> MemberState {
        self.consumer.context().state.lock().map(|state| state.clone()).unwrap_or_default()
    }

    /// Goes back to what the group has committed, for the given partitions, and tells where that is.
    pub fn rewind(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Assignment>, KafkaError> {
        let committed = self.committed(partitions)?;
        let mut list = TopicPartitionList::new();
        for Assignment { at, committed, .. } in &committed {
            add(&mut list, at, committed.map_or(Position::Beginning, |offset| Position::Offset(offset.0)))?;
        }
        self.seek_all(list)?;
        Ok(committed)
    }

    /// Goes on at these places. What is read of these partitions next is not before them.
    pub fn seek(&mut self, places: &[(TopicPartition, Offset)]) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::new();
        for (at, offset) in places {
            add(&mut list, at, Position::Offset(offset.0))?;
        }
        self.seek_all(list)
    }

    /// Partitions that have just come may not be read yet, and cannot be sought in until they are.
    fn seek_all(&mut self, mut list: TopicPartitionList) -> Result<(), KafkaError> {
        let is_sought = |message: &OwnedMessage| list.find_partition(message.topic(), message.partition()).is_some();
        if self.waiting.as_ref().is_some_and(is_sought) {
            self.waiting = None;
        }
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let result =
                self.consumer.seek_partitions(list, left).map_err(KafkaError::client("go to other offsets"))?;
            let mut again = TopicPartitionList::new();
            for element in result.elements() {
                let at = TopicPartition::new(element.topic(), Partition(element.partition()));
                match element.error() {
                    Ok(()) => {}
                    Err(error) if is_not_begun(&error) && Instant::now() < deadline => {
                        add(&mut again, &at, element.offset())?;
                    }
                    Err(error) => return Err(KafkaError::client(format!("go to another offset of {at}"))(error)),
                }
            }
            if again.count() == 0 {
                return Ok(());
            }
            list = again;
            thread::sleep(SEEK_AGAIN);
        }
    }

    /// Holds partitions back: nothing more comes of them until they are let go. One that goes elsewhere and comes again is not held back.
    pub fn hold(&self, partitions: &[TopicPartition], hold: bool) -> Result<(), KafkaError> {
        let list = list_of(partitions);
        let result = if hold { self.consumer.pause(&list) } else { self.consumer.resume(&list) };
        result.map_err(KafkaError::client("hold partitions back"))?;
        if let Ok(mut held) = self.consumer.context().held.lock() {
            for at in partitions {
                if hold {
                    held.insert(at.clone())
                } else {
                    held.remove(at)
                };
            }
        }
        Ok(())
    }

    pub(crate) fn metadata(&self) -> Option<ConsumerGroupMetadata> {
        self.consumer.group_metadata()
    }

    fn change(&self) -> Option<Change> {
        self.consumer.context().queue.lock().ok()?.pop_front()
    }

    fn changed(&self, change: Change) -> Result<GroupEvent<'_>, KafkaError> {
        match change {
            Change::Assigned(partitions) => Ok(GroupEvent::Assigned(self.committed(&partitions)?)),
            Change::Revoked(partitions) => Ok(GroupEvent::Revoked(partitions)),
            Change::Failed(reason) => Err(KafkaError::Other { doing: "take part in the group".into(), reason }),
        }
    }

    fn committed(&self, partitions: &[TopicPartition]) -> Result<Vec<Assignment>, KafkaError> {
        committed_of(&self.consumer, partitions)
    }
}

/// Whether librdkafka has not come to read a partition that was given to it, or is about to.
fn is_not_begun(error: &ClientError) -> bool {
    matches!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::State | RDKafkaErrorCode::PreviousInProgress))
}

/// Where the consumer's group stands. While another broker takes the group over, which takes a moment, it is asked again, and what a process that is
/// gone has left open is waited for.
pub(crate) fn committed_of<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    partitions: &[TopicPartition],
) -> Result<Vec<Assignment>, KafkaError> {
    let deadline = Instant::now() + COMMITTED_TIMEOUT;
    let committed = loop {
        match consumer.committed_offsets(list_of(partitions), deadline.saturating_duration_since(Instant::now())) {
            Ok(committed) => break committed,
            Err(error) if is_passing(&error) && Instant::now() + ASK_AGAIN < deadline => thread::sleep(ASK_AGAIN),
            Err(error) => return Err(KafkaError::client("ask for the committed offsets")(error)),
        }
    };
    Ok(committed
        .elements()
        .iter()
        .map(|at| Assignment {
            at: TopicPartition::new(at.topic(), Partition(at.partition())),
            committed: match at.offset() {
                Position::Offset(offset) => Some(Offset(offset)),
                _ => None,
            },
            note: at.metadata().to_owned(),
        })
        .collect())
}
