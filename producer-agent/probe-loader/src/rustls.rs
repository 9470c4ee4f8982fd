//! Functions of rustls in a program that has it linked in: where the probes go.
//!
//! In: a file. Out: offsets of probes at `encrypt` and `decrypt` of each cipher of its two providers, ring and aws-lc-rs. They are called by a table of methods, so that the compiler makes functions of
//! them whatever else it puts together, and their names are in `.symtab` of what is not stripped. Both ways in which Rust writes names are read.

use std::fs::File;
use std::io;

use crate::TlsFunctions;
use crate::executable::{Image, symbols};

/// Functions of each kind that are looked at in one file: a program may have two versions, with two providers each.
const FUNCTIONS_MAX: usize = 32;

const RETURN: &str = "on_rustls_return";

/// Those of rustls that a program has linked in; none if it has no names, encrypts nothing with it, or decrypts nothing.
pub fn functions(file: &File) -> io::Result<Option<TlsFunctions>> {
    let Some(image) = Image::of(file).filter(|image| image.is_x86) else { return Ok(None) };
    let (mut encrypts, mut decrypts) = (Vec::new(), Vec::new());
    symbols::each(file, image.symbols, |name, function| {
        let Some(program) = program_of(name) else { return };
        let to = if program.starts_with("on_rustls_encrypt") { &mut encrypts } else { &mut decrypts };
        if let Some(part) = image.part_of(function)
            && to.len() < FUNCTIONS_MAX
        {
            // One function may have several names.
            to.push((program, part.offset));
        }
    })?;
    if encrypts.is_empty() || decrypts.is_empty() {
        return Ok(None);
    }
    let mut all = [encrypts, decrypts].concat();
    all.sort_by_key(|(_, offset)| *offset);
    all.dedup_by_key(|(_, offset)| *offset);
    // Where the entry is watched and the return is not, a record would be missing.
    let probes = all.into_iter().flat_map(|(program, offset)| [(RETURN, offset), (program, offset)]).collect();
    Ok(Some(TlsFunctions { probes, random_at: None }))
}

/// The program for the entry of the function that has this name: it knows what the cipher's records have beside what they hold.
fn program_of(name: &str) -> Option<&'static str> {
    let (module, cipher, method) = parts(name)?;
    Some(match (module, cipher, method) {
        ("tls13", _, "encrypt") => "on_rustls_encrypt_tls13",
        ("tls13", _, "decrypt") => "on_rustls_decrypt_tls13",
        ("tls12", "Gcm", "encrypt") => "on_rustls_encrypt_gcm",
        ("tls12", "Gcm", "decrypt") => "on_rustls_decrypt_gcm",
        ("tls12", "ChaCha20Poly1305", "encrypt") => "on_rustls_encrypt_chacha",
        ("tls12", "ChaCha20Poly1305", "decrypt") => "on_rustls_decrypt_chacha",
        _ => return None,
    })
}

const PROVIDERS: [&str; 2] = ["ring", "aws_lc_rs"];
const MODULES: [&str; 2] = ["tls12", "tls13"];
/// Types of each direction, without the end of their names.
const CIPHERS: [&str; 4] = ["Tls13", "Aead", "Gcm", "ChaCha20Poly1305"];
const METHODS: [(&str, &str); 2] = [("MessageEncrypter", "encrypt"), ("MessageDecrypter", "decrypt")];

/// Module, cipher and method of the name, if it is that of one of these functions.
fn parts(name: &str) -> Option<(&'static str, &'static str, &'static str)> {
    // The method of a trait that a type has, in either way (`_ZN` and `_RNvX`).
    if !name.starts_with("_ZN") && !name.starts_with("_RNvX") {
        return None;
    }
    let (trait_name, method) = METHODS.into_iter().find(|(name_of_trait, method)| {
        let old = format!("rustls..crypto..cipher..{name_of_trait}$GT$7{method}17h");
        let new = format!("6cipher16{name_of_trait}7{method}");
        name.contains(&old) || name.strip_suffix(&new).is_some() || name.contains(&format!("{new}."))
    })?;
    for (provider, module, cipher) in PROVIDERS.into_iter().flat_map(|provider| {
        MODULES.into_iter().flat_map(move |module| CIPHERS.into_iter().map(move |cipher| (provider, module, cipher)))
    }) {
        let old = format!("_$LT$rustls..crypto..{provider}..{module}..{cipher}{trait_name}$u20$as$u20$");
        let new = format!("6rustls6crypto{}{provider}5{module}Nt", provider.len());
        let type_name = format!("_{}{cipher}{trait_name}Nt", cipher.len() + trait_name.len());
        if name.contains(&old) || name.contains(&new) && name.contains(&type_name) {
            return Some((module, cipher, method));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a compiler has written them, in either way.
    const NAMES: [(&str, Option<&str>); 8] = [
        (
            "_ZN111_$LT$rustls..crypto..ring..tls13..Tls13MessageDecrypter$u20$as$u20$rustls..crypto..cipher..MessageDecrypter$GT$7decrypt17h6429d9c155174eadE",
            Some("on_rustls_decrypt_tls13"),
        ),
        (
            "_ZN109_$LT$rustls..crypto..ring..tls12..GcmMessageEncrypter$u20$as$u20$rustls..crypto..cipher..MessageEncrypter$GT$7encrypt17h5e1bbf2f388d6fb7E",
            Some("on_rustls_encrypt_gcm"),
        ),
        (
            "_ZN122_$LT$rustls..crypto..ring..tls12..ChaCha20Poly1305MessageDecrypter$u20$as$u20$rustls..crypto..cipher..MessageDecrypter$GT$7decrypt17he4951f62d4c1eb81E.llvm.15055343826940896186",
            Some("on_rustls_decrypt_chacha"),
        ),
        (
            "_ZN109_$LT$rustls..crypto..ring..tls12..GcmMessageEncrypter$u20$as$u20$rustls..crypto..cipher..MessageEncrypter$GT$21encrypted_payload_len17h911338fbdcb6f5dfE",
            None,
        ),
        (
            "_ZN108_$LT$rustls..crypto..cipher..InvalidMessageEncrypter$u20$as$u20$rustls..crypto..cipher..MessageEncrypter$GT$7encrypt17he0a1149f76a3ea98E.llvm.15055343826940896186",
            None,
        ),
        (
            "_RNvXs4_NtNtNtCs3550ThnJlbp_6rustls6crypto9aws_lc_rs5tls13NtB5_19GcmMessageEncrypterNtNtB9_6cipher16MessageEncrypter7encrypt",
            Some("on_rustls_encrypt_tls13"),
        ),
        (
            "_RNvXs2_NtNtNtCs3550ThnJlbp_6rustls6crypto9aws_lc_rs5tls12NtB5_32ChaCha20Poly1305MessageDecrypterNtNtB9_6cipher16MessageDecrypter7decrypt",
            Some("on_rustls_decrypt_chacha"),
        ),
        (
            "_RNvXsb_NtNtCs3550ThnJlbp_6rustls6crypto6cipherNtB5_23InvalidMessageEncrypterNtB5_16MessageEncrypter7encrypt.llvm.16106290438080008058",
            None,
        ),
    ];

    #[test]
    fn functions_are_known_by_their_names_as_either_way_writes_them() {
        for (name, program) in NAMES {
            assert_eq!(program_of(name), program, "{name}");
        }
    }
}
