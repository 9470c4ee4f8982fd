//! What the first run of a test fetches or builds, and all later ones find in the user's cache.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};

/// The folder with what pip installs from a list with checksums, for `PYTHONPATH`. Many may ask for it at once: it has its name once it is whole.
///
/// # Errors
/// If it cannot be fetched or kept; what pip says is told.
pub fn python_modules(name: &str, requirements: &Path) -> Result<PathBuf> {
    let cache = cache()?;
    let sum = output(Command::new("sha256sum").arg(requirements))?;
    let folder = cache.join(format!("{name}-{}", sum.get(..12).context("sha256sum prints a checksum")?));
    if !folder.exists() {
        let partial = partial(&cache, name);
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"]);
        output(pip.arg("--target").arg(&partial).arg("--requirement").arg(requirements))?;
        keep(&partial, &folder)?;
    }
    Ok(folder)
}

/// The folder with what Maven fetches by the `pom.xml` of a folder, which puts it into `headwater.output`; `sha256sums` beside it has a checksum of each file.
/// Many may ask for it at once: one fetches, the others wait.
///
/// # Errors
/// If it cannot be fetched or kept, or is not what the checksums say; what Maven or `sha256sum` says is told.
pub fn jars(name: &str, files: &Path) -> Result<PathBuf> {
    let cache = cache()?;
    let sums = files.join("sha256sums").canonicalize().with_context(|| format!("find {}", files.display()))?;
    let key = output(Command::new("sha256sum").arg(&sums))?;
    let folder = cache.join(format!("{name}-{}", key.get(..12).context("sha256sum prints a checksum")?));
    let place = cache.join(format!("{name}.lock"));
    let lock =
        File::options().create(true).append(true).open(&place).with_context(|| format!("open {}", place.display()))?;
    lock.lock().with_context(|| format!("lock {}", place.display()))?;
    if !folder.exists() {
        let partial = partial(&cache, name);
        let mut maven = Command::new("mvn");
        maven.args(["--batch-mode", "--quiet", "--strict-checksums", "--no-transfer-progress", "package", "--file"]);
        maven.arg(files.join("pom.xml")).arg(format!("-Dheadwater.output={}", partial.display()));
        output(&mut maven)?;
        output(Command::new("sha256sum").args(["--check", "--strict", "--quiet"]).arg(&sums).current_dir(&partial))?;
        keep(&partial, &folder)?;
    }
    Ok(folder)
}

/// Where programs are kept that the first run fetches or builds: the user's cache.
pub(crate) fn cache() -> Result<PathBuf> {
    let xdg = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = xdg.or_else(home).context("set HOME or XDG_CACHE_HOME: one says where the cache may be")?;
    let cache = cache.join("headwater");
    std::fs::create_dir_all(&cache).with_context(|| format!("make {}", cache.display()))?;
    Ok(cache)
}

/// A name in the cache that nobody else has, also of this process' threads, under which something is made.
pub(crate) fn partial(cache: &Path, name: &str) -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    cache.join(format!("partial-{name}-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed)))
}

/// What was made under a name of its own gets its place. Another run may have been faster: a file replaces that one's, a folder goes.
pub(crate) fn keep(made: &Path, place: &Path) -> Result<()> {
    match std::fs::rename(made, place) {
        Ok(()) => Ok(()),
        Err(_) if made.is_dir() && place.exists() => {
            std::fs::remove_dir_all(made).with_context(|| format!("remove {}", made.display()))
        }
        Err(error) => Err(error).with_context(|| format!("keep {}", place.display())),
    }
}

/// What a command prints, if it goes well.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("run {command:?}"))?;
    let said = [&output.stdout[..], &output.stderr].concat();
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&said));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{keep, partial};

    #[test]
    fn the_second_to_make_a_folder_finds_the_first_one_s_and_leaves_nothing_behind() {
        let scratch = headwater_process::Scratch::create("headwater-kept-", 0o700).unwrap();
        let place = scratch.path().join("place");
        let partials = ["first", "second"].map(|content| {
            let partial = partial(scratch.path(), "client");
            std::fs::create_dir(&partial).unwrap();
            std::fs::write(partial.join("file"), content).unwrap();
            partial
        });
        partials.iter().for_each(|partial| keep(partial, &place).unwrap());
        assert_eq!(std::fs::read_to_string(place.join("file")).unwrap(), "first");
        assert!(partials.iter().all(|partial| !partial.exists()));
        assert!(keep(&partials[0], &scratch.path().join("none")).is_err());
    }
}
