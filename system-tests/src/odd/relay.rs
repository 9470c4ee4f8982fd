//! A relay that moves bytes with splice(2) both ways, past the hooks of receive calls.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::thread;

use anyhow::{Context, Result, ensure};

use super::{answer, begin, connect, get, listen, read_answer, read_head, serve};

const REQUESTS: usize = 20;
const BODY_BYTES: usize = 1_000_000;
const PIPE_BYTES: usize = 64 * 1024;

/// Twenty requests for a megabyte each through the relay. If `reads_first`, it moves the first request and its answer with plain calls.
pub fn play(reads_first: bool) -> Result<()> {
    begin()?;
    let (origin, origin_address) = listen()?;
    let (listener, relay_address) = listen()?;
    let server = thread::spawn(move || serve(origin.accept().context("accept")?.0, BODY_BYTES));
    let relay =
        thread::spawn(move || relay(listener.accept().context("accept")?.0, connect(origin_address)?, reads_first));
    let mut client = connect(relay_address)?;
    for number in 0..REQUESTS {
        client.write_all(get(&format!("/relay/{number}")).as_bytes()).context("ask")?;
        read_answer(&mut client)?;
    }
    client.shutdown(Shutdown::Write).context("shut down writing")?;
    relay.join().expect("the relay does not panic")?;
    server.join().expect("the server does not panic")
}

fn relay(mut client: TcpStream, mut server: TcpStream, reads_first: bool) -> Result<()> {
    if reads_first {
        let request = read_head(&mut client)?;
        server.write_all(request.as_bytes()).context("pass a request on")?;
        read_answer(&mut server)?;
        client.write_all(&answer(BODY_BYTES)).context("pass an answer on")?;
    }
    let (client_again, server_again) = (client.try_clone()?, server.try_clone()?);
    let back = thread::spawn(move || splice_all(&server_again, &client_again));
    splice_all(&client, &server)?;
    server.shutdown(Shutdown::Write).context("shut down writing")?;
    back.join().expect("the relay does not panic")
}

/// Moves bytes until the end of the stream.
fn splice_all(from: &TcpStream, to: &TcpStream) -> Result<()> {
    let mut ends = [0; 2];
    // SAFETY: room for two descriptors.
    ensure!(unsafe { libc::pipe(ends.as_mut_ptr()) } == 0, "make a pipe");
    // SAFETY: they are new, and nobody else's.
    let [out, into] = ends.map(|end| unsafe { OwnedFd::from_raw_fd(end) });
    loop {
        let moved = splice(from, &into, PIPE_BYTES)?;
        if moved == 0 {
            return Ok(());
        }
        let mut left = moved;
        while left > 0 {
            left -= splice(&out, to, left)?;
        }
    }
}

fn splice(from: &impl AsRawFd, to: &impl AsRawFd, bytes: usize) -> Result<usize> {
    let (null, flags) = (std::ptr::null_mut(), libc::SPLICE_F_MOVE);
    // SAFETY: without offsets, the kernel touches no memory of ours.
    let moved = unsafe { libc::splice(from.as_raw_fd(), null, to.as_raw_fd(), null, bytes, flags) };
    usize::try_from(moved).map_err(|_| std::io::Error::last_os_error()).context("splice")
}
