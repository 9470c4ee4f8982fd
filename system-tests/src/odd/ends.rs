//! Ends of streams that are none, or that come before the program has read what was sent.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::thread;

use anyhow::{Context, Result, ensure};

use super::{answer, begin, connect, get, listen, read_answer, read_head, reset_at_close, serve, wait_for};

const RESETS: usize = 100;

/// A connection that is older than the capture ends without a word.
pub fn silent_and_older() -> Result<()> {
    let (listener, address) = listen()?;
    let client = connect(address)?;
    let (mut server, _) = listener.accept().context("accept")?;
    begin()?;
    drop(client);
    ensure!(server.read(&mut [0]).context("read the end")? == 0);
    Ok(())
}

/// The client receives no bytes while an answer waits for it, then goes on with five more requests.
pub fn zero_length_receive() -> Result<()> {
    begin()?;
    let (listener, address) = listen()?;
    let server = thread::spawn(move || serve(listener.accept().context("accept")?.0, 10));
    let mut client = connect(address)?;
    for number in 0..6 {
        client.write_all(get(&format!("/zero/{number}")).as_bytes()).context("ask")?;
        if number == 0 {
            wait_for(&client, libc::POLLIN)?;
            // SAFETY: no byte of the buffer is touched.
            let n = unsafe { libc::recv(client.as_raw_fd(), [0_u8; 1].as_mut_ptr().cast(), 0, 0) };
            ensure!(n == 0, "a receive call of no bytes returned {n}");
        }
        read_answer(&mut client)?;
    }
    drop(client);
    server.join().expect("the server does not panic")
}

/// The client says that it will ask nothing more; the server answers and closes before the client reads.
pub fn half_close() -> Result<()> {
    begin()?;
    let (listener, address) = listen()?;
    let server = thread::spawn(move || serve(listener.accept().context("accept")?.0, 1000));
    let mut client = connect(address)?;
    client.write_all(get("/half-close").as_bytes()).context("ask")?;
    client.shutdown(Shutdown::Write).context("shut down writing")?;
    wait_for(&client, libc::POLLHUP)?;
    read_answer(&mut client)?;
    ensure!(client.read(&mut [0]).context("read the end")? == 0);
    server.join().expect("the server does not panic")
}

/// The server answers and resets the connection; the client reads its answer after that.
pub fn reset_unread() -> Result<()> {
    begin()?;
    let (listener, address) = listen()?;
    let server = thread::spawn(move || -> Result<()> {
        let (mut stream, _) = listener.accept().context("accept")?;
        read_head(&mut stream)?;
        stream.write_all(&answer(1000)).context("answer")?;
        reset_at_close(&stream)
    });
    let mut client = connect(address)?;
    client.write_all(get("/reset-unread").as_bytes()).context("ask")?;
    wait_for(&client, libc::POLLHUP)?;
    // What reset it comes before the answer in Rust's own view: ask the kernel for the bytes alone.
    read_answer(&mut client)?;
    server.join().expect("the server does not panic")
}

/// Connects, and resets at once.
pub fn reset_at_once() -> Result<()> {
    begin()?;
    let (listener, address) = listen()?;
    let server = thread::spawn(move || -> Result<()> {
        for _ in 0..RESETS {
            let (mut stream, _) = listener.accept().context("accept")?;
            ensure!(stream.read(&mut [0]).is_err(), "there is no reset");
        }
        Ok(())
    });
    for _ in 0..RESETS {
        reset_at_close(&connect(address)?)?;
    }
    server.join().expect("the server does not panic")
}
