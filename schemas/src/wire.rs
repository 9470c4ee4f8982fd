//! The Confluent wire format: a zero byte, the schema's id in the registry (big endian, 4 bytes), the Avro datum.
//!
//! In: records and ids that a registry gave. Out: bytes, and records again. A value whose writer had another version of the
//! schema is read with that version; fields that it lacks take serde's defaults. A value of another record, or with bytes
//! behind its datum, is refused. Bounds: `SEQUENCE_MAX` items in an array or map.

use std::fmt;
use std::io::BufRead;

use serde::{Deserialize, Serialize};
use serde_avro_fast::de::{DeserializerConfig, DeserializerState, read::SliceRead};
use serde_avro_fast::schema::SchemaMut;
use serde_avro_fast::ser::SerializerConfig;

use crate::records::Record;
use crate::straight;

const MAGIC: u8 = 0;
const HEADER_BYTES: usize = 5;

/// Items without bytes could otherwise be a thousand million in a datum of a few bytes.
const SEQUENCE_MAX: usize = 1_000_000;

/// A schema that has been parsed for reading values written with it.
pub struct WriterSchema {
    schema: serde_avro_fast::Schema,
    /// Name of the record without its namespace; empty if it is a schema of something else.
    record: String,
}

impl WriterSchema {
    /// Parses the text of an Avro schema.
    pub fn parse(text: &str) -> Result<WriterSchema, WireError> {
        let schema: SchemaMut = text.parse().map_err(|error| WireError::Schema(format!("{error}")))?;
        let record = schema.root().type_.name().map_or_else(String::new, |name| name.name().to_owned());
        let schema = schema.freeze().map_err(|error| WireError::Schema(format!("{error}")))?;
        Ok(WriterSchema { schema, record })
    }

    /// Reads the datum of a value (what [`split`] leaves of it).
    ///
    /// # Errors
    /// If the bytes are not a datum of this schema, or the schema is not one of this record: as in Avro's own resolution of
    /// schemas, their names must be the same.
    pub fn decode<'a, R: Record + Deserialize<'a>>(&self, datum: &'a [u8]) -> Result<R, WireError> {
        if self.record != R::NAME {
            return Err(WireError::OtherRecord { expected: R::NAME, found: self.record.clone() });
        }
        let is_of_type = R::straight().is_some_and(|fingerprint| fingerprint == self.schema.rabin_fingerprint());
        let (record, left) = if is_of_type {
            let (record, left) = straight::read(datum).map_err(|error| WireError::Datum(error.to_string()))?;
            (record, left.len())
        } else {
            self.decode_by_name(datum)?
        };
        match left {
            0 => Ok(record),
            left => Err(WireError::Datum(format!("{left} bytes follow behind it"))),
        }
    }

    /// Reads a datum whose fields may be others than those of the type, or stand in another order, by their names; and says how many bytes stand
    /// behind it.
    ///
    /// # Errors
    /// If the bytes are not a datum of this schema, or it lacks a field that the type must have.
    pub fn decode_by_name<'a, R: Deserialize<'a>>(&self, datum: &'a [u8]) -> Result<(R, usize), WireError> {
        let mut config = DeserializerConfig::new(&self.schema);
        config.max_seq_size = SEQUENCE_MAX;
        let mut state = DeserializerState::with_config(SliceRead::new(datum), config);
        let record = R::deserialize(state.deserializer()).map_err(|error| WireError::Datum(format!("{error}")))?;
        Ok((record, state.into_reader().fill_buf().map_or(0, <[u8]>::len)))
    }
}

/// What is the same for schemas whose data are the same: the fingerprint of the schema's canonical form (Avro 1.12, "Schema Fingerprints"). None for
/// what is no schema.
pub(crate) fn fingerprint(schema: &str) -> Option<[u8; 8]> {
    schema.parse::<SchemaMut>().ok()?.canonical_form_rabin_fingerprint().ok()
}

/// Writes records of one type, with the id that the registry gave to its schema.
pub struct Encoder {
    record: &'static str,
    schema: &'static serde_avro_fast::Schema,
    schema_id: u32,
}

