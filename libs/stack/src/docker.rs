//! The same two systems as containers, for a machine that has a Docker engine and no Java.
//!
//! In: two ports. Out: [`Containers`] whose systems answer there. Promise: a compose project of a name that nobody else has, whose
//! containers and data are removed when it is dropped; no other project is touched. They ask for no password,
//! which is said. The images are those of `docker-compose.yml`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{fs, process, thread};

use crate::error::StackError;
use crate::kafka_probe;
use crate::progress::Progress;
use crate::registry;

const COMPOSE_FILE: &str = include_str!("../../../docker-compose.yml");
/// What is true of containers and not of children.
const OPEN: &str =
    "Kafka and the registry in containers ask for no password: every user of this machine can read the topics";
/// The id that the compose file gives the broker.
const NODE_ID: u16 = 1;
const START_TIMEOUT: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(200);

/// What the names of our compose projects start with. `headwater` alone is what compose calls one that is started by hand.
const PROJECT_PREFIX: &str = "headwater-up-";

/// How to call compose here: a part of the `docker` command, or its older, separate program.
pub fn compose_command() -> Result<Vec<&'static str>, String> {
    if !succeeds(&["docker", "info"]) {
        return Err("no Docker engine answers to `docker info`".to_owned());
    }
    [vec!["docker", "compose"], vec!["docker-compose"]]
        .into_iter()
        .find(|compose| succeeds(&[compose.as_slice(), &["version"]].concat()))
        .ok_or_else(|| "the Docker engine has no `docker compose`".to_owned())
}

/// The running containers.
#[derive(Debug)]
pub struct Containers {
    compose: Vec<&'static str>,
    project: String,
    file: PathBuf,
    kafka_port: u16,
    registry_port: u16,
    progress: Progress,
}

impl Containers {
    /// `services` are names of the compose file.
    pub fn start(
        folder: &Path,
        services: &[&str],
        kafka_port: u16,
        registry_port: u16,
        progress: &Progress,
    ) -> Result<Self, StackError> {
        let compose =
            compose_command().map_err(|detail| StackError::Docker { command: "docker info".to_owned(), detail })?;
        let file = folder.join("docker-compose.yml");
        fs::write(&file, COMPOSE_FILE).map_err(StackError::io("writing", &file))?;
        let progress = progress.clone();
        let containers = Self { compose, project: new_project(), file, kafka_port, registry_port, progress };
        containers.tell_of_others();
        containers
            .progress
            .say("Starting Kafka and the registry as containers (the first time, their images are fetched)");
        containers.progress.say(OPEN);
        containers.run(&[&["up", "-d"], services].concat())?;
        let wants = |service| services.contains(&service);
        containers.await_ready("Kafka", || !wants("kafka") || kafka_probe::is_ready(kafka_port, NODE_ID, None))?;
        containers.await_ready("the registry", || {
            !wants("registry") || registry::answers(&containers.registry_url(), None)
        })?;
        Ok(containers)
    }

    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.kafka_port)
    }

    pub fn registry_url(&self) -> String {
        registry::api_url(self.registry_port)
    }

    fn await_ready(&self, name: &str, is_ready: impl Fn() -> bool) -> Result<(), StackError> {
        let deadline = Instant::now() + START_TIMEOUT;
        while !is_ready() {
            if Instant::now() > deadline {
                let tail = self.run(&["logs", "--tail", "20"]).unwrap_or_else(|error| error.to_string());
                let (name, waited_s) = (name.to_owned(), START_TIMEOUT.as_secs());
                return Err(StackError::NotReady { name, waited_s, log: self.file.clone(), tail });
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// What was killed could not remove its containers; what still runs is another's. Nobody but a person can tell which.
    fn tell_of_others(&self) {
        let label = "com.docker.compose.project";
        let format = format!("{{{{.Label \"{label}\"}}}}");
        let listed = Command::new("docker")
            .args(["ps", "--all", "--filter", &format!("label={label}"), "--format", &format])
            .output();
        let listed = listed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        let mut others: Vec<&str> = listed.lines().filter(|name| name.starts_with(PROJECT_PREFIX)).collect();
        others.dedup();
        for other in others {
            self.progress.say(format!(
                "Containers of another `headwater up` are there; if it has ended: docker rm --force --volumes $(docker ps --all \
                 --quiet --filter label={label}={other})"
            ));
        }
    }

    fn run(&self, arguments: &[&str]) -> Result<String, StackError> {
        let mut command = Command::new(self.compose[0]);
        command.args(&self.compose[1..]).args(["-p", &self.project, "-f"]).arg(&self.file).args(arguments);
        command.env("KAFKA_PORT", self.kafka_port.to_string());
        command.env("REGISTRY_PORT", self.registry_port.to_string());
        let text = format!("{} {}", self.compose.join(" "), arguments.join(" "));
        let output = command.stdin(Stdio::null()).output();
        let output = output.map_err(|error| StackError::Docker { command: text.clone(), detail: error.to_string() })?;
        if !output.status.success() {
            let detail = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(StackError::Docker { command: text, detail });
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Drop for Containers {
    fn drop(&mut self) {
        self.progress.say("Stopping the containers");
        if let Err(error) = self.run(&["down", "--volumes"]) {
            tracing::warn!("the containers were not removed: {error}");
        }
    }
}

/// A name that no other start of this program has.
fn new_project() -> String {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    format!("{PROJECT_PREFIX}{}-{}", process::id(), since_epoch.map_or(0, |time| time.as_millis()))
}

fn succeeds(command: &[&str]) -> bool {
    let quiet = Command::new(command[0])
        .args(&command[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    quiet.is_ok_and(|status| status.success())
}
