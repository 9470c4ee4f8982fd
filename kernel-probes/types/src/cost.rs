//! What the probes' programs cost, as they measure it themselves.

/// Indices of the programs.
pub const SEND: u32 = 0;
pub const RECEIVE: u32 = 1;
/// Changes of sockets' states, and the end of sockets.
pub const STATE: u32 = 2;

pub const PROGRAMS: usize = 3;

/// Names for metrics, in order.
pub const NAMES: [&str; PROGRAMS] = ["send", "receive", "state"];

/// Names for counters of microseconds, in order.
pub const COUNTERS: [&str; PROGRAMS] = ["probe_send_us", "probe_receive_us", "probe_state_us"];

/// The runs of one program that were measured.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    pub runs: u64,
    pub time_ns: u64,
}
