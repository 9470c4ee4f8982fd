//! `oracle-steady ADDRESS LABEL CONNECTIONS REPORT`
//!
//! Opens CONNECTIONS connections, each on a thread of its own, and asks over each without a pause, each time for another path, until a line
//! comes in. Prints `ready` once all have been answered once. Writes one JSON object a request to REPORT. Bounded in number.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its report is its standard output")]

use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use headwater_system_tests::client::{Connection, Outcome};
use headwater_system_tests::plan::{Body, Planned, Session, Transport};

/// What one connection asks at most.
const REQUESTS_MAX: usize = 200_000;

/// So that all connections together leave room for the servers on a small machine.
const PAUSE: Duration = Duration::from_millis(2);

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, label, connections, report] = arguments.as_slice() else {
        bail!("usage: oracle-steady ADDRESS LABEL CONNECTIONS REPORT");
    };
    let address: SocketAddr = address.parse().context("ADDRESS")?;
    let connections: usize = connections.parse().context("CONNECTIONS")?;
    let stop = AtomicBool::new(false);
    let (answered, all_answered) = mpsc::channel();
    let outcomes = std::thread::scope(|scope| -> Result<Vec<Outcome>> {
        let threads: Vec<_> = (0..connections)
            .map(|number| {
                let (stop, answered) = (&stop, answered.clone());
                scope.spawn(move || ask(address, &format!("{label}-{number}"), stop, &answered))
            })
            .collect();
        for _ in 0..connections {
            all_answered.recv_timeout(Duration::from_secs(30)).context("not every connection was answered")?;
        }
        println!("ready");
        std::io::stdout().flush()?;
        std::io::stdin().lock().read_line(&mut String::new())?;
        stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for thread in threads {
            let Ok(outcomes) = thread.join() else { bail!("a thread panicked") };
            all.extend(outcomes?);
        }
        Ok(all)
    })?;
    let mut file = std::io::BufWriter::new(std::fs::File::create(report)?);
    for outcome in outcomes {
        serde_json::to_writer(&mut file, &outcome)?;
        file.write_all(b"\n")?;
    }
    Ok(file.flush()?)
}

fn ask(address: SocketAddr, label: &str, stop: &AtomicBool, answered: &mpsc::Sender<()>) -> Result<Vec<Outcome>> {
    let mut connection = Connection::open(address)?;
    let mut outcomes = Vec::new();
    while !stop.load(Ordering::Relaxed) && outcomes.len() < REQUESTS_MAX {
        let path = format!("/ok/{label}/{}", outcomes.len());
        let planned = Planned { method: "GET", path, body: Body::None, closes: false, expected_status: 200 };
        connection.run(&Session { transport: Transport::Plain, requests: vec![planned] }, &mut outcomes)?;
        if outcomes.len() == 1 {
            let _ = answered.send(());
        }
        std::thread::sleep(PAUSE);
    }
    Ok(outcomes)
}
