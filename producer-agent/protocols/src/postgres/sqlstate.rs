//! Whose fault an error is, by its SQLSTATE (PostgreSQL's appendix A).
//!
//! The server's own: it cannot be reached or is shutting down (08, 57), has no room (53), met a bound of its own (54), or is broken (58,
//! XX, F0, 38, 39, 72, HV: parts that it calls upon). All else is the asker's: what was asked for cannot be had, also where asking again
//! may help (40, a conflict of transactions; 55, a lock that another holds) and where the transaction does not allow it (25). Codes that a
//! schema's own functions raise are answers to what was asked, so they count as the asker's, too.
//!
//! What the code does not tell: 57014 is a statement's time-out as well as a cancel that the client asked for. It counts as the server's.

use crate::Outcome;

const SERVER_CLASSES: [&[u8]; 11] = [b"08", b"53", b"54", b"57", b"58", b"XX", b"F0", b"38", b"39", b"72", b"HV"];
/// Codes that differ from the rest of their class.
const OF_CLIENT: [&[u8]; 1] = [b"08P01"];
const OF_SERVER: [&[u8]; 1] = [b"40003"];

pub(super) fn outcome(code: &[u8]) -> Outcome {
    let of_server = SERVER_CLASSES.iter().any(|class| code.starts_with(class));
    if OF_SERVER.contains(&code) || (of_server && !OF_CLIENT.contains(&code)) {
        Outcome::ServerError
    } else {
        Outcome::ClientError
    }
}
