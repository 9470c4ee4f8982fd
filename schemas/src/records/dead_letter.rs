use serde::{Deserialize, Serialize};

/// A record that could not be read. See `avro/dead_letter.avsc`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter<'a> {
    /// Topic that the record is in, prefix included.
    pub topic: &'a str,
    /// Partition of that topic.
    pub partition: i32,
    /// Offset in that partition.
    pub offset: i64,
    /// Why it could not be read.
    pub error: &'a str,
    /// The processor that could not read it.
    pub read_by: &'a str,
    /// The original value, cut at [`DeadLetter::VALUE_BYTES_MAX`].
    #[serde(with = "serde_bytes")]
    pub value: &'a [u8],
    /// Length of the whole value, in bytes.
    pub value_bytes: i64,
}

record!(DeadLetter<'_>, "DeadLetter", "dead_letter");

impl DeadLetter<'_> {
    /// Longer values are cut here.
    pub const VALUE_BYTES_MAX: usize = 64 * 1024;
}
