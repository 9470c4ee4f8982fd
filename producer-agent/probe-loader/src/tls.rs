//! Libraries of TLS whose functions the probes watch: where these functions are in a file, and the probes that are attached there.
//!
//! In: files that programs map. Out: probes at the entries and returns of OpenSSL's or GnuTLS's functions (`library.rs`), of those of Go's crypto/tls (`go/`) or of rustls (`rustls.rs`), in all processes that map the file, until
//! [`Attached`] is dropped. The kernel knows a file by its inode, so a container's is another one than the host's.

use std::fs::File;
use std::io;
use std::path::Path;

use aya::Ebpf;
use aya::maps::{Array, HashMap as BpfHashMap, Map, MapData};
use aya::programs::uprobe::{UProbeLink, UProbeScope};
use aya::programs::{ProgramError, UProbe};
use headwater_probe_types::{TLS_LAYOUTS_MAX, TLS_SESSION_WORDS};
use tracing::warn;

use crate::go::{self, GoError, is_program_of_go};
use crate::{LoadError, chain, map_error, message, program};
use crate::{library, rustls};

/// The programs of uprobes in the object.
const PROGRAMS: [&str; 28] = [
    "on_tls_write",
    "on_tls_write_ex",
    "on_tls_read",
    "on_tls_read_ex",
    "on_tls_handshake",
    "on_tls_return",
    "on_tls_new",
    "on_tls_new_within",
    "on_tls_connects",
    "on_tls_accepts",
    "on_tls_clear",
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
    "on_rustls_encrypt_tls13",
    "on_rustls_encrypt_gcm",
    "on_rustls_encrypt_chacha",
    "on_rustls_decrypt_tls13",
    "on_rustls_decrypt_gcm",
    "on_rustls_decrypt_chacha",
    "on_rustls_return",
];

/// Where the probes of a file's functions go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFunctions {
    /// The program, and the offset of a byte, in the order in which they are attached.
    pub(crate) probes: Vec<(&'static str, u64)>,
    /// How far behind the beginning of a session a library keeps what its client has chosen at random; none if that is not known.
    pub(crate) random_at: Option<u64>,
}

impl TlsFunctions {
    /// Those of a library; none if it has not OpenSSL's or GnuTLS's functions among those that others may link with.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn of_library(file: &File) -> io::Result<Option<TlsFunctions>> {
        library::functions(file)
    }

    /// Those of an executable; none if it has none of its own: neither Go's crypto/tls nor functions of OpenSSL or rustls with their names.
    ///
    /// # Errors
    /// If it is a program of Go, and where its functions return is not known, or it cannot be read.
    pub fn of_program(file: &File) -> Result<Option<TlsFunctions>, GoError> {
        if is_program_of_go(file) {
            return go::functions(file);
        }
        let (openssl, rustls) = (library::functions_within(file)?, rustls::functions(file)?);
        Ok(match (openssl, rustls) {
            (Some(mut both), Some(rustls)) => {
                both.probes.extend(rustls.probes);
                Some(both)
            }
            (one, other) => one.or(other),
        })
    }
}

/// Probes of one file. They are detached when this is dropped, for each of which the kernel takes some 30 to 200 ms.
#[derive(Debug, Default)]
pub struct Attached(Vec<UProbeLink>);

impl Attached {
    /// Detaches one at each step.
    pub fn detach(self) -> impl Iterator<Item = ()> + Send {
        self.0.into_iter().map(drop)
    }
}

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
    if let Some(random_at) = functions.random_at {
        note_layout(ebpf, random_at)?;
    }
    for &(name, offset) in &functions.probes {
        let attaches: &mut UProbe = program(ebpf, name)?;
        let link = attaches.attach(offset, path, UProbeScope::AllProcesses);
        let link = link.and_then(|id| attaches.take_link(id)).map_err(|error| refused(name, &error))?;
        attached.0.push(link);
    }
    Ok(attached)
}

/// Libraries of one version keep it in one place, so that there are few.
fn note_layout(ebpf: &mut Ebpf, random_at: u64) -> Result<(), LoadError> {
    let map = ebpf.map_mut("TLS_LAYOUTS").ok_or_else(|| LoadError::Object("it has no TLS_LAYOUTS".into()))?;
    let mut layouts: Array<_, u64> = map.try_into().map_err(map_error)?;
    for at in 0..TLS_LAYOUTS_MAX as u32 {
        match layouts.get(&at, 0).map_err(map_error)? {
            0 => return layouts.set(at, random_at, 0).map_err(map_error),
            known if known == random_at => return Ok(()),
            _ => {}
        }
    }
    warn!(
        random_at,
        "too many kinds of OpenSSL: of programs that move its bytes themselves, those with this one are not seen"
    );
    Ok(())
}

fn refused(name: &'static str, error: &ProgramError) -> LoadError {
    LoadError::Refused { name, message: message(&chain(error)) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use object::{Object, ObjectSection, ObjectSymbol};

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
            "give_up_call",
            "find_socket",
            "find_socket_by",
            "note_carried",
            "shut",
            "shut_session",
            "tell_of_ahead",
            "begin_session",
            "forget_later",
            "note_process",
            "forget",
            "find_received",
            "encrypted",
            "decrypted",
            "record_moved",
            "note_encrypted",
            "go_on",
            "next_part",
            "tell_part",
            "tell_untied",
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
}
