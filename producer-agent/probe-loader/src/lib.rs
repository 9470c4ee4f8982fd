//! Loads the kernel probes and reads what they say: the only crate that knows aya.
//!
//! In: which sockets to capture. Out: [`Event`]s from the ring buffer, a [`types::SocketRecord`] of every captured socket on request,
//! and the probes' own counters. The probes go away with [`Probes`].

mod btf;
mod cgroups;
mod cost;
mod error;
mod event;
mod executable;
mod go;
mod hook;
mod interests;
mod layout;
mod library;
mod mapped;
mod rustls;
mod sums;
mod tls;
mod walk;

use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aya::maps::{HashMap, Map, MapData, PerCpuArray, RingBuf};
use aya::programs::Iter;
use aya::{Btf, Ebpf, EbpfLoader};
pub use cgroups::Hierarchy;
pub use cost::Costs;
pub use error::LoadError;
pub use event::Event;
pub use go::GoError;
pub use headwater_probe_types as types;
use headwater_probe_types::share::{Cgroup, Share, lost};
use headwater_probe_types::{FILTER_PATH_BYTES, capture, count};
pub use hook::Hook;
pub use interests::Interests;
pub use layout::Machine;
pub use sums::{Fits, SumTable, Taken};
pub use tls::{Attached, TlsFunctions, TlsSessions};
pub use walk::Walk;
use walk::walk_failed;

const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

/// Its number is part of the kernel's interface (PROC_PID_INIT_INO in include/linux/proc_ns.h).
const INITIAL_PID_NAMESPACE: &str = "pid:[4026531836]";

/// Program in the object, tracepoint.
const TRACEPOINTS: [(&str, &str); 7] = [
    ("on_state", "inet_sock_set_state"),
    ("on_destroyed", "tcp_destroy_sock"),
    ("on_cgroup_made", "cgroup_mkdir"),
    ("on_cgroup_renamed", "cgroup_rename"),
    ("on_cgroup_removed", "cgroup_rmdir"),
    ("on_exec", "sched_process_exec"),
    ("on_exit", "sched_process_exit"),
];

/// The program that walks over all sockets.
const ITERATOR: &str = "each_socket";

/// What may wait in the ring buffer before the reader is woken: some milliseconds' work, so that it takes the processor from the
/// programs that it observes for no longer. With less, waking up costs the agent more than it spares them (docs/benchmarks.md).
const WAKE_BYTES: u64 = 256 * 1024;

/// The clock is read so rarely: an event is a microsecond's work.
const EVENTS_PER_LOOK_AT_THE_CLOCK: u64 = 16;

/// Sessions of TLS that are followed at a time, of all programs.
const TLS_SESSIONS_MAX: u32 = 16 * 1024;

/// Handshakes of TLS that are remembered: as many may begin at a time.
const TLS_HELLOS_MAX: u32 = 8 * 1024;

/// Records of rustls that wait for the call that sends them, of keys whose socket is not known.
const RUSTLS_RECORDS_MAX: u32 = 4 * 1024;

/// Calls of goroutines that may be under way at a time: one that reads and one that writes for each session.
const GO_CALLS_MAX: u32 = 2 * TLS_SESSIONS_MAX;

/// Which sockets to capture, and how much may wait.
#[derive(Debug, Clone)]
pub struct Options {
    /// Only sockets of these cgroups and those below them; all if empty. At most 64.
    pub cgroups: Vec<PathBuf>,
    /// Only sockets of these processes; all if empty. At most 1024.
    pub pids: Vec<u32>,
    /// Size of the ring buffer: a power of two and a multiple of the page size.
    pub ring_bytes: u32,
    /// How the calls of sockets are seen; none for the best that the kernel takes.
    pub hook: Option<Hook>,
    /// Libraries of TLS can be watched.
    pub tls: bool,
    /// Streams of Unix sockets are seen, too, if the kernel shows them.
    pub unix: bool,
    /// Events of processes' lives that are told of one cgroup in a second, half of them of programs that begin or end in order.
    pub processes_per_second_max: u32,
}

/// What the probes would be told on a kernel with this BTF: names of globals and their values.
pub fn globals_for(btf: &[u8], machine: Machine) -> Result<Vec<(&'static str, u32)>, LoadError> {
    layout::of_kernel(&btf::KernelTypes::parse(btf)?, machine)
}

