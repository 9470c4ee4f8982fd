//! Which programs of a set of processes talk to which, as `/proc` tells: a view that owes nothing to Headwater.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::process::Command;

const ESTABLISHED: &str = "01";
const LISTENING: &str = "0A";

struct Socket {
    local: String,
    remote: String,
    state: String,
    program: String,
}

/// The pairs of client and server program with a connection of TCP, or of a Unix socket with a path, between two of the processes.
pub fn between(pids: &[u32]) -> BTreeSet<(String, String)> {
    let owners = owners(pids);
    tcp_between(&owners).into_iter().chain(unix_between(&owners)).collect()
}

fn tcp_between(owners: &HashMap<String, String>) -> BTreeSet<(String, String)> {
    let sockets = sockets_of(owners);
    let with_state = |state: &str| sockets.iter().filter(move |socket| socket.state == state).collect::<Vec<_>>();
    let servers: HashMap<&str, &str> =
        with_state(LISTENING).iter().map(|socket| (&socket.local[..], &socket.program[..])).collect();
    let clients = with_state(ESTABLISHED).into_iter().filter(|socket| !servers.contains_key(&socket.local[..]));
    clients
        .map(|client| {
            let server = servers.get(&client.remote[..]).copied().unwrap_or("a stranger");
            (client.program.clone(), server.to_owned())
        })
        .collect()
}

/// As `ss` (iproute2) pairs them: its lines have the path and the inode of an end, and those of the other one. The server's has the path.
fn unix_between(owners: &HashMap<String, String>) -> BTreeSet<(String, String)> {
    let output = Command::new("ss").args(["-xHn", "state", "connected"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let pair = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [.., path, inode, _, peer] = &words[..] else { return None };
        let (server, client) = (owners.get(*inode)?, owners.get(*peer)?);
        path.starts_with('/').then(|| (client.clone(), server.clone()))
    };
    text.lines().filter_map(pair).collect()
}

/// All TCP sockets that the processes hold.
fn sockets_of(owners: &HashMap<String, String>) -> Vec<Socket> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| fs::read_to_string(table).unwrap_or_default());
    let rows = tables.iter().flat_map(|table| table.lines().skip(1));
    rows.filter_map(|row| {
        let fields: Vec<&str> = row.split_whitespace().collect();
        let program = owners.get(*fields.get(9)?)?.clone();
        let [local, remote, state] = [1, 2, 3].map(|field| fields[field].to_owned());
        Some(Socket { local, remote, state, program })
    })
    .collect()
}

/// The program's name for the inode of each socket. A process that ends meanwhile is left out.
fn owners(pids: &[u32]) -> HashMap<String, String> {
    let mut owners = HashMap::new();
    for pid in pids {
        let Ok(program) = fs::read_to_string(format!("/proc/{pid}/comm")) else { continue };
        let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        for target in descriptors.flatten().filter_map(|entry| fs::read_link(entry.path()).ok()) {
            let target = target.to_string_lossy();
            if let Some(inode) = target.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']')) {
                owners.insert(inode.to_owned(), program.trim().to_owned());
            }
        }
    }
    owners
}
