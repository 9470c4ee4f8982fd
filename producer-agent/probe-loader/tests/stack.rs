//! No program needs more stack than the kernel gives: 512 bytes for a chain of calls, in which each function counts by its frame, rounded up to 32 bytes
//! (kernel/bpf/verifier.c, `check_max_stack_depth`). What is compiled differs by a word or two with each change, and kernels that count so are in guests alone.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use object::read::elf::ElfFile64;
use object::{Object, ObjectSection, ObjectSymbol, RelocationTarget, SymbolKind};

const PROBES: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/headwater-probes"));

const STACK_BYTES: u64 = 512;
/// Of the tracepoints' two programs, which serve where functions cannot be traced: kernels since 6.13 give each function of such a program a stack of its own (x86_64).
/// To be lowered with each change that allows it.
const WITH_OWN_STACKS: [(&str, u64); 2] = [("on_send", 608), ("on_receive", 544)];

/// linux/bpf.h, and its registers.
const CALL: u8 = 0x85;
const CALL_OF_FUNCTION: u8 = 1;
const LOAD_WIDE: u8 = 0x18;
const MOVE: u8 = 0xbf;
const ADD: u8 = 0x07;
const FRAME: u8 = 10;

#[derive(Default)]
struct Function {
    frame_bytes: u64,
    calls: BTreeSet<String>,
}

/// Bytes of the frame, by the lowest place in it that is named, and where the function calls others.
fn look(code: &[u8]) -> (u64, Vec<(u64, i32)>) {
    let (mut lowest, mut calls, mut places) = (0i32, Vec::new(), BTreeMap::new());
    let mut at = 0;
    while let Some([op, registers, low, high, imm @ ..]) = code.get(at..).and_then(|code| code.first_chunk::<8>()) {
        let (target, source) = (registers & 15, registers >> 4);
        let (offset, imm) = (i32::from(i16::from_le_bytes([*low, *high])), i32::from_le_bytes(*imm));
        match (op & 7, *op) {
            (1, _) if source == FRAME => lowest = lowest.min(offset),
            (2 | 3, _) if target == FRAME => lowest = lowest.min(offset),
            (_, MOVE) if source == FRAME => {
                places.insert(target, at + 8);
            }
            (_, ADD) if places.get(&target) == Some(&at) => lowest = lowest.min(imm),
            (_, CALL) if source == CALL_OF_FUNCTION => calls.push((at as u64, imm)),
            _ => {}
        }
        at += if *op == LOAD_WIDE { 16 } else { 8 };
    }
    (lowest.unsigned_abs().into(), calls)
}

fn functions() -> BTreeMap<String, Function> {
    let file: ElfFile64<'_> = ElfFile64::parse(PROBES).unwrap();
    let named: BTreeMap<(usize, u64), String> = file
        .symbols()
        .filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0)
        .map(|symbol| ((symbol.section_index().unwrap().0, symbol.address()), symbol.name().unwrap().to_owned()))
        .collect();
    let mut functions = BTreeMap::new();
    for symbol in file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0) {
        let section = file.section_by_index(symbol.section_index().unwrap()).unwrap();
        let relocated: BTreeMap<u64, usize> = section
            .relocations()
            .filter_map(|(at, relocation)| match relocation.target() {
                RelocationTarget::Symbol(index) => Some((at, index.0)),
                _ => None,
            })
            .collect();
        let code = section.data_range(symbol.address(), symbol.size()).unwrap().unwrap();
        let (frame_bytes, calls) = look(code);
        let calls = calls.into_iter().map(|(at, imm)| {
            let at = symbol.address() + at;
            let (section, address) = match relocated.get(&at) {
                Some(index) => {
                    let target = file.symbol_by_index(object::SymbolIndex(*index)).unwrap();
                    let behind = if target.kind() == SymbolKind::Section { (imm + 1) as u64 * 8 } else { 0 };
                    (target.section_index().unwrap().0, target.address() + behind)
                }
                None => (section.index().0, at.wrapping_add_signed((i64::from(imm) + 1) * 8)),
            };
            named.get(&(section, address)).unwrap_or_else(|| panic!("a call in {:?} to nothing", symbol.name())).clone()
        });
        functions.insert(symbol.name().unwrap().to_owned(), Function { frame_bytes, calls: calls.collect() });
    }
    functions
}

/// The deepest chain of calls from here on.
fn deepest(
    name: &str,
    functions: &BTreeMap<String, Function>,
    known: &mut BTreeMap<String, (u64, String)>,
) -> (u64, String) {
    if let Some(known) = known.get(name) {
        return known.clone();
    }
    let function = &functions[name];
    let below = function.calls.iter().map(|called| deepest(called, functions, known)).max().unwrap_or_default();
    let frame_bytes = function.frame_bytes.max(1).next_multiple_of(32);
    let chain = (frame_bytes + below.0, format!("{name} ({}) {}", function.frame_bytes, below.1));
    known.insert(name.to_owned(), chain.clone());
    chain
}

#[test]
fn no_chain_of_calls_takes_more_than_the_stack() {
    let functions = functions();
    let mut known = BTreeMap::new();
    let called: BTreeSet<&String> = functions.values().flat_map(|function| &function.calls).collect();
    let programs: Vec<&String> = functions.keys().filter(|name| !called.contains(name)).collect();
    assert!(programs.len() > 20, "{programs:?}");
    for program in programs {
        let (bytes, chain) = deepest(program, &functions, &mut known);
        let own = WITH_OWN_STACKS.iter().find(|(name, _)| name == program);
        let most = own.map_or(STACK_BYTES, |(_, most)| *most);
        assert!(bytes <= most, "{program} takes {bytes} bytes of stack, more than {most}: {chain}");
    }
}
