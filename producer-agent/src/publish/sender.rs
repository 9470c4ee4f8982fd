//! The last of the three parts of publishing: hands encoded records to the producer. While the way to Kafka is not open, or the producer's
//! queue is full, they wait in the spool. It also keeps a copy of what the producer has, until a broker has acknowledged it. All of that is
//! in memory, and is written to the disk once nothing was delivered for [`SPOOL_AFTER`], the queue is full or memory has no room.
//!
//! Promise: what goes to one partition goes in the order in which it was given here, also what an earlier run left on disk. What is said
//! of progress goes the same way, behind its records, and waits until these have arrived (`vouch.rs`). Never waits for Kafka. A record goes once while the process lives; after a kill those go twice
//! that a broker had taken and that the disk did not know of.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use headwater_kafka::{KafkaSettings, PublishError, Tag};
use headwater_spool::{Options, Spool};

use super::drain::Drain;
use super::encode::Encoders;
use super::evictions::Evictions;
use super::message::Message;
use super::opening::{AGENTS, IDENTITIES, News, Opening, TOPICS};
use super::route::Route;
use crate::deliveries;
use crate::ledger::{Ledger, Stream};
use crate::settings::SpoolSettings;

/// For so long nothing is delivered before what waits goes to the disk. A broker that is restarted in good order is back before this.
const SPOOL_AFTER: Duration = Duration::from_secs(5);

/// At the end, what is told of progress follows its records after so long at the latest.
const FLUSH_TURN: Duration = Duration::from_millis(50);

/// How often it is said that the way is not open.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// Sends what the outlet has encoded.
pub struct Sender {
    way: Way,
    spool: Spool,
    drain: Drain,
    /// Whether what waits goes to the disk.
    is_writing: bool,
    evictions: Evictions,
    /// What is to be said of progress and found no room: its node, and bytes.
    progress: Option<(String, Vec<u8>)>,
    deliveries: deliveries::Deliveries,
    writing_told_at: Option<Instant>,
    disk_told_at: Option<Instant>,
}

/// The way to Kafka.
enum Way {
    Opening { opening: Opening, since: Instant, told_at: Option<Instant> },
    Open(Box<Route>),
}

impl Sender {
    /// Begins to open the way. What an earlier run left in the spool comes first.
    pub fn start(kafka: &KafkaSettings, spool: Option<&SpoolSettings>) -> Result<Sender> {
        let options = Options {
            bytes_max: spool.map_or(0, |spool| spool.bytes_max),
            memory_bytes_max: kafka.queue_bytes as usize,
            note: Encoders::note(),
        };
        let spool = spool.map_or_else(|| Spool::in_memory(&options), |settings| open_spool(settings, kafka, &options));
        Ok(Sender {
            way: Way::Opening { opening: Opening::start(kafka)?, since: Instant::now(), told_at: None },
            is_writing: spool.has_files(),
            spool,
            drain: Drain::new(),
            evictions: Evictions::default(),
            progress: None,
            deliveries: deliveries::Deliveries::default(),
            writing_told_at: None,
            disk_told_at: None,
        })
    }

    /// Goes on with what waits, as far as that is possible, and counts what Kafka has acknowledged. Says whether the way was opened now.
    ///
    /// # Errors
    /// If the way cannot be opened, however long one waits.
    pub fn advance(&mut self, encoders: &Encoders) -> Result<bool> {
        let mut has_opened = false;
        if let Way::Opening { opening, since, told_at } = &mut self.way {
            match opening.look()? {
                News::Nothing => {}
                News::InTheWay(what) => {
                    if told_at.is_none_or(|at| at.elapsed() >= TOLD_EVERY) {
                        *told_at = Some(Instant::now());
                        let (on_disk, in_memory) = self.spool.bytes();
                        tracing::warn!(
                            on_disk,
                            in_memory,
                            "Kafka has not been reached for {} s: {what}. The capture goes on; records wait (kafka.queue_bytes bounds \
                             them in memory, spool.bytes on disk), and further ones are dropped and counted",
                            since.elapsed().as_secs(),
                        );
                    }
                }
                News::Open(route) => {
                    let (on_disk, in_memory) = self.spool.bytes();
                    tracing::info!(on_disk, in_memory, "Kafka is reached after {:.1} s", since.elapsed().as_secs_f64());
                    self.way = Way::Open(route);
                    has_opened = true;
                }
            }
        }
        self.hand_over(encoders);
        self.write_out();
        Ok(has_opened)
    }

    /// Whether Kafka has been reached.
    pub fn is_open(&self) -> bool {
        self.route().is_some()
    }

