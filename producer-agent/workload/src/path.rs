//! What the path of a cgroup says of the workload in it.
//!
//! In: a path in the cgroup hierarchy, as the kernel writes it. Out: a [`Place`]. Who may make a directory at a place could choose its
//! name, so the outer part of a path is always believed before the inner one: a unit's own subdirectories, whatever they are called,
//! belong to the unit; what is below a user's slice carries the user. Pure and bounded: one pass over the path.

/// Hexadecimal digits of a container's id (SHA-256 or 32 random bytes), as all runtimes have it.
const CONTAINER_ID_CHARS: usize = 64;

/// What runtimes put before the id of a container.
const CONTAINER_PREFIXES: [&str; 7] =
    ["docker-", "cri-containerd-", "crio-", "libpod-payload-", "libpod-", "nerdctl-", "containerd-"];

/// Units that only run others: what is below them is as if they were not there.
const MANAGERS: [&str; 14] = [
    "containerd",
    "crio",
    "docker",
    "k0scontroller",
    "k0sworker",
    "k3s",
    "k3s-agent",
    "kubelet",
    "lxc",
    "podman",
    "rke2-agent",
    "rke2-server",
    "snap.docker.dockerd",
    "snap.lxd.daemon",
];

/// Units in which people's and other units' programs run, unless a session of systemd's takes them over: the unit's name, up to an `@`.
const SESSION_UNITS: [&str; 13] = [
    "anacron",
    "atd",
    "console-getty",
    "container-getty",
    "cron",
    "crond",
    "dropbear",
    "getty",
    "rsh",
    "serial-getty",
    "ssh",
    "sshd",
    "telnet",
];

/// Where a process runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place {
    /// Guests and containers around it, the outermost first.
    pub within: Vec<Enclosure>,
    pub spot: Spot,
    /// The user below whose slice it is, and who could make any directory there.
    pub owner: Option<u32>,
}

/// The innermost thing that a path names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Spot {
    /// Neither: the program is all that is known.
    #[default]
    Plain,
    /// A systemd service, without its suffix.
    Unit(String),
    /// A service that starts what others ask for: the program tells more than the unit.
    Session(String),
    Container(Container),
    /// A virtual machine's own process.
    Machine(String),
}

/// What a container runs in, or a whole system with units of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enclosure {
    Container(Container),
    /// A guest of LXC, systemd-nspawn or libvirt, by its name.
    Guest(String),
}

/// A container as its cgroup names it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Container {
    /// 64 hexadecimal digits; empty in a pod's own cgroup, outside of its containers.
    pub id: String,
    /// The pod's uid as Kubernetes writes it.
    pub pod_uid: Option<String>,
}

impl Container {
    /// The id as `docker ps` shows it.
    pub fn short_id(&self) -> &str {
        self.id.get(..12).unwrap_or(&self.id)
    }
}

impl Place {
    /// Reads a path, absolute or relative (`/../..` of a cgroup namespace).
    pub fn of_path(path: &str) -> Place {
        let mut walk = Walk::default();
        let mut parts = path.split('/').filter(|part| !part.is_empty() && *part != "..").peekable();
        while let Some(part) = parts.next() {
            walk.part(part, parts.peek().copied());
        }
        walk.end()
    }

    /// Reads the text of `/proc/PID/cgroup`: the unified hierarchy wins where it says something, then systemd's own, then any other.
    pub fn of_process(cgroups: &str) -> Place {
        let rank = |controllers: &str| match controllers {
            "" => 0,
            "name=systemd" => 1,
            _ => 2,
        };
        let mut lines: Vec<(&str, &str)> =
            cgroups.lines().filter_map(|line| line.split_once(':')?.1.split_once(':')).collect();
        lines.sort_by_key(|(controllers, _)| rank(controllers));
        let mut places = lines.into_iter().map(|(_, path)| Place::of_path(path));
        places.find(|place| *place != Place::default()).unwrap_or_default()
    }

    /// The containers around and at this place, the outermost first.
    pub fn containers(&self) -> impl Iterator<Item = &Container> {
        let around = self.within.iter().filter_map(|enclosure| match enclosure {
            Enclosure::Container(container) => Some(container),
            Enclosure::Guest(_) => None,
        });
        let here = match &self.spot {
            Spot::Container(container) => Some(container),
            _ => None,
        };
        around.chain(here)
    }
}

#[derive(Default)]
struct Walk {
    place: Place,
    container: Option<Container>,
    unit: Option<String>,
    /// Below a slice of Kubernetes.
    kubepods: bool,
    pod_uid: Option<String>,
    machine: Option<String>,
    /// A unit that only runs others, as long as none of them was met below it.
    manager: Option<String>,
}

