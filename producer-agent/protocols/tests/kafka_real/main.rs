//! A real Kafka with two clients (librdkafka in kcat, and kafka-python) behind a proxy that feeds the parser with what each call moved. So many
//! requests of a kind were sent, so many must be found.

#![allow(clippy::unwrap_used)]
#![allow(clippy::print_stdout, reason = "a failed test shows them")]

#[path = "../shared/proxy.rs"]
mod proxy;

use std::io::Write;
use std::net::TcpListener;
use std::process::{Command, Stdio};

use headwater_protocols::kafka::{Kafka, Options};
use headwater_protocols::{Connection, OrderOptions, Outcome, Side};
use headwater_stack::{Stack, StackOptions};
use proxy::{Found, Proxy};

/// A client refreshes what it knows of topics, and waits for messages, in the background: it may end meanwhile.
const MAY_BE_OPEN: &[&str] = &["Metadata", "Fetch"];

struct Server {
    proxy: Proxy,
    _stack: Stack,
}

impl Server {
    /// So many calls of each connection are not told of.
    fn start(hidden_calls: usize) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy_port = Some(listener.local_addr().unwrap().port());
        let stack = Stack::start(StackOptions { proxy_port, ..StackOptions::default() }).unwrap();
        let server = stack.kafka().behind_proxy().unwrap().port();
        let proxy = Proxy::on(listener, server, 16 * 1024, hidden_calls, || {
            Box::new(Connection::new(Side::Server, OrderOptions::default(), Kafka::new(Options::default())))
        });
        let proxy = proxy.allowing_open(MAY_BE_OPEN);
        let server = Server { proxy, _stack: stack };
        const CREATE: &str = r#"
import sys
from kafka import KafkaConsumer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic
admin = KafkaAdminClient(bootstrap_servers=sys.argv[1], api_version=(2, 5, 0))
admin.create_topics([NewTopic("orders", 1, 1), NewTopic("payments", 1, 1)])
admin.close()
consumer = KafkaConsumer(bootstrap_servers=sys.argv[1], api_version=(2, 5, 0))
consumer.beginning_offsets([TopicPartition(name, 0) for name in ("orders", "payments")])
consumer.close()
"#;
        // A topic has been made before its leader takes records: a client that is refused then asks again. Offsets come from the leader.
        server.python(CREATE);
        server
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.proxy.port())
    }

    fn kcat(&self, arguments: &[&str], lines: usize) -> String {
        let mut kcat = Command::new("kcat");
        kcat.args(["-q", "-b", &self.address()]).args(arguments);
        let mut child = kcat.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        for line in 0..lines {
            writeln!(input, "secret{line}").unwrap();
        }
        drop(input);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn python(&self, script: &str) {
        // Debian's own interpreter.
        let output = Command::new("/usr/bin/python3").args(["-c", script, &self.address()]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn found(&self) -> Found {
        let found = self.proxy.found_so_far();
        println!("left open: {:?}", found.left_open);
        assert!(!format!("{:?} {:?}", found.exchanges, found.resources).contains("secret"));
        found
    }
}

impl Found {
    fn of(&self, operation: &str, resource: &str) -> usize {
        self.resources.get(&(operation.to_owned(), resource.to_owned())).copied().unwrap_or_default()
    }

    fn all_are_ok(&self, operation: &str) -> bool {
        self.exchanges.iter().filter(|(name, ..)| name == operation).all(|(_, outcome, _)| *outcome == Outcome::Ok)
    }
}

#[test]
fn what_clients_ask_is_found() {
    let server = Server::start(0);
    let found = server.found();
    assert_eq!((found.of("CreateTopics", "orders,payments"), found.lost()), (1, 0));
    // One message a request: so many lines, so many requests.
    const SINGLY: &[&str] = &["-X", "batch.num.messages=1", "-X", "linger.ms=0"];
    server.kcat(&[&["-P", "-t", "orders"], SINGLY].concat(), 300);
    let found = server.found();
    let not_ok: Vec<_> = found.exchanges.iter().filter(|(_, outcome, _)| *outcome != Outcome::Ok).collect();
    assert_eq!((found.of("Produce", "orders"), found.lost()), (300, 0), "{:?} {not_ok:?}", found.losses);
    assert!(found.all_are_ok("Produce") && found.of("ApiVersions", "") > 0 && found.of("Metadata", "orders") > 0);

    server.kcat(&[&["-P", "-t", "orders", "-X", "acks=0"], SINGLY].concat(), 300);
    let found = server.found();
    assert_eq!((found.one_way.len(), found.of("Produce", "orders"), found.lost()), (300, 300, 0));

    // Records that are longer than what is read of a request.
    server.kcat(&["-P", "-t", "payments", "-X", "linger.ms=500"], 3_000);
    let found = server.found();
    assert!(found.of("Produce", "payments") > 0 && found.lost() == 0);

    let read = server.kcat(&["-C", "-t", "orders", "-o", "beginning", "-e"], 0);
    assert_eq!(read.lines().count(), 600);
    let found = server.found();
    assert_eq!(found.lost(), 0);
    assert!(found.waits.iter().filter(|operation| *operation == "Fetch").count() > 0);
    let fetched = found.resources.keys().filter(|(operation, _)| operation == "Fetch").map(|(_, topics)| topics);
    assert!(
        fetched.clone().all(|topics| topics == "orders" || topics.len() == 22),
        "{:?}",
        fetched.collect::<Vec<_>>()
    );

    const SCRIPT: &str = r#"
import sys
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
address = sys.argv[1]
producer = KafkaProducer(bootstrap_servers=address, api_version=(2, 5, 0), acks=1)
for at in range(200):
    producer.send("orders", b"secret%d" % at).get(timeout=20)
producer.close()
consumer = KafkaConsumer(bootstrap_servers=address, api_version=(2, 5, 0), consumer_timeout_ms=3000, auto_offset_reset="earliest")
consumer.assign([TopicPartition("orders", 0), TopicPartition("payments", 0)])
consumer.seek_to_beginning()
assert sum(1 for _ in consumer) == 3800
consumer.close()
"#;
    server.python(SCRIPT);
    let found = server.found();
    assert_eq!((found.of("Produce", "orders"), found.lost()), (200, 0), "{:?}", found.losses);
    assert!(found.of("Fetch", "orders,payments") + found.of("Fetch", "payments,orders") > 0);
}

#[test]
fn connections_are_followed_from_their_middle() {
    let server = Server::start(20);
    server.found();
    const ONE_BY_ONE: &str = r#"
import sys
from kafka import KafkaProducer
producer = KafkaProducer(bootstrap_servers=sys.argv[1], api_version=(2, 5, 0), acks=1)
for at in range(200):
    producer.send("orders", b"secret%d" % at).get(timeout=20)
producer.close()
"#;
    server.python(ONE_BY_ONE);
    let found = server.found();
    let produced = found.of("Produce", "orders");
    assert!((180..200).contains(&produced), "{produced} {:?}", found.losses);
    assert!(found.lost() < 10 && found.all_are_ok("Produce"), "{:?}", found.losses);
}
