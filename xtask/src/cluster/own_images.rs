//! `cargo xtask cluster images`: this repository's programs, and Kafka with the registry, as images in every node.
//!
//! An image is a folder with the programs, the shared libraries that they are linked to on this machine, busybox for a
//! shell, and what a system needs to look up names and users. So the image has the very libraries that the programs
//! were built with, and no base image has to be fetched. It is for this cluster only; `k8s/Dockerfile` makes those to
//! publish, with the programs at the same places.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::images::{self, Image};
use super::plan::Plan;
use super::{cache, files};
use crate::run;

const NOBODY: &str = "65534:65534";
/// Images of programs from this repository, each with its programs.
const PROGRAMS: &[(&str, &[&str])] = &[
    ("headwater:dev", &["headwater", "headwater-agent", "headwater-processor"]),
    ("headwater-sample:dev", &["sample-service"]),
];
const KAFKA: &str = "headwater-kafka:dev";
/// Of C and C++, for libraries that programs load while they run, such as those within Kafka's jars.
const LOADED_LATER: &[&str] = &[
    "libdl.so.2",
    "libgcc_s.so.1",
    "libm.so.6",
    "libnss_dns.so.2",
    "libnss_files.so.2",
    "libpthread.so.0",
    "libresolv.so.2",
    "librt.so.1",
    "libstdc++.so.6",
];
/// The two files by whose contents the stack's cache is named.
const STACK_FILES: &[&str] = &["libs/stack/maven/pom.xml", "libs/stack/maven/sha256sums"];

pub fn load(cluster: &str) -> Result<()> {
    let plan = Plan::load(cluster)?;
    println!("Cluster: building the programs");
    let cargo = run::cargo();
    let mut line = vec![cargo.as_str(), "build"];
    line.extend(PROGRAMS.iter().flat_map(|(_, programs)| programs.iter().flat_map(|program| ["--bin", program])));
    run::checked(&line)?;
    for (name, programs) in PROGRAMS {
        load_one(&plan, name, &[programs[0].to_owned()], |root| {
            programs.iter().try_for_each(|program| put_program(root, program))
        })?;
    }
    load_one(&plan, KAFKA, &["java".to_owned()], put_kafka)
}

fn load_one(plan: &Plan, name: &str, command: &[String], fill: impl Fn(&Path) -> Result<()>) -> Result<()> {
    println!("Cluster: image {name}");
    let root = plan.state().join("images/own");
    images::put_busybox(&root)?;
    put_system(&root)?;
    fill(&root)?;
    put_libraries(&root)?;
    let name = images::full_name(name);
    images::load(plan, &Image { name: &name, root: &root, command, user: NOBODY })?;
    fs::remove_dir_all(&root).with_context(|| format!("remove {}", root.display()))
}

/// Without what only a debugger reads, which is most of it.
fn put_program(root: &Path, program: &str) -> Result<()> {
    let folder = root.join("usr/local/bin");
    files::make_folder(&folder)?;
    let built = run::root().join("target/debug").join(program);
    let mut command = Command::new("strip");
    files::output_of(command.arg("--strip-debug").arg("-o").arg(folder.join(program)).arg(&built)).map(drop)
}

/// Java of this machine, and the verified jars that `headwater up` runs too.
fn put_kafka(root: &Path) -> Result<()> {
    let stack = stack_folder()?;
    copy(&stack.join("kafka"), &root.join("opt/kafka/libs"))?;
    copy(&stack.join("registry"), &root.join("opt/registry"))?;
    let java = fs::canonicalize(java()?).context("find Java's own folder")?;
    let home = java.ancestors().nth(2).with_context(|| format!("{} is in no folder of Java", java.display()))?;
    copy(home, &root.join("opt/java"))?;
    files::make_folder(&root.join("usr/local/bin"))?;
    symlink("/opt/java/bin/java", root.join("usr/local/bin/java")).context("link java")
}

fn java() -> Result<PathBuf> {
    let program = match std::env::var_os("JAVA_HOME").filter(|home| !home.is_empty()) {
        Some(home) => PathBuf::from(home).join("bin/java"),
        None => PathBuf::from(files::output_of(Command::new("sh").args(["-c", "command -v java"]))?.trim()),
    };
    if !program.is_file() {
        bail!("there is no {}: install Java 17 or later, or set JAVA_HOME to it", program.display());
    }
    Ok(program)
}

/// Named as libs/stack/src/artifacts.rs does it.
fn stack_folder() -> Result<PathBuf> {
    let mut command = run::command("sh");
    command.arg("-c").arg(format!("cat {} | sha256sum", STACK_FILES.join(" ")));
    let sum = files::output_of(&mut command)?;
    let folder = cache::root()?.join(format!("stack-{}", sum.get(..12).unwrap_or_default()));
    if !folder.is_dir() {
        bail!(
            "Kafka and the registry are not in {}: `cargo xtask up` fetches them, it can be ended once it runs",
            folder.display()
        );
    }
    Ok(folder)
}