/// The loaded probes.
pub struct Probes {
    ebpf: Ebpf,
    ring: RingBuf<MapData>,
    counts: PerCpuArray<MapData, u64>,
    /// [`Cgroup`] and [`Share`], as the numbers that they are.
    shares: HashMap<MapData, [u64; size_of::<Cgroup>() / 8], [u64; size_of::<Share>() / 8]>,
    hierarchies: Vec<Hierarchy>,
    interests: Option<Interests>,
    sums: Option<SumTable>,
    costs: Option<Costs>,
    tls_sessions: Option<TlsSessions>,
    hook: Hook,
    not_fexit_because: Option<String>,
    unknown_events: u64,
    first_walk: FirstWalk,
}

/// What a walk finds that is the first one was there before the capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FirstWalk {
    IsToCome,
    HasBegun,
    /// Also where the capture is about to end.
    IsOver,
}

/// What one drain took from the ring buffer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drained {
    pub events: u64,
    /// Nothing was left.
    pub is_empty: bool,
    /// The latest time (CLOCK_MONOTONIC) of the events that tell theirs; 0 if there was none.
    pub newest_ns: u64,
    /// The longest time in which no event was read, some dozen looked at as one.
    pub longest: Duration,
}

impl Probes {
    /// Loads and attaches the probes. The calling process itself is left out of the capture.
    pub fn load(options: &Options) -> Result<Probes, LoadError> {
        let mut probes = Probes::load_switched_off(options)?;
        probes.begin_capture()?;
        Ok(probes)
    }

    /// Begins the capture of probes that were loaded switched off. All programs begin at one moment: the first one attached would otherwise see half of each
    /// connection for a while.
    pub fn begin_capture(&mut self) -> Result<(), LoadError> {
        set_capturing(&mut self.ebpf, capture::BEGINS)
    }

