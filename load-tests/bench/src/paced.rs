//! A steady rate of requests over kept-alive connections, sent by a process of its own so that it can be in the cgroup that is captured.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use headwater_process::Launch;

use crate::ground::Ground;

/// The first argument of a process that only sends.
pub const ARGUMENT: &str = "--send-paced";

const CONNECTIONS: u32 = 16;
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: bench\r\nUser-Agent: headwater-bench\r\n\r\n";

/// What was answered, and how fast.
pub struct Paced {
    pub requests: f64,
    pub p99_us: f64,
}

/// Sends requests at a rate for a time.
pub fn run(port: u16, per_second: u32, duration: Duration, ground: &Ground) -> Result<Paced> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(ARGUMENT).args([u64::from(port), u64::from(per_second), duration.as_secs()].map(|n| n.to_string()));
    let log = tempfile::NamedTempFile::new_in(ground.folder())?;
    let launch = Launch::new("sender", command, log.path()).in_cgroup(ground.load_cgroup()).piping_stdout();
    let mut process = launch.spawn()?;
    let line = process.first_line().with_context(|| format!("the sender said: {}", process_log(log.path())))?;
    process.join()?;
    let mut numbers = line.split_whitespace().map(str::parse::<f64>);
    let (Some(Ok(requests)), Some(Ok(p99_us))) = (numbers.next(), numbers.next()) else { bail!("it printed {line}") };
    Ok(Paced { requests, p99_us })
}

fn process_log(path: &std::path::Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// The process that sends: port, rate and seconds in, number of answers and the 99th percentile of their time out.
pub fn send_all(arguments: &[String]) -> Result<()> {
    let [port, per_second, seconds] = arguments else { bail!("port, rate and seconds are needed") };
    let (port, per_second): (u16, u32) = (port.parse()?, per_second.parse()?);
    let duration = Duration::from_secs(seconds.parse()?);
    let mut times: Vec<Duration> = std::thread::scope(|scope| {
        let senders: Vec<_> =
            (0..CONNECTIONS).map(|_| scope.spawn(move || send(port, per_second / CONNECTIONS, duration))).collect();
        senders.into_iter().try_fold(vec![], |mut all, sender| match sender.join() {
            Ok(times) => {
                all.extend(times?);
                Ok(all)
            }
            Err(_) => bail!("a sender panicked"),
        })
    })?;
    times.sort_unstable();
    let p99 = times.get(times.len() * 99 / 100).copied().unwrap_or_default();
    println!("{} {}", times.len(), p99.as_secs_f64() * 1e6);
    Ok(())
}

/// One connection. A sender that is late catches up, so that the rate holds.
fn send(port: u16, per_second: u32, duration: Duration) -> Result<Vec<Duration>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).context("connect to nginx")?;
    stream.set_nodelay(true)?;
    let interval = Duration::from_secs(1) / per_second;
    let start = Instant::now();
    let mut answer = [0; 4096];
    let mut times = Vec::new();
    while start.elapsed() < duration {
        let due = start + interval * times.len() as u32;
        if let Some(wait) = due.checked_duration_since(Instant::now()) {
            std::thread::sleep(wait);
        }
        let began = Instant::now();
        stream.write_all(REQUEST)?;
        // nginx answers this in one write.
        if stream.read(&mut answer)? == 0 {
            bail!("nginx closed the connection");
        }
        times.push(began.elapsed());
    }
    Ok(times)
}
