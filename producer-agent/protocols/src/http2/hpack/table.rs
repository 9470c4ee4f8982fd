//! The tables of HPACK (RFC 7541, 2.3): the static one, and the dynamic one as far as it is known.
//!
//! A dynamic table of which the beginning was not seen is known from its newest end: what was added since is counted back from there. A
//! reference to such an entry is right whatever the table's size is, for an entry that is too large for the table empties it, and then
//! nothing may refer behind it (4.4). What is older is unknown until so much was added that nothing older can be left.
//!
//! Of an entry its size is kept, and its value only if it is one of those that exchanges tell of. Bounds: what the encoder says, at most
//! `bytes_max`; beyond that the oldest entries become unknown.

use std::collections::VecDeque;

use super::field::{Content, Field, Text};

/// What each entry counts beside its name and its value (RFC 7541, 4.1).
pub const ENTRY_OVERHEAD_BYTES: u32 = 32;
/// RFC 9113, 6.5.2.
pub const SIZE_BYTES_DEFAULT: u32 = 4096;

#[derive(Debug)]
pub struct Table {
    /// The newest one first.
    entries: VecDeque<Entry>,
    /// Of the known entries.
    size_bytes: u32,
    /// The table is not larger than this; None if nothing is known of that.
    size_bytes_max: Option<u32>,
    /// There may be entries behind the known ones.
    has_unknown: bool,
    bytes_max: u32,
}

#[derive(Debug)]
struct Entry {
    /// None if its name stands where it was not seen.
    field: Option<Field>,
    name_bytes: usize,
    /// At least this.
    size_bytes: u32,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Lookup<'a> {
    Known {
        field: &'a Field,
        name_bytes: usize,
    },
    Unknown,
    /// There is no such entry.
    Missing,
}

impl Table {
    /// Of a connection that begins.
    pub fn empty(bytes_max: u32) -> Self {
        Self {
            entries: VecDeque::new(),
            size_bytes: 0,
            size_bytes_max: Some(SIZE_BYTES_DEFAULT),
            has_unknown: false,
            bytes_max,
        }
    }

    /// Additions may have been missed, and the size may have been changed up to a limit, if there is one.
    pub fn forget(&mut self, limit: Option<u32>) {
        self.entries = VecDeque::new();
        self.size_bytes = 0;
        self.size_bytes_max = limit;
        self.has_unknown = true;
        if let Some(max) = limit {
            self.evict(max);
        }
    }

    /// The entry of an index of the dynamic table, from 0 on.
    pub fn get(&self, index: usize) -> Lookup<'_> {
        match self.entries.get(index) {
            Some(Entry { field: Some(field), name_bytes, .. }) => Lookup::Known { field, name_bytes: *name_bytes },
            Some(_) => Lookup::Unknown,
            None if self.has_unknown => Lookup::Unknown,
            None => Lookup::Missing,
        }
    }

    pub fn resize(&mut self, size_bytes_max: u32) {
        self.size_bytes_max = Some(size_bytes_max);
        self.evict(size_bytes_max);
    }

    /// Adds an entry. If its name is not known it has no field, and as many bytes as the shortest name, which is none.
    pub fn add(&mut self, field: Option<Field>, name_bytes: usize, value_bytes: usize) {
        let text_bytes = name_bytes.saturating_add(value_bytes);
        let size_bytes = u32::try_from(text_bytes).unwrap_or(u32::MAX).saturating_add(ENTRY_OVERHEAD_BYTES);
        self.size_bytes = self.size_bytes.saturating_add(size_bytes);
        self.entries.push_front(Entry { field, name_bytes, size_bytes });
        // One that is larger than the table leaves as well.
        if let Some(max) = self.size_bytes_max {
            self.evict(max);
        }
        while self.size_bytes > self.bytes_max {
            self.pop();
            self.has_unknown = true;
        }
    }

    #[cfg(test)]
    pub fn size_bytes(&self) -> u32 {
        self.size_bytes
    }

    pub fn heap_bytes(&self) -> usize {
        let values: usize = self.entries.iter().flat_map(|entry| &entry.field).map(Field::heap_bytes).sum();
        self.entries.capacity() * size_of::<Entry>() + values
    }

    fn evict(&mut self, size_bytes_max: u32) {
        while self.size_bytes > size_bytes_max {
            self.pop();
            // The oldest ones go first.
            self.has_unknown = false;
        }
        if self.size_bytes.saturating_add(ENTRY_OVERHEAD_BYTES) > size_bytes_max {
            self.has_unknown = false;
        }
    }

    fn pop(&mut self) {
        if let Some(entry) = self.entries.pop_back() {
            self.size_bytes = self.size_bytes.saturating_sub(entry.size_bytes);
        } else {
            self.size_bytes = 0;
        }
    }
}

