//! A TCP port of the loopback interface, for programs that want a number.
//!
//! What can bind to port 0 and tell its address does that instead: our own services and consoles. Kafka and the registry cannot
//! (a broker publishes its address, and must come back at the same one), nor can nginx, Redis and PostgreSQL.
//!
//! Promise: while a [`Port`] lives, the kernel gives its number to nobody who asks for any port, neither for listening nor for an
//! outgoing connection, in this process or another; a program that asks for just this number, with `SO_REUSEADDR` as every
//! server does, gets it, also again after it was killed. The socket that holds the number is bound and never listens.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};

use socket2::{Domain, Socket, Type};

use crate::error::ProcessError;

/// A number that nobody else is given while this lives.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _socket: Socket,
}

impl Port {
    /// A port that nobody has.
    pub fn free() -> Result<Port, ProcessError> {
        hold(0).map_err(ProcessError::io("find a free port of 127.0.0.1"))
    }

    /// This port, if nobody listens on it.
    ///
    /// # Errors
    /// The kind is `AddrInUse` if somebody does.
    pub fn claim(number: u16) -> io::Result<Port> {
        // To be bound is not enough: that is what every server on it would allow until it listens.
        TcpListener::bind((Ipv4Addr::LOCALHOST, number))?;
        hold(number)
    }

    /// What a program is told to listen on.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// The same with the loopback interface's IPv4 address.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.number))
    }
}

fn hold(number: u16) -> io::Result<Port> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    // For port 0 the kernel still chooses one that nobody at all is bound to.
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddrV4::new(Ipv4Addr::LOCALHOST, number).into())?;
    let address = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::InvalidData)?;
    Ok(Port { number: address.port(), _socket: socket })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::TcpStream;
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn a_held_port_can_be_listened_on_again_and_again() {
        let port = Port::free().unwrap();
        assert_eq!(TcpStream::connect(port.address()).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        for _ in 0..2 {
            let listener = TcpListener::bind(port.address()).unwrap();
            let _client = TcpStream::connect(port.address()).unwrap();
            // The server's side closes first, and keeps the port in TIME_WAIT.
            drop(listener.accept().unwrap());
        }
    }

    #[test]
    fn a_port_that_is_listened_on_is_not_claimed() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let number = listener.local_addr().unwrap().port();
        assert_eq!(Port::claim(number).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        assert_eq!(Port::claim(number).unwrap().number(), number);
    }

    #[test]
    fn a_held_port_is_given_to_no_outgoing_connection() {
        let port = Port::free().unwrap();
        let number = port.number();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        // The kernel may choose this one port only.
        let connect = || -> io::Result<Socket> {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            choose_only(&socket, number);
            socket.connect(&listener.local_addr()?.into())?;
            Ok(socket)
        };
        assert_eq!(connect().unwrap_err().kind(), io::ErrorKind::AddrNotAvailable);
        drop(port);
        assert_eq!(connect().unwrap().local_addr().unwrap().as_socket().unwrap().port(), number);
    }

    fn choose_only(socket: &Socket, number: u16) {
        // From linux/in.h, since Linux 6.3: the lowest port in the lower half, the highest in the upper one.
        const IP_LOCAL_PORT_RANGE: libc::c_int = 51;
        let range = u32::from(number) << 16 | u32::from(number);
        // SAFETY: the option takes four bytes, which live during the call.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::IPPROTO_IP,
                IP_LOCAL_PORT_RANGE,
                (&raw const range).cast(),
                size_of::<u32>() as libc::socklen_t,
            )
        };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
    }

    #[test]
    fn ports_held_at_one_time_differ() {
        let ports: Vec<Port> = (0..500).map(|_| Port::free().unwrap()).collect();
        let numbers: std::collections::BTreeSet<u16> = ports.iter().map(Port::number).collect();
        assert_eq!(numbers.len(), ports.len());
    }
}
