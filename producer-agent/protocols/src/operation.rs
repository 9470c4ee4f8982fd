//! Names of operations: paths with their identifiers taken out, and a bound on how many there are.
//!
//! In: methods and paths as they were sent. Out: names such as `GET /users/{id}`, few enough to count by.
//!
//! [`Operations::of`] replaces a path segment by `{id}` if it
//!
//! 1. consists of digits, or begins with one and otherwise has only digits, `T`, `Z` and the separators
//!    `-` `_` `.` `:` `,` `+`: numbers, dates, times, IP addresses;
//! 2. is a UUID, or at least 8 hexadecimal digits of which one is a decimal digit, `0x` before them allowed;
//! 3. has an `@`, also as `%40`: e-mail addresses;
//! 4. has four decimal digits in a row: `order-10023`;
//! 5. has at least 12 characters and changes at least three times directly between a letter and a digit: tokens;
//! 6. has more than 64 bytes: no plain word has.
//!
//! All else stays, so also `v1`, `v2beta1`, `sha256` and `x86_64`. A percent-encoded byte is left as it is and counts
//! as a separator. What follows a `;` in a segment is cut off, since session ids are carried there. Behind the eighth
//! segment `{more}` stands for the rest.

use std::collections::HashSet;

pub const IDENTIFIER: &str = "{id}";
/// Stands for all operations beyond the bound.
pub const OTHER: &str = "{other}";
const MORE: &str = "{more}";
/// A target that is not a path: the authority of a CONNECT.
const AUTHORITY: &str = "{authority}";

const SEGMENTS_MAX: usize = 8;
const WORD_BYTES_MAX: usize = 64;
const TOKEN_BYTES_MIN: usize = 12;
const TOKEN_CHANGES_MIN: usize = 3;
const DIGIT_RUN_MIN: usize = 4;
const HEX_DIGITS_MIN: usize = 8;

/// The operations of one service: the first so many distinct ones by name, all others as [`OTHER`].
#[derive(Debug)]
pub struct Operations {
    known: HashSet<Box<str>>,
    known_max: usize,
    overflowed: u64,
    /// The name that is being looked up; kept for its room.
    name: String,
}

/// What a request asks for, without its identifiers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operation<'a> {
    /// `METHOD path`, or [`OTHER`] beyond the bound.
    pub name: &'a str,
    /// The path with placeholders for its identifiers, by the rules at the top of this module.
    pub path: &'a str,
}

impl Operations {
    pub const DEFAULT_MAX: usize = 1000;

    pub fn new(known_max: usize) -> Self {
        Self { known: HashSet::new(), known_max, overflowed: 0, name: String::new() }
    }

    /// The operation that a request with this path stands for.
    pub fn of(&mut self, method: &str, path: &str) -> Operation<'_> {
        self.name.clear();
        self.name.push_str(method);
        self.name.push(' ');
        push_template(&mut self.name, without_query(path));
        let name = if self.admit() { &self.name } else { OTHER };
        Operation { name, path: &self.name[method.len() + 1..] }
    }

    /// How often a name was not among the known ones.
    pub fn overflowed(&self) -> u64 {
        self.overflowed
    }

    pub fn len(&self) -> usize {
        self.known.len()
    }

    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Whether the name is one of the known ones, or becomes one.
    fn admit(&mut self) -> bool {
        if self.known.contains(self.name.as_str()) {
            return true;
        }
        if self.known.len() >= self.known_max {
            self.overflowed += 1;
            return false;
        }
        self.known.insert(self.name.as_str().into())
    }
}

impl Default for Operations {
    fn default() -> Self {
        Self::new(Self::DEFAULT_MAX)
    }
}

enum Segment<'a> {
    Plain(&'a str),
    Identifier,
}

fn push_template(template: &mut String, path: &str) {
    let Some(relative) = path.strip_prefix('/') else {
        return template.push_str(if path == "*" { path } else { AUTHORITY });
    };
    for (at, segment) in relative.split('/').enumerate() {
        template.push('/');
        if at == SEGMENTS_MAX {
            return template.push_str(MORE);
        }
        match template_segment(segment) {
            Segment::Plain(word) => template.push_str(word),
            Segment::Identifier => template.push_str(IDENTIFIER),
        }
    }
}

fn without_query(path: &str) -> &str {
    let end = path.bytes().position(|byte| matches!(byte, b'?' | b'#'));
    &path[..end.unwrap_or(path.len())]
}

fn template_segment(segment: &str) -> Segment<'_> {
    let end = segment.bytes().position(|byte| byte == b';');
    let word = &segment[..end.unwrap_or(segment.len())];
    let bytes = word.as_bytes();
    // Most words have none of the bytes without which the rules say no.
    let identifier = bytes.len() > WORD_BYTES_MAX
        || (bytes.iter().any(|byte| matches!(byte, b'0'..=b'9' | b'@' | b'%')) && is_identifier(bytes));
    if identifier { Segment::Identifier } else { Segment::Plain(word) }
}

