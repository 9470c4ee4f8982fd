//! A client of HTTP/2 that decides itself how its frames lie in calls and buffers (RFC 9113), and the server that answers it.

use std::io::{IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use anyhow::{Context, Result, ensure};

use super::{connect, listen};
use crate::http2;

/// RFC 9113, 4.1 and 6.
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
pub const END_STREAM: u8 = 1;
const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;
const HEAD_BYTES: usize = 9;
const WINDOW_UPDATE: u8 = 8;

/// Buffers of one call that a probe looks at.
const SEGMENTS: usize = 40;

/// Requests in calls of many buffers.
pub const CROWDED: usize = 20;

/// Requests whose body begins in the buffer behind the last one that a probe looks at.
pub fn play_many_segments() -> Result<()> {
    super::begin()?;
    let (listener, address) = listen()?;
    let server = thread::spawn(move || serve(&listener));
    let mut stream = connect(address)?;
    begin(&mut stream)?;
    for number in 0..CROWDED as u32 {
        let id = 1 + 2 * number;
        let mut fields = block(0x83, "/100/graphql");
        // Index 31 of the static table, without keeping the value.
        let json = b"application/json";
        fields.extend([&[0x0f, 0x10, json.len() as u8], &json[..]].concat());
        let fields = frame(HEADERS, END_HEADERS, id, &fields);
        let body = format!(r#"{{"query":"query crowded_{number} {{ a }}"}}"#);
        let body = frame(DATA, END_STREAM, id, body.as_bytes());
        // Two buffers each, before those of the request.
        let filler = frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes());
        let mut segments: Vec<IoSlice<'_>> = (0..(SEGMENTS - 2) / 2)
            .flat_map(|_| [&filler[..HEAD_BYTES], &filler[HEAD_BYTES..]].map(IoSlice::new))
            .collect();
        segments.extend([&fields[..], &body[..HEAD_BYTES], &body[HEAD_BYTES..]].map(IoSlice::new));
        write_all(&mut stream, &segments)?;
        read_answers(&mut stream, 1)?;
    }
    drop(stream);
    server.join().expect("the server does not panic")
}

/// What a client says first.
pub fn begin(stream: &mut TcpStream) -> Result<()> {
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").context("begin")?;
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).context("begin")
}

/// Serves one connection to its end.
pub fn serve(listener: &TcpListener) -> Result<()> {
    let stream = listener.accept().context("accept")?.0;
    stream.set_nonblocking(true).context("serve")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { http2::serve(tokio::net::TcpStream::from_std(stream)?).await })
}

/// Writes all segments in one call.
pub fn write_all(stream: &mut TcpStream, segments: &[IoSlice<'_>]) -> Result<()> {
    let written = stream.write_vectored(segments).context("ask")?;
    let all: usize = segments.iter().map(|segment| segment.len()).sum();
    ensure!(written == all, "{written} of {all} bytes were written");
    Ok(())
}

/// A header block: the method, the scheme, and the path as a literal that nobody keeps (RFC 7541, 6.2.2).
pub fn block(method: u8, path: &str) -> Vec<u8> {
    [&[method, 0x86, 0x04, path.len() as u8], path.as_bytes()].concat()
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Reads frames up to the end of so many streams.
pub fn read_answers(stream: &mut TcpStream, mut open: usize) -> Result<()> {
    while open > 0 {
        let mut head = [0; HEAD_BYTES];
        stream.read_exact(&mut head).context("read the head of a frame")?;
        let [_, a, b, kind, flags, ..] = head;
        let mut payload = vec![0; usize::from(u16::from_be_bytes([a, b]))];
        stream.read_exact(&mut payload).context("read a frame")?;
        match kind {
            SETTINGS if flags & ACK == 0 => stream.write_all(&frame(SETTINGS, ACK, 0, &[])).context("agree")?,
            DATA | HEADERS => open -= usize::from(flags & END_STREAM != 0),
            _ => {}
        }
    }
    Ok(())
}
