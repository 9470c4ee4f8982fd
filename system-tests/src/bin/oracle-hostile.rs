//! `oracle-hostile CONNECTIONS`
//!
//! Opens CONNECTIONS connections to itself and writes 64 KiB of requests with long paths into each, which nobody ever answers, so that whoever
//! follows them has to keep all of them. Prints `ready` once all are written and read, and ends with its standard input.
#![allow(clippy::print_stdout, reason = "its report is its standard output")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};

const BYTES: usize = 64 * 1024;
const PATH_BYTES: usize = 2_000;

/// Between two connections, so that a ring buffer of the usual size holds what comes.
const PAUSE: Duration = Duration::from_millis(10);

fn main() -> Result<()> {
    let connections: usize = std::env::args().nth(1).context("CONNECTIONS")?.parse().context("CONNECTIONS")?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let mut open = Vec::new();
    let mut room = vec![0; 16 * 1024];
    for number in 0..connections {
        let mut client = TcpStream::connect(address)?;
        let (mut server, _) = listener.accept()?;
        let request = format!("GET /{number}/{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(PATH_BYTES));
        for _ in 0..BYTES / request.len() {
            client.write_all(request.as_bytes())?;
            let mut left = request.len();
            while left > 0 {
                let most = left.min(room.len());
                left -= server.read(&mut room[..most])?;
            }
        }
        open.push((client, server));
        std::thread::sleep(PAUSE);
    }
    println!("ready");
    std::io::stdout().flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
