//! Messages and requests through a real nats-server, each with a subject of its own: both sides of each connection tell of each, exactly and once. An
//! agent that comes in the middle tells of them likewise, or counts what it could not.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use headwater_schemas::records::{Kind, Outcome, Side};
use headwater_system_tests::lab::{Lab, stop, wait_for};
use headwater_system_tests::topics;

/// Of each kind, in each of two phases.
const MESSAGES: usize = 300;
/// Names of what the server asks begin here.
const OF_SERVER: i64 = 1 << 62;

/// Operation and subject.
type Name = (String, String);

/// Kind, outcome, code and position of each record.
type Told = BTreeMap<Name, Vec<(Kind, Outcome, String, i64)>>;

#[test]
fn messages_and_requests_are_seen_exactly() {
    let lab = Lab::start().unwrap();
    let client = lab.folder.path().join("client");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/exact/nats.c");
    let compiled = Command::new("cc").arg("-o").arg(&client).arg(source).arg("-lnats").status().unwrap();
    assert!(compiled.success(), "the client compiles");
    let (_server, port) = lab.nats().unwrap();
    let mut agent = lab.agent().unwrap();
    let folder = lab.folder.path().to_string_lossy().into_owned();
    let arguments = [port.number().to_string(), folder, MESSAGES.to_string()];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (got, first, second) = std::thread::scope(|scope| {
        let client = scope.spawn(|| lab.run(&client.to_string_lossy(), &arguments).unwrap());
        wait_for("the first half", || Ok(client.is_finished() || lab.folder.path().join("half").exists())).unwrap();
        stop(&mut agent).unwrap();
        let first = topics::agents(&lab.settings).unwrap().pop().unwrap();
        // In the middle of all connections.
        let mut agent = lab.agent().unwrap();
        std::fs::write(lab.folder.path().join("go"), "").unwrap();
        let got = client.join().unwrap();
        stop(&mut agent).unwrap();
        (got, first, topics::agents(&lab.settings).unwrap().pop().unwrap())
    });
    assert_eq!(got, (4 * MESSAGES).to_string());
    println!("dropped: {:?}, then {:?}", first.dropped, second.dropped);

    let mut sides = [Told::new(), Told::new()];
    topics::each_request(&lab.settings, |request| {
        assert_eq!((request.protocol, request.weight, request.path), ("nats", 1, ""), "{request:?}");
        let told = (request.kind, request.outcome, request.code.to_owned(), request.request_position);
        let name = (request.operation.to_owned(), request.resource.to_owned());
        sides[usize::from(request.side == Side::Server)].entry(name).or_default().push(told);
    })
    .unwrap();
    let mut missing_later = 0;
    for (side, told) in [Side::Client, Side::Server].into_iter().zip(&sides) {
        for phase in ["first", "second"] {
            let [mut right, mut wrong, mut doubled, mut missing] = [0; 4];
            for (operation, subject, kind) in sent(phase) {
                match told.get(&(operation.to_owned(), subject)).map(Vec::as_slice) {
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
        // What is answered where the question was not seen is a message like others.
        let inbox = "_INBOX.{id}";
        let is_known = |(operation, subject): &Name| match operation.as_str() {
            "CONNECT" | "PING" => subject.is_empty(),
            "SUB" => subject.starts_with("shop.*") || subject == inbox,
            "PUB" if subject == inbox => true,
            _ => ["first", "second"]
                .iter()
                .any(|phase| sent(phase).any(|(known, name, _)| (known, &name) == (operation, subject))),
        };
        let others: Vec<&Name> = told.keys().filter(|name| !is_known(name)).collect();
        assert!(others.is_empty(), "{others:?}");
    }
    assert!(first.dropped.is_empty(), "{:?}", first.dropped);
    let counted: i64 = second.dropped.values().sum();
    assert!(missing_later <= counted, "{missing_later} are missing, and {counted} are counted");
    // Both sides name an exchange alike.
    let [client, server] = &sides;
    for (name, told) in client {
        let (Some(other), true) = (server.get(name), name.1.ends_with("message") || name.1.ends_with("request")) else {
            continue;
        };
        assert_eq!(told[0].3, other[0].3, "{name:?}");
    }
}

/// What both sides have to tell of a phase.
fn sent(phase: &str) -> impl Iterator<Item = (&'static str, String, Kind)> {
    let phase = phase.to_owned();
    (0..MESSAGES).flat_map(move |number| {
        let word: String = (0..3).map(|at| char::from(b'a' + (number / 26_usize.pow(at) % 26) as u8)).collect();
        let subject = |kind: &str| format!("shop.{phase}.{word}.{kind}");
        [
            ("PUB", subject("message"), Kind::OneWay),
            ("DELIVER", subject("message"), Kind::OneWay),
            ("REQUEST", subject("request"), Kind::Call),
            ("DELIVER", subject("request"), Kind::Wait),
        ]
    })
}
