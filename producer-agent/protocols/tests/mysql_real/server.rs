//! A MariaDB of this test's own, and its clients.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use headwater_process::{Child, Launch, Port, Scratch, User};
use headwater_protocols::mysql::{Mysql, Options};
use headwater_protocols::{Connection, OrderOptions, Side};

use crate::proxy::{Found, Proxy};

const PATIENCE: Duration = Duration::from_secs(60);

pub struct Server {
    port: Port,
    _child: Child,
    folder: Scratch,
}

impl Server {
    /// As `nobody`, since MariaDB refuses root.
    pub fn start() -> Server {
        let folder = Scratch::create("headwater-mysql-", 0o755).unwrap();
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        let user = User::nobody();
        if let Some(user) = user {
            user.take_over(&data).unwrap();
        }
        let run = |name: &str, mut command: Command| {
            command.current_dir(&data);
            let launch = Launch::new(name, command, folder.path().join(format!("{name}.log"))).ending_softly();
            match user {
                Some(user) => launch.as_user(user),
                None => launch,
            }
        };
        let mut init = Command::new("mariadb-install-db");
        init.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
        init.arg(format!("--datadir={}", data.display()));
        run("install", init).spawn().unwrap().await_success(PATIENCE).unwrap();
        let port = Port::free().unwrap();
        let mut server = Command::new(program("mariadbd"));
        server.args(["--no-defaults", "--bind-address=127.0.0.1", "--local-infile=1"]);
        server.arg(format!("--datadir={}", data.display())).arg(format!("--port={}", port.number()));
        server.arg(format!("--socket={}", data.join("socket").display()));
        server.args(["--innodb-buffer-pool-size=16M", "--innodb-log-file-size=8M", "--innodb-flush-method=fsync"]);
        server.args(["--innodb-flush-log-at-trx-commit=0", "--aria-pagecache-buffer-size=8M", "--key-buffer-size=8M"]);
        let mut child = run("mariadbd", server).spawn().unwrap();
        let number = port.number();
        child
            .await_ready(PATIENCE, || {
                client("mariadb-admin", number).arg("ping").output().unwrap().status.success().then_some(())
            })
            .unwrap();
        let server = Server { port, _child: child, folder };
        run_to_end(client("mariadb", number).args(["-e", "CREATE DATABASE shop"]));
        server
    }

    /// Runs statements one after another; errors stop nothing.
    pub fn script(&self, script: &str, captured_max: usize, hidden_calls: usize) -> Found {
        let file = self.folder.path().join("script.sql");
        fs::write(&file, script).unwrap();
        self.observe(captured_max, hidden_calls, |port| {
            let mut mariadb = client("mariadb", port);
            mariadb.args(["--force", "--batch", "--unbuffered", "--local-infile=1", "shop"]);
            mariadb.stdin(fs::File::open(&file).unwrap());
            // Its status says that there were errors.
            mariadb.output().unwrap();
        })
    }

    /// Runs a script of Python, with Debian's own interpreter, whose first argument is the port.
    pub fn python(&self, script: &str, captured_max: usize) -> Found {
        self.observe(captured_max, 0, |port| {
            run_to_end(Command::new("/usr/bin/python3").args(["-c", script, &port.to_string()]))
        })
    }

    /// Likewise of Perl.
    pub fn perl(&self, script: &str, captured_max: usize, hidden_calls: usize) -> Found {
        self.observe(captured_max, hidden_calls, |port| {
            run_to_end(Command::new("/usr/bin/perl").args(["-e", script, &port.to_string()]));
        })
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let file = self.folder.path().join(name);
        fs::write(&file, text).unwrap();
        file
    }

    fn observe(&self, captured_max: usize, hidden_calls: usize, ask: impl FnOnce(u16)) -> Found {
        let proxy = Proxy::start(self.port.number(), captured_max, hidden_calls, || {
            Box::new(Connection::new(Side::Server, OrderOptions::default(), Mysql::new(Options::default())))
        });
        ask(proxy.port());
        proxy.finish()
    }
}

fn client(name: &str, port: u16) -> Command {
    let mut client = Command::new(name);
    client.args(["--no-defaults", "--protocol=tcp", "--host=127.0.0.1", "--user=root", "--skip-ssl"]);
    client.arg(format!("--port={port}")).stdin(Stdio::null());
    client
}

fn run_to_end(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Servers stand where only root looks for programs.
fn program(name: &str) -> PathBuf {
    let in_sbin = PathBuf::from("/usr/sbin").join(name);
    if in_sbin.exists() { in_sbin } else { name.into() }
}
