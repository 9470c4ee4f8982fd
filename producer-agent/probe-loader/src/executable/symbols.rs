//! Functions of a file by their names, in its tables of symbols.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::{Function, Part, Table};

/// Symbols of 24 bytes, and their names: what has more is not looked through. Node has some 10 MiB.
const BYTES_MAX: u64 = 64 << 20;

const SYMBOL_BYTES: usize = 24;

/// Longer names are not looked at by [`each`].
const NAME_BYTES_MAX: usize = 4096;

const STT_FUNC: u8 = 2;

/// Those of these names that are defined in the table.
///
/// # Errors
/// If the file cannot be read.
pub fn find(file: &File, table: Table, wanted: &[&'static str]) -> io::Result<Vec<Option<Function>>> {
    let mut functions = vec![None; wanted.len()];
    let (Some(names), Some(symbols)) = (read(file, table.names)?, read(file, table.symbols)?) else {
        return Ok(functions);
    };
    find_in(&names, &symbols, wanted, &mut functions);
    Ok(functions)
}

/// All that are defined in the table, by name. What is no text has none.
///
/// # Errors
/// If the file cannot be read.
pub fn each(file: &File, table: Table, mut with: impl FnMut(&str, Function)) -> io::Result<()> {
    let (Some(names), Some(symbols)) = (read(file, table.names)?, read(file, table.symbols)?) else { return Ok(()) };
    for symbol in symbols.as_chunks::<SYMBOL_BYTES>().0 {
        let Some((at, function)) = function(symbol) else { continue };
        let name = names.get(at..).unwrap_or_default();
        let end = memchr::memchr(0, &name[..name.len().min(NAME_BYTES_MAX)]);
        if let Some(name) = end.and_then(|end| std::str::from_utf8(&name[..end]).ok()) {
            with(name, function);
        }
    }
    Ok(())
}

/// Where its name begins, and the function; none if it is another thing, or is defined elsewhere.
fn function(symbol: &[u8; SYMBOL_BYTES]) -> Option<(usize, Function)> {
    let [n0, n1, n2, n3, kind, _, section0, section1, values @ ..] = *symbol;
    if kind & 15 != STT_FUNC || (section0, section1) == (0, 0) {
        return None;
    }
    let [address, bytes] = [0, 8].map(|at| values[at..].first_chunk().map_or(0, |value| u64::from_le_bytes(*value)));
    Some((u32::from_le_bytes([n0, n1, n2, n3]) as usize, Function { address, bytes }))
}

fn find_in(names: &[u8], symbols: &[u8], wanted: &[&'static str], functions: &mut [Option<Function>]) {
    let mut longest_first: Vec<usize> = (0..wanted.len()).collect();
    longest_first.sort_by_key(|at| std::cmp::Reverse(wanted[*at].len()));
    for symbol in symbols.as_chunks::<SYMBOL_BYTES>().0 {
        let Some((at, function)) = function(symbol) else { continue };
        let Some(name) = names.get(at..) else { continue };
        let is_named =
            |at: &&usize| name.strip_prefix(wanted[**at].as_bytes()).is_some_and(|rest| rest.first() == Some(&0));
        if let Some(at) = longest_first.iter().find(is_named) {
            functions[*at] = Some(function);
        }
    }
}

/// None where there is nothing, or too much.
fn read(file: &File, part: Part) -> io::Result<Option<Vec<u8>>> {
    if part.bytes == 0 || part.bytes > BYTES_MAX || part.end() > file.metadata()?.len() {
        return Ok(None);
    }
    let mut bytes = vec![0; part.bytes as usize];
    file.read_exact_at(&mut bytes, part.offset)?;
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WANTED: [&str; 2] = ["SSL_read", "SSL_read_ex"];

    fn symbol(name: u32, kind: u8, section: u16, address: u64) -> Vec<u8> {
        let words =
            [&name.to_le_bytes()[..], &[kind, 0], &section.to_le_bytes(), &address.to_le_bytes(), &7_u64.to_le_bytes()];
        words.concat()
    }

    /// Linkers let one name end within another.
    #[test]
    fn functions_are_found_by_their_whole_names_where_they_are_defined() {
        let names = b"\0PySSL_read\0SSL_read_ex\0SSL_read_early_data\0";
        let symbols = [
            symbol(12, 0x12, 0, 1),
            symbol(24, 0x12, 9, 2),
            symbol(12, 0x11, 9, 3),
            symbol(12, 0x12, 9, 4),
            symbol(3, 0x22, 9, 5),
        ];
        let mut found = [None; 2];
        find_in(names, &symbols.concat(), &WANTED, &mut found);
        assert_eq!(found, [5, 4].map(|address| Some(Function { address, bytes: 7 })));
    }

    proptest! {
        #[test]
        fn symbols_of_any_bytes_do_no_harm(names in proptest::collection::vec(any::<u8>(), 0..200), symbols in proptest::collection::vec(any::<u8>(), 0..500)) {
            find_in(&names, &symbols, &WANTED, &mut [None; 2]);
        }
    }
}
