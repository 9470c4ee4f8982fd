//! Images without a container engine and without a registry: a folder is packed, and containerd of every node loads it.

use std::env;
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::plan::Plan;
use super::{files, node};
use crate::run;

/// What holds a pod's namespaces: it sleeps.
pub const SANDBOX: &str = "docker.io/library/headwater-sandbox:dev";
/// A shell, wget, nc and httpd for tests, statically linked.
pub const BUSYBOX: &str = "docker.io/library/headwater-busybox:dev";
const BUSYBOX_PROGRAM: &str = "/bin/busybox";

/// A folder that becomes the only layer of an image.
pub struct Image<'a> {
    pub name: &'a str,
    pub root: &'a Path,
    pub command: &'a [String],
    /// `USER` of the image, as uid:gid; root where it is empty.
    pub user: &'a str,
}

/// For `cargo xtask cluster image`.
pub fn load_source(cluster: &str, name: &str, source: &Path, command: &[String]) -> Result<()> {
    let plan = Plan::load(cluster)?;
    if source.is_dir() {
        let sleep = ["/bin/sleep".to_owned(), "infinity".to_owned()];
        let command = if command.is_empty() { &sleep } else { command };
        load(&plan, &Image { name: &full_name(name), root: source, command, user: "" })?;
    } else {
        load_archive(&plan, source)?;
    }
    require(&plan, &full_name(name))?;
    println!("Cluster: {name} is in every node; a pod names it {name} and needs no imagePullPolicy but IfNotPresent");
    Ok(())
}

/// The two that every cluster has.
pub fn load_basic(plan: &Plan) -> Result<()> {
    let root = plan.state().join("images/busybox");
    put_busybox(&root)?;
    let sleep = ["/bin/sleep".to_owned(), "infinity".to_owned()];
    for name in [SANDBOX, BUSYBOX] {
        load(plan, &Image { name, root: &root, command: &sleep, user: "" })?;
    }
    Ok(())
}

/// A shell and its tools, and the two users that images run as, below a new folder.
pub fn put_busybox(root: &Path) -> Result<()> {
    let program = busybox_program()?;
    for folder in ["bin", "etc", "tmp", "www"] {
        files::make_folder(&root.join(folder))?;
    }
    std::fs::copy(&program, root.join("bin/busybox")).with_context(|| format!("copy {}", program.display()))?;
    let applets = files::output_of(Command::new(&program).arg("--list"))?;
    for applet in applets.lines().filter(|applet| *applet != "busybox") {
        symlink("busybox", root.join("bin").join(applet)).with_context(|| format!("link {applet}"))?;
    }
    files::write(&root.join("etc/passwd"), "root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n")?;
    files::write(&root.join("etc/group"), "root:x:0:\nnogroup:x:65534:\n")?;
    Ok(())
}

/// Packs and loads it into every node.
pub fn load(plan: &Plan, image: &Image<'_>) -> Result<()> {
    let archive =
        pack(&plan.state().join("images"), image).with_context(|| format!("pack the image {}", image.name))?;
    load_archive(plan, &archive)?;
    std::fs::remove_file(&archive).with_context(|| format!("remove {}", archive.display()))
}

fn load_archive(plan: &Plan, archive: &Path) -> Result<()> {
    for node in plan.nodes() {
        let file = File::open(archive).with_context(|| format!("open {}", archive.display()))?;
        let mut command = node::ctr(node)?;
        files::output_with_input(command.args(["images", "import", "-"]), Stdio::from(file))
            .with_context(|| format!("load {} into {}", archive.display(), node.name()))?;
    }
    Ok(())
}

fn require(plan: &Plan, name: &str) -> Result<()> {
    for node in plan.nodes() {
        let listed = files::output_of(node::ctr(node)?.args(["images", "list", "--quiet"]))?;
        if !listed.lines().any(|line| line == name) {
            bail!("the archive holds no image {name}; {} knows: {}", node.name(), listed.replace('\n', " "));
        }
    }
    Ok(())
}

