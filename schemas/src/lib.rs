//! The contract between Headwater's programs, and with everyone who subscribes: record types, topics and the bytes of a value.
//!
//! The `.avsc` files in `avro/` are the truth. The types in [`records`] mirror them field by field (a test holds them
//! against each other), [`topics`] lists what is where, [`place`] names a place in one, [`wire`] turns records into Confluent-framed
//! bytes and back.
//! Nothing here does I/O.
#![deny(missing_docs)]

pub mod asked;
pub mod encryption;
pub mod ids;
pub mod place;
pub mod records;
#[doc(hidden)]
pub mod samples;
mod straight;
pub mod topics;
pub mod wire;

pub use headwater_histogram::Histogram;