/// What C's library and TLS read.
fn put_system(root: &Path) -> Result<()> {
    files::write(&root.join("etc/nsswitch.conf"), "hosts: files dns\n")?;
    let certificates = Path::new("/etc/ssl/certs/ca-certificates.crt");
    if certificates.exists() {
        let copy = root.join("etc/ssl/certs/ca-certificates.crt");
        files::make_folder(&root.join("etc/ssl/certs"))?;
        fs::copy(certificates, &copy).with_context(|| format!("copy {}", certificates.display()))?;
    }
    Ok(())
}

/// Copies every library that a program or library below `root` is linked to, to the same place.
fn put_libraries(root: &Path) -> Result<()> {
    // Libraries that lie beside each other find each other by `$ORIGIN`; only the machine's own are copied.
    let script = r#"find . -type f \( -perm -u+x -o -name '*.so*' \) -exec ldd {} + 2>/dev/null"#;
    let mut command = Command::new("sh");
    let listed = files::output_of(command.current_dir(root).args(["-c", &format!("{script}; true")]))?;
    let linked = libraries(&listed, root);
    let c_library = linked.iter().find(|library| library.ends_with("/libc.so.6"));
    let beside = c_library.and_then(|library| Path::new(library).parent());
    let loaded_later = LOADED_LATER.iter().filter_map(|name| Some(beside?.join(name)));
    let loaded_later: Vec<String> =
        loaded_later.filter(|path| path.exists()).map(|path| path.display().to_string()).collect();
    for library in linked.iter().copied().chain(loaded_later.iter().map(String::as_str)) {
        let target = root.join(library.trim_start_matches('/'));
        if target.exists() {
            continue;
        }
        files::make_folder(target.parent().unwrap_or(root))?;
        fs::copy(library, &target).with_context(|| format!("copy {library} to {}", target.display()))?;
    }
    Ok(())
}

/// The absolute paths in what ldd prints: `name => /path (address)`, or `/path (address)` for the loader.
fn libraries<'a>(listed: &'a str, root: &Path) -> BTreeSet<&'a str> {
    let lines = listed.lines().filter(|line| line.starts_with('\t') && line.trim_end().ends_with(')'));
    let paths = lines.filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    paths.filter(|path| !Path::new(path).starts_with(root)).collect()
}

/// With links followed, since a Java of Debian has its settings in /etc; links to nowhere are left out.
fn copy(from: &Path, to: &Path) -> Result<()> {
    files::make_folder(to.parent().unwrap_or(to))?;
    let script = r#"mkdir "$2" && cd "$1" && find -L . -type f -print0 -o -type d -print0 | tar --create --dereference --no-recursion --null --files-from=- | tar --extract --directory="$2""#;
    let mut command = Command::new("sh");
    files::output_of(command.args(["-c", script, "sh"]).arg(from).arg(to))
        .map(drop)
        .with_context(|| format!("copy {} to {}", from.display(), to.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn libraries_are_found_in_what_ldd_prints() {
        let listed = "./usr/local/bin/x:\n\tlinux-vdso.so.1 (0x00007)\n\tlibz.so.1 => /lib/x86_64-linux-gnu/libz.so.1 (0x00007)\n\
                      \tlibjvm.so => /state/opt/java/lib/libjvm.so (0x00007)\n\t/lib64/ld-linux-x86-64.so.2 (0x00007)\n\tnot a dynamic executable\n";
        let found: Vec<&str> = libraries(listed, Path::new("/state")).into_iter().collect();
        assert_eq!(found, ["/lib/x86_64-linux-gnu/libz.so.1", "/lib64/ld-linux-x86-64.so.2"]);
    }

    #[test]
    fn a_copy_follows_links_and_leaves_out_those_to_nowhere() {
        let folder = std::env::temp_dir().join(format!("headwater-xtask-copy-{}", std::process::id()));
        files::write(&folder.join("elsewhere/settings"), "settings").unwrap();
        files::write(&folder.join("from/below/file"), "file").unwrap();
        symlink("../elsewhere/settings", folder.join("from/settings")).unwrap();
        symlink("nowhere", folder.join("from/broken")).unwrap();
        copy(&folder.join("from"), &folder.join("to/copy")).unwrap();
        assert_eq!(files::read(&folder.join("to/copy/settings")).unwrap(), "settings");
        assert_eq!(files::read(&folder.join("to/copy/below/file")).unwrap(), "file");
        assert!(!folder.join("to/copy/broken").exists() && !folder.join("to/copy/settings").is_symlink());
        fs::remove_dir_all(&folder).unwrap();
    }
}
