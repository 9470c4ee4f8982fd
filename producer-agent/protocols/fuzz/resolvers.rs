//! Sessions of DNS over TCP for `flights.rs`. The fuzz target and a test on the stable toolchain share it.

use headwater_protocols::dns::{Dns, Options};
use headwater_protocols::{Connection, OrderOptions};

use crate::flights::{self, Batch, Outcome, Plan, word};
use crate::questions::{
    A, AAAA, NOERROR, NXDOMAIN, SERVFAIL, answer, answer_order, ask, ask_with_opt, framed, order, refuse,
};

pub fn run(input: &[u8]) -> Outcome {
    let plan = Plan {
        open: |side| Box::new(Connection::new(side, OrderOptions::default(), Dns::new(Options::default()))),
        begin: |_, _| {},
        add,
        may_be_one_way: &[],
    };
    flights::run(input, &plan)
}

fn add(to: &mut Batch, turn: u8, id: u16, _settings: u8) {
    let name = format!("{}.example", word(id));
    let records = vec![b'x'; usize::from(turn >> 3) * 20];
    let (operation, asked, answered) = match turn & 7 {
        0..3 => ("A", ask(id, &name, A), answer(id, &name, A, NOERROR, &records)),
        3 => ("AAAA", ask_with_opt(id, &name, AAAA), answer(id, &name, AAAA, NOERROR, &records)),
        4 => ("AAAA", ask(id, &name, AAAA), answer(id, &name, AAAA, NXDOMAIN, &[])),
        5 => ("A", ask(id, &name.to_uppercase(), A), answer(id, &name.to_uppercase(), A, SERVFAIL, &[])),
        6 => ("A", ask(id, &name, A), refuse(id, 5)),
        _ => ("UPDATE", order(id, 5, &name), answer_order(id, 5, &name, NOERROR)),
    };
    to.ask(0, operation, &name, &[&framed(&asked), &framed(&answered)]);
}