impl Encoder {
    /// An encoder of `R` for the schema id that the registry answered for `R::SCHEMA`.
    ///
    /// The parsed schema lives as long as the program: make one encoder per type, not one per record.
    pub fn of<R: Record>(schema_id: u32) -> Result<Encoder, WireError> {
        let schema: serde_avro_fast::Schema =
            R::SCHEMA.parse().map_err(|error| WireError::Schema(format!("{}: {error}", R::NAME)))?;
        Ok(Encoder { record: R::NAME, schema: Box::leak(Box::new(schema)), schema_id })
    }

    /// The id that goes in front of each value.
    pub fn schema_id(&self) -> u32 {
        self.schema_id
    }

    /// Appends the framed value to `buffer`.
    ///
    /// # Errors
    /// If the record is of another type than the encoder.
    pub fn encode_into<R: Record + Serialize>(&self, record: &R, buffer: &mut Vec<u8>) -> Result<(), WireError> {
        if R::NAME != self.record {
            return Err(WireError::Datum(format!("{} given to the encoder of {}", R::NAME, self.record)));
        }
        buffer.push(MAGIC);
        buffer.extend_from_slice(&self.schema_id.to_be_bytes());
        if R::straight().is_some() {
            return straight::write(record, buffer).map_err(|error| WireError::Datum(format!("{}: {error}", R::NAME)));
        }
        let mut config = SerializerConfig::new(self.schema);
        serde_avro_fast::to_datum(record, &mut *buffer, &mut config)
            .map_err(|error| WireError::Datum(format!("{}: {error}", R::NAME)))?;
        Ok(())
    }

    /// The framed value.
    pub fn encode<R: Record + Serialize>(&self, record: &R) -> Result<Vec<u8>, WireError> {
        let mut buffer = Vec::with_capacity(256);
        self.encode_into(record, &mut buffer)?;
        Ok(buffer)
    }
}

/// Writes another schema's id into a framed value: what was encoded before a registry answered has none yet.
pub fn set_schema_id(value: &mut [u8], schema_id: u32) {
    if let Some([MAGIC, id @ ..]) = value.first_chunk_mut::<HEADER_BYTES>() {
        *id = schema_id.to_be_bytes();
    }
}

/// Splits a framed value into the schema's id and the datum.
pub fn split(value: &[u8]) -> Result<(u32, &[u8]), WireError> {
    let Some((header, datum)) = value.split_first_chunk::<HEADER_BYTES>() else {
        return Err(WireError::TooShort(value.len()));
    };
    let [MAGIC, id @ ..] = *header else {
        return Err(WireError::Magic(header[0]));
    };
    Ok((u32::from_be_bytes(id), datum))
}

/// Why bytes are not a value, or a record does not become one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WireError {
    /// The value is shorter than the header; its length in bytes.
    TooShort(usize),
    /// The first byte, which is not 0.
    Magic(u8),
    /// The schema cannot be parsed; why.
    Schema(String),
    /// The datum is not one of its schema; why.
    Datum(String),
    /// The schema is one of another record.
    OtherRecord {
        /// Name of the record that was asked for.
        expected: &'static str,
        /// Name of the record that the schema is of; empty if it is of something else.
        found: String,
    },
}

impl std::error::Error for WireError {}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WireError::TooShort(bytes) => {
                write!(f, "value of {bytes} bytes is shorter than the {HEADER_BYTES} bytes of the Confluent header")
            }
            WireError::Magic(byte) => {
                write!(f, "value starts with byte {byte:#04x}, not with 0 as the Confluent format does")
            }
            WireError::Schema(error) => write!(f, "schema cannot be parsed: {error}"),
            WireError::Datum(error) => write!(f, "Avro datum does not fit its schema: {error}"),
            WireError::OtherRecord { expected, found } if found.is_empty() => {
                write!(f, "schema is not one of a record, {expected} is expected")
            }
            WireError::OtherRecord { expected, found } => {
                write!(f, "schema is one of the record {found}, {expected} is expected")
            }
        }
    }
}
