//! Both directions against a library that goes by the schema, for the samples, for numbers of every length, and for bytes that are nearly a datum.
#![allow(clippy::unwrap_used)]

use std::fmt::Debug;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_avro_fast::ser::SerializerConfig;

use super::{read, write};
use crate::each_record;
use crate::records::{Kind, Outcome, Process, Record, Request, Side};
use crate::samples;
use crate::wire::WriterSchema;

fn straight(value: &impl Serialize) -> Vec<u8> {
    let mut datum = vec![];
    write(value, &mut datum).unwrap();
    datum
}

fn by_schema<R: Record + Serialize>(record: &R) -> Vec<u8> {
    let schema: serde_avro_fast::Schema = R::SCHEMA.parse().unwrap();
    serde_avro_fast::to_datum_vec(record, &mut SerializerConfig::new(&schema)).unwrap()
}

/// What both ways of reading say of some bytes: the value, or nothing; and whether they say the same.
fn agree<'a, R: Record + Deserialize<'a> + Debug>(schema: &WriterSchema, datum: &'a [u8]) -> Result<(), String> {
    let by_schema = schema.decode_by_name::<R>(datum);
    let straight = read::<R>(datum).map(|(record, left)| (record, left.len()));
    let told = |value: Option<&(R, usize)>| value.map(|value| format!("{value:?}"));
    if told(by_schema.as_ref().ok()) == told(straight.as_ref().ok()) {
        return Ok(());
    }
    Err(format!("{} of {datum:?}: by its schema {by_schema:?}, straight {straight:?}", R::NAME))
}

macro_rules! is_the_same {
    ($name:literal, $type:ty, $sample:ident) => {
        let sample = samples::$sample();
        if let Some(fingerprint) = <$type as Record>::straight() {
            assert_eq!(crate::wire::fingerprint(<$type as Record>::SCHEMA).as_ref(), Some(fingerprint));
            let datum = by_schema(&sample);
            assert_eq!(straight(&sample), datum, $name);
            assert_eq!(read::<$type>(&datum).unwrap(), (sample, &[][..]), $name);
        }
    };
}

#[test]
fn every_record_is_read_and_written_as_its_schema_says() {
    each_record!(is_the_same);
}

#[test]
fn a_symbol_that_is_none_of_its_schema_needs_the_schema() {
    assert_eq!(Process::straight(), None, "its type has a symbol more than its schema");
}

#[test]
fn each_symbol_and_each_field_that_may_be_empty_is_written_as_the_schema_says() {
    for kind in [Kind::Call, Kind::OneWay, Kind::Stream, Kind::Wait] {
        for outcome in [Outcome::Unknown, Outcome::Ok, Outcome::ClientError, Outcome::ServerError, Outcome::Unanswered]
        {
            let request = Request {
                kind,
                outcome,
                side: Side::Client,
                error: false,
                failure: None,
                request_messages: None,
                sums: None,
                ..samples::request()
            };
            let datum = by_schema(&request);
            assert_eq!(straight(&request), datum);
            assert_eq!(read::<Request<'_>>(&datum).unwrap().0, request);
        }
    }
}

#[test]
fn numbers_of_every_length_are_read_and_written_as_the_schema_says() {
    for shift in 0..64 {
        for number in [1_i64 << shift, (1_i64 << shift).wrapping_sub(1), (1_i64 << shift).wrapping_neg()] {
            let request = Request {
                request_position: number,
                status: number as i32,
                request_messages: Some(number as i32),
                ..samples::request()
            };
            let datum = by_schema(&request);
            assert_eq!(straight(&request), datum, "{number}");
            assert_eq!(read::<Request<'_>>(&datum).unwrap().0, request);
        }
    }
}

/// A change of some bytes.
#[derive(Debug, Clone)]
enum Harm {
    Set(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Insert(prop::sample::Index, u8),
    Remove(prop::sample::Index),
}

fn harm() -> impl Strategy<Value = Harm> {
    prop_oneof![
        (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(at, byte)| Harm::Set(at, byte)),
        any::<prop::sample::Index>().prop_map(Harm::Cut),
        (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(at, byte)| Harm::Insert(at, byte)),
        any::<prop::sample::Index>().prop_map(Harm::Remove),
    ]
}

fn harmed(datum: &[u8], harms: &[Harm]) -> Vec<u8> {
    let mut bytes = datum.to_vec();
    for harm in harms.iter().filter(|_| !datum.is_empty()) {
        if bytes.is_empty() {
            break;
        }
        let length = bytes.len();
        match harm {
            Harm::Set(at, byte) => bytes[at.index(length)] = *byte,
            Harm::Cut(at) => bytes.truncate(at.index(length)),
            Harm::Insert(at, byte) => bytes.insert(at.index(length), *byte),
            Harm::Remove(at) => drop(bytes.remove(at.index(length))),
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn bytes_that_are_nearly_a_datum_are_read_or_refused_as_by_the_schema(harms in prop::collection::vec(harm(), 1..4)) {
        macro_rules! agrees {
            ($name:literal, $type:ty, $sample:ident) => {
                if <$type as Record>::straight().is_some() {
                    let schema = WriterSchema::parse(<$type as Record>::SCHEMA).unwrap();
                    let datum = harmed(&by_schema(&samples::$sample()), &harms);
                    if let Err(told) = agree::<$type>(&schema, &datum) {
                        return Err(TestCaseError::fail(told));
                    }
                }
            };
        }
        each_record!(agrees);
    }
}
