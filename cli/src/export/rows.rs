//! Which time a record of each topic tells of, by which it goes into a file.

use anyhow::Result;
use headwater_kafka::{RecordError, SchemaCache};
use headwater_parquet::{Folder, Place};
use headwater_schemas::records::{
    Agent, Alert, DeadLetter, Edge, Flow, Identity, Latency, Partial, Process, Progress, Record, Request, WindowClosed,
};
use headwater_schemas::topics::Topic;
use serde::{Deserialize, Serialize};

/// Adds one record. The inner error is the record's, the outer one the folder's.
pub fn push(
    topic: Topic,
    value: &[u8],
    place: Place,
    schemas: &mut SchemaCache,
    folder: &mut Folder,
) -> Result<Result<(), RecordError>> {
    let mut to = To { value, place, schemas, folder };
    match topic {
        Topic::Flows => to.push(|flow: &Flow<'_>| flow.observed_at_us),
        Topic::Requests => to.push(|request: &Request<'_>| request.completed_at_us),
        Topic::Identities => to.push(|identity: &Identity| identity.until_us),
        Topic::Processes => to.push(|process: &Process<'_>| process.observed_at_us),
        Topic::Agents => to.push(|agent: &Agent| agent.observed_at_us),
        Topic::Progress => to.push(|progress: &Progress| progress.up_to_us),
        Topic::Partials => to.push(|partial: &Partial| partial.window_start_us),
        Topic::Edges | Topic::EdgeMinutes | Topic::EdgeHours => to.push(|edge: &Edge| edge.window_start_us),
        Topic::Latencies | Topic::LatencyMinutes | Topic::LatencyHours => {
            to.push(|latency: &Latency| latency.window_start_us)
        }
        Topic::EdgeWindows | Topic::LatencyWindows => to.push(|closed: &WindowClosed| closed.window_start_us),
        Topic::Alerts => to.push(|alert: &Alert| alert.observed_at_us),
        Topic::DeadLetters => to.push(|_: &DeadLetter<'_>| place.timestamp_ms.saturating_mul(1000)),
    }
}

struct To<'v, 'a> {
    value: &'v [u8],
    place: Place,
    schemas: &'a mut SchemaCache,
    folder: &'a mut Folder,
}

impl<'v> To<'v, '_> {
    fn push<R: Record + Deserialize<'v> + Serialize>(
        &mut self,
        time_us: impl Fn(&R) -> i64,
    ) -> Result<Result<(), RecordError>> {
        let (schema, datum) = match self.schemas.open(self.value) {
            Ok(opened) => opened,
            Err(error) => return Ok(Err(error)),
        };
        let record: R = match schema.decode(datum) {
            Ok(record) => record,
            Err(error) => return Ok(Err(RecordError::Bad(error.to_string()))),
        };
        self.folder.push(&record, time_us(&record), self.place)?;
        Ok(Ok(()))
    }
}
