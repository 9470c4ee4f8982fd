//! Functions by the table of symbols, which a stripped program has not.

use std::io;

use super::{Functions, NAMES};
use crate::executable::bytes::{Blocks, ReadAt};
use crate::executable::{Function, Part};

const SYMBOL_BYTES: u64 = 24;
/// Symbols that are looked through; Kubernetes has some hundred thousand.
const SYMBOLS_MAX: u64 = 4 << 20;
const STT_FUNC: u8 = 2;

/// Those that are there (System V ABI, "Symbol Table").
pub fn find<R: ReadAt>(blocks: &mut Blocks<R>, symbols: Part, names: Part) -> io::Result<Functions> {
    let mut functions = Functions::default();
    if symbols.bytes == 0 || names.bytes == 0 {
        return Ok(functions);
    }
    let wanted = blocks.find_strings(names, NAMES)?.map(|at| Some((at? - names.offset) as u32));
    if wanted.iter().all(Option::is_none) {
        return Ok(functions);
    }
    for number in 0..(symbols.bytes / SYMBOL_BYTES).min(SYMBOLS_MAX) {
        let at = symbols.offset.saturating_add(number * SYMBOL_BYTES);
        let Some(symbol) = blocks.get(at, SYMBOL_BYTES as usize)? else { break };
        let Some((head, rest)) = symbol.split_first_chunk::<8>() else { break };
        let [a, b, c, d, kind, ..] = *head;
        let name = Some(u32::from_le_bytes([a, b, c, d]));
        let (address, bytes) = rest.split_at(8);
        let number = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes).unwrap_or_default();
        let function = Function { address: number(address), bytes: number(bytes) };
        if kind & 15 == STT_FUNC
            && function.bytes > 0
            && let Some(at) = wanted.iter().position(|wanted| *wanted == name)
        {
            functions[at] = Some(function);
        }
    }
    Ok(functions)
}
