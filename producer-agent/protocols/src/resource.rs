//! Names of what is asked there: a host, a database.

/// Longer names are cut.
pub const BYTES_MAX: usize = 128;

/// The host that a client names, with the port if it says one: what `Host`, `:authority` and an absolute target hold. Who asks may stand before it,
/// with a password, and is left out. Empty if it is no name.
pub fn host(authority: &[u8]) -> &str {
    let authority = authority.trim_ascii();
    let host = memchr::memrchr(b'@', authority).map_or(authority, |at| &authority[at + 1..]);
    name(host)
}

/// What is text of ASCII without spaces, up to the bound; empty otherwise.
pub fn name(bytes: &[u8]) -> &str {
    let bytes = &bytes[..bytes.len().min(BYTES_MAX)];
    if bytes.iter().all(u8::is_ascii_graphic) { str::from_utf8(bytes).unwrap_or_default() } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_told_without_who_asks() {
        for (sent, told) in [
            ("shop.example:8080", "shop.example:8080"),
            (" shop ", "shop"),
            ("user:secret@shop", "shop"),
            ("u@secret@[::1]:80", "[::1]:80"),
            ("two words", ""),
            ("", ""),
        ] {
            assert_eq!(host(sent.as_bytes()), told, "{sent}");
        }
        assert_eq!(host(&[b'h'; 1_000]).len(), BYTES_MAX);
        assert_eq!(host("höst".as_bytes()), "");
    }
}
