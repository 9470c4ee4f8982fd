//! What a process's cgroup says of its workload.
//!
//! In: the text of `/proc/PID/cgroup`. Out: container or systemd unit, if it is in one.

/// Where a process runs.
#[derive(Debug, PartialEq, Eq)]
pub enum Place {
    /// The first twelve digits of the container's id, as `docker ps` shows it.
    Container(String),
    /// A systemd service without its suffix.
    Unit(String),
}

/// Digits of a container id (a SHA-256).
const CONTAINER_ID_CHARS: usize = 64;
const CONTAINER_ID_CHARS_SHOWN: usize = 12;

/// Looks at the unified hierarchy and at systemd's own; the innermost part of a path that says something wins.
pub fn place(cgroups: &str) -> Option<Place> {
    let path_of = |prefix: &str| cgroups.lines().find_map(|line| line.split_once(':')?.1.strip_prefix(prefix));
    ["name=systemd:", ":"].iter().filter_map(|hierarchy| path_of(hierarchy)).find_map(|path| {
        let parts = path.split('/').rev();
        parts.clone().find_map(container).or_else(|| parts.clone().find_map(unit))
    })
}

/// `docker-ID.scope`, `cri-containerd-ID.scope`, `crio-ID.scope`, or the id alone.
fn container(part: &str) -> Option<Place> {
    let name = part.strip_suffix(".scope").unwrap_or(part);
    let id = name.rsplit(['-', ':']).next()?;
    let is_id = id.len() == CONTAINER_ID_CHARS && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then(|| Place::Container(id[..CONTAINER_ID_CHARS_SHOWN].to_owned()))
}

/// A service; the manager of a user's session is none of its own.
fn unit(part: &str) -> Option<Place> {
    let name = part.strip_suffix(".service")?;
    (!name.is_empty() && !name.starts_with("user@")).then(|| Place::Unit(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_and_units_are_told_from_plain_processes() {
        let id = "0123456789abcdef".repeat(4);
        let container = Some(Place::Container("0123456789ab".into()));
        assert_eq!(place(&format!("0::/system.slice/docker-{id}.scope\n")), container);
        assert_eq!(place(&format!("0::/docker/{id}\n")), container);
        assert_eq!(
            place(&format!("0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-{id}.scope/init\n")),
            container
        );
        assert_eq!(place("0::/system.slice/nginx.service\n"), Some(Place::Unit("nginx".into())));
        assert_eq!(
            place("4:pids:/x\n1:name=systemd:/system.slice/ssh.service\n0::/\n"),
            Some(Place::Unit("ssh".into()))
        );
        assert_eq!(place("0::/user.slice/user-0.slice/user@0.service/app.slice\n"), None);
        assert_eq!(place("0::/user.slice/user-0.slice/session-1.scope\n"), None);
        assert_eq!(place("0::/headwater-demo-1\n"), None);
        assert_eq!(place(""), None);
        assert_eq!(place("nonsense"), None);
    }
}
