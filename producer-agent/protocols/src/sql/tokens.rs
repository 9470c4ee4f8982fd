//! The words and signs of a statement, as PostgreSQL, MySQL or Cassandra tells them apart.
//!
//! In: bytes, possibly cut at their end. Out: one token after another; what touches the cut is [`Token::Cut`], but for values, which are
//! values even if their end is missing.

use super::Dialect;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// White space or a comment.
    Space,
    Word(&'a [u8]),
    /// With its quotes.
    QuotedName(&'a [u8]),
    /// A literal, a number or a parameter.
    Value,
    Operator(&'a [u8]),
    Comma,
    Open(u8),
    Close(u8),
    Semicolon,
    End,
    /// What follows is missing, or cannot be told.
    Cut,
}

pub(super) struct Tokens<'a> {
    rest: &'a [u8],
    is_mysql: bool,
    is_cql: bool,
    is_cut: bool,
    /// The value before was the last thing that can be told.
    ends_here: bool,
}

impl<'a> Tokens<'a> {
    pub fn new(dialect: Dialect, statement: &'a [u8], is_cut: bool) -> Self {
        // Some drivers send the zero that ends a string twice.
        let end = statement.iter().position(|byte| *byte == 0);
        let is_cut = is_cut && end.is_none();
        let rest = &statement[..end.unwrap_or(statement.len())];
        let (is_mysql, is_cql) = (dialect == Dialect::MySql, dialect == Dialect::Cql);
        Self { rest, is_mysql, is_cql, is_cut, ends_here: false }
    }

    pub fn next(&mut self) -> Token<'a> {
        let Some(first) = self.rest.first().copied().filter(|_| !self.ends_here) else {
            return if self.is_cut || self.ends_here { Token::Cut } else { Token::End };
        };
        if self.is_cql
            && let Some(bytes) = bare_literal(self.rest, self.is_cut)
        {
            self.take(bytes);
            return Token::Value;
        }
        match first {
            _ if first.is_ascii_whitespace() => self.run(|byte| byte.is_ascii_whitespace(), Token::Space),
            b'-' if self.begins_comment() => self.run(|byte| byte != b'\n', Token::Space),
            b'#' if self.is_mysql => self.run(|byte| byte != b'\n', Token::Space),
            b'/' if self.is_cql && self.rest.starts_with(b"//") => self.run(|byte| byte != b'\n', Token::Space),
            b'/' if self.rest.starts_with(b"/*") => self.comment(),
            b'\'' => self.string(b'\'', false),
            b'"' if self.is_mysql => self.string(b'"', false),
            b'`' if self.is_mysql => self.quoted_name(b'`'),
            b'"' => self.quoted_name(b'"'),
            b'?' if self.is_mysql || self.is_cql => self.one(Token::Value),
            b'@' if self.is_mysql => self.variable(),
            b'$' => self.dollar(),
            b'0'..=b'9' => self.number(),
            b'.' if self.rest.get(1).is_some_and(u8::is_ascii_digit) => self.number(),
            _ if is_word_start(first) => self.word(),
            b',' => self.one(Token::Comma),
            b'(' | b'[' | b'{' => self.one(Token::Open(first)),
            b')' | b']' | b'}' => self.one(Token::Close(first)),
            b';' => self.one(Token::Semicolon),
            _ => self.operator(),
        }
    }

    fn take(&mut self, bytes: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(bytes.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    fn one(&mut self, token: Token<'a>) -> Token<'a> {
        self.take(1);
        token
    }

    fn run(&mut self, belongs: impl Fn(u8) -> bool, token: Token<'a>) -> Token<'a> {
        let end = self.rest.iter().position(|byte| !belongs(*byte));
        self.take(end.unwrap_or(self.rest.len()));
        token
    }

    /// In MySQL two signs alone are two signs.
    fn begins_comment(&self) -> bool {
        let behind = self.rest.strip_prefix(b"--");
        behind.is_some_and(|behind| !self.is_mysql || behind.first().is_none_or(|byte| *byte <= b' '))
    }

    /// With what MySQL writes before the name.
    fn variable(&mut self) -> Token<'a> {
        let signs = self.rest.iter().take_while(|byte| **byte == b'@').count();
        let letters = self.rest[signs..].iter().take_while(|byte| is_word(**byte)).count();
        if signs + letters == self.rest.len() && self.is_cut {
            self.rest = &[];
            return Token::Cut;
        }
        Token::Word(self.take(signs + letters))
    }

    /// Comments of PostgreSQL stand within each other.
    fn comment(&mut self) -> Token<'a> {
        let mut depth = 0u32;
        while !self.rest.is_empty() {
            if self.rest.starts_with(b"/*") && (depth == 0 || !(self.is_mysql || self.is_cql)) {
                depth += 1;
                self.take(2);
            } else if self.rest.starts_with(b"*/") {
                depth = depth.saturating_sub(1);
                self.take(2);
                if depth == 0 {
                    break;
                }
            } else {
                self.take(1);
            }
        }
        Token::Space
    }

    fn string(&mut self, quote: u8, escapes: bool) -> Token<'a> {
        self.take(1);
        loop {
            match self.rest {
                [] => break,
                [b'\\', _, ..] if escapes => self.take(2),
                // It ends here, or it does not: a setting of the session says which.
                [b'\\', second, ..] if *second == quote && !self.is_cql => {
                    self.ends_here = true;
                    break;
                }
                [first, second, ..] if *first == quote && *second == quote => self.take(2),
                [first, ..] if *first == quote => {
                    self.take(1);
                    break;
                }
                _ => self.take(1),
            };
        }
        Token::Value
    }

    fn quoted_name(&mut self, quote: u8) -> Token<'a> {
        let mut end = 1;
        loop {
            match &self.rest[end.min(self.rest.len())..] {
                [] => {
                    self.rest = &[];
                    self.ends_here = true;
                    return Token::Cut;
                }
                [first, second, ..] if *first == quote && *second == quote => end += 2,
                [first, ..] if *first == quote => return Token::QuotedName(self.take(end + 1)),
                _ => end += 1,
            }
        }
    }

    /// A parameter (`$1`) or a string between two tags (`$$`, `$tag$`).
    fn dollar(&mut self) -> Token<'a> {
        let tag_end = self.rest[1..].iter().position(|byte| !is_word(*byte) || *byte == b'$').map(|end| end + 1);
        let Some(tag_end) = tag_end else {
            // A parameter, even if its digits go on; a tag, if its end is missing.
            let is_parameter = self.rest.get(1).is_some_and(u8::is_ascii_digit);
            self.rest = &[];
            self.ends_here |= !is_parameter;
            return if is_parameter { Token::Value } else { Token::Cut };
        };
        let starts_tag = self.rest[tag_end] == b'$' && !self.rest[1].is_ascii_digit();
        if !starts_tag {
            self.take(tag_end);
            return Token::Value;
        }
        let tag = self.take(tag_end + 1);
        let end = self.rest.windows(tag.len()).position(|window| window == tag);
        self.take(end.map_or(self.rest.len(), |end| end + tag.len()));
        Token::Value
    }

    fn number(&mut self) -> Token<'a> {
        let mut before = b' ';
        let end = self.rest.iter().position(|byte| {
            let belongs = byte.is_ascii_alphanumeric()
                || matches!(byte, b'.' | b'_')
                || (matches!(byte, b'+' | b'-') && matches!(before, b'e' | b'E'));
            before = *byte;
            !belongs
        });
        self.take(end.unwrap_or(self.rest.len()));
        Token::Value
    }

    fn word(&mut self) -> Token<'a> {
        let end = self.rest.iter().position(|byte| !is_word(*byte)).unwrap_or(self.rest.len());
        let (word, behind) = self.rest.split_at(end);
        match (word, behind) {
            // It may go on, or turn out to stand before a string.
            (_, []) if self.is_cut => {
                self.rest = &[];
                Token::Cut
            }
            (b"E" | b"e", [b'\'', ..]) if !self.is_mysql && !self.is_cql => {
                self.take(1);
                self.string(b'\'', true)
            }
            (b"B" | b"b" | b"X" | b"x" | b"N" | b"n", [b'\'', ..]) => {
                self.take(1);
                self.string(b'\'', false)
            }
            (b"U" | b"u", [b'&', b'\'', ..]) if !self.is_mysql => {
                self.take(2);
                self.string(b'\'', false)
            }
            _ => Token::Word(self.take(end)),
        }
    }

    fn operator(&mut self) -> Token<'a> {
        let (is_mysql, is_cql) = (self.is_mysql, self.is_cql);
        let is_sign = |byte: u8| {
            b"+-*/<>=~!@#%^&|`?:\\".contains(&byte)
                && !(is_mysql && matches!(byte, b'@' | b'#' | b'`' | b'?'))
                && !(is_cql && matches!(byte, b'?' | b':'))
        };
        let mut end = 1;
        // A comment ends an operator; a minus behind a comparison is a number's.
        while let Some(byte) = self.rest.get(end)
            && is_sign(self.rest[0])
            && is_sign(*byte)
            && !matches!(byte, b'-' | b'+')
            && !self.rest[end..].starts_with(b"/*")
        {
            end += 1;
        }
        if self.rest[0] == b'.' {
            end = 1;
        }
        let end = if self.rest.starts_with(b"->") { 2 + usize::from(self.rest.starts_with(b"->>")) } else { end };
        Token::Operator(self.take(end))
    }
}

