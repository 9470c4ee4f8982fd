//! `oracle-redis ADDRESS CONNECTIONS COMMANDS SEED REPORT [ALONE]`
//!
//! Asks Redis over CONNECTIONS connections at once, COMMANDS commands over each, in pipelines of any depth: values of all sizes, errors,
//! transactions, waits, in RESP2 and RESP3. With ALONE, so many common commands by themselves come between two pipelines.
//! One more connection subscribes to what the others publish. Writes one JSON object a command to REPORT, then prints `done`. Bounded by COMMANDS.
#![allow(clippy::print_stdout, reason = "its report is its standard output")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use headwater_schemas::records::{Kind, Outcome};
use headwater_system_tests::asked::Asked;
use headwater_testing::Random;

const TIMEOUT: Duration = Duration::from_secs(30);
/// A call that moves more is not copied whole: only a value may go on behind this.
const PIPELINE_BYTES_MAX: usize = 12_000;
/// No command takes more, nor does its reply, but for those that are as long as a call or longer.
const USUAL_BYTES: usize = 400;
const HASH_BYTES: usize = 2_000;
const DEPTH_MAX: u64 = 60;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (address, connections, commands, seed, report, alone) = match arguments.as_slice() {
        [address, connections, commands, seed, report] => (address, connections, commands, seed, report, "0"),
        [address, connections, commands, seed, report, alone] => {
            (address, connections, commands, seed, report, alone.as_str())
        }
        _ => bail!("usage: oracle-redis ADDRESS CONNECTIONS COMMANDS SEED REPORT [ALONE]"),
    };
    let alone: u64 = alone.parse().context("ALONE")?;
    let address: SocketAddr = address.parse().context("ADDRESS")?;
    let (connections, commands): (u64, usize) = (connections.parse()?, commands.parse()?);
    let seed: u64 = seed.parse().context("SEED")?;
    let mut first = Connection::open(address)?;
    first.ask(&[Ask::new(&["SET", "text", "some text"]), Ask::new(&["SELECT", "0"])])?;
    let mut subscriber = Connection::open(address)?;
    subscriber.ask(&[Ask::new(&["SUBSCRIBE", "news"])])?;
    let mut done = std::thread::scope(|scope| -> Result<Vec<Asked>> {
        let threads: Vec<_> =
            (0..connections).map(|number| scope.spawn(move || work(address, commands, seed + number, alone))).collect();
        let mut all = Vec::new();
        for thread in threads {
            let Ok(done) = thread.join() else { bail!("a thread panicked") };
            all.extend(done?);
        }
        Ok(all)
    })?;
    done.extend(first.done);
    done.extend(subscriber.done);
    let mut file = std::io::BufWriter::new(std::fs::File::create(report)?);
    for command in done {
        serde_json::to_writer(&mut file, &command)?;
        file.write_all(b"\n")?;
    }
    file.flush()?;
    println!("done");
    Ok(())
}

fn work(address: SocketAddr, commands: usize, seed: u64, alone: u64) -> Result<Vec<Asked>> {
    let mut random = Random::new(seed);
    let mut connection = Connection::open(address)?;
    if random.chance(50) {
        connection.ask(&[Ask::new(&["HELLO", "3"])])?;
    }
    while connection.done.len() < commands {
        for _ in 0..alone {
            connection.ask(&[common(&mut random)])?;
        }
        let (mut pipeline, mut bytes) = (Vec::new(), 0);
        let depth = 1 + if random.chance(30) { 0 } else { random.below(DEPTH_MAX) };
        let mut is_last = false;
        while pipeline.len() < depth as usize && bytes < PIPELINE_BYTES_MAX && !is_last {
            for ask in any(&mut random) {
                bytes += match ask.operation.as_str() {
                    "HGETALL" => HASH_BYTES,
                    _ => ask.bytes.len().max(USUAL_BYTES),
                };
                is_last |= ask.is_long;
                pipeline.push(ask);
            }
        }
        connection.ask(&pipeline)?;
    }
    Ok(connection.done)
}

/// What is mostly asked.
fn common(random: &mut Random) -> Ask {
    let key = format!("key-{}", random.below(50));
    match random.below(200) {
        0 => Ask::new(&["LPUSH", "text", "x"]),
        1 => Ask::new(&["HGETALL", "hash"]),
        2..60 => Ask::new(&["SET", &key, &"v".repeat(random.below(300) as usize)]),
        60..80 => Ask::new(&["MGET", &key, "key-1"]),
        80..90 => Ask::new(&["ping"]),
        _ => Ask::new(&["GET", &key]),
    }
}

