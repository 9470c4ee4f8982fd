//! Frames of AMQP 0-9-1, as peers write them.

// Each test needs a part of it.
#![allow(dead_code)]

pub fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&[kind][..], &channel.to_be_bytes(), &length, payload, &[0xce]].concat()
}

pub fn method(channel: u16, class: u16, number: u16, arguments: &[&[u8]]) -> Vec<u8> {
    frame(1, channel, &[&class.to_be_bytes()[..], &number.to_be_bytes(), &arguments.concat()].concat())
}

/// A short string.
pub fn text(text: &str) -> Vec<u8> {
    [&[text.len() as u8][..], text.as_bytes()].concat()
}

/// The header and the body of a message, in frames of so many bytes.
pub fn content(channel: u16, body: &[u8], frame_bytes: usize) -> Vec<u8> {
    let header = [&[0, 60, 0, 0][..], &(body.len() as u64).to_be_bytes(), &[0, 0]].concat();
    let mut frames = frame(2, channel, &header);
    body.chunks(frame_bytes).for_each(|part| frames.extend(frame(3, channel, part)));
    frames
}

/// A message to an exchange.
pub fn publish(channel: u16, exchange: &str, key: &str, body: &[u8]) -> Vec<u8> {
    [method(channel, 60, 40, &[&[0, 0], &text(exchange), &text(key), &[0]]), content(channel, body, 4096)].concat()
}

/// A message to a consumer.
pub fn deliver(channel: u16, tag: &str, number: u64, key: &str, body: &[u8]) -> Vec<u8> {
    let arguments = [&text(tag)[..], &number.to_be_bytes(), &[0], &text("shop"), &text(key)];
    [method(channel, 60, 60, &arguments), content(channel, body, 4096)].concat()
}

/// What settles a message by its number, or all up to it.
pub fn acknowledge(channel: u16, number: u64, multiple: bool) -> Vec<u8> {
    method(channel, 60, 80, &[&number.to_be_bytes(), &[u8::from(multiple)]])
}

pub const PREFACE: &[u8] = b"AMQP\0\0\x09\x01";

/// What both sides say in turn until a connection is open.
pub fn beginning() -> [Vec<u8>; 6] {
    [
        PREFACE.to_vec(),
        method(0, 10, 10, &[&[0, 9], &[0, 0, 0, 0], &[0, 0, 0, 5], b"PLAIN", &[0, 0, 0, 5], b"en_US"]),
        method(0, 10, 11, &[&[0, 0, 0, 0], &text("PLAIN"), &[0, 0, 0, 13], b"\0secret\0secret", &text("en_US")]),
        method(0, 10, 30, &[&[0; 8]]),
        [method(0, 10, 31, &[&[0; 8]]), method(0, 10, 40, &[&text("/shop"), &[0, 0]])].concat(),
        method(0, 10, 41, &[&[0]]),
    ]
}
