//! Where on the wire the bytes lie that a client's library of TLS encrypts, or a server's decrypts: the record that holds a byte, and where it is in there.
//! Both ends of a connection find the same, also where one is looked at later than the other.
//!
//! In: the headers of the client's records, as its end sends or the server's receives them; how many bytes each call of the library moved, and what the
//! call moved on the wire. Out: the place of a byte, or none. Promise: a place that is given is right, as long as a library of OpenSSL's habits does what it
//! says here:
//!
//! - What one call encrypts goes into records of its own, and all of these are sent between its entry and its return, or the entries of the calls before
//!   it that failed. A record is longer than what it holds by a number that the cipher decides (RFC 8446, 5.2; RFC 5246, 6.2.3.3); so the lengths prove that
//!   these records hold these bytes, and how they are cut.
//! - What one call decrypts lies in one record. The library reads from the socket only when all records that it has whole are used up. So where a call has read
//!   from the socket, the record that it read is the next one; further ones that came with it follow, each proven by its length.
//! - A client's handshake of TLS 1.3 ends with one record of a length that the cipher decides (RFC 8446, 4.4.4).
//! - Where a program moves the bytes itself (memory BIOs), no call of the library moves any on the wire. Then what one call encrypts goes into the next records that are sent
//!   behind it, in the order of the calls and each as full as may be, and what one decrypts lies in the next record that was received before it; from the session's beginning on, since nothing else says where.
//!
//! Whatever does not prove itself has no place, and what comes behind it only from the next call on that has moved bytes on the wire. Bounds:
//! [`RECORDS_MAX`] records that wait for their call, [`GIVEN_MAX`] calls that wait for their records, [`PIECES_MAX`] runs of records of one length.

use std::collections::VecDeque;

use super::record::{Content, Header};
use crate::{Encryption, Position, Segment, Version};

/// Records whose bytes no call has told of yet: what a library reads ahead is less, and so is what a program does for it (64 KiB of small ones).
const RECORDS_MAX: usize = 1024;
/// Calls of a client whose program has not sent their records yet.
const GIVEN_MAX: usize = 1024;
const PIECES_MAX: usize = 256;

/// What a record has beside the bytes that it holds, by cipher, where the handshake was not seen: ChaCha20-Poly1305 of TLS 1.2, all common ones of TLS 1.3, GCM
/// of TLS 1.2.
const OVERHEADS: [u64; 3] = [16, 17, 24];

/// No record holds more (RFC 8446, 5.1).
const HELD_BYTES_MAX: u64 = 1 << 14;

const HEADER_BYTES: u64 = Header::BYTES as u64;

/// See the module.
#[derive(Debug)]
pub struct Places {
    /// Position of the next header, if that is known, and its first bytes.
    next: Option<u64>,
    header: [u8; Header::BYTES],
    header_bytes: u8,
    /// The handshake was seen from its beginning on, and is not over.
    is_in_handshake: bool,
    /// The first record that waits is the next that a call takes.
    is_certain: bool,
    /// All records from this position on are known, up to the newest; u64::MAX if none is.
    known_from: u64,
    waiting: VecDeque<Record>,
    /// Bytes that are left of the record that the call before took from.
    left: u64,
    overhead: Option<u64>,
    pieces: VecDeque<Piece>,
    /// Behind the bytes of the newest call.
    end: u64,
    /// Where that call began to move bytes: a long one is told of in parts, which say the same.
    from: Option<u64>,
    /// Where the call begins of which the records are not proven yet.
    begun: u64,
    /// It took less than the rest of its record, which is certain only if another part follows.
    is_cut: bool,
    /// Of a call whose records are still on their way: how many of its bytes these hold.
    on_its_way: u64,
    /// Of a client whose program moves the bytes itself: what calls were given whose records were not seen yet.
    given: VecDeque<Given>,
    is_carried: bool,
}

/// Bytes of one call whose records have not been seen.
#[derive(Clone, Copy, Debug)]
struct Given {
    start: u64,
    end: u64,
}

/// A record of data.
#[derive(Clone, Copy, Debug)]
struct Record {
    /// Position of its header.
    start: u64,
    /// Without the header.
    length: u64,
}

impl Record {
    fn end(&self) -> u64 {
        self.start.saturating_add(HEADER_BYTES + self.length)
    }
}

/// Records one behind the other that hold as many bytes each.
#[derive(Clone, Copy, Debug)]
struct Piece {
    /// Position of the first byte among those that are encrypted.
    plain: u64,
    /// Position of the first record.
    wire: u64,
    held_bytes: u64,
    record_bytes: u64,
    count: u64,
}

impl Piece {
    fn plain_end(&self) -> u64 {
        self.plain.saturating_add(self.held_bytes.saturating_mul(self.count))
    }

