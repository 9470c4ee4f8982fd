//! Libraries of TLS whose functions the probes watch: where these functions are in a file, and the probes that are attached there.
//!
//! In: files that programs map. Out: probes at the entries and returns of OpenSSL's or GnuTLS's functions, or of those of Go's crypto/tls (`go/`), in all processes that map the file, until
//! [`Attached`] is dropped. The kernel knows a file by its inode, so a container's is another one than the host's.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use aya::Ebpf;
use aya::maps::{HashMap as BpfHashMap, Map, MapData};
use aya::programs::uprobe::{UProbeLink, UProbeScope};
use aya::programs::{ProgramError, UProbe};
use headwater_probe_types::TLS_SESSION_WORDS;
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Object, ObjectSymbol};

use crate::go::{self, GoError};
use crate::{LoadError, chain, map_error, message, program};

/// The programs of uprobes in the object.
const PROGRAMS: [&str; 17] = [
    "on_tls_write",
    "on_tls_write_ex",
    "on_tls_read",
    "on_tls_read_ex",
    "on_tls_handshake",
    "on_tls_return",
    "on_tls_new",
    "on_tls_make",
    "on_tls_made",
    "on_tls_shutdown",
    "on_tls_free",
    "on_go_write",
    "on_go_read",
    "on_go_return",
    "on_go_handshake",
    "on_go_handshake_return",
    "on_go_close",
];

