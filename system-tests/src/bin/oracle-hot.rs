//! `oracle-hot ADDRESS CONNECTIONS REQUESTS REPORT`
//!
//! Asks as fast as it can over CONNECTIONS connections, each on a thread of its own, REQUESTS times together: three
//! paths with answers of different status in turn. Writes what it got as JSON to REPORT: counts and bytes by status, and a histogram of
//! the time from before the write to after the last read. Prints `done` then. Bounded by REQUESTS.
#![allow(clippy::print_stdout, reason = "its report is its standard output")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use headwater_histogram::Histogram;
use headwater_system_tests::hot::{Got, Report};

const TIMEOUT: Duration = Duration::from_secs(30);
/// Eight of ten are answered with 200.
const PATHS: [&str; 10] = [
    "/ok/hot",
    "/ok/hot",
    "/status/404/hot",
    "/ok/hot",
    "/ok/hot",
    "/ok/hot",
    "/status/503/hot",
    "/ok/hot",
    "/ok/hot",
    "/ok/hot",
];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, connections, requests, report] = arguments.as_slice() else {
        bail!("usage: oracle-hot ADDRESS CONNECTIONS REQUESTS REPORT");
    };
    let address: SocketAddr = address.parse().context("ADDRESS")?;
    let connections: u64 = connections.parse().context("CONNECTIONS")?;
    let each = requests.parse::<u64>().context("REQUESTS")? / connections;
    let all = std::thread::scope(|scope| -> Result<Report> {
        let threads: Vec<_> = (0..connections).map(|_| scope.spawn(move || ask(address, each))).collect();
        let mut all = Report::default();
        for thread in threads {
            let Ok(got) = thread.join() else { bail!("a thread panicked") };
            all.add(&got?)?;
        }
        Ok(all)
    })?;
    let file = std::fs::File::create(report)?;
    serde_json::to_writer(file, &all)?;
    println!("done");
    Ok(())
}

fn ask(address: SocketAddr, requests: u64) -> Result<Report> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT).with_context(|| format!("connect to {address}"))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_nodelay(true)?;
    let asks = PATHS.map(|path| format!("GET {path} HTTP/1.1\r\nHost: hot\r\n\r\n"));
    let mut got = BTreeMap::<u16, Got>::new();
    let mut latency_ns = Histogram::default();
    let mut buffer = [0; 4096];
    for number in 0..requests {
        let ask = &asks[number as usize % asks.len()];
        let began = Instant::now();
        stream.write_all(ask.as_bytes())?;
        let mut length = 0;
        let end = loop {
            let read = stream.read(&mut buffer[length..])?;
            ensure!(read > 0, "the server closed after {length} bytes of answer {number}");
            length += read;
            if let Some(end) = answer_end(&buffer[..length])? {
                break end;
            }
        };
        let took = began.elapsed();
        ensure!(end == length, "{} bytes behind answer {number}", length - end);
        let status = std::str::from_utf8(&buffer[9..12])?.parse()?;
        let got = got.entry(status).or_default();
        got.answers += 1;
        got.request_bytes += ask.len() as u64;
        got.response_bytes += length as u64;
        latency_ns.record(u64::try_from(took.as_nanos())?);
    }
    Ok(Report { got, latency_ns })
}

/// Where an answer ends, once its head is there.
fn answer_end(bytes: &[u8]) -> Result<Option<usize>> {
    let Some(head) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(&bytes[..head])?;
    let length = text.lines().find_map(|line| line.strip_prefix("Content-Length: ")).context("no Content-Length")?;
    let end = head + 4 + length.parse::<usize>()?;
    Ok((bytes.len() >= end).then_some(end))
}
