//! Apicurio Registry as a child process.
//!
//! In: the verified files, a port and a folder. Out: a [`Registry`] with the Confluent API at [`Registry::url`].
//! Promise: its database is a file in the folder, written at every commit, so the ids of schemas stay the same over
//! restarts. They must: records in Kafka carry them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use headwater_process::{Child, Launch, User};

use crate::child;
use crate::credentials::Credentials;
use crate::error::StackError;
use crate::kafka::write_private;
use crate::progress::Progress;
use crate::stack::StackOptions;
use crate::workspace::private_folder;

/// Five to ten seconds on a free machine.
const START_TIMEOUT: Duration = Duration::from_secs(180);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
const HEAP_MB: u32 = 192;

/// A registry as a child process.
#[derive(Debug)]
pub struct Registry {
    java: PathBuf,
    jar: PathBuf,
    port: u16,
    folder: PathBuf,
    logs: PathBuf,
    progress: Progress,
    cgroup: Option<PathBuf>,
    user: Option<User>,
    closed_to: Option<Credentials>,
    process: Mutex<Option<Child>>,
}

impl Registry {
    pub(crate) fn prepare(
        java: &Path,
        jar: &Path,
        port: u16,
        folder: &Path,
        logs: &Path,
        options: &StackOptions,
    ) -> Result<Self, StackError> {
        private_folder(folder)?;
        let registry = Self {
            java: java.to_path_buf(),
            jar: jar.to_path_buf(),
            port,
            folder: folder.to_path_buf(),
            logs: logs.to_path_buf(),
            progress: options.progress.clone(),
            cgroup: options.cgroup.clone(),
            user: options.user,
            closed_to: options.closed_to.clone(),
            process: Mutex::new(None),
        };
        let lines = registry.properties().into_iter().map(|(key, value)| format!("{key}={value}\n"));
        write_private(&registry.settings(), &lines.collect::<String>())?;
        Ok(registry)
    }

    /// The root of the Confluent API, without a slash at its end.
    pub fn url(&self) -> String {
        api_url(self.port)
    }

    /// Its port on the loopback interface.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Stops it in good order (SIGTERM); returns when it is gone.
    pub fn stop(&self) {
        if let Some(mut process) = self.lock().take() {
            process.terminate();
            child::wait(&mut process);
        }
    }

    /// Ends it at once (SIGKILL); returns when it is gone.
    pub fn kill(&self) {
        if let Some(mut process) = self.lock().take() {
            process.kill();
        }
    }

    /// Stops it if it runs, and starts it at the same address with the same data; returns when it is ready.
    pub fn restart(&self) -> Result<(), StackError> {
        self.stop();
        self.spawn()?;
        self.await_ready()
    }

    pub(crate) fn spawn(&self) -> Result<(), StackError> {
        let mut command = Command::new(&self.java);
        // The registry is asked a few times a day: it should start fast and stay small, not run fast.
        command.arg(format!("-Xmx{HEAP_MB}m")).args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
        command.args(["-XX:-UsePerfData", "-XX:+ExitOnOutOfMemoryError", "-Djava.awt.headless=true"]);
        // A file, for every user of the machine sees arguments, and there is a password among them.
        command.arg(format!("-Dquarkus.config.locations={}", self.settings().display()));
        command.arg("-jar").arg(&self.jar).current_dir(&self.folder);
        let launch = Launch::new("the registry", command, self.console());
        let launch = child::placed(launch, self.cgroup.as_deref(), self.user);
        *self.lock() = Some(launch.spawn().map_err(child::explain)?);
        Ok(())
    }

    pub(crate) fn await_ready(&self) -> Result<(), StackError> {
        let started = Instant::now();
        let mut guard = self.lock();
        let Some(process) = guard.as_mut() else {
            return Err(StackError::Option {
                option: "registry",
                detail: "it is to be ready but was not started".to_owned(),
            });
        };
        child::await_ready(process, START_TIMEOUT, &self.progress, || answers(&self.url(), self.closed_to.as_ref()))?;
        self.progress.say(format!(
            "The registry is ready at {} ({:.1} s)",
            self.url(),
            started.elapsed().as_secs_f64()
        ));
        Ok(())
    }

    pub(crate) fn terminate(&self) {
        if let Some(process) = self.lock().as_mut() {
            process.terminate();
        }
    }

    fn properties(&self) -> Vec<(String, String)> {
        let database = self.folder.join("registry");
        let mut properties = Vec::from(
            [
                // Above variables of the environment.
                ("config_ordinal", "500".to_owned()),
                ("quarkus.http.host", "127.0.0.1".to_owned()),
                ("quarkus.http.port", self.port.to_string()),
                ("apicurio.storage.kind", "sql".to_owned()),
                ("apicurio.storage.sql.kind", "h2".to_owned()),
                // WRITE_DELAY=0 writes at each commit: an id that was given out is not given to another schema later.
                ("apicurio.datasource.url", format!("jdbc:h2:file:{};WRITE_DELAY=0", database.display())),
                ("apicurio.datasource.jdbc.initial-size", "2".to_owned()),
                ("apicurio.datasource.jdbc.min-size", "2".to_owned()),
                ("apicurio.datasource.jdbc.max-size", "8".to_owned()),
                // The access log would grow with every request.
                ("quarkus.log.category.\"io.quarkus.http.access-log\".level", "OFF".to_owned()),
                ("quarkus.http.access-log.enabled", "false".to_owned()),
            ]
            .map(|(key, value)| (key.to_owned(), value)),
        );
        if let Some(Credentials { user, password }) = &self.closed_to {
            properties.extend(closed(user, password));
        }
        properties
    }

    fn settings(&self) -> PathBuf {
        self.folder.join("registry.properties")
    }

    fn console(&self) -> PathBuf {
        self.logs.join("registry.log")
    }

    fn lock(&self) -> MutexGuard<'_, Option<Child>> {
        // A thread that panicked while it held the lock left the process as it was.
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub fn api_url(port: u16) -> String {
    format!("http://127.0.0.1:{port}/apis/ccompat/v7")
}

/// What has it ask for HTTP's basic authentication, whatever the path. Its own way, with a server of identities, stays off.
fn closed(user: &str, password: &str) -> [(String, String); 6] {
    [
        ("quarkus.http.auth.basic".to_owned(), "true"),
        ("quarkus.http.auth.permission.all.paths".to_owned(), "/*"),
        ("quarkus.http.auth.permission.all.policy".to_owned(), "authenticated"),
        ("quarkus.security.users.embedded.plain-text".to_owned(), "true"),
        (format!("quarkus.security.users.embedded.users.{user}"), password),
        (format!("quarkus.security.users.embedded.roles.{user}"), "sr-admin"),
    ]
    .map(|(key, value)| (key, value.to_owned()))
}

/// True when the API lists its subjects, so its database is up too.
pub fn answers(url: &str, credentials: Option<&Credentials>) -> bool {
    let agent: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(REQUEST_TIMEOUT)).build().into();
    let mut request = agent.get(format!("{url}/subjects"));
    if let Some(Credentials { user, password }) = credentials {
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        request = request.header("Authorization", format!("Basic {pair}"));
    }
    request.call().is_ok()
}
