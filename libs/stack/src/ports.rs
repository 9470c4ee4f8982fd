//! The ports of Kafka and the registry, which need a number: a broker publishes its address, and comes back at the same one.

use std::io;

use headwater_process::Port;

use crate::error::StackError;

/// The wanted port if it is free, else an error that names it; without a wish, any free one.
pub fn claim(wanted: Option<u16>, wanted_for: &str, setting: &'static str) -> Result<Port, StackError> {
    let Some(port) = wanted else { return Ok(Port::free()?) };
    Port::claim(port).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => StackError::PortTaken { port, wanted_for: wanted_for.to_owned(), setting },
        _ => StackError::Io { doing: format!("listening on 127.0.0.1:{port} for {wanted_for}"), source },
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    #[test]
    fn a_taken_port_is_named_with_what_to_do() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let error = claim(Some(port), "Kafka", "--kafka-port").unwrap_err().to_string();
        assert!(error.contains(&format!("port {port}, wanted for Kafka, is in use")), "{error}");
        assert!(error.contains("--kafka-port"), "{error}");
        drop(listener);
        assert_eq!(claim(Some(port), "Kafka", "--kafka-port").unwrap().number(), port);
    }
}
