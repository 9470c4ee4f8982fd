//! Streams of Unix sockets: each connection with both of its ends, their processes and all bytes, however it ends and whoever tells of it; what is no such stream is not told.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use headwater_process::Launch;
use headwater_schemas::records::{Flow, FlowState, Side};
use headwater_schemas::topics::Topic;
use headwater_system_tests::lab::{Lab, stop, wait_for};
use headwater_system_tests::topics;

/// Connections of each kind, if the variable `UNIX_EACH` says nothing else.
const EACH: usize = 30;

/// Reads how many bytes follow and how many are wanted, then these, and answers; goes on with the next word until the client ends, or is told to end first.
const SERVER: &str = r#"
import os, socket, sys, threading
def take(connection, count):
    got = b""
    while len(got) < count:
        more = connection.recv(count - len(got))
        if not more: return None
        got += more
    return got
def serve(connection):
    try:
        while (word := take(connection, 16)):
            count, wanted, ends = (int(part) for part in word.split())
            take(connection, count)
            connection.sendall(b"x" * wanted)
            if ends: break
    except ConnectionError:
        pass
    connection.close()
def listen(place):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(place)
    listener.listen(100)
    while True: threading.Thread(target=serve, args=(listener.accept()[0],)).start()
for place in sys.argv[1], "\0" + sys.argv[2]: threading.Thread(target=listen, args=(place,)).start()
print(os.getpid(), flush=True)
"#;

/// Asks on connections of every kind, of each of which the number of bytes is one that no other has, and prints what it sent and read.
const CLIENT: &str = r#"
import os, socket, sys
file, name, each = sys.argv[1], "\0" + sys.argv[2], int(sys.argv[3])
number = int(sys.argv[4])
def connect(place):
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(place)
    return connection
def ask(connection, reads=True, ends=0):
    global number
    number += 1
    connection.sendall(b"%6d %7d%2d" % (number, 2 * number, ends) + b"y" * number)
    got = 0
    while reads and got < 2 * number: got += len(connection.recv(1 << 20))
    return 16 + number, 2 * number if reads else 0
told = []
early = connect(file)
ask(early)
print("early", os.getpid(), flush=True)
sys.stdin.readline()
told.append(("early", *ask(early)))
kept = connect(file)
told.append(("kept", *ask(kept)))
for at in range(each):
    place = file if at % 2 else name
    one = connect(place)
    told.append(("closes", *ask(one)))
    one.close()
    several = connect(place)
    sums = [ask(several) for _ in range(3)]
    told.append(("several", *(sum(part) for part in zip(*sums))))
    several.close()
    other = connect(place)
    told.append(("ended", *ask(other, ends=1)))
    assert other.recv(1) == b""
    other.close()
    half = connect(place)
    moved = ask(half)
    half.shutdown(socket.SHUT_WR)
    assert half.recv(1) == b""
    told.append(("half", *moved))
    half.close()
    unread = connect(place)
    told.append(("unread", *ask(unread, reads=False)))
    while len(unread.recv(1, socket.MSG_PEEK)) < 1: pass
    unread.close()
    a, b = socket.socketpair()
    a.sendall(b"pair"); b.recv(4)
    datagram = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    datagram.bind("\0%s datagram" % name[1:])
    datagram.sendto(b"datagram", "\0%s datagram" % name[1:]); datagram.recv(8)
    datagram.close()
print(";".join("%s %d %d" % one for one in told), flush=True)
sys.stdin.readline()
kept.close()
early.close()
"#;

/// One connection, as its two sides told of it.
#[derive(Debug, Default)]
struct Told {
    client: End,
    server: End,
}

#[derive(Debug, Default, Clone, PartialEq)]
struct End {
    records: usize,
    opened: i64,
    sent: i64,
    received: i64,
    last: Option<FlowState>,
    pid: i32,
    remote: String,
    workload: String,
}

fn python(lab: &Lab, script: &str, arguments: &[&str]) -> Launch {
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", script]).args(arguments);
    Launch::new("python", command, lab.folder.path().join("python.log")).piping_stdin().piping_stdout()
}

