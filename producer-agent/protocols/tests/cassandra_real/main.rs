//! A real Cassandra and its driver for Python in versions 4 and 5 of the protocol, behind a proxy that feeds the parser with what each call moved. So many
//! statements of a kind were sent, so many must be found.

#![allow(clippy::unwrap_used)]

#[path = "../shared/proxy.rs"]
mod proxy;

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use headwater_protocols::cassandra::{Cassandra, Options};
use headwater_protocols::{Connection, OrderOptions, Side};
use headwater_testing::servers::{self, Server};
use proxy::{Found, Proxy};

/// Runs the script in a version of the protocol, and gives what was found of all its connections.
fn python(server: &Server, version: u8, hidden_calls: usize) -> Found {
    let proxy = Proxy::start(server.port().number(), 16 * 1024, hidden_calls, || {
        Box::new(Connection::new(Side::Server, OrderOptions::default(), Cassandra::new(Options::default())))
    });
    // Debian's own interpreter.
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", SCRIPT, &version.to_string()]).env("PORT", proxy.port().to_string());
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found = proxy.finish();
    assert!(!format!("{:?} {:?}", found.exchanges, found.resources).contains("secret"));
    found
}

fn counts(found: &Found) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for (operation, outcome, code) in &found.exchanges {
        *counts.entry(format!("{operation} {outcome:?} {code}").trim_end().to_owned()).or_default() += 1;
    }
    counts
}

const SCRIPT: &str = r#"
import os, sys, uuid
from cassandra import AlreadyExists, InvalidRequest
from cassandra.cluster import Cluster
from cassandra.query import BatchStatement
from cassandra.protocol import SyntaxException
count = 200
cluster = Cluster(["127.0.0.1"], port=int(os.environ["PORT"]), protocol_version=int(sys.argv[1]), compression=False)
session = cluster.connect()
session.execute("CREATE KEYSPACE IF NOT EXISTS shop WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
session.set_keyspace("shop")
session.execute("CREATE TABLE IF NOT EXISTS orders (id int PRIMARY KEY, note text, tag uuid)")
session.execute("TRUNCATE orders")
for at in range(count):
    session.execute("INSERT INTO orders (id, note, tag) VALUES (%s, %s, %s)", (at, "secret" * at, uuid.uuid4()))
find = session.prepare("SELECT note FROM orders WHERE id = ?")
for at in range(count):
    assert session.execute(find, (at,)).one()
# All at once, of which each has a stream of its own.
for answer in [session.execute_async(find, (at,)) for at in range(count)]:
    assert answer.result().one()
write = session.prepare("UPDATE orders SET note = ? WHERE id = ?")
for at in range(10):
    batch = BatchStatement()
    for one in range(5): batch.add(write, ("secret", 5 * at + one))
    session.execute(batch)
for statement, error in (("SELECT nothing", SyntaxException), ("SELECT * FROM none", InvalidRequest), ("CREATE TABLE orders (a int PRIMARY KEY)", AlreadyExists)):
    try: session.execute(statement)
    except error: pass
    else: assert False, statement
# A long result, in one piece: the first rows have some 100 KB each.
for at in range(10):
    session.execute(write, ("x" * 100_000, at))
session.default_fetch_size = None
assert sum(1 for _ in session.execute("SELECT * FROM orders")) == count
session.default_fetch_size = 50
assert sum(1 for _ in session.execute("SELECT id FROM orders")) == count
cluster.shutdown()
"#;

#[test]
fn what_the_driver_asks_is_found() {
    let server = servers::cassandra(None).unwrap();
    for version in [4, 5] {
        let found = python(&server, version, 0);
        assert_eq!(found.lost(), 0, "version {version}: {:?}", found.losses);
        let counts = counts(&found);
        for (what, count) in [
            ("INSERT INTO orders (id, note, tag) VALUES (?) Ok", 200),
            ("PREPARE SELECT note FROM orders WHERE id = ? Ok", 1),
            ("SELECT note FROM orders WHERE id = ? Ok", 400),
            ("BATCH UPDATE orders SET note = ? WHERE id = ? Ok", 10),
            ("UPDATE orders SET note = ? WHERE id = ? Ok", 10),
            ("SELECT * FROM none ClientError INVALID", 1),
            ("CREATE TABLE orders (a int PRIMARY KEY) ClientError ALREADY_EXISTS", 1),
            ("SELECT * FROM orders Ok", 1),
            ("TRUNCATE orders Ok", 1),
        ] {
            assert_eq!(counts.get(what), Some(&count), "version {version}: {what}: {counts:?}");
        }
        // A server may say of the last full page that there may be another one.
        let pages = counts.get("SELECT id FROM orders Ok").copied().unwrap_or_default();
        assert!((4..=5).contains(&pages), "version {version}: {counts:?}");
        let in_shop = ("SELECT note FROM orders WHERE id = ?".to_owned(), "shop".to_owned());
        assert_eq!(found.resources.get(&in_shop), Some(&400), "{:?}", found.resources);

        // The first calls are not told of: what is found is right, and the rest of what was seen is counted.
        let late = python(&server, version, 200);
        let is_found = late.exchanges.len() > 200 && late.exchanges.len() as u64 + late.lost() > 500;
        assert!(is_found, "version {version}: {} {:?}", late.exchanges.len(), late.losses);
    }
}
