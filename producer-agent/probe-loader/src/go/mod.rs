//! Programs of Go: where crypto/tls encrypts and decrypts in an executable, and where it returns.
//!
//! In: an executable of x86_64 that Go linked (it has the section `.go.buildinfo`). Out: offsets of probes, or why there are none. Functions are found in `.symtab`
//! ([`symbols`]), else in Go's own table of functions, which stripped programs have, too ([`table`]); each proves itself by its first instructions ([`code`]).
//!
//! The file may be anybody's: it is read in blocks, never as a whole and never mapped, since it may shrink meanwhile. Bounds: those of each table, and
//! [`bytes::READS_MAX`] blocks.

mod bytes;
mod code;
mod symbols;
mod table;

use std::fs::File;
use std::io;

use object::elf::{EM_X86_64, FileHeader64, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};
use object::{LittleEndian, ReadCache};

use crate::TlsFunctions;
use bytes::Blocks;

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

/// Sections and segments of a file that is looked at.
const HEADERS_MAX: usize = 1024;

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

/// Where a function lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Function {
    address: u64,
    bytes: u64,
}

type Functions = [Option<Function>; FUNCTIONS.len()];

/// A part of the file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Part {
    offset: u64,
    bytes: u64,
}

impl Part {
    fn end(self) -> u64 {
        self.offset.saturating_add(self.bytes)
    }
}

/// What is needed of an executable's headers.
#[derive(Debug, Default)]
struct Image {
    is_of_go: bool,
    symbols: Part,
    names: Part,
    /// Go's table of functions.
    table: Part,
    text_address: u64,
    /// Address, and where its bytes are.
    segments: Vec<(u64, Part)>,
}

impl Image {
    /// None if it is no executable of this machine's kind.
    fn of(file: &File) -> Option<Image> {
        let cache = ReadCache::new(file);
        let header = FileHeader64::<LittleEndian>::parse(&cache).ok()?;
        let endian = header.endian().ok()?;
        if header.e_machine(endian) != EM_X86_64
            || usize::from(header.e_shnum(endian)) > HEADERS_MAX
            || usize::from(header.e_phnum(endian)) > HEADERS_MAX
        {
            return None;
        }
        let mut image = Image::default();
        let sections = header.sections(endian, &cache).ok()?;
        // A table of its own length stands elsewhere.
        if sections.len() > HEADERS_MAX {
            return None;
        }
        for section in sections.iter() {
            let part = Part { offset: section.sh_offset(endian), bytes: section.sh_size(endian) };
            match sections.section_name(endian, section) {
                Ok(b".go.buildinfo") => image.is_of_go = true,
                Ok(b".symtab") => image.symbols = part,
                Ok(b".strtab") => image.names = part,
                // The second is that of programs at any address, before Go 1.26.
                Ok(b".gopclntab" | b".data.rel.ro.gopclntab") => image.table = part,
                Ok(b".text") => image.text_address = section.sh_addr(endian),
                _ => {}
            }
        }
        for segment in header.program_headers(endian, &cache).ok()? {
            if segment.p_type(endian) == PT_LOAD {
                let part = Part { offset: segment.p_offset(endian), bytes: segment.p_filesz(endian) };
                image.segments.push((segment.p_vaddr(endian), part));
            }
        }
        Some(image)
    }

    /// Where a function's bytes are in the file.
    fn part_of(&self, function: Function) -> Option<Part> {
        self.segments.iter().find_map(|(address, part)| {
            let inside = function.address.checked_sub(*address)?;
            let is_inside = inside.checked_add(function.bytes)? <= part.bytes;
            is_inside.then(|| Part { offset: part.offset.saturating_add(inside), bytes: function.bytes })
        })
    }
}

/// Whether Go linked it.
pub fn is_program_of_go(file: &File) -> bool {
    Image::of(file).is_some_and(|image| image.is_of_go)
}

/// Where the probes go; none if it is no program of Go, or has not crypto/tls.
///
/// # Errors
/// If it has, and its functions are not understood.
pub fn functions(file: &File) -> Result<Option<TlsFunctions>, GoError> {
    let Some(image) = Image::of(file).filter(|image| image.is_of_go) else { return Ok(None) };
    let mut blocks = Blocks::new(file);
    let mut found = symbols::find(&mut blocks, image.symbols, image.names)?;
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
    Ok(Some(TlsFunctions(returns)))
}

#[cfg(test)]
mod tests;