#[test]
fn who_speaks_over_unix_sockets_is_told_with_all_bytes() {
    let lab = Lab::start().unwrap();
    let file = lab.folder.path().join("s").to_str().unwrap().to_owned();
    let name = format!("headwater-{}", std::process::id());
    let mut server = python(&lab, SERVER, &[&file, &name]).in_cgroup(lab.cgroup.path()).spawn().unwrap();
    let server_pid: i32 = server.first_line().unwrap().parse().unwrap();
    let each = std::env::var("UNIX_EACH").unwrap_or(EACH.to_string());
    let client = python(&lab, CLIENT, &[&file, &name, &each, "100"]).in_cgroup(lab.cgroup.path());
    let mut client = client.spawn().unwrap();
    let client_pid: i32 = client.first_line().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let mut agent = lab.agent_of_users_with(&["--flows-interval-ms", "500"]).unwrap();
    // Nobody asked to look at this one: of what it says, the server's end alone is told.
    let mut stranger = python(&lab, CLIENT, &[&file, &name, "1", "100000"]).spawn().unwrap();
    stranger.first_line().unwrap();
    let mut go = stranger.take_stdin().unwrap();
    go.write_all(b"\n").unwrap();
    let strange = stranger.first_line().unwrap();
    let strange: Vec<&str> = strange.split(';').map(|one| one.split(' ').next().unwrap()).collect();

    let mut input = client.take_stdin().unwrap();
    input.write_all(b"\n").unwrap();
    let said = client.first_line().unwrap();
    let said: Vec<&str> = said.split(';').collect();
    // Two walks come by the connections that are kept.
    let walked = || {
        let all = topics::agents(&lab.settings)?;
        Ok(all.last().is_some_and(|agent| agent.published["flows"] > 2 * said.len() as i64))
    };
    wait_for("two walks", walked)
        .unwrap_or_else(|error| panic!("{error}\n{:#?}", topics::agents(&lab.settings).unwrap().pop()));
    stop(&mut agent).unwrap();
    drop((input, go));
    assert!(client.join().unwrap().success() && stranger.join().unwrap().success());
    drop(server);

    let mut told: BTreeMap<String, Told> = BTreeMap::new();
    topics::each(&lab.settings, Topic::Flows, |cache, value| {
        let (schema, datum) = cache.open(value)?;
        let flow: Flow<'_> = schema.decode(datum)?;
        assert_eq!(flow.protocol, "unix", "{flow:?}");
        let of = told.entry(flow.connection_id.to_owned()).or_default();
        let end = if flow.side == Side::Client { &mut of.client } else { &mut of.server };
        end.records += 1;
        end.opened += flow.opened;
        end.sent += flow.sent_bytes;
        end.received += flow.received_bytes;
        assert_ne!(end.last, Some(FlowState::Closed), "something after the end: {flow:?}");
        end.last = Some(flow.state);
        end.pid = flow.pid;
        end.remote = flow.remote_address.to_owned();
        end.workload = format!("{} {}", flow.workload_kind, flow.workload);
        Ok(())
    })
    .unwrap();
    let of_strangers: Vec<Told> =
        told.extract_if(.., |_, told| told.client.records == 0).map(|(_, told)| told).collect();
    let (mut right, mut wrong) = (0, Vec::new());
    let expected: Vec<(String, i64, i64)> = said
        .iter()
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            (words[0].to_owned(), words[1].parse().unwrap(), words[2].parse().unwrap())
        })
        .collect();
    let mut missing = Vec::new();
    let last = topics::agents(&lab.settings).unwrap().pop().unwrap();
    for (kind, sent, received) in &expected {
        let found = told.extract_if(.., |_, told| told.client.sent == *sent).next();
        let Some((id, Told { client, server })) = found else {
            missing.push(kind);
            continue;
        };
        let is_open = matches!(kind.as_str(), "early" | "kept");
        let is_unread = kind == "unread";
        let opened = i64::from(kind != "early");
        // The end of a call that has begun before the probes were there may go past them: the server waited for its next word.
        let unread = if kind == "early" && last.capture_path == "fexit" { sent - 16..=*sent } else { *sent..=*sent };
        let fits = unread.contains(&server.received)
            && client.received == *received
            && (server.sent == *received || is_unread)
            && (client.pid, server.pid) == (client_pid, server_pid)
            && (client.opened, server.opened) == (opened, opened)
            && [&client, &server].into_iter().all(|end| (end.last == Some(FlowState::Open)) == is_open)
            && (client.remote == format!("unix:{}", shortened(&file)) || client.remote == format!("unix:@{name}"))
            && !client.workload.contains("unknown")
            && !server.workload.contains("unknown");
        if fits { right += 1 } else { wrong.push(format!("{id} {kind} {sent} {received}: {client:?} {server:?}")) }
    }
    let doubled: Vec<&String> = told.keys().collect();
    if let Ok(hook) = std::env::var("EXACT_HOOK") {
        assert_eq!(last.capture_path, hook);
    }
    // By tracepoints alone, an end that closes is known by what its peer reads then, if that is in the capture.
    let is_unseen = |kind: &&&str| last.capture_path == "tracepoint" && ["ended", "half"].contains(*kind);
    let unseen = strange.iter().filter(is_unseen).count();
    println!(
        "{right} of {} right, {} missing, {} wrong, {} doubled; {} of {} of a stranger, {unseen} without an end",
        expected.len(),
        missing.len(),
        wrong.len(),
        doubled.len(),
        of_strangers.len(),
        strange.len()
    );
    assert_eq!(
        (missing.len(), wrong.len(), doubled.len()),
        (0, 0, 0),
        "{missing:?}\n{wrong:#?}\n{told:#?}\n{}",
        agent.log_text()
    );
    assert_eq!(of_strangers.len() + unseen, strange.len(), "{of_strangers:#?}");
    let missed = last.dropped.get("flows/close_missed").copied().unwrap_or_default();
    assert_eq!((missed, last.dropped.values().sum::<i64>()), (unseen as i64, unseen as i64), "{:?}", last.dropped);
}

