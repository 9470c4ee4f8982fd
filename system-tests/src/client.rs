//! An HTTP/1.1 client that decides each write itself, and notes when it wrote and read what.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::plan::{Body, Planned, Session, Transport};
use headwater_testing::Random;

/// What became of one request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    pub method: String,
    pub path: String,
    pub status: u16,
    pub request_bytes: u64,
    pub response_bytes: u64,
    /// Before the first write, and after the read that brought the last byte.
    pub latency_ns: u64,
    /// How much of it this thread was ready to run and waited for a processor, in the calls or between them and the two looks at
    /// the clock: what was waited for outside of the calls, no one else can have seen.
    pub waited_ns: u64,
    /// The time of day before the first write, and after the last byte was read: the answer came between the two.
    pub sent_at_us: i64,
    pub received_at_us: i64,
}

/// When a request was sent, by both clocks, and how long this thread had waited for a processor by then.
#[derive(Clone, Copy)]
struct Sent {
    waited_ns: u64,
    at_ns: u64,
    at_us: i64,
}

impl Sent {
    fn now() -> Result<Sent> {
        Ok(Sent { waited_ns: waited_ns()?, at_us: time_of_day_us()?, at_ns: now_ns() })
    }
}

/// A connection, and bytes that were read beyond the last answer.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    read_at_ns: u64,
    /// How long this thread had waited for a processor by then.
    waited_ns: u64,
}

const TIMEOUT: Duration = Duration::from_secs(30);

impl Connection {
    pub fn open(address: SocketAddr) -> Result<Connection> {
        let stream = TcpStream::connect_timeout(&address, TIMEOUT).with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        Ok(Connection { stream, buffer: Vec::new(), read_at_ns: 0, waited_ns: 0 })
    }

    /// Runs a session over this connection.
    pub fn run(&mut self, session: &Session, outcomes: &mut Vec<Outcome>) -> Result<()> {
        if session.transport == Transport::Pipelined {
            return self.pipelined(&session.requests, outcomes);
        }
        let mut random = match session.transport {
            Transport::Split { seed } => Some(Random::new(seed)),
            _ => None,
        };
        for planned in &session.requests {
            let bytes = wire(planned);
            let sent = Sent::now()?;
            match &mut random {
                Some(random) => self.write_split(&bytes, random)?,
                None => self.stream.write_all(&bytes)?,
            }
            outcomes.push(self.answer(planned, bytes.len(), sent)?);
        }
        Ok(())
    }

    fn pipelined(&mut self, requests: &[Planned], outcomes: &mut Vec<Outcome>) -> Result<()> {
        let each: Vec<Vec<u8>> = requests.iter().map(wire).collect();
        let sent = Sent::now()?;
        self.stream.write_all(&each.concat())?;
        for (planned, bytes) in requests.iter().zip(&each) {
            outcomes.push(self.answer(planned, bytes.len(), sent)?);
        }
        Ok(())
    }

    /// Two to eight writes; one of the cuts may be anywhere, also inside of the method or of an end of line.
    fn write_split(&mut self, bytes: &[u8], random: &mut Random) -> Result<()> {
        let mut cuts: Vec<usize> =
            (0..1 + random.below(7)).map(|_| random.below(bytes.len().min(200) as u64) as usize).collect();
        cuts.push(bytes.len());
        cuts.sort_unstable();
        let mut from = 0;
        for cut in cuts {
            if cut > from {
                self.stream.write_all(&bytes[from..cut])?;
                from = cut;
            }
        }
        Ok(())
    }

    fn answer(&mut self, planned: &Planned, request_bytes: usize, sent: Sent) -> Result<Outcome> {
        let (status, response_bytes) =
            self.response(planned).with_context(|| format!("answer to {} {}", planned.method, planned.path))?;
        if status != planned.expected_status {
            bail!("{} {}: status {status} instead of {}", planned.method, planned.path, planned.expected_status);
        }
        Ok(Outcome {
            method: planned.method.to_owned(),
            path: planned.path.clone(),
            status,
            request_bytes: request_bytes as u64,
            response_bytes: response_bytes as u64,
            latency_ns: self.read_at_ns - sent.at_ns,
            waited_ns: self.waited_ns - sent.waited_ns,
            sent_at_us: sent.at_us,
            received_at_us: time_of_day_us()?,
        })
    }

