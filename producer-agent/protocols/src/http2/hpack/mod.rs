//! Header compression (RFC 7541) of one direction, as far as it can be followed.
//!
//! In: header blocks, whole or cut short. Out: the few fields that matter, and whether some stand where they cannot be known. Everything
//! that a block says of the table is followed, whatever its fields are. Nothing else of names and values is kept.

mod field;
mod huffman;
mod reader;
mod table;

use field::Name;
pub use field::{Content, Fields, GRPC_STATUS_NONE, Text};
use table::{Lookup, SIZE_BYTES_DEFAULT, STATIC_ENTRIES, Table, static_field, static_name};

use reader::Reader;

/// Follows the encoder of one direction.
#[derive(Debug)]
pub struct Decoder {
    table: Table,
    /// The largest size of the table that the other side has allowed at any time; None if that is not known.
    limit_bytes: Option<u32>,
    path_bytes_max: usize,
}

/// Why a block was not read to its end.
#[derive(Debug, PartialEq, Eq)]
pub enum Stop {
    /// Its bytes end within a field.
    Cut,
    /// No encoder writes this.
    Malformed,
}

impl Decoder {
    pub fn new(table_bytes_max: u32, path_bytes_max: u32) -> Self {
        Self {
            table: Table::empty(table_bytes_max),
            limit_bytes: Some(SIZE_BYTES_DEFAULT),
            path_bytes_max: path_bytes_max as usize,
        }
    }

    /// Blocks may have been missed.
    pub fn forget(&mut self) {
        self.table.forget(self.limit_bytes);
    }

    /// The other side allows a table of this size.
    pub fn allow(&mut self, bytes: u32) {
        self.limit_bytes = self.limit_bytes.map(|limit| limit.max(bytes));
    }

    /// The other side may have allowed any size.
    pub fn forget_limit(&mut self) {
        self.limit_bytes = None;
    }

    pub fn heap_bytes(&self) -> usize {
        self.table.heap_bytes()
    }

    /// Reads a block; `is_whole`: none of its bytes is missing. What a block that is cut short says before that is right.
    pub fn decode(&mut self, block: &[u8], is_whole: bool) -> Result<Fields, Stop> {
        let mut fields = Fields::default();
        let mut reader = Reader::new(block);
        while !reader.is_done() {
            match self.field(&mut reader, &mut fields) {
                Ok(()) => {}
                Err(Stop::Cut) if !is_whole => break,
                Err(_) => {
                    self.forget();
                    return Err(Stop::Malformed);
                }
            }
        }
        if !is_whole {
            self.forget();
            fields.hide();
        }
        Ok(fields)
    }

    fn field(&mut self, reader: &mut Reader<'_>, fields: &mut Fields) -> Result<(), Stop> {
        let first = reader.first()?;
        if first & 0x80 != 0 {
            let index = reader.integer(7)?;
            return self.indexed(index, fields);
        }
        if first & 0xe0 == 0x20 {
            let bytes = reader.integer(5)?;
            if self.limit_bytes.is_some_and(|limit| bytes > limit) {
                return Err(Stop::Malformed);
            }
            self.table.resize(bytes);
            return Ok(());
        }
        let is_added = first & 0x40 != 0;
        let index = reader.integer(if is_added { 6 } else { 4 })?;
        let (name, name_bytes) = match index {
            0 => {
                let (name, bytes) = reader.string()?.name()?;
                (Some(name), bytes)
            }
            1..=STATIC_ENTRIES => {
                let name = static_name(index).ok_or(Stop::Malformed)?;
                (Some(Name::of(name.as_bytes())), name.len())
            }
            _ => match self.table.get((index - STATIC_ENTRIES - 1) as usize) {
                Lookup::Known { field, name_bytes } => (Some(field.name()), name_bytes),
                Lookup::Unknown => (None, 0),
                Lookup::Missing => return Err(Stop::Malformed),
            },
        };
        let value = reader.string()?;
        let (field, value_bytes) = value.field(name.unwrap_or(Name::Other), self.path_bytes_max)?;
        if name.is_some() {
            fields.add(&field);
        } else {
            fields.hide();
        }
        if is_added {
            self.table.add(name.map(|_| field), name_bytes, value_bytes);
        }
        Ok(())
    }