impl Walk {
    fn part(&mut self, part: &str, next: Option<&str>) {
        // All that is below a unit is the unit's own.
        if self.unit.is_some() {
            return;
        }
        if let Some(uid) = part.strip_prefix("user-").and_then(|rest| rest.strip_suffix(".slice")) {
            self.place.owner = self.place.owner.or(uid.parse().ok());
        } else if let Some(guest) = guest(part, next) {
            self.enter(Enclosure::Guest(guest));
        } else if let Some(name) = machine(part) {
            match name.strip_prefix("qemu-") {
                Some(rest) => self.machine = Some(without_number(rest)),
                None => self.enter(Enclosure::Guest(without_number(name.strip_prefix("lxc-").unwrap_or(&name)))),
            }
        } else if let Some(id) = container_id(part) {
            let pod_uid = self.pod_uid.take().or_else(|| part.split(':').next().and_then(pod_uid));
            self.manager = None;
            if let Some(outer) = self.container.replace(Container { id: id.to_owned(), pod_uid }) {
                self.place.within.push(Enclosure::Container(outer));
            }
        } else if let Some(name) = part.strip_suffix(".service") {
            self.unit(name);
        } else {
            self.kubepods |= part.contains("kubepods");
            if self.kubepods
                && let Some(uid) = pod_uid(part)
            {
                (self.pod_uid, self.manager) = (Some(uid), None);
            }
        }
    }

    fn unit(&mut self, name: &str) {
        if let Some(uid) = name.strip_prefix("user@") {
            self.place.owner = self.place.owner.or(uid.parse().ok());
        } else if !name.is_empty() && !MANAGERS.contains(&name) {
            self.leave_container();
            self.unit = Some(name.to_owned());
        } else if !name.is_empty() {
            self.manager = Some(name.to_owned());
        }
    }

    fn enter(&mut self, enclosure: Enclosure) {
        self.leave_container();
        self.place.within.push(enclosure);
        (self.kubepods, self.pod_uid, self.manager) = (false, None, None);
    }

    fn leave_container(&mut self) {
        if let Some(outer) = self.container.take() {
            self.place.within.push(Enclosure::Container(outer));
        }
    }

    fn end(mut self) -> Place {
        if let Some(unit) = self.unit {
            let base = unit.split('@').next().unwrap_or_default();
            let session = SESSION_UNITS.contains(&base);
            self.place.spot = if session { Spot::Session(unit) } else { Spot::Unit(unit) };
        } else if let Some(manager) = self.manager {
            self.place.within.extend(self.container.map(Enclosure::Container));
            self.place.spot = Spot::Unit(manager);
        } else if let Some(container) = self.container {
            self.place.spot = match self.pod_uid {
                // A pod's own cgroup inside of a container: a cluster within a cluster.
                Some(_) => {
                    self.place.within.push(Enclosure::Container(container));
                    Spot::Container(Container { id: String::new(), pod_uid: self.pod_uid })
                }
                None => Spot::Container(container),
            };
        } else if self.pod_uid.is_some() {
            self.place.spot = Spot::Container(Container { id: String::new(), pod_uid: self.pod_uid });
        } else if let Some(machine) = self.machine {
            self.place.spot = Spot::Machine(machine);
        }
        self.place
    }
}

/// `docker-ID.scope`, `cri-containerd-ID.scope`, `crio-ID`, `libpod-payload-ID`, `...slice:cri-containerd:ID`, or the id alone.
fn container_id(part: &str) -> Option<&str> {
    let name = part.strip_suffix(".scope").unwrap_or(part);
    let name = name.rsplit(':').next()?;
    let id = CONTAINER_PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
    let is_id = id.len() == CONTAINER_ID_CHARS && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then_some(id)
}

/// The uid of `podUID`, `kubepods-burstable-podUID.slice` (systemd writes `_` for `-`); static pods have 32 digits without hyphens.
fn pod_uid(part: &str) -> Option<String> {
    let name = part.strip_suffix(".slice").unwrap_or(part);
    let uid = match name.rfind("-pod") {
        Some(at) => &name[at + "-pod".len()..],
        None => name.strip_prefix("pod")?,
    };
    let uid = uid.replace('_', "-");
    let is_uid = matches!(uid.len(), 32 | 36) && uid.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    is_uid.then_some(uid)
}

/// The guest's name of `lxc.payload.NAME`, of the payload of `systemd-nspawn@NAME.service`.
fn guest(part: &str, next: Option<&str>) -> Option<String> {
    let name = match part.strip_prefix("lxc.payload.") {
        Some(name) => name,
        None => part
            .strip_prefix("systemd-nspawn@")
            .and_then(|rest| rest.strip_suffix(".service"))
            // The supervisor runs outside of the guest.
            .filter(|_| next != Some("supervisor"))?,
    };
    (!name.is_empty()).then(|| unescape(name))
}

/// The name of `machine-NAME.scope`, with what the hypervisor puts before it.
fn machine(part: &str) -> Option<String> {
    let name = part.strip_prefix("machine-")?.strip_suffix(".scope")?;
    (!name.is_empty()).then(|| unescape(name))
}

/// libvirt counts the starts of its guests: `3-db` is `db`.
fn without_number(name: &str) -> String {
    match name.split_once('-') {
        Some((number, rest)) if !rest.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) => rest.to_owned(),
        _ => name.to_owned(),
    }
}

/// systemd escapes with `\x2d` what means something in the name of a unit (systemd.unit(5)).
fn unescape(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(at) = rest.find("\\x") {
        text.push_str(&rest[..at]);
        let digits = rest.get(at + 2..at + 4).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match digits.filter(u8::is_ascii) {
            Some(byte) => {
                text.push(char::from(byte));
                rest = &rest[at + 4..];
            }
            None => {
                text.push_str("\\x");
                rest = &rest[at + 2..];
            }
        }
    }
    text + rest
}
