//! Names of groups for the exchange of keys, as IANA registers them (TLS Supported Groups).

use std::borrow::Cow;

/// The name of a group; its number, if it has none here.
pub fn name(number: u16) -> Cow<'static, str> {
    match number {
        0x0015 => "secp224r1".into(),
        0x0016 => "secp256k1".into(),
        0x0017 => "secp256r1".into(),
        0x0018 => "secp384r1".into(),
        0x0019 => "secp521r1".into(),
        0x001a => "brainpoolP256r1".into(),
        0x001b => "brainpoolP384r1".into(),
        0x001c => "brainpoolP512r1".into(),
        0x001d => "x25519".into(),
        0x001e => "x448".into(),
        0x001f => "brainpoolP256r1tls13".into(),
        0x0020 => "brainpoolP384r1tls13".into(),
        0x0021 => "brainpoolP512r1tls13".into(),
        0x0029 => "curveSM2".into(),
        0x0100 => "ffdhe2048".into(),
        0x0101 => "ffdhe3072".into(),
        0x0102 => "ffdhe4096".into(),
        0x0103 => "ffdhe6144".into(),
        0x0104 => "ffdhe8192".into(),
        0x0200 => "MLKEM512".into(),
        0x0201 => "MLKEM768".into(),
        0x0202 => "MLKEM1024".into(),
        0x11eb => "SecP256r1MLKEM768".into(),
        0x11ec => "X25519MLKEM768".into(),
        0x11ed => "SecP384r1MLKEM1024".into(),
        0x11ee => "curveSM2MLKEM768".into(),
        0x6399 => "X25519Kyber768Draft00".into(),
        0x639a => "SecP256r1Kyber768Draft00".into(),
        _ => Cow::Owned(format!("0x{number:04X}")),
    }
}

/// Whether keys of this group stand against quantum computers. None: nothing is known of it.
pub fn is_post_quantum(number: u16) -> Option<bool> {
    match number {
        0x0001..=0x0029 | 0x0100..=0x0104 => Some(false),
        0x0200..=0x0202 | 0x11eb..=0x11ee | 0x6399 | 0x639a => Some(true),
        _ => None,
    }
}
