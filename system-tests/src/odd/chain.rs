//! Threads that answer one request at a time, and ask another server before they do.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use anyhow::{Context, Result};

use super::{answer, begin, connect, get, listen, read_answer, read_head, say, serve};

/// Threads of the server in the middle, each with a client of its own.
pub const FRONTS: usize = 3;
/// Requests of each client.
pub const ASKED: usize = 50;

/// Every number of a thread is said with its part: `client 0 4711`, `front 0 4712`. Client `n` asks for `/front/n/i`, and front `n` for `/back/n/i`.
pub fn play() -> Result<()> {
    begin()?;
    let (backs, back) = listen()?;
    let (fronts, front) = listen()?;
    let pair = |_| Ok((connect(front)?, fronts.accept().context("accept")?.0));
    let mut pairs = (0..FRONTS).map(pair).collect::<Result<Vec<_>>>()?;
    thread::scope(|scope| {
        let parts: Vec<_> = (0..FRONTS)
            .flat_map(|number| {
                let (backs, pair) = (&backs, pairs.pop());
                let (client, asked) = pair.expect("one for each");
                [
                    scope.spawn(move || serve_one(backs)),
                    scope.spawn(move || answer_by_asking(number, asked, back)),
                    scope.spawn(move || ask(number, client)),
                ]
            })
            .collect();
        parts.into_iter().try_for_each(|part| part.join().expect("a thread does not panic"))
    })
}

fn say_thread(part: &str, number: usize) -> Result<()> {
    // SAFETY: it takes nothing and cannot fail.
    say(&format!("{part} {number} {}", unsafe { libc::gettid() }))
}

fn serve_one(listener: &TcpListener) -> Result<()> {
    serve(listener.accept().context("accept")?.0, 10)
}

fn ask(number: usize, mut stream: TcpStream) -> Result<()> {
    say_thread("client", number)?;
    for i in 0..ASKED {
        stream.write_all(get(&format!("/front/{number}/{i}")).as_bytes()).context("ask")?;
        read_answer(&mut stream)?;
    }
    Ok(())
}

fn answer_by_asking(number: usize, mut asked: TcpStream, back: SocketAddr) -> Result<()> {
    say_thread("front", number)?;
    let mut asks = connect(back)?;
    for i in 0..ASKED {
        read_head(&mut asked)?;
        asks.write_all(get(&format!("/back/{number}/{i}")).as_bytes()).context("ask the other server")?;
        read_answer(&mut asks)?;
        asked.write_all(&answer(10)).context("answer")?;
    }
    Ok(())
}
