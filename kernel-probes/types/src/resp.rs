//! Where commands and replies of Redis (RESP2 and RESP3) end, as far as the first bytes of a call say it for certain.
//!
//! In: the first bytes of a call and how many it moved. Out: that these are exactly one command, and its name; or exactly one reply. Strings are
//! passed over by the lengths that stand before them, so that only those lengths need to be among the bytes. What is not certain is no: then user
//! space is told of the call, and parses it.
//!
//! Bounded: [`WINDOW_BYTES`] are looked at, and [`STRINGS_MAX`] strings. The functions are small, so that the probes can have the verifier look at
//! each once.

use crate::sums::mixed;

/// Bytes of a call in which the head of each string must lie.
pub const WINDOW_BYTES: usize = 512;
/// Strings of a command, its name included, or of a reply.
pub const STRINGS_MAX: u32 = 16;
/// Digits of a length: what is longer is never certain.
const DIGITS_MAX: usize = 8;
/// Longer than any command's name.
const NAME_BYTES_MAX: usize = 24;
/// Of a reply that is one line.
const LINE_BYTES_MAX: usize = 128;

/// The first bytes of a call. Those behind what was captured are anything.
#[repr(C)]
pub struct Window {
    pub bytes: [u8; WINDOW_BYTES],
}

/// What a call's bytes are as a reply.
pub mod reply {
    /// It may be less or more than one reply.
    pub const UNCERTAIN: u32 = 0;
    pub const OK: u32 = 1;
    pub const ERROR: u32 = 2;
}

impl Window {
    /// The mask is for the verifier: nothing that lies beyond is believed.
    #[inline(always)]
    fn at(&self, at: u32, offset: usize) -> u8 {
        self.bytes[(at as usize + offset) & (WINDOW_BYTES - 1)]
    }

    /// The number between the type at `at` and its line end, and the position behind that. None if it was not captured or is none.
    #[inline(always)]
    fn number(&self, at: u32, captured: u32) -> Option<(u32, u32)> {
        let mut number = 0;
        for digits in 0..=DIGITS_MAX {
            let byte = self.at(at, 1 + digits);
            let digit = u32::from(byte.wrapping_sub(b'0'));
            if digit < 10 {
                number = number * 10 + digit;
                continue;
            }
            let end = at + digits as u32 + 3;
            let is_line = digits > 0 && byte == b'\r' && self.at(at, 2 + digits) == b'\n' && is_seen(end, captured);
            return if is_line { Some((number, end)) } else { None };
        }
        None
    }

    /// The string that begins at `at`: in the upper half where its bytes begin, in the lower one where it ends, its line end included. 0 if
    /// that is not certain.
    #[inline(always)]
    pub fn string(&self, at: u32, captured: u32) -> u64 {
        if at >= WINDOW_BYTES as u32 || at >= captured || self.at(at, 0) != b'$' {
            return 0;
        }
        if self.at(at, 1) == b'-' {
            // The null of RESP2.
            let end = at + 5;
            let is_null = self.at(at, 2) == b'1' && self.at(at, 3) == b'\r' && self.at(at, 4) == b'\n';
            return if is_null && is_seen(end, captured) { (u64::from(end) << 32) | u64::from(end) } else { 0 };
        }
        match self.number(at, captured) {
            Some((length, start)) => (u64::from(start) << 32) | u64::from(start + length + 2),
            None => 0,
        }
    }

    /// The operation of the command that a call consists of, and of nothing else; 0 if that is not certain.
    ///
    /// `string` is [`Window::string`] of this window.
    #[inline(always)]
    pub fn command(&self, captured: u32, moved: u32, string: impl Fn(u32) -> u64) -> u64 {
        if self.at(0, 0) != b'*' {
            return 0;
        }
        let Some((strings, at)) = self.number(0, captured) else { return 0 };
        let name = string(at);
        let (start, end) = ((name >> 32) as u32, name as u32);
        if strings == 0 || name == 0 || !is_seen(end, captured) {
            return 0;
        }
        let length = end.wrapping_sub(start).wrapping_sub(2);
        if length == 0 || length > NAME_BYTES_MAX as u32 {
            return 0;
        }
        let mut hash = SEED;
        for i in 0..NAME_BYTES_MAX {
            if i as u32 >= length {
                break;
            }
            hash = mixed(hash, in_capitals(self.at(start, i)));
        }
        if strings_end(end, strings - 1, string) == moved { hash } else { 0 }
    }

