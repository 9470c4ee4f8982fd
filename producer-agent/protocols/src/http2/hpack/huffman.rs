//! The Huffman code of HPACK (RFC 7541, 5.2 and appendix B).
//!
//! The code is canonical: within a length, codes follow each other in the order of their symbols, and each length begins where the one
//! before it ends. So the order of the symbols and how many have each length say all, and decoding is a comparison for each length.
//!
//! It is written here since the crates for it bring whole decoders that cannot say that a table is unknown, or tables many times this size.

/// Bits of the shortest code.
const BITS_MIN: usize = 5;
const LENGTHS: usize = 26;
/// How many symbols have a code of 5, 6, ... 30 bits. The last of all is the end of a string, which is never sent.
const SYMBOLS_OF_LENGTH: [u32; LENGTHS] =
    [10, 26, 32, 6, 0, 5, 3, 2, 6, 2, 3, 0, 0, 0, 3, 8, 13, 26, 29, 12, 4, 15, 19, 29, 0, 4];
#[rustfmt::skip]
const SYMBOLS: [u8; 256] = [
    48, 49, 50, 97, 99, 101, 105, 111, 115, 116, 32, 37, 45, 46, 47, 51, 52, 53, 54, 55, 56, 57, 61, 65, 95, 98, 100, 102, 103, 104,
    108, 109, 110, 112, 114, 117, 58, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 77, 78, 79, 80, 81, 82, 83, 84, 85, 86, 87, 89, 106,
    107, 113, 118, 119, 120, 121, 122, 38, 42, 44, 59, 88, 90, 33, 34, 40, 41, 63, 39, 43, 124, 35, 62, 0, 36, 64, 91, 93, 126, 94,
    125, 60, 96, 123, 92, 195, 208, 128, 130, 131, 162, 184, 194, 224, 226, 153, 161, 167, 172, 176, 177, 179, 209, 216, 217, 227,
    229, 230, 129, 132, 133, 134, 136, 146, 154, 156, 160, 163, 164, 169, 170, 173, 178, 181, 185, 186, 187, 189, 190, 196, 198, 228,
    232, 233, 1, 135, 137, 138, 139, 140, 141, 143, 147, 149, 150, 151, 152, 155, 157, 158, 165, 166, 168, 174, 175, 180, 182, 183,
    188, 191, 197, 231, 239, 9, 142, 144, 145, 148, 159, 171, 206, 215, 225, 236, 237, 199, 207, 234, 235, 192, 193, 200, 201, 202,
    205, 210, 213, 218, 219, 238, 240, 242, 243, 255, 203, 204, 211, 212, 214, 221, 222, 223, 241, 244, 245, 246, 247, 248, 250, 251,
    252, 253, 254, 2, 3, 4, 5, 6, 7, 8, 11, 12, 14, 15, 16, 17, 18, 19, 20, 21, 23, 24, 25, 26, 27, 28, 29, 30, 31, 127, 220, 249, 10,
    13, 22,
];

/// The codes of one length, as the first bits of 32.
#[derive(Clone, Copy)]
struct Codes {
    first: u64,
    /// Behind the last one.
    end: u64,
    /// The place of the first one's symbol.
    symbol: u32,
}

const CODES: [Codes; LENGTHS] = {
    let mut codes = [Codes { first: 0, end: 0, symbol: 0 }; LENGTHS];
    let (mut at, mut first, mut symbol) = (0, 0, 0);
    while at < LENGTHS {
        let end = first + ((SYMBOLS_OF_LENGTH[at] as u64) << (32 - BITS_MIN - at));
        codes[at] = Codes { first, end, symbol };
        symbol += SYMBOLS_OF_LENGTH[at];
        first = end;
        at += 1;
    }
    assert!(first == 1 << 32, "every sequence of bits is a code or the beginning of one");
    codes
};

/// Gives each byte of a string and says how many they are; None if no encoder can have written it.
pub fn decode(string: &[u8], mut push: impl FnMut(u8)) -> Option<usize> {
    let mut rest = string.iter();
    let (mut window, mut held, mut decoded) = (0u64, 0u32, 0);
    loop {
        while held <= 56
            && let Some(byte) = rest.next()
        {
            window |= u64::from(*byte) << (56 - held);
            held += 8;
        }
        let next = window >> 32;
        let (at, codes) = CODES.iter().enumerate().find(|(_, codes)| next < codes.end)?;
        let bits = (BITS_MIN + at) as u32;
        if bits > held {
            // What is left is filled up with the first bits of the end's code, which are ones.
            let is_padding = held == 0 || (held < 8 && window >> (64 - held) == (1 << held) - 1);
            return is_padding.then_some(decoded);
        }
        let symbol = codes.symbol as usize + ((next - codes.first) >> (32 - bits)) as usize;
        push(*SYMBOLS.get(symbol)?);
        decoded += 1;
        window <<= bits;
        held -= bits;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(string: &[u8]) -> Option<String> {
        let mut text = String::new();
        let decoded = decode(string, |byte| text.push(char::from(byte)))?;
        assert_eq!(decoded, text.chars().count());
        Some(text)
    }

    /// RFC 7541, C.4 and C.6.
    #[test]
    fn strings_of_the_rfc() {
        for (string, expected) in [
            (&b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff"[..], "www.example.com"),
            (b"\xa8\xeb\x10\x64\x9c\xbf", "no-cache"),
            (b"\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f", "custom-key"),
            (b"\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf", "custom-value"),
            (b"\x64\x02", "302"),
            (b"\xae\xc3\x77\x1a\x4b", "private"),
            (
                b"\xd0\x7a\xbe\x94\x10\x54\xd4\x44\xa8\x20\x05\x95\x04\x0b\x81\x66\xe0\x82\xa6\x2d\x1b\xff",
                "Mon, 21 Oct 2013 20:13:21 GMT",
            ),
            (b"\x9d\x29\xad\x17\x18\x63\xc7\x8f\x0b\x97\xc8\xe9\xae\x82\xae\x43\xd3", "https://www.example.com"),
            (b"", ""),
        ] {
            assert_eq!(text(string).as_deref(), Some(expected));
        }
    }

    /// RFC 7541, 5.2: padding of eight bits or more, padding that is not the end's beginning, the end itself.
    #[test]
    fn what_no_encoder_writes_is_refused() {
        for string in [&b"\xff"[..], b"\x07\xff", b"\x00", b"\x1e", b"\xff\xff\xff\xff", b"\xff\xff\xff\xff\xff"] {
            assert_eq!(text(string), None, "{string:x?}");
        }
        assert_eq!(text(b"\x07").as_deref(), Some("0"));
        // The longest codes, of 30 bits, and the rarest bytes.
        assert_eq!(text(b"\xff\xff\xff\xf3").as_deref(), Some("\n"));
        assert_eq!(text(b"\xff\xff\xff\xfb").as_deref(), Some("\u{16}"));
    }
}