    /// Loads and attaches the probes, which return at once whatever happens: what they cost then is measured so.
    pub fn load_switched_off(options: &Options) -> Result<Probes, LoadError> {
        sees_all_processes()?;
        let btf_bytes = fs::read(KERNEL_BTF).map_err(|source| LoadError::NoBtf { path: KERNEL_BTF.into(), source })?;
        let types = btf::KernelTypes::parse(&btf_bytes)?;
        let offsets = layout::of_kernel(&types, layout::Machine::HERE)?;
        let unix_salt = if options.unix && layout::has_unix(&types) { boot_number()? } else { 0 };
        let functions = hook::Functions::of_kernel(&types, unix_salt != 0);
        let (hierarchies, v1_subsys) = cgroups::hierarchies(&types);
        let v1_hierarchy = hierarchies.iter().map(|hierarchy| hierarchy.number).max().unwrap_or(0);
        drop((types, btf_bytes));
        let btf = Btf::from_sys_fs().map_err(|error| LoadError::Btf(format!("cannot be parsed: {error}")))?;

        let own_pid = std::process::id();
        let by_cgroup = u32::from(!options.cgroups.is_empty());
        let by_pid = u32::from(!options.pids.is_empty());
        let watches_tls = u32::from(options.tls);
        let ring_bytes = u64::from(options.ring_bytes);
        let urgent_bytes = ring_bytes / 4;
        let wake_bytes = WAKE_BYTES.min(urgent_bytes);
        let processors =
            aya::util::nr_cpus().map_err(|(_, source)| LoadError::Read { what: "the processors", source })?;
        let mut loader = EbpfLoader::new();
        loader
            .btf(Some(&btf))
            .map_max_entries("EVENTS", options.ring_bytes)
            .map_max_entries("ROOM", (types::ROOMS * processors) as u32)
            .map_max_entries("PATH_ROOM", processors as u32)
            .map_max_entries("WORDS_ROOM", 2 * processors as u32)
            .map_max_entries("TLS_SESSIONS", if options.tls { TLS_SESSIONS_MAX } else { 1 })
            .map_max_entries("TLS_HELLOS", if options.tls { TLS_HELLOS_MAX } else { 1 })
            .map_max_entries("TLS_CARRIED", if options.tls { TLS_SESSIONS_MAX } else { 1 })
            .map_max_entries("RUSTLS_KEYS", if options.tls { 2 * TLS_SESSIONS_MAX } else { 1 })
            .map_max_entries("RUSTLS_SESSIONS", if options.tls { TLS_SESSIONS_MAX } else { 1 })
            .map_max_entries("RUSTLS_RECORDS", if options.tls { RUSTLS_RECORDS_MAX } else { 1 })
            .map_max_entries("GO_CALLS", if options.tls { GO_CALLS_MAX } else { 1 })
            // Storage of tasks, which nobody but the probes uses.
            .allow_unsupported_maps();
        for (global, offset) in &offsets {
            loader.override_global(global, offset, true);
        }
        let system_calls = layout::system_calls();
        loader
            .override_global("SYSTEM_CALLS", &system_calls[..], true)
            .override_global("V1_HIERARCHY", &v1_hierarchy, true)
            .override_global("V1_SUBSYS", &v1_subsys, true)
            .override_global("OWN_PID", &own_pid, true)
            .override_global("FILTER_BY_CGROUP", &by_cgroup, true)
            .override_global("FILTER_BY_PID", &by_pid, true)
            .override_global("WATCHES_TLS", &watches_tls, true)
            .override_global("UNIX_SALT", &unix_salt, true)
            .override_global("PROCESSES_PER_SECOND_MAX", &options.processes_per_second_max, true)
            .override_global("WAKE_BYTES", &wake_bytes, true)
            .override_global("URGENT_BYTES", &urgent_bytes, true)
            .override_global("RING_BYTES", &ring_bytes, true);
        let object = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/headwater-probes"));
        let mut ebpf = loader.load(object).map_err(object_error)?;
        set_filters(&mut ebpf, options, &hierarchies)?;
        load_iterator(&mut ebpf, &btf)?;
        for (name, tracepoint) in TRACEPOINTS {
            hook::attach_tracepoint(&mut ebpf, &btf, name, tracepoint)?;
        }
        if options.tls {
            tls::load(&mut ebpf)?;
        }
        let (hook, not_fexit_because) = hook::attach(&mut ebpf, &btf, &functions, options.hook)?;

        let ring = take_map(&mut ebpf, "EVENTS")?;
        let ring = RingBuf::try_from(ring).map_err(map_error)?;
        let counts = PerCpuArray::try_from(take_map(&mut ebpf, "COUNTS")?).map_err(map_error)?;
        let shares = HashMap::try_from(take_map(&mut ebpf, "SHARES")?).map_err(map_error)?;
        let (words, refused) = (take_map(&mut ebpf, "INTERESTS")?, take_map(&mut ebpf, "REFUSED")?);
        let interests = Some(Interests::map(&words, &refused, take_map(&mut ebpf, "RESTING")?)?);
        let sums = Some(SumTable::map(&take_map(&mut ebpf, "CELLS_OF_SUMS")?, &take_map(&mut ebpf, "DAY_OFFSET")?)?);
        let costs = Some(Costs::open(take_map(&mut ebpf, "MEASURING")?, take_map(&mut ebpf, "COSTS")?)?);
        let tls_sessions = Some(TlsSessions::open(take_map(&mut ebpf, "TLS_SESSIONS")?)?);
        Ok(Probes {
            ebpf,
            ring,
            counts,
            shares,
            hierarchies,
            interests,
            sums,
            costs,
            tls_sessions,
            hook,
            not_fexit_because,
            unknown_events: 0,
            first_walk: FirstWalk::IsToCome,
        })
    }

    /// Where to say what is wanted of each connection. None if it was taken already.
    pub fn take_interests(&mut self) -> Option<Interests> {
        self.interests.take()
    }

    /// Where plain exchanges are added up. None if it was taken already.
    pub fn take_sums(&mut self) -> Option<SumTable> {
        self.sums.take()
    }

    /// Where the probes say what they cost. None if it was taken already.
    pub fn take_costs(&mut self) -> Option<Costs> {
        self.costs.take()
    }

    /// The sessions of TLS that are remembered. None if it was taken already.
    pub fn take_tls_sessions(&mut self) -> Option<TlsSessions> {
        self.tls_sessions.take()
    }

