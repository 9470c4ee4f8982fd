//! The page, as `headwater console` beside this process: it needs none of root's rights.
//!
//! In: where it listens and the settings of Kafka. Out: its address, and whether the data has come that far.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use headwater_console::server::url_of;
use headwater_process::{Kept, Launch, Port};
use serde::Deserialize;

use crate::child::Program;

const LISTEN: &str = "HEADWATER_CONSOLE_LISTEN";
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
const ANSWER_BYTES_MAX: u64 = 1 << 20;
/// Below it, a port is root's, unless the kernel says otherwise.
const UNPRIVILEGED_PORT_START: u16 = 1024;

pub struct Page {
    pub child: Kept,
    url: String,
    asker: ureq::Agent,
    /// Held, so that it is there again when the page is started again.
    _port: Option<Port>,
}

#[derive(Deserialize)]
struct Status {
    agents_beating: usize,
}

impl Page {
    /// `variables` are settings of Kafka and the page; `place` does what is done with all programs that need no root.
    pub fn start(
        program: &Path,
        mut listen: SocketAddr,
        mut variables: Vec<(String, String)>,
        log_dir: &Path,
        place: impl Fn(Launch) -> Launch + Send + 'static,
    ) -> Result<Page> {
        let port = if listen.port() == 0 { Some(Port::free()?) } else { None };
        if let Some(port) = &port {
            listen.set_port(port.number());
        }
        // With the port of --console-port, or the one that was free.
        variables.retain(|(name, _)| name != LISTEN);
        variables.push((LISTEN.to_owned(), listen.to_string()));
        let program = Program {
            name: "headwater-console",
            path: program.to_owned(),
            args: vec!["console".into()],
            variables,
            log: log_dir.join("headwater-console.log"),
        };
        let child = Kept::start(move || place(program.launch()))?;
        let asker = ureq::Agent::config_builder().timeout_global(Some(ANSWER_TIMEOUT)).build().into();
        Ok(Page { child, url: url_of(listen), asker, _port: port })
    }

    /// Where a browser finds it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether an agent's heartbeat has come through Kafka to the page.
    pub fn is_fed(&self) -> bool {
        let answer = self.asker.get(format!("{}/api/status", self.url)).call();
        let text =
            answer.and_then(|mut answer| answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string());
        text.ok()
            .and_then(|text| serde_json::from_str(&text).ok())
            .is_some_and(|status: Status| status.agents_beating > 0)
    }
}

/// A port that only root may listen on cannot be the page's.
pub fn check_port(listen: SocketAddr) -> Result<()> {
    let start = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    let start = start.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(UNPRIVILEGED_PORT_START);
    if (1..start).contains(&listen.port()) {
        bail!("the page runs without root's rights, and port {} takes them: choose one from {start} on", listen.port());
    }
    Ok(())
}
