//! What Docker and Podman call their containers, from the files in which they keep them.
//!
//! In: a container's id. Out: its name, and project and service where Compose started it. Reads files, so not for a thread that must not
//! wait. Bounded: `CONTAINERS_MAX` ids are remembered, files longer than `FILE_BYTES_MAX` are not read. A container's files are
//! written before it starts, so an id without files is none of this runtime's and is not looked for again for a while.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::bounded::Bounded;
use crate::clean;

const CONTAINERS_MAX: usize = 4096;
const FILE_BYTES_MAX: u64 = 4 << 20;
const FOREIGN_FOR: Duration = Duration::from_secs(60);

/// What a runtime calls a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeName {
    /// The runtime's own name, unique on the machine.
    pub container: String,
    /// Project and service of Compose, which stay the same when it makes the container anew.
    pub service: Option<(String, String)>,
}

/// Where the runtimes of this machine keep their state.
#[derive(Debug, Clone)]
pub struct Roots {
    /// Docker's data, such as `/var/lib/docker`.
    pub docker: PathBuf,
    /// Podman's storage, such as `/var/lib/containers/storage`.
    pub podman: PathBuf,
}

/// Names containers.
pub struct Runtimes {
    roots: Roots,
    known: Bounded<String, (Option<RuntimeName>, Instant)>,
}

impl Runtimes {
    pub fn new(roots: Roots) -> Runtimes {
        Runtimes { roots, known: Bounded::new(CONTAINERS_MAX) }
    }

    /// The name of the container with this id, if one of the runtimes has it and its files may be read.
    pub fn name(&mut self, id: &str, now: Instant) -> Option<RuntimeName> {
        match self.known.get(&id.to_owned()) {
            Some((Some(name), _)) => return Some(name.clone()),
            Some((None, at)) if now.duration_since(*at) < FOREIGN_FOR => return None,
            _ => {}
        }
        let found = docker(&self.roots.docker, id).or_else(|| podman(&self.roots.podman, id));
        self.known.insert(id.to_owned(), (found.clone(), now));
        found
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerContainer {
    #[serde(default)]
    name: String,
    config: Option<DockerConfig>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerConfig {
    labels: Option<std::collections::BTreeMap<String, String>>,
}

/// `containers/ID/config.v2.json` in Docker's data.
fn docker(root: &Path, id: &str) -> Option<RuntimeName> {
    let text = read(&root.join("containers").join(id).join("config.v2.json"))?;
    let container: DockerContainer = serde_json::from_str(&text).ok()?;
    let labels = container.config.and_then(|config| config.labels).unwrap_or_default();
    let label = |name: &str| labels.get(name).and_then(|value| clean(value));
    let service = label("com.docker.compose.project").zip(label("com.docker.compose.service"));
    Some(RuntimeName { container: clean(container.name.trim_start_matches('/'))?, service })
}

#[derive(Deserialize)]
struct PodmanContainer {
    id: String,
    #[serde(default)]
    names: Vec<String>,
}

/// `overlay-containers/containers.json` in Podman's storage, or that of its other storage drivers.
fn podman(root: &Path, id: &str) -> Option<RuntimeName> {
    ["overlay-containers", "vfs-containers", "btrfs-containers", "zfs-containers"].iter().find_map(|folder| {
        let text = read(&root.join(folder).join("containers.json"))?;
        let containers: Vec<PodmanContainer> = serde_json::from_str(&text).ok()?;
        let container = containers.into_iter().find(|container| container.id == id)?;
        Some(RuntimeName { container: clean(container.names.first()?)?, service: None })
    })
}

fn read(path: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(FILE_BYTES_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;

    #[test]
    fn names_are_read_from_the_files_of_docker_and_podman() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots { docker: folder.path().join("docker"), podman: folder.path().join("podman") };
        let write = |path: &Path, text: &str| {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let config = |id: &str| roots.docker.join("containers").join(id).join("config.v2.json");
        write(&config("plain"), r#"{"ID":"plain","Name":"/db","Config":{"Labels":{}}}"#);
        write(
            &config("compose"),
            r#"{"Name":"/shop-web-1","Config":{"Labels":{"com.docker.compose.project":"shop","com.docker.compose.service":"web"}}}"#,
        );
        write(&config("damaged"), r#"{"Name":"#);
        write(
            &roots.podman.join("overlay-containers/containers.json"),
            r#"[{"id":"other","names":["x"]},{"id":"pod","names":["cache"],"layer":"y"}]"#,
        );
        let mut runtimes = Runtimes::new(roots.clone());
        let now = Instant::now();
        let mut name = |id: &str, at| runtimes.name(id, at);
        assert_eq!(name("plain", now), Some(RuntimeName { container: "db".into(), service: None }));
        let service = Some(("shop".into(), "web".into()));
        assert_eq!(name("compose", now), Some(RuntimeName { container: "shop-web-1".into(), service }));
        assert_eq!(name("pod", now), Some(RuntimeName { container: "cache".into(), service: None }));
        assert_eq!(name("damaged", now), None);
        assert_eq!(name("new", now), None);
        write(&config("new"), r#"{"Name":"/new"}"#);
        assert_eq!(name("new", now), None, "looked for again too soon");
        assert!(name("new", now + FOREIGN_FOR).is_some());
    }
}
