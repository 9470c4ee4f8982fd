//! Fetches Debian's kernels as packages, without installing them.
//!
//! In: a release. Out: its image and its modules in the cache, from where the next run takes them. apt checks what it fetches against
//! the checksums of the archive's signed lists; it does so with lists of its own, so the machine's are left as they are.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cluster::cache_root;
use crate::run;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const SUITE: &str = "bookworm";

/// A kernel that Debian 12 packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Release {
    name: &'static str,
    suite: &'static str,
    package: &'static str,
    architecture: &'static str,
}

const RELEASES: [Release; 2] = [
    Release { name: "6.1", suite: SUITE, package: "linux-image-amd64", architecture: "amd64" },
    Release { name: "6.12", suite: "bookworm-backports", package: "linux-image-amd64", architecture: "amd64" },
];
const ARM64: Release = Release { name: "6.1", suite: SUITE, package: "linux-image-arm64", architecture: "arm64" };

pub fn parse_release(text: &str) -> Result<Release, String> {
    let names = RELEASES.map(|release| release.name);
    let found = RELEASES.into_iter().find(|release| release.name == text);
    found.ok_or_else(|| format!("there are {}", names.join(" and ")))
}

/// A kernel in the cache.
pub struct Kernel {
    pub image: PathBuf,
    /// The folder of its modules, with `modules.dep`.
    pub modules: PathBuf,
}

/// The kernel of a release, fetched if it is not in the cache.
pub fn fetched(release: Release) -> Result<Kernel> {
    let folder = folder_of(release)?;
    let version = only_entry(&folder.join("lib/modules"))?;
    Ok(Kernel { image: image_in(&folder)?, modules: version })
}

/// The image of the arm64 kernel, which holds its BTF.
pub fn arm64_image() -> Result<PathBuf> {
    image_in(&folder_of(ARM64)?)
}

fn image_in(folder: &Path) -> Result<PathBuf> {
    let files = fs::read_dir(folder.join("boot")).with_context(|| format!("read {}", folder.display()))?;
    let image = files
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-")));
    image.with_context(|| {
        format!("there is no kernel in {}/boot; remove the folder to fetch it again", folder.display())
    })
}

fn only_entry(folder: &Path) -> Result<PathBuf> {
    let mut entries = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?.flatten();
    let entry =
        entries.next().with_context(|| format!("{} is empty; remove it to fetch it again", folder.display()))?;
    Ok(entry.path())
}

/// Where a release is unpacked.
fn folder_of(release: Release) -> Result<PathBuf> {
    let cache = cache_root()?;
    let folder = cache.join(format!("kernel-{}-{}", release.name, release.architecture));
    if folder.is_dir() {
        return Ok(folder);
    }
    let partial = cache.join(format!("partial-kernel-{}-{}", release.architecture, std::process::id()));
    let made = fetch_into(&partial, release).and_then(|()| {
        fs::rename(partial.join("root"), &folder).with_context(|| format!("rename to {}", folder.display()))
    });
    let _ = fs::remove_dir_all(&partial);
    made?;
    Ok(folder)
}

fn fetch_into(partial: &Path, release: Release) -> Result<()> {
    let Release { name, suite, package, architecture } = release;
    println!("Guest: fetching Debian's Linux {name} for {architecture} (once; some 100 MB)");
    for folder in ["lists/partial", "archives/partial", "root"] {
        fs::create_dir_all(partial.join(folder)).with_context(|| format!("make {}/{folder}", partial.display()))?;
    }
    let apt = Apt::configure(partial, suite, architecture)?;
    apt.run("apt-get", &["update", "-qq"])?;
    // The package of the release only depends on that of its newest version.
    let depends = apt.run("apt-cache", &["depends", "-t", suite, &format!("{package}:{architecture}")])?;
    let newest = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: ")?.strip_prefix("linux-image-"));
    let newest = newest.with_context(|| format!("{package} depends on no kernel: `{depends}`"))?;
    let newest = newest.split(':').next().unwrap_or(newest);
    apt.run("apt-get", &["download", "-qq", &format!("linux-image-{newest}:{architecture}")])?;
    let mut files = fs::read_dir(partial)?.flatten().map(|entry| entry.path());
    let package = files.find(|path| path.extension().is_some_and(|extension| extension == "deb"));
    let package = package.context("apt-get download left no package")?;
    let root = partial.join("root");
    let unpack = ["-x", &package.to_string_lossy(), &root.to_string_lossy()].map(str::to_owned);
    output_of(Command::new("dpkg-deb").args(unpack))?;
    let version = only_entry(&root.join("lib/modules"))?;
    let version = version.file_name().unwrap_or_default().to_string_lossy().into_owned();
    output_of(Command::new("depmod").args(["-b", &root.to_string_lossy(), &version]))?;
    Ok(())
}

/// apt with lists of its own, of one suite and one architecture.
struct Apt {
    folder: PathBuf,
    config: PathBuf,
}

impl Apt {
    fn configure(folder: &Path, suite: &str, architecture: &str) -> Result<Apt> {
        let mirror = mirror()?;
        let at = folder.display();
        let sources = folder.join("sources.list");
        let line = format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n");
        fs::write(&sources, line).with_context(|| format!("write {}", sources.display()))?;
        let config = folder.join("apt.conf");
        let text = format!(
            "Dir::State::Lists \"{at}/lists\"; Dir::Cache \"{at}\"; Dir::Cache::archives \"{at}/archives\";\n\
             Dir::Etc::sourcelist \"{at}/sources.list\"; Dir::Etc::sourceparts \"/dev/null\";\n\
             APT::Architectures {{ \"{architecture}\"; }}; APT::Architecture \"{architecture}\";\n\
             APT::Sandbox::User \"root\"; Acquire::Retries \"3\";\n"
        );
        fs::write(&config, text).with_context(|| format!("write {}", config.display()))?;
        Ok(Apt { folder: folder.to_owned(), config })
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(program);
        output_of(command.args(arguments).env("APT_CONFIG", &self.config).current_dir(&self.folder))
    }
}

/// The archive from which this machine installs Debian 12.
fn mirror() -> Result<String> {
    let format = ["indextargets", "--format", "$(REPO_URI) $(CODENAME) $(LABEL)", "Created-By: Packages"];
    let targets = run::output("apt-get", &format).unwrap_or_default();
    let words = targets.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let mut mirrors = words.filter_map(|words| match words[..] {
        [mirror, SUITE, "Debian"] => Some(mirror.to_owned()),
        _ => None,
    });
    mirrors.next().context(
        "apt on this machine knows no archive of Debian 12 (bookworm), from which the kernels for the guests come: run this on Debian 12, or unpack the package of a kernel into the cache as the message names it",
    )
}

fn output_of(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
