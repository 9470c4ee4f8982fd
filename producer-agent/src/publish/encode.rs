//! The first of the three parts of publishing: records become bytes. It needs neither Kafka nor the registry, so it works from the start.

use anyhow::Result;
use headwater_schemas::records::{Agent, Flow, Identity, Process, Progress, Record, Request};
use headwater_schemas::wire::{Encoder, WireError, WriterSchema, split};
use serde::Serialize;

use super::message::Message;
use crate::ledger::Stream;

/// No registry was asked: the sender writes the id in.
const NO_ID: u32 = 0;

/// An encoder for each kind of record.
pub struct Encoders {
    streams: [Encoder; 3],
    /// What read back what was encoded, of records that were held.
    schemas: [WriterSchema; 3],
    pub agent: Encoder,
    pub identity: Encoder,
    pub progress: Encoder,
    progress_schema: WriterSchema,
}

impl Encoders {
    pub fn new() -> Result<Encoders> {
        Ok(Encoders {
            streams: [
                Encoder::of::<Request<'_>>(NO_ID)?,
                Encoder::of::<Flow<'_>>(NO_ID)?,
                Encoder::of::<Process<'_>>(NO_ID)?,
            ],
            schemas: [
                WriterSchema::parse(Request::SCHEMA)?,
                WriterSchema::parse(Flow::SCHEMA)?,
                WriterSchema::parse(Process::SCHEMA)?,
            ],
            agent: Encoder::of::<Agent>(NO_ID)?,
            identity: Encoder::of::<Identity>(NO_ID)?,
            progress: Encoder::of::<Progress>(NO_ID)?,
            progress_schema: WriterSchema::parse(Progress::SCHEMA)?,
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

    /// What must be known to read values of this version: the text of their schemas. New ones come last.
    pub fn note() -> Vec<u8> {
        [Request::SCHEMA, Flow::SCHEMA, Progress::SCHEMA, Process::SCHEMA].join("\0").into_bytes()
    }

    /// Appends to `value` what an older version has encoded, as this version does it. Says whether it could be read.
    pub fn convert(&self, older: &Older, message: Message, bytes: &[u8], value: &mut Vec<u8>) -> bool {
        let Ok((_, datum)) = split(bytes) else { return false };
        let [requests, flows, progress] = &older.schemas;
        match message {
            Message::Record(Stream::Requests) => requests
                .decode::<Request<'_>>(datum)
                .is_ok_and(|request| self.encode(Stream::Requests, &request, value).is_ok()),
            Message::Record(Stream::Flows) => {
                flows.decode::<Flow<'_>>(datum).is_ok_and(|flow| self.encode(Stream::Flows, &flow, value).is_ok())
            }
            Message::Record(Stream::Processes) => older.processes.as_ref().is_some_and(|processes| {
                let process = processes.decode::<Process<'_>>(datum);
                process.is_ok_and(|process| self.encode(Stream::Processes, &process, value).is_ok())
            }),
            Message::Progress => progress
                .decode::<Progress>(datum)
                .is_ok_and(|progress| self.progress.encode_into(&progress, value).is_ok()),
        }
    }

    /// What was encoded here as a request.
    pub fn request<'a>(&self, value: &'a [u8]) -> Option<Request<'a>> {
        self.schemas[Stream::Requests as usize].decode(split(value).ok()?.1).ok()
    }

    /// What was encoded here as what happened to a process.
    pub fn process<'a>(&self, value: &'a [u8]) -> Option<Process<'a>> {
        self.schemas[Stream::Processes as usize].decode(split(value).ok()?.1).ok()
    }

    /// What was encoded here as progress.
    pub fn progress_of(&self, value: &[u8]) -> Option<Progress> {
        self.progress_schema.decode(split(value).ok()?.1).ok()
    }

    /// What was encoded here as a flow.
    pub fn flow<'a>(&self, value: &'a [u8]) -> Option<Flow<'a>> {
        self.schemas[Stream::Flows as usize].decode(split(value).ok()?.1).ok()
    }
}

/// The schemas of another version.
pub struct Older {
    schemas: [WriterSchema; 3],
    /// The first versions had none.
    processes: Option<WriterSchema>,
}

impl Older {
    /// Reads what [`Encoders::note`] said there.
    pub fn read(note: &[u8]) -> Option<Older> {
        let mut texts = std::str::from_utf8(note).ok()?.split('\0');
        let mut next = || WriterSchema::parse(texts.next()?).ok();
        Some(Older { schemas: [next()?, next()?, next()?], processes: next() })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn progress() -> Progress {
        Progress { node: "n".into(), agent_started_at_us: 1, sequence: 2, ..headwater_schemas::samples::progress() }
    }

    #[test]
    fn what_an_older_version_wrote_is_read_with_its_schemas_and_written_with_ours() {
        let encoders = Encoders::new().unwrap();
        let message = Message::Progress;
        let ours = encoders.progress.encode(&progress()).unwrap();
        let mut value = Vec::new();
        assert!(encoders.convert(&Older::read(&Encoders::note()).unwrap(), message, &ours, &mut value));
        assert_eq!(value, ours);

        // Its numbers stood in another order.
        let text = String::from_utf8(Encoders::note()).unwrap();
        let lines: Vec<&str> = Progress::SCHEMA.lines().collect();
        let of = |name: &str| lines.iter().find(|line| line.contains(name)).unwrap();
        let [node, started] = [r#""node""#, r#""agent_started_at_us""#].map(of);
        let note = text.replace(&format!("{node}\n{started}"), &format!("{started}\n{node}"));
        assert_ne!(note, text, "the schema looks different today");
        // The node's name comes behind the start.
        let theirs = [&ours[..5], &ours[7..8], &ours[5..7], &ours[8..]].concat();
        value.clear();
        assert!(encoders.convert(&Older::read(note.as_bytes()).unwrap(), message, &theirs, &mut value));
        assert_eq!(value, ours);

        assert!(!encoders.convert(&Older::read(note.as_bytes()).unwrap(), message, &ours[..7], &mut value));
        assert!(Older::read(b"not a schema").is_none() && Older::read(&[0xff]).is_none());
    }
}