    /// Watches a library of TLS, in all processes that map the file, until what is returned is dropped. The probes must have been loaded for that.
    pub fn attach_tls(&mut self, path: &Path, functions: &TlsFunctions) -> Result<Attached, LoadError> {
        tls::attach(&mut self.ebpf, path, functions)
    }

    /// How the calls of sockets are seen.
    pub fn hook(&self) -> Hook {
        self.hook
    }

    /// Why it is not [`Hook::Fexit`], in the kernel's words.
    pub fn not_fexit_because(&self) -> Option<&str> {
        self.not_fexit_because.as_deref()
    }

    /// The hierarchies of cgroups whose paths [`Event::Cgroup`] tells from now on; those that exist already are in their mounts.
    pub fn hierarchies(&self) -> &[Hierarchy] {
        &self.hierarchies
    }

    /// Waits until much is waiting in the ring buffer, or the time is over. What waits is read by [`Probes::drain`].
    pub fn wait(&self, timeout: Duration) {
        let mut poll = libc::pollfd { fd: self.ring.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let timeout_ms = timeout.as_millis().min(60_000) as libc::c_int;
        // An error (a signal) ends the wait early, which is harmless.
        // SAFETY: one pollfd that outlives the call.
        unsafe { libc::poll(&raw mut poll, 1, timeout_ms) };
    }

    /// Gives the waiting events to `sink`, until none waits or the time is over.
    pub fn drain(&mut self, until: Instant, mut sink: impl FnMut(Event<'_>)) -> Drained {
        let mut drained = Drained::default();
        let mut looked_at = Instant::now();
        loop {
            let Some(item) = self.ring.next() else {
                drained.is_empty = true;
                return drained;
            };
            match Event::parse(&item) {
                Some(event) => {
                    drained.newest_ns = drained.newest_ns.max(event.at_ns().unwrap_or(0));
                    sink(event);
                }
                None => self.unknown_events += 1,
            }
            drained.events += 1;
            if drained.events.is_multiple_of(EVENTS_PER_LOOK_AT_THE_CLOCK) {
                let now = Instant::now();
                drained.longest = drained.longest.max(now - looked_at);
                looked_at = now;
                if now >= until {
                    return drained;
                }
            }
        }
    }

    /// What came out of the ring buffer and was no event that is known here: records that are missing.
    pub fn unknown_events(&self) -> u64 {
        self.unknown_events
    }

    /// Begins a walk over every captured socket, in all network namespaces.
    pub fn walk(&mut self) -> Result<Walk, LoadError> {
        self.first_walk = match self.first_walk {
            FirstWalk::IsToCome => FirstWalk::HasBegun,
            FirstWalk::HasBegun => {
                set_capturing(&mut self.ebpf, capture::ALL)?;
                FirstWalk::IsOver
            }
            FirstWalk::IsOver => FirstWalk::IsOver,
        };
        let program: &mut Iter = program(&mut self.ebpf, ITERATOR)?;
        let file = program
            .attach()
            .and_then(|id| program.take_link(id))
            .map_err(|error| refused(ITERATOR, "iter/task_file", error))?
            .into_file()
            .map_err(|error| walk_failed(std::io::Error::other(error)))?;
        Ok(Walk::new(file))
    }

    /// From now on the probes tell of nothing but the ends of connections that they have told of, once the programs that run at this moment are
    /// through.
    pub fn tell_only_ends(&mut self) -> Result<(), LoadError> {
        self.first_walk = FirstWalk::IsOver;
        set_capturing(&mut self.ebpf, capture::ENDS)
    }

    /// Ends the capture: once the programs that run at this moment are through, the ring buffer gets no further event.
    pub fn end_capture(&mut self) -> Result<(), LoadError> {
        self.first_walk = FirstWalk::IsOver;
        set_capturing(&mut self.ebpf, capture::NOTHING)
    }

    /// The probes' counters, in the order of [`count::NAMES`], summed over the processors.
    pub fn counts(&self) -> Result<[u64; count::LEN as usize], LoadError> {
        let mut sums = [0; count::LEN as usize];
        for (index, sum) in sums.iter_mut().enumerate() {
            let values = self.counts.get(&(index as u32), 0).map_err(map_error)?;
            *sum = values.iter().sum();
        }
        Ok(sums)
    }

    /// What found no room in the ring buffer, of each cgroup that lost something lately, in the order of [`types::share::lost`]. Never more
    /// than what [`Probes::counts`] says afterwards.
    pub fn lost_by_cgroup(&self) -> Result<Vec<(Cgroup, [u64; lost::LEN])>, LoadError> {
        let mut all = Vec::new();
        for entry in self.shares.iter() {
            let ([id, hierarchy], share) = entry.map_err(map_error)?;
            // They are its last numbers.
            if let Some(&lost) = share.last_chunk()
                && lost != [0; lost::LEN]
            {
                all.push((Cgroup { id, hierarchy }, lost));
            }
        }
        Ok(all)
    }

    /// Runs that the kernel left out since the same program was running on that processor.
    pub fn missed_runs(&self) -> Result<MissedRuns, LoadError> {
        let mut missed = MissedRuns::default();
        // Those of the other hook, and of other kernels, are not loaded.
        for (name, program) in self.ebpf.programs().filter(|(_, program)| program.fd().is_ok()) {
            *missed.of_program(name) += missed_runs(program)?;
        }
        Ok(missed)
    }
}

/// Runs of programs that the kernel left out, by what they would have told of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MissedRuns {
    /// Calls that moved bytes: what they moved may be missing.
    pub calls: u64,
    /// Changes of TCP states. The probes make up for them, unless nothing else was seen of a connection: then its end is among
    /// [`count::UNSEEN_ENDS`].
    pub states: u64,
    /// Sockets that were destroyed: an end may be missing that waited for its program.
    pub ends: u64,
    /// Cgroups that were made, renamed or removed: names, which a walk finds.
    pub names: u64,
    /// Programs that began, and threads that ended, of which the last one's end is a process's.
    pub lives: u64,
}

impl MissedRuns {
    pub fn sum(&self) -> u64 {
        self.calls + self.states + self.ends + self.names + self.lives
    }