/// Writes the archive that `docker save` would, into `folder`.
fn pack(folder: &Path, image: &Image<'_>) -> Result<PathBuf> {
    let work = folder.join(format!("pack-{}", std::process::id()));
    files::make_folder(&work)?;
    let layer = work.join("layer.tar");
    // The same folder gives the same layer, so it is stored once.
    tar(&layer, image.root, &["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner", "."])?;
    let config = config_of(image, &files::sha256(&layer)?);
    let config_name = format!("{}.json", {
        files::write(&work.join("config"), &config)?;
        files::sha256(&work.join("config"))?
    });
    std::fs::rename(work.join("config"), work.join(&config_name))?;
    let manifest = json!([{"Config": config_name, "RepoTags": [image.name], "Layers": ["layer.tar"]}]);
    files::write(&work.join("manifest.json"), &manifest.to_string())?;
    let archive = folder.join(format!("image-{}.tar", std::process::id()));
    tar(&archive, &work, &["manifest.json", &config_name, "layer.tar"])?;
    std::fs::remove_dir_all(&work)?;
    Ok(archive)
}

fn tar(archive: &Path, folder: &Path, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("tar");
    command.arg("--create").arg("--file").arg(archive).arg("--directory").arg(folder).args(arguments);
    files::output_of(&mut command).map(drop)
}

fn config_of(image: &Image<'_>, layer_sum: &str) -> String {
    let architecture = match env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    json!({
        "architecture": architecture,
        "os": "linux",
        "config": {"Cmd": image.command, "User": image.user, "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer_sum}")]},
    })
    .to_string()
}

/// As containerd and the kubelet name it: `shop:dev` is `docker.io/library/shop:dev`.
pub fn full_name(name: &str) -> String {
    let with_tag = if name.rsplit('/').next().is_some_and(|last| last.contains(':')) {
        name.to_owned()
    } else {
        format!("{name}:latest")
    };
    match with_tag.split_once('/') {
        None => format!("docker.io/library/{with_tag}"),
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => with_tag,
        Some(_) => format!("docker.io/{with_tag}"),
    }
}

/// Debian has one that needs no libraries beside one that may.
fn busybox_program() -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(PathBuf::from(BUSYBOX_PROGRAM))
        .chain(env::split_paths(&path).map(|folder| folder.join("busybox")));
    let found = folders.into_iter().find(|program| program.is_file());
    found.with_context(|| format!("there is no {BUSYBOX_PROGRAM}: install busybox-static"))
}

/// True when busybox is there and needs no shared libraries.
pub fn has_static_busybox() -> bool {
    busybox_program().is_ok_and(|program| {
        let path: &OsStr = program.as_os_str();
        run::output("ldd", &[&path.to_string_lossy()]).is_none()
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_name_is_completed_as_the_kubelet_does() {
        for (name, full) in [
            ("shop", "docker.io/library/shop:latest"),
            ("shop:dev", "docker.io/library/shop:dev"),
            ("team/shop:dev", "docker.io/team/shop:dev"),
            ("localhost/shop:dev", "localhost/shop:dev"),
            ("registry:5000/shop", "registry:5000/shop:latest"),
        ] {
            assert_eq!(full_name(name), full);
        }
    }

    #[test]
    fn a_packed_folder_names_its_layer_by_its_sum() {
        let folder = env::temp_dir().join(format!("headwater-xtask-images-{}", std::process::id()));
        files::write(&folder.join("root/bin/x"), "program").unwrap();
        let command = ["/bin/x".to_owned(), "a \"b\"".to_owned()];
        let image = Image { name: "x:dev", root: &folder.join("root"), command: &command, user: "65534:65534" };
        let archive = pack(&folder, &image).unwrap();
        let out = folder.join("out");
        files::make_folder(&out).unwrap();
        files::output_of(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(&out)).unwrap();
        let sum = files::sha256(&out.join("layer.tar")).unwrap();
        let config = std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().path());
        let config = config.into_iter().find(|path| path.file_name().is_some_and(|name| name.len() == 69)).unwrap();
        let text = files::read(&config).unwrap();
        assert!(text.contains(&sum) && text.contains(r#""Cmd":["/bin/x","a \"b\""]"#), "{text}");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
