//! The first of the three parts of publishing: records become bytes. It needs neither Kafka nor the registry, so it works from the start.

use anyhow::Result;
use headwater_schemas::records::{Agent, Flow, Identity, Record, Request, Watermark};
use headwater_schemas::wire::{Encoder, WireError, WriterSchema, split};
use serde::Serialize;

use crate::ledger::Stream;

/// No registry was asked: the sender writes the id in.
const NO_ID: u32 = 0;

/// An encoder for each kind of record.
pub struct Encoders {
    streams: [Encoder; 2],
    /// What read back what was encoded, of records that were held.
    schemas: [WriterSchema; 2],
    pub agent: Encoder,
    pub identity: Encoder,
    pub watermark: Encoder,
}

impl Encoders {
    pub fn new() -> Result<Encoders> {
        Ok(Encoders {
            streams: [Encoder::of::<Request<'_>>(NO_ID)?, Encoder::of::<Flow<'_>>(NO_ID)?],
            schemas: [WriterSchema::parse(Request::SCHEMA)?, WriterSchema::parse(Flow::SCHEMA)?],
            agent: Encoder::of::<Agent>(NO_ID)?,
            identity: Encoder::of::<Identity>(NO_ID)?,
            watermark: Encoder::of::<Watermark>(NO_ID)?,
        })
    }

    /// Appends a record of a stream to `value`.
    pub fn encode<R: Record + Serialize>(
        &self,
        stream: Stream,
        record: &R,
        value: &mut Vec<u8>,
    ) -> Result<(), WireError> {
        self.streams[stream as usize].encode_into(record, value)
    }

    /// What was encoded here as a request.
    pub fn request<'a>(&self, value: &'a [u8]) -> Option<Request<'a>> {
        self.schemas[Stream::Requests as usize].decode(split(value).ok()?.1).ok()
    }

    /// What was encoded here as a flow.
    pub fn flow<'a>(&self, value: &'a [u8]) -> Option<Flow<'a>> {
        self.schemas[Stream::Flows as usize].decode(split(value).ok()?.1).ok()
    }
}
