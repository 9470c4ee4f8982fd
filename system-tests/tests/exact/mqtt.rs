//! Messages through a real Mosquitto, each with a topic of its own, in both directions at once: both sides tell of each, exactly and once. An agent that
//! comes in the middle tells of them likewise, or counts what it could not.
#![allow(clippy::unwrap_used)]

use headwater_schemas::records::Kind;
use headwater_system_tests::lab::Lab;

use crate::brokers::{self, Sent};

/// Of each quality, in each of two phases.
const MESSAGES: usize = 300;

/// A subscriber and a publisher that stay connected over both phases. Between these it waits for a file.
const SCRIPT: &str = r#"
import os, sys, threading, time, paho.mqtt.client as mqtt
port, folder, count, qualities, words = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), [int(digit) for digit in sys.argv[4]], int(sys.argv[5])
got, done, subscribed = set(), threading.Event(), threading.Event()
def message(client, data, message):
    assert message.topic not in got, "twice"
    got.add(message.topic)
    done.set()
subscriber, publisher = mqtt.Client("subscriber", protocol=5), mqtt.Client("publisher")
subscriber.on_message = message
subscriber.on_subscribe = lambda *_: subscribed.set()
for client in (subscriber, publisher):
    client.connect("127.0.0.1", port)
    client.loop_start()
subscriber.subscribe("shop/#", 2)
assert subscribed.wait(20)
def word(number):
    return "".join(chr(97 + number // 26 ** at % 26) for at in range(3))
def phase(name):
    want = len(got) + len(qualities) * count
    for at in range(count):
        for quality in qualities:
            sent = publisher.publish(f"shop/{name}/{word(at)}/quality{quality}", b"secret" * (words or at), qos=quality)
            if at % 5 == 0: sent.wait_for_publish(20)
    deadline = time.monotonic() + 40
    while len(got) < want:
        assert time.monotonic() < deadline, len(got)
        done.wait(0.1)
        done.clear()
    # What is acknowledged last may still be on its way.
    time.sleep(1)
phase("first")
open(f"{folder}/half", "w").close()
while not os.path.exists(f"{folder}/go"): time.sleep(0.05)
phase("second")
for client in (publisher, subscriber):
    client.disconnect()
    client.loop_stop()
print(len(got))
"#;

#[test]
fn messages_are_seen_exactly_in_both_directions() {
    seen_exactly(MESSAGES, &[0, 1, 2], 0, &["first", "second"]);
}

/// Publisher and broker, and broker and subscriber, say nothing to each other that would be an answer, for as long as there is something to say.
#[test]
fn messages_that_nobody_answers_are_seen_exactly_however_many_there_are() {
    // In the middle, nothing but a ping shows what a client speaks that reads type, length and rest in calls of their own.
    seen_exactly(3_000, &[0], 20, &["first"]);
}

/// So many messages of each of the qualities, whose payloads have so many words, or as many as there were messages before; what is told of them in these phases.
fn seen_exactly(messages: usize, qualities: &[usize], words: usize, phases: &[&str]) {
    let lab = Lab::start().unwrap();
    let (_mosquitto, port) = lab.mosquitto().unwrap();
    let folder = lab.folder.path().to_string_lossy().into_owned();
    let digits: String = qualities.iter().map(usize::to_string).collect();
    let arguments = [port.number().to_string(), folder, messages.to_string(), digits, words.to_string()];
    let arguments: Vec<&str> = ["-c", SCRIPT].into_iter().chain(arguments.iter().map(String::as_str)).collect();
    let (got, watched) = brokers::watch(&lab, "mqtt", "/usr/bin/python3", &arguments);
    assert_eq!(got, (2 * qualities.len() * messages).to_string());
    let has_own_name = |(_, topic): &brokers::Name| topic.starts_with("shop/");
    watched.judge_phases(phases, |phase| sent(phase, messages, qualities), has_own_name);
    watched.expect_no_others(|(operation, topic)| {
        topic.starts_with("shop/") || operation == "CONNECT" || operation == "PINGREQ"
    });
}

/// What both sides have to tell of a phase.
fn sent(phase: &str, messages: usize, qualities: &[usize]) -> Vec<Sent> {
    let word = |number: usize| (0..3).map(|at| char::from(b'a' + (number / 26_usize.pow(at) % 26) as u8)).collect();
    let all = (0..messages).flat_map(|number| {
        let word: String = word(number);
        qualities.iter().flat_map(move |quality| {
            let topic = format!("shop/{phase}/{word}/quality{quality}");
            let kinds = if *quality == 0 { [Kind::OneWay; 2] } else { [Kind::Call, Kind::Wait] };
            [("PUBLISH", topic.clone(), kinds[0]), ("DELIVER", topic, kinds[1])]
        })
    });
    all.collect()
}
