//! Sessions of MongoDB for `flights.rs`. The fuzz target and a test on the stable toolchain share it.

use headwater_protocols::mongodb::{Mongodb, Options};
use headwater_protocols::{Connection, OrderOptions};

use crate::documents::Value::{Int, Long};
use crate::documents::{MORE_TO_COME, ask, batch, compressed, document, failed, insert, legacy_hello, ok, text};
use crate::documents::{legacy_reply, op_msg};
use crate::flights::{self, Batch, Outcome, Plan, word};

pub fn run(input: &[u8]) -> Outcome {
    let plan = Plan {
        open: |side| Box::new(Connection::new(side, OrderOptions::default(), Mongodb::new(Options::default()))),
        begin,
        add,
        may_be_one_way: &[],
    };
    flights::run(input, &plan)
}

fn begin(batch: &mut Batch, _: u8) {
    batch.ask(
        0,
        "OP_QUERY isMaster",
        "admin",
        &[&legacy_hello(60_000), &legacy_reply(1, 60_000, 0, &[("ok", Int(1))])],
    );
}

fn add(to: &mut Batch, turn: u8, id: u16, _: u8) {
    let collection = word(id);
    let resource = format!("shop.{collection}");
    // It looks like messages.
    let payload = document(&[("a", text(&"x".repeat(usize::from(turn >> 5) * 100)))]);
    let lookalike: Vec<Vec<u8>> = (0..turn >> 5).map(|_| payload.clone()).collect();
    let (id, answers) = (u32::from(id), u32::from(id));
    let id = (id, id + 100_000);
    match turn & 7 {
        0 | 1 => {
            let asked = ask(id.0, &[("find", text(&collection))]);
            to.ask(0, "find", &resource, &[&asked, &batch(id.1, answers, ("firstBatch", 0), &lookalike)]);
        }
        2 => {
            let asked = insert(id.0, 0, &collection, &lookalike);
            to.ask(0, "insert", &resource, &[&asked, &ok(id.1, answers)]);
        }
        3 => to.ask(0, "insert", &resource, &[&insert(id.0, MORE_TO_COME, &collection, &lookalike)]),
        4 => {
            let asked = ask(id.0, &[("getMore", Long(7)), ("collection", text(&collection))]);
            to.ask(0, "getMore", &resource, &[&asked, &failed(id.1, answers, 43, "CursorNotFound")]);
        }
        5 => to.ask(0, "OP_COMPRESSED", "", &[&compressed(id.0, 0), &compressed(id.1, answers)]),
        6 => to.ask(0, "ping", "shop", &[&ask(id.0, &[("ping", Int(1))]), &ok(id.1, answers)]),
        _ => {
            // Further answers belong to none.
            let asked = ask(id.0, &[("hello", Int(1)), ("maxAwaitTimeMS", Int(10))]);
            let said = document(&[("ok", Int(1))]);
            to.ask(0, "hello", "shop", &[&asked, &op_msg(id.1, answers, MORE_TO_COME, &said)]);
            to.flights[1].extend(op_msg(id.1 + 100_000, id.1, 0, &said));
        }
    }
}
