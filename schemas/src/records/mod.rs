//! One type per Avro record. Types of the hot path borrow their strings, so that reading a record allocates nothing.

macro_rules! record {
    ($type:ty, $name:literal, $file:literal $(, $write:path)?) => {
        impl $crate::records::Record for $type {
            const NAME: &'static str = $name;
            const SCHEMA: &'static str = include_str!(concat!("../../avro/", $file, ".avsc"));
            $(
                fn write(&self, datum: &mut Vec<u8>) -> bool {
                    $write(self, datum)
                }
            )?
        }
    };
}

mod agent;
mod alert;
mod dead_letter;
mod edge;
mod flow;
mod identity;
mod latency;
mod partial;
mod process;
mod progress;
mod request;
mod request_datum;
mod workload;

pub use agent::{Agent, WorkloadDropped};
pub use alert::{Alert, AlertState, Candidate, Evidence};
pub use dead_letter::DeadLetter;
pub use edge::{Edge, edge_id};
pub use flow::{Flow, FlowState, Tls};
pub use identity::Identity;
pub use latency::{Latency, latency_key};
pub use partial::{Missing, NO_DATA, Partial, WindowClosed};
pub use process::{Process, ProcessKind};
pub use progress::{Dropped, Progress, Share};
pub use request::{CLIENT_LEFT, Kind, Outcome, Request, Side, Sums};
pub use workload::{ADDRESS, HOST, UNKNOWN, Workload, push_key};

/// A type that is written to Kafka with a schema of its own.
pub trait Record {
    /// Name of the Avro record, for messages.
    const NAME: &'static str;
    /// The text of its `.avsc` file.
    const SCHEMA: &'static str;

    /// Appends its datum without a look at the schema, if it knows how: says whether it did. Those of which there are very many do.
    fn write(&self, _datum: &mut Vec<u8>) -> bool {
        false
    }
}
