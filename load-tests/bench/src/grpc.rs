//! A server of gRPC, and `h2load` that calls one of its methods over a few connections, with several calls under way on each.

use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use headwater_process::{Child, Launch, Port};
use headwater_system_tests::http2;

use crate::ground::Ground;
use crate::load::{Speed, output};

/// The first argument of a process that serves.
pub const ARGUMENT: &str = "--serve-grpc";

const READY_TIMEOUT: Duration = Duration::from_secs(10);
const MESSAGE_BYTES: usize = 100;
const CONNECTIONS: &str = "8";
const CALLS_AT_ONCE: &str = "4";

pub struct Grpc {
    _process: Child,
    port: Port,
    folder: tempfile::TempDir,
}

impl Grpc {
    pub fn start(ground: &Ground) -> Result<Grpc> {
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("message"), http2::message(MESSAGE_BYTES))?;
        let port = Port::free()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args([ARGUMENT, &port.address().to_string()]);
        let launch = Launch::new("grpc", command, folder.path().join("grpc.log")).in_cgroup(ground.load_cgroup());
        let mut process = launch.spawn()?;
        process.await_ready(READY_TIMEOUT, || TcpStream::connect(port.address()).ok())?;
        Ok(Grpc { _process: process, port, folder })
    }

    /// Calls for some seconds.
    pub fn load(&self, ground: &Ground, seconds: u32) -> Result<Speed> {
        let mut command = Command::new("h2load");
        command.args(["-t1", "-c", CONNECTIONS, "-m", CALLS_AT_ONCE, "-D", &seconds.to_string()]);
        command.arg("-d").arg(self.folder.path().join("message"));
        command.args(["-H", "content-type: application/grpc", "-H", "te: trailers"]);
        command.arg(format!("http://{}{}", self.port.address(), http2::path(true, MESSAGE_BYTES, 0)));
        let text = output(ground, "h2load", command)?;
        // requests: 12 total, 12 started, 12 done, 12 succeeded, 0 failed, 0 errored, 0 timeout
        let line = text.lines().find_map(|line| line.strip_prefix("requests: "));
        let count = |name: &str| -> Option<f64> {
            line?.split(", ").find_map(|part| part.strip_suffix(name)?.trim().parse().ok())
        };
        let (Some(requests), Some(failed)) = (count("succeeded"), count("failed")) else {
            bail!("h2load printed no numbers of requests: {text}");
        };
        if failed > 0.0 {
            bail!("{failed} calls failed: {text}");
        }
        Ok(Speed { requests, requests_per_second: requests / f64::from(seconds), p99_us: None })
    }
}

/// The process that serves: its address in.
pub fn serve(words: &[String]) -> Result<()> {
    let [address] = words else { bail!("{ARGUMENT} ADDRESS") };
    let address: SocketAddr = address.parse().context("ADDRESS")?;
    http2::serve_alone(address)
}
