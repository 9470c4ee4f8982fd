//! The lives of processes: each program that began, each end with its code or signal, each kill for want of memory and each socket that was listened on is told
//! once, under the name of its workload, and nothing else is. What is beyond the bound of a second is counted, to the last one.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use headwater_process::{Cgroup, Child, Launch};
use headwater_schemas::records::{Process, ProcessKind};
use headwater_schemas::topics::Topic;
use headwater_system_tests::lab::{Lab, NODE, stop};
use headwater_system_tests::topics;

/// Processes of each kind, if the variable `PROCESSES_EACH` says nothing else.
const EACH: usize = 20;
/// Those that take memory until there is none.
const HOGS: usize = 3;
const HOG_BYTES: &str = "16777216";

/// Scripts, by the beginning of the names of the programs that run them.
const SCRIPTS: [(&str, &str); 4] =
    [("well", "exit 0"), ("three", "exit 3"), ("segv", "kill -SEGV $$"), ("kill", "kill -KILL $$")];

/// Joins a group of memory and becomes another program.
const JOIN: &str = r#"[ -z "$1" ] || echo $$ > "$1/cgroup.procs"; exec "$2" /dev/zero"#;

/// All threads end by themselves at one moment, which is an end of the process only with the last one, whose code counts.
const THREADS_END: &str = r#"
import ctypes, threading
exit = ctypes.CDLL(None).syscall
together = threading.Barrier(9)
def end(code): together.wait(); exit(60 if __import__("os").uname().machine == "x86_64" else 93, code)
for at in range(8): threading.Thread(target=end, args=(10 + at,)).start()
end(18)
"#;

/// Another thread than the first ends the process.
const THREAD_ENDS_ALL: &str = r#"
import os, threading
for _ in range(8): threading.Thread(target=threading.Event().wait, daemon=True).start()
threading.Thread(target=os._exit, args=(8,)).start()
threading.Event().wait()
"#;

/// Listens at two places, gives one of them up, and ends with the other.
const LISTENS: &str = r#"
import socket
first, second = socket.create_server(("127.0.0.1", 0)), socket.create_server(("::", 0), family=socket.AF_INET6)
print(first.getsockname()[1], second.getsockname()[1], flush=True)
first.close()
"#;

/// Listens at two places before anybody looks, one of which another process has as well; then gives the other one up, and the rest with its end.
const LISTENED: &str = r#"
import os, socket
first, second = socket.create_server(("127.0.0.1", 0)), socket.create_server(("::", 0), family=socket.AF_INET6)
unix = socket.socket(socket.AF_UNIX)
unix.bind(b"\0headwater %d" % os.getpid())
unix.listen()
child = os.fork()
if child == 0:
    first.close()
    os.read(0, 1)
    os._exit(0)
print(first.getsockname()[1], second.getsockname()[1], child, flush=True)
os.read(0, 1)
os.waitpid(child, 0)
first.close()
"#;

/// Makes a process that begins no program of its own and crashes.
const FORKS: &str = r#"
import os
child = os.fork()
if child == 0: os.abort()
os.waitpid(child, 0)
print(child, flush=True)
"#;

/// What is known beforehand of the name of a process's workload.
enum Name {
    Is(String),
    /// Whatever it is.
    Known,
    /// Before Linux 6.16 the program's name cannot be told at the end of who has begun none.
    MayBeUnknown,
}

impl Name {
    fn fits(&self, named: &str) -> bool {
        match self {
            Name::Is(name) => name == named,
            Name::Known => named != "unknown unknown",
            Name::MayBeUnknown => true,
        }
    }
}

/// What the tests compare of a record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Told {
    kind: ProcessKind,
    pid: i32,
    name: String,
    exit_code: Option<i32>,
    signal: Option<i32>,
    local: Option<String>,
}

/// All that was told, and the names of the workloads.
fn told(lab: &Lab) -> Vec<(Told, String)> {
    let mut all = Vec::new();
    topics::each(&lab.settings, Topic::Processes, |cache, value| {
        let (schema, datum) = cache.open(value)?;
        let process: Process<'_> = schema.decode(datum)?;
        assert_eq!(process.node, NODE);
        assert!(process.lived_us >= 0 && process.process_start_ns > 0, "{process:?}");
        let local = process.local_address.zip(process.local_port);
        let told = Told {
            kind: process.kind,
            pid: process.pid,
            name: process.executable_name.to_owned(),
            exit_code: process.exit_code,
            signal: process.signal,
            local: local.map(|(address, port)| format!("{address} {port}")),
        };
        all.push((told, format!("{} {}", process.workload_kind, process.workload)));
        Ok(())
    })
    .unwrap();
    all
}

