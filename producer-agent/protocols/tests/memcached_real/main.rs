//! A real Memcached with two drivers, one of each form, and a client that speaks meta commands, behind a proxy that feeds the parser with what
//! each call moved. So many commands of a kind were sent, so many must be found.

#![allow(clippy::unwrap_used)]

#[path = "../shared/proxy.rs"]
mod proxy;

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use headwater_protocols::memcached::{Memcached, Options};
use headwater_protocols::{Connection, OrderOptions, Outcome, Side};
use headwater_testing::servers;
use proxy::{Found, Proxy};

struct Server(servers::Server);

impl Server {
    fn start() -> Server {
        Server(servers::memcached(None).unwrap())
    }

    /// Runs a script of Python, with Debian's own interpreter, whose first argument is the port.
    fn python(&self, script: &str, hidden_calls: usize) -> Found {
        let proxy = Proxy::start(self.0.port().number(), 16 * 1024, hidden_calls, || {
            Box::new(Connection::new(Side::Server, OrderOptions::default(), Memcached::new(Options::default())))
        });
        let mut python = Command::new("/usr/bin/python3");
        python.args(["-c", script, &proxy.port().to_string()]).stdin(Stdio::null());
        let output = python.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        proxy.finish()
    }
}

fn counts(found: &Found) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for (operation, outcome, code) in &found.exchanges {
        assert!(!operation.contains("secret"));
        *counts.entry(format!("{operation} {outcome:?} {code}").trim_end().to_owned()).or_default() += 1;
    }
    counts
}

fn expected(counts: &[(&str, usize)]) -> BTreeMap<String, usize> {
    counts.iter().map(|(what, count)| ((*what).to_owned(), *count)).collect()
}

#[test]
fn what_a_driver_asks_in_text_is_found() {
    const SCRIPT: &str = r#"
import sys
from pymemcache.client.base import Client
client = Client(("127.0.0.1", int(sys.argv[1])))
for at in range(200):
    client.set(f"secret{at}", b"secret\r\nEND\r\n" * at, noreply=False)
    client.set(f"other{at}", b"1", noreply=True)
    assert client.get(f"secret{at}") is not None
    assert client.get("nothing") is None
    assert len(client.get_many([f"secret{n}" for n in range(at)])) == at
    client.add(f"secret{at}", b"x", noreply=False)
    client.incr(f"other{at}", 1)
    client.delete("nothing", noreply=False)
    client.delete(f"other{at}", noreply=True)
for at in range(10):
    try: client.incr("secret1", 1)
    except Exception: pass
    else: raise SystemExit("it is no number")
client.version()
client.close()
"#;
    let server = Server::start();
    let found = server.python(SCRIPT, 0);
    assert_eq!(
        counts(&found),
        expected(&[
            ("SET Ok", 400),
            ("GET Ok", 599),
            ("ADD Ok NOT_STORED", 200),
            ("INCR Ok", 200),
            ("INCR ClientError CLIENT_ERROR", 10),
            ("DELETE Ok NOT_FOUND", 200),
            ("DELETE Ok", 200),
            ("VERSION Ok", 1),
        ]),
        "{:?}",
        found.losses
    );
    assert_eq!(found.lost(), 0, "{:?}", found.losses);
    // The first calls are not told of: what is found is right, the rest of what was seen is counted.
    let late = server.python(SCRIPT, 300);
    assert!(late.exchanges.len() > 1_000 && late.exchanges.len() < found.exchanges.len(), "{}", late.exchanges.len());
    assert!(late.lost() > 0 && late.lost() < 200, "{:?}", late.losses);
    let all = counts(&found);
    assert!(counts(&late).iter().all(|(what, count)| all.get(what).is_some_and(|most| count <= most)));
}

#[test]
fn what_a_driver_asks_in_binary_is_found() {
    const SCRIPT: &str = r#"
import sys, bmemcached
client = bmemcached.Client(("127.0.0.1:" + sys.argv[1],))
for at in range(100):
    assert client.set(f"secret{at}", "secret" * at)
    assert client.get(f"secret{at}") is not None
    assert client.get("nothing") is None
    assert client.delete(f"secret{at}")
client.set_multi({f"many{at}": "secret" for at in range(50)})
assert len(client.get_multi([f"many{at}" for at in range(100)])) == 50
client.disconnect_all()
"#;
    let found = Server::start().python(SCRIPT, 0);
    let counts = counts(&found);
    assert_eq!(found.lost(), 0, "{counts:?} {:?}", found.losses);
    for (what, count) in [("SET Ok", 100), ("GET Ok NOT_FOUND", 100), ("DELETE Ok", 100)] {
        assert_eq!(counts.get(what), Some(&count), "{counts:?}");
    }
    // Those of many keys are quiet.
    let quiet: usize = counts.iter().filter(|(what, _)| what.contains("Q Ok")).map(|(_, count)| count).sum();
    assert!(quiet >= 140, "{counts:?}");
}

#[test]
fn meta_commands_are_found_also_where_they_are_quiet() {
    const SCRIPT: &str = r#"
import socket, sys
connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
reader = connection.makefile("rb")
def ask(text, last):
    connection.sendall(text)
    line = b""
    while not line.startswith(last):
        line = reader.readline()
        assert line, "it has gone"
for at in range(100):
    ask(b"ms secret%d 6 T60\r\nsecret\r\n" % at, b"HD")
    ask(b"mg secret%d v t\r\n" % at, b"secret")
    ask(b"mg nothing v\r\n", b"EN")
    ask(b"ms a%d 1 q\r\nx\r\nmd a%d q\r\nmg secret%d v q\r\nmg nothing v q\r\nmn\r\n" % (at, at, at), b"MN")
    ask(b"ma n N0 J1\r\n", b"HD")
    ask(b"md nothing\r\n", b"NF")
connection.sendall(b"quit\r\n")
assert not reader.readline()
"#;
    let found = Server::start().python(SCRIPT, 0);
    assert_eq!(
        counts(&found),
        expected(&[
            ("MS Ok", 200),
            ("MG Ok", 300),
            ("MG Ok EN", 100),
            ("MD Ok", 100),
            ("MN Ok", 100),
            ("MA Ok", 100),
            ("MD Ok NF", 100)
        ]),
        "{:?}",
        found.losses
    );
    assert_eq!(found.lost(), 0, "{:?}", found.losses);
    assert!(found.exchanges.iter().all(|(_, outcome, _)| *outcome == Outcome::Ok));
}
