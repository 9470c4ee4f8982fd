//! Sessions of Cassandra for `flights.rs`. The fuzz target and a test on the stable toolchain share it.

use headwater_protocols::cassandra::{Cassandra, Options};
use headwater_protocols::{Connection, OrderOptions};

use crate::envelopes::{
    OPTIONS, TRAILER, error, execute, frame, header, prepare, prepared, query, ready, rows, startup, void,
};
use crate::flights::{self, Batch, Outcome, Plan, word};

pub fn run(input: &[u8]) -> Outcome {
    let plan = Plan {
        open: |side| Box::new(Connection::new(side, OrderOptions::default(), Cassandra::new(Options::default()))),
        begin,
        add,
        may_be_one_way: &[],
    };
    flights::run(input, &plan)
}

fn version(settings: u8) -> u8 {
    if settings & 1 == 1 { 5 } else { 4 }
}

fn begin(batch: &mut Batch, settings: u8) {
    let version = version(settings);
    batch.ask(0, "STARTUP", "", &[&startup(version, OPTIONS), &ready(version)]);
}

/// In a segment each, where the version has them.
fn ask(to: &mut Batch, version: u8, flight: usize, operation: &str, resource: &str, said: &[&[u8]]) {
    let is_in_segments = version == 5;
    for (flight, said) in to.flights[flight..].iter_mut().zip(said).filter(|_| is_in_segments) {
        flight.extend(header(said.len(), true));
    }
    to.ask(flight, operation, resource, said);
    for (flight, _) in to.flights[flight..].iter_mut().zip(said).filter(|_| is_in_segments) {
        flight.extend(TRAILER);
    }
}

/// Something that a server says without being asked.
fn push(to: &mut Batch, version: u8, said: &[u8]) {
    let (header, trailer) = if version == 5 { (header(said.len(), true), TRAILER) } else { (Vec::new(), &[][..]) };
    to.flights[1].extend([&header[..], said, trailer].concat());
}

fn add(to: &mut Batch, turn: u8, id: u16, settings: u8) {
    let version = version(settings);
    let table = word(id);
    let stream = id as i16;
    let statement = format!("SELECT a FROM {table} WHERE b = '{}'", "x".repeat(usize::from(turn >> 5) * 40));
    let name = format!("SELECT a FROM {table} WHERE b = ?");
    let bytes = usize::from(turn >> 5) * 200;
    match turn & 7 {
        0..3 => ask(to, version, 0, &name, "", &[&query(version, stream, &statement), &rows(version, stream, bytes)]),
        3 => ask(to, version, 0, &name, "", &[&query(version, stream, &statement), &error(version, stream, 0x1200)]),
        4 => {
            let said = [prepare(version, stream, &statement), prepared(version, stream, [id as u8; 16])];
            ask(to, version, 0, &format!("PREPARE {name}"), "", &[&said[0], &said[1]]);
        }
        5 => {
            let mut id = [0xff; 16];
            id[..2].copy_from_slice(&stream.to_be_bytes());
            let said = [prepare(version, stream, &statement), prepared(version, stream, id)];
            ask(to, version, 0, &format!("PREPARE {name}"), "", &[&said[0], &said[1]]);
            ask(to, version, 2, &name, "", &[&execute(version, stream, id), &void(version, stream)]);
        }
        6 => {
            let pushed = frame(version | 0x80, 0, -1, 12, &[b"\0\x02UP"]);
            push(to, version, &pushed);
            ask(to, version, 0, &name, "", &[&query(version, stream, &statement), &void(version, stream)]);
        }
        _ => ask(
            to,
            version,
            0,
            "OPTIONS",
            "",
            &[&frame(version, 0, stream, 5, &[]), &frame(version | 0x80, 0, stream, 6, &[&[0; 2]])],
        ),
    }
}
