//! Messages and requests through a real nats-server, each with a subject of its own: both sides of each connection tell of each, exactly and once. An
//! agent that comes in the middle tells of them likewise, or counts what it could not.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use headwater_schemas::records::Kind;
use headwater_system_tests::lab::Lab;

use crate::brokers::{self, Sent};

/// Of each kind, in each of two phases.
const MESSAGES: usize = 300;

#[test]
fn messages_and_requests_are_seen_exactly() {
    let lab = Lab::start().unwrap();
    let client = lab.folder.path().join("client");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/exact/nats.c");
    let compiled = Command::new("cc").arg("-o").arg(&client).arg(source).arg("-lnats").status().unwrap();
    assert!(compiled.success(), "the client compiles");
    let (_server, port) = lab.nats().unwrap();
    let folder = lab.folder.path().to_string_lossy().into_owned();
    let arguments = [port.number().to_string(), folder, MESSAGES.to_string()];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (got, watched) = brokers::watch(&lab, "nats", &client.to_string_lossy(), &arguments);
    assert_eq!(got, (4 * MESSAGES).to_string());
    watched.judge(sent, |(_, subject)| subject.ends_with("message") || subject.ends_with("request"));
    // What is answered where the question was not seen is a message like others.
    let inbox = "_INBOX.{id}";
    let known: BTreeSet<(&str, String)> =
        ["first", "second"].into_iter().flat_map(sent).map(|(operation, subject, _)| (operation, subject)).collect();
    watched.expect_no_others(|(operation, subject)| match operation.as_str() {
        "CONNECT" | "PING" => subject.is_empty(),
        "SUB" => subject.starts_with("shop.*") || subject == inbox,
        "PUB" if subject == inbox => true,
        _ => known.contains(&(operation.as_str(), subject.clone())),
    });
}

/// What both sides have to tell of a phase.
fn sent(phase: &str) -> Vec<Sent> {
    let all = (0..MESSAGES).flat_map(|number| {
        let word: String = (0..3).map(|at| char::from(b'a' + (number / 26_usize.pow(at) % 26) as u8)).collect();
        let subject = |kind: &str| format!("shop.{phase}.{word}.{kind}");
        [
            ("PUB", subject("message"), Kind::OneWay),
            ("DELIVER", subject("message"), Kind::OneWay),
            ("REQUEST", subject("request"), Kind::Call),
            ("DELIVER", subject("request"), Kind::Wait),
        ]
    });
    all.collect()
}
