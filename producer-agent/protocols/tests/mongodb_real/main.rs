//! A real FerretDB, which speaks MongoDB's protocol, and MongoDB's own driver for Python, behind a proxy that feeds the parser with what each call moved.
//! So many commands of a kind were sent, so many must be found. FerretDB answers what is not to be acknowledged, too, and has no streams and no
//! compression: of those, `tests/mongodb.rs` alone tells.

#![allow(clippy::unwrap_used)]
#![allow(clippy::print_stdout, reason = "a failed test shows them")]

#[path = "../shared/proxy.rs"]
mod proxy;

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use headwater_protocols::mongodb::{Mongodb, Options};
use headwater_protocols::{Connection, OrderOptions, Side};
use headwater_testing::servers::{self, Server};
use proxy::{Found, Proxy};

/// Runs a script that is told the port, and gives what was found of all its connections.
fn python(server: &Server, script: &str, hidden_calls: usize) -> Found {
    let proxy = Proxy::start(server.port().number(), 16 * 1024, hidden_calls, || {
        Box::new(Connection::new(Side::Server, OrderOptions::default(), Mongodb::new(Options::default())))
    });
    // Debian's own interpreter. What the client asks in the background may be under way when it ends.
    let proxy = proxy.allowing_open(&["isMaster", "OP_QUERY isMaster"]);
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", script]).env("PORT", proxy.port().to_string()).stdin(Stdio::null());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found = proxy.finish();
    assert!(!format!("{:?} {:?}", found.exchanges, found.resources).contains("secret"));
    found
}

impl Found {
    #[track_caller]
    fn has(&self, operation: &str, resource: &str, count: usize) {
        let found = self.resources.get(&(operation.to_owned(), resource.to_owned())).copied().unwrap_or_default();
        assert_eq!(found, count, "{operation} {resource}: {:?} {:?}", self.resources, self.losses);
    }
}

const PYMONGO: &str = r#"
import os
from pymongo import MongoClient
from pymongo.errors import DuplicateKeyError, OperationFailure
count = 200
client = MongoClient("127.0.0.1", int(os.environ["PORT"]), retryWrites=False, appname="secret")
shop = client.shop
orders = shop.orders
for at in range(count):
    orders.insert_one({"_id": at, "secret": "secret" * at})
for at in range(count):
    assert orders.find_one({"_id": at, "secret": "secret" * at})
for at in range(count):
    orders.update_one({"_id": at}, {"$set": {"secret": "secret"}})
try: orders.insert_one({"_id": 1})
except DuplicateKeyError: pass
try: shop.command("secretCommand", "secret")
except OperationFailure: pass
try: shop.command("collMod", "none")
except OperationFailure: pass
# More than what is read of a message.
shop.many.insert_many([{"_id": at, "secret": "secret" * 20} for at in range(2000)])
assert sum(1 for _ in shop.many.find(batch_size=100)) == 2000
shop.command("ping")
assert orders.count_documents({}) == count
orders.create_index("paid")
orders.delete_many({})
orders.drop()
shop.many.drop()
client.close()
"#;

#[test]
fn what_pymongo_asks_is_found() {
    let server = servers::ferretdb(None).unwrap();
    let found = python(&server, PYMONGO, 0);
    println!("left open: {:?}", found.left_open);
    assert_eq!(found.lost(), 0, "{:?}", found.losses);
    found.has("insert", "shop.orders", 201);
    found.has("find", "shop.orders", 200);
    found.has("update", "shop.orders", 200);
    found.has("unknown", "", 1);
    found.has("collMod", "shop.none", 1);
    found.has("insert", "shop.many", 1);
    found.has("find", "shop.many", 1);
    found.has("ping", "shop", 1);
    found.has("aggregate", "shop.orders", 1);
    found.has("createIndexes", "shop.orders", 1);
    found.has("delete", "shop.orders", 1);
    found.has("drop", "shop.orders", 1);
    found.has("endSessions", "admin", 1);
    let more = found.resources.get(&("getMore".to_owned(), "shop.many".to_owned())).copied().unwrap_or_default();
    assert!((19..=20).contains(&more), "{more}");
    let mut counts = BTreeMap::new();
    for (operation, outcome, code) in &found.exchanges {
        let what = format!("{operation} {outcome:?} {code}");
        *counts.entry(what.trim_end().to_owned()).or_insert(0) += 1;
    }
    for (what, count) in [
        ("insert Ok", 201),
        ("insert ClientError 11000", 1),
        ("find Ok", 201),
        ("update Ok", 200),
        ("unknown ClientError CommandNotFound", 1),
        ("collMod ClientError NotImplemented", 1),
    ] {
        assert_eq!(counts.get(what), Some(&count), "{what}: {counts:?}");
    }

    // The first calls are not told of: what is found is right, and the rest of what was seen is counted.
    let late = python(&server, PYMONGO, 100);
    let found: usize = ["find", "update"]
        .map(|operation| {
            late.resources.get(&(operation.to_owned(), "shop.orders".to_owned())).copied().unwrap_or_default()
        })
        .iter()
        .sum();
    assert!((395..=400).contains(&found), "{found} {:?}", late.losses);
    assert!((1..10).contains(&late.lost()), "{:?}", late.losses);
}
