//! What an error packet says, and whose fault it is.
//!
//! Most of MySQL's errors share one SQLSTATE (`HY000`), so its own numbers decide. The server's: it cannot be reached or is shutting down,
//! has no room, met a bound of its own, takes no writes, or is broken. All else is the asker's: what was asked for cannot be had, also where
//! asking again may help (1213, a deadlock; 1205, a lock that another holds).
//!
//! What the number does not tell: 1317 is a query that somebody killed, and 1969 and 3024 one that met a time-out that may be the
//! client's own. They count as the server's, like a cancel of PostgreSQL.

use crate::{Code, Outcome};

const OF_SERVER: [u16; 56] = [
    // Files and tables that are broken or full, memory.
    1016, 1020, 1021, 1023, 1024, 1026, 1030, 1034, 1035, 1037, 1038, 1041, 1105, 1114, 1135, 1194, 1195, 1296, 1297,
    // Connections beyond a bound, the end of the server or of the session.
    1040, 1042, 1047, 1053, 1077, 1078, 1079, 1080, 1152, 1158, 1159, 1160, 1161, 1184, 1203, 1226, 1927, 4031,
    // It takes no writes.
    1290, 1836, 3100, 3101, // Interrupted.
    1028, 1317, 1907, 1969, 3024, 3168, 3169,
    // Servers that it calls upon, logs, replication, and parts that failed.
    1218, 1236, 1257, 1401, 1429, 1430, 1593, 1598,
];
/// The code of a report of progress, which MariaDB sends as an error that is none.
const PROGRESS: u16 = 0xffff;
const STATE_BYTES: usize = 5;

/// What an error packet says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Report {
    Progress,
    Failure(Code, Outcome),
    /// Too little of it was captured.
    Unseen,
}

/// Reads a packet that begins with 0xff.
pub(super) fn read(head: &[u8]) -> Report {
    let Some(([_, low, high], rest)) = head.split_first_chunk::<3>() else { return Report::Unseen };
    let number = u16::from_le_bytes([*low, *high]);
    if number == PROGRESS {
        return Report::Progress;
    }
    let state = rest
        .strip_prefix(b"#")
        .and_then(|rest| rest.get(..STATE_BYTES))
        .filter(|state| state.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()));
    let mut code = number.to_string().into_bytes();
    if let Some(state) = state {
        code.push(b'/');
        code.extend_from_slice(state);
    }
    let outcome = if OF_SERVER.contains(&number) { Outcome::ServerError } else { Outcome::ClientError };
    Report::Failure(Code::new(&code), outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_the_number_and_the_state_and_whose_fault_it_is() {
        for (packet, code, outcome) in [
            (&b"\xff\x7a\x04#42S02Table 'x' doesn't exist"[..], "1146/42S02", Outcome::ClientError),
            (b"\xff\xbd\x04#40001Deadlock found", "1213/40001", Outcome::ClientError),
            (b"\xff\x10\x04Too many connections", "1040", Outcome::ServerError),
            (b"\xff\x10\x04#08004Too many connections", "1040/08004", Outcome::ServerError),
            (b"\xff\x25\x05#70100Query execution was interrupted", "1317/70100", Outcome::ServerError),
            (b"\xff\x7a\x04#hunter2", "1146", Outcome::ClientError),
            (b"\xff\x7a\x04", "1146", Outcome::ClientError),
        ] {
            assert_eq!(read(packet), Report::Failure(Code::new(code.as_bytes()), outcome));
        }
        assert_eq!(read(b"\xff\xff\xff\x01\x01\x02"), Report::Progress);
        assert_eq!(read(b"\xff\x7a"), Report::Unseen);
    }
}
