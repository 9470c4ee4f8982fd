//! The observed program: nginx with one worker and a small answer.

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use headwater_process::{Child, Launch, Port};

pub struct Nginx {
    process: Child,
    folder: tempfile::TempDir,
    port: Port,
}

impl Nginx {
    pub fn start() -> Result<Nginx> {
        let folder = tempfile::tempdir()?;
        let port = Port::free()?;
        let at = folder.path().display();
        let config = format!(
            "worker_processes 1; daemon off; pid {at}/pid; error_log {at}/error.log; events {{ worker_connections 1024; }}\n\
             http {{ access_log off; keepalive_requests 1000000000; client_body_temp_path {at}/b; proxy_temp_path {at}/p;\n\
             fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;\n\
             server {{ listen {} backlog=1024; location / {{ return 200 \"hello, world\\n\"; }} }} }}\n",
            port.address()
        );
        let path = folder.path().join("nginx.conf");
        std::fs::write(&path, config)?;
        let mut command = Command::new("nginx");
        command.arg("-c").arg(&path).arg("-p").arg(folder.path());
        // It ends its worker, if it is asked.
        let launch = Launch::new("nginx", command, folder.path().join("nginx.log")).ending_softly();
        let mut process = launch.spawn().context("nginx is needed: apt-get install nginx")?;
        process.await_ready(Duration::from_secs(10), || TcpStream::connect(port.address()).ok())?;
        Ok(Nginx { process, folder, port })
    }

    pub fn url(&self) -> String {
        format!("http://{}/", self.port.address())
    }

    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// A file that goes with nginx.
    pub fn log_of(&self, program: &str) -> PathBuf {
        self.folder.path().join(format!("{program}.log"))
    }

    /// The master and its workers.
    pub fn pids(&self) -> Result<Vec<u32>> {
        let master = self.process.pid();
        let path = format!("/proc/{master}/task/{master}/children");
        let children = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        let workers = children.split_whitespace().filter_map(|pid| pid.parse().ok());
        Ok(std::iter::once(master).chain(workers).collect())
    }

    /// Where nginx wrote its errors.
    pub fn errors(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("error.log")).unwrap_or_default()
    }
}
