//! Asks a broker, in Kafka's own protocol, whether it is ready.
//!
//! In: an address, a node id, and who is let in. Out: whether the cluster's metadata lists that node. A broker accepts connections and
//! answers ApiVersions some time before the controller lets it take part; only then is it in the metadata, so only
//! then can a producer use it. Some requests of thirty bytes; a client library would be a second way into Kafka.
//! Bound: an answer of more than 1 MiB or later than two seconds counts as not ready.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use crate::credentials::Credentials;

const API_VERSIONS: i16 = 18;
const METADATA: i16 = 3;
const SASL_HANDSHAKE: i16 = 17;
const SASL_AUTHENTICATE: i16 = 36;
const CORRELATION_ID: i32 = 7;
const TIMEOUT: Duration = Duration::from_secs(2);
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// True when the broker on this port of the loopback interface answers and `node_id` takes part in its cluster.
pub fn is_ready(port: u16, node_id: u16, credentials: Option<&Credentials>) -> bool {
    live_nodes(port, credentials).is_ok_and(|nodes| nodes.contains(&i32::from(node_id)))
}

fn live_nodes(port: u16, credentials: Option<&Credentials>) -> io::Result<Vec<i32>> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    ask(&mut stream, API_VERSIONS, 0, &[])?;
    if let Some(credentials) = credentials {
        log_in(&mut stream, credentials)?;
    }
    // An empty list of topics: only the brokers are of interest.
    let answer = ask(&mut stream, METADATA, 1, &0i32.to_be_bytes())?;
    parse_brokers(&answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the metadata ends too early"))
}

/// SASL PLAIN. Each of the two answers begins with an error code.
fn log_in(stream: &mut TcpStream, Credentials { user, password }: &Credentials) -> io::Result<()> {
    let token = format!("\0{user}\0{password}");
    let token = [&(token.len() as i32).to_be_bytes(), token.as_bytes()].concat();
    for (api, version, body) in [(SASL_HANDSHAKE, 1, b"\0\x05PLAIN".as_slice()), (SASL_AUTHENTICATE, 0, &token)] {
        if !ask(stream, api, version, body)?.starts_with(&[0, 0]) {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the broker refuses the password"));
        }
    }
    Ok(())
}

/// Sends one request and returns the body of its answer.
fn ask(stream: &mut TcpStream, api: i16, version: i16, body: &[u8]) -> io::Result<Vec<u8>> {
    let client = b"headwater-stack";
    let mut request = Vec::with_capacity(64);
    request.extend_from_slice(&api.to_be_bytes());
    request.extend_from_slice(&version.to_be_bytes());
    request.extend_from_slice(&CORRELATION_ID.to_be_bytes());
    request.extend_from_slice(&(client.len() as i16).to_be_bytes());
    request.extend_from_slice(client);
    request.extend_from_slice(body);
    stream.write_all(&(request.len() as i32).to_be_bytes())?;
    stream.write_all(&request)?;

    let mut header = [0; 4];
    stream.read_exact(&mut header)?;
    let length = usize::try_from(i32::from_be_bytes(header)).unwrap_or(usize::MAX);
    if !(4..=ANSWER_BYTES_MAX).contains(&length) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("an answer of {length} bytes")));
    }
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer)?;
    if answer[..4] != CORRELATION_ID.to_be_bytes() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the answer is for another request"));
    }
    Ok(answer.split_off(4))
}

/// Reads the node ids of a Metadata answer of version 1; none when it is not one.
fn parse_brokers(mut answer: &[u8]) -> Option<Vec<i32>> {
    let count = take_i32(&mut answer)?;
    let mut nodes = Vec::new();
    for _ in 0..count {
        nodes.push(take_i32(&mut answer)?);
        skip_string(&mut answer)?; // host
        take_i32(&mut answer)?; // port
        skip_string(&mut answer)?; // rack
    }
    Some(nodes)
}

fn take_i32(bytes: &mut &[u8]) -> Option<i32> {
    let (head, rest) = bytes.split_first_chunk::<4>()?;
    *bytes = rest;
    Some(i32::from_be_bytes(*head))
}

/// A string is its length in two bytes, then the text; a length of -1 is a missing one.
fn skip_string(bytes: &mut &[u8]) -> Option<()> {
    let (head, rest) = bytes.split_first_chunk::<2>()?;
    let length = usize::try_from(i16::from_be_bytes(*head)).unwrap_or(0);
    *bytes = rest.get(length..)?;
    Some(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::net::TcpListener;

    fn metadata_of_node(id: i32) -> Vec<u8> {
        let mut answer = 1i32.to_be_bytes().to_vec();
        answer.extend_from_slice(&id.to_be_bytes());
        answer.extend_from_slice(&[0, 1, b'h']);
        answer.extend_from_slice(&9092i32.to_be_bytes());
        answer.extend_from_slice(&(-1i16).to_be_bytes());
        answer
    }

    #[test]
    fn brokers_are_read_and_cut_answers_refused() {
        let answer = metadata_of_node(3);
        assert_eq!(parse_brokers(&answer), Some(vec![3]));
        assert_eq!(parse_brokers(&answer[..answer.len() - 1]), None);
        assert_eq!(parse_brokers(&[]), None);
    }

    #[test]
    fn a_port_without_a_broker_is_not_ready() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || drop(listener.accept().unwrap()));
        assert!(!is_ready(port, 1, None));
        server.join().unwrap();
        assert!(!is_ready(port, 1, None));
    }
}
