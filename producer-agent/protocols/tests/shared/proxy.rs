//! Passes connections on, and tells the parser of each call before its bytes go on.

// Each test needs a part of it.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use headwater_protocols::{CloseReason, Direction, Event, Failure, Follow, Kind, Outcome, Position, Segment, Side};

/// The state of a connection of which nothing was seen yet.
pub type Open = fn() -> Box<dyn Follow + Send>;

/// What was found on all connections.
#[derive(Default)]
pub struct Found {
    /// Operation, outcome and code.
    pub exchanges: Vec<(String, Outcome, String)>,
    /// Operation and resource, and how often.
    pub resources: BTreeMap<(String, String), usize>,
    /// Operations of what nobody answers.
    pub one_way: Vec<String>,
    /// Operations of what was asked to wait.
    pub waits: Vec<String>,
    pub losses: BTreeMap<&'static str, u64>,
    /// Operations of which one may be open when its client ends.
    may_be_open: &'static [&'static str],
    /// Those of which one was.
    pub left_open: Vec<String>,
}

impl Found {
    pub fn lost(&self) -> u64 {
        self.losses.values().sum()
    }

    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Exchange(exchange) => {
                if exchange.failure.is_some() {
                    let is_open = matches!(exchange.failure, Some(Failure::ClientLeft | Failure::NoResponse));
                    // A broker may say why it leaves something open.
                    let may_be_open = self.may_be_open.contains(&exchange.method) || !exchange.code.as_str().is_empty();
                    assert!(is_open && may_be_open, "{exchange:?}");
                    self.left_open.push(exchange.method.into());
                }
                let resource = (exchange.method.into(), exchange.resource.into());
                *self.resources.entry(resource).or_default() += 1;
                match exchange.kind {
                    Kind::OneWay => self.one_way.push(exchange.method.into()),
                    Kind::Wait => self.waits.push(exchange.method.into()),
                    Kind::Call | Kind::Stream => {}
                }
                self.exchanges.push((exchange.method.into(), exchange.outcome, exchange.code.as_str().into()));
            }
            Event::Loss(loss) => *self.losses.entry(loss.reason.as_str()).or_default() += loss.count,
            Event::Encryption(_) => {}
        }
    }
}

pub struct Proxy {
    port: u16,
    connections: Arc<Mutex<Vec<JoinHandle<()>>>>,
    found: Arc<Mutex<Found>>,
}

/// One connection, as both of its threads see it.
struct Observed {
    parser: Box<dyn Follow + Send>,
    positions: [u64; 2],
    calls: usize,
    begun: Instant,
}

impl Proxy {
    pub fn start(server: u16, captured_max: usize, hidden_calls: usize, open: Open) -> Proxy {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), server, captured_max, hidden_calls, open)
    }

    pub fn on(listener: TcpListener, server: u16, captured_max: usize, hidden_calls: usize, open: Open) -> Proxy {
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(Mutex::new(Vec::new()));
        let found = Arc::new(Mutex::new(Found::default()));
        let (all, into) = (Arc::clone(&connections), Arc::clone(&found));
        // It ends with the process: nobody connects any more then.
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, into) = (client.unwrap(), Arc::clone(&into));
                let serve = move || pass_on(client, server, (captured_max, hidden_calls), open(), &into);
                all.lock().unwrap().push(std::thread::spawn(serve));
            }
        });
        Proxy { port, connections, found }
    }

    /// Clients may end while such an operation of theirs is open.
    pub fn allowing_open(self, operations: &'static [&'static str]) -> Proxy {
        self.found.lock().unwrap().may_be_open = operations;
        self
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Waits for the ends of all connections.
    pub fn finish(self) -> Found {
        self.found_so_far()
    }

    /// Waits for the ends of the connections of until now. What is found from now on is another matter.
    pub fn found_so_far(&self) -> Found {
        loop {
            let Some(connection) = self.connections.lock().unwrap().pop() else { break };
            connection.join().unwrap();
        }
        let mut found = self.found.lock().unwrap();
        let next = Found { may_be_open: found.may_be_open, ..Found::default() };
        std::mem::replace(&mut found, next)
    }
}

fn pass_on(
    client: TcpStream,
    server: u16,
    (captured_max, hidden_calls): (usize, usize),
    parser: Box<dyn Follow + Send>,
    found: &Arc<Mutex<Found>>,
) {
    let server = TcpStream::connect(("127.0.0.1", server)).unwrap();
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let observed = Arc::new(Mutex::new(Observed { parser, positions: [0; 2], calls: 0, begun: Instant::now() }));
    let back = {
        let (from, to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
        let (observed, found) = (Arc::clone(&observed), Arc::clone(found));
        std::thread::spawn(move || {
            one_way(Direction::Response, from, to, (captured_max, hidden_calls), &observed, &found)
        })
    };
    one_way(Direction::Request, client, server, (captured_max, hidden_calls), &observed, found);
    back.join().unwrap();
    let mut observed = observed.lock().unwrap();
    let at_ns = observed.begun.elapsed().as_nanos() as u64;
    let how = CloseReason::Finished { by: Side::Client };
    observed.parser.close(at_ns, how, &mut |event| found.lock().unwrap().take(event));
    assert!(observed.parser.is_idle());
}

fn one_way(
    direction: Direction,
    mut from: TcpStream,
    mut to: TcpStream,
    (captured_max, hidden_calls): (usize, usize),
    observed: &Mutex<Observed>,
    found: &Mutex<Found>,
) {
    let mut bytes = vec![0; 8192];
    loop {
        // A side that has gone with bytes unread has ended, too.
        let length = from.read(&mut bytes).unwrap_or(0);
        if length == 0 {
            let _ = to.shutdown(Shutdown::Write);
            return;
        }
        {
            let mut observed = observed.lock().unwrap();
            observed.calls += 1;
            let segment = Segment {
                position: Position(observed.positions[direction as usize]),
                length: length as u64,
                captured: &bytes[..length.min(captured_max)],
                at_ns: observed.begun.elapsed().as_nanos() as u64,
                other_position: Position(observed.positions[direction.opposite() as usize]),
            };
            observed.positions[direction as usize] += length as u64;
            if observed.calls > hidden_calls {
                observed.parser.segment(direction, &segment, &mut |event| found.lock().unwrap().take(event));
            }
        }
        if to.write_all(&bytes[..length]).is_err() {
            return;
        }
    }
}