/// A function, and the programs for its entry and for its return.
type Function = (&'static str, Option<&'static str>, Option<&'static str>);

/// A session's beginning and end are watched before what it moves.
const OPENSSL: [Function; 8] = [
    ("SSL_new", None, Some("on_tls_new")),
    ("SSL_free", Some("on_tls_free"), None),
    ("SSL_shutdown", Some("on_tls_shutdown"), None),
    ("SSL_do_handshake", Some("on_tls_handshake"), Some("on_tls_return")),
    ("SSL_read", Some("on_tls_read"), Some("on_tls_return")),
    ("SSL_write", Some("on_tls_write"), Some("on_tls_return")),
    ("SSL_read_ex", Some("on_tls_read_ex"), Some("on_tls_return")),
    ("SSL_write_ex", Some("on_tls_write_ex"), Some("on_tls_return")),
];

/// Its `gnutls_record_send_range`, `gnutls_record_send2` and `gnutls_record_recv_packet` are not watched: what goes that way has no name.
const GNUTLS: [Function; 6] = [
    ("gnutls_init", Some("on_tls_make"), Some("on_tls_made")),
    ("gnutls_deinit", Some("on_tls_free"), None),
    ("gnutls_bye", Some("on_tls_shutdown"), None),
    ("gnutls_handshake", Some("on_tls_handshake"), Some("on_tls_return")),
    ("gnutls_record_recv", Some("on_tls_read"), Some("on_tls_return")),
    ("gnutls_record_send", Some("on_tls_write"), Some("on_tls_return")),
];

/// What a library must have, of each kind.
const KINDS: [(&[Function], [&str; 2]); 2] =
    [(&OPENSSL, ["SSL_read", "SSL_write"]), (&GNUTLS, ["gnutls_record_recv", "gnutls_record_send"])];

/// A library is some hundred kilobytes; what is longer is not read.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Where the probes of a file's functions go: the program, and the offset of a byte, in the order in which they are attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFunctions(pub(crate) Vec<(&'static str, u64)>);

impl TlsFunctions {
    /// Those of a file; none if it is no library with OpenSSL's or GnuTLS's functions in its dynamic symbols.
    pub fn of_file(path: &Path) -> Option<TlsFunctions> {
        if std::fs::metadata(path).ok()?.len() > FILE_BYTES_MAX {
            return None;
        }
        TlsFunctions::of_bytes(&std::fs::read(path).ok()?)
    }

    fn of_bytes(bytes: &[u8]) -> Option<TlsFunctions> {
        let file = object::read::elf::ElfFile64::<object::Endianness>::parse(bytes).ok()?;
        let mut offsets = HashMap::new();
        for symbol in file.dynamic_symbols().filter(|symbol| symbol.is_definition()) {
            let Ok(name) = symbol.name() else { continue };
            if KINDS.iter().any(|(functions, _)| functions.iter().any(|(function, ..)| *function == name)) {
                offsets.insert(name, file_offset(&file, symbol.address())?);
            }
        }
        let is_kind = |needed: &[&str; 2]| needed.iter().all(|name| offsets.contains_key(name));
        let (functions, _) = KINDS.iter().find(|(_, needed)| is_kind(needed))?;
        let mut probes = Vec::new();
        for (name, entry, end) in *functions {
            let Some(offset) = offsets.get(name) else { continue };
            // Where the entry is watched and the return is not, a call would look as if it went on.
            probes.extend([end, entry].into_iter().flatten().map(|program| (*program, *offset)));
        }
        Some(TlsFunctions(probes))
    }

    /// Those of an executable; none if it is no program of Go for this machine that has crypto/tls.
    ///
    /// # Errors
    /// If it is one, and where its functions return is not known.
    pub fn of_go(file: &File) -> Result<Option<TlsFunctions>, GoError> {
        go::functions(file)
    }
}

/// Where an address of memory lies in the file, which is loaded by segments.
fn file_offset(file: &object::read::elf::ElfFile64<'_, object::Endianness>, address: u64) -> Option<u64> {
    let endian = file.elf_header().endian().ok()?;
    file.elf_program_headers().iter().find_map(|segment| {
        let inside = address.checked_sub(segment.p_vaddr(endian))?;
        let is_loaded = segment.p_type(endian) == object::elf::PT_LOAD && inside < segment.p_filesz(endian);
        is_loaded.then(|| segment.p_offset(endian) + inside)
    })
}

/// Probes of one file. They are detached when this is dropped, which takes the kernel some ten milliseconds.
#[derive(Debug, Default)]
pub struct Attached(Vec<UProbeLink>);

/// The sessions that the probes remember.
#[derive(Debug)]
pub struct TlsSessions(BpfHashMap<MapData, [u64; 2], [u64; TLS_SESSION_WORDS]>);

impl TlsSessions {
    pub(crate) fn open(map: Map) -> Result<TlsSessions, LoadError> {
        Ok(TlsSessions(BpfHashMap::try_from(map).map_err(map_error)?))
    }

    /// Forgets those of processes that are gone: they have not freed them.
    pub fn retain(&mut self, mut is_alive: impl FnMut(u32) -> bool) {
        let mut last = (0, true);
        let gone: Vec<_> = self
            .0
            .keys()
            .flatten()
            .filter(|[_, process]| {
                if last.0 != *process {
                    last = (*process, is_alive(*process as u32));
                }
                !last.1
            })
            .collect();
        for name in gone {
            // The process may have been the one that freed it.
            let _ = self.0.remove(&name);
        }
    }
}

/// Loads the programs, so that they can be attached at once.
pub fn load(ebpf: &mut Ebpf) -> Result<(), LoadError> {
    for name in PROGRAMS {
        let loaded: &mut UProbe = program(ebpf, name)?;
        loaded.load().map_err(|error| refused(name, &error))?;
    }
    Ok(())
}

/// Attaches the probes to a file's functions: all, or none.
pub fn attach(ebpf: &mut Ebpf, path: &Path, functions: &TlsFunctions) -> Result<Attached, LoadError> {
    let mut attached = Attached::default();
    for &(name, offset) in &functions.0 {
        let attaches: &mut UProbe = program(ebpf, name)?;
        let link = attaches.attach(offset, path, UProbeScope::AllProcesses);
        let link = link.and_then(|id| attaches.take_link(id)).map_err(|error| refused(name, &error))?;
        attached.0.push(link);
    }
    Ok(attached)
}

fn refused(name: &'static str, error: &ProgramError) -> LoadError {
    LoadError::Refused { name, message: message(&chain(error)) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use object::ObjectSection;

    #[test]
    fn functions_are_found_in_the_libraries_of_this_machine_and_nowhere_else() {
        for (library, probes) in [("libssl.so.3", 13), ("libgnutls.so.30", 10)] {
            let folders = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"];
            let path = folders.map(|folder| Path::new(folder).join(library)).into_iter().find(|path| path.exists());
            let functions = TlsFunctions::of_file(&path.unwrap()).unwrap();
            assert!(functions.0.len() == probes && functions.0.iter().all(|(_, offset)| *offset != 0), "{functions:?}");
        }
        assert_eq!(TlsFunctions::of_file(&std::env::current_exe().unwrap()), None);
        assert_eq!(TlsFunctions::of_file(Path::new("/proc/self/status")), None);
    }

    /// A kernel from 6.13 on gives programs that need 64 bytes a stack of their own for each processor, which two of them may be using at once: these programs may be
    /// interrupted, and are not left out then.
    #[test]
    fn programs_that_may_be_interrupted_need_little_stack() {
        const STACK_BYTES_MAX: i64 = 63;
        let object = include_bytes!(concat!(env!("OUT_DIR"), "/headwater-probes"));
        let file = object::read::elf::ElfFile64::<object::Endianness>::parse(&object[..]).unwrap();
        // What programs of uprobes call, and what that calls.
        let called = [
            "moved_by",
            "moved_by_goroutine",
            "begin_call",
            "give_up",
            "shut",
            "tell_of_ahead",
            "begin_session",
            "forget_later",
            "tell",
            "copy_and_publish",
            "publish",
            "admit_to",
            "lost_of",
            "follow_frames_of_buffer",
            "frame_step_of_buffer",
        ];
        let mut looked_at = 0;
        for name in PROGRAMS.iter().chain(&called) {
            let symbol = file.symbols().find(|symbol| symbol.name() == Ok(name)).unwrap_or_else(|| panic!("{name}"));
            let section = file.section_by_index(symbol.section_index().unwrap()).unwrap();
            let code = section.data_range(symbol.address(), symbol.size()).unwrap().unwrap();
            let needed = stack_bytes(code);
            assert!(needed <= STACK_BYTES_MAX, "{name} needs {needed} bytes");
            looked_at += code.len();
        }
        assert!(looked_at > 8_000, "{looked_at}");
    }

    /// How far below the frame's end (r10) loads, stores and addresses lie.
    fn stack_bytes(code: &[u8]) -> i64 {
        const FRAME: u8 = 10;
        let (mut depth, mut copies_frame) = (0, false);
        for instruction in code.chunks_exact(8) {
            let (operation, registers) = (instruction[0], instruction[1]);
            let offset = i64::from(i16::from_le_bytes([instruction[2], instruction[3]]));
            let number = i64::from(i32::from_le_bytes(instruction[4..].try_into().unwrap()));
            let below = match operation & 7 {
                1 if registers >> 4 == FRAME => -offset,
                2 | 3 if registers & 15 == FRAME => -offset,
                // An addition behind a copy of the frame's end.
                7 if operation == 0x07 && copies_frame => -number,
                _ => 0,
            };
            depth = depth.max(below);
            copies_frame = operation == 0xbf && registers >> 4 == FRAME;
        }
        depth
    }

    #[test]
    fn what_is_no_library_is_refused() {
        let whole = std::fs::read("/bin/true").unwrap();
        for bytes in [&b""[..], b"\x7fELF", &whole[..whole.len() / 2], &whole] {
            assert_eq!(TlsFunctions::of_bytes(bytes), None);
        }
    }
}
