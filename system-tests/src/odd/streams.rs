//! Answers that somebody cuts off.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{begin, connect, get, listen, read_head};

const EVENTS: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
const EVENT: &str = "8\r\ndata: 1\n\r\n";
/// A stream that nobody leaves is a fault.
const EVENTS_MAX: usize = 1000;
/// Together more than the buffers of both sockets hold.
const DOWNLOAD_PIECES: usize = 1024;
static DOWNLOAD_PIECE: [u8; 64 * 1024] = [b'x'; 64 * 1024];

/// Clients of an endless stream leave: one has read all that came, one has not.
pub fn endless() -> Result<()> {
    begin()?;
    for reads_all in [true, false] {
        cut_off(&format!("/events/{reads_all}"), send_events, |client| {
            ensure!(read_head(client)? == EVENTS);
            let mut event = [0; EVENT.len()];
            client.read_exact(&mut event).context("read an event")?;
            if !reads_all {
                // The next one waits to be read when the socket is closed.
                client.peek(&mut event).context("wait for an event")?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// The client reads no more than the beginning of the answer's head.
pub fn download_cut() -> Result<()> {
    begin()?;
    let send = |server: &mut TcpStream| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", DOWNLOAD_PIECES * DOWNLOAD_PIECE.len());
        server.write_all(head.as_bytes()).context("begin the answer")?;
        let sent = (0..DOWNLOAD_PIECES).take_while(|_| server.write_all(&DOWNLOAD_PIECE).is_ok()).count();
        ensure!(sent < DOWNLOAD_PIECES, "the client does not leave");
        Ok(())
    };
    cut_off("/download", send, |client| client.read_exact(&mut [0; 20]).context("read a little"))
}

/// The server closes the connection in the middle of its answer.
pub fn server_leaves() -> Result<()> {
    begin()?;
    let send = |server: &mut TcpStream| {
        server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nnot all").context("answer")
    };
    cut_off("/server-leaves", send, |client| {
        client.read_to_end(&mut Vec::new()).context("read to the end")?;
        Ok(())
    })
}

/// One connection with one request; each side closes its socket when it is done.
fn cut_off(
    path: &str,
    send: impl FnOnce(&mut TcpStream) -> Result<()> + Send + 'static,
    read: impl FnOnce(&mut TcpStream) -> Result<()>,
) -> Result<()> {
    let (listener, address) = listen()?;
    let server = thread::spawn(move || -> Result<()> {
        let (mut stream, _) = listener.accept().context("accept")?;
        read_head(&mut stream)?;
        send(&mut stream)
    });
    let mut client = connect(address)?;
    client.write_all(get(path).as_bytes()).context("ask")?;
    read(&mut client)?;
    drop(client);
    server.join().expect("the server does not panic")
}

/// Sends an event now and then until the client has left.
fn send_events(server: &mut TcpStream) -> Result<()> {
    server.write_all(EVENTS.as_bytes()).context("begin the stream")?;
    for _ in 0..EVENTS_MAX {
        if server.write_all(EVENT.as_bytes()).is_err() {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(10));
    }
    anyhow::bail!("the client does not leave")
}
