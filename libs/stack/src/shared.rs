//! One Kafka and one registry for all tests that do not harm them.
//!
//! In: the variables that `cargo xtask test` sets, or none. Out: addresses of what it started, or of what this process
//! starts for itself at the first question. Each test takes a topic prefix of its own: [`Shared::prefix`].
//!
//! Promise: nobody stops what is shared before its users have ended. A test that kills Kafka, fills its disk or counts all
//! of its topics starts a [`Stack`] of its own.

use std::collections::hash_map::RandomState;
use std::env;
use std::hash::BuildHasher as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::error::StackError;
use crate::stack::{Stack, StackOptions};

/// The user of the listener that asks for a password, and the password.
pub const SASL_USER: (&str, &str) = ("user", "right");

/// Where the shared systems are.
#[derive(Debug, Clone)]
pub struct Shared {
    /// For `bootstrap.servers`.
    pub brokers: String,
    /// The same brokers behind SASL PLAIN, which lets [`SASL_USER`] in.
    pub sasl_brokers: String,
    /// The root of the registry's Confluent API.
    pub registry_url: String,
}

/// How the shared stack is started, by whoever starts it.
pub fn options() -> StackOptions {
    StackOptions { sasl_users: vec![(SASL_USER.0.to_owned(), SASL_USER.1.to_owned())], ..StackOptions::default() }
}

impl Shared {
    /// The shared systems, which answer when this returns.
    ///
    /// # Errors
    /// If none are named in the variables, and none could be started.
    pub fn get() -> Result<Shared, StackError> {
        let named = |variable| env::var(variable).ok().filter(|text| !text.is_empty());
        if let (Some(brokers), Some(sasl_brokers), Some(registry_url)) =
            (named("TEST_KAFKA"), named("TEST_KAFKA_SASL"), named("TEST_REGISTRY"))
        {
            return Ok(Shared { brokers, sasl_brokers, registry_url });
        }
        // Never dropped: its children die with this process.
        static OWN: OnceLock<Result<Stack, String>> = OnceLock::new();
        let stack = OWN.get_or_init(|| Stack::start(options()).map_err(|error| error.to_string()));
        let stack = stack.as_ref().map_err(|error| StackError::Shared { detail: error.clone() })?;
        Ok(Shared {
            brokers: stack.bootstrap(),
            sasl_brokers: stack.kafka().sasl_bootstrap().unwrap_or_default(),
            registry_url: stack.registry().url(),
        })
    }

    /// A prefix for the topics of one test, different from that of every other test of this run. Tests in guests with another kernel use the
    /// same Kafka, and their processes have the same numbers: so it is drawn by lot.
    pub fn prefix(name: &str) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        static LOT: OnceLock<u32> = OnceLock::new();
        let lot = LOT.get_or_init(|| RandomState::new().hash_one(std::process::id()) as u32);
        format!("{name}-{lot:08x}-{}.", NUMBER.fetch_add(1, Ordering::Relaxed))
    }
}
