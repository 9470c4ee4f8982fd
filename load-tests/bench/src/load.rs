//! Full speed, by the servers' usual load generators.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use headwater_process::Launch;

use crate::ground::Ground;

/// What a load generator did.
#[derive(Debug, Clone, Copy)]
pub struct Speed {
    pub requests: f64,
    pub requests_per_second: f64,
    /// If the load generator tells it.
    pub p99_us: Option<f64>,
}

/// Runs wrk for some seconds.
pub fn wrk(ground: &Ground, url: &str, connections: u32, seconds: u32) -> Result<Speed> {
    let mut command = Command::new("wrk");
    command.args(["-t1", &format!("-c{connections}"), &format!("-d{seconds}s"), "--latency", url]);
    let text = output(ground, "wrk", command)?;
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.trim().strip_prefix(name))
            .map(|rest| rest.trim().to_owned())
            .with_context(|| format!("wrk printed no {name}: {text}"))
    };
    let requests = text.lines().find_map(|line| line.trim().split_once(" requests in ")?.0.parse().ok());
    Ok(Speed {
        requests: requests.with_context(|| format!("wrk printed no number of requests: {text}"))?,
        requests_per_second: field("Requests/sec:")?.parse().context("wrk's rate is no number")?,
        p99_us: Some(duration_us(&field("99%")?)?),
    })
}

/// Runs redis-benchmark: so many GETs of a small value.
pub fn redis(ground: &Ground, port: u16, connections: u32, requests: u32) -> Result<Speed> {
    let mut command = Command::new("redis-benchmark");
    command.args(["-p", &port.to_string(), "-t", "get", "-d", "13", "--csv"]).args([
        "-c",
        &connections.to_string(),
        "-n",
        &requests.to_string(),
    ]);
    let began = Instant::now();
    let text = output(ground, "redis-benchmark", command)?;
    let took = began.elapsed();
    // "test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms","max_latency_ms"
    let line = text.lines().find(|line| line.starts_with("\"GET\"")).with_context(|| format!("no GET in: {text}"))?;
    let fields: Vec<f64> = line.split(',').skip(1).filter_map(|field| field.trim_matches('"').parse().ok()).collect();
    let [requests_per_second, _, _, _, _, p99_ms, _] = fields[..] else { bail!("redis-benchmark printed {line}") };
    if took < Duration::from_millis(500) {
        bail!("redis-benchmark ran for {took:?}, which is too short to measure");
    }
    Ok(Speed { requests: f64::from(requests), requests_per_second, p99_us: Some(p99_ms * 1000.0) })
}

/// What a load generator prints that runs in the cgroup of the load.
pub fn output(ground: &Ground, name: &str, command: Command) -> Result<String> {
    let log = tempfile::NamedTempFile::new_in(ground.folder())?;
    let launch = Launch::new(name, command, log.path()).in_cgroup(ground.load_cgroup());
    let mut process = launch.spawn().with_context(|| format!("{name} is needed: apt-get install {name}"))?;
    let status = process.join()?;
    let text = std::fs::read_to_string(log.path())?;
    if status.success() { Ok(text) } else { bail!("{name} ended with {status}: {text}") }
}

/// `1.23ms`, `456.00us`, `1.00s`.
fn duration_us(text: &str) -> Result<f64> {
    let (number, factor) = if let Some(number) = text.strip_suffix("us") {
        (number, 1.0)
    } else if let Some(number) = text.strip_suffix("ms") {
        (number, 1e3)
    } else {
        (text.trim_end_matches('s'), 1e6)
    };
    Ok(number.parse::<f64>().with_context(|| format!("wrk's time `{text}` is not understood"))? * factor)
}
