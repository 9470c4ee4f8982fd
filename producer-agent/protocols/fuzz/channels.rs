//! Sessions of AMQP for `flights.rs`. The fuzz target and a test on the stable toolchain share it.

use headwater_protocols::amqp::{Amqp, Options};
use headwater_protocols::{Connection, OrderOptions};

use crate::flights::{self, Batch, Outcome, Plan, word};
use crate::frames::{acknowledge, beginning, content, deliver, method, publish, text};

/// A payload that looks like frames, of which the second cannot follow the first.
const LOOKALIKE: &[u8] =
    b"\x01\0\x01\0\0\0\x0d\0\x3c\0\x50\0\0\0\0\0\0\0\x01\0\xce\x01\0\x01\0\0\0\x04\0\x63\0\x01\xce";

pub fn run(input: &[u8]) -> Outcome {
    let plan = Plan {
        open: |side| Box::new(Connection::new(side, OrderOptions::default(), Amqp::new(Options::default()))),
        begin,
        add,
        may_be_one_way: &["basic.publish", "basic.deliver"],
    };
    flights::run(input, &plan)
}

/// What is published on the first channel is confirmed.
fn confirms(settings: u8) -> bool {
    settings & 1 == 1
}

fn begin(batch: &mut Batch, settings: u8) {
    let said = beginning();
    let said: Vec<&[u8]> = said.iter().map(Vec::as_slice).collect();
    batch.ask(0, "connection.open", "/shop", &said);
    for channel in [1, 2] {
        let asked = method(channel, 20, 10, &[&[0]]);
        batch.ask(6, "channel.open", "", &[&asked, &method(channel, 20, 11, &[&[0; 4]])]);
    }
    if confirms(settings) {
        batch.ask(6, "confirm.select", "", &[&method(1, 85, 10, &[&[0]]), &method(1, 85, 11, &[])]);
    }
    for (channel, bits) in [(1, 0), (2, 2)] {
        let asked = method(channel, 60, 20, &[&[0, 0], &text("orders"), &text("me"), &[bits], &[0; 4]]);
        batch.ask(6, "basic.consume", "orders", &[&asked, &method(channel, 60, 21, &[&text("me")])]);
    }
}

fn add(batch: &mut Batch, turn: u8, id: u16, settings: u8) {
    let key = format!("{}.{}", word(id), id % 7);
    let resource = format!("shop:{}.{{id}}", word(id));
    let payload = LOOKALIKE.repeat(usize::from(turn >> 5) * usize::from(turn >> 5));
    match turn & 7 {
        0 | 1 if confirms(settings) => {
            batch.counters[0] += 1;
            let said = [publish(1, "shop", &key, &payload), acknowledge(1, batch.counters[0], false)];
            batch.ask(0, "basic.publish", &resource, &[&said[0], &said[1]]);
        }
        0..3 => batch.ask(0, "basic.publish", &resource, &[&publish(2, "shop", &key, &payload)]),
        3 => {
            let asked = method(1, 50, 10, &[&[0, 0], &text(&key), &[0], &[0; 4]]);
            let answer = method(1, 50, 11, &[&text(&key), &[0; 8]]);
            batch.ask(0, "queue.declare", &resource[5..], &[&asked, &answer]);
        }
        4 | 5 => {
            batch.counters[1] += 1;
            let said = [deliver(1, "me", batch.counters[1], &key, &payload), acknowledge(1, batch.counters[1], false)];
            batch.ask(1, "basic.deliver", &resource, &[&said[0], &said[1]]);
        }
        6 => {
            batch.counters[2] += 1;
            batch.ask(1, "basic.deliver", &resource, &[&deliver(2, "me", batch.counters[2], &key, &payload)]);
        }
        _ => {
            batch.counters[2] += 1;
            let asked = method(2, 60, 70, &[&[0, 0], &text(&key), &[1]]);
            let number = batch.counters[2].to_be_bytes();
            let answer =
                [method(2, 60, 71, &[&number, &[0], &text("shop"), &text(&key), &[0; 4]]), content(2, &payload, 4096)];
            batch.ask(0, "basic.get", &resource[5..], &[&asked, &answer.concat()]);
        }
    }
}
