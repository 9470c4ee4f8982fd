//! Three real clients, Python's, librdkafka's (kcat) and Java's, and a real Kafka, which is the one that the agent publishes to: each request of theirs is told of
//! by both sides, exactly and once, whenever the agent comes; those of the agent itself are told of by nobody.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{ChildStdin, Command};
use std::time::Duration;

use headwater_process::{Child, Launch};
use headwater_schemas::records::{Outcome, Side};
use headwater_stack::{Artifacts, Progress};
use headwater_system_tests::lab::{Lab, stop};
use headwater_system_tests::rounds::{Client, Others, hold_among};
use headwater_system_tests::topics;

const REQUESTS: usize = 800;
/// Messages of kcat, each in a request of its own.
const MESSAGES: usize = 400;
/// Between those that it writes while the agent starts.
const PAUSE: Duration = Duration::from_millis(1);

/// A topic has been made before its leader takes records; offsets come from the leader.
const CREATE: &str = r#"
import sys
from kafka import KafkaConsumer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic
admin = KafkaAdminClient(bootstrap_servers=sys.argv[1], api_version=(2, 5, 0))
admin.create_topics([NewTopic(name, 1, 1) for name in sys.argv[2:]])
admin.close()
consumer = KafkaConsumer(bootstrap_servers=sys.argv[1], api_version=(2, 5, 0))
consumer.beginning_offsets([TopicPartition(name, 0) for name in sys.argv[2:]])
consumer.close()
print("created")
"#;

#[test]
fn requests_of_two_clients_are_seen_exactly_whenever_the_agent_comes() {
    let lab = Lab::start_observed().unwrap();
    let address = lab.own_stack().bootstrap();
    lab.run("/usr/bin/python3", &["-c", CREATE, &address, "orders", "first", "away", "middle", "again", "java"])
        .unwrap();
    let port = lab.own_stack().kafka().port();
    let clients = vec![Client::python(&lab, "kafka", include_str!("../../clients/kafka.py"), port, &[]).unwrap()];
    hold_among(&lab, "kafka", clients, REQUESTS, Others::Some).unwrap();

    let mut agent = lab.agent().unwrap();
    Kcat::start(&lab, &address, "first").say(MESSAGES).end();
    stop(&mut agent).unwrap();
    let mut dropped = topics::agents(&lab.settings).unwrap().pop().unwrap().dropped;
    Kcat::start(&lab, &address, "away").say(MESSAGES).end();
    // It reads its input in blocks, and so is behind with it.
    let (mut agent, said) = std::thread::scope(|scope| {
        let starting = scope.spawn(|| lab.agent().unwrap());
        let (mut kcat, mut said) = (Kcat::start(&lab, &address, "middle"), 0);
        while !starting.is_finished() {
            kcat = kcat.say(1);
            said += 1;
            std::thread::sleep(PAUSE);
        }
        kcat.say(MESSAGES).end();
        (starting.join().unwrap(), said + MESSAGES)
    });
    Kcat::start(&lab, &address, "again").say(MESSAGES).end();
    ask_by_ids(&lab, &address, "java");
    stop(&mut agent).unwrap();
    for (reason, count) in topics::agents(&lab.settings).unwrap().pop().unwrap().dropped {
        *dropped.entry(reason).or_default() += count;
    }
    println!("dropped {dropped:?}");
    let mut missing = 0;
    for side in [Side::Client, Side::Server] {
        let of = |topic| written_to(&lab, side, topic);
        let [first, away, middle, again] = ["first", "away", "middle", "again"].map(of);
        println!(
            "{side:?}: {first} of {MESSAGES} first, {away} away, {middle} of {said} in the middle, {again} of {MESSAGES} again"
        );
        assert_eq!((first, away, again), (MESSAGES, 0, MESSAGES));
        assert_eq!(written_to(&lab, side, "java"), MESSAGES, "{side:?}");
        assert!(middle <= said);
        missing += MESSAGES.saturating_sub(middle);
    }
    assert_eq!(read_from(&lab), BTreeSet::from(["java".to_owned(), "orders".to_owned()]));
    assert!(missing as i64 <= dropped.values().sum(), "{missing} are missing, {dropped:?} are counted");
}

/// The client of Java writes messages and reads them. Its requests have but the topic's id, which another connection of its was told of.
fn ask_by_ids(lab: &Lab, address: &str, topic: &str) {
    let class_path = Artifacts::ensure(&Progress::default()).unwrap().kafka_class_path();
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/Java.java");
    let arguments = ["-Xmx128m", "-cp", &class_path, source, address, topic, &MESSAGES.to_string()];
    assert_eq!(lab.run("java", &arguments).unwrap(), MESSAGES.to_string());
}

/// Topics that clients have read. A fetch that ends a session names none.
fn read_from(lab: &Lab) -> BTreeSet<String> {
    let mut topics = BTreeSet::new();
    topics::each_request(&lab.settings, |request| {
        if request.side == Side::Client && request.method == "Fetch" && !request.resource.is_empty() {
            topics.insert(request.resource.to_owned());
        }
    })
    .unwrap();
    topics
}

/// How many requests a side told of that write to a topic.
///
/// # Panics
/// If one is told of twice, or otherwise than it was.
fn written_to(lab: &Lab, side: Side, topic: &str) -> usize {
    let mut places = BTreeSet::new();
    topics::each_request(&lab.settings, |request| {
        if request.side != side || request.resource != topic || request.method != "Produce" {
            return;
        }
        assert_eq!((request.protocol, request.outcome, request.code, request.weight), ("kafka", Outcome::Ok, "", 1));
        assert!(places.insert((request.connection_id.to_owned(), request.request_position)), "twice: {request:?}");
    })
    .unwrap();
    places.len()
}

/// A kcat that writes each line as a message, in a request of its own.
struct Kcat {
    process: Child,
    stdin: ChildStdin,
}

impl Kcat {
    fn start(lab: &Lab, address: &str, topic: &str) -> Kcat {
        let mut command = Command::new("kcat");
        command.args(["-q", "-b", address, "-P", "-t", topic, "-X", "batch.num.messages=1", "-X", "linger.ms=0"]);
        let launch = Launch::new("kcat", command, lab.folder.path().join(format!("kcat-{topic}.log")));
        let mut process = launch.in_cgroup(lab.cgroup.path()).piping_stdin().spawn().unwrap();
        let stdin = process.take_stdin().unwrap();
        Kcat { process, stdin }
    }

    fn say(mut self, messages: usize) -> Kcat {
        for number in 0..messages {
            writeln!(self.stdin, "secret{number}").unwrap();
        }
        self
    }

    fn end(self) {
        let Kcat { mut process, stdin, .. } = self;
        drop(stdin);
        let status = process.join().unwrap();
        assert!(status.success(), "{status}: {}", process.log_text());
    }
}
