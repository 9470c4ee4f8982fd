//! A real nats-server with JetStream and two clients (that of C, and nats-py), behind a proxy that feeds the parser with what each call moved. So many
//! messages and requests of a kind were sent, so many must be found, with those that the server passed on.

#![allow(clippy::unwrap_used)]

#[path = "../shared/proxy.rs"]
mod proxy;

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use headwater_process::{Child, Launch, Port, Scratch};
use headwater_protocols::nats::{Nats, Options};
use headwater_protocols::{Connection, OrderOptions, Side};
use proxy::{Found, Proxy};

const PATIENCE: Duration = Duration::from_secs(20);

struct Server {
    port: Port,
    _child: Child,
    folder: Scratch,
}

impl Server {
    fn start(settings: &str) -> Server {
        let folder = Scratch::create("headwater-nats-", 0o700).unwrap();
        let port = Port::free().unwrap();
        let path = folder.path().join("nats.conf");
        let store = folder.path().join("store");
        let text = format!(
            "listen: 127.0.0.1:{}\njetstream {{ store_dir: \"{}\" }}\n{settings}\n",
            port.number(),
            store.display()
        );
        std::fs::write(&path, text).unwrap();
        let mut command = Command::new("/usr/sbin/nats-server");
        command.arg("-c").arg(&path);
        let mut child = Launch::new("nats-server", command, folder.path().join("log")).spawn().unwrap();
        child.await_ready(PATIENCE, || TcpStream::connect(("127.0.0.1", port.number())).ok()).unwrap();
        Server { port, _child: child, folder }
    }

    /// Runs a program that is told the port last, and gives what was found of all its connections.
    fn run(&self, mut program: Command, hidden_calls: usize) -> Found {
        let proxy = Proxy::start(self.port.number(), 16 * 1024, hidden_calls, || {
            Box::new(Connection::new(Side::Server, OrderOptions::default(), Nats::new(Options::default())))
        });
        let output = program.env("PORT", proxy.port().to_string()).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let found = proxy.finish();
        assert!(!format!("{:?} {:?}", found.exchanges, found.resources).contains("secret"));
        found
    }

    fn python(&self, script: &str, hidden_calls: usize) -> Found {
        let mut python = Command::new("python3");
        python.args(["-c", script]).env("PYTHONPATH", nats_py());
        self.run(python, hidden_calls)
    }
}

/// The folder with the client in Python, which the first run fetches.
fn nats_py() -> PathBuf {
    let list = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/nats_real/requirements.txt");
    headwater_testing::python_modules("nats-py", &list).unwrap()
}

fn counts(found: &Found) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for (operation, outcome, code) in &found.exchanges {
        *counts.entry(format!("{operation} {outcome:?} {code}").trim_end().to_owned()).or_default() += 1;
    }
    counts
}

impl Found {
    fn of(&self, operation: &str, resource: &str) -> usize {
        self.resources.get(&(operation.to_owned(), resource.to_owned())).copied().unwrap_or_default()
    }
}

#[test]
fn what_the_client_of_c_asks_is_found() {
    let server = Server::start("");
    let program = server.folder.path().join("client");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/nats_real/client.c");
    let compiled = Command::new("cc").arg("-o").arg(&program).arg(source).arg("-lnats").status().unwrap();
    assert!(compiled.success(), "the client compiles");
    let mut client = Command::new("sh");
    client.args(["-c", "exec $CLIENT $PORT 200"]).env("CLIENT", &program);
    let found = server.run(client, 0);
    assert_eq!(found.lost(), 0, "{:?}", found.losses);
    assert_eq!(found.of("CONNECT", ""), 2);
    assert_eq!(found.of("PUB", "shop.seen"), 200);
    assert_eq!(found.of("REQUEST", "shop.price.{id}"), 200);
    assert_eq!(found.of("DELIVER", "shop.price.{id}"), 200);
    assert_eq!(found.of("SUB", "shop.price.*"), 1);
    assert_eq!(found.of("REQUEST", "$JS.API.STREAM.CREATE.orders"), 1);
    assert_eq!(found.of("REQUEST", "orders.made"), 201);
    assert_eq!(found.of("REQUEST", "$JS.API.CONSUMER.MSG.NEXT.orders.worker"), 200);
    assert_eq!(found.of("DELIVER", "orders.made"), 200);
    assert_eq!(found.of("ACK", "$JS.ACK.orders.worker"), 200);
    // The last message was not the one that was expected.
    assert_eq!(counts(&found)["REQUEST ClientError 10071"], 1);
    assert_eq!(found.waits.len(), 200, "a request is answered by who gets it");
}

