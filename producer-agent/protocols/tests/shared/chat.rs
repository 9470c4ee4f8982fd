//! Frames of WebSocket (RFC 6455, 5.2), as both sides write them.

// Each test needs a part of it.
#![allow(dead_code)]

pub const CONTINUATION: u8 = 0;
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A frame of a server. `first` is the opcode, with 0x80 if it is the last frame of its message, and 0x40 if that is compressed.
pub fn of_server(first: u8, payload: &[u8]) -> Vec<u8> {
    frame(first, payload, None)
}

/// A frame of a client, whose payload has a key.
pub fn of_client(first: u8, payload: &[u8]) -> Vec<u8> {
    frame(first, payload, Some(KEY))
}

/// A whole message of either.
pub fn message(by_client: bool, payload: &[u8]) -> Vec<u8> {
    if by_client { of_client(0x80 | TEXT, payload) } else { of_server(0x80 | BINARY, payload) }
}

fn frame(first: u8, payload: &[u8], key: Option<[u8; 4]>) -> Vec<u8> {
    let mut bytes = vec![first];
    let mask = if key.is_some() { 0x80 } else { 0 };
    match payload.len() {
        length @ 0..126 => bytes.push(mask | length as u8),
        length @ 126..65_536 => {
            bytes.push(mask | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        length => {
            bytes.push(mask | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend(key.into_iter().flatten());
    bytes.extend(payload.iter().zip((0..4).cycle()).map(|(byte, at)| byte ^ key.map_or(0, |key| key[at])));
    bytes
}
