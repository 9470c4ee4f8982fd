//! Messages through a real RabbitMQ, each with a routing key of its own: both sides of each connection tell of each, published and delivered, exactly and
//! once. An agent that comes in the middle tells of them likewise, or counts what it could not.
#![allow(clippy::unwrap_used)]

use headwater_schemas::records::Kind;
use headwater_system_tests::lab::Lab;
use headwater_testing::servers;

use crate::brokers::{self, Sent};

/// Of each kind, in each of two phases.
const MESSAGES: usize = 300;

/// A publisher and a consumer that stay connected over both phases. Each phase has channels of its own beside those of the beginning, of which it does not show in
/// the middle whether messages are confirmed. Between the phases it waits for a file.
const SCRIPT: &str = r#"
import os, sys, time, pika
port, folder, count = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
got = set()
def connect():
    return pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", port, heartbeat=0))
publisher, consumer = connect(), connect()
plain, kept, quiet = publisher.channel(), publisher.channel(), consumer.channel()
kept.confirm_delivery()
quiet.exchange_declare("shop", "topic")
def consume(channel, queue, bound, acknowledges):
    def take(_, method, properties, body):
        assert method.routing_key not in got, "twice"
        got.add(method.routing_key)
        if acknowledges: channel.basic_ack(method.delivery_tag)
    channel.queue_declare(queue)
    channel.queue_bind(queue, "shop", bound)
    channel.basic_consume(queue, take, auto_ack=not acknowledges)
def word(number):
    return "".join(chr(97 + number // 26 ** at % 26) for at in range(3))
def publish(channel, key, body):
    channel.basic_publish("shop", key, body)
    deadline = time.monotonic() + 40
    while key not in got:
        assert time.monotonic() < deadline, key
        consumer.process_data_events(1)
def phase(name):
    # What a connection says that is found in its middle is followed from its second frame on.
    publish(plain, f"{name}.begin.plain", b"secret")
    confirmed, worker = publisher.channel(), consumer.channel()
    confirmed.confirm_delivery()
    consume(worker, f"confirmed-{name}", f"{name}.*.confirmed", True)
    for at in range(count):
        publish(plain, f"{name}.{word(at)}.plain", b"secret" * at)
        publish(confirmed, f"{name}.{word(at)}.confirmed", b"secret" * at)
        publish(kept, f"{name}.{word(at)}.kept", b"secret" * at)
    # What is acknowledged last may still be on its way.
    consumer.process_data_events(1)
    time.sleep(1)
consume(quiet, "plain", "*.*.plain", False)
consume(quiet, "kept", "*.*.kept", False)
phase("first")
open(f"{folder}/half", "w").close()
while not os.path.exists(f"{folder}/go"): time.sleep(0.05)
phase("second")
publisher.close()
consumer.close()
print(len(got))
"#;

#[test]
fn messages_are_seen_exactly_in_both_directions() {
    let lab = Lab::start().unwrap();
    let rabbitmq = servers::rabbitmq(Some(lab.cgroup.path())).unwrap();
    let folder = lab.folder.path().to_string_lossy().into_owned();
    let arguments = [rabbitmq.port().number().to_string(), folder, MESSAGES.to_string()];
    let arguments: Vec<&str> = ["-c", SCRIPT].into_iter().chain(arguments.iter().map(String::as_str)).collect();
    let (got, watched) = brokers::watch(&lab, "amqp", "/usr/bin/python3", &arguments);
    assert_eq!(got, (2 * (3 * MESSAGES + 1)).to_string());
    watched.judge(sent, |(operation, _)| operation == "basic.publish");
    watched.expect_no_others(|(operation, resource)| {
        let is_message = matches!(operation.as_str(), "basic.publish" | "basic.deliver");
        !is_message || resource.starts_with("shop:first.") || resource.starts_with("shop:second.")
    });
}

/// What both sides have to tell of a phase.
fn sent(phase: &str) -> Vec<Sent> {
    let all = (0..MESSAGES).flat_map(|number| {
        let word: String = (0..3).map(|at| char::from(b'a' + (number / 26_usize.pow(at) % 26) as u8)).collect();
        let resource = |kind: &str| format!("shop:{phase}.{word}.{kind}");
        [
            ("basic.publish", resource("plain"), Kind::OneWay),
            ("basic.deliver", resource("plain"), Kind::OneWay),
            ("basic.publish", resource("confirmed"), Kind::Call),
            ("basic.deliver", resource("confirmed"), Kind::Wait),
            ("basic.publish", resource("kept"), Kind::Call),
            ("basic.deliver", resource("kept"), Kind::OneWay),
        ]
    });
    all.collect()
}