/// A service and who asks it, messages for all, and what JetStream keeps; each message has a place in its subject.
const SCRIPT: &str = r#"
import asyncio, os, nats
from nats.errors import NoRespondersError
from nats.js.errors import NotFoundError
url, count = f"nats://127.0.0.1:{os.environ['PORT']}", 200
options = {"allow_reconnect": False, "verbose": bool(os.environ.get("VERBOSE")), **eval(os.environ.get("OPTIONS", "{}"))}
async def main():
    service, client = await nats.connect(url, **options), await nats.connect(url, **options)
    got = []
    async def answer(message):
        await message.respond(message.data)
    async def take(message):
        got.append(message.subject)
    await service.subscribe("shop.ask.*", queue="workers", cb=answer)
    await service.subscribe("shop.all.>", cb=take)
    await service.flush()
    for at in range(count):
        await client.publish(f"shop.all.{1000 + at}.x", b"secret" * at, headers={"secret": "secret"} if at % 2 else None)
    asked = [client.request(f"shop.ask.{1000 + at}", b"secret\r\nMSG a 1 0\r\n" * at, timeout=20) for at in range(count)]
    await asyncio.gather(*asked)
    try:
        await client.request("shop.nobody", b"secret", timeout=20)
    except NoRespondersError: pass
    while len(got) < count: await asyncio.sleep(0.01)
    stream = client.jetstream()
    await stream.add_stream(name="orders", subjects=["orders.*"], storage="memory")
    for at in range(count): await stream.publish(f"orders.{1000 + at}", b"secret", timeout=20)
    try: await stream.stream_info("none")
    except NotFoundError: pass
    worker = await stream.pull_subscribe("orders.*", "worker")
    taken = 0
    while taken < count:
        for message in await worker.fetch(10, timeout=20):
            await (message.ack_sync() if taken % 2 else message.ack())
            taken += 1
    await client.flush()
    await service.close()
    await client.close()
asyncio.run(asyncio.wait_for(main(), 120))
"#;

#[test]
fn what_nats_py_asks_is_found() {
    let server = Server::start("");
    let found = server.python(SCRIPT, 0);
    assert_eq!(found.lost(), 0, "{:?}", found.losses);
    assert_eq!(found.of("CONNECT", ""), 2);
    for (operation, resource, count) in [
        ("PUB", "shop.all.{id}.x", 200),
        ("DELIVER", "shop.all.{id}.x", 200),
        ("REQUEST", "shop.ask.{id}", 200),
        ("DELIVER", "shop.ask.{id}", 200),
        ("REQUEST", "orders.{id}", 200),
        ("DELIVER", "orders.{id}", 200),
        ("ACK", "$JS.ACK.orders.worker", 200),
        ("REQUEST", "shop.nobody", 1),
        ("REQUEST", "$JS.API.STREAM.INFO.none", 1),
    ] {
        assert_eq!(found.of(operation, resource), count, "{operation} {resource}");
    }
    assert_eq!(counts(&found)["REQUEST ServerError 503"], 1);
    assert_eq!(counts(&found)["REQUEST ClientError 10059"], 1);
    assert_eq!(found.waits.len(), 200);

    // The first calls are not told of: what is found is right, the rest of what was seen is counted.
    let late = server.python(&SCRIPT.replace("orders", "later"), 40);
    assert!(late.lost() > 0 && late.lost() < 300, "{:?}", late.losses);
    for (operation, resource) in [("REQUEST", "later.{id}"), ("DELIVER", "later.{id}"), ("ACK", "$JS.ACK.later.worker")]
    {
        let count = late.of(operation, resource);
        assert!((150..=200).contains(&count), "{operation} {resource}: {count}, {:?}", late.losses);
    }
}

#[test]
fn what_is_confirmed_and_what_is_refused_is_found() {
    const USERS: &str = r#"
authorization { users = [
  { user: me, password: secret, permissions: { publish: { deny: "shop.all.1007.x" } } }
] }
"#;
    let server = Server::start(USERS);
    // What is refused never comes, and the client is told of it by its own callback.
    let script = SCRIPT.replace("len(got) < count", "len(got) < count - 1");
    let with =
        |options: &str| format!("import os\nos.environ.update(VERBOSE='1', OPTIONS=\"\"\"{options}\"\"\")\n{script}");
    let found = server.python(&with(r#"{"user": "me", "password": "secret"}"#), 0);
    let counted = counts(&found);
    assert_eq!(found.lost(), 0, "{:?}", found.losses);
    assert_eq!(counted["PUB ClientError PERMISSIONS_VIOLATION"], 1);
    assert_eq!(found.of("PUB", "shop.all.{id}.x"), 200);
    assert_eq!(found.of("DELIVER", "shop.all.{id}.x"), 199);
    assert_eq!(found.of("REQUEST", "shop.ask.{id}"), 200);
    assert_eq!(counted["CONNECT Ok"], 2);

    let script = r#"
import asyncio, os, nats
async def main():
    try: await nats.connect(f"nats://127.0.0.1:{os.environ['PORT']}", user="me", password="wrong", allow_reconnect=False, max_reconnect_attempts=1)
    except Exception: pass
asyncio.run(main())
"#;
    let refused = server.python(script, 0);
    assert!(counts(&refused)["CONNECT ClientError AUTHORIZATION_VIOLATION"] >= 1);
}
