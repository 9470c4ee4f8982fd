//! Finds where the members of kernel structs are, from the kernel's own BTF.
//!
//! In: the bytes of `/sys/kernel/btf/vmlinux`. Out: offsets in bytes, a few numbers and arguments of functions. Only as much of the format as that needs; all reads are
//! checked, so that a damaged file gives an error. Source: Documentation/bpf/btf.rst of the kernel.

use std::collections::HashMap;

use crate::LoadError;

const MAGIC: u16 = 0xeb9f;

// Kinds of types (Documentation/bpf/btf.rst, section 2.2).
const KIND_INT: u32 = 1;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_FUNC: u32 = 12;
const KIND_FUNC_PROTO: u32 = 13;
const KIND_VAR: u32 = 14;
const KIND_DATASEC: u32 = 15;
const KIND_DECL_TAG: u32 = 17;
const KIND_ENUM64: u32 = 19;

/// Types that stand between a member and its struct without changing where it is: typedef, volatile, const, type tag.
const TRANSPARENT_KINDS: [u32; 4] = [8, 9, 10, 18];

// What is kept of names that the kernel has by tens of thousands.
const CONTROLLER_SUFFIX: &str = "_cgrp_id";
const ITERATOR_PREFIX: &str = "ITER_";
const FUNCTION_PREFIXES: [&str; 3] = ["tcp_", "udp", "unix_"];

/// How deep structs without a name may nest.
const DEPTH_MAX: u32 = 8;

/// The structs of the running kernel.
pub struct KernelTypes {
    types: Vec<Type>,
    by_name: HashMap<String, u32>,
    /// Values of enums, of those that are asked for: controllers of cgroups and kinds of iterators.
    constants: HashMap<String, u32>,
    /// Names of the arguments of functions, of those that are asked for.
    functions: HashMap<String, Vec<String>>,
}

struct Type {
    kind: u32,
    /// The type that this one stands for, where it is transparent.
    target: u32,
    members: Vec<Member>,
}

struct Member {
    name: String,
    type_id: u32,
    offset_bits: u32,
}

impl KernelTypes {
    /// Reads the BTF of a kernel (little endian).
    pub fn parse(bytes: &[u8]) -> Result<KernelTypes, LoadError> {
        let header = Reader { bytes, at: 0 };
        let magic = header.u32_at(0)? as u16;
        if magic != MAGIC {
            return Err(LoadError::Btf(format!("starts with {magic:#06x} instead of {MAGIC:#06x}")));
        }
        let header_bytes = header.u32_at(4)? as usize;
        let section = |offset_at, len_at| -> Result<&[u8], LoadError> {
            let start = header_bytes.saturating_add(header.u32_at(offset_at)? as usize);
            let end = start.saturating_add(header.u32_at(len_at)? as usize);
            bytes.get(start..end).ok_or_else(|| LoadError::Btf("ends before its sections".into()))
        };
        parse_types(section(8, 12)?, section(16, 20)?)
    }

    /// The kernel's index of a cgroup controller such as `pids`.
    pub fn controller(&self, name: &str) -> Option<u32> {
        self.constant(&format!("{name}{CONTROLLER_SUFFIX}"))
    }

    /// The value of an enum's name, if it is one of [`ITERATOR_PREFIX`].
    pub fn constant(&self, name: &str) -> Option<u32> {
        self.constants.get(name).copied()
    }

    /// Names of the arguments of a function, if the kernel has it and its name has [`FUNCTION_PREFIX`].
    pub fn arguments(&self, function: &str) -> Option<&[String]> {
        self.functions.get(function).map(Vec::as_slice)
    }

    /// Offset in bytes of a member, given as a path such as `sk_cgrp_data.cgroup`, from the start of a struct.
    ///
    /// Structs and unions without a name are looked through.
    pub fn offset(&self, struct_name: &str, path: &str) -> Result<u32, LoadError> {
        let missing = || LoadError::Btf(format!("has no member {path} in struct {struct_name}"));
        let mut type_id = *self.by_name.get(struct_name).ok_or_else(missing)?;
        let mut offset_bits = 0;
        for name in path.split('.') {
            let (member_bits, member_type) = self.member(type_id, name, 0).ok_or_else(missing)?;
            offset_bits += member_bits;
            type_id = member_type;
        }
        Ok(offset_bits / 8)
    }

    fn member(&self, type_id: u32, name: &str, depth: u32) -> Option<(u32, u32)> {
        if depth > DEPTH_MAX {
            return None;
        }
        let members = &self.resolve(type_id)?.members;
        if let Some(member) = members.iter().find(|member| member.name == name) {
            return Some((member.offset_bits, member.type_id));
        }
        members.iter().filter(|member| member.name.is_empty()).find_map(|inner| {
            let (bits, type_id) = self.member(inner.type_id, name, depth + 1)?;
            Some((inner.offset_bits + bits, type_id))
        })
    }

    fn resolve(&self, mut type_id: u32) -> Option<&Type> {
        for _ in 0..DEPTH_MAX {
            let found = self.types.get((type_id as usize).checked_sub(1)?)?;
            if !TRANSPARENT_KINDS.contains(&found.kind) {
                return Some(found);
            }
            type_id = found.target;
        }
        None
    }
}

