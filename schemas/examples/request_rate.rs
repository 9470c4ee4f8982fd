//! What writing the datum of a request takes: straight, and by its schema. Prints nanoseconds for each, the least of some rounds.
//!
//! `cargo run --release -p headwater-schemas --example request_rate`
#![allow(clippy::print_stdout, reason = "it speaks to people in a terminal")]

use std::hint::black_box;
use std::time::Instant;

use headwater_schemas::records::{Record, Request};
use headwater_schemas::samples;
use serde_avro_fast::ser::SerializerConfig;

const ROUNDS: u32 = 50;
const EACH: u32 = 20_000;

fn main() {
    let schema: serde_avro_fast::Schema = Request::SCHEMA.parse().expect("it is a schema");
    let request = Request { sums: None, ..samples::request() };
    let mut buffer = Vec::with_capacity(1024);
    let straight = least_ns(|| {
        buffer.clear();
        assert!(black_box(&request).write(&mut buffer));
        black_box(&buffer);
    });
    let mut buffer = Vec::with_capacity(1024);
    let by_schema = least_ns(|| {
        buffer.clear();
        let mut config = SerializerConfig::new(&schema);
        serde_avro_fast::to_datum(black_box(&request), &mut buffer, &mut config).expect("it fits its schema");
        black_box(&buffer);
    });
    println!("{straight:.0} ns straight, {by_schema:.0} ns by the schema, {} bytes", buffer.len());
}

fn least_ns(mut step: impl FnMut()) -> f64 {
    let mut least = f64::MAX;
    for _ in 0..ROUNDS {
        let began = Instant::now();
        (0..EACH).for_each(|_| step());
        least = least.min(began.elapsed().as_nanos() as f64 / f64::from(EACH));
    }
    least
}