    /// Reads one answer to its end (RFC 9112 section 6). Returns its status and length on the wire.
    fn response(&mut self, planned: &Planned) -> Result<(u16, usize)> {
        let (status, head_bytes, framing) = loop {
            if let Some(head) = parse_head(&self.buffer)? {
                break head;
            }
            if !self.fill()? {
                bail!("the connection ended before an answer");
            }
        };
        let no_body = planned.method == "HEAD" || matches!(status, 204 | 304);
        let end = match framing {
            _ if no_body => head_bytes,
            Framing::Length(length) => head_bytes + length,
            Framing::Chunked => self.chunked_end(head_bytes)?,
            Framing::Close => {
                while self.fill()? {}
                self.buffer.len()
            }
        };
        while self.buffer.len() < end {
            if !self.fill()? {
                bail!("the connection ended within an answer");
            }
        }
        self.buffer.drain(..end);
        Ok((status, end))
    }

    /// Where the last chunk ends (RFC 9112 section 7.1); trailers are not expected.
    fn chunked_end(&mut self, mut at: usize) -> Result<usize> {
        loop {
            let line_end = loop {
                if let Some(found) = self.buffer[at..].windows(2).position(|pair| pair == b"\r\n") {
                    break at + found;
                }
                if !self.fill()? {
                    bail!("the connection ended within a chunk's head");
                }
            };
            let size = usize::from_str_radix(std::str::from_utf8(&self.buffer[at..line_end])?.trim(), 16)?;
            at = line_end + 2 + size + 2;
            if size == 0 {
                return Ok(at);
            }
            while self.buffer.len() < at {
                if !self.fill()? {
                    bail!("the connection ended within a chunk");
                }
            }
        }
    }

    /// Reads once. False at the end of the stream.
    fn fill(&mut self) -> Result<bool> {
        let mut chunk = [0; 16 * 1024];
        let n = loop {
            match self.stream.read(&mut chunk) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.read_at_ns = now_ns();
        self.waited_ns = waited_ns()?;
        self.buffer.extend_from_slice(&chunk[..n]);
        Ok(n > 0)
    }
}

enum Framing {
    Length(usize),
    Chunked,
    Close,
}

fn parse_head(bytes: &[u8]) -> Result<Option<(u16, usize, Framing)>> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head_bytes) = response.parse(bytes)? else { return Ok(None) };
    let mut framing = Framing::Close;
    for header in response.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            framing = Framing::Length(std::str::from_utf8(header.value)?.trim().parse()?);
        }
        if header.name.eq_ignore_ascii_case("transfer-encoding") {
            framing = Framing::Chunked;
        }
    }
    Ok(Some((response.code.unwrap_or(0), head_bytes, framing)))
}

/// The request's bytes.
fn wire(planned: &Planned) -> Vec<u8> {
    let version = if planned.closes { "1.0" } else { "1.1" };
    let mut bytes = format!("{} {} HTTP/{version}\r\nHost: oracle\r\n", planned.method, planned.path).into_bytes();
    match planned.body {
        Body::None => bytes.extend_from_slice(b"\r\n"),
        Body::Length(length) => {
            bytes.extend_from_slice(format!("Content-Length: {length}\r\n\r\n").as_bytes());
            bytes.resize(bytes.len() + length, b'x');
        }
        Body::Chunked(length) => {
            bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
            let mut left = length;
            while left > 0 {
                let size = left.min(777);
                bytes.extend_from_slice(format!("{size:x}\r\n").as_bytes());
                bytes.resize(bytes.len() + size, b'y');
                bytes.extend_from_slice(b"\r\n");
                left -= size;
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
        }
    }
    bytes
}

/// Microseconds since the epoch.
pub fn time_of_day_us() -> Result<i64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros() as i64)
}

/// How long this thread was ready to run and had no processor, since it began: the second number (Linux's
/// Documentation/scheduler/sched-stats.rst).
fn waited_ns() -> Result<u64> {
    const PATH: &str = "/proc/thread-self/schedstat";
    let text = std::fs::read_to_string(PATH).with_context(|| format!("read {PATH}"))?;
    let waited = text.split_ascii_whitespace().nth(1).with_context(|| format!("{PATH} says {text:?}"))?;
    waited.parse().with_context(|| format!("{PATH} says {text:?}"))
}

fn now_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock always exists, and the target outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
