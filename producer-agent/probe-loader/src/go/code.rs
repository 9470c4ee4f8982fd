//! A function's instructions: whether it begins as one of Go with registers for arguments does, and where it returns.

use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};

use super::GoError;
use crate::executable::Part;
use crate::executable::bytes::{Blocks, ReadAt};

/// Those of crypto/tls have a few kilobytes.
const FUNCTION_BYTES_MAX: u64 = 64 << 10;
const RETURNS_MAX: usize = 64;

/// The stack is looked at within so many instructions: larger frames take more of them.
const BEGINNING: usize = 6;
/// In a goroutine, whose address is in r14: where its stack must not reach.
const STACK_GUARD: u64 = 0x10;

/// The bytes of a function.
#[derive(Debug)]
pub struct Code(Vec<u8>);

impl Code {
    /// Those of a part of the file, if they begin as they should.
    pub fn read<R: ReadAt>(blocks: &mut Blocks<R>, part: Part, name: &'static str) -> Result<Code, GoError> {
        let bytes = usize::try_from(part.bytes.min(FUNCTION_BYTES_MAX + 1)).unwrap_or(usize::MAX);
        let code = blocks.get(part.offset, bytes)?.filter(|code| code.len() as u64 <= FUNCTION_BYTES_MAX);
        let code = Code(code.ok_or(GoError::NotDecoded(name))?.to_vec());
        if code.instructions().take(BEGINNING).any(|(_, instruction)| looks_at_stack(&instruction)) {
            Ok(code)
        } else {
            Err(GoError::OtherBeginning(name))
        }
    }

    /// Where the instructions lie by which it returns, from its beginning.
    pub fn returns(&self, name: &'static str) -> Result<Vec<u64>, GoError> {
        let mut returns = Vec::new();
        for (at, instruction) in self.instructions() {
            if instruction.is_invalid() {
                return Err(GoError::NotDecoded(name));
            }
            if matches!(instruction.mnemonic(), Mnemonic::Ret | Mnemonic::Retf) {
                returns.push(at);
            }
        }
        if returns.is_empty() || returns.len() > RETURNS_MAX {
            return Err(GoError::Returns(name));
        }
        Ok(returns)
    }

    fn instructions(&self) -> impl Iterator<Item = (u64, Instruction)> + '_ {
        let decoder = Decoder::with_ip(64, &self.0, 0, DecoderOptions::NONE);
        decoder.into_iter().map(|instruction| (instruction.ip(), instruction))
    }
}

/// Compares the stack, or what it will be, with where it must not reach: `cmp rsp, [r14+16]`.
fn looks_at_stack(instruction: &Instruction) -> bool {
    instruction.mnemonic() == Mnemonic::Cmp
        && instruction.op1_kind() == OpKind::Memory
        && instruction.memory_base() == Register::R14
        && instruction.memory_index() == Register::None
        && instruction.memory_displacement64() == STACK_GUARD
}
