//! One type per Avro record. Types of the hot path borrow their strings, so that reading a record allocates nothing.

/// `straight` where the fields of the type are those of its schema, in its order: then it is read and written without a look at the schema.
macro_rules! record {
    ($type:ty, $name:literal, $file:literal $(, $straight:ident)?) => {
        impl $crate::records::Record for $type {
            const NAME: &'static str = $name;
            const SCHEMA: &'static str = include_str!(concat!("../../avro/", $file, ".avsc"));
            $(
                fn $straight() -> Option<&'static [u8; 8]> {
                    static FINGERPRINT: std::sync::OnceLock<Option<[u8; 8]>> = std::sync::OnceLock::new();
                    FINGERPRINT.get_or_init(|| $crate::wire::fingerprint(Self::SCHEMA)).as_ref()
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
mod workload;

pub use agent::{Agent, WorkloadDropped};
pub use alert::{Alert, AlertState, Candidate, Evidence};
pub use dead_letter::DeadLetter;
pub use edge::{Edge, edge_id};
pub use flow::{Flow, FlowState, Tls};
pub use identity::Identity;
pub use latency::{Latency, latency_key};
pub use partial::{Missing, NO_DATA, Partial, Touch, WindowClosed};
pub use process::{Process, ProcessKind};
pub use progress::{Dropped, Progress, Share};
pub use request::{CLIENT_LEFT, Kind, Outcome, Request, Side, Sums};
pub use workload::{ADDRESS, HOST, MORE, UNKNOWN, Workload, push_key};

/// A type that is written to Kafka with a schema of its own.
pub trait Record {
    /// Name of the Avro record, for messages.
    const NAME: &'static str;
    /// The text of its `.avsc` file.
    const SCHEMA: &'static str;

    /// The fingerprint of its schema, if its fields are those of the schema, in its order. Then a datum of that schema is read and written without a look at
    /// it. Those types are such of which there are many records.
    fn straight() -> Option<&'static [u8; 8]> {
        None
    }
}
