//! `oracle-uring COUNT`: a server that receives by io_uring while its thread waits in a read of something else, and its client.
//!
//! The buffer of that read holds another request of the same length, `/decoy/N` in place of `/right/N`. The receive completes when the
//! kernel interrupts the read, so a probe that takes the call's arguments for the receive's would read the decoy. It prints `ready`,
//! waits for a line on its standard input, makes COUNT exchanges on one connection and ends well if all were right.
#![allow(clippy::print_stdout, reason = "it tells the test that it is ready")]

use std::fs::File;
use std::io::{Read, Write, pipe};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use io_uring::{IoUring, opcode, types};

const PATIENCE: Duration = Duration::from_secs(30);
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn main() -> Result<()> {
    let count: usize = std::env::args().nth(1).context("usage: oracle-uring COUNT")?.parse()?;
    println!("ready");
    std::io::stdin().read_line(&mut String::new())?;

    let listener = TcpListener::bind("127.0.0.1:0")?;
    let to_server = TcpStream::connect(listener.local_addr()?)?;
    let (mut socket, _) = listener.accept()?;
    let mut ring = IoUring::new(8).context("make an io_uring; the kernel may refuse it (kernel.io_uring_disabled)")?;
    // SAFETY: a system call without pointers, which gives a descriptor that is nobody else's.
    let completed = unsafe { File::from_raw_fd(libc::eventfd(0, 0)) };
    ring.submitter().register_eventfd(completed.as_raw_fd())?;
    let (mut waits_for, wakes) = pipe()?;
    let (armed, is_armed) = channel();
    // SAFETY: a system call without preconditions.
    let server = unsafe { libc::gettid() };
    let client = std::thread::spawn(move || ask_all(count, to_server, completed, wakes, &is_armed, server));

    for n in 0..count {
        let mut buffer = request("right", n).into_bytes();
        let expected = std::mem::replace(&mut buffer, vec![0; request("right", n).len()]);
        let receive = opcode::Recv::new(types::Fd(socket.as_raw_fd()), buffer.as_mut_ptr(), buffer.len() as u32);
        // SAFETY: the buffer and the socket outlive the completion, which is waited for below.
        unsafe { ring.submission().push(&receive.build())? };
        ring.submit()?;
        let mut decoy = request("decoy", n).into_bytes();
        armed.send(())?;
        ensure!(waits_for.read(&mut decoy)? == 1, "the pipe gave more than the client wrote");
        let completion = ring.completion().next().context("the receive is not complete")?;
        ensure!(completion.result() == buffer.len() as i32, "the receive gave {}", completion.result());
        ensure!(buffer == expected, "the receive gave {:?}", String::from_utf8_lossy(&buffer));
        socket.write_all(ANSWER)?;
    }
    client.join().map_err(|_| anyhow::anyhow!("the client panicked"))?
}

fn request(word: &str, n: usize) -> String {
    format!("GET /{word}/{n:06} HTTP/1.1\r\nhost: o\r\n\r\n")
}

fn ask_all(
    count: usize,
    mut socket: TcpStream,
    mut completed: File,
    mut wakes: impl Write,
    is_armed: &Receiver<()>,
    server: i32,
) -> Result<()> {
    for n in 0..count {
        is_armed.recv_timeout(PATIENCE)?;
        wait_until_it_reads(server)?;
        socket.write_all(request("right", n).as_bytes())?;
        // The receive has completed, while the server's thread was in its read.
        completed.read_exact(&mut [0; 8])?;
        wakes.write_all(b"x")?;
        let mut answer = [0; ANSWER.len()];
        socket.read_exact(&mut answer)?;
        ensure!(answer == ANSWER, "the answer is {:?}", String::from_utf8_lossy(&answer));
    }
    Ok(())
}

/// Until the thread waits in read(2), which the kernel tells as the number of its system call.
fn wait_until_it_reads(thread: i32) -> Result<()> {
    let path = format!("/proc/self/task/{thread}/syscall");
    let (number, end) = (format!("{} ", libc::SYS_read), Instant::now() + PATIENCE);
    while !std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?.starts_with(&number) {
        ensure!(Instant::now() < end, "the server does not wait in its read");
        std::thread::yield_now();
    }
    Ok(())
}
