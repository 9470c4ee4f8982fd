//! The sample application's one program, in each of its roles.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

fn sample(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sample-service"));
    command.args(arguments).stdin(Stdio::null()).stderr(Stdio::piped());
    command
}

/// A server and where it listens. It ends with this value.
struct Server(Child, String);

impl Server {
    fn start(calls: &[&str]) -> Server {
        let mut child = sample(&[&["--listen=127.0.0.1:0"], calls].concat()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("ready ").unwrap().to_owned();
        Server(child, address)
    }

    fn status(&self) -> u16 {
        let mut stream = TcpStream::connect(&self.1).unwrap();
        write!(stream, "GET /x HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_service_calls_what_it_is_told_to_and_fails_with_it() {
    let behind = Server::start(&[]);
    let front = Server::start(&[&format!("--call=http://{}/entries", behind.1)]);
    assert_eq!((behind.status(), front.status(), front.status()), (200, 200, 200));
    drop(behind);
    assert_eq!(front.status(), 502);
}

#[test]
fn a_caller_ends_after_its_time_and_says_what_failed() {
    let server = Server::start(&[]);
    let call = format!("--call=http://{}/stock", server.1);
    let ended = sample(&[&call, "--per-second=50", "--for-s=1"]).output().unwrap();
    assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
    drop(server);
    let ended = sample(&[&call, "--per-second=50", "--for-s=1"]).output().unwrap();
    assert!(ended.status.success() && String::from_utf8_lossy(&ended.stderr).contains("/stock"), "{ended:?}");
    assert_eq!(sample(&["--call=catalog"]).output().unwrap().status.code(), Some(2));
}
