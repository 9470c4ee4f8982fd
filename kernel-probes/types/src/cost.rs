//! What the probes' programs cost, as they measure it themselves.

/// Indices of the programs; of calls, those of which nothing was told.
pub const SEND: u32 = 0;
pub const RECEIVE: u32 = 1;
/// Changes of sockets' states, and the end of sockets.
pub const STATE: u32 = 2;

/// Calls, of both directions, of which user space was told.
pub const TELL: u32 = 3;

/// Beginnings of programs, and ends of threads.
pub const LIFE: u32 = 4;

pub const PROGRAMS: usize = 5;

/// Names for metrics, in order.
pub const NAMES: [&str; PROGRAMS] = ["send", "receive", "state", "tell", "life"];

/// Names for counters of microseconds, in order.
pub const COUNTERS: [&str; PROGRAMS] =
    ["probe_send_us", "probe_receive_us", "probe_state_us", "probe_tell_us", "probe_life_us"];

/// The runs of one program that were measured.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    pub runs: u64,
    pub time_ns: u64,
}