    fn of_program(&mut self, name: &str) -> &mut u64 {
        match name {
            "on_state" => &mut self.states,
            "on_destroyed" | "on_unix_release" => &mut self.ends,
            "on_cgroup_made" | "on_cgroup_renamed" | "on_cgroup_removed" => &mut self.names,
            "on_exec" | "on_exit" => &mut self.lives,
            _ => &mut self.calls,
        }
    }
}

/// The probes number processes as the initial namespace does, so the agent's own number must be one of those.
fn sees_all_processes() -> Result<(), LoadError> {
    let namespace = fs::read_link("/proc/self/ns/pid")
        .map_err(|source| LoadError::Read { what: "its process namespace, /proc/self/ns/pid,", source })?;
    if namespace == Path::new(INITIAL_PID_NAMESPACE) { Ok(()) } else { Err(LoadError::OwnProcesses) }
}

/// A number of this machine since its start.
fn boot_number() -> Result<u64, LoadError> {
    const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
    let text = fs::read_to_string(BOOT_ID).map_err(|source| LoadError::Read { what: BOOT_ID, source })?;
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).take(16).collect();
    // 0 means that Unix sockets are not looked at.
    Ok(u64::from_str_radix(&digits, 16).unwrap_or(1).max(1))
}

/// aya does not give this number; the kernel shows it with the program's file descriptor (5.12 and later). Of the descriptor that the
/// program was loaded with, since asking for another one by the program's id takes CAP_SYS_ADMIN.
fn missed_runs(program: &aya::programs::Program) -> Result<u64, LoadError> {
    let failed = |source| LoadError::Read { what: "the runs that a program missed, /proc/self/fdinfo,", source };
    let descriptor = program.fd().map_err(|error| failed(std::io::Error::other(error)))?.as_fd().as_raw_fd();
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}")).map_err(failed)?;
    let missed = info.lines().find_map(|line| line.strip_prefix("recursion_misses:")?.trim().parse().ok());
    missed.ok_or_else(|| failed(std::io::Error::other("there is no number of recursion_misses")))
}

fn set_capturing(ebpf: &mut Ebpf, value: u32) -> Result<(), LoadError> {
    let map = ebpf.map_mut("CAPTURING").ok_or_else(|| LoadError::Object("it has no CAPTURING".into()))?;
    let mut capturing: aya::maps::Array<_, u32> = map.try_into().map_err(map_error)?;
    capturing.set(0, value, 0).map_err(map_error)
}

