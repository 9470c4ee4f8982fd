//! Messages through a real Mosquitto, each with a topic of its own, in both directions at once: both sides tell of each, exactly and once. An agent that
//! comes in the middle tells of them likewise, or counts what it could not.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use headwater_schemas::records::{Kind, Outcome, Side};
use headwater_system_tests::lab::{Lab, stop, wait_for};
use headwater_system_tests::topics;

/// Of each quality, in each of two phases.
const MESSAGES: usize = 300;
/// Names of what the broker asks begin here.
const OF_SERVER: i64 = 1 << 62;

/// A subscriber and a publisher that stay connected over both phases. Between these it waits for a file.
const SCRIPT: &str = r#"
import os, sys, threading, time, paho.mqtt.client as mqtt
port, folder, count = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
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
    want = len(got) + 3 * count
    for at in range(count):
        for quality in (0, 1, 2):
            sent = publisher.publish(f"shop/{name}/{word(at)}/quality{quality}", b"secret" * at, qos=quality)
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

/// Operation and topic.
type Name = (String, String);

/// Kind, outcome, code and position of each record.
type Told = BTreeMap<Name, Vec<(Kind, Outcome, String, i64)>>;

#[test]
fn messages_are_seen_exactly_in_both_directions() {
    let lab = Lab::start().unwrap();
    let (_mosquitto, port) = lab.mosquitto().unwrap();
    let mut agent = lab.agent().unwrap();
    let folder = lab.folder.path().to_string_lossy().into_owned();
    let arguments = [port.number().to_string(), folder.clone(), MESSAGES.to_string()];
    let arguments: Vec<&str> = ["-c", SCRIPT].into_iter().chain(arguments.iter().map(String::as_str)).collect();
    let (got, first, second) = std::thread::scope(|scope| {
        let client = scope.spawn(|| lab.run("/usr/bin/python3", &arguments).unwrap());
        wait_for("the first half", || Ok(client.is_finished() || lab.folder.path().join("half").exists())).unwrap();
        stop(&mut agent).unwrap();
        let first = topics::agents(&lab.settings).unwrap().pop().unwrap();
        // In the middle of both connections.
        let mut agent = lab.agent().unwrap();
        std::fs::write(lab.folder.path().join("go"), "").unwrap();
        let got = client.join().unwrap();
        stop(&mut agent).unwrap();
        (got, first, topics::agents(&lab.settings).unwrap().pop().unwrap())
    });
    assert_eq!(got, (6 * MESSAGES).to_string());
    println!("dropped: {:?}, then {:?}", first.dropped, second.dropped);

    let mut sides = [Told::new(), Told::new()];
    topics::each_request(&lab.settings, |request| {
        assert_eq!((request.protocol, request.weight, request.path), ("mqtt", 1, ""), "{request:?}");
        let told = (request.kind, request.outcome, request.code.to_owned(), request.request_position);
        let name = (request.operation.to_owned(), request.resource.to_owned());
        sides[usize::from(request.side == Side::Server)].entry(name).or_default().push(told);
    })
    .unwrap();
    let mut missing_later = 0;
    for (side, told) in [Side::Client, Side::Server].into_iter().zip(&sides) {
        for phase in ["first", "second"] {
            let [mut right, mut wrong, mut doubled, mut missing] = [0; 4];
            for (operation, topic, kind) in sent(phase) {
                match told.get(&(operation.to_owned(), topic)).map(Vec::as_slice) {
                    None => missing += 1,
                    Some([one]) => {
                        let is_right = (one.0, one.1, one.2.as_str()) == (kind, Outcome::Ok, "")
                            && (one.3 >= OF_SERVER) == (operation == "DELIVER");
                        if is_right { right += 1 } else { wrong += 1 }
                    }
                    Some(_) => doubled += 1,
                }
            }
            println!("{side:?}, {phase}: {right} right, {wrong} wrong, {doubled} doubled, {missing} missing");
            assert_eq!((wrong, doubled), (0, 0));
            if phase == "first" {
                assert_eq!(missing, 0);
            } else {
                missing_later += missing;
                assert!(right > missing, "{right} right and {missing} missing");
            }
        }
        let others: Vec<&Name> = told.keys().filter(|(_, topic)| !topic.starts_with("shop/")).collect();
        assert!(others.iter().all(|(operation, _)| operation == "CONNECT" || operation == "PINGREQ"), "{others:?}");
    }
    assert!(first.dropped.is_empty(), "{:?}", first.dropped);
    let counted: i64 = second.dropped.values().sum();
    assert!(missing_later <= counted, "{missing_later} are missing, and {counted} are counted");
    // Both sides name an exchange alike.
    let [client, server] = &sides;
    for (name, told) in client {
        let (Some(other), true) = (server.get(name), name.1.starts_with("shop/")) else { continue };
        assert_eq!(told[0].3, other[0].3, "{name:?}");
    }
}

/// What both sides have to tell of a phase.
fn sent(phase: &str) -> impl Iterator<Item = (&'static str, String, Kind)> {
    let phase = phase.to_owned();
    let word = |number: usize| (0..3).map(|at| char::from(b'a' + (number / 26_usize.pow(at) % 26) as u8)).collect();
    (0..MESSAGES).flat_map(move |number| {
        let word: String = word(number);
        let phase = phase.clone();
        (0..3).flat_map(move |quality| {
            let topic = format!("shop/{phase}/{word}/quality{quality}");
            let kinds = if quality == 0 { [Kind::OneWay; 2] } else { [Kind::Call, Kind::Wait] };
            [("PUBLISH", topic.clone(), kinds[0]), ("DELIVER", topic, kinds[1])]
        })
    })
}
