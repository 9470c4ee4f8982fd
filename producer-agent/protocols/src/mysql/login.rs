//! The beginning of a connection: what the server's greeting and the client's answer agree upon.

use super::packet::Packet;
use crate::choice::Verdict;

/// What both sides can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Capabilities(u64);

/// Not set by MariaDB, which says more in bytes that are left free.
const OF_MYSQL: u64 = 1;
const CONNECT_WITH_DB: u64 = 1 << 3;
const COMPRESS: u64 = 1 << 5;
const PROTOCOL_41: u64 = 1 << 9;
const SSL: u64 = 1 << 11;
const SECURE_CONNECTION: u64 = 1 << 15;
const MULTI_STATEMENTS: u64 = 1 << 16;
const SECRET_OF_ANY_LENGTH: u64 = 1 << 21;
const DEPRECATE_EOF: u64 = 1 << 24;
const COMPRESS_ZSTD: u64 = 1 << 26;
const QUERY_ATTRIBUTES: u64 = 1 << 27;
const CACHES_METADATA: u64 = 1 << 36;

/// The version of the handshake.
const VERSION: u8 = 10;
/// The server's version is not longer than this.
const SERVER_VERSION_BYTES_MAX: usize = 100;
/// Capabilities, the largest packet, the character set, and bytes that are left free.
const FIXED_LOGIN_BYTES: usize = 32;
/// Numbers of the server's errors.
const ERRORS: std::ops::RangeInclusive<u16> = 1000..=4999;

/// What the client's first packet asks for.
pub(super) enum Login {
    Plain(Capabilities),
    Encrypted,
    /// Of the protocol before version 4.1 of MySQL, or none at all.
    Foreign,
}

impl Capabilities {
    fn has(self, capability: u64) -> bool {
        self.0 & capability != 0
    }

    /// The client's first packet says which database it wants.
    pub fn names_database(self) -> bool {
        self.has(CONNECT_WITH_DB)
    }

    /// What proves who the user is says how long it is.
    pub fn counts_secret(self) -> bool {
        self.has(SECURE_CONNECTION | SECRET_OF_ANY_LENGTH)
    }

    pub fn has_multi_statements(self) -> bool {
        self.has(MULTI_STATEMENTS)
    }

    pub fn compresses(self) -> bool {
        self.has(COMPRESS | COMPRESS_ZSTD)
    }

    /// No packet of its own ends the definitions of columns.
    pub fn deprecates_eof(self) -> bool {
        self.has(DEPRECATE_EOF)
    }

    pub fn has_query_attributes(self) -> bool {
        self.has(QUERY_ATTRIBUTES)
    }

    /// The number of columns is followed by whether their definitions follow.
    pub fn caches_metadata(self) -> bool {
        self.has(CACHES_METADATA)
    }
}

/// Reads the server's greeting.
pub(super) fn greeting(packet: &Packet<'_>) -> Option<Capabilities> {
    let (version, rest) = packet.head.split_first()?;
    let end = memchr::memchr(0, rest).filter(|end| *end <= SERVER_VERSION_BYTES_MAX)?;
    if *version != VERSION || packet.sequence != 0 {
        return None;
    }
    // Behind the version: the thread (4), salt (9), capabilities (2), character set (1), status (2), capabilities (2).
    let rest = &rest[end + 1..];
    let low = rest.get(13..15).map(|bytes| u64::from(bytes[0]) | u64::from(bytes[1]) << 8)?;
    let high = rest.get(18..20).map_or(0, |bytes| u64::from(bytes[0]) << 16 | u64::from(bytes[1]) << 24);
    let extended = match rest.get(27..31) {
        Some(bytes) if low & OF_MYSQL == 0 => word(bytes) << 32,
        _ => 0,
    };
    Some(Capabilities(low | high | extended))
}

/// Reads the client's first packet.
pub(super) fn login(packet: &Packet<'_>, server: Capabilities) -> Login {
    let Some(fixed) = packet.head.get(..FIXED_LOGIN_BYTES) else { return Login::Foreign };
    let low = word(&fixed[..4]);
    let extended = if low & OF_MYSQL == 0 { word(&fixed[28..]) << 32 } else { 0 };
    if packet.sequence != 1 || low & PROTOCOL_41 == 0 {
        Login::Foreign
    } else if low & SSL != 0 && packet.length == FIXED_LOGIN_BYTES as u64 {
        Login::Encrypted
    } else {
        Login::Plain(Capabilities((low | extended) & server.0))
    }
}

fn word(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// Whether a server's first bytes are a greeting, or an error that comes in its place.
pub(super) fn judge_greeting(bytes: &[u8]) -> Verdict {
    let Some(([low, middle, high, sequence], body)) = bytes.split_first_chunk::<4>() else {
        // Longer greetings than of 64 KiB there are none.
        return if bytes.get(2).is_none_or(|high| *high == 0) { Verdict::Maybe } else { Verdict::No };
    };
    let length = u32::from_le_bytes([*low, *middle, *high, 0]) as usize;
    if *high != 0 || *sequence != 0 || length < 3 || body.len() > length {
        return Verdict::No;
    }
    let is_text = |bytes: &[u8]| bytes.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
    match body {
        [] => Verdict::Maybe,
        [VERSION, rest @ ..] => match memchr::memchr(0, rest) {
            Some(end) if end > 0 && end <= SERVER_VERSION_BYTES_MAX && is_text(&rest[..end]) => Verdict::Yes,
            None if rest.len() <= SERVER_VERSION_BYTES_MAX && is_text(rest) => Verdict::Maybe,
            _ => Verdict::No,
        },
        [0xff, low, high, text @ ..] if ERRORS.contains(&u16::from_le_bytes([*low, *high])) => {
            let is_enough = text.len() >= 8 || body.len() == length;
            match (is_text(&text[..text.len().min(8)]), is_enough) {
                (true, true) => Verdict::Yes,
                (true, false) => Verdict::Maybe,
                (false, _) => Verdict::No,
            }
        }
        [0xff] | [0xff, _] => Verdict::Maybe,
        _ => Verdict::No,
    }
}
