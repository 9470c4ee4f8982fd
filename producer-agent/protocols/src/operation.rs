//! Names of operations: what was asked for, without the identifiers in it.
//!
//! In: paths. Out: paths with placeholders, and a bounded set of names. An identifier is a segment of a path that is all digits, a
//! UUID, at least eight hexadecimal digits with a digit among them, contains `@`, or is longer than 20 characters with
//! letters and digits mixed. Plain words and versions such as `v1` stay.

use std::borrow::Cow;
use std::collections::HashSet;

/// What stands for an identifier.
const PLACEHOLDER: &str = "{id}";

/// Segments of a path that are kept; the rest becomes one `{rest}`.
const SEGMENTS_MAX: usize = 12;

const HEX_ID_CHARS_MIN: usize = 8;
const TOKEN_CHARS_MIN: usize = 20;

/// The name of all operations past the bound.
pub const OTHER: &str = "{other}";

/// Replaces identifiers in a path without query.
pub fn template_path(path: &str) -> Cow<'_, str> {
    let too_long = path.split('/').count() > SEGMENTS_MAX + 1;
    if !too_long && !path.split('/').any(is_identifier) {
        return Cow::Borrowed(path);
    }
    let mut template = String::with_capacity(path.len());
    for (i, segment) in path.split('/').enumerate() {
        if i > 0 {
            template.push('/');
        }
        if i > SEGMENTS_MAX {
            template.push_str("{rest}");
            break;
        }
        template.push_str(if is_identifier(segment) { PLACEHOLDER } else { segment });
    }
    Cow::Owned(template)
}

fn is_identifier(segment: &str) -> bool {
    let bytes = segment.as_bytes();
    let has_digit = bytes.iter().any(u8::is_ascii_digit);
    if !has_digit {
        return segment.contains('@');
    }
    let all = |class: fn(&u8) -> bool| bytes.iter().all(class);
    all(u8::is_ascii_digit)
        || is_uuid(bytes)
        || segment.contains('@')
        || (bytes.len() >= HEX_ID_CHARS_MIN && all(u8::is_ascii_hexdigit))
        || is_date(bytes)
        || (bytes.len() > TOKEN_CHARS_MIN && bytes.iter().any(u8::is_ascii_alphabetic))
}

/// 8-4-4-4-12 hexadecimal digits (RFC 9562 section 4).
fn is_uuid(bytes: &[u8]) -> bool {
    bytes.len() == 36
        && bytes.iter().enumerate().all(|(i, byte)| {
            if matches!(i, 8 | 13 | 18 | 23) { *byte == b'-' } else { byte.is_ascii_hexdigit() }
        })
}

/// 2026-11-22.
fn is_date(bytes: &[u8]) -> bool {
    bytes.len() == 10
        && bytes
            .iter()
            .enumerate()
            .all(|(i, byte)| if matches!(i, 4 | 7) { *byte == b'-' } else { byte.is_ascii_digit() })
}

/// The operations that have a name of their own: the first ones up to a bound.
#[derive(Debug)]
pub struct Operations {
    known: HashSet<String>,
    max: usize,
    folded: u64,
    buffer: String,
}

impl Operations {
    pub fn new(max: usize) -> Operations {
        Operations { known: HashSet::new(), max, folded: 0, buffer: String::new() }
    }

    /// The name of an operation: method and template, or [`OTHER`] past the bound.
    pub fn name(&mut self, method: &str, template: &str) -> &str {
        self.buffer.clear();
        self.buffer.push_str(method);
        self.buffer.push(' ');
        self.buffer.push_str(template);
        if !self.known.contains(&self.buffer) {
            if self.known.len() >= self.max {
                self.folded += 1;
                return OTHER;
            }
            self.known.insert(self.buffer.clone());
        }
        &self.buffer
    }

    /// Exchanges that were named [`OTHER`] so far.
    pub fn folded(&self) -> u64 {
        self.folded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_become_placeholders_and_words_stay() {
        for (path, template) in [
            ("/", "/"),
            ("/orders/17", "/orders/{id}"),
            ("/v1/users/0b9f2c1e-7f5a-4a39-9b60-3f1d2f0e9a11/cart", "/v1/users/{id}/cart"),
            ("/commit/deadbeef01", "/commit/{id}"),
            ("/decade", "/decade"),
            ("/users/a@b.example", "/users/{id}"),
            ("/reports/2026-11-22", "/reports/{id}"),
            ("/t/eyJhbGciOiJIUzI1NiIsInR5cCI6", "/t/{id}"),
            ("/catalog/shoes-2", "/catalog/shoes-2"),
            ("*", "*"),
        ] {
            assert_eq!(template_path(path), template, "{path}");
        }
        assert!(template_path(&"/a".repeat(40)).ends_with("/a/{rest}"));
    }

    #[test]
    fn past_the_bound_operations_share_a_name() {
        let mut operations = Operations::new(1);
        assert_eq!(operations.name("GET", "/a"), "GET /a");
        assert_eq!(operations.name("GET", "/b"), OTHER);
        assert_eq!(operations.name("GET", "/a"), "GET /a");
        assert_eq!(operations.folded(), 1);
    }
}
