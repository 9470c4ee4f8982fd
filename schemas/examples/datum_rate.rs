//! What reading and writing the datum of a request, and of a partial sum, takes: as it is done, and by a library that goes by the schema. Prints
//! nanoseconds for each, the least of some rounds.
//!
//! `cargo run --release -p headwater-schemas --example datum_rate`
#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "it speaks to people in a terminal, of records that are known"
)]

use std::hint::black_box;
use std::time::Instant;

use headwater_schemas::records::{Partial, Record, Request};
use headwater_schemas::samples;
use headwater_schemas::wire::{Encoder, WriterSchema, split};
use serde::Serialize;
use serde_avro_fast::ser::SerializerConfig;
use serde_avro_fast::{Schema, from_datum_slice};

const ROUNDS: u32 = 50;
const EACH: u32 = 5_000;

fn main() {
    let request = Request { sums: None, ..samples::request() };
    println!("a request: {}", written(&request));
    let (value, schema, parsed) = ready(&request);
    let datum = split(&value).expect("it is a value").1;
    let now = least_ns(|| black_box(schema.decode::<Request<'_>>(black_box(datum))).is_ok());
    let by_schema = least_ns(|| black_box(from_datum_slice::<Request<'_>>(black_box(datum), &parsed)).is_ok());
    println!("           read {now} ns, by its schema {by_schema} ns");

    let partial = samples::partial();
    println!("a partial: {}", written(&partial));
    let (value, schema, parsed) = ready(&partial);
    let datum = split(&value).expect("it is a value").1;
    let now = least_ns(|| black_box(schema.decode::<Partial>(black_box(datum))).is_ok());
    let by_schema = least_ns(|| black_box(from_datum_slice::<Partial>(black_box(datum), &parsed)).is_ok());
    println!("           read {now} ns, by its schema {by_schema} ns");
}

fn ready<R: Record + Serialize>(record: &R) -> (Vec<u8>, WriterSchema, Schema) {
    let value = Encoder::of::<R>(7).and_then(|encoder| encoder.encode(record)).expect("it fits its schema");
    let schema = WriterSchema::parse(R::SCHEMA).expect("it is a schema");
    (value, schema, R::SCHEMA.parse().expect("it is a schema"))
}

fn written<R: Record + Serialize>(record: &R) -> String {
    let encoder = Encoder::of::<R>(7).expect("it is a schema");
    let schema: Schema = R::SCHEMA.parse().expect("it is a schema");
    let mut buffer = Vec::with_capacity(4096);
    let now = least_ns(|| {
        buffer.clear();
        encoder.encode_into(black_box(record), &mut buffer).is_ok()
    });
    let by_schema = least_ns(|| {
        buffer.clear();
        serde_avro_fast::to_datum(black_box(record), &mut buffer, &mut SerializerConfig::new(&schema)).is_ok()
    });
    format!("written {now} ns, by its schema {by_schema} ns")
}

fn least_ns(mut work: impl FnMut() -> bool) -> u128 {
    let round = |_| {
        let began = Instant::now();
        for _ in 0..EACH {
            assert!(work());
        }
        began.elapsed().as_nanos() / u128::from(EACH)
    };
    (0..ROUNDS).map(round).min().unwrap_or_default()
}
