//! Speaks protocols that begin like HTTP and are none, each on a connection to itself: `oracle-foreign ROUNDS`; or one of them, in which the
//! client says very much: `oracle-foreign bulk MIB`. Prints the bytes that went through their sockets, one way.
//! `oracle-foreign late CALLS` opens a connection, says `ready`, and when a line has come says what no protocol does for as long as anybody would look,
//! and then Kafka's.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its report is its standard output")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

/// What the server says first, and then the client.
const DIALOGUES: [(&[u8], &[u8]); 5] = [
    (
        b"INFO {\"server_id\":\"x\",\"version\":\"2.10.0\"}\r\n",
        b"CONNECT {\"verbose\":false,\"lang\":\"go\"}\r\nPING\r\n",
    ),
    (b"", b"CONNECT\naccept-version:1.2\nhost:x\n\n\0"),
    (b"", b"OPTIONS rtsp://127.0.0.1:8554/ RTSP/1.0\r\nCSeq: 2\r\n\r\n"),
    (b"", b"GET mykey\r\n"),
    (b"", b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\xfc"),
];
const CHUNK: [u8; 1000] = [b'x'; 1000];
const PAUSE: Duration = Duration::from_millis(5);
/// More calls than are looked at of a connection of which nothing is known.
const UNKNOWN_CALLS: usize = 2_100;
/// Between calls of Kafka.
const CALL_PAUSE: Duration = Duration::from_millis(250);

fn main() -> ExitCode {
    if std::env::args().nth(1).is_some_and(|word| word == "bulk") {
        let mib = std::env::args().nth(2).and_then(|text| text.parse().ok()).unwrap_or(1);
        let sent = bulk(mib);
        println!("{}", sent.as_ref().map_or(0, |sent| *sent));
        return if sent.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    if std::env::args().nth(1).is_some_and(|word| word == "late") {
        let calls = std::env::args().nth(2).and_then(|text| text.parse().ok()).unwrap_or(1);
        return match late(calls) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        };
    }
    let rounds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(1);
    let talks: Vec<_> = DIALOGUES.iter().map(|dialogue| std::thread::spawn(move || talk(dialogue, rounds))).collect();
    let mut bytes = 0;
    for talk in talks {
        match talk.join() {
            Ok(Ok(sent)) => bytes += sent,
            other => {
                eprintln!("a dialogue failed: {other:?}");
                return ExitCode::FAILURE;
            }
        }
    }
    println!("{bytes}");
    ExitCode::SUCCESS
}

/// One connection, both of whose ends are here.
fn talk((first, second): &(&[u8], &[u8]), rounds: usize) -> std::io::Result<usize> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let (mut server, _) = listener.accept()?;
    let mut bytes = vec![0; CHUNK.len()];
    say(&mut server, &mut client, first, &mut bytes)?;
    say(&mut client, &mut server, second, &mut bytes)?;
    for _ in 0..rounds {
        say(&mut server, &mut client, &CHUNK, &mut bytes)?;
        say(&mut client, &mut server, &CHUNK, &mut bytes)?;
        std::thread::sleep(PAUSE);
    }
    Ok(first.len() + second.len() + 2 * rounds * CHUNK.len())
}

/// One connection, on which the client says `mib` MiB at the end; the server reads all of it.
fn bulk(mib: usize) -> std::io::Result<usize> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let (mut server, _) = listener.accept()?;
    let (_, asks) = DIALOGUES[2];
    let mut bytes = vec![0; CHUNK.len()];
    for _ in 0..20 {
        say(&mut client, &mut server, asks, &mut bytes)?;
        say(&mut server, &mut client, &CHUNK, &mut bytes)?;
        std::thread::sleep(PAUSE);
    }
    let reader = std::thread::spawn(move || std::io::copy(&mut server, &mut std::io::sink()));
    let chunk = vec![b'x'; 1 << 20];
    for _ in 0..mib {
        client.write_all(&chunk)?;
    }
    drop(client);
    let read = reader.join().map_err(|_| std::io::Error::other("the reader panicked"))??;
    Ok(20 * (asks.len() + CHUNK.len()) + read as usize)
}

/// One connection, on which something was said before anybody looks.
fn late(calls: u8) -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let (mut server, _) = listener.accept()?;
    let mut bytes = [0; 64];
    say(&mut client, &mut server, &[0xf7; 9], &mut bytes)?;
    say(&mut server, &mut client, &[0xf7; 9], &mut bytes)?;
    println!("ready");
    std::io::stdin().read_line(&mut String::new())?;
    for _ in 0..UNKNOWN_CALLS {
        say(&mut client, &mut server, &[0xf7; 9], &mut bytes)?;
        say(&mut server, &mut client, &[0xf7; 9], &mut bytes)?;
    }
    for id in 0..calls {
        // Heartbeat, version 0, of the client "late", without its fields; and its answer.
        say(
            &mut client,
            &mut server,
            &[0, 0, 0, 14, 0, 12, 0, 0, 0, 0, 0, id, 0, 4, b'l', b'a', b't', b'e'],
            &mut bytes,
        )?;
        say(&mut server, &mut client, &[0, 0, 0, 6, 0, 0, 0, id, 0, 0], &mut bytes)?;
        std::thread::sleep(CALL_PAUSE);
    }
    Ok(())
}

fn say(from: &mut TcpStream, to: &mut TcpStream, what: &[u8], bytes: &mut [u8]) -> std::io::Result<()> {
    from.write_all(what)?;
    to.read_exact(&mut bytes[..what.len()])
}