    /// Whether a call is one reply and nothing else; see [`reply`].
    #[inline(always)]
    pub fn reply(&self, captured: u32, moved: u32, string: impl Fn(u32) -> u64) -> u32 {
        let (kind, sign) = (self.at(0, 0), self.at(0, 1));
        let end = match kind {
            _ if captured < 3 => 0,
            b'$' => string(0) as u32,
            b'*' if sign != b'-' => match self.number(0, captured) {
                Some((strings, at)) => strings_end(at, strings, string),
                None => 0,
            },
            b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' | b'*' => self.line_end(captured),
            _ => 0,
        };
        match kind {
            _ if end == 0 || end != moved => reply::UNCERTAIN,
            b'-' => reply::ERROR,
            _ => reply::OK,
        }
    }

    /// Where the first line ends; 0 if that was not captured.
    #[inline(always)]
    fn line_end(&self, captured: u32) -> u32 {
        for i in 0..LINE_BYTES_MAX {
            if i as u32 >= captured {
                return 0;
            }
            if self.at(0, i) == b'\n' {
                return i as u32 + 1;
            }
        }
        0
    }
}

#[inline(always)]
fn is_seen(end: u32, captured: u32) -> bool {
    end <= captured && end <= WINDOW_BYTES as u32
}

/// Where so many strings end of which the first begins at `at`; 0 if that is not certain.
#[inline(always)]
fn strings_end(at: u32, strings: u32, string: impl Fn(u32) -> u64) -> u32 {
    let (mut at, mut left) = (at, strings);
    for _ in 0..STRINGS_MAX {
        if left == 0 {
            return at;
        }
        at = string(at) as u32;
        if at == 0 {
            return 0;
        }
        left -= 1;
    }
    if left == 0 { at } else { 0 }
}

/// No operation of HTTP begins with this.
const SEED: u64 = 0x84_2223_25cb_f29c;

#[inline(always)]
fn in_capitals(byte: u8) -> u8 {
    let is_small = (byte.wrapping_sub(b'a') < 26) as u8;
    byte ^ (is_small << 5)
}

