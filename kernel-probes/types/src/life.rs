//! What happens to processes as a whole: they begin another program, end, listen on a socket and stop doing so.

/// What happened: [`LifeEvent::what`].
pub mod what {
    /// A process has begun another program.
    pub const EXEC: u32 = 1;
    /// The last thread of a process ends.
    pub const EXIT: u32 = 2;
    /// The same, since the kernel killed the process for want of memory.
    pub const OOM_KILL: u32 = 3;
    /// A process begins to listen on a socket.
    pub const LISTEN: u32 = 4;
    /// Nobody listens any more on a socket of which [`LISTEN`] or [`LISTENING`] was told. The process is the one that had begun to listen.
    pub const LISTEN_END: u32 = 5;
    /// A process was found to listen on a socket; that it began was not seen.
    pub const LISTENING: u32 = 6;
}

/// Something happened to a process, which is told by the first thread's words.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct LifeEvent {
    pub kind: u32,
    /// See [`what`].
    pub what: u32,
    /// CLOCK_MONOTONIC.
    pub at_ns: u64,
    /// Start of the process since boot; with the pid it names the process.
    pub process_started_ns: u64,
    /// How long the process had lived, time in suspension included.
    pub lived_ns: u64,
    pub cgroup_id: u64,
    /// Address that is listened on; of IPv4, the first four bytes.
    pub local_address: [u8; 16],
    /// File name of the executable without its folders, ended by a zero; empty where the process has given its memory back already.
    pub executable: [u8; 64],
    /// Name of the first thread (comm), ended by a zero.
    pub program: [u8; 16],
    pub pid: u32,
    /// See [`crate::ProcessEvent::exec`].
    pub exec: u32,
    pub cgroup_hierarchy: u32,
    /// How it ended, as wait(2) gives it.
    pub status: u32,
    pub local_port: u16,
    /// AF_INET or AF_INET6; 0 where nothing is listened on.
    pub family: u16,
    pub reserved: u32,
}

const _: () = assert!(size_of::<LifeEvent>() == 160);

/// The signal that ended a process; 0 if it ended by itself.
#[inline(always)]
pub fn signal(status: u32) -> u32 {
    status & 0x7f
}

/// What a process said at its end, if no signal ended it.
#[inline(always)]
pub fn exit_code(status: u32) -> u32 {
    (status >> 8) & 0xff
}

/// How many events of processes of one cgroup were told within the current second. Zeroes at first.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Rate {
    pub second: u64,
    pub told: u64,
}

impl Rate {
    /// Whether one more may be told, of so many in a second. Half of them are for what is rare and matters most, such as crashes: programs that begin
    /// and end in order leave it alone.
    #[inline(always)]
    pub fn admit(&mut self, second: u64, per_second_max: u32, is_ordinary: bool) -> bool {
        if self.second != second {
            self.second = second;
            self.told = 0;
        }
        let most = if is_ordinary { per_second_max as u64 / 2 } else { per_second_max as u64 };
        if self.told >= most {
            return false;
        }
        self.told += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_events_leave_half_of_each_second_to_the_others() {
        let mut rate = Rate::default();
        let mut told = |second, is_ordinary, count| (0..count).filter(|_| rate.admit(second, 10, is_ordinary)).count();
        for second in [0, 1, 7] {
            assert_eq!((told(second, true, 100), told(second, false, 100), told(second, true, 1)), (5, 5, 0));
        }
        assert_eq!((told(8, false, 3), told(8, true, 100), told(8, false, 100)), (3, 2, 5));
    }

    #[test]
    fn an_end_is_read_as_wait_gives_it() {
        assert_eq!((signal(3 << 8), exit_code(3 << 8)), (0, 3));
        // With a core dump.
        assert_eq!((signal(0x8b), exit_code(0x8b)), (11, 0));
    }
}
