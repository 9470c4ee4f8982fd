//! The first message of either side (RFC 8446 sections 4.1.2 and 4.1.3; RFC 5246 section 7.4.1).
//!
//! A message of which the end is missing is read as far as it goes: what stands behind is not known, and what is not there is not known to be
//! absent.

use super::bytes::Bytes;
use super::record::Message;
use crate::Version;

/// What the random of a ServerHello is that asks for another ClientHello (RFC 8446 section 4.1.3).
const HELLO_RETRY_REQUEST: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2, 0xa2, 0x11,
    0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];
const RANDOM_BYTES: usize = 32;
const SESSION_ID_BYTES_MAX: usize = 32;
/// Names of hosts are not longer (RFC 1035 section 2.3.4).
const NAME_BYTES_MAX: usize = 255;
/// What is kept of the protocols that a client offers.
const OFFER_BYTES_MAX: usize = 128;

/// Numbers of extensions (IANA, TLS ExtensionType Values).
mod extension {
    pub const SERVER_NAME: u16 = 0;
    pub const ALPN: u16 = 16;
    pub const PRE_SHARED_KEY: u16 = 41;
    pub const SUPPORTED_VERSIONS: u16 = 43;
    pub const KEY_SHARE: u16 = 51;
}

/// What matters of a ClientHello. None: not known. Empty: the client says nothing of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    pub server_name: Option<Box<str>>,
    pub alpn_offered: Option<Box<str>>,
}

/// What matters of a ServerHello.
#[derive(Debug, PartialEq, Eq)]
pub struct ServerHello {
    pub version: Version,
    pub cipher_suite: u16,
    /// TLS 1.3: the group of the share; empty if the keys come from a shared one alone.
    pub group: Option<Option<u16>>,
    /// TLS 1.2 and before; TLS 1.3 encrypts it.
    pub alpn: Option<Box<str>>,
    /// TLS 1.3: it took the key that the client offered.
    pub takes_shared_key: Option<bool>,
    /// The client is to begin again.
    pub is_retry: bool,
}

/// None if it is no ClientHello.
pub fn client(message: &Message) -> Option<ClientHello> {
    let mut rest = Bytes(&message.body);
    let version = rest.number()?;
    rest.take(RANDOM_BYTES)?;
    let session_id = rest.short_vector()?;
    if version >> 8 != 3 || session_id.0.len() > SESSION_ID_BYTES_MAX {
        return None;
    }
    let (Some(_cipher_suites), Some(_compression)) = (rest.vector(), rest.short_vector()) else {
        return message.is_cut.then(ClientHello::default);
    };
    let (mut name, mut offered) = (None, None);
    let is_whole = extensions(message, rest, |number, data| match number {
        extension::SERVER_NAME => name = Some(server_name(data)),
        extension::ALPN => offered = Some(alpn(data)),
        _ => {}
    })?;
    Some(ClientHello { server_name: known(name, is_whole), alpn_offered: known(offered, is_whole) })
}

/// What an extension says: if none is there and all were seen, it is known to say nothing.
fn known(said: Option<Option<Box<str>>>, is_whole: bool) -> Option<Box<str>> {
    said.unwrap_or_else(|| is_whole.then(Box::default))
}

/// None if it is no ServerHello, or one that does not say which version is spoken.
pub fn server(message: &Message) -> Option<ServerHello> {
    let mut rest = Bytes(&message.body);
    let legacy_version = Version::of(rest.number()?)?;
    let is_retry = rest.take(RANDOM_BYTES)? == HELLO_RETRY_REQUEST;
    let session_id = rest.short_vector()?;
    let cipher_suite = rest.number()?;
    let _compression = rest.byte()?;
    if session_id.0.len() > SESSION_ID_BYTES_MAX || legacy_version > Version::Tls1_2 {
        return None;
    }
    let (mut version, mut is_known) = (legacy_version, true);
    let (mut group, mut chosen, mut takes_shared_key) = (None, None, false);
    let is_whole = extensions(message, rest, |number, mut data| match number {
        extension::SUPPORTED_VERSIONS => match data.number().and_then(Version::of) {
            Some(selected) => version = selected,
            None => is_known = false,
        },
        extension::KEY_SHARE => group = data.number(),
        extension::PRE_SHARED_KEY => takes_shared_key = true,
        extension::ALPN => chosen = Some(alpn(data)),
        _ => {}
    })?;
    let is_1_3 = version == Version::Tls1_3;
    // An older version could be meant, or the newest one, if what says so may have been cut off.
    if !is_known || (!is_whole && !is_1_3 && legacy_version == Version::Tls1_2) {
        return None;
    }
    Some(ServerHello {
        version,
        cipher_suite,
        group: (is_1_3 && (is_whole || group.is_some())).then_some(group),
        alpn: known(chosen, is_whole).filter(|_| !is_1_3),
        takes_shared_key: (is_1_3 && (is_whole || takes_shared_key)).then_some(takes_shared_key),
        is_retry,
    })
}

/// Gives each extension that is whole. Says whether those are all; None if these are no extensions.
fn extensions<'m>(message: &Message, mut rest: Bytes<'m>, mut take: impl FnMut(u16, Bytes<'m>)) -> Option<bool> {
    if rest.is_empty() {
        // Before TLS 1.3 there may be none at all.
        return Some(!message.is_cut);
    }
    let mut extensions = match rest.vector() {
        Some(all) if rest.is_empty() && !message.is_cut => all,
        _ if !message.is_cut => return None,
        _ => {
            rest.take(2);
            rest
        }
    };
    while let (Some(number), Some(data)) = (extensions.number(), extensions.vector()) {
        take(number, data);
    }
    match (extensions.is_empty(), message.is_cut) {
        (_, true) => Some(false),
        (true, false) => Some(true),
        (false, false) => None,
    }
}

/// The name of the host in the extension of a client. None if it is no name.
fn server_name(mut data: Bytes<'_>) -> Option<Box<str>> {
    let mut names = data.vector()?;
    let (kind, name) = (names.byte()?, names.vector()?);
    (kind == 0 && !name.is_empty() && name.0.len() <= NAME_BYTES_MAX).then(|| text(name.0)).flatten()
}

/// The names of protocols, with commas between. None if one of them is no text.
fn alpn(mut data: Bytes<'_>) -> Option<Box<str>> {
    let mut names = data.vector()?;
    let mut list = String::new();
    while let Some(name) = names.short_vector() {
        // A client may offer names that mean nothing, so that servers learn to pass them over (RFC 8701).
        let is_grease = matches!(name.0, [a, b] if a == b && a & 0x0f == 0x0a);
        if is_grease {
            continue;
        }
        let name = text(name.0)?;
        if list.len() + name.len() >= OFFER_BYTES_MAX {
            list.push_str(if list.is_empty() { "..." } else { ",..." });
            break;
        }
        if !list.is_empty() {
            list.push(',');
        }
        list.push_str(&name);
    }
    Some(list.into())
}

/// Text of ASCII without spaces.
fn text(bytes: &[u8]) -> Option<Box<str>> {
    let is_text = bytes.iter().all(u8::is_ascii_graphic);
    str::from_utf8(bytes).ok().filter(|_| is_text).map(Into::into)
}
