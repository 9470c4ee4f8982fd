//! Every way in which the stack can fail to come up, each with what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use headwater_process::ProcessError;

#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each variant says what its fields are")]
pub enum StackError {
    #[error(
        "port {port}, wanted for {wanted_for}, is in use by another program; stop that program or choose another port with {setting}"
    )]
    PortTaken { port: u16, wanted_for: String, setting: &'static str },

    #[error("{path} is full: {detail}; free some space there, or choose another folder with {setting}")]
    DiskFull { path: PathBuf, detail: String, setting: &'static str },

    #[error(
        "Kafka and the registry need Java 17 or later, but {found}; install it (Debian: apt-get install default-jre-headless) or set JAVA_HOME"
    )]
    NoJava { found: String },

    #[error(
        "Maven fetches Kafka and the registry once, but there is no `mvn` on the PATH; install it (Debian: apt-get install maven)"
    )]
    NoMaven,

    #[error(
        "there is nothing to run Kafka with: no --brokers was given, {java}, {maven}, and {docker}. Do one of these: \
         install Java 17 or later and Maven (Debian: apt-get install default-jre-headless maven); start a Docker engine that has `docker compose`; \
         or give the address of an existing Kafka with --brokers"
    )]
    NothingToRunWith { java: String, maven: String, docker: String },

    #[error(
        "fetching Kafka and the registry with `{command}` failed: {detail}; check the way to Maven Central, then run the same again"
    )]
    Fetch { command: String, detail: String },

    #[error(
        "{file} is not the file that was released: {detail}; remove it and its copy under ~/.m2/repository, then run the same again (the list is libs/stack/maven/sha256sums)"
    )]
    Checksum { file: PathBuf, detail: String },

    #[error("line {line} of the checksum list is not `SHA-256  NAME`: {text:?}; take the list from a fresh clone")]
    ChecksumList { line: usize, text: String },

    #[error(
        "the data folder {path} is in use by another `headwater up` or test; stop that one or choose another folder with --data-dir"
    )]
    DataDirInUse { path: PathBuf },

    #[error("{name} stopped during its start ({status}); the end of its log {log} says:\n{tail}")]
    Exited { name: String, status: String, log: PathBuf, tail: String },

    #[error(
        "{name} did not answer within {waited_s} s; the end of its log {log} says:\n{tail}\n(a machine without 1 GiB of free memory is too small)"
    )]
    NotReady { name: String, waited_s: u64, log: PathBuf, tail: String },

    #[error("`{command}` failed: {detail}; is the container engine running, and may this user use it?")]
    Docker { command: String, detail: String },

    #[error("the Kafka that this process's tests share did not start: {detail}")]
    Shared { detail: String },

    #[error("the option {option} cannot be used: {detail}")]
    Option { option: &'static str, detail: String },

    #[error(transparent)]
    Process(#[from] ProcessError),

    #[error("{doing}: {source}")]
    Io { doing: String, source: io::Error },
}

impl StackError {
    /// A closure for `map_err`: says what was being done, and tells a full disk from other failures.
    pub(crate) fn io(doing: &str, path: &Path) -> impl FnOnce(io::Error) -> StackError + use<> {
        let doing = format!("{doing} {}", path.display());
        let path = path.to_path_buf();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull => {
                StackError::DiskFull { path, detail: format!("{doing}: {source}"), setting: "--data-dir" }
            }
            _ => StackError::Io { doing, source },
        }
    }
}
