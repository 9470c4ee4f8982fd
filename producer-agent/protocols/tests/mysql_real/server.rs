//! A MariaDB of this test's own, and its clients.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use headwater_protocols::mysql::{Mysql, Options};
use headwater_protocols::{Connection, OrderOptions, Side};
use headwater_testing::servers;

use crate::proxy::{Found, Proxy};

pub struct Server(servers::Server);

impl Server {
    pub fn start() -> Server {
        Server(servers::mariadb(None).unwrap())
    }

    /// Runs statements one after another; errors stop nothing.
    pub fn script(&self, script: &str, captured_max: usize, hidden_calls: usize) -> Found {
        let file = self.write("script.sql", script);
        self.observe(captured_max, hidden_calls, |port| {
            let mut mariadb = servers::mariadb_client("mariadb", port);
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
        let file = self.0.folder().join(name);
        fs::write(&file, text).unwrap();
        file
    }

    fn observe(&self, captured_max: usize, hidden_calls: usize, ask: impl FnOnce(u16)) -> Found {
        let proxy = Proxy::start(self.0.port().number(), captured_max, hidden_calls, || {
            Box::new(Connection::new(Side::Server, OrderOptions::default(), Mysql::new(Options::default())))
        });
        ask(proxy.port());
        proxy.finish()
    }
}

fn run_to_end(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
