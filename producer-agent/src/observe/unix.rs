//! What is special of Unix sockets: they have a path instead of addresses, and their ends count for themselves.
//!
//! In: records of the probes. Out: the path as records spell it, whether it is one of the system's own, and what one end says of the other. Pure.

use headwater_probe_loader::types::{SocketRecord, flag, role};
pub use headwater_schemas::asked::UNIX as PREFIX;

use super::flow::tcp_state;

/// By these every service of a machine speaks with the system itself: its journal, its buses, its desktop.
const OF_THE_SYSTEM: [&str; 9] = [
    "/run/systemd/",
    "/run/dbus/",
    "/run/udev/",
    "/run/user/",
    "/var/run/dbus/",
    "/run/nscd/",
    "/var/run/nscd/",
    "/tmp/.X11-unix/",
    "@/tmp/.X11-unix/",
];
/// The same of paths of which only the end is known.
const ENDS_OF_THE_SYSTEM: [&str; 2] = ["/system_bus_socket", "/systemd/journal/stdout"];

pub fn is_one(socket: &SocketRecord) -> bool {
    i32::from(socket.family) == libc::AF_UNIX
}

/// The server's path; `...` stands for the beginning of one that is longer than what is told, `@` for the zero of an abstract name. What is no graphic ASCII is `?`.
pub fn path(socket: &SocketRecord) -> String {
    let told: Vec<u8> = socket.local_address.into_iter().chain(socket.remote_address).collect();
    let told = &told[..told.len().min(socket.local_port.into())];
    let is_cut = socket.remote_port > socket.local_port;
    let mut path = if is_cut { "...".to_owned() } else { String::new() };
    let (is_abstract, name) = match told {
        [0, name @ ..] if !is_cut => (true, name),
        name => (false, name.strip_suffix(&[0]).unwrap_or(name)),
    };
    if is_abstract {
        path.push('@');
    }
    path.extend(name.iter().map(|byte| if byte.is_ascii_graphic() { char::from(*byte) } else { '?' }));
    path
}

/// Whether it is left out of the capture.
pub fn is_of_the_system(path: &str) -> bool {
    OF_THE_SYSTEM.iter().any(|start| path.starts_with(start))
        || ENDS_OF_THE_SYSTEM.iter().any(|end| path.ends_with(end))
}

/// What the end that was told of says of the other one: a program that read its peer's end has read all that the peer wrote, and the peer has let go of
/// its socket. None if the peer may go on.
pub fn other_end(socket: &SocketRecord) -> Option<SocketRecord> {
    let own_role = u32::from(socket.role);
    (socket.tcp_state == tcp_state::CLOSE_WAIT).then_some(SocketRecord {
        role: (if own_role == role::CLIENT { role::SERVER } else { role::CLIENT }) as u16,
        sent_bytes: socket.received_bytes,
        // Of what a peer left unread, nobody knows how much it was.
        received_bytes: if socket.error == 0 { socket.sent_bytes } else { 0 },
        tcp_state: tcp_state::FIN_WAIT2,
        // Whether the probes follow one end says nothing of the other.
        flags: socket.flags & !flag::COUNTED,
        ..*socket
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::tests::socket;

    fn with_path(told: &[u8], length: u16) -> SocketRecord {
        let mut bytes = [0; 32];
        bytes[..told.len()].copy_from_slice(told);
        let (mut local_address, mut remote_address) = ([0; 16], [0; 16]);
        local_address.copy_from_slice(&bytes[..16]);
        remote_address.copy_from_slice(&bytes[16..]);
        let family = libc::AF_UNIX as u16;
        SocketRecord {
            family,
            local_address,
            remote_address,
            local_port: told.len() as u16,
            remote_port: length,
            ..socket(role::CLIENT, 7, 0, 0)
        }
    }

    #[test]
    fn paths_are_words_whatever_they_hold() {
        assert_eq!(path(&with_path(b"/run/app.sock\0", 14)), "/run/app.sock");
        assert_eq!(path(&with_path(b"\0headwater 7", 12)), "@headwater?7");
        assert_eq!(path(&with_path(b"a\xc3\xa9 b\n", 6)), "a???b?");
        let long = b"ry/long/way/to/a/socket/app.sock";
        assert_eq!(path(&with_path(long, 70)), "...ry/long/way/to/a/socket/app.sock");
        assert_eq!(path(&with_path(b"", 0)), "");
    }

    #[test]
    fn the_systems_own_are_known() {
        for path in
            ["/run/systemd/journal/stdout", "/run/dbus/system_bus_socket", "...x/root/run/dbus/system_bus_socket"]
        {
            assert!(is_of_the_system(path), "{path}");
        }
        for path in ["/run/postgresql/.s.PGSQL.5432", "@app", "...run/php/php8.2-fpm.sock", ""] {
            assert!(!is_of_the_system(path), "{path}");
        }
    }

    #[test]
    fn who_has_read_to_the_end_knows_what_the_other_one_moved() {
        let told = SocketRecord {
            role: role::SERVER as u16,
            sent_bytes: 7,
            received_bytes: 9,
            tcp_state: tcp_state::CLOSE_WAIT,
            ..socket(role::SERVER, 7, 0, 0)
        };
        let other = other_end(&told);
        let moved = other.map(|other| (u32::from(other.role), other.sent_bytes, other.received_bytes));
        assert_eq!(moved, Some((role::CLIENT, 9, 7)));
        assert!(other_end(&SocketRecord { tcp_state: tcp_state::FIN_WAIT1, ..told }).is_none());
    }
}
