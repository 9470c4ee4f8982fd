//! The owners of sockets, as the pipeline knows them: named, or asked for.
//!
//! In: sockets, and the names that the naming thread gives. Out: an [`Owner`] that all connections of it share. Promise: what was named
//! once is never named otherwise, but for `unknown` and for what was said until more was known. Bounded: `OWNERS_HALF_MAX` twice.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use headwater_probe_loader::types::SocketRecord;
use headwater_probe_loader::types::life::LifeEvent;
use headwater_schemas::records::{Flow, Process, Request};
use headwater_workload::bounded::Bounded;
use headwater_workload::names::{CgroupKey, Owner as Key, ProgramKey};
use headwater_workload::{Kind, Workload};
use rustc_hash::FxHashMap;

const OWNERS_HALF_MAX: usize = 16 * 1024;

/// A workload and how records call it.
#[derive(Debug)]
pub struct Named {
    workload: Workload,
    name: String,
}

impl Named {
    pub fn new(workload: Workload) -> Named {
        Named { name: workload.published_name(), workload }
    }

    pub fn unknown() -> Named {
        Named::new(Workload::unknown())
    }

    /// How records call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Cluster, namespace, kind, name, pod and container, as records spell them.
    pub fn all(&self) -> [&str; 6] {
        let Workload { cluster, namespace, kind, pod, container, .. } = &self.workload;
        [cluster, namespace, kind.as_str(), &self.name, pod, container]
    }

    /// Fills in the names of a request. This and the next two are where a workload becomes the fields of a record.
    pub fn fill_request<'a>(&'a self, request: &mut Request<'a>) {
        request.cluster = &self.workload.cluster;
        request.namespace = &self.workload.namespace;
        request.workload_kind = self.workload.kind.as_str();
        request.workload = &self.name;
        request.pod = &self.workload.pod;
        request.container = &self.workload.container;
    }

    /// Fills in the names of a flow.
    pub fn fill_flow<'a>(&'a self, flow: &mut Flow<'a>) {
        flow.cluster = &self.workload.cluster;
        flow.namespace = &self.workload.namespace;
        flow.workload_kind = self.workload.kind.as_str();
        flow.workload = &self.name;
        flow.pod = &self.workload.pod;
        flow.container = &self.workload.container;
    }

    /// Fills in the names of what happened to a process.
    pub fn fill_process<'a>(&'a self, process: &mut Process<'a>) {
        process.cluster = &self.workload.cluster;
        process.namespace = &self.workload.namespace;
        process.workload_kind = self.workload.kind.as_str();
        process.workload = &self.name;
        process.pod = &self.workload.pod;
        process.container = &self.workload.container;
    }
}

/// Whose some sockets are.
pub struct Owner {
    key: Key,
    named: RefCell<Option<Rc<Named>>>,
    /// Records wait until then.
    deadline: Cell<Instant>,
    is_asked: Cell<bool>,
    has_sockets: Cell<bool>,
    /// What was answered to the first time is of no use any more.
    is_asked_again: Cell<bool>,
    /// What its sockets have given the agent to do since that was asked last; see [`Owner::worked`].
    work: Cell<u64>,
}

/// An event takes about a microsecond of agent and probes, and so do so many bytes that are copied.
const BYTES_AN_EVENT: u64 = 4096;

impl Owner {
    /// An event of one of its sockets, with so many bytes.
    pub fn worked(&self, bytes: usize) {
        self.work.set(self.work.get() + BYTES_AN_EVENT + bytes as u64);
    }

    /// Whose share of the agent's memory its records are.
    pub fn cgroup(&self) -> CgroupKey {
        self.key.cgroup
    }

    /// Its process; 0 if no program has used the sockets.
    pub fn pid(&self) -> u32 {
        self.key.program.pid
    }

    /// Name of its first thread.
    pub fn first_thread(&self) -> [u8; 16] {
        self.key.first_thread
    }

    /// The name, once it is known or nobody waits for it any more.
    pub fn named(&self) -> Option<Rc<Named>> {
        self.named.borrow().clone()
    }

    /// Whether it is named, and not as unknown.
    pub fn is_known(&self) -> bool {
        self.named.borrow().as_ref().is_some_and(|named| named.workload.kind != Kind::Unknown)
    }

    /// The name, or `unknown` if its time is over.
    pub fn named_by(&self, now: Instant) -> Option<Rc<Named>> {
        if self.named.borrow().is_none() && now >= self.deadline.get() {
            return Some(Rc::new(Named::unknown()));
        }
        self.named()
    }
}

/// All owners that are known.
pub struct Owners {
    known: Bounded<Key, Rc<Owner>>,
    /// Those that the naming thread is to be asked for.
    to_ask: Vec<Rc<Owner>>,
    /// Programs that have used their first socket since that was asked last. As many as there were new owners.
    new_users: Vec<u32>,
    wait: Duration,
    now: Instant,
}

