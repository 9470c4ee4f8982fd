//! How much the probes tell of.

/// Nothing: some programs are not in place yet, or user space reads no more.
pub const NOTHING: u32 = 0;
/// Only the ends of connections that were told of before, with all that they moved: user space is about to go.
pub const ENDS: u32 = 1;
/// Everything.
pub const ALL: u32 = 2;
/// The same, and the first walk over all sockets is still to come or under way: what it finds was there before.
pub const BEGINS: u32 = 3;
