//! Starts the systems that Headwater stands on: a real Apache Kafka and a real Apicurio registry.
//!
//! In: [`StackOptions`] (where the data goes, which ports, how many brokers). Out: a [`Stack`] whose children answer
//! requests from the moment that it is returned. `headwater up` and every test that needs Kafka use it.
//!
//! Promises: what runs is byte for byte what `maven/sha256sums` lists; dropping a [`Stack`] stops its children, and
//! they die with this process however it ends; nothing else is ever stopped. Bounds: each wait has a deadline, the
//! heaps and the log files have a largest size, and every address is on the loopback interface.
//!
//! This is the only crate that starts Kafka, the registry, Maven or a container engine. All of it blocks.
#![deny(missing_docs)]

mod artifacts;
mod checksums;
mod child;
mod credentials;
mod disk;
mod docker;
mod error;
mod java;
mod kafka;
mod kafka_config;
mod kafka_probe;
mod ports;
mod progress;
mod registry;
mod services;
pub mod shared;
mod stack;
mod workspace;

pub use artifacts::Artifacts;
pub use credentials::Credentials;
pub use error::StackError;
pub use kafka::KafkaNode;
pub use progress::Progress;
pub use registry::Registry;
pub use services::{Origin, Plan, Services, Wanted};
pub use stack::{Stack, StackOptions};
