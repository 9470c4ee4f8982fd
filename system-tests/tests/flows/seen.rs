//! What is captured of one conversation, as owned values.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use headwater_agent::clock::{Clock, monotonic_ns};
use headwater_agent::observe::{Interest, Observer, ObserverOptions, Output, Paths};
use headwater_probe_loader::{Interests, Options, Probes, types::count};
use headwater_process::{Cgroup, Launch, wait_for};
use headwater_schemas::records::{FlowState, Kind, Side};

/// What a conversation may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// As the agent, unless it is told otherwise.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

pub struct Request {
    pub connection: String,
    pub side: Side,
    pub position: i64,
    pub path: String,
    pub operation: String,
    pub status: i32,
    pub kind: Kind,
    pub error: bool,
    pub failure: Option<String>,
    /// Thread and call, of the request and of the response.
    pub asked_by: (i32, i64),
    pub answered_by: (i32, i64),
}

pub struct Flow {
    pub connection: String,
    pub side: Side,
    pub state: FlowState,
    pub failure: Option<String>,
    pub opened: i64,
    pub protocol: String,
    pub sent: i64,
    pub received: i64,
    pub pid: i32,
    pub local_port: i32,
    pub remote_port: i32,
}

/// Everything, after the conversation is over.
#[derive(Default)]
pub struct Seen {
    pub pid: i32,
    /// What the program said between `ready` and `done`.
    pub said: Vec<String>,
    pub requests: Vec<Request>,
    pub flows: Vec<Flow>,
    pub dropped: BTreeMap<&'static str, u64>,
    pub counts: BTreeMap<&'static str, u64>,
    pub missed_runs: u64,
}

/// Plays a conversation under capture.
pub fn of(conversation: &str) -> Seen {
    play(conversation, Looks::Meanwhile)
}

/// The same, and nobody looks at what the probes tell before it is over.
pub fn of_late(conversation: &str) -> Seen {
    play(conversation, Looks::Afterwards)
}

#[derive(Clone, Copy, PartialEq)]
enum Looks {
    Meanwhile,
    Afterwards,
}

fn play(conversation: &str, looks: Looks) -> Seen {
    let cgroup = Cgroup::create("headwater-odd-").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_oracle-odd"));
    command.arg(conversation);
    let launch = Launch::new("oracle-odd", command, folder.path().join("oracle-odd.log"));
    let mut child = launch.in_cgroup(cgroup.path()).piping_stdin().piping_stdout().spawn().unwrap();
    let mut stdin = child.take_stdin().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.take_stdout().unwrap()));
    assert_eq!(lines.next().unwrap().unwrap(), "ready");

    let options = Options {
        cgroups: vec![cgroup.path().to_owned()],
        pids: vec![],
        ring_bytes: 1 << 24,
        hook: None,
        tls: false,
        unix: false,
        processes_per_second_max: 200,
    };
    let mut probes = Probes::load(&options).unwrap();
    let options = ObserverOptions {
        node: "odd".into(),
        paths: Paths::Full,
        connections_max: 1000,
        memory_bytes: 32 << 20,
        operations_max: 1000,
        name_wait: Duration::from_secs(1),
        spares_second_ends: false,
        watches_tls: false,
        protocols: headwater_protocols::Options::default(),
    };
    let mut observer = Observer::new(options, None, Clock::measure());
    let mut interests = probes.take_interests().unwrap();
    let mut seen = Seen { pid: child.pid().cast_signed(), ..Seen::default() };
    std::io::Write::write_all(&mut stdin, b"go\n").unwrap();
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        let ended = child.ended().unwrap();
        if looks == Looks::Meanwhile || ended.is_some() {
            drain(&mut probes, &mut observer, &mut interests, &mut seen);
        }
        if let Some(status) = ended {
            break status;
        }
        assert!(Instant::now() < deadline, "the conversation does not end: {}", child.log_text());
        probes.wait(POLL_INTERVAL);
    };
    assert!(status.success(), "{status}: {}", child.log_text());
    seen.said = lines.map_while(Result::ok).collect();
    assert_eq!(seen.said.pop().as_deref(), Some("done"));
    // The last sockets end with the last segments.
    wait_for(Duration::from_millis(300), || {
        drain(&mut probes, &mut observer, &mut interests, &mut seen);
        None::<()>
    });
    observer.finish(monotonic_ns(), &mut |output| seen.take(output));
    seen.counts = count::NAMES.into_iter().zip(probes.counts().unwrap()).collect();
    seen.missed_runs = probes.missed_runs().unwrap().sum();
    seen.print();
    assert_eq!(observer.connections(), 0, "connections whose end was not seen");
    seen
}

/// A turn of the agent's pipeline, without Kafka.
fn drain(probes: &mut Probes, observer: &mut Observer, interests: &mut Interests, seen: &mut Seen) {
    probes.drain(Instant::now() + PATIENCE, |event| observer.event(event, &mut |output| seen.take(output)));
    for Interest { connection_id, role, interest } in observer.interests() {
        interests.set(connection_id, role, interest);
    }
}

impl Seen {
    fn take(&mut self, output: Output<'_>) {
        match output {
            Output::Request(request, _) => self.requests.push(Request {
                connection: request.connection_id.into(),
                side: request.side,
                position: request.request_position,
                path: request.path.into(),
                operation: request.operation.into(),
                status: request.status,
                kind: request.kind,
                error: request.error,
                failure: request.failure.map(str::to_owned),
                asked_by: (request.request_thread_id, request.request_call),
                answered_by: (request.response_thread_id, request.response_call),
            }),
            Output::Flow(flow, _) => self.flows.push(Flow {
                connection: flow.connection_id.into(),
                side: flow.side,
                state: flow.state,
                failure: flow.failure.map(str::to_owned),
                opened: flow.opened,
                protocol: flow.protocol.into(),
                sent: flow.sent_bytes,
                received: flow.received_bytes,
                pid: flow.pid,
                local_port: flow.local_port,
                remote_port: flow.remote_port,
            }),
            Output::Process(..) => {}
            Output::RequestsDropped(reason, count, _) | Output::FlowsDropped(reason, count, _) => {
                *self.dropped.entry(reason).or_default() += count;
            }
        }
    }

    /// The requests that a side has seen.
    pub fn requests_of(&self, side: Side) -> Vec<&Request> {
        self.requests.iter().filter(|request| request.side == side).collect()
    }

    /// The flows of a side.
    pub fn flows_of(&self, side: Side) -> Vec<&Flow> {
        self.flows.iter().filter(|flow| flow.side == side).collect()
    }

    /// How many requests are known to be missing.
    pub fn missing(&self) -> u64 {
        self.dropped.values().sum()
    }

    fn print(&self) {
        println!("{} requests, dropped {:?}, {:?}", self.requests.len(), self.dropped, self.counts);
        for Request { connection, side, position, path, status, failure, .. } in self.requests.iter().take(30) {
            println!("  {connection} {side:?} {position} {path} {status} {failure:?}");
        }
        for flow in self.flows.iter().take(20) {
            let Flow { connection, side, state, failure, opened, protocol, sent, received, pid, .. } = flow;
            println!(
                "  {connection} {side:?} {state:?} {failure:?} opened {opened} {protocol} sent {sent} received {received} by {pid}"
            );
        }
    }
}
