//! TCP Fast Open: the first request goes out with the SYN. In a network namespace of its own, where the kernel allows it.

use std::io::Write;
use std::mem::zeroed;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::thread;

use anyhow::{Context, Result, bail, ensure};

use super::{begin, get, listen, read_answer, serve, set_option};

/// The first one only gets a cookie.
const CONNECTIONS: usize = 6;
const REQUESTS: usize = 4;
const QUEUE: libc::c_int = 16;

pub fn play() -> Result<()> {
    begin()?;
    own_network()?;
    let (listener, address) = listen()?;
    set_option(&listener, libc::SOL_TCP, libc::TCP_FASTOPEN, &QUEUE)?;
    let server =
        thread::spawn(move || (0..CONNECTIONS).try_for_each(|_| serve(listener.accept().context("accept")?.0, 10)));
    for connection in 0..CONNECTIONS {
        let mut client = open_with(address, get(&format!("/fast-open/{connection}/0")).as_bytes())?;
        read_answer(&mut client)?;
        for number in 1..REQUESTS {
            client.write_all(get(&format!("/fast-open/{connection}/{number}")).as_bytes()).context("ask")?;
            read_answer(&mut client)?;
        }
        drop(client);
    }
    server.join().expect("the server does not panic")?;
    let counted = std::fs::read_to_string("/proc/self/net/netstat").context("read the namespace's counters")?;
    ensure!(counter(&counted, "TCPFastOpenPassive")? > 0, "the kernel accepted no bytes with a SYN");
    Ok(())
}

/// A network namespace in which loopback is up and Fast Open allowed both ways. For this thread and those that it starts.
fn own_network() -> Result<()> {
    // SAFETY: unshare has no preconditions.
    ensure!(unsafe { libc::unshare(libc::CLONE_NEWNET) } == 0, "make a network namespace (this needs root)");
    // SAFETY: a new descriptor, or an error that is looked at.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM, 0) };
    ensure!(socket >= 0, "make a socket");
    // SAFETY: it is new, and nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    // SAFETY: integers and arrays, for which zeroes are a value.
    let mut request: libc::ifreq = unsafe { zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = (*from).cast_signed();
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the request outlives the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    ensure!(result == 0, "set loopback up: {}", std::io::Error::last_os_error());
    // /proc/sys/net shows the namespace of whoever looks.
    std::fs::write("/proc/sys/net/ipv4/tcp_fastopen", "3").context("allow Fast Open in the namespace")
}

/// Opens a connection whose first bytes go out with the SYN, if there is a cookie.
fn open_with(address: SocketAddr, bytes: &[u8]) -> Result<TcpStream> {
    let SocketAddr::V4(v4) = address else { bail!("{address} is not IPv4") };
    // SAFETY: integers, for which zeroes are a value.
    let mut to: libc::sockaddr_in = unsafe { zeroed() };
    to.sin_family = libc::AF_INET as libc::sa_family_t;
    to.sin_port = v4.port().to_be();
    to.sin_addr.s_addr = u32::from_ne_bytes(v4.ip().octets());
    // SAFETY: a new descriptor, or an error that is looked at.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    ensure!(socket >= 0, "make a socket");
    // SAFETY: it is new, and nobody else's.
    let stream = unsafe { TcpStream::from_raw_fd(socket) };
    let length = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    let to = (&raw const to).cast();
    // SAFETY: buffer and address outlive the call and are as long as said.
    let sent = unsafe { libc::sendto(socket, bytes.as_ptr().cast(), bytes.len(), libc::MSG_FASTOPEN, to, length) };
    ensure!(sent == bytes.len() as isize, "open with {} bytes: {}", bytes.len(), std::io::Error::last_os_error());
    Ok(stream)
}

/// A counter of /proc/net/netstat: a line of names, then one of values.
fn counter(text: &str, name: &str) -> Result<u64> {
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("TcpExt:")).collect();
    let [names, values] = lines[..] else { bail!("no counters of TCP") };
    let (_, value) =
        names.split(' ').zip(values.split(' ')).find(|(key, _)| *key == name).context("no such counter")?;
    value.parse().context("read a counter")
}
