//! Fetches Kafka and the registry once and keeps them in the user's cache.
//!
//! In: `maven/pom.xml` (fixed versions) and `maven/sha256sums` (what those versions are), both compiled in. Out: a
//! folder with `kafka/*.jar` and `registry/`, checked file by file at every start. Promise: safe for any number of
//! processes at once, and a fetch that was interrupted leaves nothing that looks finished. Bound: one folder of about
//! 170 MB for each version of the two files.
//!
//! After a change of the pom: run Maven by hand as [`fetch`] does, then in its output folder
//! `find kafka registry.tar.gz -type f | LC_ALL=C sort | xargs sha256sum`, and check in the result as `sha256sums`.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use headwater_process::{Reach, User};
use sha2::{Digest, Sha256};

use crate::checksums::Checksums;
use crate::disk;
use crate::error::StackError;
use crate::progress::Progress;

const POM: &str = include_str!("../maven/pom.xml");
const SHA256SUMS: &str = include_str!("../maven/sha256sums");
const REGISTRY_ARCHIVE: &str = "registry.tar.gz";
const REGISTRY_SHA256SUMS: &str = "registry.sha256sums";
const REGISTRY_JAR: &str = "registry/apicurio-registry-app-3.0.9-runner.jar";
/// The archive, what is unpacked from it, the jars, and Maven's own copies.
const SPACE_NEEDED_BYTES: u64 = 600 << 20;

/// The verified files.
#[derive(Debug, Clone)]
pub struct Artifacts {
    folder: PathBuf,
}

impl Artifacts {
    /// Finds the files in the cache or fetches them; damaged ones are fetched again.
    pub fn ensure(progress: &Progress) -> Result<Self, StackError> {
        let cache = cache_root()?;
        fs::create_dir_all(&cache).map_err(StackError::io("making the cache folder", &cache))?;
        let _lock = lock_cache(&cache, progress)?;
        let folder = cache.join(folder_name());
        if folder.exists() {
            match verify(&folder) {
                Ok(()) => return Ok(Self { folder }),
                Err(StackError::Checksum { file, detail }) => {
                    progress.say(format!(
                        "{} is damaged ({detail}): fetching Kafka and the registry again",
                        file.display()
                    ));
                    fs::remove_dir_all(&folder).map_err(StackError::io("removing the damaged cache", &folder))?;
                }
                Err(other) => return Err(other),
            }
        }
        fill(&cache, &folder, progress)?;
        Ok(Self { folder })
    }

    /// The same files, where a user finds them who may not enter the cache.
    pub fn within_reach(&self, user: User) -> Result<(Self, Reach), StackError> {
        let reach = Reach::of_all(user, &self.folder)?;
        Ok((Self { folder: reach.folder().to_owned() }, reach))
    }

    /// True when a start needs no Maven and no network.
    pub fn are_cached() -> bool {
        cache_root().is_ok_and(|cache| cache.join(folder_name()).exists())
    }

    /// True when Maven is on the PATH.
    pub fn can_be_fetched() -> bool {
        env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|folder| folder.join("mvn").is_file()))
    }

    /// Holds all jars of Kafka.
    pub fn kafka_folder(&self) -> PathBuf {
        self.folder.join("kafka")
    }

    /// All jars of Kafka, as Java's class path wants them.
    pub fn kafka_class_path(&self) -> String {
        self.kafka_folder().join("*").display().to_string()
    }

    /// The registry; what it needs is in the same folder.
    pub fn registry_jar(&self) -> PathBuf {
        self.folder.join(REGISTRY_JAR)
    }
}

fn cache_root() -> Result<PathBuf, StackError> {
    let xdg = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    xdg.or_else(home).map(|path| path.join("headwater")).ok_or_else(|| StackError::Option {
        option: "HOME",
        detail: "neither HOME nor XDG_CACHE_HOME says where the cache for Kafka's jars may be; set one of them"
            .to_owned(),
    })
}

/// Changes with either file, so an update never meets the files of an older version.
fn folder_name() -> String {
    let digest = Sha256::new().chain_update(POM).chain_update(SHA256SUMS).finalize();
    let short: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("stack-{short}")
}

fn lock_cache(cache: &Path, progress: &Progress) -> Result<File, StackError> {
    let path = cache.join("stack.lock");
    let locking = || StackError::io("locking", &path);
    let file = File::options().create(true).append(true).open(&path).map_err(locking())?;
    if file.try_lock().is_err() {
        progress.say("Waiting for another process that fetches or checks Kafka and the registry");
        file.lock().map_err(locking())?;
    }
    Ok(file)
}

fn verify(folder: &Path) -> Result<(), StackError> {
    Checksums::parse(SHA256SUMS)?.verify_folder(folder, "kafka")?;
    let list = folder.join(REGISTRY_SHA256SUMS);
    let text = fs::read_to_string(&list)
        .map_err(|_| StackError::Checksum { file: list, detail: "it is missing".to_owned() })?;
    Checksums::parse(&text)?.verify_folder(folder, "registry")
}