/// The operation of a command that has this name; none if the probes find none.
pub fn operation(name: &str) -> Option<u64> {
    let is_found = !name.is_empty() && name.len() <= NAME_BYTES_MAX;
    is_found.then(|| name.bytes().fold(SEED, |hash, byte| mixed(hash, in_capitals(byte))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(bytes: &[u8]) -> (Window, u32) {
        // What lies behind is left over from before.
        let mut window = Window { bytes: [b'1'; WINDOW_BYTES] };
        let captured = bytes.len().min(window.bytes.len());
        window.bytes[..captured].copy_from_slice(&bytes[..captured]);
        (window, bytes.len() as u32)
    }

    fn command_of(bytes: &[u8], captured: u32, moved: u32) -> u64 {
        let (window, _) = window(bytes);
        window.command(captured, moved, |at| window.string(at, captured))
    }

    fn command(text: &str) -> u64 {
        command_of(text.as_bytes(), text.len() as u32, text.len() as u32)
    }

    fn reply_of(bytes: &[u8], moved: u32) -> u32 {
        let (window, captured) = window(bytes);
        window.reply(captured, moved, |at| window.string(at, captured))
    }

    fn spelt(words: &[&str]) -> String {
        let strings: String = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
        format!("*{}\r\n{strings}", words.len())
    }

    #[test]
    fn one_command_is_its_name_whatever_its_keys_are() {
        let get = operation("GET").unwrap();
        assert_eq!(command("*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"), get);
        assert_eq!(command("*2\r\n$3\r\ngEt\r\n$5\r\nother\r\n"), get);
        assert_eq!(command(&spelt(&["SET", "k", "$3\r\nGET\r\n*1"])), operation("SET").unwrap());
        assert_eq!(command("*1\r\n$4\r\nPING\r\n"), operation("PING").unwrap());
        assert_eq!(command(&spelt(&["GEOSEARCHSTORE"; 1])), operation("geosearchstore").unwrap());
        assert_eq!(command(&spelt(&["MGET"; STRINGS_MAX as usize])), operation("MGET").unwrap());
        assert_ne!(get, operation("SET").unwrap());
    }

    #[test]
    fn what_is_not_one_command_for_certain_is_none() {
        let get = "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
        for other in [
            get.repeat(2),
            get[..get.len() - 1].to_owned(),
            format!("{get}\r\n"),
            spelt(&["MGET"; STRINGS_MAX as usize + 2]),
            spelt(&["NO.SUCH.COMMAND.IS.SO.LONG"]),
            spelt(&["SET", &"k".repeat(WINDOW_BYTES), "v"]),
            "*0\r\n".into(),
            "*1\r\n$0\r\n\r\n".into(),
            "*1\r\n$-1\r\n".into(),
            "*1\r\n$123456789\r\nGET\r\n".into(),
            "*99999999999\r\n$3\r\nGET\r\n".into(),
            "*1\r\n+PING\r\n".into(),
            "PING\r\n".into(),
            "*".into(),
            String::new(),
        ] {
            assert_eq!(command(&other), 0, "{other:?}");
        }
    }

    #[test]
    fn only_lengths_need_to_be_captured() {
        let set = spelt(&["SET", "k", &"v".repeat(30_000)]);
        let head = set.find("vvv").unwrap() as u32;
        let moved = set.len() as u32;
        assert_eq!(command_of(set.as_bytes(), head, moved), operation("SET").unwrap());
        assert_eq!(command_of(set.as_bytes(), head - 1, moved), 0, "what lies behind what was captured is anything");
        assert_eq!(command_of(set.as_bytes(), head, moved - 1), 0, "it goes on in another call");
        assert_eq!(command_of(set.as_bytes(), head, moved + 1), 0, "another one follows");
        for captured in 0..head {
            assert_eq!(command_of(set.as_bytes(), captured, moved), 0, "{captured}");
        }
    }

    #[test]
    fn what_lies_beyond_the_window_is_not_believed() {
        for key in WINDOW_BYTES - 40..WINDOW_BYTES + 10 {
            let set = spelt(&["SET", &"k".repeat(key), "v"]);
            let is_in_window = set.rfind("$1\r\n").unwrap() + 4 <= WINDOW_BYTES;
            assert_eq!(command(&set) != 0, is_in_window, "{key}");
        }
    }

    #[test]
    fn one_reply_is_whole() {
        for whole in [
            "+OK\r\n",
            ":-7\r\n",
            "$-1\r\n",
            "$0\r\n\r\n",
            "$5\r\n+a\r\n:\r\n",
            "_\r\n",
            "#t\r\n",
            ",1.5\r\n",
            "*-1\r\n",
            "*0\r\n",
            "*3\r\n$1\r\nv\r\n$-1\r\n$2\r\nvw\r\n",
        ] {
            let moved = whole.len() as u32;
            assert_eq!(reply_of(whole.as_bytes(), moved), reply::OK, "{whole:?}");
            assert_eq!(reply_of(whole.as_bytes(), moved + 3), reply::UNCERTAIN, "{whole:?} and more");
            assert_eq!(reply_of(whole.repeat(2).as_bytes(), 2 * moved), reply::UNCERTAIN, "twice {whole:?}");
            for cut in 0..whole.len() {
                assert_eq!(reply_of(&whole.as_bytes()[..cut], cut as u32), reply::UNCERTAIN, "{whole:?} up to {cut}");
            }
        }
        let long = format!("$20000\r\n{}\r\n", "v".repeat(20_000));
        assert_eq!(reply_of(&long.as_bytes()[..16_384], long.len() as u32), reply::OK);
        assert_eq!(reply_of(&long.as_bytes()[..16_384], 16_384), reply::UNCERTAIN);
    }

    #[test]
    fn errors_are_told_and_what_is_no_answer_is_none() {
        let error = b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
        assert_eq!(reply_of(error, error.len() as u32), reply::ERROR);
        for other in [
            ">2\r\n$1\r\na\r\n$1\r\nb\r\n",
            "|1\r\n+ttl\r\n:1\r\n+OK\r\n",
            "!10\r\nOOM no mem\r\n",
            "%1\r\n+a\r\n+b\r\n",
            "*1\r\n:1\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
        ] {
            assert_eq!(reply_of(other.as_bytes(), other.len() as u32), reply::UNCERTAIN, "{other:?}");
        }
    }
}
