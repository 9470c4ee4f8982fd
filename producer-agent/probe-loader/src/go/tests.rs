#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;

use super::code::Code;
use super::*;
use crate::executable::Part;

/// A program that uses crypto/tls, built as `how` says.
fn build(folder: &Path, how: &[&str]) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../system-tests/clients/tls.go");
    let program = folder.join("program");
    let mut command = Command::new("go");
    let built = command.arg("build").args(how).arg("-o").arg(&program).arg(source).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    program
}

fn functions_of(program: &Path) -> Option<TlsFunctions> {
    functions(&File::open(program).unwrap()).unwrap()
}

/// What Go's own tools say of a program with symbols: how often each function returns, and where it begins.
#[test]
fn functions_and_their_returns_are_those_that_gos_own_tools_find() {
    let folder = tempfile::tempdir().unwrap();
    let program = build(folder.path(), &[]);
    let TlsFunctions { probes, .. } = functions_of(&program).unwrap();
    let told =
        Command::new("go").args(["tool", "objdump", "-s", r"crypto/tls.\(\*Conn\)"]).arg(&program).output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    let (mut name, mut entry, mut returns) = ("", Vec::new(), Vec::new());
    for line in told.lines() {
        if let Some(rest) = line.strip_prefix("TEXT ") {
            name = rest.split("(SB)").next().unwrap();
            entry.extend(NAMES.iter().filter(|known| **known == name).map(|_| true));
        } else if let Some((_, rest)) = line.split_once("0x").filter(|_| NAMES.contains(&name)) {
            let address = u64::from_str_radix(rest.split_whitespace().next().unwrap(), 16).unwrap();
            let is_return = rest.split_whitespace().nth(2).is_some_and(|word| word == "RET");
            if is_return && !name.ends_with("Close") {
                returns.push(address - 0x40_0000);
            }
        }
    }
    assert_eq!(entry.len(), NAMES.len());
    let mut found: Vec<u64> =
        probes.iter().filter(|(program, _)| program.ends_with("return")).map(|(_, offset)| *offset).collect();
    found.sort_unstable();
    returns.sort_unstable();
    assert_eq!(found, returns);
    assert_eq!(probes.len(), returns.len() + NAMES.len());
}

