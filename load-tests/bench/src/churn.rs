//! The agent's memory while connections and programs come and go: within a minute 100,000 short connections and 5,000 programs that make
//! one request each, beside 50,000 connections that stay and do nothing, and a client that never ends its requests. Both ends of each are
//! observed.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use headwater_process::{Launch, program};

use crate::ground::{Detail, Ground};
use crate::report::Report;

/// The first argument of a process that makes the load.
pub const ARGUMENT: &str = "--churn";
/// The second one of a process that keeps idle connections; without it, a process makes all else.
const KEEPS_IDLE: &str = "idle";

const IDLE: usize = 50_000;
/// Both ends of each are followed, and of each that comes and goes: by default, a single cgroup has room for 75,000.
const FOLLOWED_MAX: &str = "200000";
const SHORT: u32 = 100_000;
const PROGRAMS: u32 = 5_000;
const MINUTE: Duration = Duration::from_secs(60);
/// Requests that never end, and what each is told of at a time.
const ENDLESS: usize = 500;
const ENDLESS_BYTES: usize = 4 << 10;
const ENDLESS_PAUSE: Duration = Duration::from_millis(250);
/// Between two addresses there are some 28,000 ports.
const ADDRESSES: u8 = 16;
/// Processes that keep the idle connections, both ends of each: no more than some 16,700 open files for one of them.
const KEEPERS: usize = 6;
const REQUEST: &[u8] = b"GET /stock/17 HTTP/1.1\r\nHost: bench\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Runs the load beside an agent, and reports the most memory that the agent had.
pub fn measure(ground: &Ground, report: &mut Report) -> Result<()> {
    println!(
        "{SHORT} short connections, {PROGRAMS} programs, {IDLE} idle connections and a hostile client, in a minute"
    );
    let all = ["--capture-connections-max", FOLLOWED_MAX];
    let agent = ground.agent_of(&program("headwater-agent")?, ground.load_cgroup(), "churn.", Detail::Default, &all)?;
    let log = tempfile::NamedTempFile::new_in(ground.folder())?;
    let process = |word: Option<&str>| -> Result<Launch> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(ARGUMENT).args(word);
        Ok(Launch::new("churn", command, log.path()).in_cgroup(ground.load_cgroup()))
    };
    let mut keepers = Vec::new();
    for _ in 0..KEEPERS {
        let mut keeper = process(Some(KEEPS_IDLE))?.piping_stdin().piping_stdout().spawn()?;
        println!("  {} idle connections", keeper.first_line()?);
        keepers.push(keeper);
    }
    let status = process(None)?.spawn()?.join()?;
    let text = std::fs::read_to_string(log.path())?;
    if !status.success() {
        bail!("the load ended with {status}: {text}");
    }
    print!("{text}");
    report.add("agent_rss_mib_under_churn", rss_peak_mib(agent.process.pid())?, "MiB");
    Ok(())
}

/// The most resident memory that a process ever had.
fn rss_peak_mib(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let kib =
        text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    Ok(kib.with_context(|| format!("{path} has no VmHWM"))? / 1024.0)
}

/// A process that makes a part of the load.
pub fn load(word: Option<&str>) -> Result<()> {
    if word == Some(KEEPS_IDLE) { keep_idle() } else { churn() }
}

/// Opens connections and keeps both ends of each until its input ends.
fn keep_idle() -> Result<()> {
    let server = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let port = server.local_addr()?.port();
    thread::spawn(move || serve(&server, usize::MAX));
    let idle = (0..IDLE.div_ceil(KEEPERS))
        .map(|number| ask(port, number).with_context(|| format!("open idle connection {number}")))
        .collect::<Result<Vec<_>>>()?;
    println!("{}", idle.len());
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// All that comes and goes.
fn churn() -> Result<()> {
    let server = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let sink = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let (port, sink_port) = (server.local_addr()?.port(), sink.local_addr()?.port());
    thread::spawn(move || serve(&server, 0));
    thread::spawn(move || swallow(&sink));
    let began = Instant::now();
    let hostile = thread::spawn(move || endless(sink_port, began));
    let programs = thread::spawn(move || paced(began, PROGRAMS, |_| start_program(port)));
    let short = paced(began, SHORT, |number| ask(port, number as usize).map(drop));
    let (Ok(programs), Ok(hostile)) = (programs.join(), hostile.join()) else { bail!("a thread of the load panicked") };
    println!(
        "  {} short connections, {} programs, {} MiB of requests without end, in {:.1} s",
        short?,
        programs?,
        hostile? >> 20,
        began.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Does something so often, evenly over a minute. What is late catches up.
fn paced(began: Instant, count: u32, mut step: impl FnMut(u32) -> Result<()>) -> Result<u32> {
    for number in 0..count {
        if let Some(wait) = (began + MINUTE / count * number).checked_duration_since(Instant::now()) {
            thread::sleep(wait);
        }
        step(number)?;
    }
    Ok(count)
}

/// A connection with one request and its answer.
fn ask(port: u16, number: usize) -> Result<TcpStream> {
    let address = Ipv4Addr::new(127, 0, 0, 1 + (number % usize::from(ADDRESSES)) as u8);
    let mut stream = TcpStream::connect(SocketAddr::from((address, port)))?;
    stream.write_all(REQUEST)?;
    let mut answer = [0; ANSWER.len()];
    stream.read_exact(&mut answer)?;
    Ok(stream)
}

/// A program that makes one request and ends.
fn start_program(port: u16) -> Result<()> {
    let script = format!(
        "exec 3<>/dev/tcp/127.0.0.1/{port}; printf 'GET /stock/18 HTTP/1.1\\r\\nHost: bench\\r\\n\\r\\n' >&3; read -r -u 3 line"
    );
    let status = Command::new("bash").args(["-c", &script]).stdout(Stdio::null()).status().context("run bash")?;
    if status.success() { Ok(()) } else { bail!("bash ended with {status}") }
}

/// Requests whose heads never end. Returns the bytes that were written.
fn endless(port: u16, began: Instant) -> Result<usize> {
    let mut streams = Vec::with_capacity(ENDLESS);
    for _ in 0..ENDLESS {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.write_all(b"GET / HTTP/1.1\r\nX: ")?;
        streams.push(stream);
    }
    let piece = [b'a'; ENDLESS_BYTES];
    let mut written = 0;
    while began.elapsed() < MINUTE {
        for stream in &mut streams {
            stream.write_all(&piece)?;
            written += piece.len();
        }
        thread::sleep(ENDLESS_PAUSE);
    }
    Ok(written)
}

/// Answers the first request of each connection, and keeps so many of them.
fn serve(server: &TcpListener, keeps: usize) {
    let mut kept: Vec<TcpStream> = Vec::new();
    for mut stream in server.incoming().flatten() {
        if answer(&mut stream).is_ok() && kept.len() < keeps {
            kept.push(stream);
        }
    }
}

/// Answers a request, which bash writes line by line.
fn answer(stream: &mut TcpStream) -> std::io::Result<()> {
    let (mut request, mut read) = ([0; 256], 0);
    while !request[..read].ends_with(b"\r\n\r\n") {
        match stream.read(&mut request[read..])? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            more => read += more,
        }
    }
    stream.write_all(ANSWER)
}

fn swallow(sink: &TcpListener) {
    for mut stream in sink.incoming().flatten() {
        thread::spawn(move || {
            let mut bytes = [0; 16 << 10];
            while matches!(stream.read(&mut bytes), Ok(1..)) {}
        });
    }
}
