//! Conversations that are legal and odd: each is played with real sockets, by one program that is both client and server, so that a test
//! can say what the probes should have seen of them.
//!
//! In: the conversation's name. Out: what was said, as the program's own standard output: `ready` once everything is in place that should
//! be there before the capture, and `done` at the end. Bounded: a few megabytes over loopback.

mod burst;
mod chain;
mod ends;
mod fast_open;
mod frames;
mod moving;
mod relay;
mod roles;
mod streams;
mod syntax;
mod threads;
mod unanswered;

pub use burst::COMMANDS as BURST_COMMANDS;
pub use chain::{ASKED as CHAIN_ASKED, FRONTS as CHAIN_FRONTS};
pub use frames::CROWDED;
pub use moving::{QUESTIONS as MOVING_QUESTIONS, REQUESTS as MOVING_REQUESTS, STREAMS as MOVING_STREAMS};
pub use syntax::REQUESTS as ODD_REQUESTS;
pub use unanswered::MESSAGES as UNANSWERED_MESSAGES;

use std::io::{BufRead, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result, bail, ensure};

/// A call that waits longer than this is a fault.
const PATIENCE_S: i64 = 20;

/// Plays a conversation.
pub fn play(name: &str) -> Result<()> {
    match name {
        "burst" => burst::play(),
        "relay" => relay::play(false),
        "relay-of-known" => relay::play(true),
        "zero-length-receive" => ends::zero_length_receive(),
        "half-close" => ends::half_close(),
        "reset-unread" => ends::reset_unread(),
        "reset-at-once" => ends::reset_at_once(),
        "silent-and-older" => ends::silent_and_older(),
        "role-after-fin" => roles::play(),
        "fast-open" => fast_open::play(),
        "two-writers" => threads::play(),
        "chain" => chain::play(),
        "moving-memory" => moving::play(),
        "moving-segments" => moving::play_segments(),
        "moving-messages" => moving::play_messages(),
        "many-segments" => frames::play_many_segments(),
        "unanswered" => unanswered::play(),
        "odd-syntax" => syntax::play(),
        "endless-stream" => streams::endless(),
        "download-cut" => streams::download_cut(),
        "server-leaves" => streams::server_leaves(),
        _ => bail!("there is no conversation `{name}`"),
    }
}

/// Everything is in place: waits for the word to begin.
fn begin() -> Result<()> {
    say("ready")?;
    std::io::stdin().lock().read_line(&mut String::new()).context("wait for the word to begin")?;
    Ok(())
}

/// Writes a line to standard output at once.
pub fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).context("write to standard output")
}

fn listen() -> Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind("127.0.0.1:0").context("listen")?;
    let address = listener.local_addr().context("ask for the listener's address")?;
    Ok((listener, address))
}

fn connect(address: SocketAddr) -> Result<TcpStream> {
    TcpStream::connect(address).with_context(|| format!("connect to {address}"))
}

/// A small request.
fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: odd\r\n\r\n")
}

/// Reads up to the end of a head. What is behind it stays in the socket.
fn read_head(stream: &mut TcpStream) -> Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut bytes = [0; 4096];
        let n = stream.peek(&mut bytes).context("look at a head")?;
        ensure!(n > 0, "the stream ended in a head");
        let seen = head.len();
        head.extend_from_slice(&bytes[..n]);
        let ends_at = head.windows(4).position(|window| window == b"\r\n\r\n").map_or(head.len(), |at| at + 4);
        head.truncate(ends_at);
        stream.read_exact(&mut bytes[..ends_at - seen]).context("read a head")?;
    }
    String::from_utf8(head).context("a head is not text")
}

/// Reads a whole answer with a length, head and body. Returns its head.
fn read_answer(stream: &mut TcpStream) -> Result<String> {
    let head = read_head(stream)?;
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    let length = length.with_context(|| format!("no length in {head:?}"))?.parse().context("read a length")?;
    std::io::copy(&mut stream.take(length), &mut std::io::sink()).context("read a body")?;
    Ok(head)
}

/// An answer with a body of so many bytes.
fn answer(bytes: usize) -> Vec<u8> {
    let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n").into_bytes();
    answer.resize(answer.len() + bytes, b'b');
    answer
}

/// Answers requests without a body until the client has ended its stream.
fn serve(mut stream: TcpStream, body_bytes: usize) -> Result<()> {
    stream.set_nodelay(true).context("send at once")?;
    while stream.peek(&mut [0]).context("wait for a request")? > 0 {
        read_head(&mut stream)?;
        stream.write_all(&answer(body_bytes)).context("answer")?;
    }
    Ok(())
}

/// Waits until the socket says one of these (`POLLIN`, `POLLRDHUP`, `POLLHUP`).
fn wait_for(stream: &TcpStream, events: libc::c_short) -> Result<()> {
    let mut poll = libc::pollfd { fd: stream.as_raw_fd(), events, revents: 0 };
    // SAFETY: one pollfd that outlives the call.
    let n = unsafe { libc::poll(&raw mut poll, 1, (PATIENCE_S * 1000) as libc::c_int) };
    ensure!(n == 1 && poll.revents & events != 0, "the socket did not say {events:#x}");
    Ok(())
}

/// Makes close(2) reset the connection.
fn reset_at_close(stream: &TcpStream) -> Result<()> {
    set_option(stream, libc::SOL_SOCKET, libc::SO_LINGER, &libc::linger { l_onoff: 1, l_linger: 0 })
}

fn set_option<T>(socket: &impl AsRawFd, level: libc::c_int, option: libc::c_int, value: &T) -> Result<()> {
    let length = size_of::<T>() as libc::socklen_t;
    // SAFETY: the value outlives the call and is as long as said.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, std::ptr::from_ref(value).cast(), length) };
    ensure!(result == 0, "set option {option} of a socket: {}", std::io::Error::last_os_error());
    Ok(())
}