/// Fetches into a folder beside the final one, so that the final one appears whole or not at all.
fn fill(cache: &Path, folder: &Path, progress: &Progress) -> Result<(), StackError> {
    disk::require_space(cache, SPACE_NEEDED_BYTES, "XDG_CACHE_HOME")?;
    let partial = tempfile::Builder::new()
        .prefix("partial-")
        .tempdir_in(cache)
        .map_err(StackError::io("making a folder in", cache))?;
    fetch(partial.path(), progress)?;
    let sums = Checksums::parse(SHA256SUMS)?;
    sums.verify_folder(partial.path(), "kafka")?;
    sums.verify_file(partial.path(), REGISTRY_ARCHIVE)?;
    unpack_registry(partial.path(), progress)?;
    fs::rename(partial.path(), folder).map_err(StackError::io("renaming the finished cache to", folder))
}

fn fetch(into: &Path, progress: &Progress) -> Result<(), StackError> {
    progress.say("Fetching Kafka 4.3.1 and Apicurio Registry 3.0.9 from Maven Central (150 MB, once)");
    let pom = into.join("pom.xml");
    fs::write(&pom, POM).map_err(StackError::io("writing", &pom))?;
    // --strict-checksums makes Maven refuse what does not match the repository's own checksums.
    let mut command = Command::new("mvn");
    command.args(["--batch-mode", "--quiet", "--strict-checksums", "--no-transfer-progress", "package"]);
    command.arg("--file").arg(&pom).arg(format!("-Dheadwater.output={}", into.display()));
    let output = match command.stdin(Stdio::null()).output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(StackError::NoMaven),
        other => other.map_err(StackError::io("running mvn for", &pom))?,
    };
    check(&command, &output)?;
    fs::remove_file(&pom).map_err(StackError::io("removing", &pom))
}

fn unpack_registry(root: &Path, progress: &Progress) -> Result<(), StackError> {
    progress.say("Unpacking the registry");
    let archive = root.join(REGISTRY_ARCHIVE);
    let target = root.join("registry");
    fs::create_dir(&target).map_err(StackError::io("making", &target))?;
    let mut command = Command::new("tar");
    command.arg("-xzf").arg(&archive).arg("--no-same-owner").arg("-C").arg(&target);
    let output = command.stdin(Stdio::null()).output().map_err(StackError::io("running tar for", &archive))?;
    check(&command, &output)?;
    fs::remove_file(&archive).map_err(StackError::io("removing", &archive))?;
    let list = root.join(REGISTRY_SHA256SUMS);
    fs::write(&list, Checksums::of_folder(root, "registry")?.to_text()).map_err(StackError::io("writing", &list))
}

fn check(command: &Command, output: &Output) -> Result<(), StackError> {
    if output.status.success() {
        return Ok(());
    }
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    let text = String::from_utf8_lossy(&text);
    // Maven repeats itself at length; its first complaint is the one that counts.
    let detail = text.lines().filter(|line| !line.trim().is_empty()).take(3).collect::<Vec<_>>().join(" ");
    if text.contains("No space left on device") {
        return Err(StackError::DiskFull { path: cache_root()?, detail, setting: "XDG_CACHE_HOME" });
    }
    let program = command.get_program().to_string_lossy().into_owned();
    let command = command.get_args().fold(program, |line, argument| line + " " + &argument.to_string_lossy());
    Err(StackError::Fetch { command, detail: format!("{} {detail}", output.status) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_checked_in_list_covers_the_versions_that_the_pom_names() {
        let sums = Checksums::parse(SHA256SUMS).unwrap().to_text();
        assert!(POM.contains("<version>4.3.1</version>") && sums.contains("kafka/kafka_2.13-4.3.1.jar"));
        assert!(
            POM.contains("<version>3.0.9</version>")
                && REGISTRY_JAR.contains("3.0.9")
                && sums.contains(REGISTRY_ARCHIVE)
        );
    }

    #[test]
    fn a_corrupted_file_of_the_registry_is_found() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("kafka")).unwrap();
        fs::create_dir_all(root.path().join("registry")).unwrap();
        let jar = root.path().join(REGISTRY_JAR);
        fs::write(&jar, "released").unwrap();
        let list = Checksums::of_folder(root.path(), "registry").unwrap();
        fs::write(root.path().join(REGISTRY_SHA256SUMS), list.to_text()).unwrap();
        list.verify_folder(root.path(), "registry").unwrap();
        fs::write(&jar, "replaced").unwrap();
        assert!(list.verify_folder(root.path(), "registry").unwrap_err().to_string().contains(REGISTRY_JAR));
        // An empty Kafka folder lacks every listed jar.
        assert!(verify(root.path()).unwrap_err().to_string().contains("missing"));
    }
}
