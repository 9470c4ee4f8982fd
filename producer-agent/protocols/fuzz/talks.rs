//! Sessions of WebSocket for `flights.rs`. The fuzz target and a test on the stable toolchain share it.

use headwater_protocols::websocket::{Target, WebSocket};
use headwater_protocols::{Connection, OrderOptions};

use crate::chat::{CONTINUATION, PING, PONG, TEXT, message, of_client, of_server};
use crate::flights::{self, Batch, Outcome, Plan};

const HOST: &str = "shop.example";

pub fn run(input: &[u8]) -> Outcome {
    let plan = Plan {
        open: |side| {
            let target = Target { path: "/chat".into(), host: HOST.into(), ..Target::default() };
            Box::new(Connection::new(side, OrderOptions::default(), WebSocket::new(target)))
        },
        begin: |_, _| {},
        add,
        may_be_one_way: &[],
    };
    flights::run(input, &plan)
}

fn add(to: &mut Batch, turn: u8, number: u16, _settings: u8) {
    let payload = vec![number as u8; usize::from(turn >> 3) * usize::from(turn >> 3) * 20];
    let by_client = turn & 1 == 0;
    let frame = if by_client { of_client } else { of_server };
    let (flight, operation) = if by_client { (0, "MESSAGE") } else { (1, "DELIVER") };
    let said = match turn >> 1 & 3 {
        0 => [frame(TEXT, &payload), frame(CONTINUATION, &[]), frame(0x80 | CONTINUATION, &payload)].concat(),
        _ => message(by_client, &payload),
    };
    to.ask(flight, operation, HOST, &[&said]);
    if turn >> 1 & 3 == 1 {
        to.flights[flight].extend(frame(0x80 | PING, b"here"));
        to.flights[flight + 1].extend(if by_client { of_server } else { of_client }(0x80 | PONG, b"here"));
    }
}
