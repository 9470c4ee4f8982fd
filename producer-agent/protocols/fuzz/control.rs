//! Sessions of MQTT for `flights.rs`. The fuzz target and a test on the stable toolchain share it.

use headwater_protocols::mqtt::{Mqtt, Options};
use headwater_protocols::{Connection, OrderOptions};

use crate::flights::{self, Batch, Outcome, Plan, word};

/// A payload that looks like packets.
const LOOKALIKE: &[u8] = b"\x40\x02\0\x01\x32\x07\0\x01a\0\x01hi\xc0\0\xd0\0\x30\x04\0\x01bx";

pub fn run(input: &[u8]) -> Outcome {
    let plan = Plan {
        open: |side| Box::new(Connection::new(side, OrderOptions::default(), Mqtt::new(Options::default()))),
        begin,
        add,
        may_be_one_way: &[],
    };
    flights::run(input, &plan)
}

fn is_five(settings: u8) -> bool {
    settings & 1 == 1
}

fn begin(batch: &mut Batch, settings: u8) {
    let (version, properties, answer): (u8, &[u8], &[u8]) =
        if is_five(settings) { (5, b"\0", b"\x20\x03\0\0\0") } else { (4, b"", b"\x20\x02\0\0") };
    let connect = packet(0x10, &[b"\0\x04MQTT", &[version, 2, 0, 60], properties, b"\0\x01c"]);
    batch.ask(0, "CONNECT", "", &[&connect, answer]);
}

fn add(batch: &mut Batch, turn: u8, id: u16, settings: u8) {
    let is_five = is_five(settings);
    let topic = format!("shop/{}/{}", word(id), id % 7);
    let resource = format!("shop/{}/{{id}}", word(id));
    let payload = LOOKALIKE.repeat(usize::from(turn >> 5) * usize::from(turn >> 5));
    let ids = id.to_be_bytes();
    let acknowledges = |first: u8| [&[first, 2][..], &ids].concat();
    let publish = |quality: u8| {
        let id: &[u8] = if quality > 0 { &ids } else { &[] };
        let properties: &[u8] = if is_five { b"\0" } else { b"" };
        packet(0x30 | quality << 1, &[&text(&topic)[..], id, properties, &payload])
    };
    // From the client in the first flight, from the broker in the second.
    let (flight, operation) = if turn & 8 == 0 { (0, "PUBLISH") } else { (1, "DELIVER") };
    match turn & 7 {
        0 | 1 => batch.ask(flight, operation, &resource, &[&publish(0)]),
        2 | 3 => batch.ask(flight, operation, &resource, &[&publish(1), &acknowledges(0x40)]),
        4 | 5 => {
            let rest = [acknowledges(0x50), acknowledges(0x62), acknowledges(0x70)];
            batch.ask(flight, operation, &resource, &[&publish(2), &rest[0], &rest[1], &rest[2]]);
        }
        6 => {
            let (properties, behind): (&[u8], &[u8]) = if is_five { (b"\0", b"\0") } else { (b"", b"") };
            let asked = packet(0x82, &[&ids, properties, &text(&topic), &[1]]);
            batch.ask(0, "SUBSCRIBE", &resource, &[&asked, &packet(0x90, &[&ids, behind, &[1]])]);
        }
        _ => batch.ask(0, "PINGREQ", "", &[b"\xc0\0", b"\xd0\0"]),
    }
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat()
}

fn packet(first: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let mut packet = vec![first];
    let mut left = body.len();
    loop {
        packet.push((left & 0x7f) as u8 | if left > 0x7f { 0x80 } else { 0 });
        left >>= 7;
        if left == 0 {
            break;
        }
    }
    packet.extend(body);
    packet
}