/// What is asked next: mostly one command.
fn any(random: &mut Random) -> Vec<Ask> {
    let key = format!("key-{}", random.below(50));
    match random.below(40) {
        0 => vec![Ask::new(&["INCR", "text"])],
        1 => vec![Ask::new(&["LPUSH", "text", "x"])],
        2 => vec![Ask::new(&["NO.SUCH.COMMAND", "secret"])],
        3 => vec![Ask::new(&["CLIENT", "SETNAME", "oracle"]), Ask::new(&["client", "no-such", "x"])],
        4 => vec![Ask::new(&["multi"]), Ask::new(&["SET", &key, "1"]), Ask::new(&["GET", &key]), Ask::new(&["EXEC"])],
        5 => vec![Ask::new(&["BLPOP", "nobody-pushes", "0.005"])],
        6 => vec![Ask::new(&["PUBLISH", "news", "+OK\r\n*1\r\n$4\r\nPING\r\n"])],
        7 => vec![Ask::long(&["SET", "long", &"v".repeat(30_000)])],
        8 => vec![Ask::long(&["GET", "long"])],
        9 => vec![Ask::new(&["HSET", "hash", &key, "+OK\r\n"]), Ask::new(&["HGETALL", "hash"])],
        10 => vec![Ask::new(&["CONFIG", "GET", "maxmemory"])],
        11..20 => vec![Ask::new(&["set", &key, &"v".repeat(random.below(300) as usize)])],
        20..22 => vec![Ask::new(&["PING"])],
        _ => vec![Ask::new(&["GET", &key])],
    }
}

struct Ask {
    operation: String,
    bytes: Vec<u8>,
    /// It or its reply is longer than what is copied of a call.
    is_long: bool,
}

impl Ask {
    fn new(words: &[&str]) -> Ask {
        let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            bytes.extend(format!("${}\r\n{word}\r\n", word.len()).bytes());
        }
        let operation = match words {
            ["NO.SUCH.COMMAND", ..] => "UNKNOWN".to_owned(),
            ["client", "no-such", ..] => "CLIENT".to_owned(),
            [first @ ("CLIENT" | "CONFIG"), second, ..] => format!("{first} {second}"),
            [first, ..] => first.to_uppercase(),
            [] => String::new(),
        };
        Ask { operation, bytes, is_long: false }
    }

    fn long(words: &[&str]) -> Ask {
        Ask { is_long: true, ..Ask::new(words) }
    }
}

struct Connection {
    reader: BufReader<TcpStream>,
    port: u16,
    sent_bytes: i64,
    done: Vec<Asked>,
}

impl Connection {
    fn open(address: SocketAddr) -> Result<Connection> {
        let stream = TcpStream::connect_timeout(&address, TIMEOUT).with_context(|| format!("connect to {address}"))?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_nodelay(true)?;
        let port = stream.local_addr()?.port();
        Ok(Connection { reader: BufReader::new(stream), port, sent_bytes: 0, done: Vec::new() })
    }

    /// Sends all at once, and reads all replies.
    fn ask(&mut self, pipeline: &[Ask]) -> Result<()> {
        self.reader.get_mut().write_all(&pipeline.iter().flat_map(|ask| ask.bytes.clone()).collect::<Vec<u8>>())?;
        for ask in pipeline {
            let mut error = String::new();
            let response_bytes = self.value(&mut error).with_context(|| format!("the reply to {}", ask.operation))?;
            let code = error.split(' ').next().unwrap_or_default().to_owned();
            self.done.push(Asked {
                port: self.port,
                position: self.sent_bytes,
                operation: ask.operation.clone(),
                resource: String::new(),
                kind: if ask.operation == "BLPOP" { Kind::Wait } else { Kind::Call },
                outcome: if code.is_empty() { Outcome::Ok } else { Outcome::ClientError },
                code,
                request_bytes: ask.bytes.len() as i64,
                response_bytes,
            });
            self.sent_bytes += ask.bytes.len() as i64;
        }
        Ok(())
    }

    /// The length of the next value, and what it says if it is an error.
    fn value(&mut self, error: &mut String) -> Result<i64> {
        let mut line = String::new();
        self.reader.read_line(&mut line)?;
        ensure!(line.ends_with("\r\n"), "{line:?} is no line");
        let number = line[1..].trim_end();
        let mut bytes = line.len() as i64;
        match line.as_bytes()[0] {
            b'-' => number.clone_into(error),
            b'$' | b'=' if number != "-1" => {
                let length = number.parse::<usize>()? + 2;
                self.reader.read_exact(&mut vec![0; length])?;
                bytes += length as i64;
            }
            b'*' | b'~' | b'%' if number != "-1" => {
                let pairs = if line.starts_with('%') { 2 } else { 1 };
                for _ in 0..number.parse::<u32>()? * pairs {
                    bytes += self.value(&mut String::new())?;
                }
            }
            _ => {}
        }
        Ok(bytes)
    }
}
