//! Who is the client of a connection on which a FIN was sent before the capture.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};

use anyhow::{Context, Result, ensure};

use super::{begin, connect, listen, say};

const CONNECTIONS: usize = 5;

/// P, which itself listens on the same port number of another address, keeps connections to Q; Q sends its FIN on them; then the capture
/// begins; then P sends. Says Q's address first.
pub fn play() -> Result<()> {
    let (listener, address) = listen()?;
    let _same_port = TcpListener::bind(SocketAddr::new([127, 0, 0, 2].into(), address.port())).context("listen")?;
    let mut pairs = Vec::new();
    for _ in 0..CONNECTIONS {
        let client = connect(address)?;
        pairs.push((client, listener.accept().context("accept")?.0));
    }
    for (client, server) in &mut pairs {
        server.write_all(b"hello").context("greet")?;
        server.shutdown(Shutdown::Write).context("shut down writing")?;
        read_to_end(client)?;
    }
    begin()?;
    say(&address.port().to_string())?;
    for (client, server) in &mut pairs {
        client.write_all(b"late words").context("send")?;
        server.read_exact(&mut [0; 10]).context("receive")?;
    }
    for (client, mut server) in pairs {
        drop(client);
        read_to_end(&mut server)?;
    }
    Ok(())
}

fn read_to_end(stream: &mut TcpStream) -> Result<()> {
    let bytes = stream.read_to_end(&mut Vec::new()).context("read to the end")?;
    ensure!(bytes <= 5, "{bytes} bytes");
    Ok(())
}
