//! A steady rate of requests over kept-alive connections.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

const CONNECTIONS: u32 = 16;
const REQUEST: &[u8] = b"GET /orders/17 HTTP/1.1\r\nHost: bench\r\nUser-Agent: headwater-bench\r\n\r\n";

/// Sends requests at a rate for a time. Returns how many were answered.
pub fn run(port: u16, per_second: u32, duration: Duration) -> Result<u64> {
    std::thread::scope(|scope| {
        let senders: Vec<_> =
            (0..CONNECTIONS).map(|_| scope.spawn(move || send(port, per_second / CONNECTIONS, duration))).collect();
        senders.into_iter().try_fold(0, |sum, sender| match sender.join() {
            Ok(sent) => Ok(sum + sent?),
            Err(_) => bail!("a sender panicked"),
        })
    })
}

/// One connection. A sender that is late catches up, so that the rate holds.
fn send(port: u16, per_second: u32, duration: Duration) -> Result<u64> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).context("connect to nginx")?;
    stream.set_nodelay(true)?;
    let interval = Duration::from_secs(1) / per_second;
    let start = Instant::now();
    let mut answer = [0; 4096];
    let mut sent = 0_u32;
    while start.elapsed() < duration {
        let due = start + interval * sent;
        if let Some(wait) = due.checked_duration_since(Instant::now()) {
            std::thread::sleep(wait);
        }
        stream.write_all(REQUEST)?;
        // nginx answers this in one write.
        if stream.read(&mut answer)? == 0 {
            bail!("nginx closed the connection");
        }
        sent += 1;
    }
    Ok(u64::from(sent))
}
