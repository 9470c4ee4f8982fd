//! Requests that servers serve although the standard does not allow them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;

use anyhow::{Context, Result, ensure};

use super::{answer, begin, connect, listen, read_answer};

const AFTER: &[u8] = b"GET /after HTTP/1.1\r\nHost: a\r\n\r\n";
const ODD: [&[u8]; 12] = [
    b"GET /caf\xe9 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /x?q=\xe9 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET  /x HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /x  HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /x HTTP/1.2\r\nHost: a\r\n\r\n",
    b"GET /x HTTP/1.1 \r\nHost: a\r\n\r\n",
    b"GET /x HTTP/1.1\r\nBogus\r\nHost: a\r\n\r\n",
    b"GET /x HTTP/1.1\r\nX[1]: 1\r\nHost: a\r\n\r\n",
    b"GET /x HTTP/1.1\r\nn\xc3\xa9: 1\r\nHost: a\r\n\r\n",
    b"GET /x HTTP/1.1\r\nCookie: a=\x7fb\r\nHost: a\r\n\r\n",
    b"PROPFIND /dav/f HTTP/1.1\r\nHost: a\r\n\r\n",
    b"PURGE /x HTTP/1.1\r\nHost: a\r\n\r\n",
];
/// Each as the first and as the second request of a connection, with one before or behind it.
pub const REQUESTS: usize = 5 * ODD.len();

/// Asks in odd ways, and is answered.
pub fn play() -> Result<()> {
    begin()?;
    for odd in ODD {
        for asked in [&[odd, AFTER][..], &[AFTER, odd, AFTER]] {
            let (listener, address) = listen()?;
            let server = thread::spawn(move || serve(listener.accept().context("accept")?.0));
            let mut client = connect(address)?;
            for request in asked {
                client.write_all(request).context("ask")?;
                read_answer(&mut client)?;
            }
            drop(client);
            server.join().expect("the server does not panic")?;
        }
    }
    Ok(())
}

/// Answers whatever ends like a head.
fn serve(mut stream: TcpStream) -> Result<()> {
    let mut asked = Vec::new();
    loop {
        let mut bytes = [0; 4096];
        let n = stream.read(&mut bytes).context("read a request")?;
        if n == 0 {
            ensure!(asked.is_empty(), "half a request");
            return Ok(());
        }
        asked.extend_from_slice(&bytes[..n]);
        if asked.ends_with(b"\r\n\r\n") {
            asked.clear();
            stream.write_all(&answer(3)).context("answer")?;
        }
    }
}
