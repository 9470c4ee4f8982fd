//! Datums of types whose fields are those of their schema, in its order, read and written without a look at the schema: to look up each field there
//! takes several times as long as all the rest, and processors and agents do it for every record.
//!
//! In: values of such types, or bytes. Out: bytes as the schema says (Avro 1.12, "Binary encoding"), or values. Which types are such is said where
//! they are declared, and tests hold both directions against a library that goes by the schema. What a datum of another schema means is not known here:
//! [`WriterSchema`](crate::wire::WriterSchema) compares. Bounds: no length is believed beyond the bytes that are there.

mod error;
mod reader;
mod writer;

pub use error::Error;
pub use reader::read;
pub use writer::write;

#[cfg(test)]
mod tests;
