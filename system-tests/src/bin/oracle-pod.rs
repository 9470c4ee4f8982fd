//! `oracle-pod PORT REPORTS [SERVICE:PORT [PAUSE_MS]]`: a pod whose requests tell by their path who made them and who answered.
//!
//! It serves `/who/CLIENT` with its own name, and `/SERVER/...` with 200 only if SERVER is its own name, else with 421. If it is given a
//! service, it asks it who it is and then, on the same connection, for `/SERVER/CLIENT/RUN/N`, so whatever address the service has and
//! whoever has that address, the path names both ends. Each answered request is a line in the file REPORTS/CLIENT, which outlives the pod.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its log is its standard output")]

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

/// Requests of one connection, after the one that asks for the name.
const PER_CONNECTION: u64 = 4;
const TIMEOUT: Duration = Duration::from_secs(2);

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: oracle-pod PORT REPORTS [SERVICE:PORT [PAUSE_MS]]";
    let port: u16 = arguments.next().context(usage)?.parse().context(usage)?;
    let reports = arguments.next().context(usage)?;
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")?.trim().to_owned();
    let listener = TcpListener::bind(("0.0.0.0", port)).with_context(|| format!("listen on {port}"))?;
    let server_name = name.clone();
    let server = std::thread::spawn(move || serve(&listener, &server_name));
    if let Some(service) = arguments.next() {
        let pause = Duration::from_millis(arguments.next().map_or(Ok(50), |text| text.parse()).context(usage)?);
        ask_for_ever(&service, &name, Path::new(&reports), pause)?;
    }
    server.join().map_err(|_| anyhow::anyhow!("the server ended"))
}

fn serve(listener: &TcpListener, name: &str) {
    for stream in listener.incoming().flatten() {
        let name = name.to_owned();
        std::thread::spawn(move || answer_all(stream, &name));
    }
}

/// Answers until the client goes, or says what this server does not understand.
fn answer_all(stream: TcpStream, name: &str) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut stream = stream;
    loop {
        let path = read_head(&mut reader)?.split(' ').nth(1)?.to_owned();
        let asked = path.split('/').nth(1)?;
        let status = if asked == "who" || asked == name { "200 OK" } else { "421 Misdirected Request" };
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{name}", name.len());
        stream.write_all(answer.as_bytes()).ok()?;
    }
}

fn ask_for_ever(service: &str, name: &str, reports: &Path, pause: Duration) -> Result<()> {
    let path = reports.join(name);
    let mut report = File::options().create(true).append(true).open(&path);
    let report = report.as_mut().map_err(|error| anyhow::anyhow!("open {}: {error}", path.display()))?;
    let run = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let mut n = 0;
    loop {
        if let Err(error) = session(service, name, run, &mut n, report) {
            println!("{error:#}");
        }
        std::thread::sleep(pause);
    }
}

fn session(service: &str, name: &str, run: u128, n: &mut u64, report: &mut File) -> Result<()> {
    let address = service.to_socket_addrs().context("look up the service")?.next().context("no address")?;
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT).with_context(|| format!("connect to {address}"))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let server = ask(&mut stream, &mut reader, &format!("/who/{name}"))?;
    for _ in 0..PER_CONNECTION {
        *n += 1;
        let path = format!("/{server}/{name}/{run}/{n}");
        ask(&mut stream, &mut reader, &path)?;
        report.write_all(format!("{path}\n").as_bytes())?;
    }
    Ok(())
}

fn ask(stream: &mut TcpStream, reader: &mut impl BufRead, path: &str) -> Result<String> {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: oracle\r\n\r\n").as_bytes())?;
    let head = read_head(reader).context("the server closed")?;
    if !head.starts_with("HTTP/1.1 200 ") {
        bail!("{path}: {head}");
    }
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).context("no length")?;
    let mut body = vec![0; length.trim().parse()?];
    reader.read_exact(&mut body)?;
    Ok(String::from_utf8(body)?)
}

/// All lines up to the empty one.
fn read_head(reader: &mut impl BufRead) -> Option<String> {
    let mut head = String::new();
    loop {
        let before = head.len();
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
        if head[before..].trim().is_empty() {
            return Some(head);
        }
    }
}
