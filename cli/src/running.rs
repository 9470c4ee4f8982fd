//! Which `headwater up` runs on this machine, so that the other commands find its Kafka by themselves.
//!
//! In: where the systems of an `up` are. Out: a file for each in one folder, gone with its process. Promises: whoever may use the machine
//! may read it, and only who started the `up`, or root, can have written it: other users lead nobody to a Kafka of
//! theirs. The password is not in it, but where it is, for those whom Kafka is to let in. Bounds: [`FILE_BYTES_MAX`] of a file;
//! files of processes that are gone count for nothing.

use std::fs::{self, DirBuilder, File, Metadata};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use headwater_kafka::{KafkaSettings, Security};
use serde::{Deserialize, Serialize};

/// Only root may write in `/run`.
pub const FOLDER: &str = "/run/headwater";
const FILE_BYTES_MAX: u64 = 64 * 1024;
const FILE_PREFIX: &str = "up-";

/// Where the systems of an `up` are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    pub pid: u32,
    /// In the kernel's ticks since its start: tells a process from a later one of the same number.
    started_ticks: u64,
    pub brokers: String,
    pub registry_url: String,
    pub prefix: String,
    pub console_url: String,
    /// None if neither Kafka nor the registry were started by it, or ask for no password.
    #[serde(default)]
    pub access: Option<Access>,
}

/// Who is let into the Kafka and the registry of an `up`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    pub user: String,
    /// Who can read it is let in.
    pub password_file: PathBuf,
    /// Whether Kafka asks for this password.
    pub of_kafka: bool,
    /// Whether the registry does.
    pub of_registry: bool,
    /// Settings for other clients of Kafka.
    pub client_file: Option<PathBuf>,
}

/// Announced for as long as this lives.
#[derive(Debug)]
pub struct Announced {
    file: PathBuf,
}

impl Drop for Announced {
    fn drop(&mut self) {
        // What stays speaks of a process that is gone, and is not believed.
        let _ = fs::remove_file(&self.file);
    }
}

impl Running {
    /// Of this process.
    pub fn this(brokers: &str, registry_url: &str, prefix: &str, console_url: &str) -> Result<Running> {
        let pid = std::process::id();
        let started_ticks = started_ticks(pid).context("look at this process in /proc")?;
        let [brokers, registry_url, prefix, console_url] =
            [brokers, registry_url, prefix, console_url].map(str::to_owned);
        Ok(Running { pid, started_ticks, brokers, registry_url, prefix, console_url, access: None })
    }

    pub fn with_access(self, access: Option<Access>) -> Running {
        Running { access, ..self }
    }

    /// Lets the other commands know of it.
    pub fn announce(&self, folder: &Path) -> Result<Announced> {
        let doing = || format!("tell other commands of this `up` in {}", folder.display());
        DirBuilder::new().recursive(true).mode(0o755).create(folder).with_context(doing)?;
        ensure!(is_trusted_folder(folder), "{} is writable by others: remove it", folder.display());
        // Whatever the umask: those who read are other users.
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).with_context(doing)?;
        remove_stale(folder);
        let file = folder.join(format!("{FILE_PREFIX}{}.json", self.pid));
        let unfinished = file.with_extension("unfinished");
        let _ = fs::remove_file(&unfinished);
        let mut out = File::options().write(true).create_new(true).mode(0o644).open(&unfinished).with_context(doing)?;
        out.write_all(&serde_json::to_vec(self).with_context(doing)?).with_context(doing)?;
        out.set_permissions(fs::Permissions::from_mode(0o644)).with_context(doing)?;
        fs::rename(&unfinished, &file).with_context(doing)?;
        Ok(Announced { file })
    }

    /// Adds user and password to settings that have its addresses.
    ///
    /// # Errors
    /// If it is another user's.
    pub fn let_in(&self, kafka: &mut KafkaSettings) -> Result<()> {
        let Some(access) = &self.access else { return Ok(()) };
        let password = access.password().with_context(|| {
            let owner = fs::metadata(&access.password_file).map_or(0, |file| file.uid());
            let who = if owner == 0 { "root alone".to_owned() } else { format!("root and user {owner} alone") };
            format!(
                "the `headwater up` that runs here (process {}) lets {who} into its Kafka and registry: run this with sudo, or name others \
                 with --kafka-brokers and --registry-url",
                self.pid
            )
        })?;
        if access.of_kafka {
            kafka.security = Security::plain(&access.user, &password);
        }
        if access.of_registry {
            kafka.registry_user = Some(access.user.clone());
            kafka.registry_password = Some(password.into());
        }
        Ok(())
    }

    fn is_alive(&self) -> bool {
        started_ticks(self.pid) == Some(self.started_ticks)
    }
}

impl Access {
    /// Of a command that does not find it by itself.
    pub fn flags(&self) -> String {
        let (user, file) = (&self.user, self.password_file.display());
        let mut flags = String::new();
        if self.of_kafka {
            flags +=
                &format!(" --kafka-security-protocol sasl_plaintext --kafka-user {user} --kafka-password-file {file}");
        }
        if self.of_registry {
            flags += &format!(" --registry-user {user} --registry-password-file {file}");
        }
        flags
    }