impl Owners {
    /// Records wait for a name at most so long.
    pub fn new(wait: Duration) -> Owners {
        Owners {
            known: Bounded::new(OWNERS_HALF_MAX),
            to_ask: Vec::new(),
            new_users: Vec::new(),
            wait,
            now: Instant::now(),
        }
    }

    /// The time from which new owners wait.
    pub fn set_now(&mut self, now: Instant) {
        self.now = now;
    }

    /// The owner of a socket.
    pub fn of(&mut self, socket: &SocketRecord) -> Rc<Owner> {
        let owner = self.of_key(key_of(socket));
        if !owner.has_sockets.replace(true) {
            self.new_users.push(owner.pid());
            // The probes have told its words again: since its life was told of, it may have given itself a title.
            if owner.is_asked.replace(false) {
                owner.is_asked_again.set(true);
                owner.named.replace(None);
                owner.deadline.set(self.now + self.wait);
                self.to_ask.push(Rc::clone(&owner));
            }
        }
        owner
    }

    /// The owner that a process is, or would be, whose life is told of.
    pub fn living(&mut self, event: &LifeEvent) -> Rc<Owner> {
        self.of_key(Key {
            program: ProgramKey { pid: event.pid, started_ns: event.process_started_ns, exec: event.exec },
            cgroup: CgroupKey { hierarchy: event.cgroup_hierarchy, id: event.cgroup_id },
            first_thread: event.program,
        })
    }

    /// Programs that have used their first socket since this was asked last.
    pub fn new_users(&mut self) -> impl Iterator<Item = u32> {
        self.new_users.drain(..)
    }

    /// An owner whose sockets are in a cgroup, one with a name if there is any; one that stands for the cgroup itself if none is known.
    pub fn in_cgroup(&mut self, cgroup: CgroupKey) -> Rc<Owner> {
        let of_cgroup = self.known.iter().filter(|(key, _)| key.cgroup == cgroup).map(|(_, owner)| owner);
        // Sockets that no program has used yet have none.
        if let Some(owner) = of_cgroup.max_by_key(|owner| (owner.is_known(), owner.pid() != 0)) {
            return Rc::clone(owner);
        }
        let nobody = ProgramKey { pid: 0, started_ns: 0, exec: 0 };
        self.of_key(Key { program: nobody, cgroup, first_thread: [0; 16] })
    }

    fn of_key(&mut self, key: Key) -> Rc<Owner> {
        if let Some(owner) = self.known.get(&key) {
            return Rc::clone(owner);
        }
        let owner = Rc::new(Owner {
            key,
            named: RefCell::new(None),
            deadline: Cell::new(self.now + self.wait),
            is_asked: Cell::new(false),
            has_sockets: Cell::new(false),
            is_asked_again: Cell::new(false),
            work: Cell::new(0),
        });
        self.known.insert(key, Rc::clone(&owner));
        self.to_ask.push(Rc::clone(&owner));
        owner
    }

    /// Asks for those that were not asked for. `ask` is told whether it is for the second time, and says whether there was room.
    pub fn ask(&mut self, mut ask: impl FnMut(Key, bool) -> bool) {
        self.to_ask.retain(|owner| {
            let taken = owner.is_asked.get() || ask(owner.key, owner.is_asked_again.get());
            owner.is_asked.set(taken);
            !taken
        });
    }

    /// Takes a name. One that was asked for the first time may come when the owner was asked for again since: then it is old.
    pub fn take(&mut self, (key, is_again): (&Key, bool), workload: Workload) {
        if let Some(owner) = self.known.get(key).filter(|owner| is_again || !owner.is_asked_again.get()) {
            *owner.named.borrow_mut() = Some(Rc::new(Named::new(workload)));
        }
    }

    /// What each cgroup has given the agent to do since the last time, in no unit but that of the others. What was done for owners that were forgotten
    /// meanwhile is not in it.
    pub fn take_work(&mut self) -> FxHashMap<CgroupKey, u64> {
        let mut by_cgroup = FxHashMap::default();
        for (key, owner) in self.known.iter().filter(|(_, owner)| owner.work.get() > 0) {
            *by_cgroup.entry(key.cgroup).or_default() += owner.work.take();
        }
        by_cgroup
    }

    /// How many are remembered.
    pub fn count(&self) -> usize {
        self.known.len()
    }
}

fn key_of(socket: &SocketRecord) -> Key {
    Key {
        program: ProgramKey { pid: socket.pid, started_ns: socket.process_started_ns, exec: socket.exec },
        cgroup: CgroupKey { hierarchy: socket.cgroup_hierarchy, id: socket.cgroup_id },
        first_thread: socket.program,
    }
}
