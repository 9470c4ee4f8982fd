//! Where a record stands: two numbers that must not be taken for each other, nor for a time.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The number of a partition of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
#[repr(transparent)]
pub struct Partition(pub i32);

/// The place of a record in its partition, or the place of the next one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
#[repr(transparent)]
pub struct Offset(pub i64);

impl Offset {
    /// Before the first record that a partition can have.
    pub const BEFORE_ALL: Offset = Offset(-1);
    /// Of the first record that a partition ever had.
    pub const FIRST: Offset = Offset(0);

    /// The place behind this one.
    pub fn next(self) -> Offset {
        Offset(self.0 + 1)
    }

    /// The place before this one.
    pub fn before(self) -> Offset {
        Offset(self.0 - 1)
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