    fn indexed(&mut self, index: u32, fields: &mut Fields) -> Result<(), Stop> {
        if index <= STATIC_ENTRIES {
            fields.add(&static_field(index).ok_or(Stop::Malformed)?);
            return Ok(());
        }
        match self.table.get((index - STATIC_ENTRIES - 1) as usize) {
            Lookup::Known { field, .. } => fields.add(field),
            Lookup::Unknown => fields.hide(),
            Lookup::Missing => return Err(Stop::Malformed),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoder() -> Decoder {
        Decoder::new(1 << 16, 2048)
    }

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u32> = hex.chars().filter_map(|digit| digit.to_digit(16)).collect();
        digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
    }

    fn text(text: &Option<Text>) -> &str {
        text.as_ref().map_or("", Text::as_str)
    }

    fn request(decoder: &mut Decoder, hex: &str) -> String {
        let fields = decoder.decode(&bytes(hex), true).expect("a block of the RFC");
        assert!(fields.is_request && !fields.has_hidden);
        format!("{} {}", text(&fields.method), text(&fields.path))
    }

    /// RFC 7541, C.3 and C.4.
    #[test]
    fn requests_of_the_rfc() {
        for blocks in [
            [
                "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
                "8286 84be 5808 6e6f 2d63 6163 6865",
                "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
            ],
            [
                "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
                "8286 84be 5886 a8eb 1064 9cbf",
                "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
            ],
        ] {
            let mut decoder = decoder();
            assert_eq!(blocks.map(|block| request(&mut decoder, block)), ["GET /", "GET /", "GET /index.html"]);
            assert_eq!(decoder.table.size_bytes(), 164);
        }
    }

    /// RFC 7541, C.5 and C.6: a table of 256 bytes, from which entries are evicted.
    #[test]
    fn responses_of_the_rfc() {
        for (blocks, sizes) in [
            (
                [
                    "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120
                     474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
                    "4803 3330 37c1 c0bf",
                    "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738
                     666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33
                     3630 303b 2076 6572 7369 6f6e 3d31",
                ],
                [222, 222, 215],
            ),
            (
                [
                    "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718
                     63c7 8f0b 97c8 e9ae 82ae 43d3",
                    "4883 640e ffc1 c0bf",
                    "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7
                     b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
                ],
                [222, 222, 215],
            ),
        ] {
            let mut decoder = decoder();
            decoder.table.resize(256);
            for ((block, status), size) in blocks.iter().zip([302, 307, 200]).zip(sizes) {
                let fields = decoder.decode(&bytes(block), true).expect("a block of the RFC");
                assert_eq!((fields.status, fields.has_hidden), (Some(status), false));
                assert_eq!(decoder.table.size_bytes(), size);
            }
        }
    }

    /// Cases: http2-static-status.
    #[test]
    fn statuses_of_the_static_table_are_known_at_once() {
        let mut decoder = decoder();
        decoder.forget_limit();
        decoder.forget();
        for (block, status) in [("8d", 404), ("8b", 304), ("8e", 500), ("4803343034", 404), ("be", 404)] {
            assert_eq!(decoder.decode(&bytes(block), true).map(|fields| fields.status), Ok(Some(status)));
        }
        // The entry before it was not seen.
        let fields = decoder.decode(&bytes("bf"), true).expect("an index");
        assert_eq!((fields.status, fields.has_hidden_first), (None, true));
    }

    #[test]
    fn a_block_cut_anywhere_says_what_stands_before_the_cut() {
        let block = bytes("8344 062f 612e 622f 435f 1061 7070 6c69 6361 7469 6f6e 2f67 7270 63");
        let whole = decoder().decode(&block, true).expect("a block");
        assert_eq!((text(&whole.method), whole.is_grpc()), ("POST", Some(true)));
        let path = text(&whole.path).to_owned();
        for cut in 0..block.len() {
            let mut decoder = decoder();
            let fields = decoder.decode(&block[..cut], false).expect("the beginning of a block");
            assert!(fields.has_hidden);
            assert!(["", "POST"].contains(&text(&fields.method)));
            assert!(text(&fields.path).is_empty() || text(&fields.path) == path);
            assert_eq!(
                decoder.decode(&bytes("be"), true).map(|fields| fields.has_hidden),
                Ok(true),
                "the table is unknown"
            );
        }
    }

    #[test]
    fn lengths_and_numbers_are_not_believed() {
        for block in [
            "80",
            "ff ff ff ff ff 7f",
            "ff 80 80 80 80 80 80 80 80 00",
            "7f ff ff ff ff 0f",
            "00 7f ff ff ff 07",
            "3f",
            "3f ff ff ff ff 0f",
            "be",
            "7e 01 61",
            "48 02 32 30",
            "48 03 32 78 30",
            "00 81 ff",
        ] {
            let mut decoder = decoder();
            assert_eq!(decoder.decode(&bytes(block), true).err(), Some(Stop::Malformed), "{block}");
            assert!(decoder.heap_bytes() < 100);
        }
    }
}
