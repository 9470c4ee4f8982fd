//! Who a workload is: what the path of a cgroup and the words of a process say, and what runtimes know of their containers.
//!
//! In: paths of cgroups, programs with their arguments, files of container runtimes, what Kubernetes says of its pods. Out: a
//! [`Workload`]. Promise: what is not known is `unknown`, and a name that its owner could have chosen says whose it is. Bounded:
//! every name is cut at [`NAME_CHARS_MAX`] characters, every table has its own bound.

pub mod bounded;
pub mod identities;
pub mod names;
pub mod path;
pub mod pods;
pub mod program;
pub mod runtimes;

use std::collections::BTreeMap;
use std::fmt::Write;

/// Characters of a name; what comes behind is cut off.
pub const NAME_CHARS_MAX: usize = 128;

/// A workload: the lasting thing to which a process belongs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Workload {
    /// Name of the Kubernetes cluster; empty outside of one.
    pub cluster: String,
    /// Namespace in Kubernetes; otherwise the guests and containers in which it runs, joined by `/`; empty on the machine itself.
    pub namespace: String,
    pub kind: Kind,
    /// Never empty, but for [`Kind::Unknown`], where it is `unknown`.
    pub name: String,
    /// The pod, if it is one's.
    pub pod: String,
    /// The container, where it is known: its name in the pod, or the runtime's name.
    pub container: String,
    /// Labels of the pod that were asked for.
    pub labels: BTreeMap<String, String>,
    /// The user who could have given the name as he liked.
    pub owner: Option<u32>,
}

/// What a workload's name is the name of.
#[derive(Debug, Clone, PartialEq, Eq, Default, PartialOrd, Ord, Hash)]
pub enum Kind {
    #[default]
    Unknown,
    Program,
    /// A systemd service.
    Unit,
    Container,
    /// A virtual machine, seen as the one process that it is here.
    Machine,
    /// The kind of a Kubernetes object, as Kubernetes spells it: `Deployment`, `CronJob`, `Pod`.
    Kubernetes(String),
}

impl Kind {
    /// The kind as records spell it.
    pub fn as_str(&self) -> &str {
        match self {
            Kind::Unknown => "unknown",
            Kind::Program => "program",
            Kind::Unit => "unit",
            Kind::Container => "container",
            Kind::Machine => "machine",
            Kind::Kubernetes(kind) => kind,
        }
    }
}

impl Workload {
    /// The workload of which nothing is known.
    pub fn unknown() -> Workload {
        Workload { name: "unknown".into(), ..Workload::default() }
    }

    /// The name with whose it is, where its owner chose it: `app@uid-1000`.
    pub fn published_name(&self) -> String {
        let mut name = self.name.clone();
        if let Some(owner) = self.owner {
            let _ = write!(name, "@uid-{owner}");
        }
        name
    }
}

/// A name as it may be published: no control characters, at most [`NAME_CHARS_MAX`] characters; `None` if nothing is left.
pub fn clean(name: &str) -> Option<String> {
    let name: String = name.trim().chars().filter(|c| !c.is_control()).take(NAME_CHARS_MAX).collect();
    (!name.is_empty()).then_some(name)
}
