//! `oracle-client ADDRESS nginx|hyper LABEL SEED REQUESTS EARLY THREADS PAUSE_US REPORT`
//!
//! Opens EARLY connections and uses each once, prints `ready`, waits for a line, and then runs the plan: its first sessions
//! over the early connections, the others over new ones. A second line ends the plan early: no further session begins.
//! Writes one JSON object a request to REPORT. `PAUSE_US` is the pause between sessions of a thread.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its report is its standard output")]

use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use headwater_system_tests::client::{Connection, Outcome};
use headwater_system_tests::plan::{Body, Planned, Server, Session, Transport, sessions};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, server, label, seed, requests, early, threads, pause_us, report] = arguments.as_slice() else {
        bail!("usage: oracle-client ADDRESS nginx|hyper LABEL SEED REQUESTS EARLY THREADS PAUSE_US REPORT");
    };
    let address: SocketAddr = address.parse().context("ADDRESS")?;
    let server = Server::parse(server).context("nginx or hyper")?;
    let plan = sessions(server, seed.parse()?, requests.parse()?, label);
    let early = open_early(address, early.parse()?)?;
    println!("ready");
    std::io::stdout().flush()?;
    std::io::stdin().lock().read_line(&mut String::new())?;
    std::thread::spawn(stop_at_a_line);
    let outcomes = run(address, plan, early, threads.parse()?, Duration::from_micros(pause_us.parse()?))?;
    let mut file = std::io::BufWriter::new(std::fs::File::create(report)?);
    for outcome in outcomes {
        serde_json::to_writer(&mut file, &outcome)?;
        file.write_all(b"\n")?;
    }
    file.flush()?;
    Ok(())
}

static STOP: AtomicBool = AtomicBool::new(false);

fn stop_at_a_line() {
    let read = std::io::stdin().lock().read_line(&mut String::new());
    STOP.store(read.is_ok_and(|bytes| bytes > 0), Ordering::Relaxed);
}

fn open_early(address: SocketAddr, count: usize) -> Result<Vec<Connection>> {
    let warm =
        Planned { method: "GET", path: "/ok/early".to_owned(), body: Body::None, closes: false, expected_status: 200 };
    let session = Session { transport: Transport::Plain, requests: vec![warm] };
    (0..count)
        .map(|_| {
            let mut connection = Connection::open(address)?;
            connection.run(&session, &mut Vec::new())?;
            Ok(connection)
        })
        .collect()
}

fn run(
    address: SocketAddr,
    plan: Vec<Session>,
    early: Vec<Connection>,
    threads: usize,
    pause: Duration,
) -> Result<Vec<Outcome>> {
    let work = Mutex::new((plan.into_iter(), early));
    let next = || {
        if STOP.load(Ordering::Relaxed) {
            return None;
        }
        let mut work = work.lock().ok()?;
        let session = work.0.next()?;
        let early = work.1.pop();
        Some((session, early))
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| -> Result<Vec<Outcome>> {
                    let mut outcomes = Vec::new();
                    while let Some((session, early)) = next() {
                        let mut connection = match early {
                            Some(connection) => connection,
                            None => Connection::open(address)?,
                        };
                        connection.run(&session, &mut outcomes)?;
                        std::thread::sleep(pause);
                    }
                    Ok(outcomes)
                })
            })
            .collect();
        let mut all = Vec::new();
        for worker in workers {
            let Ok(outcomes) = worker.join() else { bail!("a thread panicked") };
            all.extend(outcomes?);
        }
        Ok(all)
    })
}
