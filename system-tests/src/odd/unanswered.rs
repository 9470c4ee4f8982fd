//! A client that says a great deal which nobody answers: messages of MQTT 3.1.1 of quality 0, each in a call of its own.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;

use anyhow::{Context, Result};

use super::{begin, connect, listen};

pub const MESSAGES: usize = 1_000;
const PAYLOAD_BYTES: usize = 110;

/// CONNECT of a client `c` that keeps alive for a minute, and what accepts it; DISCONNECT.
const CONNECT: &[u8] = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01c";
const CONNACK: &[u8] = &[0x20, 2, 0, 0];
const DISCONNECT: &[u8] = &[0xe0, 0];

pub fn play() -> Result<()> {
    begin()?;
    let (listener, address) = listen()?;
    let server = thread::spawn(move || take(listener.accept().context("accept")?.0));
    let mut stream = connect(address)?;
    stream.write_all(CONNECT).context("say who it is")?;
    stream.read_exact(&mut [0; CONNACK.len()]).context("be accepted")?;
    for number in 0..MESSAGES {
        stream.write_all(&publish(&format!("shop/{number:05}"))).context("publish")?;
    }
    stream.write_all(DISCONNECT).context("leave")?;
    drop(stream);
    server.join().expect("the server does not panic")
}

fn take(mut stream: TcpStream) -> Result<()> {
    stream.read_exact(&mut [0; CONNECT.len()]).context("read who it is")?;
    stream.write_all(CONNACK).context("accept")?;
    let mut bytes = [0; 4096];
    while stream.read(&mut bytes).context("read messages")? > 0 {}
    Ok(())
}

fn publish(topic: &str) -> Vec<u8> {
    let length = 2 + topic.len() + PAYLOAD_BYTES;
    assert!(length < 128, "one byte of length");
    let mut packet = vec![0x30, length as u8, 0, topic.len() as u8];
    packet.extend_from_slice(topic.as_bytes());
    packet.resize(2 + length, b'x');
    packet
}
