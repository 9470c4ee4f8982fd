//! OpenSSL's and GnuTLS's functions in a library, or OpenSSL's in a program that has it linked in (Node): where the probes go.
//!
//! In: a file. Out: offsets of probes, by the names of functions, and where in a session OpenSSL keeps what the client has chosen at random, as the code of
//! `SSL_get_client_random` shows it on x86_64.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use iced_x86::{Decoder, DecoderOptions, InstructionInfoFactory, OpAccess, OpKind, Register};

use crate::TlsFunctions;
use crate::executable::{Function, Image, symbols};

/// A function, and the programs for its entry and for its return.
type Watched = (&'static str, Option<&'static str>, Option<&'static str>);

/// In the order in which they are attached: a session's end is watched before all else, since its name may be given to another one, and its beginning last, since it is
/// taken for one that was seen from there on.
const OPENSSL: [Watched; 13] = [
    ("SSL_free", Some("on_tls_free"), None),
    ("SSL_clear", Some("on_tls_clear"), None),
    ("SSL_shutdown", Some("on_tls_shutdown"), None),
    ("SSL_do_handshake", Some("on_tls_handshake"), Some("on_tls_return")),
    ("SSL_read", Some("on_tls_read"), Some("on_tls_return")),
    ("SSL_write", Some("on_tls_write"), Some("on_tls_return")),
    ("SSL_read_ex", Some("on_tls_read_ex"), Some("on_tls_return")),
    ("SSL_write_ex", Some("on_tls_write_ex"), Some("on_tls_return")),
    ("SSL_set_connect_state", Some("on_tls_connects"), None),
    ("SSL_connect", Some("on_tls_connects"), None),
    ("SSL_set_accept_state", Some("on_tls_accepts"), None),
    ("SSL_accept", Some("on_tls_accepts"), None),
    ("SSL_new", None, Some(NEW)),
];
const NEW: &str = "on_tls_new";
const NEW_WITHIN: &str = "on_tls_new_within";

/// Its `gnutls_record_send_range`, `gnutls_record_send2` and `gnutls_record_recv_packet` are not watched: what goes that way has no name.
const GNUTLS: [Watched; 6] = [
    ("gnutls_deinit", Some("on_tls_free"), None),
    ("gnutls_bye", Some("on_tls_shutdown"), None),
    ("gnutls_handshake", Some("on_tls_handshake"), Some("on_tls_return")),
    ("gnutls_record_recv", Some("on_tls_read"), Some("on_tls_return")),
    ("gnutls_record_send", Some("on_tls_write"), Some("on_tls_return")),
    ("gnutls_init", Some("on_tls_make"), Some("on_tls_made")),
];

const RANDOM: &str = "SSL_get_client_random";

/// What a library must have, of each kind.
const KINDS: [(&[Watched], [&str; 2]); 2] =
    [(&OPENSSL, ["SSL_read", "SSL_write"]), (&GNUTLS, ["gnutls_record_recv", "gnutls_record_send"])];

/// Those of a library.
pub fn functions(file: &File) -> io::Result<Option<TlsFunctions>> {
    let Some(image) = Image::of(file) else { return Ok(None) };
    for (watched, needed) in KINDS {
        let found = find(file, &image, watched, needed)?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// Those of OpenSSL that a program has linked in.
pub fn functions_within(file: &File) -> io::Result<Option<TlsFunctions>> {
    let Some(image) = Image::of(file) else { return Ok(None) };
    let (watched, needed) = KINDS[0];
    let mut found = find(file, &image, watched, needed)?;
    for (program, _) in found.iter_mut().flat_map(|found| &mut found.probes) {
        if *program == NEW {
            *program = NEW_WITHIN;
        }
    }
    Ok(found)
}

/// What others may link with goes before what only a debugger needs.
fn find(file: &File, image: &Image, watched: &[Watched], needed: [&str; 2]) -> io::Result<Option<TlsFunctions>> {
    let names: Vec<&'static str> = watched.iter().map(|(name, ..)| *name).chain([RANDOM]).collect();
    let is_there = |found: &[Option<Function>]| {
        needed.iter().all(|needed| names.iter().zip(found).any(|(name, found)| name == needed && found.is_some()))
    };
    let mut found = symbols::find(file, image.exported, &names)?;
    if !is_there(&found) {
        found = symbols::find(file, image.symbols, &names)?;
    }
    if !is_there(&found) {
        return Ok(None);
    }
    let mut probes = Vec::new();
    for ((_, entry, end), function) in watched.iter().zip(&found) {
        let Some(part) = function.and_then(|function| image.part_of(function)) else { continue };
        // Where the entry is watched and the return is not, a call would look as if it went on.
        probes.extend([end, entry].into_iter().flatten().map(|program| (*program, part.offset)));
    }
    let random = found.last().copied().flatten().and_then(|function| image.part_of(function));
    let random_at = match random {
        Some(part) if image.is_x86 => {
            let mut code = vec![0; part.bytes.min(CODE_BYTES_MAX) as usize];
            file.read_exact_at(&mut code, part.offset)?;
            first_member(&code)
        }
        _ => None,
    };
    Ok(Some(TlsFunctions { probes, random_at }))
}

/// The function has some hundred bytes.
const CODE_BYTES_MAX: u64 = 256;

/// A session has some kilobytes, of which the first ones are other things.
const MEMBERS: std::ops::Range<u64> = 32..8192;

/// The member of its first argument that a function looks at first, or takes the address of. What is not the right one never holds what is compared with it.
fn first_member(code: &[u8]) -> Option<u64> {
    let mut about = InstructionInfoFactory::new();
    for instruction in Decoder::with_ip(64, code, 0, DecoderOptions::NONE) {
        let is_member = (0..instruction.op_count()).any(|at| instruction.op_kind(at) == OpKind::Memory)
            && instruction.memory_base() == Register::RDI
            && instruction.memory_index() == Register::None;
        let at = instruction.memory_displacement64();
        if is_member && MEMBERS.contains(&at) {
            return Some(at);
        }
        let writes = |used: &iced_x86::UsedRegister| {
            used.register().full_register() == Register::RDI && used.access() != OpAccess::Read
        };
        if instruction.is_invalid() || about.info(&instruction).used_registers().iter().any(writes) {
            return None;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::Path;
    use std::process::Command;

    use super::*;

    fn library(name: &str) -> File {
        let folders = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"];
        let mut paths = folders.map(|folder| Path::new(folder).join(name)).into_iter();
        File::open(paths.find(|path| path.exists()).unwrap()).unwrap()
    }

    #[test]
    fn functions_are_found_in_the_libraries_of_this_machine_and_nowhere_else() {
        for (name, probes) in [("libssl.so.3", 18), ("libgnutls.so.30", 10)] {
            let functions = functions(&library(name)).unwrap().unwrap();
            let are_there = functions.probes.iter().all(|(_, offset)| *offset != 0);
            assert!(functions.probes.len() == probes && are_there, "{functions:?}");
            assert_eq!(functions.random_at.is_some(), cfg!(target_arch = "x86_64") && name.contains("ssl"));
            // One that begins before all else is watched is not taken for one that was seen whole.
            assert!([NEW, "on_tls_make"].contains(&functions.probes.last().unwrap().0), "{functions:?}");
        }
        for path in ["/proc/self/exe", "/proc/self/status", "/bin/true"] {
            let file = File::open(path).unwrap();
            assert_eq!((functions(&file).unwrap(), functions_within(&file).unwrap()), (None, None), "{path}");
        }
    }

    /// As in Node, but for the names, which only a debugger finds here.
    #[test]
    fn a_program_with_openssl_of_its_own_says_where_a_session_keeps_its_clients_random_bytes() {
        const PROGRAM: &str = "#include <openssl/ssl.h>\n\
            int main(void) { char to[64]; SSL *ssl = SSL_new(SSL_CTX_new(TLS_method())); SSL_set_connect_state(ssl); \
            return SSL_read(ssl, to, 1) + SSL_write(ssl, to, 1) + (int)SSL_get_client_random(ssl, to, 32); }";
        let folder = tempfile::tempdir().unwrap();
        let (source, program) = (folder.path().join("program.c"), folder.path().join("program"));
        std::fs::write(&source, PROGRAM).unwrap();
        let compiled = Command::new("cc")
            .arg("-o")
            .arg(&program)
            .arg(&source)
            .args(["-l:libssl.a", "-l:libcrypto.a", "-lz"])
            .output()
            .unwrap();
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        let file = File::open(&program).unwrap();
        let functions = functions_within(&file).unwrap().unwrap();
        assert_eq!(functions.probes.iter().filter(|(program, _)| *program == NEW_WITHIN).count(), 1);
        assert_eq!(functions.random_at.is_some(), cfg!(target_arch = "x86_64"));
        assert!(Command::new("strip").arg(&program).status().unwrap().success());
        assert_eq!(functions_within(&File::open(&program).unwrap()).unwrap(), None);
    }

    #[test]
    fn the_first_member_is_that_of_the_first_argument_as_long_as_it_stands_there() {
        // mov eax, 32; test rdx, rdx; lea rcx, [rdi+0x160]
        let right = [0xb8, 0x20, 0, 0, 0, 0x48, 0x85, 0xd2, 0x48, 0x8d, 0x8f, 0x60, 1, 0, 0];
        assert_eq!(first_member(&right), Some(0x160));
        // mov rdi, rsi before it
        assert_eq!(first_member(&[&[0x48, 0x89, 0xf7], &right[..]].concat()), None);
        assert_eq!(first_member(&right[..8]), None);
        // What is no instruction
        assert_eq!(first_member(&[&[0x06], &right[..]].concat()), None);
    }
}
