//! Tells from the first bytes of a turn whether they look like a request of HTTP/1 or a command of Redis, whose heads user space would ask for
//! too late.
//!
//! In: the first bytes that a client sends in a turn, in any pieces. Out: yes, no, or more bytes needed. It only decides how many
//! bytes are copied; the parser in user space decides what they are, and what is copied from then on. Bounded: 8 bytes are kept.

/// The first bytes of a turn, collected over its calls.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Byte 0 is the lowest; bytes not seen yet are 0.
    pub bytes: u64,
    pub len: u32,
    pub reserved: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Yes,
    No,
    MoreNeeded,
}

impl Head {
    pub const BYTES_MAX: u32 = 8;

    /// Adds the next bytes of the turn: `next` holds `count` of them (8 at most matter), the first one lowest.
    #[inline(always)]
    pub fn push(&mut self, next: u64, count: u32) {
        let len = self.len;
        if len >= Self::BYTES_MAX || count == 0 {
            return;
        }
        let count = if count > Self::BYTES_MAX { Self::BYTES_MAX } else { count };
        let next = if count >= 8 { next } else { next & ((1 << (count * 8)) - 1) };
        self.bytes |= next << (len * 8);
        let sum = len + count;
        self.len = if sum > Self::BYTES_MAX { Self::BYTES_MAX } else { sum };
    }

    /// Whether this may be the start of an HTTP/1 request: letters, `-` or `_`, and a space. Other methods (RFC 9110 section 9.1 allows
    /// any token) are found by user space, in the first bytes of the connection.
    #[inline(always)]
    pub fn http1_request(&self) -> Verdict {
        // A client may send empty lines before the request line (RFC 9112 section 2.2).
        let mut head = *self;
        if head.len >= 2 && head.bytes & 0xffff == u16::from_le_bytes(*b"\r\n") as u64 {
            head.bytes >>= 16;
            head.len -= 2;
        }
        for i in 0..Self::BYTES_MAX {
            if i >= head.len {
                return Verdict::MoreNeeded;
            }
            match (head.bytes >> (8 * i)) as u8 {
                b' ' if i > 0 => return Verdict::Yes,
                b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'_' => {}
                _ => return Verdict::No,
            }
        }
        // A longer method, as far as it is kept.
        Verdict::Yes
    }
}

/// What is looked at in the head of the SETTINGS with which a server begins (RFC 9113, 6.5), and what it must be; its length may be any.
const SETTINGS: (u64, u64) = (0xffff_ffff_ff00_00ff, 4 << 24);

impl Head {
    /// Whether this is how a client of HTTP/2 begins.
    #[inline(always)]
    pub fn http2_preface(&self) -> bool {
        self.bytes == u64::from_le_bytes(*b"PRI * HT")
    }

    /// Whether this is how a server of HTTP/2 begins.
    #[inline(always)]
    pub fn http2_settings(first: u64) -> bool {
        first & SETTINGS.0 == SETTINGS.1
    }
}

/// How an array of strings begins whose number has one, two or three digits: what is looked at, and what it must be.
const ARRAYS: [(u64, u64); 3] = [
    (0x0000_00ff_ffff_00ff, u64::from_le_bytes(*b"*\0\r\n$\0\0\0")),
    (0x0000_ffff_ff00_00ff, u64::from_le_bytes(*b"*\0\0\r\n$\0\0")),
    (0x00ff_ffff_0000_00ff, u64::from_le_bytes(*b"*\0\0\0\r\n$\0")),
];

impl Head {
    /// Whether this is the start of an array of up to 999 strings, as commands of Redis are sent.
    #[inline(always)]
    pub fn redis_command(&self) -> bool {
        let is = |(mask, text): (u64, u64)| self.bytes & mask == text;
        is(ARRAYS[0]) | is(ARRAYS[1]) | is(ARRAYS[2])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(pieces: &[&[u8]]) -> Head {
        let mut head = Head::default();
        for piece in pieces {
            let mut first = [0xaa; 8];
            let n = piece.len().min(8);
            first[..n].copy_from_slice(&piece[..n]);
            head.push(u64::from_le_bytes(first), piece.len() as u32);
        }
        head
    }

    #[test]
    fn every_method_is_known_in_any_pieces() {
        for method in ["GET", "DELETE", "OPTIONS", "PURGE", "PROPFIND", "UNSUBSCRIBE", "M-SEARCH"] {
            let line = format!("{method} /path HTTP/1.1\r\n");
            let line = line.as_bytes();
            assert_eq!(head(&[line]).http1_request(), Verdict::Yes, "{method}");
            for cut in 1..line.len() {
                let (left, right) = line.split_at(cut);
                assert_ne!(head(&[left]).http1_request(), Verdict::No, "{method} cut at {cut}");
                assert_eq!(head(&[left, right]).http1_request(), Verdict::Yes, "{method} cut at {cut}");
            }
            let bytes: Vec<&[u8]> = line.chunks(1).collect();
            assert_eq!(head(&bytes).http1_request(), Verdict::Yes, "{method} byte by byte");
        }
        assert_eq!(head(&[b"\r\nGET / HTTP/1.1"]).http1_request(), Verdict::Yes);
    }

    #[test]
    fn commands_of_redis_are_known() {
        for bytes in [b"*1\r\n$4\r\nPING\r\n" as &[u8], b"*12\r\n$3\r\nDEL", b"*100\r\n$3\r\nDEL"] {
            assert!(head(&[bytes]).redis_command());
            assert!(head(&[&bytes[..3], &bytes[3..]]).redis_command());
        }
        for bytes in [b"*1\r\n" as &[u8], b"*1\r\n+OK\r\n", b"GET / HTTP/1.1", b"*1000\r\n$3", b""] {
            assert!(!head(&[bytes]).redis_command(), "{bytes:?}");
        }
    }

    #[test]
    fn other_protocols_are_refused() {
        for bytes in [
            b"*1\r\n$4\r\nPING" as &[u8],
            b"\x16\x03\x01\x02\x00",
            b"Q\0\0\0\x0dSELECT",
            b"SSH-2.0-x",
            b" GET / HTTP/1.1",
        ] {
            assert_eq!(head(&[bytes]).http1_request(), Verdict::No, "{bytes:?}");
        }
        assert_eq!(head(&[]).http1_request(), Verdict::MoreNeeded);
    }
}
