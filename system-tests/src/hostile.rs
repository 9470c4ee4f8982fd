//! A program that does to itself, over loopback, what makes whoever follows it keep, copy or tell as much as possible.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use headwater_process::Port;
use headwater_testing::Random;

/// A test that was killed leaves no flood behind.
const LIFE_MAX: Duration = Duration::from_secs(120);

const UNANSWERED_BYTES: usize = 64 * 1024;
const PATH_BYTES: usize = 2_000;

/// Of each request and each answer of `large`, and what `random` says before it connects anew.
const LARGE_BYTES: usize = 64 * 1024;

/// Between two connections that only take memory, so that a ring buffer of the usual size holds what comes.
const PAUSE: Duration = Duration::from_millis(10);

/// Does it until the standard input ends. Says `ready` once that has begun; `unanswered`, `pairs` and `operations`, of which there are so many, once all
/// is done. A connection that finds no port left ends what goes over it, or is tried again.
///
/// # Errors
/// If there is no such kind, or a connection to oneself fails.
pub fn run(kind: &str, number: usize, tries_again: bool) -> Result<()> {
    // Each loops until the process ends.
    let flood: fn(u64) -> Result<()> = match kind {
        "unanswered" => {
            let _open = unanswered(number)?;
            return wait_for_the_end();
        }
        "operations" => return operations(number),
        "pairs" => return pairs(number),
        "header" => header,
        "large" => large,
        "random" => random,
        "changing" => changing,
        "connects" => connects,
        _ => bail!("{kind} is none of unanswered, header, large, random, changing, connects, pairs and operations"),
    };
    for seed in 0..number as u64 {
        std::thread::spawn(move || {
            while flood(seed).is_err() && tries_again {
                std::thread::sleep(PAUSE);
            }
        });
    }
    wait_for_the_end()
}

fn wait_for_the_end() -> Result<()> {
    println!("ready");
    std::io::stdout().flush()?;
    std::thread::spawn(|| {
        std::thread::sleep(LIFE_MAX);
        std::process::exit(1);
    });
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// A connection to oneself.
fn pair() -> Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    let (server, _) = listener.accept()?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    Ok((client, server))
}

/// One end writes what the other one reads. All of it fits into the kernel's buffers.
fn say(from: &mut TcpStream, to: &mut TcpStream, what: &[u8]) -> Result<()> {
    let mut room = [0; 16 * 1024];
    for part in what.chunks(room.len()) {
        from.write_all(part)?;
        to.read_exact(&mut room[..part.len()])?;
    }
    Ok(())
}

/// Connections with 64 KiB of requests with long paths each, which nobody ever answers: all of them have to be kept.
fn unanswered(connections: usize) -> Result<Vec<(TcpStream, TcpStream)>> {
    let mut open = Vec::new();
    for number in 0..connections {
        let (mut client, mut server) = pair()?;
        let request = format!("GET /{number}/{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(PATH_BYTES));
        for _ in 0..UNANSWERED_BYTES / request.len() {
            say(&mut client, &mut server, request.as_bytes())?;
        }
        open.push((client, server));
        std::thread::sleep(PAUSE);
    }
    Ok(open)
}

/// A head that never ends.
fn header(seed: u64) -> Result<()> {
    let (mut client, mut server) = pair()?;
    say(&mut client, &mut server, format!("GET /{seed} HTTP/1.1\r\n").as_bytes())?;
    let lines = "X-Header: a value that goes on and on\r\n".repeat(100);
    loop {
        say(&mut client, &mut server, lines.as_bytes())?;
    }
}

/// 64 KiB there and 64 KiB back, as fast as it goes.
fn large(seed: u64) -> Result<()> {
    let (mut client, mut server) = pair()?;
    let body = "x".repeat(LARGE_BYTES);
    let request = format!("POST /{seed} HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE_BYTES}\r\n\r\n{body}");
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE_BYTES}\r\n\r\n{body}");
    loop {
        say(&mut client, &mut server, request.as_bytes())?;
        say(&mut server, &mut client, answer.as_bytes())?;
    }
}

/// Bytes that mean nothing, over one connection after the other.
fn random(seed: u64) -> Result<()> {
    let mut random = Random::new(seed);
    loop {
        let (mut client, mut server) = pair()?;
        for _ in 0..LARGE_BYTES / 512 {
            let bytes: Vec<u8> = (0..64).flat_map(|_| random.number().to_ne_bytes()).collect();
            say(&mut client, &mut server, &bytes)?;
            say(&mut server, &mut client, &bytes)?;
        }
    }
}

/// A protocol that changes with each turn, and looks like one that is known.
fn changing(seed: u64) -> Result<()> {
    const TURNS: [(&[u8], &[u8]); 6] = [
        (b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        (b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", b"$1\r\nv\r\n"),
        (b"Q\0\0\0\x0dSELECT 1\0", b"Z\0\0\0\x05I"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", b"\0\0\0\x04\0\0\0\0\0"),
        (b"GET /b HTTP/1.1\r\nUpgrade: x\r\n\r\n", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"),
        (b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\xfc", b"\x15\x03\x01\x00\x02\x02\x28"),
    ];
    let mut random = Random::new(seed);
    loop {
        let (mut client, mut server) = pair()?;
        for _ in 0..50 {
            let (asked, answered) = TURNS[random.index(TURNS.len())];
            say(&mut client, &mut server, asked)?;
            say(&mut server, &mut client, answered)?;
        }
    }
}

/// Connections that fail, to ever other addresses, and connections that are closed at once.
fn connects(seed: u64) -> Result<()> {
    let mut random = Random::new(seed);
    // Nobody else can listen there.
    let port = Port::free()?;
    loop {
        let address = [127, random.byte(), random.byte(), 1];
        drop(TcpStream::connect(SocketAddr::from((address, port.number()))));
        drop(pair()?);
    }
}

/// So many connections, one behind the other in each of four threads, which do nothing but end.
fn pairs(number: usize) -> Result<()> {
    let threads = 4;
    let each = move || (0..number / threads).try_for_each(|_| pair().map(drop));
    let workers: Vec<_> = (0..threads).map(|_| std::thread::spawn(each)).collect();
    for worker in workers {
        worker.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
    }
    wait_for_the_end()
}

/// So many operations, none of which looks like another one with an identifier.
fn operations(number: usize) -> Result<()> {
    let worker = std::thread::spawn(move || -> Result<()> {
        let (mut client, mut server) = pair()?;
        for at in 0..number {
            let word: String = (0..6).map(|place| char::from(b'a' + (at / 26_usize.pow(place) % 26) as u8)).collect();
            say(&mut client, &mut server, format!("GET /{word} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())?;
            say(&mut server, &mut client, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
        }
        Ok(())
    });
    let began = Instant::now();
    while !worker.is_finished() && began.elapsed() < LIFE_MAX {
        std::thread::sleep(PAUSE);
    }
    if !worker.is_finished() {
        bail!("{number} operations took more than {LIFE_MAX:?}");
    }
    worker.join().map_err(|_| anyhow::anyhow!("the worker panicked"))??;
    wait_for_the_end()
}
