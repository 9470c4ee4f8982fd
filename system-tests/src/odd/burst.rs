//! A client that asks a cache for nothing, one small request after another, as fast as it can from its first byte on.

use std::io::{Read, Write};

use anyhow::{Context, Result};

use super::{begin, connect, listen};

/// More calls each way than user space sees before it can say what it wants of a connection that nobody knows yet.
pub const COMMANDS: usize = 1_500;
const COMMAND: &[u8] = b"get nothing\r\n";
const ANSWER: &[u8] = b"END\r\n";

pub fn play() -> Result<()> {
    let (listener, address) = listen()?;
    begin()?;
    std::thread::scope(|scope| {
        let server = scope.spawn(move || -> Result<()> {
            let (mut stream, _) = listener.accept().context("accept the client")?;
            let mut asked = [0; COMMAND.len()];
            for _ in 0..COMMANDS {
                stream.read_exact(&mut asked).context("read a command")?;
                stream.write_all(ANSWER).context("answer a command")?;
            }
            Ok(())
        });
        let mut stream = connect(address)?;
        let mut answer = [0; ANSWER.len()];
        for _ in 0..COMMANDS {
            stream.write_all(COMMAND).context("ask")?;
            stream.read_exact(&mut answer).context("read an answer")?;
        }
        drop(stream);
        server.join().map_err(|_| anyhow::anyhow!("the server panicked"))?
    })
}