/// Programs with names of their own, started in a cgroup or outside of what is observed.
struct Programs<'a> {
    lab: &'a Lab,
    cgroup: PathBuf,
}

impl Programs<'_> {
    /// A copy of a program under this name.
    fn copy(&self, program: &str, name: &str) -> String {
        let path = self.lab.folder.path().join(name);
        fs::copy(program, &path).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn start(&self, program: &str, arguments: &[&str]) -> Child {
        let mut command = Command::new(program);
        command.args(arguments);
        self.launch(command).in_cgroup(&self.cgroup).spawn().unwrap()
    }

    fn launch(&self, command: Command) -> Launch {
        Launch::new("program", command, self.lab.folder.path().join("program.log"))
    }

    /// Runs a program to its end.
    fn run(&self, program: &str, arguments: &[&str]) -> (i32, ExitStatus) {
        let mut process = self.start(program, arguments);
        let pid = process.pid().cast_signed();
        (pid, process.join().unwrap())
    }
}

/// An end as wait(2) gave it.
fn end(kind: ProcessKind, pid: i32, name: &str, status: ExitStatus) -> Told {
    let (exit_code, signal) = (status.code(), status.signal());
    Told { kind, pid, name: name.to_owned(), exit_code, signal, local: None }
}

fn began(pid: i32, name: &str) -> Told {
    Told { kind: ProcessKind::Exec, pid, name: name.to_owned(), exit_code: None, signal: None, local: None }
}

