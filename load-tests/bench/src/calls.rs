//! What the probes cost one exchange: a thread that asks and answers over one connection, so four calls and nobody to wait for.
//!
//! The 10th percentile of many short spans leaves out what else the machine did meanwhile, so that this tells differences of some ten
//! nanoseconds where throughput tells none of a tenth.

use std::io::{IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use headwater_process::Launch;

use crate::ground::{Detail, Ground};
use crate::report::{Report, median};

/// The first argument of a process that asks and answers itself.
pub const ARGUMENT: &str = "--ask-itself";

/// And the second one, if it speaks what no parser reads.
const FOREIGN_ARGUMENT: &str = "foreign";

const SPANS: usize = 400;
const SPAN_EXCHANGES: u32 = 200;
/// Until a connection is hot and its exchanges are added up.
const WARM_UP: Duration = Duration::from_secs(4);
const REQUEST: &[u8] =
    b"GET /stock/17 HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: headwater-bench\r\nAccept: */*\r\n\r\n";
const FOREIGN: &[u8] =
    b"OPTIONS rtsp://127.0.0.1:8554/ RTSP/1.0\r\nCSeq: 2\r\nUser-Agent: headwater-bench\r\nAccept: */*\r\n\r\n";
const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nServer: headwater-bench\r\nContent-Type: text/plain\r\nContent-Length: 13\r\nConnection: keep-alive\r\n\r\n";
const FOREIGN_HEAD: &[u8] = b"RTSP/1.0 200 OK\r\nServer: headwater-bench\r\nContent-Type: text/plain\r\nContent-Length: 13\r\nConnection: keep-alive\r\n\r\n";
const BODY: &[u8] = b"Hello, world\n";

/// Who is there meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Observed {
    Nothing,
    /// An agent is attached, and the sockets are none of its.
    Refused,
    /// An agent captures them, and there is nothing to read in what they say.
    Counted,
    /// An agent adds up what one end tells, and the other one is followed in its turns.
    OneEnd,
    /// An agent adds up what both ends tell.
    Summed,
    /// An agent tells of each exchange.
    Full,
}

const VARIANTS: [Observed; 6] =
    [Observed::Nothing, Observed::Refused, Observed::Counted, Observed::OneEnd, Observed::Summed, Observed::Full];

pub fn measure(ground: &Ground, rounds: u32, report: &mut Report) -> Result<()> {
    println!(
        "one thread that asks and answers, {rounds} rounds: alone, refused, counted, added up at one end, at both, in full detail"
    );
    let mut added: [Vec<f64>; VARIANTS.len()] = Default::default();
    for round in 0..rounds as usize {
        let mut times = [0.0; VARIANTS.len()];
        for turn in 0..VARIANTS.len() {
            let at = (turn + round) % VARIANTS.len();
            times[at] = run(ground, VARIANTS[at], &format!("calls{round}{at}."))?;
        }
        println!("  round {round}: {times:.0?} ns");
        for (added, time) in added.iter_mut().zip(times) {
            added.push(time - times[0]);
        }
    }
    for (variant, added) in VARIANTS.iter().zip(&added).skip(1) {
        report.add_named(format!("calls_{}_ns", format!("{variant:?}").to_lowercase()), median(added), "ns");
    }
    Ok(())
}

/// Nanoseconds of an exchange.
fn run(ground: &Ground, observed: Observed, prefix: &str) -> Result<f64> {
    let _agent = match observed {
        Observed::Nothing => None,
        Observed::Refused => Some(ground.agent(ground.empty_cgroup(), prefix, Detail::Default)?),
        Observed::Counted | Observed::OneEnd => Some(ground.agent(ground.load_cgroup(), prefix, Detail::Default)?),
        Observed::Summed => Some(ground.agent(ground.load_cgroup(), prefix, Detail::BothEnds)?),
        Observed::Full => Some(ground.agent(ground.load_cgroup(), prefix, Detail::Full)?),
    };
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(ARGUMENT).args((observed == Observed::Counted).then_some(FOREIGN_ARGUMENT));
    let log = tempfile::NamedTempFile::new_in(ground.folder())?;
    let mut process =
        Launch::new("asker", command, log.path()).in_cgroup(ground.load_cgroup()).piping_stdout().spawn()?;
    let line = process.first_line()?;
    process.join()?;
    line.trim().parse().with_context(|| format!("it printed {line}"))
}

/// The process that asks and answers: nanoseconds of an exchange out.
pub fn ask_itself() -> Result<()> {
    let is_foreign = std::env::args().nth(2).is_some_and(|word| word == FOREIGN_ARGUMENT);
    let talk = if is_foreign { (FOREIGN, FOREIGN_HEAD) } else { (REQUEST, HEAD) };
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let (mut server, _) = listener.accept()?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let warm = Instant::now();
    while warm.elapsed() < WARM_UP {
        span(talk, &mut client, &mut server)?;
    }
    let mut spans = (0..SPANS).map(|_| span(talk, &mut client, &mut server)).collect::<Result<Vec<Duration>>>()?;
    spans.sort_unstable();
    println!("{}", spans[SPANS / 10].as_secs_f64() * 1e9 / f64::from(SPAN_EXCHANGES));
    Ok(())
}

fn span((request, head): (&[u8], &[u8]), client: &mut TcpStream, server: &mut TcpStream) -> Result<Duration> {
    let mut bytes = [0; 4096];
    let began = Instant::now();
    for _ in 0..SPAN_EXCHANGES {
        client.write_all(request)?;
        let asked = server.read(&mut bytes)?;
        let told = server.write_vectored(&[IoSlice::new(head), IoSlice::new(BODY)])?;
        let answered = client.read(&mut bytes)?;
        if (asked, told, answered) != (request.len(), head.len() + BODY.len(), head.len() + BODY.len()) {
            bail!("the loopback split a message: {asked}, {told}, {answered} bytes");
        }
    }
    Ok(began.elapsed())
}