    /// Why nothing is delivered, if that is so: the end of a sentence.
    pub fn problem(&self) -> Option<&'static str> {
        match &self.way {
            Way::Opening { .. } => Some("captures, but has not reached Kafka yet"),
            Way::Open(_) if self.deliveries.are_stalled() => Some("captures, but Kafka takes nothing"),
            Way::Open(_) => None,
        }
    }

    /// Takes a record.
    ///
    /// # Errors
    /// The reason why it was not taken.
    pub fn record(&mut self, stream: Stream, key: &[u8], value: &mut [u8]) -> Result<(), &'static str> {
        if let (Way::Open(route), true) = (&mut self.way, self.spool.is_read()) {
            let is_kept = self.spool.has_folder();
            let tag = Tag { number: self.spool.next_position(), is_reported: is_kept, is_counted: true };
            match route.record(stream, key, value, tag) {
                Ok(()) => {
                    if is_kept {
                        self.spool.handed(Message::Record(stream).kind(), key, value);
                    }
                    return Ok(());
                }
                Err(PublishError::QueueFull) if is_kept => {}
                Err(error) => return Err(error.reason()),
            }
        }
        self.spool_message(Message::Record(stream), key, value)
    }

    /// Says in every partition how far the agent is, behind all records that were taken so far. What finds no room waits. To be called only if
    /// [`Sender::progress_is_out`].
    pub fn progress(&mut self, node: &str, bytes: Vec<u8>, encoders: &Encoders) {
        self.progress = Some((node.to_owned(), bytes));
        self.progress_is_out(encoders);
        // What comes behind it goes its usual way again.
        self.hand_over(encoders);
    }

    /// Hands over what waits to be said of progress, if there is room. Says whether nothing waits that must come before more of it. Until then
    /// there must be none: what is dropped meanwhile is told by the next one, so that no drop is forgotten with it.
    pub fn progress_is_out(&mut self, encoders: &Encoders) -> bool {
        let Some((node, bytes)) = self.progress.take() else { return true };
        // What it says stays true, so if it waits it is late and nothing else.
        let is_out = match &mut self.way {
            Way::Open(route) if self.spool.is_read() && !self.spool.has_folder() => {
                let tag = Tag { number: 0, is_reported: false, is_counted: false };
                route.progress(&bytes, tag, encoders).is_some()
            }
            _ => self.spool_message(Message::Progress, node.as_bytes(), &bytes).is_ok(),
        };
        if !is_out {
            self.progress = Some((node, bytes));
        }
        is_out
    }

    /// Publishes a heartbeat. One that finds no room is left out: the next one says the same and more.
    ///
    /// # Errors
    /// If the producer takes nothing any more: the agent must be started again.
    pub fn heartbeat(&mut self, node: &str, value: &mut [u8], dropped: i64) -> Result<()> {
        let Way::Open(route) = &self.way else { return Ok(()) };
        route.other(AGENTS, node.as_bytes(), value);
        let waiting = route.publisher.waiting();
        match self.deliveries.look(waiting, delivered(route), Instant::now()) {
            Some(deliveries::News::Stalled(time)) => tracing::warn!(
                waiting,
                dropped,
                reason = route.publisher.complaint(),
                "Kafka has taken nothing for {} s: records wait in the queue (kafka.queue_bytes) and on the disk (spool.bytes), and once \
                 these are full they are dropped and counted; check the brokers and their disks",
                time.as_secs()
            ),
            Some(deliveries::News::Again) => tracing::info!(waiting, dropped, "Kafka takes records again"),
            None => {}
        }
        route.publisher.check().context("the agent can deliver nothing any more")
    }

    /// Publishes who owns an address. One that finds no room is left out: the next interval says the same and more.
    pub fn identity(&mut self, key: &str, value: &mut [u8]) {
        if let Way::Open(route) = &self.way {
            route.other(IDENTITIES, key.as_bytes(), value);
        }
    }

    /// Records of this run and a stream that were given up after they had been handed to the producer.
    pub fn failed(&self, stream: Stream) -> u64 {
        self.route().map_or(0, |route| route.publisher.records_failed(stream as usize))
    }

    /// Records of this run and a stream that a broker has acknowledged.
    pub fn delivered(&self, stream: Stream) -> u64 {
        self.route().map_or(0, |route| route.publisher.records_delivered(stream as usize))
    }

    /// Takes back what the ledger counts as published and the spool has lost.
    pub fn book_evictions(&mut self, ledger: &mut Ledger) {
        self.evictions.book(ledger);
    }

    /// The spool, what it did not take, and how many records of earlier runs were handed over.
    pub fn spool(&self) -> (&Spool, &Evictions, [u64; 3]) {
        (&self.spool, &self.evictions, self.drain.recovered)
    }

    /// Delivers what is left, or leaves it in the spool for the next run.
    ///
    /// # Errors
    /// If neither is possible in this time: what is left is lost.
    pub fn close(mut self, encoders: &Encoders, timeout: Duration) -> Result<()> {
        let deadline = Instant::now() + timeout;
        let may_wait = |sender: &Sender| sender.is_open() || !sender.spool.has_folder();
        while !self.is_all_handed() && may_wait(&self) && Instant::now() < deadline {
            self.advance(encoders)?;
            // What progress waits for is not kept back for a larger batch.
            if let (Way::Open(route), true) = (&self.way, self.spool.is_read()) {
                let _ = route.publisher.flush(FLUSH_TURN);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        if let (Way::Open(route), true) = (&self.way, self.spool.is_read()) {
            let flushed = route.publisher.flush(deadline.saturating_duration_since(Instant::now()));
            self.acknowledge();
            if flushed.is_ok() || !self.spool.has_folder() {
                return flushed.context("stop the agent in order");
            }
        }
        if !self.spool.has_folder() {
            return match self.spool.bytes() {
                (_, 0) => Ok(()),
                (_, bytes) => bail!(
                    "stop the agent in order: the last {bytes} bytes of records are lost, since Kafka did not take them"
                ),
            };
        }
        self.spool.write_out();
        match (self.spool.bytes(), self.spool.failure()) {
            ((bytes, 0), _) => {
                if bytes > 0 {
                    tracing::info!(bytes, "records that Kafka did not take wait in the spool for the next start");
                }
                Ok(())
            }
            ((_, bytes), failure) => bail!(
                "stop the agent in order: the last {bytes} bytes of records are lost, since neither Kafka nor the spool took them{}",
                failure.map_or_else(|| ": it is full (spool.bytes)".into(), |error| format!(": {error}"))
            ),
        }
    }

    /// Whether the producer has all that there is to deliver.
    fn is_all_handed(&self) -> bool {
        self.spool.is_read() && self.route().is_some_and(|route| route.vouching.is_empty())
    }

    fn route(&self) -> Option<&Route> {
        match &self.way {
            Way::Opening { .. } => None,
            Way::Open(route) => Some(route),
        }
    }

    fn spool_message(&mut self, message: Message, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        let taken = self.spool.push(message.kind(), key, value);
        taken.map_err(|refused| self.evictions.refused(message, refused, self.spool.has_folder()))
    }

    fn acknowledge(&mut self) {
        let reported = self.route().map(|route| route.publisher.reported()).unwrap_or_default();
        reported.into_iter().for_each(|position| self.spool.acknowledge(position));
        self.spool.settle();
    }

    fn hand_over(&mut self, encoders: &Encoders) {
        if let Way::Open(route) = &self.way {
            route.publisher.take_reports();
        }
        self.acknowledge();
        if let Way::Open(route) = &mut self.way {
            self.drain.run(&mut self.spool, route, encoders, &mut self.evictions);
            route.vouch(encoders);
        }
    }

    /// Writes to the disk what the producer has no room for, and what has waited for long enough.
    fn write_out(&mut self) {
        let was_writing = self.is_writing;
        self.is_writing = match &self.way {
            Way::Opening { since, .. } => was_writing || since.elapsed() >= SPOOL_AFTER,
            Way::Open(route) => {
                let stuck = self.deliveries.stuck(route.publisher.waiting(), delivered(route), Instant::now());
                !self.spool.is_read() || stuck.is_some_and(|time| time >= SPOOL_AFTER)
            }
        };
        if self.is_writing && !was_writing && self.spool.has_folder() {
            let is_due = self.writing_told_at.is_none_or(|at| at.elapsed() >= TOLD_EVERY);
            if is_due {
                self.writing_told_at = Some(Instant::now());
                tracing::info!("records go to the disk until Kafka takes them (spool.path, spool.bytes)");
            }
        }
        if !self.is_writing {
            return;
        }
        self.spool.write_out();
        if let Some(error) = self.spool.failure()
            && self.disk_told_at.is_none_or(|at| at.elapsed() >= TOLD_EVERY)
        {
            self.disk_told_at = Some(Instant::now());
            tracing::error!(
                %error,
                "the spool cannot be written: records wait in memory (kafka.queue_bytes), and once it is full they are dropped and counted; \
                 check the disk of spool.path"
            );
        }
    }
}

/// Messages that were delivered on a way, of all topics.
fn delivered(route: &Route) -> u64 {
    (0..TOPICS.len()).map(|topic| route.publisher.delivered(topic)).sum()
}

/// The spool in its folder; in memory alone if the folder cannot be used.
fn open_spool(settings: &SpoolSettings, kafka: &KafkaSettings, options: &Options) -> Spool {
    // What was captured for other topics does not belong into these.
    let path = settings.path.join(format!("topics-{}", kafka.prefix));
    match Spool::open(&path, options) {
        Ok(spool) => {
            let (bytes, _) = spool.bytes();
            if bytes > 0 {
                tracing::info!(bytes, path = %path.display(), "records of an earlier run wait in the spool and come first");
            }
            spool
        }
        Err(error) => {
            tracing::error!(
                %error,
                "the spool {} cannot be used: while Kafka is away, records wait in memory alone (kafka.queue_bytes); set spool.path to a \
                 folder that this agent may write to, or spool.bytes to 0",
                path.display()
            );
            Spool::in_memory(options)
        }
    }
}
