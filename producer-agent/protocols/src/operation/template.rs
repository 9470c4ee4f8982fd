//! Paths with placeholders instead of identifiers.
//!
//! A segment becomes `{id}` if it
//!
//! 1. consists of digits, or begins with one and otherwise has only digits, `T`, `Z` and the separators
//!    `-` `_` `.` `:` `,` `+`: numbers, dates, times, IP addresses;
//! 2. is a UUID, or at least 8 hexadecimal digits of which one is a decimal digit, `0x` before them allowed;
//! 3. has an `@` (e-mail addresses), a `%` or a byte that is no ASCII (what a program had to encode is a value);
//! 4. has four decimal digits in a row: `order-10023`;
//! 5. has at least 12 characters and changes at least three times directly between a letter and a digit: tokens;
//! 6. has at least 10 letters in a row that are no word: with a small letter alone between two capital ones, 6 consonants in a row (5
//!    among 16 letters or more of one case), or more than 40 letters: tokens and secrets without digits;
//! 7. has a dot inside, but is neither a file of a web page (`app.min.js`) nor a version (`v1.2`) nor a type in a package
//!    (`shop.v1.Carts`): hosts and names of people and files;
//! 8. has more than 64 bytes: no plain word has.
//!
//! All else stays, so also `v1`, `v2beta1`, `sha256` and `x86_64`. What follows a `;` in a segment is cut off, since session ids are
//! carried there. Behind the eighth segment `{more}` stands for the rest. Bound: a template has no more than [`TEMPLATE_BYTES_MAX`].
//!
//! No rule knows a value from a word for certain: a short name of a person without digits stays as it is.

pub const IDENTIFIER: &str = "{id}";
const MORE: &str = "{more}";
/// A target that is not a path: the authority of a CONNECT.
const AUTHORITY: &str = "{authority}";

const SEGMENTS_MAX: usize = 8;
const WORD_BYTES_MAX: usize = 64;
const TOKEN_BYTES_MIN: usize = 12;
const TOKEN_CHANGES_MIN: usize = 3;
const DIGIT_RUN_MIN: usize = 4;
const HEX_DIGITS_MIN: usize = 8;
const LETTERS_SUSPECT_MIN: usize = 10;
const LETTERS_LONG_MIN: usize = 16;
const LETTERS_MAX: usize = 40;

/// Words of two letters in names such as `getUserByName`.
const SHORT_WORDS: [&[u8; 2]; 18] = [
    b"As", b"At", b"Be", b"By", b"Db", b"Do", b"Go", b"Id", b"If", b"In", b"Is", b"My", b"No", b"Of", b"On", b"Or",
    b"To", b"Up",
];

/// The longest template.
pub const TEMPLATE_BYTES_MAX: usize = SEGMENTS_MAX * (WORD_BYTES_MAX + 1) + 1 + MORE.len();

/// Ends of the names of files that a web page is made of.
const EXTENSIONS: &[&[u8]] = &[
    b"action",
    b"asp",
    b"aspx",
    b"avif",
    b"cgi",
    b"css",
    b"do",
    b"gif",
    b"htm",
    b"html",
    b"ico",
    b"jpeg",
    b"jpg",
    b"js",
    b"json",
    b"jsp",
    b"map",
    b"md",
    b"mjs",
    b"php",
    b"png",
    b"svc",
    b"svg",
    b"ttf",
    b"txt",
    b"wasm",
    b"webmanifest",
    b"webp",
    b"woff",
    b"woff2",
    b"xml",
    b"yaml",
];

enum Segment<'a> {
    Plain(&'a str),
    Identifier,
}

