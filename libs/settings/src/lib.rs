//! One settings style for every program: a file, the environment and flags, from one table of keys.
//!
//! In: tables of [`Key`]s, arguments, environment variables. Out: checked values, or all problems at once, each with what to do.
//! The key `kafka.brokers` is `brokers` in the section `[kafka]` of the file, `HEADWATER_KAFKA_BROKERS` in the environment and
//! `--kafka-brokers` as a flag; a flag wins over the environment, and that over the file. Unknown keys are refused everywhere;
//! Kubernetes' links to Services ([`Values::ignored`]) are no keys.
//! Arguments and environment are parameters, so tests set neither.
#![deny(missing_docs)]

mod problems;
mod service_links;
mod sources;
mod userinfo;
mod values;

pub use problems::Problems;
pub use sources::{CONFIG_KEY, Environment, add_flags, from_matches, load, parse};
pub use userinfo::{Userinfo, take_userinfo};
pub use values::Values;

/// One setting of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// `section.name`.
    pub name: &'static str,
    /// Text of the value that holds if nothing else is given; none if the setting may be absent.
    pub default: Option<&'static str>,
    /// One sentence for `--help`.
    pub help: &'static str,
}

impl Key {
    /// A setting with a default.
    pub const fn new(name: &'static str, default: &'static str, help: &'static str) -> Key {
        Key { name, default: Some(default), help }
    }

    /// A setting that may be absent.
    pub const fn optional(name: &'static str, help: &'static str) -> Key {
        Key { name, default: None, help }
    }

    /// `--section-name`, without the dashes in front.
    pub fn flag(&self) -> String {
        self.name.replace(['.', '_'], "-")
    }

    /// `HEADWATER_SECTION_NAME`.
    pub fn variable(&self) -> String {
        format!("{VARIABLE_PREFIX}{}", self.name.replace('.', "_").to_uppercase())
    }
}

/// What all variables of the environment start with.
pub const VARIABLE_PREFIX: &str = "HEADWATER_";
