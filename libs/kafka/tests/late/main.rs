//! Requests that arrive when nobody waits for them any more: the network held one request of a transaction back for longer than the
//! client waits, let its repetition through, and delivers the old one in the middle of the next transaction.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod proxy;

use std::time::{Duration, Instant};

use headwater_kafka::{
    Commit, GroupEvent, GroupMember, KafkaSettings, NewRecord, Offset, Partition, Start, TopicPartition, TopicReader,
    Transactions, TxnError, admin,
};
use headwater_schemas::topics::Topic;
use headwater_stack::{Stack, StackOptions};

use proxy::{ADD_OFFSETS, Api, END_TXN, PRODUCE, Proxy, TXN_OFFSET_COMMIT};

const PATIENCE: Duration = Duration::from_secs(60);

/// The transaction of which a request is held back, the one that it arrives in, and the last one.
const HELD: i64 = 1;
const DISTURBED: i64 = 2;
const LAST: i64 = 3;

/// When a late request arrives in the disturbed transaction, after which the process is killed.
#[derive(Debug, Clone, Copy)]
enum Arrives {
    /// Between the records and the offsets, neither of which the process commits any more.
    AfterRecords,
    /// Between the offsets and the end.
    AfterOffsets,
}

#[test]
fn a_late_request_has_no_effect_on_the_next_transaction() {
    let proxy = Proxy::start();
    let stack = Stack::start(StackOptions { proxy_port: Some(proxy.port()), ..StackOptions::default() }).unwrap();
    proxy.pass_on_to(stack.kafka().behind_proxy().unwrap());
    let cases = [
        (END_TXN, Arrives::AfterRecords),
        (TXN_OFFSET_COMMIT, Arrives::AfterOffsets),
        (PRODUCE, Arrives::AfterRecords),
        (ADD_OFFSETS, Arrives::AfterRecords),
    ];
    let mut problems = Vec::new();
    for (i, (api, arrives)) in cases.into_iter().enumerate() {
        let mut settings = KafkaSettings::local(&format!("127.0.0.1:{}", proxy.port()), &stack.registry().url());
        settings.prefix = format!("late{i}.");
        let began = Instant::now();
        let mut process = Process::start(&settings, &proxy);
        process.run(api, arrives);
        let outcome = (process.next, published(&settings));
        println!("{api:?} {arrives:?}: {outcome:?}, {:?}", began.elapsed());
        if outcome != (Offset(LAST + 1), (0..=LAST).map(|n| n.to_string()).collect()) {
            problems.push(format!("{api:?} {arrives:?}: the group is at {} after {:?}", outcome.0, outcome.1));
        }
    }
    assert!(problems.is_empty(), "{problems:#?}");
}

/// What a processor does, with numbers for records: it publishes that of the offset at which its group stands.
struct Process<'a> {
    settings: &'a KafkaSettings,
    proxy: &'a Proxy,
    at: TopicPartition,
    member: GroupMember,
    transactions: Transactions,
    next: Offset,
}

impl Process<'_> {
    fn start<'a>(settings: &'a KafkaSettings, proxy: &'a Proxy) -> Process<'a> {
        admin::ensure_topics(settings, &[Topic::Edges, Topic::Partials]).unwrap();
        let at = TopicPartition::new(Topic::Partials.name(&settings.prefix), Partition(0));
        let transactions = Transactions::start(settings, &format!("{}id", settings.prefix)).unwrap();
        let mut member =
            GroupMember::join(settings, &format!("{}group", settings.prefix), std::slice::from_ref(&at.topic), None)
                .unwrap();
        let deadline = Instant::now() + PATIENCE;
        let mut committed = None;
        while committed.is_none() {
            assert!(Instant::now() < deadline, "no partition came");
            if let GroupEvent::Assigned(new) = member.poll(Duration::from_millis(100)).unwrap() {
                committed = new.into_iter().find(|assignment| assignment.at == at);
            }
        }
        let next = committed.and_then(|assignment| assignment.committed).unwrap_or(Offset::FIRST);
        Process { settings, proxy, at, member, transactions, next }
    }

    /// Publishes all numbers. Whatever goes wrong is done as a processor does it: renew, ask, go on.
    fn run(&mut self, api: Api, arrives: Arrives) {
        let (mut held, mut released) = (false, false);
        let deadline = Instant::now() + 2 * PATIENCE;
        while self.next <= Offset(LAST) {
            assert!(Instant::now() < deadline, "it did not come to its end: {:?}", self.next);
            if self.next == Offset(HELD) && !held {
                self.proxy.hold_next(api);
                held = true;
            }
            let disturb = self.next == Offset(DISTURBED) && !released;
            released |= disturb;
            match self.publish(disturb.then_some(arrives)) {
                Ok(()) if !disturb => self.next = self.next.next(),
                ended => {
                    println!("{}: {ended:?}", self.next);
                    self.start_again();
                }
            }
        }
        assert!(released && !self.proxy.holds(), "nothing was held back, or nothing arrived");
    }

    /// Takes over its own transactional id, as a successor would, and goes back to the committed offset.
    fn start_again(&mut self) {
        self.transactions.renew().unwrap();
        let committed = self.member.rewind(std::slice::from_ref(&self.at)).unwrap();
        self.next = committed[0].committed.unwrap_or(Offset::FIRST);
    }

    fn publish(&mut self, disturbed: Option<Arrives>) -> Result<(), TxnError> {
        let before = self.proxy.answers(PRODUCE);
        let text = self.next.0.to_string();
        let edges = Topic::Edges.name(&self.settings.prefix);
        self.transactions.send(&NewRecord::new(&edges, Partition(0), text.as_bytes(), b"x"))?;
        if let Some(arrives) = disturbed {
            self.proxy.wait_for_more_answers(PRODUCE, before);
            assert!(self.proxy.holds(), "nothing was held back");
            match arrives {
                Arrives::AfterOffsets => self.proxy.release_before(END_TXN),
                Arrives::AfterRecords => {
                    self.proxy.release();
                    return Ok(());
                }
            }
        }
        let commit = Commit { at: self.at.clone(), next: self.next.next(), note: String::new() };
        self.transactions.commit(&[commit], &self.member)
    }
}

/// What readers of committed records see.
fn published(settings: &KafkaSettings) -> Vec<String> {
    let mut reader = TopicReader::start(settings, &[Topic::Edges.name(&settings.prefix)], &Start::Earliest).unwrap();
    let mut keys = Vec::new();
    reader
        .read_to_end(PATIENCE, |message| keys.push(String::from_utf8_lossy(message.key().unwrap()).into_owned()))
        .unwrap();
    keys
}
