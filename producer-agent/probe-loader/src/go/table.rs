//! Functions by the table that every program of Go has, since its runtime walks over stacks with it: `.gopclntab`, in the form that it has since Go 1.18.
//!
//! Layout (`runtime.pcHeader`, `runtime.functab`, `runtime._func`): a header; names, which end with zero; entries of two numbers, where a function begins, relative to the
//! text, and where more of it is said, relative to the entries; there, where it begins, once more, and where its name is.

use std::io;

use super::{Functions, NAMES};
use crate::executable::bytes::{Blocks, ReadAt};
use crate::executable::{Function, Part};

/// Of Go 1.18, and of Go 1.20 and later.
const MAGICS: [u32; 2] = [0xffff_fff0, 0xffff_fff1];

/// Two zeroes, one byte an instruction at least, eight a pointer.
const SHAPE: u32 = 0x0801_0000;

/// Functions that are looked through; Kubernetes has some hundred thousand.
const FUNCTIONS_MAX: u64 = 4 << 20;

/// Numbers of the header, in words of eight bytes behind its first eight.
const COUNT: u64 = 0;
const TEXT: u64 = 2;
const NAMES_AT: u64 = 3;
const NAMES_END: u64 = 4;
const ENTRIES_AT: u64 = 7;

/// Those that are there; none where the table is of another form. `text` is where the program's instructions begin, if the table does not say.
pub fn find<R: ReadAt>(blocks: &mut Blocks<R>, table: Part, text: u64) -> io::Result<Functions> {
    Ok(find_in(blocks, table, text)?.unwrap_or_default())
}

fn find_in<R: ReadAt>(blocks: &mut Blocks<R>, table: Part, text: u64) -> io::Result<Option<Functions>> {
    let mut functions = Functions::default();
    let (Some(magic), Some(shape)) = (blocks.u32(table.offset)?, blocks.u32(table.offset.saturating_add(4))?) else {
        return Ok(None);
    };
    if !MAGICS.contains(&magic) || shape != SHAPE {
        return Ok(None);
    }
    let mut word = |at: u64| blocks.u64(table.offset.saturating_add(8 + 8 * at));
    let words = (word(COUNT)?, word(TEXT)?, word(NAMES_AT)?, word(NAMES_END)?, word(ENTRIES_AT)?);
    let (Some(count), Some(said), Some(names_at), Some(names_end), Some(entries_at)) = words else { return Ok(None) };
    if count > FUNCTIONS_MAX || names_at > names_end || names_end > table.bytes || entries_at > table.bytes {
        return Ok(None);
    }
    // It is not filled in where the program may lie anywhere, nor by newer linkers.
    let text = if said == 0 { text } else { said };
    let names = Part { offset: table.offset.saturating_add(names_at), bytes: names_end - names_at };
    let wanted = blocks.find_strings(names, NAMES)?.map(|at| Some((at? - names.offset) as u32));
    if wanted.iter().all(Option::is_none) {
        return Ok(Some(functions));
    }
    let entries = table.offset.saturating_add(entries_at);
    for number in 0..count {
        let at = entries.saturating_add(8 * number);
        let (Some(begin), Some(said_at), Some(end)) =
            (blocks.u32(at)?, blocks.u32(at.saturating_add(4))?, blocks.u32(at.saturating_add(8))?)
        else {
            return Ok(None);
        };
        let about = entries.saturating_add(said_at.into());
        let (Some(again), Some(name)) = (blocks.u32(about)?, blocks.u32(about.saturating_add(4))?) else {
            return Ok(None);
        };
        if let Some(at) = wanted.iter().position(|wanted| *wanted == Some(name)) {
            let Some(bytes) = end.checked_sub(begin).filter(|bytes| *bytes > 0 && again == begin) else {
                return Ok(None);
            };
            functions[at] = Some(Function { address: text.saturating_add(begin.into()), bytes: bytes.into() });
        }
    }
    Ok(Some(functions))
}