/// The same instructions, wherever the functions were found.
#[test]
fn stripped_programs_have_their_functions_in_gos_own_table() {
    let folder = tempfile::tempdir().unwrap();
    let program = build(folder.path(), &[]);
    let file = File::open(&program).unwrap();
    let image = Image::of(&file).unwrap();
    let mut blocks = Blocks::new(&file);
    let by_symbols = symbols::find(&mut blocks, image.symbols.symbols, image.symbols.names).unwrap();
    let by_table = table::find(&mut blocks, image.table, image.text_address).unwrap();
    for (symbol, entry) in by_symbols.into_iter().zip(by_table) {
        let (symbol, entry) = (symbol.unwrap(), entry.unwrap());
        assert_eq!(symbol.address, entry.address);
        assert!((symbol.bytes..symbol.bytes + 64).contains(&entry.bytes), "{symbol:?} {entry:?}");
    }
    let whole = functions_of(&program).unwrap().probes;
    for how in [&["-ldflags", "-s -w"][..], &["-buildmode=pie", "-ldflags", "-s -w"]] {
        let stripped = functions_of(&build(folder.path(), how)).unwrap().probes;
        let programs = |probes: &[(&'static str, u64)]| probes.iter().map(|(name, _)| *name).collect::<Vec<_>>();
        assert_eq!(programs(&stripped), programs(&whole), "{how:?}");
    }
}

#[test]
fn what_is_no_program_of_go_is_none() {
    for path in ["/bin/true", "/proc/self/status", "/proc/self/exe"] {
        let file = File::open(path).unwrap();
        assert!(!is_program_of_go(&file), "{path}");
        assert!(functions(&file).unwrap().is_none(), "{path}");
    }
}

#[test]
fn functions_that_begin_or_end_otherwise_are_refused() {
    let part = |bytes: &[u8]| Part { offset: 0, bytes: bytes.len() as u64 };
    let read = |bytes: &[u8]| Code::read(&mut Blocks::new(bytes), part(bytes), "f");
    // cmp rsp, [r14+16]; jbe +4; ret
    let right = [0x49, 0x3b, 0x66, 0x10, 0x76, 0x04, 0xc3];
    assert_eq!(read(&right).unwrap().returns("f").unwrap(), [6]);
    // As before Go 1.17: mov rcx, fs:-8; cmp rsp, [rcx+16]
    let old = [0x64, 0x48, 0x8b, 0x0c, 0x25, 0xf8, 0xff, 0xff, 0xff, 0x48, 0x3b, 0x61, 0x10, 0xc3];
    assert!(matches!(read(&old), Err(GoError::OtherBeginning("f"))));
    assert!(matches!(read(&right[..6]).unwrap().returns("f"), Err(GoError::Returns("f"))));
    let not_code = [&right[..6], &[0x06, 0xc3]].concat();
    assert!(matches!(read(&not_code).unwrap().returns("f"), Err(GoError::NotDecoded("f"))));
    assert!(matches!(read(&right.repeat(100)).unwrap().returns("f"), Err(GoError::Returns("f"))));
    assert!(matches!(read(&right.repeat(10_000)), Err(GoError::NotDecoded("f"))));
}

/// A table with one function for each name, and others between.
fn made_table(others: u32) -> (Vec<u8>, Functions) {
    let mut names = vec![0];
    let mut offsets = Vec::new();
    for name in NAMES {
        offsets.push(names.len() as u32);
        names.extend([name.as_bytes(), b"\0"].concat());
    }
    let (mut entries, mut about, mut expected) = (Vec::new(), Vec::new(), Functions::default());
    let count = others + NAMES.len() as u32;
    for number in 0..count {
        entries.extend(number.wrapping_mul(64).to_le_bytes());
        entries.extend((8 * count + 4 + 8 * number).to_le_bytes());
        about.extend((number * 64).to_le_bytes());
        let at = number.checked_sub(others);
        about.extend(at.map_or(0, |at| offsets[at as usize]).to_le_bytes());
        if let Some(at) = at {
            expected[at as usize] = Some(Function { address: 0x1000 + u64::from(number) * 64, bytes: 64 });
        }
    }
    entries.extend((count * 64).to_le_bytes());
    let names_end = 72 + names.len() as u64;
    let mut table = [MAGIC.to_le_bytes(), 0x0801_0000_u32.to_le_bytes()].concat();
    for word in [u64::from(count), 0, 0, 72, names_end, 0, 0, names_end] {
        table.extend(word.to_le_bytes());
    }
    (([table, names, entries, about].concat()), expected)
}

const MAGIC: u32 = 0xffff_fff1;

proptest! {
    /// Whatever the file says, reading ends, and what is found is what a whole table says, or nothing.
    #[test]
    fn tables_are_read_and_broken_ones_do_no_harm(
        others in 0..200_u32,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
    ) {
        let (mut bytes, expected) = made_table(others);
        let find = |bytes: &[u8]| {
            table::find(&mut Blocks::new(bytes), Part { offset: 0, bytes: bytes.len() as u64 }, 0x1000).unwrap()
        };
        prop_assert_eq!(find(&bytes), expected);
        for (at, byte) in &changes {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        if is_cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let found = find(&bytes);
        prop_assert!(found.iter().flatten().all(|function| function.bytes > 0));
    }

    /// No bytes of symbols and names panic or hang.
    #[test]
    fn symbols_of_any_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..2_000), at in 0..3_000_u64, length in any::<u64>()) {
        let parts = [Part { offset: at, bytes: length }, Part { offset: at / 2, bytes: length / 3 }];
        let found = symbols::find(&mut Blocks::new(&bytes[..]), parts[0], parts[1]).unwrap();
        prop_assert_eq!(found, Functions::default());
        let _ = Code::read(&mut Blocks::new(&bytes[..]), Part { offset: at, bytes: length % 2_000 }, "f").map(|code| code.returns("f"));
    }

    /// A program of which some bytes are others is refused or found: reading it ends.
    #[test]
    fn headers_of_any_bytes_do_no_harm(changes in proptest::collection::vec((0..256_usize, any::<u8>()), 1..4)) {
        let mut bytes = std::fs::read("/bin/true").unwrap();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, &bytes).unwrap();
        let _ = functions(&file);
    }
}