/// Asks by HTTP on one connection, the first time before anybody looks, and as often over connections of their own; then Redis.
const ASKS: &str = r#"
import http.client, os, socket, subprocess, sys
web, redis, each = sys.argv[1], sys.argv[2], int(sys.argv[3])
class Connection(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(web)
def ask(connection, path, expected):
    connection.request("GET", path, headers={"Host": "web"})
    answer = connection.getresponse()
    answer.read()
    assert answer.status == expected, answer.status
early = Connection("web")
ask(early, "/ok/before", 200)
print("early", flush=True)
sys.stdin.readline()
for at in range(each):
    ask(early, "/ok/early-%d" % at, 200)
    one = Connection("web")
    ask(one, "/status/404/one-%d" % at, 404)
    ask(one, "/echo/one-%d" % at, 200)
    one.close()
    subprocess.run(["curl", "-sf", "-o", "/dev/null", "--unix-socket", web, "http://web/ok/curl-%d" % at], check=True)
store = socket.socket(socket.AF_UNIX)
store.connect(redis)
for at in range(each):
    store.sendall(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n" * 2 + b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n")
    got = b""
    while got.count(b"\r\n") < 4: got += store.recv(1000)
print("asked", flush=True)
sys.stdin.readline()
"#;

#[test]
fn what_is_asked_over_unix_sockets_is_told_once() {
    let lab = Lab::start().unwrap();
    let (web, redis) = (lab.folder.path().join("web"), lab.folder.path().join("redis"));
    let (web, redis) = (web.to_str().unwrap(), redis.to_str().unwrap());
    let _nginx = lab.nginx(&[format!("unix:{web}")], None).unwrap();
    let mut command = Command::new("redis-server");
    command.args(["--port", "0", "--unixsocket", redis, "--save", "", "--appendonly", "no"]);
    command.arg("--dir").arg(lab.folder.path());
    let launch = Launch::new("redis-server", command, lab.folder.path().join("redis.log")).ending_softly();
    let _redis = launch.in_cgroup(lab.cgroup.path()).spawn().unwrap();
    let is_there = |path: &str| std::os::unix::net::UnixStream::connect(path).is_ok();
    wait_for("both servers", || Ok(is_there(web) && is_there(redis))).unwrap();
    let each: usize = std::env::var("UNIX_EACH").map_or(EACH, |each| each.parse().unwrap());
    let client = python(&lab, ASKS, &[web, redis, &each.to_string()]).in_cgroup(lab.cgroup.path());
    let mut client = client.spawn().unwrap();
    assert_eq!(client.first_line().unwrap(), "early");
    let mut agent = lab.agent().unwrap();
    let processors = lab.processor("all").unwrap();
    let mut input = client.take_stdin().unwrap();
    input.write_all(b"\n").unwrap();
    assert_eq!(client.first_line().unwrap(), "asked");
    stop(&mut agent).unwrap();
    drop(input);
    assert!(client.join().unwrap().success());

    let mut expected: BTreeMap<(String, i32), usize> = BTreeMap::new();
    for at in 0..each {
        for (path, status) in [("ok/early", 200), ("status/404/one", 404), ("echo/one", 200), ("ok/curl", 200)] {
            expected.insert((format!("/{path}-{at}"), status), 1);
        }
    }
    expected.insert(("SET".to_owned(), 0), 2 * each);
    expected.insert(("GET".to_owned(), 0), each);
    let all: usize = expected.values().sum();
    let (mut wrong, mut doubled) = (Vec::new(), 0);
    topics::each_request(&lab.settings, |request| {
        let name = if request.protocol == "http" { request.path } else { request.operation };
        let is_right = request.side == Side::Client && request.workload != "unknown" && request.duration_ns > 0;
        match expected.get_mut(&(name.to_owned(), request.status)) {
            Some(0) => doubled += 1,
            Some(left) if is_right => *left -= 1,
            _ => wrong.push(format!("{request:?}")),
        }
    })
    .unwrap();
    let missing: usize = expected.values().sum();
    println!("{} of {all} right, {missing} missing, {} wrong, {doubled} doubled", all - missing, wrong.len());
    expected.retain(|_, left| *left > 0);
    assert_eq!((missing, wrong.len(), doubled), (0, 0, 0), "{expected:?}\n{wrong:#?}");
    let last = topics::agents(&lab.settings).unwrap().pop().unwrap();
    assert!(last.dropped.is_empty(), "{:?}", last.dropped);

    let each = each as i64;
    let edges = || -> anyhow::Result<BTreeMap<String, i64>> {
        let mut requests = BTreeMap::new();
        for edge in topics::edges(&lab.settings)?.into_iter().filter(|edge| edge.requests > 0) {
            assert!(edge.asked.iter().all(|asked| asked.starts_with("unix:") && !asked.ends_with(":0")), "{edge:?}");
            let name = format!("{} > {} {}", edge.client.name, edge.server.name, edge.protocol);
            *requests.entry(name).or_default() += edge.requests;
        }
        Ok(requests)
    };
    let is_all = || Ok(edges()?.values().sum::<i64>() == all as i64);
    wait_for("all windows", is_all).unwrap_or_else(|error| panic!("{error}\n{}", processors.log_text()));
    let told =
        [("curl > nginx http", each), ("python3 > nginx http", 3 * each), ("python3 > redis-server redis", 3 * each)];
    assert_eq!(edges().unwrap(), told.map(|(edge, requests)| (edge.to_owned(), requests)).into());
}

/// What is told of a path.
fn shortened(path: &str) -> String {
    // A zero ends it.
    match (path.len() + 1).checked_sub(32) {
        None | Some(0) => path.to_owned(),
        Some(cut) => format!("...{}", &path[cut..]),
    }
}

/// The state of a socket is made by whichever thread comes first, and the other one finds it: none is taken for one without memory.
#[test]
fn two_threads_that_begin_with_a_socket_at_the_same_moment_lose_nothing() {
    const SOCKETS: usize = 20_000;
    let lab = Lab::start().unwrap();
    let mut agent = lab.agent().unwrap();
    let begins = AtomicUsize::new(0);
    for _ in 0..SOCKETS / 100 {
        let pairs = (0..100).map(|_| UnixStream::pair().unwrap());
        let (own, mut peers): (Vec<UnixStream>, Vec<UnixStream>) = pairs.unzip();
        peers.iter_mut().for_each(|peer| peer.write_all(b"x").unwrap());
        begins.store(0, Ordering::SeqCst);
        let meet = |at: usize| {
            begins.fetch_add(1, Ordering::SeqCst);
            while begins.load(Ordering::SeqCst) < 2 * (at + 1) {
                std::hint::spin_loop();
            }
        };
        thread::scope(|scope| {
            scope.spawn(|| {
                for (at, mut socket) in own.iter().enumerate() {
                    meet(at);
                    socket.write_all(b"y").unwrap();
                }
            });
            for (at, mut socket) in own.iter().enumerate() {
                meet(at);
                socket.read_exact(&mut [0]).unwrap();
            }
        });
    }
    stop(&mut agent).unwrap();
    let agents = topics::agents(&lab.settings).unwrap();
    let last = agents.iter().find(|agent| agent.is_final).unwrap();
    assert_eq!(last.counters["probe_storage_full"], 0, "of {SOCKETS} sockets");
}
