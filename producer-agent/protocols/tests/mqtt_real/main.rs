//! A real Mosquitto with its own clients and a driver (Paho), behind a proxy that feeds the parser with what each call moved. So many messages of a
//! kind were sent, so many must be found, with those that the broker passed on.

#![allow(clippy::unwrap_used)]

#[path = "../shared/proxy.rs"]
mod proxy;

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use headwater_process::{Child, Launch, Port, Scratch, User};
use headwater_protocols::mqtt::{Mqtt, Options};
use headwater_protocols::{Connection, OrderOptions, Side};
use proxy::{Found, Proxy};

const PATIENCE: Duration = Duration::from_secs(20);

struct Server {
    port: Port,
    _child: Child,
    _folder: Scratch,
}

impl Server {
    fn start() -> Server {
        let folder = Scratch::create("headwater-mosquitto-", 0o755).unwrap();
        let port = Port::free().unwrap();
        let settings = folder.path().join("mosquitto.conf");
        let text = format!(
            "listener {} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages 40\n",
            port.number()
        );
        std::fs::write(&settings, text).unwrap();
        let mut command = Command::new("/usr/sbin/mosquitto");
        command.arg("-c").arg(&settings);
        let mut launch = Launch::new("mosquitto", command, folder.path().join("log"));
        // It does not run as root, and a program that becomes somebody else by itself outlives a test that is killed.
        if let Some(user) = User::nobody() {
            launch = launch.as_user(user);
        }
        let mut child = launch.spawn().unwrap();
        child.await_ready(PATIENCE, || TcpStream::connect(("127.0.0.1", port.number())).ok()).unwrap();
        Server { port, _child: child, _folder: folder }
    }

    /// Runs a program that is told the port, and gives what was found of all its connections.
    fn run(&self, program: &str, arguments: &[&str], hidden_calls: usize) -> Found {
        let proxy = Proxy::start(self.port.number(), 16 * 1024, hidden_calls, || {
            Box::new(Connection::new(Side::Server, OrderOptions::default(), Mqtt::new(Options::default())))
        });
        let mut command = Command::new(program);
        command.args(arguments).env("PORT", proxy.port().to_string()).stdin(Stdio::null());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        proxy.finish()
    }
}

fn counts(found: &Found) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for (operation, outcome, code) in &found.exchanges {
        *counts.entry(format!("{operation} {outcome:?} {code}").trim_end().to_owned()).or_default() += 1;
    }
    counts
}

fn expected(counts: &[(&str, usize)]) -> BTreeMap<String, usize> {
    counts.iter().map(|(what, count)| ((*what).to_owned(), *count)).collect()
}

/// A publisher and a subscriber, which says what it got; each message has a place in its topic and in what it holds.
const PAHO: &str = r#"
import os, threading, paho.mqtt.client as mqtt
port, version, count = int(os.environ["PORT"]), int(os.environ["VERSION"]), 100
got, done, subscribed = set(), threading.Event(), threading.Event()
def message(client, data, message):
    place = (message.topic, bytes(message.payload[:8]), message.qos)
    assert place not in got, "twice"
    got.add(place)
    if len(got) == 3 * count: done.set()
subscriber, publisher = (mqtt.Client(name, protocol=version) for name in ("subscriber", "publisher"))
subscriber.on_message = message
subscriber.on_subscribe = lambda *_: subscribed.set()
for client in (subscriber, publisher):
    client.connect("127.0.0.1", port)
    client.loop_start()
subscriber.subscribe("shop/#", 2)
assert subscribed.wait(20)
publisher.max_inflight_messages_set(40)
sent = [publisher.publish(f"shop/{at}/quality{quality}", b"%08d" % at + b"x" * (at * at), qos=quality) for at in range(count) for quality in (0, 1, 2)]
for one in sent: one.wait_for_publish(20)
assert done.wait(20), len(got)
subscriber.unsubscribe("shop/#")
given_up = threading.Event()
subscriber.on_unsubscribe = lambda *_: given_up.set()
given_up.wait(1)
for client in (publisher, subscriber):
    client.disconnect()
    client.loop_stop()
"#;

fn paho(server: &Server, version: &str, hidden_calls: usize) -> Found {
    let script = format!("import os\nos.environ['VERSION'] = '{version}'\n{PAHO}");
    server.run("/usr/bin/python3", &["-c", &script], hidden_calls)
}

#[test]
fn what_a_driver_sends_and_gets_is_found() {
    let server = Server::start();
    for version in ["4", "5"] {
        let found = paho(&server, version, 0);
        let mut counts = counts(&found);
        // The last answer may come after the client has gone.
        counts.remove("UNSUBSCRIBE Ok");
        assert_eq!(
            counts,
            expected(&[("CONNECT Ok", 2), ("SUBSCRIBE Ok", 1), ("PUBLISH Ok", 300), ("DELIVER Ok", 300)]),
            "version {version}: {:?}",
            found.losses
        );
        assert_eq!(found.lost(), 0, "{:?}", found.losses);
    }
    // The first calls are not told of: what is found is right, the rest of what was seen is counted.
    let late = paho(&server, "4", 10);
    let counts = counts(&late);
    assert!(late.lost() > 0 && late.lost() < 600, "{:?}", late.losses);
    let of = |what: &str| counts.get(what).copied().unwrap_or_default();
    assert!(of("PUBLISH Ok") + of("DELIVER Ok") > 50, "{counts:?}");
    assert!(of("PUBLISH Ok") <= 300 && of("DELIVER Ok") <= 300, "{counts:?}");
}

#[test]
fn what_mosquittos_own_clients_send_and_get_is_found() {
    const SCRIPT: &str = r#"
set -e
for version in mqttv311 mqttv5; do
  mosquitto_pub -h 127.0.0.1 -p $DIRECT -V $version -q 1 -r -t shop/ready/state -m ready
  mosquitto_sub -h 127.0.0.1 -p $PORT -V $version -q 2 -t 'shop/+/state' -C 31 -W 20 > $FOLDER.$version &
  until [ -s $FOLDER.$version ]; do sleep 0.01; done
  # The subscriber goes with the last message, which nobody acknowledges.
  for quality in 2 1 0; do
    for at in $(seq 10); do echo secret-$quality-$at; done | mosquitto_pub -h 127.0.0.1 -p $PORT -V $version -q $quality -l -t shop/$quality/state
  done
  wait $!
done
"#;
    let server = Server::start();
    let folder = Scratch::create("headwater-mosquitto-", 0o755).unwrap();
    let script = format!("FOLDER={}/got\nDIRECT={}\n{SCRIPT}", folder.path().display(), server.port.number());
    let found = server.run("timeout", &["60", "bash", "-c", &script], 0);
    let counts = counts(&found);
    assert_eq!(counts["CONNECT Ok"], 8);
    assert_eq!(counts["SUBSCRIBE Ok"], 2);
    // In version 5 the broker says where nobody has subscribed.
    let published: usize =
        counts.iter().filter(|(what, _)| what.starts_with("PUBLISH Ok")).map(|(_, count)| count).sum();
    assert_eq!(published, 60);
    assert_eq!(counts["DELIVER Ok"], 62);
    assert_eq!(found.lost(), 0, "{:?}", found.losses);
}
