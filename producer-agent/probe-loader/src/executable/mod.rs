//! Executables and libraries (System V ABI): where their symbols, their functions and Go's own table are in the file.
//!
//! A file may be anybody's: nothing that it says is believed, and it is never mapped, since it may shrink meanwhile.

pub mod bytes;
pub mod symbols;

use std::fs::File;

use object::elf::{EM_AARCH64, EM_X86_64, FileHeader64, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};
use object::{LittleEndian, ReadCache};

/// Sections and segments of a file that is looked at.
const HEADERS_MAX: usize = 1024;

const MACHINE: u16 = if cfg!(target_arch = "aarch64") { EM_AARCH64 } else { EM_X86_64 };

/// Where a function lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Function {
    pub address: u64,
    pub bytes: u64,
}

/// A part of the file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Part {
    pub offset: u64,
    pub bytes: u64,
}

impl Part {
    pub fn end(self) -> u64 {
        self.offset.saturating_add(self.bytes)
    }
}

/// Symbols, and their names.
#[derive(Debug, Clone, Copy, Default)]
pub struct Table {
    pub symbols: Part,
    pub names: Part,
}

/// What is needed of a file's headers.
#[derive(Debug, Default)]
pub struct Image {
    pub is_x86: bool,
    pub is_of_go: bool,
    /// What others may link with, and their names.
    pub exported: Table,
    /// All, in a file that is not stripped.
    pub symbols: Table,
    /// Go's table of functions.
    pub table: Part,
    pub text_address: u64,
    /// Address, and where its bytes are.
    segments: Vec<(u64, Part)>,
}

impl Image {
    /// None if it is no executable of this machine's kind.
    pub fn of(file: &File) -> Option<Image> {
        let cache = ReadCache::new(file);
        let header = FileHeader64::<LittleEndian>::parse(&cache).ok()?;
        let endian = header.endian().ok()?;
        if header.e_machine(endian) != MACHINE
            || usize::from(header.e_shnum(endian)) > HEADERS_MAX
            || usize::from(header.e_phnum(endian)) > HEADERS_MAX
        {
            return None;
        }
        let mut image = Image { is_x86: MACHINE == EM_X86_64, ..Image::default() };
        let sections = header.sections(endian, &cache).ok()?;
        // A table of its own length stands elsewhere.
        if sections.len() > HEADERS_MAX {
            return None;
        }
        for section in sections.iter() {
            let part = Part { offset: section.sh_offset(endian), bytes: section.sh_size(endian) };
            match sections.section_name(endian, section) {
                Ok(b".go.buildinfo") => image.is_of_go = true,
                Ok(b".dynsym") => image.exported.symbols = part,
                Ok(b".dynstr") => image.exported.names = part,
                Ok(b".symtab") => image.symbols.symbols = part,
                Ok(b".strtab") => image.symbols.names = part,
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
    pub fn part_of(&self, function: Function) -> Option<Part> {
        self.segments.iter().find_map(|(address, part)| {
            let inside = function.address.checked_sub(*address)?;
            let is_inside = inside.checked_add(function.bytes)? <= part.bytes;
            is_inside.then(|| Part { offset: part.offset.saturating_add(inside), bytes: function.bytes })
        })
    }
}
