//! An ordered log of messages that wait to be sent: in memory, and on disk as soon as its owner says so.
//!
//! In: messages, acknowledgements. Out: the same messages in their order, also those of earlier runs of the program, and what was lost of
//! them. Promises: what was written survives the end of the process; what was handed over and not acknowledged is handed over by the next run,
//! in its order, and what was acknowledged is not, but for the last acknowledgements before a kill; bytes that were never written are not
//! taken for messages. Bounds: `memory_bytes_max`; `bytes_max` on disk, past which a message is refused, not an older one removed: a watermark that
//! is in the log already would vouch for it.
//!
//! It is our own since none of the crates that were looked at fits: `queue-file` keeps everything in one file that grows by doubling, reads
//! only from its front and gives up all of it at one damaged entry; `redb`, `fjall` and LMDB want a sync for each step that survives a
//! kill, or lose it, and do not bound their files; `mrecordlog` keeps all entries in memory; `yaque` and `okaywal` are not kept up.

mod folder;
pub mod frame;
mod log;
mod reader;
mod segment;
#[cfg(test)]
mod tests;

pub use frame::Entry;
pub use log::{Event, Handed, Options, Refused, Spool};
pub use segment::Writer;

/// Kinds of messages.
pub const KINDS: usize = 7;
