//! A real RabbitMQ and two clients (pika, and the tools of librabbitmq), behind a proxy that feeds the parser with what each call moved. So many messages
//! and calls of a kind were sent, so many must be found, with those that the broker delivered.

#![allow(clippy::unwrap_used)]

#[path = "../shared/proxy.rs"]
mod proxy;

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use headwater_protocols::amqp::{Amqp, Options};
use headwater_protocols::{Connection, OrderOptions, Side};
use headwater_testing::servers::{self, Server};
use proxy::{Found, Proxy};

/// Runs a program that is told the port, and gives what was found of all its connections.
fn run(server: &Server, program: &str, arguments: &[&str], hidden_calls: usize) -> Found {
    let proxy = Proxy::start(server.port().number(), 16 * 1024, hidden_calls, || {
        Box::new(Connection::new(Side::Server, OrderOptions::default(), Amqp::new(Options::default())))
    });
    let mut command = Command::new(program);
    command.args(arguments).env("PORT", proxy.port().to_string()).env("FOLDER", server.folder());
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found = proxy.finish();
    assert!(!format!("{:?} {:?}", found.exchanges, found.resources).contains("secret"));
    found
}

fn counts(found: &Found) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for (operation, outcome, code) in &found.exchanges {
        *counts.entry(format!("{operation} {outcome:?} {code}").trim_end().to_owned()).or_default() += 1;
    }
    counts
}

impl Found {
    #[track_caller]
    fn has(&self, operation: &str, resource: &str, count: usize) {
        let found = self.resources.get(&(operation.to_owned(), resource.to_owned())).copied().unwrap_or_default();
        assert_eq!(found, count, "{operation} {resource}: {:?} {:?}", self.resources, self.losses);
    }
}

const PIKA: &str = r#"
import os, pika
from pika.exceptions import ChannelClosedByBroker, UnroutableError
count = 200
def connect():
    return pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", int(os.environ["PORT"])))
publisher, consumer = connect(), connect()
plain, confirmed, worker = publisher.channel(), publisher.channel(), consumer.channel()
confirmed.confirm_delivery()
worker.exchange_declare("shop", "topic")
for queue in ("plain", "confirmed", "taken"):
    worker.queue_declare(queue)
    # Of a run before.
    worker.queue_purge(queue)
    worker.queue_bind(queue, "shop", f"{queue}.#")
for at in range(count):
    plain.basic_publish("shop", f"plain.{1000 + at}", b"secret" * at)
    confirmed.basic_publish("shop", f"confirmed.{1000 + at}", b"secret\x01\x00\x01\x00\x00" * at * 20)
    plain.basic_publish("", "taken", b"secret")
try: confirmed.basic_publish("shop", "nowhere", b"secret", mandatory=True)
except UnroutableError: pass
worker.basic_qos(prefetch_count=20)
got = {"plain": 0, "confirmed": 0}
def take(queue):
    def taken(channel, method, properties, body):
        got[queue] += 1
        if queue == "confirmed" and got[queue] % 10: return
        channel.basic_ack(method.delivery_tag, multiple=queue == "confirmed") if got[queue] != 7 else channel.basic_reject(method.delivery_tag, requeue=False)
    return taken
worker.basic_consume("plain", take("plain"))
other = consumer.channel()
other.basic_consume("confirmed", take("confirmed"))
while sum(got.values()) < 2 * count: consumer.process_data_events(1)
for at in range(count):
    assert worker.basic_get("taken", auto_ack=bool(at % 2))[0]
assert worker.basic_get("taken")[0] is None
try: consumer.channel().queue_declare("none", passive=True)
except ChannelClosedByBroker: pass
publisher.close()
consumer.close()
"#;

#[test]
fn what_pika_asks_is_found() {
    let server = servers::rabbitmq(None).unwrap();
    let found = run(&server, "/usr/bin/python3", &["-c", PIKA], 0);
    assert_eq!(found.lost(), 0, "{:?}", found.losses);
    found.has("connection.open", "/", 2);
    found.has("exchange.declare", "shop", 1);
    found.has("queue.declare", "plain", 1);
    found.has("queue.purge", "plain", 1);
    found.has("basic.publish", "shop:plain.{id}", 200);
    found.has("basic.publish", "shop:confirmed.{id}", 200);
    found.has("basic.publish", "taken", 200);
    found.has("basic.publish", "shop:nowhere", 1);
    found.has("basic.return", "shop:nowhere", 1);
    found.has("basic.deliver", "shop:plain.{id}", 200);
    found.has("basic.deliver", "shop:confirmed.{id}", 200);
    found.has("basic.get", "taken", 201);
    found.has("connection.close", "", 2);
    let counts = counts(&found);
    for (what, count) in [
        ("basic.publish Ok", 601),
        ("basic.return ClientError NO_ROUTE", 1),
        ("basic.deliver Ok", 399),
        ("basic.deliver ClientError REJECT", 1),
        ("basic.get Ok", 200),
        ("basic.get Ok EMPTY", 1),
        ("queue.declare ClientError NOT_FOUND", 1),
    ] {
        assert_eq!(counts.get(what), Some(&count), "{what}: {counts:?}");
    }
    assert_eq!(found.waits.len(), 400);
    assert_eq!(found.one_way.iter().filter(|name| *name == "basic.publish").count(), 400);

    // The first calls are not told of: what is found is right, the rest of what was seen is counted.
    let late = run(&server, "/usr/bin/python3", &["-c", PIKA], 60);
    assert!(late.lost() > 0, "{:?}", late.losses);
    for resource in ["shop:plain.{id}", "shop:confirmed.{id}"] {
        let found = |operation: &str| {
            late.resources.get(&(operation.to_owned(), resource.to_owned())).copied().unwrap_or_default()
        };
        let (published, delivered) = (found("basic.publish"), found("basic.deliver"));
        assert!((50..=200).contains(&published), "{resource}: {published} {:?}", late.losses);
        // What the broker sends in one go is found again only where a call begins with a frame, which may be nowhere.
        let is_told = delivered <= 200 && delivered as u64 + late.lost() >= 200;
        assert!(is_told, "{resource}: {delivered} {:?}", late.losses);
    }
}

#[test]
fn what_the_tools_of_librabbitmq_ask_is_found() {
    const SCRIPT: &str = r#"
set -e
server="-u amqp://guest:guest@127.0.0.1:$PORT"
amqp-declare-queue $server -q orders
for at in $(seq 30); do amqp-publish $server -r orders -b secret-$at; done
for at in $(seq 10); do amqp-get $server -q orders; done
amqp-consume $server -q orders -c 20 cat
! amqp-get $server -q orders
amqp-delete-queue $server -q orders
! amqp-publish -u amqp://guest:wrong@127.0.0.1:$PORT -r orders -b secret
"#;
    let server = servers::rabbitmq(None).unwrap();
    let found = run(&server, "timeout", &["60", "bash", "-c", SCRIPT], 0);
    assert_eq!(found.lost(), 0, "{:?}", found.losses);
    found.has("connection.open", "/", 44);
    found.has("queue.declare", "orders", 1);
    found.has("basic.publish", "orders", 30);
    found.has("basic.get", "orders", 11);
    found.has("basic.deliver", "orders", 20);
    found.has("queue.delete", "orders", 1);
    let counts = counts(&found);
    assert_eq!(counts.get("connection.open ClientError ACCESS_REFUSED"), Some(&1), "{counts:?}");
    assert_eq!(counts.get("basic.get Ok EMPTY"), Some(&1), "{counts:?}");
}
