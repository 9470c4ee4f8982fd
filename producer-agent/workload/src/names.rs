//! Names the owners of sockets from all that is known: paths of cgroups, words of programs, pods, containers of runtimes.
//!
//! In: `News` in order, [`Owner`]s. Out: an [`Answer`]. Promise: an answer that is `Known` never becomes another one for the same owner; what
//! may still become known is `NotYet`, with what can be said without it. Bounded: see the tables. The only I/O is behind [`Runtimes`].

use std::sync::Arc;
use std::time::Instant;

use crate::bounded::Bounded;
use crate::path::{Container, Enclosure, Place, Spot};
use crate::pods::{Found, Pods};
use crate::program::{self, Process};
use crate::runtimes::Runtimes;
use crate::{Kind, Workload};

/// Half of the cgroups that are remembered, those included that are gone.
const CGROUPS_HALF_MAX: usize = 32 * 1024;
/// Half of the programs that are remembered.
const PROGRAMS_HALF_MAX: usize = 16 * 1024;

/// A cgroup: its hierarchy, 0 for version 2, and its id there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CgroupKey {
    pub hierarchy: u32,
    pub id: u64,
}

/// A program: a process between two calls of exec(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProgramKey {
    pub pid: u32,
    pub started_ns: u64,
    pub exec: u32,
}

/// Whose a socket is, in the kernel's words. A pid of 0 means that no program has used it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Owner {
    pub program: ProgramKey,
    pub cgroup: CgroupKey,
    pub first_thread: [u8; 16],
}

/// What a program calls itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramName {
    pub name: String,
    /// The daemon of a unit in which others' programs run.
    pub is_session_daemon: bool,
}

/// Whose a socket is, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Known(Workload),
    /// What is right until more is known; often the unknown workload.
    NotYet(Workload),
}

/// All that is known.
pub struct Names {
    cgroups: Bounded<CgroupKey, Arc<Place>>,
    programs: Bounded<ProgramKey, Arc<ProgramName>>,
    runtimes: Runtimes,
    /// Absent without Kubernetes.
    pods: Option<Pods>,
    cluster: String,
}

impl Names {
    pub fn new(runtimes: Runtimes, kubernetes: bool, cluster: String) -> Names {
        Names {
            cgroups: Bounded::new(CGROUPS_HALF_MAX),
            programs: Bounded::new(PROGRAMS_HALF_MAX),
            runtimes,
            pods: kubernetes.then(Pods::default),
            cluster,
        }
    }

    /// A cgroup was made, found or renamed. It keeps its name when it is removed: records of those who were in it may still come.
    pub fn cgroup(&mut self, key: CgroupKey, path: &str) {
        self.cgroups.insert(key, Arc::new(Place::of_path(path)));
    }

    /// The place of a process, read from `/proc`, where the path of its cgroup was not told.
    pub fn place(&mut self, key: CgroupKey, place: Place) {
        self.cgroups.insert(key, Arc::new(place));
    }

    pub fn knows_cgroup(&mut self, key: CgroupKey) -> bool {
        self.cgroups.get(&key).is_some()
    }

    pub fn knows_program(&mut self, key: ProgramKey) -> bool {
        self.programs.get(&key).is_some()
    }

    /// A program told its words.
    pub fn program(&mut self, key: ProgramKey, process: &Process<'_>) {
        if let Some(name) = program::name(process) {
            let is_session_daemon = program::is_session_daemon(process.executable);
            self.programs.insert(key, Arc::new(ProgramName { name, is_session_daemon }));
        }
    }

    pub fn pods_mut(&mut self) -> Option<&mut Pods> {
        self.pods.as_mut()
    }

    pub fn pods(&self) -> Option<&Pods> {
        self.pods.as_ref()
    }

    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Entries that were forgotten for the bounds.
    pub fn forgotten(&self) -> u64 {
        self.cgroups.forgotten() + self.programs.forgotten() + self.pods.as_ref().map_or(0, Pods::forgotten)
    }

    /// Whose a socket of this owner is.
    pub fn of(&mut self, owner: &Owner, now: Instant) -> Answer {
        let Some(place) = self.cgroups.get(&owner.cgroup).map(Arc::clone) else {
            return Answer::NotYet(Workload::unknown());
        };
        if let Some(pods) = &self.pods {
            match pods.find(place.containers()) {
                // Several containers, and which one this is comes with the pod's next change.
                Found::Pod(pod, None) => return Answer::NotYet(pod.workload(&self.cluster, None)),
                Found::Pod(pod, name) => return Answer::Known(pod.workload(&self.cluster, name)),
                Found::NotYet => return Answer::NotYet(Workload::unknown()),
                Found::NoPod => {}
            }
        }
        let namespace = self.namespace(&place.within, now);
        let owner_uid = place.owner.filter(|uid| *uid != 0);
        let named = |kind, name: &str| Workload {
            namespace: namespace.clone(),
            kind,
            name: name.to_owned(),
            owner: owner_uid,
            ..Workload::default()
        };
        match &place.spot {
            Spot::Unit(name) => return Answer::Known(named(Kind::Unit, name)),
            Spot::Machine(name) => return Answer::Known(named(Kind::Machine, name)),
            Spot::Container(container) => {
                if let Some(workload) = self.container(container, &place, &namespace, now) {
                    return Answer::Known(workload);
                }
            }
            Spot::Plain | Spot::Session(_) => {}
        }
        let Some(program) = self.programs.get(&owner.program).map(Arc::clone) else {
            return if owner.program.pid == 0 {
                Answer::Known(Workload::unknown())
            } else {
                Answer::NotYet(Workload::unknown())
            };
        };
        Answer::Known(match &place.spot {
            Spot::Container(container) => {
                let name = format!("{}@{}", program.name, container.short_id());
                Workload { container: container.short_id().to_owned(), ..named(Kind::Container, &name) }
            }
            Spot::Session(unit) if program.is_session_daemon => {
                named(Kind::Unit, unit.split('@').next().unwrap_or(unit))
            }
            // A program may be called anything by anyone: its kind says so already.
            _ => Workload { owner: None, ..named(Kind::Program, &program.name) },
        })
    }

    /// A container by the name that its runtime gave it.
    fn container(&mut self, container: &Container, place: &Place, namespace: &str, now: Instant) -> Option<Workload> {
        // The runtimes of this machine know its own containers, not those of guests, and none that a user could have made up.
        if !place.within.is_empty() || place.owner.is_some() || container.id.is_empty() {
            return None;
        }
        let found = self.runtimes.name(&container.id, now)?;
        let (namespace, name) = found.service.unwrap_or_else(|| (namespace.to_owned(), found.container.clone()));
        Some(Workload { namespace, kind: Kind::Container, name, container: found.container, ..Workload::default() })
    }

    /// The guests and containers around a place, by name.
    fn namespace(&mut self, within: &[Enclosure], now: Instant) -> String {
        let names: Vec<String> = within
            .iter()
            .enumerate()
            .map(|(depth, enclosure)| match enclosure {
                Enclosure::Guest(name) => name.clone(),
                Enclosure::Container(container) => {
                    let found = if depth == 0 { self.runtimes.name(&container.id, now) } else { None };
                    found.map_or_else(|| container.short_id().to_owned(), |found| found.container)
                }
            })
            .collect();
        names.join("/")
    }
}