    fn find(&self, plain: u64) -> Option<u64> {
        let inside = plain.checked_sub(self.plain)?;
        let record = inside.checked_div(self.held_bytes)?;
        (record < self.count).then(|| self.wire + record * self.record_bytes + inside % self.held_bytes)
    }
}

/// What a call of the library moved.
#[derive(Clone, Copy, Debug)]
pub struct Moved {
    /// Position among the bytes that are encrypted.
    pub start: u64,
    pub bytes: u64,
    /// Where on the wire this call, or those before it that failed, began to move bytes.
    pub from: Option<u64>,
    /// It moved as many as were asked for.
    pub is_full: bool,
    /// This is all of the call; otherwise, it may be a part.
    pub is_whole: bool,
}

impl Places {
    /// `start`: where the client's handshake begins, if what comes first of the wire is that.
    pub fn new(start: Option<u64>) -> Self {
        let is_from_start = start.is_some();
        Self {
            next: start,
            header: [0; Header::BYTES],
            header_bytes: 0,
            is_in_handshake: is_from_start,
            is_certain: is_from_start,
            known_from: start.unwrap_or(u64::MAX),
            waiting: VecDeque::new(),
            left: 0,
            overhead: None,
            pieces: VecDeque::new(),
            end: 0,
            from: None,
            begun: 0,
            is_cut: false,
            on_its_way: 0,
            given: VecDeque::new(),
            is_carried: false,
        }
    }

    /// Bytes that the client's end sent, or the server's received: at least the headers of records are captured.
    pub fn wire(&mut self, segment: &Segment<'_>, facts: Option<&Encryption>) {
        let (start, end) = (segment.position.0, segment.position.saturating_add(segment.length).0);
        if self.next.is_none_or(|next| next.saturating_add(self.header_bytes.into()) < start) {
            self.lose();
            self.next = Some(start);
        }
        while let Some(next) = self.next {
            let at = next.saturating_add(self.header_bytes.into());
            if at >= end {
                return;
            }
            let inside = usize::try_from(at.saturating_sub(start)).unwrap_or(usize::MAX);
            // Its header may come by itself. If it does not, what comes next is too far.
            let Some(byte) = segment.captured.get(inside) else { return };
            self.header[usize::from(self.header_bytes)] = *byte;
            self.header_bytes += 1;
            if usize::from(self.header_bytes) == Header::BYTES {
                self.header_bytes = 0;
                let Some(header) = Header::read(self.header) else { return self.lose() };
                let record = Record { start: next, length: header.length.into() };
                self.next = Some(record.end());
                self.known_from = self.known_from.min(next);
                self.record(record, header.content, facts);
            }
        }
    }

    fn record(&mut self, record: Record, content: Content, facts: Option<&Encryption>) {
        if content != Content::Data {
            return;
        }
        if self.is_in_handshake {
            match facts.and_then(|facts| facts.version) {
                Some(Version::Tls1_3) => {
                    self.is_in_handshake = facts.and_then(finished_bytes) != Some(record.length);
                    return;
                }
                Some(_) => self.is_in_handshake = false,
                // Data that are sent before the server has answered are encrypted otherwise.
                None => self.forget_records(),
            }
        }
        if self.waiting.len() == RECORDS_MAX {
            self.forget_records();
            self.known_from = record.start;
        }
        // What no call was given is the library's own word.
        if self.is_carried && self.given.is_empty() {
            return;
        }
        self.waiting.push_back(record);
        if self.on_its_way > 0 {
            self.prove(facts);
        }
        if self.is_carried {
            self.prove_given(facts);
        }
    }

    /// Where the next record begins is not known, nor what waits.
    fn lose(&mut self) {
        (self.next, self.header_bytes) = (None, 0);
        self.forget_records();
    }

    fn forget_records(&mut self) {
        self.waiting.clear();
        (self.is_certain, self.is_in_handshake, self.left, self.known_from) = (false, false, 0, u64::MAX);
        self.on_its_way = 0;
        self.given.clear();
    }

    /// The client's library was given these bytes, which its program will send.
    pub fn given(&mut self, moved: Moved, facts: Option<&Encryption>) {
        if self.given.is_empty() {
            self.waiting.clear();
        }
        self.is_carried = true;
        let is_next = moved.start == self.end;
        self.end = moved.start.saturating_add(moved.bytes);
        if !is_next || self.given.len() == GIVEN_MAX {
            // A call was missed.
            self.is_certain = false;
        }
        if !self.is_certain {
            return self.given.clear();
        }
        self.given.push_back(Given { start: moved.start, end: self.end });
        self.prove_given(facts);
    }

