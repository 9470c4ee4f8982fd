//! The database that statements go to: the login says it, and commands change it.
//!
//! In: the client's packets. Out: what they change. What may change it in a way that is not read here ends what is known of it. Pure.

use std::sync::Arc;

use super::commands::statement_of;
use super::login::Capabilities;
use super::packet::{Packet, split_number};
use crate::resource;
use crate::statements::Operation;

/// Capabilities, the largest packet, the character set, and bytes that are left free.
const BEFORE_USER_BYTES: usize = 32;
/// What in a query of several statements may change the database behind the first one.
const CHANGING_WORDS: [&[u8]; 3] = [b"use", b"drop", b"execute"];

/// What a command does to the database that those behind it go to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Change {
    #[default]
    Nothing,
    /// If it succeeds, this is it; empty if there is none.
    To(Arc<str>),
    /// It may be any.
    Unknown,
}

impl Change {
    pub fn heap_bytes(&self) -> usize {
        if let Self::To(name) = self { name.len() } else { 0 }
    }

    fn to(name: &[u8]) -> Self {
        Self::To(resource::name(name).into())
    }
}

/// What the client's first packet asks for.
pub(super) fn of_login(packet: &Packet<'_>, capabilities: Capabilities) -> Change {
    if !capabilities.names_database() {
        return Change::To(Arc::default());
    }
    let behind_fixed = packet.head.get(BEFORE_USER_BYTES..).and_then(behind_text);
    let behind_secret = behind_fixed.and_then(|bytes| behind_secret(bytes, capabilities));
    of_text(behind_secret)
}

/// What a command asks for. `operation` is that of its statement, if it has one.
pub(super) fn of_command(packet: &Packet<'_>, operation: &Operation, capabilities: Option<Capabilities>) -> Change {
    let Some((kind, body)) = packet.head.split_first() else { return Change::Nothing };
    let is_cut = (packet.head.len() as u64) < packet.length;
    let operation = operation.as_deref().unwrap_or_default();
    match kind {
        // Initialise a database, drop one, change the user.
        0x02 if !is_cut => Change::to(body),
        0x02 | 0x06 => Change::Unknown,
        0x11 => of_text(behind_text(body).and_then(|bytes| behind_secret(bytes, capabilities?))),
        0x03 => match statement_of(body, capabilities) {
            Some(statement) => of_query(statement, operation, is_cut, capabilities),
            None => Change::Unknown,
        },
        // Prepared, or executed: not every server takes such a statement there.
        0x16 | 0x17 | 0xfa if begins(operation, "USE ") => Change::Unknown,
        _ => Change::Nothing,
    }
}

fn of_query(statement: &[u8], operation: &str, is_cut: bool, capabilities: Option<Capabilities>) -> Change {
    let end = memchr::memchr(b';', statement).unwrap_or(statement.len());
    let has_more = !statement.get(end + 1..).unwrap_or_default().trim_ascii().is_empty();
    if has_more && words(statement).any(|word| CHANGING_WORDS.iter().any(|known| word.eq_ignore_ascii_case(known))) {
        return Change::Unknown;
    }
    // What is behind the captured part may be another statement.
    if is_cut && capabilities.is_none_or(Capabilities::has_multi_statements) {
        return Change::Unknown;
    }
    let Some((verb, rest)) = operation.split_once(' ') else { return Change::Nothing };
    match verb.to_ascii_uppercase().as_str() {
        "USE" if !is_cut => identifier(rest).map_or(Change::Unknown, Change::to),
        "USE" | "EXECUTE" => Change::Unknown,
        "DROP" if begins(rest, "DATABASE") || begins(rest, "SCHEMA") => Change::Unknown,
        _ => Change::Nothing,
    }
}

fn begins(text: &str, word: &str) -> bool {
    text.get(..word.len()).is_some_and(|first| first.eq_ignore_ascii_case(word))
}

/// A name that stands alone, as it is or in backticks.
fn identifier(text: &str) -> Option<&[u8]> {
    let name = text.strip_prefix('`').and_then(|text| text.strip_suffix('`')).unwrap_or(text);
    let is_plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_$-.".contains(&byte));
    is_plain.then_some(name.as_bytes())
}

fn words(statement: &[u8]) -> impl Iterator<Item = &[u8]> {
    statement.split(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_')
}

fn of_text(bytes: Option<&[u8]>) -> Change {
    let name = bytes.and_then(|bytes| Some(&bytes[..memchr::memchr(0, bytes)?]));
    name.map_or(Change::Unknown, Change::to)
}

fn behind_text(bytes: &[u8]) -> Option<&[u8]> {
    bytes.get(memchr::memchr(0, bytes)? + 1..)
}

/// What proves who the user is, which is passed over.
fn behind_secret(bytes: &[u8], capabilities: Capabilities) -> Option<&[u8]> {
    if !capabilities.counts_secret() {
        return behind_text(bytes);
    }
    let (length, behind) = split_number(bytes)?;
    behind.get(usize::try_from(length).ok()?..)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{self, Dialect};

    fn change(statement: &str) -> Change {
        let operation = sql::name(Dialect::MySql, statement.as_bytes(), false);
        of_query(statement.as_bytes(), &operation, false, None)
    }

    #[test]
    fn only_what_is_certain_names_a_database() {
        for (statement, name) in [("use shop", "shop"), ("/* a */ USE `shop-2` ;", "shop-2"), ("Use\tshop_1", "shop_1")]
        {
            assert_eq!(change(statement), Change::To(name.into()), "{statement}");
        }
        for statement in [
            "select 1",
            "update t set a = 'use me'",
            "select 1; select 2",
            "drop table t",
            "insert into uses values (1);",
        ] {
            assert_eq!(change(statement), Change::Nothing, "{statement}");
        }
        for statement in [
            "select 1; use shop",
            "use shop; select 1",
            "use `a``b`",
            "drop database shop",
            "drop schema if exists shop",
            "execute immediate 'use shop'",
        ] {
            assert_eq!(change(statement), Change::Unknown, "{statement}");
        }
    }
}