/// Appends the template of a path without its query.
pub fn push(template: &mut String, path: &str) {
    let Some(relative) = path.strip_prefix('/') else {
        return template.push_str(if path == "*" || path == super::UNKNOWN { path } else { AUTHORITY });
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

/// The path alone.
pub fn without_query(path: &str) -> &str {
    let end = path.bytes().position(|byte| matches!(byte, b'?' | b'#'));
    &path[..end.unwrap_or(path.len())]
}

fn template_segment(segment: &str) -> Segment<'_> {
    let end = segment.bytes().position(|byte| byte == b';');
    let word = &segment[..end.unwrap_or(segment.len())];
    let bytes = word.as_bytes();
    if bytes.len() > WORD_BYTES_MAX {
        return Segment::Identifier;
    }
    if bytes.len() >= LETTERS_SUSPECT_MIN && has_secret(bytes) {
        return Segment::Identifier;
    }
    // Most words have none of the bytes without which the other rules say no.
    let (mut has_digit, mut has_dot) = (false, false);
    for byte in bytes {
        match byte {
            b'@' | b'%' | 0x80.. => return Segment::Identifier,
            b'0'..=b'9' => has_digit = true,
            b'.' => has_dot = true,
            _ => {}
        }
    }
    let is_identifier = has_digit && is_identifier(bytes) || has_dot && is_name_with_dots(bytes);
    if is_identifier { Segment::Identifier } else { Segment::Plain(word) }
}

/// Rules 1, 2, 4 and 5.
fn is_identifier(word: &[u8]) -> bool {
    is_number_or_time(word) || is_hex(word) || is_uuid(word) || is_token(word)
}

/// Rule 6.
fn has_secret(word: &[u8]) -> bool {
    word.split(|byte| !byte.is_ascii_alphabetic()).any(is_secret)
}

fn is_secret(letters: &[u8]) -> bool {
    if letters.len() < LETTERS_SUSPECT_MIN {
        return false;
    }
    let is_capital = |letter: &u8| letter.is_ascii_uppercase();
    let has_one_case = letters.iter().all(is_capital) || !letters.iter().any(is_capital);
    let run_max = if has_one_case && letters.len() >= LETTERS_LONG_MIN { 5 } else { 6 };
    letters.len() > LETTERS_MAX
        || letters.windows(3).any(is_lone_small_letter)
        || letters.windows(run_max).any(|run| run.iter().all(|letter| !b"aeiouyAEIOUY".contains(letter)))
}

/// Between two capital ones, and not the end of a short word as in `getUserByName`.
fn is_lone_small_letter(three: &[u8]) -> bool {
    let [first, second, third] = three else { return false };
    first.is_ascii_uppercase()
        && second.is_ascii_lowercase()
        && third.is_ascii_uppercase()
        && !SHORT_WORDS.iter().any(|word| **word == [*first, *second])
}

/// Rule 7.
fn is_name_with_dots(word: &[u8]) -> bool {
    let mut parts = word.split(|byte| *byte == b'.');
    let (first, last) = (parts.next().unwrap_or_default(), parts.next_back().unwrap_or_default());
    let is_version = matches!(first, [b'v' | b'V', b'0'..=b'9', ..]) && last.first().is_some_and(u8::is_ascii_digit);
    let is_hidden = first.is_empty();
    let is_type = last.first().is_some_and(u8::is_ascii_uppercase) && first.first().is_some_and(u8::is_ascii_lowercase);
    !(is_hidden || last.is_empty() || is_version || is_type || EXTENSIONS.contains(&last))
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
        let mut template = String::new();
        push(&mut template, without_query(path));
        template
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
            ("/reset/KJhgFdSaQwErTyUiOp", "/reset/{id}"),
            ("/reset/qwrtplkjhgf", "/reset/{id}"),
            ("/invite/abc_XkCdWoRdHoRsE", "/invite/{id}"),
            ("/users/ann.smith", "/users/{id}"),
            ("/sites/www.example.com/pages", "/sites/{id}/pages"),
            ("/files/cv-ann-smith.pdf", "/files/{id}"),
            ("/hello%20world%20again", "/{id}"),
            ("/%E4%B8%AD%E6%96%87", "/{id}"),
            ("/tags/中文/x", "/tags/{id}/x"),
            ("/%", "/{id}"),
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
            "/order-items",
            "/index.html",
            "/shop.v1.Carts/AddItem",
            "/getUserProfileByName",
            "/HTTPServerURLHandler",
            "/notification-preferences",
            "/internationalization",
            "/api/v1.27/containers",
            "/a/b/c/d/e/f/g/h",
            "/.well-known/openid-configuration",
        ] {
            assert_eq!(template_of(path), path);
        }
    }

    #[test]
    fn a_template_has_its_bound() {
        let path = format!("/{}", "x.html;s/".repeat(3000));
        assert!(template_of(&path).len() <= TEMPLATE_BYTES_MAX);
        let word = format!("/{}.js", "ab-".repeat(20));
        assert_eq!(template_of(&word.repeat(20)).len(), TEMPLATE_BYTES_MAX - SEGMENTS_MAX);
    }
}