    /// The records that wait hold bytes of the first calls that were given some, as far as their lengths say so.
    fn prove_given(&mut self, facts: Option<&Encryption>) {
        while let (Some(record), Some(call)) = (self.waiting.front().copied(), self.given.front_mut()) {
            let left = call.end.saturating_sub(call.start);
            let whole = record.length.checked_sub(left.min(HELD_BYTES_MAX)).filter(|beside| OVERHEADS.contains(beside));
            let overhead = self.overhead.or_else(|| facts.and_then(overhead)).or(whole);
            let held_bytes = overhead.and_then(|overhead| record.length.checked_sub(overhead));
            let Some(held_bytes) = held_bytes.filter(|held_bytes| *held_bytes == left.min(HELD_BYTES_MAX)) else {
                // It is of something else, and so may be all that follows.
                self.is_certain = false;
                self.given.clear();
                self.waiting.clear();
                return;
            };
            self.overhead = overhead;
            let plain = call.start;
            call.start += held_bytes;
            if call.start == call.end {
                self.given.pop_front();
            }
            self.waiting.pop_front();
            self.push(plain, record, held_bytes);
        }
    }

    /// The client's library was given these bytes and begins to send them: further ones of its records may still come.
    pub fn begins(&mut self, moved: Moved, facts: Option<&Encryption>) {
        (self.begun, self.end, self.from) = (moved.start, moved.start.saturating_add(moved.bytes), moved.from);
        self.on_its_way = if moved.from.is_some() { moved.bytes } else { 0 };
        let from = moved.from.unwrap_or(u64::MAX);
        self.waiting.retain(|record| record.start >= from);
        self.prove(facts);
    }

    /// The records that wait hold bytes of the call that is on its way, as far as their lengths say so.
    fn prove(&mut self, facts: Option<&Encryption>) {
        let Some(overhead) = self.overhead.or_else(|| facts.and_then(overhead)) else {
            return self.prove_whole(facts);
        };
        while self.on_its_way > 0
            && let Some(record) = self.waiting.pop_front()
        {
            let held_bytes = record.length.checked_sub(overhead).filter(|held| (1..=self.on_its_way).contains(held));
            let Some(held_bytes) = held_bytes else {
                // It is of something else, and so may be what was taken for the call's.
                self.on_its_way = 0;
                return self.take_back();
            };
            self.push(self.end.saturating_sub(self.on_its_way), record, held_bytes);
            self.on_its_way -= held_bytes;
        }
        if self.on_its_way == 0 {
            self.overhead = Some(overhead);
        }
    }

    /// Nothing of the newest call has a place.
    fn take_back(&mut self) {
        let begun = self.begun;
        while let Some(last) = self.pieces.back_mut() {
            let before = begun.saturating_sub(last.plain).checked_div(last.held_bytes).unwrap_or(0);
            if last.plain < begun {
                last.count = last.count.min(before);
                return;
            }
            self.pieces.pop_back();
        }
    }

    /// The client's library was given these bytes and has sent them.
    pub fn sent(&mut self, moved: Moved, facts: Option<&Encryption>) {
        if !self.continues(moved) {
            self.begun = moved.start;
        }
        (self.end, self.from) = (moved.start.saturating_add(moved.bytes), moved.from);
        self.on_its_way = 0;
        let from = moved.from.unwrap_or(u64::MAX);
        self.waiting.retain(|record| record.start >= from);
        self.prove_whole(facts);
    }

    /// All records that wait hold the bytes of the newest call, if their lengths say so.
    fn prove_whole(&mut self, facts: Option<&Encryption>) {
        let records: Vec<Record> = self.waiting.iter().copied().collect();
        let count = records.len() as u64;
        let bytes = self.end.saturating_sub(self.begun);
        let beside = records.iter().map(|record| record.length).sum::<u64>().checked_sub(bytes);
        let Some((beside, true)) = beside.map(|beside| (beside, count > 0 && beside.is_multiple_of(count))) else {
            return;
        };
        let overhead = beside / count;
        if !self.proves(overhead, facts) {
            return;
        }
        self.waiting.clear();
        self.on_its_way = 0;
        let mut plain = self.begun;
        for record in records {
            let Some(held_bytes) = record.length.checked_sub(overhead) else { return };
            self.push(plain, record, held_bytes);
            plain = plain.saturating_add(held_bytes);
        }
    }

    /// Whether these are further bytes of the call that was told of last.
    fn continues(&self, moved: Moved) -> bool {
        moved.from.is_some() && moved.from == self.from && moved.start == self.end
    }

