//! The observed programs: nginx with one worker and answers of three sizes, and redis.

use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use headwater_process::{Child, Launch, Port};

use crate::ground::Ground;

const READY_TIMEOUT: Duration = Duration::from_secs(10);

pub struct Nginx {
    _process: Child,
    folder: tempfile::TempDir,
    port: Port,
}

/// Bytes of an answer's body, and the path that gives it.
pub const ANSWERS: [(usize, &str); 3] = [(13, "/"), (1024, "/1k"), (16 * 1024, "/16k")];

impl Nginx {
    pub fn start(ground: &Ground) -> Result<Nginx> {
        let folder = tempfile::tempdir()?;
        let port = Port::free()?;
        let at = folder.path().display();
        for (bytes, path) in &ANSWERS[1..] {
            std::fs::write(folder.path().join(&path[1..]), vec![b'x'; *bytes])?;
        }
        let config = format!(
            "worker_processes 1; daemon off; user root; pid {at}/pid; error_log {at}/error.log; events {{ worker_connections 4096; }}\n\
             http {{ access_log off; keepalive_requests 1000000000; client_body_temp_path {at}/b; proxy_temp_path {at}/p;\n\
             fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u; scgi_temp_path {at}/s; open_file_cache max=10; output_buffers 1 64k;\n\
             server {{ listen {} backlog=4096; root {at}; location = / {{ return 200 \"hello, world\\n\"; }} location / {{ }} }} }}\n",
            port.address()
        );
        let path = folder.path().join("nginx.conf");
        std::fs::write(&path, config)?;
        let mut command = Command::new("nginx");
        command.arg("-c").arg(&path).arg("-p").arg(folder.path());
        // It ends its worker, if it is asked.
        let launch = Launch::new("nginx", command, folder.path().join("nginx.log")).ending_softly();
        let launch = launch.in_cgroup(ground.load_cgroup());
        let mut process = launch.spawn().context("nginx is needed: apt-get install nginx")?;
        process.await_ready(READY_TIMEOUT, || TcpStream::connect(port.address()).ok())?;
        Ok(Nginx { _process: process, folder, port })
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.port.address())
    }

    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// What nginx wrote of errors.
    pub fn errors(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("error.log")).unwrap_or_default()
    }
}

pub struct Redis {
    _process: Child,
    _folder: tempfile::TempDir,
    port: Port,
}

impl Redis {
    pub fn start(ground: &Ground) -> Result<Redis> {
        let folder = tempfile::tempdir()?;
        let port = Port::free()?;
        let mut command = Command::new("redis-server");
        command
            .args(["--port", &port.number().to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .arg("--dir")
            .arg(folder.path());
        let launch = Launch::new("redis-server", command, folder.path().join("redis.log")).ending_softly();
        let launch = launch.in_cgroup(ground.load_cgroup());
        let mut process = launch.spawn().context("redis-server is needed: apt-get install redis-server")?;
        process.await_ready(READY_TIMEOUT, || TcpStream::connect(port.address()).ok())?;
        Ok(Redis { _process: process, _folder: folder, port })
    }

    pub fn port(&self) -> u16 {
        self.port.number()
    }
}
