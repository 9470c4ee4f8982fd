//! Sessions of NATS for `flights.rs`. The fuzz target and a test on the stable toolchain share it.

use headwater_protocols::nats::{Nats, Options};
use headwater_protocols::{Connection, OrderOptions};

use crate::flights::{self, Batch, Outcome, Plan, word};

/// A payload that looks like messages.
const LOOKALIKE: &[u8] = b"\r\nPUB a 2\r\nhi\r\nMSG b 1 2\r\nhi\r\nPING\r\n+OK\r\n";

pub fn run(input: &[u8]) -> Outcome {
    let plan = Plan {
        open: |side| Box::new(Connection::new(side, OrderOptions::default(), Nats::new(Options::default()))),
        begin,
        add,
        may_be_one_way: &["CONNECT", "SUB", "PUB"],
    };
    flights::run(input, &plan)
}

/// What the server says to what it confirms.
fn confirmation(settings: u8) -> &'static [u8] {
    if settings & 1 == 1 { b"+OK\r\n" } else { b"" }
}

fn begin(batch: &mut Batch, settings: u8) {
    let ok = confirmation(settings);
    batch.flights[1].extend(b"INFO {\"server_id\":\"x\"}\r\n");
    let connect = format!("CONNECT {{\"verbose\":{}}}\r\n", !ok.is_empty());
    batch.ask(2, "CONNECT", "", &[connect.as_bytes(), ok]);
    batch.ask(2, "PING", "", &[b"PING\r\n", b"PONG\r\n"]);
    batch.ask(2, "SUB", "_INBOX.{id}", &[b"SUB _INBOX.me.* 1\r\n", ok]);
}

fn add(batch: &mut Batch, turn: u8, id: u16, settings: u8) {
    let ok = confirmation(settings);
    let subject = format!("shop.{}.{}", word(id), id % 7);
    let resource = format!("shop.{}.{{id}}", word(id));
    let payload = LOOKALIKE.repeat(usize::from(turn >> 5) * usize::from(turn >> 5));
    let message = |verb: &str, reply: &str| {
        let line = format!("{verb}{reply} {}\r\n", payload.len());
        [line.as_bytes(), &payload, b"\r\n"].concat()
    };
    match turn & 7 {
        0 => batch.ask(0, "PUB", &resource, &[&message(&format!("PUB {subject}"), ""), ok]),
        1 => {
            let headers = b"NATS/1.0\r\nA: b\r\n\r\n";
            let line = format!("HPUB {subject} {} {}\r\n", headers.len(), headers.len() + payload.len());
            batch.ask(0, "PUB", &resource, &[&[line.as_bytes(), headers, &payload, b"\r\n"].concat(), ok]);
        }
        2 | 3 => {
            let inbox = format!("_INBOX.me.{id}");
            // It stands before the answer, and is none.
            batch.flights[1].extend(ok);
            let said =
                [message(&format!("PUB {subject}"), &format!(" {inbox}")), message(&format!("MSG {inbox} 1"), "")];
            batch.ask(0, "REQUEST", &resource, &[&said[0], &said[1]]);
        }
        4 => batch.ask(1, "DELIVER", &resource, &[&message(&format!("MSG {subject} 2"), "")]),
        5 | 6 => {
            let inbox = format!("reply.{id}");
            let said =
                [message(&format!("MSG {subject} 2"), &format!(" {inbox}")), message(&format!("PUB {inbox}"), "")];
            batch.may_ask(2, "PUB", "reply.{id}", &[&said[1], ok]);
            batch.ask(1, "DELIVER", &resource, &[&said[0], &said[1]]);
            batch.flights[3].extend(ok);
        }
        _ => batch.ask(0, "PING", "", &[b"PING\r\n", b"PONG\r\n"]),
    }
}