    /// The server's library has received these bytes and gave them to its program.
    pub fn received(&mut self, moved: Moved, facts: Option<&Encryption>) {
        if moved.start != self.end {
            // A call was missed.
            (self.is_certain, self.left) = (self.end == 0 && self.is_certain && moved.start == 0, 0);
        }
        let continues = self.continues(moved);
        (self.end, self.from) = (moved.start.saturating_add(moved.bytes), moved.from);
        let was_cut = std::mem::take(&mut self.is_cut);
        if continues {
            self.is_certain |= was_cut;
        } else if let Some(from) = moved.from {
            while self.waiting.front().is_some_and(|record| record.end() <= from) {
                self.waiting.pop_front();
            }
            self.left = 0;
            self.is_certain = self.known_from <= from;
        }
        if self.is_certain {
            self.is_certain = self.take(moved, facts);
        }
    }

    /// Says whether the bytes are those of the next record, or of the rest of one.
    fn take(&mut self, moved: Moved, facts: Option<&Encryption>) -> bool {
        if self.left == 0 {
            let Some(record) = self.waiting.pop_front() else { return false };
            let known = self.overhead.or_else(|| facts.and_then(overhead));
            // A record may hold more than there was room for, but no more than this.
            let is_all = !moved.is_full || moved.bytes == HELD_BYTES_MAX;
            let overhead = known.or_else(|| record.length.checked_sub(moved.bytes).filter(|_| is_all));
            let Some(overhead) = overhead.filter(|overhead| self.proves(*overhead, facts)) else { return false };
            let Some(held_bytes) = record.length.checked_sub(overhead) else { return false };
            // A call that could have taken more has taken all.
            let is_too_little = moved.is_whole && !moved.is_full && held_bytes > moved.bytes;
            if held_bytes < moved.bytes || is_too_little {
                return false;
            }
            self.push(moved.start, record, held_bytes);
            self.left = held_bytes;
        }
        let Some(left) = self.left.checked_sub(moved.bytes) else { return false };
        self.left = left;
        self.is_cut = left > 0;
        left == 0 || moved.is_full
    }

    /// Whether it is what the cipher has, as far as that is known; then it is from now on.
    fn proves(&mut self, number: u64, facts: Option<&Encryption>) -> bool {
        let is_right = match self.overhead.or_else(|| facts.and_then(overhead)) {
            Some(known) => known == number,
            None => OVERHEADS.contains(&number),
        };
        if is_right {
            self.overhead = Some(number);
        }
        is_right
    }

    fn push(&mut self, plain: u64, record: Record, held_bytes: u64) {
        let record_bytes = HEADER_BYTES + record.length;
        if let Some(last) = self.pieces.back_mut()
            && (last.held_bytes, last.record_bytes) == (held_bytes, record_bytes)
            && last.plain_end() == plain
            && last.wire + last.count * record_bytes == record.start
        {
            last.count += 1;
            return;
        }
        if self.pieces.len() == PIECES_MAX {
            self.pieces.pop_front();
        }
        self.pieces.push_back(Piece { plain, wire: record.start, held_bytes, record_bytes, count: 1 });
    }

    /// The place of a byte among those that are encrypted.
    pub fn find(&self, plain: Position) -> Option<Position> {
        let after = self.pieces.partition_point(|piece| piece.plain <= plain.0);
        self.pieces.get(after.checked_sub(1)?)?.find(plain.0).map(Position)
    }

    /// Nobody will ask for what calls have moved so far.
    pub fn forget(&mut self) {
        let end = self.end;
        self.pieces.retain(|piece| piece.plain_end() > end);
    }

    pub fn heap_bytes(&self) -> usize {
        self.waiting.capacity() * size_of::<Record>()
            + self.given.capacity() * size_of::<Given>()
            + self.pieces.capacity() * size_of::<Piece>()
    }
}

/// What a record has beside the bytes that it holds, if its cipher has a number for it.
fn overhead(facts: &Encryption) -> Option<u64> {
    let suite = facts.cipher_suite.as_deref()?;
    let is_short = suite.contains("CCM_8");
    match facts.version? {
        // RFC 8446, 5.2: the kind of what it holds, and the tag.
        Version::Tls1_3 => Some(if is_short { 9 } else { 17 }),
        // RFC 5288, 3 and RFC 6655, 3: eight bytes of nonce; RFC 7905, 2: none.
        Version::Tls1_2 if is_short => Some(16),
        Version::Tls1_2 if suite.contains("GCM") || suite.contains("CCM") => Some(24),
        Version::Tls1_2 if suite.contains("CHACHA20") => Some(16),
        _ => None,
    }
}

/// The record that ends a client's handshake: a message of four bytes and a hash, encrypted.
fn finished_bytes(facts: &Encryption) -> Option<u64> {
    let hash_bytes = if facts.cipher_suite.as_deref()?.ends_with("SHA384") { 48 } else { 32 };
    Some(4 + hash_bytes + overhead(facts)?)
}