/// The field of an index of the static table, from 1 on (RFC 7541, appendix A), as far as exchanges tell of it.
pub fn static_field(index: u32) -> Option<Field> {
    Some(match index {
        2 => Field::Method(Text::Static("GET")),
        3 => Field::Method(Text::Static("POST")),
        4 => Field::Path { path: Text::Static("/"), is_cut: false },
        5 => Field::Path { path: Text::Static("/index.html"), is_cut: false },
        8 => Field::Status(200),
        9 => Field::Status(204),
        10 => Field::Status(206),
        11 => Field::Status(304),
        12 => Field::Status(400),
        13 => Field::Status(404),
        14 => Field::Status(500),
        31 => Field::ContentType(Content::Other),
        1 => Field::Authority(Text::Static("")),
        6 | 7 => Field::OfRequest,
        15..=STATIC_ENTRIES => Field::Other,
        _ => return None,
    })
}

pub fn static_name(index: u32) -> Option<&'static str> {
    STATIC_NAMES.get(usize::try_from(index).ok()?.checked_sub(1)?).copied()
}

/// How many entries the static table has: the dynamic one follows.
pub const STATIC_ENTRIES: u32 = STATIC_NAMES.len() as u32;

#[rustfmt::skip]
const STATIC_NAMES: [&str; 61] = [
    ":authority", ":method", ":method", ":path", ":path", ":scheme", ":scheme", ":status", ":status", ":status", ":status", ":status",
    ":status", ":status", "accept-charset", "accept-encoding", "accept-language", "accept-ranges", "accept",
    "access-control-allow-origin", "age", "allow", "authorization", "cache-control", "content-disposition", "content-encoding",
    "content-language", "content-length", "content-location", "content-range", "content-type", "cookie", "date", "etag", "expect",
    "expires", "from", "host", "if-match", "if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "last-modified",
    "link", "location", "max-forwards", "proxy-authenticate", "proxy-authorization", "range", "referer", "refresh", "retry-after",
    "server", "set-cookie", "strict-transport-security", "transfer-encoding", "user-agent", "vary", "via", "www-authenticate",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn add(table: &mut Table, status: u16, text_bytes: usize) {
        table.add(Some(Field::Status(status)), 0, text_bytes);
    }

    fn statuses(table: &Table) -> Vec<u16> {
        let known = |index| match table.get(index) {
            Lookup::Known { field: Field::Status(status), .. } => Some(*status),
            _ => None,
        };
        (0..).map_while(known).collect()
    }

    #[test]
    fn the_oldest_leave_as_soon_as_they_have_no_room() {
        let mut table = Table::empty(1 << 16);
        table.resize(100);
        add(&mut table, 1, 18);
        add(&mut table, 2, 18);
        assert_eq!(statuses(&table), [2, 1]);
        add(&mut table, 3, 0);
        assert_eq!(statuses(&table), [3, 2]);
        table.resize(81);
        assert_eq!(statuses(&table), [3]);
        // What is larger than the table empties it.
        add(&mut table, 4, 50);
        assert_eq!((statuses(&table), table.get(0)), (vec![], Lookup::Missing));
    }

    #[test]
    fn what_is_older_than_the_capture_is_unknown_until_it_must_be_gone() {
        let mut table = Table::empty(1 << 16);
        table.forget(Some(4096));
        add(&mut table, 1, 18);
        assert_eq!((statuses(&table), table.get(1)), (vec![1], Lookup::Unknown));
        add(&mut table, 2, 4096 - 50 - 32 - 32);
        assert_eq!(table.get(2), Lookup::Unknown, "an entry of 32 bytes still has room");
        add(&mut table, 3, 0);
        assert_eq!((statuses(&table), table.get(3)), (vec![3, 2, 1], Lookup::Missing));
        table.forget(None);
        add(&mut table, 4, 1 << 15);
        assert_eq!(table.get(1), Lookup::Unknown, "the table may have any size");
        table.resize(0);
        assert_eq!(table.get(0), Lookup::Missing);
    }

    #[test]
    fn an_entry_of_an_unknown_name_keeps_its_place() {
        let mut table = Table::empty(1 << 16);
        table.forget(None);
        add(&mut table, 1, 0);
        table.add(None, 0, 5);
        assert_eq!(table.get(0), Lookup::Unknown);
        assert!(matches!(table.get(1), Lookup::Known { field: Field::Status(1), .. }));
    }

    #[test]
    fn beyond_its_bound_the_oldest_are_unknown() {
        let mut table = Table::empty(100);
        (1..=10).for_each(|status| add(&mut table, status, 1));
        assert_eq!((statuses(&table), table.get(3)), (vec![10, 9, 8], Lookup::Unknown));
        assert!(table.heap_bytes() < 1_000);
    }
}
