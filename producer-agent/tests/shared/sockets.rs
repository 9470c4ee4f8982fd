//! Sockets as a walk finds them.

use headwater_probe_loader::types::{SocketRecord, flag};

/// One end of an established connection on this machine, of a program without a process.
pub fn socket(connection_id: u64, role: u32) -> SocketRecord {
    let mut address = [0; 16];
    address[..4].copy_from_slice(&[127, 0, 0, 1]);
    SocketRecord {
        connection_id,
        at_ns: 9_000,
        opened_at_ns: 500,
        cgroup_id: connection_id % 4,
        process_started_ns: 1,
        sent_bytes: 0,
        received_bytes: 0,
        sent_before_bytes: 0,
        received_before_bytes: 0,
        local_address: address,
        remote_address: address,
        program: *b"shop\0\0\0\0\0\0\0\0\0\0\0\0",
        local_port: 40_000,
        remote_port: 8_080,
        family: libc::AF_INET as u16,
        role: role as u16,
        flags: flag::ESTABLISHED,
        pid: u32::MAX,
        tcp_state: 1,
        error: 0,
        retransmits: 0,
        rtt_us: 10,
        rtt_min_us: 5,
        connect_us: 0,
        exec: 1,
        cgroup_hierarchy: 0,
    }
}