fn load_iterator(ebpf: &mut Ebpf, btf: &Btf) -> Result<(), LoadError> {
    let program: &mut Iter = program(ebpf, ITERATOR)?;
    program.load("task_file", btf).map_err(|error| refused(ITERATOR, "iter/task_file", error))
}

fn set_filters(ebpf: &mut Ebpf, options: &Options, hierarchies: &[Hierarchy]) -> Result<(), LoadError> {
    for path in &options.cgroups {
        let (id, key) = cgroups::filtered(path, hierarchies)?;
        let map = ebpf.map_mut("FILTER_CGROUPS").ok_or_else(|| LoadError::Object("it has no FILTER_CGROUPS".into()))?;
        let mut ids: aya::maps::HashMap<_, u64, u32> = map.try_into().map_err(map_error)?;
        ids.insert(id, 1, 0).map_err(map_error)?;
        let map = ebpf.map_mut("FILTER_PATHS").ok_or_else(|| LoadError::Object("it has no FILTER_PATHS".into()))?;
        let mut paths: aya::maps::HashMap<_, [u8; FILTER_PATH_BYTES], u32> = map.try_into().map_err(map_error)?;
        match key {
            Some(key) => paths.insert(key, 1, 0).map_err(map_error)?,
            None => tracing::warn!(
                path = %path.display(),
                "the filter holds for this cgroup as long as it exists: if it is made again, it is not captured any more, since the \
                 whole hierarchy of cgroups cannot be seen here (in a container, mount the machine's /sys/fs/cgroup)"
            ),
        }
    }
    let map = ebpf.map_mut("FILTER_PIDS").ok_or_else(|| LoadError::Object("it has no FILTER_PIDS".into()))?;
    let mut pids: aya::maps::HashMap<_, u32, u32> = map.try_into().map_err(map_error)?;
    for pid in &options.pids {
        pids.insert(pid, 1, 0).map_err(map_error)?;
    }
    Ok(())
}

fn program<'a, P>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut P, LoadError>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program, Error = aya::programs::ProgramError>,
{
    let program = ebpf.program_mut(name).ok_or_else(|| LoadError::Object(format!("it has no program {name}")))?;
    program.try_into().map_err(|error: aya::programs::ProgramError| LoadError::Object(error.to_string()))
}

fn take_map(ebpf: &mut Ebpf, name: &str) -> Result<Map, LoadError> {
    ebpf.take_map(name).ok_or_else(|| LoadError::Object(format!("it has no map {name}")))
}

fn refused(name: &'static str, tracepoint: &'static str, error: aya::programs::ProgramError) -> LoadError {
    if matches!(error, aya::programs::ProgramError::Btf(_)) {
        return LoadError::NoTracepoint(tracepoint);
    }
    not_permitted(&error).unwrap_or_else(|| LoadError::Refused { name, message: message(&chain(&error)) })
}

/// aya names the verifier's output also where there is none.
fn message(chain: &str) -> String {
    let chain = chain.trim_end();
    chain.strip_suffix("Verifier output:").unwrap_or(chain).trim_end().to_owned()
}

fn object_error(error: aya::EbpfError) -> LoadError {
    not_permitted(&error).unwrap_or_else(|| LoadError::Object(chain(&error)))
}

/// Root in a container may have lost the capabilities. Maps are made with BPF alone; programs that trace need PERFMON too.
fn not_permitted(error: &dyn std::error::Error) -> Option<LoadError> {
    // SAFETY: geteuid has no preconditions.
    chain(error).contains("Operation not permitted").then(|| LoadError::NotPermitted(unsafe { libc::geteuid() }))
}

fn map_error(error: aya::maps::MapError) -> LoadError {
    LoadError::Object(chain(&error))
}

/// The error with its causes; the verifier's log, which may have thousands of lines, is cut to its end.
fn chain(error: &dyn std::error::Error) -> String {
    const CHARS_MAX: usize = 4000;
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    let skip = text.chars().count().saturating_sub(CHARS_MAX);
    text.chars().skip(skip).collect()
}
