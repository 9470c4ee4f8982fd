//! Everything that Headwater does with Kafka and the schema registry: the only crate that knows rdkafka and the registry's HTTP.
//!
//! [`Publisher`] is the agent's way in, [`TopicReader`] the way out for whoever looks at a topic, [`GroupMember`] and
//! [`Transactions`] together run a processor exactly once. All of them are synchronous and driven by their caller.

pub mod admin;
mod client;
mod error;
mod group;
mod handle;
mod lag;
mod message;
pub mod offsets;
mod partitioner;
mod parts;
mod place;
mod placed;
mod publisher;
mod reader;
mod registry;
mod settings;
mod transaction;
mod windows;

pub use client::connect_check;
pub use error::{KafkaError, RecordError};
pub use group::{Assignment, GroupEvent, GroupMember};
pub use headwater_schemas::place::{Offset, Partition};
pub use lag::{MemberState, Reading};
pub use message::Message;
pub use partitioner::partition_of;
pub use parts::{Wanted, read_parts};
pub use place::{Commit, Kept, TopicPartition};
pub use placed::{Placed, Stretch, Stretches};
pub use publisher::{PublishError, Publisher, Tag};
pub use reader::{Next, Start, TopicReader};
pub use registry::{Registry, SchemaCache};
pub use settings::{KafkaSettings, Secret, Security};
pub use transaction::{NewRecord, Ticket, Transactions, TxnError};
pub use windows::{NextOfWindows, WindowReader};
