//! `oracle-hot ADDRESS CONNECTIONS REQUESTS REPORT http|redis`
//!
//! Asks as fast as it can over CONNECTIONS connections, each on a thread of its own, REQUESTS times together: of HTTP three
//! paths with answers of different status in turn, of Redis commands with replies of several types, one of fifty an error. Writes what it got
//! as JSON to REPORT: counts and bytes by status, and a histogram of the time from before the write to after the last read. Prints `done` then.
//! Bounded by REQUESTS.
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

/// In turn; what is asked last of fifty is an error.
const COMMANDS: [&[&str]; 10] = [
    &["SET", "hot", "some value"],
    &["get", "hot"],
    &["GET", "nothing"],
    &["INCR", "counter"],
    &["GET", "hot"],
    &["MGET", "hot", "nothing"],
    &["GET", "long"],
    &["PING"],
    &["EXISTS", "hot"],
    &["GET", "counter"],
];
const ERROR_EVERY: usize = 50;
const ERRORS: [&[&str]; 2] = [&["LPUSH", "hot", "x"], &["INCR", "long"]];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, connections, requests, report, protocol] = arguments.as_slice() else {
        bail!("usage: oracle-hot ADDRESS CONNECTIONS REQUESTS REPORT http|redis");
    };
    let (asks, answered): (Vec<String>, Answered) = match protocol.as_str() {
        "http" => (PATHS.map(|path| format!("GET {path} HTTP/1.1\r\nHost: hot\r\n\r\n")).into(), http_answer),
        "redis" => (redis_asks(), redis_answer),
        other => bail!("{other} is neither http nor redis"),
    };
    let address: SocketAddr = address.parse().context("ADDRESS")?;
    let connections: u64 = connections.parse().context("CONNECTIONS")?;
    let each = requests.parse::<u64>().context("REQUESTS")? / connections;
    let mut all = Report::default();
    if protocol == "redis" {
        let values = ["hot", "long"].map(|key| command(&["SET", key, &"v".repeat(200)]));
        all.add(&ask(address, 2, &values, answered)?)?;
    }
    let asks = &asks;
    let hot = std::thread::scope(|scope| -> Result<Report> {
        let threads: Vec<_> =
            (0..connections).map(|_| scope.spawn(move || ask(address, each, asks, answered))).collect();
        let mut all = Report::default();
        for thread in threads {
            let Ok(got) = thread.join() else { bail!("a thread panicked") };
            all.add(&got?)?;
        }
        Ok(all)
    })?;
    all.add(&hot)?;
    let file = std::fs::File::create(report)?;
    serde_json::to_writer(file, &all)?;
    println!("done");
    Ok(())
}

/// What ends an answer, and its status or code; none if it is not there yet.
type Answered = fn(&[u8]) -> Result<Option<(usize, &str)>>;

fn ask(address: SocketAddr, requests: u64, asks: &[String], answered: Answered) -> Result<Report> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT).with_context(|| format!("connect to {address}"))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_nodelay(true)?;
    let mut got = BTreeMap::<String, Got>::new();
    let mut latency_ns = Histogram::default();
    let mut buffer = [0; 4096];
    for number in 0..requests {
        let ask = &asks[number as usize % asks.len()];
        let began = Instant::now();
        stream.write_all(ask.as_bytes())?;
        let mut length = 0;
        let (end, took) = loop {
            let read = stream.read(&mut buffer[length..])?;
            let took = began.elapsed();
            ensure!(read > 0, "the server closed after {length} bytes of answer {number}");
            length += read;
            if let Some((end, _)) = answered(&buffer[..length])? {
                break (end, took);
            }
        };
        ensure!(end == length, "{} bytes behind answer {number}", length - end);
        let (_, status) = answered(&buffer[..length])?.context("an answer that was there")?;
        if !got.contains_key(status) {
            got.insert(status.to_owned(), Got::default());
        }
        let got = got.get_mut(status).context("an entry that was made")?;
        got.answers += 1;
        got.request_bytes += ask.len() as u64;
        got.response_bytes += length as u64;
        latency_ns.record(u64::try_from(took.as_nanos())?);
    }
    Ok(Report { got, latency_ns })
}

fn http_answer(bytes: &[u8]) -> Result<Option<(usize, &str)>> {
    let Some(head) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(&bytes[..head])?;
    let length = text.lines().find_map(|line| line.strip_prefix("Content-Length: ")).context("no Content-Length")?;
    let end = head + 4 + length.parse::<usize>()?;
    Ok((bytes.len() >= end).then_some((end, &text[9..12])))
}

fn redis_asks() -> Vec<String> {
    let ask = |number: usize| match number % ERROR_EVERY {
        last if last == ERROR_EVERY - 1 => ERRORS[number / ERROR_EVERY],
        number => COMMANDS[number % COMMANDS.len()],
    };
    (0..ERROR_EVERY * ERRORS.len()).map(|number| command(ask(number))).collect()
}

fn command(words: &[&str]) -> String {
    let strings: String = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
    format!("*{}\r\n{strings}", words.len())
}

fn redis_answer(bytes: &[u8]) -> Result<Option<(usize, &str)>> {
    let mut at = 0;
    let mut left = 1;
    let mut code = "";
    while left > 0 {
        let Some(line) = bytes[at..].windows(2).position(|two| two == b"\r\n") else { return Ok(None) };
        let text = std::str::from_utf8(&bytes[at..at + line])?;
        at += line + 2;
        left -= 1;
        match text.split_at(1) {
            ("-", error) => code = error.split(' ').next().unwrap_or_default(),
            ("$", length) if length != "-1" => at += length.parse::<usize>()? + 2,
            ("*", values) => left += values.parse::<usize>()?,
            _ => {}
        }
        if at > bytes.len() {
            return Ok(None);
        }
    }
    Ok(Some((at, code)))
}
