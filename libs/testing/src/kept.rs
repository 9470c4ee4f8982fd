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
    let folder = cache.join(format!("{name}-{}", checksum(requirements)?));
    if !folder.exists() {
        let partial = Partial::new(&cache, name);
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"]);
        output(pip.arg("--target").arg(&partial.0).arg("--requirement").arg(requirements))?;
        partial.keep(&folder)?;
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
    let folder = cache.join(format!("{name}-{}", checksum(&sums)?));
    let _lock = lock(&cache, name)?;
    if !folder.exists() {
        let partial = Partial::new(&cache, name);
        let mut maven = Command::new("mvn");
        maven.args(["--batch-mode", "--quiet", "--strict-checksums", "--no-transfer-progress", "package", "--file"]);
        maven.arg(files.join("pom.xml")).arg(format!("-Dheadwater.output={}", partial.0.display()));
        output(&mut maven)?;
        output(Command::new("sha256sum").args(["--check", "--strict", "--quiet"]).arg(&sums).current_dir(&partial.0))?;
        partial.keep(&folder)?;
    }
    Ok(folder)
}

/// The program that Go builds of a module of one `main.go`, whose `go.sum` has the checksums of all that it is made of. Many may ask for it at once: one
/// builds, which may take minutes, the others wait.
///
/// # Errors
/// If it cannot be fetched, built or kept; what Go says is told.
pub fn go_program(name: &str, module: &Path) -> Result<PathBuf> {
    let cache = cache()?;
    let sums = ["go.mod", "go.sum", "main.go"].map(|file| checksum(&module.join(file)));
    let program = cache.join(format!("{name}-{}", sums.into_iter().collect::<Result<Vec<_>>>()?.join("-")));
    let _lock = lock(&cache, name)?;
    if !program.exists() {
        let partial = Partial::new(&cache, name);
        let mut go = Command::new("go");
        go.current_dir(module).env("CGO_ENABLED", "0");
        go.args(["build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o"]);
        output(go.arg(&partial.0).arg("."))?;
        partial.keep(&program)?;
    }
    Ok(program)
}

/// Where it is kept: the user's cache.
fn cache() -> Result<PathBuf> {
    let xdg = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = xdg.or_else(home).context("set HOME or XDG_CACHE_HOME: one says where the cache may be")?;
    let cache = cache.join("headwater");
    std::fs::create_dir_all(&cache).with_context(|| format!("make {}", cache.display()))?;
    Ok(cache)
}

/// The beginning of a file's, for names.
fn checksum(file: &Path) -> Result<String> {
    let sum = output(Command::new("sha256sum").arg(file))?;
    Ok(sum.get(..12).context("sha256sum prints a checksum")?.to_owned())
}

/// Held by one at a time, until it is dropped.
fn lock(cache: &Path, name: &str) -> Result<File> {
    let place = cache.join(format!("{name}.lock"));
    let file =
        File::options().create(true).append(true).open(&place).with_context(|| format!("open {}", place.display()))?;
    file.lock().with_context(|| format!("lock {}", place.display()))?;
    Ok(file)
}

/// A file or folder in the cache under a name that nobody else has, also of this process' threads, while it is made; removed if it is not kept.
struct Partial(PathBuf);

impl Partial {
    fn new(cache: &Path, name: &str) -> Partial {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Partial(cache.join(format!("partial-{name}-{}-{number}", std::process::id())))
    }

    /// It gets its place. Another run may have been faster: a file replaces that one's, a folder goes.
    fn keep(self, place: &Path) -> Result<()> {
        match std::fs::rename(&self.0, place) {
            Err(_) if self.0.is_dir() && place.exists() => Ok(()),
            renamed => renamed.with_context(|| format!("keep {}", place.display())),
        }
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Nothing is there of what was kept. What cannot be removed stays, as nothing else can be done.
        let _ = if self.0.is_dir() { std::fs::remove_dir_all(&self.0) } else { std::fs::remove_file(&self.0) };
    }
}

/// What a command prints, if it goes well.
fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("run {command:?}"))?;
    let said = [&output.stdout[..], &output.stderr].concat();
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&said));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::Partial;

    #[test]
    fn the_second_to_make_a_folder_finds_the_first_one_s_and_nobody_leaves_a_part_behind() {
        let scratch = headwater_process::Scratch::create("headwater-kept-", 0o700).unwrap();
        let place = scratch.path().join("place");
        let made = |content: &str| {
            let partial = Partial::new(scratch.path(), "client");
            std::fs::create_dir(&partial.0).unwrap();
            std::fs::write(partial.0.join("file"), content).unwrap();
            partial
        };
        let partials = ["first", "second"].map(made);
        partials.into_iter().for_each(|partial| partial.keep(&place).unwrap());
        assert_eq!(std::fs::read_to_string(place.join("file")).unwrap(), "first");
        assert!(Partial::new(scratch.path(), "client").keep(&scratch.path().join("none")).is_err());
        drop(made("what failed"));
        let left = std::fs::read_dir(scratch.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let parts: Vec<_> = left.filter(|name| name.to_string_lossy().starts_with("partial-")).collect();
        assert!(parts.is_empty(), "{parts:?}");
    }
}
