//! Free ports for the programs that cannot pick one themselves and tell it: PostgreSQL, Redis and nginx.

use std::net::{Ipv4Addr, TcpListener, TcpStream};

use anyhow::{Context, Result};

/// A port of 127.0.0.1 that the kernel will give to nobody else for the next minute.
///
/// A connection that this side closed first leaves the port in TIME_WAIT: whoever asks for *any* port gets another
/// one, and a server that asks for just this one with SO_REUSEADDR, as all three do, gets it. Merely closing a
/// listener would leave the port to the next connection of anyone on the machine.
pub fn reserve() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("binding a free port of 127.0.0.1")?;
    let address = listener.local_addr().context("asking for the address of a listener")?;
    let client = TcpStream::connect(address).with_context(|| format!("connecting to {address}"))?;
    let (server, _) = listener.accept().with_context(|| format!("accepting on {address}"))?;
    // The side that closes first keeps the TIME_WAIT, and only the server's side has the port as its own.
    drop(server);
    drop(client);
    Ok(address.port())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_reserved_port_can_be_listened_on() {
        let port = reserve().unwrap();
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    }
}
