use serde::{Deserialize, Serialize};

/// A record that could not be read. See `avro/dead_letter.avsc`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub offset: i64,
    pub error: &'a str,
    pub read_by: &'a str,
    #[serde(with = "serde_bytes")]
    pub value: &'a [u8],
    pub value_bytes: i64,
}

record!(DeadLetter<'_>, "DeadLetter", "dead_letter");

impl DeadLetter<'_> {
    /// Longer values are cut here.
    pub const VALUE_BYTES_MAX: usize = 64 * 1024;
}