#[test]
fn what_happens_to_processes_is_told_once_and_nothing_else() {
    let lab = Lab::start().unwrap();
    let memory = Memory::of(lab.cgroup.path());
    let rest = Cgroup::create_at(&lab.cgroup.path().join("rest")).unwrap();
    let programs = Programs { lab: &lab, cgroup: rest.path().to_owned() };
    let hogs = Programs { lab: &lab, cgroup: memory.cgroup.path().to_owned() };
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", LISTENED]);
    let launch = programs.launch(command).in_cgroup(rest.path());
    let mut listened = launch.piping_stdin().piping_stdout().spawn().unwrap();
    let said = listened.first_line().unwrap();
    let walks = ["--processes-per-second-max", "100000", "--flows-interval-ms", "500"];
    let mut agent = lab.agent_of_users_with(&walks).unwrap();

    let each = std::env::var("PROCESSES_EACH").map_or(EACH, |each| each.parse().unwrap());
    let mut expected: Vec<(Told, Name)> = Vec::new();
    for at in 0..each {
        for (kind, script) in SCRIPTS {
            let name = format!("{kind}-{at}");
            let (pid, status) = programs.run(&programs.copy("/bin/sh", &name), &["-c", script]);
            let workload = || Name::Is(format!("program {name}"));
            expected.push((began(pid, &name), workload()));
            expected.push((end(ProcessKind::Exit, pid, &name, status), workload()));
        }
        let mut outside = Command::new(programs.copy("/bin/sh", &format!("outside-{at}")));
        outside.args(["-c", "exit 4"]);
        assert_eq!(programs.launch(outside).spawn().unwrap().join().unwrap().code(), Some(4));
    }
    let shell = file_name("/bin/sh");
    {
        let python = file_name("/usr/bin/python3");
        let [first, second, child]: [i32; 3] =
            said.split(' ').map(|number| number.parse().unwrap()).collect::<Vec<_>>().try_into().unwrap();
        let pid = listened.pid().cast_signed();
        drop(listened.take_stdin());
        let status = listened.join().unwrap();
        for kind in [ProcessKind::Listening, ProcessKind::ListenEnd] {
            for local in [format!("127.0.0.1 {first}"), format!(":: {second}")] {
                expected.push((Told { kind, local: Some(local), ..began(pid, &python) }, Name::Known));
            }
        }
        let ended = ExitStatus::from_raw(0);
        expected.push((end(ProcessKind::Exit, child, &python, ended), Name::MayBeUnknown));
        expected.push((end(ProcessKind::Exit, pid, &python, status), Name::Known));
    }
    for at in 0..HOGS {
        let name = format!("hog-{at}");
        let hog = hogs.copy("/usr/bin/tail", &name);
        let (pid, status) = hogs.run("/bin/sh", &["-c", JOIN, "sh", memory.to_join(), &hog]);
        assert_eq!(status.signal(), Some(libc::SIGKILL), "the kernel kills who takes more than {HOG_BYTES} bytes");
        let workload = || Name::Is(format!("program {name}"));
        expected.push((began(pid, &shell), Name::Known));
        expected.push((began(pid, &name), workload()));
        expected.push((end(ProcessKind::OomKill, pid, &name, status), workload()));
    }
    let python = file_name("/usr/bin/python3");
    for (script, codes) in [(THREADS_END, 10..=18), (THREAD_ENDS_ALL, 8..=8)] {
        for _ in 0..each {
            let (pid, status) = programs.run("/usr/bin/python3", &["-c", script]);
            assert!(status.code().is_some_and(|code| codes.contains(&code)), "{status}");
            expected.push((began(pid, &python), Name::Known));
            expected.push((end(ProcessKind::Exit, pid, &python, status), Name::Known));
        }
    }
    for _ in 0..each {
        let mut command = Command::new("/usr/bin/python3");
        command.args(["-c", LISTENS]);
        let mut server = programs.launch(command).in_cgroup(rest.path()).piping_stdout().spawn().unwrap();
        let (pid, ports) = (server.pid().cast_signed(), server.first_line().unwrap());
        let (first, second) = ports.split_once(' ').unwrap();
        let status = server.join().unwrap();
        expected.push((began(pid, &python), Name::Known));
        for kind in [ProcessKind::Listen, ProcessKind::ListenEnd] {
            for local in [format!("127.0.0.1 {first}"), format!(":: {second}")] {
                let told = Told { kind, local: Some(local), ..began(pid, &python) };
                expected.push((told, Name::Known));
            }
        }
        expected.push((end(ProcessKind::Exit, pid, &python, status), Name::Known));
    }
    for _ in 0..each {
        let mut command = Command::new("/usr/bin/python3");
        command.args(["-c", FORKS]);
        let mut parent = programs.launch(command).in_cgroup(rest.path()).piping_stdout().spawn().unwrap();
        let (pid, child) = (parent.pid().cast_signed(), parent.first_line().unwrap().parse().unwrap());
        expected.push((began(pid, &python), Name::Known));
        expected.push((end(ProcessKind::Exit, pid, &python, parent.join().unwrap()), Name::Known));
        let aborted = Told { kind: ProcessKind::Exit, signal: Some(libc::SIGABRT), ..began(child, &python) };
        expected.push((aborted, Name::MayBeUnknown));
    }
    stop(&mut agent).unwrap();

    let mut seen: BTreeMap<Told, Vec<String>> = BTreeMap::new();
    for (told, workload) in told(&lab) {
        // Where a process gives its memory back before its end is told (before Linux 6.16), its first thread's name stands for the executable's.
        let told = if told.name == "python3" { Told { name: python.clone(), ..told } } else { told };
        seen.entry(told).or_default().push(workload);
    }
    let (mut right, mut missing, mut wrong, mut doubled) = (0, Vec::new(), Vec::new(), Vec::new());
    for (told, workload) in &expected {
        match seen.remove(told).as_deref() {
            None => missing.push(told),
            Some([named]) if workload.fits(named) => right += 1,
            Some([named]) => wrong.push(format!("{told:?} of {named}")),
            Some(_) => doubled.push(told),
        }
    }
    wrong.extend(seen.keys().map(|told| format!("{told:?}")));
    let lacking = (missing.len(), wrong.len(), doubled.len());
    println!("{right} of {} right, {} missing, {} wrong, {} doubled", expected.len(), lacking.0, lacking.1, lacking.2);
    assert_eq!(lacking, (0, 0, 0), "missing {missing:?}\nwrong {wrong:?}\ndoubled {doubled:?}");
}

/// The programs that a flood begins, and those of them that crash.
const FLOOD: usize = 300;
const CRASHES: usize = 10;

