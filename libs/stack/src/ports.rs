//! Ports on the loopback interface.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Mutex, PoisonError};
use std::{fs, io};

use crate::error::StackError;

const FIRST: u16 = 10_000;
const TRIES: u32 = 200;

/// Ports that this process handed out already: their programs may not listen yet.
static HANDED_OUT: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A port that nothing listens on, from below the range that the kernel gives to outgoing connections: there, a client
/// that tries to reach a stopped broker again and again would one day be given the broker's own port.
pub fn free_port() -> Result<u16, StackError> {
    let end = first_ephemeral_port().clamp(FIRST + 1000, 32_768);
    let random = RandomState::new();
    let mut handed_out = HANDED_OUT.lock().unwrap_or_else(PoisonError::into_inner);
    (0..TRIES)
        .map(|attempt| FIRST + (random.hash_one(attempt) % u64::from(end - FIRST)) as u16)
        .find(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() && handed_out.insert(port))
        .ok_or(StackError::NoFreePort { from: FIRST, to: end })
}

/// The wanted port if it is free, else an error that names it; without a wish, any free one.
pub fn claim(wanted: Option<u16>, wanted_for: &str, setting: &'static str) -> Result<u16, StackError> {
    let Some(port) = wanted else { return free_port() };
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => Ok(port),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            Err(StackError::PortTaken { port, wanted_for: wanted_for.to_owned(), setting })
        }
        Err(source) => Err(StackError::Io { doing: format!("listening on 127.0.0.1:{port} for {wanted_for}"), source }),
    }
}

fn first_ephemeral_port() -> u16 {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    range.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(32_768)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_taken_port_is_named_with_what_to_do() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let error = claim(Some(port), "Kafka", "--kafka-port").unwrap_err().to_string();
        assert!(error.contains(&format!("port {port}, wanted for Kafka, is in use")), "{error}");
        assert!(error.contains("--kafka-port"), "{error}");
    }

    #[test]
    fn a_free_port_is_not_one_for_outgoing_connections() {
        let port = free_port().unwrap();
        assert!((FIRST..32_768).contains(&port), "{port}");
        assert_eq!(claim(Some(port), "Kafka", "--kafka-port").unwrap(), port);
    }
}
