//! A RabbitMQ of its own, with all that it needs in one folder.

use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use headwater_process::{Child, Launch, Port, Scratch};

const PATIENCE: Duration = Duration::from_secs(60);

pub struct Server {
    pub port: Port,
    pub folder: Scratch,
    // The broker ends before the registry of names that it needs.
    _broker: Child,
    _names: Child,
}

impl Server {
    pub fn start() -> Server {
        let folder = Scratch::create("headwater-rabbitmq-", 0o700).unwrap();
        let [port, distribution, names_port] = [(); 3].map(|()| Port::free().unwrap());
        let mut names = Command::new("epmd");
        names.args(["-port", &names_port.number().to_string(), "-address", "127.0.0.1"]);
        let mut names = Launch::new("epmd", names, folder.path().join("epmd.log")).spawn().unwrap();
        names.await_ready(PATIENCE, || TcpStream::connect(("127.0.0.1", names_port.number())).ok()).unwrap();
        let at = |name: &str| folder.path().join(name);
        // Without the wrapper in the PATH, which becomes another user; and it replaces the shell that begins it.
        let mut broker = Command::new("/usr/lib/rabbitmq/bin/rabbitmq-server");
        broker.env("RUNNING_UNDER_SYSTEMD", "1").env("ERL_EPMD_PORT", names_port.number().to_string());
        broker.env("HOME", folder.path()).env("RABBITMQ_NODENAME", "headwater@localhost");
        broker.env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1").env("RABBITMQ_NODE_PORT", port.number().to_string());
        broker.env("RABBITMQ_DIST_PORT", distribution.number().to_string()).env("RABBITMQ_LOGS", "-");
        broker.env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "+S 1:1 +sbwt none");
        for (name, path) in [
            ("RABBITMQ_MNESIA_BASE", at("data")),
            ("RABBITMQ_LOG_BASE", at("logs")),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", at("no-plugins")),
            ("RABBITMQ_CONF_ENV_FILE", at("no-settings")),
        ] {
            broker.env(name, path);
        }
        let mut broker = Launch::new("rabbitmq-server", broker, at("log")).spawn().unwrap();
        broker.await_ready(PATIENCE, || TcpStream::connect(("127.0.0.1", port.number())).ok()).unwrap();
        Server { port, folder, _broker: broker, _names: names }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}