#[test]
fn a_flood_is_cut_off_counted_and_hides_no_crash() {
    let lab = Lab::start().unwrap();
    let programs = Programs { lab: &lab, cgroup: lab.cgroup.path().to_owned() };
    let mut agent = lab.agent_of_users_with(&["--processes-per-second-max", "40"]).unwrap();
    let well = programs.copy("/bin/true", "well");
    let flood = format!("i=0; while [ $i -lt {FLOOD} ]; do {well}; i=$((i+1)); done");
    let mut flooding = programs.start("/bin/sh", &["-c", &flood]);
    let crash = programs.copy("/bin/sh", "crash");
    for _ in 0..CRASHES {
        assert_eq!(programs.run(&crash, &["-c", "kill -SEGV $$"]).1.signal(), Some(libc::SIGSEGV));
    }
    assert!(flooding.join().unwrap().success());
    stop(&mut agent).unwrap();

    let told = told(&lab);
    let crashes = told.iter().filter(|(told, _)| told.signal == Some(libc::SIGSEGV)).count();
    let last = topics::agents(&lab.settings).unwrap().pop().unwrap();
    let cut_off = last.dropped["processes/rate_limited"];
    let whose = last.dropped_by_workload.iter().filter_map(|one| one.dropped.get("processes/rate_limited"));
    println!("{} told, {cut_off} cut off, {crashes} of {CRASHES} crashes", told.len());
    // A beginning and an end of each.
    let all = 2 * (1 + FLOOD + CRASHES) as i64;
    // The last ones may still be on their way to the broker when the agent says so.
    let handed_over = last.published["processes"] + last.in_flight["processes"];
    assert_eq!((last.captured["processes"], handed_over), (all, told.len() as i64));
    assert_eq!(told.len() as i64 + cut_off, all, "{:?}", last.dropped);
    assert_eq!(whose.sum::<i64>(), cut_off);
    assert!(cut_off > 0, "the flood was no flood");
    assert_eq!(crashes, CRASHES);
}

/// The name of the file itself, behind links.
fn file_name(program: &str) -> String {
    fs::canonicalize(program).unwrap().file_name().unwrap().to_str().unwrap().to_owned()
}

/// A cgroup in which memory is short.
struct Memory {
    cgroup: Cgroup,
    /// Where memory has a hierarchy of version 1: what else a process must join.
    first_version: Option<Cgroup>,
}

impl Memory {
    /// # Panics
    /// Where no cgroup can have a bound of memory: a kill for want of it cannot be brought about then.
    fn of(parent: &Path) -> Memory {
        let version_1 = Path::new("/sys/fs/cgroup/memory/memory.limit_in_bytes").exists();
        if !version_1 {
            let root = parent.parent().unwrap();
            for controlled in [root, parent] {
                let file = controlled.join("cgroup.subtree_control");
                fs::write(&file, "+memory")
                    .unwrap_or_else(|error| panic!("bound memory by {}: {error}", file.display()));
            }
        }
        let cgroup = Cgroup::create_at(&parent.join("hogs")).unwrap();
        if !version_1 {
            set(cgroup.path(), "memory.max", HOG_BYTES);
            set_if_there(cgroup.path(), "memory.swap.max", "0");
            return Memory { cgroup, first_version: None };
        }
        let name = parent.file_name().unwrap();
        let first_version = Cgroup::create_at(&Path::new("/sys/fs/cgroup/memory").join(name)).unwrap();
        set(first_version.path(), "memory.limit_in_bytes", HOG_BYTES);
        set_if_there(first_version.path(), "memory.memsw.limit_in_bytes", HOG_BYTES);
        Memory { cgroup, first_version: Some(first_version) }
    }

    /// The folder that a process must join by itself; empty if there is none.
    fn to_join(&self) -> &str {
        self.first_version.as_ref().map_or("", |cgroup| cgroup.path().to_str().unwrap())
    }
}

fn set(cgroup: &Path, file: &str, value: &str) {
    let path = cgroup.join(file);
    fs::write(&path, value).unwrap_or_else(|error| panic!("set {} to {value}: {error}", path.display()));
}

/// Where the kernel does not count swapped memory, there is nothing to bound.
fn set_if_there(cgroup: &Path, file: &str, value: &str) {
    if cgroup.join(file).exists() {
        set(cgroup, file, value);
    }
}
