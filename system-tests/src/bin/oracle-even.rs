//! `oracle-even ADDRESS CONNECTIONS PER_SECOND REPORT`
//!
//! Opens CONNECTIONS connections and asks over each of them up to PER_SECOND times a second, one after the other, until a line comes in. Each third one asks
//! for one path, each third one never for the same path twice, and each third one twice in one write. Prints `ready` once all have been
//! answered. Writes one JSON object a request to REPORT. Bounded in number.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its report is its standard output")]

use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use headwater_system_tests::client::{Connection, Outcome};
use headwater_system_tests::plan::{Body, Planned, Session, Transport};

/// What is asked at most.
const REQUESTS_MAX: usize = 2_000_000;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, connections, per_second, report] = arguments.as_slice() else {
        bail!("usage: oracle-even ADDRESS CONNECTIONS PER_SECOND REPORT");
    };
    let address: SocketAddr = address.parse().context("ADDRESS")?;
    let connections: usize = connections.parse().context("CONNECTIONS")?;
    let period = Duration::from_secs(1) / per_second.parse().context("PER_SECOND")?;
    let mut connections = (0..connections).map(|_| Connection::open(address)).collect::<Result<Vec<_>>>()?;
    let mut outcomes = Vec::new();
    round(&mut connections, &mut outcomes)?;
    println!("ready");
    std::io::stdout().flush()?;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let told = scope.spawn(|| {
            let line = std::io::stdin().lock().read_line(&mut String::new());
            stop.store(true, Ordering::Relaxed);
            line
        });
        while !stop.load(Ordering::Relaxed) && outcomes.len() < REQUESTS_MAX {
            let began = Instant::now();
            round(&mut connections, &mut outcomes)?;
            std::thread::sleep(period.saturating_sub(began.elapsed()));
        }
        let Ok(line) = told.join() else { bail!("a thread panicked") };
        line.context("wait for the word to stop")
    })?;
    let mut file = std::io::BufWriter::new(std::fs::File::create(report)?);
    for outcome in outcomes {
        serde_json::to_writer(&mut file, &outcome)?;
        file.write_all(b"\n")?;
    }
    Ok(file.flush()?)
}

/// Asks once over each connection.
fn round(connections: &mut [Connection], outcomes: &mut Vec<Outcome>) -> Result<()> {
    for (number, connection) in connections.iter_mut().enumerate() {
        let (transport, paths) = match number % 3 {
            0 => (Transport::Plain, vec!["/ok/same".to_owned()]),
            1 => (Transport::Plain, vec![format!("/ok/other/{}", never_twice(outcomes.len()))]),
            _ => (Transport::Pipelined, vec!["/ok/pair".to_owned(); 2]),
        };
        let asks = |path| Planned { method: "GET", path, body: Body::None, closes: false, expected_status: 200 };
        connection.run(&Session { transport, requests: paths.into_iter().map(asks).collect() }, outcomes)?;
    }
    Ok(())
}

/// An identifier as programs make them, another one for each number.
fn never_twice(number: usize) -> String {
    format!("{:016x}{:016x}", (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15), number)
}