    fn password(&self) -> Result<String> {
        let reading = || format!("read {}", self.password_file.display());
        let options = File::options().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).to_owned();
        let opened = options.open(&self.password_file).with_context(reading)?;
        let mut text = String::new();
        opened.take(FILE_BYTES_MAX).read_to_string(&mut text).with_context(reading)?;
        Ok(text.trim_end().to_owned())
    }
}

/// All that run now, the one that was started first in front.
pub fn find(folder: &Path) -> Vec<Running> {
    if !is_trusted_folder(folder) {
        return Vec::new();
    }
    let mut found: Vec<Running> = files(folder).filter_map(|file| read(&file)).filter(Running::is_alive).collect();
    found.sort_by_key(|running| running.started_ticks);
    found
}

fn files(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| {
        path.file_name().is_some_and(|name| {
            let name = name.to_string_lossy();
            name.starts_with(FILE_PREFIX) && name.ends_with(".json")
        })
    })
}

fn read(file: &Path) -> Option<Running> {
    // Neither a link nor something that waits for its other end.
    let opened = File::options().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(file).ok()?;
    let metadata = opened.metadata().ok()?;
    if !metadata.is_file() || !is_trusted(&metadata) {
        return None;
    }
    let mut text = String::new();
    opened.take(FILE_BYTES_MAX).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

fn remove_stale(folder: &Path) {
    for file in files(folder) {
        if !read(&file).is_some_and(|running| running.is_alive()) {
            let _ = fs::remove_file(file);
        }
    }
}

fn is_trusted_folder(folder: &Path) -> bool {
    fs::symlink_metadata(folder).is_ok_and(|metadata| metadata.is_dir() && is_trusted(&metadata))
}

/// Root's or this user's, and writable by nobody else.
fn is_trusted(metadata: &Metadata) -> bool {
    // SAFETY: geteuid has no preconditions and cannot fail.
    let own = unsafe { libc::geteuid() };
    [0, own].contains(&metadata.uid()) && metadata.mode() & 0o022 == 0
}

/// None if there is no such process.
fn started_ticks(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; the start is the 22nd field, the 20th after it.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn running() -> Running {
        Running::this("127.0.0.1:1", "http://127.0.0.1:2", "headwater.", "http://127.0.0.1:3").unwrap()
    }

    #[test]
    fn what_runs_is_found_until_it_ends() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("headwater");
        assert_eq!(find(&folder), []);
        let announced = running().announce(&folder).unwrap();
        assert_eq!(find(&folder), [running()]);
        assert_eq!(fs::metadata(&announced.file).unwrap().mode() & 0o777, 0o644);
        drop(announced);
        assert_eq!(find(&folder), []);
    }

    #[test]
    fn the_password_is_taken_from_its_file_and_is_not_in_that_of_the_addresses() {
        let root = tempfile::tempdir().unwrap();
        let (folder, password_file) = (root.path().join("headwater"), root.path().join("password"));
        let user = "headwater".to_owned();
        let access = Access { user, password_file, of_kafka: true, of_registry: false, client_file: None };
        let closed = Running { access: Some(access), ..running() };
        let announced = closed.announce(&folder).unwrap();
        let mut kafka = KafkaSettings::local(&closed.brokers, &closed.registry_url);
        let error = find(&folder)[0].let_in(&mut kafka).unwrap_err().to_string();
        assert!(error.contains("run this with sudo"), "{error}");
        fs::write(root.path().join("password"), "hush\n").unwrap();
        find(&folder)[0].let_in(&mut kafka).unwrap();
        assert_eq!((kafka.security.protocol, kafka.security.password), ("sasl_plaintext", Some("hush".into())));
        assert_eq!(kafka.registry_password, None);
        assert!(!fs::read_to_string(&announced.file).unwrap().contains("hush"));
    }

    #[test]
    fn a_process_that_is_gone_is_not_found_and_swept_by_the_next() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("headwater");
        fs::create_dir(&folder).unwrap();
        let gone = folder.join("up-1.json");
        fs::write(&gone, serde_json::to_string(&Running { pid: 1, started_ticks: 1, ..running() }).unwrap()).unwrap();
        assert_eq!(find(&folder), []);
        let _announced = running().announce(&folder).unwrap();
        assert!(!gone.exists());
    }

    #[test]
    fn what_others_may_have_written_is_not_believed() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("headwater");
        let announced = running().announce(&folder).unwrap();
        fs::set_permissions(&announced.file, fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(find(&folder), []);
        fs::set_permissions(&announced.file, fs::Permissions::from_mode(0o644)).unwrap();
        fs::rename(&announced.file, root.path().join("elsewhere.json")).unwrap();
        std::os::unix::fs::symlink(root.path().join("elsewhere.json"), &announced.file).unwrap();
        assert_eq!(find(&folder), [], "a link is not followed");
        fs::remove_file(&announced.file).unwrap();
        fs::rename(root.path().join("elsewhere.json"), &announced.file).unwrap();
        assert_eq!(find(&folder), [running()]);
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(find(&folder), []);
        assert!(running().announce(&folder).unwrap_err().to_string().contains("writable by others"));
    }
}
