//! What the bytes of a handshake say of a connection's encryption.

use std::borrow::Cow;

/// The facts of one connection. What was not seen, or is itself encrypted, is None: that is not the same as what is known not to be there, which
/// is empty or false.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encryption {
    /// None where only records were seen that several versions write.
    pub version: Option<Version>,
    /// The suite's name in IANA's registry; its number (`0x1306`) if it has none here.
    pub cipher_suite: Option<Cow<'static, str>>,
    /// The group of the key exchange, named likewise (`x25519`); empty where keys were exchanged without any.
    pub key_exchange_group: Option<Cow<'static, str>>,
    /// The key exchange stands against quantum computers.
    pub is_post_quantum: Option<bool>,
    /// The host that the client named (SNI, RFC 6066 section 3); empty if it named none. With Encrypted Client Hello, the name on the outside.
    pub server_name: Option<Box<str>>,
    /// The protocol that the server chose (ALPN, RFC 7301); empty if none. TLS 1.3 encrypts it.
    pub alpn: Option<Box<str>>,
    /// The protocols that the client offered, in its order, with commas between; empty if none.
    pub alpn_offered: Option<Box<str>>,
    /// The issuer of the server's certificate, its parts in their order (`C=US, O=Example, CN=Root`). TLS 1.3 encrypts it.
    pub issuer: Option<Box<str>>,
    /// The end of that certificate's validity, in seconds since the epoch.
    pub expires_at_s: Option<i64>,
    /// The client proved who it is by a certificate, too. TLS 1.3 encrypts that.
    pub is_mutual: Option<bool>,
    /// It goes on with the keys of a connection before, or with some that both sides had.
    pub is_resumed: Option<bool>,
    /// The protocol that was spoken in clear text until both sides agreed to go on encrypted; empty if there was none.
    pub upgraded_from: &'static str,
}

/// A version of TLS or of its forerunner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    Ssl3_0,
    Tls1_0,
    Tls1_1,
    Tls1_2,
    Tls1_3,
}

impl Version {
    /// The version of a number on the wire.
    pub fn of(number: u16) -> Option<Self> {
        match number {
            0x0300 => Some(Self::Ssl3_0),
            0x0301 => Some(Self::Tls1_0),
            0x0302 => Some(Self::Tls1_1),
            0x0303 => Some(Self::Tls1_2),
            0x0304 => Some(Self::Tls1_3),
            _ => None,
        }
    }

    /// The name in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ssl3_0 => "ssl3.0",
            Self::Tls1_0 => "tls1.0",
            Self::Tls1_1 => "tls1.1",
            Self::Tls1_2 => "tls1.2",
            Self::Tls1_3 => "tls1.3",
        }
    }
}
