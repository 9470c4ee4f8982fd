//! Frames of Cassandra's native protocol, as peers write them, and the segments of version 5.

// Each test needs a part of it.
#![allow(dead_code)]

pub fn frame(version: u8, flags: u8, stream: i16, opcode: u8, body: &[&[u8]]) -> Vec<u8> {
    let body = body.concat();
    let stream = stream.to_be_bytes();
    [&[version, flags, stream[0], stream[1], opcode][..], &(body.len() as u32).to_be_bytes(), &body].concat()
}

pub fn long(text: &str) -> Vec<u8> {
    [&(text.len() as u32).to_be_bytes()[..], text.as_bytes()].concat()
}

pub fn short(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

/// Consistency ONE, and no flags.
const PARAMETERS: &[u8] = &[0, 1, 0];

pub fn startup(version: u8, options: &[(&str, &str)]) -> Vec<u8> {
    let options: Vec<Vec<u8>> = options.iter().map(|(name, value)| [short(name), short(value)].concat()).collect();
    frame(version, 0, 0, 1, &[&(options.len() as u16).to_be_bytes(), &options.concat()])
}

pub const OPTIONS: &[(&str, &str)] = &[("CQL_VERSION", "3.4.5")];

pub fn ready(version: u8) -> Vec<u8> {
    frame(version | 0x80, 0, 0, 2, &[])
}

pub fn query(version: u8, stream: i16, statement: &str) -> Vec<u8> {
    frame(version, 0, stream, 7, &[&long(statement), PARAMETERS])
}

pub fn prepare(version: u8, stream: i16, statement: &str) -> Vec<u8> {
    frame(version, 0, stream, 9, &[&long(statement)])
}

pub fn execute(version: u8, stream: i16, id: [u8; 16]) -> Vec<u8> {
    frame(version, 0, stream, 10, &[&short(id), PARAMETERS, b"secret secret"])
}

pub fn void(version: u8, stream: i16) -> Vec<u8> {
    frame(version | 0x80, 0, stream, 8, &[&[0, 0, 0, 1]])
}

pub fn rows(version: u8, stream: i16, bytes: usize) -> Vec<u8> {
    frame(version | 0x80, 0, stream, 8, &[&[0, 0, 0, 2], &vec![b'x'; bytes]])
}

pub fn keyspace(version: u8, stream: i16, name: &str) -> Vec<u8> {
    frame(version | 0x80, 0, stream, 8, &[&[0, 0, 0, 3], &short(name)])
}

pub fn prepared(version: u8, stream: i16, id: [u8; 16]) -> Vec<u8> {
    frame(version | 0x80, 0, stream, 8, &[&[0, 0, 0, 4], &short(id), &[0; 12]])
}

pub fn error(version: u8, stream: i16, code: u32) -> Vec<u8> {
    frame(version | 0x80, 0, stream, 0, &[&code.to_be_bytes(), &short("secret")])
}

/// One segment that holds all of this, or the part of a frame.
pub fn segment(payload: &[u8], is_self_contained: bool) -> Vec<u8> {
    [&header(payload.len(), is_self_contained)[..], payload, TRAILER].concat()
}

/// What stands before the payload of a segment.
pub fn header(payload_bytes: usize, is_self_contained: bool) -> Vec<u8> {
    let fields = payload_bytes as u32 | u32::from(is_self_contained) << 17;
    let fields = &fields.to_le_bytes()[..3];
    [fields, &crc24(fields).to_le_bytes()[..3]].concat()
}

/// What stands behind it: a checksum that nobody looks at.
pub const TRAILER: &[u8] = &[0xcc; 4];

/// As sides write that compress: this payload stays as it is, unless `length` says that it was another one.
pub fn compressing(payload: &[u8], length: u64) -> Vec<u8> {
    let fields = payload.len() as u64 | length << 17 | 1 << 34;
    let fields = &fields.to_le_bytes()[..5];
    [fields, &crc24(fields).to_le_bytes()[..3], payload, &[0xcc; 4]].concat()
}

fn crc24(bytes: &[u8]) -> u32 {
    let mut crc: u32 = 0x87_5060;
    for byte in bytes {
        crc ^= u32::from(*byte) << 16;
        for _ in 0..8 {
            crc <<= 1;
            if crc & 0x100_0000 != 0 {
                crc ^= 0x197_4f0b;
            }
        }
    }
    crc
}
