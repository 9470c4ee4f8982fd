//! Tells from the first bytes of a turn whether they may start a request of a protocol that the agent understands.
//!
//! In: the first bytes that a client sends in a turn, in any pieces. Out: yes, no, or more bytes needed. It only decides which
//! sockets' bytes are copied; the parser in user space decides what they are. Bounded: 8 bytes are kept.

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

    /// Whether this may be the start of an HTTP/1 request: a method of RFC 9110 section 9 or RFC 5789 and a space.
    #[inline(always)]
    pub fn http1_request(&self) -> Verdict {
        // A client may send empty lines before the request line (RFC 9112 section 2.2).
        let mut head = *self;
        if head.len >= 2 && head.bytes & 0xffff == u16::from_le_bytes(*b"\r\n") as u64 {
            head.bytes >>= 16;
            head.len -= 2;
        }
        let mut verdict = Verdict::No;
        verdict = verdict.or(head.starts_with(*b"GET \0\0\0\0", 4));
        verdict = verdict.or(head.starts_with(*b"POST \0\0\0", 5));
        verdict = verdict.or(head.starts_with(*b"PUT \0\0\0\0", 4));
        verdict = verdict.or(head.starts_with(*b"HEAD \0\0\0", 5));
        verdict = verdict.or(head.starts_with(*b"DELETE \0", 6));
        verdict = verdict.or(head.starts_with(*b"PATCH \0\0", 6));
        verdict = verdict.or(head.starts_with(*b"OPTIONS ", 6));
        verdict = verdict.or(head.starts_with(*b"CONNECT ", 6));
        verdict.or(head.starts_with(*b"TRACE \0\0", 6))
    }

    /// Compares the first `want_len` bytes, or as many as there are.
    #[inline(always)]
    fn starts_with(&self, want: [u8; 8], want_len: u32) -> Verdict {
        let len = if self.len < want_len { self.len } else { want_len };
        if len == 0 {
            return Verdict::MoreNeeded;
        }
        let mask = u64::MAX >> (64 - len * 8);
        if (self.bytes ^ u64::from_le_bytes(want)) & mask != 0 {
            Verdict::No
        } else if len == want_len {
            Verdict::Yes
        } else {
            Verdict::MoreNeeded
        }
    }
}

impl Verdict {
    #[inline(always)]
    fn or(self, other: Verdict) -> Verdict {
        match (self, other) {
            (Verdict::Yes, _) | (_, Verdict::Yes) => Verdict::Yes,
            (Verdict::MoreNeeded, _) | (_, Verdict::MoreNeeded) => Verdict::MoreNeeded,
            _ => Verdict::No,
        }
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
        for method in ["GET", "POST", "PUT", "HEAD", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE"] {
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
    fn other_protocols_are_refused() {
        for bytes in [
            b"*1\r\n$4\r\nPING" as &[u8],
            b"\x16\x03\x01\x02\x00",
            b"Q\0\0\0\x0dSELECT",
            b"GETRANGE k 0 1",
            b"POSTGRES",
        ] {
            assert_eq!(head(&[bytes]).http1_request(), Verdict::No, "{bytes:?}");
        }
        assert_eq!(head(&[]).http1_request(), Verdict::MoreNeeded);
    }
}
