//! Several threads write requests to one socket without waiting for each other.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Barrier;
use std::thread;

use anyhow::{Context, Result};

use super::{begin, connect, get, listen, read_answer, serve};

const WRITERS: usize = 3;
const ROUNDS: usize = 60;
/// Requests that each writes in a round, one behind the other.
const BURST: usize = 10;
const CONNECTIONS: usize = 4;
const ALONE: usize = 20;

/// All requests have the same length, so that only their places tell them apart.
pub fn play() -> Result<()> {
    begin()?;
    let (listener, address) = listen()?;
    let server =
        thread::spawn(move || (0..CONNECTIONS).try_for_each(|_| serve(listener.accept().context("accept")?.0, 10)));
    for connection in 0..CONNECTIONS {
        let stream = connect(address)?;
        // Each call's bytes leave at once.
        stream.set_nodelay(true).context("send at once")?;
        write_together(&stream, connection)?;
    }
    server.join().expect("the server does not panic")
}

fn write_together(stream: &TcpStream, connection: usize) -> Result<()> {
    let (barrier, mut reading) = (Barrier::new(WRITERS + 1), stream);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let barrier = &barrier;
                scope.spawn(move || -> Result<()> {
                    for round in 0..ROUNDS {
                        barrier.wait();
                        for number in round * BURST..(round + 1) * BURST {
                            let path = format!("/writers/{connection}/{writer}/{number:05}");
                            let mut stream = stream;
                            stream.write_all(get(&path).as_bytes()).context("ask")?;
                        }
                        barrier.wait();
                    }
                    Ok(())
                })
            })
            .collect();
        for _ in 0..ROUNDS {
            barrier.wait();
            for _ in 0..WRITERS * BURST {
                read_answer(&mut reading.try_clone()?)?;
            }
            barrier.wait();
        }
        writers.into_iter().try_for_each(|writer| writer.join().expect("a writer does not panic"))
    })?;
    // Long after that, one thread asks alone.
    thread::sleep(std::time::Duration::from_millis(1_100));
    for number in 0..ALONE {
        reading.write_all(get(&format!("/writers/{connection}/alone/{number:05}")).as_bytes()).context("ask")?;
        read_answer(&mut reading.try_clone()?)?;
    }
    Ok(())
}
