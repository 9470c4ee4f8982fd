//! Programs of Go: where crypto/tls encrypts and decrypts in an executable, and where it returns.
//!
//! In: an executable of x86_64 that Go linked (it has the section `.go.buildinfo`). Out: offsets of probes, or why there are none. Functions are found in `.symtab`
//! ([`symbols`]), else in Go's own table of functions, which stripped programs have, too ([`table`]); each proves itself by its first instructions ([`code`]).
//!
//! The file may be anybody's: it is read in blocks, never as a whole and never mapped, since it may shrink meanwhile. Bounds: those of each table, and
//! [`READS_MAX`](crate::executable::bytes::READS_MAX) blocks.

mod code;
mod symbols;
mod table;

use std::fs::File;
use std::io;

use crate::TlsFunctions;
use crate::executable::bytes::Blocks;
use crate::executable::{Function, Image};

/// A function, and the programs for its entry and for each of its returns. In the order in which they are attached, so that a session is taken for one that was seen from its
/// beginning on only once all else is seen.
const FUNCTIONS: [(&str, &str, Option<&str>); 5] = [
    ("crypto/tls.(*Conn).Write", "on_go_write", Some("on_go_return")),
    ("crypto/tls.(*Conn).Read", "on_go_read", Some("on_go_return")),
    ("crypto/tls.(*Conn).Close", "on_go_close", None),
    ("crypto/tls.(*Conn).clientHandshake", "on_go_handshake", Some("on_go_handshake_return")),
    ("crypto/tls.(*Conn).serverHandshake", "on_go_handshake", Some("on_go_handshake_return")),
];
const WRITE: usize = 0;
const READ: usize = 1;

const NAMES: [&str; FUNCTIONS.len()] = {
    let mut names = [""; FUNCTIONS.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = FUNCTIONS[at].0;
        at += 1;
    }
    names
};

/// Why a program of Go that has crypto/tls is not watched.
#[derive(Debug, thiserror::Error)]
pub enum GoError {
    #[error("its file cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    #[error("{0} does not begin as functions of Go 1.17 and later do")]
    OtherBeginning(&'static str),
    #[error("instructions of {0} cannot be decoded")]
    NotDecoded(&'static str),
    #[error("{0} has no return, or too many")]
    Returns(&'static str),
    #[error("it has not both of Write and Read")]
    Half,
}

type Functions = [Option<Function>; FUNCTIONS.len()];

/// Whether Go linked it.
pub fn is_program_of_go(file: &File) -> bool {
    Image::of(file).is_some_and(|image| image.is_of_go)
}

/// Where the probes go; none if it is no program of Go, or has not crypto/tls.
///
/// # Errors
/// If it has, and its functions are not understood.
pub fn functions(file: &File) -> Result<Option<TlsFunctions>, GoError> {
    let Some(image) = Image::of(file).filter(|image| image.is_of_go && image.is_x86) else { return Ok(None) };
    let mut blocks = Blocks::new(file);
    let mut found = symbols::find(&mut blocks, image.symbols.symbols, image.symbols.names)?;
    if found[WRITE].is_none() && found[READ].is_none() {
        found = table::find(&mut blocks, image.table, image.text_address)?;
    }
    match (found[WRITE], found[READ]) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {}
        _ => return Err(GoError::Half),
    }
    let (mut entries, mut returns) = (Vec::new(), Vec::new());
    for ((name, entry, end), function) in FUNCTIONS.into_iter().zip(found) {
        let Some(function) = function else { continue };
        let part = image.part_of(function).ok_or(GoError::NotDecoded(name))?;
        let code = code::Code::read(&mut blocks, part, name)?;
        entries.push((entry, part.offset));
        if let Some(end) = end {
            returns.extend(code.returns(name)?.into_iter().map(|inside| (end, part.offset + inside)));
        }
    }
    returns.extend(entries);
    Ok(Some(TlsFunctions { probes: returns, random_at: None }))
}

#[cfg(test)]
mod tests;