fn parse_types(section: &[u8], strings: &[u8]) -> Result<KernelTypes, LoadError> {
    let mut reader = Reader { bytes: section, at: 0 };
    let mut types = Vec::new();
    let (mut by_name, mut constants) = (HashMap::new(), HashMap::new());
    // Types of the functions by name, and where the arguments of such types are.
    let (mut functions, mut prototypes) = (HashMap::new(), HashMap::new());
    while reader.at < section.len() {
        let (name, info, target) = (reader.u32()?, reader.u32()?, reader.u32()?);
        let (kind, count, bit_fields) = (info >> 24 & 0x1f, info & 0xffff, info >> 31 == 1);
        let mut members = Vec::new();
        match kind {
            KIND_STRUCT | KIND_UNION => {
                for _ in 0..count {
                    let (name, type_id, offset) = (reader.u32()?, reader.u32()?, reader.u32()?);
                    let offset_bits = if bit_fields { offset & 0xff_ffff } else { offset };
                    members.push(Member { name: string(strings, name), type_id, offset_bits });
                }
            }
            KIND_INT | KIND_VAR | KIND_DECL_TAG => reader.skip(4)?,
            KIND_ARRAY => reader.skip(12)?,
            KIND_ENUM => {
                for _ in 0..count {
                    let (name, value) = (reader.u32()?, reader.u32()?);
                    let name = string(strings, name);
                    if name.ends_with(CONTROLLER_SUFFIX) || name.starts_with(ITERATOR_PREFIX) {
                        constants.insert(name, value);
                    }
                }
            }
            KIND_FUNC => {
                let name = string(strings, name);
                if FUNCTION_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
                    functions.insert(name, target);
                }
            }
            KIND_FUNC_PROTO => {
                prototypes.insert(types.len() as u32 + 1, (reader.at, count));
                reader.skip(8 * count as usize)?;
            }
            KIND_DATASEC | KIND_ENUM64 => reader.skip(12 * count as usize)?,
            _ => {}
        }
        types.push(Type { kind, target, members });
        if kind == KIND_STRUCT && name != 0 {
            by_name.entry(string(strings, name)).or_insert(types.len() as u32);
        }
    }
    let functions = functions.into_iter().map(|(name, prototype)| {
        let (at, count) = prototypes.get(&prototype).copied().unwrap_or_default();
        let mut reader = Reader { bytes: section, at };
        let mut arguments = Vec::new();
        for _ in 0..count {
            arguments.push(string(strings, reader.u32()?));
            reader.skip(4)?;
        }
        Ok((name, arguments))
    });
    let functions = functions.collect::<Result<_, LoadError>>()?;
    Ok(KernelTypes { types, by_name, constants, functions })
}

fn string(strings: &[u8], offset: u32) -> String {
    let tail = strings.get(offset as usize..).unwrap_or_default();
    let end = tail.iter().position(|&byte| byte == 0).unwrap_or(tail.len());
    String::from_utf8_lossy(&tail[..end]).into_owned()
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn u32_at(&self, at: usize) -> Result<u32, LoadError> {
        let end = at.saturating_add(4);
        let bytes = self.bytes.get(at..end).ok_or_else(|| LoadError::Btf(format!("ends at byte {at}")))?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn u32(&mut self) -> Result<u32, LoadError> {
        let value = self.u32_at(self.at)?;
        self.at += 4;
        Ok(value)
    }

    fn skip(&mut self, bytes: usize) -> Result<(), LoadError> {
        self.at = self.at.saturating_add(bytes);
        if self.at > self.bytes.len() {
            return Err(LoadError::Btf(format!("ends at byte {}", self.bytes.len())));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn damaged_bytes_give_an_error() {
        let real = std::fs::read("/sys/kernel/btf/vmlinux").unwrap();
        assert!(KernelTypes::parse(&[]).is_err());
        assert!(KernelTypes::parse(&[0; 64]).is_err());
        for cut in [10, 24, 1000, real.len() / 2, real.len() - 1] {
            assert!(KernelTypes::parse(&real[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn members_of_the_running_kernel_are_found() {
        let types = KernelTypes::parse(&std::fs::read("/sys/kernel/btf/vmlinux").unwrap()).unwrap();
        // These two share a union without a name at the start of the struct, and are four bytes each.
        let remote = types.offset("sock_common", "skc_daddr").unwrap();
        assert_eq!(types.offset("sock_common", "skc_rcv_saddr").unwrap(), remote + 4);
        assert!(types.offset("sock", "sk_cgrp_data.cgroup").unwrap() > 0);
        assert!(types.controller("cpu").is_some() && types.controller("no_such").is_none());
        assert!(types.offset("tcp_sock", "no_such_member").is_err());
        assert!(types.offset("no_such_struct", "x").is_err());
        assert!(types.constant("ITER_IOVEC") != types.constant("ITER_BVEC"));
        assert_eq!(types.arguments("tcp_sendmsg").unwrap(), ["sk", "msg", "size"]);
        assert_eq!(types.arguments("tcp_no_such_function"), None);
    }
}