/// Rules 1 to 5.
fn is_identifier(word: &[u8]) -> bool {
    is_number_or_time(word)
        || is_hex(word)
        || is_uuid(word)
        || word.contains(&b'@')
        || word.windows(3).any(|window| window == b"%40")
        || is_token(word)
}

fn is_number_or_time(word: &[u8]) -> bool {
    word.first().is_some_and(u8::is_ascii_digit)
        && word.iter().all(|byte| byte.is_ascii_digit() || b"TZ-_.:,+".contains(byte))
}

fn is_hex(word: &[u8]) -> bool {
    let digits = word.strip_prefix(b"0x").unwrap_or(word);
    digits.len() >= HEX_DIGITS_MIN && digits.iter().all(u8::is_ascii_hexdigit) && digits.iter().any(u8::is_ascii_digit)
}

fn is_uuid(word: &[u8]) -> bool {
    word.len() == 36
        && word.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Rules 4 and 5.
fn is_token(word: &[u8]) -> bool {
    let (mut run, mut changes, mut previous) = (0, 0, Class::Separator);
    let mut at = 0;
    while let Some(byte) = word.get(at) {
        let class = match byte {
            b'%' => {
                at += 2;
                Class::Separator
            }
            b'0'..=b'9' => Class::Digit,
            b'a'..=b'z' | b'A'..=b'Z' => Class::Letter,
            _ => Class::Separator,
        };
        run = if class == Class::Digit { run + 1 } else { 0 };
        if run >= DIGIT_RUN_MIN {
            return true;
        }
        changes +=
            usize::from(matches!((previous, class), (Class::Letter, Class::Digit) | (Class::Digit, Class::Letter)));
        previous = class;
        at += 1;
    }
    word.len() >= TOKEN_BYTES_MIN && changes >= TOKEN_CHANGES_MIN
}

#[derive(Clone, Copy, PartialEq)]
enum Class {
    Letter,
    Digit,
    Separator,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template_of(path: &str) -> String {
        Operations::default().of("GET", path).path.to_owned()
    }

    #[test]
    fn identifiers_become_placeholders() {
        for (path, template) in [
            ("/users/42", "/users/{id}"),
            ("/users/42/orders/7/", "/users/{id}/orders/{id}/"),
            ("/u/550e8400-e29b-41d4-a716-446655440000/x", "/u/{id}/x"),
            ("/blob/deadbeef01", "/blob/{id}"),
            ("/tx/0x00ffee1122", "/tx/{id}"),
            ("/mail/ann@example.org", "/mail/{id}"),
            ("/mail/ann%40example.org", "/mail/{id}"),
            ("/day/2024-01-31", "/day/{id}"),
            ("/at/2024-01-31T10:00:00Z", "/at/{id}"),
            ("/host/10.0.0.1", "/host/{id}"),
            ("/order-10023", "/{id}"),
            ("/c/cus_9s6XKzkNRiz8i3", "/c/{id}"),
            ("/u/01ARZ3NDEKTSV4RRFFQ69G5FAV", "/u/{id}"),
            ("/n/V1StGXR8_Z5jdHi6B-myT", "/n/{id}"),
            ("/cart;jsessionid=A1B2C3/items", "/cart/items"),
            ("/a/b?user=1", "/a/b"),
            ("/a/7?user=1", "/a/{id}"),
            ("/1/2/3/4/5/6/7/8/9/10", "/{id}/{id}/{id}/{id}/{id}/{id}/{id}/{id}/{more}"),
            ("/a/b/c/d/e/f/g/h/i", "/a/b/c/d/e/f/g/h/{more}"),
            ("host:443", "{authority}"),
        ] {
            assert_eq!(template_of(path), template, "{path}");
        }
        let long = format!("/a/{}", "x".repeat(65));
        assert_eq!(template_of(&long), "/a/{id}");
    }

    #[test]
    fn words_stay() {
        for path in [
            "/",
            "*",
            "/v1/users",
            "/v2beta1/pods",
            "/api/v1.2/x",
            "//a//",
            "/sha256",
            "/x86_64",
            "/mp4",
            "/e2e",
            "/oauth2/token",
            "/deadbeef",
            "/jquery-3.6.0.min.js",
            "/hello%20world%20again",
            "/%E4%B8%AD%E6%96%87",
            "/order-items",
            "/a/b/c/d/e/f/g/h",
            "/.well-known/openid-configuration",
            "/%",
            "/a%2",
        ] {
            assert_eq!(template_of(path), path);
        }
    }

    #[test]
    fn operations_beyond_the_bound_are_counted_as_other() {
        let mut operations = Operations::new(2);
        let mut name = |method, path| operations.of(method, path).name.to_owned();
        assert_eq!(name("GET", "/users/1"), "GET /users/{id}");
        assert_eq!(name("PUT", "/users/1"), "PUT /users/{id}");
        assert_eq!(name("GET", "/orders"), OTHER);
        assert_eq!(name("GET", "/users/2"), "GET /users/{id}");
        assert_eq!(name("GET", "/carts"), OTHER);
        assert_eq!(operations.of("GET", "/carts/7"), Operation { name: OTHER, path: "/carts/{id}" });
        assert_eq!((operations.len(), operations.overflowed()), (2, 3));
    }
}