fn is_word_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn is_word(byte: u8) -> bool {
    is_word_start(byte) || byte.is_ascii_digit() || byte == b'$'
}

/// The length of what is a value in CQL though it has no quotes and may begin with a letter: a UUID, a duration of ISO 8601, a named parameter. What is cut
/// counts if it may become one.
fn bare_literal(bytes: &[u8], is_cut: bool) -> Option<usize> {
    uuid(bytes, is_cut).or_else(|| duration(bytes)).or_else(|| {
        let name = bytes.strip_prefix(b":").filter(|name| name.first().is_some_and(|first| is_word_start(*first)))?;
        Some(1 + name.iter().take_while(|byte| is_word(**byte)).count())
    })
}

fn uuid(bytes: &[u8], is_cut: bool) -> Option<usize> {
    const UUID_BYTES: usize = 36;
    let is_right = |(at, byte): (usize, &u8)| match at {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    let begun = &bytes[..bytes.len().min(UUID_BYTES)];
    let is_whole = begun.len() == UUID_BYTES && bytes.get(UUID_BYTES).is_none_or(|byte| !is_word(*byte));
    let may_be = is_cut && begun.len() < UUID_BYTES && begun.len() > 8;
    (begun.iter().enumerate().all(is_right) && (is_whole || may_be)).then_some(begun.len())
}

/// `P1Y2M10DT2H30M`, `P4W`, `P0001-02-03T04:05:06`.
fn duration(bytes: &[u8]) -> Option<usize> {
    let rest = bytes.strip_prefix(b"P")?;
    let first = rest.strip_prefix(b"T").unwrap_or(rest).first()?;
    let has_date = rest.len() > 4 && rest[..4].iter().all(u8::is_ascii_digit) && rest[4] == b'-';
    let belongs = |byte: &&u8| {
        byte.is_ascii_digit() || (has_date && matches!(byte, b'-' | b':' | b'T')) || b"YMWDTHS".contains(byte)
    };
    let length = rest.iter().take_while(belongs).count();
    let ends = rest.get(length).is_none_or(|byte| !is_word(*byte));
    let has_unit = has_date || rest[..length].last().is_some_and(u8::is_ascii_uppercase);
    (first.is_ascii_digit() && ends && has_unit).then_some(1 + length)
}
